//! Bugs that are planted on purpose: how many seeds it takes to find each.
//!
//! The numbers are those of the list of hazards. The bugs live in `kontiki_raft::planted`, `kontiki::planted` and
//! `kontiki_net::planted`, behind the feature `planted`, one at a time for the whole process.
//! Deliberately absent: bugs of what the simulated engine does not do yet (memberships, splits, snapshots).

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::plan::Plan;
use super::run::run;

/// Seeds after which a search ends.
const SEEDS_MAX: u64 = 600;

/// A bug counts as found when the median of all searches for it is no more than this.
const MEDIAN_MAX: u64 = 200;

/// Searches for each bug, from different seeds; the median counts.
const SEARCHES: usize = 5;

/// How far apart they begin.
const APART: u64 = 100_000;

/// Those that cannot be planted yet: number, what, and what the engine does not have.
const NOT_YET: &[(u32, &str, &str)] = &[
    (3, "a learner's acknowledgement counts", "the engine has no learners"),
    (13, "a split without hard state", "the engine does not split ranges"),
    (14, "a split overwrites the child's vote", "the engine does not split ranges"),
    (15, "destroy and install are not atomic", "the engine has no snapshots"),
    (17, "no snapshot to a follower behind a compacted log", "the engine has no snapshots"),
    (18, "a wiped node rejoins", "stores do not know each other yet"),
    (
        21,
        "a joint membership decides by its incoming half",
        "the engine does not change memberships",
    ),
    (
        22,
        "a membership changes before a commit in the term",
        "the engine does not change memberships",
    ),
    (28, "a snapshot with a stale epoch is accepted", "the engine has no snapshots"),
    (
        30,
        "an earlier membership's acknowledgement counts",
        "the engine does not change memberships",
    ),
];

#[derive(Clone, Copy, Debug)]
enum Bug {
    Core(kontiki_raft::planted::Bug),
    Engine(kontiki::planted::Bug),
    Foreign,
}

impl Bug {
    const fn number(self) -> u32 {
        match self {
            Self::Core(bug) => bug.number(),
            Self::Engine(bug) => bug as u32,
            Self::Foreign => 19,
        }
    }

    const fn what(self) -> &'static str {
        match self {
            Self::Core(bug) => bug.what(),
            Self::Engine(bug) => bug.what(),
            Self::Foreign => "a node of another cluster is let in",
        }
    }
}

fn plant(bug: Option<Bug>) {
    kontiki_raft::planted::plant(match bug {
        Some(Bug::Core(bug)) => Some(bug),
        _ => None,
    });
    kontiki::planted::plant(match bug {
        Some(Bug::Engine(bug)) => Some(bug),
        _ => None,
    });
    kontiki_net::planted::accept_foreign_clusters(matches!(bug, Some(Bug::Foreign)));
}

/// What became of the searches for one bug.
#[derive(Clone, Debug)]
struct Found {
    after: u64,
    seed: u64,
    why: String,
}

/// Looks for every bug, or for the one with the number `only`, beginning with seed `first`.
#[must_use]
pub fn main(first: u64, only: Option<u64>) -> ExitCode {
    if !cfg!(feature = "planted") {
        eprintln!("sim: built without the feature `planted`; use ./dev sim --planted");
        return ExitCode::from(2);
    }
    let clock = kontiki::clock::Clock::new();
    let began = clock.now();
    println!(
        "planted bugs; `found after K seeds` is the median of {SEARCHES} searches of {SEEDS_MAX} seeds at most, \
         from seeds {APART} apart"
    );
    let (mut found, mut missed) = (BTreeSet::new(), 0);
    for (number, bug, what) in all() {
        if only.is_some_and(|only| only != u64::from(number)) {
            continue;
        }
        let Some(bug) = bug else {
            println!("{number:>2} {what}");
            continue;
        };
        plant(Some(bug));
        let median = median(first);
        plant(None);
        match median {
            Some(Found { after, seed, why }) if after <= MEDIAN_MAX => {
                found.insert(number);
                println!("{number:>2} {what}: found after {after} seeds, seed {seed} ({why})");
            }
            late => {
                missed += 1;
                let late = late.map(|late| format!(" (found after {} seeds only)", late.after));
                println!("{number:>2} {what}: missed{}", late.unwrap_or_default());
            }
        }
    }
    let seconds = clock.now().since(began) / 1_000_000;
    println!("planted: {} of 30 found, {missed} missed, in {seconds} s", found.len());
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// All bugs by number, with what they are; those that cannot be planted yet with the reason.
fn all() -> Vec<(u32, Option<Bug>, String)> {
    let core = kontiki_raft::planted::Bug::ALL.iter().map(|&bug| Bug::Core(bug));
    let engine = kontiki::planted::Bug::ALL.iter().map(|&bug| Bug::Engine(bug));
    let later = |number: u32| NOT_YET.iter().any(|&(not_yet, ..)| not_yet == number);
    let mut all: Vec<_> = core
        .chain(engine)
        .chain([Bug::Foreign])
        .filter(|bug| !later(bug.number()))
        .map(|bug| (bug.number(), Some(bug), bug.what().to_owned()))
        .collect();
    let why = |&(number, what, why): &(u32, &str, &str)| {
        (number, None, format!("{what}: not built yet: {why}"))
    };
    all.extend(NOT_YET.iter().map(why));
    all.sort_by_key(|(number, ..)| *number);
    all
}

/// The search in the middle; `None` when that one found nothing.
fn median(first: u64) -> Option<Found> {
    let starts = (0..).map(|at| first + at * APART).take(SEARCHES);
    let mut searches: Vec<Option<Found>> = starts.map(search).collect();
    searches.sort_by_key(|found| found.as_ref().map_or(u64::MAX, |found| found.after));
    searches.swap_remove(SEARCHES / 2)
}

/// The first seed from `first` on that fails.
fn search(first: u64) -> Option<Found> {
    let next = AtomicU64::new(first);
    let best: Mutex<Option<Found>> = Mutex::new(None);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let earlier = best.lock().expect("nobody panics with it").is_some();
            if earlier || seed >= first + SEEDS_MAX {
                return;
            }
            if let Some(wrong) = run(Plan::draw(seed)).wrong {
                let line = wrong.what.lines().next().unwrap_or_default();
                let why = line.chars().take(90).collect();
                let mut best = best.lock().expect("nobody panics with it");
                if best.as_ref().is_none_or(|found| seed < found.seed) {
                    *best = Some(Found { after: seed - first + 1, seed, why });
                }
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    best.into_inner().expect("nobody panics with it")
}
