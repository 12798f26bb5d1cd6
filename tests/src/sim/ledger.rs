//! What must be true of all replicas together, checked after each step for what the step touched.
//!
//! | rule | where |
//! |---|---|
//! | one leader per term; a leader holds all that was committed in earlier terms | [`Ledger::observe`] |
//! | a commit is durable on a majority; a leader moves it by entries of its own term | [`Ledger::observe`] |
//! | term, vote and commit never go back; `compacted <= applied <= committed <= last`, `persisted <= last` | [`Ledger::observe`] |
//! | equal term and index, equal block, on every replica | [`Ledger::written`] |
//! | the log is not compacted past what is durably applied | [`Ledger::written`] |
//! | a vote goes to nobody whose log ends before the voter's | [`Ledger::sent`] |
//! | no vote and no acknowledgement before the write it rests on | [`Ledger::sent`] |
//! | who hears of a later term is in it | [`Ledger::heard`] |
//! | every replica applies the same blocks in the same order | [`Ledger::applied`] |
//! | a request is in the log once at most | [`Ledger::applied`] |
//! | what was durable is there again after a restart | [`Ledger::started`] |
//!
//! The ledger knows what is durable from the disk and what was promised from the bytes on the wire, and asks no replica
//! about either.
//! Deliberately absent: what clients saw (`checker`), and progress (`world.rs`, at the end of a run).

use std::collections::{BTreeMap, HashMap, VecDeque};

use kontiki::Block;
use kontiki::kv::{Command, Op};
use kontiki::store::LogBatch;
use kontiki_net::{FRAME_BYTES_MAX, Frame, FrameKind, Incoming, MessageCode};
use kontiki_raft::{HardState, Index, Message, MessageKind, Position, Raft, ReplicaId, Term};

use super::fabric::Sent;
use super::marks::{Mark, Marks};
use super::trace::{Trace, What};

/// A rule was broken.
#[derive(Clone, Debug)]
pub struct Wrong {
    /// What is wrong.
    pub what: String,
    /// The group, if it is about one.
    pub group: Option<u64>,
}

/// Consecutive entries of one term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    first: u64,
    last: u64,
    term: u64,
    crc: u32,
}

/// What is known of one replica.
#[derive(Debug, Default)]
struct Replica {
    term: u64,
    vote: u64,
    committed: u64,
    led: u64,
    /// The last index that it ever applied, in all of its lives.
    applied: u64,
    /// What its disk holds for certain.
    durable: HardState,
    compacted: Position,
    log: Vec<Span>,
}

/// What a batch that is not durable yet will change.
#[derive(Debug)]
struct Pending {
    number: u64,
    blocks: Vec<(u64, Span)>,
    records: Vec<(u64, HardState, Position)>,
}

#[derive(Debug, Default)]
struct Node {
    replicas: Vec<Replica>,
    pending: VecDeque<Pending>,
}

#[derive(Debug, Default)]
struct Group {
    leaders: BTreeMap<u64, u64>,
    /// What was applied by anybody, in order.
    applied: Vec<Span>,
    /// The blocks that exist: by first index and term.
    blocks: HashMap<(u64, u64), (u64, u32)>,
    state: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Where the log of who asks for votes ends: by term and candidate.
    ballots: BTreeMap<(u64, u64), Position>,
}

/// See the module.
#[derive(Debug)]
pub struct Ledger {
    /// What happened.
    pub trace: Trace,
    /// Which situations the run came through.
    pub marks: Marks,
    wrong: Option<Wrong>,
    nodes: Vec<Node>,
    groups: Vec<Group>,
    /// Where each request is in the logs.
    requests: HashMap<u64, (u64, u64)>,
    /// What the frames that were not read yet say of later terms.
    news: HashMap<u64, Vec<(u64, Term)>>,
}

fn place(id: u64) -> usize {
    usize::try_from(id - 1).expect("ids are small and begin at 1")
}

impl Ledger {
    /// The ledger of a world.
    #[must_use]
    pub fn new(nodes: u64, groups: u64) -> Self {
        let (nodes, groups) = (place(nodes + 1), place(groups + 1));
        let node = || Node {
            replicas: (0..groups).map(|_| Replica::default()).collect(),
            pending: VecDeque::new(),
        };
        Self {
            trace: Trace::default(),
            marks: Marks::default(),
            wrong: None,
            nodes: (0..nodes).map(|_| node()).collect(),
            groups: (0..groups).map(|_| Group::default()).collect(),
            requests: HashMap::new(),
            news: HashMap::new(),
        }
    }

