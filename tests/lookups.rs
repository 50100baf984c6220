//! Look-ups at tenants that are out of order for a while, or have ways of their own: nobody is left out for good,
//! nobody is taken for somebody else, and no list is believed that says something else than the profiles.

use crate::support::raw::{Bad, PEOPLE, Raw, Site};
use crate::support::share::pick;
use crate::support::{Scene, check_doctor, options};
use rollbook::api::pacing::{Gate, PaceSettings};
use rollbook::api::{
    BatchReport, Holding, ListedBatch, Paced, Page, Slice, StatusDefinition, Tenant, Wanted,
};
use rollbook::ledger::{EntryRow, Ledger, LedgerError, ListIdentity, Reader};
use rollbook::model::doubt::InDoubt;
use rollbook::model::email::Email;
use rollbook::model::ids::{Action, BatchId, Handle, Job, ProfileId};
use rollbook::model::lookup::Found;
use rollbook::model::outcome::{HTML_PAGE, Member, ReadFailure, Refusal, WriteAnswer};
use rollbook::model::rate::Rate;
use rollbook::model::reserve::Reserve;
use rollbook::model::sample::Confirm;
use rollbook::model::way::{Sample, Way};
use rollbook::runner::context::{Halt, RunSettings};
use rollbook::runner::event::Events;
use rollbook::runner::limits::Limits;
use rollbook::runner::run::{Ending, run};
use rollbook::sandbox::Options;
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// How long each answer takes.
const LATENCY: Duration = Duration::from_millis(25);

