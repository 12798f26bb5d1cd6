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
use super::overlay::{OVERLAY_BYTES_MAX, OVERLAY_KEYS_MAX};
use super::record::AppliedRecord;
use super::view::ShardView;
use super::writer::StateWriterHandle;
use crate::machine::fold::{hash_bytes, step};
use crate::machine::groups::Groups;
use crate::machine::{Answers, FlushJob, MachineContext, MachineError, StateMachine};

/// The answer to a command whose bytes are no command.
pub const ANSWER_BAD_COMMAND: u8 = 1;

/// Places kept in the list of changed groups when it is emptied; an opening brings all groups forward at once.
const CHANGED_KEPT: usize = 4096;

/// Applies commands to the key-value state of one shard.
#[derive(Debug)]
pub struct KvMachine {
    groups: Groups<AppliedRecord>,
    /// Positions of the groups that the active overlay brings forward, and a bit per group that is among them.
    changed: Vec<u32>,
    marks: Vec<u64>,
    shared: Arc<ShardLayers>,
    writer: StateWriterHandle,
    keys_max: usize,
    bytes_max: usize,
}

impl KvMachine {
    /// Opens the machine of one shard on the state database of `writer`.
    ///
    /// # Errors
    /// When the applied record of a group cannot be read, or is damaged.
    pub fn open(ctx: &MachineContext, writer: StateWriterHandle) -> Result<Self, MachineError> {
        let mut groups = Groups::<AppliedRecord>::new(&ctx.groups);
        writer.state().each_applied(&ctx.groups, &mut |group, record| {
            *groups.entry(group) = record;
        })?;
        let seed = RandomState::new().hash_one(ctx.shard);
        let shared = Arc::new(ShardLayers::new(seed, ctx.wake.clone()));
        let (keys_max, bytes_max) = (OVERLAY_KEYS_MAX, OVERLAY_BYTES_MAX);
        Ok(Self {
            groups,
            changed: Vec::new(),
            marks: Vec::new(),
            shared,
            writer,
            keys_max,
            bytes_max,
        })
    }

    /// Seals overlays at less than [`OVERLAY_KEYS_MAX`] and [`OVERLAY_BYTES_MAX`]: for those who want it to happen often.
    #[must_use]
    pub fn with_overlays_of(mut self, keys_max: usize, bytes_max: usize) -> Self {
        (self.keys_max, self.bytes_max) = (keys_max, bytes_max);
        self
    }

    /// Reads of this shard, from any thread.
    #[must_use]
    pub fn view(&self) -> ShardView {
        ShardView::new(Arc::clone(self.writer.state()), Arc::clone(&self.shared))
    }

    /// Marks a group as brought forward by the active overlay.
    #[inline]
    fn change(&mut self, id: u64) -> &mut AppliedRecord {
        let position = self.groups.position(id);
        let (word, bit) = (position / 64, 1 << (position % 64));
        if word >= self.marks.len() {
            self.marks.resize(word + 1, 0);
        }
        if self.marks[word] & bit == 0 {
            self.marks[word] |= bit;
            self.changed.push(u32::try_from(position).expect("fewer than 2^32 groups"));
        }
        self.groups.at_mut(position).1
    }

    fn seal(&mut self) {
        let mut records = Vec::with_capacity(self.changed.len());
        for position in self.changed.drain(..) {
            let (id, record) = self.groups.at_mut(position as usize);
            records.push((id, *record));
        }
        self.marks.fill(0);
        self.changed.shrink_to(CHANGED_KEPT);
        let sealed = self.shared.seal(records);
        self.writer.write(&self.shared, sealed);
    }
}

impl StateMachine for KvMachine {
    fn applied(&self, group: u64) -> Index {
        self.groups.get(group).map_or(Index::ZERO, |record| record.applied)
    }

    fn apply(&mut self, block: &Block<'_>, answers: &mut Answers) {
        let id = block.group();
        let record = self.change(id);
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
        // Sealed only here, so that what a crash leaves ends with a block.
        let full = active.is_full(self.keys_max, self.bytes_max);
        drop(layers);
        self.groups.entry(id).digest = digest;
        if full {
            self.seal();
        }
    }

    fn skip(&mut self, group: u64, index: Index) {
        let applied = &mut self.change(group).applied;
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
        self.groups.get(group).map_or(0, |record| record.digest)
    }
}

#[cfg(feature = "rocks")]
#[cfg(test)]
mod tests;
