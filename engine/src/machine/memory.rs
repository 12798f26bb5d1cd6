//! The machine that keeps a small map per group in memory: for benchmarks that verify, and for tests.
//!
//! An entry sets the key in its first eight bytes (little-endian; shorter payloads are padded with zeros) to
//! the rest. Per group it also keeps what a load generator needs to check the outcome: the number of entries,
//! a digest that depends on their order, and a sum of hashes that does not. All of it is published at the end
//! of each round to a [`MemoryProbe`], which any thread may read.
//!
//! A flush copies the tables on the worker and writes them on the maintenance thread, in one file.
//! Deliberately absent: answers, removal of keys, and state larger than memory.

use std::path::PathBuf;
use std::sync::Arc;

use kontiki_net::Block;
use kontiki_raft::Index;
use parking_lot::Mutex;
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, IntoBytes};

use super::fold::{hash_bytes, step};
use super::groups::Groups;
use super::image::{self, Counts, GroupImage, ImageKind};
use super::{Answers, FlushJob, MachineContext, MachineError, StateMachine};

mod table;
#[cfg(test)]
mod tests;

use table::Table;

/// A map per group in memory.
#[derive(Debug)]
pub struct MemoryMachine {
    dir: PathBuf,
    store_id: u128,
    groups: Groups<Group>,
    /// Positions of groups that changed since the last publication.
    changed: Vec<usize>,
    published: MemoryProbe,
    /// The buffer of the last image, for the next one.
    spare: Arc<Mutex<Vec<u8>>>,
}

#[derive(Debug, Default)]
struct Group {
    counts: Counts,
    changed: bool,
    table: Table,
}

/// What a [`MemoryMachine`] says about a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// The last applied index.
    pub applied: Index,
    /// Entries that were applied since the group exists.
    pub entries: u64,
    /// A digest of all `(index, payload)` in order: equal on all replicas at the same `applied`.
    pub digest: u64,
    /// The wrapping sum of [`payload_hash`] over all entries, whatever their order.
    pub sum: u64,
    /// Different keys.
    pub keys: u64,
}

/// A handle on what a [`MemoryMachine`] published at the end of its last round.
#[derive(Clone, Debug, Default)]
pub struct MemoryProbe(Arc<Mutex<Groups<MemoryStats>>>);

impl Default for Groups<MemoryStats> {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl MemoryProbe {
    /// What was published about `group`; `None` when the machine does not know it.
    #[must_use]
    pub fn stats(&self, group: u64) -> Option<MemoryStats> {
        self.0.lock().get(group).copied()
    }

    /// What was published about all groups of the machine, ascending by group.
    #[must_use]
    pub fn all(&self) -> Vec<(u64, MemoryStats)> {
        let mut all: Vec<_> = self.0.lock().iter().map(|(group, stats)| (group, *stats)).collect();
        all.sort_unstable_by_key(|&(group, _)| group);
        all
    }
}

/// The hash of a payload that [`MemoryStats::sum`] adds up.
#[must_use]
pub fn payload_hash(payload: &[u8]) -> u64 {
    hash_bytes(0, payload)
}

impl MemoryMachine {
    /// Opens the machine, with the state of its last flush.
    ///
    /// # Errors
    /// When its image cannot be read, or is damaged.
    pub fn open(ctx: MachineContext) -> Result<Self, MachineError> {
        let mut groups = Groups::new(&ctx.groups);
        if let Some(body) = image::read(&ctx.dir, ctx.store_id, ImageKind::Memory)? {
            read_groups(&mut groups, &body).map_err(|why| MachineError::Corrupt {
                what: ctx.dir.join("image").display().to_string(),
                why,
            })?;
        }
        let mut machine = Self {
            dir: ctx.dir,
            store_id: ctx.store_id,
            changed: Vec::new(),
            published: MemoryProbe::default(),
            spare: Arc::default(),
            groups,
        };
        machine.changed = (0..machine.groups.iter().len()).collect();
        machine.end_round();
        Ok(machine)
    }

