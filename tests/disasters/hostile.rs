//! A tenant that is written against us, one trait at a time: what it tells is true, late, cut, or about something else.
//!
//! Virtual time. It keeps a journal of which handles it took for whom, which is what the tests judge by.

use super::disk::{Crash, Disk};
use rollbook::api::pacing::{Gate, PaceSettings};
use rollbook::api::{
    BatchProgress, BatchReport, Holding, ListedBatch, Paced, Page, Slice, StatusDefinition, Tenant, Wanted,
};
use rollbook::ledger::{EntryRow, Ledger, LedgerError, ListIdentity, Reader};
use rollbook::model::doubt::InDoubt;
use rollbook::model::entry::EntryState;
use rollbook::model::ids::{Action, BatchId, Handle, Job, ProfileId};
use rollbook::model::lookup::Found;
use rollbook::model::outcome::{Member, ReadFailure, Refusal, WriteAnswer};
use rollbook::model::rate::Rate;
use rollbook::model::reserve::Reserve;
use rollbook::model::sample::Confirm;
use rollbook::model::way::{Sample, Way};
use rollbook::runner::context::RunSettings;
use rollbook::runner::event::Events;
use rollbook::runner::limits::Limits;
use rollbook::runner::run::{Outcome, run};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

pub const SECOND: Duration = Duration::from_secs(1);
const PAGE: usize = 4;
const BYSTANDER: usize = 999;

/// What becomes of a write, and what its sender hears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Write {
    #[default]
    Accepted,
    /// It is taken, and nobody says so.
    Unheard,
    /// It never arrives.
    Lost,
    /// The first member is refused by name, and all others are taken.
    RefusedByName,
    /// All of it is refused, and taken.
    RefusedWhole,
}

/// In which order the list of batches stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// There is no list.
    #[default]
    None,
    NewestFirst,
    OldestFirst,
    /// The newest three come last.
    Anyhow,
}

/// Whose ids the items of a batch carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Items {
    #[default]
    Missing,
    Ours,
    /// Ids of their own, which look like profiles'.
    TheirOwn,
}

/// What a poll says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Poll {
    #[default]
    Honest,
    Forbidden,
    WrongShape,
    Unreachable,
    /// This, whatever becomes of it.
    Always(BatchProgress),
}

/// What another job does at this time: handles for profiles.
#[derive(Clone, Debug)]
pub struct Other {
    pub at: Duration,
    pub members: Vec<usize>,
    pub handles: Vec<&'static str>,
}

/// The traits of a tenant.
#[derive(Clone, Debug, Default)]
pub struct Traits {
    /// What becomes of the writes, one by one; later ones are accepted.
    pub writes: Vec<Write>,
    /// How long each takes to be applied; later ones take as long as the last of them.
    pub applying: Vec<Duration>,
    /// How long after the first member of a batch the second half is applied.
    pub in_halves: Duration,
    /// How much later profiles show what they hold.
    pub lag: Duration,
    /// When profiles show nothing at all.
    pub blank: Vec<std::ops::Range<Duration>>,
    /// Profiles show handles in capitals.
    pub shouts: bool,
    pub order: Order,
    /// What the size of a pending batch is said to be.
    pub pending_size_is_zero: bool,
    pub items: Items,
    pub poll: Poll,
    /// The tenant calls each batch failed, item by item.
    pub blames: bool,
    pub others: Vec<Other>,
    /// What another job takes away at this time.
    pub thieves: Vec<Other>,
    /// Somebody on no list has `staff`.
    pub bystander: bool,
}

/// A batch that was taken.
struct Batch {
    at: Duration,
    finished: Duration,
    members: Vec<String>,
    ours: bool,
}

#[derive(Default)]
struct State {
    before: Duration,
    began: Option<Instant>,
    asked: usize,
    writes: usize,
    batches: Vec<Batch>,
    /// What each profile holds from when on, or no more.
    holds: BTreeMap<String, Vec<(Duration, String, bool)>>,
    /// Every handle that was taken for a profile from us.
    taken: BTreeMap<(String, String), usize>,
    /// What others are going to do, and whether they give.
    others: Vec<(Other, bool)>,
}