    /// Notes that a rule was broken; the first one counts.
    pub fn fail(&mut self, group: Option<u64>, what: String) {
        self.wrong.get_or_insert(Wrong { what, group });
    }

    /// The first rule that was broken.
    #[must_use]
    pub const fn wrong(&self) -> Option<&Wrong> {
        self.wrong.as_ref()
    }

    /// The group and index of a request, once it was applied anywhere.
    #[must_use]
    pub fn request(&self, id: u64) -> Option<(u64, u64)> {
        self.requests.get(&id).copied()
    }

    /// The last index applied anywhere.
    #[must_use]
    pub fn last_applied(&self, group: u64) -> u64 {
        self.groups[place(group)].applied.last().map_or(0, |span| span.last)
    }

    /// What the keys of `group` hold when everything applied anywhere is applied.
    #[must_use]
    pub fn state(&self, group: u64) -> &BTreeMap<Vec<u8>, Vec<u8>> {
        &self.groups[place(group)].state
    }

    /// A replica on `node` passed an entry without a command.
    pub fn skipped(&mut self, node: u64, group: u64, index: Index) {
        let log = &self.nodes[place(node)].replicas[place(group)].log;
        let at = log.partition_point(|span| span.last < index.0);
        let Some(&span) = log.get(at).filter(|span| span.first == index.0) else {
            let what = format!("node {node} applies {index:?}, which is not on its disk");
            return self.fail(Some(group), what);
        };
        self.passed(node, group, span);
    }

    /// A replica on `node` applied a block.
    pub fn applied(&mut self, node: u64, block: &Block<'_>) {
        if self.passed(node, block.group(), span_of(block)) {
            self.take_commands(block);
        }
    }

    /// A replica on `node` is past a block; true when it is the first one to be.
    fn passed(&mut self, node: u64, group: u64, span: Span) -> bool {
        self.trace.note(node, What::Applied, group, [span.first, span.last, span.term]);
        let replica = &mut self.nodes[place(node)].replicas[place(group)];
        if span.last <= replica.applied {
            self.marks.set(Mark::AppliedAgain);
        }
        replica.applied = replica.applied.max(span.last);
        let known = &self.groups[place(group)].applied;
        let next = known.last().map_or(1, |last| last.last + 1);
        if span.first == next {
            self.groups[place(group)].applied.push(span);
            return true;
        }
        let at = known.partition_point(|known| known.first < span.first);
        if known.get(at) != Some(&span) {
            let found = known.get(at).or_else(|| known.last()).copied();
            self.fail(
                Some(group),
                format!("state machine safety: node {node} applies {span:?}, others {found:?}"),
            );
        }
        false
    }

    fn take_commands(&mut self, block: &Block<'_>) {
        let group = block.group();
        for (number, entry) in (0_u32..).zip(block.entries()) {
            let index = block.first().advanced(number).0;
            let Ok(command) = Command::parse(entry) else { continue };
            let mut id = None;
            let state = &mut self.groups[place(group)].state;
            for op in command.ops() {
                match op {
                    Op::Put { key, value } => {
                        id = request_of(value);
                        state.insert(key.to_vec(), value.to_vec());
                    }
                    Op::Delete { key } => {
                        state.remove(key);
                    }
                }
            }
            let Some(id) = id else { continue };
            if let Some(before) = self.requests.insert(id, (group, index)) {
                let what = format!("request {id:x} is in the log twice: {before:?}, index {index}");
                self.fail(Some(group), what);
            }
        }
    }

    /// A look at the replica of `group` on `node` after a step.
    pub fn observe(&mut self, node: u64, group: u64, raft: &Raft) {
        let status = raft.status();
        let vote = status.vote.map_or(0, ReplicaId::get);
        let (term, committed) = (status.term.0, status.committed.0);
        let replica = &mut self.nodes[place(node)].replicas[place(group)];
        let before = (replica.term, replica.vote, replica.committed);
        (replica.term, replica.vote, replica.committed) = (term, vote, committed);
        let elected = raft.is_leader() && replica.led != term;
        if elected {
            replica.led = term;
        }
        if (term, vote) != (before.0, before.1) {
            self.trace.note(node, What::Term, group, [term, vote, 0]);
        }
        if term < before.0 || (term == before.0 && before.1 != 0 && vote != before.1) {
            let what = format!("node {node}: term and vote {before:?} become {:?}", (term, vote));
            self.fail(Some(group), what);
        }
        if committed < before.2 {
            let what =
                format!("node {node}: the commit goes back from {} to {committed}", before.2);
            self.fail(Some(group), what);
        }
        let order = [status.compacted.index, status.applied, status.committed, status.last.index];
        if !order.is_sorted() || status.persisted > status.last.index {
            self.fail(Some(group), format!("node {node}: pointers out of order: {status:?}"));
        }
        if elected {
            self.elected(node, group, raft);
        }
        if committed > before.2.max(status.compacted.index.0) {
            self.committed(node, group, raft, !elected && raft.is_leader() && term == before.0);
        }
    }

