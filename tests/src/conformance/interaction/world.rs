//! All nodes and what is on its way between them.
//!
//! The order in which nodes work is part of what scripts rely on: in each round of `stabilize`
//! first every node has its ready, then everything arrives, then the threads run; and so on until
//! nothing moves.

use super::change::replica;
use super::excuse::About;
use super::node::{Node, Reason};
use super::pool::{Body, Packet, Pool};

/// More rounds than this without a rest are an adapter that goes in circles.
const ROUNDS_MAX: usize = 10_000;

/// A line that was shown.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    /// The node it is about.
    pub(super) node: Option<u64>,
    /// What a difference in it would be about.
    pub(super) about: About,
    pub(super) line: String,
}

#[derive(Debug, Default)]
pub(super) struct World {
    /// The node with number `n` is `nodes[n - 1]`.
    pub(super) nodes: Vec<Node>,
    pub(super) pool: Pool,
    /// Nothing is printed but errors.
    pub(super) quiet: bool,
    /// What the present case has shown, line by line.
    pub(super) shown: Vec<Shown>,
    /// A proposal of the present case went nowhere.
    pub(super) dropped: bool,
}

impl World {
    pub(super) fn numbers(&self) -> Vec<u64> {
        (1..=self.nodes.len() as u64).collect()
    }

    pub(super) fn node(&self, number: u64) -> Result<&Node, String> {
        let node = self.nodes.iter().find(|node| node.id.get() == number);
        node.ok_or_else(|| format!("there is no node {number}"))
    }

    pub(super) fn node_mut(&mut self, number: u64) -> Result<&mut Node, String> {
        let node = self.nodes.iter_mut().find(|node| node.id.get() == number);
        node.ok_or_else(|| format!("there is no node {number}"))
    }

    /// Gives a node something to do together with the pool.
    pub(super) fn with<T>(
        &mut self,
        number: u64,
        work: impl FnOnce(&mut Node, &mut Pool) -> T,
    ) -> Result<T, String> {
        let node = self.nodes.iter_mut().find(|node| node.id.get() == number);
        let node = node.ok_or_else(|| format!("there is no node {number}"))?;
        Ok(work(node, &mut self.pool))
    }

    /// Why what follows cannot be compared any more.
    pub(super) fn diverged(&self) -> Option<Reason> {
        self.nodes.iter().find_map(|node| node.diverged)
    }

    /// What is on its way to the node now arrives. Returns whether anything did.
    pub(super) fn deliver(&mut self, to: u64, name: Option<&str>) -> Result<bool, String> {
        let packets = self.pool.take(to, name, false);
        let any = !packets.is_empty();
        for packet in packets {
            let dropped = self.node_mut(to)?.receive(packet).is_err();
            self.dropped |= dropped;
        }
        Ok(any)
    }

    /// What is on its way to the node now is lost.
    pub(super) fn lose(&mut self, to: u64, name: Option<&str>) -> Result<(), String> {
        let peer = replica(&to.to_string())?;
        for Packet { from, body, .. } in self.pool.take(to, name, true) {
            if matches!(body, Body::Append(..)) {
                self.node_mut(from)?.lose(peer);
            }
        }
        Ok(())
    }

    /// Everything moves between these nodes until nothing does.
    pub(super) fn stabilize(&mut self, numbers: &[u64]) -> Result<(), String> {
        for _ in 0..ROUNDS_MAX {
            let mut moved = false;
            for &number in numbers {
                moved |= self.with(number, Node::process_ready)?;
            }
            for &number in numbers {
                moved |= self.deliver(number, None)?;
            }
            for &number in numbers {
                while self.with(number, Node::process_append_thread)? {
                    moved = true;
                }
            }
            for &number in numbers {
                while self.with(number, Node::process_apply_thread)? {
                    moved = true;
                }
            }
            if !moved {
                return Ok(());
            }
        }
        Err("the nodes do not come to rest".to_owned())
    }
}
