//! A tenant in memory that behaves as badly as its seed says, in virtual time.
//!
//! It outlives the processes that ask it: what was taken stays taken, requests of a dead process may still arrive,
//! and time goes on between two of them. It notes for every profile which requests for it were taken, so that
//! "nothing twice" can be checked against what happened and not against what anybody says.

use super::weather::{Listing, Strangers, Weather};
use rollbook::api::{
    BatchProgress, BatchReport, Holding, ListedBatch, Page, Slice, StatusDefinition, Tenant, Wanted,
};
use rollbook::model::ids::{Action, BatchId, Handle, ProfileId};
use rollbook::model::lookup::Found;
use rollbook::model::outcome::{Member, ReadFailure, Refusal, WriteAnswer};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The handle that everybody is to get.
pub const VIP: &str = "vip";
/// Batches on a page of the list.
const PAGE: usize = 4;
/// How long a client waits for an answer to a write before it gives up.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long after that a request may still arrive.
const LATE_LIMIT_MS: u64 = 20_000;
/// Worthless answers to one question in a row; at eight the run gives the question up.
const SPOILED_LIMIT: u32 = 5;

/// When the process dies that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    /// At its how manieth call, counted from 1.
    pub call: u64,
    /// Before the call takes effect, or after.
    pub after: bool,
}

/// See the module's documentation.
pub struct World {
    state: Mutex<State>,
}

struct State {
    chance: fastrand::Rng,
    weather: Weather,
    /// Time that passed before the process of now began, and when that was on its clock.
    before: Duration,
    began: Option<Instant>,
    /// Who bears an email.
    emails: BTreeMap<String, Vec<String>>,
    profiles: BTreeMap<String, Profile>,
    batches: Vec<Batch>,
    /// Requests that nobody waits for any more, and when they arrive.
    late: Vec<(Duration, Vec<String>)>,
    spoiled: BTreeMap<String, u32>,
    losing: Option<String>,
    calls: u64,
    death: Option<Death>,
    mourner: Option<Arc<Notify>>,
    trace: Vec<String>,
}

#[derive(Clone, Default)]
struct Profile {
    /// When it gets the handle (true) or loses it.
    changes: Vec<(Duration, bool)>,
    /// The batches in which a request for it was taken.
    taken: Vec<usize>,
    edited: bool,
}

struct Batch {
    members: Vec<String>,
    finished: Duration,
}

impl Profile {
    fn holds(&self, now: Duration) -> bool {
        let past = self.changes.iter().filter(|(at, _)| *at <= now);
        // The later of two at the same moment counts.
        past.max_by_key(|(at, _)| *at).is_some_and(|(_, gets)| *gets)
    }
}

