//! The measured window: everything that counts is read at its two ends and subtracted.

use std::collections::BTreeMap;

use kontiki::Engine;

use crate::driver::Shared;
use crate::process_stats::ProcessStats;

/// All counters at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    at_micros: u64,
    writes: u64,
    reads: u64,
    process: ProcessStats,
    /// The sums of all nodes' counters, by name; absent when the nodes are not in this process and do not tell.
    engine: BTreeMap<String, u64>,
}

impl Snapshot {
    /// Reads the counters of nodes in this process.
    pub(crate) fn of_engines(shared: &Shared, engines: &[Engine]) -> Self {
        let mut counters = BTreeMap::new();
        for engine in engines {
            for (name, kind, _, value) in engine.metrics().figures() {
                if kind == "counter" {
                    *counters.entry(name.to_owned()).or_default() += value;
                }
            }
        }
        Self::new(shared, counters)
    }

    /// With the nodes' counters as they were told.
    pub(crate) fn new(shared: &Shared, engine: BTreeMap<String, u64>) -> Self {
        let (writes, reads) = shared.done();
        let process = ProcessStats::read();
        Self { at_micros: shared.clock.micros(), writes, reads, process, engine }
    }
}

/// What happened within the window.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    pub(crate) seconds: f64,
    pub(crate) writes: u64,
    pub(crate) reads: u64,
    pub(crate) process: ProcessStats,
    pub(crate) engine: BTreeMap<String, u64>,
}

impl Window {
    pub(crate) fn between(start: &Snapshot, end: &Snapshot) -> Self {
        let engine = end.engine.iter().map(|(name, &value)| {
            let before = start.engine.get(name).copied().unwrap_or(0);
            (name.clone(), value.saturating_sub(before))
        });
        Self {
            seconds: micros_to_seconds(end.at_micros - start.at_micros),
            writes: end.writes - start.writes,
            reads: end.reads - start.reads,
            process: end.process.since(&start.process),
            engine: engine.collect(),
        }
    }

    pub(crate) const fn requests(&self) -> u64 {
        self.writes + self.reads
    }

    /// A counter of the engine, if it is known.
    pub(crate) fn counter(&self, name: &str) -> Option<u64> {
        self.engine.get(name).copied()
    }

    /// `amount` per request; zero when there was none.
    pub(crate) fn per_request(&self, amount: u64) -> f64 {
        ratio(amount, self.requests())
    }

    /// `amount` per second.
    pub(crate) fn per_second(&self, amount: u64) -> f64 {
        if self.seconds > 0.0 { to_f64(amount) / self.seconds } else { 0.0 }
    }
}

fn micros_to_seconds(micros: u64) -> f64 {
    to_f64(micros) / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "figures for people: 53 bits are plenty")]
pub(crate) const fn to_f64(number: u64) -> f64 {
    number as f64
}

/// `part` / `whole`, zero when there is nothing to divide by.
pub(crate) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { to_f64(part) / to_f64(whole) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_the_difference_of_its_ends() {
        let snapshot = |at_micros, writes, syncs| Snapshot {
            at_micros,
            writes,
            reads: 0,
            process: ProcessStats { allocations: writes / 10, ..ProcessStats::default() },
            engine: BTreeMap::from([("syncs".to_owned(), syncs)]),
        };
        let window = Window::between(&snapshot(1_000_000, 100, 7), &snapshot(3_000_000, 1_100, 17));
        assert!((window.seconds - 2.0).abs() < 1e-9);
        assert_eq!((window.requests(), window.counter("syncs")), (1_000, Some(10)));
        assert!((window.per_second(10) - 5.0).abs() < 1e-9);
        assert!((window.per_request(window.process.allocations) - 0.1).abs() < 1e-9);
        assert_eq!(window.counter("unheard"), None);
    }
}
