//! Runs over a tenant that lives in the test, for behaviour that no honest tenant shows.

use rollbook::api::pacing::{Class, Gate, PaceSettings, Signal};
use rollbook::api::{
    BatchProgress, BatchReport, Holding, ListedBatch, Paced, Page, Slice, StatusDefinition, Tenant, Wanted,
};
use rollbook::ledger::{Ledger, ListIdentity, Reader};
use rollbook::model::doubt::InDoubt;
use rollbook::model::entry::EntryState;
use rollbook::model::ids::{Action, BatchId, Handle, Job, ProfileId};
use rollbook::model::lookup::Found;
use rollbook::model::outcome::{Member, ReadFailure, Refusal, WriteAnswer};
use rollbook::model::rate::Rate;
use rollbook::model::reserve::Reserve;
use rollbook::model::sample::Confirm;
use rollbook::model::way::{Sample, Way};
use rollbook::runner::context::{Halt, NOBODY, RunSettings, ask_patiently};
use rollbook::runner::event::Events;
use rollbook::runner::limits::Limits;
use rollbook::runner::preflight::{Objection, statuses};
use rollbook::runner::run::{Ending, Outcome, run};
use rollbook::runner::survey::survey;
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A tenant in memory. Profile `p-X` bears the email `X@example.com` and holds nothing.
#[derive(Default)]
struct Fake {
    changed: Mutex<HashSet<ProfileId>>,
    /// Profiles on which writes have no effect.
    deaf: Vec<&'static str>,
    /// Profiles that were merged into others since: the tenant answers about those.
    merged: Vec<&'static str>,
    /// Profiles that cannot be read.
    unreadable: Vec<&'static str>,
    /// Profiles that are unknown by their id, and found by their email all the same.
    unknown: Vec<&'static str>,
    /// Emails over which it stumbles each time; where none is named, over all.
    stumbles: Option<&'static [&'static str]>,
    /// Whom it takes for `b@example.com`, in this look-up.
    mistakes_for: Option<fn(usize) -> String>,
    /// How many members it takes at once, where there is a limit.
    takes: Option<usize>,
    /// How long it works on a batch.
    works: Duration,
    sent: Mutex<Vec<tokio::time::Instant>>,
    /// What `GET /batches/{id}` says; success where nothing is set.
    report: Option<Result<BatchReport, ReadFailure>>,
    /// What `GET /batches` says; that there is no such thing where nothing is set.
    list: Option<ReadFailure>,
    /// The filter takes `_` for a wildcard, as SQL's LIKE does.
    wildcards: bool,
    /// Somebody goes while the pages of a look-up are first read, and the last one is not needed any more.
    shrinks: Mutex<bool>,
    /// From the second look-up on the filter finds everybody.
    filter_breaks: bool,
    lookups: Mutex<usize>,
    /// It finds many emails at once, and shows there the changes of these.
    together: Option<fn(&str) -> bool>,
    /// Questions for many of whom some are changed, and for single profiles.
    asked: Arc<Asked>,
}

#[derive(Debug, Default)]
struct Asked {
    together: AtomicUsize,
    alone: AtomicUsize,
    /// How often it was asked how far a batch is.
    polls: AtomicUsize,
    /// Batches that were too large.
    too_large: AtomicUsize,
}

impl Asked {
    fn together(&self) -> usize {
        self.together.load(Ordering::Relaxed)
    }

    fn alone(&self) -> usize {
        self.alone.load(Ordering::Relaxed)
    }
}

impl Fake {
    fn find_together(&self, emails: &[&str], shows: fn(&str) -> bool) -> Page<Found> {
        let changed = self.changed.lock().unwrap();
        let found: Vec<Found> = emails
            .iter()
            .map(|email| {
                let profile = ProfileId::new(format!("p-{}", email.split('@').next().unwrap()));
                let shown = changed.contains(&profile) && shows(email);
                Found {
                    email: (*email).into(),
                    held: Some(if shown { vec![Handle::new("vip")] } else { vec![] }),
                    profile,
                }
            })
            .collect();
        if found.iter().any(|found| changed.contains(&found.profile)) {
            self.asked.together.fetch_add(1, Ordering::Relaxed);
        }
        Page::new(found, false)
    }
}

