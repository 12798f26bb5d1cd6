//! The map from a key to the group that serves it, small enough for a million ranges on each node.
//!
//! It keeps eight bytes of each start as a number in one flat array, behind what all starts have in common (such as
//! the name of a table): a lookup is a binary search over numbers. The starts themselves lie in one arena, which is
//! touched only for starts whose eight bytes agree. Where those eight bytes say all of every start, as they do where
//! a key space was split evenly, there is no arena; and where groups are numbered in key order there are no groups
//! either, so that a range takes eight bytes.

use std::ops::Range;

use super::{RANGES_MAX, RangeBounds, RangeError};
use crate::ids::GroupIds;
use crate::keys::{key_of_prefix, order_prefix};

/// From a key to the group that serves it.
#[derive(Clone, Debug)]
pub struct RangeMap {
    /// What the starts of all ranges but the first begin with.
    shared: Box<[u8]>,
    /// The order prefix of each range's start behind `shared`, ascending.
    prefixes: Box<[u64]>,
    /// The group of each range, by its place in key order.
    groups: GroupIds,
    /// The starts, unless each is `shared` and the key of its prefix.
    starts: Option<Starts>,
}

/// Starts that say more than eight bytes can.
#[derive(Clone, Debug)]
struct Starts {
    /// Where each start lies in `arena`; one more than there are ranges.
    offsets: Box<[u32]>,
    arena: Box<[u8]>,
}

impl Starts {
    #[inline]
    fn get(&self, at: usize) -> &[u8] {
        &self.arena[self.offsets[at] as usize..self.offsets[at + 1] as usize]
    }
}

impl RangeMap {
    /// Makes the map of `ranges`, in any order.
    ///
    /// # Errors
    /// When the ranges leave a gap, overlap, are empty, or a group has two.
    pub fn new(ranges: &[(u64, RangeBounds)]) -> Result<Self, RangeError> {
        let mut builder = RangeMapBuilder::default();
        for (group, bounds) in ranges {
            builder.push(*group, bounds);
        }
        builder.finish()
    }

    /// The group that serves `key`.
    #[must_use]
    #[inline]
    pub fn group_of(&self, key: &[u8]) -> u64 {
        self.group(self.position_of(key))
    }

    /// The number of ranges; at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a map is never empty")]
    pub fn len(&self) -> usize {
        self.prefixes.len()
    }

    /// The group and bounds of range number `at`, in key order.
    ///
    /// # Panics
    /// When there are not that many.
    #[must_use]
    pub fn range(&self, at: usize) -> (u64, RangeBounds) {
        let end = (at + 1 < self.len()).then(|| self.start(at + 1));
        (self.group(at), RangeBounds { start: self.start(at), end })
    }

    /// All ranges in key order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u64, RangeBounds)> + '_ {
        (0..self.len()).map(|at| self.range(at))
    }

    /// The span that `group` serves; `None` for a group without one.
    #[must_use]
    pub fn bounds_of(&self, group: u64) -> Option<RangeBounds> {
        Some(self.range(self.groups.position(group)? as usize).1)
    }

    /// The group that serves `key`, and the whole span that it serves.
    #[must_use]
    pub fn range_of(&self, key: &[u8]) -> (u64, RangeBounds) {
        self.range(self.position_of(key))
    }

    /// The groups that serve keys of `[start, end)`, in key order; none when that span is empty.
    pub fn groups_of_span<'a>(
        &'a self,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> impl ExactSizeIterator<Item = u64> + use<'a> {
        self.positions_of_span(start, end).map(|at| self.group(at))
    }

    fn positions_of_span(&self, start: &[u8], end: Option<&[u8]>) -> Range<usize> {
        if end.is_some_and(|end| end <= start) {
            return 0..0;
        }
        let last = end.map_or(self.len(), |end| {
            let at = self.position_of(end);
            at + usize::from(self.start(at).as_slice() < end)
        });
        self.position_of(start)..last
    }

    #[inline]
    fn position_of(&self, key: &[u8]) -> usize {
        let mut rest = key;
        if !self.shared.is_empty() {
            let (head, behind) = key.split_at(self.shared.len().min(key.len()));
            if *head != *self.shared {
                return if *head < *self.shared { 0 } else { self.len() - 1 };
            }
            rest = behind;
        }
        let prefix = order_prefix(rest);
        let behind = self.prefixes.partition_point(|&start| start <= prefix);
        // Without starts of their own no two have the same prefix, and each is the first key that has it.
        let Some(starts) = &self.starts else { return behind - 1 };
        // The first start is the empty key, so at least one start is not behind the key.
        if self.prefixes[behind - 1] != prefix || starts.get(behind - 1) <= key {
            return behind - 1;
        }
        // Some starts agree with the key in those eight bytes; among them the bytes behind decide.
        let (mut low, mut high) = (0, behind - 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.prefixes[middle] < prefix || starts.get(middle) <= key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low - 1
    }

    #[inline]
    fn group(&self, at: usize) -> u64 {
        self.groups.id(u32::try_from(at).expect("bounded by RANGES_MAX"))
    }

    fn start(&self, at: usize) -> Vec<u8> {
        match &self.starts {
            Some(starts) => starts.get(at).to_vec(),
            None if at == 0 => Vec::new(),
            None => [&self.shared[..], &key_of_prefix(self.prefixes[at])].concat(),
        }
    }
}

