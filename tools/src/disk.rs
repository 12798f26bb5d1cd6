//! What tools read from a store's directory: read-only, also while a node runs on it.
//!
//! A group's record says where its log starts, and the log's blocks say the rest; both come through the engine's own
//! [`StoreView`], so that there is one reader of the format. Going through the log costs reading all of it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;

use kontiki::store::{GroupRecord, OpenError, StoreView};
use kontiki_net::{Block, BlockKind};

use crate::api::{LogBlock, LogReport};

/// The last entry of a group's log, as its blocks say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Its term.
    pub term: u64,
    /// Its index.
    pub index: u64,
    /// The blocks of the group that are live or overwritten.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Calls `visit` with batch, part and every block of the log, in the order in which they were written.
///
/// # Errors
/// What reading the log says; [`OpenError::Block`] for a block that is not whole.
pub fn for_each_block(
    view: &StoreView,
    mut visit: impl FnMut(u64, u16, &Block<'_>),
) -> Result<(), OpenError> {
    view.for_each_part(&mut |number, part, bytes| {
        let mut rest = bytes;
        while !rest.is_empty() {
            let offset = (bytes.len() - rest.len()) as u64;
            let damaged = |why: String| OpenError::Block { number, part, offset, why };
            let (block, behind) = Block::parse(rest).map_err(|e| damaged(e.to_string()))?;
            block.verify().map_err(|e| damaged(e.to_string()))?;
            visit(number, part, &block);
            rest = behind;
        }
        Ok(())
    })
}

/// The end of every group's log.
///
/// # Errors
/// As [`for_each_block`].
pub fn tails(view: &StoreView) -> Result<BTreeMap<u64, Tail>, OpenError> {
    let mut tails: BTreeMap<u64, Tail> = BTreeMap::new();
    for_each_block(view, |_, _, block| {
        let tail = tails.entry(block.group()).or_default();
        // A later block replaces what an earlier one said of the same indexes.
        (tail.term, tail.index) = (block.term().0, block.last().0);
        tail.blocks += 1;
        tail.bytes += block.bytes().len() as u64;
    })?;
    Ok(tails)
}

/// The blocks of `group` that hold an index of `range`, at most `limit`; `None` when the store has no such group.
///
/// # Errors
/// As [`for_each_block`].
pub fn log(
    dir: &Path,
    group: u64,
    range: RangeInclusive<u64>,
    limit: usize,
) -> Result<Option<LogReport>, OpenError> {
    let view = StoreView::open(dir)?;
    let Some(record) = record(&view, group) else {
        return Ok(None);
    };
    let compacted = record.compacted.index.0;
    let mut blocks: Vec<LogBlock> = Vec::new();
    for_each_block(&view, |batch, part, block| {
        if block.group() != group {
            return;
        }
        let first = block.first().0;
        while blocks.last().is_some_and(|last| last.first >= first) {
            blocks.pop();
        }
        blocks.push(LogBlock {
            first,
            last: block.last().0,
            term: block.term().0,
            kind: kind(block.kind()).to_owned(),
            entries: u64::from(block.count()),
            bytes: block.bytes().len() as u64,
            batch,
            part: u64::from(part),
        });
    })?;
    blocks.retain(|block| {
        block.last > compacted && block.last >= *range.start() && block.first <= *range.end()
    });
    let truncated = blocks.len() > limit;
    blocks.truncate(limit);
    let node = view.identity().node_id;
    Ok(Some(LogReport { group, node, compacted, blocks, truncated }))
}

/// The record of `group`.
#[must_use]
pub fn record(view: &StoreView, group: u64) -> Option<&GroupRecord> {
    let groups = view.groups();
    groups.binary_search_by_key(&group, |(id, _)| *id).ok().map(|at| &groups[at].1)
}

const fn kind(kind: BlockKind) -> &'static str {
    match kind {
        BlockKind::Command => "command",
        BlockKind::NoOp => "no-op",
        BlockKind::Membership => "membership",
        BlockKind::Admin => "admin",
    }
}
