//! When a replica believes that its leader lives: the election timer, the support that a leader
//! has, sleep and waking.
//!
//! *Self-timed*, a replica that heard its leader supports it for one election timeout: it neither
//! campaigns nor votes for anybody else meanwhile (thesis §4.2.3), whatever terms it hears of,
//! since the leader may serve reads on the strength of it. *Externally*, nodes promise that to
//! each other, once for all their groups, and the caller says until when.
//!
//! A group in which nothing happens can *sleep*: the leader tells its followers that nothing more
//! will come, and nobody has a deadline. Whatever happens wakes the replica it happens to, and its
//! messages wake the others.
//!
//! Invariant: the election timer never ends before the support does.

use alloc::vec::Vec;

use crate::config::{Liveness, PRIORITY_MAX};
use crate::leader::Leader;
use crate::message::MessageKind;
use crate::planted::{self, Bug};
use crate::progress::Moment;
use crate::raft::{Raft, RoleState};
use crate::status::ProgressState;
use crate::types::{Index, ReplicaId, Term, Time};

/// The election timer.
impl Raft {
    /// One draw of the election timer beyond the election timeout itself. Below the top priority,
    /// whole timeouts more.
    fn draw(&mut self) -> u32 {
        let base = self.config.election_timeout_us;
        let handicap = u32::from(PRIORITY_MAX - self.config.priority);
        self.rng.below(base).saturating_add(base.saturating_mul(handicap))
    }

    /// Arms the election timer anew, with a new draw so that replicas do not move in step.
    pub(crate) fn arm(&mut self, now: Time) {
        let at = now.after(self.config.election_timeout_us).after(self.draw());
        self.arm_at(now, at);
        self.heard = false;
    }

    fn arm_at(&mut self, now: Time, at: Time) {
        self.support_until = self.support_until.max(now);
        let jitter_us = at.since(self.support_until);
        self.jitter_us = u32::try_from(jitter_us).unwrap_or(u32::MAX);
    }

    /// The leader spoke.
    #[inline]
    pub(crate) fn note_heard(&mut self, now: Time) {
        if self.supports.is_some() {
            return;
        }
        if self.config.liveness == Liveness::External {
            // Nothing is promised to it, but while it speaks there is no need for another.
            return self.arm(now);
        }
        if !self.heard {
            self.jitter_us = self.draw();
            self.heard = true;
        }
        self.support_until = self.support_until.max(now.after(self.config.election_timeout_us));
    }

    pub(crate) const fn election_deadline(&self) -> Time {
        self.support_until.after(self.jitter_us)
    }

    /// Whether this replica may campaign: it is electable, and has what it counts as applied.
    pub(crate) fn can_campaign(&self) -> bool {
        // While a snapshot is not persisted, the log begins where nothing is (hazard E13).
        self.is_electable() && self.durability.persisted() >= self.log.compacted().index
    }

    /// Whether this replica leads, or supports a leader still. When leases may rest on that, it
    /// does so to the end of what it promised, whatever has happened since (hazard R9); else only
    /// as long as it follows somebody.
    pub(crate) fn hears_leader(&self, now: Time) -> bool {
        let follows = match &self.role {
            RoleState::Leader(_) => return self.is_checked(),
            RoleState::Follower(follower) => follower.leader.is_some(),
            RoleState::PreCandidate(_) | RoleState::Candidate(_) => false,
        };
        self.supports.is_some()
            || self.is_checked() && now < self.support_until && (follows || self.promises())
    }

    /// Whether a promise of support, which a lease may rest on, has not run out.
    pub(crate) fn is_bound(&self, now: Time) -> bool {
        self.supports.is_some() || self.promises() && now < self.support_until
    }

    /// Whether a leader may rest a lease on the support of its followers.
    const fn promises(&self) -> bool {
        self.config.lease_percent > 0 || matches!(self.config.liveness, Liveness::External)
    }

    /// A follower knows that its leader is gone, or doubts it: it forgets it, and may vote for
    /// another at once. When it campaigns itself does not change. With leases or external liveness
    /// it does nothing, since a leader may rest on what was promised.
    pub fn forget_leader(&mut self) {
        let promises = self.promises();
        let RoleState::Follower(follower) = &mut self.role else { return };
        if promises {
            return;
        }
        if follower.leader.take().is_some() {
            follower.asleep = false;
            self.reads_lost |= self.talk.lose_reads();
        }
    }
}