    /// The commit of a replica has moved; `by_counting` when it led before and leads now.
    fn committed(&mut self, node: u64, group: u64, raft: &Raft, by_counting: bool) {
        let index = raft.committed();
        let Some(term) = raft.term_at(index) else { return };
        let position = Position { term, index };
        if by_counting && term != raft.term() {
            let what = format!("node {node} commits {position:?} by counting in {:?}", raft.term());
            self.fail(Some(group), what);
        }
        let has = |node: &&Node| node.replicas[place(group)].holds(position);
        let holders = self.nodes.iter().filter(has).count();
        if 2 * holders <= self.nodes.len() {
            let nodes = self.nodes.len();
            let what = format!("node {node} commits {position:?}, durable on {holders} of {nodes}");
            self.fail(Some(group), what);
        }
    }

    fn elected(&mut self, node: u64, group: u64, raft: &Raft) {
        let term = raft.term().0;
        self.trace.note(node, What::Leads, group, [term, 0, 0]);
        let ledger = &mut self.groups[place(group)];
        if ledger.leaders.last_key_value().is_some_and(|(_, &last)| last != node) {
            self.marks.set(Mark::LeaderChanged);
        }
        let other = *ledger.leaders.entry(term).or_insert(node);
        let earlier = ledger.applied.partition_point(|span| span.term < term);
        // Who hears late that it leads may lack what was proposed before its term and committed in a later one.
        let late = ledger.leaders.last_key_value().is_some_and(|(&last, _)| last > term);
        let must = earlier.checked_sub(1).filter(|_| !late).map(|at| ledger.applied[at]);
        if other != node {
            let what = format!("election safety: nodes {other} and {node} lead in term {term}");
            self.fail(Some(group), what);
        }
        let Some(must) = must else { return };
        let has = raft.term_at(Index(must.last));
        if must.last > raft.compacted().index.0 && has != Some(Term(must.term)) {
            let what = format!(
                "leader completeness: node {node} leads in term {term} with {has:?} at {}, committed \
                 in term {}",
                must.last, must.term
            );
            self.fail(Some(group), what);
        }
    }

    /// A batch goes to the disk of `node`, whose state database durably holds what `applied` says of a group.
    pub fn written(
        &mut self,
        node: u64,
        number: u64,
        batch: &LogBatch,
        applied: impl Fn(u64) -> u64,
    ) {
        self.trace.note(node, What::Written, 0, [number, batch.parts.len() as u64, 0]);
        if batch.parts.len() > 1 {
            self.marks.set(Mark::Merged);
        }
        let mut blocks = Vec::new();
        for part in &batch.parts {
            let mut rest = &part.bytes[..];
            while !rest.is_empty() {
                let Ok((block, after)) = Block::parse(rest) else {
                    self.fail(None, format!("node {node}: batch {number} holds no block"));
                    break;
                };
                rest = after;
                let (group, span) = (block.group(), span_of(&block));
                let here = (span.last, span.crc);
                let known = &mut self.groups[place(group)].blocks;
                let there = *known.entry((span.first, span.term)).or_insert(here);
                if there != here {
                    let what = format!("log matching: node {node} writes another {span:?}");
                    self.fail(Some(group), what);
                }
                blocks.push((group, span));
            }
        }
        let mut records = Vec::new();
        for (group, record) in &batch.records {
            let durable = applied(*group);
            if record.compacted.index.0 > durable {
                let what = format!(
                    "node {node}: compacted to {:?}, durably applied is {durable}",
                    record.compacted
                );
                self.fail(Some(*group), what);
            }
            records.push((*group, record.hard_state, record.compacted));
        }
        self.nodes[place(node)].pending.push_back(Pending { number, blocks, records });
    }