impl Tenant for Fake {
    async fn verify_token(&self) -> Result<(), ReadFailure> {
        Ok(())
    }

    async fn statuses(&self, _: u32) -> Result<Page<StatusDefinition>, ReadFailure> {
        let vip = StatusDefinition {
            handle: Handle::new("vip"),
            name: String::new(),
        };
        Ok(Page::new(vec![vip], false))
    }

    async fn profiles(&self, wanted: Wanted<'_>, slice: Slice) -> Result<Page<Found>, ReadFailure> {
        if let (Wanted::Emails(emails), Some(shows)) = (&wanted, self.together) {
            return Ok(self.find_together(emails, shows));
        }
        let (Wanted::Email(email), page) = (wanted, slice.number) else {
            return Err(ReadFailure::Missing);
        };
        tokio::time::sleep(Duration::from_millis(10)).await;
        if self
            .stumbles
            .is_some_and(|over| over.is_empty() || over.contains(&email))
        {
            return Err(ReadFailure::Spoiled("HTTP 500".into()));
        }
        let changed = self.changed.lock().unwrap();
        let found = |email: String| {
            let mut profile = ProfileId::new(format!("p-{}", email.split('@').next().unwrap()));
            let gets = changed.contains(&profile);
            if gets && self.merged.contains(&profile.as_str()) {
                profile = ProfileId::new("p-whole");
            }
            Found {
                profile,
                email,
                held: Some(if gets { vec![Handle::new("vip")] } else { vec![] }),
            }
        };
        *self.lookups.lock().unwrap() += 1;
        if let Some(mistaken) = self.mistakes_for.filter(|_| email == "b@example.com") {
            let number = *self.lookups.lock().unwrap();
            return Ok(Page::new(vec![found(mistaken(number))], false));
        }
        let broken = self.filter_breaks && *self.lookups.lock().unwrap() > 1;
        if broken || (self.wildcards && email.contains('_')) {
            let foreign = found(format!("stranger{page}@example.com"));
            if page == 2 && std::mem::take(&mut *self.shrinks.lock().unwrap()) {
                let total = Some(2);
                return Ok(Page {
                    total,
                    ..Page::new(vec![foreign], false)
                });
            }
            let items = if page == 3 {
                vec![found(email.into())]
            } else {
                vec![foreign]
            };
            return Ok(Page::new(items, page < 3));
        }
        let items = if email == NOBODY {
            vec![]
        } else {
            vec![found(email.into())]
        };
        Ok(Page::new(items, false))
    }

    async fn held_by(&self, profile: &ProfileId) -> Result<Holding, ReadFailure> {
        if self.unreadable.contains(&profile.as_str()) {
            return Err(ReadFailure::Refused(Refusal {
                status: 400,
                message: String::new(),
            }));
        }
        if self.merged.contains(&profile.as_str()) {
            return Err(ReadFailure::Elsewhere);
        }
        if self.unknown.contains(&profile.as_str()) {
            return Err(ReadFailure::Missing);
        }
        self.asked.alone.fetch_add(1, Ordering::Relaxed);
        let changed = self.changed.lock().unwrap().contains(profile);
        let held = if changed { vec![Handle::new("vip")] } else { vec![] };
        Ok(Holding {
            held,
            email: None,
            is_kept: false,
        })
    }

    async fn batch(&self, id: &BatchId) -> Result<BatchReport, ReadFailure> {
        self.asked.polls.fetch_add(1, Ordering::Relaxed);
        let number: usize = id.as_str()[1..].parse().unwrap();
        if self.sent.lock().unwrap()[number].elapsed() < self.works {
            return Ok(report(BatchProgress::Pending, "pending", 0));
        }
        self.report
            .clone()
            .unwrap_or_else(|| Ok(report(BatchProgress::Success, "success", 0)))
    }