    /// A handle for other threads.
    #[must_use]
    pub fn probe(&self) -> MemoryProbe {
        self.published.clone()
    }

    /// The value of `key` in `group`.
    #[must_use]
    pub fn get(&self, group: u64, key: u64) -> Option<&[u8]> {
        self.groups.get(group)?.table.get(key)
    }

    #[inline]
    fn changed(&mut self, group: u64) -> &mut Group {
        let position = self.groups.position(group);
        let (_, group) = self.groups.at_mut(position);
        if !std::mem::replace(&mut group.changed, true) {
            self.changed.push(position);
        }
        group
    }
}

impl StateMachine for MemoryMachine {
    fn applied(&self, group: u64) -> Index {
        self.groups.get(group).map_or(Index::ZERO, |group| group.counts.opened)
    }

    fn apply(&mut self, block: &Block<'_>, _answers: &mut Answers) {
        let Group { counts, table, .. } = self.changed(block.group());
        counts.advance(block.group(), block.first(), block.last());
        let (mut digest, mut sum) = (counts.digest, counts.sum);
        for (payload, index) in block.entries().zip(block.first().0..) {
            let hash = payload_hash(payload);
            digest = step(digest, index, hash);
            sum = sum.wrapping_add(hash);
            let (key, value) = split(payload);
            table.insert(key, value);
        }
        (counts.digest, counts.sum) = (digest, sum);
        counts.entries += u64::from(block.count());
    }

    fn skip(&mut self, group: u64, index: Index) {
        self.changed(group).counts.advance(group, index, index);
    }

    fn end_round(&mut self) {
        if self.changed.is_empty() {
            return;
        }
        let mut published = self.published.0.lock();
        for position in self.changed.drain(..) {
            let (group, state) = self.groups.at_mut(position);
            state.changed = false;
            let Counts { applied, entries, digest, sum, .. } = state.counts;
            let keys = state.table.len() as u64;
            *published.entry(group) = MemoryStats { applied, entries, digest, sum, keys };
        }
    }

    fn flush(&mut self) -> Result<FlushJob, MachineError> {
        let mut body = std::mem::take(&mut *self.spare.lock());
        body.clear();
        for (group, state) in self.groups.iter() {
            let [slots, taken, arena_len] = state.table.sizes().map(|n| U64::new(n as u64));
            let image = GroupImage { slots, taken, arena_len, ..state.counts.image(group) };
            body.extend_from_slice(image.as_bytes());
            state.table.write_image(&mut body);
        }
        let (dir, store_id) = (self.dir.clone(), self.store_id);
        let spare = Arc::clone(&self.spare);
        Ok(Box::new(move || {
            image::write(&dir, store_id, ImageKind::Memory, &body)?;
            *spare.lock() = body;
            Ok(())
        }))
    }

    fn digest(&self, group: u64) -> u64 {
        self.groups.get(group).map_or(0, |group| group.counts.digest)
    }
}

/// The key and the value of an entry.
#[inline]
fn split(payload: &[u8]) -> (u64, &[u8]) {
    if let Some((key, value)) = payload.split_first_chunk::<8>() {
        return (u64::from_le_bytes(*key), value);
    }
    let mut key = [0; 8];
    key[..payload.len()].copy_from_slice(payload);
    (u64::from_le_bytes(key), &[])
}

fn read_groups(groups: &mut Groups<Group>, mut body: &[u8]) -> Result<(), String> {
    while !body.is_empty() {
        let (image, rest) = GroupImage::ref_from_prefix(body)
            .map_err(|_| format!("{} bytes are left, too few for a group", body.len()))?;
        let sizes = [image.slots, image.taken, image.arena_len].map(|n| n.get());
        let (table, rest) = Table::read_image(sizes, rest)
            .map_err(|why| format!("group {}: {why}", image.group))?;
        let counts = Counts::of_image(image);
        *groups.entry(image.group.get()) = Group { counts, table, changed: true };
        body = rest;
    }
    Ok(())
}
