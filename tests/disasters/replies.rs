//! What a tenant answers to reads: its list of batches, its reports, single profiles and searches.

use super::grammar::{
    Access, Blanks, Emails, Filter, Items, ListLag, ListPage, Listing, Lists, Many, Memory, Order, Poll,
    Search, Sizes, Spelling, Totals, Word,
};
use super::weather::Weather;
use super::world::{Batch, State, is_in};
use rollbook::api::{BatchProgress, BatchReport, Holding, ListedBatch, Page, Slice, Wanted};
use rollbook::model::ids::{BatchId, Handle, ProfileId};
use rollbook::model::lookup::Found;
use rollbook::model::outcome::{ReadFailure, Refusal};
use std::time::Duration;

/// How long after a change single reads may say that a profile has nothing.
const BLANK: Duration = Duration::from_millis(2_500);
/// How long after its 202 a batch is not known, where that happens; and how long after its end.
const UNKNOWN_AT_FIRST: Duration = Duration::from_secs(5);
const FORGOTTEN_AFTER: Duration = Duration::from_secs(20);
/// How much later than single reads lists of profiles are, where they are late.
const LISTS_LAG: Duration = Duration::from_secs(30);
/// Batches that a short memory holds.
const SHORT: usize = 3;

/// How much later than its 202 a batch may stand in the list.
pub fn list_lag_ms(lag: ListLag) -> u64 {
    match lag {
        ListLag::AtOnce => 0,
        ListLag::Late => 30_000,
        ListLag::VeryLate => 1_200_000,
    }
}

/// Whether nothing about the list of batches is hidden or wrong.
pub fn list_tells(weather: &Weather) -> bool {
    let traits = &weather.traits;
    weather.listing == Listing::Itemised
        && traits.access == Access::Open
        && traits.order == Order::NewestFirst
        && traits.memory == Memory::Whole
        && traits.list_lag == ListLag::AtOnce
        && traits.sizes == Sizes::Right
        && traits.items == Items::Members
        && traits.poll == Poll::Answered
}

fn denied() -> ReadFailure {
    ReadFailure::Denied(Refusal {
        status: 403,
        message: "Invalid scope(s) provided.".into(),
    })
}

impl State {
    pub fn list(&mut self, page: u32) -> Result<Page<ListedBatch>, ReadFailure> {
        let ended = self.now() >= self.weather.access_ends;
        match self.weather.traits.access {
            _ if self.weather.listing == Listing::Missing => return Err(ReadFailure::Missing),
            Access::Denied => return Err(denied()),
            Access::DeniedLater if ended => return Err(denied()),
            Access::MissingLater if ended => return Err(ReadFailure::Missing),
            _ => {}
        }
        let now = self.now();
        let mut numbers: Vec<usize> = (0..self.batches.len())
            .filter(|number| self.batches[*number].listed <= now)
            .rev()
            .collect();
        if self.weather.traits.memory == Memory::Short {
            numbers.truncate(SHORT);
        }
        match self.weather.traits.order {
            Order::NewestFirst => {}
            Order::OldestFirst => numbers.reverse(),
            Order::Shuffled => self.chance.shuffle(&mut numbers),
            Order::Tied => numbers.sort_by_key(|number| (number * 7_919 + 13) % 101),
        }
        let size = match self.weather.traits.page {
            ListPage::Four => 4,
            ListPage::One => 1,
            ListPage::Hundred => 100,
        };
        let mut rest = numbers.into_iter().skip((page as usize - 1) * size).peekable();
        let items = rest
            .by_ref()
            .take(size)
            .map(|number| self.listed(number))
            .collect();
        Ok(Page::new(items, rest.peek().is_some()))
    }

