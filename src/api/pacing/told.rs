//! The pace and its pauses, as the log tells of them.

use super::PaceView;
use tokio::sync::watch;
use tokio::time::Instant;

/// A pace that has moved by less since it was last told is not told again.
const TOLD_FROM: f64 = 0.1;

/// Tells the log of each pause, and of the pace where it has moved. Ends with the gate.
pub(super) async fn tell(mut views: watch::Receiver<PaceView>) {
    let mut pace: Option<Option<f64>> = None;
    let mut paused_until: Option<Instant> = None;
    loop {
        let view = views.borrow_and_update().clone();
        if let Some(pause) = &view.pause
            && paused_until.is_none_or(|until| until < pause.until)
        {
            paused_until = Some(pause.until);
            let for_ms = pause.until.saturating_duration_since(Instant::now()).as_millis() as u64;
            tracing::info!(for_ms, why = pause.why, refusals = view.refusals, "hold");
        }
        if pace.is_none_or(|told| has_moved(told, view.per_second)) {
            pace = Some(view.per_second);
            let latency_ms = view.latency.map(|latency| latency.as_millis() as u64);
            let (per_second, requests, refusals) = (view.per_second, view.requests, view.refusals);
            tracing::info!(per_second, requests, refusals, latency_ms, "pace");
        }
        if views.changed().await.is_err() {
            return;
        }
    }
}

fn has_moved(told: Option<f64>, now: Option<f64>) -> bool {
    match (told, now) {
        (Some(told), Some(now)) => (now - told).abs() > told * TOLD_FROM,
        (told, now) => told != now,
    }
}
