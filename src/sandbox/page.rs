//! Pages of a list, and the question part of an address they are asked for with.
//!
//! Knows the shape of page numbers and links, and nothing about what is listed.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::options::Options;

/// The decoded pairs behind the question mark, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Question(pub(super) Vec<(String, String)>);

impl Question {
    /// The value of a key; a repeated key counts with its last value, as in PHP.
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    fn number(&self, key: &str) -> Option<u32> {
        self.value(key)?.trim().parse().ok()
    }

    /// The same question for another page, encoded again.
    fn with_page(&self, number: u64) -> String {
        let mut text = String::new();
        for (name, value) in self.0.iter().filter(|(name, _)| name != "page[number]") {
            text.extend(utf8_percent_encode(name, NON_ALPHANUMERIC));
            text.push('=');
            text.extend(utf8_percent_encode(value, NON_ALPHANUMERIC));
            text.push('&');
        }
        text + "page%5Bnumber%5D=" + &number.to_string()
    }
}

/// One page that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) size: u64,
    pub(super) number: u64,
}

impl Page {
    /// The page a question asks for, with its size cut to what the tenant allows.
    pub(super) fn of(question: &Question, options: &Options) -> Self {
        let most = options.page_max.max(1);
        let size = question
            .number("page[size]")
            .unwrap_or(options.page_default)
            .clamp(1, most);
        Self {
            size: u64::from(size),
            number: u64::from(question.number("page[number]").unwrap_or(1).max(1)),
        }
    }

    /// How many things come before this page.
    pub(super) fn skipped(self) -> u64 {
        (self.number - 1) * self.size
    }

    /// The number of the last page of a list; an empty list has one empty page.
    pub(super) fn last(self, total: u64) -> u64 {
        total.div_ceil(self.size).max(1)
    }

    /// The part of a list that is on this page.
    pub(super) fn cut<T>(self, things: impl Iterator<Item = T>) -> Vec<T> {
        let skipped = usize::try_from(self.skipped()).unwrap_or(usize::MAX);
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        things.skip(skipped).take(size).collect()
    }
}

/// The addresses of the pages around one.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(super) struct Links {
    first: String,
    last: String,
    prev: Option<String>,
    next: Option<String>,
}

impl Links {
    /// The links of a page of the list at an absolute address.
    pub(super) fn new(address: &str, question: &Question, page: Page, total: u64) -> Self {
        let to = |number: u64| format!("{address}?{}", question.with_page(number));
        let last = page.last(total);
        Self {
            first: to(1),
            last: to(last),
            prev: (page.number > 1).then(|| to(page.number - 1)),
            next: (page.number < last).then(|| to(page.number + 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(pairs: &[(&str, &str)]) -> Question {
        Question(
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    fn page(pairs: &[(&str, &str)]) -> Page {
        Page::of(&question(pairs), &Options::default())
    }

    #[test]
    fn sizes_are_defaulted_and_cut() {
        assert_eq!(page(&[]), Page { size: 15, number: 1 });
        assert_eq!(page(&[("page[size]", "40")]).size, 40);
        assert_eq!(page(&[("page[size]", "1000")]).size, 100);
        assert_eq!(page(&[("page[size]", "0")]).size, 1);
        assert_eq!(page(&[("page[size]", "lots"), ("page[number]", "0")]), page(&[]));
        assert_eq!(page(&[("page[number]", "2"), ("page[number]", "3")]).number, 3);
    }

    #[test]
    fn pages_cover_a_list_without_gap_or_overlap() {
        let mut all = Vec::new();
        let first = Page { size: 7, number: 1 };
        for number in 1..=first.last(30) {
            all.extend(Page { size: 7, number }.cut(0..30));
        }
        assert_eq!(all, (0..30).collect::<Vec<_>>());
        assert!(Page { size: 7, number: 6 }.cut(0..30).is_empty());
        assert_eq!((first.last(0), first.last(28), first.last(29)), (1, 4, 5));
    }

    #[test]
    fn links_are_absolute_and_encoded() {
        let asked = question(&[("filter[email]", "a+b@example.com"), ("page[number]", "2")]);
        let page = Page { size: 15, number: 2 };
        let links = Links::new("http://127.0.0.1:1/api/v3/profiles", &asked, page, 31);
        let start = "http://127.0.0.1:1/api/v3/profiles?filter%5Bemail%5D=a%2Bb%40example%2Ecom&";
        assert_eq!(links.first, format!("{start}page%5Bnumber%5D=1"));
        assert_eq!(links.prev, Some(links.first.clone()));
        assert_eq!(links.next, Some(links.last.clone()));
        assert_eq!(links.last, format!("{start}page%5Bnumber%5D=3"));
    }
}
