//! Random histories of the whole core, with the oracle checking after every step, and a group that
//! must get on at the end of each.
//!
//! A failing history is cut down to the few commands it takes, and named by its seed:
//! `KONTIKI_SEED=n cargo test --release -p kontiki-raft --test safety` runs that one alone.
//! `KONTIKI_SEEDS=n` runs that many, from `KONTIKI_SEED` on. `KONTIKI_SURVEY=1` goes on after a
//! failure, and at the end lists where histories fail, how often, and a small one for each place.

#![allow(clippy::unwrap_used, reason = "helpers of tests, though not inside of one")]

mod common;
mod swarm;

use std::collections::BTreeMap;

use common::Sabotage;
use swarm::shrink::{Failure, Summary, list, run, shrink};
use swarm::world::Case;

const SEEDS: u64 = 40_000;

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Runs the histories of the seeds until one fails.
fn first_failure(
    seeds: std::ops::Range<u64>,
    change: impl Fn(&mut Case),
) -> Result<Summary, Box<(u64, Case, Failure)>> {
    let mut sum = Summary::default();
    for seed in seeds {
        let mut case = Case::draw(seed);
        change(&mut case);
        match run(&case, false) {
            Ok(summary) => sum = sum.plus(summary),
            Err(failure) => return Err(Box::new((seed, case, failure))),
        }
    }
    Ok(sum)
}

/// All places at which histories of these seeds fail.
fn survey(seeds: std::ops::Range<u64>) {
    let mut places: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut sum = Summary::default();
    for seed in seeds.clone() {
        match run(&Case::draw(seed), false) {
            Ok(summary) => sum = sum.plus(summary),
            Err(failure) => {
                let words = failure.message.split(|c: char| c.is_ascii_digit()).next();
                let place = format!("{} {}", failure.place, words.unwrap_or_default());
                places.entry(place).or_insert((seed, 0)).1 += 1;
            }
        }
    }
    println!("{sum:?}");
    for (place, (seed, count)) in &places {
        let case = Case::draw(*seed);
        let failure = run(&case, false).expect_err("it failed before");
        let (case, failure) = shrink(&case, &failure);
        println!("{count} at {place}, as seed {seed}: {}\n{}", failure.message, list(&case));
    }
    assert!(places.is_empty(), "{} places in {seeds:?}", places.len());
}

#[test]
fn random_histories_keep_every_property() {
    common::switch_planted();
    let first = number_from("KONTIKI_SEED");
    let default = if first.is_some() { 1 } else { SEEDS };
    let count = number_from("KONTIKI_SEEDS").unwrap_or(default);
    let first = first.unwrap_or(0);
    if number_from("KONTIKI_SURVEY").is_some() {
        return survey(first..first + count);
    }
    let sum = match first_failure(first..first + count, |_| {}) {
        Ok(sum) => sum,
        Err(failed) => {
            let (seed, case, failure) = *failed;
            println!("KONTIKI_SEED={seed} cargo test --release -p kontiki-raft --test safety");
            println!("{}: {}", failure.place, failure.message);
            let (case, failure) = shrink(&case, &failure);
            run(&case, true).expect_err("a history fails every time or never");
            println!("{}", list(&case));
            panic!("KONTIKI_SEED={seed}: {}: {}", failure.place, failure.message);
        }
    };
    println!("{sum:?}");
    // Histories in which nothing happens prove nothing.
    if sum.histories >= 200 {
        let often = sum.elections.min(sum.reads).min(sum.commits / 10) >= sum.histories;
        let rarely =
            sum.memberships.min(sum.snapshots * 2).min(sum.wipes * 10) >= sum.histories / 2;
        assert!(often && rarely, "{sum:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    common::switch_planted();
    for seed in 0..20 {
        let (once, twice) = (run(&Case::draw(seed), false), run(&Case::draw(seed), false));
        assert_eq!(format!("{once:?}"), format!("{twice:?}"));
    }
}

/// Every harness that breaks a promise is found out, and by little.
fn found_out(sabotage: Sabotage, deaf: bool, words: &[&str]) {
    common::switch_planted();
    let spoil = |case: &mut Case| {
        case.world.sabotage = Some(sabotage);
        case.world.deaf = deaf;
    };
    let found = first_failure(0..2_000, spoil);
    let (seed, case, failure) = *found.expect_err("the broken promise is noticed");
    let (small, failure) = shrink(&case, &failure);
    println!("seed {seed}: {} commands, then {}", case.commands.len(), small.commands.len());
    println!("{}{}", list(&small), failure.message);
    assert!(words.iter().any(|word| failure.message.contains(word)), "{}", failure.message);
    assert!(small.commands.len() <= 15, "{} commands", small.commands.len());
    assert_eq!(run(&small, false).expect_err("it still fails").message, failure.message);
}

#[test]
fn a_disk_that_reports_too_early_is_found_out() {
    found_out(Sabotage::PersistEarly, false, &["too early", "before it is durable", "before the"]);
}

#[test]
fn a_disk_that_reports_too_early_is_found_out_by_what_is_lost() {
    let words = ["on the disks of", "without a durable majority", "is not durable", "is counted"];
    found_out(Sabotage::PersistEarly, true, &words);
}

#[test]
fn a_replica_that_forgets_its_vote_is_found_out() {
    found_out(Sabotage::ForgetVote, false, &["two leaders", "votes for"]);
}

#[test]
fn a_disk_that_loses_its_tail_is_found_out() {
    let words = ["durable entries are lost", "a leader lacks", "is counted on", "on the disks"];
    found_out(Sabotage::LoseTail, false, &words);
}
