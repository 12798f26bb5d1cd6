//! The faults of a plan, as they happen.
//!
//! Deliberately absent: when. That is the plan's.

use std::sync::atomic::Ordering;

use kontiki_net::{FRAME_BYTES_MAX, Frame, FrameHeader, FrameKind, HELLO_BYTES, hello_frame};
use kontiki_raft::Time;
use zerocopy::IntoBytes as _;

use super::{Event, World, place};
use crate::sim::marks::Mark;
use crate::sim::node::CLUSTER;
use crate::sim::plan::{Away, Part, What as FaultKind, Who};
use crate::sim::trace::What;

impl World {
    pub(super) fn fault(&mut self, number: usize) {
        let (now, nodes) = (self.now, self.plan.nodes);
        self.rules().trace.note(0, What::Fault, 0, [number as u64, 0, 0]);
        match self.plan.faults[number].what {
            FaultKind::Kill { who, down_us, power } => {
                if let Some(node) = self.who(who) {
                    self.stop(node, power, down_us);
                }
            }
            FaultKind::Blackout { down_us } => {
                for node in 1..=nodes {
                    let extra = self.dice.below(down_us + 1);
                    self.stop(node, true, down_us + extra);
                }
            }
            FaultKind::Pause { who, us } => {
                if let Some(node) = self.who(who) {
                    let site = &mut self.sites[place(node)];
                    site.busy_until = site.busy_until.max(now + us);
                }
            }
            FaultKind::Part(part) => self.part(part),
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
                self.turns_at(node, now);
            }
            FaultKind::SyncError { node, down_us } => {
                let site = &mut self.sites[place(node)];
                site.down_us = down_us;
                site.disk.trouble.fail_next.store(true, Ordering::Relaxed);
            }
            FaultKind::Away { node, how, wake_us, us } => {
                self.push(now + wake_us, Event::Expect(node));
                self.away(node, how, us);
            }
            FaultKind::Rot { node, flip } => self.rot(node, flip),
            FaultKind::Foreign { node, claims } => self.foreign(node, claims),
        }
    }

    /// A fault that comes between nodes.
    fn part(&mut self, part: Part) {
        let (now, nodes) = (self.now, self.plan.nodes);
        match part {
            Part::Partition { side, us, one_way } => {
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
            Part::Cut { from, to, us, both } => {
                self.fabric.cut(from, to, now + us);
                if both {
                    self.fabric.cut(to, from, now + us);
                }
            }
            Part::Isolate { who, deaf, mute, us } => {
                let Some(node) = self.who(who) else { return };
                for other in (1..=nodes).filter(|&other| other != node) {
                    if deaf {
                        self.fabric.cut(other, node, now + us);
                    }
                    if mute {
                        self.fabric.cut(node, other, now + us);
                    }
                }
            }
            Part::Lag { who, by_us, us } => {
                let Some(node) = self.who(who) else { return };
                for other in (1..=nodes).filter(|&other| other != node) {
                    self.fabric.slow(other, node, by_us, now + us);
                }
            }
        }
    }

    fn away(&mut self, node: u64, how: Away, us: u64) {
        let who = Who::Node(node);
        let part = |deaf, mute| Part::Isolate { who, deaf, mute, us };
        match how {
            Away::Deaf => self.part(part(true, false)),
            Away::Mute => self.part(part(false, true)),
            Away::Isolated => self.part(part(true, true)),
            Away::Paused => self.sites[place(node)].busy_until = self.now + us,
            Away::Killed { power } => self.stop(node, power, us),
        }
    }

    /// The others have had the time to do without `node`.
    pub(super) fn expect(&self, node: u64) {
        if let Some((group, why)) = self.leaderless(node) {
            return self.fail(Some(group), format!("without node {node}: {why}"));
        }
        self.rules().marks.set(Mark::DoneWithout);
    }

    /// Whom a fault is for.
    fn who(&self, who: Who) -> Option<u64> {
        let group = match who {
            Who::Node(node) => return Some(node),
            Who::Leader(group) => group,
        };
        // A deposed leader may not know of its successor yet.
        let leads = |node: &u64| {
            let raft = self.sites[place(*node)].running.as_ref()?.raft(group)?;
            raft.is_leader().then(|| (raft.term(), *node))
        };
        (1..=self.plan.nodes).filter_map(|node| leads(&node)).max().map(|(_, node)| node)
    }

    pub(super) fn transfer(&mut self, group: u64, to: u64) {
        for node in 1..=self.plan.nodes {
            let site = &mut self.sites[place(node)];
            let local = Time(site.clock.local(self.now));
            let Some(running) = site.running.as_mut() else { continue };
            // Most nodes do not lead the group, and say so.
            let lane = running.lane_of(group);
            let shard = running.desks[lane].worker.shard_mut();
            if shard.transfer(local, group, Some(to)).is_ok() {
                self.turn_at(node, lane, self.now);
            }
        }
    }

    /// A node of another cluster calls; it must not be let in (hazard G11).
    fn foreign(&mut self, node: u64, claims: u64) {
        let identity = kontiki_net::Identity {
            cluster_id: CLUSTER + 1,
            node_id: claims,
            // It even has the store's id: only the cluster tells it apart.
            store_id: self.sites[place(claims)].disk.log.identity().store_id,
            epoch: 1,
            lane_count: u16::try_from(self.plan.workers).expect("a few workers"),
        };
        let len = u32::try_from(HELLO_BYTES).expect("a greeting is small");
        let mut bytes = FrameHeader::new(FrameKind::Hello, len, 1).as_bytes().to_vec();
        bytes.extend_from_slice(hello_frame(&identity, node, 0).as_bytes());
        let id = self.fabric.call_from_outside(claims, node, &bytes);
        self.push(self.now + 2_000_000, Event::Outside(node, id));
    }

    /// Looks at the answer to a call from another cluster.
    pub(super) fn outside(&mut self, node: u64, id: u64) {
        let bytes = self.fabric.answer_to_outside(id);
        let answer = Frame::parse(&bytes, FRAME_BYTES_MAX).map(|(frame, _)| frame.kind());
        if answer.is_ok_and(|kind| kind != FrameKind::Refuse) {
            return self.fail(None, format!("node {node} lets in a node of another cluster"));
        }
        if answer.is_ok() {
            self.rules().marks.set(Mark::TurnedAway);
        }
    }
}
