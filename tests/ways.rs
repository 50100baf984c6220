//! The three ways to look emails up lead to the same verdicts, over random tenants that others change meanwhile.

use crate::support::share::pick;
use crate::support::{Scene, cast, check_promises, options};
use proptest::prelude::*;
use rollbook::api::pacing::{Gate, PaceSettings};
use rollbook::api::{
    BatchReport, Holding, ListedBatch, Paced, Page, Slice, StatusDefinition, Tenant, Wanted,
};
use rollbook::ledger::{EntryRow, Ledger, LedgerError, ListIdentity, Reader};
use rollbook::model::doubt::InDoubt;
use rollbook::model::email::Email;
use rollbook::model::ids::{Action, BatchId, Handle, Job, ProfileId};
use rollbook::model::lookup::Found;
use rollbook::model::outcome::{Member, ReadFailure, Refusal, WriteAnswer};
use rollbook::model::rate::Rate;
use rollbook::model::reserve::Reserve;
use rollbook::model::sample::Confirm;
use rollbook::model::way::{Resolve, Sample, Way, choose};
use rollbook::runner::context::RunSettings;
use rollbook::runner::coordinator::Left;
use rollbook::runner::event::Events;
use rollbook::runner::limits::Limits;
use rollbook::runner::run::{Ending, run};
use rollbook::runner::survey::survey;
use rollbook::sandbox::{Options, Route, Seen};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How a filter for many emails works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Together {
    Honoured,
    Ignored,
    Refused,
    Broken,
    Sensitive,
    /// Only the first seven count.
    Short,
    /// It leaves out every profile whose id ends in a nine.
    Forgetful,
    /// Emails may have so many bytes together.
    Bounded(usize),
    /// Emails with this character are left out, as if something split them there.
    Drops(char),
    /// The one at this place is not heeded.
    Overlooks(usize),
    /// One answer in so many comes from a replica that lacks whoever has an id that ends in a nine.
    Lags(usize),
    /// The first profile stands in the place of the last one as well.
    Repeats,
    /// No more than so many profiles are returned, and there are said to be no more.
    Caps(usize),
    /// There are said to be so many more, or fewer, than there are.
    Miscounts(i64),
}

#[derive(Clone, Debug)]
struct Character {
    together: Together,
    /// The single filter finds whoever contains the text.
    partial: bool,
    page_limit: usize,
    /// Pages say how many there are.
    tells_total: bool,
    sorts: bool,
    /// Lists say what profiles hold.
    tells_held: bool,
    /// Between any two requests so many of these strangers come or go.
    churn: usize,
    strangers: Vec<u32>,
    /// Emails that go to and fro between two profiles each, the first one and the last, from request to request.
    movers: usize,
    /// The list of all profiles shows those whose id ends in a seven, and no filter finds them.
    ghosts: bool,
}

struct Town {
    character: Character,
    people: Mutex<BTreeMap<String, (String, bool)>>,
    churned: Mutex<usize>,
    asked_together: AtomicUsize,
}

impl Town {
    fn new(character: Character, people: &[(String, bool)]) -> Self {
        let people = people.iter().enumerate().map(|(number, (email, holds))| {
            // The order of ids is not the order in which they were made.
            let id = format!("{:05}", (number * 7_919 + 13) % 99_991);
            (id, (email.clone(), *holds))
        });
        Self {
            character,
            people: Mutex::new(people.collect()),
            churned: Mutex::default(),
            asked_together: AtomicUsize::new(0),
        }
    }

    /// Lets some strangers come who were not there, and others go.
    fn churn(&self) {
        let (mut churned, mut people) = (self.churned.lock().unwrap(), self.people.lock().unwrap());
        for mover in 0..self.character.movers {
            let [first, last] = homes(mover);
            let before = people.remove(&first);
            let moved = before.filter(|(email, _)| *email == mover_email(mover));
            let (now, then) = if moved.is_some() {
                (last, first)
            } else {
                (first, last)
            };
            people.insert(now, (mover_email(mover), false));
            people.insert(then, (format!("vacant{mover}@example.net"), false));
        }
        for _ in 0..self.character.churn {
            let strangers = &self.character.strangers;
            let Some(number) = strangers.get(*churned % strangers.len().max(1)) else {
                return;
            };
            *churned += 1;
            let id = format!("{number:05}x");
            if people.remove(&id).is_none() {
                people.insert(id, (format!("stranger{number}@example.net"), false));
            }
        }
    }

