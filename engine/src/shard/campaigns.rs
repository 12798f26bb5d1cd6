//! Who campaigns next: a queue for all groups of a shard, so that a node's end does not wake everything at once.
//!
//! When many groups lose their leader together, because its node is supported no more or because it resigned, they
//! campaign in an order: by rank first, so that the members of a group do not duel (a hash of group and member says
//! who is first, the next follows [`RANK_STEP_US`] later), then groups of priority, then those that had something
//! under way, then those at rest. No more than [`CAMPAIGNS_IN_FLIGHT_MAX`] are under way; what nobody answers for
//! [`CAMPAIGN_US`] does not count any longer. A campaign that others refuse, because they still support the last
//! leader, is tried again soon; after a few tries the core's own deadline is what is left, and it leads here, too. So
//! do the first campaigns of a new cluster.
//!
//! Invariant: who is in the queue is in it once; it may sleep there, and is awake while its campaign is under way.
//! Deliberately absent: votes and terms. They are the core's.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use kontiki_raft::{Role, Time};

use super::Shard;

/// Campaigns of one shard that may be under way.
pub const CAMPAIGNS_IN_FLIGHT_MAX: usize = 256;

/// After how long a campaign that is not decided does not count as under way.
const CAMPAIGN_US: u32 = 300_000;

/// How long the next in rank lets the one before it try.
const RANK_STEP_US: u32 = 150_000;

/// After how long a campaign that was refused is tried again, and how often.
const RETRY_US: u32 = 60_000;
const TRIES_MAX: u8 = 8;

/// Where a replica stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum Campaign {
    #[default]
    None,
    /// It waits for its turn, for so many times now.
    Queued(u8),
    /// It asks for votes.
    Running(u8),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Campaigns {
    /// By the time at which it may begin, then by class.
    queue: BinaryHeap<Reverse<(Time, u8, u32)>>,
    /// Those whose time has come, by class.
    due: [VecDeque<u32>; 3],
    /// Those under way, and since when, the oldest first; also some that have ended.
    running: VecDeque<(Time, u32)>,
    under_way: usize,
    most: usize,
    /// Nobody begins before this time.
    from: Time,
    /// Nobody begins at all: the log could not keep a vote.
    stalled: bool,
}

impl Campaigns {
    /// Nobody begins before `until`.
    pub(super) fn hold(&mut self, until: Time) {
        self.from = until;
    }

    pub(super) const fn set_stalled(&mut self, stalled: bool) {
        self.stalled = stalled;
    }

    fn any_due(&self) -> bool {
        self.due.iter().any(|class| !class.is_empty())
    }

    /// When there is something to do.
    pub(super) fn deadline(&self, now: Time) -> Option<Time> {
        let free = self.under_way < CAMPAIGNS_IN_FLIGHT_MAX && !self.stalled;
        let begin = match self.queue.peek() {
            _ if !free => None,
            _ if self.any_due() => Some(now.max(self.from)),
            Some(&Reverse((at, ..))) => Some(at.max(self.from)),
            None => None,
        };
        let end = self.running.front().map(|&(since, _)| since.after(CAMPAIGN_US));
        [begin, end].into_iter().flatten().min()
    }

    /// The next to begin.
    fn next(&mut self, now: Time) -> Option<u32> {
        if now < self.from || self.stalled || self.under_way >= CAMPAIGNS_IN_FLIGHT_MAX {
            return None;
        }
        while let Some(&Reverse((at, class, slot))) = self.queue.peek()
            && at <= now
        {
            self.queue.pop();
            self.due[usize::from(class)].push_back(slot);
        }
        self.due.iter_mut().find_map(VecDeque::pop_front)
    }
}

/// What a worker asks and tells.
impl Shard {
    /// Campaigns under way, and the most that ever were.
    #[must_use]
    pub fn campaigns(&self) -> (usize, usize) {
        (self.campaigns.under_way, self.campaigns.most)
    }

    /// Input: whether the log makes no progress, so that no vote could be kept.
    pub fn set_stalled(&mut self, stalled: bool) {
        self.campaigns.set_stalled(stalled);
    }

    /// Input: replica of `group` here is to campaign now.
    pub fn campaign(&mut self, now: Time, group: u64) {
        if let Some(slot) = self.slots.position(group) {
            self.touch(slot);
            self.replicas[slot as usize].raft.campaign(now);
        }
    }

    /// Input: the node has its first majority since it started. In a new cluster each group is campaigned for by one
    /// of its nodes, so that leaders are spread and no two nodes contend; later those that nobody leads.
    pub fn first_campaigns(&mut self, now: Time) {
        for slot in self.all_slots() {
            let replica = &self.replicas[slot as usize];
            let members = replica.members.len() as u64;
            let turn = usize::try_from(replica.group % members).expect("a member's place");
            if members == 1 {
                continue; // It waits for nobody: see `Shard::lead_alone`.
            }
            let first = replica.members[turn].node == self.config.node;
            let new = replica.raft.term().0 == 0;
            if replica.raft.leader().is_some() {
                continue;
            }
            if self.nodes.external() {
                let delay = if new && first { 0 } else { self.rank(slot, None) * RANK_STEP_US };
                if !new || first {
                    self.enqueue(slot, now.max(self.campaigns.from).after(delay), false, 0);
                }
            } else if new && first {
                self.touch(slot);
                self.replicas[slot as usize].raft.campaign(now);
            }
        }
    }
}