    async fn batches(&self, _: u32) -> Result<Page<ListedBatch>, ReadFailure> {
        Err(self.list.clone().unwrap_or(ReadFailure::Missing))
    }

    async fn write(&self, _: Action, members: &[Member]) -> WriteAnswer {
        // So that not all batches of a job are read back at the same moment.
        tokio::time::sleep(Duration::from_millis(100)).await;
        if self.takes.is_some_and(|limit| members.len() > limit) {
            self.asked.too_large.fetch_add(1, Ordering::Relaxed);
            return WriteAnswer::TooLarge(Refusal {
                status: 413,
                message: "Too many.".into(),
            });
        }
        let hears = |member: &&Member| !self.deaf.iter().any(|deaf| member.profile.as_str() == *deaf);
        let reached = members.iter().filter(hears).map(|member| member.profile.clone());
        self.changed.lock().unwrap().extend(reached);
        let mut sent = self.sent.lock().unwrap();
        sent.push(tokio::time::Instant::now());
        WriteAnswer::Accepted(BatchId::new(format!("b{}", sent.len() - 1)))
    }
}

fn report(progress: BatchProgress, status: &str, failures: u64) -> BatchReport {
    BatchReport {
        ids: Vec::new(),
        progress,
        status: status.into(),
        failed: vec![],
        failures,
        items: vec![],
    }
}

/// What the export says of each email: its state, and its reason or its evidence.
type Entries = BTreeMap<String, (EntryState, Option<String>)>;

/// Runs a whole job over these emails, one by one and in one batch, and gives back how it ended and what the export says.
fn job(fake: Fake, emails: &[&str]) -> (Outcome, Entries) {
    job_in(fake, emails, Way::One, 300)
}

/// Runs a whole job over `m0`, `m1`… with many in one question.
fn big_job(fake: Fake, size: usize, group: usize, batch_size: usize) -> (Outcome, Entries) {
    let emails: Vec<String> = (0..size).map(|number| format!("m{number}@example.com")).collect();
    let emails: Vec<&str> = emails.iter().map(String::as_str).collect();
    let way = if group > 1 { Way::Many { group } } else { Way::One };
    job_in(fake, &emails, way, batch_size)
}

const PACE: PaceSettings = PaceSettings {
    rate: Rate::Unlimited,
    reserve: Reserve::NONE,
    concurrency: 4,
};

fn vip() -> Job {
    Job {
        tenant: "https://api.acme.getomneo.com/api/v3".into(),
        action: Action::Assign,
        handles: vec![Handle::new("vip")],
    }
}

fn job_in(fake: Fake, emails: &[&str], way: Way, batch_size: usize) -> (Outcome, Entries) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let vip = vip();
    let mut ledger = Ledger::create(&path, "assign").unwrap();
    let mut loading = ledger.begin_load().unwrap();
    loading.begin_list("list.txt", "text").unwrap();
    for (line, email) in emails.iter().enumerate() {
        loading.email(line as u64 + 1, email, email).unwrap();
    }
    let identity = ListIdentity {
        digest: [0; 32],
        column: 1,
        ..ListIdentity::default()
    };
    loading.end_list(&identity).unwrap();
    loading.pin(&vip, true).unwrap();
    loading.commit().unwrap();
    let settings = RunSettings {
        way,
        sample: Sample::default(),
        page_size: 100,
        concurrency: 4,
        batch_size,
        send_limit: None,
        dry_run: false,
        confirm: Confirm::Sample,
        settle_deadline: Duration::from_secs(2),
        in_doubt: InDoubt::Verify,
        quiet: Duration::from_millis(500),
        limits: Limits::default(),
        retry: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let outcome = runtime.block_on(async {
        let counts = ledger.counts().unwrap();
        let writer = ledger.into_immediate_writer("assign").unwrap();
        let (_keep, stop) = tokio::sync::watch::channel(false);
        let tenant = Paced::new(fake, Gate::open(PACE));
        run(tenant, writer, vip, settings, &counts, Events::to(drop), stop)
            .await
            .unwrap()
    });
    let mut entries = Entries::new();
    let note = |row: rollbook::ledger::EntryRow<'_>| {
        let why = row.reason.or(row.evidence).map(str::to_owned);
        entries.insert(row.email.to_owned(), (row.state, why));
        Ok::<_, rollbook::ledger::LedgerError>(())
    };
    Reader::open(&path).unwrap().each_entry(note).unwrap();
    (outcome, entries)
}

