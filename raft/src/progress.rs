//! The leader's picture of one peer.
//!
//! - *Probe*: where the peer's log meets ours is a guess. One append is sent and its answer
//!   awaited. Every leadership begins so, and so does every new connection and every rejection.
//! - *Replicate*: the guess was right. Appends follow each other without waiting, as far as the
//!   byte window goes; `next` runs ahead of `matched` by what is on its way.
//! - *Snapshot*: the peer needs entries that are compacted; nothing is sent until it has a
//!   snapshot from which the log goes on.
//!
//! Invariants: `matched < next <= last + 1`; `matched` never moves back within a stay, since it
//! counts durable entries only (a follower that lost such entries is not repaired but stops:
//! hazard L13); in Replicate, `next` never falls back.
//!
//! Deliberately absent: a retransmission timer. On a live connection nothing is lost, and a broken
//! one is reported by [`Progress::reconnect`].

use crate::seat::Seat;
use crate::status::ProgressState;
use crate::types::{Index, ReplicaId, Time};
use crate::window::Window;

/// A moment as a leader remembers it for each peer: in steps of 64 µs, modulo three days. Only
/// differences count, and those end at the election timeout, which is at most half an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Moment(u32);

impl Moment {
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "modulo three days, as said above")]
    pub(crate) const fn of(time: Time) -> Self {
        Self((time.0 >> 6) as u32)
    }

    /// Microseconds from this moment to `now`.
    #[inline]
    pub(crate) const fn age_us(self, now: Time) -> u64 {
        (Self::of(now).0.wrapping_sub(self.0) as u64) << 6
    }
}

