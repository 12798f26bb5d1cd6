//! What happened, in words: the events of one step of one replica make one line.

use std::fmt::Write as _;

use kontiki_raft::{
    AppendHeader, Index, MessageKind, Persist, Position, ProgressState, Raft, ReadReady, Role,
    Status,
};

/// How much is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Level {
    /// Everything.
    #[default]
    All,
    /// Changes of state; not what was sent.
    State,
    Nothing,
}

#[derive(Debug)]
enum Event {
    State(String),
    Sent { text: String, to: Vec<u64> },
}

/// The events of one step.
#[derive(Debug, Default)]
pub(super) struct Events(Vec<Event>);

impl Events {
    pub(super) fn state(&mut self, text: impl Into<String>) {
        self.0.push(Event::State(text.into()));
    }

    /// The same words to several replicas are one event.
    pub(super) fn sent(&mut self, words: &str, receiver: u64) {
        for event in &mut self.0 {
            if let Event::Sent { text, to } = event
                && text == words
                && !to.contains(&receiver)
            {
                return to.push(receiver);
            }
        }
        self.0.push(Event::Sent { text: words.to_owned(), to: vec![receiver] });
    }

    /// The line about them, if there is anything to tell.
    pub(super) fn line(&self, number: u64, level: Level) -> Option<String> {
        let mut line = number.to_string();
        let mut told = 0;
        for event in &self.0 {
            let text = match (event, level) {
                (_, Level::Nothing) | (Event::Sent { .. }, Level::State) => continue,
                (Event::State(text), _) => text.clone(),
                (Event::Sent { text, to }, Level::All) => {
                    let to: Vec<_> = to.iter().map(u64::to_string).collect();
                    format!("{text} -> {}", to.join(" "))
                }
            };
            line.push_str(if told == 0 { " " } else { ", " });
            line.push_str(&text);
            told += 1;
        }
        (told > 0).then_some(line)
    }
}

/// What part the replica plays, when that changed.
pub(super) fn part(events: &mut Events, before: &Status, raft: &Raft) {
    let now = raft.status();
    let moved = now.term != before.term;
    if moved || now.role != before.role || now.leader != before.leader {
        let term = now.term;
        match (now.role, now.leader) {
            (Role::Leader, _) => events.state(format!("leads {term}")),
            (Role::Candidate, _) => events.state(format!("candidate in {term}")),
            (Role::PreCandidate, _) if moved => events.state(format!("pre-candidate in {term}")),
            (Role::PreCandidate, _) => events.state("pre-candidate"),
            (Role::Follower, Some(leader)) => events.state(format!("follows {leader} in {term}")),
            (Role::Follower, None) => {
                match before.role {
                    Role::Leader => events.state("steps down"),
                    Role::Candidate | Role::PreCandidate => events.state("yields"),
                    Role::Follower => {}
                }
                if moved {
                    events.state(format!("enters {term}"));
                }
            }
        }
    }
    match now.vote {
        Some(vote) if vote != now.id && (moved || now.vote != before.vote) => {
            events.state(format!("votes for {vote}"));
        }
        _ => {}
    }
}

/// How far it got. What is persisted, and that applying came later than the commit, is news only
/// where writes are held.
pub(super) fn marks(events: &mut Events, before: &Status, raft: &Raft, held: bool) {
    let now = raft.status();
    let at = |index| place(raft, index);
    if held && now.persisted != before.persisted {
        events.state(format!("persisted {}", at(now.persisted)));
    }
    if now.committed != before.committed {
        events.state(format!("commit {}", at(now.committed)));
    }
    if held && now.applied != before.applied && now.committed == before.committed {
        events.state(format!("apply {}", at(now.applied)));
    }
}

/// An index with its term, when the log still knows it.
pub(super) fn place(raft: &Raft, index: Index) -> String {
    match raft.term_at(index) {
        Some(term) => Position::new(term, index).to_string(),
        None => format!("?/{index}"),
    }
}

/// `2/5`, or `2/5..2/9`.
pub(super) fn run(first: Position, last: Position) -> String {
    if first == last { first.to_string() } else { format!("{first}..{last}") }
}

fn add_round(text: &mut String, round: u64) {
    if round > 0 {
        write!(text, " round {round}").expect("a string takes any text");
    }
}

/// An append with entries `first..=last`, if any. A probe shows what it rests on, since that is
/// what it asks about.
pub(super) fn append(
    header: &AppendHeader,
    entries: Option<(Position, Position)>,
    state: ProgressState,
) -> String {
    let mut text = match entries {
        None => format!("probe {}", header.prev),
        Some((first, last)) if state == ProgressState::Replicate => {
            format!("send {}", run(first, last))
        }
        Some((first, last)) => format!("send {} after {}", run(first, last), header.prev),
    };
    add_round(&mut text, header.read_round);
    text
}

