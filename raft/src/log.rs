//! The log as the core sees it: which term each index has, and nothing else.
//!
//! Terms never go down along a log, and a leader adds long runs of one term, so a log is a short
//! list of runs. Nearly every log at rest is a single run, and then it is two positions and no
//! heap block: everything after `compacted` has the term of `last`.
//!
//! Invariants:
//! - `compacted.index <= last.index`, and they are equal exactly when the log is empty;
//! - `runs` is empty for a log of one term, else it lists all of two or more runs, of ascending
//!   first index and strictly ascending term, the first beginning right after `compacted`.
//!
//! Deliberately absent: payloads, and knowledge of what is durable or committed.

use crate::spill::Spill;
use crate::types::{Index, Position, Span, Term};

/// Where a run begins; it ends where the next one begins, or at `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Run {
    term: Term,
    first: Index,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Log {
    compacted: Position,
    last: Position,
    runs: Spill<Run>,
}

impl Log {
    /// An empty log that begins after `compacted`.
    pub(crate) const fn new(compacted: Position) -> Self {
        Self { compacted, last: compacted, runs: Spill::new() }
    }

    #[inline]
    pub(crate) const fn compacted(&self) -> Position {
        self.compacted
    }

    #[inline]
    pub(crate) const fn last(&self) -> Position {
        self.last
    }