/// What becomes of the answer to a search: when it is asked for, on which page, and what a good tenant would say.
type Twist =
    Box<dyn Fn(Duration, Wanted<'_>, u32, Page<Found>) -> Result<Page<Found>, ReadFailure> + Send + Sync>;

/// What becomes of a look at one profile: when it is asked for, which one, and what a good tenant would say.
type Look = Box<dyn Fn(Duration, &str, Holding) -> Result<Holding, ReadFailure> + Send + Sync>;

/// A tenant in memory.
struct Town {
    people: Vec<(String, String, Vec<Handle>)>,
    /// Letter case matters to its filters.
    heeds_case: bool,
    /// What lists say that a profile has which has this.
    listed: fn(&[Handle]) -> Option<Vec<Handle>>,
    twist: Twist,
    look: Look,
    latency: Duration,
    began: Instant,
    questions: Arc<AtomicU64>,
    single: Arc<AtomicU64>,
}

impl Town {
    fn new(people: Vec<(String, String, Vec<Handle>)>) -> Self {
        Self {
            people,
            heeds_case: false,
            listed: |held| Some(held.to_vec()),
            twist: Box::new(|_, _, _, page| Ok(page)),
            look: Box::new(|_, _, holding| Ok(holding)),
            latency: LATENCY,
            began: Instant::now(),
            questions: Arc::default(),
            single: Arc::default(),
        }
    }

    fn of(count: usize) -> Self {
        Self::new((0..count).map(|number| person(number, &[])).collect())
    }

    fn twisted(
        self,
        twist: impl Fn(Duration, Wanted<'_>, u32, Page<Found>) -> Result<Page<Found>, ReadFailure>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self {
            twist: Box::new(twist),
            ..self
        }
    }

    fn finds(&self, wanted: Wanted<'_>, email: &str, held: &[Handle]) -> bool {
        let same = |wanted: &str| {
            if self.heeds_case {
                wanted == email
            } else {
                wanted.eq_ignore_ascii_case(email)
            }
        };
        match wanted {
            Wanted::Email(wanted) => same(wanted),
            Wanted::Emails(wanted) => wanted.iter().any(|wanted| same(wanted)),
            Wanted::Ids(_) => false,
            Wanted::Holders(handle) => held.contains(handle),
            Wanted::Everybody => true,
        }
    }
}

fn person(number: usize, held: &[&str]) -> (String, String, Vec<Handle>) {
    let held = held.iter().map(|handle| Handle::new(*handle)).collect();
    (format!("{number:06}"), format!("p{number}@example.com"), held)
}

impl Tenant for Town {
    async fn verify_token(&self) -> Result<(), ReadFailure> {
        Ok(())
    }

    async fn statuses(&self, _: u32) -> Result<Page<StatusDefinition>, ReadFailure> {
        Ok(Page::new(vec![], false))
    }

    async fn profiles(&self, wanted: Wanted<'_>, slice: Slice) -> Result<Page<Found>, ReadFailure> {
        self.questions.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(self.latency).await;
        let found = self
            .people
            .iter()
            .filter(|(_, email, held)| self.finds(wanted, email, held));
        let found = found.map(|(id, email, held)| Found {
            profile: ProfileId::new(id.clone()),
            email: email.clone(),
            held: (self.listed)(held),
        });
        let skipped = slice.size as usize * (slice.number as usize - 1);
        let all: Vec<Found> = found.collect();
        let total = all.len();
        let items: Vec<Found> = all.into_iter().skip(skipped).take(slice.size as usize).collect();
        let page = Page {
            more: skipped + items.len() < total,
            items,
            total: Some(total as u64),
            size: Some(u64::from(slice.size)),
        };
        (self.twist)(self.began.elapsed(), wanted, slice.number, page)
    }

    async fn held_by(&self, profile: &ProfileId) -> Result<Holding, ReadFailure> {
        self.questions.fetch_add(1, Ordering::Relaxed);
        self.single.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(self.latency).await;
        let person = self.people.iter().find(|(id, ..)| id == profile.as_str());
        let (_, email, held) = person.ok_or(ReadFailure::Missing)?;
        let holding = Holding {
            held: held.clone(),
            email: Some(email.clone()),
            is_kept: false,
        };
        (self.look)(self.began.elapsed(), profile.as_str(), holding)
    }

    async fn batch(&self, _: &BatchId) -> Result<BatchReport, ReadFailure> {
        Err(ReadFailure::Missing)
    }

    async fn batches(&self, _: u32) -> Result<Page<ListedBatch>, ReadFailure> {
        Ok(Page::new(vec![], false))
    }

    async fn write(&self, _: Action, _: &[Member]) -> WriteAnswer {
        panic!("a dry run sends nothing")
    }
}

/// What became of a look-up of a list.
struct Came {
    ending: Ending,
    /// Email → state, reason and profile.
    verdicts: BTreeMap<String, (String, String, String)>,
    questions: u64,
    single: u64,
}

impl Came {
    #[track_caller]
    fn done(self) -> Self {
        assert!(matches!(self.ending, Ending::Done), "{:?}", self.ending);
        self
    }

    fn states(&self) -> BTreeMap<String, usize> {
        let mut states = BTreeMap::new();
        for (state, reason, _) in self.verdicts.values() {
            let name = if state == "skipped" { reason } else { state };
            *states.entry(name.clone()).or_default() += 1;
        }
        states
    }

    #[track_caller]
    fn expect(&self, states: &[(&str, usize)]) {
        let wanted: BTreeMap<String, usize> = states
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect();
        assert_eq!(self.states(), wanted);
    }
}

/// Looks a list up, in virtual time, and sends nothing.
fn look_up(town: impl FnOnce() -> Town, list: &[String], action: Action, way: Way) -> Came {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let town = town();
        let (questions, single) = (town.questions.clone(), town.single.clone());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let job = Job {
            tenant: "https://api.acme.getomneo.com/api/v3".into(),
            action,
            handles: vec![Handle::new("vip")],
        };
        let mut ledger = Ledger::create(&path, "assign").unwrap();
        let mut loading = ledger.begin_load().unwrap();
        loading.begin_list("list.txt", "text").unwrap();
        for (line, written) in list.iter().enumerate() {
            let email = Email::parse(written).unwrap();
            loading.email(line as u64 + 1, email.as_str(), written).unwrap();
        }
        loading.end_list(&ListIdentity::default()).unwrap();
        loading.pin(&job, true).unwrap();
        loading.commit().unwrap();
        let pace = PaceSettings {
            rate: Rate::Unlimited,
            reserve: Reserve::NONE,
            concurrency: 4,
        };
        let settings = RunSettings {
            concurrency: 4,
            way,
            sample: Sample::default(),
            limits: Limits::default(),
            page_size: 100,
            batch_size: 300,
            send_limit: None,
            dry_run: true,
            confirm: Confirm::Sample,
            settle_deadline: Duration::from_secs(2),
            in_doubt: InDoubt::Verify,
            quiet: Duration::from_secs(75),
            retry: None,
        };
        let counts = ledger.counts().unwrap();
        let writer = ledger.into_immediate_writer("assign").unwrap();
        let (_keep, stop) = tokio::sync::watch::channel(false);
        let tenant = Paced::new(town, Gate::open(pace));
        let outcome = run(tenant, writer, job, settings, &counts, Events::to(drop), stop)
            .await
            .unwrap();
        let mut verdicts = BTreeMap::new();
        let note = |row: EntryRow<'_>| {
            let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
            verdicts.insert(
                row.email.to_owned(),
                (row.state.to_string(), text(row.reason), text(row.profile_id)),
            );
            Ok::<_, LedgerError>(())
        };
        Reader::open(&path).unwrap().each_entry(note).unwrap();
        Came {
            ending: outcome.ending,
            verdicts,
            questions: questions.load(Ordering::Relaxed),
            single: single.load(Ordering::Relaxed),
        }
    })
}

