//! What is asked for: all of it follows from the seed, the client's number and the request's number.
//!
//! Nothing about a request is stored. Its kind, its key and its value are computed when it is issued, again when
//! it must be repeated, and again when its effect is checked; so a million requests under way cost no memory,
//! and the same seed gives the same requests.
//!
//! A value begins with its identity: the client and the sequence, 8 bytes little-endian each. The rest comes from a
//! pool of random bytes, at a place that differs from request to request, so that compression finds nothing.

use crate::cli::Mix;

/// One request: its logical client, and which of that client's requests it is (from 1 on).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Op {
    pub(crate) client: u32,
    pub(crate) sequence: u32,
}

/// Bytes of the identity at the front of each value.
pub(crate) const IDENTITY_BYTES: usize = 16;

impl Op {
    /// A number that looks random and is always the same for this request and seed.
    #[inline]
    pub(crate) fn dice(self, seed: u64) -> u64 {
        mix64(seed ^ (u64::from(self.client) << 32 | u64::from(self.sequence)))
    }

    /// The identity that a value begins with.
    #[inline]
    pub(crate) fn identity(self) -> [u8; IDENTITY_BYTES] {
        let mut bytes = [0; IDENTITY_BYTES];
        bytes[..8].copy_from_slice(&u64::from(self.client).to_le_bytes());
        bytes[8..].copy_from_slice(&u64::from(self.sequence).to_le_bytes());
        bytes
    }

    /// The request whose identity `value` begins with; `None` when it is none of ours.
    pub(crate) fn of_value(value: &[u8]) -> Option<Self> {
        let word = |at: usize| -> Option<u32> {
            let bytes = value.get(at..at + 8)?.try_into().ok()?;
            u32::try_from(u64::from_le_bytes(bytes)).ok()
        };
        Some(Self { client: word(0)?, sequence: word(8)? })
    }
}

/// Spreads a number over all 64 bits (the finalizer of SplitMix64).
#[inline]
pub(crate) const fn mix64(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `dice` scaled to `0..n`.
#[inline]
fn scale(dice: u64, n: u32) -> u32 {
    u32::try_from(((dice >> 32) * u64::from(n)) >> 32).expect("less than n")
}

/// Whether a request writes or reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Put,
    Get,
}

/// The requests of one run.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) seed: u64,
    mix: Mix,
    value_size: usize,
    filler: Vec<u8>,
}

/// Distinct places in the filler.
const FILLER_PLACES: usize = 4096;

impl Workload {
    pub(crate) fn new(seed: u64, mix: Mix, value_size: usize) -> Self {
        let tail = value_size - IDENTITY_BYTES;
        let pool = if tail == 0 { 0 } else { tail + FILLER_PLACES };
        let words = (0..pool.div_ceil(8) as u64).map(|i| mix64(!seed ^ i.rotate_left(17)));
        let filler = words.flat_map(u64::to_le_bytes).collect();
        Self { seed: mix64(seed), mix, value_size, filler }
    }

    /// Whether all requests are writes.
    pub(crate) const fn writes_only(&self) -> bool {
        self.mix.get == 0
    }

    /// Whether `op` writes or reads.
    #[inline]
    pub(crate) fn kind(&self, op: Op) -> Kind {
        if self.writes_only() {
            return Kind::Put;
        }
        // Other bits of the dice than the key's.
        let dice = op.dice(self.seed).rotate_left(32);
        if scale(dice, self.mix.put + self.mix.get) < self.mix.put { Kind::Put } else { Kind::Get }
    }

    /// Bytes of each value.
    pub(crate) const fn value_size(&self) -> usize {
        self.value_size
    }

    /// Appends the value of `op`.
    #[inline]
    pub(crate) fn write_value(&self, op: Op, into: &mut Vec<u8>) {
        into.extend_from_slice(&op.identity());
        if !self.filler.is_empty() {
            let place = op.sequence as usize % FILLER_PLACES;
            into.extend_from_slice(&self.filler[place..place + self.value_size - IDENTITY_BYTES]);
        }
    }

    /// Which of `keys` keys `op` is about.
    #[inline]
    pub(crate) fn key(&self, op: Op, keys: u32) -> u32 {
        scale(op.dice(self.seed), keys)
    }
}

/// The keys of a key-value run: numbered, spread evenly, and sorted into the groups that serve them.
#[derive(Clone, Debug)]
pub(crate) struct KeySpace {
    size: usize,
    seed: u64,
    keys: u32,
    /// By slot: the numbers of the keys its group serves.
    by_slot: Vec<Vec<u32>>,
}

impl KeySpace {
    /// `keys` keys of `size` bytes; `slot_of` says which slot serves a key, `None` for a group that is idle.
    pub(crate) fn new(
        seed: u64,
        keys: u32,
        size: usize,
        slots: usize,
        slot_of: impl Fn(&[u8]) -> Option<usize>,
    ) -> Self {
        let mut space = Self { size, seed: mix64(seed), keys, by_slot: vec![Vec::new(); slots] };
        let mut key = Vec::with_capacity(size);
        for number in 0..keys {
            key.clear();
            space.write_key(number, &mut key);
            if let Some(slot) = slot_of(&key) {
                space.by_slot[slot].push(number);
            }
        }
        space
    }

