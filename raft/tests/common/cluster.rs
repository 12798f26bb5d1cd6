//! A group of replicas: who there is, what each has in memory and on disk, and the inputs.
//!
//! Every input ends in [`Cluster::after_input`], which pays what the caller owes the core at once
//! and lets the oracle look. Each replica has a clock of its own, which may run fast or slow.

use std::collections::VecDeque;

use kontiki_raft::{
    Change, ChangeError, Config, Index, Liveness, Membership, MembershipAt, MembershipProposed,
    Position, Proposed, Raft, ReadId, ReadReady, ReplicaId, Role, Start, Term, Time, Transition,
};

use super::entries::{Disk, ENTRY_BYTES, Entries, Entry, Write};
use super::network::Packet;
use super::oracle::Oracle;
use super::support::Support;

/// All clocks agree at this moment, and nothing happens before it.
pub(crate) const ORIGIN: Time = Time(1_000_000);

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: ReplicaId,
    /// `None` while crashed.
    pub(crate) raft: Option<Raft>,
    pub(crate) memory: Entries,
    pub(crate) disk: Disk,
    pub(crate) writing: VecDeque<Write>,
    /// Answers of the core to reads, in order.
    pub(crate) reads: Vec<ReadReady>,
    /// What the state machine has taken; durable once it is `disk.applied`.
    pub(crate) applied: Index,
    /// The snapshot that was installed last, while its write is not complete.
    pub(crate) staged: Option<(Position, Membership)>,
    /// Term, sender and session of what its leader said last.
    pub(crate) heard: Option<(Term, ReplicaId, u32)>,
    pub(crate) restarts: u64,
    /// How often it lost its disk while it was no member, and what was committed then.
    pub(crate) wipes: u64,
    pub(crate) wiped_at: Position,
    /// How many thousandths of a second its clock counts in one.
    pub(crate) rate: u64,
    pub(crate) priority: Option<u8>,
}

/// A harness that breaks its promises, for tests of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// Reports a write as durable when it is only on its way.
    PersistEarly,
    /// Forgets at a restart whom the replica voted for.
    ForgetVote,
    /// Loses the last durable entry in a crash.
    LoseTail,
}

/// A group.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) config: Config,
    pub(crate) nodes: Vec<Node>,
    pub(crate) net: VecDeque<Packet>,
    pub(crate) now: Time,
    /// Ordered pairs that cannot talk.
    pub(crate) cut: Vec<(u64, u64)>,
    /// The largest extent of one append, in entries.
    pub(crate) extent_max: u64,
    /// The most entries applied at once.
    pub(crate) page_max: u64,
    /// [`Cluster::send_appends`] sends the snapshots that are asked for, too.
    pub(crate) serves_snapshots: bool,
    /// What is applied becomes durable by [`Cluster::flush`] only.
    pub(crate) lazy_apply: bool,
    pub(crate) oracle: Oracle,
    pub(crate) support: Support,
    pub(crate) sabotage: Option<Sabotage>,
    /// Print what happens.
    pub(crate) tracing: bool,
    next_payload: u64,
    seed: u64,
}

pub(crate) fn id(number: u64) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

pub(crate) fn slot(number: u64) -> usize {
    usize::try_from(number - 1).unwrap()
}

pub(crate) fn config() -> Config {
    Config { election_timeout_us: 100_000, heartbeat_us: 20_000, ..Config::default() }
}

impl Node {
    fn new(id: ReplicaId, base: Membership) -> Self {
        Self {
            id,
            raft: None,
            memory: Entries::new(Position::ZERO, base),
            disk: Disk::new(base),
            writing: VecDeque::new(),
            reads: Vec::new(),
            applied: Index::ZERO,
            staged: None,
            heard: None,
            restarts: 0,
            wipes: 0,
            wiped_at: Position::ZERO,
            rate: 1_000,
            priority: None,
        }
    }

    pub(crate) fn raft(&self) -> &Raft {
        self.raft.as_ref().expect("the replica runs")
    }