const MANY: Way = Way::Many { group: 90 };

/// So many people of the tenant, and among them every so many somebody whom it does not know.
fn list(people: usize, unknown_every: usize) -> Vec<String> {
    let mut list = Vec::new();
    for number in 0..people {
        list.push(format!("p{number}@example.com"));
        if unknown_every > 0 && number % unknown_every == 0 {
            list.push(format!("stranger{number}@example.org"));
        }
    }
    list
}

fn refusal(status: u16, message: &str) -> Refusal {
    Refusal {
        status,
        message: message.into(),
    }
}

/// What a search says that is out of order.
fn out_of_order() -> Vec<(&'static str, Option<ReadFailure>)> {
    vec![
        ("empty", None),
        ("400", Some(ReadFailure::Refused(refusal(400, "Bad request.")))),
        ("422", Some(ReadFailure::Refused(refusal(422, "")))),
        ("404", Some(ReadFailure::Missing)),
        (
            "403 of a gateway",
            Some(ReadFailure::Denied(refusal(403, HTML_PAGE))),
        ),
        ("500", Some(ReadFailure::Spoiled("HTTP 500".into()))),
        ("503", Some(ReadFailure::Unreachable("HTTP 503".into()))),
        ("other people", Some(ReadFailure::Elsewhere)),
    ]
}

fn said(failure: &Option<ReadFailure>) -> Result<Page<Found>, ReadFailure> {
    match failure {
        None => Ok(Page::new(vec![], false)),
        Some(failure) => Err(failure.clone()),
    }
}

#[test]
fn a_search_that_is_out_of_order_for_two_seconds_leaves_nobody_out() {
    let list = list(300, 8);
    for way in [Way::One, MANY] {
        for (what, failure) in out_of_order() {
            for began in [300, 0, 1_700].into_iter().take(pick(1, 3, 3)) {
                let failure = failure.clone();
                let out = Duration::from_millis(began)..Duration::from_millis(began + 2_000);
                let town = || {
                    Town::of(300).twisted(move |at, _, _, page| {
                        if out.contains(&at) {
                            said(&failure)
                        } else {
                            Ok(page)
                        }
                    })
                };
                let came = look_up(town, &list, Action::Assign, way).done();
                let unknown = list.len() - 300;
                assert_eq!(
                    came.states(),
                    BTreeMap::from([("not_found".to_owned(), unknown), ("resolved".to_owned(), 300)]),
                    "{what} from {began} ms on, {way}"
                );
            }
        }
    }
}

/// Where few questions are asked in a second, an outage meets one or two of them.
#[test]
fn an_outage_that_meets_few_questions_is_noticed() {
    for began in 10..40 {
        let out = Duration::from_secs(began)..Duration::from_secs(began + 2);
        let town = || Town {
            latency: Duration::from_secs(5),
            ..Town::of(30).twisted(move |at, _, _, page| {
                if out.contains(&at) {
                    Ok(Page::new(vec![], false))
                } else {
                    Ok(page)
                }
            })
        };
        look_up(town, &list(30, 0), Action::Assign, Way::One)
            .done()
            .expect(&[("resolved", 30)]);
    }
}

#[test]
fn a_search_that_stays_out_of_order_ends_the_run_and_fails_nobody() {
    for (what, failure) in out_of_order() {
        // Whoever is away is waited for.
        if what == "503" {
            continue;
        }
        let list = list(300, 8);
        let failing = failure.clone();
        let town = || {
            Town::of(300).twisted(move |at, _, _, page| {
                if at > Duration::from_millis(500) {
                    said(&failing)
                } else {
                    Ok(page)
                }
            })
        };
        let came = look_up(town, &list, Action::Assign, Way::One);
        assert!(
            matches!(
                came.ending,
                Ending::Halted(Halt::SearchFails(_) | Halt::Outage(_))
            ),
            "{what}: {:?}",
            came.ending
        );
        for (email, (state, reason, _)) in &came.verdicts {
            let right = match state.as_str() {
                "resolved" | "pending" => true,
                "skipped" => reason == "not_found" && email.starts_with("stranger"),
                _ => false,
            };
            assert!(right, "{what}: {email} is {state} {reason}");
        }
    }
}

