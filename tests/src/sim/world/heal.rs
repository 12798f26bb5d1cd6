//! The second part of a run: everything works again, and within [`HEAL_US`] the world must be well.
//!
//! Deliberately absent: forgiveness. A group that stays without a leader, refuses to serve, or differs between nodes is a
//! broken rule like any other.

use std::sync::atomic::Ordering;

use super::{Event, HEAL_US, LOOK_US, Phase, World, place};

/// What one group may take, on average, to answer a request and tell it to all its replicas.
const SERVE_US: u64 = 50_000;

impl World {
    /// Looks how far the healing is, and begins it.
    pub(super) fn look(&mut self) {
        match self.phase {
            Phase::Rough => {
                self.phase = Phase::Leaders;
                self.heal();
            }
            Phase::Leaders if self.leaderless(0).is_none() => {
                self.phase = Phase::Serve(1);
                for client in 0..self.load.clients.len() {
                    if self.load.clients[client].waits.is_none() {
                        self.client_at(client, self.now);
                    }
                }
            }
            Phase::Serve(next) => {
                let waits = self.load.clients.iter().any(|client| client.waits.is_some());
                if next > self.plan.groups && !waits {
                    self.phase = Phase::Settle;
                }
            }
            Phase::Settle if self.unequal().is_none() => self.phase = Phase::Over,
            Phase::Leaders | Phase::Settle | Phase::Over => {}
        }
        // With leaders everywhere the world is healed; asking group after group takes its own time.
        let asking = !matches!(self.phase, Phase::Rough | Phase::Leaders);
        let asking_us = if asking { self.plan.groups * SERVE_US } else { 0 };
        if self.now > self.plan.run_us + HEAL_US + asking_us && self.phase != Phase::Over {
            let (phase, leaderless) = (self.phase, self.leaderless(0));
            let (group, why) = leaderless.or_else(|| self.unequal()).unwrap_or_default();
            self.fail(
                Some(group).filter(|&group| group > 0),
                format!(
                    "not well {} s after the last fault: {phase:?}; {why}",
                    HEAL_US / 1_000_000
                ),
            );
        }
        if self.phase != Phase::Over {
            self.push(self.now + LOOK_US, Event::Look);
        }
    }

    pub(super) fn heal(&mut self) {
        self.fabric.heal();
        self.plan.disk.stall_per_mille = 0;
        self.copies.end();
        for node in 1..=self.plan.nodes {
            let now = self.now;
            let site = &mut self.sites[place(node)];
            site.stall_until = 0;
            site.disk.trouble.fail_next.store(false, Ordering::Relaxed);
            if !site.writes_inline {
                site.busy_until = 0;
            }
            site.clock.set_rate(now, 1_000_000);
            let (life, runs) = (site.life, site.running.is_some());
            if runs {
                self.turns_at(node, now);
            } else {
                self.push(now, Event::Start(node, life));
            }
        }
    }

    /// A group that has not one leader that all its replicas know, but the one on node `without`, who is not meant.
    pub(super) fn leaderless(&self, without: u64) -> Option<(u64, String)> {
        (1..=self.plan.groups).find_map(|group| {
            let sites =
                (1..).zip(&self.sites).filter(|(node, site)| !site.retired && *node != without);
            let leaders: Vec<Option<u64>> = sites
                .map(|(_, site)| {
                    site.running.as_ref().and_then(|running| running.router.leader(group))
                })
                .collect();
            let one = leaders[0].is_some_and(|leader| leader != without)
                && leaders.iter().all(|leader| *leader == leaders[0]);
            (!one).then(|| (group, format!("leaders known by the nodes: {leaders:?}")))
        })
    }

    /// A group whose replicas are not the same, or not what was applied.
    pub(super) fn unequal(&self) -> Option<(u64, String)> {
        use kontiki::machine::StateMachine as _;
        (1..=self.plan.groups).find_map(|group| {
            let last = self.rules().last_applied(group);
            let seen: Vec<Option<(u64, u64)>> = self
                .sites
                .iter()
                .filter(|site| !site.retired)
                .map(|site| {
                    let running = site.running.as_ref()?;
                    let worker = &running.desks[running.lane_of(group)].worker;
                    let applied = worker.shard().applied_of(group).ok()?;
                    Some((applied, worker.machine().digest(group)))
                })
                .collect();
            let equal = seen.iter().all(|node| *node == seen[0]);
            if !equal || seen[0].is_none_or(|(applied, _)| applied != last) {
                return Some((group, format!("applied and digest {seen:?}, last is {last}")));
            }
            self.wrong_key(group).map(|why| (group, why))
        })
    }

    /// A key that a node does not hold as it was written.
    pub(super) fn wrong_key(&self, group: u64) -> Option<String> {
        let rules = self.rules();
        let state = rules.state(group);
        self.sites.iter().zip(1..).filter(|(site, _)| !site.retired).find_map(|(site, node)| {
            let running = site.running.as_ref()?;
            let (view, lane) = (&running.view, running.lane_of(group));
            self.load.keys(group).iter().find_map(|key| {
                let found = view.get(lane, key).expect("the simulated state can be read");
                let expected = state.get(key);
                (found.as_ref() != expected)
                    .then(|| format!("node {node} holds {found:?} for {key:?}, not {expected:?}"))
            })
        })
    }
}
