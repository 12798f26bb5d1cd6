//! Which group serves which key: spans of the key space, and the map from a key to its group.
//!
//! A range is `[start, end)`; no end means up to the last key. The ranges of a [`RangeMap`] cover the whole
//! key space without a gap or an overlap, which is checked when the map is made, so a lookup cannot fail.
//!
//! The map itself is in `map`.
//!
//! Deliberately absent: epochs (they come with split and merge) and any change of a map: a changed table is a
//! new map that replaces the old one.

mod map;

pub use map::{RangeMap, RangeMapBuilder};

use crate::keys::key_of_prefix;

/// The most ranges that a store may be pre-split into.
pub const RANGES_MAX: usize = 1 << 20;

/// A span of keys, `[start, end)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct RangeBounds {
    /// The first key.
    pub start: Vec<u8>,
    /// The first key behind the span; `None` when it reaches to the end of the key space.
    pub end: Option<Vec<u8>>,
}

impl RangeBounds {
    /// The whole key space.
    #[must_use]
    pub const fn all() -> Self {
        Self { start: Vec::new(), end: None }
    }

    /// Whether `key` is in the span.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.start.as_slice() <= key && self.end.as_ref().is_none_or(|end| key < end.as_slice())
    }

    /// Whether no key is in the span.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }
}

/// Why ranges do not make a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RangeError {
    /// There are none, or more than [`RANGES_MAX`].
    Count(usize),
    /// The range of this group holds no key.
    Empty {
        /// The group.
        group: u64,
    },
    /// Keys from `from` on, up to `to`, belong to no range.
    Gap {
        /// The first key without a range.
        from: Vec<u8>,
        /// The first key behind the gap; `None` when it reaches to the end.
        to: Option<Vec<u8>>,
    },
    /// Two groups claim the same key.
    Overlap {
        /// The group that starts first.
        first: u64,
        /// The group that starts before the first one ends.
        second: u64,
    },
    /// A group has two ranges.
    GroupTwice(u64),
    /// Boundaries are not strictly ascending, or start with the empty key.
    Boundary {
        /// Which boundary.
        at: usize,
    },
    /// Group ids would pass `u64::MAX`.
    GroupIds,
}

impl std::fmt::Display for RangeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Count(n) => write!(f, "{n} ranges; between 1 and {RANGES_MAX} are possible"),
            Self::Empty { group } => write!(f, "the range of group {group} is empty"),
            Self::Gap { from, to: Some(to) } => {
                write!(f, "no range holds \"{}\"..\"{}\"", from.escape_ascii(), to.escape_ascii())
            }
            Self::Gap { from, to: None } => {
                write!(f, "no range holds the keys from \"{}\" on", from.escape_ascii())
            }
            Self::Overlap { first, second } => {
                write!(f, "the ranges of groups {first} and {second} overlap")
            }
            Self::GroupTwice(group) => write!(f, "group {group} has two ranges"),
            Self::Boundary { at } => write!(
                f,
                "boundary {at} is not behind the one before it; boundaries ascend from a non-empty key"
            ),
            Self::GroupIds => f.write_str("group ids would pass the largest one"),
        }
    }
}

impl std::error::Error for RangeError {}

/// Splits the key space into `count` ranges of equal shares of the first eight bytes, for groups
/// `first_group`, `first_group + 1`, and so on.
///
/// # Errors
/// When `count` is zero or more than [`RANGES_MAX`], or the group ids would overflow.
pub fn split_evenly(count: usize, first_group: u64) -> Result<Vec<(u64, RangeBounds)>, RangeError> {
    if count == 0 || count > RANGES_MAX {
        return Err(RangeError::Count(count));
    }
    let boundaries: Vec<Vec<u8>> = (1..count as u128)
        .map(|at| {
            let prefix = (at << 64) / count as u128;
            key_of_prefix(u64::try_from(prefix).expect("at < count, so below 2^64"))
        })
        .collect();
    split_at(&boundaries, first_group)
}