#[test]
fn a_token_that_may_not_read_profiles_ends_the_run_at_once() {
    let denied = ReadFailure::Denied(refusal(403, "Invalid scope(s) provided."));
    let town = || Town::of(3).twisted(move |_, _, _, _| Err(denied.clone()));
    let came = look_up(town, &list(3, 0), Action::Assign, Way::One);
    assert!(
        matches!(came.ending, Ending::Halted(Halt::Denied(_))),
        "{:?}",
        came.ending
    );
    came.expect(&[("pending", 3)]);
}

/// A firewall that takes offence at one address.
#[test]
fn one_question_that_is_refused_fails_one_entry() {
    for failure in [
        ReadFailure::Denied(refusal(403, HTML_PAGE)),
        ReadFailure::Denied(refusal(403, "Forbidden.")),
        ReadFailure::Refused(refusal(400, "")),
        ReadFailure::Missing,
        ReadFailure::Spoiled("HTTP 500".into()),
        ReadFailure::Unreachable("HTTP 503".into()),
        ReadFailure::SlowDown(Some(Duration::from_secs(1))),
        ReadFailure::Elsewhere,
    ] {
        let refused = failure.clone();
        let town = || {
            Town::of(40).twisted(move |_, wanted, _, page| match wanted {
                Wanted::Email("p7@example.com") => Err(refused.clone()),
                _ => Ok(page),
            })
        };
        let came = look_up(town, &list(40, 0), Action::Assign, Way::One).done();
        assert_eq!(came.verdicts["p7@example.com"].0, "failed", "{failure:?}");
        came.expect(&[("failed", 1), ("resolved", 39)]);
    }
}

/// What doubting costs where nothing is out of order: a few requests in a hundred.
#[test]
fn doubts_cost_little_at_a_tenant_that_is_well() {
    for (way, unknown_every, most) in [
        (Way::One, 0, 1_020),
        (Way::One, 8, 1_125 + 125 + 50),
        (MANY, 0, 12 + 2 + 20),
        (MANY, 8, 13 + 2 + 125 + 20),
    ] {
        let list = list(1_000, unknown_every);
        let came = look_up(|| Town::of(1_000), &list, Action::Assign, way).done();
        assert_eq!(came.states()["resolved"], 1_000);
        println!("{way}, {} emails: {} requests", list.len(), came.questions);
        assert!(
            came.questions <= most,
            "{way}, one in {unknown_every}: {} requests",
            came.questions
        );
    }
    // A list of people whom it does not know at all is doubted, and not for ever.
    let strangers: Vec<String> = (0..500)
        .map(|number| format!("stranger{number}@example.org"))
        .collect();
    let came = look_up(|| Town::of(1_000), &strangers, Action::Assign, Way::One).done();
    came.expect(&[("not_found", 500)]);
    assert!(came.questions < 1_100, "{}", came.questions);
}

fn bearers(emails: &[&str]) -> Town {
    let people = emails.iter().enumerate();
    Town::new(
        people
            .map(|(number, email)| (format!("{number:06}"), (*email).to_owned(), vec![]))
            .collect(),
    )
}

#[test]
fn two_who_differ_in_case_are_ambiguous_whatever_the_filter_heeds() {
    let town = |heeds_case| {
        move || Town {
            heeds_case,
            ..bearers(&[
                "Ann.Lee@example.com",
                "ann.lee@example.com",
                "Bob@example.com",
                "cy@example.com",
            ])
        }
    };
    for (list, heeds_case, wanted) in [
        (vec!["Ann.Lee@example.com"], true, "ambiguous"),
        (
            vec!["ann.lee@example.com", "Ann.Lee@example.com"],
            true,
            "ambiguous",
        ),
        (vec!["ann.lee@example.com"], false, "ambiguous"),
        (
            vec!["bob@example.com", "BOB@example.com", "Bob@example.com"],
            true,
            "resolved",
        ),
        (vec!["BOB@example.com"], false, "resolved"),
        (vec!["CY@example.com"], true, "resolved"),
    ] {
        let list: Vec<String> = list.into_iter().map(str::to_owned).collect();
        for way in [Way::One, MANY] {
            let came = look_up(town(heeds_case), &list, Action::Assign, way).done();
            came.expect(&[(wanted, 1)]);
        }
    }
}

