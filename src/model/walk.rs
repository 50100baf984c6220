//! Walking through all profiles page by page without missing anybody, although others come and go meanwhile.
//!
//! Pages are cut by position, and a profile that is deleted moves everybody behind it one place forward: whoever was
//! first on the next page is then the last on a page that was read already. So each page is chosen to begin a little
//! before the end of the one before, and counts only if it does: if its first profile stands, in the order of ids, at or
//! before the last one that was seen, nobody who was there all the time can stand between the two. Ids never change, so
//! neither does their order.

use super::ids::ProfileId;

/// Which page of the profiles is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Profiles on a page. The tenant may grant fewer.
    pub size: u32,
    /// Counted from 1.
    pub number: u32,
}

impl Slice {
    /// What a sibling endpoint takes at the most \[doc\].
    pub const USUAL_SIZE: u32 = 100;

    /// A page of the usual size.
    pub fn usual(number: u32) -> Self {
        let size = Self::USUAL_SIZE;
        Self { size, number }
    }

    /// How many profiles stand before it.
    fn offset(self) -> u64 {
        u64::from(self.size) * u64::from(self.number - 1)
    }
}

/// How far the walk is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// The largest page that the tenant grants.
    page: u32,
    /// Everybody up to this id has been seen.
    seen_to: Option<ProfileId>,
    /// About how many profiles that are.
    place: u64,
    /// How far the next page reaches back. Doubled by each gap.
    overlap: u64,
    /// Pages in a row that brought nobody new.
    stalled: u32,
}

/// What a page means for the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It counts.
    Forward,
    /// It counts, and it is the last.
    End,
    /// Somebody may stand between it and what was seen. The next page begins earlier.
    Gap,
    /// It is not in the order of ids, or smaller than it must be: there is no walking here.
    Lost,
}

/// Profiles that two pages share where nobody moves.
const OVERLAP: u64 = 1;
/// A gap that does not close when this much is read again is not one that deletions have left.
const OVERLAP_LIMIT: u64 = 10_000;
/// Pages in a row that bring nobody new, after which none will: a gap that closes has read a few hundred again, and a
/// tenant that shows only so many profiles, however many it says there are, would be walked for ever.
const STALLED_LIMIT: u32 = 1_000;
/// The smallest page that is asked for, as a share of the largest: a choice of sizes is what makes pages overlap by
/// little.
const SMALLEST_SHARE: f64 = 0.6;
/// Below this, the sizes to choose from may all end at the same place, and no page would lead on from there.
pub const SMALLEST_PAGE: u32 = 20;
/// About the share of a page that was not read before.
const GAIN: f64 = 0.87;

/// About how many pages it takes to walk past so many profiles.
pub fn pages(profiles: u64, page: u32) -> u64 {
    (profiles as f64 / (f64::from(page) * GAIN)).ceil() as u64
}

impl Walk {
    /// Goes on from where an earlier walk was, or begins.
    pub fn new(page: u32, seen_to: Option<ProfileId>, place: u64) -> Self {
        Self {
            page: page.max(SMALLEST_PAGE),
            seen_to,
            place,
            overlap: OVERLAP,
            stalled: 0,
        }
    }

    /// Up to which id everybody has been seen, and about how many that are.
    pub fn so_far(&self) -> (Option<&ProfileId>, u64) {
        (self.seen_to.as_ref(), self.place)
    }

    /// About how many pages are left of so many profiles.
    pub fn pages_left(&self, total: u64) -> u64 {
        pages(total.saturating_sub(self.place), self.page)
    }

    /// The next pages, on the assumption that nobody moves.
    pub fn ahead(&self, pages: usize) -> Vec<Slice> {
        let mut place = self.place;
        let mut overlap = self.overlap;
        let mut windows = Vec::with_capacity(pages);
        for _ in 0..pages {
            let window = self.window(place.saturating_sub(overlap));
            place = window.offset() + u64::from(window.size);
            overlap = OVERLAP;
            windows.push(window);
        }
        windows
    }

    /// The page that begins at `from` or a little before, and reaches farthest.
    fn window(&self, from: u64) -> Slice {
        let smallest = (f64::from(self.page) * SMALLEST_SHARE).ceil() as u32;
        let slices = (smallest.max(1)..=self.page).map(|size| Slice {
            size,
            number: u32::try_from(from / u64::from(size)).unwrap_or(u32::MAX - 1) + 1,
        });
        let reach = |window: &Slice| (window.offset() + u64::from(window.size), window.size);
        slices.max_by_key(reach).expect("BUG: no page size at all")
    }

