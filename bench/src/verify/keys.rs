//! The state of a key-value node against what was acknowledged: one scan of everything it holds.
//!
//! A scan finds more than reading back would: also what nobody wrote, and writes that were refused and took
//! effect nevertheless.

use kontiki::Store;

use super::{Verdict, key_fault};
use crate::driver::Outcome;
use crate::driver::ledger::LastWrite;
use crate::schedule::Share;
use crate::workload::{KeySpace, Op, Workload};

/// How many pairs are looked at in one go.
const PAGE: usize = 4096;

/// What each key must hold.
#[derive(Debug)]
pub(super) struct Expected<'a> {
    keys: &'a KeySpace,
    workload: &'a Workload,
    /// By the number of the key.
    last: Vec<LastWrite>,
}

impl<'a> Expected<'a> {
    pub(super) fn new(
        keys: &'a KeySpace,
        workload: &'a Workload,
        outcomes: &[(Share, Outcome)],
    ) -> Self {
        let mut last = vec![LastWrite::default(); keys.keys() as usize];
        for (share, outcome) in outcomes {
            for (&slot, of_slot) in share.slots.iter().zip(&outcome.ledger.keys) {
                for (&number, &write) in keys.of_slot(slot as usize).iter().zip(of_slot) {
                    last[number as usize] = write;
                }
            }
        }
        Self { keys, workload, last }
    }

    /// Compares all that one node holds.
    pub(super) fn check(&self, store: &Store, verdict: &mut Verdict) {
        let node = store.engine().node_id();
        let mut seen = vec![false; self.last.len()];
        let mut next = Some(Vec::new());
        while let Some(start) = next.take() {
            match store.view().scan(&start, None, PAGE) {
                Ok(page) => {
                    for (key, value) in &page.entries {
                        if let Some(why) = self.fault(key, value, &mut seen) {
                            verdict.fault(|| format!("node {node}: {why}"));
                        }
                    }
                    next = page.next;
                }
                Err(e) => verdict.fault(|| format!("node {node} cannot be read: {e}")),
            }
        }
        for (number, (last, seen)) in self.last.iter().zip(seen).enumerate() {
            if last.index > 0 && !seen {
                verdict.fault(|| format!("node {node}: key {number}: {:?} is lost", last.op));
            }
        }
    }

    fn fault(&self, key: &[u8], value: &[u8], seen: &mut [bool]) -> Option<String> {
        let number = self.keys.number_of(key).filter(|&n| n < self.keys.keys());
        let Some(number) = number else {
            return Some(format!("key {key:x?} is none that was written"));
        };
        seen[number as usize] = true;
        let last = &self.last[number as usize];
        if last.index == 0 && !last.blurred {
            let op = Op::of_value(value);
            return Some(format!("key {number} holds {op:?}, and no write to it was acknowledged"));
        }
        let why = key_fault(self.workload, last, Some(value), &mut Vec::new())?;
        Some(format!("key {number}: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Mix;

    #[test]
    fn strange_unwritten_and_outdated_keys_are_faults() {
        let keys = KeySpace::new(1, 10, 16, 1, |_| Some(0));
        let workload = Workload::new(1, Mix { put: 1, get: 0 }, 32);
        let bytes = |number: u32, op: Op| {
            let (mut key, mut value) = (Vec::new(), Vec::new());
            keys.write_key(number, &mut key);
            workload.write_value(op, &mut value);
            (key, value)
        };
        let op = Op { client: 0, sequence: 5 };
        let mut last = vec![LastWrite::default(); 10];
        last[3] = LastWrite { index: 7, op, blurred: false };
        last[4] = LastWrite { index: 0, op: Op::default(), blurred: true };
        let expected = Expected { keys: &keys, workload: &workload, last };
        let mut seen = vec![false; 10];
        let mut fault = |number, op| {
            let (key, value) = bytes(number, op);
            expected.fault(&key, &value, &mut seen)
        };
        assert_eq!(fault(3, op), None);
        assert!(fault(3, Op { client: 0, sequence: 4 }).unwrap().contains("last acknowledged"));
        assert!(fault(2, op).unwrap().contains("no write"));
        assert_eq!(fault(4, op), None, "an unknown outcome may have taken effect");
        assert!(fault(11, op).unwrap().contains("none that was written"));
        assert!(seen[3] && seen[2] && seen[4] && !seen[0]);
        assert!(expected.fault(b"alien", b"", &mut seen).is_some());
    }
}
