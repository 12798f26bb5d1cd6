//! The model as `stateright` sees it: where it begins, what may happen next, and what must hold.

use std::sync::atomic::{AtomicU64, Ordering};

use kontiki_raft::{Membership, Term};
use stateright::{Model, Property};

use crate::node::{Entry, What};
use crate::setup::{Begin, Setup};
use crate::step::{Event, step};
use crate::world::{Ghost, Rule, World};

/// A setup, with the `sometimes` properties that were met so far: each is met millions of times,
/// and one example is enough.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) setup: Setup,
    met: AtomicU64,
}

impl Group {
    pub(crate) const fn new(setup: Setup) -> Self {
        Self { setup, met: AtomicU64::new(0) }
    }

    /// Whether this is the first time that the property `bit` is met.
    fn first(&self, bit: u32, met: bool) -> bool {
        let mask = 1 << bit;
        met && self.met.load(Ordering::Relaxed) & mask == 0
            && self.met.fetch_or(mask, Ordering::Relaxed) & mask == 0
    }
}

impl Model for Group {
    type State = World;
    type Action = Event;

    fn init_states(&self) -> Vec<World> {
        vec![match self.setup.begin {
            Begin::Logs { .. } => World::beginning(&self.setup),
            Begin::Elected => self.elected(),
        }]
    }

    fn actions(&self, world: &World, events: &mut Vec<Event>) {
        if world.broken.is_some() {
            return;
        }
        self.deliveries(world, events);
        for number in world.numbers() {
            self.events_of(world, number, events);
        }
        if world.left.lapses > 0 {
            events.push(Event::Lapse);
        }
        if world.left.resets > 0 {
            for one in world.numbers() {
                let up = |number: &u64| world.node(*number).raft.is_some();
                let pairs = world.numbers().filter(|two| one < *two && up(&one) && up(two));
                events.extend(pairs.map(|two| Event::Reset(one, two)));
            }
        }
    }

    fn next_state(&self, world: &World, event: Event) -> Option<World> {
        step(&self.setup, world, event)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = always();
        let asked = |property: &Property<Self>| self.setup.sometimes.contains(&property.name);
        properties.extend(sometimes().into_iter().filter(asked));
        properties
    }
}

/// What may happen.
impl Group {
    fn deliveries(&self, world: &World, events: &mut Vec<Event>) {
        for at in world.arrivals(&self.setup) {
            events.push(Event::Deliver(at));
            if world.left.duplicates > 0 {
                events.push(Event::Duplicate(at));
            }
            if world.left.losses > 0 {
                events.push(Event::Lose(at));
            }
        }
    }

    fn events_of(&self, world: &World, number: u64, events: &mut Vec<Event>) {
        let (node, left) = (world.node(number), &world.left);
        let Some(raft) = &node.raft else {
            events.push(Event::Restart(number));
            return;
        };
        if !node.writing.is_empty() {
            events.push(Event::Sync(number));
        }
        if !self.setup.eager_writes {
            events.push(Event::Write(number));
        }
        if left.crashes > 0 {
            events.extend((0..=node.writing.len()).map(|kept| Event::Crash { node: number, kept }));
        }
        let may_campaign = left.elections > 0 && self.candidates(world).contains(&number);
        let due = raft.deadline().is_some_and(|at| at <= world.now(&self.setup));
        if left.wipes > 0 && !self.is_member(world, number) {
            events.push(Event::Wipe(number));
        }
        if left.compactions > 0 {
            events.push(Event::Compact(number));
        }
        if left.reads > 0 && (raft.is_leader() || self.setup.follower_reads) {
            events.push(Event::Read(number));
        }
        if raft.is_leader() {
            self.events_of_leader(world, number, events);
        } else if may_campaign && due {
            events.push(Event::Deadline(number));
        } else if may_campaign && self.setup.early_campaigns {
            events.push(Event::Campaign(number));
        }
    }

    fn events_of_leader(&self, world: &World, number: u64, events: &mut Vec<Event>) {
        let left = &world.left;
        let Some(raft) = &world.node(number).raft else { return };
        let due = raft.deadline().is_some_and(|at| at <= world.now(&self.setup));
        if due {
            events.push(Event::Deadline(number));
        }
        if left.proposals > 0 {
            events.push(Event::Propose(number));
        }
        if left.changes > 0 {
            events.push(Event::Change(number));
        }
        if raft.membership().is_joint() && !raft.membership().auto_leave() {
            events.push(Event::LeaveJoint(number));
        }
        if left.beats > 0 {
            events.push(Event::Beat(number));
        }
        if left.transfers > 0 {
            let others = world.numbers().filter(|&to| to != number);
            events.extend(others.map(|to| Event::Transfer { from: number, to }));
        }
    }

