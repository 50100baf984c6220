//! What is known of all requests to one tenant: of this process alone, or of all processes of this user on this host.
//!
//! Pure data and arithmetic; `budget` keeps it in a file. Two laws hold at each departure, for every window that anybody
//! was told to keep to:
//!
//! 1. *Ceiling.* Departures take turns ([`ceiling`]). A turn is taken ahead of its time, so that processes get their turns
//!    one after the other, and one that asks little takes little.
//! 2. *As the server counts.* A request reaches the server at some time between its departure and its answer. So it has a
//!    place in the window from its departure until the window's length after its answer, and there are only so many places.
//!    Whatever latencies do, no window on the server's side holds more. It costs `latency / (window + latency)` of the rate.
//!
//! What is not known counts as used, by as much as the laws allow.

use super::ceiling::{self, Nanos, nanos};
use governor::Quota;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A process that is not heard of for so long is gone. Until then its requests may still arrive.
const SILENCE: Duration = Duration::from_secs(3);
/// What the clocks of two machines differ by within a window.
const MARGIN: Duration = Duration::from_millis(1);
/// Answers that come within this part of a window count as one, at the last of them.
const CELLS: Nanos = 500;
/// In so many steps a long window is taken to have been used that is not known.
const STEPS: u32 = 60;
/// How often to look whether requests of others have been answered, where these are all that is in the way.
const LOOK: Duration = Duration::from_millis(10);
/// Where two ask for one place, the later turn asks again after so long; and who is later than that has lost its turn.
const YIELD: Duration = Duration::from_millis(1);
const LATE: Duration = Duration::from_millis(30);
/// What the tenant told about its limit longer ago is not taken over.
const TOLD_LATELY: Duration = Duration::from_secs(600);

/// So many requests in such a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) most: u32,
    pub(super) length: Nanos,
    /// Whether it was asked for. Where a person names a minute, the second is only to hold about its share.
    pub(super) named: bool,
}

/// A window, and what is in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Window {
    length: Nanos,
    /// The state of the ceiling.
    tat: Nanos,
    /// When requests were answered, and how many.
    answered: Vec<(Nanos, u32)>,
}

/// A process that takes part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Slot {
    id: u64,
    /// What it was told to keep to; empty where it binds nobody.
    told: Vec<Told>,
    /// Requests that have left and are not known to be answered.
    in_flight: u32,
    /// Requests that the tenant has accepted from it, in all.
    accepted: u64,
    /// When it was last heard of.
    heard: Nanos,
    /// The turn that it waits for, and when it will ask for a place.
    turn: Option<Nanos>,
    due: Nanos,
}

/// What the tenant was found to grant.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SharedLimit {
    /// Requests a second; `None` where 429s were found to set none.
    pub(super) per_second: Option<f64>,
    pub(super) since: Nanos,
    /// How long it takes to come back to it; `None` where the tenant told it.
    pub(super) return_time: Option<Nanos>,
}

/// See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Which one it is: one that was made anew knows nothing of what the one before it said.
    pub(super) lineage: u64,
    /// Until when what was sent is not known; `None` where nothing is missing.
    unknown_until: Option<Nanos>,
    windows: Vec<Window>,
    /// The state of the pace that the tenant's own limit sets.
    tempo: Nanos,
    slots: Vec<Slot>,
    /// Until when the tenant wants to be left alone.
    hold: Nanos,
    limit: Option<SharedLimit>,
}

/// How a process stands, and what it wants.
#[derive(Clone, Debug, Default)]
pub(super) struct Ask {
    pub(super) id: u64,
    pub(super) now: Nanos,
    pub(super) told: Vec<Told>,
    /// Whether others have to keep to that as well.
    pub(super) binds: bool,
    pub(super) in_flight: u32,
    /// When requests were answered that it has not reported yet.
    pub(super) answered: Vec<Nanos>,
    pub(super) accepted: u64,
    pub(super) hold: Nanos,
    pub(super) limit: Option<SharedLimit>,
    /// The least that an answer takes.
    pub(super) latency: Duration,
    pub(super) want: Option<Want>,
}

/// That somebody wants to go.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Want {
    /// The turn that was taken already.
    pub(super) turn: Option<Nanos>,
    /// Not before that.
    pub(super) from: Nanos,
    /// At the most so many a second, as far as the tenant's own limit goes.
    pub(super) pace: Option<f64>,
    /// Whether others wait behind it.
    pub(super) more: bool,
}