/// How the tenant spells an email in its answer says nothing of what its filter heeds.
#[test]
fn answers_in_capitals_do_not_make_a_filter_fold_case() {
    let people = [
        "bob@example.com",
        "cy@example.com",
        "dora@example.com",
        "Kim.Oh@Example.com",
    ];
    let town = || Town {
        heeds_case: true,
        twist: Box::new(|_, _, _, mut page| {
            for found in &mut page.items {
                found.email = found.email.to_uppercase();
            }
            Ok(page)
        }),
        ..bearers(&people)
    };
    let list = people.map(str::to_owned);
    for way in [Way::One, MANY] {
        look_up(town, &list, Action::Assign, way)
            .done()
            .expect(&[("resolved", 4)]);
    }
}

/// A list in capitals costs no more where case does not matter.
#[test]
fn where_case_does_not_matter_one_spelling_is_enough() {
    let list: Vec<String> = (0..300).map(|number| format!("P{number}@Example.com")).collect();
    let came = look_up(|| Town::of(300), &list, Action::Assign, MANY).done();
    came.expect(&[("resolved", 300)]);
    assert!(came.questions <= 25, "{}", came.questions);
    let came = look_up(|| Town::of(300), &list, Action::Assign, Way::One).done();
    assert!(came.questions <= 325, "{}", came.questions);
}

#[test]
fn what_is_announced_and_not_shown_resolves_nobody() {
    let first_of_two = |_: Duration, wanted: Wanted<'_>, number: u32, page: Page<Found>| {
        Ok(match (wanted, number) {
            (Wanted::Email("p0@example.com"), 1) => Page {
                total: Some(2),
                more: true,
                ..page
            },
            (Wanted::Email("p0@example.com"), _) => Page {
                total: Some(2),
                ..Page::new(vec![], false)
            },
            _ => page,
        })
    };
    let came = look_up(
        || Town::of(20).twisted(first_of_two),
        &list(20, 0),
        Action::Assign,
        Way::One,
    )
    .done();
    came.expect(&[("failed", 1), ("resolved", 19)]);
    // It shows the first page whichever is asked for, as itself or as another one.
    for elsewhere in [false, true] {
        let town = move || {
            Town::of(20).twisted(move |_, wanted, number, page| match (wanted, number) {
                (Wanted::Email("p0@example.com"), 2..) if elsewhere => Err(ReadFailure::Elsewhere),
                (Wanted::Email("p0@example.com"), _) => {
                    let items = vec![Found {
                        profile: ProfileId::new("000000"),
                        email: "p0@example.com".into(),
                        held: Some(vec![]),
                    }];
                    Ok(Page {
                        total: Some(2),
                        ..Page::new(items, true)
                    })
                }
                _ => Ok(page),
            })
        };
        let came = look_up(town, &list(20, 0), Action::Assign, Way::One).done();
        came.expect(&[("failed", 1), ("resolved", 19)]);
    }
    // The second bearer stands on the second page.
    let town = || {
        Town::of(20).twisted(|_, wanted, number, page| match (wanted, number) {
            (Wanted::Email("p0@example.com"), 1) => Ok(Page {
                total: Some(2),
                more: true,
                ..page
            }),
            (Wanted::Email("p0@example.com"), _) => {
                let other = Found {
                    profile: ProfileId::new("other"),
                    email: "P0@example.com".into(),
                    held: Some(vec![]),
                };
                Ok(Page {
                    total: Some(2),
                    ..Page::new(vec![other], false)
                })
            }
            _ => Ok(page),
        })
    };
    let came = look_up(town, &list(20, 0), Action::Assign, Way::One).done();
    came.expect(&[("ambiguous", 1), ("resolved", 19)]);
}

/// The first hundred have the status, the next hundred another one, the others none.
fn with_statuses() -> Vec<(String, String, Vec<Handle>)> {
    (0..300)
        .map(|number| match number {
            0..100 => person(number, &["vip", "staff"]),
            100..200 => person(number, &["staff"]),
            _ => person(number, &[]),
        })
        .collect()
}

