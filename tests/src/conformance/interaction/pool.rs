//! The message pool: everything on its way to a replica, in the order sent.
//!
//! What a node's own append and apply threads report back travels here too, since scripts decide
//! when that arrives; such reports are never dropped. Each packet carries the name that scripts
//! know its like by, so that `deliver-msgs type=...` can choose.
//!
//! Deliberately absent: loss by itself, reordering, and time.

use kontiki_raft::{AppendHeader, Message, MessageKind, Position, ReplicaId, SnapshotHeader};

use super::change::Wanted;
use super::entries::Entry;
use super::ready::Page;

/// Something on its way to a replica.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) from: u64,
    pub(super) to: u64,
    /// The name by which scripts know it.
    pub(super) name: &'static str,
    pub(super) body: Body,
}

#[derive(Clone, Debug)]
pub(super) enum Body {
    Append(AppendHeader, Vec<Entry>),
    Message(Message),
    Snapshot(SnapshotHeader),
    /// A proposal on its way to the leader.
    Proposal(Proposal),
    /// The wish that the leader hands over to this replica.
    Transfer(ReplicaId),
    /// The node's append thread has completed this write, which ended with this entry.
    Persisted(u64, Option<Position>),
    /// The same, when the core was told at once.
    Stable(Position),
    /// The node's apply thread has applied this.
    Applied(Page),
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Proposal {
    Normal(String),
    Change(Wanted),
}

impl Packet {
    /// A message of the core. `tells_commit` says that it was sent for nothing but a new commit,
    /// for which the other implementation uses an empty append.
    pub(super) fn message(message: Message, tells_commit: bool) -> Self {
        let name = match message.kind {
            MessageKind::PreVote { .. } => "MsgPreVote",
            MessageKind::PreVoteReply { .. } => "MsgPreVoteResp",
            MessageKind::Vote { .. } => "MsgVote",
            MessageKind::VoteReply { .. } => "MsgVoteResp",
            MessageKind::AppendAck { .. } | MessageKind::AppendReject { .. } => "MsgAppResp",
            MessageKind::Heartbeat { .. } if tells_commit => "MsgApp",
            MessageKind::Heartbeat { .. } => "MsgHeartbeat",
            MessageKind::HeartbeatAck { .. } => "MsgHeartbeatResp",
            MessageKind::TimeoutNow { .. } => "MsgTimeoutNow",
            // Only with external liveness, which the other implementation does not have.
            MessageKind::Resign => "Resign",
            MessageKind::ReadIndex { .. } => "MsgReadIndex",
            MessageKind::ReadIndexReply { .. } => "MsgReadIndexResp",
        };
        let (from, to) = (message.from.get(), message.to.get());
        Self { from, to, name, body: Body::Message(message) }
    }

    pub(super) fn append(header: AppendHeader, entries: Vec<Entry>) -> Self {
        let (from, to) = (header.from.get(), header.to.get());
        Self { from, to, name: "MsgApp", body: Body::Append(header, entries) }
    }

    pub(super) fn snapshot(header: SnapshotHeader) -> Self {
        let (from, to) = (header.from.get(), header.to.get());
        Self { from, to, name: "MsgSnap", body: Body::Snapshot(header) }
    }

    pub(super) fn proposal(from: u64, to: u64, proposal: Proposal) -> Self {
        Self { from, to, name: "MsgProp", body: Body::Proposal(proposal) }
    }

    pub(super) fn transfer(from: u64, to: u64, target: ReplicaId) -> Self {
        Self { from, to, name: "MsgTransferLeader", body: Body::Transfer(target) }
    }

    /// A report of one of the node's own threads.
    pub(super) fn report(node: u64, body: Body) -> Self {
        let name = match &body {
            Body::Applied(_) => "MsgStorageApplyResp",
            Body::Persisted(..)
            | Body::Stable(_)
            | Body::Append(..)
            | Body::Message(_)
            | Body::Snapshot(_)
            | Body::Proposal(_)
            | Body::Transfer(_) => "MsgStorageAppendResp",
        };
        Self { from: node, to: node, name, body }
    }

    /// Whether it answers something and may leave only once all writes before it are durable, as
    /// scripts with an append thread have it.
    pub(super) fn is_answer(&self) -> bool {
        matches!(self.name, "MsgAppResp" | "MsgVoteResp" | "MsgPreVoteResp")
    }

    /// Whether it tells this node that its request, or its leadership, is refused.
    pub(super) fn is_refusal(&self, to: u64) -> bool {
        let refuses = |message: &Message| {
            matches!(
                message.kind,
                MessageKind::VoteReply { granted: false }
                    | MessageKind::PreVoteReply { granted: false }
                    | MessageKind::HeartbeatAck { .. }
            )
        };
        self.to == to && matches!(&self.body, Body::Message(message) if refuses(message))
    }

    /// Whether it asks for a vote.
    pub(super) fn is_ballot(&self) -> bool {
        matches!(self.name, "MsgVote" | "MsgPreVote")
    }

    fn is_report(&self) -> bool {
        matches!(self.body, Body::Persisted(..) | Body::Stable(_) | Body::Applied(_))
    }
}

/// Everything on its way.
#[derive(Debug, Default)]
pub(super) struct Pool {
    packets: Vec<Packet>,
}

impl Pool {
    pub(super) fn send(&mut self, packets: impl IntoIterator<Item = Packet>) {
        self.packets.extend(packets);
    }

    /// Takes out what is on its way to `to` now, of the kind `name` if one is given. To drop it
    /// takes out only what may be lost.
    pub(super) fn take(&mut self, to: u64, name: Option<&str>, to_drop: bool) -> Vec<Packet> {
        let fits = |packet: &mut Packet| {
            packet.to == to
                && name.is_none_or(|name| packet.name == name)
                && !(to_drop && packet.is_report())
        };
        self.packets.extract_if(.., fits).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposal(from: u64, to: u64) -> Packet {
        Packet::proposal(from, to, Proposal::Normal("x".to_owned()))
    }

    #[test]
    fn packets_leave_in_order_and_by_receiver_and_kind() {
        let mut pool = Pool::default();
        let report = Packet::report(2, Body::Persisted(1, None));
        pool.send([proposal(1, 2), proposal(1, 3), report, proposal(3, 2)]);
        let froms = |packets: &[Packet]| packets.iter().map(|p| p.from).collect::<Vec<_>>();
        assert!(pool.take(2, Some("MsgApp"), false).is_empty());
        assert_eq!(froms(&pool.take(2, None, true)), [1, 3], "reports are not dropped");
        assert_eq!(froms(&pool.take(2, Some("MsgStorageAppendResp"), false)), [2]);
        assert_eq!(froms(&pool.take(3, None, false)), [1]);
        assert!(pool.take(3, None, false).is_empty());
    }
}
