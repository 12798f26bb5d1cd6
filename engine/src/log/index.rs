//! The blocks of one group's log, oldest first.
//!
//! Most logs at rest are empty, so one that is takes a word and no heap block.
//!
//! Invariant: contiguous indexes; a block is never split, so both ends move by whole blocks.
//! Deliberately absent: bytes and terms. The bytes are in a round, the terms in the consensus core.

use std::collections::VecDeque;

use kontiki_raft::Index;

/// What an empty log lists.
static NO_BLOCKS: VecDeque<BlockRef> = VecDeque::new();

/// One block of a group's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockRef {
    /// The index of its first entry.
    pub(crate) first: u64,
    /// The round it was written in; see [`super::rounds::Rounds`].
    pub(crate) round: u64,
    /// Where it starts in the round's bytes.
    pub(crate) offset: u32,
    /// Its length, header included.
    pub(crate) bytes: u32,
    /// The number of its entries.
    pub(crate) count: u32,
}

impl BlockRef {
    /// The index of its last entry.
    pub(crate) fn last(&self) -> u64 {
        self.first + u64::from(self.count) - 1
    }

    /// Its place in its round's bytes.
    pub(crate) fn range(&self) -> std::ops::Range<usize> {
        self.offset as usize..(self.offset + self.bytes) as usize
    }
}

/// The live blocks of one group.
#[derive(Debug, Default)]
#[expect(clippy::box_collection, reason = "a word, when there is no block, instead of four")]
pub(crate) struct BlockIndex(Option<Box<VecDeque<BlockRef>>>);

const _: () = assert!(size_of::<BlockIndex>() == size_of::<usize>());

impl BlockIndex {
    /// Adds the next block; true when there was none since the log was last [given up](Self::shrink).
    pub(crate) fn push(&mut self, block: BlockRef) -> bool {
        let Some(blocks) = &mut self.0 else {
            let mut blocks = VecDeque::with_capacity(1);
            blocks.push_back(block);
            self.0 = Some(Box::new(blocks));
            return true;
        };
        if let Some(back) = blocks.back() {
            assert!(
                back.last() + 1 == block.first,
                "block {block:?} does not follow {back:?}: logs have no holes"
            );
        }
        blocks.push_back(block);
        false
    }

    /// Gives up the memory of a log that is empty; true when it has none now.
    pub(crate) fn shrink(&mut self) -> bool {
        self.0 = self.0.take().filter(|blocks| !blocks.is_empty());
        self.0.is_none()
    }

    /// Drops every block at or after `from`, giving each to `dropped`.
    ///
    /// A conflict always falls on a block boundary, because a block is immutable and never split.
    pub(crate) fn truncate(&mut self, from: Index, mut dropped: impl FnMut(BlockRef)) {
        let Some(blocks) = &mut self.0 else { return };
        while let Some(&back) = blocks.back() {
            if back.last() < from.0 {
                break;
            }
            assert!(back.first >= from.0, "truncation at {from:?} would split {back:?}");
            blocks.pop_back();
            dropped(back);
        }
    }

    /// Drops every block that ends at or before `through`, giving each to `dropped`.
    pub(crate) fn compact(&mut self, through: Index, mut dropped: impl FnMut(BlockRef)) {
        let Some(blocks) = &mut self.0 else { return };
        while let Some(&front) = blocks.front() {
            if front.last() > through.0 {
                break;
            }
            blocks.pop_front();
            dropped(front);
        }
    }

    /// The end of the last block that ends at or before `limit`.
    pub(crate) fn boundary_at_or_before(&self, limit: Index) -> Option<Index> {
        let blocks = self.0.as_deref()?;
        let after = blocks.partition_point(|block| block.last() <= limit.0);
        after.checked_sub(1).map(|at| Index(blocks[at].last()))
    }

    /// The blocks from the one that starts at `first` on.
    ///
    /// # Panics
    /// When `first` lies inside a block: an index that is asked for is always a boundary.
    pub(crate) fn from(&self, first: Index) -> impl Iterator<Item = &BlockRef> {
        let blocks = self.0.as_deref().unwrap_or(&NO_BLOCKS);
        // What is asked for is nearly always among the last few, which share a cache line or two.
        let mut at = blocks.len();
        let near = at.saturating_sub(8);
        while at > near && blocks[at - 1].first >= first.0 {
            at -= 1;
        }
        if at == near {
            at = blocks.partition_point(|block| block.first < first.0);
        }
        if let Some(found) = blocks.get(at) {
            assert!(
                found.first == first.0,
                "index {first:?} is not the start of a block: {found:?}"
            );
        }
        blocks.range(at..)
    }

    /// The index of the first entry, when there is a live block.
    pub(crate) fn first(&self) -> Option<u64> {
        self.0.as_ref()?.front().map(|block| block.first)
    }

    /// Whether there is no live block.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|blocks| blocks.is_empty())
    }

    /// The index of the last entry, when there is a live block.
    pub(crate) fn last(&self) -> Option<u64> {
        self.0.as_ref()?.back().map(BlockRef::last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(first: u64, count: u32, round: u64) -> BlockRef {
        BlockRef { first, round, offset: 0, bytes: 100, count }
    }

    fn index() -> BlockIndex {
        let mut index = BlockIndex::default();
        index.push(block(5, 3, 0));
        index.push(block(8, 1, 1));
        index.push(block(9, 4, 2));
        index
    }

    #[test]
    fn truncation_takes_whole_blocks_from_the_end() {
        let mut index = index();
        let mut rounds = Vec::new();
        index.truncate(Index(8), |b| rounds.push(b.round));
        assert_eq!(rounds, [2, 1]);
        assert_eq!(index.last(), Some(7));
    }

    #[test]
    #[should_panic(expected = "split")]
    fn truncation_inside_a_block_is_a_fault() {
        index().truncate(Index(10), |_| ());
    }

    #[test]
    fn compaction_keeps_the_block_that_reaches_past_the_bound() {
        let mut index = index();
        let mut rounds = Vec::new();
        index.compact(Index(8), |b| rounds.push(b.round));
        assert_eq!(rounds, [0, 1]);
        assert_eq!(index.from(Index(9)).count(), 1);
        assert_eq!(index.boundary_at_or_before(Index(11)), None);
        assert_eq!(index.boundary_at_or_before(Index(12)), Some(Index(12)));
    }

    #[test]
    #[should_panic(expected = "no holes")]
    fn a_hole_is_a_fault() {
        index().push(block(14, 1, 3));
    }
}