    /// Takes a page in: the ids on it, and whether the tenant says that more follow.
    pub fn take(&mut self, window: Slice, ids: &[&ProfileId], more: bool) -> Step {
        if !ids.windows(2).all(|pair| pair[0] < pair[1]) {
            return Step::Lost;
        }
        let size = ids.len() as u64;
        if more && size < u64::from(window.size) {
            return Step::Lost;
        }
        let overlaps = match (&self.seen_to, ids.first()) {
            _ if window.number == 1 => true,
            (Some(seen_to), Some(first)) => *first <= seen_to,
            _ => false,
        };
        let advances = ids
            .last()
            .is_some_and(|last| self.seen_to.as_ref().is_none_or(|seen_to| seen_to < *last));
        self.stalled = if overlaps && advances { 0 } else { self.stalled + 1 };
        if more && self.stalled > STALLED_LIMIT {
            return Step::Lost;
        }
        if !overlaps {
            self.overlap *= 2;
            return if self.overlap > OVERLAP_LIMIT {
                Step::Lost
            } else {
                Step::Gap
            };
        }
        self.overlap = OVERLAP;
        self.place = window.offset() + size;
        if advances {
            self.seen_to = ids.last().map(|last| (*last).clone());
        }
        if more { Step::Forward } else { Step::End }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(number: u32) -> ProfileId {
        ProfileId::new(format!("{number:08x}"))
    }

    /// What a tenant with these profiles, in order, answers.
    fn page(people: &[ProfileId], window: Slice) -> (Vec<&ProfileId>, bool) {
        let offset = usize::try_from(window.offset()).unwrap();
        let ids: Vec<_> = people.iter().skip(offset).take(window.size as usize).collect();
        let more = offset + ids.len() < people.len();
        (ids, more)
    }

    #[test]
    fn a_walk_reads_little_twice() {
        let people: Vec<ProfileId> = (0..50_000).map(id).collect();
        let mut walk = Walk::new(100, None, 0);
        let (mut pages, mut seen) = (0, std::collections::BTreeSet::new());
        loop {
            let window = walk.ahead(1)[0];
            let (ids, more) = page(&people, window);
            seen.extend(ids.iter().map(|id| (*id).clone()));
            pages += 1;
            match walk.take(window, &ids, more) {
                Step::Forward => {}
                Step::End => break,
                step => panic!("{step:?}"),
            }
        }
        assert_eq!(seen.len(), people.len());
        assert!(pages < 580, "{pages} pages for 500");
    }

    #[test]
    fn what_is_out_of_order_or_too_small_is_not_walked() {
        let window = Slice { size: 2, number: 1 };
        let mut walk = Walk::new(20, None, 0);
        assert_eq!(walk.take(window, &[&id(2), &id(1)], true), Step::Lost);
        assert_eq!(walk.take(window, &[&id(1)], true), Step::Lost);
        assert_eq!(walk.take(window, &[&id(1)], false), Step::End);
        assert_eq!(walk.take(window, &[], false), Step::End);
        let mut walk = Walk::new(20, Some(id(1)), 10);
        let later = Slice { size: 2, number: 5 };
        assert_eq!(
            walk.take(later, &[], false),
            Step::Gap,
            "the list has become shorter"
        );
    }

    /// A tenant that shows five hundred, and the last of them again for every page behind those.
    #[test]
    fn a_walk_that_gets_nowhere_ends() {
        let people: Vec<ProfileId> = (0..500).map(id).collect();
        let mut walk = Walk::new(100, None, 0);
        for number in 1.. {
            let window = walk.ahead(1)[0];
            let last = people.len() - window.size as usize;
            let from = usize::try_from(window.offset()).unwrap().min(last);
            let ids: Vec<_> = people[from..].iter().take(window.size as usize).collect();
            match walk.take(window, &ids, true) {
                Step::Lost => break,
                _ => assert!(number < 2_000, "it goes on and on"),
            }
        }
    }

    #[test]
    fn what_is_left_is_known_by_the_total() {
        let walk = Walk::new(100, Some(id(1)), 130);
        assert_eq!(walk.pages_left(1_000), 10);
        assert_eq!(walk.pages_left(100), 0);
    }

    proptest! {
        /// Whoever is there from the beginning to the end is seen, whoever else comes and goes between any two pages.
        #[test]
        fn nobody_who_stays_is_missed(
            size in SMALLEST_PAGE..60,
            people in proptest::collection::btree_set(0u32..5_000, 0..400),
            changes in proptest::collection::vec((any::<bool>(), 0u32..5_000), 0..300),
            every in 1usize..4,
            ahead in 1usize..5,
        ) {
            let mut people: Vec<ProfileId> = people.into_iter().map(id).collect();
            let mut stayed: std::collections::BTreeSet<ProfileId> = people.iter().cloned().collect();
            let mut seen = std::collections::BTreeSet::new();
            let mut changes = changes.into_iter();
            let mut walk = Walk::new(size, None, 0);
            'walk: for _ in 0..20_000 {
                // Pages that are under way together see the world at different times.
                for window in walk.ahead(ahead) {
                    let (ids, more) = page(&people, window);
                    let step = walk.take(window, &ids, more);
                    match step {
                        Step::Forward | Step::End => seen.extend(ids.into_iter().cloned()),
                        Step::Gap => {}
                        Step::Lost => prop_assert!(false, "lost"),
                    }
                    for (comes, number) in changes.by_ref().take(every) {
                        let place = people.binary_search(&id(number));
                        match (comes, place) {
                            (true, Err(place)) => people.insert(place, id(number)),
                            (false, Ok(place)) => {
                                people.remove(place);
                                stayed.remove(&id(number));
                            }
                            _ => {}
                        }
                    }
                    match step {
                        Step::End => break 'walk,
                        Step::Gap => break,
                        _ => {}
                    }
                }
            }
            prop_assert!(stayed.is_subset(&seen), "{} of {}", stayed.difference(&seen).count(), stayed.len());
        }
    }
}
