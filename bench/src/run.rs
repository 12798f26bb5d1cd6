//! One measured run against nodes in this process: open, warm up, measure, drain, verify, report.

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use crate::cli::{Loop, Options};
use crate::clock;
use crate::cluster::Target;
use crate::driver::requests::Requests;
use crate::driver::{Outcome, Phase, Shared, Troubles, closed, open};
use crate::environment::Environment;
use crate::error::BenchError;
use crate::histogram::Recorder;
use crate::measure::{Snapshot, Window};
use crate::report::{Report, Results, duration, thousands};
use crate::schedule::Share;
use crate::scratch::Scratch;
use crate::verify::{self, Verdict};
use crate::workload::Workload;

/// How long requests under way may take once nothing new is issued.
const DRAIN_WAIT: Duration = Duration::from_secs(30);

/// Without one answer for so long, a run is given up.
const STALL_LIMIT: Duration = Duration::from_secs(20);

/// How often the run is looked after.
const WATCH: Duration = Duration::from_millis(50);

/// Runs `options` on `nodes` nodes in this process.
pub(crate) fn embedded(
    options: &Options,
    nodes: usize,
    command: Vec<String>,
) -> Result<Report, BenchError> {
    let scratch = Scratch::new(options.data_dir.as_deref(), options.keep)?;
    if options.keep {
        eprintln!("stores are kept in {}", scratch.path().display());
    }
    let target = Target::open(options, nodes, scratch.path())?;
    let results = drive(options, &target, nodes);
    // The stores must be closed before their directory goes, whatever has happened.
    let stopped = target.shutdown();
    let results = results?;
    stopped?;
    Ok(Report::new(options, &results, environment(scratch.path()), command))
}

fn environment(dir: &Path) -> Environment {
    Environment::read(dir)
}

fn drive(options: &Options, target: &Target, nodes: usize) -> Result<Results, BenchError> {
    let workload = Workload::new(options.seed, options.mix, options.value_size);
    let shared = Shared::new(options.threads);
    let started = clock::calendar();
    let (window, outcomes) = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for thread in 0..options.threads {
            let share = Share::new(thread, options.threads, options.active_groups, options.clients);
            let (shared, workload) = (&shared, &workload);
            let body = move || load(options, target, workload, shared, thread, share);
            let named = std::thread::Builder::new().name(format!("load-{thread}"));
            match named.spawn_scoped(scope, body) {
                Ok(handle) => threads.push(handle),
                Err(e) => {
                    shared.begin(Phase::Abort);
                    return Err(BenchError::io("a thread of the load generator")(e));
                }
            }
        }
        let window = supervise(options, target, &shared);
        if window.is_err() {
            shared.begin(Phase::Abort);
        } else if !drained(&shared, || threads.iter().all(|t| t.is_finished())) {
            eprintln!("some requests were not answered within {DRAIN_WAIT:?}");
            shared.begin(Phase::Abort);
        }
        let outcomes: Vec<(Share, Outcome)> = threads
            .into_iter()
            .map(|t| t.join().expect("the load generator does not panic"))
            .collect();
        window.map(|window| (window, outcomes))
    })?;
    target.check_alive()?;
    let verdict = verify::verify(target, &workload, &outcomes)?;
    let results = gather(options, nodes, window, outcomes, verdict);
    if let Some(path) = &options.hdr {
        results.latencies.write_log(path, started + options.warmup)?;
    }
    Ok(results)
}

/// The body of one thread of the load generator.
fn load(
    options: &Options,
    target: &Target,
    workload: &Workload,
    shared: &Shared,
    thread: usize,
    share: Share,
) -> (Share, Outcome) {
    let requests =
        Requests::new(target, workload, shared, thread, share.clone(), options.hdr.is_some());
    let outcome = match options.pace {
        Loop::Closed { pipeline } => closed::run(requests, pipeline),
        Loop::Open { rate } => {
            let part = f64::from(share.clients()) / f64::from(options.clients);
            open::run(requests, rate * part)
        }
    };
    (share, outcome)
}

