//! One job on one disk against one world, as a row of processes: each opens the ledger, loads the list again,
//! checks the tenant and runs, as the command line does, until it is done, is stopped, or dies.

pub use super::cast::usual_profiles as to_be_sent;
use super::cast::{ALIASES, Cast, Entries};
use super::disk::{Backup, Crash, Disk};
use super::grammar::Totals;
use super::truth::{Said, Truth, Twice};
use super::weather::Weather;
use super::world::{Api, Death, World};
use rollbook::api::Paced;
use rollbook::api::pacing::{Gate, PaceSettings};
use rollbook::ledger::{
    EntryRow, Ledger, LedgerError, ListIdentity, Reader, RulingError, Verdict, stop_wall_clock,
};
use rollbook::model::batch::BatchState;
use rollbook::model::doubt::InDoubt;
use rollbook::model::entry::EntryState;
use rollbook::model::ids::{BatchNo, Job};
use rollbook::model::rate::Rate;
use rollbook::model::reserve::Reserve;
use rollbook::model::sample::Confirm;
use rollbook::model::way::{Sample, Way};
use rollbook::runner::context::{Halt, RunSettings};
use rollbook::runner::event::{Event, Events};
use rollbook::runner::limits::Limits;
use rollbook::runner::preflight::{self, Objection};
use rollbook::runner::run::{Ending, Outcome, run};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// Undisturbed runs in which everything that can be decided must have been.
const RUNS_LIMIT: u64 = 6;

/// What the wall clock says, all the time.
const WALL_CLOCK_MS: i64 = 1_700_000_000_000;

/// What happens to a process from outside.
#[derive(Clone, Debug, Default)]
pub struct Disturbance {
    /// When somebody stops it.
    pub stop: Option<Duration>,
    /// When it dies at a call to the tenant.
    pub death: Option<Death>,
    /// When the clock jumps, and how far.
    pub jump: Option<(Duration, Duration)>,
    /// Where the power fails, whether what does not wait for the disk goes on until it does: a request may leave
    /// while something else is being written.
    pub lingers: bool,
}

/// How a process ended.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum End {
    /// It died.
    Died,
    /// Its ledger failed it.
    Ledger(LedgerError),
    /// It would not begin.
    #[expect(dead_code, reason = "why is only told to people, by Debug")]
    Objected(Objection),
    /// It ran.
    Ran(Outcome),
}

impl End {
    /// What the ledger complained about, wherever the run met it.
    pub fn ledger_error(&self) -> Option<&LedgerError> {
        match self {
            Self::Ledger(error) => Some(error),
            Self::Ran(Outcome {
                ending: Ending::Halted(Halt::Ledger(error)),
                ..
            }) => Some(error),
            _ => None,
        }
    }

    /// Whether the job is done.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Ran(outcome) if matches!(outcome.ending, Ending::Done))
    }
}

impl From<LedgerError> for End {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

/// See the module's documentation.
pub struct Machine {
    pub disk: Arc<Disk>,
    pub world: Arc<World>,
    pub cast: Cast,
    pub settings: RunSettings,
    /// Whether an older state of the ledger was put back, so that it may call itself a copy.
    put_back: AtomicBool,
}

impl Machine {
    /// A new disk and a new world, for the usual job.
    pub fn new(seed: u64, weather: Weather) -> Self {
        Self::of(seed, weather, Cast::usual())
    }

    /// The same for any job.
    pub fn of(seed: u64, weather: Weather, cast: Cast) -> Self {
        Self {
            disk: Disk::new(),
            world: World::new(seed, weather, &cast),
            cast,
            settings: settings(),
            put_back: AtomicBool::new(false),
        }
    }

    /// One process, from its start to its end.
    pub fn live(&self, disturbance: &Disturbance) -> End {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let died = Arc::new(Notify::new());
        if !disturbance.lingers {
            self.disk.tell(died.clone());
        }
        self.disk.show_log();
        // The time that this machine takes is nobody's: what is told of it would differ each time.
        stop_wall_clock(WALL_CLOCK_MS);
        runtime.block_on(async {
            self.world.begin(died.clone(), disturbance.death);
            let mut process = Box::pin(self.process(disturbance.stop));
            let end = tokio::select! {
                biased;
                () = died.notified() => End::Died,
                end = &mut process => end,
                never = jump(disturbance.jump) => never,
            };
            let end = if self.disk.is_dead() { End::Died } else { end };
            if matches!(end, End::Died) {
                self.disk.freeze();
            }
            drop(process);
            self.world.end(&format!("{end:?}"));
            end
        })
        // Dropping the runtime lets go of what tasks of a dead process still hold.
    }