    /// Appends key number `number`: eight bytes that spread it over all ranges, its number so that no two are
    /// equal, and zeros up to the size.
    #[inline]
    pub(crate) fn write_key(&self, number: u32, into: &mut Vec<u8>) {
        let end = into.len() + self.size;
        let spread = mix64(self.seed ^ u64::from(number));
        // Any byte order spreads evenly; the keys must only be the same in every run.
        into.extend_from_slice(&spread.to_le_bytes());
        into.extend_from_slice(&number.to_le_bytes());
        into.resize(end, 0);
    }

    /// The number of a key that [`KeySpace::write_key`] made; `None` for any other bytes.
    pub(crate) fn number_of(&self, key: &[u8]) -> Option<u32> {
        let number = u32::from_le_bytes(key.get(8..12)?.try_into().ok()?);
        let mut same = Vec::with_capacity(self.size);
        self.write_key(number, &mut same);
        (same == key).then_some(number)
    }

    /// How many keys there are, those of idle groups included.
    pub(crate) const fn keys(&self) -> u32 {
        self.keys
    }

    /// The numbers of the keys that slot `slot` serves.
    #[inline]
    pub(crate) fn of_slot(&self, slot: usize) -> &[u32] {
        &self.by_slot[slot]
    }

    /// A slot that serves none of the keys, if there is one.
    pub(crate) fn empty_slot(&self) -> Option<usize> {
        self.by_slot.iter().position(Vec::is_empty)
    }
}

/// The groups that are written to: `active` of `groups`, evenly chosen.
pub(crate) fn active_groups(groups: &[u64], active: u32) -> Vec<u64> {
    let (all, active) = (groups.len(), active as usize);
    (0..active).map(|slot| groups[slot * all / active]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIX: Mix = Mix { put: 3, get: 1 };

    fn op(client: u32, sequence: u32) -> Op {
        Op { client, sequence }
    }

    fn value(workload: &Workload, op: Op) -> Vec<u8> {
        let mut bytes = Vec::new();
        workload.write_value(op, &mut bytes);
        bytes
    }

    #[test]
    fn the_same_seed_gives_the_same_requests_and_another_one_others() {
        let (a, b, c) =
            (Workload::new(7, MIX, 100), Workload::new(7, MIX, 100), Workload::new(8, MIX, 100));
        let all: Vec<Op> = (0..1000).map(|i| op(i % 10, i / 10 + 1)).collect();
        let of = |w: &Workload| -> Vec<_> {
            all.iter().map(|&op| (w.kind(op), w.key(op, 1000), value(w, op))).collect()
        };
        assert_eq!(of(&a), of(&b));
        assert_ne!(of(&a), of(&c));
    }

    #[test]
    fn a_value_has_its_size_and_names_its_request() {
        for size in [16, 17, 100, 128, 5000] {
            let value = value(&Workload::new(1, MIX, size), op(3, 4));
            assert_eq!(value.len(), size);
            assert_eq!(Op::of_value(&value), Some(op(3, 4)));
        }
        assert_eq!(Op::of_value(b"short"), None);
        assert_eq!(Op::of_value(&[0xff; 16]), None);
    }

    #[test]
    fn kinds_and_keys_follow_their_shares() {
        let workload = Workload::new(5, MIX, 16);
        let all: Vec<Op> = (1..=40_000).map(|i| op(1, i)).collect();
        let gets = all.iter().filter(|&&op| workload.kind(op) == Kind::Get).count();
        assert!((9_500..10_500).contains(&gets), "{gets} of 40000 at one in four");
        let low = all.iter().filter(|&&op| workload.key(op, 1000) < 250).count();
        assert!((9_500..10_500).contains(&low), "{low} of 40000 keys in the first quarter");
        let gets_low = all
            .iter()
            .filter(|&&op| workload.kind(op) == Kind::Get && workload.key(op, 1000) < 250);
        let gets_low = gets_low.count();
        assert!((2_200..2_800).contains(&gets_low), "kind and key are independent: {gets_low}");
    }

    #[test]
    fn keys_are_different_and_belong_to_one_slot_each() {
        let space = KeySpace::new(9, 10_000, 16, 4, |key| Some(usize::from(key[0] >> 6)));
        let mut keys: Vec<Vec<u8>> = Vec::new();
        for slot in 0..4 {
            assert!((2_200..2_800).contains(&space.of_slot(slot).len()));
            for &number in space.of_slot(slot) {
                let mut key = Vec::new();
                space.write_key(number, &mut key);
                assert_eq!((key.len(), usize::from(key[0] >> 6)), (16, slot));
                assert_eq!(space.number_of(&key), Some(number));
                keys.push(key);
            }
        }
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 10_000);
        assert_eq!(space.empty_slot(), None);
        assert_eq!(space.number_of(&[0; 16]), None);
        assert_eq!(space.number_of(b"short"), None);
    }

    #[test]
    fn active_groups_are_spread_over_all() {
        assert_eq!(active_groups(&[1, 2, 3, 4, 5, 6], 6), [1, 2, 3, 4, 5, 6]);
        assert_eq!(active_groups(&[1, 2, 3, 4, 5, 6], 3), [1, 3, 5]);
        assert_eq!(active_groups(&[1, 2, 3, 4, 5, 6], 4), [1, 2, 4, 5]);
    }
}