/// Splits the key space at `boundaries`: one range more than there are boundaries, for groups `first_group`,
/// `first_group + 1`, and so on.
///
/// # Errors
/// When the boundaries do not ascend strictly from a non-empty key, or the group ids would overflow.
pub fn split_at<B: AsRef<[u8]>>(
    boundaries: &[B],
    first_group: u64,
) -> Result<Vec<(u64, RangeBounds)>, RangeError> {
    let count = boundaries.len() + 1;
    if count > RANGES_MAX {
        return Err(RangeError::Count(count));
    }
    if first_group.checked_add(boundaries.len() as u64).is_none() {
        return Err(RangeError::GroupIds);
    }
    let mut ranges = Vec::with_capacity(count);
    let mut start = Vec::new();
    for (at, boundary) in boundaries.iter().enumerate() {
        let boundary = boundary.as_ref();
        if boundary <= start.as_slice() {
            return Err(RangeError::Boundary { at });
        }
        let end = boundary.to_vec();
        let bounds =
            RangeBounds { start: std::mem::replace(&mut start, end.clone()), end: Some(end) };
        ranges.push((first_group + at as u64, bounds));
    }
    ranges.push((first_group + boundaries.len() as u64, RangeBounds { start, end: None }));
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bounds(start: &[u8], end: Option<&[u8]>) -> RangeBounds {
        RangeBounds { start: start.to_vec(), end: end.map(<[u8]>::to_vec) }
    }

    #[test]
    fn an_even_split_gives_every_first_byte_its_share() {
        let map = RangeMap::new(&split_evenly(256, 1).unwrap()).unwrap();
        for byte in 0..=255u8 {
            assert_eq!(map.group_of(&[byte; 16]), 1 + u64::from(byte));
            assert_eq!(map.group_of(&[byte]), 1 + u64::from(byte));
        }
        assert_eq!(map.group_of(b""), 1);
        assert_eq!(map.range(1), (2, bounds(&[1], Some(&[2]))));
        let odd = RangeMap::new(&split_evenly(3, 10).unwrap()).unwrap();
        assert_eq!(
            odd.group_of(&[0x55; 16]),
            11,
            "0x5555555555555555 is the first key of the second third"
        );
        assert_eq!(odd.group_of(&[0x55; 7]), 10);
        assert_eq!(odd.len(), 3);
    }

    #[test]
    fn gaps_overlaps_and_doubles_are_refused() {
        let new = |ranges: &[(u64, RangeBounds)]| RangeMap::new(ranges).map(|_| ());
        assert_eq!(new(&[]), Err(RangeError::Count(0)));
        let late = bounds(b"a", None);
        assert_eq!(
            new(&[(1, late)]),
            Err(RangeError::Gap { from: vec![], to: Some(b"a".to_vec()) })
        );
        let open = bounds(b"", Some(b"m"));
        assert_eq!(
            new(&[(1, open.clone())]),
            Err(RangeError::Gap { from: b"m".to_vec(), to: None })
        );
        let hole = [(2, bounds(b"n", None)), (1, open.clone())];
        assert_eq!(
            new(&hole),
            Err(RangeError::Gap { from: b"m".to_vec(), to: Some(b"n".to_vec()) })
        );
        let twice = [(1, open.clone()), (2, bounds(b"l", None))];
        assert_eq!(new(&twice), Err(RangeError::Overlap { first: 1, second: 2 }));
        let both = [(1, open.clone()), (1, bounds(b"m", None))];
        assert_eq!(new(&both), Err(RangeError::GroupTwice(1)));
        let empty = [(1, open), (2, bounds(b"m", Some(b"m"))), (3, bounds(b"m", None))];
        assert_eq!(new(&empty), Err(RangeError::Empty { group: 2 }));
        assert_eq!(split_at(&[b"b", b"b"], 1), Err(RangeError::Boundary { at: 1 }));
        assert_eq!(split_at(&[b""], 1), Err(RangeError::Boundary { at: 0 }));
        assert_eq!(split_at(&[b"b"], u64::MAX), Err(RangeError::GroupIds));
        assert_eq!(split_evenly(0, 1), Err(RangeError::Count(0)));
    }

    #[test]
    fn a_span_names_its_groups_in_key_order() {
        let map = RangeMap::new(&split_at(&[b"b", b"d", b"f"], 1).unwrap()).unwrap();
        let span = |start, end| map.groups_of_span(start, end).collect::<Vec<u64>>();
        assert_eq!(span(b"", None), [1, 2, 3, 4]);
        assert_eq!(span(b"b", Some(b"d")), [2]);
        assert_eq!(span(b"b", Some(b"d\0")), [2, 3]);
        assert_eq!(span(b"a", Some(b"b")), [1]);
        assert_eq!(span(b"f", None), [4]);
        assert!(span(b"d", Some(b"d")).is_empty());
        assert!(span(b"d", Some(b"b")).is_empty());
    }

    proptest! {
        #[test]
        fn lookup_finds_the_range_that_contains_the_key(
            mut boundaries in prop::collection::vec(prop::collection::vec(0u8..3, 1..12), 0..40),
            keys in prop::collection::vec(prop::collection::vec(0u8..3, 0..14), 1..60),
            shared in 0usize..10,
        ) {
            // Boundaries that agree in their first bytes, and keys that agree with them, or not.
            boundaries.iter_mut().for_each(|boundary| drop(boundary.splice(..0, vec![1; shared])));
            let inside = keys.iter().map(|key| [&vec![1; shared], key.as_slice()].concat());
            let keys: Vec<Vec<u8>> = inside.chain(keys.iter().cloned()).collect();
            boundaries.sort_unstable();
            boundaries.dedup();
            let ranges = split_at(&boundaries, 1).unwrap();
            let map = RangeMap::new(&ranges).unwrap();
            prop_assert!(map.iter().eq(ranges.iter().cloned()));
            for (group, bounds) in &ranges {
                prop_assert_eq!(map.bounds_of(*group), Some(bounds.clone()));
            }
            prop_assert_eq!(map.bounds_of(0), None);
            prop_assert_eq!(map.bounds_of(1 + ranges.len() as u64), None);
            for key in &keys {
                let group = map.group_of(key);
                let owner = ranges.iter().find(|range| range.1.contains(key)).unwrap();
                prop_assert_eq!(group, owner.0);
            }
            let span: Vec<u64> =
                map.groups_of_span(&keys[0], keys.get(1).map(Vec::as_slice)).collect();
            let end = keys.get(1);
            let expected: Vec<u64> = ranges
                .iter()
                .filter(|(_, r)| {
                    end.is_none_or(|end| r.start < *end && *end > keys[0])
                        && r.end.as_ref().is_none_or(|e| *e > keys[0])
                })
                .map(|range| range.0)
                .collect();
            prop_assert_eq!(span, expected);
        }
    }
}
