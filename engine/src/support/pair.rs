//! All that one node keeps of one other: whom it knows there, what each promises, when the next beat is due.
//!
//! Invariants: an epoch once seen is never gone back behind, and within one no beat is taken twice or out of order.
//! A beat carries a promise only while that promise runs.
//!
//! Deliberately absent: the other peers. Pairs do not influence each other.

use std::collections::VecDeque;

use kontiki_net::{Beat, Promise};
use kontiki_raft::Time;

use super::latency::Figures;
use super::promise::{Given, Held, PromiseName, certain_until};
use super::{PairStatus, SupportConfig, SupportEvent};

/// What is the same towards all peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Us {
    pub(super) config: SupportConfig,
    /// Our own boot epoch.
    pub(super) epoch: u64,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pair {
    node: u64,
    /// The highest boot epoch of the node that we know of; 0 before any.
    epoch: u64,
    /// The sequence of its newest beat in that epoch.
    heard: u64,
    /// The sequence of our newest beat.
    sent: u64,
    next_beat: Time,
    given: Given,
    held: Held,
    figures: Figures,
}

impl Pair {
    /// A node that nothing is known of; the first beat is due at once.
    pub(super) fn new(node: u64, now: Time) -> Self {
        Self {
            node,
            epoch: 0,
            heard: 0,
            sent: 0,
            next_beat: now,
            given: Given::default(),
            held: Held::default(),
            figures: Figures::default(),
        }
    }

    pub(super) fn node(&self) -> u64 {
        self.node
    }

    /// The node says that it is in `epoch`. A new one ends everything between us; false for one that is over.
    pub(super) fn meet(&mut self, epoch: u64, events: &mut VecDeque<SupportEvent>) -> bool {
        let node = self.node;
        if epoch > self.epoch {
            self.epoch = epoch;
            self.heard = 0;
            if self.given.end() {
                events.push_back(SupportEvent::Lapsed { node });
            }
            if self.held.end() {
                events.push_back(SupportEvent::Lost { node });
            }
        }
        epoch == self.epoch
    }

    /// Ends what has run out.
    pub(super) fn tick(&mut self, now: Time, events: &mut VecDeque<SupportEvent>) {
        let node = self.node;
        if self.given.expire(now) {
            events.push_back(SupportEvent::Lapsed { node });
        }
        if self.held.expire(now) {
            events.push_back(SupportEvent::Lost { node });
        }
    }

    pub(super) fn on_beat(
        &mut self,
        us: &Us,
        now: Time,
        beat: &Beat,
        events: &mut VecDeque<SupportEvent>,
    ) {
        // What has run out is over, although nobody has looked since: it must not be continued.
        self.tick(now, events);
        if !self.meet(beat.epoch, events) || beat.sequence <= self.heard {
            self.figures.note_ignored();
            return;
        }
        // How many went before the first that we heard says nothing.
        let first = self.heard == 0;
        self.figures.note_heard(if first { 0 } else { beat.sequence - self.heard - 1 });
        self.heard = beat.sequence;
        if self.given.renew(now, beat.sent_at, us.config.promise_us) {
            events.push_back(SupportEvent::Supports { node: self.node });
            self.next_beat = now; // Whoever was without support hears of it at once.
        }
        match &beat.promise {
            // What answers a beat that we have yet to send, or one of our former life, is not for us.
            Some(promise) if promise.epoch == us.epoch && promise.answers <= now => {
                self.on_promise(us, now, promise, events);
            }
            Some(_) => self.figures.note_ignored(),
            None => {
                if self.held.end() {
                    events.push_back(SupportEvent::Lost { node: self.node });
                }
            }
        }
    }

    fn on_promise(
        &mut self,
        us: &Us,
        now: Time,
        promise: &Promise,
        events: &mut VecDeque<SupportEvent>,
    ) {
        let node = self.node;
        self.figures.note_round_trip(now.since(promise.answers), promise.held_us);
        let drift = us.config.drift_percent;
        let until = certain_until(now, promise.answers, promise.for_us.into(), drift);
        let taken = self.held.take(now, promise.lapses, until);
        if taken.lost {
            events.push_back(SupportEvent::Lost { node });
        }
        match taken.counted {
            Some(true) => events.push_back(SupportEvent::Resumed { node }),
            Some(false) => events.push_back(SupportEvent::Gained { node }),
            None => {}
        }
    }

    pub(super) fn next_beat(
        &mut self,
        us: &Us,
        now: Time,
        events: &mut VecDeque<SupportEvent>,
    ) -> Option<Beat> {
        self.tick(now, events);
        if now < self.next_beat {
            return None;
        }
        self.next_beat = Time(now.0.saturating_add(us.config.beat_us));
        self.sent += 1;
        let promise = self.given.rests.map(|rests| Promise {
            epoch: self.epoch,
            lapses: self.given.lapses,
            answers: rests.answers,
            for_us: u32::try_from(us.config.promise_us).expect("a promise has a limit"),
            held_us: u32::try_from(now.since(rests.received)).unwrap_or(u32::MAX),
        });
        Some(Beat { epoch: us.epoch, sequence: self.sent, sent_at: now, promise })
    }

    /// The next time at which something is due.
    pub(super) fn deadline(&self, stalled: bool) -> Option<Time> {
        let beat = (!stalled).then_some(self.next_beat);
        let given = self.given.rests.map(|rests| rests.until);
        let held = self.held.counted.then_some(self.held.until);
        [beat, given, held].into_iter().flatten().min()
    }

    pub(super) fn supported_until(&self) -> Time {
        if self.held.counted { self.held.until } else { Time(0) }
    }

    pub(super) fn given_name(&self, us: &Us) -> Option<PromiseName> {
        self.given.rests?;
        let (promiser, supported) = (us.epoch, self.epoch);
        Some(PromiseName { promiser, supported, lapses: self.given.lapses })
    }

    pub(super) fn held_name(&self, us: &Us) -> Option<PromiseName> {
        let lapses = self.held.lapses.filter(|_| self.held.counted)?;
        Some(PromiseName { promiser: self.epoch, supported: us.epoch, lapses })
    }

    pub(super) fn status(&self, now: Time) -> PairStatus {
        let left = |until: Time| until.since(now);
        PairStatus {
            node: self.node,
            epoch: self.epoch,
            given_for_us: self.given.rests.map(|rests| left(rests.until)),
            given_lapses: self.given.lapses,
            held_for_us: self.held.counted.then(|| left(self.held.until)),
            held_lapses: self.held.lapses,
            beats_sent: self.sent,
            beats_heard: self.figures.heard(),
            beats_missed: self.figures.missed(),
            beats_ignored: self.figures.ignored(),
            round_trips: self.figures.round_trips(),
        }
    }
}
