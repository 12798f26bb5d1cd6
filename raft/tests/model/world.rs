//! The state that is searched: replicas, network, what an all-seeing observer remembers, and what
//! may still happen.
//!
//! Everything that influences the future is part of equality and hash. Time is one number for all:
//! how many lapses there were. A core is always told the same time between two lapses, so waiting
//! does not make new states.

use std::sync::Arc;

use kontiki_raft::{HardState, Membership, Position, ReadId, ReplicaId, Term, Time};

use crate::node::{Disk, Entries, Entry, Node, Packet, What};
use crate::setup::{Begin, Budget, Network, Setup};
use crate::shared::Shared;

/// A moment of a history.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    /// Replica `n` is `nodes[n - 1]`.
    pub(crate) nodes: Vec<Shared<Node>>,
    /// By pairs; of one pair in the order of sending where order counts, else in any fixed order.
    pub(crate) net: Vec<Flight>,
    pub(crate) ghost: Shared<Ghost>,
    pub(crate) left: Budget,
    /// What broke, after which nothing happens any more.
    pub(crate) broken: Option<Shared<Broken>>,
}

/// A packet on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Flight {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) packet: Shared<Packet>,
}

/// What no replica can know, and every property is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Ghost {
    /// Who was seen to lead each term, ascending.
    pub(crate) leaders: Vec<(Term, ReplicaId)>,
    /// Every entry ever committed, with the term in which it was.
    pub(crate) committed: Vec<(Entry, Term)>,
    /// Reads that wait, with how much was committed when they were asked.
    pub(crate) reads: Vec<(ReplicaId, ReadId, u64)>,
    pub(crate) reads_confirmed: u8,
}

/// A property that does not hold, and why.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Broken {
    pub(crate) rule: Rule,
    pub(crate) detail: String,
}

/// The properties that are checked after every event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Rule {
    /// The core stopped itself: an assertion, or `check_invariants`.
    NoPanic,
    ElectionSafety,
    /// A leader is elected by votes that are on disks.
    DurableVotes,
    LogMatching,
    LeaderAppendOnly,
    LeaderCompleteness,
    StateMachineSafety,
    /// What commits is on the disks of a majority, of each half.
    DurableCommit,
    /// Only an entry of the leader's own term commits by counting.
    OwnTermCommit,
    /// What a message promises is on its sender's disk.
    DurablePromise,
    /// Entries are only cut at a real conflict.
    RealConflict,
    /// Entries are applied once, in order, when committed and durable.
    ApplyOrder,
    /// A read sees all that was committed when it was asked.
    FreshReads,
    /// The membership in force is the last in the log.
    MembershipInForce,
    /// A membership changes behind a commit of the leader's own term, and behind the commit of the
    /// membership before.
    OrderedChanges,
    /// Memberships that follow each other, and that of the newest leader and the last committed
    /// one, have no two majorities without a common voter.
    QuorumsMeet,
}

/// An instant far from zero, so that times before it exist.
const BEGINNING_US: u64 = 1_000_000_000;

impl World {
    pub(crate) fn node(&self, number: u64) -> &Shared<Node> {
        &self.nodes[slot(number)]
    }

    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> + use<> {
        1..=self.nodes.len() as u64
    }

    pub(crate) fn now(&self, setup: &Setup) -> Time {
        let lapses = u64::from(setup.budget.lapses - self.left.lapses);
        Time(BEGINNING_US + lapses * 2 * u64::from(setup.config.election_timeout_us))
    }

    /// Puts a packet on its way.
    pub(crate) fn send(&mut self, setup: &Setup, from: u64, to: u64, packet: Packet) {
        let packet = Shared::new(packet);
        let before = |flight: &Flight| match setup.network {
            Network::Ordered => (flight.from, flight.to) <= (from, to),
            Network::Unordered => {
                (flight.from, flight.to, flight.packet.digest()) <= (from, to, packet.digest())
            }
        };
        let at = self.net.partition_point(before);
        self.net.insert(at, Flight { from, to, packet });
    }

    /// The flights that may arrive next, by their places in `net`.
    pub(crate) fn arrivals(&self, setup: &Setup) -> impl Iterator<Item = usize> + use<'_> {
        let network = setup.network;
        (0..self.net.len()).filter(move |&at| {
            let Some(before) = at.checked_sub(1) else { return true };
            let (one, two) = (&self.net[before], &self.net[at]);
            match network {
                Network::Ordered => (one.from, one.to) != (two.from, two.to),
                Network::Unordered => one != two,
            }
        })
    }

    /// The world before anything happened, every replica started from its disk.
    pub(crate) fn beginning(setup: &Setup) -> Self {
        let (logs, committed): (&[&[u64]], u64) = match setup.begin {
            Begin::Logs { terms, committed } => (terms, committed),
            Begin::Elected => (&[], 0),
        };
        let mut world = Self {
            nodes: Vec::new(),
            net: Vec::new(),
            ghost: Shared::new(Ghost::default()),
            left: setup.budget,
            broken: None,
        };
        let now = world.now(setup);
        for number in 1..=setup.voters + setup.strangers {
            let terms = logs.get(slot(number)).copied().unwrap_or(&[]);
            let stranger = number > setup.voters;
            let base = if stranger { Membership::EMPTY } else { setup.membership() };
            let mut log = Entries::new(Position::ZERO, Arc::new(base));
            let old = |&term: &u64| Entry { term: Term(term), what: What::Old };
            log.entries = terms.iter().map(old).collect();
            let hard_state = HardState { term: log.last().term, vote: None };
            let mut node = Node::new(id(number), Disk { hard_state, log });
            node.start(setup, now);
            world.nodes.push(Shared::new(node));
        }
        let longest = world.nodes.iter().max_by_key(|node| node.disk.log.last());
        let entries = longest.map(|node| node.disk.log.entries.clone()).unwrap_or_default();
        let known = entries.into_iter().take(usize::try_from(committed).expect("a short log"));
        let committed = known.map(|entry| (entry.clone(), entry.term)).collect();
        world.ghost = Shared::new(Ghost { committed, ..Ghost::default() });
        world
    }
}

impl Setup {
    /// The membership before any change.
    pub(crate) fn membership(&self) -> Membership {
        let voters: Vec<_> = (1..=self.voters).map(id).collect();
        Membership::new(&voters).expect("a setup has voters")
    }
}

pub(crate) fn id(number: u64) -> ReplicaId {
    ReplicaId::new(number).expect("replicas are numbered from one")
}

pub(crate) fn slot(number: u64) -> usize {
    usize::try_from(number - 1).expect("a model is small")
}
