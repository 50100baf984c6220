//! The sizes that batches are made in.

/// Sizes that batches are made in, so that their size tells apart those that are in doubt together.
const SIZES: usize = 5;
/// The share of a batch's size that all these sizes may differ by.
const SIZES_SHARE: usize = 20;

/// How many sizes there are: they go round, each by one smaller than the one before. Small batches have few.
pub fn sizes(batch_size: usize) -> usize {
    SIZES.min(1 + batch_size / SIZES_SHARE)
}

/// Members of a full batch on average.
pub fn mean_size(batch_size: usize) -> f64 {
    batch_size as f64 - (sizes(batch_size) - 1) as f64 / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_over_all_sizes() {
        assert_eq!(mean_size(300), 298.0);
        assert_eq!(mean_size(3), 3.0);
    }
}