#[test]
fn lists_that_leave_statuses_out_are_not_believed() {
    let silent: fn(&[Handle]) -> Option<Vec<Handle>> = |_| Some(vec![]);
    let without_vip: fn(&[Handle]) -> Option<Vec<Handle>> = |held| {
        Some(
            held.iter()
                .filter(|handle| handle.as_str() != "vip")
                .cloned()
                .collect(),
        )
    };
    let scan = Way::Scan { pages: 3, group: 90 };
    for (listed, what) in [(silent, "silent"), (without_vip, "without the handle")] {
        for way in [Way::One, MANY, scan] {
            let town = || Town {
                listed,
                ..Town::new(with_statuses())
            };
            let list = list(300, 0);
            println!("{what}, {way}");
            let came = look_up(town, &list, Action::Remove, way).done();
            came.expect(&[("not_assigned", 200), ("resolved", 100)]);
            let came = look_up(town, &list, Action::Assign, way).done();
            came.expect(&[("already_assigned", 100), ("resolved", 200)]);
        }
    }
}

#[test]
fn lists_that_agree_are_believed_after_a_handful_of_requests() {
    for action in [Action::Assign, Action::Remove] {
        let came = look_up(|| Town::new(with_statuses()), &list(300, 0), action, MANY).done();
        assert!(came.single <= 4, "{}", came.single);
        assert!(came.questions <= 5 + 10, "{}", came.questions);
    }
    // Nobody has any status: an assignment believes that after a while, a removal never.
    let came = look_up(|| Town::of(300), &list(300, 0), Action::Assign, MANY).done();
    came.expect(&[("resolved", 300)]);
    assert!(came.single <= 110, "{}", came.single);
}

/// For two seconds and a half profiles say that they have nothing at all; the lists, where they say anything, know better
/// or are as blank.
#[test]
fn a_profile_that_shows_nothing_is_not_left_out_at_once() {
    let as_it_is: fn(&[Handle]) -> Option<Vec<Handle>> = |held| Some(held.to_vec());
    let silent: fn(&[Handle]) -> Option<Vec<Handle>> = |_| Some(vec![]);
    let unsaid: fn(&[Handle]) -> Option<Vec<Handle>> = |_| None;
    let scan = Way::Scan { pages: 3, group: 90 };
    for (listed, what) in [(as_it_is, "lists agree"), (silent, "silent"), (unsaid, "unsaid")] {
        for (way, began) in [
            (Way::One, 0),
            (Way::One, 400),
            (MANY, 0),
            (MANY, 150),
            (scan, 150),
        ] {
            let blank = Duration::from_millis(began)..Duration::from_millis(began + 2_500);
            let is_blank = blank.clone();
            let town = || Town {
                listed,
                look: Box::new(move |at, _, holding| {
                    let held = if blank.contains(&at) { vec![] } else { holding.held };
                    Ok(Holding { held, ..holding })
                }),
                ..Town::new(with_statuses()).twisted(move |at, _, _, mut page| {
                    if is_blank.contains(&at) {
                        let lists = page.items.iter_mut().filter_map(|found| found.held.as_mut());
                        lists.for_each(Vec::clear);
                    }
                    Ok(page)
                })
            };
            println!("{what}, {way}, from {began} ms on");
            let came = look_up(town, &list(300, 0), Action::Remove, way).done();
            came.expect(&[("not_assigned", 200), ("resolved", 100)]);
        }
    }
}

/// Two reads of a profile in three show nothing, for as long as it is asked, and the list says that it has the status.
#[test]
fn a_list_that_shows_the_status_is_not_outweighed_by_blank_profiles() {
    for (action, states) in [
        (Action::Remove, [("not_assigned", 200), ("resolved", 100)]),
        (Action::Assign, [("already_assigned", 100), ("resolved", 200)]),
    ] {
        for way in [Way::One, MANY] {
            let looks = AtomicU64::default();
            let town = || Town {
                look: Box::new(move |_, _, holding| {
                    let is_blank = !looks.fetch_add(1, Ordering::Relaxed).is_multiple_of(3);
                    let held = if is_blank { vec![] } else { holding.held };
                    Ok(Holding { held, ..holding })
                }),
                ..Town::new(with_statuses())
            };
            println!("{action}, {way}");
            let came = look_up(town, &list(300, 0), action, way).done();
            let came_out = came.states();
            let of = |state: &str| came_out.get(state).copied().unwrap_or(0);
            // A few are never shown with anything.
            assert!(of("failed") <= 5, "{came_out:?}");
            let [skipped, resolved] = states;
            assert_eq!(of(skipped.0) + of("failed"), skipped.1, "{came_out:?}");
            assert_eq!(of(resolved.0), resolved.1, "{came_out:?}");
        }
    }
}

