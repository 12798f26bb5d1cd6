//! What was acknowledged, kept so small that keeping it does not disturb what is measured.
//!
//! A write that was acknowledged must be there in the end. The machines that forget nothing (`null`, `memory`)
//! are asked how many writes each group holds and what their hashes sum to: both must be exactly what was
//! acknowledged. `kv` keeps the last write of each key, and so does this ledger: the one with the highest index
//! in the group's log.
//!
//! A write whose outcome is unknown may be there or not; it turns equalities into bounds, for its group and its
//! key alone.

use crate::workload::Op;

/// What one group has taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupAcks {
    /// Writes acknowledged.
    pub(crate) writes: u64,
    /// Writes whose outcome is unknown.
    pub(crate) unknown: u64,
    /// The wrapping sum of the hashes of all writes issued. Each of them ends acknowledged or unknown.
    pub(crate) hashes: u64,
}

/// The last acknowledged write to a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LastWrite {
    /// Its index in the log; zero when there is none.
    pub(crate) index: u64,
    pub(crate) op: Op,
    /// Whether there is a write with unknown outcome, which may come after it.
    pub(crate) blurred: bool,
}

impl LastWrite {
    #[inline]
    fn note(&mut self, index: u64, op: Op) {
        if index > self.index {
            self.index = index;
            self.op = op;
        }
    }
}

/// What was acknowledged to the clients of one thread.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    /// By place of the slot in the thread's share.
    pub(crate) groups: Vec<GroupAcks>,
    /// By place of the slot, and place of the key in its list of keys; empty when there are no keys.
    pub(crate) keys: Vec<Vec<LastWrite>>,
}

impl Ledger {
    /// An empty ledger for slots with so many keys each.
    pub(crate) fn new(keys_of_slots: impl Iterator<Item = usize>) -> Self {
        let keys: Vec<_> = keys_of_slots.map(|keys| vec![LastWrite::default(); keys]).collect();
        Self { groups: vec![GroupAcks::default(); keys.len()], keys }
    }

    /// A write was issued for the first time; its payload hashes to `hash`.
    #[inline]
    pub(crate) fn issued(&mut self, place: usize, hash: u64) {
        let group = &mut self.groups[place];
        group.hashes = group.hashes.wrapping_add(hash);
    }

    /// `writes` writes of one slot were acknowledged.
    #[inline]
    pub(crate) fn acknowledged(&mut self, place: usize, writes: u64) {
        self.groups[place].writes += writes;
    }

    /// The write `op` to a key was acknowledged at `index`.
    #[inline]
    pub(crate) fn key_written(&mut self, place: usize, key: usize, op: Op, index: u64) {
        self.keys[place][key].note(index, op);
    }

    /// Nobody knows what became of a write, to the given key if any.
    pub(crate) fn unknown(&mut self, place: usize, key: Option<usize>) {
        self.groups[place].unknown += 1;
        if let Some(key) = key {
            self.keys[place][key].blurred = true;
        }
    }

    /// `requests` requests of a slot were not waited for any longer; which keys they were for is not kept.
    pub(crate) fn given_up(&mut self, place: usize, requests: u64) {
        if requests == 0 {
            return;
        }
        self.groups[place].unknown += requests;
        for key in &mut self.keys[place] {
            key.blurred = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(client: u32, sequence: u32) -> Op {
        Op { client, sequence }
    }

    #[test]
    fn the_last_write_is_the_one_with_the_highest_index() {
        let mut ledger = Ledger::new([3].into_iter());
        ledger.key_written(0, 2, op(1, 3), 12);
        ledger.key_written(0, 2, op(0, 9), 9);
        assert_eq!((ledger.keys[0][2].op, ledger.keys[0][2].index), (op(1, 3), 12));
        assert_eq!(ledger.keys[0][0].index, 0);
    }

    #[test]
    fn an_unknown_outcome_blurs_its_own_key_only() {
        let mut ledger = Ledger::new([2].into_iter());
        ledger.issued(0, u64::MAX);
        ledger.issued(0, 3);
        ledger.unknown(0, Some(0));
        assert_eq!(ledger.groups[0], GroupAcks { writes: 0, unknown: 1, hashes: 2 });
        assert!(ledger.keys[0][0].blurred && !ledger.keys[0][1].blurred);
    }
}
