//! Conversations of whole nodes, written for another implementation and played on our core.
//!
//! A script lets nodes campaign, propose, lose messages, compact and so on, and after each command
//! it says what the nodes then are. The adapter keeps for each core what a caller keeps: logs with
//! their entries, writes and applies (at once or on threads that scripts drive), snapshots, and a
//! pool of messages that move when told.
//!
//! Compared is what `raft-log`, `raft-state` and `status` print, whether proposals are accepted,
//! and what the dumps of other commands say about terms, votes, commits, parts, leaders, entries
//! and memberships. Messages are not compared: they are the other implementation's own. A command
//! that says none of this is not a case.
//!
//! Where the two differ in mechanism and not in what can be observed, the adapter translates, and
//! says so where it does; where they differ by design, what follows in the script counts as
//! skipped, with the reason.
//!
//! Deliberately absent: anything that knows a particular script.

mod change;
mod clock;
mod command;
mod entries;
mod excuse;
mod execute;
mod facts;
mod input;
mod judge;
mod node;
mod pool;
mod ready;
mod show;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::{Case, Verdict, cases};
use command::Command;
use world::World;

/// Plays the script and compares it, case by case. A script that says nothing about the nodes is
/// one skipped case.
///
/// # Panics
/// When the file is not one of cases.
#[must_use]
pub fn run(path: &Path) -> Vec<(String, Verdict)> {
    let mut world = World::default();
    let mut stopped = None;
    let verdict = |case: Case| {
        let verdict = guard(&case.at, &mut stopped, || play(&mut world, &case));
        verdict.map(|verdict| (case.at, verdict))
    };
    let mut verdicts: Vec<_> = cases(path).into_iter().filter_map(verdict).collect();
    if verdicts.is_empty() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        verdicts.push((name, Verdict::Skipped("nothing in it can be compared".to_owned())));
    }
    verdicts
}

/// The verdict on a case that may stop a node: by an assertion of the core, or of the adapter.
/// What comes after it in the script cannot be played, and so fails too.
fn guard(
    at: &str,
    stopped: &mut Option<String>,
    case: impl FnOnce() -> Result<Option<Verdict>, String>,
) -> Option<Verdict> {
    if let Some(before) = stopped {
        return Some(Verdict::Failed(format!("not played, for a node stopped at {before}")));
    }
    match catch_unwind(AssertUnwindSafe(case)) {
        Ok(Ok(verdict)) => verdict,
        Ok(Err(why)) => Some(Verdict::Failed(why)),
        Err(panic) => {
            let why = match panic.downcast::<String>() {
                Ok(why) => *why,
                Err(panic) => (*panic.downcast::<&str>().unwrap_or_default()).to_owned(),
            };
            *stopped = Some(at.to_owned());
            Some(Verdict::Failed(format!("a node stops: {why}")))
        }
    }
}