/// Each question is answered wrongly once, and rightly from then on: an empty list, or one that lacks somebody.
#[test]
fn nobody_is_missing_by_one_wrong_answer() {
    for way in [Way::One, MANY] {
        let asked: Mutex<HashSet<String>> = Mutex::default();
        let town = || {
            Town::of(40).twisted(move |_, wanted, _, mut page| {
                let number = |email: &str| email[1..].split('@').next().unwrap().parse::<u32>().unwrap_or(1);
                let is_first = |email: &str| {
                    number(email).is_multiple_of(7) && asked.lock().unwrap().insert(email.to_owned())
                };
                if matches!(wanted, Wanted::Email(_)) {
                    page.items.retain(|found| !is_first(&found.email));
                    page.total = Some(page.items.len() as u64);
                }
                Ok(page)
            })
        };
        let came = look_up(town, &list(40, 5), Action::Assign, way).done();
        came.expect(&[("not_found", 8), ("resolved", 40)]);
    }
}

/// A search finds profiles that their ids do not lead to: one for half a minute, and one for ever. The lists do not say what
/// profiles have.
#[test]
fn a_profile_that_its_id_does_not_lead_to_yet_is_nobodys_absence() {
    for way in [Way::One, MANY] {
        let town = || Town {
            listed: |_| None,
            look: Box::new(|at, id, holding| match id {
                "000007" if at < Duration::from_secs(30) => Err(ReadFailure::Missing),
                "000008" => Err(ReadFailure::Missing),
                _ => Ok(holding),
            }),
            ..Town::of(40)
        };
        let came = look_up(town, &list(40, 0), Action::Assign, way).done();
        came.expect(&[("failed", 1), ("resolved", 39)]);
        assert_eq!(came.verdicts["p8@example.com"].1, "lookup_failed");
    }
}

/// Whatever ids lead to, for ever: it costs a bounded number of questions, and some minutes.
#[test]
fn single_profiles_that_are_never_shown_end_the_look_ups_soon() {
    for failure in [
        ReadFailure::Missing,
        ReadFailure::Spoiled("HTTP 500".into()),
        ReadFailure::Unreachable("HTTP 503".into()),
        ReadFailure::Elsewhere,
    ] {
        for (people, most, minutes) in [(8, 300, 4), (300, 3_000, 12)] {
            let (refused, began) = (failure.clone(), Arc::new(Mutex::new(Duration::ZERO)));
            let last = began.clone();
            let town = || Town {
                listed: |_| None,
                look: Box::new(move |_, _, _| Err(refused.clone())),
                ..Town::of(people).twisted(move |at, _, _, page| {
                    *last.lock().unwrap() = at;
                    Ok(page)
                })
            };
            let came = look_up(town, &list(people, 0), Action::Assign, Way::One).done();
            let took = *began.lock().unwrap();
            println!("{failure:?}, {people}: {} questions, {took:?}", came.questions);
            came.expect(&[("failed", people)]);
            assert!(came.questions <= most, "{failure:?}: {}", came.questions);
            assert!(took <= Duration::from_secs(60 * minutes), "{failure:?}: {took:?}");
        }
    }
}

/// For a while single profiles cannot be read.
#[test]
fn single_profiles_that_cannot_be_read_for_a_while_fail_nobody() {
    for (failure, seconds) in [
        (ReadFailure::Missing, 40),
        (ReadFailure::Spoiled("HTTP 500".into()), 10),
    ] {
        let town = || Town {
            listed: |_| None,
            look: Box::new(move |at, _, holding| {
                if at < Duration::from_secs(seconds) {
                    Err(failure.clone())
                } else {
                    Ok(holding)
                }
            }),
            ..Town::of(60)
        };
        let came = look_up(town, &list(60, 0), Action::Assign, Way::One).done();
        came.expect(&[("resolved", 60)]);
    }
}

