//! What several processes on one host know of each other's requests to one tenant.
//!
//! Pure data: who takes part, who may send how much right now, what departed when, and what the tenant objected to.
//! Times are microseconds of the monotonic clock, which all processes of one boot share. What is uncertain counts as
//! sent, and as late as it may have been.

use serde::{Deserialize, Serialize};

/// Microseconds of the monotonic clock.
pub(super) type Micros = u64;

const SECOND: Micros = 1_000_000;
/// Departures are kept for as long as the longest window.
const KEPT: Micros = 3_600 * SECOND;
/// How finely departures are told apart, by their age: up to this age, in steps of this length.
const GRAINS: [(Micros, Micros); 3] = [
    (2 * SECOND, 5_000),
    (62 * SECOND, SECOND / 4),
    (Micros::MAX, 15 * SECOND),
];
/// A member that is not heard of for so long is gone, or stopped, which is the same until it is back.
const SILENCE: Micros = 3 * SECOND;
/// A time so far in the future is no time of this boot.
const SKEW: Micros = 5 * SECOND;

/// The version of the record that this program reads and writes.
const VERSION: u32 = 1;

/// The record is one of another version of this program, and is left as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("another version of rollbook wrote it")]
pub(super) struct OtherVersion;

/// The record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Earlier programs did not write it.
    #[serde(default = "first_version")]
    version: u32,
    /// The boot whose clock counts.
    pub(super) boot: String,
    /// From when on nothing is missing.
    pub(super) since: Micros,
    pub(super) members: Vec<Member>,
    /// What departed: by whom, when at the latest, how many.
    pub(super) departed: Vec<(u64, Micros, u32)>,
    /// Until when the tenant wants to be left alone.
    pub(super) hold: Micros,
    pub(super) limit: Option<SharedLimit>,
}

fn first_version() -> u32 {
    VERSION
}

/// A process that takes part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) id: u64,
    pub(super) pid: i32,
    pub(super) heard: Micros,
    /// What it was told to keep to: requests in so many microseconds. Empty where it binds nobody.
    pub(super) windows: Vec<(usize, Micros)>,
    /// Requests that are under way, or may depart before it is heard of again.
    pub(super) open: usize,
    /// Requests a second that it has use for; `None` is any number.
    pub(super) wish: Option<f64>,
    /// Requests that it has sent in all.
    pub(super) sent: u64,
}

/// What the tenant was found to grant.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SharedLimit {
    pub(super) per_second: f64,
    pub(super) since: Micros,
    /// How long it takes to come back to it; `None` where the tenant told it.
    pub(super) return_time: Option<Micros>,
}

impl Record {
    /// A record of which nothing before now is known.
    pub(super) fn new(boot: &str, now: Micros) -> Self {
        Self {
            version: VERSION,
            boot: boot.to_owned(),
            since: now,
            ..Self::default()
        }
    }

    /// What a file holds, unless it is of another boot or makes no sense.
    ///
    /// A record that was torn makes no sense. One that is whole and not like ours is another version's.
    pub(super) fn read(bytes: &[u8], boot: &str, now: Micros) -> Result<Option<Self>, OtherVersion> {
        match serde_json::from_slice::<Self>(bytes) {
            Ok(record) if record.version == VERSION => Ok(record.of_this_boot(boot, now)),
            Err(_) if serde_json::from_slice::<serde_json::Map<_, _>>(bytes).is_err() => Ok(None),
            _ => Err(OtherVersion),
        }
    }

    fn of_this_boot(self, boot: &str, now: Micros) -> Option<Self> {
        let record = self;
        let latest = now + SKEW;
        let sane = record.boot == boot
            && record.since <= now
            && record.members.iter().all(|member| member.heard <= latest)
            && record.departed.iter().all(|(_, at, _)| *at <= latest)
            && record.limit.is_none_or(|limit| {
                limit.per_second.is_finite() && limit.per_second > 0.0 && limit.since <= latest
            });
        sane.then_some(record)
    }

    /// Takes out who is gone, and forgets what is too old to count.
    pub(super) fn tidy(&mut self, now: Micros, lives: impl Fn(i32) -> bool) {
        let (here, gone): (Vec<_>, Vec<_>) = self
            .members
            .drain(..)
            .partition(|member| member.heard + SILENCE > now && lives(member.pid));
        self.members = here;
        for member in gone.into_iter().filter(|member| member.open > 0) {
            let open = u32::try_from(member.open).unwrap_or(u32::MAX);
            self.departed.push((member.id, now, open));
        }
        self.departed.retain(|(_, at, _)| at + KEPT > now);
        for (_, at, _) in &mut self.departed {
            let age = now.saturating_sub(*at);
            let grain = GRAINS.iter().find(|(up_to, _)| age < *up_to);
            let grain = grain.map_or(1, |(_, grain)| *grain);
            *at = at.div_ceil(grain) * grain;
        }
        self.departed.sort_unstable_by_key(|(id, at, _)| (*at, *id));
        self.departed.dedup_by(|next, kept| {
            let same = (next.0, next.1) == (kept.0, kept.1);
            if same {
                kept.2 = kept.2.saturating_add(next.2);
            }
            same
        });
    }

    /// This record with what a lost one says of those who do not stand in it yet.
    ///
    /// Several find the same record lost and take it over one after the other; who stands in this one, was brought by
    /// the first of them.
    pub(super) fn with_lost(mut self, lost: Self) -> Self {
        let mut known: Vec<u64> = self.members.iter().map(|member| member.id).collect();
        known.extend(self.departed.iter().map(|(id, _, _)| *id));
        let is_new = |id: &u64| !known.contains(id);
        let departed = lost.departed.into_iter().filter(|(id, _, _)| is_new(id));
        self.departed.extend(departed);
        let members = lost.members.into_iter().filter(|member| is_new(&member.id));
        self.members.extend(members);
        self.hold = self.hold.max(lost.hold);
        let limits = self.limit.into_iter().chain(lost.limit);
        self.limit = limits.max_by_key(|limit| limit.since);
        self
    }

