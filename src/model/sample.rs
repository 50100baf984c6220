//! How many members of a batch are read back, and what that says about the rest.

use super::ids::Action;

/// How much is read back before a batch counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirm {
    /// A few random members of every batch; one miss and the whole batch is read.
    Sample,
    /// Every member.
    All,
    /// Nobody: the tenant's word is taken.
    None,
}

/// Batches whose samples share a request, where one shows many.
const SHARED_BY: usize = 4;

/// Fewer members than these are looked at one by one.
const FEWEST_SHARED: usize = 4;

/// How many members of one batch cost a share of a request that shows so many.
pub fn share(together: usize) -> usize {
    together.div_ceil(SHARED_BY).max(FEWEST_SHARED).min(together)
}

/// How many requests it takes to read so many members of a batch back: a share of one for a share.
pub fn requests(read: usize, together: usize) -> f64 {
    if read <= share(together) {
        read as f64 / together as f64
    } else {
        read.div_ceil(together) as f64
    }
}

/// Members read of even the smallest batch: one alone could be a lucky hit.
const FEWEST: usize = 2;

impl Confirm {
    /// The word that the ledger and the command line use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sample => "sample",
            Self::All => "all",
            Self::None => "none",
        }
    }

    /// Reads the word back.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Sample, Self::All, Self::None]
            .into_iter()
            .find(|confirm| confirm.as_str() == word)
    }

    /// How many of `size` members are to be read back, where as many as `together` of one batch cost no more than one.
    ///
    /// A member costs about one request to look up, so a hundredth of the members is about a hundredth
    /// of the requests. Where one request shows many, as many are seen for the price of one.
    pub fn members(self, size: usize, together: usize) -> usize {
        match self {
            Self::Sample => size.div_ceil(100).max(FEWEST).max(together).min(size),
            Self::All => size,
            Self::None => 0,
        }
    }
}

/// How often each member is looked at: what a lack shows is believed the second time.
pub fn looks(action: Action) -> u32 {
    match action {
        Action::Assign => 1,
        Action::Remove => 2,
    }
}

/// The largest share of unchanged profiles that `seen` random hits without a miss leave plausible.
///
/// With 95 % confidence: were the share larger, so many hits in a row would come up less than once in
/// twenty times. `None` where nothing was sampled.
pub fn unseen_share_at_most(seen: u64) -> Option<f64> {
    (seen > 0).then(|| 1.0 - 0.05_f64.powf(1.0 / seen as f64))
}

/// The standard normal quantile of 97.5 %.
const Z: f64 = 1.959_964;

/// Between which shares of all the true one lies with 95 % confidence, where `hits` of `seen` random ones are hits: the
/// interval of Wilson (1927), which holds for few and for no hits, too. `None` where nothing was sampled.
pub fn share_between(hits: u64, seen: u64) -> Option<(f64, f64)> {
    if seen == 0 {
        return None;
    }
    let (n, share) = (seen as f64, hits as f64 / seen as f64);
    let (center, spread) = (
        share + Z * Z / (2.0 * n),
        Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt(),
    );
    let scale = 1.0 + Z * Z / n;
    Some(((center - spread).max(0.0) / scale, (center + spread) / scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_a_hundredth_and_never_more_than_the_batch() {
        let sample = |size| Confirm::Sample.members(size, 1);
        assert_eq!([1, 2, 50, 300, 500].map(sample), [1, 2, 2, 3, 5]);
        assert_eq!(Confirm::Sample.members(300, 93), 93);
        assert_eq!(Confirm::Sample.members(50, 93), 50);
        assert_eq!(Confirm::All.members(300, 93), 300);
        assert_eq!(Confirm::None.members(300, 93), 0);
    }

    #[test]
    fn the_interval_is_wilsons() {
        let (low, high) = share_between(10, 100).unwrap();
        assert!(
            (low - 0.0552).abs() < 0.0001 && (high - 0.1744).abs() < 0.0001,
            "{low} {high}"
        );
        let (low, high) = share_between(0, 300).unwrap();
        assert!(low < 1e-9 && (high - 0.0126).abs() < 0.0001, "{low} {high}");
        assert_eq!(share_between(0, 0), None);
    }

    #[test]
    fn the_confidence_follows_the_rule_of_three() {
        assert_eq!(unseen_share_at_most(0), None);
        let share = unseen_share_at_most(300).unwrap();
        assert!((share - 0.00994).abs() < 0.0001, "{share}");
        assert!((unseen_share_at_most(1).unwrap() - 0.95).abs() < 1e-9);
    }
}
