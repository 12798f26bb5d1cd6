//! The state machine of the key-value store: committed blocks of a shard's groups go into its overlay.
//!
//! An apply is memory work. When the active overlay is full at the end of a block it is sealed and queued for
//! the state writer, together with the new applied positions of all groups it changes; so what a crash leaves
//! always ends at a block boundary. While too many sealed overlays wait, `may_apply` is false.
//!
//! A committed command that is malformed changes nothing and is answered with [`ANSWER_BAD_COMMAND`], on every
//! replica alike; it counts in the digest like any other.
//! Deliberately absent: a check that keys belong to the group's range. Whoever proposes has routed them; epochs
//! will be checked here when ranges can change.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use kontiki_net::Block;
use kontiki_raft::Index;

use super::command::{Command, Op};
use super::layers::{Layers, ShardLayers};
use super::record::AppliedRecord;
use super::view::ShardView;
use super::writer::StateWriterHandle;
use crate::machine::fold::{hash_bytes, step};
use crate::machine::groups::Groups;
use crate::machine::{Answers, FlushJob, MachineContext, MachineError, StateMachine};

/// The answer to a command whose bytes are no command.
pub const ANSWER_BAD_COMMAND: u8 = 1;

/// Applies commands to the key-value state of one shard.
#[derive(Debug)]
pub struct KvMachine {
    groups: Groups<Group>,
    /// Positions of the groups that the active overlay brings forward.
    changed: Vec<u32>,
    shared: Arc<ShardLayers>,
    writer: StateWriterHandle,
}

#[derive(Debug, Default)]
struct Group {
    opened: Index,
    record: AppliedRecord,
    changed: bool,
}

impl KvMachine {
    /// Opens the machine of one shard on the state database of `writer`.
    ///
    /// # Errors
    /// When the applied record of a group cannot be read, or is damaged.
    pub fn open(ctx: &MachineContext, writer: StateWriterHandle) -> Result<Self, MachineError> {
        let mut groups = Groups::<Group>::new(&ctx.groups);
        for &group in ctx.groups.iter() {
            let record = writer.state().applied(group)?;
            *groups.entry(group) = Group { opened: record.applied, record, changed: false };
        }
        let seed = RandomState::new().hash_one(ctx.shard);
        let shared = Arc::new(ShardLayers::new(seed, ctx.wake.clone()));
        Ok(Self { groups, changed: Vec::new(), shared, writer })
    }

    /// Reads of this shard, from any thread.
    #[must_use]
    pub fn view(&self) -> ShardView {
        ShardView::new(Arc::clone(self.writer.state()), Arc::clone(&self.shared))
    }

    /// Marks a group as brought forward by the active overlay.
    #[inline]
    fn change(&mut self, id: u64) -> &mut Group {
        let position = self.groups.position(id);
        let (_, group) = self.groups.at_mut(position);
        if !std::mem::replace(&mut group.changed, true) {
            self.changed.push(u32::try_from(position).expect("fewer than 2^32 groups"));
        }
        group
    }

    fn seal(&mut self) {
        let mut records = Vec::with_capacity(self.changed.len());
        for position in self.changed.drain(..) {
            let (id, group) = self.groups.at_mut(position as usize);
            group.changed = false;
            records.push((id, group.record));
        }
        let sealed = self.shared.seal(records);
        self.writer.write(&self.shared, sealed);
    }
}

impl StateMachine for KvMachine {
    fn applied(&self, group: u64) -> Index {
        self.groups.get(group).map_or(Index::ZERO, |group| group.opened)
    }

    fn apply(&mut self, block: &Block<'_>, answers: &mut Answers) {
        let id = block.group();
        let record = &mut self.change(id).record;
        let applied = record.applied;
        assert!(
            block.first() == applied.next(),
            "group {id} is applied up to {applied:?}, got {:?}",
            block.first()
        );
        record.applied = block.last();
        record.commands += u64::from(block.count());
        let mut digest = record.digest;
        let shared = Arc::clone(&self.shared);
        let mut layers = shared.layers.write();
        let Layers { active, .. } = &mut *layers;
        for (entry, payload) in (0u32..).zip(block.entries()) {
            digest = step(digest, block.first().advanced(entry).0, hash_bytes(0, payload));
            let Ok(command) = Command::parse(payload) else {
                answers.set(entry, &[ANSWER_BAD_COMMAND]);
                continue;
            };
            for op in command.ops() {
                match op {
                    Op::Put { key, value } => active.set(key, Some(value)),
                    Op::Delete { key } => active.set(key, None),
                }
            }
        }
        let full = active.is_full();
        drop(layers);
        self.groups.entry(id).record.digest = digest;
        if full {
            self.seal();
        }
    }

    fn skip(&mut self, group: u64, index: Index) {
        let applied = &mut self.change(group).record.applied;
        assert!(
            index == applied.next(),
            "group {group} is applied up to {applied:?}, got {index:?}"
        );
        *applied = index;
    }

    fn may_apply(&self) -> bool {
        self.shared.has_room()
    }

    fn flush(&mut self) -> Result<FlushJob, MachineError> {
        if !self.changed.is_empty() {
            self.seal();
        }
        Ok(Box::new(self.writer.flush()))
    }

    fn digest(&self, group: u64) -> u64 {
        self.groups.get(group).map_or(0, |group| group.record.digest)
    }
}

#[cfg(feature = "rocks")]
#[cfg(test)]
mod tests;