    /// The term of the entry, when the log still holds it or ends its compacted part with it.
    #[inline]
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index > self.last.index || index < self.compacted.index {
            None
        } else if index == self.last.index {
            Some(self.last.term)
        } else if index == self.compacted.index {
            Some(self.compacted.term)
        } else {
            Some(self.run_at(index).term)
        }
    }

    /// The run that holds the entry, which must be in the log.
    #[inline]
    pub(crate) fn run_at(&self, index: Index) -> Span {
        debug_assert!(self.compacted.index < index && index <= self.last.index);
        let mut last = self.last.index;
        for run in self.runs.as_slice().iter().rev() {
            if run.first <= index {
                return Span { term: run.term, first: run.first, last };
            }
            last = run.first.prev();
        }
        Span { term: self.last.term, first: self.compacted.index.next(), last: self.last.index }
    }

    /// Adds entries of one term, up to and including index `last`.
    #[inline]
    pub(crate) fn append(&mut self, term: Term, last: Index) {
        assert!(
            term >= self.last.term && last > self.last.index,
            "append of {term:?} up to {last:?} to a log that ends at {}",
            self.last
        );
        if term != self.last.term && self.last.index > self.compacted.index {
            self.begin_run(term);
        }
        self.last = Position::new(term, last);
    }

    #[cold]
    fn begin_run(&mut self, term: Term) {
        if self.runs.is_empty() {
            self.runs.push(Run { term: self.last.term, first: self.compacted.index.next() });
        }
        self.runs.push(Run { term, first: self.last.index.next() });
    }

    /// Drops the entries at and after `from`.
    pub(crate) fn truncate(&mut self, from: Index) {
        assert!(
            self.compacted.index < from && from <= self.last.index,
            "truncation from {from:?} of a log from {} to {}",
            self.compacted,
            self.last
        );
        let last = from.prev();
        let term = self.term_at(last).expect("the entry before one in the log has a term");
        let kept = self.runs.as_slice().iter().take_while(|run| run.first < from).count();
        self.keep_runs(0, kept);
        self.last = Position::new(term, last);
    }

    /// Forgets the entries up to and including `to`, which must be in the log.
    pub(crate) fn compact(&mut self, to: Index) {
        let term = self.term_at(to).expect("compaction stays within the log");
        let runs = self.runs.as_slice();
        let next = runs.iter().take_while(|run| run.first <= to.next()).count();
        let (gone, kept) = (next.saturating_sub(1), runs.len());
        self.keep_runs(gone, kept);
        if let Some(run) = self.runs.as_mut_slice().first_mut() {
            run.first = to.next();
        }
        self.compacted = Position::new(term, to);
    }

    /// Replaces everything: the log is empty and begins after `at`.
    pub(crate) fn reset(&mut self, at: Position) {
        *self = Self::new(at);
    }

    /// Keeps the runs `from..to`, and none at all when fewer than two are left.
    fn keep_runs(&mut self, from: usize, to: usize) {
        if to - from < 2 {
            self.runs.clear();
        } else {
            self.runs.truncate(to);
            self.runs.drop_front(from);
        }
    }

    /// The latest position at or before `index` whose term is at most `term`, if the log still
    /// knows one. Both sides skip whole conflicting terms with it: the follower when it answers
    /// where it could match, the leader when it chooses where to try next.
    pub(crate) fn latest_up_to(&self, index: Index, term: Term) -> Option<Position> {
        let mut index = index.min(self.last.index);
        while index > self.compacted.index {
            let run = self.run_at(index);
            if run.term <= term {
                return Some(Position::new(run.term, index));
            }
            index = run.first.prev();
        }
        let compacted = self.compacted;
        (index == compacted.index && compacted.term <= term).then_some(compacted)
    }

    /// Checks the invariants of the runs.
    pub(crate) fn check(&self) {
        let (compacted, last) = (self.compacted, self.last);
        assert!(compacted.index <= last.index, "log from {compacted} to {last}");
        assert!(compacted.term <= last.term, "log from {compacted} to {last}");
        assert!(
            compacted.index < last.index || compacted == last,
            "empty log with an end of {last}"
        );
        let runs = self.runs.as_slice();
        assert!(runs.len() != 1, "one run is kept inline, not in {runs:?}");
        if let (Some(first), Some(end)) = (runs.first(), runs.last()) {
            assert!(first.first == compacted.index.next(), "{runs:?} after {compacted}");
            assert!(end.term == last.term && end.first <= last.index, "{runs:?} up to {last}");
            let ascending =
                |pair: &[Run]| pair[0].term < pair[1].term && pair[0].first < pair[1].first;
            assert!(runs.windows(2).all(ascending), "{runs:?} do not ascend");
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn log(terms: &[u64]) -> Log {
        let mut log = Log::new(Position::ZERO);
        for &term in terms {
            log.append(Term(term), log.last().index.next());
        }
        log
    }

    fn terms(log: &Log) -> Vec<u64> {
        let range = log.compacted().index.0 + 1..=log.last().index.0;
        range.map(|index| log.term_at(Index(index)).unwrap().0).collect()
    }

    /// Every truncation and compaction of every small log, against a plain vector.
    #[test]
    fn agrees_with_a_vector_of_terms() {
        let logs: [&[u64]; 6] =
            [&[1], &[1, 1, 1], &[1, 2], &[1, 1, 2, 4, 4], &[2, 2, 3, 3, 5, 6], &[1, 2, 3, 4, 5, 6]];
        for all in logs {
            for from in 1..=all.len() {
                let mut truncated = log(all);
                truncated.truncate(Index(from as u64));
                truncated.check();
                assert_eq!(terms(&truncated), &all[..from - 1]);
                for to in 0..from {
                    let mut compacted = truncated.clone();
                    compacted.compact(Index(to as u64));
                    compacted.check();
                    assert_eq!(terms(&compacted), &all[to..from - 1]);
                    if to > 0 {
                        assert_eq!(compacted.term_at(Index(to as u64)), Some(Term(all[to - 1])));
                    }
                    assert_eq!(compacted.term_at(Index(from as u64)), None);
                }
            }
        }
    }

    #[test]
    fn latest_up_to_agrees_with_a_search() {
        let all = [1, 1, 2, 4, 4, 4, 7].map(Term);
        let log = log(&all.map(|term| term.0));
        let positions = || (1..).map(Index).zip(all).map(|(index, term)| Position { term, index });
        for index in (0..9).map(Index) {
            for term in (0..9).map(Term) {
                let fits = |position: &Position| position.index <= index && position.term <= term;
                let naive = positions().filter(fits).last().unwrap_or(Position::ZERO);
                assert_eq!(log.latest_up_to(index, term), Some(naive));
            }
        }
    }

    #[test]
    fn a_compacted_log_knows_nothing_before_its_start() {
        let mut log = log(&[1, 3, 3, 5]);
        log.compact(Index(2));
        assert_eq!(log.term_at(Index(1)), None);
        assert_eq!(log.latest_up_to(Index(4), Term(2)), None);
        assert_eq!(log.latest_up_to(Index(1), Term(9)), None);
        assert_eq!(log.latest_up_to(Index(4), Term(4)), Some(Position::new(Term(3), Index(3))));
    }

    #[test]
    #[should_panic(expected = "append of t1")]
    fn terms_never_go_down() {
        log(&[2]).append(Term(1), Index(2));
    }
}
