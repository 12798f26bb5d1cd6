//! What a node's disk does, and when: batches of the log, flush cycles, overlays on their way to the state.
//!
//! Deliberately absent: what is on it (`store.rs`).

use std::sync::atomic::Ordering;

use kontiki::error::Fatal;

use super::{Event, World, place};
use crate::sim::marks::Mark;
use crate::sim::trace::What;

impl World {
    pub(super) fn sync_time(&mut self, node: u64) -> u64 {
        let disk = self.plan.disk;
        let mut time = self.dice.between(disk.sync_us, disk.sync_us + disk.jitter_us);
        if disk.stall_per_mille > 0 && self.dice.chance(disk.stall_per_mille) {
            time += disk.stall_us;
        }
        time + self.sites[place(node)].stall_until.saturating_sub(self.now)
    }

    pub(super) fn begin_write(&mut self, node: u64) {
        let site = &mut self.sites[place(node)];
        let life = site.life;
        let Some(running) = site.running.as_mut() else { return };
        if running.unreported.is_some() || site.writes_inline {
            return;
        }
        match running.writer.write_waiting() {
            Ok(None) => {}
            Ok(Some(placed)) => {
                running.unreported = Some(placed);
                let at = self.now + self.sync_time(node);
                self.push(at, Event::Synced(node, life));
            }
            Err(error) => self.halt(node, &Fatal::Log(error)),
        }
    }

    pub(super) fn sync(&mut self, node: u64) {
        let site = &mut self.sites[place(node)];
        if site.disk.trouble.failed.load(Ordering::Relaxed) > 0 {
            return; // Whoever goes on after a failed sync has nothing durable any more.
        }
        site.disk.log.sync().expect("its failures are the simulator's own");
        let last = site.disk.log.numbers().1;
        self.rules().durable(node, last);
    }

    pub(super) fn synced(&mut self, node: u64) {
        self.sync(node);
        let site = &mut self.sites[place(node)];
        let running = site.running.as_mut().expect("it lives");
        let placed = running.unreported.take().expect("a batch was written");
        running.writer.report(placed);
        self.begin_write(node);
        self.turn_woken(node);
    }

    pub(super) fn freed(&mut self, node: u64) {
        self.sync(node);
        self.sites[place(node)].writes_inline = false;
        self.begin_write(node);
        self.turns_at(node, self.now);
    }

    pub(super) fn begin_flush(&mut self, node: u64) {
        let site = &mut self.sites[place(node)];
        let life = site.life;
        let Some(running) = site.running.as_mut() else { return };
        if running.chore.is_none()
            && let Ok(chore) = running.chores.try_recv()
        {
            running.chore = Some(chore);
            let at = self.now + self.sync_time(node);
            self.push(at, Event::Flushed(node, life));
        }
    }

    pub(super) fn flushed(&mut self, node: u64) {
        let running = self.sites[place(node)].running.as_mut().expect("it lives");
        match running.end_chore() {
            Ok(_) => {
                let mut rules = self.rules();
                rules.marks.set(Mark::Flushed);
                rules.trace.note(node, What::Flushed, 0, [0; 3]);
                drop(rules);
                self.turn_woken(node);
            }
            Err(fatal) => self.halt(node, &fatal),
        }
    }

    /// The state writer takes the next overlay that was sealed, if it has none under way.
    pub(super) fn begin_seal(&mut self, node: u64) {
        let site = &mut self.sites[place(node)];
        let life = site.life;
        let waits = site.running.as_ref().is_some_and(|running| running.states.has_waiting());
        if waits && !site.seals {
            site.seals = true;
            let at = self.now + self.sync_time(node);
            self.push(at, Event::Sealed(node, life));
        }
    }

    pub(super) fn sealed(&mut self, node: u64) {
        let site = &mut self.sites[place(node)];
        site.seals = false;
        let running = site.running.as_mut().expect("it lives");
        match running.states.write_waiting() {
            Ok(wrote) => {
                if wrote {
                    self.rules().marks.set(Mark::Sealed);
                }
                self.begin_seal(node);
                self.turn_woken(node);
            }
            Err(error) => self.halt(node, &Fatal::Machine(error)),
        }
    }

    /// The machine of `node` loses power, and its disk something that was synced.
    pub(super) fn rot(&mut self, node: u64, flip: bool) {
        if self.sites[place(node)].running.is_none() {
            return;
        }
        self.stop(node, true, 100_000);
        let log = &self.sites[place(node)].disk.log;
        let (first, last) = log.numbers();
        if last <= first {
            return; // There is nothing to be lost.
        }
        if flip {
            // In a dead block it does no harm; everywhere else it must be noticed.
            let (number, bit) = (self.dice.between(first, last), self.dice.below(800));
            log.flip(number, 1, usize::try_from(bit).expect("small"));
        } else {
            log.lose(self.dice.between(first + 1, last));
        }
        self.sites[place(node)].rotten = true;
    }
}
