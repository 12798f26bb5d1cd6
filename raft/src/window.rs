//! Counts bytes by the entry they end with, in a fixed number of marks.
//!
//! The leader counts bytes that wait for their commit, and bytes on their way to each follower.
//! An exact account would need a mark per append; instead the newest mark grows up to a grain, and
//! beyond it when no mark is left. That only ever frees bytes later than it could. What cannot
//! happen is a leak (hazard L6): the bytes of a mark leave when its last entry does, so nothing is
//! counted once everything is acknowledged.

use crate::types::Index;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Window<const MARKS: usize> {
    /// Ascending; an unused mark, and every one after it, is zero.
    lasts: [Index; MARKS],
    bytes: [u32; MARKS],
}

impl<const MARKS: usize> Window<MARKS> {
    pub(crate) const fn new() -> Self {
        Self { lasts: [Index::ZERO; MARKS], bytes: [0; MARKS] }
    }

    /// All bytes counted.
    #[inline]
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.iter().map(|&bytes| u64::from(bytes)).sum()
    }

    fn used(&self) -> usize {
        self.lasts.iter().take_while(|&&last| last != Index::ZERO).count()
    }

    /// Counts `bytes` until the entry `last` is released. A mark grows up to `grain` bytes before
    /// the next one is begun: a part of the whole window, so that marks are not spent on crumbs.
    #[inline]
    pub(crate) fn push(&mut self, last: Index, bytes: u32, grain: u32) {
        let used = self.used();
        let grown = match used.checked_sub(1) {
            Some(newest) => self.bytes[newest].saturating_add(bytes),
            None => u32::MAX,
        };
        let slot = if used > 0 && (grown <= grain || used == MARKS) { used - 1 } else { used };
        self.bytes[slot] = self.bytes[slot].saturating_add(bytes);
        self.lasts[slot] = last;
    }

    /// Stops counting what ends at or before `up_to`.
    #[inline]
    pub(crate) fn release(&mut self, up_to: Index) {
        let past = |&&last: &&Index| last != Index::ZERO && last <= up_to;
        let gone = self.lasts.iter().take_while(past).count();
        if gone == 0 {
            return;
        }
        if gone == MARKS || self.lasts[gone] == Index::ZERO {
            // Nearly always all of it: constant stores instead of two calls for a few bytes.
            *self = Self::new();
        } else {
            self.lasts.copy_within(gone.., 0);
            self.bytes.copy_within(gone.., 0);
            self.lasts[MARKS - gone..].fill(Index::ZERO);
            self.bytes[MARKS - gone..].fill(0);
        }
    }

    pub(crate) fn check(&self) {
        let used = self.used();
        assert!(self.lasts[..used].is_sorted(), "{self:?}");
        assert!(self.lasts[used..].iter().all(|&last| last == Index::ZERO), "{self:?}");
        assert!(self.bytes[used..].iter().all(|&bytes| bytes == 0), "{self:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l6_counts_to_zero_whatever_was_joined() {
        for grain in [1, 10, 35, 1000] {
            for pushes in 0..100_u64 {
                let mut window = Window::<4>::new();
                for last in 1..=pushes {
                    window.push(Index(last), 10, grain);
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

    #[test]
    fn a_stream_frees_bytes_before_it_pauses() {
        let mut window = Window::<2>::new();
        let mut freed = 0;
        for last in 1..=100 {
            window.push(Index(last), 10, 50);
            let before = window.bytes();
            window.release(Index(last.saturating_sub(10)));
            freed += before - window.bytes();
        }
        assert!(freed > 800, "{freed} of 1000 bytes freed while the stream ran");
    }
}