    fn listed(&mut self, number: usize) -> ListedBatch {
        let sizes = self.weather.traits.sizes;
        let wrong = sizes == Sizes::WrongAtTimes && self.chance.bool();
        let batch = &self.batches[number];
        let (bare, pending) = (self.weather.listing == Listing::Bare, batch.finished > self.now());
        let size = batch.members.len() as u64;
        let size = match sizes {
            Sizes::ZeroWhilePending if pending => Some(0),
            Sizes::MissingWhilePending if pending => None,
            Sizes::Wrong => Some(size + 1),
            Sizes::WrongAtTimes if wrong => Some(size + 1),
            _ => Some(size),
        };
        ListedBatch {
            other_id: None,
            id: BatchId::new(format!("b{number}")),
            size: size.filter(|_| !bare),
            failed: (!bare).then_some(0),
            succeeded: (!bare).then_some(batch.members.len() as u64),
            progress: (!bare).then(|| self.progress(batch).0),
        }
    }

    /// How far a batch is, in the tenant's words.
    fn progress(&self, batch: &Batch) -> (BatchProgress, &'static str) {
        let (pending, success) = (
            (BatchProgress::Pending, "pending"),
            (BatchProgress::Success, "success"),
        );
        let done = batch.finished <= self.now();
        if self.weather.babbles {
            return (BatchProgress::Unknown, "processing");
        }
        match self.weather.traits.word {
            Word::Documented if done => success,
            Word::Documented | Word::PendingForEver => pending,
            Word::Foreign => (BatchProgress::Unknown, "processing"),
            Word::ForeignAtLast if done => (BatchProgress::Unknown, "completed"),
            Word::Null => (BatchProgress::Unknown, ""),
            Word::Failed | Word::Blaming if done => (BatchProgress::Failed, "failed"),
            Word::ForeignAtLast | Word::Failed | Word::Blaming => pending,
            Word::Early => success,
        }
    }

    pub fn report(&mut self, id: &BatchId) -> Result<BatchReport, ReadFailure> {
        self.polls += 1;
        let number = id.as_str()[1..].parse::<usize>().unwrap();
        let (batch, now) = (&self.batches[number], self.now());
        match self.weather.traits.poll {
            Poll::Denied => return Err(denied()),
            Poll::NotYet if now < batch.accepted + UNKNOWN_AT_FIRST => return Err(ReadFailure::Missing),
            Poll::Forgotten if now > batch.finished + FORGOTTEN_AFTER => return Err(ReadFailure::Missing),
            Poll::Elsewhere if self.polls % 2 == 1 => return Err(ReadFailure::Elsewhere),
            _ => {}
        }
        let (progress, status) = self.progress(batch);
        let is_over = progress == BatchProgress::Failed;
        let blamed = is_over && self.weather.traits.word == Word::Blaming;
        let blame = |member: &String| {
            (
                ProfileId::new(member.clone()),
                "could not be processed".to_owned(),
            )
        };
        Ok(BatchReport {
            ids: Vec::new(),
            progress,
            status: status.into(),
            failed: batch.members.iter().filter(|_| blamed).map(blame).collect(),
            failures: if is_over { batch.members.len() as u64 } else { 0 },
            items: self.items(number),
        })
    }

    fn items(&self, number: usize) -> Vec<Vec<ProfileId>> {
        let batch = &self.batches[number];
        if self.weather.listing != Listing::Itemised {
            return Vec::new();
        }
        let everybody: Vec<&String> = self.truth.profiles.keys().collect();
        let other = |position: usize| {
            let others: Vec<_> = everybody
                .iter()
                .filter(|id| !batch.members.contains(id))
                .collect();
            (**others[(number + position) % others.len()]).clone()
        };
        let letter = |number: usize| char::from(b'a' + (number % 26) as u8);
        let named = |(position, member): (usize, &String)| {
            let id = match self.weather.traits.items {
                Items::Members | Items::Late => member.clone(),
                Items::OwnIds => format!("p-i{}{}", letter(number), letter(position)),
                Items::Numeric => format!("{}", 1_000 + number * 100 + position),
                Items::Others => other(position),
            };
            vec![ProfileId::new(id)]
        };
        let late = self.weather.traits.items == Items::Late && batch.finished > self.now();
        batch
            .members
            .iter()
            .enumerate()
            .filter(|_| !late)
            .map(named)
            .collect()
    }

