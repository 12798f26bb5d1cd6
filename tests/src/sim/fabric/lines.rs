//! Lines: one direction between two nodes, and how long things take on it.
//!
//! A line can be cut, slow or narrow, apart from the line back. What is written while it is cut waits, and the connection
//! dies when that takes longer than a kernel's patience.
//!
//! Deliberately absent: bytes.

use super::connection::Due;
use super::{DEAD_US, Fabric, Inner};

/// One direction between two nodes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Line {
    /// Nothing passes before this time.
    pub(super) cut_until: u64,
    pub(super) cut_since: u64,
    /// Added to each delay until `slow_until`.
    slow_us: u64,
    slow_until: u64,
    /// When the line has carried all that was put on it.
    free_at: u64,
}

impl Fabric {
    /// Nothing passes from `from` to `to` before `until`.
    pub fn cut(&self, from: u64, to: u64, until: u64) {
        let mut inner = self.lock();
        let now = inner.now;
        let line = inner.line(from, to);
        if line.cut_until <= now {
            line.cut_since = now;
        }
        line.cut_until = line.cut_until.max(until);
        let ids: Vec<u64> = inner.between(from, to);
        for id in ids {
            inner.due.push((now + DEAD_US, Due::Dead(id)));
        }
    }

    /// Whether nothing passes from `from` to `to` now.
    #[must_use]
    pub fn is_cut(&self, from: u64, to: u64) -> bool {
        let mut inner = self.lock();
        let now = inner.now;
        inner.line(from, to).cut_until > now
    }

    /// What passes from `from` to `to` before `until` takes longer.
    pub fn slow(&self, from: u64, to: u64, by_us: u64, until: u64) {
        let mut inner = self.lock();
        let line = inner.line(from, to);
        (line.slow_us, line.slow_until) = (by_us, until);
    }

    /// Every line is whole and at its best from now on.
    pub fn heal(&self) {
        let mut inner = self.lock();
        inner.plan.spike_per_mille = 0;
        for line in &mut inner.lines {
            *line = Line { free_at: line.free_at, ..Line::default() };
        }
        // What waited for the end of a cut comes now.
        let now = inner.now;
        let ids: Vec<u64> = inner.connections.keys().copied().collect();
        for id in ids {
            for pipe in 0..2 {
                inner.due.push((now, Due::Bytes(id, pipe)));
            }
        }
    }
}

impl Inner {
    pub(super) fn line(&mut self, from: u64, to: u64) -> &mut Line {
        let count = self.hosts.len();
        let at = |node: u64| usize::try_from(node - 1).expect("a few nodes");
        &mut self.lines[at(from) * count + at(to)]
    }

    /// When something small that leaves now arrives.
    pub(super) fn arrival(&mut self, from: u64, to: u64, bytes: usize) -> u64 {
        let (low, high) = (self.plan.delay_us, self.plan.delay_us + self.plan.jitter_us);
        let mut delay = self.rng.between(low, high);
        if self.plan.spike_per_mille > 0 && self.rng.chance(self.plan.spike_per_mille) {
            delay += self.rng.between(0, self.plan.spike_us);
        }
        let (now, rate) = (self.now, self.plan.bytes_per_ms);
        let line = self.line(from, to);
        if line.slow_until > now {
            delay += line.slow_us;
        }
        line.free_at = line.free_at.max(now) + (bytes as u64).saturating_mul(1000) / rate;
        line.free_at.max(line.cut_until) + delay
    }
}