#[test]
fn failures_that_name_nobody_leave_nobody_on_trust() {
    let emails: Vec<String> = (0..100).map(|number| format!("m{number}@example.com")).collect();
    let emails: Vec<&str> = emails.iter().map(String::as_str).collect();
    let fake = Fake {
        deaf: vec!["p-m17"],
        report: Some(Ok(report(BatchProgress::Success, "success", 1))),
        ..Fake::default()
    };
    let (_, entries) = job(fake, &emails);
    let failed: Vec<_> = entries
        .iter()
        .filter(|(_, entry)| entry.0 == EntryState::Failed)
        .collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0].0, "m17@example.com");
}

fn evidence(entries: &Entries, which: &str) -> usize {
    let is = |entry: &&(EntryState, Option<String>)| entry.1.as_deref() == Some(which);
    entries.values().filter(is).count()
}

#[test]
fn a_success_is_sampled_and_a_failure_is_read_back_whole() {
    for (progress, status) in [
        (BatchProgress::Success, "success"),
        (BatchProgress::Failed, "failed"),
    ] {
        let fake = Fake {
            report: Some(Ok(report(progress, status, 0))),
            ..Fake::default()
        };
        let (outcome, entries) = big_job(fake, 100, 1, 300);
        assert!(matches!(outcome.ending, Ending::Done), "{:?}", outcome.ending);
        let all = (evidence(&entries, "seen"), evidence(&entries, "sampled"));
        match progress {
            BatchProgress::Failed => assert_eq!(all, (100, 0)),
            _ => assert!(all.0 > 0 && all.1 > 50 && all.0 + all.1 == 100, "{all:?}"),
        }
    }
}

#[test]
fn many_are_read_back_with_one_question() {
    let asked = Arc::new(Asked::default());
    let fake = Fake {
        together: Some(|_| true),
        asked: Arc::clone(&asked),
        ..Fake::default()
    };
    let (outcome, entries) = big_job(fake, 400, 20, 100);
    assert!(matches!(outcome.ending, Ending::Done), "{:?}", outcome.ending);
    assert!(evidence(&entries, "sampled") > 200, "{entries:?}");
    assert!(asked.together() <= 8 && asked.alone() <= 8, "{asked:?}");
}

#[test]
fn answers_to_many_that_show_no_change_are_not_asked_for_again_and_again() {
    let asked = Arc::new(Asked::default());
    let fake = Fake {
        together: Some(|_| false),
        asked: Arc::clone(&asked),
        ..Fake::default()
    };
    let (outcome, entries) = big_job(fake, 400, 10, 10);
    assert!(matches!(outcome.ending, Ending::Done), "{:?}", outcome.ending);
    assert!(
        entries.values().all(|entry| entry.0 == EntryState::Confirmed),
        "{entries:?}"
    );
    assert!(asked.together() < 20, "{asked:?}");
}

#[test]
fn a_few_whom_an_answer_to_many_does_not_show_speak_not_against_it() {
    let asked = Arc::new(Asked::default());
    let fake = Fake {
        together: Some(|email| !email.contains("7@")),
        asked: Arc::clone(&asked),
        ..Fake::default()
    };
    let (outcome, entries) = big_job(fake, 400, 10, 10);
    assert!(matches!(outcome.ending, Ending::Done), "{:?}", outcome.ending);
    let (seen, sampled) = (evidence(&entries, "seen"), evidence(&entries, "sampled"));
    assert!(
        seen >= 100 && seen + sampled == 400,
        "{seen} seen, {sampled} sampled"
    );
    assert!(asked.together() >= 10 && asked.alone() < 100, "{asked:?}");
}