/// The tenant, its people and a ledger.
pub struct Stage {
    state: Arc<Mutex<State>>,
    traits: Traits,
    disk: Arc<Disk>,
    pub job: Job,
    pub settings: RunSettings,
    people: usize,
}

/// The way to the tenant.
#[derive(Clone)]
struct Api {
    state: Arc<Mutex<State>>,
    traits: Traits,
    action: Action,
}

fn profile(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

fn email(number: usize) -> String {
    format!("p{number}@example.com")
}

impl Stage {
    /// A job for so many people, in batches of three.
    pub fn new(
        traits: Traits,
        people: usize,
        action: Action,
        handles: &[&str],
        held: &[&'static str],
    ) -> Self {
        fastrand::seed(1);
        let mut state = State::default();
        for number in 0..people {
            let holds = held
                .iter()
                .map(|handle| (Duration::ZERO, (*handle).to_owned(), true));
            state.holds.insert(profile(number), holds.collect());
        }
        let given = traits.others.iter().map(|other| (other.clone(), true));
        let taken = traits.thieves.iter().map(|other| (other.clone(), false));
        state.others = given.chain(taken).collect();
        if traits.bystander {
            let staff = vec![(Duration::ZERO, "staff".to_owned(), true)];
            state.holds.insert(profile(BYSTANDER), staff);
        }
        Self {
            state: Arc::new(Mutex::new(state)),
            traits,
            disk: Disk::new(),
            job: Job {
                tenant: "https://api.acme.getomneo.com/api/v3".into(),
                action,
                handles: handles.iter().map(|handle| Handle::new(*handle)).collect(),
            },
            settings: settings(),
            people,
        }
    }

    fn ledger(&self) -> PathBuf {
        self.disk.ledger()
    }

    /// One process, to its end or until it is killed.
    pub fn live(&self, killed_after: Option<Duration>) -> Option<Outcome> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        self.disk.show_log();
        let outcome = runtime.block_on(async {
            self.state.lock().unwrap().began = Some(Instant::now());
            let killed = async {
                match killed_after {
                    Some(time) => tokio::time::sleep(time).await,
                    None => std::future::pending().await,
                }
            };
            let mut process = Box::pin(self.process());
            let outcome = tokio::select! {
                biased;
                outcome = &mut process => Some(outcome),
                () = killed => None,
            };
            if outcome.is_none() {
                self.disk.freeze();
            }
            drop(process);
            let mut state = self.state.lock().unwrap();
            state.before = state.now();
            state.began = None;
            outcome
        });
        drop(runtime);
        self.disk.restart(Crash::Process);
        outcome
    }

    async fn process(&self) -> Outcome {
        let mut ledger = match Ledger::open(&self.ledger(), "assign").unwrap() {
            Some(ledger) => ledger,
            None => Ledger::create(&self.ledger(), "assign").unwrap(),
        };
        let mut loading = ledger.begin_load().unwrap();
        loading.begin_list("list.txt", "text").unwrap();
        for number in 0..self.people {
            loading
                .email(number as u64 + 1, &email(number), &email(number))
                .unwrap();
        }
        loading.end_list(&identity()).unwrap();
        loading.pin(&self.job, true).unwrap();
        loading.commit().unwrap();
        let counts = ledger.counts().unwrap();
        let writer = ledger.into_immediate_writer("assign").unwrap();
        let gate = Gate::open(PaceSettings {
            rate: Rate::Unlimited,
            reserve: Reserve::NONE,
            concurrency: 4,
        });
        let api = Api {
            state: self.state.clone(),
            traits: self.traits.clone(),
            action: self.job.action,
        };
        let (_stopper, stop) = watch::channel(false);
        let tenant = Paced::new(api, gate);
        let settings = self.settings.clone();
        let events = Events::to(drop);
        run(tenant, writer, self.job.clone(), settings, &counts, events, stop)
            .await
            .unwrap()
    }

    /// How long the tenant has existed.
    pub fn age(&self) -> Duration {
        self.state.lock().unwrap().now()
    }

    /// Whether any handle was taken twice for anybody from us.
    pub fn twice(&self) -> Vec<(String, String)> {
        let state = self.state.lock().unwrap();
        let twice = state.taken.iter().filter(|(_, times)| **times > 1);
        twice.map(|(named, _)| named.clone()).collect()
    }

    /// Writes that were taken from us.
    pub fn taken(&self) -> usize {
        self.state
            .lock()
            .unwrap()
            .batches
            .iter()
            .filter(|batch| batch.ours)
            .count()
    }

    /// The state of every entry, with whether its profile has in the end what the job wants.
    pub fn entries(&self) -> Vec<(EntryState, Option<String>, bool)> {
        let mut entries = Vec::new();
        let state = self.state.lock().unwrap();
        let wants = self.job.action == Action::Assign;
        let note = |row: EntryRow<'_>| {
            let number = row.email[1..].split('@').next().unwrap().parse().unwrap();
            let has =
                |handle: &Handle| state.holds(&profile(number), handle.as_str(), Duration::MAX) == wants;
            let right = self.job.handles.iter().all(has);
            entries.push((row.state, row.reason.map(str::to_owned), right));
            Ok::<_, LedgerError>(())
        };
        Reader::open(&self.ledger()).unwrap().each_entry(note).unwrap();
        entries
    }

    /// What is said of everybody is true: the confirmed have it, the failed have not. What waits is said to wait.
    #[track_caller]
    pub fn check(&self) {
        assert_eq!(self.twice(), [], "taken twice");
        for (number, (state, reason, right)) in self.entries().into_iter().enumerate() {
            let fine = match state {
                EntryState::Confirmed => right,
                EntryState::Failed => !right,
                _ => true,
            };
            assert!(
                fine,
                "{number} is {state} {reason:?}, and has what is wanted: {right}"
            );
        }
    }

    /// How many entries stand in this state.
    pub fn count(&self, state: EntryState) -> usize {
        self.entries().iter().filter(|entry| entry.0 == state).count()
    }

    /// Why the batches that are held are.
    pub fn held(&self) -> Vec<String> {
        let batches = Reader::open(&self.ledger()).unwrap().batches().unwrap();
        let held = batches
            .into_iter()
            .filter(|batch| batch.state == rollbook::model::batch::BatchState::Held);
        held.map(|batch| batch.detail.unwrap_or_default()).collect()
    }

    /// A number out of the ledger.
    pub fn number(&self, query: &str) -> i64 {
        let ledger = rusqlite::Connection::open(self.ledger()).unwrap();
        ledger.query_row(query, [], |row| row.get(0)).unwrap()
    }
}

