//! Where the time of a run went: at each instant the run as a whole waits for exactly one thing.

use std::time::Duration;

/// What a run as a whole waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A request is ready, and the rate does not let it go yet.
    Rate,
    /// A request is ready, and the tenant has asked to slow down (429).
    SlowDown,
    /// Requests are under way, and nothing else could be.
    Answers,
    /// The tenant cannot be reached or answers rubbish, until it is seen to be well again.
    Outage,
    /// Nothing is to be asked until the tenant has worked on its batches, or a quiet period is over.
    Batches,
    /// Nothing of all that: rollbook itself is busy, with the ledger mostly.
    OwnWork,
}

impl Cause {
    /// All causes, in the order in which people read them.
    pub const ALL: [Self; 6] = [
        Self::Rate,
        Self::SlowDown,
        Self::Answers,
        Self::Outage,
        Self::Batches,
        Self::OwnWork,
    ];
}

/// Time by cause. The causes add up to the whole, since each instant has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    by_cause: [Duration; 6],
    /// How many times the tenant has brought the run to a halt by a 429.
    pub slow_downs: u64,
    /// For how long tasks have waited for the tenant's own work, all together: several may at the same time, and
    /// beside everything else.
    pub rested: Duration,
}

impl Spent {
    /// Adds time.
    pub fn add(&mut self, cause: Cause, time: Duration) {
        self.by_cause[cause as usize] += time;
    }

    /// The time of one cause.
    pub fn on(&self, cause: Cause) -> Duration {
        self.by_cause[cause as usize]
    }

    /// All of it.
    pub fn total(&self) -> Duration {
        self.by_cause.iter().sum()
    }

    /// What was spent since an earlier state of the same account.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut spent = Self {
            slow_downs: self.slow_downs - earlier.slow_downs,
            rested: self.rested.saturating_sub(earlier.rested),
            ..Self::default()
        };
        for cause in Cause::ALL {
            spent.add(cause, self.on(cause).saturating_sub(earlier.on(cause)));
        }
        spent
    }
}

/// Where the time of a whole command went, from its start to what it says at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandTime {
    before: Duration,
    run: Spent,
}

impl CommandTime {
    /// A command that has taken `whole` by now, `before` of it until its run began, and what the run says of itself.
    ///
    /// What is in none of them is the end of the run, in which the ledger is closed: its own work.
    pub fn new(whole: Duration, before: Duration, mut run: Spent) -> Self {
        run.add(Cause::OwnWork, whole.saturating_sub(before + run.total()));
        Self { before, run }
    }

    /// The whole, what was before the run, and each cause in it, in whole units that add up: those that were cut most
    /// are rounded up.
    pub fn in_units(&self, unit: Duration) -> (u64, u64, [u64; 6]) {
        let count = |time: Duration| time.as_nanos() / unit.as_nanos();
        let [rate, slow_down, answers, outage, batches, own_work] = self.run.by_cause;
        let parts = [self.before, rate, slow_down, answers, outage, batches, own_work];
        let whole = count(self.before + self.run.total() + unit / 2);
        let mut counts = parts.map(count);
        let mut most_cut = [0, 1, 2, 3, 4, 5, 6];
        most_cut.sort_by_key(|part| std::cmp::Reverse(parts[*part].as_nanos() % unit.as_nanos()));
        let short = whole - counts.iter().sum::<u128>();
        for part in most_cut.into_iter().take(short as usize) {
            counts[part] += 1;
        }
        let [before, causes @ ..] = counts.map(|count| count as u64);
        (whole as u64, before, causes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_shown_adds_up() {
        let mut spent = Spent::default();
        for (cause, ms) in [(Cause::Rate, 3_400), (Cause::Answers, 400), (Cause::OwnWork, 300)] {
            spent.add(cause, Duration::from_millis(ms));
        }
        let ms = Duration::from_millis;
        let in_seconds = |before, whole| CommandTime::new(whole, before, spent).in_units(ms(1_000));
        assert_eq!(
            in_seconds(ms(0), ms(4_100)),
            (4, 0, [4, 0, 0, 0, 0, 0]),
            "the first of those that were cut alike"
        );
        assert_eq!(in_seconds(ms(1_450), ms(5_550)), (6, 2, [4, 0, 0, 0, 0, 0]));
        assert_eq!(
            in_seconds(ms(1_000), ms(6_800)),
            (7, 1, [4, 0, 0, 0, 0, 2]),
            "what nobody has an account of is its own work"
        );
        let mut long = Spent::default();
        long.add(Cause::Rate, ms(3_100));
        long.add(Cause::Answers, ms(600));
        assert_eq!(
            CommandTime::new(ms(3_700), ms(0), long).in_units(ms(1_000)),
            (4, 0, [3, 0, 1, 0, 0, 0]),
            "those that were cut most, however long others are"
        );
        let mut later = spent;
        later.add(Cause::Batches, Duration::from_secs(2));
        assert_eq!(
            later.since(&spent).on(Cause::Batches),
            later.since(&spent).total()
        );
    }

    proptest! {
        #[test]
        fn parts_add_up_whatever_they_are(
            ms in proptest::array::uniform6(0_u64..100_000),
            before in 0_u64..100_000,
            after in 0_u64..100_000,
        ) {
            let mut spent = Spent::default();
            for (cause, ms) in Cause::ALL.into_iter().zip(ms) {
                spent.add(cause, Duration::from_millis(ms));
            }
            let (before, after) = (Duration::from_millis(before), Duration::from_millis(after));
            let passed = before + spent.total() + after;
            let time = CommandTime::new(passed, before, spent);
            spent.add(Cause::OwnWork, after);
            let (whole, first, parts) = time.in_units(Duration::from_secs(1));
            prop_assert_eq!(whole, first + parts.iter().sum::<u64>());
            prop_assert!((whole as f64 - passed.as_secs_f64()).abs() <= 0.5);
            prop_assert!((first as f64 - before.as_secs_f64()).abs() < 1.0);
            for (cause, part) in Cause::ALL.into_iter().zip(parts) {
                prop_assert!((part as f64 - spent.on(cause).as_secs_f64()).abs() < 1.0);
            }
        }
    }
}