    /// Whether the replica belongs to the membership that was committed last, or to any that may
    /// replace it.
    fn is_member(&self, world: &World, number: u64) -> bool {
        let id = crate::world::id(number);
        let counts = |node: &&crate::shared::Shared<crate::node::Node>| node.id != id;
        let known = members(&world.ghost).last().is_none_or(|last| last.contains(id));
        known || world.nodes.iter().filter(counts).any(|node| node.log.membership().contains(id))
    }

    fn candidates(&self, world: &World) -> &'static [u64] {
        if world.left.elections == self.setup.budget.elections {
            self.setup.first
        } else {
            self.setup.later
        }
    }

    /// Replica 1 campaigns, and everything that follows happens in order.
    fn elected(&self) -> World {
        let mut world = World::beginning(&self.setup);
        world.left.elections = 1;
        let mut event = Some(Event::Campaign(1));
        while let Some(next) = event.take() {
            if let Some(after) = step(&self.setup, &world, next) {
                world = after;
            }
            let mut events = Vec::new();
            for number in world.numbers() {
                if !world.node(number).writing.is_empty() {
                    events.push(Event::Sync(number));
                } else if step(&self.setup, &world, Event::Write(number)).is_some() {
                    events.push(Event::Write(number));
                }
            }
            let arrival = world.arrivals(&self.setup).next().map(Event::Deliver);
            event = events.first().copied().or(arrival);
        }
        assert!(world.broken.is_none() && world.node(1).leads(), "{:?}", world.broken);
        world.left = self.setup.budget;
        world
    }
}

macro_rules! rules {
    ($($name:literal => $rule:ident),* $(,)?) => {
        /// What always holds.
        fn always() -> Vec<Property<Group>> {
            vec![$(Property::always($name, |_: &Group, world: &World| keeps(world, Rule::$rule))),*]
        }
    };
}

rules! {
    "the core's own assertions" => NoPanic,
    "election safety" => ElectionSafety,
    "votes are durable" => DurableVotes,
    "log matching" => LogMatching,
    "leader append-only" => LeaderAppendOnly,
    "leader completeness" => LeaderCompleteness,
    "state machine safety" => StateMachineSafety,
    "commits are durable" => DurableCommit,
    "own-term commit" => OwnTermCommit,
    "promises are durable" => DurablePromise,
    "only conflicts are cut" => RealConflict,
    "apply order" => ApplyOrder,
    "fresh reads" => FreshReads,
    "membership in force" => MembershipInForce,
    "changes are ordered" => OrderedChanges,
    "majorities meet" => QuorumsMeet,
}

fn keeps(world: &World, rule: Rule) -> bool {
    world.broken.as_ref().is_none_or(|broken| broken.rule != rule)
}

macro_rules! examples {
    ($($bit:literal $name:ident $text:literal => $met:expr),* $(,)?) => {
        /// The names of what happens in some history.
        pub(crate) mod example {
            $(pub(crate) const $name: &str = $text;)*
        }

        fn sometimes() -> Vec<Property<Group>> {
            vec![$(Property::sometimes($text, |group: &Group, world: &World| {
                let met: fn(&World) -> bool = $met;
                group.first($bit, met(world))
            })),*]
        }
    };
}

