//! Bugs that are planted on purpose: how many seeds it takes to find each.
//!
//! The numbers are those of the list of hazards. The bugs live in `kontiki_raft::planted`, `kontiki::planted` and
//! `kontiki_net::planted`, behind the feature `planted`, one at a time for the whole process.
//! Deliberately absent: bugs of what the simulated engine does not do yet (memberships, splits, snapshots).

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::plan::Plan;
use super::run::run;

/// Seeds after which a bug counts as missed.
const SEEDS_MAX: u64 = 1_000;

/// Searches for each bug, from different seeds; the median counts.
const SEARCHES: u64 = 3;

/// How far apart they begin.
const APART: u64 = 100_000;

/// Those that need what the engine does not have yet.
const NOT_YET: &[(u32, &str)] = &[
    (3, "learners"),
    (13, "split"),
    (14, "split"),
    (15, "snapshots"),
    (17, "snapshots"),
    (21, "joint memberships"),
    (22, "change of membership"),
    (25, "sleeping groups"),
    (28, "snapshots"),
    (30, "change of membership"),
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

/// Looks for every bug, beginning with seed `first`.
#[must_use]
pub fn main(first: u64) -> ExitCode {
    if !cfg!(feature = "planted") {
        eprintln!("sim: built without the feature `planted`; use ./dev sim --planted");
        return ExitCode::from(2);
    }
    let core = kontiki_raft::planted::Bug::ALL.iter().map(|&bug| Bug::Core(bug));
    let engine = kontiki::planted::Bug::ALL.iter().map(|&bug| Bug::Engine(bug));
    let mut bugs: Vec<Bug> = core.chain(engine).chain([Bug::Foreign]).collect();
    bugs.sort_by_key(|bug| bug.number());
    let (mut found, mut missed) = (0, 0);
    for bug in bugs {
        let (number, what) = (bug.number(), bug.what());
        if let Some((_, needs)) = NOT_YET.iter().find(|(later, _)| *later == number) {
            println!("{number:>2} {what}: not yet ({needs})");
            continue;
        }
        plant(Some(bug));
        let mut searches: Vec<(u64, u64, String)> =
            (0..SEARCHES).filter_map(|at| search(first + at * APART)).collect();
        plant(None);
        searches.sort();
        let middle = usize::try_from(SEARCHES / 2).expect("small");
        if let Some((after, seed, why)) = searches.get(middle) {
            found += 1;
            println!("{number:>2} {what}: found after {after} seeds, seed {seed} ({why})");
        } else {
            missed += 1;
            println!("{number:>2} {what}: missed");
        }
    }
    println!("planted: {found} found, {missed} missed");
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The first seed from `first` on that fails: after how many, which one, and how.
fn search(first: u64) -> Option<(u64, u64, String)> {
    let next = AtomicU64::new(first);
    let best: Mutex<Option<(u64, String)>> = Mutex::new(None);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let earlier = best.lock().expect("nobody panics with it").is_some();
            if earlier || seed >= first + SEEDS_MAX {
                return;
            }
            if let Some(wrong) = run(Plan::draw(seed)).wrong {
                let mut best = best.lock().expect("nobody panics with it");
                if best.as_ref().is_none_or(|(found, _)| seed < *found) {
                    let line = wrong.what.lines().next().unwrap_or_default();
                    *best = Some((seed, line.chars().take(90).collect()));
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
    let best = best.into_inner().expect("nobody panics with it");
    best.map(|(seed, why)| (seed - first + 1, seed, why))
}
