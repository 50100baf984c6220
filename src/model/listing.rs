//! What the tenant's list of batches may be trusted for, judged by the batches in it that are known to be ours.
//!
//! A list is *calibrated* with batches that the tenant accepted and named: whether they stand in it, whether they stand in
//! the order in which they were sent, whether their sizes are right. What is not calibrated proves nothing. Pure.

use super::doubt::Listed;
use super::ids::BatchId;

/// Rows that are read below one that is older than the doubtful request: batches of the same second may stand in any
/// order.
pub const ROWS_BEYOND: usize = 10;

/// When a known batch was sent, counted in attempts of the ledger: no clock has a say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Attempts up to this one, if they were not under way, began before it was answered.
    pub answered: i64,
    /// It began after all attempts below this one were answered; `None` where only its end is known.
    pub began: Option<i64>,
}

impl Span {
    /// Whether it was answered before the other one began.
    pub fn precedes(&self, began: Option<i64>) -> bool {
        began.is_some_and(|began| self.answered < began)
    }
}

/// What the ledger knows of a batch in the tenant's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The tenant accepted it from us, with so many members.
    Accepted(Span, u64),
    /// It stood in the list when a run began, before that had sent anything.
    Baseline(Span),
    /// One of ours, found in the list; when it was sent is not known.
    Found,
    /// Not known.
    Unknown,
}

impl Standing {
    fn span(&self) -> Option<Span> {
        match self {
            Self::Accepted(span, _) | Self::Baseline(span) => Some(*span),
            Self::Found | Self::Unknown => None,
        }
    }
}

/// A row of the tenant's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The tenant's id.
    pub id: BatchId,
    /// How many members it has, where the tenant says so.
    pub size: Option<u64>,
    /// Whether the tenant calls it finished; `None` where the list does not say.
    pub finished: Option<bool>,
    /// Whether a person said that it is over, whatever the tenant says.
    pub ruled_over: bool,
    /// What the ledger knows of it.
    pub standing: Standing,
}

/// The rows that were read, from the top of the list.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// In the order of the list.
    pub rows: Vec<Row>,
    /// Whether they are all that the list holds.
    pub whole: bool,
}

impl Reading {
    /// Whether the known batches stand newest first, and at least two of them say so. Only pairs count of which one was
    /// answered before the other was sent.
    pub fn is_newest_first(&self) -> bool {
        let spans: Vec<Span> = self.rows.iter().filter_map(|row| row.standing.span()).collect();
        let mut in_order = false;
        for (position, upper) in spans.iter().enumerate() {
            for lower in &spans[position + 1..] {
                if upper.precedes(lower.began) {
                    return false;
                }
                in_order |= lower.precedes(upper.began);
            }
        }
        in_order
    }

    /// The first row that is older than a request that was sent then.
    fn mark(&self, began: Option<i64>) -> Option<usize> {
        let is_older = |row: &Row| row.standing.span().is_some_and(|span| span.precedes(began));
        self.rows.iter().position(is_older)
    }

    /// Whether nothing further down can be younger than a request that was sent then.
    pub fn reaches_before(&self, began: Option<i64>) -> bool {
        self.is_newest_first()
            && self
                .mark(began)
                .is_some_and(|mark| self.rows.len() > mark + ROWS_BEYOND)
    }

    /// Whether the batches that were accepted last stand in it: all of those, newest first, that must be as far up as was
    /// read. Without any, nothing is known.
    fn shows_accepted(&self, began: Option<i64>, accepted: &[(BatchId, i64)]) -> bool {
        // What is older than the first row that precedes the request may have been forgotten since.
        let mark = self.is_newest_first().then(|| self.mark(began)).flatten();
        let stopped_at = mark
            .and_then(|mark| self.rows[mark].standing.span())
            .map_or(i64::MIN, |span| span.answered);
        let mut expected = accepted
            .iter()
            .filter(|(_, attempt)| *attempt >= stopped_at)
            .peekable();
        let stands = |id: &BatchId| self.rows.iter().any(|row| row.id == *id);
        expected.peek().is_some() && expected.all(|(id, _)| stands(id))
    }

