//! What replicas promise each other, read from the bytes that leave: no vote and no acknowledgement before the write it
//! rests on, no vote for a shorter log, and who hears of a later term is in it.
//!
//! Deliberately absent: whether anybody hears it (`fabric`).

use kontiki_net::{FRAME_BYTES_MAX, Frame, FrameKind, Incoming, MessageCode};
use kontiki_raft::{Message, MessageKind, Term};

use super::{Ledger, place};
use crate::sim::fabric::Sent;
use crate::sim::marks::Mark;
use crate::sim::trace::What;

impl Ledger {
    /// A frame left.
    pub fn sent(&mut self, sent: &Sent) {
        let (node, to) = (sent.from, sent.to);
        let Ok((frame, _)) = Frame::parse(&sent.bytes, FRAME_BYTES_MAX) else {
            return self.fail(None, format!("node {node} sends a frame that is none"));
        };
        if frame.kind() != FrameKind::Messages {
            return;
        }
        for incoming in frame.messages() {
            match incoming {
                Ok(Incoming::Message { group, message }) => {
                    // Whoever asks about a later term does not begin it, and a vote may be refused unheard.
                    let may_wait = match message.kind {
                        MessageKind::PreVote { .. } | MessageKind::Vote { .. } => true,
                        MessageKind::PreVoteReply { granted } => granted,
                        _ => false,
                    };
                    if !may_wait {
                        self.note_term(sent, group, message.term);
                    }
                    self.sent_message(node, to, group, &message);
                }
                Ok(Incoming::Beat(beat)) => {
                    let code = u64::from(MessageCode::Beat.code()) * 100 + to;
                    let answers = beat.promise.map_or(0, |promise| promise.answers.0);
                    self.trace.note(node, What::Sent, 0, [code, beat.sequence, answers]);
                }
                Ok(Incoming::Append { group, header, .. }) => {
                    self.note_term(sent, group, header.term);
                    let code = u64::from(MessageCode::Append.code()) * 100 + to;
                    self.trace.note(node, What::Sent, group, [code, header.term.0, header.last.0]);
                }
                Err(error) => self.fail(None, format!("node {node} sends nonsense: {error}")),
            }
        }
    }

    /// What was sent is news of a later term.
    fn note_term(&mut self, sent: &Sent, group: u64, term: Term) {
        if self.nodes[place(sent.to)].replicas[place(group)].term < term.0 {
            self.news.entry(sent.number).or_default().push((group, term));
        }
    }

    /// A worker of `node` has taken the frame of this number, and its replicas are in the terms that `term_of` says.
    pub fn heard(&mut self, node: u64, number: u64, term_of: impl Fn(u64) -> Option<Term>) {
        for (group, term) in self.news.remove(&number).unwrap_or_default() {
            if let Some(own) = term_of(group).filter(|&own| own < term) {
                let what = format!("node {node} was told of {term:?} and stays in {own:?}");
                self.fail(Some(group), what);
            }
        }
    }

    fn sent_message(&mut self, node: u64, to: u64, group: u64, message: &Message) {
        let (code, number) = match message.kind {
            MessageKind::PreVote { last } => (MessageCode::PreVote, last.index.0),
            MessageKind::PreVoteReply { granted } => (MessageCode::PreVoteReply, granted.into()),
            MessageKind::Vote { last, .. } => (MessageCode::Vote, last.index.0),
            MessageKind::VoteReply { granted } => (MessageCode::VoteReply, granted.into()),
            MessageKind::AppendAck { matched, .. } => (MessageCode::AppendAck, matched.index.0),
            MessageKind::AppendReject { hint, .. } => (MessageCode::AppendReject, hint.index.0),
            MessageKind::Heartbeat { commit, .. } => (MessageCode::Heartbeat, commit.0),
            MessageKind::HeartbeatAck { read_round } => (MessageCode::HeartbeatAck, read_round),
            MessageKind::TimeoutNow { last } => (MessageCode::TimeoutNow, last.index.0),
            MessageKind::Resign => (MessageCode::Resign, 0),
            MessageKind::ReadIndex { request } => (MessageCode::ReadIndex, request),
            MessageKind::ReadIndexReply { index, .. } => (MessageCode::ReadIndexReply, index.0),
        };
        let numbers = [u64::from(code.code()) * 100 + to, message.term.0, number];
        self.trace.note(node, What::Sent, group, numbers);
        let replica = &self.nodes[place(node)].replicas[place(group)];
        let durable = replica.durable;
        // What waited in a full queue may be older than what is durable now, and promises less.
        if durable.term > message.term {
            return;
        }
        let broken = match message.kind {
            MessageKind::VoteReply { granted: true } => {
                let ballot = (message.term.0, message.to.get());
                let asked = self.groups[place(group)].ballots.get(&ballot);
                // What the winner has sent meanwhile is of the same term.
                let own = replica.last().filter(|last| last.term < message.term);
                durable.term < message.term
                    || durable.vote != Some(message.to)
                    || asked.zip(own).is_some_and(|(asked, own)| *asked < own)
            }
            MessageKind::Vote { last, .. } => {
                let ballot = (message.term.0, message.from.get());
                self.groups[place(group)].ballots.insert(ballot, last);
                durable.term < message.term
                    || durable.vote != Some(message.from)
                    // Another one may have won meanwhile, and overwritten what the request names.
                    || (!replica.holds(last)
                        && replica.last().is_none_or(|own| own.term < message.term))
            }
            MessageKind::AppendAck { matched, .. } => {
                durable.term < message.term || !replica.holds(matched)
            }
            MessageKind::TimeoutNow { .. } => {
                self.marks.set(Mark::Transferred);
                false
            }
            MessageKind::AppendReject { .. } => {
                self.marks.set(Mark::Rejected);
                false
            }
            _ => false,
        };
        if broken {
            let replica = &self.nodes[place(node)].replicas[place(group)];
            let last = replica.log.last();
            let what =
                format!("node {node} sends {message:?} while durable are {durable:?}, {last:?}");
            self.fail(Some(group), what);
        }
    }
}