    async fn process(&self, stop: Option<Duration>) -> End {
        match self.job(stop).await {
            Ok(outcome) => End::Ran(outcome),
            Err(end) => end,
        }
    }

    async fn job(&self, stop_after: Option<Duration>) -> Result<Outcome, End> {
        let path = self.disk.ledger();
        // The user's state folder is on another disk, which no cut concerns: it must never know more than the ledger.
        let state = self.disk.folder().unwrap().join("state");
        let mut ledger = Ledger::open(&path, "assign")?;
        if let Some(ledger) = &mut ledger {
            ledger.remember_in(Some(&state))?;
        }
        let copied = ledger.as_ref().map(Ledger::copied).transpose()?.flatten();
        if let Some(why) = &copied
            && !self.put_back.load(Ordering::Relaxed)
        {
            panic!("the ledger is called a copy, and is none: {why}");
        }
        let job = Job {
            tenant: "https://api.acme.getomneo.com/api/v3".into(),
            action: self.cast.action,
            handles: self.cast.job_handles(),
        };
        let pace = PaceSettings {
            rate: Rate::Unlimited,
            reserve: Reserve::NONE,
            concurrency: 4,
        };
        let gate = Gate::open(pace);
        if let Some(most) = self.settings.limits.requests {
            gate.limit(most);
        }
        let tenant = Paced::new(Api(self.world.clone()), gate);
        preflight::check(&tenant, &job).await.map_err(End::Objected)?;
        let mut ledger = match ledger {
            Some(ledger) => ledger,
            None => {
                let mut ledger = Ledger::create(&path, "assign")?;
                ledger.remember_in(Some(&state))?;
                ledger
            }
        };
        assert!(self.disk.logs_ahead(), "a power cut could take commits back");
        load(&mut ledger, &job, &self.cast)?;
        match copied {
            Some(why) => ledger.adopt(&why)?,
            None => ledger.claim()?,
        }
        let counts = ledger.counts()?;
        let writer = ledger.into_immediate_writer("assign")?;
        let (stopper, stop) = watch::channel(false);
        let stopping = async {
            match stop_after {
                Some(time) => tokio::time::sleep(time).await,
                None => std::future::pending().await,
            }
            stopper.send_replace(true);
            std::future::pending().await
        };
        let settings = self.settings.clone();
        let running = run(tenant, writer, job, settings, &counts, self.listener(), stop);
        tokio::select! {
            biased;
            outcome = running => Ok(outcome?),
            never = stopping => never,
        }
    }

    /// Tells the world, which counts what was met meanwhile, whether a batch is in doubt.
    fn listener(&self) -> Events {
        let world = self.world.clone();
        Events::to(move |event| match event {
            Event::Progress(progress) | Event::Began { progress } => world.hear_of_doubts(progress.in_doubt),
            _ => {}
        })
    }

    /// Runs, undisturbed, until the job is done and evidence decides nothing more, and says how often that took.
    pub fn finish(&self) -> Result<u64, String> {
        self.world.calm();
        for runs in 1..=RUNS_LIMIT {
            let end = self.live(&Disturbance::default());
            self.check_progress(&end)?;
            if end.is_done() && (self.held().is_empty() || runs == RUNS_LIMIT) {
                self.world.pass(Duration::from_secs(3_600));
                return Ok(runs);
            }
            let goes_on = match &end {
                End::Ran(outcome) => {
                    !matches!(&outcome.ending, Ending::Halted(halt) if !matches!(halt, Halt::OriginalAtWork(_)))
                }
                _ => false,
            };
            if !goes_on {
                return Err(format!("an undisturbed run ended so: {end:?}"));
            }
            self.world.pass(Duration::from_secs(600));
        }
        Err(format!("not done after {RUNS_LIMIT} undisturbed runs"))
    }

    /// Begins anew after a crash.
    pub fn restart(&self, crash: Crash) {
        self.disk.restart(crash);
    }

