//! What must be true before anything is sent.
//!
//! A handle that the tenant does not define is dropped by its write endpoint without an error \[doc\], so a typo
//! would silently do nothing to everybody: it is looked for first, among all pages of the definitions.

use super::context::{GaveUp, Halt, ask_patiently, find_nobody};
use super::handles;
use crate::api::pacing::Class;
use crate::api::{Paced, StatusDefinition, Tenant};
use crate::model::ids::{Handle, Job};
use crate::model::outcome::{ReadFailure, Refusal};
use std::sync::Arc;
use std::time::Duration;

/// Tries at a tenant that cannot be reached; a person is waiting.
pub(super) const UNREACHABLE_LIMIT: u32 = 3;

/// The scopes that a run needs.
const SCOPES: [&str; 3] = ["read-profiles", "read-statuses", "update-profiles"];

/// Why the job must not begin. Nothing has been sent.
#[derive(Debug, thiserror::Error)]
pub enum Objection {
    /// 401.
    #[error("the tenant does not accept the token ({0})")]
    Token(Refusal),
    /// 403.
    #[error("the token may not {what} ({refusal})")]
    Scope {
        /// What it would have to be allowed.
        what: &'static str,
        /// The scope that is missing.
        scope: &'static str,
        /// The tenant's answer.
        refusal: Refusal,
    },
    /// 401 or 403, and not in the tenant's own way.
    #[error("something on the way to the tenant refused the request ({0})")]
    Gateway(Refusal),
    /// The tenant defines no such status.
    #[error("the tenant has no status with the handle `{handle}`")]
    UnknownHandle {
        /// What was asked for.
        handle: Handle,
        /// The handles that look most like it.
        similar: Vec<Handle>,
    },
    /// A filter that finds profiles for an address that nobody can have filters nothing.
    #[error("the tenant ignores the email filter: it returned profiles for an address that cannot exist")]
    FilterIgnored,
    /// There is nothing of the API at that address.
    #[error("there is no Omneo API at this address ({0} answers 404)")]
    NoApi(&'static str),
    /// The tenant wants to be left alone for so long.
    #[error("{}", Halt::Later(*.0))]
    Later(Duration),
    /// No usable answer.
    #[error("cannot ask the tenant: {0}")]
    Unavailable(String),
}

/// About how many requests [`check`] takes.
pub const ABOUT_REQUESTS: u64 = 3;

/// Checks the token, the handles and the filter. Four requests or so.
pub async fn check<T: Tenant>(tenant: &Paced<T>, job: &Job) -> Result<(), Objection> {
    ask(
        tenant,
        ("GET /auth/verify", "sign in", "any scope"),
        |tenant| async move { tenant.verify_token().await },
    )
    .await?;
    let defined = statuses(tenant).await?;
    tenant.learn_handles(&defined);
    for handle in &job.handles {
        if defined.iter().all(|status| status.handle != *handle) {
            return Err(Objection::UnknownHandle {
                handle: handle.clone(),
                similar: similar(handle, &defined),
            });
        }
    }
    let what = ("GET /profiles", "read profiles", "read-profiles");
    let nobody = ask(tenant, what, find_nobody).await?;
    if nobody.items.is_empty() {
        Ok(())
    } else {
        Err(Objection::FilterIgnored)
    }
}

/// All status definitions of the tenant.
pub async fn statuses<T: Tenant>(tenant: &Paced<T>) -> Result<Vec<StatusDefinition>, Objection> {
    let what = ("GET /statuses", "read statuses", "read-statuses");
    let page = |number| {
        ask(tenant, what, move |tenant| async move {
            tenant.statuses(number).await
        })
    };
    let endless = || {
        format!(
            "its list of statuses does not end within {} pages",
            handles::PAGES_LIMIT
        )
    };
    handles::definitions(page)
        .await?
        .ok_or_else(|| Objection::Unavailable(endless()))
}

/// Whether the token is good.
pub async fn verify<T: Tenant>(tenant: &Paced<T>) -> Result<(), Objection> {
    ask(
        tenant,
        ("GET /auth/verify", "sign in", "any scope"),
        |tenant| async move { tenant.verify_token().await },
    )
    .await
}

/// Scopes that a run needs and the token lacks, as far as the tenant tells its scopes: most do not, and then none is
/// known to be lacking. `*` grants everything.
pub async fn lacking_scopes<T: Tenant>(tenant: &Paced<T>) -> Vec<&'static str> {
    let question = |tenant: Arc<T>| async move { tenant.token_scopes().await };
    match ask_patiently(tenant, Class::Settle, Some(1), question).await {
        Ok(scopes) if !scopes.iter().any(|scope| scope == "*") => SCOPES
            .into_iter()
            .filter(|needed| scopes.iter().all(|scope| scope != needed))
            .collect(),
        _ => Vec::new(),
    }
}

