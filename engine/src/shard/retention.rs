//! What the log still needs, and letting go of the rest.
//!
//! A flush cycle notes what each replica has applied, makes the machine's state durable, and only then tells
//! the shard ([`Shard::durable`]). The log of a group is compacted up to that, but never past what every member
//! is known to hold (the floor), since a member that lacks an entry can only get it from a log.
//!
//! The new compacted positions are written in the same batch as the deletion of the batches that died by them.

use kontiki_raft::Index;

use super::Shard;
use super::output::{Output, Retention};
use crate::planted::{self, Bug};

/// What each replica had applied when a flush cycle began.
#[derive(Debug)]
pub struct AppliedMarks(Vec<(u32, Index)>);

impl Shard {
    /// Begins a flush cycle: what is applied now.
    #[must_use]
    pub fn applied_marks(&self) -> AppliedMarks {
        let applied = |&slot: &u32| (slot, self.replicas[slot as usize].applied());
        AppliedMarks(self.logged.iter().map(applied).collect())
    }

    /// Input: everything applied up to `marks` is durable in the machine.
    pub fn durable(&mut self, marks: &AppliedMarks, out: &mut Output) {
        for &(slot, durable) in &marks.0 {
            let replica = &mut self.replicas[slot as usize];
            let wrong = planted::has(Bug::CompactPastDurable);
            let durable = if wrong { replica.applied() } else { durable };
            let limit = durable.min(replica.raft.log_floor());
            let Some(through) = replica.log.boundary_at_or_before(limit) else { continue };
            let position = replica.raft.on_compacted(through);
            assert!(
                position.index <= durable,
                "group {}: compacted {position:?} past the durable applied index {durable:?}",
                replica.group
            );
            let (rounds, building) = (&mut self.rounds, &mut self.building);
            replica.log.compact(through, |dead| Self::release(rounds, building, dead.round));
            self.push_record(slot);
            out.counts.compactions += 1;
        }
        let replicas = &mut self.replicas;
        self.logged.retain(|&slot| !replicas[slot as usize].log.shrink());
        if self.logged.is_empty() {
            self.logged = Vec::new(); // A list of all replicas is not kept for the few that come next.
        }
        if let Some(retention) = self.rounds.drop_dead() {
            self.building.retention = Some(retention);
        }
    }

    /// Bytes of rounds that the log still needs.
    #[must_use]
    pub fn retained_bytes(&self) -> u64 {
        self.rounds.retained_bytes()
    }

    /// What the shard needs of the log now.
    #[must_use]
    pub fn retention(&self) -> Retention {
        self.rounds.retention()
    }

    /// Bytes of rounds in memory.
    #[must_use]
    pub fn cached_bytes(&self) -> usize {
        self.rounds.cached_bytes()
    }
}