    /// Whether there is a ledger, and not only the beginnings of one.
    pub fn holds_ledger(&self) -> bool {
        self.disk.show_log();
        Ledger::open(&self.disk.ledger(), "status").is_ok_and(|ledger| ledger.is_some())
    }

    /// Somebody puts an older state of the ledger back, and from then on lets it go on as a copy.
    pub fn put_back(&self, backup: Backup) {
        self.disk.put_back(backup);
        self.put_back.store(true, Ordering::Relaxed);
    }

    /// What the ledger says about everybody.
    pub fn entries(&self) -> Result<Entries, LedgerError> {
        let mut entries = Entries::new();
        Reader::open(&self.disk.ledger())?.each_entry(|row: EntryRow<'_>| {
            entries.insert(row.email.into(), (row.state, row.reason.map(str::to_owned)));
            Ok::<_, LedgerError>(())
        })?;
        if entries[ALIASES[0]].0 == EntryState::Skipped {
            let other = entries[ALIASES[1]].clone();
            let one = entries.insert(ALIASES[0].into(), other).unwrap();
            entries.insert(ALIASES[1].into(), one);
        }
        // Where the one was done before the other was looked up, that is the reason that is seen first.
        let later = entries.get_mut(ALIASES[1]).unwrap();
        if matches!(later.1.as_deref(), Some("already_assigned" | "not_assigned")) {
            later.1 = Some("same_profile".into());
        }
        Ok(entries)
    }

    /// What must be true of every job that was run to its end, whatever happened to it.
    pub fn check_promises(&self) -> Result<(), String> {
        let twice = self.world.with_truth(Truth::twice);
        let counts = |pair: &&Twice| !self.was_taken_away(&pair.profile);
        let twice: Vec<_> = twice.iter().filter(counts).collect();
        if !twice.is_empty() {
            return Err(format!("sent twice: {twice:?}"));
        }
        let reader = Reader::open(&self.disk.ledger()).map_err(|error| error.to_string())?;
        let damage = reader.structural_damage().map_err(|error| error.to_string())?;
        if !damage.is_empty() {
            return Err(format!("the file is damaged: {damage:?}"));
        }
        for (law, broken) in reader.contradictions_found().map_err(|error| error.to_string())? {
            if broken > 0 {
                return Err(format!("{broken} times not true: {law}"));
            }
        }
        drop(reader);
        let said = self.said().map_err(|error| error.to_string())?;
        let wrong = said
            .iter()
            .find_map(|said| self.world.with_truth(|truth| truth.objection(said)));
        wrong.map_or(Ok(()), Err)
    }

