//! Whether what clients saw can be explained by one store that does one thing at a time: linearizability.
//!
//! A [`History`] records who asked what and when, and what he was told. [`History::check`] looks for an order of
//! the operations in which each takes effect at one moment between its invocation and its completion, and each
//! answer is what a plain map would have answered. Operations whose outcome nobody knows may take effect at any
//! later moment, or never.
//!
//! ```
//! use kontiki_tests::sim::checker::{Budget, History, Op, Outcome, Reply};
//!
//! let mut history = History::new();
//! let put = history.invoke(1, Op::Put(b"sail", b"square"), 10);
//! history.complete(put, Outcome::Done(Reply::Written), 20);
//! let get = history.invoke(2, Op::Get(b"sail"), 30);
//! history.complete(get, Outcome::Done(Reply::Value(None)), 40);
//! let violation = history.check(Budget::default()).unwrap_err();
//! assert_eq!(violation.key(), b"sail");
//! ```
//!
//! # What is checked
//!
//! 1. Each key alone, with the part of each batch and scan that concerns it. Linearizability is local: histories
//!    of single-key operations are correct exactly when each key's is.
//! 2. Batches and whole scans tie keys together, so the keys they connect are checked together, with batches and
//!    scans as single steps. This finds torn batches and torn scans. Keys that nobody writes tie nothing.
//! 3. When the keys that scans connect are too many, or the search exceeds its budget, the keys that batches
//!    connect are checked together, each with its part of the scans as one step. When these are too many, only
//!    the first check stands. [`Checked`] counts both.
//!
//! An order of all operations is an order of those on fewer keys, so each check alone finds only real violations.
//! `problem.rs` and `search.rs` say how an order is found, and `violation.rs` how evidence is made small.
//!
//! Deliberately absent: the store. Nothing here knows how a node works, only what its clients saw.

mod export;
mod history;
mod problem;
mod search;
#[cfg(test)]
mod tests;
mod violation;

use std::ops::Range;

use history::{Action, NONE, number};
pub use history::{History, Op, OpId, Outcome, Reply, View};
use problem::{Cut, Problem, Touches};
use search::{Found, Search};
pub use violation::Violation;

/// How much a check may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Configurations that the search of one partition may enter.
    pub configurations: u64,
    /// Keys that are checked together.
    pub keys_together: usize,
    /// Operations on keys that are checked together, counted once for each key.
    pub ops_together: usize,
}

impl Default for Budget {
    /// A million configurations are some tenths of a second and 32 MB.
    fn default() -> Self {
        Self { configurations: 1_000_000, keys_together: 64, ops_together: 200_000 }
    }
}

/// A history that was found correct, as far as it was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "parts of the history may have exceeded the budget"]
pub struct Checked {
    /// Operations recorded.
    pub ops: usize,
    /// Keys they name.
    pub keys: usize,
    /// Keys, and sets of keys that were checked together.
    pub partitions: usize,
    /// Sets of keys that were too large to be checked together.
    pub too_large: usize,
    /// Searches that ended without an answer because their budget was spent.
    pub exceeded: usize,
    /// Configurations entered by all searches.
    pub configurations: u64,
}

impl Checked {
    /// Whether every partition was searched to its end, so that the history is linearizable without reserve.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.too_large == 0 && self.exceeded == 0
    }
}

/// Checks histories, one after the other, in the same memory.
#[derive(Debug, Default)]
pub struct Checker {
    touches: Touches,
    problem: Problem,
    search: Search,
    failed: Vec<u32>,
    batches: Sets,
    scans: Sets,
    order: Vec<u32>,
    parts: Vec<u32>,
}

impl Checker {
    /// A checker that has no memory yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// See [`History::check`].
    ///
    /// # Errors
    /// The [`Violation`] with the smallest evidence.
    pub fn check(&mut self, history: &History, budget: Budget) -> Result<Checked, Violation> {
        self.touches.collect(history);
        let mut checked =
            Checked { ops: history.len(), keys: history.keys.len(), ..Checked::default() };
        self.failed.clear();
        for key in 0..number(history.keys.len()) {
            if self.touches.of(key).is_empty() {
                continue;
            }
            if self.count(history, &[key], budget, &mut checked) == Found::NoOrder {
                self.failed.push(key);
            }
        }
        if !self.failed.is_empty() {
            return Err(self.smallest_violation(history, budget));
        }
        if self.connect(history) {
            self.check_together(history, budget, &mut checked)?;
        }
        Ok(checked)
    }

    /// Searches one partition, and counts that.
    fn count(
        &mut self,
        history: &History,
        keys: &[u32],
        budget: Budget,
        checked: &mut Checked,
    ) -> Found {
        let found = self.judge(history, keys, Cut::NOTHING, budget);
        checked.partitions += 1;
        checked.configurations += self.search.configurations;
        checked.exceeded += usize::from(found == Found::GaveUp);
        found
    }

