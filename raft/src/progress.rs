//! The leader's picture of one follower.
//!
//! - *Probe*: where the follower's log meets ours is a guess. One append is sent and its answer
//!   awaited. Every leadership begins so, and so does every new connection and every rejection.
//! - *Replicate*: the guess was right. Appends follow each other without waiting, as far as the
//!   byte window goes; `next` runs ahead of `matched` by what is on its way.
//! - *Snapshot*: the follower needs entries that are compacted; log sending stops.
//!
//! Invariants: `matched < next <= last + 1`; `matched` never moves back within a leadership, since
//! it counts durable entries only (a follower that lost such entries is not repaired but stops:
//! hazard L13); in Replicate, `next` never falls back.
//!
//! Deliberately absent: a retransmission timer. On a live connection nothing is lost, and a broken
//! one is reported by [`Progress::reconnect`].

use crate::status::ProgressState;
use crate::types::{Index, ReplicaId, Time};
use crate::window::Window;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Progress {
    pub(crate) id: ReplicaId,
    /// The last entry the follower has acknowledged as durable in our term.
    pub(crate) matched: Index,
    /// The next entry to send.
    pub(crate) next: Index,
    /// The commit the follower knows, or will know from what is on its way.
    pub(crate) told_commit: Index,
    /// The latest read round sent to it, and the latest it answered.
    pub(crate) sent_round: u64,
    pub(crate) acked_round: u64,
    /// When anything was last sent to it, when the probe in flight was, when it was last heard.
    pub(crate) sent_at: Time,
    pub(crate) probed_at: Time,
    pub(crate) heard_at: Time,
    /// Bytes on their way to it.
    pub(crate) inflight: Window<4>,
    pub(crate) state: ProgressState,
    /// Probe: the append has been sent and is not answered.
    pub(crate) probe_in_flight: bool,
    /// A heartbeat must go out, since nothing else did for too long.
    pub(crate) beat_due: bool,
}

impl Progress {
    /// A follower of which nothing is known, at the beginning of a leadership.
    pub(crate) const fn new(id: ReplicaId, next: Index, now: Time) -> Self {
        Self {
            id,
            matched: Index::ZERO,
            next,
            told_commit: Index::ZERO,
            sent_round: 0,
            acked_round: 0,
            sent_at: now,
            probed_at: now,
            heard_at: now,
            inflight: Window::new(),
            state: ProgressState::Probe,
            probe_in_flight: false,
            beat_due: false,
        }
    }

    /// Sends one append from `next` on and waits for its answer. Whatever was on its way is
    /// forgotten, and so is what it told.
    pub(crate) fn probe_from(&mut self, next: Index) {
        self.state = ProgressState::Probe;
        self.next = next;
        self.probe_in_flight = false;
        self.told_commit = Index::ZERO;
        self.inflight.clear();
    }

    /// The entries it needs are compacted.
    #[cold]
    pub(crate) fn await_snapshot(&mut self) {
        self.probe_from(self.next);
        self.state = ProgressState::Snapshot;
    }

    /// The connection broke or is new: nothing sent before counts.
    pub(crate) fn reconnect(&mut self) {
        // Without an acknowledgement in this term, where we stand is as good a guess as any.
        let known = self.matched > Index::ZERO;
        self.probe_from(if known { self.matched.next() } else { self.next });
        self.sent_round = 0;
    }

    /// The follower answered something else than the probe: it lives, and if the probe has been
    /// on its way for longer than `patience_us`, it may be lost and goes out again.
    pub(crate) fn renew_probe(&mut self, now: Time, patience_us: u32) {
        let lost = self.probe_in_flight && now.since(self.probed_at) >= u64::from(patience_us);
        if lost {
            self.probe_from(self.next);
        }
    }