fn identity() -> ListIdentity {
    ListIdentity {
        digest: [7; 32],
        column: 1,
        ..ListIdentity::default()
    }
}

fn settings() -> RunSettings {
    RunSettings {
        way: Way::One,
        sample: Sample::default(),
        page_size: 100,
        concurrency: 4,
        batch_size: 3,
        send_limit: None,
        dry_run: false,
        retry: None,
        confirm: Confirm::Sample,
        settle_deadline: Duration::from_secs(900),
        in_doubt: InDoubt::Verify,
        quiet: Duration::from_secs(75),
        limits: Limits::default(),
    }
}

impl State {
    fn now(&self) -> Duration {
        self.before + self.began.map_or(Duration::ZERO, |began| began.elapsed())
    }

    fn holds(&self, profile: &str, handle: &str, at: Duration) -> bool {
        let changes = self.holds.get(profile).into_iter().flatten();
        let past = changes.filter(|(when, of, _)| *when <= at && of == handle);
        past.max_by_key(|(when, ..)| *when)
            .is_some_and(|(_, _, holds)| *holds)
    }

    fn statuses(&self, profile: &str, at: Duration) -> Vec<String> {
        let handles: BTreeSet<&String> = self.holds[profile].iter().map(|(_, handle, _)| handle).collect();
        let held = handles
            .into_iter()
            .filter(|handle| self.holds(profile, handle, at));
        held.cloned().collect()
    }

