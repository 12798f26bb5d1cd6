//! Puts and deletes that are applied and not yet in the state database.
//!
//! Random single inserts into RocksDB cost about three times what sorted ones do, and applied state needs no
//! durability of its own (the log has it). So the applies of many rounds gather here. An insert is a hash
//! lookup and a copy into one arena: no allocation per operation, and a key that is written again only
//! replaces its value. Order is made on demand, once: when the overlay is written or scanned after sealing.
//!
//! Keys lie in the arena as they will lie in the database, tag byte included.
//! Deliberately absent: locks and threads (see `machine.rs`), and removal: a delete is an entry too, since it
//! hides what the database has.

use std::sync::OnceLock;

use hashbrown::HashTable;

use crate::keys::{USER_TAG, order_prefix};
use crate::machine::fold::hash_bytes;

/// Distinct keys at which an overlay is full.
pub const OVERLAY_KEYS_MAX: usize = 65_536;
/// Bytes of keys and values at which an overlay is full, replaced values included.
pub const OVERLAY_BYTES_MAX: usize = 32 << 20;

/// An overlay that still takes operations.
#[derive(Debug)]
pub(crate) struct Overlay {
    /// Tagged keys and values.
    arena: Vec<u8>,
    slots: Vec<Slot>,
    index: HashTable<u32>,
    /// Mixed into the hashes, so that clients cannot aim at one bucket.
    seed: u64,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// The first eight bytes of the key, in key order.
    prefix: u64,
    /// Where the tagged key lies.
    key_at: u32,
    value_at: u32,
    /// The length of the value; of a deleted key, the room that is left of its last one.
    value_len: u32,
    key_len: u16,
    deleted: bool,
}

const _: () = assert!(size_of::<Slot>() == 24);

/// What an overlay knows of a key: its value, or that it was deleted.
pub(crate) type Known<'a> = Option<&'a [u8]>;

impl Overlay {
    pub(crate) fn new(seed: u64) -> Self {
        Self { arena: Vec::new(), slots: Vec::new(), index: HashTable::new(), seed }
    }

    /// Forgets everything and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.arena.clear();
        self.slots.clear();
        self.index.clear();
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether it should be sealed before it takes another block: at these limits.
    pub(crate) fn is_full(&self, keys_max: usize, bytes_max: usize) -> bool {
        self.slots.len() >= keys_max || self.arena.len() >= bytes_max
    }

    /// Bytes of keys and values.
    pub(crate) fn bytes(&self) -> usize {
        self.arena.len()
    }

    /// What it knows of `key`; `None` when nothing.
    #[inline]
    pub(crate) fn get(&self, key: &[u8]) -> Option<Known<'_>> {
        let hash = hash_bytes(self.seed, key);
        let prefix = order_prefix(key);
        let at =
            self.index.find(hash, |&at| self.slots[at as usize].is(prefix, key, &self.arena))?;
        Some(self.value(*at as usize))
    }

    /// Sets the value of `key`, or with `None` deletes it.
    #[inline]
    pub(crate) fn set(&mut self, key: &[u8], value: Option<&[u8]>) {
        let Self { arena, slots, index, seed } = self;
        let hash = hash_bytes(*seed, key);
        let prefix = order_prefix(key);
        if let Some(&at) = index.find(hash, |&at| slots[at as usize].is(prefix, key, arena)) {
            return slots[at as usize].replace(value, arena);
        }
        let at = u32::try_from(slots.len()).expect("full at 2^16 keys and one block");
        index.insert_unique(hash, at, |&at| hash_bytes(*seed, slots[at as usize].key(arena)));
        let key_at = offset(arena.len());
        let value_len = value.map_or(0, <[u8]>::len);
        arena.reserve(1 + key.len() + value_len);
        arena.push(USER_TAG);
        arena.extend_from_slice(key);
        let value_at = offset(arena.len());
        arena.extend_from_slice(value.unwrap_or_default());
        slots.push(Slot {
            prefix,
            key_at,
            value_at,
            value_len: offset(value_len),
            key_len: u16::try_from(key.len()).expect("commands bound keys to 4 KiB"),
            deleted: value.is_none(),
        });
    }

    fn value(&self, at: usize) -> Known<'_> {
        let slot = &self.slots[at];
        let value = &self.arena[slot.value_at as usize..][..slot.value_len as usize];
        (!slot.deleted).then_some(value)
    }

    /// Copies what it knows of the keys of `[start, end)`, ascending, up to `limit` values or `bytes_max` bytes of
    /// them. When there are more, the second result is the first key left out; deletions before it are all
    /// included.
    pub(crate) fn copy_span(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
        bytes_max: usize,
    ) -> (Vec<Copied>, Option<Vec<u8>>) {
        let mut keep = limit + 64;
        loop {
            let (slots, all) = self.smallest(start, end, keep);
            let mut copied = Vec::with_capacity(slots.len());
            let (mut values, mut bytes) = (0, 0);
            for (_, at) in slots {
                let key = self.slots[at as usize].key(&self.arena);
                let value = self.value(at as usize);
                if let Some(value) = value {
                    if values == limit || bytes >= bytes_max {
                        return (copied, Some(key.to_vec()));
                    }
                    values += 1;
                    bytes += key.len() + value.len();
                }
                copied.push((key.to_vec(), value.map(<[u8]>::to_vec)));
            }
            if all {
                return (copied, None);
            }
            // So many deletions that the values did not suffice: rare, so starting over is good enough.
            keep *= 4;
        }
    }

    /// The `keep` first slots of `[start, end)` in key order, and whether those are all.
    ///
    /// One pass that looks at prefixes only, for most slots: readers hold the lock meanwhile.
    fn smallest(&self, start: &[u8], end: Option<&[u8]>, keep: usize) -> (Vec<(u64, u32)>, bool) {
        if end.is_some_and(|end| end <= start) {
            return (Vec::new(), true);
        }
        let from = order_prefix(start);
        let to = end.map_or(u64::MAX, order_prefix);
        let mut reach = to - from;
        let mut found = Vec::with_capacity(2 * keep.min(self.slots.len()));
        let mut all = true;
        for (at, slot) in (0u32..).zip(&self.slots) {
            // One comparison for both bounds: a branch per bound is mispredicted on every other slot.
            if slot.prefix.wrapping_sub(from) > reach {
                continue;
            }
            if slot.prefix == from && slot.key(&self.arena) < start {
                continue;
            }
            if slot.prefix == to && end.is_some_and(|end| slot.key(&self.arena) >= end) {
                continue;
            }
            found.push((slot.prefix, at));
            if found.len() == 2 * keep {
                self.truncate_to_smallest(&mut found, keep);
                // From here on only what comes before the last one kept can matter.
                reach = found[keep - 1].0 - from;
                all = false;
            }
        }
        if found.len() > keep {
            self.truncate_to_smallest(&mut found, keep);
            all = false;
        }
        found.sort_unstable_by(|a, b| self.compare(*a, *b));
        (found, all)
    }

    fn truncate_to_smallest(&self, found: &mut Vec<(u64, u32)>, keep: usize) {
        found.select_nth_unstable_by(keep - 1, |a, b| self.compare(*a, *b));
        found.truncate(keep);
    }

    fn compare(&self, a: (u64, u32), b: (u64, u32)) -> std::cmp::Ordering {
        let key = |at: u32| self.slots[at as usize].key(&self.arena);
        a.0.cmp(&b.0).then_with(|| key(a.1).cmp(key(b.1)))
    }

    /// The slots in key order.
    fn sorted(&self) -> Vec<u32> {
        let shared = self.shared_prefix();
        let mut order: Vec<(u64, u32)> = (0u32..)
            .zip(&self.slots)
            .map(|(at, slot)| match shared {
                0 => (slot.prefix, at),
                _ => (order_prefix(&slot.key(&self.arena)[shared..]), at),
            })
            .collect();
        order.sort_unstable_by(|a, b| self.compare(*a, *b));
        order.into_iter().map(|(_, at)| at).collect()
    }

    /// How many first bytes all keys share: keys such as `user000017` differ late, and the sort should not
    /// compare the same bytes again and again.
    fn shared_prefix(&self) -> usize {
        let Some((first, others)) = self.slots.split_first() else { return 0 };
        let first = first.key(&self.arena);
        let mut shared = first.len();
        for slot in others {
            let key = slot.key(&self.arena);
            shared = first[..shared].iter().zip(key).take_while(|(a, b)| a == b).count();
            if shared == 0 {
                break;
            }
        }
        shared
    }
}

