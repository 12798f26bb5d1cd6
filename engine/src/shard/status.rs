//! What an operator gets to see of a replica.

use kontiki_raft::{ProgressState, Role};

use crate::error::RequestError;
use crate::status::{GroupStatus, MemberStatus, ProgressStatus};

use super::Shard;
use super::replica::Replica;

impl Shard {
    /// The state of every replica, in no particular order.
    pub fn statuses(&self) -> impl Iterator<Item = GroupStatus> {
        self.replicas.iter().map(|replica| self.describe(replica))
    }

    /// The state of the replica of `group`.
    ///
    /// # Errors
    /// `UnknownGroup`.
    pub fn status(&self, group: u64) -> Result<GroupStatus, RequestError> {
        let slot = self.slots.position(group).ok_or(RequestError::UnknownGroup)?;
        Ok(self.describe(&self.replicas[slot as usize]))
    }

    /// The consensus state of replica `slot`, to look at.
    ///
    /// # Panics
    /// When there is no such replica.
    #[must_use]
    pub fn raft(&self, slot: u32) -> &kontiki_raft::Raft {
        &self.replicas[slot as usize].raft
    }

    /// How far the replica of `group` has applied.
    ///
    /// # Errors
    /// `UnknownGroup`.
    pub fn applied_of(&self, group: u64) -> Result<u64, RequestError> {
        let slot = self.slots.position(group).ok_or(RequestError::UnknownGroup)?;
        Ok(self.replicas[slot as usize].applied().0)
    }

    /// Whether a leader may expect an answer of a peer.
    fn is_active(&self, peer: &kontiki_raft::PeerProgress, node: u64) -> bool {
        if self.nodes.external() { self.nodes.is_connected(node) } else { peer.recent_active }
    }

    fn describe(&self, replica: &Replica) -> GroupStatus {
        let status = replica.raft.status();
        let last = status.last.index.0;
        let members = replica.members.iter().map(|member| {
            let progress = if member.replica == status.id {
                own_progress(&status)
            } else {
                let progress = replica.raft.progress().find(|p| p.id == member.replica);
                progress.map(|p| ProgressStatus {
                    state: state_name(p.state).to_owned(),
                    matched: p.matched.0,
                    next: p.next.0,
                    inflight_bytes: p.inflight_bytes,
                    lag: last.saturating_sub(p.matched.0),
                    active: self.is_active(&p, member.node),
                })
            };
            MemberStatus { replica: member.replica.get(), node: member.node, progress }
        });
        GroupStatus {
            group: replica.group,
            node: self.config.node,
            replica: status.id.get(),
            role: role_name(status.role).to_owned(),
            term: status.term.0,
            leader: status.leader.and_then(|r| replica.node_of(r)),
            compacted: status.compacted.index.0,
            applied: replica.applied().0,
            committed: status.committed.0,
            persisted: status.persisted.0,
            last: status.last.index.0,
            floor: status.floor.0,
            waiting: replica.active().map_or(0, |active| active.proposals.waiting_entries()),
            members: members.collect(),
        }
    }
}

/// A leader's own line among its members: it lacks what its disk has not yet taken.
fn own_progress(status: &kontiki_raft::Status) -> Option<ProgressStatus> {
    (status.role == Role::Leader).then(|| ProgressStatus {
        state: "self".to_owned(),
        matched: status.persisted.0,
        next: status.last.index.0 + 1,
        inflight_bytes: 0,
        lag: status.last.index.0 - status.persisted.0,
        active: true,
    })
}

const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    }
}

const fn state_name(state: ProgressState) -> &'static str {
    match state {
        ProgressState::Probe => "probe",
        ProgressState::Replicate => "replicate",
        ProgressState::Snapshot => "snapshot",
    }
}
