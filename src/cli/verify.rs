//! `verify`: is everybody still as they were confirmed? Sends nothing; writes down only that it looked, and what it saw.

use super::args::{Common, VerifyArgs};
use super::error::{Failure, Kind};
use super::job::{print, print_json};
use super::settings;
use super::signals::stop_on_signals;
use crate::api::pacing::PaceSettings;
use crate::audit::SCHEMA_VERSION;
use crate::audit::summary::masked;
use crate::ledger::{Confirmed, Drifted, Ledger, LedgerError, Population, Verification, now_ms};
use crate::model::chosen::Chosen;
use crate::model::drift::Drift;
use crate::model::ids::{EntryId, Job};
use crate::model::sample::share_between;
use crate::model::text::printable;
use crate::runner::verify::{Looked, verify as look_at};
use crate::ui::command::on_ledger;
use crate::ui::format::{at_most_percent, count, counted, put, shortened};
use crate::ui::say;
use std::collections::HashMap;
use std::fmt::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Profiles that are looked at unless told otherwise: none of so many, and with 95 % confidence fewer than 1.3 % of all are.
const USUAL_SAMPLE: u64 = 300;
/// Requests under way at the same time.
const AT_ONCE: usize = 8;
/// Between two words about how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// Drifted profiles that are shown.
const SHOWN: usize = 20;

/// What one verification has to tell.
struct Told {
    no: i64,
    found: Verification,
    broke_off: Option<String>,
    /// The emails and profiles of those who were to be looked at.
    people: HashMap<EntryId, Confirmed>,
    /// The earlier verification that it is compared with, when that ended, and who had drifted then.
    before: Option<(i64, i64, Vec<Drifted>)>,
}

/// `verify`.
pub fn verify(args: &VerifyArgs, common: &Common) -> Result<ExitCode, Failure> {
    let Some(mut ledger) = settings::open_ledger(&common.ledger, "verify")? else {
        return Err(LedgerError::Missing(common.ledger.clone()).into());
    };
    let Some(pinned) = ledger.job()? else {
        return Err(
            Failure::new(Kind::Usage, "the ledger has no job yet, so nothing was confirmed").hint(format!(
                "`{}` begins one",
                on_ledger(&common.ledger, "assign --status HANDLE")
            )),
        );
    };
    let before = before(args, &ledger)?;
    let population = match (&before, args.all) {
        (Some((no, ..)), _) => Population::Same(*no),
        (None, true) => Population::All,
        (None, false) => Population::Sample(args.sample.unwrap_or(USUAL_SAMPLE)),
    };
    let confirmed = ledger.confirmed(population)?;
    let all = ledger.confirmed_count()?;
    if confirmed.is_empty() {
        return Err(Failure::new(
            Kind::Usage,
            "no entry is confirmed, so there is nothing to look at",
        )
        .hint(format!(
            "`{}` says how the job stands",
            on_ledger(&common.ledger, "status")
        )));
    }
    let began_at = now_ms();
    let people = confirmed.iter().map(|entry| (entry.id, entry.clone())).collect();
    let chosen = ledger.chosen()?.unwrap_or_default();
    let looked = look(args, common, &pinned.job, &chosen, confirmed)?;
    let found = Verification {
        everybody: looked.checked.len() as u64 == all,
        confirmed: all,
        checked: looked.checked,
        unanswered: looked.unanswered,
        complete: looked.broke_off.is_none(),
        began_at,
        drifted: looked.drifted,
    };
    let no = ledger.keep_verification(&found)?;
    let broke_off = looked.broke_off;
    let told = Told {
        no,
        found,
        broke_off,
        people,
        before,
    };
    if args.json {
        print_json(&format!("{}\n", told.to_json()))?;
    } else {
        print(&told.table())?;
    }
    told.ending(common)
}

