//! A tenant in memory that behaves as badly as its seed says, in virtual time.
//!
//! It outlives the processes that ask it: what was taken stays taken, requests of a dead process may still arrive,
//! and time goes on between two of them. What really happens is noted in [`Truth`]; what is answered is made up here
//! and in [`super::replies`], by the [`Traits`](super::grammar::Traits) of the tenant and its [`Weather`].

use super::cast::Cast;
use super::grammar::{
    Answer, Channel, Conflict, Effect, Fate, Late, Latency, Pace, Parts, Reads, Rows, Traits, Turn,
};
use super::truth::{Accepted, Truth};
use super::weather::{Strangers, Weather};
use rollbook::api::{BatchReport, Holding, ListedBatch, Page, Slice, StatusDefinition, Tenant, Wanted};
use rollbook::model::ids::{Action, BatchId, Handle, ProfileId};
use rollbook::model::lookup::Found;
use rollbook::model::outcome::{
    Complaint, Member, ReadFailure, Refusal, WriteAnswer, classify_read, classify_write,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long a client waits for an answer to a write before it gives up.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long after that a request may still arrive, and how long at a tenant that is worse.
const LATE_LIMIT_MS: u64 = 20_000;
const LATER_LIMIT_MS: u64 = 600_000;
/// Worthless answers to one question in a row; at eight the run gives the question up.
const SPOILED_LIMIT: u32 = 5;
/// The longest that a batch takes at a tenant that gets slower.
const GROWN_LIMIT: Duration = Duration::from_secs(240);
/// One member in so many never gets a change, where that happens.
const NEVER_ONE_IN: usize = 4;

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

/// The members of a request: profiles, and the handles for each.
pub type Members = Vec<(String, Vec<String>)>;

/// What is going to happen at a time.
enum Arrival {
    /// A request whose client gave it up then.
    Ours(Members, Duration),
    /// Others send a batch of so many for other people.
    Strangers(usize),
}

pub struct State {
    pub chance: fastrand::Rng,
    pub weather: Weather,
    pub truth: Truth,
    /// The tenant's own list of batches, oldest first.
    pub batches: Vec<Batch>,
    /// Polls so far.
    pub polls: u64,
    /// Time that passed before the process of now began, and when that was on its clock.
    before: Duration,
    began: Option<Instant>,
    queue: Vec<(Duration, Arrival)>,
    /// How long the last batch took, where they take ever longer.
    grown: Duration,
    spoiled: BTreeMap<String, u32>,
    /// The profile whose writes get lost, where not all do.
    losing: Option<String>,
    /// Whether the process of now says that it has a batch in doubt, and what it asked for then.
    doubts: bool,
    met: [bool; Channel::COUNT],
    calls: u64,
    death: Option<Death>,
    mourner: Option<Arc<Notify>>,
    trace: Vec<String>,
}

pub struct Batch {
    pub members: Vec<String>,
    pub accepted: Duration,
    pub finished: Duration,
    /// From when on it stands in the list.
    pub listed: Duration,
}

impl World {
    /// A tenant with these people.
    pub fn new(seed: u64, weather: Weather, cast: &Cast) -> Arc<Self> {
        let mut truth = Truth::new(cast);
        truth.reads_lag = reads_lag(weather.traits.reads);
        truth.list_tells = super::replies::list_tells(&weather);
        Arc::new(Self {
            state: Mutex::new(State {
                chance: fastrand::Rng::with_seed(seed),
                weather,
                truth,
                batches: Vec::new(),
                polls: 0,
                before: Duration::ZERO,
                began: None,
                queue: Vec::new(),
                grown: Duration::ZERO,
                spoiled: BTreeMap::new(),
                losing: None,
                doubts: false,
                met: [false; Channel::COUNT],
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

    /// Others give a profile all handles at this time, or take them away.
    pub fn edit(&self, profile: &str, at: Duration, gives: bool) {
        let truth = &mut self.state().truth;
        for handle in truth.handles.clone() {
            truth.change(profile, &handle, at, gives, false);
        }
    }

    /// Of the writes that get lost, only those are that name this profile.
    pub fn lose_writes_for(&self, profile: &str) {
        self.state().losing = Some(profile.to_owned());
    }

    /// Something happens to a profile itself.
    pub fn befall(&self, profile: &str, fate: Fate, at: Duration) {
        let truth = &mut self.state().truth;
        match fate {
            Fate::Stay => {}
            Fate::Merge => {
                truth.move_emails(profile, at);
                truth.take_out(profile, at..Duration::MAX);
            }
            Fate::Move => truth.move_emails(profile, at),
            Fate::Vanish => truth.take_out(profile, at..Duration::MAX),
            Fate::Return => truth.take_out(profile, at..at + Duration::from_secs(5)),
        }
    }

    /// Others send a batch of so many.
    pub fn stranger(&self, size: usize) {
        self.state().take_from_stranger(size);
    }

    /// What it is like.
    pub fn traits(&self) -> Traits {
        self.state().weather.traits
    }

    /// From now on it behaves as well as can be.
    pub fn calm(&self) {
        let mut state = self.state();
        state.weather = state.weather.calmed();
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
        state.doubts = false;
        state.note(&format!("--- {how}"));
    }

    /// The process says how many batches it has in doubt.
    pub fn hear_of_doubts(&self, doubts: u64) {
        self.state().doubts = doubts > 0;
    }

    /// Which kinds of requests were made while a batch was in doubt.
    pub fn met(&self) -> [bool; Channel::COUNT] {
        self.state().met
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
        self.with_truth(Truth::times_taken)
    }

    /// Asks the oracle, once everything has arrived that has had the time to.
    pub fn with_truth<R>(&self, question: impl FnOnce(&Truth) -> R) -> R {
        let mut state = self.state();
        state.arrive();
        question(&state.truth)
    }

    /// The batches that are over.
    pub fn over(&self) -> Vec<BatchId> {
        let mut state = self.state();
        state.arrive();
        let now = state.now();
        let batches = state.batches.iter().enumerate();
        let over = batches.filter(|(_, batch)| batch.finished <= now);
        over.map(|(number, _)| BatchId::new(format!("b{number}")))
            .collect()
    }

    /// Whether a request for any of these was taken; `None` as long as one may yet be.
    pub fn was_taken(&self, members: &[String]) -> Option<bool> {
        let mut state = self.state();
        state.arrive();
        let concerns = |named: &Members| named.iter().any(|(id, _)| members.contains(id));
        let under_way = state.queue.iter().any(|(_, arrival)| match arrival {
            Arrival::Ours(late, _) => concerns(late),
            Arrival::Strangers(_) => false,
        });
        (!under_way).then(|| {
            state
                .truth
                .accepted
                .iter()
                .any(|request| concerns(&request.members))
        })
    }
}

fn reads_lag(reads: Reads) -> Duration {
    Duration::from_secs(match reads {
        Reads::Fresh => 0,
        Reads::Stale => 8,
        Reads::Flapping => 20,
        Reads::VeryStale => 300,
    })
}

impl State {
    pub fn now(&self) -> Duration {
        self.before + self.began.map_or(Duration::ZERO, |began| began.elapsed())
    }

    fn note(&mut self, what: &str) {
        let now = self.now();
        self.trace.push(format!("{:>10} {what}", now.as_millis()));
    }

    /// Which time a single read shows.
    pub fn shown_time(&mut self) -> Duration {
        let reads = self.weather.traits.reads;
        let late = reads != Reads::Flapping || self.chance.u8(..3) == 0;
        let lag = if late { reads_lag(reads) } else { Duration::ZERO };
        self.now().saturating_sub(lag)
    }

    /// Lets what is on its way arrive.
    fn arrive(&mut self) {
        let now = self.now();
        let queue = std::mem::take(&mut self.queue);
        let (mut arrived, under_way): (Vec<_>, Vec<_>) = queue.into_iter().partition(|(at, _)| *at <= now);
        self.queue = under_way;
        arrived.sort_by_key(|(at, _)| *at);
        for (at, arrival) in arrived {
            match arrival {
                Arrival::Ours(members, lost) => drop(self.take(at, members, lost)),
                Arrival::Strangers(size) => self.take_from_stranger(size),
            }
        }
    }

    fn take_from_stranger(&mut self, size: usize) {
        let members = (0..size).map(|number| format!("p-str{number}")).collect();
        let now = self.now();
        let finished = match self.weather.strangers {
            Strangers::Nobody => now,
            _ => now + self.up_to(self.weather.applying_ms),
        };
        self.add_to_list(members, now, finished);
    }

    /// Others may send a batch, too, while ours is on its way.
    fn meddle(&mut self, members: &Members) {
        if self.weather.strangers == Strangers::Nobody || !self.chance.bool() {
            return;
        }
        if self.chance.bool() {
            let at = self.now() + self.up_to(60_000);
            self.queue.push((at, Arrival::Strangers(members.len())));
        }
        if self.weather.strangers == Strangers::ForOthers || self.chance.bool() {
            return self.take_from_stranger(members.len());
        }
        let gives = self.truth.action == Action::Assign;
        let now = self.now();
        let finished = now + self.up_to(self.weather.applying_ms);
        let first = self.truth.handles[..1].to_vec();
        let (handles, gives, later) = match self.weather.strangers {
            Strangers::OtherHandle => (vec!["silver".to_owned()], true, 0),
            Strangers::Overlapping => (first, gives, 0),
            Strangers::TakingAway => (self.truth.handles.clone(), !gives, 60_000),
            _ => (self.truth.handles.clone(), gives, 0),
        };
        for (member, _) in members {
            let shown = finished + self.up_to(self.weather.showing_ms) + self.up_to(later);
            for handle in &handles {
                self.truth.change(member, handle, shown, gives, false);
            }
        }
        self.note(&format!("others' batch of {handles:?} for {members:?}"));
        self.add_to_list(names(members), now, finished);
    }

    /// Takes a write: from here on it is going to happen. `lost`: when its client gives it up, if it gets no answer.
    fn take(&mut self, at: Duration, members: Members, lost: Duration) -> BatchId {
        self.meddle(&members);
        let number = self.batches.len();
        let finished = self.finish_time(at);
        let gives = self.truth.action == Action::Assign;
        let mut effects = Vec::new();
        for (position, (member, handles)) in members.iter().enumerate() {
            let mut shown = finished + self.up_to(self.weather.showing_ms);
            if self.weather.traits.parts == Parts::Straggler && position == 0 {
                shown += Duration::from_secs(30);
            }
            let happens = self.truth.profiles[member].exists(shown) && !self.is_dropped(member);
            effects.push(happens.then_some(shown));
            for handle in handles.iter().filter(|_| happens) {
                self.truth.change(member, handle, shown, gives, true);
            }
        }
        self.note(&format!(
            "batch {number} is taken: {members:?}, finished at {finished:?}"
        ));
        let named = names(&members);
        self.truth.accepted.push(Accepted {
            members,
            at,
            lost,
            answered: false,
            finished,
            effects,
        });
        self.add_to_list(named.clone(), at, finished);
        if self.weather.traits.rows == Rows::Two {
            self.add_to_list(named, at, finished);
        }
        BatchId::new(format!("b{number}"))
    }

    fn add_to_list(&mut self, members: Vec<String>, accepted: Duration, finished: Duration) {
        let lag = match super::replies::list_lag_ms(self.weather.traits.list_lag) {
            0 => Duration::ZERO,
            limit => self.up_to(limit),
        };
        let listed = accepted + lag;
        self.batches.push(Batch {
            members,
            accepted,
            finished,
            listed,
        });
    }

    /// Whether changes never reach a profile.
    fn is_dropped(&self, profile: &str) -> bool {
        let number = self.truth.profiles.keys().position(|id| id == profile);
        self.weather.traits.effect == Effect::SomeNever
            && number.is_some_and(|number| number % NEVER_ONE_IN == 0)
    }

    fn finish_time(&mut self, at: Duration) -> Duration {
        let traits = self.weather.traits;
        let mut takes = self.up_to(self.weather.applying_ms);
        if traits.pace == Pace::Growing {
            takes = (self.grown * 3 / 2)
                .max(takes)
                .max(Duration::from_secs(2))
                .min(GROWN_LIMIT);
            self.grown = takes;
        }
        if traits.turn == Turn::Backwards {
            takes /= 1 + self.batches.len() as u32;
        }
        let mut finished = at + takes;
        if traits.turn == Turn::Queued {
            finished = finished.max(self.batches.last().map_or(Duration::ZERO, |last| last.finished));
        }
        let stalls = self.weather.stalls.clone();
        let stalled = stalls
            .iter()
            .find(|stall| stall.contains(&finished) || stall.contains(&at));
        match stalled {
            Some(stall) if traits.pace == Pace::Stalled => stall.end + self.up_to(15_000),
            _ => finished,
        }
    }

    pub fn up_to(&mut self, limit_ms: u64) -> Duration {
        Duration::from_millis(self.chance.u64(..=limit_ms))
    }

    fn is_out(&self) -> bool {
        is_in(&self.weather.outages, self.now())
    }

    /// The status of the moment to everything, where there is one.
    fn conflict(&mut self) -> Option<u16> {
        let conflicts =
            self.weather.traits.conflict == Conflict::Seconds && is_in(&self.weather.conflicts, self.now());
        conflicts.then(|| [409, 423, 425][self.chance.usize(..3)])
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
        if let Some(status) = self.conflict() {
            return Some(classify_read(status, None, Complaint::default()));
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
    fn judge_write(&mut self, members: Members) -> (Duration, WriteAnswer) {
        self.meddle(&members);
        let soon = self.up_to(self.weather.travel_ms);
        let doubt = |why: &str| WriteAnswer::InDoubt(why.into());
        if self.is_out() {
            return match self.chance.bool() {
                true => (soon, WriteAnswer::NotSent("connection refused".into())),
                false => (WRITE_TIMEOUT, doubt("timed out; it never arrives")),
            };
        }
        if let Some(status) = self.conflict() {
            return (soon, classify_write(status, None, Complaint::default()));
        }
        if self.weather.size_limit.is_some_and(|limit| members.len() > limit) {
            let refusal = Refusal {
                status: 413,
                message: String::new(),
            };
            return (soon, WriteAnswer::TooLarge(refusal));
        }
        let loses = |profile: &String| members.iter().any(|(id, _)| id == profile);
        if self.weather.lost_writes > 0 && self.losing.as_ref().is_none_or(loses) {
            self.weather.lost_writes -= 1;
            return (WRITE_TIMEOUT, doubt("timed out; it never arrives"));
        }
        let now = self.now();
        let timeout = now + WRITE_TIMEOUT;
        if self.weather.unheard_writes > 0 {
            self.weather.unheard_writes -= 1;
            self.take(now, members, timeout);
            return (WRITE_TIMEOUT, doubt("timed out; it was taken"));
        }
        if !self.happens(self.weather.bad_writes) {
            let id = self.take(now, members, now);
            return (soon, WriteAnswer::Accepted(self.named(id)));
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
                self.take(now, members, now);
                (soon, doubt("HTTP 500; it was taken"))
            }
            6 => {
                self.take(now, members, timeout);
                (WRITE_TIMEOUT, doubt("timed out; it was taken"))
            }
            _ => {
                let at = timeout + self.late();
                self.queue.push((at, Arrival::Ours(members, timeout)));
                (WRITE_TIMEOUT, doubt("timed out; it arrives late"))
            }
        }
    }

    /// The id in an answer to the write that was taken last.
    fn named(&mut self, id: BatchId) -> BatchId {
        let another = self.weather.traits.answer == Answer::Another && self.chance.u8(..4) == 0;
        match self.batches.len().checked_sub(2) {
            Some(before) if another => BatchId::new(format!("b{before}")),
            _ => id,
        }
    }

    fn late(&mut self) -> Duration {
        self.up_to(match self.weather.traits.late {
            Late::Soon => LATE_LIMIT_MS,
            Late::Minutes => LATER_LIMIT_MS,
        })
    }

    /// What happens to a request whose client died with it.
    fn orphan(&mut self, members: Members) {
        let now = self.now();
        let fits = self.weather.size_limit.is_none_or(|limit| members.len() <= limit);
        match self.chance.u32(..3) {
            0 if fits => drop(self.take(now, members, now)),
            1 if fits => {
                let at = now + self.late();
                self.queue.push((at, Arrival::Ours(members, now)));
            }
            _ => {}
        }
    }

    /// The answer to the request that was taken at this time has reached its client.
    fn hear(&mut self, at: Duration) {
        if let Some(request) = self
            .truth
            .accepted
            .iter_mut()
            .rev()
            .find(|request| request.at == at)
        {
            request.answered = true;
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

pub fn is_in(times: &[std::ops::Range<Duration>], now: Duration) -> bool {
    times.iter().any(|time| time.contains(&now))
}

fn names(members: &Members) -> Vec<String> {
    members.iter().map(|(id, _)| id.clone()).collect()
}

/// The way to a world.
#[derive(Clone)]
pub struct Api(pub Arc<World>);

impl Api {
    /// A question, from its departure until its answer arrives.
    async fn ask<R>(
        &self,
        channel: Channel,
        question: String,
        answer: impl FnOnce(&mut State) -> Result<R, ReadFailure>,
    ) -> Result<R, ReadFailure> {
        let (travel, dies) = self.depart(channel, &question);
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
    fn depart(&self, channel: Channel, what: &str) -> (Duration, (bool, bool)) {
        let mut guard = self.0.state();
        let state = &mut *guard;
        state.calls += 1;
        state.note(&format!("{what} departs"));
        if state.doubts {
            state.met[channel as usize] = true;
            // Who waits for the end of a doubt has met what becomes of writes.
            state.met[Channel::Write as usize] = true;
        }
        let waves = match state.weather.traits.latency {
            Latency::Steady => 1,
            Latency::Waves => 1 + (state.now().as_secs() % 60 / 6) as u32,
        };
        let travel = state.up_to(state.weather.travel_ms) * waves;
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
        self.ask(Channel::Write, "verify".into(), |_| Ok(())).await
    }

    async fn statuses(&self, _: u32) -> Result<Page<StatusDefinition>, ReadFailure> {
        let defined = ["gold", "silver", "staff", "vip"].map(|handle| StatusDefinition {
            handle: Handle::new(handle),
            name: handle.to_uppercase(),
        });
        let page = Page::new(defined.to_vec(), false);
        self.ask(Channel::Write, "statuses".into(), |_| Ok(page)).await
    }

    async fn profiles(&self, wanted: Wanted<'_>, slice: Slice) -> Result<Page<Found>, ReadFailure> {
        let question = format!("look up {wanted:?} {}", slice.number);
        self.ask(Channel::Search, question, |state| Ok(state.search(wanted, slice)))
            .await
    }

    async fn held_by(&self, profile: &ProfileId) -> Result<Holding, ReadFailure> {
        let question = format!("look at {}", profile.as_str());
        self.ask(Channel::Look, question, |state| state.look_at(profile))
            .await
    }

    async fn batch(&self, id: &BatchId) -> Result<BatchReport, ReadFailure> {
        self.ask(Channel::Poll, format!("poll {}", id.as_str()), |state| {
            state.report(id)
        })
        .await
    }

    async fn batches(&self, page: u32) -> Result<Page<ListedBatch>, ReadFailure> {
        self.ask(Channel::List, format!("list page {page}"), |state| {
            state.list(page)
        })
        .await
    }

    async fn write(&self, action: Action, members: &[Member]) -> WriteAnswer {
        let text = |handle: &Handle| handle.as_str().to_owned();
        let members: Members = members
            .iter()
            .map(|member| {
                let handles = member.handles.iter().map(text).collect();
                (member.profile.as_str().to_owned(), handles)
            })
            .collect();
        let (travel, (before, after)) = self.depart(Channel::Write, &format!("write {members:?}"));
        if before {
            self.0.state().orphan(members);
            self.die().await;
            unreachable!("nobody is left");
        }
        tokio::time::sleep(travel).await;
        let (wait, answer, at) = {
            let mut state = self.0.state();
            assert_eq!(action, state.truth.action);
            state.arrive();
            let at = state.now();
            let (wait, answer) = state.judge_write(members);
            state.note(&format!("write: {answer:?}"));
            (wait, answer, at)
        };
        if after {
            self.die().await;
        }
        tokio::time::sleep(wait).await;
        if matches!(answer, WriteAnswer::Accepted(_)) {
            self.0.state().hear(at);
        }
        answer
    }
}
