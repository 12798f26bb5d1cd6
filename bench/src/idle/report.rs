//! What `idle` tells: for people as it goes, for machines at the end.

use serde::Serialize;

use super::options::IdleOptions;
use super::sample::Sample;
use super::window::Idle;
use crate::environment::Environment;
use crate::measure::{ratio, to_f64};
use crate::process_stats::Memory;
use crate::report::{SCHEMA, thousands};

/// What the nodes take when they have one group.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Empty {
    resident_bytes: u64,
    heap_bytes: u64,
}

impl Empty {
    pub(super) const fn of(memory: Memory) -> Self {
        Self { resident_bytes: memory.resident, heap_bytes: memory.heap }
    }

    /// Resident bytes above this, per replica.
    pub(super) fn resident_per(self, memory: Memory, replicas: u64) -> f64 {
        ratio(memory.resident.saturating_sub(self.resident_bytes), replicas)
    }

    /// Bytes allocated by Rust code above this, per replica.
    pub(super) fn heap_per(self, memory: Memory, replicas: u64) -> f64 {
        ratio(memory.heap.saturating_sub(self.heap_bytes), replicas)
    }
}

/// One start of the nodes, until they were closed again.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Started {
    /// `cold` with stores that had to be formatted, else `warm`.
    pub(super) kind: &'static str,
    /// Until all nodes were open, formatting included.
    pub(super) opened_s: f64,
    /// Until each group was led, from the same beginning.
    pub(super) led_s: f64,
    /// Whether the log became empty and still before the idle period.
    pub(super) settled: bool,
    pub(super) closed_s: f64,
    pub(super) resident_bytes: u64,
    pub(super) resident_bytes_per_replica: f64,
    pub(super) heap_bytes_per_replica: f64,
    pub(super) idle: Idle,
    pub(super) sample: Sample,
}

/// Everything, for `--json`.
#[derive(Debug, Serialize)]
pub(super) struct IdleReport {
    schema: u32,
    command: Vec<String>,
    groups: u64,
    nodes: usize,
    empty: Empty,
    pub(super) starts: Vec<Started>,
    environment: Environment,
}

impl IdleReport {
    pub(super) fn new(options: &IdleOptions, environment: Environment, empty: Empty) -> Self {
        Self {
            schema: SCHEMA,
            command: std::env::args().collect(),
            groups: options.groups,
            nodes: options.nodes,
            empty,
            starts: Vec::new(),
            environment,
        }
    }

    /// Whether every sampled group served at every start.
    pub(super) fn served(&self) -> bool {
        self.starts.iter().all(|start| start.sample.served == start.sample.groups)
    }

    /// What was started, and what it would take empty.
    pub(super) fn head(&self) -> String {
        format!(
            "{} groups on {} nodes (key-value store, synced, on {}); empty engines take {} MiB\n",
            thousands(self.groups),
            self.nodes,
            self.environment.filesystem,
            self.empty.resident_bytes >> 20
        )
    }
}

impl Started {
    /// One start, for people.
    pub(super) fn text(&self) -> String {
        let Self { idle, sample, .. } = self;
        let mut text = format!(
            "{} start\n  open          after {:.2} s, all groups led after {:.2} s\n",
            self.kind, self.opened_s, self.led_s
        );
        let settled = if self.settled { "" } else { "   NOT SETTLED: the log still moves" };
        text += &format!(
            "  memory        {:.0} B resident per replica, {:.0} B of them from Rust's heap{settled}\n",
            self.resident_bytes_per_replica, self.heap_bytes_per_replica
        );
        text += &format!(
            "  idle {:5.1} s  {:.2} % of a core   {:.1} messages/s   {:.1} syncs/s   {:.0} wakes/s\n",
            idle.seconds, idle.cpu_percent, idle.messages_per_s, idle.syncs_per_s, idle.wakes_per_s
        );
        let mut threads: Vec<_> = idle.wakes_per_s_by_thread.iter().collect();
        threads.sort_by(|a, b| b.1.total_cmp(a.1));
        let threads: Vec<_> =
            threads.iter().take(10).map(|(name, rate)| format!("{name} {rate:.1}")).collect();
        text += &format!("  wakes/s by    {}\n", threads.join("  "));
        if let (Some(awake), Some(asleep)) = (idle.replicas_awake, idle.replicas_asleep) {
            let (awake, asleep) = (thousands(awake), thousands(asleep));
            text += &format!("  replicas      {asleep} asleep, {awake} awake\n");
        }
        text += &format!(
            "  served        {} of {} sampled groups (write {:.2} ms, read {:.2} ms at most, {} repeated)\n",
            sample.served,
            sample.groups,
            to_f64(sample.write_us_max) / 1e3,
            to_f64(sample.read_us_max) / 1e3,
            sample.repeated
        );
        if let Some(fault) = &sample.fault {
            text += &format!("                {fault}\n");
        }
        text + &format!("  closed        within {:.2} s\n", self.closed_s)
    }
}
