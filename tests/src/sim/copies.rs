//! Frames that come more than once: late, early, out of order, and from long ago.
//!
//! A stream gives each frame once and in order, and the engine relies on that for progress only. Its safety rests on less:
//! the core bears duplicates, reordering and replays. So copies are handed in beside the streams; one that comes at once
//! overtakes what is still on its way.
//!
//! Deliberately absent: loss. On a connection that lives nothing is lost, and the engine may rely on it.

use super::fabric::Sent;
use super::plan::CopyPlan;
use super::random::Rng;

/// Frames remembered for a replay.
const OLD_MAX: usize = 64;

/// See the module.
#[derive(Debug)]
pub struct Copies {
    plan: CopyPlan,
    rng: Rng,
    on: bool,
    letters: Vec<Option<Sent>>,
    due: Vec<(u64, usize)>,
    old: Vec<Sent>,
}

impl Copies {
    /// Copies as `plan` says.
    #[must_use]
    pub fn new(plan: CopyPlan, rng: Rng) -> Self {
        let on = plan.again_per_mille > 0;
        Self { plan, rng, on, letters: Vec::new(), due: Vec::new(), old: Vec::new() }
    }

    /// No more of them.
    pub const fn end(&mut self) {
        self.on = false;
    }

    /// A frame left; perhaps it comes again.
    pub fn offer(&mut self, now: u64, letter: Sent) {
        if !self.on || !self.rng.chance(self.plan.again_per_mille) {
            return;
        }
        if self.rng.chance(self.plan.old_per_mille) && !self.old.is_empty() {
            let old = self.old[self.rng.place(self.old.len())].clone();
            self.post(now, old);
        }
        if self.old.len() < OLD_MAX {
            self.old.push(letter.clone());
        } else {
            let at = self.rng.place(OLD_MAX);
            self.old[at] = letter.clone();
        }
        self.post(now, letter);
    }

    fn post(&mut self, now: u64, letter: Sent) {
        let at = now + self.rng.below(self.plan.delay_us);
        self.due.push((at, self.letters.len()));
        self.letters.push(Some(letter));
    }

    /// What comes when, by number.
    pub fn take_due(&mut self) -> Vec<(u64, usize)> {
        std::mem::take(&mut self.due)
    }

    /// The copy of this number; it comes now.
    pub fn take(&mut self, number: usize) -> Option<Sent> {
        self.letters.get_mut(number)?.take()
    }
}
