//! `rafter` 0.0.2-alpha.1: a deterministic, sans-I/O core that keeps the log, payloads included.
//!
//! - A batch goes in as one `step_proposal_batch`, which takes each payload as a `Vec` of its own
//!   and keeps it as an `Arc<[u8]>`; one slice of entries is shared by the appends of a round.
//! - What a step adds to the log must be durable before its outputs are released. The core's own
//!   log is that memory here, so nothing is stored twice.
//! - Compaction is the installation of a local snapshot; its payload is taken to be empty.

use std::collections::VecDeque;

use rafter::{
    ApplicationSnapshotKind, ApplicationSnapshotMetadata, ApplicationSnapshotVersion,
    ClientProposalInput, Input, LogIndex, Message, Node, NodeConfig, NodeId, Output, RaftSnapshot,
    RaftSnapshotMetadata, Role, SnapshotGroupId,
};

use crate::work::{Batch, KEEP, Machine, System};

const LEADER: usize = 0;

struct Replica {
    node: Node,
    machine: Machine,
    applied: LogIndex,
    compacted: LogIndex,
}

/// See the module.
pub struct Rafter {
    replicas: [Replica; 3],
    /// Sender, receiver, message.
    mail: VecDeque<(NodeId, NodeId, Message)>,
}

impl Rafter {
    /// A group whose first node leads.
    pub fn new() -> Self {
        let mut system = Self { replicas: [1, 2, 3].map(Replica::new), mail: VecDeque::new() };
        while system.replicas[LEADER].node.role() == Role::Follower {
            system.step(LEADER, Input::Tick);
        }
        system.deliver();
        assert_eq!(system.replicas[LEADER].node.role(), Role::Leader);
        system
    }

    fn step(&mut self, slot: usize, input: Input) {
        let outputs = self.replicas[slot].node.step(input);
        self.replicas[slot].execute(outputs, &mut self.mail);
    }

    fn deliver(&mut self) {
        while let Some((from, to, message)) = self.mail.pop_front() {
            let slot = usize::try_from(to.0 - 1).expect("three nodes");
            self.step(slot, Input::Message { from, message });
        }
    }
}

impl Replica {
    fn new(id: u64) -> Self {
        let peers = (1..=3).filter(|&peer| peer != id).map(NodeId).collect();
        // The first node's timer is the shortest; the others never tick.
        let config = NodeConfig::new(NodeId(id), peers, 10)
            .expect("a valid configuration")
            .with_heartbeat_interval_ticks(1)
            .with_max_append_entries_bytes(1 << 24)
            .with_max_inflight_appends(256)
            .with_max_inflight_bytes(1 << 26);
        let (applied, compacted) = (LogIndex::ZERO, LogIndex::ZERO);
        Self { node: Node::new(config), machine: Machine::default(), applied, compacted }
    }

    fn execute(&mut self, outputs: Vec<Output>, mail: &mut VecDeque<(NodeId, NodeId, Message)>) {
        let own = self.node.id();
        for output in outputs {
            match output {
                Output::Send { to, message } => mail.push_back((own, to, message)),
                Output::Apply { index, payload, .. } => {
                    self.machine.apply(&payload);
                    self.applied = index;
                }
                other => panic!("nothing else is asked for here: {other:?}"),
            }
        }
        if self.applied.0 - self.compacted.0 > KEEP {
            self.compact();
        }
    }

    fn compact(&mut self) {
        let kind = ApplicationSnapshotKind::new("machine").expect("a short name");
        let version = ApplicationSnapshotVersion::new(1).expect("not zero");
        let term = self.node.current_term();
        let metadata = RaftSnapshotMetadata::new(
            SnapshotGroupId::new("group").expect("a short name"),
            self.node.id(),
            self.applied,
            term,
            term,
            ApplicationSnapshotMetadata::new(kind, version),
        );
        let snapshot = RaftSnapshot::from_payload(metadata.expect("an applied position"), &[]);
        let outputs = self.node.install_local_snapshot(snapshot).expect("an applied position");
        assert!(outputs.is_empty(), "no proposal is tracked");
        self.compacted = self.applied;
    }
}

impl System for Rafter {
    fn commit_batch(&mut self, batch: Batch<'_>) {
        let leader = &mut self.replicas[LEADER];
        let before = leader.machine.entries;
        let proposal =
            |payload: &[u8]| ClientProposalInput { proposal_id: None, payload: payload.to_vec() };
        let outputs = leader.node.step_proposal_batch(batch.payloads().map(proposal).collect());
        leader.execute(outputs, &mut self.mail);
        self.deliver();
        let applied = self.replicas[LEADER].machine.entries;
        assert_eq!(applied, before + batch.len() as u64, "applied");
    }

    fn finish(&mut self) -> [Machine; 3] {
        self.step(LEADER, Input::Tick);
        self.deliver();
        [0, 1, 2].map(|slot| self.replicas[slot].machine)
    }
}
