//! The disk of a node, as values: the log with what is synced and what is only written, and the state without a log.
//!
//! Deliberately absent: bytes and pages. `MemoryLog` keeps whole batches.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use kontiki::kv::record::AppliedRecord;
use kontiki::machine::MachineError;
use kontiki::parts::{StateStore, StateView, StateVisitor, StateWrites};

type Pairs = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

#[derive(Clone, Debug, Default)]
struct Image {
    pairs: BTreeMap<Vec<u8>, Vec<u8>>,
    records: BTreeMap<u64, AppliedRecord>,
}

impl Image {
    fn apply(&mut self, pairs: &Pairs, records: &[(u64, AppliedRecord)]) {
        for (key, value) in pairs {
            match value {
                Some(value) => self.pairs.insert(key.clone(), value.clone()),
                None => self.pairs.remove(key),
            };
        }
        self.records.extend(records.iter().copied());
    }
}

#[derive(Debug, Default)]
struct Inner {
    /// What a crash leaves in any case.
    durable: Image,
    /// What was written since, in order.
    batches: VecDeque<(Pairs, Vec<(u64, AppliedRecord)>)>,
    now: Image,
}

/// The state database of a node; a cheap handle.
#[derive(Clone, Debug, Default)]
pub struct SimState(Arc<Mutex<Inner>>);

impl SimState {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("one thread, which ends with its first panic")
    }

    /// How far `group` is durably applied.
    #[must_use]
    pub fn durable_applied(&self, group: u64) -> u64 {
        self.lock().durable.records.get(&group).map_or(0, |record| record.applied.0)
    }

    /// Batches that a crash may lose.
    #[must_use]
    pub fn unflushed(&self) -> usize {
        self.lock().batches.len()
    }

    /// What a new process finds after a crash: the first `kept` of the batches that were not flushed.
    #[must_use]
    pub fn crash(&self, kept: usize) -> Self {
        let mut inner = self.lock();
        let mut left = std::mem::take(&mut inner.durable);
        for (pairs, records) in inner.batches.drain(..).take(kept) {
            left.apply(&pairs, &records);
        }
        let (durable, now) = (left.clone(), left);
        Self(Arc::new(Mutex::new(Inner { durable, now, batches: VecDeque::new() })))
    }
}

impl StateStore for SimState {
    fn applied(&self, group: u64) -> Result<AppliedRecord, MachineError> {
        Ok(self.lock().now.records.get(&group).copied().unwrap_or_default())
    }

    fn write(
        &self,
        _: usize,
        writes: &mut StateWrites<'_>,
        records: &[(u64, AppliedRecord)],
    ) -> Result<(), MachineError> {
        // Keys come with the tag that the database's key has.
        let pairs: Pairs =
            writes.map(|(key, value)| (key[1..].to_vec(), value.map(<[u8]>::to_vec))).collect();
        let mut inner = self.lock();
        inner.now.apply(&pairs, records);
        inner.batches.push_back((pairs, records.to_vec()));
        Ok(())
    }

    fn flush(&self) -> Result<(), MachineError> {
        let mut guard = self.lock();
        let Inner { durable, batches, .. } = &mut *guard;
        for (pairs, records) in batches.drain(..) {
            durable.apply(&pairs, &records);
        }
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MachineError> {
        Ok(self.lock().now.pairs.get(key).cloned())
    }

    fn view(&self) -> Box<dyn StateView + '_> {
        Box::new(Moment(self.lock().now.pairs.clone()))
    }
}

struct Moment(BTreeMap<Vec<u8>, Vec<u8>>);

impl StateView for Moment {
    fn scan(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        visit: &mut StateVisitor<'_>,
    ) -> Result<(), MachineError> {
        let from = self.0.range(start.to_vec()..);
        for (key, value) in from.take_while(|(key, _)| end.is_none_or(|end| key.as_slice() < end)) {
            if !visit(key, value) {
                break;
            }
        }
        Ok(())
    }
}