/// The queue at work.
impl Shard {
    /// A replica has lost its leader, on node `without`: it campaigns when its turn comes.
    pub(super) fn campaign_in_turn(&mut self, slot: u32, without: Option<u64>, busy: bool) {
        let at = self.nodes.now.after(self.rank(slot, without) * RANK_STEP_US);
        self.enqueue(slot, at, busy, 0);
    }

    /// How many others that may be there go first.
    fn rank(&self, slot: u32, without: Option<u64>) -> u32 {
        let replica = &self.replicas[slot as usize];
        let weight = |id: u64| {
            (replica.group ^ id.rotate_left(40)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
        };
        let own = weight(replica.raft.id().get());
        let ahead = replica.members.iter().filter(|member| {
            Some(member.node) != without
                && self.nodes.is_connected(member.node)
                && weight(member.replica.get()) < own
        });
        u32::try_from(ahead.count()).expect("a few members")
    }

    /// A number that differs among the members of a group, and from one time to the next.
    fn draw(&self, slot: u32) -> u32 {
        let replica = &self.replicas[slot as usize];
        let of = replica.group.rotate_left(24)
            ^ replica.raft.id().get()
            ^ self.nodes.now.0.rotate_left(40);
        let mixed = (of ^ self.config.seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        u32::try_from((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40)
            .expect("24 bits")
    }

    fn enqueue(&mut self, slot: u32, at: Time, busy: bool, tries: u8) {
        let prior = self.config.priority_groups.binary_search(&self.group(slot)).is_ok();
        let replica = &mut self.replicas[slot as usize];
        if replica.campaign == Campaign::None {
            replica.campaign = Campaign::Queued(tries);
            let class = if prior { 0 } else { 2 - u8::from(busy) };
            self.campaigns.queue.push(Reverse((at, class, slot)));
        }
    }

    /// The deadline of a replica without a leader has come.
    pub(super) fn leaderless(&mut self, slot: u32, now: Time) {
        let busy = self.replicas[slot as usize].is_busy();
        self.enqueue(slot, now, busy, TRIES_MAX);
    }

    /// Begins campaigns whose turn has come, and lets go of those that take too long.
    pub(super) fn begin_campaigns(&mut self, now: Time) {
        while let Some(&(since, slot)) = self.campaigns.running.front()
            && since.after(CAMPAIGN_US) <= now
        {
            self.campaigns.running.pop_front();
            if self.campaign_of(slot).is_some_and(|at| at == since) {
                self.end_campaign(slot);
            }
        }
        while let Some(slot) = self.campaigns.next(now) {
            self.touch(slot);
            let replica = &mut self.replicas[slot as usize];
            let Campaign::Queued(tries) = replica.campaign else { continue };
            replica.campaign = Campaign::None;
            if replica.raft.leader().is_some() {
                continue;
            }
            if replica.raft.deadline().is_some_and(|at| at <= now) {
                replica.raft.on_deadline(now);
            } else {
                replica.raft.campaign(now);
            }
            if replica.raft.role() != Role::Follower {
                replica.campaign = Campaign::Running(tries);
                replica.awake().campaigns_since = now;
                self.campaigns.running.push_back((now, slot));
                self.campaigns.under_way += 1;
                self.campaigns.most = self.campaigns.most.max(self.campaigns.under_way);
            }
        }
    }

    /// Since when a replica campaigns.
    fn campaign_of(&self, slot: u32) -> Option<Time> {
        let replica = &self.replicas[slot as usize];
        let active = replica.active()?;
        matches!(replica.campaign, Campaign::Running(_)).then_some(active.campaigns_since)
    }

    fn end_campaign(&mut self, slot: u32) {
        self.replicas[slot as usize].campaign = Campaign::None;
        self.campaigns.under_way -= 1;
    }

    /// Follows what became of a replica's campaign, after something happened to it.
    #[inline]
    pub(super) fn note_campaign(&mut self, slot: u32) {
        let replica = &mut self.replicas[slot as usize];
        if let Campaign::Running(tries) = replica.campaign {
            let (role, known) = (replica.raft.role(), replica.raft.leader().is_some());
            if role == Role::Follower || role == Role::Leader {
                self.end_campaign(slot);
                if !known && tries < TRIES_MAX {
                    // Whoever refused may have heard the last leader a moment longer; or asked itself, and then
                    // the two must part.
                    let spread = RETRY_US * (2 + u32::from(tries));
                    let at = self.nodes.now.after(RETRY_US + self.draw(slot) % spread);
                    self.enqueue(slot, at, true, tries + 1);
                }
            }
        }
    }
}
