//! Messages from peers: each goes to its replica, each append's blocks into the round.
//!
//! The bytes of a block are checked here once (structure, checksum, place) and copied once, from the receive
//! buffer into the round. Bytes that cannot be understood cost their sender the connection; messages that are
//! understood but concern nobody here are ignored.

use kontiki_net::Block;
use kontiki_net::DecodeError;
use kontiki_net::{Incoming, Messages, check_append};
use kontiki_raft::{AppendHeader, AppendOutcome, Message, MessageKind, Time};

use super::Shard;
use super::drain::block_ref;
use super::output::Output;

impl Shard {
    /// Input: the messages of a frame from `node`.
    ///
    /// # Errors
    /// What could not be understood; nothing of the message in question was taken, and the connection it came
    /// on is to be closed, since its bytes are no longer to be trusted.
    pub fn messages(
        &mut self,
        now: Time,
        node: u64,
        messages: Messages<'_>,
        out: &mut Output,
    ) -> Result<(), DecodeError> {
        for incoming in messages {
            out.counts.messages_in += 1;
            match incoming? {
                // Beats concern the node: whoever keeps its support takes them next.
                Incoming::Beat(beat) => out.beats.push((node, beat)),
                Incoming::Message { group, message } => {
                    let Some(slot) = self.slots.position(group) else { continue };
                    // A replica speaks from its own node only.
                    if self.replicas[slot as usize].node_of(message.from) == Some(node) {
                        self.message(now, slot, node, &message);
                    }
                }
                Incoming::Append { group, header, blocks } => {
                    let Some(slot) = self.slots.position(group) else { continue };
                    if self.replicas[slot as usize].node_of(header.from) == Some(node) {
                        self.append(now, slot, &header, blocks, out)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn message(&mut self, now: Time, slot: u32, node: u64, message: &Message) {
        let replica = &self.replicas[slot as usize];
        let (busy, follows) = (replica.is_busy(), replica.raft.leader() == Some(message.from));
        // In its own term nobody has taken over from it, and nobody may be about to.
        let leaves = message.kind == MessageKind::Resign
            && message.term == replica.raft.term()
            && follows
            && self.nodes.external();
        self.touch(slot);
        self.replicas[slot as usize].raft.step(now, message);
        if leaves && self.replicas[slot as usize].raft.leader().is_none() {
            self.campaign_in_turn(slot, Some(node), busy);
        }
    }

    fn append(
        &mut self,
        now: Time,
        slot: u32,
        header: &AppendHeader,
        blocks: &[u8],
        out: &mut Output,
    ) -> Result<(), DecodeError> {
        self.spans.clear();
        check_append(self.group(slot), header, blocks, &mut self.spans)?;
        self.touch(slot);
        let replica = &mut self.replicas[slot as usize];
        let outcome = replica.raft.step_append(now, header, &self.spans, &[]);
        if let AppendOutcome::Accepted { first_new } = outcome {
            let (rounds, building) = (&mut self.rounds, &mut self.building);
            replica.log.truncate(first_new, |dead| Self::release(rounds, building, dead.round));
            let mut rest = blocks;
            while !rest.is_empty() {
                let (block, after) = Block::parse(rest)?;
                rest = after;
                if block.first() < first_new {
                    continue;
                }
                let start = building.bytes.len();
                building.bytes.extend_from_slice(block.bytes());
                building.blocks += 1;
                let range = start..building.bytes.len();
                if replica.log.push(block_ref(block.first(), block.count(), rounds.next(), range)) {
                    self.logged.push(slot);
                }
                out.counts.blocks_received += 1;
            }
        }
        Ok(())
    }
}
