//! What an expected output says about the nodes, apart from messages.
//!
//! Most commands print dumps: what a node wanted to be written and sent, and what it logged. The
//! messages in them are of the other implementation alone and are left out. What remains are
//! facts: terms, votes, commits, parts, leaders, entries, what was applied, memberships. Of each
//! kind the last one said about a node must be true of ours after the command.
//!
//! A fact of a ready is one about the moment of that ready, for what follows from the node's own
//! write comes after it. A logged fact is one about now, until a ready says more.
//!
//! The parts a node comes to play are compared one by one, in their order.
//!
//! Deliberately absent: the order of other events within one command.

use std::collections::BTreeMap;

use kontiki_raft::Role;

/// What is said of one node's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) role: Option<Role>,
    pub(super) leader: Option<u64>,
    pub(super) term: Option<u64>,
    pub(super) vote: Option<u64>,
    pub(super) commit: Option<u64>,
}

/// What is said of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// As of its last ready.
    pub(super) ready: State,
    /// As of now.
    pub(super) now: State,
    /// The parts it came to play, each with its term, in order.
    pub(super) parts: Vec<(Role, u64)>,
    /// Entries that went into its log, as they are shown.
    pub(super) entries: BTreeMap<u64, String>,
    /// Entries given to apply, as they are shown.
    pub(super) committed: BTreeMap<u64, String>,
    /// The last entry of the log.
    pub(super) last: Option<u64>,
    pub(super) membership: Option<String>,
    /// A change of membership was refused.
    pub(super) refused: bool,
    /// Its picture of another node, which is told when that is reported unreachable.
    pub(super) peer: Option<(u64, String)>,
}

impl Facts {
    /// The last entry given to apply.
    pub(super) fn applied(&self) -> Option<u64> {
        self.committed.last_key_value().map(|(&index, _)| index)
    }
}

/// The facts of an output, by node; and whether a proposal went nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) nodes: BTreeMap<u64, Facts>,
    pub(super) dropped: bool,
}

/// Which list the lines belong to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Entries,
    Committed,
    Other,
}

/// Reads an output. `only` is the node it is about when its lines do not name one.
pub(super) fn read(lines: &[String], only: Option<u64>) -> Expected {
    let mut expected = Expected::default();
    let (mut node, mut section) = (only, Section::Other);
    for line in lines {
        let line = line.trim();
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [">", number, ..] = words[..] {
            (node, section) = (number.parse().ok(), Section::Other);
        } else if line == "raft proposal dropped" {
            expected.dropped = true;
        } else if let Some((_, text)) = line.split_once(' ').filter(|(level, _)| is_level(level)) {
            read_log(text, &mut expected.nodes);
        } else if let Some(node) = node {
            read_ready(line, &words, &mut section, || expected.nodes.entry(node).or_default());
        }
    }
    expected
}

fn is_level(word: &str) -> bool {
    matches!(word, "DEBUG" | "INFO" | "WARN" | "ERROR" | "FATAL")
}

/// A line of a ready.
fn read_ready<'a>(
    line: &str,
    words: &[&str],
    section: &mut Section,
    facts: impl FnOnce() -> &'a mut Facts,
) {
    if let Some((index, committed)) = entry(line, *section) {
        let facts = facts();
        if committed {
            facts.committed.insert(index, line.to_owned());
        } else {
            // An entry replaces its forerunner and everything behind it.
            facts.entries.split_off(&index);
            facts.last = None;
            facts.entries.insert(index, line.to_owned());
        }
        return;
    }
    *section = match words {
        ["Entries:"] => Section::Entries,
        ["CommittedEntries:"] => Section::Committed,
        _ => Section::Other,
    };
    match words {
        ["HardState", fields @ ..] => {
            let Facts { ready: state, now, .. } = facts();
            (now.term, now.vote, now.commit) = (None, None, None);
            let field =
                |name| fields.iter().find_map(|field| field.strip_prefix(name)?.parse().ok());
            state.term = field("Term:");
            state.vote = Some(field("Vote:").unwrap_or(0));
            state.commit = field("Commit:");
        }
        [leader, role] if leader.starts_with("Lead:") && role.starts_with("State:") => {
            let Facts { ready: state, now, .. } = facts();
            (now.role, now.leader) = (None, None);
            state.leader = leader.strip_prefix("Lead:").and_then(|leader| leader.parse().ok());
            state.role = role.strip_prefix("State:").and_then(part);
        }
        _ => {}
    }
}

/// An entry in a list of them: its index, and whether the list is of those to apply.
fn entry(line: &str, section: Section) -> Option<(u64, bool)> {
    let (place, what) = line.split_once(' ')?;
    let (_, index) = place.split_once('/')?;
    let index = index.parse().ok().filter(|_| what.starts_with("Entry"))?;
    match section {
        Section::Entries => Some((index, false)),
        Section::Committed => Some((index, true)),
        Section::Other => None,
    }
}

fn part(name: &str) -> Option<Role> {
    match name {
        "StateFollower" | "follower" => Some(Role::Follower),
        "StatePreCandidate" | "pre-candidate" => Some(Role::PreCandidate),
        "StateCandidate" | "candidate" => Some(Role::Candidate),
        "StateLeader" | "leader" => Some(Role::Leader),
        _ => None,
    }
}

