//! Where the two implementations differ by design, and a script shows it.
//!
//! A difference is excused only where the cause is there: each rule looks at the state of our
//! nodes for it. Anything else is a failure.

use std::fmt;

use kontiki_raft::quorum::jointly_reached;
use kontiki_raft::{Index, PeerProgress, ReplicaId};

use super::node::Node;
use super::world::World;

/// What a difference is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// The commit, or what is applied, is expected to be this.
    Commit(u64),
    /// What follows from the commit: the applied membership, and what is shown of it.
    Applied,
    /// What the log holds at this index, or that it holds nothing there.
    Entry(u64),
    /// Anything that no design excuses.
    Other,
}

/// An expectation that ours does not meet.
#[derive(Clone, Debug)]
pub(super) struct Difference {
    /// The node it is about, if it is about one.
    pub(super) node: Option<u64>,
    pub(super) about: About,
    pub(super) text: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node {
            Some(node) => write!(f, "node {node}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// The reason for which all these differences are none of ours to mend, if there is one for each.
pub(super) fn excuse(world: &World, differences: &[Difference]) -> Option<String> {
    let reasons: Option<Vec<String>> =
        differences.iter().map(|difference| reason(world, difference)).collect();
    reasons?.into_iter().next()
}

fn reason(world: &World, difference: &Difference) -> Option<String> {
    if let Some(reason) = world.diverged() {
        return Some(reason.to_owned());
    }
    if difference.about == About::Other {
        return None;
    }
    let waiting = world.nodes.iter().find_map(Node::waiting_change);
    // What precedes the change is the same with and without it.
    let may_wait = |index: &Index| !matches!(difference.about, About::Entry(at) if at <= index.0);
    if let Some(index) = waiting.filter(may_wait) {
        return Some(format!(
            "the change at {index} counts here since it was appended and waits for its own \
             majority; there the one before has committed it"
        ));
    }
    let node = world.node(difference.node?).ok()?;
    is_commit_untold(world, node, difference.about).then(|| {
        "a commit is told here no further than what the follower has acknowledged".to_owned()
    })
}

/// Whether a leader has committed what is expected of this follower, and may not tell it yet.
fn is_commit_untold(world: &World, node: &Node, about: About) -> bool {
    let wanted = match about {
        About::Commit(expected) => Index(expected),
        About::Applied => node.raft.committed().next(),
        About::Entry(_) | About::Other => return false,
    };
    let may_not_tell = |leader: &Node| {
        let unacknowledged = leader.peer(node.id).is_some_and(|peer| peer.matched < wanted);
        leader.raft.term() == node.raft.term()
            && leader.raft.committed() >= wanted
            && unacknowledged
            && node.memory.last() >= wanted
    };
    world.nodes.iter().any(may_not_tell)
}

impl Node {
    /// A change of membership which this leader cannot commit yet, and which the membership before
    /// it would have committed.
    pub(super) fn waiting_change(&self) -> Option<Index> {
        let index = self.raft.membership_index();
        if !self.raft.is_leader() || index <= self.raft.committed() {
            return None;
        }
        let before = self.raft.membership_at(index.prev())?;
        let peers: Vec<PeerProgress> = self.raft.progress().collect();
        let reached = |id: ReplicaId| {
            if id == self.id {
                return self.raft.persisted();
            }
            // One that the change removes is not followed any more; it may have had the entry.
            peers.iter().find(|peer| peer.id == id).map_or(index, |peer| peer.matched)
        };
        let mut incoming: Vec<Index> = before.voters().map(reached).collect();
        let mut outgoing: Vec<Index> = before.outgoing_voters().map(reached).collect();
        let reached = jointly_reached(&mut incoming, &mut outgoing)?;
        (reached >= index).then_some(index)
    }
}