/// What follows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Reply {
    /// Whether one may go now.
    pub(super) go: bool,
    /// The next turn that has been taken, where somebody waits for it.
    pub(super) turn: Option<Nanos>,
    /// When to ask again; `None` where only an answer to ourselves changes anything.
    pub(super) again: Option<Nanos>,
    /// Until when the tenant wants to be left alone, where others were told so.
    pub(super) hold: Option<Nanos>,
    /// What others found out about its limit.
    pub(super) limit: Option<SharedLimit>,
    /// Requests that it has accepted from the others, in all.
    pub(super) accepted: u64,
}

impl Record {
    /// Where nothing is known of what was sent until then.
    pub(super) fn unknown(until: Nanos) -> Self {
        Self {
            unknown_until: Some(until),
            ..Self::default()
        }
    }

    /// Whether what was sent before is known.
    pub(super) fn is_known(&self) -> bool {
        self.unknown_until.is_none()
    }

    pub(super) fn has_slot(&self, id: u64) -> bool {
        self.slots.iter().any(|slot| slot.id == id)
    }

    /// Takes every window to be used up at this moment.
    pub(super) fn forget(&mut self, now: Nanos) {
        self.unknown_until = Some(now);
        self.windows.clear();
        self.slots.clear();
    }

    /// Adds what a record says that was lost. Whatever both know is not counted twice.
    pub(super) fn merge(&mut self, lost: &Self) {
        for theirs in &lost.windows {
            let Some(window) = self.windows.iter_mut().find(|ours| ours.length == theirs.length) else {
                self.windows.push(theirs.clone());
                continue;
            };
            window.tat = window.tat.max(theirs.tat);
            for (at, count) in &theirs.answered {
                match window.answered.iter_mut().find(|(there, _)| there == at) {
                    Some((_, there)) => *there = (*there).max(*count),
                    None => window.note(*at, *count),
                }
            }
        }
        for slot in &lost.slots {
            if !self.has_slot(slot.id) {
                self.slots.push(slot.clone());
            }
        }
        self.tempo = self.tempo.max(lost.tempo);
        self.hold = self.hold.max(lost.hold);
        let limits = self.limit.into_iter().chain(lost.limit);
        self.limit = limits.max_by_key(|limit| limit.since);
    }

    /// Takes in how a process stands; says whether it may let a request go.
    pub(super) fn ask(&mut self, ask: &Ask) -> Reply {
        self.bury(ask.now);
        self.enter(ask);
        let mut reply = Reply {
            hold: self.exchange_hold(ask),
            limit: self.exchange_limit(ask),
            accepted: self.others(ask.id).map(|slot| slot.accepted).sum(),
            ..Reply::default()
        };
        let Some(want) = ask.want else { return reply };
        if want.turn.is_none() && want.from > ask.now {
            // A turn that lies ahead holds up all that come after it.
            reply.again = Some(want.from);
            return reply;
        }
        let laws = self.laws(ask);
        let turn = want.turn.unwrap_or_else(|| self.take_turn(&laws, want, ask.now));
        reply.turn = Some(turn);
        let free = if turn > ask.now {
            Some(turn)
        } else {
            self.free_place(&laws, ask)
        };
        match free {
            Some(at) if at <= ask.now && self.is_first(ask, turn) => {
                self.slot(ask.id).in_flight += 1;
                reply.go = true;
                reply.turn = want.more.then(|| self.take_turn(&laws, want, ask.now));
                reply.again = reply.turn;
            }
            free => reply.again = free.map(|at| at.max(ask.now + nanos(YIELD))),
        }
        let slot = self.slot(ask.id);
        (slot.turn, slot.due) = (reply.turn, reply.again.unwrap_or(0));
        reply
    }

    /// Whether nobody whose turn was before asks for a place at this moment.
    fn is_first(&self, ask: &Ask, turn: Nanos) -> bool {
        let asks_now = |slot: &Slot| slot.due <= ask.now && ask.now < slot.due + nanos(LATE);
        let before = |slot: &Slot| slot.turn.is_some_and(|theirs| theirs < turn);
        !self.others(ask.id).any(|slot| before(slot) && asks_now(slot))
    }

