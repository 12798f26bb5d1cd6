//! Evidence that there is no order, made small enough to read.
//!
//! A history is correct up to some completion and wrong from it on. The prefix up to that completion is found by
//! bisection: what happens later is forgotten, and what is under way by then has an unknown outcome. From the
//! prefix operations are taken out as long as what remains still has no order. An operation that only sees can
//! always be taken out; one that sets, when none of those who remain sees it. Both keep an order if there was
//! one, so the core that remains without an order proves that the whole has none.
//!
//! Deliberately absent: colours, and more than a screen of text.

use std::fmt::{self, Write as _};

use super::history::{Action, Answer, History, NONE, OpId, Record, View};
use super::problem::Cut;
use super::search::Found;
use super::{Budget, Checker};

/// Keys whose evidence is made small, to choose the smallest.
const KEYS_COMPARED_MAX: usize = 8;
/// Searches spent on making a core small.
const TRIALS_MAX: u32 = 1000;
/// Operations of the prefix that are listed.
const LISTED_MAX: usize = 40;

/// Operations for which there is no order.
#[derive(Clone, PartialEq, Eq)]
pub struct Violation {
    /// The keys they are about: one, or those that batches and scans connect and the core names.
    pub keys: Vec<Vec<u8>>,
    /// The operation with whose completion the history became wrong.
    pub at: OpId,
    /// All operations on the keys that were invoked before that completion.
    pub prefix: Vec<OpId>,
    /// Those of the prefix that prove it.
    pub core: Vec<OpId>,
    listing: String,
}

impl Violation {
    /// The key, or the first of several.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.keys[0]
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.listing)
    }
}

impl fmt::Debug for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.listing)
    }
}

impl std::error::Error for Violation {}

impl Checker {
    /// Of the keys that failed, the violation with the shortest prefix.
    pub(super) fn smallest_violation(&mut self, history: &History, budget: Budget) -> Violation {
        let failed = std::mem::take(&mut self.failed);
        let mut best: Option<(usize, u32, u32)> = None;
        for &key in failed.iter().take(KEYS_COMPARED_MAX) {
            let until = self.first_failure(history, &[key], budget);
            let candidate = (self.prefix(history, &[key], until).len(), until, key);
            best = Some(best.map_or(candidate, |best| best.min(candidate)));
        }
        let (_, until, key) = best.expect("called when a key has failed");
        self.failed = failed;
        self.violation_until(history, &[key], until, budget)
    }

    /// The evidence against `keys`, which have no order.
    pub(super) fn violation(
        &mut self,
        history: &History,
        keys: &[u32],
        budget: Budget,
    ) -> Violation {
        let until = self.first_failure(history, keys, budget);
        self.violation_until(history, keys, until, budget)
    }

    /// The event with which the history of `keys` became wrong, unless the budget hides it behind a later one.
    fn first_failure(&mut self, history: &History, keys: &[u32], budget: Budget) -> u32 {
        let mut returns: Vec<u32> = Vec::new();
        for &key in keys {
            let records =
                self.touches.of(key).iter().map(|touch| &history.records[touch.op as usize]);
            returns.extend(
                records.filter(|r| !matches!(r.answer, Answer::Unknown)).map(|record| record.ret),
            );
        }
        returns.sort_unstable();
        returns.dedup();
        let fails = returns.partition_point(|&until| {
            let cut = Cut { until, without: &[] };
            self.judge(history, keys, cut, budget) != Found::NoOrder
        });
        // The whole fails, and with the last answer the whole is there.
        returns[fails.min(returns.len() - 1)]
    }

    /// The operations on `keys` that were invoked before `until`.
    fn prefix(&self, history: &History, keys: &[u32], until: u32) -> Vec<u32> {
        let mut ops: Vec<u32> = Vec::new();
        for &key in keys {
            ops.extend(self.touches.of(key).iter().map(|touch| touch.op));
        }
        ops.retain(|&op| history.records[op as usize].call < until);
        ops.sort_unstable();
        ops.dedup();
        ops
    }

    fn violation_until(
        &mut self,
        history: &History,
        keys: &[u32],
        until: u32,
        budget: Budget,
    ) -> Violation {
        let prefix = self.prefix(history, keys, until);
        let at = prefix.iter().find(|&&op| history.records[op as usize].ret == until);
        let at = *at.expect("the prefix ends with an answer");
        let core = self.core(history, keys, until, &prefix, at, budget);
        let of_core = |key: &u32| {
            self.touches.of(*key).iter().any(|touch| core.binary_search(&touch.op).is_ok())
        };
        let mut keys: Vec<u32> = keys.iter().copied().filter(of_core).collect();
        keys.sort_by_key(|&key| &history.keys[key as usize].bytes);
        let prefix = self.prefix(history, &keys, until);
        let listing = listing(history, &keys, until, &prefix, &core, at);
        let bytes = |key: &u32| history.keys[*key as usize].bytes.to_vec();
        let ids = |ops: &[u32]| ops.iter().map(|&op| OpId(op)).collect();
        Violation {
            keys: keys.iter().map(bytes).collect(),
            at: OpId(at),
            prefix: ids(&prefix),
            core: ids(&core),
            listing,
        }
    }