/// What was asked: the route, what for, and the scope that it takes.
type Asked = (&'static str, &'static str, &'static str);

async fn ask<T: Tenant, R, F>(
    tenant: &Paced<T>,
    asked: Asked,
    question: impl Fn(Arc<T>) -> F,
) -> Result<R, Objection>
where
    F: Future<Output = Result<R, ReadFailure>>,
{
    let answer = ask_patiently(tenant, Class::Settle, Some(UNREACHABLE_LIMIT), question).await;
    answer.map_err(|gave_up| objection(asked, gave_up))
}

/// Why a question that was given up keeps the job from beginning.
pub(super) fn objection((route, what, scope): Asked, gave_up: GaveUp) -> Objection {
    match gave_up {
        GaveUp::Missing => Objection::NoApi(route),
        GaveUp::Denied(refusal) | GaveUp::Halt(Halt::Denied(refusal)) if refusal.is_from_the_way() => {
            Objection::Gateway(refusal)
        }
        GaveUp::Denied(refusal) => Objection::Scope { what, scope, refusal },
        GaveUp::Halt(Halt::Denied(refusal)) if refusal.status == 401 => Objection::Token(refusal),
        GaveUp::Halt(Halt::Denied(refusal)) => Objection::Unavailable(refusal.to_string()),
        GaveUp::Halt(Halt::Later(wait)) => Objection::Later(wait),
        GaveUp::Halt(Halt::Outage(why)) | GaveUp::Refused(why) => Objection::Unavailable(why),
        GaveUp::Halt(other) => Objection::Unavailable(other.to_string()),
    }
}

/// Up to three defined handles that could have been meant.
fn similar(handle: &Handle, defined: &[StatusDefinition]) -> Vec<Handle> {
    let wanted = handle.as_str().to_lowercase();
    let like = |text: &str| match strsim::osa_distance(&wanted, text) {
        // One slip of the finger, also two letters swapped.
        0 | 1 => 1.0,
        _ => strsim::jaro_winkler(&wanted, text),
    };
    let likeness = |status: &StatusDefinition| {
        like(&status.handle.as_str().to_lowercase()).max(like(&status.name.to_lowercase()))
    };
    let mut ranked: Vec<_> = defined
        .iter()
        .map(|status| (likeness(status), &status.handle))
        .collect();
    ranked.sort_by(|one, other| other.0.total_cmp(&one.0));
    let close = ranked.into_iter().filter(|(likeness, _)| *likeness > 0.7);
    close.take(3).map(|(_, handle)| handle.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_what_was_meant() {
        let defined: Vec<_> = [("vip", "VIP customer"), ("gold-2026", "Gold"), ("staff", "Staff")]
            .map(|(handle, name)| StatusDefinition {
                handle: Handle::new(handle),
                name: name.into(),
            })
            .into();
        let meant = |text: &str| {
            similar(&Handle::new(text), &defined)
                .first()
                .map(|h| h.as_str().to_owned())
        };
        assert_eq!(meant("VIP").as_deref(), Some("vip"));
        assert_eq!(meant("vipp").as_deref(), Some("vip"));
        assert_eq!(meant("vpi").as_deref(), Some("vip"));
        assert_eq!(meant("gold").as_deref(), Some("gold-2026"));
        assert_eq!(meant("zzzz"), None);
    }
}