    /// The follower has everything up to `matched` durable. Returns whether that is news.
    #[inline]
    pub(crate) fn on_ack(&mut self, matched: Index) -> bool {
        match self.state {
            ProgressState::Replicate => {}
            // An older answer than that to the probe says nothing about where the logs meet.
            ProgressState::Probe if matched.next() < self.next => {}
            ProgressState::Probe | ProgressState::Snapshot => {
                self.state = ProgressState::Replicate;
                self.probe_in_flight = false;
                // What the probe carried beyond the answer goes out again.
                self.inflight.clear();
            }
        }
        let news = matched > self.matched;
        if news {
            self.matched = matched;
            if self.next <= matched {
                self.next = matched.next();
            }
        }
        self.inflight.release(matched);
        news
    }

    /// Whether a rejection of the entry `prev` answers what we believe now. Others are late
    /// (hazard L8), or come from a follower that lost what it had acknowledged, which is not for
    /// us to repair (hazard L13).
    pub(crate) fn rejection_counts(&self, prev: Index) -> bool {
        let asked = match self.state {
            ProgressState::Probe => self.probe_in_flight && prev == self.next.prev(),
            ProgressState::Replicate => prev < self.next,
            ProgressState::Snapshot => false,
        };
        asked && prev > self.matched
    }

    /// An append up to `last` that tells `commit` goes out.
    #[inline]
    pub(crate) fn on_append_sent(&mut self, now: Time, last: Index, bytes: u32, commit: Index) {
        match self.state {
            ProgressState::Replicate => self.next = last.next(),
            ProgressState::Probe | ProgressState::Snapshot => {
                self.probe_in_flight = true;
                self.probed_at = now;
            }
        }
        if bytes > 0 {
            self.inflight.push(last, bytes);
        }
        self.told_commit = self.told_commit.max(commit.min(last));
        self.on_sent(now);
    }

    /// Anything goes out.
    #[inline]
    pub(crate) const fn on_sent(&mut self, now: Time) {
        self.sent_at = now;
        self.beat_due = false;
    }

    pub(crate) fn check(&self, last: Index) {
        let Self { id, matched, next, .. } = *self;
        assert!(matched < next && next <= last.next(), "{id:?}: {matched:?} {next:?} {last:?}");
        assert!(
            self.state == ProgressState::Probe || !self.probe_in_flight,
            "{id:?}: a probe in flight in {:?}",
            self.state
        );
        self.inflight.check();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replicating() -> Progress {
        let mut progress = Progress::new(ReplicaId::new(2).unwrap(), Index(5), Time(0));
        progress.on_append_sent(Time(0), Index(6), 10, Index(4));
        assert!(progress.on_ack(Index(6)));
        assert_eq!((progress.state, progress.next), (ProgressState::Replicate, Index(7)));
        progress
    }

    #[test]
    fn l8_late_answers_move_nothing() {
        let mut progress = replicating();
        progress.on_append_sent(Time(1), Index(9), 10, Index(6));
        let before = progress.clone();
        assert!(!progress.rejection_counts(Index(6)), "that entry has been acknowledged");
        assert!(!progress.rejection_counts(Index(10)), "that was never asked");
        assert!(!progress.on_ack(Index(3)));
        assert_eq!(progress, before);
    }

    #[test]
    fn a_new_connection_probes_from_what_is_acknowledged() {
        let mut progress = replicating();
        progress.on_append_sent(Time(1), Index(9), 10, Index(6));
        progress.reconnect();
        assert_eq!((progress.state, progress.next), (ProgressState::Probe, Index(7)));
        assert_eq!(progress.inflight.bytes(), 0);
    }

    #[test]
    fn an_old_ack_does_not_end_the_probe() {
        let mut progress = Progress::new(ReplicaId::new(2).unwrap(), Index(9), Time(0));
        progress.on_append_sent(Time(0), Index(9), 10, Index(4));
        progress.on_ack(Index(5));
        assert_eq!((progress.state, progress.matched), (ProgressState::Probe, Index(5)));
        progress.on_ack(Index(9));
        assert_eq!((progress.state, progress.next), (ProgressState::Replicate, Index(10)));
    }
}