    /// Whether this one knows that the other came back new, if it did: from a membership after what
    /// was committed then.
    pub(crate) fn knows_life_of(&self, other: &Self) -> bool {
        let later = self.raft().membership_index() > other.wiped_at.index;
        other.wipes == 0 || later && self.memory.holds(other.wiped_at)
    }
}

/// Making and looking.
impl Cluster {
    /// Replicas 1 to `count`, all new.
    pub(crate) fn new(count: u64, seed: u64) -> Self {
        Self::with_logs(&vec![&[][..]; usize::try_from(count).unwrap()], seed)
    }

    /// Replicas whose logs have the given terms, and who know the last of them.
    pub(crate) fn with_logs(logs: &[&[u64]], seed: u64) -> Self {
        let count = logs.len() as u64;
        let mut cluster = Self::stopped(count, 0, config(), seed);
        for (number, &terms) in (1..).zip(logs) {
            // The same term at the same index is the same entry.
            let entry = |(slot, &term): (usize, &u64)| Entry {
                term: Term(term),
                payload: term << 16 | slot as u64,
            };
            let disk = &mut cluster.node_mut(number).disk;
            disk.log.entries = terms.iter().enumerate().map(entry).collect();
            disk.hard_state.term = Term(terms.last().copied().unwrap_or(0));
            cluster.restart(number);
        }
        cluster
    }

    /// Replicas 1 to `voters`, who know each other, and `spares` who wait to be added. None runs.
    pub(crate) fn stopped(voters: u64, spares: u64, config: Config, seed: u64) -> Self {
        let ids: Vec<_> = (1..=voters).map(id).collect();
        let membership = Membership::new(&ids).unwrap();
        let base = |number| if number <= voters { membership } else { Membership::EMPTY };
        let numbers = 1..=voters + spares;
        Self {
            config,
            nodes: numbers.map(|number| Node::new(id(number), base(number))).collect(),
            net: VecDeque::new(),
            now: ORIGIN,
            cut: Vec::new(),
            extent_max: 3,
            page_max: u64::MAX,
            serves_snapshots: false,
            lazy_apply: false,
            oracle: Oracle::new(membership),
            support: Support::default(),
            sabotage: None,
            tracing: false,
            next_payload: 1 << 32,
            seed,
        }
    }

    pub(crate) fn node(&self, number: u64) -> &Node {
        &self.nodes[slot(number)]
    }

    pub(crate) fn node_mut(&mut self, number: u64) -> &mut Node {
        &mut self.nodes[slot(number)]
    }

    pub(crate) fn raft(&self, number: u64) -> &Raft {
        self.node(number).raft()
    }

    pub(crate) fn raft_mut(&mut self, number: u64) -> &mut Raft {
        self.node_mut(number).raft.as_mut().expect("the replica runs")
    }

    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> + use<> {
        1..=self.nodes.len() as u64
    }

    pub(crate) fn running(&self, number: u64) -> bool {
        self.node(number).raft.is_some()
    }

    /// The leader of the latest term, among those that run.
    pub(crate) fn leader(&self) -> Option<u64> {
        let leads = |&n: &u64| self.running(n) && self.raft(n).is_leader();
        self.numbers().filter(leads).max_by_key(|&n| self.raft(n).term())
    }

    pub(crate) fn roles(&self) -> Vec<Role> {
        self.numbers().map(|n| self.raft(n).role()).collect()
    }

    /// What the replica's own clock shows.
    pub(crate) fn clock(&self, number: u64) -> Time {
        let passed = self.now.since(ORIGIN);
        Time(ORIGIN.0 + passed * self.node(number).rate / 1_000)
    }

    /// The first moment at which the replica's clock shows `local`.
    pub(crate) fn moment(&self, number: u64, local: Time) -> Time {
        let passed = local.since(ORIGIN);
        Time(
            ORIGIN
                .0
                .saturating_add((passed.saturating_mul(1_000)).div_ceil(self.node(number).rate)),
        )
    }