/// How a peer is sent to, with what only that way needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Flow {
    Probe {
        /// The append that was sent and is not answered.
        sent_at: Option<Moment>,
    },
    Replicate {
        /// Bytes on their way to it.
        inflight: Window<2>,
    },
    Snapshot {
        /// The snapshot must be at this entry or later.
        at_least: Index,
        /// The caller was told.
        requested: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Progress {
    pub(crate) id: ReplicaId,
    /// The last entry the peer has acknowledged as durable in our term.
    pub(crate) matched: Index,
    /// The next entry to send.
    pub(crate) next: Index,
    /// The commit the peer knows, or will know from what is on its way.
    pub(crate) told_commit: Index,
    /// The latest read round it answered.
    pub(crate) acked_round: u64,
    pub(crate) flow: Flow,
    /// When anything was last sent to it, and when it was last heard.
    pub(crate) sent_at: Moment,
    pub(crate) heard_at: Moment,
    /// Which stay of the replica in the membership this is.
    pub(crate) session: u32,
    pub(crate) seat: Seat,
    /// It has answered this leader, and so knows it.
    pub(crate) acknowledged: bool,
    /// A heartbeat must go out, unless something else does: for silence, for news, or for a read
    /// round.
    pub(crate) beat_due: bool,
    /// It is no member any more, and only hears of that still.
    pub(crate) leaving: bool,
}

impl Progress {
    /// A peer of which nothing is known, at the beginning of a leadership or of its stay.
    pub(crate) const fn new(
        id: ReplicaId,
        seat: Seat,
        session: u32,
        next: Index,
        now: Time,
    ) -> Self {
        Self {
            id,
            matched: Index::ZERO,
            next,
            told_commit: Index::ZERO,
            acked_round: 0,
            flow: Flow::Probe { sent_at: None },
            sent_at: Moment::of(now),
            heard_at: Moment::of(now),
            session,
            seat,
            acknowledged: false,
            beat_due: false,
            leaving: false,
        }
    }

    pub(crate) const fn state(&self) -> ProgressState {
        match self.flow {
            Flow::Probe { .. } => ProgressState::Probe,
            Flow::Replicate { .. } => ProgressState::Replicate,
            Flow::Snapshot { .. } => ProgressState::Snapshot,
        }
    }

    /// The entry at which the snapshot that it waits for must be, or later.
    pub(crate) const fn pending_snapshot(&self) -> Option<Index> {
        match self.flow {
            Flow::Snapshot { at_least, .. } => Some(at_least),
            Flow::Probe { .. } | Flow::Replicate { .. } => None,
        }
    }

    /// Bytes on their way to it.
    #[inline]
    pub(crate) fn inflight_bytes(&self) -> u64 {
        match &self.flow {
            Flow::Replicate { inflight } => inflight.bytes(),
            Flow::Probe { .. } | Flow::Snapshot { .. } => 0,
        }
    }

    /// Bytes that may be sent to it now, of a window of `bytes_max`; `None` when it must not be
    /// sent anything before it has answered.
    #[inline]
    pub(crate) fn room(&self, bytes_max: u32) -> Option<u32> {
        match &self.flow {
            Flow::Probe { sent_at: None } => Some(bytes_max),
            Flow::Probe { .. } | Flow::Snapshot { .. } => None,
            Flow::Replicate { inflight } => {
                let room = u64::from(bytes_max).saturating_sub(inflight.bytes());
                u32::try_from(room).ok().filter(|&room| room > 0)
            }
        }
    }

    /// Whether a removed peer has been told that the membership of `since` is committed.
    #[inline]
    pub(crate) fn has_left(&self, since: Index) -> bool {
        self.leaving && self.told_commit >= since
    }

    /// Sends one append from `next` on and waits for its answer. Whatever was on its way is
    /// forgotten, and so is what it told.
    pub(crate) fn probe_from(&mut self, next: Index) {
        self.flow = Flow::Probe { sent_at: None };
        self.next = next;
        self.told_commit = Index::ZERO;
    }

    /// The entries it needs are compacted: it needs a snapshot at `at_least` or later.
    #[cold]
    pub(crate) fn await_snapshot(&mut self, at_least: Index) {
        self.flow = Flow::Snapshot { at_least, requested: false };
        self.told_commit = Index::ZERO;
    }

    /// The connection broke or is new: nothing sent before counts. `round` says whether a read
    /// round waits for answers.
    pub(crate) fn reconnect(&mut self, round: bool) {
        // Without an acknowledgement in this term, where we stand is as good a guess as any.
        let known = self.matched > Index::ZERO;
        self.probe_from(if known { self.matched.next() } else { self.next });
        self.beat_due |= round;
    }

    /// The peer answered something else than the probe: it lives, and if the probe has been on its
    /// way for longer than `patience_us`, it may be lost and goes out again.
    pub(crate) fn renew_probe(&mut self, now: Time, patience_us: u32) {
        if let Flow::Probe { sent_at: Some(at) } = self.flow
            && at.age_us(now) >= u64::from(patience_us)
        {
            self.probe_from(self.next);
        }
    }

    /// The peer has everything up to `matched` durable; our log begins after `compacted`. Returns
    /// whether that is news.
    #[inline]
    pub(crate) fn on_ack(&mut self, matched: Index, compacted: Index) -> bool {
        let moves_on = match &mut self.flow {
            Flow::Replicate { inflight } => {
                inflight.release(matched);
                false
            }
            // An older answer than that to the probe says nothing about where the logs meet.
            Flow::Probe { .. } => matched.next() >= self.next,
            // Whatever brought it there, the log goes on from there (hazard L10).
            Flow::Snapshot { .. } => matched >= compacted,
        };
        if moves_on {
            // What a probe carried beyond the answer goes out again.
            self.flow = Flow::Replicate { inflight: Window::new() };
            self.next = self.next.min(self.matched.max(matched).next());
        }
        let news = matched > self.matched;
        if news {
            self.matched = matched;
            if self.next <= matched {
                self.next = matched.next();
            }
        }
        news
    }

    /// Whether a rejection of the entry `prev` answers what we believe now. Others are late
    /// (hazard L8), or come from a follower that lost what it had acknowledged, which is not for
    /// us to repair (hazard L13).
    pub(crate) fn rejection_counts(&self, prev: Index) -> bool {
        let asked = match self.flow {
            Flow::Probe { sent_at } => sent_at.is_some() && prev == self.next.prev(),
            Flow::Replicate { .. } => prev < self.next,
            Flow::Snapshot { .. } => false,
        };
        asked && prev > self.matched
    }

    /// An append up to `last` that tells `commit` goes out, of a window of `bytes_max`.
    #[inline]
    pub(crate) fn on_append_sent(
        &mut self,
        now: Time,
        last: Index,
        bytes: u32,
        bytes_max: u32,
        commit: Index,
    ) {
        match &mut self.flow {
            Flow::Replicate { inflight } => {
                self.next = last.next();
                if bytes > 0 {
                    inflight.push(last, bytes, bytes_max / 2);
                }
            }
            Flow::Probe { sent_at } => *sent_at = Some(Moment::of(now)),
            Flow::Snapshot { .. } => {}
        }
        self.told_commit = self.told_commit.max(commit.min(last));
        self.on_sent(now);
    }

    /// Anything goes out; everything carries the latest read round.
    #[inline]
    pub(crate) const fn on_sent(&mut self, now: Time) {
        self.sent_at = Moment::of(now);
        self.beat_due = false;
    }

    pub(crate) fn check(&self, last: Index) {
        let Self { id, matched, next, .. } = *self;
        assert!(matched < next && next <= last.next(), "{id:?}: {matched:?} {next:?} {last:?}");
        if let Flow::Replicate { inflight } = &self.flow {
            inflight.check();
            assert!(
                matched.next() < next || inflight.bytes() == 0,
                "{id:?}: bytes leak: {inflight:?}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(next: u64) -> Progress {
        Progress::new(ReplicaId::new(2).unwrap(), Seat::VOTER, 1, Index(next), Time(0))
    }

    fn send(progress: &mut Progress, last: u64) {
        progress.on_append_sent(Time(0), Index(last), 10, 100, Index(4));
    }

    fn replicating() -> Progress {
        let mut progress = new(5);
        send(&mut progress, 6);
        assert!(progress.on_ack(Index(6), Index::ZERO));
        assert_eq!((progress.state(), progress.next), (ProgressState::Replicate, Index(7)));
        progress
    }

    #[test]
    fn l8_late_answers_move_nothing() {
        let mut progress = replicating();
        send(&mut progress, 9);
        let before = progress.clone();
        assert!(!progress.rejection_counts(Index(6)), "that entry has been acknowledged");
        assert!(!progress.rejection_counts(Index(10)), "that was never asked");
        assert!(!progress.on_ack(Index(3), Index::ZERO));
        assert_eq!(progress, before);
    }

    #[test]
    fn a_new_connection_probes_from_what_is_acknowledged() {
        let mut progress = replicating();
        send(&mut progress, 9);
        progress.reconnect(false);
        assert_eq!((progress.state(), progress.next), (ProgressState::Probe, Index(7)));
        assert_eq!(progress.inflight_bytes(), 0);
    }

    #[test]
    fn an_old_ack_does_not_end_the_probe() {
        let mut progress = new(9);
        send(&mut progress, 9);
        progress.on_ack(Index(5), Index::ZERO);
        assert_eq!((progress.state(), progress.matched), (ProgressState::Probe, Index(5)));
        progress.on_ack(Index(9), Index::ZERO);
        assert_eq!((progress.state(), progress.next), (ProgressState::Replicate, Index(10)));
    }

    #[test]
    fn l10_any_ack_from_which_the_log_goes_on_ends_the_wait_for_a_snapshot() {
        for (matched, state) in [
            (19, ProgressState::Snapshot),
            (20, ProgressState::Replicate),
            (33, ProgressState::Replicate),
        ] {
            let mut progress = new(41);
            progress.await_snapshot(Index(20));
            progress.on_ack(Index(matched), Index(20));
            assert_eq!(progress.state(), state, "matched {matched}");
            progress.check(Index(40));
        }
    }

    #[test]
    fn moments_count_across_their_wrap() {
        let before = Time(u64::from(u32::MAX) << 6);
        assert_eq!(Moment::of(before).age_us(before.after(6_400)), 6_400);
    }
}
