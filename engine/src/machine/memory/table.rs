//! The map of one group: from a `u64` key to a short value, in one flat array.
//!
//! Open addressing with linear probing, at most two thirds full; nothing is ever removed. A value of up to
//! eight bytes lies in its slot; a longer one lies in an arena and is overwritten in place while it fits.
//! When half of the arena is dead, the live half moves to a new one. So applies allocate only while the table
//! grows. Slots are plain little-endian bytes: an image is a copy of the array.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::super::fold::hash_u64;

const EMPTY: u32 = 0;
const INLINE: u32 = 1;
const ARENA: u32 = 2;
const INLINE_BYTES: usize = 8;
const SLOTS_MIN: usize = 16;
const ARENA_WASTE_MIN: usize = 64 << 10;

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Slot {
    key: U64,
    /// The value, or where it lies in the arena and how much room it has there.
    value: [u8; INLINE_BYTES],
    len: U32,
    place: U32,
}

const _: () = assert!(size_of::<Slot>() == 24);
const _: () = assert!(EMPTY == 0, "zeroed slots are empty");

impl Slot {
    fn room(&self) -> (usize, usize) {
        let [at, room] = zerocopy::transmute!(self.value);
        let (at, room): (U32, U32) = (at, room);
        (at.get() as usize, room.get() as usize)
    }

    fn set_room(&mut self, at: usize, room: usize) {
        let word = |n| U32::new(u32::try_from(n).expect("a group's values stay under 4 GiB"));
        self.value = zerocopy::transmute!([word(at), word(room)]);
        self.place = U32::new(ARENA);
    }
}

/// A map from `u64` to bytes.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: Vec<Slot>,
    taken: usize,
    arena: Vec<u8>,
    /// Bytes of the arena that no slot owns.
    waste: usize,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.taken
    }

    pub(super) fn get(&self, key: u64) -> Option<&[u8]> {
        if self.slots.is_empty() {
            return None;
        }
        let slot = &self.slots[self.find(key)];
        let len = slot.len.get() as usize;
        match slot.place.get() {
            EMPTY => None,
            INLINE => Some(&slot.value[..len]),
            _ => Some(&self.arena[slot.room().0..][..len]),
        }
    }

    #[inline]
    pub(super) fn insert(&mut self, key: u64, value: &[u8]) {
        if self.taken * 3 >= self.slots.len() * 2 {
            self.grow();
        }
        let at = self.find(key);
        let slot = &mut self.slots[at];
        if slot.place.get() == EMPTY {
            slot.key = U64::new(key);
            slot.place = U32::new(INLINE);
            self.taken += 1;
        }
        if value.len() > INLINE_BYTES || slot.place.get() == ARENA {
            return self.insert_long(at, value);
        }
        slot.len = U32::new(u32::try_from(value.len()).expect("at most eight"));
        if let Ok(value) = <[u8; INLINE_BYTES]>::try_from(value) {
            slot.value = value;
        } else {
            slot.value[..value.len()].copy_from_slice(value);
        }
    }

    /// Sets a value that is longer than a slot, or whose slot owns a piece of the arena.
    fn insert_long(&mut self, at: usize, value: &[u8]) {
        let slot = &mut self.slots[at];
        slot.len = U32::new(u32::try_from(value.len()).expect("an entry is far below 4 GiB"));
        let (place, room) = if slot.place.get() == ARENA { slot.room() } else { (0, 0) };
        if value.len() <= room {
            self.arena[place..place + value.len()].copy_from_slice(value);
            return;
        }
        self.waste += room;
        slot.set_room(self.arena.len(), value.len());
        self.arena.extend_from_slice(value);
        if self.waste > ARENA_WASTE_MIN && self.waste * 2 > self.arena.len() {
            self.compact();
        }
    }

    /// The slot of `key`, or the empty one where it belongs.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are enough")]
    fn find(&self, key: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = hash_u64(0, key) as usize & mask;
        loop {
            let slot = &self.slots[at];
            if slot.place.get() == EMPTY || slot.key.get() == key {
                return at;
            }
            at = (at + 1) & mask;
        }
    }

    #[cold]
    fn grow(&mut self) {
        let len = (self.slots.len() * 2).max(SLOTS_MIN);
        let old = std::mem::replace(&mut self.slots, vec![Slot::new_zeroed(); len]);
        for slot in old.into_iter().filter(|slot| slot.place.get() != EMPTY) {
            let at = self.find(slot.key.get());
            self.slots[at] = slot;
        }
    }

    #[cold]
    fn compact(&mut self) {
        let mut arena = Vec::with_capacity(self.arena.len());
        for slot in &mut self.slots {
            if slot.place.get() == ARENA {
                let (at, _) = slot.room();
                let len = slot.len.get() as usize;
                slot.set_room(arena.len(), len);
                arena.extend_from_slice(&self.arena[at..at + len]);
            }
        }
        self.arena = arena;
        self.waste = 0;
    }

    /// The sizes of the table: slots, taken, and bytes of the arena.
    pub(super) fn sizes(&self) -> [usize; 3] {
        [self.slots.len(), self.taken, self.arena.len()]
    }

    /// Appends slots and arena.
    pub(super) fn write_image(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.slots.as_bytes());
        out.extend_from_slice(&self.arena);
    }

    /// Reads a table back from the start of `bytes`; returns it and the bytes behind it.
    pub(super) fn read_image(sizes: [u64; 3], bytes: &[u8]) -> Result<(Self, &[u8]), String> {
        let [slots, taken, arena] = sizes.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        if slots != 0
            && (!slots.is_power_of_two() || slots < SLOTS_MIN || taken * 3 > slots * 2 + 3)
        {
            return Err(format!("{taken} of {slots} slots"));
        }
        let (slots, rest) = <[Slot]>::ref_from_prefix_with_elems(bytes, slots)
            .map_err(|_| format!("{slots} slots in {} bytes", bytes.len()))?;
        let (arena, rest) = rest
            .split_at_checked(arena)
            .ok_or_else(|| format!("{arena} bytes of values in {}", rest.len()))?;
        let mut owned = 0;
        for slot in slots.iter().filter(|slot| slot.place.get() != EMPTY) {
            let len = slot.len.get() as usize;
            let (at, room) = if slot.place.get() == ARENA { slot.room() } else { (0, 0) };
            let fits = match slot.place.get() {
                INLINE => len <= INLINE_BYTES,
                ARENA => len <= room && at + room <= arena.len(),
                _ => false,
            };
            if !fits {
                return Err(format!("slot {slot:?} of {} bytes of values", arena.len()));
            }
            owned += room;
        }
        let found = slots.iter().filter(|slot| slot.place.get() != EMPTY).count();
        if found != taken {
            return Err(format!("{found} taken slots, {taken} announced"));
        }
        let waste = arena.len().saturating_sub(owned);
        Ok((Self { slots: slots.to_vec(), taken, arena: arena.to_vec(), waste }, rest))
    }
}