    /// The batches of `node` up to `number` are durable.
    pub fn durable(&mut self, node: u64, number: u64) {
        self.trace.note(node, What::Synced, 0, [number, 0, 0]);
        let Self { nodes, marks, .. } = self;
        let Node { replicas, pending } = &mut nodes[place(node)];
        while pending.front().is_some_and(|pending| pending.number <= number) {
            let Pending { blocks, records, .. } = pending.pop_front().expect("seen just now");
            for (group, span) in blocks {
                let log = &mut replicas[place(group)].log;
                let keep = log.partition_point(|known| known.first < span.first);
                if log.get(keep).is_some_and(|lost| lost.term != span.term) {
                    marks.set(Mark::Overwritten);
                }
                log.truncate(keep);
                log.push(span);
            }
            for (group, hard_state, compacted) in records {
                let replica = &mut replicas[place(group)];
                replica.durable = hard_state;
                replica.compacted = compacted;
                let dead = replica.log.partition_point(|span| span.last <= compacted.index.0);
                replica.log.drain(..dead);
            }
        }
    }

    /// The node's process is gone, and its disk has kept the batches up to `kept`.
    pub fn crashed(&mut self, node: u64, kept: u64) {
        let pending = &self.nodes[place(node)].pending;
        if pending.front().is_some_and(|first| first.number <= kept) {
            self.marks.set(Mark::CrashKeepsBatches);
        }
        if let Some(lost) = pending.back().filter(|last| last.number > kept) {
            self.marks.set(Mark::CrashLosesBatches);
            if !lost.records.is_empty() {
                self.marks.set(Mark::TermLost);
            }
        }
        self.durable(node, kept);
        let Node { replicas, pending } = &mut self.nodes[place(node)];
        pending.clear();
        for replica in replicas {
            // What was not durable may be gone: then it was never promised to anybody.
            replica.term = replica.durable.term.0;
            replica.vote = replica.durable.vote.map_or(0, ReplicaId::get);
            replica.committed = 0;
            replica.led = 0;
        }
    }

    /// The replica of `group` on `node` was rebuilt from the disk.
    pub fn started(&mut self, node: u64, group: u64, raft: &Raft) {
        let status = raft.status();
        let replica = &self.nodes[place(node)].replicas[place(group)];
        let hard_state = HardState { term: status.term, vote: status.vote };
        let (durable, last) = (replica.durable, replica.log.last().copied());
        let compacted = replica.compacted;
        if compacted.index.0 > 0 {
            self.marks.set(Mark::RestartCompacted);
        }
        if hard_state != durable || status.compacted != compacted {
            let what = format!(
                "node {node} comes back with {hard_state:?} and {:?} instead of {durable:?} and \
                 {compacted:?}",
                status.compacted
            );
            self.fail(Some(group), what);
        }
        let found = status.last;
        let expected = last
            .map_or(compacted, |span| Position { term: Term(span.term), index: Index(span.last) });
        if found != expected {
            let what = format!("node {node} comes back with {found:?} instead of {expected:?}");
            self.fail(Some(group), what);
        }
    }

    /// A frame left.
    pub fn sent(&mut self, sent: &Sent) {
        let (node, to) = (sent.from, sent.to);
        let Ok((frame, _)) = Frame::parse(&sent.bytes, FRAME_BYTES_MAX) else {
            return self.fail(None, format!("node {node} sends a frame that is none"));
        };
        if frame.kind() != FrameKind::Messages {
            return;
        }
        for incoming in frame.messages() {
            match incoming {
                Ok(Incoming::Message { group, message }) => {
                    // Whoever asks about a later term does not begin it, and a vote may be refused unheard.
                    let may_wait = match message.kind {
                        MessageKind::PreVote { .. } | MessageKind::Vote { .. } => true,
                        MessageKind::PreVoteReply { granted } => granted,
                        _ => false,
                    };
                    if !may_wait {
                        self.note_term(sent, group, message.term);
                    }
                    self.sent_message(node, to, group, &message);
                }
                Ok(Incoming::Beat(beat)) => {
                    let code = u64::from(MessageCode::Beat.code()) * 100 + to;
                    let answers = beat.promise.map_or(0, |promise| promise.answers.0);
                    self.trace.note(node, What::Sent, 0, [code, beat.sequence, answers]);
                }
                Ok(Incoming::Append { group, header, .. }) => {
                    self.note_term(sent, group, header.term);
                    let code = u64::from(MessageCode::Append.code()) * 100 + to;
                    self.trace.note(node, What::Sent, group, [code, header.term.0, header.last.0]);
                }
                Err(error) => self.fail(None, format!("node {node} sends nonsense: {error}")),
            }
        }
    }

    /// What was sent is news of a later term.
    fn note_term(&mut self, sent: &Sent, group: u64, term: Term) {
        if self.nodes[place(sent.to)].replicas[place(group)].term < term.0 {
            self.news.entry(sent.number).or_default().push((group, term));
        }
    }