    /// Whether the sizes of finished batches are right, as far as ours tell.
    fn sizes_are_right(&self) -> bool {
        let ours = self
            .rows
            .iter()
            .filter_map(|row| match (row.standing, row.finished) {
                (Standing::Accepted(_, size), Some(true)) => Some(row.size == Some(size)),
                _ => None,
            });
        let (mut any, mut all) = (false, true);
        for right in ours {
            any = true;
            all &= right;
        }
        any && all
    }

    /// Batches that could be a request for so many members that was sent then: all that are neither known nor older, but
    /// for those that are finished and certainly of another size.
    pub fn candidates(&self, began: Option<i64>, size: u64) -> Vec<&Row> {
        let sizes_count = self.sizes_are_right();
        let other_size = |row: &Row| {
            sizes_count && row.finished == Some(true) && row.size.is_some_and(|listed| listed != size)
        };
        let could_be = |row: &&Row| match row.standing {
            Standing::Unknown => true,
            // What stood in the list before a later run began may have been sent by an earlier one.
            Standing::Baseline(span) => !span.precedes(began),
            Standing::Accepted(..) | Standing::Found => false,
        };
        self.rows
            .iter()
            .filter(could_be)
            .filter(|row| !other_size(row))
            .collect()
    }

    /// What the list says of a request that was sent then, where no row that could be it turned out to be.
    ///
    /// `accepted`: the batches that were accepted last, with their attempts. `possible`: whether candidates remain, and
    /// whether the tenant has finished with all of them, as far as it says.
    pub fn verdict(
        &self,
        began: Option<i64>,
        accepted: &[(BatchId, i64)],
        possible: Option<Option<bool>>,
    ) -> Listed {
        if !self.shows_accepted(began, accepted) {
            return Listed::Unclear("the tenant's list does not show the batches that it has accepted");
        }
        match possible {
            Some(finished) => Listed::Possible { finished },
            None if self.whole || self.reaches_before(began) => Listed::Nothing,
            None => Listed::Unclear("the tenant's list of batches could not be read far enough back"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch that was sent in this attempt, when all earlier ones had been answered.
    fn accepted(attempt: i64, size: u64) -> Standing {
        let span = Span {
            answered: attempt,
            began: Some(attempt),
        };
        Standing::Accepted(span, size)
    }

    fn baseline() -> Standing {
        let span = Span {
            answered: 0,
            began: None,
        };
        Standing::Baseline(span)
    }

    fn row(id: &str, standing: Standing, size: u64, finished: bool) -> Row {
        Row {
            id: BatchId::new(id),
            size: Some(size),
            finished: Some(finished),
            ruled_over: false,
            standing,
        }
    }

    fn whole(rows: Vec<Row>) -> Reading {
        Reading { rows, whole: true }
    }

    fn known(ids: &[(&str, i64)]) -> Vec<(BatchId, i64)> {
        ids.iter()
            .map(|(id, attempt)| (BatchId::new(*id), *attempt))
            .collect()
    }

    #[test]
    fn the_order_is_known_from_batches_of_ours_alone() {
        let order = |rows: Vec<Row>| whole(rows).is_newest_first();
        let unknown = || row("x", Standing::Unknown, 3, true);
        let (one, two) = (
            || row("b1", accepted(1, 3), 3, true),
            || row("b2", accepted(2, 3), 3, true),
        );
        let old = || row("b0", baseline(), 3, true);
        assert!(order(vec![two(), unknown(), one()]));
        assert!(!order(vec![one(), two()]), "oldest first");
        assert!(!order(vec![two(), old(), one()]), "anyhow");
        assert!(order(vec![one(), old()]), "what was listed before is older");
        assert!(!order(vec![old(), one()]));
        assert!(!order(vec![two(), unknown()]), "one alone has no order");
        assert!(!order(vec![unknown(), unknown(), old()]));
        // Two that were under way together may be listed either way.
        let together = Standing::Accepted(
            Span {
                answered: 3,
                began: Some(2),
            },
            3,
        );
        let three = || row("b3", together, 3, true);
        assert!(!order(vec![two(), three()]) && !order(vec![three(), two()]));
        assert!(order(vec![two(), three(), one()]));
    }

    #[test]
    fn a_list_without_known_order_is_read_to_its_end() {
        let mut rows = vec![row("b2", accepted(2, 3), 3, true)];
        rows.extend((0..40).map(|number| row(&format!("x{number}"), Standing::Unknown, 3, true)));
        rows.push(row("b1", accepted(1, 3), 3, true));
        let mut reading = Reading { rows, whole: false };
        assert!(
            !reading.reaches_before(Some(2)),
            "rows below it may be of the same second"
        );
        reading
            .rows
            .extend((0..ROWS_BEYOND).map(|number| row(&format!("y{number}"), Standing::Unknown, 3, true)));
        assert!(reading.reaches_before(Some(2)));
        assert!(!reading.reaches_before(None), "when it was sent is not known");
        reading.rows.reverse();
        assert!(!reading.reaches_before(Some(2)));
    }

    #[test]
    fn a_list_that_does_not_show_what_was_accepted_proves_nothing() {
        let reading = whole(vec![row("b1", accepted(1, 3), 3, true)]);
        let says = |known: &[(BatchId, i64)]| reading.verdict(Some(3), known, None);
        assert_eq!(says(&known(&[("b1", 1)])), Listed::Nothing);
        assert!(matches!(
            says(&known(&[("b2", 2), ("b1", 1)])),
            Listed::Unclear(_)
        ));
        assert!(matches!(says(&[]), Listed::Unclear(_)), "nothing is known of it");
        let possible = reading.verdict(Some(3), &known(&[("b1", 1)]), Some(Some(true)));
        assert_eq!(possible, Listed::Possible { finished: Some(true) });
        let cut = Reading {
            whole: false,
            ..reading.clone()
        };
        assert!(matches!(
            cut.verdict(Some(3), &known(&[("b1", 1)]), None),
            Listed::Unclear(_)
        ));
    }

    #[test]
    fn only_sizes_that_are_right_for_ours_rule_out_others_and_only_finished_ones() {
        let ours = || row("b1", accepted(1, 3), 3, true);
        let others = || {
            vec![
                row("x", Standing::Unknown, 7, true),
                row("y", Standing::Unknown, 0, false),
                row("z", Standing::Unknown, 3, true),
            ]
        };
        let candidates = |first: Row| {
            let reading = whole([vec![first], others()].concat());
            let ids = reading
                .candidates(Some(9), 3)
                .into_iter()
                .map(|row| row.id.as_str().to_owned());
            ids.collect::<Vec<_>>()
        };
        assert_eq!(candidates(ours()), ["y", "z"]);
        let wrong = row("b1", accepted(1, 3), 0, true);
        assert_eq!(candidates(wrong), ["x", "y", "z"]);
        let pending = row("b1", accepted(1, 3), 3, false);
        assert_eq!(candidates(pending), ["x", "y", "z"], "nothing is calibrated");
    }

    #[test]
    fn what_stood_in_the_list_when_a_later_run_began_may_be_it() {
        let listed_before = |answered| {
            let span = Span {
                answered,
                began: None,
            };
            row("x", Standing::Baseline(span), 3, true)
        };
        let could_be = |answered, began| {
            !whole(vec![listed_before(answered)])
                .candidates(began, 3)
                .is_empty()
        };
        assert!(!could_be(4, Some(5)), "it was there before the request left");
        assert!(could_be(5, Some(5)));
        assert!(could_be(0, None), "when the request left is not known");
    }
}
