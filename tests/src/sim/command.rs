//! What `./dev sim` and `cargo test --test sim` do: many seeds on all cores, and one line per failure to run it again.
//!
//! ```text
//! --seeds N     so many seeds (default: what a check of a change runs)
//! --seed S      begin with this one
//! --minutes M   as many seeds as fit
//! --planted     switch each planted bug on in turn, and say how many seeds it took to find it (needs the feature)
//! --bug B       with --planted, only the bug of this number
//! --speed       how fast one core is: 3 nodes, 8 groups, 100 requests a second, no faults
//! --nightly     so many seeds as a night has (default 20,000), and a situation that none of them reached is a failure
//! --json FILE   write what the clients of the first seed saw to FILE, for other checkers
//! --trace N     of a seed that fails, print the last N events of its group (default 60)
//! ```
//!
//! A failing seed is run a second time, which must give the same trace, and then its fault plan is made as short as
//! possible. Deliberately absent: anything that depends on how many cores there are.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kontiki::clock::Clock;

use super::marks::Marks;
use super::plan::Plan;
use super::run::{Verdict, run};
use super::shrink::shrink;

/// Seeds that a check of a change runs.
const SEEDS_OF_A_CHECK: u64 = 1_500;

/// Seeds of a nightly run.
const SEEDS_OF_A_NIGHT: u64 = 20_000;

/// One of so many seeds is run twice.
const TWICE: u64 = 100;

/// How long the speed is measured, in simulated time.
const SPEED_US: u64 = 600_000_000;

/// Failures after which the rest is not run.
const FAILURES_MAX: usize = 5;

#[derive(Clone, Debug)]
struct Options {
    seeds: u64,
    first: u64,
    minutes: Option<u64>,
    trace: usize,
    planted: bool,
    bug: Option<u64>,
    speed: bool,
    nightly: bool,
    json: Option<String>,
}

/// Sums over all seeds.
#[derive(Debug, Default)]
struct Totals {
    seeds: u64,
    simulated_us: u64,
    done: u64,
    asked: u64,
    events: u64,
    twice: u64,
    /// The seed that took the most milliseconds.
    slowest: (u64, u64),
    marks: Marks,
    failed: Vec<u64>,
}

/// Runs the words that the process was given.
#[must_use]
pub fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match parse(&args) {
        Ok(Some(options)) if options.speed => speed(),
        Ok(Some(options)) if options.planted => super::planted::main(options.first, options.bug),
        Ok(Some(options)) => run_all(&options),
        // The test runner asks what there is, or for other tests.
        Ok(None) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("sim: {why}");
            ExitCode::from(2)
        }
    }
}

fn parse(args: &[String]) -> Result<Option<Options>, String> {
    let mut options = Options {
        seeds: 0,
        first: 0,
        minutes: None,
        trace: 60,
        planted: false,
        bug: None,
        speed: false,
        nightly: false,
        json: None,
    };
    let mut args = args.iter();
    while let Some(word) = args.next() {
        let mut number = || {
            let value = args.next().ok_or_else(|| format!("{word} needs a number"))?;
            value.parse::<u64>().map_err(|_| format!("{word} needs a number, not {value}"))
        };
        match word.as_str() {
            "--seeds" => options.seeds = number()?,
            "--seed" => options.first = number()?,
            "--minutes" => options.minutes = Some(number()?),
            "--trace" => options.trace = usize::try_from(number()?).unwrap_or(usize::MAX),
            "--planted" => options.planted = true,
            "--bug" => options.bug = Some(number()?),
            "--speed" => options.speed = true,
            "--nightly" => options.nightly = true,
            "--json" => {
                let file = args.next().ok_or("--json needs a file")?;
                options.json = Some(file.clone());
            }
            "--list" => return Ok(None),
            "--nocapture" | "--no-capture" | "-q" | "--quiet" | "--test-threads" => {}
            other if other.starts_with('-') => return Err(format!("no word {other}")),
            "sim" => {}
            _ => return Ok(None),
        }
    }
    if options.seeds == 0 {
        options.seeds = if options.nightly { SEEDS_OF_A_NIGHT } else { SEEDS_OF_A_CHECK };
    }
    Ok(Some(options))
}