    /// A worker of `node` has taken the frame of this number, and its replicas are in the terms that `term_of` says.
    pub fn heard(&mut self, node: u64, number: u64, term_of: impl Fn(u64) -> Option<Term>) {
        for (group, term) in self.news.remove(&number).unwrap_or_default() {
            if let Some(own) = term_of(group).filter(|&own| own < term) {
                let what = format!("node {node} was told of {term:?} and stays in {own:?}");
                self.fail(Some(group), what);
            }
        }
    }

    fn sent_message(&mut self, node: u64, to: u64, group: u64, message: &Message) {
        let (code, number) = match message.kind {
            MessageKind::PreVote { last } => (MessageCode::PreVote, last.index.0),
            MessageKind::PreVoteReply { granted } => (MessageCode::PreVoteReply, granted.into()),
            MessageKind::Vote { last, .. } => (MessageCode::Vote, last.index.0),
            MessageKind::VoteReply { granted } => (MessageCode::VoteReply, granted.into()),
            MessageKind::AppendAck { matched, .. } => (MessageCode::AppendAck, matched.index.0),
            MessageKind::AppendReject { hint, .. } => (MessageCode::AppendReject, hint.index.0),
            MessageKind::Heartbeat { commit, .. } => (MessageCode::Heartbeat, commit.0),
            MessageKind::HeartbeatAck { read_round } => (MessageCode::HeartbeatAck, read_round),
            MessageKind::TimeoutNow { last } => (MessageCode::TimeoutNow, last.index.0),
            MessageKind::Resign => (MessageCode::Resign, 0),
            MessageKind::ReadIndex { request } => (MessageCode::ReadIndex, request),
            MessageKind::ReadIndexReply { index, .. } => (MessageCode::ReadIndexReply, index.0),
        };
        let numbers = [u64::from(code.code()) * 100 + to, message.term.0, number];
        self.trace.note(node, What::Sent, group, numbers);
        let replica = &self.nodes[place(node)].replicas[place(group)];
        let durable = replica.durable;
        // What waited in a full queue may be older than what is durable now, and promises less.
        if durable.term > message.term {
            return;
        }
        let broken = match message.kind {
            MessageKind::VoteReply { granted: true } => {
                let ballot = (message.term.0, message.to.get());
                let asked = self.groups[place(group)].ballots.get(&ballot);
                // What the winner has sent meanwhile is of the same term.
                let own = replica.last().filter(|last| last.term < message.term);
                durable.term < message.term
                    || durable.vote != Some(message.to)
                    || asked.zip(own).is_some_and(|(asked, own)| *asked < own)
            }
            MessageKind::Vote { last, .. } => {
                let ballot = (message.term.0, message.from.get());
                self.groups[place(group)].ballots.insert(ballot, last);
                durable.term < message.term
                    || durable.vote != Some(message.from)
                    // Another one may have won meanwhile, and overwritten what the request names.
                    || (!replica.holds(last)
                        && replica.last().is_none_or(|own| own.term < message.term))
            }
            MessageKind::AppendAck { matched, .. } => {
                durable.term < message.term || !replica.holds(matched)
            }
            MessageKind::TimeoutNow { .. } => {
                self.marks.set(Mark::Transferred);
                false
            }
            MessageKind::AppendReject { .. } => {
                self.marks.set(Mark::Rejected);
                false
            }
            _ => false,
        };
        if broken {
            let replica = &self.nodes[place(node)].replicas[place(group)];
            let last = replica.log.last();
            let what =
                format!("node {node} sends {message:?} while durable are {durable:?}, {last:?}");
            self.fail(Some(group), what);
        }
    }
}

impl Replica {
    /// The end of what is durable.
    fn last(&self) -> Option<Position> {
        let position = |span: &Span| Position { term: Term(span.term), index: Index(span.last) };
        self.log.last().map(position)
    }

    /// Whether `position` is durable, as far as that is still known.
    fn holds(&self, position: Position) -> bool {
        let (index, term) = (position.index.0, position.term.0);
        if index <= self.compacted.index.0 {
            return true;
        }
        let at = self.log.partition_point(|span| span.last < index);
        self.log.get(at).is_some_and(|span| span.first <= index && span.term == term)
    }
}

fn span_of(block: &Block<'_>) -> Span {
    let (first, last) = (block.first().0, block.last().0);
    Span { first, last, term: block.term().0, crc: block.header().crc32c.get() }
}

/// The number of the request that wrote `value`.
#[must_use]
pub fn request_of(value: &[u8]) -> Option<u64> {
    value.first_chunk().map(|id| u64::from_le_bytes(*id))
}