    /// Whether the replica came back new under its old name and does not hold its own removal yet.
    /// Until then its log passes memberships in which it had a vote, and it has forgotten how it
    /// used that, so its caller does not let it campaign.
    pub(crate) fn is_reborn(&self, number: u64) -> bool {
        let node = self.node(number);
        node.wipes > 0 && !node.disk.log.holds(node.wiped_at)
    }

    pub(crate) fn is_external(&self) -> bool {
        self.config.liveness == Liveness::External
    }

    pub(crate) fn note(&self, what: impl FnOnce() -> String) {
        if self.tracing {
            println!("    {}", what());
        }
    }
}

/// Inputs.
impl Cluster {
    /// Loses everything that is not on the disk, but first completes the first `completed` writes
    /// in flight: the disk had them, only nobody was told.
    pub(crate) fn crash(&mut self, number: u64, completed: usize) {
        let lose_tail = self.sabotage == Some(Sabotage::LoseTail);
        let node = self.node_mut(number);
        for write in node.writing.drain(..).take(completed) {
            node.disk.write(&write);
        }
        if lose_tail && node.disk.log.last() > node.disk.applied {
            let last = node.disk.log.last();
            node.disk.log.truncate(last);
        }
        node.raft = None;
        node.staged = None;
        node.heard = None;
        let id = node.id;
        self.oracle.on_crash(id);
    }

    pub(crate) fn restart(&mut self, number: u64) {
        let now = self.clock(number);
        let (mut config, seed) = (self.config, self.seed);
        let forget_vote = self.sabotage == Some(Sabotage::ForgetVote);
        let node = self.node_mut(number);
        node.restarts += 1;
        node.memory = node.disk.log.clone();
        node.applied = node.disk.applied;
        config.priority = node.priority.unwrap_or(config.priority);
        let mut hard_state = node.disk.hard_state;
        if forget_vote {
            hard_state.vote = None;
        }
        let raft = Raft::new(
            config,
            Start {
                id: node.id,
                membership: node.disk.log.base,
                changes: &node.disk.log.changes,
                hard_state,
                compacted: node.disk.log.start,
                spans: &node.disk.log.spans(),
                committed: node.disk.applied,
                seed: seed ^ (number << 32) ^ node.restarts,
                now,
            },
        );
        node.raft = Some(raft.expect("a disk is a valid start"));
        self.support_after_restart(number);
        for other in self.numbers().filter(|&other| other != number) {
            if self.running(other) {
                let now = self.clock(other);
                self.raft_mut(other).on_peer_up(now, id(number));
            }
        }
        self.after_input(number);
    }

    /// Takes the disk of a replica that is no member, and makes it new.
    pub(crate) fn wipe(&mut self, number: u64) {
        self.crash(number, 0);
        // Its connections are gone with it, so nothing reaches its successor.
        self.net.retain(|packet| packet.to() != id(number) || packet.is_local());
        let wiped_at = self.oracle.committed_last();
        let node = self.node_mut(number);
        node.disk = Disk::new(Membership::EMPTY);
        node.wipes += 1;
        node.wiped_at = wiped_at;
        self.oracle.on_wipe(id(number));
        self.restart(number);
    }

    pub(crate) fn campaign(&mut self, number: u64) {
        if self.is_reborn(number) {
            return;
        }
        let now = self.clock(number);
        self.raft_mut(number).campaign(now);
        self.after_input(number);
    }

    pub(crate) fn propose(&mut self, number: u64, count: u32) -> Option<Proposed> {
        let proposed = self.raft_mut(number).propose(count, count * ENTRY_BYTES).ok()?;
        self.add_entries(number, proposed);
        self.oracle.on_proposed(proposed);
        self.after_input(number);
        Some(proposed)
    }

    /// Asks the replica to change the membership.
    pub(crate) fn change(
        &mut self,
        number: u64,
        changes: &[Change],
        transition: Transition,
    ) -> Result<MembershipProposed, ChangeError> {
        let proposed = self.raft_mut(number).propose_membership(changes, transition)?;
        self.add_membership(number, &proposed);
        self.after_input(number);
        Ok(proposed)
    }