/// Watches over warm-up and window, and reads the counters at the window's ends.
fn supervise(options: &Options, target: &Target, shared: &Shared) -> Result<Window, BenchError> {
    let mut watch = Watch::new(options, target, shared);
    watch.until(options.warmup)?;
    shared.begin(Phase::Measure);
    let start = Snapshot::of_engines(shared, target.engines());
    watch.until(options.warmup + options.duration)?;
    let end = Snapshot::of_engines(shared, target.engines());
    shared.begin(Phase::Drain);
    watch.clear();
    Ok(Window::between(&start, &end))
}

/// Looks after a run: shows progress, notices a node that ended and a load that stands still.
struct Watch<'a> {
    options: &'a Options,
    target: &'a Target,
    shared: &'a Shared,
    terminal: bool,
    shown: (Duration, u64),
    moved: (Duration, u64),
}

impl<'a> Watch<'a> {
    fn new(options: &'a Options, target: &'a Target, shared: &'a Shared) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let now = (shared.clock.elapsed(), 0);
        Self { options, target, shared, terminal, shown: now, moved: now }
    }

    /// Watches until `end` (since the start of the run).
    fn until(&mut self, end: Duration) -> Result<(), BenchError> {
        loop {
            let now = self.shared.clock.elapsed();
            if now >= end {
                return Ok(());
            }
            std::thread::park_timeout(WATCH.min(end - now));
            self.target.check_alive()?;
            self.look()?;
        }
    }

    fn look(&mut self) -> Result<(), BenchError> {
        let now = self.shared.clock.elapsed();
        let (writes, reads) = self.shared.done();
        let done = writes + reads;
        if done > self.moved.1 {
            self.moved = (now, done);
        } else if now - self.moved.0 > STALL_LIMIT
            && matches!(self.options.pace, Loop::Closed { .. })
        {
            return Err(BenchError::TimedOut { what: self.stalled(done) });
        }
        if self.terminal && now - self.shown.0 >= Duration::from_secs(1) {
            let seconds = (now - self.shown.0).as_secs_f64();
            let rate = crate::measure::to_f64(done - self.shown.1) / seconds;
            let phase = if self.shared.phase() == Phase::Warmup { "warm-up" } else { "measuring" };
            let at = clock::micros(now);
            eprint!("\r\x1b[2K{phase} {}: {} ops/s", duration(at), crate::report::grouped(rate));
            self.shown = (now, done);
        }
        Ok(())
    }

    /// What there is to say of a load that stands still: the first groups that do not move.
    fn stalled(&self, done: u64) -> String {
        let mut what = format!("no answer for {STALL_LIMIT:?} after {} requests", thousands(done));
        for engine in self.target.engines() {
            let Ok(statuses) = engine.group_statuses() else { continue };
            for s in statuses.iter().filter(|s| s.waiting > 0 || s.applied < s.last).take(3) {
                what.push_str(&format!(
                    "\n  node {} group {}: {} term {} leader {:?} last {} persisted {} committed {} \
                     applied {} waiting {}",
                    s.node, s.group, s.role, s.term, s.leader, s.last, s.persisted, s.committed,
                    s.applied, s.waiting
                ));
            }
        }
        what
    }

    fn clear(&self) {
        if self.terminal {
            eprint!("\r\x1b[2K");
        }
    }
}

/// Waits until all threads have finished; false when they do not within the limit.
fn drained(shared: &Shared, finished: impl Fn() -> bool) -> bool {
    let begin = shared.clock.elapsed();
    while !finished() {
        if shared.clock.elapsed() - begin > DRAIN_WAIT {
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
    true
}

fn gather(
    options: &Options,
    nodes: usize,
    window: Window,
    outcomes: Vec<(Share, Outcome)>,
    verdict: Verdict,
) -> Results {
    let mut latencies = Recorder::new(options.hdr.is_some());
    let mut troubles = Troubles::default();
    let mut reads_found = 0;
    for (_, outcome) in outcomes {
        latencies.merge(outcome.recorder);
        troubles.add(&outcome.troubles);
        reads_found += outcome.reads_found;
    }
    Results { nodes, window, latencies, troubles, reads_found, verdict, embedded: true }
}
