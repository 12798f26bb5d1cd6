//! What scripts print of a node: its part, and its picture of the others.
//!
//! Everything comes from the core. The few translations are said where they are made.

use kontiki_raft::{Index, PeerProgress, ProgressState, Role};

use super::node::Node;

/// A part as scripts call it.
pub(super) const fn role(role: Role) -> &'static str {
    match role {
        Role::Follower => "StateFollower",
        Role::PreCandidate => "StatePreCandidate",
        Role::Candidate => "StateCandidate",
        Role::Leader => "StateLeader",
    }
}

/// The line of `raft-state`.
pub(super) fn state(node: &Node) -> String {
    let view = node.look();
    let votes = node.membership().seat(node.id).is_some_and(|seat| seat.votes());
    let seat = if votes { "Voter" } else { "Non-Voter" };
    let (id, role) = (node.id, role(view.role));
    format!("{id}: {role} ({seat}) Term:{} Lead:{}", view.term, view.leader)
}

/// The lines of `status`: a leader's picture of all members, itself included.
pub(super) fn status(node: &Node) -> Vec<String> {
    if !node.raft.is_leader() {
        return Vec::new();
    }
    let membership = node.membership();
    let line = |member: kontiki_raft::Member| {
        let id = member.id;
        if id == node.id {
            let persisted = node.raft.persisted().0;
            let learner = if member.seat.is_learner() { " learner" } else { "" };
            format!("{id}: StateReplicate match={persisted} next={}{learner}", persisted + 1)
        } else {
            let peer =
                node.peer(id).map_or_else(|| "unknown".to_owned(), |peer| progress(node, &peer));
            format!("{id}: {peer}")
        }
    };
    membership.members().map(line).collect()
}

/// A leader's picture of one other member.
pub(super) fn progress(node: &Node, peer: &PeerProgress) -> String {
    let state = match peer.state {
        ProgressState::Probe => "StateProbe",
        ProgressState::Replicate => "StateReplicate",
        ProgressState::Snapshot => "StateSnapshot",
    };
    let snapshot = node.snapshot_sent(peer);
    // Scripts go on behind the snapshot when one is awaited; the core decides that when it is
    // there, since what is delivered may be a later one.
    let next = snapshot.map_or(peer.next, Index::next);
    let mut text = format!("{state} match={} next={next}", peer.matched);
    // The state machine may not have come as far as the log: the seat is that of the applied log.
    if node.membership().seat(peer.id).is_some_and(|seat| seat.is_learner()) {
        text.push_str(" learner");
    }
    if node.is_paused(peer) {
        text.push_str(" paused");
    }
    if let Some(index) = snapshot {
        text.push_str(&format!(" pendingSnap={index}"));
    }
    if !peer.recent_active {
        text.push_str(" inactive");
    }
    if peer.inflight_bytes > 0 {
        text.push_str(&format!(" inflight={}", peer.inflight_bytes));
        let full = node.options.inflight_max.is_some_and(|max| peer.inflight_bytes >= max.into());
        text.push_str(if full { "[full]" } else { "" });
    }
    text
}