    fn matches(&self, wanted: Wanted<'_>, id: &str, email: &str, holds: bool) -> Result<bool, ReadFailure> {
        let folded = email.trim().to_lowercase();
        if self.character.ghosts && id.ends_with('7') && wanted != Wanted::Everybody {
            return Ok(false);
        }
        let one_of = |wanted: &[&str]| {
            let same = |wanted: &&str| **wanted == *folded || wanted.to_lowercase() == folded;
            wanted.iter().any(same)
        };
        Ok(match wanted {
            Wanted::Everybody => true,
            Wanted::Holders(_) => holds,
            Wanted::Ids(wanted) => wanted.contains(&id),
            Wanted::Email(wanted) if self.character.partial => folded.contains(&wanted.to_lowercase()),
            Wanted::Email(wanted) => wanted.to_lowercase() == folded,
            Wanted::Emails(wanted) => match self.character.together {
                Together::Honoured => one_of(wanted),
                Together::Ignored => true,
                Together::Sensitive => wanted.contains(&email),
                Together::Short => one_of(&wanted[..wanted.len().min(7)]),
                Together::Forgetful => one_of(wanted) && !id.ends_with('9'),
                Together::Refused => return Err(refused(422)),
                Together::Broken => return Err(ReadFailure::Spoiled("HTTP 500".into())),
                Together::Bounded(most) if wanted.concat().len() > most => return Err(refused(414)),
                Together::Drops(letter) => one_of(wanted) && !folded.contains(letter),
                Together::Overlooks(place) => {
                    one_of(wanted)
                        && wanted
                            .get(place)
                            .is_none_or(|wanted| wanted.to_lowercase() != folded)
                }
                Together::Lags(one_in) => {
                    let lags = self.asked_together.load(Ordering::Relaxed).is_multiple_of(one_in);
                    one_of(wanted) && !(lags && id.ends_with('9'))
                }
                Together::Bounded(_) | Together::Repeats | Together::Caps(_) | Together::Miscounts(_) => {
                    one_of(wanted)
                }
            },
        })
    }
}

impl Town {
    /// What becomes of the answer to a question about many, and of how many it says that there are.
    fn spoil(&self, mut items: Vec<Found>, total: usize) -> (Vec<Found>, usize) {
        match self.character.together {
            Together::Repeats => {
                let first = items.first().cloned();
                if let (Some(first), Some(last)) = (first, items.last_mut()) {
                    *last = first;
                }
                (items, total)
            }
            Together::Caps(most) => {
                items.truncate(most);
                (items, total.min(most))
            }
            Together::Miscounts(by) => (items, total.saturating_add_signed(by as isize)),
            _ => (items, total),
        }
    }
}

fn mover_email(mover: usize) -> String {
    format!("mover{mover}@example.org")
}

/// The profiles that bear a mover's email by turns.
fn homes(mover: usize) -> [String; 2] {
    [format!("0000000{mover}m"), format!("zzzzzzz{mover}m")]
}

fn refused(status: u16) -> ReadFailure {
    ReadFailure::Refused(Refusal {
        status,
        message: String::new(),
    })
}

impl Tenant for Town {
    async fn verify_token(&self) -> Result<(), ReadFailure> {
        Ok(())
    }

    async fn statuses(&self, _: u32) -> Result<Page<StatusDefinition>, ReadFailure> {
        Ok(Page::new(vec![], false))
    }

