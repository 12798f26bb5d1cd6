//! The faults of a plan, as they happen.
//!
//! Deliberately absent: when. That is the plan's.

use kontiki_raft::Time;

use super::{World, place};
use crate::sim::plan::What as FaultKind;
use crate::sim::trace::What;

impl World {
    pub(super) fn fault(&mut self, number: usize) {
        let (now, nodes) = (self.now, self.plan.nodes);
        self.rules().trace.note(0, What::Fault, 0, [number as u64, 0, 0]);
        match self.plan.faults[number].what {
            FaultKind::Kill { node, down_us, power } => self.stop(node, power, down_us),
            FaultKind::Blackout { down_us } => {
                for node in 1..=nodes {
                    let extra = self.dice.below(down_us + 1);
                    self.stop(node, true, down_us + extra);
                }
            }
            FaultKind::Pause { node, us } => {
                let site = &mut self.sites[place(node)];
                site.busy_until = site.busy_until.max(now + us);
            }
            FaultKind::Partition { side, us, one_way } => {
                let is_in = |node: u64| side & (1 << (node - 1)) != 0;
                for a in (1..=nodes).filter(|&node| is_in(node)) {
                    for b in (1..=nodes).filter(|&node| !is_in(node)) {
                        self.fabric.cut(b, a, now + us);
                        if !one_way {
                            self.fabric.cut(a, b, now + us);
                        }
                    }
                }
            }
            FaultKind::Cut { from, to, us, both } => {
                self.fabric.cut(from, to, now + us);
                if both {
                    self.fabric.cut(to, from, now + us);
                }
            }
            FaultKind::Slow { from, to, by_us, us } => self.fabric.slow(from, to, by_us, now + us),
            FaultKind::Reset { a, b, half } => self.fabric.reset(a, b, half),
            FaultKind::Transfer { group, to } => self.transfer(group, to),
            FaultKind::Stall { node, us } => {
                let site = &mut self.sites[place(node)];
                site.stall_until = site.stall_until.max(now + us);
            }
            FaultKind::Rate { node, ppm } => self.sites[place(node)].clock.set_rate(now, ppm),
            FaultKind::Jump { node, us } => {
                self.sites[place(node)].clock.jump(us);
                self.turn_at(node, now);
            }
            FaultKind::SyncError { node, down_us } => {
                self.sites[place(node)].fails_sync = Some(down_us);
            }
        }
    }

    pub(super) fn transfer(&mut self, group: u64, to: u64) {
        for node in 1..=self.plan.nodes {
            let site = &mut self.sites[place(node)];
            let local = Time(site.clock.local(self.now));
            let Some(running) = site.running.as_mut() else { continue };
            // Most nodes do not lead the group, and say so.
            if running.worker.shard_mut().transfer(local, group, Some(to)).is_ok() {
                self.turn_at(node, self.now);
            }
        }
    }
}