fn run_all(options: &Options) -> ExitCode {
    if let Some(file) = &options.json {
        let history = super::run::history(Plan::draw(options.first));
        if let Err(error) = std::fs::write(file, history) {
            eprintln!("sim: {file}: {error}");
            return ExitCode::from(2);
        }
        println!("sim: what the clients of seed {} saw is in {file}", options.first);
    }
    let clock = Clock::new();
    let millis = || (clock.now().0 - 1_000_000) / 1_000;
    let end_ms = options.minutes.map(|minutes| minutes * 60_000);
    let last = match end_ms {
        Some(_) => u64::MAX,
        None => options.first + options.seeds,
    };
    let (next, stop) = (AtomicU64::new(options.first), AtomicBool::new(false));
    let totals = Mutex::new(Totals::default());
    let work = || {
        while !stop.load(Ordering::Relaxed) && end_ms.is_none_or(|end| millis() < end) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= last {
                break;
            }
            let plan = Plan::draw(seed);
            let began = millis();
            let verdict = run(plan.clone());
            let took = millis() - began;
            let again = verdict.wrong.is_some() || seed % TWICE == TWICE - 1;
            let same = !again || run(plan.clone()).hash == verdict.hash;
            let mut totals = totals.lock().expect("nobody panics with it");
            totals.add(seed, &verdict, same);
            totals.twice += u64::from(again);
            totals.slowest = totals.slowest.max((took, seed));
            if !same {
                println!("seed {seed}: not the same trace twice");
            }
            if verdict.wrong.is_some() {
                tell(&plan, &verdict, options.trace);
            }
            if totals.failed.len() >= FAILURES_MAX {
                stop.store(true, Ordering::Relaxed);
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    let mut totals = totals.into_inner().expect("nobody panics with it");
    // A simulator that finds nothing wrong with a disk that goes back in time would find nothing at all.
    match run(Plan::canary()).wrong {
        Some(_) => println!("sim: the canary died, as it must"),
        None => {
            println!("sim: the canary lives: the rules see nothing");
            totals.failed.push(u64::MAX);
        }
    }
    totals.tell(millis(), options.nightly)
}

fn speed() -> ExitCode {
    let clock = Clock::new();
    let mut plan = Plan::calm(1);
    plan.run_us = SPEED_US;
    let verdict = run(plan);
    let ms = ((clock.now().0 - 1_000_000) / 1_000).max(1);
    println!(
        "sim: {} requests in {} simulated s took {ms} ms: {} simulated seconds per second",
        verdict.done,
        verdict.simulated_us / 1_000_000,
        verdict.simulated_us / 1_000 / ms
    );
    if verdict.wrong.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Totals {
    fn add(&mut self, seed: u64, verdict: &Verdict, same: bool) {
        self.seeds += 1;
        self.simulated_us += verdict.simulated_us;
        self.done += verdict.done;
        self.asked += verdict.asked;
        self.events += verdict.events;
        self.marks.add(verdict.marks);
        if verdict.wrong.is_some() || !same {
            self.failed.push(seed);
        }
    }

    /// The figures, and the verdict on all; with `strict`, a situation that no seed came through is a failure.
    fn tell(&self, ms: u64, strict: bool) -> ExitCode {
        let Self { seeds, done, asked, events, twice, .. } = *self;
        let simulated_s = self.simulated_us / 1_000_000;
        println!(
            "sim: {seeds} seeds ({twice} of them twice), {}.{:02} simulated hours in {} s, {} simulated \
             seconds per second; {done} of {asked} requests done, {events} events",
            simulated_s / 3600,
            simulated_s % 3600 / 36,
            ms / 1000,
            simulated_s * 1000 / ms.max(1),
        );
        println!("sim: seed {} took {} ms, the most of all", self.slowest.1, self.slowest.0);
        let missing: Vec<_> = self.marks.missing().collect();
        if !missing.is_empty() {
            println!("sim: no seed came through {missing:?}");
        }
        let blind = if strict { missing.len() as u64 } else { 0 };
        let failed = self.failed.len() as u64 + blind;
        let word = if failed == 0 { "ok" } else { "FAILED" };
        println!(
            "test result: {word}. {} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out",
            seeds.saturating_sub(failed)
        );
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Everything about a failure: how to have it again, the shortest plan, the last events.
fn tell(plan: &Plan, verdict: &Verdict, trace: usize) {
    let wrong = verdict.wrong.as_ref().expect("only failures are told");
    let seed = plan.seed;
    println!("\nseed {seed} fails; again: ./dev sim --seed {seed} --seeds 1");
    println!("  {}", wrong.what);
    println!(
        "  {} nodes, {} groups, trace {:016x}, {} s",
        plan.nodes,
        plan.groups,
        verdict.hash,
        verdict.simulated_us / 1_000_000
    );
    println!("  raft {:?}\n  net {:?}\n  disk {:?}", plan.raft, plan.net, plan.disk);
    let (shorter, verdict, plainer) = shrink(plan, verdict);
    println!("  {} faults, of which it needs {}:", plan.faults.len(), shorter.faults.len());
    for fault in &shorter.faults {
        println!(
            "    {:>10.6} {:?}",
            std::time::Duration::from_micros(fault.at_us).as_secs_f64(),
            fault.what
        );
    }
    if !plainer.is_empty() {
        println!("  and it fails with {}", plainer.join(", "));
    }
    if let Some(wrong) = &verdict.wrong {
        println!("  then: {}", wrong.what);
    }
    let from = verdict.last.len().saturating_sub(trace);
    for event in &verdict.last[from..] {
        println!("    {event}");
    }
}
