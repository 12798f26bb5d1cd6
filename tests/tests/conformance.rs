//! Cases of other Raft implementations, read from where they lie and never copied here: from the
//! folder named by `KONTIKI_CONFORMANCE`, else from `../shared/conformance` beside the workspace.
//! Where neither is there, that is said and counts as skipped.
//!
//! Files are found by the kind of folder they lie in (`quorum`, `confchange`, else interaction
//! scripts), at any depth. A case is a directive, a line `----`, and the expected output up to an
//! empty line. Prints `N passed, N failed, N skipped` per kind.
//!
//! Deliberately absent, until memberships change: joint majorities, membership changes, and the
//! adapter for whole interactions. Their cases count as skipped.
#![allow(clippy::unwrap_used, reason = "a case that cannot be read fails")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kontiki_raft::quorum::{majority, reached_by};
use kontiki_raft::{
    Config, HardState, Index, Membership, Message, MessageKind, Position, Raft, ReplicaId, Start,
    Time, VOTERS_MAX,
};

fn folder() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance");
    let named = std::env::var_os("KONTIKI_CONFORMANCE").map(PathBuf::from);
    [named, Some(beside)].into_iter().flatten().find(|folder| folder.is_dir())
}

fn texts(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "txt") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

struct Case {
    at: String,
    directive: String,
    expected: Vec<String>,
}

fn cases(path: &Path) -> Vec<Case> {
    let text = fs::read_to_string(path).unwrap();
    let name = path.file_name().unwrap().to_string_lossy();
    let (mut cases, mut directive) = (Vec::new(), String::new());
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        if line == "----" {
            let expected = lines.by_ref().map(|(_, line)| line).take_while(|line| !line.is_empty());
            let expected = expected.map(str::to_owned).collect();
            let directive = std::mem::take(&mut directive);
            cases.push(Case { at: format!("{name}:{at}"), directive, expected });
        } else if !line.starts_with('#') && !line.trim().is_empty() {
            directive.push_str(line);
            directive.push(' ');
        }
    }
    cases
}

impl Case {
    fn command(&self) -> &str {
        self.directive.split_whitespace().next().unwrap_or_default()
    }

    fn is_joint(&self) -> bool {
        self.directive.contains("cfgj=")
    }

    /// The values of an argument `name=(a, b)`; none when it is not there.
    fn values(&self, name: &str) -> Vec<&str> {
        let Some((_, rest)) = self.directive.split_once(&format!("{name}=(")) else {
            return Vec::new();
        };
        let list = rest.split_once(')').expect("a list ends").0;
        list.split(',').map(str::trim).filter(|value| !value.is_empty()).collect()
    }
}