/// A tenant that refuses every batch for three seconds, with words that name nobody.
#[test]
fn a_refusal_of_everything_for_a_moment_fails_nobody() {
    for bad in [
        Bad::json("400 Bad Request", r#"{"message":"Try later."}"#),
        Bad::json("410 Gone", "{}"),
        Bad::html("413 Content Too Large"),
        Bad::json(
            "422 Unprocessable Content",
            r#"{"errors":{"profiles.0.profile_id":["no"],"profiles.1.profile_id":["no"],"profiles.2.profile_id":["no"]}}"#,
        ),
    ]
    .into_iter()
    // Each is tried again for ten seconds.
    .take(pick(1, 4, 4))
    {
        let raw = Raw::with(Site::Write, bad, 2, false);
        let scene = Scene::offline();
        scene.write("list.txt", PEOPLE[..1].join("\n"));
        raw.run(
            &scene,
            &[
                "assign",
                "--status",
                "vip",
                "--rate",
                "unlimited",
                "--yes",
                "--settle-deadline",
                "1s",
                "list.txt",
            ],
        )
        .expect(0);
        assert_eq!(
            (raw.count(Site::Write), raw.changed()),
            (3, vec!["p-0".to_owned()])
        );
        check_doctor(&scene, &scene.path("rollbook.db"));
    }
}

/// Looked up by a dry run; by the time of the resume, nobody bears the emails any more.
#[test]
fn a_look_up_that_is_too_old_is_made_again_before_anything_is_sent() {
    let raw = Raw::good();
    let scene = Scene::offline();
    scene.write("list.txt", PEOPLE.join("\n"));
    let job = ["assign", "--status", "vip", "--rate", "unlimited", "--yes"];
    raw.run(&scene, &[&job[..], &["--dry-run", "list.txt"]].concat())
        .expect(0);
    raw.spoil(
        Site::LookUp,
        Bad::json("200 OK", r#"{"data":[]}"#),
        usize::MAX,
        false,
    );
    let resume = ["resume", "--rate", "unlimited", "--yes", "--lookup-age", "0"];
    let ran = raw.run(&scene, &resume).expect(0);
    assert!(
        ran.stderr
            .contains("3 entries are looked up again before anything is sent"),
        "{}",
        ran.stderr
    );
    assert_eq!(raw.count(Site::Write), 0);
    for row in scene.export().values() {
        assert_eq!(row["reason"], "not_found", "{row:?}");
    }
    check_doctor(&scene, &scene.path("rollbook.db"));
    raw.run(&scene, &["resume", "--lookup-age", "soon"]).expect(2);
}

/// Nobody was found by a dry run of last week; by the time of the resume, everybody has signed up.
#[test]
fn whom_an_old_dry_run_did_not_find_is_looked_up_again() {
    let options = Options {
        holders_percent: 0,
        duplicates_percent: 0.0,
        ..options()
    };
    let mut scene = Scene::with(Options {
        profiles: 3,
        ..options.clone()
    });
    let emails: Vec<String> = (10..13).map(|index| options.person(index).email).collect();
    scene.write("list.txt", emails.join("\n"));
    let job = ["assign", "--status", "vip", "--rate", "unlimited", "--yes"];
    scene
        .run(&[&job[..], &["--dry-run", "list.txt"]].concat())
        .expect(0);
    assert_eq!(scene.status()["reasons"]["not_found"], 3);
    let port = scene.tenant().base_url();
    let port = port.split([':', '/']).nth_back(2).unwrap().parse().unwrap();
    scene.close();
    scene.open(Options { port, ..options });
    let planned = |more: &[&str]| {
        let ran = scene.run(&[&["plan", "--json"], more].concat()).expect(0);
        serde_json::from_str::<serde_json::Value>(&ran.stdout).unwrap()["pending"].clone()
    };
    assert_eq!(
        (planned(&[]), planned(&["--lookup-age", "0"])),
        (0.into(), 3.into())
    );
    scene.run(&["resume", "--yes"]).expect(0);
    assert_eq!(
        scene.times_sent().len(),
        0,
        "what is younger than a day is believed"
    );
    scene.run(&["resume", "--yes", "--lookup-age", "0"]).expect(0);
    assert_eq!(scene.times_sent().len(), 3);
    // From then on it is the result of the job.
    scene.run(&["resume", "--yes", "--lookup-age", "0"]).expect(0);
    assert_eq!(scene.times_sent().len(), 3);
    check_doctor(&scene, &scene.path("rollbook.db"));
}
