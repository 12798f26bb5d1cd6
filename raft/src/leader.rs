//! What a leader is: its peers, what it counts, and when it stops.
//!
//! What it does is in files of their own: `commit` orders proposals and moves the commit,
//! `replication` sends appends and takes their answers, `linearizable` confirms reads, `change`
//! moves the membership, `transfer` hands over, `snapshot` catches up whom the log cannot.
//!
//! Invariants: `peers` are the members of the membership in force without the leader itself, which
//! need not be a member, and behind them whom that membership has removed, until they know of it
//! (without a vote, in no count); each agreement is one of a majority of each half.
//!
//! Deliberately absent: retransmission timers; see `progress`.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::config::Liveness;
use crate::log::Log;
use crate::membership::{Membership, VOTERS_MAX};
use crate::message::Proposed;
use crate::planted::{self, Bug};
use crate::progress::Progress;
use crate::quorum::{majority, reached_by};
use crate::raft::{Raft, RoleState};
use crate::reads::Reads;
use crate::seat::Seat;
use crate::status::{PeerProgress, ProgressState};
use crate::transfer::Transfer;
use crate::types::{Index, ReplicaId, Term, Time};
use crate::window::Window;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Leader {
    /// The no-op that opened the term: the first entry that commits by counting.
    pub(crate) first: Index,
    /// The latest time this leader was told, and the one of its election.
    pub(crate) now: Time,
    pub(crate) elected_at: Time,
    /// When a peer may be due a heartbeat, and when a quorum may have been silent for too long.
    pub(crate) heartbeat_at: Time,
    pub(crate) quorum_check_at: Time,
    pub(crate) transfer: Option<Transfer>,
    /// Bytes of own proposals that wait for their commit.
    pub(crate) uncommitted: Window<4>,
    /// Rounds and leases, from the first read on.
    pub(crate) reads: Option<Box<Reads>>,
    /// Everybody else.
    pub(crate) peers: Vec<Progress>,
    /// The number of the stays that began last: 0 for those of the election.
    sessions: u32,
    /// The leader's own seat; none when it is no member.
    seat: Option<Seat>,
    joint: bool,
    /// The caller has not yet made a block for the no-op.
    noop_untaken: bool,
    /// A peer was ordered to campaign: whoever hears of it may vote for it at once, at any time.
    pub(crate) lease_void: bool,
    /// Some peer waits for a snapshot that the caller was not asked for.
    pub(crate) snapshot_wanted: bool,
    /// Nothing will come; see `liveness`.
    pub(crate) asleep: bool,
    /// Silence of the peers counts.
    pub(crate) watching: bool,
    /// Everybody was told the floor as it is.
    pub(crate) floor_told: bool,
}

/// What a leader holds beyond an idle replica, in a group of five voters.
const _: () = assert!(size_of::<Leader>() + 4 * size_of::<Progress>() <= 512);

impl Leader {
    #[inline]
    pub(crate) fn peer_mut(&mut self, id: ReplicaId) -> Option<&mut Progress> {
        self.peers.iter_mut().find(|peer| peer.id == id)
    }

    /// The number of the peer's present stay; that of the latest for a stranger.
    pub(crate) fn session(&self, id: ReplicaId) -> u32 {
        self.peers.iter().find(|peer| peer.id == id).map_or(self.sessions, |peer| peer.session)
    }

    /// A peer of our term speaks to us, in its present stay. What it said in an earlier one counts
    /// for nothing (hazard M10).
    #[inline]
    pub(crate) fn hear(
        &mut self,
        now: Time,
        (id, session): (ReplicaId, u32),
    ) -> Option<&mut Progress> {
        self.now = self.now.max(now);
        let now = crate::progress::Moment::of(self.now);
        let peer = self.peers.iter_mut().find(|peer| peer.id == id)?;
        if peer.session != session && !planted::has(Bug::OldSessionCounted) {
            return None;
        }
        peer.heard_at = now;
        peer.acknowledged = true;
        Some(peer)
    }

    pub(crate) const fn take_noop(&mut self, term: Term) -> Option<Proposed> {
        if !self.noop_untaken {
            return None;
        }
        self.noop_untaken = false;
        Some(Proposed { term, first: self.first, last: self.first })
    }

    pub(crate) const fn untaken_noop(&self) -> Option<Index> {
        if self.noop_untaken { Some(self.first) } else { None }
    }

