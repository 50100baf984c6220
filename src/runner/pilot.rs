//! The names of the profiles that a pilot sent to. A person knows customers by their names; the ledger keeps none.

use crate::api::pacing::Class;
use crate::api::{Paced, Tenant};
use crate::ledger::SentProfile;
use crate::model::ids::ProfileId;
use std::time::Duration;
use tokio::sync::watch;

/// How long the names may keep somebody waiting who is told by the tenant to slow down.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks the tenant for each profile's name. Whatever goes wrong leaves the rest without one: the ids say as much.
pub async fn name<T: Tenant>(tenant: &Paced<T>, sent: &mut [SentProfile], mut stop: watch::Receiver<bool>) {
    for profile in sent {
        let id = ProfileId::new(&profile.profile_id);
        let asked = tenant.read_soon(Class::Settle, PATIENCE, |tenant| async move {
            tenant.name_of(&id).await
        });
        let name = tokio::select! {
            biased;
            _ = stop.wait_for(|stopped| *stopped) => return,
            () = tenant.gate().exhausted() => return,
            name = asked => name,
        };
        let Ok(name) = name else { return };
        profile.name = name;
    }
}
