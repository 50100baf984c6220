//! Which profiles a question is about: the tenant's filters, in every manner they may work.
//!
//! Reads the world and changes nothing.

use super::options::{FilterMode, ListFilter, Options};
use super::page::{Page, Question};
use super::world::{Held, World};

/// The filters of a question, as far as this tenant honours them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Criteria {
    emails: Vec<EmailTest>,
    ids: Option<Vec<String>>,
    handle: Option<String>,
    by_id: bool,
}

/// How many emails a tenant with a short list filter looks at.
const SHORT_LIST: usize = 20;

/// What one filter asks of an email.
#[derive(Debug, Clone, PartialEq, Eq)]
enum EmailTest {
    /// In lower case.
    OneOf(Vec<String>),
    /// Letter case included.
    ExactlyOneOf(Vec<String>),
    /// In lower case.
    Containing(String),
}

/// One page of what was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) total: u64,
    pub(super) rows: Vec<u32>,
}

impl Criteria {
    /// The filters in a question; unknown ones have no effect.
    pub(super) fn of(question: &Question, options: &Options) -> Self {
        let mut emails = Vec::new();
        let single = ["filter[email]", "filter[email][eq]"];
        for wanted in single.iter().filter_map(|key| question.value(key)) {
            match options.filter {
                FilterMode::Exact => emails.push(EmailTest::one_of([wanted.to_owned()])),
                FilterMode::Partial => emails.push(EmailTest::Containing(wanted.to_lowercase())),
                FilterMode::Ignored => {}
            }
        }
        if let Some(wanted) = question.value("filter[email][in]") {
            let several = wanted.split(',').map(|email| email.trim().to_owned());
            match options.filter_in {
                ListFilter::Honoured => emails.push(EmailTest::one_of(several)),
                ListFilter::Sensitive => emails.push(EmailTest::ExactlyOneOf(several.collect())),
                ListFilter::Short => emails.push(EmailTest::one_of(several.take(SHORT_LIST))),
                ListFilter::Ignored | ListFilter::Broken => {}
            }
        }
        let ids = question.value("filter[id][in]").and_then(|wanted| {
            let several = wanted.split(',').map(|id| id.trim().to_owned());
            match options.filter_ids {
                ListFilter::Honoured | ListFilter::Sensitive => Some(several.collect()),
                ListFilter::Short => Some(several.take(SHORT_LIST).collect()),
                ListFilter::Ignored | ListFilter::Broken => None,
            }
        });
        let handle = question.value("filter[statuses.handle]");
        Self {
            emails,
            ids,
            handle: handle.filter(|_| options.filter_holders).map(str::to_owned),
            by_id: options.sort && question.value("sort") == Some("id"),
        }
    }

    /// One page of the profiles that meet every filter, in the order of the list, or of their ids.
    pub(super) fn search(&self, world: &World, page: Page) -> Found {
        let holding = self.handle.as_deref().map(|handle| world.bits([handle]));
        if let Some(named) = self.named(world) {
            return self.sift(world, named.into_iter(), holding, page);
        }
        if self.emails.is_empty() && holding.is_none() && world.is_whole() {
            // Without any filter the page is a plain range, and walking a million profiles to it would be a waste.
            let total = u64::from(world.count());
            let end = u64::from(u32::MAX).min(page.skipped() + page.size).min(total);
            let places = (page.skipped()..end).filter_map(|place| u32::try_from(place).ok());
            let rows = match self.by_id {
                true => places.map(|place| world.by_id()[place as usize]).collect(),
                false => places.collect(),
            };
            return Found { total, rows };
        }
        if self.by_id {
            return self.sift(world, world.by_id().iter().copied(), holding, page);
        }
        self.sift(world, 0..world.count(), holding, page)
    }

    /// The profiles that a filter names outright, found by the index instead of a scan.
    fn named(&self, world: &World) -> Option<Vec<u32>> {
        let emails = || {
            self.emails.iter().find_map(|test| match test {
                EmailTest::OneOf(emails) | EmailTest::ExactlyOneOf(emails) => Some(emails),
                EmailTest::Containing(_) => None,
            })
        };
        let mut rows: Vec<u32> = match &self.ids {
            Some(ids) => ids.iter().filter_map(|id| world.find(id)).collect(),
            None => emails()?.iter().flat_map(|email| world.bearers(email)).collect(),
        };
        rows.sort_unstable();
        rows.dedup();
        if self.by_id {
            rows.sort_by_cached_key(|index| world.profile_id(*index));
        }
        Some(rows)
    }

    fn sift(
        &self,
        world: &World,
        candidates: impl Iterator<Item = u32>,
        holding: Option<Held>,
        page: Page,
    ) -> Found {
        let mut found = Found {
            total: 0,
            rows: Vec::new(),
        };
        let mut email = String::with_capacity(64);
        for index in candidates {
            if !world.exists(index) || holding.is_some_and(|bits| !world.holds(index, bits)) {
                continue;
            }
            if !self.emails.is_empty() {
                email.clear();
                world.write_email(index, &mut email);
                let folded = email.to_lowercase();
                if !self.emails.iter().all(|test| test.passes(&email, &folded)) {
                    continue;
                }
            }
            if (page.skipped()..page.skipped() + page.size).contains(&found.total) {
                found.rows.push(index);
            }
            found.total += 1;
        }
        found
    }
}