    #[inline]
    pub(crate) const fn assert_noop_taken(&self) {
        assert!(!self.noop_untaken, "the new leader's no-op must be taken before anything else");
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        if self.asleep {
            return None;
        }
        let until = self.transfer.map_or(Time::NEVER, |transfer| transfer.until);
        let at = self.heartbeat_at.min(self.quorum_check_at).min(until);
        Some(at).filter(|&at| at != Time::NEVER)
    }

    #[inline]
    pub(crate) const fn is_joint(&self) -> bool {
        self.joint
    }

    /// Whether the leader itself votes in the half that stays.
    pub(crate) fn stays(&self) -> bool {
        self.seat.is_some_and(|seat| seat.votes_incoming() && !seat.is_witness())
    }

    pub(crate) fn progress(&self, config: (u64, u32)) -> impl Iterator<Item = PeerProgress> + '_ {
        let (timeout_us, window) = config;
        self.members().map(move |peer| PeerProgress {
            id: peer.id,
            seat: peer.seat,
            state: peer.state(),
            matched: peer.matched,
            next: peer.next,
            inflight_bytes: peer.inflight_bytes(),
            paused: peer.room(window).is_none(),
            pending_snapshot: peer.pending_snapshot(),
            session: peer.session,
            recent_active: (peer.acknowledged || peer.session > 0)
                && peer.heard_at.age_us(self.now) < timeout_us,
        })
    }

    /// The greatest value that a majority of each half reaches, given the leader's own.
    #[inline]
    pub(crate) fn agreed<T: Ord + Copy>(&self, own: T, value: impl Fn(&Progress) -> T) -> T {
        let incoming = self.half(Seat::votes_incoming, own, &value);
        if !self.joint || planted::has(Bug::JointByOneHalf) {
            return incoming;
        }
        incoming.min(self.half(Seat::votes_outgoing, own, &value))
    }

    #[inline]
    fn half<T: Ord + Copy>(
        &self,
        votes: impl Fn(Seat) -> bool,
        own: T,
        value: &impl Fn(&Progress) -> T,
    ) -> T {
        let mut values = [own; VOTERS_MAX];
        let mut count = usize::from(self.seat.is_some_and(&votes));
        for peer in &self.peers {
            let counted = votes(peer.seat) || planted::has(Bug::LearnerCounted);
            if counted && count < VOTERS_MAX {
                values[count] = value(peer);
                count += 1;
            }
        }
        if planted::has(Bug::QuorumMissorted) {
            return values[majority(count) - 1];
        }
        reached_by(&mut values[..count], majority(count))
    }

    /// The peers that are members still.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Progress> {
        self.peers.iter().filter(|peer| !peer.leaving)
    }

    /// Speaks no more to those removed peers for whom `told` holds.
    pub(crate) fn dismiss(&mut self, told: impl Fn(&Progress) -> bool) {
        self.peers.retain(|peer| !(peer.leaving && told(peer)));
    }

    /// The membership changed: new peers begin their stay, the others keep theirs, but for those
    /// who are removed: they only hear of it still.
    fn seat_peers(&mut self, own: ReplicaId, membership: &Membership, next: Index) {
        self.seat = membership.seat(own);
        self.joint = membership.is_joint();
        let others = membership.members().filter(|member| member.id != own);
        let mut peers = Vec::with_capacity(others.clone().count());
        for member in others {
            let stays = |peer: &Progress| peer.id == member.id && !peer.leaving;
            let slot = self.peers.iter().position(stays);
            let progress = match slot {
                Some(slot) => Progress { seat: member.seat, ..self.peers.swap_remove(slot) },
                None => Progress::new(member.id, member.seat, self.sessions, next, self.now),
            };
            peers.push(progress);
        }
        for peer in self.peers.drain(..) {
            if !peer.leaving && !membership.contains(peer.id) {
                peers.push(Progress { seat: Seat::LEARNER, leaving: true, ..peer });
            }
        }
        self.peers = peers;
    }

    /// Only what the peer says from now on counts, and it is asked at once.
    pub(crate) fn begin_session(&mut self, id: ReplicaId) {
        let round = self.reads.as_ref().is_some_and(|reads| reads.in_flight());
        let Some(slot) = self.peers.iter().position(|peer| peer.id == id) else { return };
        self.sessions = self.sessions.checked_add(1).expect("promises do not run out");
        let peer = &mut self.peers[slot];
        peer.session = self.sessions;
        peer.acknowledged = false;
        peer.acked_round = 0;
        if peer.state() == ProgressState::Snapshot {
            peer.beat_due = true;
        } else {
            peer.reconnect(round);
        }
    }

    /// Another membership is in force.
    pub(crate) fn reseat_peers(&mut self, own: ReplicaId, membership: &Membership, next: Index) {
        self.sessions = self.sessions.checked_add(1).expect("memberships do not run out");
        self.seat_peers(own, membership, next);
    }

    /// Speaks to everybody at once, and counts their silence from when it does.
    pub(crate) fn rouse(&mut self) {
        self.asleep = false;
        self.watching = false;
        for peer in &mut self.peers {
            peer.beat_due = true;
        }
        (self.heartbeat_at, self.quorum_check_at) = (self.now, self.now);
    }

    pub(crate) fn check(&self, log: &Log, committed: Index, term: Term) {
        let (last, term_at_first) = (log.last().index, log.term_at(self.first));
        for peer in &self.peers {
            peer.check(last);
        }
        self.uncommitted.check();
        if let Some(reads) = &self.reads {
            reads.check();
        }
        assert!(self.first <= last, "the no-op {:?} is past the end {last:?}", self.first);
        assert!(term_at_first.is_none_or(|at| at == term), "the no-op is of {term_at_first:?}");
        if committed == last {
            assert!(self.uncommitted.bytes() == 0, "bytes leak: {:?}", self.uncommitted);
        }
    }
}

