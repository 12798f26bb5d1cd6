//! The node's support, as the worker that keeps it drives it, and how the others hear of it.
//!
//! Worker 0 has the node's [`Support`]: it takes the beats of its lane, sends those that are due, and tells what has
//! changed to its own shard at once and to the other workers through their doors. A beat with a new promise leaves
//! only after that, so nothing that another node concludes from it reaches a worker earlier than the promise.
//!
//! Deliberately absent: what a promise means (`crate::support`) and what groups make of it (`shard/liveness.rs`).

use kontiki_net::{Beat, Net};
use kontiki_raft::Time;

use crate::router::Router;
use crate::shard::Shard;
use crate::support::{PairStatus, Support, SupportEvent};

/// A round that is with the log writer for longer than this says that the disk has stalled.
pub(crate) const LOG_STALL_US: u64 = 400_000;

/// What the other workers are told of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// We support it.
    Supports { node: u64 },
    /// We do not any more.
    Lapsed { node: u64 },
    /// It supports us until then; under a promise that is `new`, or the one of before.
    SupportedBy { node: u64, until: Time, new: bool },
    /// It does not any more.
    Lost { node: u64 },
}

impl Said {
    pub(crate) fn tell(self, now: Time, shard: &mut Shard) {
        match self {
            Self::Supports { node } => shard.supported(now, node),
            Self::Lapsed { node } => shard.lapsed(now, node),
            Self::SupportedBy { node, until, new } => shard.supported_by(now, node, until, new),
            Self::Lost { node } => shard.lost(now, node),
        }
    }
}

/// See the module.
pub(crate) struct Beating {
    support: Support,
    /// The peers, and until when each was last said to support us.
    peers: Vec<(u64, Time)>,
}

impl Beating {
    pub(crate) fn new(support: Support) -> Self {
        let peers = support.pairs().map(|pair| (pair.node, Time(0))).collect();
        Self { support, peers }
    }

    pub(crate) fn pairs(&self) -> Vec<PairStatus> {
        self.support.pairs().collect()
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.support.deadline()
    }

    /// A connection's greeting says in which epoch a node is.
    pub(crate) fn on_epoch(&mut self, now: Time, node: u64, epoch: u64) {
        self.support.on_epoch(now, node, epoch);
    }

    /// Takes what came, ends what ran out, tells everybody, and sends what is due. `now` was read after the beats
    /// were taken from their connections.
    pub(crate) fn turn(
        &mut self,
        now: Time,
        beats: &mut Vec<(u64, Beat)>,
        shard: &mut Shard,
        router: &Router,
        net: &mut Net,
    ) {
        for (node, beat) in beats.drain(..) {
            self.support.on_beat(now, node, &beat);
        }
        self.support.tick(now);
        self.support.set_stalled(router.log_stalled(now, LOG_STALL_US));
        self.tell(now, shard, router);
        for at in 0..self.peers.len() {
            let node = self.peers[at].0;
            if let Some(beat) = self.support.next_beat(now, node)
                && let Some(outbox) = net.outbox(node)
            {
                outbox.push_beat(&beat);
            }
        }
        // Making a beat may have ended what ran out in this very moment.
        self.tell(now, shard, router);
    }

    fn tell(&mut self, now: Time, shard: &mut Shard, router: &Router) {
        let mut say = |said: Said| {
            said.tell(now, shard);
            router.say(said);
        };
        while let Some(event) = self.support.take_event() {
            let said = match event {
                SupportEvent::Supports { node } => Said::Supports { node },
                SupportEvent::Lapsed { node } => Said::Lapsed { node },
                SupportEvent::Lost { node } => Said::Lost { node },
                SupportEvent::Gained { node } => {
                    Said::SupportedBy { node, until: self.support.supported_by(node), new: true }
                }
                SupportEvent::Resumed { node } => {
                    Said::SupportedBy { node, until: self.support.supported_by(node), new: false }
                }
            };
            say(said);
        }
        for (node, said) in &mut self.peers {
            let (node, until) = (*node, self.support.supported_by(*node));
            if until != Time(0) && until != *said {
                *said = until;
                say(Said::SupportedBy { node, until, new: false });
            }
        }
    }
}