#[derive(Debug, PartialEq)]
enum Verdict {
    Passed,
    Failed(String),
    Skipped(&'static str),
}

fn compare(expected: &str, ours: &str) -> Verdict {
    if expected == ours {
        Verdict::Passed
    } else {
        Verdict::Failed(format!("expected {expected}, ours {ours}"))
    }
}

/// What is committed: the greatest index that a majority has acknowledged. Without voters nothing
/// bounds it.
fn commit_case(case: &Case) -> Verdict {
    let index = |value: &&str| if *value == "_" { 0 } else { value.parse().unwrap() };
    let mut indexes: Vec<u64> = case.values("idx").iter().map(index).collect();
    assert_eq!(indexes.len(), case.values("cfg").len(), "{}", case.at);
    let ours = match indexes.len() {
        0 => "∞".to_owned(),
        voters => reached_by(&mut indexes, majority(voters)).to_string(),
    };
    let last = case.expected.last().map_or("", String::as_str);
    // The picture before the result names an empty configuration on the same line.
    compare(last.strip_prefix("<empty majority quorum>").unwrap_or(last), &ours)
}

/// A vote is won when a majority grants it, and lost when not even those who are silent could
/// still help. Without voters it is won.
fn vote_case(case: &Case) -> Verdict {
    let votes = case.values("votes");
    let count = |fits: fn(&str) -> bool| {
        let mut votes: Vec<bool> = votes.iter().map(|&vote| fits(vote)).collect();
        let voters = votes.len();
        voters == 0 || reached_by(&mut votes, majority(voters))
    };
    let won = count(|vote| vote == "y");
    let ours = match (won, count(|vote| vote != "n")) {
        (true, _) => "VoteWon",
        (false, true) => "VotePending",
        (false, false) => "VoteLost",
    };
    if let Some(elected) = elects(&case.values("cfg"), &votes)
        && elected != won
    {
        return Verdict::Failed(format!("a replica with these votes leads: {elected}"));
    }
    compare(case.expected.first().map_or("", String::as_str), ours)
}

/// Whether a replica that gets these votes, its own among them, becomes leader. `None` when nobody
/// grants, since a candidate always grants itself, and for groups that the core does not form.
fn elects(voters: &[&str], votes: &[&str]) -> Option<bool> {
    let ids: Vec<_> =
        voters.iter().map(|id| ReplicaId::new(id.parse().unwrap()).unwrap()).collect();
    let own = votes.iter().position(|&vote| vote == "y")?;
    if ids.len() > VOTERS_MAX {
        return None;
    }
    let start = Start {
        id: ids[own],
        membership: Membership::new(&ids).unwrap(),
        changes: &[],
        hard_state: HardState::default(),
        compacted: Position::ZERO,
        spans: &[],
        committed: Index::ZERO,
        seed: 1,
        now: Time(0),
    };
    let mut raft = Raft::new(Config::default(), start).unwrap();
    let tell = |raft: &mut Raft, from: ReplicaId, kind| {
        let (to, term) = (raft.id(), raft.term());
        raft.step(Time(1), &Message { from, to, term, kind, session: 0 });
    };
    raft.campaign(Time(1));
    for &id in ids.iter().filter(|&&id| id != ids[own]) {
        tell(&mut raft, id, MessageKind::PreVoteReply { granted: true });
    }
    while let Some(write) = raft.take_persist() {
        raft.on_persisted(write.seq);
        raft.take_noop();
    }
    for (&id, &vote) in ids.iter().zip(votes).filter(|&(&id, &vote)| id != ids[own] && vote != "_")
    {
        tell(&mut raft, id, MessageKind::VoteReply { granted: vote == "y" });
    }
    Some(raft.is_leader())
}

fn judge(kind: &str, case: &Case) -> Verdict {
    match (kind, case.command()) {
        ("quorum", _) if case.is_joint() => Verdict::Skipped("joint majorities are not built yet"),
        ("quorum", "committed") => commit_case(case),
        ("quorum", "vote") => vote_case(case),
        ("quorum", _) => Verdict::Failed(format!("unknown case: {}", case.directive)),
        ("confchange", _) => Verdict::Skipped("memberships are fixed at creation for now"),
        _ => Verdict::Skipped("interaction scripts change memberships, which is not built yet"),
    }
}

#[test]
fn other_implementations_cases_hold() {
    let Some(folder) = folder() else {
        println!("no conformance data: neither KONTIKI_CONFORMANCE nor ../shared/conformance");
        println!("conformance: 0 passed, 0 failed, 1 skipped");
        return;
    };
    let mut counts: BTreeMap<String, [u64; 3]> = BTreeMap::new();
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    let mut failures = Vec::new();
    for path in texts(&folder) {
        let within = path.strip_prefix(&folder).unwrap();
        let part = |name: &str| within.iter().any(|part| part == name);
        let kind = ["quorum", "confchange"].into_iter().find(|kind| part(kind));
        let kind = kind.unwrap_or("interaction");
        let mut all = cases(&path);
        if kind == "interaction" {
            all.truncate(1); // A script is one case.
        }
        for case in &all {
            let label = match kind {
                "quorum" if case.is_joint() => format!("quorum joint {}", case.command()),
                "quorum" => format!("quorum majority {}", case.command()),
                _ => kind.to_owned(),
            };
            let count = counts.entry(label).or_default();
            match judge(kind, case) {
                Verdict::Passed => count[0] += 1,
                Verdict::Failed(why) => {
                    count[1] += 1;
                    failures.push(format!("{}: {why}", case.at));
                }
                Verdict::Skipped(why) => {
                    count[2] += 1;
                    *reasons.entry(why).or_default() += 1;
                }
            }
        }
    }
    for (label, [passed, failed, skipped]) in &counts {
        println!("{label}: {passed} passed, {failed} failed, {skipped} skipped");
    }
    for (why, count) in &reasons {
        println!("{count} skipped: {why}");
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
