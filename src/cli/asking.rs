//! A sign of life while a tenant is asked about itself, before there is a plan to show.

use super::error::Failure;
use super::job::{Stop, spent_early, stopped_early};
use crate::api::Paced;
use crate::api::client::Client;
use crate::runner::event::{Event, Events};
use std::time::Duration;
use tokio::time::Instant;

/// Between two signs of life.
const INTERVAL: Duration = Duration::from_millis(250);

/// Waits for answers to about so many requests more, and shows how many have been made; ends early where a person
/// wants it to, or the run's requests are spent.
pub async fn asking<R, E: Into<Failure>>(
    tenant: &Paced<Client>,
    more: u64,
    (events, stop): (&Events, &Stop),
    answers: impl Future<Output = Result<R, E>>,
) -> Result<R, Failure> {
    let mut stop = stop.clone();
    let gate = tenant.gate();
    let about = gate.view().requests + more;
    let tell = || {
        let requests = gate.view().requests;
        let about = about.max(requests);
        events.tell(Event::Asking { requests, about });
    };
    tell();
    let mut tick = tokio::time::interval_at(Instant::now() + INTERVAL, INTERVAL);
    tokio::pin!(answers);
    loop {
        tokio::select! {
            answer = &mut answers => return answer.map_err(Into::into),
            () = gate.exhausted() => return Err(spent_early()),
            Ok(_) = stop.wait_for(|stopped| *stopped) => return Err(stopped_early()),
            _ = tick.tick() => tell(),
        }
    }
}