    async fn profiles(&self, wanted: Wanted<'_>, slice: Slice) -> Result<Page<Found>, ReadFailure> {
        self.churn();
        if matches!(wanted, Wanted::Emails(_)) {
            self.asked_together.fetch_add(1, Ordering::Relaxed);
        }
        let people = self.people.lock().unwrap();
        let mut found = Vec::new();
        for (id, (email, holds)) in people.iter() {
            if self.matches(wanted, id, email, *holds)? {
                found.push(Found {
                    profile: ProfileId::new(id.clone()),
                    email: email.clone(),
                    held: self.character.tells_held.then(|| held(*holds)),
                });
            }
        }
        if !self.character.sorts {
            found.sort_by_key(|found| found.profile.as_str().chars().rev().collect::<String>());
        }
        let size = (slice.size as usize).min(self.character.page_limit);
        let (mut total, skipped) = (found.len(), size * (slice.number as usize - 1));
        let mut items: Vec<Found> = found.into_iter().skip(skipped).take(size).collect();
        if matches!(wanted, Wanted::Emails(_)) {
            (items, total) = self.spoil(items, total);
        }
        Ok(Page {
            more: skipped + items.len() < total,
            items,
            total: self.character.tells_total.then_some(total as u64),
            size: self.character.tells_total.then_some(size as u64),
        })
    }

    async fn held_by(&self, profile: &ProfileId) -> Result<Holding, ReadFailure> {
        let people = self.people.lock().unwrap();
        let (email, holds) = people.get(profile.as_str()).ok_or(ReadFailure::Missing)?;
        Ok(Holding {
            held: held(*holds),
            email: Some(email.clone()),
            is_kept: false,
        })
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

fn held(holds: bool) -> Vec<Handle> {
    holds.then(|| Handle::new("vip")).into_iter().collect()
}

/// What became of every email.
type Verdicts = BTreeMap<String, (String, Option<String>, Option<String>)>;

/// Looks a list up in one way, and says which way it was in the end, and the requests that it took.
async fn resolve(town: Town, list: &[String], asked: Resolve) -> (Verdicts, Way, u64) {
    let (ending, verdicts, way, requests) = resolve_within(Limits::default(), town, list, asked).await;
    assert!(matches!(ending, Ending::Done), "{ending:?}");
    (verdicts, way, requests)
}

/// The same within limits, and how the run ended.
async fn resolve_within(
    limits: Limits,
    town: Town,
    list: &[String],
    asked: Resolve,
) -> (Ending, Verdicts, Way, u64) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let job = Job {
        tenant: "https://api.acme.getomneo.com/api/v3".into(),
        action: Action::Assign,
        handles: vec![Handle::new("vip")],
    };
    let mut ledger = Ledger::create(&path, "assign").unwrap();
    let mut loading = ledger.begin_load().unwrap();
    loading.begin_list("list.txt", "text").unwrap();
    for (line, written) in list.iter().enumerate() {
        let email = Email::parse(written).unwrap();
        loading.email(line as u64 + 1, email.as_str(), written).unwrap();
    }
    let identity = ListIdentity {
        digest: [0; 32],
        column: 1,
        ..ListIdentity::default()
    };
    loading.end_list(&identity).unwrap();
    loading.pin(&job, true).unwrap();
    let sample = loading.sample(20).unwrap();
    loading.commit().unwrap();
    let pace = PaceSettings {
        rate: Rate::Unlimited,
        reserve: Reserve::NONE,
        concurrency: 3,
    };
    let tenant = Paced::new(town, Gate::open(pace));
    let surveyed = survey(&tenant, &job, &sample).await.unwrap();
    let way = choose(asked, &surveyed.survey, list.len() as u64, false).way;
    let settings = RunSettings {
        concurrency: 3,
        way,
        sample: Sample::default(),
        limits,
        retry: None,
        page_size: surveyed.page_size.unwrap_or(100),
        batch_size: 300,
        send_limit: None,
        dry_run: true,
        confirm: Confirm::Sample,
        settle_deadline: Duration::from_secs(2),
        in_doubt: InDoubt::Verify,
        quiet: Duration::from_millis(500),
    };
    let counts = ledger.counts().unwrap();
    let writer = ledger.into_immediate_writer("assign").unwrap();
    let (_keep, stop) = tokio::sync::watch::channel(false);
    let outcome = run(tenant, writer, job, settings, &counts, Events::to(drop), stop)
        .await
        .unwrap();
    let mut verdicts = Verdicts::new();
    let note = |row: EntryRow<'_>| {
        let verdict = (
            row.state.to_string(),
            row.reason.map(str::to_owned),
            row.profile_id.map(str::to_owned),
        );
        verdicts.insert(row.email.to_owned(), verdict);
        Ok::<_, LedgerError>(())
    };
    Reader::open(&path).unwrap().each_entry(note).unwrap();
    (outcome.ending, verdicts, way, outcome.progress.requests)
}

