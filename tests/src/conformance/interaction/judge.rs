//! Compares a case: what it shows, and the facts it says, with our nodes.
//!
//! Invariant: a verdict rests on at least one comparison that can fail; a case without any is none.

use std::fmt::Debug;

use kontiki_raft::{Index, ReplicaId, Role};

use super::change::describe;
use super::command::Command;
use super::excuse::{About, Difference, excuse};
use super::facts::{self, Expected, Facts, State};
use super::node::{Node, View};
use super::show;
use super::world::{Shown, World};
use crate::conformance::{Case, Verdict};

/// What is compared of one case.
#[derive(Debug, Default)]
struct Comparison {
    count: usize,
    differences: Vec<Difference>,
    /// Whom the comparison is about at present.
    node: Option<u64>,
}

impl Comparison {
    fn fact<T: PartialEq + Debug>(
        &mut self,
        what: &str,
        about: About,
        expected: Option<T>,
        ours: &T,
    ) {
        let Some(expected) = expected else { return };
        self.count += 1;
        if expected != *ours {
            let text = format!("{what}: expected {expected:?}, ours {ours:?}");
            self.differences.push(Difference { node: self.node, about, text });
        }
    }

    fn state(&mut self, when: &str, expected: &State, ours: View) {
        let other = About::Other;
        self.fact(&format!("part{when}"), other, expected.role, &ours.role);
        self.fact(&format!("leader{when}"), other, expected.leader, &ours.leader);
        self.fact(&format!("term{when}"), other, expected.term, &ours.term);
        self.fact(&format!("vote{when}"), other, expected.vote, &ours.vote);
        let commit = About::Commit(expected.commit.unwrap_or(0));
        self.fact(&format!("commit{when}"), commit, expected.commit, &ours.commit);
    }

    /// Ours may pass through more parts, and may have come to the first one before: our leader stops
    /// leading as soon as a majority has been silent for an election timeout, theirs at the next of
    /// its checks. And a node that decides alone asks nobody whether it would.
    fn parts(&mut self, expected: &[(Role, u64)], node: &Node) {
        let alone = node.raft.membership().voters().eq([node.id]);
        let matters = |&&(role, _): &&(Role, u64)| !(alone && role == Role::PreCandidate);
        let mut ours = node.parts.iter();
        let missing = expected.iter().filter(matters).find(|&part| !ours.any(|our| our == part));
        if !expected.is_empty() {
            let text = missing.map(|missing| format!("{missing:?} in {:?}", node.parts));
            self.fact("misses the part", About::Other, Some(None), &text);
        }
    }

    fn node(&mut self, expected: &Facts, node: &Node) {
        self.node = Some(node.id.get());
        self.state(" at its ready", &expected.ready, node.view);
        self.state("", &expected.now, node.look());
        self.parts(&expected.parts, node);
        let entry = |index| node.memory.get(index).map(|entry| entry.describe(index));
        for (&index, text) in expected.entries.iter().chain(&expected.committed) {
            // What is compacted since can only be compared by what followed from it.
            if index > node.memory.start.index.0 {
                let ours = entry(Index(index));
                self.fact("entry", About::Entry(index), Some(Some(text.clone())), &ours);
            }
        }
        let applied = expected.applied();
        self.fact("applied", About::Commit(applied.unwrap_or(0)), applied, &node.given.0);
        let last = expected.last.map_or(About::Other, About::Entry);
        self.fact("last", last, expected.last, &node.memory.last().0);
        let membership = describe(&node.membership());
        self.fact("membership", About::Applied, expected.membership.clone(), &membership);
        let refused = expected.refused.then_some(true);
        self.fact("refused a change", About::Applied, refused, &!node.refusals.is_empty());
        if let Some((peer, text)) = &expected.peer {
            let peer = ReplicaId::new(*peer).and_then(|peer| node.peer(peer));
            let ours = peer.map(|peer| show::progress(node, &peer));
            self.fact("sees", About::Other, Some(Some(text.clone())), &ours);
        }
        self.node = None;
    }
}

/// Compares; `None` when the case says nothing that could be compared.
pub(super) fn judge(case: &Case, world: &World) -> Option<Verdict> {
    let command = Command::of(case);
    let said = facts::read(&case.expected, command.first().ok());
    let mut comparison = Comparison::default();
    compare_shown(case, world, &mut comparison);
    compare_nodes(&said, world, &mut comparison);
    if proposes(case) || said.dropped {
        comparison.fact("a proposal is dropped", About::Other, Some(said.dropped), &world.dropped);
    }
    let differences = comparison.differences;
    if comparison.count == 0 {
        return None;
    }
    if differences.is_empty() {
        return Some(Verdict::Passed);
    }
    let failed = || {
        let texts: Vec<_> = differences.iter().map(Difference::to_string).collect();
        Verdict::Failed(texts.join("\n"))
    };
    Some(excuse(world, &differences).map_or_else(failed, Verdict::Skipped))
}

