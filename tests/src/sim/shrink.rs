//! Makes a failure small: what can be left out is no part of the cause.
//!
//! Of the faults, halves are left out first, then quarters, and so on down to single ones, as long as the run still fails.
//! Then the rest of the plan is made plainer, one thing at a time. Which rule it breaks may change on the way.
//! Deliberately absent: the seed's dice, which stay as they are, and its number of nodes, which the faults name.

use super::plan::{CopyPlan, Plan};
use super::run::{Verdict, run};

/// Runs spent on one failure.
const RUNS_MAX: u32 = 60;

/// What makes a plan plainer.
type Plainer = fn(&mut Plan);

/// Ways to make a plan plainer, and what to call them.
const PLAINER: &[(&str, Plainer)] = &[
    ("no copies", |plan| plan.copies = CopyPlan::default()),
    ("one worker", |plan| plan.workers = 1),
    ("no pieces", |plan| plan.net.split_per_mille = 0),
    ("no spikes", |plan| plan.net.spike_per_mille = 0),
    ("no stalls", |plan| plan.disk.stall_per_mille = 0),
    ("no scans", |plan| plan.load.scans = 0),
    ("no batches", |plan| plan.load.batches = 0),
    ("no deletes", |plan| plan.load.deletes = 0),
    ("half the clients", |plan| plan.load.clients = plan.load.clients.div_ceil(2)),
];

/// The smallest plan found that still fails, its verdict, and in what else it is plainer than the seed's.
#[must_use]
pub fn shrink(plan: &Plan, verdict: &Verdict) -> (Plan, Verdict, Vec<&'static str>) {
    let mut best = plan.clone();
    let mut found = verdict.clone();
    let mut runs = 0;
    let mut try_it = |trial: Plan, best: &mut Plan, found: &mut Verdict| {
        runs += 1;
        let result = run(trial.clone());
        let fails = result.wrong.is_some();
        if fails {
            (*best, *found) = (trial, result);
        }
        (fails, runs < RUNS_MAX)
    };
    let mut size = best.faults.len().div_ceil(2);
    let mut goes_on = true;
    while size > 0 && goes_on {
        let (mut at, mut any) = (0, false);
        while at < best.faults.len() && goes_on {
            let mut trial = best.clone();
            let end = (at + size).min(trial.faults.len());
            trial.faults.drain(at..end);
            let (fails, more) = try_it(trial, &mut best, &mut found);
            goes_on = more;
            any |= fails;
            if !fails {
                at = end;
            }
        }
        if size == 1 && !any {
            break;
        }
        size = if size == 1 { 1 } else { size / 2 };
    }
    let mut plainer = Vec::new();
    for &(what, change) in PLAINER {
        let mut trial = best.clone();
        change(&mut trial);
        if format!("{trial:?}") != format!("{best:?}") && try_it(trial, &mut best, &mut found).0 {
            plainer.push(what);
        }
    }
    (best, found, plainer)
}
