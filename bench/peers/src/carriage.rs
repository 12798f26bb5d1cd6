//! How Kontiki's payloads are carried beside its core: in the engine's blocks, or bare.
//!
//! [`Blocks`] is what the engine does. [`Bare`] leaves out the header and the checksum, which no
//! other system here has: the difference between the two is what end-to-end checksums cost.

use kontiki_net::{Block, BlockKind, BlockMeta, Run, check_append, encode_block, encode_entry};
use kontiki_raft::{AppendHeader, Proposed, Span};

use crate::payloads;
use crate::work::{Batch, Machine};

const GROUP: u64 = 1;

/// A way to carry payloads.
pub trait Carriage: Default {
    /// Puts the proposals of `batch` into an empty buffer.
    fn encode(&mut self, proposed: Proposed, batch: Batch<'_>, buffer: &mut Vec<u8>);

    /// Puts the leader's no-op into an empty buffer.
    fn encode_noop(&mut self, noop: Proposed, buffer: &mut Vec<u8>);

    /// Checks what came with an append, and adds its terms to `spans`.
    fn check(&self, header: &AppendHeader, bytes: &[u8], spans: &mut Vec<Span>);

    /// Applies `count` entries.
    fn apply(&self, bytes: &[u8], count: u64, machine: &mut Machine);
}

/// Blocks with header, table of lengths and CRC-32C, made once and checked whole by each follower.
#[derive(Debug, Default)]
pub struct Blocks {
    /// The table of lengths that a client hands in, kept to be filled again.
    lengths: Vec<u8>,
}

impl Carriage for Blocks {
    #[inline]
    fn encode(&mut self, proposed: Proposed, batch: Batch<'_>, buffer: &mut Vec<u8>) {
        self.lengths.clear();
        payloads::encode_lengths(batch, &mut self.lengths);
        let run = Run { lengths: &self.lengths, payload: batch.bytes() };
        encode_block(buffer, meta(proposed, BlockKind::Command), std::iter::once(run));
    }

    fn encode_noop(&mut self, noop: Proposed, buffer: &mut Vec<u8>) {
        encode_entry(buffer, meta(noop, BlockKind::NoOp), &[]);
    }

    #[inline]
    fn check(&self, header: &AppendHeader, bytes: &[u8], spans: &mut Vec<Span>) {
        check_append(GROUP, header, bytes, spans).expect("the leader's bytes are whole");
    }

    #[inline]
    fn apply(&self, bytes: &[u8], _count: u64, machine: &mut Machine) {
        let (block, _) = Block::parse(bytes).expect("the block was checked");
        if block.kind() == BlockKind::Command {
            for payload in block.entries() {
                machine.apply(payload);
            }
        }
    }
}

fn meta(proposed: Proposed, kind: BlockKind) -> BlockMeta {
    BlockMeta { group: GROUP, first_index: proposed.first, term: proposed.term, kind }
}

/// Payloads with their lengths and nothing else; a no-op is an empty buffer.
#[derive(Debug, Default)]
pub struct Bare;

impl Carriage for Bare {
    #[inline]
    fn encode(&mut self, _proposed: Proposed, batch: Batch<'_>, buffer: &mut Vec<u8>) {
        payloads::encode(batch, buffer);
    }

    fn encode_noop(&mut self, _noop: Proposed, _buffer: &mut Vec<u8>) {}

    #[inline]
    fn check(&self, header: &AppendHeader, _bytes: &[u8], spans: &mut Vec<Span>) {
        if !header.is_empty() {
            // There is one leader, so every entry is of its term.
            spans.push(Span {
                term: header.term,
                first: header.prev.index.next(),
                last: header.last,
            });
        }
    }

    #[inline]
    fn apply(&self, bytes: &[u8], count: u64, machine: &mut Machine) {
        if !bytes.is_empty() {
            payloads::apply(bytes, count, machine);
        }
    }
}
