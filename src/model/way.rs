//! How emails become profiles: three ways, and the arithmetic that chooses between them.
//!
//! Requests are what a run costs, so the cheapest way that the tenant is known to support is taken. None of them may
//! change an outcome: whatever a way does not settle beyond doubt is asked for alone.

use std::fmt;

/// Which way the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resolve {
    /// Whichever costs the fewest requests.
    #[default]
    Auto,
    /// A look-up for each email.
    One,
    /// Many emails in one look-up.
    Many,
    /// All profiles, page by page.
    Scan,
}

impl Resolve {
    /// The word that the ledger and the command line use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::One => "one",
            Self::Many => "many",
            Self::Scan => "scan",
        }
    }
}

/// The way that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A look-up for each email.
    One,
    /// Many emails in one look-up.
    Many {
        /// How many at the most.
        group: usize,
    },
    /// All profiles, page by page, and then whoever was not seen.
    Scan {
        /// How many pages there are, about.
        pages: u64,
        /// How many emails one question may hold afterwards; 1 where it may not hold several.
        group: usize,
    },
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One => "one",
            Self::Many { .. } => "many",
            Self::Scan { .. } => "scan",
        })
    }
}

/// What a tenant was found to support, before a run begins.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Survey {
    /// How many emails one question may hold, or why it may hold only one.
    pub many: Supported<usize>,
    /// How many pages hold everybody, or why they cannot be walked.
    pub scan: Supported<u64>,
    /// What became of emails of the list that were asked for to get an idea of it.
    pub sample: Sample,
}

/// Something that a tenant supports to some extent, or why it does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Supported<T> {
    /// To this extent.
    Yes(T),
    /// It does not, for this reason; an empty one where nobody asked.
    No(String),
}

impl<T> Default for Supported<T> {
    fn default() -> Self {
        Self::No(String::new())
    }
}

/// Emails of the list that were asked for in advance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// How many.
    pub asked: u64,
    /// How many of them no answer held.
    pub missing: u64,
    /// How many led to one profile that needs nothing, or to several profiles.
    pub needless: u64,
}

impl Sample {
    /// The share of the list that no answer will hold: each of those is asked for alone.
    pub fn missing_share(&self) -> f64 {
        self.share(self.missing)
    }

    /// The share of the list that leads to exactly one profile that needs something. Everything, where nobody knows.
    pub fn sending_share(&self) -> f64 {
        if self.asked == 0 {
            return 1.0;
        }
        1.0 - self.share(self.missing + self.needless)
    }

    fn share(&self, part: u64) -> f64 {
        if self.asked == 0 {
            0.0
        } else {
            part as f64 / self.asked as f64
        }
    }
}

/// One in so many entries that would be settled without being asked for alone is asked for alone as well, within these
/// bounds: who is listed, or answered for in a group, and who is found need not be the same people.
const CHECK_ONE_IN: u64 = 20;
/// The least of them.
pub const ASKED_ALONE_AT_LEAST: u64 = 50;
const ASKED_ALONE_AT_MOST: u64 = 500;

/// How many of so many entries are asked for alone before anything is concluded about the others.
pub fn checks(settled: u64) -> u64 {
    (settled / CHECK_ONE_IN)
        .clamp(ASKED_ALONE_AT_LEAST, ASKED_ALONE_AT_MOST)
        .min(settled)
}

/// About how many requests it takes until so many are known to be missing whom no group held: two more groups of which
/// a tenth are known ones, and a share of them alone.
pub fn missing_lookups(missing: f64, group: usize) -> f64 {
    if group < 10 || missing <= ASKED_ALONE_AT_LEAST as f64 {
        return missing;
    }
    let alone = (missing / CHECK_ONE_IN as f64).max(ASKED_ALONE_AT_LEAST as f64);
    2.0 * (missing / (group as f64 * 0.9)).ceil() + alone
}

impl Way {
    /// About how many requests it takes to look so many emails up, of which this share will be missing: each of those is
    /// asked for twice, or in three groups.
    pub fn lookups(self, emails: u64, missing_share: f64) -> u64 {
        let emails = emails as f64;
        let alone = emails * missing_share;
        let checks = checks((emails - alone) as u64) as f64;
        let requests = match self {
            Self::One => emails + alone,
            Self::Many { group } => emails / group as f64 + missing_lookups(alone, group),
            // Whoever a scan does not see is asked for in groups first, where that is possible.
            Self::Scan { pages, group: 1 } => pages as f64 + checks + alone,
            Self::Scan { pages, group } => {
                pages as f64 + checks + alone / group as f64 + missing_lookups(alone, group)
            }
        };
        requests.ceil() as u64
    }

    /// How many emails one look-up may hold.
    pub fn group(self) -> usize {
        match self {
            Self::One => 1,
            Self::Many { group } | Self::Scan { group, .. } => group,
        }
    }
}

/// The way that is taken, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The way.
    pub way: Way,
    /// Why this one, in words for people.
    pub because: String,
}