    pub(crate) fn leave_joint(&mut self, number: u64) -> Result<MembershipProposed, ChangeError> {
        let proposed = self.raft_mut(number).propose_leave_joint()?;
        self.add_membership(number, &proposed);
        self.after_input(number);
        Ok(proposed)
    }

    pub(crate) fn read(&mut self, number: u64) -> Option<ReadId> {
        let now = self.clock(number);
        if let Some(index) = self.lease_read(number) {
            self.oracle.on_lease_read(id(number), index);
        }
        let read = self.raft_mut(number).read(now).ok()?;
        self.oracle.on_read(id(number), read);
        self.after_input(number);
        Some(read)
    }

    pub(crate) fn transfer(&mut self, number: u64, to: u64) {
        let now = self.clock(number);
        self.raft_mut(number).transfer(now, id(to)).ok();
        self.after_input(number);
    }

    pub(crate) fn deadline(&mut self, number: u64) {
        self.lapse(number);
        let now = self.clock(number);
        let due = self.raft(number).deadline().is_some_and(|at| at <= now);
        if due && !self.is_reborn(number) {
            self.raft_mut(number).on_deadline(now);
            self.after_input(number);
        }
    }

    /// Completes the oldest write.
    pub(crate) fn persist(&mut self, number: u64) -> bool {
        let told = self.sabotage == Some(Sabotage::PersistEarly);
        let node = self.node_mut(number);
        let Some(write) = node.writing.pop_front() else { return false };
        node.disk.write(&write);
        if node.staged.is_some_and(|(position, _)| write.persist.snapshot == Some(position)) {
            node.staged = None;
        }
        if !told {
            self.raft_mut(number).on_persisted(write.persist.seq);
        }
        self.after_input(number);
        true
    }

    /// What is applied becomes durable, unless a snapshot is about to replace it.
    pub(crate) fn flush(&mut self, number: u64) {
        let node = self.node_mut(number);
        if node.staged.is_none() {
            node.disk.applied = node.applied;
        }
    }

    /// Adds the entries that the replica has just given a place.
    pub(crate) fn add_entries(&mut self, number: u64, proposed: Proposed) {
        for _ in proposed.first.0..=proposed.last.0 {
            let payload = self.next_payload;
            self.next_payload += 1;
            let entry = Entry { term: proposed.term, payload };
            self.node_mut(number).memory.append(&[entry], &[]);
        }
        assert_eq!(self.node(number).memory.last(), proposed.last);
        self.oracle.on_log(&self.nodes[slot(number)].memory, proposed.first);
    }

    fn add_membership(&mut self, number: u64, change: &MembershipProposed) {
        let MembershipProposed { proposed, membership } = *change;
        assert_eq!(proposed.first, proposed.last, "a membership is one entry");
        self.note(|| format!("{number} proposes {membership:?} at {}", proposed.last));
        self.oracle.on_change(self.node(number), proposed, &membership);
        self.add_entries(number, proposed);
        let at = MembershipAt { index: proposed.last, membership };
        self.node_mut(number).memory.changes.push(at);
    }

    /// What the caller owes the core after every input, and the checks.
    pub(crate) fn after_input(&mut self, number: u64) {
        if let Some(noop) = self.raft_mut(number).take_noop() {
            self.add_entries(number, noop);
        }
        if let Some(change) = self.raft_mut(number).take_membership() {
            self.add_membership(number, &change);
        }
        self.tell_support(number);
        let leader = self.raft(number).leader();
        let node = self.node_mut(number);
        // What is forgotten with a leader is not missed in what it says later.
        node.heard = node.heard.filter(|&(_, by, _)| leader == Some(by));
        let index = slot(number);
        let node = &self.nodes[index];
        let raft = node.raft();
        raft.check_invariants();
        assert_eq!(raft.last().index, node.memory.last(), "memory follows the core");
        assert_eq!(raft.last().term, node.memory.term_at(node.memory.last()).unwrap());
        assert_eq!(raft.membership(), node.memory.membership(), "the last membership is in force");
        self.oracle.on_state(&self.nodes, index);
    }
}