#[test]
fn a_final_state_that_nobody_knows_does_not_keep_a_job_open_for_ever() {
    for answer in [
        Ok(report(BatchProgress::Unknown, "completed", 0)),
        Err(ReadFailure::Missing),
        Err(ReadFailure::Denied(Refusal {
            status: 403,
            message: String::new(),
        })),
    ] {
        let fake = Fake {
            deaf: vec!["p-b"],
            report: Some(answer),
            ..Fake::default()
        };
        let (outcome, entries) = job(fake, &["a@example.com", "b@example.com", "c@example.com"]);
        assert!(matches!(outcome.ending, Ending::Done), "{:?}", outcome.ending);
        assert_eq!(entries["a@example.com"].0, EntryState::Confirmed);
        assert_eq!(
            entries["b@example.com"],
            (EntryState::Failed, Some("not_confirmed".into()))
        );
    }
}

/// Runs a job over `a` and `b` that cannot end, and nobody in it may be judged.
fn judge_nobody(fake: Fake) {
    let (outcome, entries) = job(fake, &["a@example.com", "b@example.com"]);
    assert!(
        matches!(outcome.ending, Ending::Unfinished(_)),
        "{:?}",
        outcome.ending
    );
    assert!(
        entries.values().all(|entry| entry.0 == EntryState::Batched),
        "{entries:?}"
    );
}

#[test]
fn while_the_tenant_calls_a_batch_pending_nobody_fails() {
    judge_nobody(Fake {
        deaf: vec!["p-b"],
        report: Some(Ok(report(BatchProgress::Pending, "pending", 0))),
        ..Fake::default()
    });
}

/// Nothing can be said of it any more, and the job must not wait for it for ever.
#[test]
fn a_profile_that_was_merged_into_another_is_gone() {
    let fake = Fake {
        merged: vec!["p-b"],
        ..Fake::default()
    };
    let (outcome, entries) = job(fake, &["a@example.com", "b@example.com"]);
    assert!(matches!(outcome.ending, Ending::Done), "{:?}", outcome.ending);
    let gone = (EntryState::Failed, Some("profile_gone".to_owned()));
    assert_eq!(entries["b@example.com"], gone, "{entries:?}");
    assert_eq!(entries["a@example.com"].0, EntryState::Confirmed);
}

/// What answers 404 there may be a gateway, for as long as it likes.
#[test]
fn whoever_is_still_found_by_email_is_not_gone() {
    let fake = Fake {
        unknown: vec!["p-b"],
        ..Fake::default()
    };
    let (outcome, entries) = job(fake, &["a@example.com", "b@example.com"]);
    assert!(matches!(outcome.ending, Ending::Done), "{:?}", outcome.ending);
    assert_eq!(evidence(&entries, "seen"), 2, "{entries:?}");

    // What shows nothing there may be late.
    let fake = Fake {
        unknown: vec!["p-b"],
        deaf: vec!["p-b"],
        ..Fake::default()
    };
    judge_nobody(fake);
}

/// Of the last that is left nobody else can tell whether it is this one or the tenant.
#[test]
fn a_look_up_that_never_works_fails_alone_and_holds_nothing_up() {
    let failed = (EntryState::Failed, Some("lookup_failed".to_owned()));
    let stumbling = |over| Fake {
        stumbles: Some(over),
        ..Fake::default()
    };
    for others in [&["a@example.com"][..], &[]] {
        let (outcome, entries) = job(
            stumbling(&["b@example.com"]),
            &[others, &["b@example.com"]].concat(),
        );
        assert!(matches!(outcome.ending, Ending::Done), "{:?}", outcome.ending);
        assert_eq!(entries["b@example.com"], failed);
        assert_eq!(evidence(&entries, "seen"), others.len());
    }
    let (outcome, entries) = job(stumbling(&[]), &["b@example.com"]);
    assert!(
        matches!(outcome.ending, Ending::Halted(Halt::Outage(_))),
        "{:?}",
        outcome.ending
    );
    assert_eq!(entries["b@example.com"].0, EntryState::Pending);
}

