//! How much the search does: configurations counted, since time would depend on the machine.

use std::collections::BTreeMap;

use super::super::{Budget, Op, OpId, Outcome, Reply, View};
use super::{Dice, Recorder};

/// A recorder of `clients` that each have at most one operation under way on a real map.
struct Load {
    recorder: Recorder,
    dice: Dice,
    map: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What each client has under way: its number, and its answer once it took effect.
    open: Vec<Option<(OpId, Kind, Option<Answer>)>>,
    keys: u64,
    unique: bool,
    written: u64,
}

#[derive(Clone)]
enum Kind {
    Get(Vec<u8>),
    Put(Vec<u8>, Vec<u8>),
}

#[derive(Clone)]
enum Answer {
    Written,
    Value(Option<Vec<u8>>),
}

impl Load {
    fn new(seed: u64, clients: usize, keys: u64, unique: bool) -> Self {
        let (recorder, dice) = (Recorder::default(), Dice(seed));
        let (map, open) = (BTreeMap::new(), vec![None; clients]);
        Self { recorder, dice, map, open, keys, unique, written: 0 }
    }

    /// Each step sends, applies or answers something of a client drawn at random; one in `unknown` answers never
    /// comes, and its operation took effect, or not.
    fn run(&mut self, ops: usize, unknown: u64) {
        while self.recorder.history.len() < ops {
            let client = usize::try_from(self.dice.below(self.open.len() as u64)).unwrap();
            match self.open[client].take() {
                None => self.send(client),
                Some((id, kind, None)) => {
                    if unknown > 0 && self.dice.one_in(2 * unknown) {
                        self.recorder.complete(id, Outcome::Unknown);
                        continue;
                    }
                    let answer = match &kind {
                        Kind::Get(key) => Answer::Value(self.map.get(key).cloned()),
                        Kind::Put(key, value) => {
                            self.map.insert(key.clone(), value.clone());
                            Answer::Written
                        }
                    };
                    self.open[client] = Some((id, kind, Some(answer)));
                }
                Some((id, _, Some(answer))) => {
                    let outcome = match &answer {
                        _ if unknown > 0 && self.dice.one_in(2 * unknown) => Outcome::Unknown,
                        Answer::Written => Outcome::Done(Reply::Written),
                        Answer::Value(value) => Outcome::Done(Reply::Value(value.as_deref())),
                    };
                    self.recorder.complete(id, outcome);
                }
            }
        }
    }

    fn send(&mut self, client: usize) {
        let key = format!("key{}", self.dice.below(self.keys)).into_bytes();
        let (op, kind) = if self.dice.one_in(2) {
            (Op::Get(&key), Kind::Get(key.clone()))
        } else {
            self.written += 1;
            let value = if self.unique { self.written } else { self.dice.below(3) };
            let kind = Kind::Put(key.clone(), value.to_string().into_bytes());
            let Kind::Put(_, value) = &kind else { unreachable!() };
            let id = self.recorder.invoke(client as u64, Op::Put(&key, value));
            self.open[client] = Some((id, kind, None));
            return;
        };
        let id = self.recorder.invoke(client as u64, op);
        self.open[client] = Some((id, kind, None));
    }

    fn configurations(&self) -> u64 {
        let checked = self.recorder.history.check(Budget::default()).unwrap();
        assert!(checked.is_complete(), "{checked:?}");
        checked.configurations
    }
}

#[test]
fn each_write_is_placed_about_once_when_few_overlap() {
    let mut load = Load::new(1, 4, 20, true);
    load.run(100_000, 0);
    let configurations = load.configurations();
    assert!(configurations <= load.written * 11 / 10, "{configurations} for {}", load.written);
}

#[test]
fn one_hot_key_costs_a_small_factor() {
    for (seed, unique) in [(2, true), (3, false)] {
        let mut load = Load::new(seed, 8, 1, unique);
        load.run(100_000, 0);
        let configurations = load.configurations();
        assert!(configurations <= load.written * 3, "{configurations} for {}", load.written);
    }
}

#[test]
fn unknown_outcomes_do_not_multiply() {
    for (seed, unique) in [(4, true), (5, false)] {
        let mut load = Load::new(seed, 6, 2, unique);
        load.run(20_000, 20);
        let configurations = load.configurations();
        assert!(configurations <= load.written * 4, "{configurations} for {}", load.written);
    }
}

#[test]
fn unknown_writes_that_nobody_saw_cost_nothing() {
    let mut r = Recorder::default();
    for at in 0..1000_u32 {
        r.invoke(7, Op::Put(b"a", &at.to_le_bytes()));
    }
    r.put("a", "1");
    r.get("a", Some("1"));
    assert_eq!(r.history.check(Budget::default()).unwrap().configurations, 1);
}

#[test]
fn unknown_deletes_that_may_all_be_needed_are_placed_in_one_order() {
    // Sixty deletes without an answer, and a key that keeps vanishing: thirty of them happened.
    let mut r = Recorder::default();
    for _ in 0..60 {
        r.invoke(7, Op::Delete(b"a"));
    }
    for _ in 0..30 {
        r.put("a", "1");
        r.get("a", Some("1"));
        r.get("a", None);
    }
    let checked = r.history.check(Budget::default()).unwrap();
    assert!(checked.configurations <= 100, "{checked:?}");
    // The sixty-first cannot have.
    for _ in 0..31 {
        r.put("a", "1");
        r.get("a", None);
    }
    let violation = r.history.check(Budget::default()).unwrap_err();
    assert!(violation.to_string().contains("<-- here"));
}

#[test]
fn a_wrong_history_of_many_clients_is_refused_within_the_budget() {
    let mut load = Load::new(6, 8, 3, true);
    load.run(5_000, 50);
    let first = load.recorder.history.check(Budget::default()).unwrap();
    assert!(first.is_complete());
    load.recorder.put("key1", "fresh");
    load.recorder.put("key1", "fresher");
    let stale = load.recorder.get("key1", Some("fresh"));
    let violation = load.recorder.history.check(Budget::default()).unwrap_err();
    assert_eq!((violation.at, violation.core.len()), (stale, 3), "{violation}");
}

#[test]
fn keys_that_scans_connect_are_searched_within_the_budget() {
    let mut load = Load::new(7, 5, 8, true);
    for _ in 0..100 {
        let ops = load.recorder.history.len();
        load.run(ops + 50, 40);
        let scan = Op::Scan { start: b"", end: None, view: View::Whole };
        let id = load.recorder.invoke(99, scan);
        let entries: Vec<_> = load.map.clone().into_iter().collect();
        let reply = Reply::Page { entries: &entries, next: None };
        load.recorder.complete(id, Outcome::Done(reply));
    }
    let checked = load.recorder.history.check(Budget::default()).unwrap();
    assert!(checked.is_complete(), "{checked:?}");
    assert_eq!(checked.partitions, 9);
    assert!(checked.configurations <= load.written * 8, "{checked:?} for {}", load.written);
}
