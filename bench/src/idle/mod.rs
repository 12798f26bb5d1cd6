//! What groups cost that merely exist: memory, processor time, messages, syncs, and the time to start them.
//!
//! Several nodes in this process, on real directories and sockets, serve the key-value store with so many groups that
//! nobody writes to. The steps: one group alone, as the measure of an empty engine; then the groups, from formatting
//! until each is led; their memory, once the first elections have left the log; a while of idleness; and at the end
//! writes and reads of a sample, since groups that are cheap because they are dead are of no use. With `--warm` the
//! stores are closed and the same is done with what was there before.
//!
//! Deliberately absent: load. That is `raft-bench run --groups N --active-groups M`.

use std::path::Path;
use std::time::Duration;

use kontiki::testing::Plan;
use kontiki::{Engine, Store};

use crate::clock::Clock;
use crate::environment::Environment;
use crate::error::BenchError;
use crate::process_stats::Memory;
use crate::scratch::Scratch;

mod options;
mod report;
mod sample;
mod window;

pub(crate) use options::IdleArgs;
use options::IdleOptions;
use report::{Empty, IdleReport, Started};
use window::Counters;

/// How often a step looks whether it is over.
const LOOK: Duration = Duration::from_millis(20);

/// For so long nothing may move before the nodes count as settled.
const QUIET: Duration = Duration::from_secs(2);

/// Runs all steps; true when every sampled group served.
pub(crate) fn run(args: &IdleArgs) -> Result<bool, BenchError> {
    let options = args.check()?;
    let scratch = Scratch::new(options.data_dir.as_deref(), false)?;
    let environment = Environment::read(scratch.path());
    let empty = measure_empty(&options, &scratch.path().join("empty"))?;
    let mut report = IdleReport::new(&options, environment, empty);
    print!("{}", report.head());
    let dir = scratch.path().join("groups");
    for kind in ["cold", "warm"].into_iter().take(1 + usize::from(options.warm)) {
        let started = measure_start(&options, &dir, kind, empty)?;
        print!("{}", started.text());
        report.starts.push(started);
    }
    if let Some(path) = &options.json {
        crate::report::write_json(path, &report)?;
    }
    Ok(report.served())
}

/// What the same nodes take with one group.
fn measure_empty(options: &IdleOptions, dir: &Path) -> Result<Empty, BenchError> {
    let one = IdleOptions { groups: 1, ..options.clone() };
    let nodes = Nodes::open(&one, dir)?;
    nodes.wait_all_led()?;
    nodes.wait_settled()?;
    let empty = Empty::of(Memory::read());
    nodes.shutdown()?;
    Ok(empty)
}

/// Opens the nodes on what is in `dir`, and measures until they are closed again.
fn measure_start(
    options: &IdleOptions,
    dir: &Path,
    kind: &'static str,
    empty: Empty,
) -> Result<Started, BenchError> {
    let clock = Clock::new();
    let nodes = Nodes::open(options, dir)?;
    let opened = clock.elapsed();
    nodes.wait_all_led()?;
    let led = clock.elapsed();
    let settled = nodes.wait_settled()?;
    let memory = Memory::read();
    let before = Counters::read(&nodes.stores);
    std::thread::park_timeout(options.idle);
    let idle = Counters::read(&nodes.stores).since(&before);
    nodes.check_alive()?;
    let sample = sample::serve(&nodes.stores, options.samples);
    let clock = Clock::new();
    nodes.shutdown()?;
    let replicas = options.groups * options.nodes as u64;
    Ok(Started {
        kind,
        opened_s: opened.as_secs_f64(),
        led_s: led.as_secs_f64(),
        settled,
        closed_s: clock.elapsed().as_secs_f64(),
        resident_bytes: memory.resident,
        resident_bytes_per_replica: empty.resident_per(memory, replicas),
        heap_bytes_per_replica: empty.heap_per(memory, replicas),
        idle,
        sample,
    })
}

/// The nodes of one start.
struct Nodes<'a> {
    options: &'a IdleOptions,
    stores: Vec<Store>,
}

impl<'a> Nodes<'a> {
    /// Opens all nodes at once, each on a thread of its own, as if they were processes.
    fn open(options: &'a IdleOptions, dir: &Path) -> Result<Self, BenchError> {
        let groups = usize::try_from(options.groups).expect("checked: at most RANGES_MAX");
        let plan = Plan::new(dir, options.nodes, groups);
        let mut plan = plan.map_err(BenchError::io("a loopback listener"))?;
        for config in &mut plan.configs {
            if let Some(interval) = options.flush_interval {
                config.flush_interval = interval;
            }
            if let Some(workers) = options.workers {
                config.workers = workers;
            }
            config.on_fatal = crate::cluster::on_fatal();
        }
        let bootstrap = &plan.bootstrap;
        let stores = std::thread::scope(|scope| {
            let opening: Vec<_> = plan
                .configs
                .into_iter()
                .map(|config| scope.spawn(|| Store::open(config, bootstrap.clone())))
                .collect();
            let opened = opening.into_iter().map(|node| {
                node.join().expect("opening a node returns its errors instead of panicking")
            });
            opened.collect::<Result<Vec<_>, _>>()
        })?;
        Ok(Self { options, stores })
    }

    fn engines(&self) -> impl Iterator<Item = &Engine> {
        self.stores.iter().map(Store::engine)
    }

    /// Waits until each group is led by a node that says so itself.
    fn wait_all_led(&self) -> Result<(), BenchError> {
        let clock = Clock::new();
        loop {
            let groups = 1..=self.options.groups;
            let led = groups.filter(|&group| sample::leader(&self.stores, group).is_some()).count();
            if led as u64 == self.options.groups {
                return Ok(());
            }
            self.check_alive()?;
            if clock.elapsed() > self.options.limit {
                let (all, limit) = (self.options.groups, self.options.limit);
                let what = format!("{led} of {all} groups are led after {limit:?}");
                return Err(BenchError::TimedOut { what });
            }
            std::thread::park_timeout(LOOK);
        }
    }

    /// Waits until nothing is written or compacted any more; false when that does not come within the limit.
    fn wait_settled(&self) -> Result<bool, BenchError> {
        let clock = Clock::new();
        let mut since = (Duration::ZERO, 0);
        while clock.elapsed() < self.options.limit {
            let (moving, retained) = window::activity(self.engines());
            if moving != since.1 || retained > 0 {
                since = (clock.elapsed(), moving);
            } else if clock.elapsed() - since.0 >= QUIET {
                return Ok(true);
            }
            self.check_alive()?;
            std::thread::park_timeout(LOOK * 5);
        }
        Ok(false)
    }

    fn check_alive(&self) -> Result<(), BenchError> {
        let ended = self.engines().find_map(|engine| Some((engine.node_id(), engine.fatal()?)));
        match ended {
            Some((node, why)) => Err(BenchError::NodeEnded { node, why }),
            None => Ok(()),
        }
    }

    /// Stops all nodes at once.
    fn shutdown(&self) -> Result<(), BenchError> {
        std::thread::scope(|scope| {
            let stopping: Vec<_> =
                self.engines().map(|engine| scope.spawn(|| engine.shutdown())).collect();
            let stopped = stopping.into_iter().map(|node| {
                node.join().expect("stopping a node returns its errors instead of panicking")
            });
            stopped.collect::<Result<Vec<()>, _>>()
        })?;
        Ok(())
    }
}