/// Answers that are mixed up name others each time; a filter that finds too many finds the same ones.
#[test]
fn nobody_is_passed_over_for_answers_about_ever_other_people() {
    let outcome_of_b = |mistaken: fn(usize) -> String| {
        let fake = Fake {
            mistakes_for: Some(mistaken),
            ..Fake::default()
        };
        let (_, entries) = job(fake, &["a@example.com", "b@example.com"]);
        entries["b@example.com"].clone()
    };
    let not_found = (EntryState::Skipped, Some("not_found".to_owned()));
    assert_eq!(outcome_of_b(|_| "other@example.com".into()), not_found);
    let failed = (EntryState::Failed, Some("lookup_failed".to_owned()));
    assert_eq!(
        outcome_of_b(|number| format!("other{number}@example.com")),
        failed
    );
}

#[test]
fn what_is_too_large_is_halved_and_what_comes_after_it_is_smaller() {
    let limited = |limit, size| {
        let asked = Arc::new(Asked::default());
        let fake = Fake {
            takes: Some(limit),
            asked: Arc::clone(&asked),
            ..Fake::default()
        };
        let (outcome, entries) = big_job(fake, size, 1, 64);
        (outcome, entries, asked.too_large.load(Ordering::Relaxed))
    };
    let (outcome, entries, too_large) = limited(16, 2_000);
    assert!(matches!(outcome.ending, Ending::Done), "{:?}", outcome.ending);
    assert!(entries.values().all(|entry| entry.0 == EntryState::Confirmed));
    // Those that were made before it was known, and their halves.
    assert!(too_large <= 12, "{too_large} of about 125 were too large");

    let (outcome, entries, too_large) = limited(0, 1);
    assert!(matches!(outcome.ending, Ending::Done), "{:?}", outcome.ending);
    let refused = (EntryState::Failed, Some("refused".to_owned()));
    assert!(entries.values().all(|entry| *entry == refused), "{entries:?}");
    assert_eq!(too_large, 3, "one cannot be halved, and is tried three times");
}

/// How long batches take is learned, so that most of them are asked for when they are finished.
#[test]
fn batches_that_take_their_time_are_not_asked_for_again_and_again() {
    for (works, polls_at_most) in [(0, 200), (500, 300), (1_500, 400)] {
        let asked = Arc::new(Asked::default());
        let fake = Fake {
            works: Duration::from_millis(works),
            asked: Arc::clone(&asked),
            ..Fake::default()
        };
        let (outcome, _) = big_job(fake, 1_000, 50, 5);
        assert!(matches!(outcome.ending, Ending::Done), "{:?}", outcome.ending);
        let polls = asked.polls.load(Ordering::Relaxed);
        assert!(
            polls <= polls_at_most,
            "{polls} for 200 batches that take {works} ms"
        );
    }
}

/// A tenant that leaves its batches pending for ever would otherwise keep a job open for ever.
#[test]
fn a_batch_that_stays_pending_is_settled_where_everybody_shows_the_change() {
    let fake = Fake {
        report: Some(Ok(report(BatchProgress::Pending, "pending", 0))),
        ..Fake::default()
    };
    let (outcome, entries) = job(fake, &["a@example.com", "b@example.com"]);
    assert!(matches!(outcome.ending, Ending::Done), "{:?}", outcome.ending);
    assert_eq!(evidence(&entries, "seen"), 2);
}

/// It is one rung of the ladder less, and nothing is in doubt yet.
#[test]
fn a_list_of_batches_that_is_broken_for_good_keeps_nobody_waiting() {
    for broken in [
        ReadFailure::Unreachable("HTTP 504".into()),
        ReadFailure::Spoiled("HTTP 500".into()),
    ] {
        let fake = Fake {
            list: Some(broken),
            ..Fake::default()
        };
        let (outcome, entries) = job(fake, &["a@example.com", "b@example.com"]);
        assert!(matches!(outcome.ending, Ending::Done), "{:?}", outcome.ending);
        assert_eq!(evidence(&entries, "seen"), 2, "{entries:?}");
    }
}