/// Ending support before its time, by the word of who is supported.
impl Raft {
    /// The leader that is followed here says itself that it does not lead: by asking for votes, or
    /// plainly. What was promised to it is void. A late request of its election says nothing, so
    /// it must be of a time after that.
    #[inline]
    pub(crate) fn note_resigned(
        &mut self,
        now: Time,
        from: ReplicaId,
        term: Term,
        kind: MessageKind,
    ) {
        let ours = self.hard_state.term;
        let resigned = (term >= ours
            && matches!(kind, MessageKind::PreVote { .. } | MessageKind::Resign))
            || (term > ours && matches!(kind, MessageKind::Vote { .. }));
        let ended = self.leader() == Some(from) || self.supports == Some(from);
        if resigned && ended && !self.is_leader() {
            self.support_until = now.min(self.support_until);
            self.end_support(now);
        }
    }

    /// Forgets the leader. When this replica campaigns itself changes only if it never would have.
    #[cold]
    fn end_support(&mut self, now: Time) {
        let (at, untimed) = (self.election_deadline(), self.supports.take().is_some());
        self.follow(None);
        if untimed {
            self.arm(now);
        } else {
            self.arm_at(now, at);
            self.heard = false;
        }
    }

    /// Whoever is supported here although a later term has begun does not know of that term, or is
    /// no leader any more: either way it must say so, or nobody here would ever campaign.
    #[cold]
    pub(crate) fn remind(&mut self) {
        if let Some(supported) = self.supports
            && !self.is_leader()
            && self.leader().is_none()
        {
            self.answer_old_leader(supported);
        }
    }

    /// A leader that steps down tells those whose nodes support its own: they cannot know.
    pub(crate) fn resign(&mut self) {
        let external = self.config.liveness == Liveness::External;
        let RoleState::Leader(leader) = &self.role else { return };
        if external {
            let peers: Vec<ReplicaId> = leader.peers.iter().map(|peer| peer.id).collect();
            for peer in peers {
                self.post(peer, MessageKind::Resign);
            }
        }
    }

    /// Whoever asks a leader for its vote does not know it, or is ahead of it in terms, and nothing
    /// else may be on its way that would tell either of them: the leader speaks to it.
    #[inline]
    pub(crate) fn answer_ignorance(&mut self, from: ReplicaId, kind: MessageKind) {
        let asks =
            matches!(kind, MessageKind::PreVote { .. } | MessageKind::Vote { forced: false, .. });
        if asks
            && self.config.liveness == Liveness::External
            && let RoleState::Leader(leader) = &mut self.role
            && let Some(peer) = leader.peer_mut(from)
        {
            peer.beat_due = true;
        }
    }

    /// Who follows a replica that does not lead hears of it. A candidate says nothing: it may yet
    /// lead the very term that it would resign.
    pub(crate) fn disown(&mut self, from: ReplicaId) {
        let never_will = matches!(self.role, RoleState::Follower(_) | RoleState::PreCandidate(_));
        if self.config.liveness == Liveness::External && never_will {
            self.post(from, MessageKind::Resign);
        }
    }
}

/// External liveness.
impl Raft {
    /// The caller promises that the leader's node is supported until `until`, of the clock that
    /// `now` is of; [`Time::NEVER`]: until [`Raft::on_support_lapsed`] says otherwise. Meanwhile
    /// this replica neither campaigns nor votes for another. Called again, a later promise extends
    /// an earlier one; an earlier time takes effect only where the caller has not relied on the
    /// later.
    ///
    /// A caller that may have promised something before this replica was started says until when,
    /// before anything else.
    pub fn leader_supported_until(&mut self, now: Time, until: Time) {
        self.wake(now);
        if until == Time::NEVER {
            if let RoleState::Follower(follower) = &self.role {
                self.supports = follower.leader.or(self.supports);
            }
            return;
        }
        self.supports = None;
        self.support_until = until;
        self.jitter_us = self.draw();
        self.heard = true;
    }