/// Plays one case; `None` when it has nothing to compare.
fn play(world: &mut World, case: &Case) -> Result<Option<Verdict>, String> {
    world.shown.clear();
    world.dropped = false;
    for node in &mut world.nodes {
        node.begin_case();
    }
    world.execute(&Command::of(case), &case.input)?;
    Ok(judge::judge(case, world))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays a script, and returns the verdicts by line.
    fn verdicts(script: &str) -> Vec<(u64, Verdict)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("script.txt");
        std::fs::write(&path, script).unwrap();
        let line = |at: String| at.rsplit_once(':').unwrap().1.parse().unwrap();
        run(&path).into_iter().map(|(at, verdict)| (line(at), verdict)).collect()
    }

    fn fails(verdict: &Verdict, with: &str) -> bool {
        matches!(verdict, Verdict::Failed(why) if why.contains(with))
    }

    const ELECTED: &str = "add-nodes 3 voters=(1,2,3) index=10 inflight=2\n----\nok\n\n\
                           campaign 1\n----\nINFO 1 became candidate at term 1\n\n\
                           stabilize log-level=none\n----\nok\n\n";

    #[test]
    fn what_holds_passes_and_what_says_nothing_is_no_case() {
        let script = format!(
            "{ELECTED}propose 1 a\npropose 1 b\npropose 1 c\n----\nok\n\n\
             process-ready 1\n----\nReady MustSync=true:\nEntries:\n1/12 EntryNormal \"a\"\n\n\
             status 1\n----\n1: StateReplicate match=14 next=15\n\
             2: StateReplicate match=11 next=14 paused inflight=2[full]\n\
             3: StateReplicate match=11 next=14 paused inflight=2[full]\n\n\
             raft-state\n----\n1: StateLeader (Voter) Term:1 Lead:1\n\
             2: StateFollower (Voter) Term:1 Lead:1\n3: StateFollower (Voter) Term:1 Lead:1\n\n\
             status 2\n----\nok\n"
        );
        let passed: Vec<_> = [5, 13, 19, 25, 31, 37].map(|line| (line, Verdict::Passed)).into();
        assert_eq!(verdicts(&script), passed);
    }

    #[test]
    fn every_kind_of_difference_fails() {
        let wrong = [
            ("propose 1 a\n----\nraft proposal dropped\n", "dropped"),
            ("raft-log 1\n----\n2/11 EntryNormal \"\"\n", "1/11 EntryNormal"),
            ("status 1\n----\n1: StateReplicate match=12 next=13\n", "match=11"),
            ("raft-state\n----\nok\n", "StateLeader (Voter) Term:1 Lead:1"),
            ("stabilize\n----\n> 2 handling Ready\n  Lead:3 State:StateFollower\n", "leader"),
            ("stabilize\n----\n> 2 handling Ready\n  HardState Term:1 Commit:11\n", "vote"),
            ("stabilize\n----\n> 2 handling Ready\n  HardState Term:1 Vote:1 Commit:12\n", "12"),
            ("campaign 2\n----\nINFO 2 became pre-candidate at term 2\n", "part"),
            ("campaign 2\n----\nINFO 2 became candidate at term 3\n", "term"),
            ("process-ready 1\n----\nCommittedEntries:\n1/11 EntryNormal \"x\"\n", "entry"),
            ("process-ready 1\n----\nCommittedEntries:\n1/12 EntryNormal \"\"\n", "applied"),
            ("stabilize\n----\nINFO 3 switched to configuration voters=(1 2)\n", "membership"),
            ("status 4\n----\nok\n", "there is no node 4"),
            ("dance 1\n----\nok\n", "unknown command dance"),
        ];
        for (case, with) in wrong {
            let verdicts = verdicts(&format!("{ELECTED}{case}"));
            let (line, verdict) = verdicts.last().unwrap();
            assert_eq!(*line, 13, "{case}");
            assert!(fails(verdict, with), "{case}: {verdict:?}");
        }
    }

    #[test]
    fn a_command_that_makes_no_sense_fails_alone() {
        let script = format!(
            "{ELECTED}report-unreachable 1\n----\nok\n\nraft-log 1\n----\n1/11 EntryNormal \"\"\n"
        );
        let verdicts = verdicts(&script);
        let [.., (13, report), (17, log)] = &verdicts[..] else { panic!("{verdicts:?}") };
        assert!(fails(report, "report-unreachable NODE PEER"), "{report:?}");
        assert_eq!(*log, Verdict::Passed);
    }

    #[test]
    fn after_a_core_that_stops_nothing_passes() {
        let stop = || -> Result<Option<Verdict>, String> { panic!("two leaders in {}", 7) };
        let mut stopped = None;
        let verdict = guard("f:3", &mut stopped, stop).unwrap();
        assert!(fails(&verdict, "a node stops: two leaders in 7"), "{verdict:?}");
        let after = guard("f:9", &mut stopped, || Ok(Some(Verdict::Passed))).unwrap();
        assert!(fails(&after, "not played, for a node stopped at f:3"), "{after:?}");
    }
}