    /// Takes out who is gone. What it had under way has arrived by now, but that is all that is known of it.
    fn bury(&mut self, now: Nanos) {
        let gone = |slot: &Slot| slot.heard + nanos(SILENCE) <= now;
        let lost: u32 = self
            .slots
            .iter()
            .filter(|slot| gone(slot))
            .map(|slot| slot.in_flight)
            .sum();
        self.slots.retain(|slot| !gone(slot));
        for window in &mut self.windows {
            if lost > 0 {
                window.note(now, lost);
            }
            let length = window.length + nanos(MARGIN);
            window.answered.retain(|(at, _)| at + length > now);
        }
    }

    /// Notes what a process reports of itself.
    fn enter(&mut self, ask: &Ask) {
        let shortest = ask.told.iter().map(|told| told.length).min();
        // A window that nobody has kept until now is not known, unless nothing was ever sent.
        let used_until = if self.windows.is_empty() {
            self.unknown_until
        } else {
            Some(ask.now)
        };
        for told in &ask.told {
            if self.windows.iter().all(|window| window.length != told.length) {
                let quota = quota(*told, shortest != Some(told.length));
                self.windows.push(Window::new(*told, quota, used_until));
            }
        }
        for window in &mut self.windows {
            ask.answered.iter().for_each(|at| window.note(*at, 1));
        }
        let slot = self.slot(ask.id);
        slot.told = if ask.binds { ask.told.clone() } else { Vec::new() };
        (slot.in_flight, slot.accepted, slot.heard) = (ask.in_flight, ask.accepted, ask.now);
    }

    fn slot(&mut self, id: u64) -> &mut Slot {
        let place = self.slots.iter().position(|slot| slot.id == id);
        let place = place.unwrap_or_else(|| {
            self.slots.push(Slot {
                id,
                told: Vec::new(),
                in_flight: 0,
                accepted: 0,
                heard: 0,
                turn: None,
                due: 0,
            });
            self.slots.len() - 1
        });
        &mut self.slots[place]
    }

    fn others(&self, id: u64) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(move |slot| slot.id != id)
    }

    /// What this process has to keep to: for each length the fewest that anybody was told. Who binds nobody keeps to what
    /// others were told, and to its own where there are no others.
    fn laws(&self, ask: &Ask) -> Vec<Told> {
        let mut laws: Vec<Told> = self.slots.iter().flat_map(|slot| &slot.told).copied().collect();
        if laws.is_empty() {
            laws.clone_from(&ask.told);
        }
        laws.sort_unstable_by_key(|law| (law.length, law.most));
        laws.dedup_by(|next, kept| {
            let same = next.length == kept.length;
            kept.named |= same && next.named;
            same
        });
        laws
    }

    /// Takes the earliest turn that everything allows.
    fn take_turn(&mut self, laws: &[Told], want: Want, from: Nanos) -> Nanos {
        let tempo = want.pace.map(ceiling::even);
        if let Some(quota) = tempo {
            // Where the pace has risen, nobody waits as long as the turns took that were taken before.
            let turns = nanos(quota.replenish_interval()).saturating_mul(self.slots.len() as u64 + 1);
            self.tempo = self.tempo.min(from.saturating_add(turns));
        }
        let mut turn = tempo.map_or(from, |quota| ceiling::earliest(quota, self.tempo, from));
        for (window, quota) in enforced(&mut self.windows, laws) {
            turn = turn.max(ceiling::earliest(quota, window.tat, from));
        }
        if let Some(quota) = tempo {
            self.tempo = ceiling::take(quota, self.tempo, turn);
        }
        for (window, quota) in enforced(&mut self.windows, laws) {
            window.tat = ceiling::take(quota, window.tat, turn);
        }
        turn
    }

    /// When there is a place in all windows; `None` until an answer comes in.
    fn free_place(&self, laws: &[Told], ask: &Ask) -> Option<Nanos> {
        let in_flight =
            |slots: &mut dyn Iterator<Item = &Slot>| slots.map(|slot| slot.in_flight).sum::<u32>();
        let all = in_flight(&mut self.slots.iter());
        let of_others = in_flight(&mut self.others(ask.id));
        let mut at = ask.now;
        for law in laws {
            let window = self.windows.iter().find(|window| window.length == law.length);
            let floor = if law.named { 0 } else { nanos(ask.latency) };
            match window.map_or(Some(0), |window| window.free_place(*law, all, floor, ask.now)) {
                Some(free) => at = at.max(free),
                None if of_others > 0 => at = at.max(ask.now + nanos(LOOK)),
                None => return None,
            }
        }
        Some(at)
    }

    /// The later of what we and others were told to wait for; news only where it is not our own.
    fn exchange_hold(&mut self, ask: &Ask) -> Option<Nanos> {
        let theirs = self.hold;
        self.hold = theirs.max(ask.hold);
        (theirs > ask.hold && theirs > ask.now).then_some(theirs)
    }

    /// The newer of what we and others found out.
    fn exchange_limit(&mut self, ask: &Ask) -> Option<SharedLimit> {
        let newer = |one: Option<SharedLimit>, other: Option<SharedLimit>| {
            one.is_some_and(|one| other.is_none_or(|other| one.since > other.since))
        };
        let theirs = self.limit;
        if newer(ask.limit, theirs) {
            self.limit = ask.limit;
        }
        let theirs = theirs.filter(|_| newer(theirs, ask.limit))?;
        let stale = theirs.return_time.is_none() && theirs.since + nanos(TOLD_LATELY) < ask.now;
        (!stale).then_some(theirs)
    }
}

