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
//! | after the same block, every replica has the same state | [`Ledger::state_at`] |
//! | a leader only appends to its log | [`Ledger::observe`] |
//! | a request is in the log once at most | [`Ledger::applied`] |
//! | what was durable is there again after a restart | [`Ledger::started`] |
//!
//! The ledger knows what is durable from the disk and what was promised from the bytes on the wire, and asks no replica
//! about either.
//! Deliberately absent: what clients saw (`checker`), and progress (`world.rs`, at the end of a run).

mod durable;
mod wire;

use std::collections::{BTreeMap, HashMap, VecDeque};

use kontiki::Block;
use kontiki::kv::{Command, Op};
use kontiki_raft::{HardState, Index, Position, Raft, ReplicaId, Term};

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
    /// The end of its log when it was last seen to lead, and in which term.
    led_to: (u64, u64),
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
    /// What the state is after each block.
    digests: HashMap<u64, u64>,
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

    /// After `index` the state of a replica on `node` has this digest.
    pub fn state_at(&mut self, node: u64, group: u64, index: Index, digest: u64) {
        let known = *self.groups[place(group)].digests.entry(index.0).or_insert(digest);
        if known != digest {
            let what = format!("node {node}: digest {digest:x} at {index:?}, others {known:x}");
            self.fail(Some(group), what);
        }
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
        let replica = &mut self.nodes[place(node)].replicas[place(group)];
        let last = if raft.is_leader() { status.last.index.0 } else { 0 };
        let led_to = std::mem::replace(&mut replica.led_to, (term, last));
        if led_to.0 == term && last > 0 && last < led_to.1 {
            let what =
                format!("leader append-only: node {node} cuts its log at {last} of {led_to:?}");
            self.fail(Some(group), what);
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
        let must = earlier.checked_sub(1).map(|at| ledger.applied[at]);
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