/// The verification to compare with, where one was asked for.
fn before(args: &VerifyArgs, ledger: &Ledger) -> Result<Option<(i64, i64, Vec<Drifted>)>, Failure> {
    let Some(asked) = args.since else { return Ok(None) };
    let last = ledger.last_verification()?;
    let Some(no) = (if asked == 0 { last } else { Some(asked) }) else {
        return Err(Failure::new(
            Kind::Usage,
            "there was no verification yet, so nothing to compare with",
        )
        .hint("leave --since out: what is seen now can be compared with later"));
    };
    let Some((ended, drifted)) = ledger.drifted_then(no)? else {
        let message = format!("there is no verification {no}");
        let hint = last.map_or("there is none yet".to_owned(), |last| {
            format!("the last one was {last}")
        });
        return Err(Failure::new(Kind::Usage, message).hint(hint));
    };
    Ok(Some((no, ended, drifted)))
}

fn look(
    args: &VerifyArgs,
    common: &Common,
    job: &Job,
    chosen: &Chosen,
    confirmed: Vec<Confirmed>,
) -> Result<Looked, Failure> {
    let base = settings::base_url(&args.connection, Some(&job.tenant))?;
    if base.to_string() != job.tenant {
        let message = format!("this ledger's job is at {}, not at {base}", job.tenant);
        return Err(Failure::new(Kind::Ledger, message).hint("leave --tenant and --base-url out"));
    }
    let token = settings::token(&args.connection)?;
    let pace = PaceSettings {
        rate: args.rate.unwrap_or(chosen.rate),
        reserve: chosen.reserve,
        concurrency: AT_ONCE,
    };
    let total = confirmed.len() as u64;
    settings::runtime()?.block_on(async {
        let tenant = settings::tenant(&base, &token, pace, settings::budget(&base).ok())?;
        let mut told = Instant::now();
        let progress = |checked: usize| {
            if !common.quiet && told.elapsed() >= PROGRESS_INTERVAL {
                told = Instant::now();
                say(format_args!(
                    "verifying: {} of {}",
                    count(checked as u64),
                    count(total)
                ));
            }
        };
        Ok(look_at(&tenant, job, confirmed, AT_ONCE, stop_on_signals(), progress).await)
    })
}

impl Told {
    /// Whoever drifted since the earlier verification, and whoever is as they were again.
    fn changes(&self) -> Option<(u64, u64)> {
        let (_, _, then) = self.before.as_ref()?;
        let had = |id: EntryId| then.iter().any(|drift| drift.id == id);
        let has = |id: EntryId| self.found.drifted.iter().any(|drift| drift.id == id);
        let new = self.found.drifted.iter().filter(|drift| !had(drift.id)).count();
        let mended = then
            .iter()
            .filter(|drift| self.found.checked.contains(&drift.id) && !has(drift.id))
            .count();
        Some((new as u64, mended as u64))
    }

    fn of_kind(&self, kind: Drift) -> u64 {
        self.found
            .drifted
            .iter()
            .filter(|drift| drift.kind == kind)
            .count() as u64
    }

    fn table(&self) -> String {
        let (checked, drifted) = (self.found.checked.len() as u64, self.found.drifted.len() as u64);
        let mut text = String::new();
        let how = if self.found.everybody {
            ""
        } else {
            ", chosen at random"
        };
        let line = format!(
            "{} of {} confirmed profiles{how} (verification {})",
            count(checked),
            count(self.found.confirmed),
            self.no
        );
        put(&mut text, "Looked at", &line);
        let _ = writeln!(text, "\n  {:<15} {:>9}", "unchanged", count(checked - drifted));
        for kind in Drift::ALL {
            let profiles = self.of_kind(kind);
            if profiles > 0 {
                let _ = writeln!(
                    text,
                    "  {:<15} {:>9}   {}",
                    kind.as_str(),
                    count(profiles),
                    meaning(kind)
                );
            }
        }
        if self.found.unanswered > 0 {
            let _ = writeln!(
                text,
                "  {:<15} {:>9}   the tenant could not tell",
                "unknown",
                count(self.found.unanswered)
            );
        }
        text.push('\n');
        self.put_confidence(&mut text);
        if let Some((new, mended)) = self.changes() {
            let (no, ..) = self
                .before
                .as_ref()
                .map_or((0, 0, &[][..]), |(no, at, then)| (*no, *at, &then[..]));
            let line = format!(
                "since verification {no}: {} drifted, {} as they were again",
                count(new),
                count(mended)
            );
            put(&mut text, "Changed", &line);
        }
        for drift in self.found.drifted.iter().take(SHOWN) {
            let entry = &self.people[&drift.id];
            let _ = writeln!(
                text,
                "  {:<14}  {:<36}  {}",
                drift.kind.as_str(),
                printable(entry.profile.as_str()),
                shortened(&masked(entry.email.as_str()), 24),
            );
        }
        if self.found.drifted.len() > SHOWN {
            let more = (self.found.drifted.len() - SHOWN) as u64;
            let _ = writeln!(text, "  and {} more: --json names them", count(more));
        }
        text
    }