pub(super) fn message(kind: &MessageKind) -> String {
    let yes = |granted| if granted { "yes" } else { "no" };
    let (mut text, round) = match *kind {
        MessageKind::PreVote { last } => (format!("ask pre-vote at {last}"), 0),
        MessageKind::PreVoteReply { granted } => (format!("pre-vote {}", yes(granted)), 0),
        MessageKind::Vote { last, forced: false } => (format!("ask vote at {last}"), 0),
        MessageKind::Vote { last, forced: true } => (format!("ask forced vote at {last}"), 0),
        MessageKind::VoteReply { granted } => (format!("vote {}", yes(granted)), 0),
        MessageKind::AppendAck { matched, read_round } => (format!("ack {matched}"), read_round),
        MessageKind::AppendReject { prev, hint, read_round } => {
            (format!("reject {prev} try {hint}"), read_round)
        }
        MessageKind::Heartbeat { commit: Index::ZERO, read_round, .. } => {
            ("heartbeat".to_owned(), read_round)
        }
        MessageKind::Heartbeat { commit, read_round, .. } => {
            (format!("heartbeat commit {commit}"), read_round)
        }
        MessageKind::HeartbeatAck { read_round } => ("alive".to_owned(), read_round),
        MessageKind::TimeoutNow { last } => (format!("order campaign at {last}"), 0),
        MessageKind::Resign => ("resign".to_owned(), 0),
        MessageKind::ReadIndex { .. } => ("ask read".to_owned(), 0),
        MessageKind::ReadIndexReply { index: Index::ZERO, .. } => ("read refused".to_owned(), 0),
        MessageKind::ReadIndexReply { index, .. } => (format!("read at {index}"), 0),
    };
    add_round(&mut text, round);
    text
}

/// A write that is on its way.
pub(super) fn write(persist: &Persist, raft: &Raft) -> String {
    let mut text = "write".to_owned();
    if let Some(hard_state) = persist.hard_state {
        text.push_str(&format!(" term {}", hard_state.term));
        if let Some(vote) = hard_state.vote {
            text.push_str(&format!(" vote {vote}"));
        }
    }
    if let Some(from) = persist.truncate_from {
        text.push_str(&format!(" cut from {from}"));
    }
    match persist.append {
        Some((first, last)) if first == last => text.push_str(&format!(" {}", place(raft, first))),
        Some((first, last)) => {
            text.push_str(&format!(" {}..{}", place(raft, first), place(raft, last)));
        }
        None => {}
    }
    text
}

pub(super) fn reads(ready: ReadReady) -> String {
    match ready {
        ReadReady::Confirmed { up_to, index } => {
            format!("reads to #{} may be served at {index}", up_to.0)
        }
        ReadReady::Lost { up_to } => format!("reads to #{} are lost", up_to.0),
    }
}

/// A replica at a glance.
pub(super) fn status(raft: &Raft) -> String {
    let status = raft.status();
    let role = match status.role {
        Role::Leader => "leads",
        Role::Candidate => "candidate in",
        Role::PreCandidate => "pre-candidate in",
        Role::Follower => "follower in",
    };
    let mut text = format!("{role} {}", status.term);
    if let Some(leader) = status.leader.filter(|&leader| leader != status.id) {
        text.push_str(&format!(" of {leader}"));
    }
    if let Some(vote) = status.vote {
        text.push_str(&format!(", vote {vote}"));
    }
    text.push_str(&format!(", last {}, commit {}", status.last, status.committed));
    let more = [
        ("persisted", status.persisted, status.last.index),
        ("applied", status.applied, status.committed),
        ("floor", status.floor, Index::ZERO),
        ("compacted", status.compacted.index, Index::ZERO),
    ];
    for (name, value, usual) in more {
        if value != usual {
            text.push_str(&format!(", {name} {value}"));
        }
    }
    if let Some(to) = status.transferring {
        text.push_str(&format!(", handing over to {to}"));
    }
    text
}

/// A leader's picture of one follower.
pub(super) fn progress(peer: &kontiki_raft::PeerProgress) -> String {
    let state = match peer.state {
        ProgressState::Probe => "probe",
        ProgressState::Replicate => "replicate",
        ProgressState::Snapshot => "needs a snapshot",
    };
    let silent = if peer.recent_active { "" } else { ", silent" };
    format!("{} {state}, matched {}, next {}{silent}", peer.id, peer.matched, peer.next)
}