fn character() -> impl Strategy<Value = Character> {
    let together = prop_oneof![
        4 => Just(Together::Honoured),
        1 => Just(Together::Ignored),
        1 => Just(Together::Refused),
        1 => Just(Together::Broken),
        1 => Just(Together::Sensitive),
        1 => Just(Together::Short),
        2 => (40usize..2_000).prop_map(Together::Bounded),
        2 => prop_oneof![Just('\''), Just('+'), Just('\u{f6}'), Just('.')].prop_map(Together::Drops),
        1 => (0usize..100).prop_map(Together::Overlooks),
        1 => (1usize..4).prop_map(Together::Lags),
        1 => Just(Together::Repeats),
        1 => (1usize..100).prop_map(Together::Caps),
        1 => (-2i64..3).prop_map(Together::Miscounts),
    ];
    let page_limit = prop_oneof![Just(100usize), Just(500), 2usize..60];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let strangers = proptest::collection::vec(0u32..100_000, 0..40);
    (together, page_limit, flags, 0usize..6, strangers, 0usize..3).prop_map(
        |(together, page_limit, (partial, tells_total, sorts, tells_held), churn, strangers, movers)| {
            Character {
                together,
                partial,
                page_limit,
                tells_total,
                sorts,
                tells_held,
                churn,
                strangers,
                movers,
                ghosts: false,
            }
        },
    )
}

/// Who lives there: some share an email in another letter case, some hold the status already, some contain each other.
fn people() -> impl Strategy<Value = Vec<(String, bool)>> {
    let person = (0u32..250, 0u32..8, proptest::bool::weighted(0.1));
    let person = person.prop_map(|(number, style, holds)| {
        let email = match style {
            0 => format!("Person{number}@Example.com"),
            1 => format!("x.person{number}@example.com"),
            2 => format!("person{number}+news@example.com"),
            3 => format!("person{number}@example.com.au"),
            _ => format!("person{number}@example.com"),
        };
        (email, holds)
    });
    proptest::collection::vec(person, 1..300)
}

fn list() -> impl Strategy<Value = Vec<String>> {
    let email = (0u32..300, 0u32..12).prop_map(|(number, style)| match style {
        0 => format!("PERSON{number}@example.com"),
        1 => format!("person{number}+news@example.com"),
        2 => format!("o'person{number}@example.com"),
        3 => format!("person{number}@example.com.au"),
        _ => format!("person{number}@example.com"),
    });
    proptest::collection::vec(email, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(pick(3, 24, 24))))]

    #[test]
    fn every_way_leads_to_the_same_verdicts(character in character(), people in people(), list in list()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        let town = |character: &Character| Town::new(character.clone(), &people);
        let (one, way, _) = runtime.block_on(resolve(town(&character), &list, Resolve::One));
        prop_assert_eq!(way, Way::One);
        for asked in [Resolve::Many, Resolve::Scan, Resolve::Auto] {
            let (verdicts, way, _) = runtime.block_on(resolve(town(&character), &list, asked));
            for (email, verdict) in &one {
                prop_assert_eq!(&verdicts[email], verdict, "{} by {:?}, taken as {:?}", email, asked, way);
            }
        }
        let list: Vec<String> = list.into_iter().chain((0..character.movers).map(mover_email)).collect();
        for asked in [Resolve::One, Resolve::Many, Resolve::Scan] {
            let (verdicts, way, _) = runtime.block_on(resolve(town(&character), &list, asked));
            for mover in 0..character.movers {
                // At every moment exactly one profile bears it, so it has never been ambiguous, or nobody's.
                let (state, _, profile) = &verdicts[&mover_email(mover)];
                prop_assert_eq!(state.as_str(), "resolved", "mover by {:?}, taken as {:?}", asked, way);
                prop_assert!(homes(mover).contains(profile.as_ref().unwrap()), "{:?}", profile);
            }
        }
    }
}