    fn put_confidence(&self, text: &mut String) {
        let (checked, drifted) = (self.found.checked.len() as u64, self.found.drifted.len() as u64);
        let Some((low, high)) = share_between(drifted, checked).filter(|_| !self.found.everybody) else {
            return;
        };
        let line = match drifted {
            0 => format!(
                "none seen: with 95 % confidence at most {} of all have drifted",
                at_most_percent(high)
            ),
            _ => format!(
                "{:.1} % of those seen; with 95 % confidence between {:.1} % and {} of all",
                100.0 * drifted as f64 / checked as f64,
                (1_000.0 * low).floor() / 10.0,
                at_most_percent(high)
            ),
        };
        put(text, "Drift", &line);
    }

    fn to_json(&self) -> serde_json::Value {
        let (checked, drifted) = (self.found.checked.len() as u64, self.found.drifted.len() as u64);
        let between = share_between(drifted, checked).filter(|_| !self.found.everybody);
        let kinds: serde_json::Map<String, serde_json::Value> = Drift::ALL
            .into_iter()
            .map(|kind| (kind.as_str().to_owned(), self.of_kind(kind).into()))
            .collect();
        let people = self.found.drifted.iter().map(|drift| {
            let entry = &self.people[&drift.id];
            serde_json::json!({
                "kind": drift.kind.as_str(),
                "profile_id": entry.profile.as_str(),
                "email": entry.email.as_str(),
                "detail": drift.detail,
            })
        });
        let changes = self.changes();
        serde_json::json!({
            "schema_version": SCHEMA_VERSION,
            "verification": self.no,
            "confirmed": self.found.confirmed,
            "checked": checked,
            "unchanged": checked - drifted,
            "unknown": self.found.unanswered,
            "complete": self.found.complete,
            "drift": kinds,
            "share_at_least": between.map(|(low, _)| low),
            "share_at_most": between.map(|(_, high)| high),
            "since": self.before.as_ref().map(|(no, ..)| no),
            "drifted_since": changes.map(|(new, _)| new),
            "mended_since": changes.map(|(_, mended)| mended),
            "profiles": people.collect::<Vec<_>>(),
        })
    }

    fn ending(&self, common: &Common) -> Result<ExitCode, Failure> {
        if let Some(why) = &self.broke_off {
            return Err(Failure::new(Kind::Stopped, format!("broke off: {why}"))
                .hint(format!("what was seen is kept as verification {}", self.no)));
        }
        let drifted = self.found.drifted.len() as u64;
        if drifted > 0 {
            let message = format!(
                "{} not as confirmed",
                counted(drifted, "profile is", "profiles are")
            );
            let show = on_ledger(&common.ledger, "show --now PROFILE_ID");
            return Err(Failure::new(Kind::Unsettled, message).hint(format!(
                "`{show}` tells the whole story of one; nothing was changed"
            )));
        }
        if self.found.unanswered > 0 {
            let unknown = counted(self.found.unanswered, "profile", "profiles");
            return Err(Failure::new(
                Kind::Stopped,
                format!("the tenant could not tell about {unknown}"),
            )
            .hint(format!(
                "`{}` asks again",
                on_ledger(&common.ledger, "verify --since")
            )));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn meaning(kind: Drift) -> &'static str {
    match kind {
        Drift::StatusChanged => "the profile does not show the change any more",
        Drift::ProfileGone => "profile and email are gone",
        Drift::ProfileMerged => "the profile is gone, its email leads to another",
        Drift::EmailMoved => "the profile bears another email",
        Drift::Ambiguous => "several profiles bear the email now",
    }
}