    /// Lets other jobs do what they have done by now.
    fn catch_up(&mut self) {
        let now = self.now();
        let (past, future) = std::mem::take(&mut self.others)
            .into_iter()
            .partition(|(other, _)| other.at <= now);
        self.others = future;
        let past: Vec<(Other, bool)> = past;
        for (other, gives) in past {
            let members: Vec<String> = other.members.iter().map(|number| profile(*number)).collect();
            for member in &members {
                let gets = other
                    .handles
                    .iter()
                    .map(|handle| (other.at, (*handle).to_owned(), gives));
                self.holds.entry(member.clone()).or_default().extend(gets);
            }
            self.batches.push(Batch {
                at: other.at,
                finished: other.at,
                members,
                ours: false,
            });
        }
    }
}

impl Api {
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap();
        state.catch_up();
        state.asked += 1;
        state
    }

    async fn travel(&self) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    fn take(&self, members: &[Member]) -> BatchId {
        let mut state = self.state();
        let now = state.now();
        let applying = &self.traits.applying;
        let number = state.writes - 1;
        let delay = applying
            .get(number)
            .or(applying.last())
            .copied()
            .unwrap_or(SECOND / 5);
        let finished = now + delay + self.traits.in_halves;
        for (place, member) in members.iter().enumerate() {
            let later = if place * 2 < members.len() {
                Duration::ZERO
            } else {
                self.traits.in_halves
            };
            for handle in &member.handles {
                let (named, handle) = (member.profile.as_str().to_owned(), handle.as_str().to_owned());
                let change = (now + delay + later, handle.clone(), self.action == Action::Assign);
                state.holds.get_mut(&named).unwrap().push(change);
                *state.taken.entry((named, handle)).or_default() += 1;
            }
        }
        let members = members
            .iter()
            .map(|member| member.profile.as_str().to_owned())
            .collect();
        state.batches.push(Batch {
            at: now,
            finished,
            members,
            ours: true,
        });
        BatchId::new(format!("b-{}", state.batches.len() - 1))
    }

    fn shown(&self, state: &State, profile: &str) -> Vec<Handle> {
        let now = state.now();
        if self.traits.blank.iter().any(|blank| blank.contains(&now)) {
            return Vec::new();
        }
        let statuses = state.statuses(profile, now.saturating_sub(self.traits.lag));
        let word = |handle: String| {
            if self.traits.shouts {
                handle.to_uppercase()
            } else {
                handle
            }
        };
        statuses
            .into_iter()
            .map(|handle| Handle::new(word(handle)))
            .collect()
    }

    fn progress(&self, batch: &Batch, now: Duration) -> BatchProgress {
        match self.traits.poll {
            Poll::Always(progress) => progress,
            _ if batch.finished > now => BatchProgress::Pending,
            _ if self.traits.blames => BatchProgress::Failed,
            _ => BatchProgress::Success,
        }
    }
}

impl Tenant for Api {
    async fn verify_token(&self) -> Result<(), ReadFailure> {
        Ok(())
    }

    async fn statuses(&self, _: u32) -> Result<Page<StatusDefinition>, ReadFailure> {
        let named = |handle: &str| StatusDefinition {
            handle: Handle::new(handle),
            name: String::new(),
        };
        Ok(Page::new(["gold", "staff", "vip"].map(named).to_vec(), false))
    }

    async fn profiles(&self, wanted: Wanted<'_>, _: Slice) -> Result<Page<Found>, ReadFailure> {
        self.travel().await;
        let state = self.state();
        if let Wanted::Holders(handle) = wanted
            && self.traits.bystander
            && handle.as_str() == "staff"
        {
            let bystander = Found {
                profile: ProfileId::new(profile(BYSTANDER)),
                email: email(BYSTANDER),
                held: Some(self.shown(&state, &profile(BYSTANDER))),
            };
            return Ok(Page::new(vec![bystander], false));
        }
        let Wanted::Email(wanted) = wanted else {
            return Ok(Page::new(vec![], false));
        };
        let number = state.holds.keys().position(|id| email_of(id) == wanted);
        let found = number.map(|number| Found {
            profile: ProfileId::new(profile(number)),
            email: wanted.to_owned(),
            held: Some(self.shown(&state, &profile(number))),
        });
        Ok(Page::new(found.into_iter().collect(), false))
    }