#[test]
fn an_unknown_batch_that_nobody_shows_may_not_have_begun() {
    judge_nobody(Fake {
        deaf: vec!["p-a", "p-b"],
        report: Some(Err(ReadFailure::Missing)),
        ..Fake::default()
    });
}

#[test]
fn who_cannot_be_read_back_is_not_judged() {
    for report in [
        Ok(report(BatchProgress::Success, "success", 1)),
        Err(ReadFailure::Missing),
    ] {
        judge_nobody(Fake {
            unreadable: vec!["p-b"],
            report: Some(report),
            ..Fake::default()
        });
    }
}

#[test]
fn an_address_that_looks_like_a_wildcard_is_still_found() {
    let fake = Fake {
        wildcards: true,
        ..Fake::default()
    };
    let (outcome, entries) = job(fake, &["a@example.com", "____@example.com", "b@example.com"]);
    assert!(matches!(outcome.ending, Ending::Done), "{:?}", outcome.ending);
    assert!(
        entries.values().all(|entry| entry.0 == EntryState::Confirmed),
        "{entries:?}"
    );
}

/// Whoever moved up over the edge of a page was on none of them.
#[test]
fn pages_that_change_while_they_are_read_are_read_again() {
    let fake = Fake {
        wildcards: true,
        shrinks: Mutex::new(true),
        ..Fake::default()
    };
    let (_, entries) = job(fake, &["a@example.com", "____@example.com"]);
    assert!(
        entries.values().all(|entry| entry.0 == EntryState::Confirmed),
        "{entries:?}"
    );
}

#[test]
fn a_filter_that_stops_filtering_stops_the_run() {
    let fake = Fake {
        filter_breaks: true,
        ..Fake::default()
    };
    let emails: Vec<String> = (0..20).map(|number| format!("m{number}@example.com")).collect();
    let emails: Vec<&str> = emails.iter().map(String::as_str).collect();
    let (outcome, entries) = job(fake, &emails);
    assert!(
        matches!(outcome.ending, Ending::Halted(Halt::FilterIgnored)),
        "{:?}",
        outcome.ending
    );
    assert!(
        entries.values().all(|entry| entry.0 != EntryState::Failed),
        "{entries:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_long_hold_is_told_to_who_has_not_decided_to_wait_and_a_short_one_is_waited_out() {
    let gate = Gate::open(PACE);
    let tenant = Paced::new(Fake::default(), gate.clone());
    let told = |seconds| Signal::SlowDown(Some(Duration::from_secs(seconds)));
    gate.enter(Class::Lookup).await.leave(told(50));
    statuses(&tenant).await.unwrap();
    let mut permits = Vec::new();
    for _ in 0..PACE.concurrency {
        permits.push(gate.enter(Class::Lookup).await);
    }
    let waiting = tenant.clone();
    let waiting = tokio::spawn(async move { statuses(&waiting).await });
    tokio::task::yield_now().await;
    let began = tokio::time::Instant::now();
    permits.remove(0).leave(told(3_600));
    let is_told =
        |objection| matches!(objection, Objection::Later(left) if left.as_secs().abs_diff(3_600) <= 1);
    assert!(
        is_told(waiting.await.unwrap().unwrap_err()),
        "it is met while waiting"
    );
    drop(permits);
    assert!(is_told(statuses(&tenant).await.unwrap_err()), "it is met before");
    assert!(is_told(survey(&tenant, &vip(), &[]).await.unwrap_err()));
    assert!(began.elapsed() < Duration::from_secs(1));
    let question = |tenant: Arc<Fake>| async move { tenant.verify_token().await };
    ask_patiently(&tenant, Class::Lookup, None, question)
        .await
        .unwrap();
    assert!(
        began.elapsed() > Duration::from_secs(3_500),
        "who has decided waits"
    );
}