impl EmailTest {
    fn one_of(emails: impl IntoIterator<Item = String>) -> Self {
        Self::OneOf(emails.into_iter().map(|email| email.to_lowercase()).collect())
    }

    fn passes(&self, email: &str, folded: &str) -> bool {
        match self {
            Self::ExactlyOneOf(emails) => emails.iter().any(|wanted| wanted == email),
            Self::OneOf(emails) => emails.iter().any(|email| email == folded),
            Self::Containing(part) => folded.contains(part.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(options: &Options, world: &World, pairs: &[(&str, &str)]) -> Found {
        let question = Question(
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        );
        let page = Page::of(&question, options);
        Criteria::of(&question, options).search(world, page)
    }

    fn tenant(filter: FilterMode, filter_in: ListFilter) -> (Options, World) {
        let options = Options {
            profiles: 1_000,
            duplicates_percent: 0.0,
            filter,
            filter_in,
            ..Options::default()
        };
        let world = World::new(&options);
        (options, world)
    }

    #[test]
    fn exact_means_the_whole_address_letter_case_aside() {
        let (options, world) = tenant(FilterMode::Exact, ListFilter::Honoured);
        let email = world.email(5).to_uppercase();
        let found = search(&options, &world, &[("filter[email]", &email)]);
        assert_eq!(
            found,
            Found {
                total: 1,
                rows: vec![5]
            }
        );
        let found = search(&options, &world, &[("filter[email]", &email[1..])]);
        assert_eq!(found.total, 0);
    }

    #[test]
    fn partial_means_any_address_with_the_text_in_it() {
        let (options, mut world) = tenant(FilterMode::Partial, ListFilter::Honoured);
        world.rename(1, "lou@example.com".to_owned());
        world.rename(2, "Mary-Lou@example.com".to_owned());
        let found = search(&options, &world, &[("filter[email]", "LOU@example.com")]);
        assert_eq!(found.rows, [1, 2]);
    }

    #[test]
    fn ignored_means_everybody() {
        let (options, world) = tenant(FilterMode::Ignored, ListFilter::Honoured);
        let found = search(&options, &world, &[("filter[email]", "lou@example.com")]);
        assert_eq!((found.total, found.rows.len()), (1_000, 15));
    }

    #[test]
    fn a_comma_list_is_honoured_or_ignored() {
        for (filter_in, total) in [
            (ListFilter::Honoured, 2),
            (ListFilter::Ignored, 1_000),
            (ListFilter::Sensitive, 0),
        ] {
            let (options, world) = tenant(FilterMode::Exact, filter_in);
            let list = format!("{}, {},x@example.com", world.email(9), world.email(3)).to_uppercase();
            let found = search(&options, &world, &[("filter[email][in]", &list)]);
            assert_eq!(found.total, total);
        }
    }

    #[test]
    fn ids_in_a_list_find_their_profiles_or_are_ignored() {
        let (mut options, world) = tenant(FilterMode::Exact, ListFilter::Honoured);
        let ids = [9, 3, 9].map(|index| world.profile_id(index)).join(",") + ",nobody";
        let found = search(&options, &world, &[("filter[id][in]", &ids)]);
        assert_eq!((found.total, found.rows), (2, vec![3, 9]));
        options.filter_ids = ListFilter::Ignored;
        assert_eq!(search(&options, &world, &[("filter[id][in]", &ids)]).total, 1_000);
    }

    #[test]
    fn the_list_can_be_had_by_id() {
        let (options, mut world) = tenant(FilterMode::Exact, ListFilter::Honoured);
        world.delete(17);
        let mut ids = Vec::new();
        for number in 1..=10 {
            let number = number.to_string();
            let pairs = [
                ("sort", "id"),
                ("page[size]", "100"),
                ("page[number]", number.as_str()),
            ];
            let found = search(&options, &world, &pairs);
            ids.extend(found.rows.into_iter().map(|index| world.profile_id(index)));
        }
        assert_eq!(ids.len(), 999);
        assert!(ids.is_sorted());
    }

    #[test]
    fn holders_are_listed_page_by_page() {
        let (options, mut world) = tenant(FilterMode::Exact, ListFilter::Honoured);
        let mut rows = Vec::new();
        for number in ["1", "2", "3", "4", "5"] {
            let pairs = [("filter[statuses.handle]", "vip"), ("page[number]", number)];
            let found = search(&options, &world, &pairs);
            assert_eq!(found.total, 50);
            rows.extend(found.rows);
        }
        assert_eq!(rows.len(), 50);
        assert!(rows.is_sorted());
        world.delete(rows[0]);
        let found = search(&options, &world, &[("filter[statuses.handle]", "vip")]);
        assert_eq!(found.total, 49);
        let none = search(&options, &world, &[("filter[statuses.handle]", "nope")]);
        assert_eq!(none.total, 0);
    }

    #[test]
    fn the_whole_list_leaves_out_the_deleted() {
        let (options, mut world) = tenant(FilterMode::Exact, ListFilter::Honoured);
        let asked = [("page[size]", "100"), ("page[number]", "10")];
        assert_eq!(search(&options, &world, &asked).rows.len(), 100);
        world.delete(0);
        let found = search(&options, &world, &asked);
        assert_eq!((found.total, found.rows.len()), (999, 99));
        let beyond = [("page[number]", "4000000000")];
        assert!(search(&options, &world, &beyond).rows.is_empty());
    }
}
