//! Counts bytes by the entry they end with, in a fixed number of marks.
//!
//! The leader counts bytes that wait for their commit, and bytes on their way to each follower.
//! An exact account would need a mark per append; instead a full list halves itself by joining
//! neighbours, which only ever frees bytes later than it could. What cannot happen is a leak
//! (hazard L6): the bytes of a mark leave when its last entry does, so nothing is counted once
//! everything is acknowledged.

use crate::types::Index;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Mark {
    last: Index,
    bytes: u64,
}

const UNUSED: Mark = Mark { last: Index::ZERO, bytes: 0 };

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Window<const MARKS: usize> {
    /// Ascending in `last`; the first `count` are used, the rest are `UNUSED`.
    marks: [Mark; MARKS],
    count: u8,
    bytes: u64,
}

impl<const MARKS: usize> Window<MARKS> {
    pub(crate) const fn new() -> Self {
        const {
            assert!(
                2 <= MARKS && MARKS.is_multiple_of(2) && MARKS <= 128,
                "halving needs an even count"
            )
        };
        Self { marks: [UNUSED; MARKS], count: 0, bytes: 0 }
    }

    /// All bytes counted.
    #[inline]
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Counts `bytes` until the entry `last` is released.
    #[inline]
    pub(crate) fn push(&mut self, last: Index, bytes: u32) {
        if usize::from(self.count) == MARKS {
            self.halve();
        }
        self.marks[usize::from(self.count)] = Mark { last, bytes: u64::from(bytes) };
        self.count += 1;
        self.bytes += u64::from(bytes);
    }

    fn halve(&mut self) {
        for half in 0..MARKS / 2 {
            let (one, two) = (self.marks[2 * half], self.marks[2 * half + 1]);
            self.marks[half] = Mark { last: two.last, bytes: one.bytes + two.bytes };
        }
        self.marks[MARKS / 2..].fill(UNUSED);
        self.count /= 2;
    }

    /// Stops counting what ends at or before `up_to`.
    #[inline]
    pub(crate) fn release(&mut self, up_to: Index) {
        let used = usize::from(self.count);
        let mut gone: u8 = 0;
        for mark in &self.marks[..used] {
            if mark.last > up_to {
                break;
            }
            self.bytes -= mark.bytes;
            gone += 1;
        }
        if gone > 0 {
            self.marks.copy_within(usize::from(gone)..used, 0);
            self.count -= gone;
            self.marks[usize::from(self.count)..used].fill(UNUSED);
        }
    }

    /// Counts nothing.
    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }

    pub(crate) fn check(&self) {
        let marks = &self.marks[..usize::from(self.count)];
        let sum: u64 = marks.iter().map(|mark| mark.bytes).sum();
        assert!(sum == self.bytes, "{} bytes counted, {sum} marked", self.bytes);
        assert!(marks.is_sorted_by_key(|mark| mark.last), "{marks:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l6_counts_to_zero_whatever_was_joined() {
        for pushes in 0..200_u64 {
            let mut window = Window::<4>::new();
            for last in 1..=pushes {
                window.push(Index(last), 10);
                window.check();
            }
            assert_eq!(window.bytes(), pushes * 10);
            for last in 1..=pushes {
                window.release(Index(last));
                window.check();
                assert!(window.bytes() >= (pushes - last) * 10, "bytes are never freed early");
            }
            assert_eq!(window, Window::new());
        }
    }
}
