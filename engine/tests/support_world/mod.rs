//! Nodes around the real support module: clocks that drift from true time, lives that end and begin again, and an
//! observer who sees all of them at the same true instant.
//!
//! Deliberately absent: a network. One test lets every packet come at every time, the other draws when.

use kontiki::support::{Beat, Support, SupportConfig, SupportEvent};
use kontiki_raft::Time;

/// One node and its clock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) id: u64,
    /// None while it is down.
    pub(crate) support: Option<Support>,
    pub(crate) epoch: u64,
    /// The clock in hundredths of a microsecond, so that no rate is rounded.
    clock: u64,
}

/// A mistake in how a beat is understood, made by changing the beat as it arrives: the canaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mistake {
    /// A lease counts from when the answer came (bug 12).
    LeaseFromReceive,
    /// A promise that lapsed goes on under its name when it is renewed.
    Continued,
}

/// What the nodes were told, for tests that must not be empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Seen {
    pub(crate) gained: bool,
    pub(crate) lost: bool,
    pub(crate) lapsed: bool,
    pub(crate) resumed: bool,
    /// A promise was counted on whose giver had died, and had not voted yet.
    pub(crate) waited_for: bool,
    /// A new promise followed one that had lapsed.
    pub(crate) renamed: bool,
}

impl Node {
    pub(crate) fn new(config: SupportConfig, id: u64, nodes: u64, clock_us: u64) -> Self {
        let mut node = Self { id, support: None, epoch: 0, clock: clock_us * 100 };
        node.start(config, nodes);
        node
    }

    /// Another life begins; its clock goes on from where the one of before was.
    pub(crate) fn start(&mut self, config: SupportConfig, nodes: u64) {
        assert!(self.support.is_none(), "one life at a time");
        self.epoch += 1;
        let peers: Vec<u64> = (1..=nodes).filter(|&peer| peer != self.id).collect();
        self.support = Some(Support::new(config, self.now(), self.epoch, &peers));
    }

    /// What the node's clock shows.
    pub(crate) fn now(&self) -> Time {
        Time(self.clock / 100)
    }

    /// True time passes; the clock runs at `rate` hundredths of it.
    pub(crate) fn pass(&mut self, true_us: u64, rate: u64) {
        self.clock += true_us * rate;
    }

    /// The node looks at its clock, and tells its groups all there is to tell.
    pub(crate) fn tick(&mut self, seen: &mut Seen) {
        let now = self.now();
        if let Some(support) = &mut self.support {
            support.tick(now);
            drain(support, seen);
        }
    }

    /// The beat to a peer, if one is due.
    pub(crate) fn beat(&mut self, to: u64, seen: &mut Seen) -> Option<Beat> {
        self.tick(seen);
        let now = self.now();
        let support = self.support.as_mut()?;
        let beat = support.next_beat(now, to);
        drain(support, seen);
        beat
    }

    /// A beat comes in, understood rightly or not.
    pub(crate) fn receive(
        &mut self,
        from: u64,
        mut beat: Beat,
        wrong: Option<Mistake>,
        seen: &mut Seen,
    ) {
        let now = self.now();
        let Some(support) = &mut self.support else { return };
        if let Some(promise) = &mut beat.promise {
            seen.renamed |= promise.lapses > 0;
            match wrong {
                Some(Mistake::LeaseFromReceive) => promise.answers = now,
                Some(Mistake::Continued) => promise.lapses = 0,
                None => {}
            }
        }
        support.on_beat(now, from, &beat);
        drain(support, seen);
    }
}

fn drain(support: &mut Support, seen: &mut Seen) {
    while let Some(event) = support.take_event() {
        match event {
            SupportEvent::Supports { .. } => {}
            SupportEvent::Lapsed { .. } => seen.lapsed = true,
            SupportEvent::Gained { .. } => seen.gained = true,
            SupportEvent::Resumed { .. } => seen.resumed = true,
            SupportEvent::Lost { .. } => seen.lost = true,
        }
    }
}

/// Whoever is counted on keeps the very promise that is counted on, or cannot vote: at this true instant, by the
/// clocks as they are, whether their owners have looked at them or not.
pub(crate) fn check(nodes: &[Node], seen: &mut Seen) -> Result<(), String> {
    for a in nodes {
        let Some(asker) = &a.support else { continue };
        for b in nodes.iter().filter(|b| b.id != a.id) {
            if asker.supported_by(b.id) <= a.now() {
                continue;
            }
            let Some(name) = asker.promise_by(b.id) else {
                return Err(format!("{} counts on {} without a promise", a.id, b.id));
            };
            let Some(promiser) = &b.support else {
                seen.waited_for |= name.promiser == b.epoch;
                continue; // Who is dead votes for nobody.
            };
            // What it would say if it looked at its clock now.
            let mut promiser = promiser.clone();
            promiser.tick(b.now());
            let kept = promiser.promise_to(a.id) == Some(name);
            let waits = name.promiser < b.epoch && b.now() < promiser.votes_from();
            seen.waited_for |= waits;
            if !kept && !waits {
                let says = promiser.promise_to(a.id);
                let (a_now, b_now) = (a.now(), b.now());
                return Err(format!(
                    "at {a_now:?} {} counts on {} until {:?} for {name:?}; that one says {says:?} at {b_now:?}, and \
                     votes from {:?}",
                    a.id,
                    b.id,
                    asker.supported_by(b.id),
                    promiser.votes_from()
                ));
            }
        }
    }
    Ok(())
}