    /// Takes operations out of the prefix as long as what remains has no order.
    fn core(
        &mut self,
        history: &History,
        keys: &[u32],
        until: u32,
        prefix: &[u32],
        at: u32,
        budget: Budget,
    ) -> Vec<u32> {
        let mut without = vec![false; history.len()];
        let mut trials = TRIALS_MAX;
        loop {
            let mut removed = false;
            for writes in [false, true] {
                let mut open = self.removable(history, keys, prefix, &without, writes);
                open.retain(|&op| op != at);
                let mut size = open.len();
                while size > 0 {
                    open.retain(|&op| !without[op as usize]);
                    for part in open.chunks(size) {
                        if trials == 0 {
                            break;
                        }
                        trials -= 1;
                        part.iter().for_each(|&op| without[op as usize] = true);
                        let cut = Cut { until, without: &without };
                        if self.judge(history, keys, cut, budget) == Found::NoOrder {
                            removed = true;
                        } else {
                            part.iter().for_each(|&op| without[op as usize] = false);
                        }
                    }
                    size /= 2;
                }
            }
            if !removed || trials == 0 {
                break;
            }
        }
        prefix.iter().copied().filter(|&op| !without[op as usize]).collect()
    }

    /// The operations that may be taken out: those that only see, or (`writes`) those that set what none of the
    /// others sees.
    fn removable(
        &self,
        history: &History,
        keys: &[u32],
        prefix: &[u32],
        without: &[bool],
        writes: bool,
    ) -> Vec<u32> {
        let mut kept = vec![false; history.len()];
        prefix.iter().for_each(|&op| kept[op as usize] = !without[op as usize]);
        let touches = || {
            keys.iter()
                .flat_map(|&key| self.touches.of(key))
                .filter(|touch| kept[touch.op as usize])
        };
        let mut sets = vec![false; history.len()];
        let mut seen = vec![false; history.pairs.len()];
        let mut missed = vec![false; history.keys.len()];
        for touch in touches() {
            sets[touch.op as usize] |= touch.sets != NONE;
            if touch.sees != NONE {
                seen[touch.sees as usize] = true;
            }
            missed[touch.key as usize] |= touch.misses != NONE;
        }
        let mut needed = vec![false; history.len()];
        for touch in touches().filter(|touch| touch.sets != NONE) {
            needed[touch.op as usize] |= seen[touch.sets as usize] || missed[touch.key as usize];
        }
        let mut found: Vec<u32> = Vec::new();
        found.extend(prefix.iter().filter(|&&op| {
            let op = op as usize;
            kept[op] && sets[op] == writes && !(writes && needed[op])
        }));
        found
    }
}

/// The violation as people read it.
fn listing(
    history: &History,
    keys: &[u32],
    until: u32,
    prefix: &[u32],
    core: &[u32],
    at: u32,
) -> String {
    let mut text = String::from("no order of operations explains what clients saw of");
    for &key in keys {
        let bytes = history.keys[key as usize].bytes.escape_ascii();
        write!(text, " \"{bytes}\"").expect("a string takes all");
    }
    let time = history.records[at as usize].completed.unwrap_or_default();
    writeln!(text, ", since #{at} completed at {time}; these contradict each other:")
        .expect("a string takes all");
    for &op in core {
        line(&mut text, history, op, until, op == at);
    }
    if prefix.len() > core.len() {
        let shown = &prefix[prefix.len().saturating_sub(LISTED_MAX)..];
        writeln!(text, "the last {} of {} operations there by then:", shown.len(), prefix.len())
            .expect("a string takes all");
        for &op in shown {
            line(&mut text, history, op, until, op == at);
        }
    }
    text
}

fn line(text: &mut String, history: &History, op: u32, until: u32, last: bool) {
    let record = &history.records[op as usize];
    let Record { client, invoked, .. } = record;
    let end = match record.completed {
        Some(time) if record.ret <= until => time.to_string(),
        Some(time) => format!("{time}, later"),
        None => String::new(),
    };
    let mark = if last { "  <-- here" } else { "" };
    writeln!(text, "  #{op} client {client} [{invoked}..{end}] {}{mark}", Told(history, record))
        .expect("a string takes all");
}

/// An operation and its answer, for people.
struct Told<'a>(&'a History, &'a Record);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(history, record) = *self;
        let key = |pair: u32| history.key_bytes(pair).escape_ascii();
        let value = |pair: u32| Value(history.value(pair));
        match &record.action {
            Action::Get { key } => {
                write!(f, "get {}", history.keys[*key as usize].bytes.escape_ascii())?;
            }
            Action::Write { pair, delete: true } => write!(f, "delete {}", key(*pair))?,
            Action::Write { pair, .. } => write!(f, "put {} = {}", key(*pair), value(*pair))?,
            Action::CompareAndSet { expected, new } => {
                write!(f, "cas {} from {}", key(*expected), value(*expected))?;
                write!(f, " to {}", value(*new))?;
            }
            Action::Batch { pairs } => {
                f.write_str("batch")?;
                for &pair in &history.lists[pairs.clone()] {
                    write!(f, " {} = {}", key(pair), value(pair))?;
                }
            }
            Action::Scan { start, end, view } => {
                let end = end.as_deref().unwrap_or_default().escape_ascii();
                let each = if *view == View::PerKey { " each key" } else { "" };
                write!(f, "scan [{}, {end}){each}", start.escape_ascii())?;
            }
        }
        match &record.answer {
            Answer::Unknown => f.write_str(": unknown"),
            Answer::NotApplied => f.write_str(": not applied"),
            Answer::Written => f.write_str(": done"),
            Answer::Value { pair } => write!(f, ": {}", value(*pair)),
            Answer::Swapped(swapped) => write!(f, ": {swapped}"),
            Answer::Page { pairs, next } => {
                f.write_str(":")?;
                for &pair in &history.lists[pairs.clone()] {
                    write!(f, " {} = {}", key(pair), value(pair))?;
                }
                next.iter().try_for_each(|next| write!(f, ", up to {}", next.escape_ascii()))
            }
        }
    }
}

struct Value<'a>(Option<&'a [u8]>);

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            None => f.write_str("nothing"),
        }
    }
}
