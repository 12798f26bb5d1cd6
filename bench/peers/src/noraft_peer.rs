//! `noraft` 0.7.1 and 0.4.0: cores that know positions and no payloads, as Kontiki's.
//!
//! - A batch is a `propose_command` per entry, whose actions merge: one broadcast, one write.
//! - The payloads lie in a side log, one buffer per batch (see [`payloads`]). Followers share the
//!   buffer; it travels beside the message that names its entries.
//! - Compaction is `handle_snapshot_installed` at an applied position.
//!
//! The two versions have the same interface but for what `handle_message` returns, so one text
//! makes both.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::buffers::Buffers;
use crate::payloads;
use crate::work::{Batch, KEEP, Machine, System};

const LEADER: usize = 0;

/// The payloads of the entries `first..=last`.
#[derive(Clone)]
struct Payloads {
    first: u64,
    last: u64,
    buffer: Rc<Vec<u8>>,
}

/// The side log of one node, and its machine.
#[derive(Default)]
struct Side {
    log: VecDeque<Payloads>,
    applied: u64,
    compacted: u64,
    machine: Machine,
}

impl Side {
    /// The payloads of the entries from `first` on, which are nearly always the last.
    fn starting_at(&self, first: u64) -> Option<Payloads> {
        self.log.iter().rev().find(|payloads| payloads.first == first).cloned()
    }

    fn apply_to(&mut self, commit: u64) {
        let mut at = self.log.len();
        while at > 0 && self.log[at - 1].first > self.applied {
            at -= 1;
        }
        for payloads in self.log.range(at..).take_while(|payloads| payloads.last <= commit) {
            let count = payloads.last - payloads.first + 1;
            payloads::apply(&payloads.buffer, count, &mut self.machine);
        }
        self.applied = commit;
    }

    fn compact(&mut self, buffers: &mut Buffers) {
        while self.log.front().is_some_and(|payloads| payloads.last <= self.applied) {
            buffers.release(self.log.pop_front().expect("seen just now").buffer);
        }
        self.compacted = self.applied;
    }
}

macro_rules! system {
    ($System:ident, $noraft:ident, $handle:expr) => {
        /// See the module.
        pub struct $System {
            nodes: [$noraft::Node; 3],
            sides: [Side; 3],
            mail: VecDeque<(usize, $noraft::Message, Option<Payloads>)>,
            buffers: Buffers,
        }

        impl $System {
            /// A group whose first node leads.
            pub fn new() -> Self {
                let ids = [0, 1, 2].map($noraft::NodeId::new);
                let mut system = Self {
                    nodes: ids.map($noraft::Node::start),
                    sides: <[Side; 3]>::default(),
                    mail: VecDeque::new(),
                    buffers: Buffers::default(),
                };
                system.nodes[LEADER].create_cluster(&ids);
                system.execute(LEADER);
                system.deliver();
                assert!(system.nodes[LEADER].role().is_leader(), "nobody else campaigns");
                system
            }

            fn deliver(&mut self) {
                while let Some((to, message, payloads)) = self.mail.pop_front() {
                    let handle: fn(&mut $noraft::Node, &$noraft::Message) = $handle;
                    handle(&mut self.nodes[to], &message);
                    // What travelled with a call that was taken is kept; a leader's own is there.
                    self.sides[to].log.extend(payloads);
                    if self.mail.front().is_none_or(|next| next.0 != to) {
                        self.execute(to);
                    }
                }
            }

            fn post(&mut self, from: usize, to: usize, message: $noraft::Message) {
                let payloads = match &message {
                    $noraft::Message::AppendEntriesCall { entries, .. } if !entries.is_empty() => {
                        self.sides[from].starting_at(entries.prev_position().index.get() + 1)
                    }
                    _ => None,
                };
                self.mail.push_back((to, message, payloads));
            }

            /// Executes the actions of a node, applies what is committed, and compacts.
            fn execute(&mut self, slot: usize) {
                while let Some(action) = self.nodes[slot].actions_mut().next() {
                    match action {
                        $noraft::Action::BroadcastMessage(message) => {
                            let [one, other] = [(slot + 1) % 3, (slot + 2) % 3];
                            self.post(slot, one, message.clone());
                            self.post(slot, other, message);
                        }
                        $noraft::Action::SendMessage(to, message) => {
                            let to = usize::try_from(to.get()).expect("three nodes");
                            self.post(slot, to, message);
                        }
                        // Memory has them already.
                        $noraft::Action::AppendLogEntries(_)
                        | $noraft::Action::SaveCurrentTerm
                        | $noraft::Action::SaveVotedFor
                        | $noraft::Action::SetElectionTimeout => {}
                        $noraft::Action::InstallSnapshot(_) => panic!("nobody falls behind"),
                    }
                }
                let (node, side) = (&mut self.nodes[slot], &mut self.sides[slot]);
                side.apply_to(node.commit_index().get());
                if side.applied - side.compacted > KEEP {
                    side.compact(&mut self.buffers);
                    let index = $noraft::LogIndex::new(side.applied);
                    let (position, config) =
                        node.log().get_position_and_config(index).expect("it is in the log");
                    let config = config.clone();
                    assert!(node.handle_snapshot_installed(position, config), "it is applied");
                }
            }
        }

        impl System for $System {
            fn commit_batch(&mut self, batch: Batch<'_>) {
                let (node, side) = (&mut self.nodes[LEADER], &mut self.sides[LEADER]);
                let before = side.machine.entries;
                let first = node.propose_command().index.get();
                let mut last = first;
                for _ in 1..batch.len() {
                    last = node.propose_command().index.get();
                }
                assert_eq!(last - first + 1, batch.len() as u64, "it leads");
                let buffer = self.buffers.filled(|buffer| payloads::encode(batch, buffer));
                side.log.push_back(Payloads { first, last, buffer });
                self.execute(LEADER);
                self.deliver();
                let applied = self.sides[LEADER].machine.entries;
                assert_eq!(applied, before + batch.len() as u64, "applied");
            }

            fn finish(&mut self) -> [Machine; 3] {
                assert!(self.nodes[LEADER].heartbeat(), "it leads");
                self.execute(LEADER);
                self.deliver();
                [0, 1, 2].map(|slot| self.sides[slot].machine)
            }
        }
    };
}

system!(Noraft, noraft, |node, message| {
    node.handle_message(message).expect("a consistent log");
});
system!(Noraft04, noraft_04, |node, message| node.handle_message(message));