    /// Looks for an order of what `cut` leaves of the operations on `keys`.
    fn judge(&mut self, history: &History, keys: &[u32], cut: Cut<'_>, budget: Budget) -> Found {
        self.problem.build(history, &self.touches, keys, cut);
        self.search.configurations = 0;
        if !self.problem.narrow(history) {
            return Found::NoOrder;
        }
        self.search.run(history, &self.problem, budget.configurations)
    }

    /// Finds the sets of keys that batches connect, and those that scans connect further. False when all are
    /// single keys.
    fn connect(&mut self, history: &History) -> bool {
        let keys = history.keys.len();
        self.batches.separate(keys);
        for touches in self.touches.by_operation() {
            if let Action::Batch { .. } = history.records[touches[0].op as usize].action {
                self.batches.join(touches.iter().map(|touch| touch.key));
            }
        }
        self.scans.copy(&self.batches);
        let (touches, scans) = (&self.touches, &mut self.scans);
        for of_one in touches.by_operation() {
            let action = &history.records[of_one[0].op as usize].action;
            if let Action::Scan { view: View::Whole, .. } = action {
                let written = |key: u32| touches.of(key).iter().any(|touch| touch.sets != NONE);
                scans.join(of_one.iter().map(|touch| touch.key).filter(|&key| written(key)));
            }
        }
        self.scans.joined
    }

    fn check_together(
        &mut self,
        history: &History,
        budget: Budget,
        checked: &mut Checked,
    ) -> Result<(), Violation> {
        let mut order = std::mem::take(&mut self.order);
        let mut parts = std::mem::take(&mut self.parts);
        self.scans.in_order(&mut order);
        let mut result = Ok(());
        let mut from = 0;
        while from < order.len() {
            let set = self.scans.run(&order, from);
            from = set.end;
            let keys = &order[set];
            if keys.len() < 2 {
                continue;
            }
            result = self.check_set(history, keys, &mut parts, budget, checked);
            if result.is_err() {
                break;
            }
        }
        self.order = order;
        self.parts = parts;
        result
    }

    /// Checks keys that batches and scans connect, or else the parts of them that batches connect.
    fn check_set(
        &mut self,
        history: &History,
        keys: &[u32],
        parts: &mut Vec<u32>,
        budget: Budget,
        checked: &mut Checked,
    ) -> Result<(), Violation> {
        if self.try_set(history, keys, budget, checked)? {
            return Ok(());
        }
        parts.clear();
        parts.extend_from_slice(keys);
        parts.sort_unstable_by_key(|&key| (self.batches.root(key), key));
        let mut from = 0;
        while from < parts.len() {
            let part = self.batches.run(parts, from);
            from = part.end;
            // A part that is the whole was tried just now.
            if part.len() > 1 && part.len() < keys.len() {
                self.try_set(history, &parts[part], budget, checked)?;
            }
        }
        Ok(())
    }

    /// True when there is an order, false when nobody knows.
    fn try_set(
        &mut self,
        history: &History,
        keys: &[u32],
        budget: Budget,
        checked: &mut Checked,
    ) -> Result<bool, Violation> {
        let ops: usize = keys.iter().map(|&key| self.touches.of(key).len()).sum();
        if keys.len() > budget.keys_together || ops > budget.ops_together {
            checked.too_large += 1;
            return Ok(false);
        }
        match self.count(history, keys, budget, checked) {
            Found::Order => Ok(true),
            Found::GaveUp => Ok(false),
            Found::NoOrder => Err(self.violation(history, keys, budget)),
        }
    }
}

/// Which keys are connected: a forest in which each key points to another of its set, and roots to themselves.
#[derive(Debug, Default)]
struct Sets {
    parents: Vec<u32>,
    /// Whether any two were connected.
    joined: bool,
}

impl Sets {
    fn separate(&mut self, keys: usize) {
        self.parents.clear();
        self.parents.extend(0..number(keys));
        self.joined = false;
    }

    fn copy(&mut self, from: &Self) {
        self.parents.clone_from(&from.parents);
        self.joined = from.joined;
    }

    fn root(&self, mut key: u32) -> u32 {
        while self.parents[key as usize] != key {
            key = self.parents[key as usize];
        }
        key
    }

    fn join(&mut self, mut keys: impl Iterator<Item = u32>) {
        let Some(first) = keys.next() else { return };
        let mut root = self.root(first);
        for key in keys {
            let other = self.root(key);
            if other != root {
                // The smaller number becomes the root, so that the result does not depend on the order.
                let (low, high) = (root.min(other), root.max(other));
                self.parents[high as usize] = low;
                root = low;
                self.joined = true;
            }
            self.parents[key as usize] = root;
        }
    }

    /// Where the set of the key at `from` lies in keys that are sorted by set.
    fn run(&self, order: &[u32], from: usize) -> Range<usize> {
        let root = self.root(order[from]);
        from..from + order[from..].iter().take_while(|&&key| self.root(key) == root).count()
    }

    /// All keys, those of a set next to each other.
    fn in_order(&self, order: &mut Vec<u32>) {
        order.clear();
        order.extend(0..number(self.parents.len()));
        order.sort_unstable_by_key(|&key| (self.root(key), key));
    }
}