    /// Everybody but one member.
    pub(super) fn others(&self, id: u64) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| member.id != id)
    }

    /// The windows that everybody has to keep to: for each length the fewest that anybody was told.
    pub(super) fn windows(&self) -> Vec<(usize, Micros)> {
        let mut windows: Vec<_> = self
            .members
            .iter()
            .flat_map(|member| &member.windows)
            .copied()
            .collect();
        windows.sort_unstable_by_key(|(most, length)| (*length, *most));
        windows.dedup_by_key(|(_, length)| *length);
        windows
    }
}

/// What one of several gets of a total: as much as anybody, and what others have no use for.
pub(super) fn fair_share(total: f64, others: &[Option<f64>]) -> f64 {
    let mut modest: Vec<f64> = others.iter().flatten().copied().collect();
    modest.sort_unstable_by(f64::total_cmp);
    let (mut left, mut claims) = (total, others.len() + 1);
    for wish in modest {
        if wish > left / claims as f64 {
            break;
        }
        left -= wish.max(0.0);
        claims -= 1;
    }
    left / claims as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, heard: Micros, windows: &[(usize, Micros)]) -> Member {
        Member {
            id,
            pid: id as i32,
            heard,
            windows: windows.to_vec(),
            open: 3,
            wish: None,
            sent: 0,
        }
    }

    #[test]
    fn who_is_gone_may_have_sent_what_it_could() {
        let now = 100 * SECOND;
        let mut record = Record::new("b", 0);
        let window = [(10, SECOND)];
        record.members = vec![
            member(1, now, &window),
            member(2, now, &window),
            member(3, now - SILENCE, &window),
        ];
        record.tidy(now, |pid| pid != 2);
        assert_eq!(record.members.len(), 1);
        assert_eq!(record.departed, [(2, now, 3), (3, now, 3)]);
    }

    #[test]
    fn what_departed_is_kept_ever_more_coarsely_and_never_as_too_early() {
        let mut record = Record::new("b", 0);
        let hour = KEPT;
        for at in (0..2 * hour).step_by(20_000) {
            record.departed.push((1, at, 1));
            if at % (10 * SECOND) == 0 {
                record.tidy(at, |_| true);
            }
        }
        let now = 2 * hour;
        record.tidy(now, |_| true);
        let total: u32 = record.departed.iter().map(|(_, _, count)| count).sum();
        // A step of the coarsest grain more or less at its far end.
        assert!((179_900..=180_800).contains(&total), "{total}");
        assert!(record.departed.len() < 1_000, "{}", record.departed.len());
        let last_minute: u32 = record
            .departed
            .iter()
            .filter(|(_, at, _)| at + 60 * SECOND > now)
            .map(|(_, _, count)| count)
            .sum();
        assert!((2_999..=3_020).contains(&last_minute), "{last_minute}");
    }

    #[test]
    fn rubbish_other_boots_and_other_clocks_are_not_read() {
        let now = 100 * SECOND;
        let mut record = Record::new("b", now);
        record.departed.push((1, now, 2));
        let bytes = serde_json::to_vec(&record).unwrap();
        assert_eq!(Record::read(&bytes, "b", now), Ok(Some(record)));
        assert_eq!(Record::read(&bytes, "c", now), Ok(None));
        assert_eq!(Record::read(&bytes, "b", now / 2), Ok(None));
        assert_eq!(Record::read(&bytes[..bytes.len() - 1], "b", now), Ok(None));
        assert_eq!(Record::read(b"", "b", now), Ok(None));
    }

    #[test]
    fn a_lost_record_is_taken_over_once() {
        let told = |since| SharedLimit {
            per_second: 5.0,
            since,
            return_time: None,
        };
        let mut lost = Record::new("b", 0);
        lost.members = vec![member(1, 7, &[]), member(2, 7, &[])];
        lost.departed = vec![(1, 5, 3), (1, 6, 1), (9, 6, 2)];
        (lost.hold, lost.limit) = (40, Some(told(6)));
        let mut new = Record::new("b", 8);
        new.members = vec![member(3, 9, &[])];
        (new.hold, new.limit) = (20, Some(told(4)));
        let first = new.with_lost(lost.clone());
        assert_eq!(first.departed, [(1, 5, 3), (1, 6, 1), (9, 6, 2)]);
        assert_eq!(first.members.len(), 3);
        assert_eq!((first.since, first.hold, first.limit), (8, 40, Some(told(6))));
        assert_eq!(first.clone().with_lost(lost), first);
    }

    #[test]
    fn everybody_keeps_to_the_fewest() {
        let mut record = Record::new("b", 0);
        record.members = vec![
            member(1, 0, &[(40, SECOND)]),
            member(2, 0, &[(10, SECOND), (400, 60 * SECOND)]),
            member(3, 0, &[]),
        ];
        assert_eq!(record.windows(), [(10, SECOND), (400, 60 * SECOND)]);
    }

    #[test]
    fn shares_are_even_and_nothing_is_wasted() {
        assert_eq!(fair_share(40.0, &[]), 40.0);
        assert_eq!(fair_share(40.0, &[None]), 20.0);
        assert_eq!(fair_share(40.0, &[None, Some(4.0)]), 18.0);
        assert_eq!(fair_share(40.0, &[Some(30.0)]), 20.0);
        assert_eq!(fair_share(40.0, &[Some(0.0), Some(0.0)]), 40.0);
    }
}