impl Slot {
    #[inline]
    fn key<'a>(&self, arena: &'a [u8]) -> &'a [u8] {
        &arena[self.key_at as usize + 1..][..usize::from(self.key_len)]
    }

    #[inline]
    fn is(&self, prefix: u64, key: &[u8], arena: &[u8]) -> bool {
        self.prefix == prefix && self.key(arena) == key
    }

    fn replace(&mut self, value: Option<&[u8]>, arena: &mut Vec<u8>) {
        self.deleted = value.is_none();
        let Some(value) = value else { return };
        if value.len() > self.value_len as usize {
            self.value_at = offset(arena.len());
            arena.extend_from_slice(value);
        } else {
            arena[self.value_at as usize..][..value.len()].copy_from_slice(value);
        }
        self.value_len = offset(value.len());
    }
}

fn offset(at: usize) -> u32 {
    u32::try_from(at).expect("full at 32 MiB and one block")
}

/// A key, and its value or that it was deleted.
pub(crate) type Copied = (Vec<u8>, Option<Vec<u8>>);

/// An overlay that takes no more operations, and is sorted when that is first needed.
#[derive(Debug)]
pub(crate) struct Sorted {
    overlay: Overlay,
    order: OnceLock<Vec<u32>>,
}

impl Sorted {
    pub(crate) fn new(overlay: Overlay) -> Self {
        Self { overlay, order: OnceLock::new() }
    }

    /// The emptied overlay, for reuse.
    pub(crate) fn recycle(self) -> Overlay {
        let mut overlay = self.overlay;
        overlay.clear();
        overlay
    }

    pub(crate) fn overlay(&self) -> &Overlay {
        &self.overlay
    }

    fn order(&self) -> &[u32] {
        self.order.get_or_init(|| self.overlay.sorted())
    }

    /// The tagged keys in order, each with its value or `None` when it was deleted.
    pub(crate) fn writes(&self) -> impl ExactSizeIterator<Item = (&[u8], Known<'_>)> {
        let Overlay { arena, slots, .. } = &self.overlay;
        self.order().iter().map(move |&at| {
            let slot = &slots[at as usize];
            let key = &arena[slot.key_at as usize..][..usize::from(slot.key_len) + 1];
            (key, self.overlay.value(at as usize))
        })
    }

    /// The keys of `[start, end)` in order.
    pub(crate) fn span<'a>(
        &'a self,
        start: &[u8],
        end: Option<&'a [u8]>,
    ) -> impl Iterator<Item = (&'a [u8], Known<'a>)> + 'a {
        let key = |at: u32| self.overlay.slots[at as usize].key(&self.overlay.arena);
        let order = self.order();
        let first = order.partition_point(|&at| key(at) < start);
        order[first..]
            .iter()
            .map(move |&at| (key(at), self.overlay.value(at as usize)))
            .take_while(move |(key, _)| end.is_none_or(|end| *key < end))
    }
}

#[cfg(test)]
mod tests;