    /// Whom the caller supports until it says otherwise, as far as this replica was told. Need not
    /// be its leader any more: a promise outlives the term it was made in.
    #[must_use]
    pub const fn supports(&self) -> Option<ReplicaId> {
        self.supports
    }

    /// The caller has promised nothing to the node of `peer` any more, or knows that this node has
    /// forgotten what it led: if it leads here, or is supported here, that is over.
    pub fn on_support_lapsed(&mut self, now: Time, peer: ReplicaId) {
        if !self.is_leader() && (self.leader() == Some(peer) || self.supports == Some(peer)) {
            self.end_support(now);
        }
    }

    /// The node of `peer` supports ours by a new promise. What the peer has acknowledged rests on
    /// an earlier one, in between it may have voted for another: so nothing of it counts for a
    /// lease any more, and it is asked anew (hazard R8).
    pub fn on_support_gained(&mut self, now: Time, peer: ReplicaId) {
        if let RoleState::Leader(leader) = &mut self.role {
            leader.now = leader.now.max(now);
            leader.begin_session(peer);
        }
    }

    /// Whether a leader knows of nothing that `peer` lacks, and has sent it nothing for so long
    /// that it has arrived: then a connection that breaks and comes back takes nothing from it.
    #[must_use]
    pub fn is_even_with(&self, now: Time, peer: ReplicaId, quiet_us: u64) -> bool {
        let RoleState::Leader(leader) = &self.role else { return false };
        let last = self.log.last().index;
        leader.transfer.is_none()
            && !leader.reads.as_ref().is_some_and(|reads| reads.in_flight())
            && leader.floor_told
            && self.committed == last
            && leader.members().any(|other| {
                other.id == peer
                    && other.acknowledged
                    && other.matched == last
                    && other.told_commit == last
                    && !other.beat_due
                    && other.state() == ProgressState::Replicate
                    && other.sent_at.age_us(now) >= quiet_us
            })
    }

    /// Until when the leadership is certain, if each peer's node supports ours until `support`
    /// says: what a majority promises, of those who have acknowledged this leader in its term. The
    /// others have promised nothing for this group. `Time(0)` when this replica does not lead, or
    /// has ordered another to campaign (hazard R7).
    pub fn lease_until(&self, support: impl Fn(ReplicaId) -> Time) -> Time {
        let RoleState::Leader(leader) = &self.role else { return Time(0) };
        if leader.is_lease_void() && !planted::has(Bug::LeaseSurvivesTransfer) {
            return Time(0);
        }
        self.supported_until(leader, support)
    }

    fn supported_until(&self, leader: &Leader, support: impl Fn(ReplicaId) -> Time) -> Time {
        leader
            .agreed(Time::NEVER, |peer| if peer.acknowledged { support(peer.id) } else { Time(0) })
    }

    /// The index at which a read may be served now without a round, if the leadership is certain
    /// beyond `now`: see [`Raft::lease_until`].
    pub fn lease_read(&self, now: Time, support: impl Fn(ReplicaId) -> Time) -> Option<Index> {
        let RoleState::Leader(leader) = &self.role else { return None };
        let served = self.committed >= leader.first && now < self.lease_until(support);
        served.then_some(self.committed)
    }

    /// Steps down when the support of a majority has ended. Called when that of some node has, and
    /// after a deadline. Returns whether this replica leads (still). A new leader, whom nobody has
    /// acknowledged yet, has one election timeout for it.
    pub fn check_support(&mut self, now: Time, support: impl Fn(ReplicaId) -> Time) -> bool {
        let stays = self.would_stay(now, support);
        if self.is_leader() && !stays {
            self.become_follower(now, None);
        }
        stays
    }

    /// What [`Raft::check_support`] would say.
    pub fn would_stay(&self, now: Time, support: impl Fn(ReplicaId) -> Time) -> bool {
        let RoleState::Leader(leader) = &self.role else { return false };
        let new = self.committed < leader.first
            && now.since(leader.elected_at) < u64::from(self.config.election_timeout_us);
        new || now < self.supported_until(leader, support)
    }
}

