//! Leases: a replica that may serve reads by the support of nodes is the only one of its group.
//!
//! Looked at after each turn, for the replicas that are looked at then, against all others of their groups, each by
//! its own node's clock. Whether what was read under a lease was right is the clients' question (`checker`).

use kontiki_raft::Time;

use super::{OBSERVED_MAX, World, place};
use crate::sim::marks::Mark;

impl World {
    /// Looks at the leases of a worker that had its turn; `looked` is the last replica that was looked at.
    pub(super) fn check_leases(&mut self, node: u64, lane: usize) {
        let held: Vec<u64> = {
            let site = &self.sites[place(node)];
            let Some(running) = site.running.as_ref() else { return };
            let (shard, now) = (running.desks[lane].worker.shard(), site.clock.local(self.now));
            let count = u32::try_from(shard.len()).expect("a few groups");
            let back =
                (0..count.min(OBSERVED_MAX)).map(|n| (site.looked[lane] + count - n) % count);
            back.filter(|&slot| shard.lease_until(slot) > Time(now))
                .map(|slot| shard.group(slot))
                .collect()
        };
        for group in held {
            self.rules().marks.set(Mark::Leased);
            for other in (1..=self.plan.nodes).filter(|&other| other != node) {
                if self.holds_lease(other, group) {
                    self.fail(Some(group), format!("nodes {node} and {other} hold a lease each"));
                }
            }
        }
    }

    fn holds_lease(&self, node: u64, group: u64) -> bool {
        let site = &self.sites[place(node)];
        let Some(running) = site.running.as_ref() else { return false };
        let until = running
            .slot(group)
            .map(|slot| running.desks[running.lane_of(group)].worker.shard().lease_until(slot));
        until.is_some_and(|until| until > Time(site.clock.local(self.now)))
    }
}