/// A logged line, without its level.
fn read_log(text: &str, nodes: &mut BTreeMap<u64, Facts>) {
    let words: Vec<&str> = text.split_whitespace().collect();
    let number = |word: &str| word.parse::<u64>().ok();
    match words[..] {
        ["newRaft", node, ..] => {
            let Some(facts) = number(node).map(|node| nodes.entry(node).or_default()) else {
                return;
            };
            (facts.now.term, facts.now.commit) = (field(text, "term: "), field(text, "commit: "));
            facts.last = field(text, "lastindex: ");
        }
        [node, "became", role, "at", "term", term] => {
            let Some(node) = number(node) else { return };
            let Facts { now, parts, .. } = nodes.entry(node).or_default();
            *now = State { role: part(role), term: number(term), ..State::default() };
            parts.extend(part(role).zip(number(term)));
        }
        [node, "[logterm:", .., "cast", "MsgVote", "for", vote, _, _, _, _, "at", "term", _] => {
            let Some(node) = number(node) else { return };
            nodes.entry(node).or_default().now.vote = number(vote);
        }
        [node, "forgetting", "leader", ..] => {
            let Some(node) = number(node) else { return };
            nodes.entry(node).or_default().now.leader = Some(0);
        }
        [node, "switched", "to", "configuration", ..] => {
            let Some(node) = number(node) else { return };
            let membership = text.split_once("configuration ").map(|(_, rest)| rest.to_owned());
            nodes.entry(node).or_default().membership = membership;
        }
        [node, "ignoring", "conf", "change", ..] => {
            let Some(node) = number(node) else { return };
            nodes.entry(node).or_default().refused = true;
        }
        [node, "[commit:", commit, "lastindex:", last, "lastterm:", _, "restored", ..] => {
            let Some(node) = number(node) else { return };
            let facts = nodes.entry(node).or_default();
            facts.now.commit = number(commit.trim_end_matches(','));
            facts.last = number(last.trim_end_matches(','));
            facts.entries.clear();
        }
        [node, "failed", "to", "send", "message", "to", peer, ..] => {
            let (Some(node), Some(peer)) = (number(node), number(peer)) else { return };
            let picture = text.split_once('[').map(|(_, rest)| rest.trim_end_matches(']'));
            nodes.entry(node).or_default().peer = picture.map(|text| (peer, text.to_owned()));
        }
        _ => {}
    }
}

/// The number behind `name` in a list of them.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.split_once(name)?.1;
    rest.split([',', ']']).next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(text: &str, only: Option<u64>) -> Expected {
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        read(&lines, only)
    }

    #[test]
    fn the_last_word_about_a_node_counts() {
        let text = "> 1 handling Ready\n  Ready MustSync=true:\n  Lead:0 State:StateCandidate\n\
                    \x20 HardState Term:2 Vote:1 Commit:10\n  Messages:\n\
                    \x20 1->2 MsgApp Term:8 Log:6/19 Commit:18 Entries:[\n\
                    \x20   6/20 EntryNormal \"not in a list\"\n  ]\n\
                    > 2 receiving messages\n  INFO 2 became follower at term 2\n\
                    > 1 handling Ready\n  Lead:1 State:StateLeader\n  Entries:\n\
                    \x20 2/11 EntryNormal \"\"\n  2/12 EntryNormal \"x\"\n\
                    > 1 handling Ready\n  Entries:\n  2/11 EntryNormal \"y\"\n\
                    \x20 CommittedEntries:\n  1/9 EntryNormal \"\"\n  1/10 EntryNormal \"\"\n";
        let facts = expected(text, None);
        let state = &facts.nodes[&1].ready;
        assert_eq!((state.role, state.leader), (Some(Role::Leader), Some(1)));
        assert_eq!((state.term, state.vote, state.commit), (Some(2), Some(1), Some(10)));
        let entries = [(11, "2/11 EntryNormal \"y\"".to_owned())];
        assert_eq!(facts.nodes[&1].entries, BTreeMap::from(entries));
        assert_eq!(facts.nodes[&1].applied(), Some(10));
        let state = &facts.nodes[&2].now;
        assert_eq!((state.role, state.term), (Some(Role::Follower), Some(2)));
        assert_eq!(facts.nodes[&2].parts, [(Role::Follower, 2)]);
        assert!(!facts.dropped);
    }

    #[test]
    fn one_node_needs_no_heading() {
        let facts = expected("Ready MustSync=true:\nHardState Term:3 Commit:11\n", Some(2));
        assert_eq!(facts.nodes[&2].ready.vote, Some(0), "no vote is said by saying nothing");
        assert!(expected("ok", Some(2)).nodes.is_empty());
        assert!(expected("raft proposal dropped", None).dropped);
    }

    #[test]
    fn logged_lines_are_facts_about_now() {
        let text = "INFO 3 switched to configuration voters=(1 2)&&(1) autoleave\n\
                    INFO newRaft 3 [peers: [1,2], term: 0, commit: 10, applied: 10, lastindex: 10, lastterm: 1]\n\
                    INFO 2 forgetting leader 1 at term 1\n\
                    INFO 4 [commit: 11, lastindex: 12, lastterm: 1] restored snapshot [index: 11, term: 1]\n\
                    DEBUG 1 failed to send message to 2 because it is unreachable [StateProbe match=1 next=2]\n\
                    INFO 5 [logterm: 0, index: 9, vote: 0] cast MsgVote for 3 [logterm: 1, index: 9] at term 2\n\
                    INFO 1 ignoring conf change {} at config voters=(1): why";
        let facts = expected(text, None).nodes;
        assert_eq!(facts[&3].membership.as_deref(), Some("voters=(1 2)&&(1) autoleave"));
        assert_eq!((facts[&3].now.term, facts[&3].now.commit), (Some(0), Some(10)));
        assert_eq!(facts[&3].last, Some(10));
        assert_eq!(facts[&2].now.leader, Some(0));
        assert_eq!((facts[&4].now.commit, facts[&4].last), (Some(11), Some(12)));
        assert_eq!(facts[&1].peer, Some((2, "StateProbe match=1 next=2".to_owned())));
        assert!(facts[&1].refused && !facts[&2].refused);
        assert_eq!(facts[&5].now.vote, Some(3));
    }
}
