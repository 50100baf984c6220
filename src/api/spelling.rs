//! Which of the tenant's handles a profile means that shows it in another letter case.
//!
//! A profile may show `VIP` for the handle `vip`. Taken for another handle, it would never show a change, and its bearer
//! would be sent what they have. So what profiles show is read as the one defined handle that it is in any case. Where
//! two handles differ by case only, or a word is also the display name of another status, handles are compared exactly.

use super::{BatchReport, Holding, ListedBatch, Page, Slice, StatusDefinition, Tenant, Wanted};
use crate::model::ids::{Action, BatchId, Handle, ProfileId};
use crate::model::lookup::Found;
use crate::model::outcome::{Member, ReadFailure, WriteAnswer};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

/// What handles are called in lower case.
#[derive(Debug, Default)]
pub(super) struct Spelling {
    handles: HashMap<String, Handle>,
    defined: HashSet<Handle>,
}

impl Spelling {
    /// Of what the tenant defines.
    pub fn of(defined: &[StatusDefinition]) -> Self {
        let folded = |text: &str| text.trim().to_lowercase();
        let is_meant_by = |word: &String, status: &StatusDefinition| {
            *word == folded(status.handle.as_str()) || *word == folded(&status.name)
        };
        let clear = defined.iter().filter_map(|status| {
            let word = folded(status.handle.as_str());
            let mut meant = defined.iter().filter(|other| is_meant_by(&word, other));
            let only = meant.all(|other| other.handle == status.handle);
            only.then(|| (word, status.handle.clone()))
        });
        Self {
            handles: clear.collect(),
            defined: defined.iter().map(|status| status.handle.clone()).collect(),
        }
    }

    /// The handle that is meant by one that is shown.
    fn handle(&self, shown: Handle) -> Handle {
        if self.defined.contains(&shown) {
            return shown;
        }
        let meant = self.handles.get(&shown.as_str().trim().to_lowercase());
        meant.cloned().unwrap_or(shown)
    }
}

/// A tenant whose profiles show its handles as they are defined, once the definitions are known.
pub struct Spelled<T> {
    pub(super) tenant: Arc<T>,
    pub(super) spelling: Arc<OnceLock<Spelling>>,
}

impl<T> Spelled<T> {
    fn handles(&self, shown: Vec<Handle>) -> Vec<Handle> {
        match self.spelling.get() {
            Some(spelling) => shown.into_iter().map(|handle| spelling.handle(handle)).collect(),
            None => shown,
        }
    }
}

impl<T: Tenant> Tenant for Spelled<T> {
    async fn verify_token(&self) -> Result<(), ReadFailure> {
        self.tenant.verify_token().await
    }

    async fn token_scopes(&self) -> Result<Vec<String>, ReadFailure> {
        self.tenant.token_scopes().await
    }

    async fn statuses(&self, page: u32) -> Result<Page<StatusDefinition>, ReadFailure> {
        self.tenant.statuses(page).await
    }

    async fn profiles(&self, wanted: Wanted<'_>, slice: Slice) -> Result<Page<Found>, ReadFailure> {
        let mut page = self.tenant.profiles(wanted, slice).await?;
        for found in &mut page.items {
            found.held = found.held.take().map(|held| self.handles(held));
        }
        Ok(page)
    }

    async fn held_by(&self, profile: &ProfileId) -> Result<Holding, ReadFailure> {
        let mut holding = self.tenant.held_by(profile).await?;
        holding.held = self.handles(holding.held);
        Ok(holding)
    }

    async fn batch(&self, id: &BatchId) -> Result<BatchReport, ReadFailure> {
        self.tenant.batch(id).await
    }

    async fn batches(&self, page: u32) -> Result<Page<ListedBatch>, ReadFailure> {
        self.tenant.batches(page).await
    }

    async fn write(&self, action: Action, members: &[Member]) -> WriteAnswer {
        self.tenant.write(action, members).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_case_means_the_same_handle_where_it_can_mean_no_other() {
        let spelling = |defined: &[(&str, &str)]| {
            let status = |(handle, name): &(&str, &str)| StatusDefinition {
                handle: Handle::new(*handle),
                name: (*name).into(),
            };
            Spelling::of(&defined.iter().map(status).collect::<Vec<_>>())
        };
        for (defined, shown, meant) in [
            (&[("vip", "VIP"), ("gold", "Golden")][..], "VIP", "vip"),
            (&[("vip", "VIP")], "vip", "vip"),
            (&[("vip", "VIP")], "staff", "staff"),
            (&[("ÉLITE", "")], "élite", "ÉLITE"),
            // Another status is called that, or nearly that.
            (&[("vip", "Very"), ("gold", "VIP")], "VIP", "VIP"),
            (&[("vip", ""), ("Vip", "")], "VIP", "VIP"),
            (&[("vip", ""), ("Vip", "")], "Vip", "Vip"),
            (&[("vip", ""), ("VIP", "")], "VIP", "VIP"),
            (&[], "VIP", "VIP"),
        ] {
            let read = spelling(defined).handle(Handle::new(shown));
            assert_eq!(read.as_str(), meant, "{defined:?}");
        }
    }
}
