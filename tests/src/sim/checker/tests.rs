//! Histories whose verdict is known, and histories drawn at random whose verdict a checker without any cleverness
//! gives.

mod brute;
mod known;
mod many;
mod random;

use super::{History, Op, OpId, Outcome, Reply, View};

/// Records events one unit of time apart.
#[derive(Default)]
struct Recorder {
    history: History,
    time: u64,
}

impl Recorder {
    fn invoke(&mut self, client: u64, op: Op<'_>) -> OpId {
        self.time += 10;
        self.history.invoke(client, op, self.time)
    }

    fn complete(&mut self, id: OpId, outcome: Outcome<'_>) {
        self.time += 10;
        self.history.complete(id, outcome, self.time);
    }

    /// An operation that is completed before anything else happens.
    fn done(&mut self, client: u64, op: Op<'_>, reply: Reply<'_>) -> OpId {
        let id = self.invoke(client, op);
        self.complete(id, Outcome::Done(reply));
        id
    }

    fn put(&mut self, key: &str, value: &str) -> OpId {
        self.done(0, Op::Put(key.as_bytes(), value.as_bytes()), Reply::Written)
    }

    fn get(&mut self, key: &str, value: Option<&str>) -> OpId {
        let reply = Reply::Value(value.map(str::as_bytes));
        self.done(1, Op::Get(key.as_bytes()), reply)
    }

    fn cas(&mut self, key: &str, expected: Option<&str>, new: &str, swapped: bool) -> OpId {
        self.done(2, cas(key, expected, new), Reply::Swapped(swapped))
    }

    fn scan(&mut self, view: View, pairs: &[(&str, &str)]) -> OpId {
        let id = self.invoke(3, Op::Scan { start: b"", end: None, view });
        self.found(id, pairs, None);
        id
    }

    fn found(&mut self, id: OpId, pairs: &[(&str, &str)], next: Option<&str>) {
        let entries: Vec<_> =
            pairs.iter().map(|(k, v)| (k.as_bytes().to_vec(), v.as_bytes().to_vec())).collect();
        let next = next.map(str::as_bytes);
        self.complete(id, Outcome::Done(Reply::Page { entries: &entries, next }));
    }
}

fn cas<'a>(key: &'a str, expected: Option<&'a str>, new: &'a str) -> Op<'a> {
    Op::CompareAndSet {
        key: key.as_bytes(),
        expected: expected.map(str::as_bytes),
        new: Some(new.as_bytes()),
    }
}

/// Numbers that look random and are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % bound
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}