/// Chooses a way for so many emails. What the tenant does not support is not taken, whoever asks for it.
///
/// `first` says that they are the first of more: a scan finds people in no order, so it cannot tell who those are.
pub fn choose(asked: Resolve, survey: &Survey, emails: u64, first: bool) -> Choice {
    let of_all = "a scan reads all profiles, and only the first of the list are needed".to_owned();
    let many = match &survey.many {
        Supported::Yes(group) => Ok(Way::Many { group: *group }),
        Supported::No(why) => Err(why),
    };
    let group = many.as_ref().map_or(1, |way| way.group());
    let scan = match &survey.scan {
        _ if first => Err(&of_all),
        Supported::Yes(pages) => Ok(Way::Scan { pages: *pages, group }),
        Supported::No(why) => Err(why),
    };
    let as_asked = || "as asked for".to_owned();
    let cheapest = |ways: &[Way]| {
        let cost = |way: &Way| way.lookups(emails, survey.sample.missing_share());
        *ways
            .iter()
            .min_by_key(|way| cost(way))
            .expect("BUG: no way at all")
    };
    let (way, because) = match (asked, many, scan) {
        (Resolve::One, ..) => (Way::One, as_asked()),
        (Resolve::Many, Ok(many), _) => (many, as_asked()),
        (Resolve::Scan, _, Ok(scan)) => (scan, as_asked()),
        (Resolve::Many, Err(why), _) | (Resolve::Auto, Err(why), Err(_)) => (Way::One, why.clone()),
        (Resolve::Scan, many, Err(why)) => (many.unwrap_or(Way::One), why.clone()),
        (Resolve::Auto, many, scan) => {
            // Of two that cost the same the first is taken. Where nobody is left to be looked up, that is the one
            // that reads many profiles back at once: the same sample for fewer requests.
            let ways: Vec<Way> = [many.ok(), Some(Way::One), scan.ok()]
                .into_iter()
                .flatten()
                .collect();
            (cheapest(&ways), "the fewest requests".to_owned())
        }
    };
    Choice { way, because }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey(many: Option<usize>, pages: Option<u64>) -> Survey {
        let no = || "it does not".to_owned();
        Survey {
            many: many.map_or_else(|| Supported::No(no()), Supported::Yes),
            scan: pages.map_or_else(|| Supported::No(no()), Supported::Yes),
            sample: Sample::default(),
        }
    }

    #[test]
    fn the_cheapest_supported_way_is_taken() {
        let auto = |survey: &Survey, emails| choose(Resolve::Auto, survey, emails, false).way;
        let both = survey(Some(90), Some(2_000));
        assert_eq!(auto(&both, 100_000), Way::Many { group: 90 });
        let whole_tenant = Way::Scan {
            pages: 2_000,
            group: 90,
        };
        assert_eq!(auto(&both, 1_000_000), whole_tenant);
        let scan_only = survey(None, Some(2_000));
        assert_eq!(auto(&scan_only, 1_000), Way::One);
        let scan = Way::Scan {
            pages: 2_000,
            group: 1,
        };
        assert_eq!(auto(&scan_only, 100_000), scan);
        assert_eq!(auto(&survey(None, None), 1_000_000), Way::One);
        assert_eq!(auto(&both, 0), Way::Many { group: 90 }, "reading back goes by it");
    }

    #[test]
    fn nothing_unsupported_is_taken_even_if_asked_for() {
        let neither = survey(None, None);
        for asked in [Resolve::Many, Resolve::Scan] {
            let choice = choose(asked, &neither, 1_000, false);
            assert_eq!((choice.way, choice.because.as_str()), (Way::One, "it does not"));
        }
        let many = survey(Some(50), None);
        let way = |asked| choose(asked, &many, 1_000, false).way;
        assert_eq!(way(Resolve::Scan), Way::Many { group: 50 });
        assert_eq!(way(Resolve::One), Way::One);
    }

    #[test]
    fn the_first_of_a_list_are_not_scanned_for() {
        let scan_only = survey(None, Some(20));
        for asked in [Resolve::Scan, Resolve::Auto] {
            assert_eq!(choose(asked, &scan_only, 1_000, true).way, Way::One);
        }
        let choice = choose(Resolve::Scan, &survey(Some(50), Some(2)), 1_000, true);
        assert_eq!(choice.way, Way::Many { group: 50 });
        assert!(choice.because.contains("first"), "{}", choice.because);
    }

    #[test]
    fn whoever_is_missing_is_asked_for_in_two_more_groups_and_a_share_alone() {
        let many = Way::Many { group: 100 };
        assert_eq!(many.lookups(10_000, 0.0), 100);
        assert_eq!(many.lookups(10_000, 0.05), 100 + 2 * 6 + 50);
        assert_eq!(Way::One.lookups(10_000, 0.05), 10_500);
        let scan = |group| Way::Scan { pages: 200, group }.lookups(10_000, 0.05);
        assert_eq!((scan(1), scan(100)), (200 + 475 + 500, 200 + 475 + 5 + 62));
        assert_eq!(
            [0, 30, 100, 4_000, 1_000_000].map(super::checks),
            [0, 30, 50, 200, 500]
        );
        let sample = Sample {
            asked: 100,
            missing: 4,
            needless: 6,
        };
        assert!((sample.sending_share() - 0.9).abs() < 1e-9);
        assert!((Sample::default().sending_share() - 1.0).abs() < 1e-9);
    }
}