fn quota(law: Told, beside_a_shorter: bool) -> Quota {
    ceiling::window(law.most, Duration::from_nanos(law.length), beside_a_shorter)
}

/// The windows that anybody has to keep to, with what that means. Laws come from the shortest to the longest.
fn enforced<'a>(
    windows: &'a mut [Window],
    laws: &'a [Told],
) -> impl Iterator<Item = (&'a mut Window, Quota)> {
    windows.iter_mut().filter_map(|window| {
        let place = laws.iter().position(|law| law.length == window.length)?;
        Some((window, quota(laws[place], place > 0)))
    })
}

impl Window {
    /// A window that is used up at a moment, or in which there is nothing.
    ///
    /// A second is full. A longer one is used as a run uses it, evenly: to refuse to start for an hour would serve
    /// nobody, and the ceiling leaves nothing over for a second helping.
    fn new(told: Told, quota: Quota, used_until: Option<Nanos>) -> Self {
        let mut window = Self {
            length: told.length,
            tat: 0,
            answered: Vec::new(),
        };
        let Some(until) = used_until else { return window };
        window.tat = ceiling::used_up(quota, until);
        let spread = if told.length > 1_000_000_000 {
            told.length
        } else {
            0
        };
        let steps = told.most.min(STEPS);
        for step in (0..steps).rev() {
            let count = told.most * (step + 1) / steps - told.most * step / steps;
            let age = spread / u64::from(steps) * u64::from(step);
            window.note(until.saturating_sub(age), count);
        }
        window
    }

    /// Notes requests that were answered.
    fn note(&mut self, at: Nanos, count: u32) {
        let cell = (self.length / CELLS).max(1);
        let place = self.answered.partition_point(|(there, _)| *there <= at);
        let near = [place.checked_sub(1), Some(place)].into_iter().flatten();
        let mut near = near.filter(|near| {
            self.answered
                .get(*near)
                .is_some_and(|(there, _)| there / cell == at / cell)
        });
        match near.next() {
            Some(near) => {
                let (there, before) = &mut self.answered[near];
                (*there, *before) = ((*there).max(at), before.saturating_add(count));
            }
            None => self.answered.insert(place, (at, count)),
        }
    }