fn friendly(together: Together) -> Character {
    Character {
        together,
        partial: false,
        page_limit: 100,
        tells_total: true,
        sorts: true,
        tells_held: true,
        churn: 1,
        strangers: (0..40).map(|number| number * 2_000).collect(),
        movers: 0,
        ghosts: false,
    }
}

fn resolve_all(together: Together, asked: Resolve) -> (Verdicts, Way, u64) {
    let (ending, verdicts, way, requests) = resolve_of_many(Limits::default(), friendly(together), asked);
    assert!(matches!(ending, Ending::Done), "{ending:?}");
    (verdicts, way, requests)
}

/// Looks up 1,900 of 2,000 people.
fn resolve_of_many(limits: Limits, character: Character, asked: Resolve) -> (Ending, Verdicts, Way, u64) {
    let email = |number| format!("p{number}@example.com");
    let people: Vec<_> = (0..2_000).map(|number| (email(number), false)).collect();
    let list: Vec<String> = (0..1_900).map(email).collect();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(resolve_within(
            limits,
            Town::new(character, &people),
            &list,
            asked,
        ))
}

/// The property above would hold for a program that always takes the slow way.
#[test]
fn a_tenant_that_supports_it_is_asked_far_less() {
    for (asked, most) in [(Resolve::One, 2_000), (Resolve::Many, 60), (Resolve::Scan, 150)] {
        let (verdicts, way, requests) = resolve_all(Together::Honoured, asked);
        assert!(
            verdicts.values().all(|verdict| verdict.0 == "resolved"),
            "{asked:?}"
        );
        assert!(
            requests <= most,
            "{asked:?}, taken as {way:?}: {requests} requests"
        );
    }
}

/// The probe may not meet those who are left out; then the run notices, and asks one by one.
#[test]
fn nobody_is_lost_to_a_filter_that_leaves_some_out() {
    let (verdicts, _, requests) = resolve_all(Together::Forgetful, Resolve::Many);
    assert!(verdicts.values().all(|verdict| verdict.0 == "resolved"));
    assert!(requests > 1_000, "groups were given up: {requests} requests");
}