examples! {
    0 ELECTED "a leader is elected" => |world| world.nodes.iter().any(|node| node.leads()),
    1 REELECTED "a second leader is elected" => |world| world.ghost.leaders.len() > 1,
    2 TWO_LEADERS "two replicas lead, in two terms" => |world| {
        world.nodes.iter().filter(|node| node.leads()).count() > 1
    },
    3 COMMITTED "a proposal is committed" => |world| values(&world.ghost) > 0,
    4 COMMITTED_AFTER "a proposal is committed after an election of another leader" => |world| {
        values(&world.ghost) > 0 && world.ghost.leaders.len() > 1
    },
    5 RECOVERED "a replica that crashed knows the commit again" => |world| {
        world.nodes.iter().any(|node| {
            let knows = node.raft.as_ref().is_some_and(|raft| raft.committed().0 > 0);
            node.restarts > 0 && knows
        })
    },
    6 TRUNCATED "a conflict is cut" => |world| {
        let cuts = |node: &crate::node::Node| {
            node.writing.iter().any(|write| write.persist.truncate_from.is_some())
        };
        world.nodes.iter().any(|node| cuts(node))
    },
    7 IN_FLIGHT "several writes are in flight" => |world| {
        world.nodes.iter().any(|node| node.writing.len() > 1)
    },
    8 READ "a read is confirmed" => |world| world.ghost.reads_confirmed > 0,
    9 READ_LATE "a read is confirmed after a second election" => |world| {
        world.ghost.reads_confirmed > 0 && world.ghost.leaders.len() > 1
    },
    11 JOINT "a joint membership is committed" => |world| {
        members(&world.ghost).any(Membership::is_joint)
    },
    12 JOINT_LEFT "a joint membership is left" => |world| {
        let joint = members(&world.ghost).position(Membership::is_joint);
        let last = members(&world.ghost).last();
        joint.is_some() && last.is_some_and(|last| !last.is_joint())
    },
    13 JOINT_LEFT_LATE "a joint membership is left by another leader" => |world| {
        let joint = members(&world.ghost).position(Membership::is_joint);
        let last = members(&world.ghost).last();
        let left = joint.is_some() && last.is_some_and(|last| !last.is_joint());
        let of = |(entry, _): &(Entry, Term)| match &entry.what {
            What::Members(_) => Some(entry.term),
            What::Noop(_) | What::Value(_) | What::Old => None,
        };
        let mut terms = world.ghost.committed.iter().filter_map(of);
        let first = terms.next();
        left && terms.any(|term| Some(term) != first)
    },
    14 NEWCOMER "a replica that was added knows the commit" => |world| {
        world.nodes.iter().any(|node| {
            let knows = node.raft.as_ref().is_some_and(|raft| raft.committed().0 > 0);
            node.log.base.is_empty() && knows
        })
    },
    15 RETIRED "a leader that is no member any more follows" => |world| {
        members(&world.ghost).any(|members| !members.contains(crate::world::id(1)))
            && !world.node(1).leads()
    },
    16 ROLLED_BACK "a membership is rolled back" => |world| {
        // Somebody still writes the entry that another leader's replaces.
        world.nodes.iter().any(|node| {
            let cut = node.writing.iter().find_map(|write| write.persist.truncate_from);
            cut.is_some_and(|from| node.disk.log.changes().iter().any(|at| at.index >= from))
        })
    },
    17 INSTALLED "a snapshot is installed" => |world| {
        world.nodes.iter().any(|node| {
            node.writing.iter().any(|write| write.persist.snapshot.is_some())
        })
    },
    18 CAUGHT_UP "a replica behind a snapshot knows a later commit" => |world| {
        world.nodes.iter().any(|node| {
            let installed = node.log.start.index.0 > 0 && !node.leads();
            let knows = |raft: &kontiki_raft::Raft| raft.committed() > node.log.start.index;
            installed && node.raft.as_ref().is_some_and(knows)
        })
    },
    19 READDED "a replica begins anew and is added again" => |world| {
        world.nodes.iter().any(|node| node.restarts > 0 && node.log.base.is_empty() && {
            let knows = |raft: &kontiki_raft::Raft| raft.membership().contains(node.id);
            node.raft.as_ref().is_some_and(knows)
        })
    },
    10 STEPPED_DOWN "a leader without a quorum steps down" => |world| {
        // It was told of the time, not of another term.
        let follows = |id| {
            let node = world.node(kontiki_raft::ReplicaId::get(id));
            node.raft.as_ref().is_some_and(|raft| !raft.is_leader())
        };
        let last = world.ghost.leaders.last();
        last.is_some_and(|&(term, id)| {
            let raft = world.node(id.get()).raft.as_ref();
            follows(id) && raft.is_some_and(|raft| raft.term() == term)
        })
    },
}

/// The memberships that are committed, in their order.
fn members(ghost: &Ghost) -> impl Iterator<Item = &Membership> {
    ghost.committed.iter().filter_map(|(entry, _)| match &entry.what {
        What::Members(membership) => Some(&**membership),
        What::Noop(_) | What::Value(_) | What::Old => None,
    })
}

/// How many proposals are committed.
fn values(ghost: &Ghost) -> usize {
    ghost.committed.iter().filter(|(entry, _)| matches!(entry.what, What::Value(_))).count()
}