    pub fn look_at(&mut self, profile: &ProfileId) -> Result<Holding, ReadFailure> {
        let (at, now) = (self.shown_time(), self.now());
        let blank = self.weather.traits.blanks == Blanks::Seconds
            && self
                .batches
                .iter()
                .any(|batch| batch.finished <= now && now < batch.finished + BLANK);
        let known = self
            .truth
            .profiles
            .get(profile.as_str())
            .filter(|known| known.exists(at));
        let held = known.ok_or(ReadFailure::Missing)?.held(at);
        let held = if blank { Vec::new() } else { self.spelled(held) };
        Ok(Holding {
            held,
            email: None,
            is_kept: false,
        })
    }

    fn spelled(&self, held: Vec<String>) -> Vec<Handle> {
        let spell = |handle: String| match self.weather.traits.handles {
            Spelling::AsDefined => Handle::new(handle),
            Spelling::UpperCase => Handle::new(handle.to_uppercase()),
        };
        held.into_iter().map(spell).collect()
    }

    pub fn search(&mut self, wanted: Wanted<'_>, slice: Slice) -> Page<Found> {
        let gap = self.weather.traits.search == Search::Gaps && is_in(&self.weather.gaps, self.now());
        let mut found = if gap { Vec::new() } else { self.find(wanted) };
        let (size, skipped) = (
            slice.size as usize,
            (slice.number as usize - 1) * slice.size as usize,
        );
        let total = found.len();
        if matches!(wanted, Wanted::Emails(_) | Wanted::Ids(_)) && self.weather.traits.many == Many::Short {
            found.pop();
        }
        let mut items: Vec<Found> = found.into_iter().skip(skipped).take(size).collect();
        let mut more = skipped + items.len() < total;
        let cut =
            self.weather.traits.totals == Totals::More && matches!(wanted, Wanted::Email(_)) && total > 1;
        if cut {
            items.truncate(1);
            more = false;
        }
        Page {
            more,
            items,
            total: Some(total as u64),
            size: Some(size as u64),
        }
    }

    fn find(&mut self, wanted: Wanted<'_>) -> Vec<Found> {
        let at = self.shown_time();
        let ids: Vec<String> = self.truth.profiles.keys().cloned().collect();
        let mut found = Vec::new();
        for id in ids {
            let profile = &self.truth.profiles[&id];
            if !profile.exists(self.now()) {
                continue;
            }
            let held = profile.held(match self.weather.traits.lists {
                Lists::Stale => at.saturating_sub(LISTS_LAG),
                _ => at,
            });
            let emails = profile.emails(self.now()).iter();
            let matching = emails.filter(|email| self.is_wanted(wanted, &id, email, &held));
            for email in matching {
                found.push(Found {
                    profile: ProfileId::new(id.clone()),
                    email: self.spelled_email(email),
                    held: match self.weather.traits.lists {
                        Lists::AsReads | Lists::Stale => Some(self.spelled(held.clone())),
                        Lists::Empty => Some(Vec::new()),
                        Lists::Unsaid => None,
                    },
                });
            }
        }
        found
    }

    fn is_wanted(&self, wanted: Wanted<'_>, id: &str, email: &str, held: &[String]) -> bool {
        let matches = |asked: &str| match self.weather.traits.filter {
            Filter::Folding => asked.to_lowercase() == email.to_lowercase(),
            Filter::HeedsCase => asked == email,
            Filter::Partial => email.to_lowercase().contains(&asked.to_lowercase()),
        };
        match wanted {
            Wanted::Email(asked) => matches(asked),
            Wanted::Emails(asked) => match self.weather.traits.many {
                Many::Honoured | Many::Short => asked.iter().any(|asked| matches(asked)),
                Many::Ignored => true,
                Many::Nobody => false,
            },
            Wanted::Ids(asked) => match self.weather.traits.many {
                Many::Honoured | Many::Short => asked.contains(&id),
                Many::Ignored => true,
                Many::Nobody => false,
            },
            Wanted::Holders(handle) => held.iter().any(|held| held == handle.as_str()),
            Wanted::Everybody => true,
        }
    }

    fn spelled_email(&self, email: &str) -> String {
        match self.weather.traits.emails {
            Emails::AsGiven => email.to_owned(),
            Emails::UpperCase => email.to_uppercase(),
            Emails::Padded => format!(" {email} "),
        }
    }
}