/// Gathers ranges, in any order, and makes the map of them.
#[derive(Clone, Debug, Default)]
pub struct RangeMapBuilder {
    ranges: Vec<Gathered>,
    /// All bounds, back to back.
    bytes: Vec<u8>,
}

/// A range whose bounds are in the builder's bytes: the end, if any, right behind the start.
#[derive(Clone, Copy, Debug)]
struct Gathered {
    group: u64,
    at: u64,
    start: u32,
    end: Option<u32>,
}

impl RangeMapBuilder {
    /// Adds a range.
    ///
    /// # Panics
    /// When a bound is 4 GiB long.
    pub fn push(&mut self, group: u64, bounds: &RangeBounds) {
        let length = |bound: &[u8]| u32::try_from(bound.len()).expect("a bound is a key");
        let at = self.bytes.len() as u64;
        self.bytes.extend_from_slice(&bounds.start);
        self.bytes.extend_from_slice(bounds.end.as_deref().unwrap_or_default());
        let end = bounds.end.as_deref().map(length);
        self.ranges.push(Gathered { group, at, start: length(&bounds.start), end });
    }

    /// The map of all ranges that were added.
    ///
    /// # Errors
    /// When they leave a gap, overlap, are empty, or a group has two.
    pub fn finish(mut self) -> Result<RangeMap, RangeError> {
        if self.ranges.is_empty() || self.ranges.len() > RANGES_MAX {
            return Err(RangeError::Count(self.ranges.len()));
        }
        let mut ranges = std::mem::take(&mut self.ranges);
        ranges.sort_unstable_by(|a, b| self.start(a).cmp(self.start(b)));
        self.check_cover(&ranges)?;
        check_groups(&ranges)?;
        let shared = self.shared_prefix(&ranges);
        let rest = |range: &Gathered| self.start(range).get(shared.len()..).unwrap_or_default();
        let prefixes: Box<[u64]> = ranges.iter().map(|range| order_prefix(rest(range))).collect();
        let said = |(range, &prefix): (&Gathered, &u64)| rest(range) == key_of_prefix(prefix);
        // The first start is the empty key, whatever the others have in common.
        let all_said = ranges.iter().zip(&prefixes).skip(1).all(said)
            && prefixes.windows(2).all(|pair| pair[0] < pair[1]);
        Ok(RangeMap {
            shared: shared.into(),
            groups: ranges.iter().map(|range| range.group).collect(),
            starts: (!all_said).then(|| self.starts(&ranges)),
            prefixes,
        })
    }

    fn start(&self, range: &Gathered) -> &[u8] {
        self.bound(range.at, range.start)
    }

    fn end(&self, range: &Gathered) -> Option<&[u8]> {
        range.end.map(|end| self.bound(range.at + u64::from(range.start), end))
    }

    fn bound(&self, at: u64, len: u32) -> &[u8] {
        let at = usize::try_from(at).expect("a place in memory");
        &self.bytes[at..at + len as usize]
    }

    fn starts(&self, sorted: &[Gathered]) -> Starts {
        let mut at = 0;
        let ends = sorted.iter().map(|range| {
            at += range.start as usize;
            u32::try_from(at).expect("2^20 starts of at most 4 KiB fit in 4 GiB")
        });
        Starts {
            offsets: std::iter::once(0).chain(ends).collect(),
            arena: sorted.iter().flat_map(|range| self.start(range).iter().copied()).collect(),
        }
    }

    /// What the starts of all ranges but the first, which is the empty key, begin with. In sorted order that is what
    /// the lowest and the highest of them have in common.
    fn shared_prefix(&self, sorted: &[Gathered]) -> &[u8] {
        let [_, lowest, ..] = sorted else { return &[] };
        let (lowest, highest) = (self.start(lowest), self.start(&sorted[sorted.len() - 1]));
        let len = lowest.iter().zip(highest).take_while(|(a, b)| a == b).count();
        &lowest[..len]
    }

    fn check_cover(&self, sorted: &[Gathered]) -> Result<(), RangeError> {
        let is_empty = |range: &&Gathered| self.end(range).is_some_and(|e| e <= self.start(range));
        if let Some(range) = sorted.iter().find(is_empty) {
            return Err(RangeError::Empty { group: range.group });
        }
        let first = self.start(&sorted[0]);
        if !first.is_empty() {
            return Err(RangeError::Gap { from: Vec::new(), to: Some(first.to_vec()) });
        }
        for pair in sorted.windows(2) {
            let (left, right) = (self.end(&pair[0]), self.start(&pair[1]));
            match left {
                Some(end) if end < right => {
                    return Err(RangeError::Gap { from: end.to_vec(), to: Some(right.to_vec()) });
                }
                Some(end) if end == right => {}
                _ => {
                    let (first, second) = (pair[0].group, pair[1].group);
                    return Err(RangeError::Overlap { first, second });
                }
            }
        }
        match sorted.last().and_then(|last| self.end(last)) {
            Some(end) => Err(RangeError::Gap { from: end.to_vec(), to: None }),
            None => Ok(()),
        }
    }
}

fn check_groups(ranges: &[Gathered]) -> Result<(), RangeError> {
    if ranges.windows(2).all(|pair| pair[0].group < pair[1].group) {
        return Ok(());
    }
    let mut groups: Vec<u64> = ranges.iter().map(|range| range.group).collect();
    groups.sort_unstable();
    match groups.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(RangeError::GroupTwice(pair[0])),
        None => Ok(()),
    }
}