    async fn held_by(&self, profile: &ProfileId) -> Result<Holding, ReadFailure> {
        self.travel().await;
        let state = self.state();
        let held = self.shown(&state, profile.as_str());
        Ok(Holding {
            held,
            email: None,
            is_kept: false,
        })
    }

    async fn batch(&self, id: &BatchId) -> Result<BatchReport, ReadFailure> {
        self.travel().await;
        match self.traits.poll {
            Poll::Forbidden => {
                let refusal = Refusal {
                    status: 403,
                    message: String::new(),
                };
                return Err(ReadFailure::Denied(refusal));
            }
            Poll::WrongShape => return Err(ReadFailure::Spoiled("it is of the wrong shape".into())),
            Poll::Unreachable => return Err(ReadFailure::Unreachable("HTTP 503".into())),
            Poll::Honest | Poll::Always(_) => {}
        }
        let state = self.state();
        let batch = &state.batches[id.as_str()[2..].parse::<usize>().unwrap()];
        let item = |(place, member): (usize, &String)| match self.traits.items {
            Items::Missing => vec![],
            Items::Ours => vec![ProfileId::new(member.clone())],
            Items::TheirOwn => vec![ProfileId::new(profile(900_000 + place))],
        };
        let items = batch
            .members
            .iter()
            .enumerate()
            .map(item)
            .filter(|item| !item.is_empty())
            .collect();
        let progress = self.progress(batch, state.now());
        let blamed = batch.members.iter().filter(|_| self.traits.blames);
        Ok(BatchReport {
            ids: vec![id.clone()],
            progress,
            status: format!("{progress:?}"),
            failed: blamed
                .map(|member| (ProfileId::new(member.clone()), "no".into()))
                .collect(),
            failures: 0,
            items,
        })
    }

    async fn batches(&self, page: u32) -> Result<Page<ListedBatch>, ReadFailure> {
        self.travel().await;
        let state = self.state();
        let mut numbers: Vec<usize> = (0..state.batches.len()).collect();
        numbers.sort_by_key(|number| state.batches[*number].at);
        match self.traits.order {
            Order::None => return Err(ReadFailure::Missing),
            Order::NewestFirst => numbers.reverse(),
            Order::OldestFirst => {}
            Order::Anyhow => {
                numbers.reverse();
                let newest = numbers.len().min(3);
                numbers.rotate_left(newest);
            }
        }
        let skipped = (page as usize - 1) * PAGE;
        let more = numbers.len() > skipped + PAGE;
        let now = state.now();
        let row = |number: usize| {
            let batch = &state.batches[number];
            let progress = self.progress(batch, now);
            let zero = self.traits.pending_size_is_zero && progress == BatchProgress::Pending;
            ListedBatch {
                id: BatchId::new(format!("b-{number}")),
                other_id: None,
                size: Some(if zero { 0 } else { batch.members.len() as u64 }),
                progress: Some(progress),
                failed: None,
                succeeded: None,
            }
        };
        let items = numbers.into_iter().skip(skipped).take(PAGE).map(row).collect();
        Ok(Page::new(items, more))
    }

    async fn write(&self, _: Action, members: &[Member]) -> WriteAnswer {
        self.travel().await;
        let answer = {
            let mut state = self.state();
            state.writes += 1;
            self.traits
                .writes
                .get(state.writes - 1)
                .copied()
                .unwrap_or_default()
        };
        match answer {
            Write::Accepted => WriteAnswer::Accepted(self.take(members)),
            Write::Unheard => {
                self.take(members);
                WriteAnswer::InDoubt("the connection was closed".into())
            }
            Write::Lost => WriteAnswer::InDoubt("the connection was closed".into()),
            Write::RefusedByName => {
                self.take(&members[1..]);
                refused(vec![(0, "is unknown".into())])
            }
            Write::RefusedWhole => {
                self.take(members);
                refused(vec![])
            }
        }
    }
}

fn refused(members: Vec<(usize, String)>) -> WriteAnswer {
    let refusal = Refusal {
        status: 422,
        message: "The given data was invalid.".into(),
    };
    WriteAnswer::Refused { refusal, members }
}

fn email_of(profile: &str) -> String {
    let number: usize = profile.rsplit('-').next().unwrap().parse().unwrap();
    email(number)
}