    /// When there is a place beside what is under way, and `None` until some of that is answered. An answer takes `floor`
    /// at least, so that a request has arrived that much before.
    fn free_place(&self, law: Told, in_flight: u32, floor: Nanos, now: Nanos) -> Option<Nanos> {
        let leaves = |at: Nanos| (at + self.length + nanos(MARGIN)).saturating_sub(floor);
        let here = self.answered.iter().filter(|(at, _)| leaves(*at) > now);
        let mut used = in_flight + here.clone().map(|(_, count)| count).sum::<u32>();
        let mut free = now;
        for (at, count) in here {
            if used < law.most {
                break;
            }
            used -= count;
            free = leaves(*at);
        }
        (used < law.most).then_some(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Nanos = 1_000_000_000;
    const MS: Nanos = 1_000_000;

    fn told(most: u32, length: Nanos) -> Told {
        Told {
            most,
            length,
            named: true,
        }
    }

    /// A process that always has something to ask.
    struct Process {
        ask: Ask,
        turn: Option<Nanos>,
        next: Nanos,
        /// Answers that are on their way: when they come.
        in_flight: Vec<Nanos>,
    }

    impl Process {
        fn new(id: u64, told: &[Told]) -> Self {
            Self {
                ask: Ask {
                    id,
                    told: told.to_vec(),
                    binds: true,
                    ..Ask::default()
                },
                turn: None,
                next: 0,
                in_flight: Vec::new(),
            }
        }

        /// When something happens to it.
        fn due(&self) -> Nanos {
            self.in_flight
                .iter()
                .copied()
                .chain([self.next])
                .min()
                .unwrap_or(self.next)
        }

        /// Lets it go on at this moment; whether a request departs. Its answer takes so long.
        fn step(&mut self, record: &mut Record, now: Nanos, latency: Nanos) -> bool {
            let answered: Vec<_> = self.in_flight.extract_if(.., |at| *at <= now).collect();
            if !answered.is_empty() {
                self.next = now;
            }
            self.ask.answered = answered;
            self.ask.in_flight = self.in_flight.len() as u32;
            self.ask.now = now;
            self.ask.want = Some(Want {
                turn: self.turn,
                from: now,
                pace: None,
                more: true,
            });
            let reply = record.ask(&self.ask);
            self.turn = reply.turn;
            self.next = reply.again.unwrap_or(now + SECOND).max(now + 1);
            if reply.go {
                self.in_flight.push(now + latency);
            }
            reply.go
        }
    }

    /// Lets processes go on until a time; when requests of each departed, and when they were answered.
    fn play(
        record: &mut Record,
        processes: &mut [Process],
        until: Nanos,
        mut latency: impl FnMut(Nanos) -> Nanos,
    ) -> Vec<(usize, Nanos, Nanos)> {
        let mut departures = Vec::new();
        loop {
            let due = processes.iter().map(Process::due);
            let (who, now) = due.enumerate().min_by_key(|(_, due)| *due).unwrap();
            if now >= until {
                return departures;
            }
            let takes = latency(now);
            if processes[who].step(record, now, takes) {
                departures.push((who, now, now + takes));
            }
        }
    }

    /// The most that any window of this length holds.
    fn busiest(mut times: Vec<Nanos>, length: Nanos) -> usize {
        times.sort_unstable();
        let within = |first: usize| {
            times[first..]
                .iter()
                .take_while(|at| **at < times[first] + length)
                .count()
        };
        (0..times.len()).map(within).max().unwrap_or(0)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        /// Whatever latencies do, and wherever between its departure and its answer a request arrives.
        #[test]
        fn no_window_holds_more_as_the_server_counts(
            most in 1_u32..30,
            others in 0_usize..3,
            latencies in proptest::collection::vec((1_u64..3_000, prop_oneof![Just(0_u64), Just(5), Just(750), Just(2_500)]), 1..20),
            seed in any::<u64>(),
        ) {
            let laws = [told(most, SECOND), told(most * 20, 60 * SECOND)];
            let mut record = Record::default();
            let mut processes: Vec<_> = (0..=others as u64).map(|id| Process::new(id, &laws)).collect();
            let mut random = fastrand::Rng::with_seed(seed);
            let spans: u64 = latencies.iter().map(|(ms, _)| ms).sum();
            let latency_at = |now: Nanos| {
                let mut at = now / MS % spans;
                let span = latencies.iter().find(|(ms, _)| {
                    let here = at < *ms;
                    at = at.saturating_sub(*ms);
                    here
                });
                span.map_or(0, |(_, latency)| latency * MS)
            };
            let departures = play(&mut record, &mut processes, 90 * SECOND, latency_at);
            prop_assert!(departures.len() >= 20, "{}", departures.len());
            for law in laws {
                for pick in [0.0, 1.0, -1.0] {
                    let arrive = |(_, left, answered): &(usize, Nanos, Nanos)| {
                        let part = if pick < 0.0 { random.f64() } else { pick };
                        left + ((answered - left) as f64 * part) as Nanos
                    };
                    let seen = busiest(departures.iter().map(arrive).collect(), law.length);
                    prop_assert!(seen <= law.most as usize, "{seen} of {law:?}");
                }
            }
        }
    }

    #[test]
    fn a_latency_that_falls_brings_no_more_than_told() {
        let mut record = Record::default();
        let mut processes = [Process::new(1, &[told(10, SECOND)])];
        let latency = |now| if now < 20 * SECOND { 750 * MS } else { 0 };
        let departures = play(&mut record, &mut processes, 40 * SECOND, latency);
        let late = departures.iter().map(|(_, _, answered)| *answered).collect();
        assert!(busiest(late, SECOND) <= 10);
        let between = |from, to| {
            departures
                .iter()
                .filter(|(_, at, _)| (from..to).contains(at))
                .count()
        };
        // Ten in the second and the latency.
        assert!(
            (110..=120).contains(&between(0, 20 * SECOND)),
            "{}",
            between(0, 20 * SECOND)
        );
        assert!(
            between(22 * SECOND, 40 * SECOND) >= 178,
            "{}",
            between(22 * SECOND, 40 * SECOND)
        );
    }

    #[test]
    fn processes_share_evenly_and_one_that_asks_little_takes_little() {
        let laws = [told(60, SECOND)];
        let mut record = Record::default();
        let mut two = [Process::new(1, &laws), Process::new(2, &laws)];
        let departures = play(&mut record, &mut two, 20 * SECOND, |_| 20 * MS);
        let count = |who| departures.iter().filter(|(by, _, _)| *by == who).count();
        assert!(count(0).abs_diff(count(1)) <= 2, "{} {}", count(0), count(1));
        assert!(departures.len() >= 1_150, "{}", departures.len());

        // A guest with a slower rate of its own asks ten times a second.
        let mut guest = Process::new(3, &[told(10, SECOND)]);
        guest.ask.binds = false;
        let mut run = [Process::new(1, &laws), guest];
        let mut record = Record::default();
        let mut departures = Vec::new();
        for tick in 0..200 {
            run[1].next = run[1].next.max(tick * 100 * MS);
            departures.extend(play(&mut record, &mut run, (tick + 1) * 100 * MS, |_| 20 * MS));
            run[1].next = (tick + 1) * 100 * MS;
        }
        let own = departures.iter().filter(|(by, _, _)| *by == 0).count();
        let guests = departures.len() - own;
        assert!(own >= 1_150 - guests, "{own} beside {guests}");
    }

    #[test]
    fn what_a_killed_process_had_in_flight_counts_until_it_has_arrived() {
        let laws = [told(10, SECOND)];
        let mut record = Record::default();
        let mut first = [Process::new(1, &laws)];
        // None of them is answered before it is killed.
        let departures = play(&mut record, &mut first, 5 * SECOND, |_| 100 * SECOND);
        assert_eq!(departures.len(), 10);
        let mut second = [Process::new(2, &laws)];
        second[0].next = SECOND;
        let departures = play(&mut record, &mut second, 10 * SECOND, |_| 0);
        let began = departures[0].1;
        assert!((7 * SECOND..9 * SECOND).contains(&began), "{began}");
    }

    #[test]
    fn what_is_not_known_is_used() {
        let laws = [told(10, SECOND), told(60, 60 * SECOND)];
        let first = |mut record: Record| {
            let mut process = [Process::new(1, &laws)];
            process[0].next = 100 * SECOND;
            let departures = play(&mut record, &mut process, 160 * SECOND, |_| 0);
            (departures[0].1 - 100 * SECOND, departures.len())
        };
        let (wait, sent) = first(Record::unknown(100 * SECOND));
        assert!(wait >= SECOND && sent < 60, "{wait} {sent}");
        assert_eq!(first(Record::default()), (0, 60));
        assert_eq!(
            first(Record::unknown(0)),
            (0, 60),
            "what an earlier boot sent is long past"
        );
    }

    #[test]
    fn a_lost_record_is_taken_over_once() {
        let laws = [told(10, SECOND)];
        let mut lost = Record::default();
        play(&mut lost, &mut [Process::new(1, &laws)], SECOND / 2, |_| 0);
        let mut new = Record::default();
        new.merge(&lost);
        let once = new.clone();
        new.merge(&lost);
        assert_eq!(new, once);
        let mut late = [Process::new(2, &laws)];
        late[0].next = SECOND / 2;
        let departures = play(&mut new, &mut late, SECOND, |_| 0);
        assert!(departures.len() <= 5, "{}", departures.len());
    }

    #[test]
    fn a_window_of_millions_takes_little_room() {
        let mut window = Window::new(
            told(36_000_000, 3_600 * SECOND),
            quota(told(36_000_000, 3_600 * SECOND), false),
            None,
        );
        for at in 0..200_000 {
            window.note(at * 20 * MS, 200);
        }
        assert!(
            window.answered.len() <= 2 * CELLS as usize,
            "{}",
            window.answered.len()
        );
    }
}