impl World {
    /// A tenant with these people: each email with the profiles that bear it.
    pub fn new(seed: u64, weather: Weather, people: &[(String, Vec<String>)]) -> Arc<Self> {
        let profiles = people.iter().flat_map(|(_, profiles)| profiles.iter().cloned());
        Arc::new(Self {
            state: Mutex::new(State {
                chance: fastrand::Rng::with_seed(seed),
                weather,
                before: Duration::ZERO,
                began: None,
                emails: people.iter().cloned().collect(),
                profiles: profiles.map(|profile| (profile, Profile::default())).collect(),
                batches: Vec::new(),
                late: Vec::new(),
                spoiled: BTreeMap::new(),
                losing: None,
                calls: 0,
                death: None,
                mourner: None,
                trace: Vec::new(),
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Somebody else gives a profile the handle at this time, or takes it away.
    pub fn edit(&self, profile: &str, at: Duration, gives: bool) {
        let mut state = self.state();
        let profile = state.profiles.get_mut(profile).unwrap();
        profile.changes.push((at, gives));
        profile.edited = at > Duration::ZERO;
    }

    /// Of the writes that get lost, only those are that name this profile.
    pub fn lose_writes_for(&self, profile: &str) {
        self.state().losing = Some(profile.to_owned());
    }

    /// Somebody else sends a batch of so many.
    pub fn stranger(&self, size: usize) {
        self.state().take_from_stranger(size);
    }

    /// From now on it behaves as well as can be.
    pub fn calm(&self) {
        let mut state = self.state();
        let Weather {
            size_limit, listing, ..
        } = state.weather;
        state.weather = Weather {
            applying_ms: 500,
            travel_ms: 20,
            size_limit,
            listing,
            ..Weather::default()
        };
    }

    /// A process begins, and may die at one of its calls.
    pub fn begin(&self, mourner: Arc<Notify>, death: Option<Death>) {
        let mut state = self.state();
        (state.began, state.calls) = (Some(Instant::now()), 0);
        (state.mourner, state.death) = (Some(mourner), death);
        state.note("--- a process begins");
    }

    /// The process has ended.
    pub fn end(&self, how: &str) {
        let mut state = self.state();
        state.before = state.now();
        state.began = None;
        state.note(&format!("--- {how}"));
    }

    /// Time passes while no process runs.
    pub fn pass(&self, time: Duration) {
        self.state().before += time;
    }

    /// How much time has passed since it began to exist.
    pub fn age(&self) -> Duration {
        self.state().now()
    }

    /// Calls of the process of now.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Everything that happened.
    pub fn trace(&self) -> Vec<String> {
        self.state().trace.clone()
    }

    /// How often a request for each profile was taken, where it was.
    pub fn taken(&self) -> BTreeMap<String, usize> {
        let mut state = self.state();
        state.arrive();
        let taken = state
            .profiles
            .iter()
            .map(|(id, profile)| (id.clone(), profile.taken.len()));
        taken.filter(|(_, times)| *times > 0).collect()
    }

    /// Whether a request for any of these was taken; `None` as long as one may yet be.
    pub fn was_taken(&self, members: &[String]) -> Option<bool> {
        let mut state = self.state();
        state.arrive();
        let concerns = |named: &[String]| named.iter().any(|id| members.contains(id));
        let under_way = state.late.iter().any(|(_, late)| concerns(late));
        let taken = |id: &String| !state.profiles[id].taken.is_empty();
        (!under_way).then(|| members.iter().any(taken))
    }

    /// Whether somebody else took the handle away from a profile.
    pub fn was_taken_away(&self, profile: &str) -> bool {
        let changes = &self.state().profiles[profile].changes;
        changes.iter().any(|(_, gives)| !gives)
    }

    /// Whether a profile holds the handle, once everything has been applied, and whether somebody else edited it.
    pub fn in_the_end(&self, profile: &str) -> (bool, bool) {
        let state = self.state();
        let profile = &state.profiles[profile];
        (profile.holds(Duration::MAX), profile.edited)
    }
}

impl State {
    fn now(&self) -> Duration {
        self.before + self.began.map_or(Duration::ZERO, |began| began.elapsed())
    }

    fn note(&mut self, what: &str) {
        let now = self.now();
        self.trace.push(format!("{:>10} {what}", now.as_millis()));
    }

    fn progress(&self, finished: bool) -> BatchProgress {
        match (self.weather.babbles, finished) {
            (true, _) => BatchProgress::Unknown,
            (false, true) => BatchProgress::Success,
            (false, false) => BatchProgress::Pending,
        }
    }

    /// Lets what is on its way arrive.
    fn arrive(&mut self) {
        let now = self.now();
        let late = std::mem::take(&mut self.late);
        let (mut arrived, under_way): (Vec<_>, Vec<_>) = late.into_iter().partition(|(at, _)| *at <= now);
        self.late = under_way;
        arrived.sort();
        for (at, members) in arrived {
            self.take(at, members);
        }
    }

    fn take_from_stranger(&mut self, size: usize) {
        let members = (0..size).map(|number| format!("p-str{number}")).collect();
        let finished = self.now();
        self.batches.push(Batch { members, finished });
    }

    /// Somebody else may send a batch, too, while ours is on its way.
    fn meddle(&mut self, members: &[String]) {
        if self.weather.strangers == Strangers::Nobody || !self.chance.bool() {
            return;
        }
        if self.weather.strangers == Strangers::ForOthers || self.chance.bool() {
            return self.take_from_stranger(members.len());
        }
        let finished = self.now() + self.up_to(self.weather.applying_ms);
        for member in members {
            let shown = finished + self.up_to(self.weather.showing_ms);
            let profile = self.profiles.get_mut(member).unwrap();
            profile.changes.push((shown, true));
            profile.edited = true;
        }
        self.note(&format!("somebody else's batch for {members:?}"));
        let members = members.to_vec();
        self.batches.push(Batch { members, finished });
    }

    /// Takes a write: from here on it is going to happen.
    fn take(&mut self, at: Duration, members: Vec<String>) -> BatchId {
        self.meddle(&members);
        let number = self.batches.len();
        let finished = at + self.up_to(self.weather.applying_ms);
        for member in &members {
            let shown = finished + self.up_to(self.weather.showing_ms);
            let profile = self.profiles.get_mut(member).unwrap();
            profile.changes.push((shown, true));
            profile.taken.push(number);
        }
        self.note(&format!("batch {number} is taken: {members:?}"));
        self.batches.push(Batch { members, finished });
        BatchId::new(format!("b{number}"))
    }

    fn find(&self, wanted: Wanted<'_>) -> Vec<Found> {
        let now = self.now();
        let is_wanted = |email: &str, held: &[Handle]| match wanted {
            Wanted::Email(wanted) => wanted == email,
            Wanted::Emails(wanted) => wanted.contains(&email),
            Wanted::Holders(handle) => held.contains(handle),
            Wanted::Everybody => true,
        };
        let mut found = Vec::new();
        for (email, profiles) in &self.emails {
            for profile in profiles {
                let held = held(&self.profiles[profile], now);
                if is_wanted(email, &held) {
                    found.push(Found {
                        profile: ProfileId::new(profile.clone()),
                        email: email.clone(),
                        held: Some(held),
                    });
                }
            }
        }
        found.sort_by(|one, other| one.profile.cmp(&other.profile));
        found
    }

    fn items(&self, batch: usize) -> Vec<Vec<ProfileId>> {
        let members = self.batches[batch].members.iter();
        let named = members.filter(|_| self.weather.listing == Listing::Itemised);
        named.map(|member| vec![ProfileId::new(member.clone())]).collect()
    }

    fn up_to(&mut self, limit_ms: u64) -> Duration {
        Duration::from_millis(self.chance.u64(..=limit_ms))
    }

    fn is_out(&self) -> bool {
        let now = self.now();
        self.weather.outages.iter().any(|outage| outage.contains(&now))
    }

    fn happens(&mut self, share: u32) -> bool {
        self.chance.u32(..100) < share
    }

    fn denies(&mut self) -> Option<Refusal> {
        if self.weather.denials == 0 || !self.happens(5) {
            return None;
        }
        self.weather.denials -= 1;
        Some(Refusal {
            status: 401,
            message: "Unauthenticated.".into(),
        })
    }

    fn wait_to_ask_for(&mut self) -> Option<Duration> {
        self.chance
            .bool()
            .then(|| Duration::from_secs(self.chance.u64(1..20)))
    }

    fn fail_read(&mut self, question: &str) -> Option<ReadFailure> {
        if self.is_out() {
            return Some(ReadFailure::Unreachable("connection refused".into()));
        }
        if !self.happens(self.weather.bad_reads) {
            return None;
        }
        if let Some(refusal) = self.denies() {
            return Some(ReadFailure::Denied(refusal));
        }
        let spoiled = self.spoiled.entry(question.to_owned()).or_default();
        *spoiled += 1;
        if *spoiled > SPOILED_LIMIT {
            return None;
        }
        Some(match self.chance.u32(..4) {
            0 => ReadFailure::SlowDown(self.wait_to_ask_for()),
            1 => ReadFailure::Unreachable("HTTP 503".into()),
            _ => ReadFailure::Spoiled("HTTP 500".into()),
        })
    }

    /// What becomes of a write, and how long its client waits for what answer.
    fn judge_write(&mut self, members: Vec<String>) -> (Duration, WriteAnswer) {
        self.meddle(&members);
        let soon = self.up_to(self.weather.travel_ms);
        let doubt = |why: &str| WriteAnswer::InDoubt(why.into());
        if self.is_out() {
            return match self.chance.bool() {
                true => (soon, WriteAnswer::NotSent("connection refused".into())),
                false => (WRITE_TIMEOUT, doubt("timed out; it never arrives")),
            };
        }
        if self.weather.size_limit.is_some_and(|limit| members.len() > limit) {
            let refusal = Refusal {
                status: 413,
                message: String::new(),
            };
            return (soon, WriteAnswer::TooLarge(refusal));
        }
        let loses = |profile: &String| members.contains(profile);
        if self.weather.lost_writes > 0 && self.losing.as_ref().is_none_or(loses) {
            self.weather.lost_writes -= 1;
            return (WRITE_TIMEOUT, doubt("timed out; it never arrives"));
        }
        let now = self.now();
        if self.weather.unheard_writes > 0 {
            self.weather.unheard_writes -= 1;
            self.take(now, members);
            return (WRITE_TIMEOUT, doubt("timed out; it was taken"));
        }
        if !self.happens(self.weather.bad_writes) {
            return (soon, WriteAnswer::Accepted(self.take(now, members)));
        }
        if let Some(refusal) = self.denies() {
            return (soon, WriteAnswer::Denied(refusal));
        }
        match self.chance.u32(..8) {
            0 => (soon, WriteAnswer::NotSent("connection refused".into())),
            1 => (soon, WriteAnswer::SlowDown(self.wait_to_ask_for())),
            2 | 3 => (self.up_to(30_000), doubt("timed out; it never arrives")),
            4 => (soon, doubt("HTTP 502; it never arrives")),
            5 => {
                self.take(now, members);
                (soon, doubt("HTTP 500; it was taken"))
            }
            6 => {
                self.take(now, members);
                (WRITE_TIMEOUT, doubt("timed out; it was taken"))
            }
            _ => {
                let at = now + WRITE_TIMEOUT + self.up_to(LATE_LIMIT_MS);
                self.late.push((at, members));
                (WRITE_TIMEOUT, doubt("timed out; it arrives late"))
            }
        }
    }

    /// What happens to a request whose client died with it.
    fn orphan(&mut self, members: Vec<String>) {
        let now = self.now();
        let fits = self.weather.size_limit.is_none_or(|limit| members.len() <= limit);
        match self.chance.u32(..3) {
            0 if fits => drop(self.take(now, members)),
            1 if fits => {
                let at = now + self.up_to(LATE_LIMIT_MS);
                self.late.push((at, members));
            }
            _ => {}
        }
    }

    fn dies(&self, after: bool) -> bool {
        self.death
            == Some(Death {
                call: self.calls,
                after,
            })
    }
}

/// The way to a world.
#[derive(Clone)]
pub struct Api(pub Arc<World>);

impl Api {
    /// A question, from its departure until its answer arrives.
    async fn ask<R>(
        &self,
        question: String,
        answer: impl FnOnce(&mut State) -> Result<R, ReadFailure>,
    ) -> Result<R, ReadFailure> {
        let (travel, dies) = self.depart(&question);
        let (before, after) = dies;
        if before {
            self.die().await;
        }
        tokio::time::sleep(travel).await;
        let answered = {
            let mut state = self.0.state();
            state.arrive();
            let answered = match state.fail_read(&question) {
                Some(failure) => Err(failure),
                None => {
                    state.spoiled.remove(&question);
                    answer(&mut state)
                }
            };
            let word = answered
                .as_ref()
                .map_or_else(|failure| format!("{failure:?}"), |_| "answered".into());
            state.note(&format!("{question}: {word}"));
            answered
        };
        if after {
            self.die().await;
        }
        answered
    }

    /// Counts a call, and says how long it travels and whether the process dies before or after it.
    fn depart(&self, what: &str) -> (Duration, (bool, bool)) {
        let mut guard = self.0.state();
        let state = &mut *guard;
        state.calls += 1;
        state.note(&format!("{what} departs"));
        let travel = state.up_to(state.weather.travel_ms);
        (travel, (state.dies(false), state.dies(true)))
    }

    async fn die(&self) {
        let mourner = self.0.state().mourner.clone();
        mourner.unwrap().notify_one();
        std::future::pending().await
    }
}

impl Tenant for Api {
    async fn verify_token(&self) -> Result<(), ReadFailure> {
        self.ask("verify".into(), |_| Ok(())).await
    }

    async fn statuses(&self, _: u32) -> Result<Page<StatusDefinition>, ReadFailure> {
        let vip = StatusDefinition {
            handle: Handle::new(VIP),
            name: "VIP".into(),
        };
        let page = Page::new(vec![vip], false);
        self.ask("statuses".into(), |_| Ok(page)).await
    }

    async fn profiles(&self, wanted: Wanted<'_>, slice: Slice) -> Result<Page<Found>, ReadFailure> {
        let find = |state: &mut State| {
            let found = state.find(wanted);
            let (size, skipped) = (
                slice.size as usize,
                (slice.number as usize - 1) * slice.size as usize,
            );
            let total = found.len();
            let items: Vec<Found> = found.into_iter().skip(skipped).take(size).collect();
            Ok(Page {
                more: skipped + items.len() < total,
                items,
                total: Some(total as u64),
                size: Some(size as u64),
            })
        };
        self.ask(format!("look up {wanted:?} {}", slice.number), find)
            .await
    }

    async fn held_by(&self, profile: &ProfileId) -> Result<Holding, ReadFailure> {
        let look = |state: &mut State| {
            let now = state.now();
            let held = held(&state.profiles[profile.as_str()], now);
            Ok(Holding { held, email: None })
        };
        self.ask(format!("look at {}", profile.as_str()), look).await
    }

    async fn batch(&self, id: &BatchId) -> Result<BatchReport, ReadFailure> {
        let report = |state: &mut State| {
            let now = state.now();
            let number = id.as_str()[1..].parse::<usize>().unwrap();
            let done = state.batches[number].finished <= now;
            Ok(BatchReport {
                ids: Vec::new(),
                progress: state.progress(done),
                status: if done { "success".into() } else { "pending".into() },
                failed: vec![],
                failures: 0,
                items: state.items(number),
            })
        };
        self.ask(format!("poll {}", id.as_str()), report).await
    }

    async fn batches(&self, page: u32) -> Result<Page<ListedBatch>, ReadFailure> {
        let list = |state: &mut State| {
            let listing = state.weather.listing;
            if listing == Listing::Missing {
                return Err(ReadFailure::Missing);
            }
            let newest_first = state.batches.iter().enumerate().rev();
            let mut rest = newest_first.skip((page as usize - 1) * PAGE).peekable();
            let now = state.now();
            let listed = rest.by_ref().take(PAGE).map(|(number, batch)| ListedBatch {
                other_id: None,
                id: BatchId::new(format!("b{number}")),
                size: (listing != Listing::Bare).then_some(batch.members.len() as u64),
                progress: (listing != Listing::Bare).then(|| state.progress(batch.finished <= now)),
            });
            let items = listed.collect();
            Ok(Page::new(items, rest.peek().is_some()))
        };
        self.ask(format!("list page {page}"), list).await
    }

    async fn write(&self, action: Action, members: &[Member]) -> WriteAnswer {
        assert_eq!(action, Action::Assign);
        let members: Vec<String> = members
            .iter()
            .map(|member| member.profile.as_str().to_owned())
            .collect();
        let (travel, (before, after)) = self.depart(&format!("write {members:?}"));
        if before {
            self.0.state().orphan(members);
            self.die().await;
            unreachable!("nobody is left");
        }
        tokio::time::sleep(travel).await;
        let (wait, answer) = {
            let mut state = self.0.state();
            state.arrive();
            let judged = state.judge_write(members);
            state.note(&format!("write: {:?}", judged.1));
            judged
        };
        if after {
            self.die().await;
        }
        tokio::time::sleep(wait).await;
        answer
    }
}

fn held(profile: &Profile, now: Duration) -> Vec<Handle> {
    let holds = profile.holds(now);
    holds.then(|| Handle::new(VIP)).into_iter().collect()
}
