//! A node whose disk is gone, and which comes back under its old name with an empty store (hazard G10).
//!
//! Whoever has met it before must refuse it: from then on nobody may take a word of it, and the world must be well without
//! it. What it does by itself is nobody's concern, so the rules hear nothing of it; its former life counts as it was.
//!
//! Deliberately absent: wiping a node that somebody has not met yet. That one cannot know.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use kontiki::Bootstrap;

use super::{Rules, Site, World, place};
use crate::sim::ledger::Ledger;
use crate::sim::marks::Mark;
use crate::sim::node::Disk;

/// What the rules of the world do not hear of.
#[derive(Debug)]
pub(super) struct Strange {
    /// Where its own figures go.
    rules: Rules,
    /// The frames that it sent.
    frames: BTreeSet<u64>,
}

impl Strange {
    pub(super) fn new(nodes: u64, groups: u64) -> Self {
        Self { rules: Arc::new(Mutex::new(Ledger::new(nodes, groups))), frames: BTreeSet::new() }
    }

    /// The node whose store is empty has sent this frame.
    pub(super) fn sent(&mut self, number: u64) {
        self.frames.insert(number);
    }

    /// Whether one of these frames is its.
    pub(super) fn has_any(&self, frames: &[u64]) -> bool {
        frames.iter().any(|number| self.frames.contains(number))
    }
}

impl Site {
    /// Whether the node is to be well in the end.
    pub(super) const fn counts(&self) -> bool {
        !self.retired && !self.wiped
    }
}

impl World {
    /// The rules that hear of `node`.
    pub(super) fn rules_of(&self, node: u64) -> Rules {
        let strange = self.sites[place(node)].wiped;
        Arc::clone(if strange { &self.strange.rules } else { &self.rules })
    }

    /// The disk of `node` is replaced by an empty one, if all others have met it, and if a majority is left.
    pub(super) fn wipe(&mut self, node: u64, down_us: u64) {
        let known = self.sites[place(node)].disk.log.identity();
        let met = |site: &Site| site.disk.log.peers().contains(&(node, known.store_id));
        let others = || self.sites.iter().filter(|site| site.config.node_id != node);
        let lone = others().any(|site| site.rotten || site.wiped || !met(site));
        if lone || self.sites[place(node)].running.is_none() || self.sites.len() < 3 {
            return;
        }
        self.stop(node, true, down_us);
        let nodes: Vec<u64> = (1..=self.plan.nodes).collect();
        let groups = usize::try_from(self.plan.groups).expect("a few groups");
        let site = &mut self.sites[place(node)];
        let bootstrap = Bootstrap::groups(&nodes, groups);
        let store_id = known.store_id + (1 << 64);
        site.disk = Disk::format_as(&site.config, &bootstrap, store_id).expect("as before");
        site.wiped = true;
        self.rules().marks.set(Mark::Wiped);
    }
}