/// `raft-log`, `raft-state`, `status`, and the log after a compaction.
fn compare_shown(case: &Case, world: &World, comparison: &mut Comparison) {
    let shows = ["raft-log", "raft-state", "status", "compact"];
    let is_show = |name: &str| shows.contains(&name);
    let names = || case.input.iter().filter_map(|line| line.split_whitespace().next());
    let plain = case.command != "propose-conf-change";
    if world.quiet || !(is_show(&case.command) || plain && names().any(is_show)) {
        return;
    }
    // Between the lines of several commands stand those of the ones that only log.
    let other = |line: &str| {
        let level = line.split(' ').next().unwrap_or_default();
        line.starts_with([' ', '>']) || matches!(level, "DEBUG" | "INFO" | "WARN" | "ERROR")
    };
    let mut expected: Vec<_> = case.expected.iter().filter(|line| !other(line)).cloned().collect();
    let mut shown = world.shown.clone();
    if let ("raft-log", Some(node)) = (&case.command[..], shown.first().and_then(|s| s.node)) {
        align(&mut expected, &mut shown, world.node(node).ok());
    }
    if shown.is_empty() {
        shown.push(Shown { node: None, about: About::Other, line: "ok".to_owned() });
    }
    if case.command == "raft-log" {
        let about = log_difference(&expected, &shown);
        shown.iter_mut().for_each(|line| line.about = about);
    }
    if expected.len() == shown.len() {
        for (expected, shown) in expected.into_iter().zip(shown) {
            comparison.node = shown.node;
            let about = if may_be_behind(&expected, &shown) { shown.about } else { About::Other };
            comparison.fact("shows", about, Some(expected), &shown.line);
        }
    } else {
        comparison.node = shown[0].node;
        let lines: Vec<_> = shown.iter().map(|shown| shown.line.as_str()).collect();
        let (about, ours) = (shown[0].about, lines.join("\n"));
        comparison.fact("shows", about, Some(expected.join("\n")), &ours);
    }
    comparison.node = None;
}

/// Where two logs begin to differ.
fn log_difference(expected: &[String], shown: &[Shown]) -> About {
    let same = expected.iter().zip(shown).take_while(|(a, b)| **a == b.line).count();
    let index = expected.get(same).and_then(|line| index_of(line));
    index.map_or(About::Other, About::Entry)
}

/// The index of an entry as it is shown.
fn index_of(line: &str) -> Option<u64> {
    line.split_once(" Entry")?.0.split_once('/')?.1.parse().ok()
}

/// Whether two lines could be those of a node before and after it has applied something. In
/// `raft-state` nothing but the seat depends on that.
fn may_be_behind(expected: &str, shown: &Shown) -> bool {
    let seatless = |line: &str| line.replace("(Non-Voter)", "").replace("(Voter)", "");
    !expected.contains("Voter)") || seatless(expected) == seatless(&shown.line)
}

/// Where the log of a node begins that was caught up by a snapshot depends on when that was made.
/// So both logs are compared from where the later one begins, if that is applied.
fn align(expected: &mut Vec<String>, shown: &mut Vec<Shown>, node: Option<&Node>) {
    let first = |line: &str| match line.strip_prefix("log is empty: first index=") {
        Some(rest) => rest.split(',').next()?.parse().ok(),
        None => index_of(line),
    };
    let Some(node) = node.filter(|node| node.was_replaced) else { return };
    let theirs = expected.first().and_then(|line| first(line));
    let ours = node.disk.start.index.0 + 1;
    let Some(begin) = theirs.map(|theirs| theirs.max(ours)) else { return };
    if begin > node.applied.0 + 1 {
        return;
    }
    expected.retain(|line| first(line).is_some_and(|index| index >= begin));
    let shown_line = |line| Shown { node: Some(node.id.get()), about: About::Other, line };
    *shown = node.disk.shown_from(Index(begin)).into_iter().map(shown_line).collect();
    if expected.is_empty() {
        // All that they show is behind our beginning; its end must be there too.
        let last = begin - 1;
        expected.push(format!("log is empty: first index={begin}, last index={last}"));
    }
}

fn compare_nodes(said: &Expected, world: &World, comparison: &mut Comparison) {
    for (&number, facts) in &said.nodes {
        match world.node(number) {
            Ok(node) => comparison.node(facts, node),
            Err(why) => comparison.fact("node", About::Other, Some("there"), &why.as_str()),
        }
    }
}

fn proposes(case: &Case) -> bool {
    let mut names = case.input.iter().filter_map(|line| line.split_whitespace().next());
    case.command.starts_with("propose") || names.any(|name| name == "propose")
}
