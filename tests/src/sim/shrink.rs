//! Makes the fault plan of a failure short: what can be left out is no part of the cause.
//!
//! Halves are left out first, then quarters, and so on down to single faults, as long as the run still fails. Which rule
//! it breaks may change on the way.
//! Deliberately absent: other ways to make a run small. The seed's sizes and dice stay.

use super::plan::Plan;
use super::run::{Verdict, run};

/// Runs spent on one failure.
const RUNS_MAX: u32 = 40;

/// The shortest plan found that still fails, and its verdict.
#[must_use]
pub fn shrink(plan: &Plan, verdict: &Verdict) -> (Plan, Verdict) {
    let mut best = plan.clone();
    let mut found = None;
    let mut runs = 0;
    let mut size = best.faults.len().div_ceil(2);
    while size > 0 && runs < RUNS_MAX {
        let mut at = 0;
        let mut any = false;
        while at < best.faults.len() && runs < RUNS_MAX {
            let mut trial = best.clone();
            let end = (at + size).min(trial.faults.len());
            trial.faults.drain(at..end);
            runs += 1;
            let result = run(trial.clone());
            if result.wrong.is_some() {
                best = trial;
                found = Some(result);
                any = true;
            } else {
                at = end;
            }
        }
        if size == 1 && !any {
            break;
        }
        size = if size == 1 { 1 } else { size / 2 };
    }
    let result = found.unwrap_or_else(|| verdict.clone());
    (best, result)
}