/// Sleep and waking.
impl Raft {
    /// Lets the group sleep, if this replica leads it, everybody has everything, and nobody waits
    /// for anything. Followers are told by a last heartbeat. Returns whether the replica sleeps.
    pub fn sleep(&mut self, now: Time) -> bool {
        let (last, committed) = (self.log.last().index, self.committed);
        let rested = committed == last
            && self.given == last
            && self.durability.persisted() == last
            && self.durability.hard_state_is_durable()
            && self.talk.is_idle()
            && self.memberships.since() <= committed;
        let RoleState::Leader(leader) = &mut self.role else { return false };
        leader.now = leader.now.max(now);
        let reads = leader.reads.as_ref().is_some_and(|reads| reads.any() || reads.in_flight());
        let done = rested && !reads && leader.transferring().is_none();
        let even = leader
            .peers
            .iter()
            .all(|peer| peer.matched == last && peer.state() == ProgressState::Replicate)
            && !leader.peers.iter().any(|peer| peer.leaving);
        if !done || !even || self.memberships.current().is_joint() {
            return false;
        }
        if !leader.asleep {
            leader.asleep = true;
            for peer in &mut leader.peers {
                peer.beat_due = true;
            }
        }
        true
    }

    /// Ends the sleep: a leader speaks to everybody, a follower waits for it no longer than for
    /// any leader. Every input but the passing of time does the same.
    pub fn wake(&mut self, now: Time) {
        match &mut self.role {
            RoleState::Leader(leader) if leader.asleep => leader.rouse(),
            RoleState::Follower(follower) if follower.asleep => {
                follower.asleep = false;
                if self.config.liveness == Liveness::External {
                    return self.arm(now);
                }
                // As if the leader had just been heard. It is not given up for one who asks for
                // votes because it has heard nothing: that is what sleep is.
                self.heard = false;
                self.note_heard(now);
            }
            RoleState::Leader(_)
            | RoleState::Follower(_)
            | RoleState::PreCandidate(_)
            | RoleState::Candidate(_) => {}
        }
    }

    /// Wakes for a message, unless it belongs to falling asleep.
    #[inline]
    pub(crate) fn wake_for(&mut self, now: Time, term: Term, kind: MessageKind) {
        let drowsy = matches!(
            kind,
            MessageKind::Heartbeat { sleep: true, .. }
                | MessageKind::HeartbeatAck { .. }
                | MessageKind::AppendAck { .. }
        );
        if !(drowsy && term == self.hard_state.term) {
            self.wake(now);
        }
    }

    /// A leader beats: to those who have not heard from it for a heartbeat.
    pub(crate) fn beat_if_due(leader: &mut Leader, now: Time, heartbeat_us: u32) {
        if now < leader.heartbeat_at {
            return;
        }
        let mut oldest_us = 0;
        for peer in &mut leader.peers {
            let age_us = peer.sent_at.age_us(now);
            if age_us >= u64::from(heartbeat_us) {
                peer.beat_due = true;
            } else {
                oldest_us = oldest_us.max(age_us);
            }
        }
        leader.heartbeat_at = Time(now.0.saturating_sub(oldest_us)).after(heartbeat_us);
    }

    /// Whether a majority was heard within an election timeout; says when to look again.
    pub(crate) fn check_quorum(leader: &mut Leader, now: Time, timeout_us: u32) -> bool {
        if now < leader.quorum_check_at {
            return true;
        }
        leader.dismiss(|peer| peer.heard_at.age_us(now) >= u64::from(timeout_us));
        let youth = leader.agreed(u64::MAX, |peer| u64::MAX - peer.heard_at.age_us(now));
        let age_us = u64::MAX - youth;
        leader.quorum_check_at = Time(now.0.saturating_sub(age_us)).after(timeout_us);
        age_us < u64::from(timeout_us)
    }

    /// After a sleep, or when the first peer comes: silence counts from now.
    pub(crate) fn begin_watch(leader: &mut Leader, now: Time, timeout_us: u32) {
        leader.watching = true;
        leader.quorum_check_at = now.after(timeout_us);
        for peer in &mut leader.peers {
            peer.heard_at = Moment::of(now);
        }
    }
}
