//! The null machine, counted: what a verification must know and the machine itself tells nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kontiki::machine::{
    Answers, FlushJob, MachineContext, MachineError, NullMachine, StateMachine,
};
use kontiki_net::Block;
use kontiki_raft::Index;

/// Entries applied, by group; shared by the shards of one node.
#[derive(Clone, Debug)]
pub(crate) struct EntryCounts(Arc<Vec<AtomicU64>>);

impl EntryCounts {
    /// Counts for groups 1 to `groups`.
    pub(crate) fn new(groups: u64) -> Self {
        Self(Arc::new((0..=groups).map(|_| AtomicU64::new(0)).collect()))
    }

    /// Entries that `group` has applied.
    pub(crate) fn get(&self, group: u64) -> u64 {
        self.of(group).load(Ordering::Acquire)
    }

    fn of(&self, group: u64) -> &AtomicU64 {
        &self.0[usize::try_from(group).expect("few groups")]
    }
}

/// A null machine whose counts others may read.
#[derive(Debug)]
pub(crate) struct CountedNull {
    machine: NullMachine,
    counts: EntryCounts,
}

impl CountedNull {
    pub(crate) fn open(context: MachineContext, counts: EntryCounts) -> Result<Self, MachineError> {
        Ok(Self { machine: NullMachine::open(context)?, counts })
    }
}

impl StateMachine for CountedNull {
    fn applied(&self, group: u64) -> Index {
        self.machine.applied(group)
    }

    fn apply(&mut self, block: &Block<'_>, answers: &mut Answers) {
        self.machine.apply(block, answers);
        // One shard writes a group's count, so that a load and a store lose nothing.
        let count = self.counts.of(block.group());
        count.store(count.load(Ordering::Relaxed) + u64::from(block.count()), Ordering::Release);
    }

    fn skip(&mut self, group: u64, index: Index) {
        self.machine.skip(group, index);
    }

    fn flush(&mut self) -> Result<FlushJob, MachineError> {
        self.machine.flush()
    }

    fn digest(&self, group: u64) -> u64 {
        self.machine.digest(group)
    }
}