    /// What the ledger says about everybody, in its own words.
    fn said(&self) -> Result<Vec<Said>, LedgerError> {
        let mut all = Vec::new();
        Reader::open(&self.disk.ledger())?.each_entry(|row: EntryRow<'_>| {
            all.push(Said {
                email: row.email.into(),
                state: row.state,
                reason: row.reason.map(str::to_owned),
                profile: row.profile_id.map(str::to_owned),
            });
            Ok::<_, LedgerError>(())
        })?;
        Ok(all)
    }

    /// Whether others changed a profile to which the handle was given before an older state of the ledger was put back,
    /// or it never got it: nothing says then that it was ever sent.
    fn was_taken_away(&self, profile: &str) -> bool {
        let bare = |truth: &Truth| truth.profiles[profile].touched || truth.was_ever_dropped(profile);
        self.put_back.load(Ordering::Relaxed) && self.world.with_truth(bare)
    }

    /// Compares with a job that nothing happened to; the answer is how many batches are held. `may_hold`: evidence
    /// need not decide everything. Profiles that somebody else edited may come out otherwise.
    pub fn check_entries(&self, may_hold: bool) -> Result<u64, String> {
        let held = self.held().len() as u64;
        if held > 0 && !may_hold {
            // One that was merely lost is shown to be absent and sent again.
            return Err(format!("held, and evidence could decide: {:?}", self.held()));
        }
        let entries = self.entries().map_err(|error| error.to_string())?;
        let taken = self.world.taken();
        let open_for_a_reason = self.is_open_for_a_reason().map_err(|error| error.to_string())?;
        for (email, expected) in self.cast.undisturbed() {
            let profile = self.cast.bearer(&email);
            if self.is_touched(&email) {
                continue;
            }
            let outcome = &entries[&email];
            let waits = outcome.0 == EntryState::Batched && (held > 0 || open_for_a_reason);
            // The state that was put back does not know who was given it.
            let forgotten = self.put_back.load(Ordering::Relaxed)
                && profile.is_some_and(|profile| taken.contains_key(profile))
                && outcome.0 == EntryState::Skipped;
            // What the original sent a part of since then is ruled on as a whole.
            let apart = self.put_back.load(Ordering::Relaxed)
                && profile.is_some_and(|profile| !taken.contains_key(profile))
                && *outcome == (EntryState::Failed, Some("not_confirmed".into()));
            let excused = profile.is_some_and(|profile| {
                let never = self.world.with_truth(|truth| truth.was_never_applied(profile));
                let reason = outcome.1.as_deref();
                never
                    && outcome.0 == EntryState::Failed
                    && matches!(reason, Some("not_confirmed" | "refused_by_tenant"))
            });
            // Where a list says that there are two and shows one, no question tells who the other is.
            let untold = expected.0 == EntryState::Ambiguous
                && outcome.0 == EntryState::Failed
                && self.world.traits().totals == Totals::More;
            if *outcome != expected && !waits && !forgotten && !apart && !excused && !untold {
                return Err(format!("{email} ends {outcome:?} and not {expected:?}"));
            }
            if let Some(profile) = profile
                && outcome.0 == EntryState::Confirmed
                && !taken.contains_key(profile)
            {
                return Err(format!("{email} is called confirmed and was never sent"));
            }
        }
        Ok(held)
    }

    /// Whether others had a hand in what becomes of an entry.
    fn is_touched(&self, email: &str) -> bool {
        let listed = self.cast.people.iter().find(|listed| listed.email() == email);
        let mut profiles = listed.into_iter().flat_map(|listed| &listed.profiles);
        self.world
            .with_truth(|truth| profiles.any(|(id, _)| truth.profiles[id].touched))
    }

    /// Whether nothing is open but what waits for a ruling, what a change is missing from by the doing of others or of
    /// the tenant, and what was sent together with that.
    pub fn is_open_for_a_reason(&self) -> Result<bool, LedgerError> {
        let held = self.held_members()?;
        let mut reasons = BTreeMap::<Option<i64>, bool>::new();
        Reader::open(&self.disk.ledger())?.each_entry(|row: EntryRow<'_>| {
            if !row.state.is_final() {
                let never = |truth: &Truth| row.profile_id.is_some_and(|id| truth.was_ever_dropped(id));
                let waits = row.batch.is_some_and(|no| held.contains_key(&BatchNo(no)));
                let reason = waits || self.is_touched(row.email) || self.world.with_truth(never);
                *reasons.entry(row.batch).or_default() |= reason;
            }
            Ok::<_, LedgerError>(())
        })?;
        Ok(reasons.into_values().all(|reason| reason))
    }

    /// Compares what a run says of itself at its end with its ledger.
    pub fn check_progress(&self, end: &End) -> Result<(), String> {
        let End::Ran(outcome) = end else {
            return Ok(());
        };
        let mut entries = BTreeMap::<u8, u64>::new();
        let note = |row: EntryRow<'_>| {
            *entries.entry(row.state.code() as u8).or_default() += 1;
            Ok::<_, LedgerError>(())
        };
        let read = Reader::open(&self.disk.ledger()).and_then(|reader| reader.each_entry(note));
        read.map_err(|error| error.to_string())?;
        let said = outcome.progress.entries;
        let stand: Vec<u64> = (0..said.len() as u8)
            .map(|code| entries.get(&code).copied().unwrap_or(0))
            .collect();
        if stand == said {
            Ok(())
        } else {
            Err(format!("the run says {said:?} and the ledger {stand:?}"))
        }
    }

    /// Looks into a ledger that was said to be done.
    pub fn check_nothing_is_open(&self) -> Result<(), String> {
        let held = self.held().len() as u64;
        let entries = self.entries().map_err(|error| error.to_string())?;
        let open = entries.iter().find(|(_, (state, _))| match state {
            EntryState::Pending | EntryState::Resolved => true,
            EntryState::Batched => held == 0,
            _ => false,
        });
        open.map_or(Ok(()), |(email, outcome)| {
            Err(format!("the run was done, and {email} is {outcome:?}"))
        })
    }

    /// Somebody who knows the truth rules on what is held, as far as it is certain; the answer is on how many.
    pub fn rule(&self) -> Result<u64, LedgerError> {
        self.disk.show_log();
        if Ledger::open(&self.disk.ledger(), "settle")?.is_none() {
            return Ok(0);
        }
        let mut ruled = 0;
        for (no, members) in self.held_members()? {
            let Some(taken) = self.world.was_taken(&members) else {
                continue;
            };
            let verdict = if taken { Verdict::Sent } else { Verdict::Absent };
            self.disk.show_log();
            let mut ledger = Ledger::open(&self.disk.ledger(), "settle")?.expect("it was read just now");
            match ledger.rule(no, verdict, "ops@example.com", "the tenant's log says so") {
                Ok(()) => ruled += 1,
                Err(RulingError::Ledger(error)) => return Err(error),
                Err(refusal) => panic!("{refusal}"),
            }
        }
        Ok(ruled)
    }

    /// Somebody who knows the truth says of the batches that a copy waits for that they are over, as far as they are; the
    /// answer is of how many.
    pub fn rule_over(&self) -> Result<u64, LedgerError> {
        let over = self.world.over();
        self.disk.show_log();
        let mut ledger = Ledger::open(&self.disk.ledger(), "settle")?.expect("it was read just now");
        for id in &over {
            ledger.rule_over(id, "ops@example.com", "the tenant's log says so")?;
        }
        Ok(over.len() as u64)
    }

    /// Whom the batches name that a person must rule on.
    fn held_members(&self) -> Result<BTreeMap<BatchNo, Vec<String>>, LedgerError> {
        let reader = Reader::open(&self.disk.ledger())?;
        let batches = reader.batches()?.into_iter();
        let held = batches.filter(|batch| batch.state == BatchState::Held);
        let mut members: BTreeMap<BatchNo, Vec<String>> = held.map(|batch| (batch.no, Vec::new())).collect();
        reader.each_entry(|row: EntryRow<'_>| {
            let named = row.batch.and_then(|no| members.get_mut(&BatchNo(no)));
            if let (Some(named), Some(profile)) = (named, row.profile_id) {
                named.push(profile.to_owned());
            }
            Ok::<_, LedgerError>(())
        })?;
        Ok(members)
    }

    /// The longest time that a request was given to take effect.
    pub fn longest_lifetime(&self) -> Duration {
        let ledger = rusqlite::Connection::open(self.disk.ledger()).unwrap();
        let longest = "SELECT coalesce(max(quiet_ms), 0) FROM batch";
        let ms = ledger.query_row(longest, [], |row| row.get::<_, i64>(0)).unwrap();
        Duration::from_millis(ms as u64)
    }

    /// The batches that a person must rule on, and why.
    pub fn held(&self) -> Vec<String> {
        let batches = Reader::open(&self.disk.ledger()).unwrap().batches().unwrap();
        let held = batches
            .into_iter()
            .filter(|batch| batch.state == BatchState::Held);
        held.map(|batch| format!("batch {}: {}", batch.no, batch.detail.unwrap_or_default()))
            .collect()
    }
}

/// How everything in the usual job comes out when nothing happens to it.
pub fn undisturbed() -> Entries {
    Cast::usual().undisturbed()
}

fn load(ledger: &mut Ledger, job: &Job, cast: &Cast) -> Result<(), LedgerError> {
    let mut loading = ledger.begin_load()?;
    loading.begin_list("list.txt", "text")?;
    for (line, listed) in cast.people.iter().enumerate() {
        loading.email(line as u64 + 1, &listed.email(), &listed.written)?;
    }
    let identity = ListIdentity {
        digest: [7; 32],
        column: 1,
        ..ListIdentity::default()
    };
    loading.end_list(&identity)?;
    loading.pin(job, true)?;
    loading.commit()
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
        confirm: Confirm::Sample,
        settle_deadline: Duration::from_secs(900),
        in_doubt: InDoubt::Verify,
        quiet: Duration::from_secs(60),
        limits: Limits::default(),
        retry: None,
    }
}

/// Lets the clock jump once, and never ends.
async fn jump(jump: Option<(Duration, Duration)>) -> End {
    if let Some((after, far)) = jump {
        tokio::time::sleep(after).await;
        tokio::time::advance(far).await;
    }
    std::future::pending().await
}