/// A list in which a fourth are unknown and many have unusual emails, at a tenant of such people.
fn resolve_with_unknown(together: Together, asked: Resolve) -> (Verdicts, u64) {
    let email = |number: usize| match number % 12 {
        0 => format!("o'p{number}@example.com"),
        1 => format!("p+{number}@example.com"),
        2 => format!("p\u{f6}{number}@example.com"),
        _ => format!("p{number}@example.com"),
    };
    let people: Vec<_> = (0..1_500).map(|number| (email(number), false)).collect();
    // Every fourth one that is asked for is not there.
    let list: Vec<String> = (0..1_920)
        .map(|place| {
            email(if place % 4 == 3 {
                place + 2_000
            } else {
                place * 3 / 4
            })
        })
        .collect();
    let character = Character {
        churn: 0,
        ..friendly(together)
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let town = Town::new(character, &people);
    let (ending, verdicts, _, requests) =
        runtime.block_on(resolve_within(Limits::default(), town, &list, asked));
    assert!(matches!(ending, Ending::Done), "{together:?}: {ending:?}");
    (verdicts, requests)
}

/// Groups settle whom they do not hold as well, so that unknown people cost little.
#[test]
fn people_whom_nobody_knows_cost_few_requests() {
    let (one, _) = resolve_with_unknown(Together::Honoured, Resolve::One);
    let (many, requests) = resolve_with_unknown(Together::Honoured, Resolve::Many);
    assert!(one == many);
    let missing = many
        .values()
        .filter(|verdict| verdict.1.as_deref() == Some("not_found"));
    assert_eq!(missing.count(), 480);
    assert!(requests < 200, "{requests} requests");
}

/// Whatever a filter for many emails does to some of them, what becomes of everybody is what one by one makes of it.
#[test]
fn no_filter_for_many_emails_changes_what_becomes_of_anybody() {
    let (one, _) = resolve_with_unknown(Together::Honoured, Resolve::One);
    for together in [
        Together::Drops('\''),
        Together::Drops('+'),
        Together::Drops('\u{f6}'),
        Together::Short,
        Together::Forgetful,
        Together::Sensitive,
        Together::Overlooks(40),
        Together::Overlooks(92),
        Together::Lags(2),
        Together::Lags(3),
        Together::Repeats,
        Together::Caps(60),
        Together::Miscounts(-1),
        Together::Miscounts(1),
        Together::Bounded(1_000),
    ] {
        let (many, requests) = resolve_with_unknown(together, Resolve::Many);
        let wrong: Vec<_> = one
            .iter()
            .filter(|(email, verdict)| many[*email] != **verdict)
            .collect();
        assert!(wrong.is_empty(), "{together:?}, {requests} requests: {wrong:?}");
    }
}

/// Who is listed and who is found need not be the same people; then nothing is concluded from the list.
#[test]
fn nobody_is_taken_from_a_list_that_shows_others_than_the_filter() {
    let character = Character {
        ghosts: true,
        ..friendly(Together::Refused)
    };
    let looked_up = |asked| resolve_of_many(Limits::default(), character.clone(), asked);
    let (_, one, ..) = looked_up(Resolve::One);
    let (_, scan, way, requests) = looked_up(Resolve::Scan);
    assert!(
        matches!(way, Way::Scan { .. }),
        "the first page must not give it away, for this test"
    );
    assert_eq!(one, scan);
    assert!(requests > 1_900, "the scan was given up: {requests} requests");
}

#[test]
fn a_scan_keeps_to_what_a_run_may_ask_for() {
    let limits = Limits {
        requests: Some(28),
        ..Limits::default()
    };
    let (ending, verdicts, way, requests) =
        resolve_of_many(limits, friendly(Together::Refused), Resolve::Scan);
    assert!(matches!(way, Way::Scan { .. }));
    assert!(
        matches!(ending, Ending::Unfinished(Left::RequestsSpent)),
        "{ending:?}"
    );
    assert!(
        verdicts.values().all(|verdict| verdict.0 == "pending") && requests <= 28,
        "{requests}"
    );
}

/// With the real binary, on a real disk: a later run goes on from the page that was reached.
#[test]
fn a_scan_that_is_killed_goes_on_and_comes_to_the_same_end() {
    let options = Options {
        profiles: 4_000,
        page_max: 25,
        latency: Duration::from_millis(10),
        ..options()
    };
    let cast = cast(&options, 400, "already_assigned", "confirmed");
    let scene = Scene::with(options);
    scene.write("list.csv", &cast.list);
    let run = [
        "--resolve",
        "scan",
        "--rate",
        "unlimited",
        "--concurrency",
        "2",
        "--yes",
    ];
    let mut child = scene.spawn(&[&["assign", "--status", "vip", "list.csv"], &run[..]].concat());
    while scene.tenant().requests().len() < 140 {
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = scene.tenant().requests().len();
    scene.run(&[&["resume"], &run[..]].concat()).expect(0);
    let pages = |seen: &&Seen| seen.route == Route::Profiles;
    let after = scene.tenant().requests()[before..].iter().filter(pages).count();
    assert!(
        after < 220,
        "the walk began anew: {after} of some 184 pages, and look-ups for a check and for who was not seen"
    );
    let export = scene.export();
    cast.check(&export);
    check_promises(&scene, &export);
}