/// Taking and losing the lead.
impl Raft {
    pub(crate) fn become_leader(&mut self, now: Time) {
        let (id, term) = (self.id, self.hard_state.term);
        let first = self.log.last().index.next();
        self.log.append(term, first);
        let lost = core::mem::take(&mut self.reads_lost);
        let mut leader = Leader {
            first,
            now,
            elected_at: now,
            heartbeat_at: Time::NEVER,
            quorum_check_at: Time::NEVER,
            transfer: None,
            uncommitted: Window::new(),
            reads: lost.then(|| Box::new(Reads::after_loss_of(self.last_read))),
            peers: Vec::new(),
            sessions: 0,
            seat: None,
            joint: false,
            noop_untaken: true,
            lease_void: false,
            snapshot_wanted: false,
            asleep: false,
            watching: true,
            floor_told: false,
        };
        leader.seat_peers(id, &self.memberships.current(), first);
        if !leader.peers.is_empty() {
            if self.config.liveness != Liveness::External {
                leader.heartbeat_at = now.after(self.config.heartbeat_us);
            }
            leader.quorum_check_at = now.after(self.config.election_timeout_us);
        }
        self.role = RoleState::Leader(Box::new(leader));
    }

    /// Heartbeats, check-quorum, and the end of a transfer that takes too long.
    pub(crate) fn on_leader_deadline(&mut self, now: Time) {
        let (config, checked) = (self.config, self.is_checked());
        let RoleState::Leader(leader) = &mut self.role else { return };
        leader.now = leader.now.max(now);
        let now = leader.now;
        if leader.transfer.is_some_and(|transfer| now >= transfer.until) {
            leader.transfer = None;
            self.maybe_retire();
        }
        let RoleState::Leader(leader) = &mut self.role else { return };
        if leader.asleep {
            return;
        }
        if config.liveness == Liveness::External || leader.peers.is_empty() {
            let due = now >= leader.quorum_check_at;
            let known = leader.agreed(true, |peer| peer.acknowledged);
            let own_committed = self.committed >= leader.first;
            leader.heartbeat_at = Time::NEVER;
            if due || known {
                leader.quorum_check_at = Time::NEVER;
            }
            if due && !known && !own_committed {
                // Nobody may ever hear of this leader, and then nobody's support ends for it.
                self.become_follower(now, None);
            }
            return;
        }
        if !leader.watching {
            Self::begin_watch(leader, now, config.election_timeout_us);
        }
        let beats = now >= leader.heartbeat_at;
        Self::beat_if_due(leader, now, config.heartbeat_us);
        let heard = Self::check_quorum(leader, now, config.election_timeout_us);
        if !heard && checked {
            // Someone else may lead by now; going on would only mislead our clients.
            self.become_follower(now, None);
        } else if beats && config.lease_percent > 0 {
            self.begin_round(true);
        }
    }
}
