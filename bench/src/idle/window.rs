//! What the process did while nothing was asked of it.

use std::collections::BTreeMap;

use kontiki::{Engine, Store};
use serde::Serialize;

use crate::clock::Clock;
use crate::measure::to_f64;
use crate::process_stats::{ProcessStats, wakes_by_thread};

/// The counters of all nodes and of the process at one moment.
pub(super) struct Counters {
    clock: Clock,
    process: ProcessStats,
    wakes: BTreeMap<String, u64>,
    engine: BTreeMap<&'static str, u64>,
}

/// What an idle period used.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Idle {
    pub(super) seconds: f64,
    /// Of one core, all threads of the process together.
    pub(super) cpu_percent: f64,
    pub(super) messages_per_s: f64,
    pub(super) frames_per_s: f64,
    pub(super) syncs_per_s: f64,
    /// How often a thread of the process went to sleep and was woken.
    pub(super) wakes_per_s: f64,
    pub(super) wakes_per_s_by_thread: BTreeMap<String, f64>,
    pub(super) cpu_percent_by_thread: BTreeMap<String, f64>,
    /// Gauges of all nodes at the end, where the engine has them.
    pub(super) replicas_awake: Option<u64>,
    pub(super) replicas_asleep: Option<u64>,
}

impl Counters {
    pub(super) fn read(stores: &[Store]) -> Self {
        Self {
            engine: sums(stores.iter().map(Store::engine)),
            wakes: wakes_by_thread(),
            process: ProcessStats::read(),
            clock: Clock::new(),
        }
    }

    /// What happened between `before` and now.
    pub(super) fn since(&self, before: &Self) -> Idle {
        let seconds = before.clock.elapsed().as_secs_f64() - self.clock.elapsed().as_secs_f64();
        let process = self.process.since(&before.process);
        let percent = |micros: u64| to_f64(micros) / 1e4 / seconds;
        let moved = |name| {
            let then = before.engine.get(name).copied().unwrap_or(0);
            to_f64(self.engine.get(name).copied().unwrap_or(0).saturating_sub(then)) / seconds
        };
        let wakes = self.wakes.iter().map(|(name, &wakes)| {
            let then = before.wakes.get(name).copied().unwrap_or(0);
            (name.clone(), to_f64(wakes.saturating_sub(then)) / seconds)
        });
        let wakes: BTreeMap<String, f64> = wakes.filter(|&(_, rate)| rate > 0.0).collect();
        let cpu = process.cpu_by_thread.iter().filter(|&(_, &micros)| micros > 0);
        Idle {
            seconds,
            cpu_percent: percent(process.cpu_micros),
            messages_per_s: moved("messages_out"),
            frames_per_s: moved("frames_out"),
            syncs_per_s: moved("syncs"),
            wakes_per_s: wakes.values().sum(),
            wakes_per_s_by_thread: wakes,
            cpu_percent_by_thread: cpu.map(|(n, &micros)| (n.clone(), percent(micros))).collect(),
            replicas_awake: self.engine.get("replicas_awake").copied(),
            replicas_asleep: self.engine.get("replicas_asleep").copied(),
        }
    }
}

/// What moves while nodes settle, and the bytes of log that are still to go.
pub(super) fn activity<'a>(engines: impl Iterator<Item = &'a Engine>) -> (u64, u64) {
    let sums = sums(engines);
    let of = |name| sums.get(name).copied().unwrap_or(0);
    (of("syncs") + of("compactions") + of("elections"), of("log_retained_bytes"))
}

/// The figures of all nodes, added up by name.
fn sums<'a>(engines: impl Iterator<Item = &'a Engine>) -> BTreeMap<&'static str, u64> {
    let mut sums = BTreeMap::new();
    for engine in engines {
        for (name, _, _, value) in engine.metrics().figures() {
            *sums.entry(name).or_default() += value;
        }
    }
    sums
}
