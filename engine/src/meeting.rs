//! Nodes that a worker meets for the first time: their stores go into the log with the next round.
//!
//! The transport tells of such a node ([`NetEvent::Met`](kontiki_net::NetEvent::Met)) and holds its connections back. When
//! the round is durable, all lanes of this node are told, and bring their connections up.
//!
//! Invariant: what is told to be recorded was in a round that was persisted.
//! Deliberately absent: refusing anybody. The transport does, by what is recorded.

use std::collections::VecDeque;
use std::sync::Arc;

use kontiki_net::Stores;

use crate::router::Router;
use crate::shard::RoundWrite;

/// See the module.
pub(crate) struct Meeting {
    stores: Option<Arc<Stores>>,
    /// Nodes in rounds that are on their way to the disk: the round's sequence, the node.
    under_way: VecDeque<(u64, u64)>,
}

impl Meeting {
    /// For a transport that remembers in `stores`, if it does.
    pub(crate) fn new(stores: Option<Arc<Stores>>) -> Self {
        Self { stores, under_way: VecDeque::new() }
    }

    /// A round leaves for the disk.
    pub(crate) fn sealed(&mut self, write: &RoundWrite) {
        self.under_way.extend(write.peers.iter().map(|&(node, _)| (write.seq, node)));
    }

    /// The round `seq` is durable, and all rounds before it are.
    pub(crate) fn persisted(&mut self, seq: u64, router: &Router) {
        while let Some(&(sealed, node)) = self.under_way.front() {
            if sealed > seq {
                return;
            }
            self.under_way.pop_front();
            if let Some(stores) = &self.stores {
                stores.recorded(node);
            }
            router.inboxes().iter().for_each(|inbox| inbox.wake());
        }
    }
}
