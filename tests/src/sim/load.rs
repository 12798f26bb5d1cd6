//! The clients: what they ask, of whom, and what they make of the answers.
//!
//! Each client has one request under way, writes values that nobody else writes, and goes where it is told the leader
//! is. What is certainly not applied it asks again, under the same number: so an error that lies shows up as a request
//! that is in the log twice. What it does not know it leaves alone.
//!
//! Deliberately absent: the judgement of what they saw (`checker`).

use std::collections::BTreeMap;

use kontiki::kv::{Op, encode_batch};
use kontiki::range::RangeMap;

use super::checker::{self, History, OpId, Outcome, Reply, View};
use super::plan::LoadPlan;
use super::random::Rng;

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The value of a key.
    Get(Vec<u8>),
    /// The first keys of a span, so many at most.
    Scan {
        /// Where it begins.
        start: Vec<u8>,
        /// Where it ends.
        end: Vec<u8>,
        /// How many.
        limit: usize,
    },
    /// Keys set, or with `None` removed, in order.
    Write(Vec<(Vec<u8>, Option<Vec<u8>>)>),
}

/// A request under way.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its number; no two requests of a run have the same.
    pub id: u64,
    /// The group that is asked.
    pub group: u64,
    /// What for.
    pub wish: Wish,
    /// Where it stands in the history.
    pub op: OpId,
    /// The node that is asked now.
    pub node: u64,
    /// How often it was asked.
    pub tries: u32,
}

/// One client.
#[derive(Debug)]
pub struct Client {
    /// Its number.
    pub number: u64,
    /// What it waits for.
    pub waits: Option<Request>,
    /// How often it was to do something.
    pub turn: u64,
    asked: u64,
    rng: Rng,
    leaders: Vec<u64>,
    /// Where what it has seen of each key was written.
    seen: BTreeMap<Vec<u8>, u64>,
}

/// All clients.
#[derive(Debug)]
pub struct Load {
    /// What they saw.
    pub history: History,
    /// The clients.
    pub clients: Vec<Client>,
    /// Requests answered with success.
    pub done: u64,
    plan: LoadPlan,
    nodes: u64,
    groups: u64,
    keys: Vec<Vec<Vec<u8>>>,
}

fn place(id: u64) -> usize {
    usize::try_from(id).expect("small")
}

/// The first bytes of the keys where clients leave their mark when a write has no value to carry it.
const MARKER: u64 = 0xffff;

impl Load {
    /// The clients of `plan`, over the ranges of a bootstrap.
    #[must_use]
    pub fn new(plan: LoadPlan, ranges: &RangeMap, nodes: u64, groups: u64, rng: &mut Rng) -> Self {
        let client = |number, rng: &mut Rng| Client {
            number,
            waits: None,
            turn: 0,
            asked: 0,
            rng: Rng::new(rng.next()),
            leaders: vec![0; place(groups + 1)],
            seen: BTreeMap::new(),
        };
        let key = |group: u64, number: u64| {
            let start = (0..ranges.len()).map(|at| ranges.range(at)).find(|(g, _)| *g == group);
            let (_, bounds) = start.expect("every group has a range");
            let mut key = bounds.start;
            key.resize(8, 0);
            key.extend_from_slice(&number.to_le_bytes());
            assert_eq!(ranges.group_of(&key), group, "a key belongs to its group");
            key
        };
        let keys_of = |group| (0..plan.keys).map(|number| key(group, number)).collect();
        Self {
            history: History::new(),
            clients: (0..plan.clients).map(|number| client(number, rng)).collect(),
            done: 0,
            keys: (1..=groups).map(keys_of).collect(),
            plan,
            nodes,
            groups,
        }
    }

    /// The keys of a group.
    #[must_use]
    pub fn keys(&self, group: u64) -> &[Vec<u8>] {
        &self.keys[place(group - 1)]
    }

    /// How long client `client` thinks before its next request.
    pub fn think(&mut self, client: usize) -> u64 {
        let mean = self.plan.think_us;
        self.clients[client].rng.between(mean / 2, mean + mean / 2)
    }

    /// How long a client waits for an answer.
    #[must_use]
    pub const fn patience(&self) -> u64 {
        self.plan.patience_us
    }

    /// Client `client` wants something new.
    pub fn wish(&mut self, client: usize, now: u64) -> &Request {
        let group = self.clients[client].rng.between(1, self.groups);
        self.wish_of(client, group, now, false)
    }

    /// Client `client` wants something of `group`; with `write`, a write.
    pub fn wish_of(&mut self, client: usize, group: u64, now: u64, write: bool) -> &Request {
        let Self { clients, keys, plan, nodes, history, .. } = self;
        let Client { number, waits, asked, rng, leaders, .. } = &mut clients[client];
        *asked += 1;
        let id = (*number + 1) << 40 | *asked;
        let keys = &keys[place(group - 1)];
        let key = keys[rng.place(keys.len())].clone();
        let wish = if !write && rng.chance(plan.reads) {
            if rng.chance(plan.scans) { scan(keys, rng) } else { Wish::Get(key) }
        } else {
            Wish::Write(writes(id, *number, key, keys, plan, rng))
        };
        let op = match &wish {
            Wish::Get(key) => history.invoke(*number, checker::Op::Get(key), now),
            Wish::Scan { start, end, .. } => {
                // A page of one range is one moment.
                let op = checker::Op::Scan { start, end: Some(end), view: View::Whole };
                history.invoke(*number, op, now)
            }
            Wish::Write(writes) => {
                // What only marks the request is nobody's key.
                let seen: Vec<(&[u8], Option<&[u8]>)> = writes
                    .iter()
                    .filter(|(key, _)| keys.contains(key))
                    .map(|(key, value)| (key.as_slice(), value.as_deref()))
                    .collect();
                let op = match seen[..] {
                    [(key, Some(value))] => checker::Op::Put(key, value),
                    [(key, None)] => checker::Op::Delete(key),
                    _ => checker::Op::Batch(&seen),
                };
                history.invoke(*number, op, now)
            }
        };
        let leader = leaders[place(group)];
        // Now and then a client asks somebody who may have led once.
        let node =
            if leader == 0 || rng.chance(plan.astray) { rng.between(1, *nodes) } else { leader };
        waits.insert(Request { id, group, wish, op, node, tries: 0 })
    }

    /// Notes where a group is led, as somebody said.
    pub fn learn(&mut self, client: usize, group: u64, leader: Option<u64>) {
        let Client { leaders, waits, rng, .. } = &mut self.clients[client];
        let node = leader.unwrap_or_else(|| rng.between(1, self.nodes));
        leaders[place(group)] = leader.unwrap_or(0);
        if let Some(request) = waits {
            request.node = node;
            request.tries += 1;
        }
    }

    /// Client `client` has waited in vain for `group`, and does not trust what it knows of its leader any more.
    pub fn forget(&mut self, client: usize, group: u64) {
        self.clients[client].leaders[place(group)] = 0;
    }

    /// The request of client `client` ended; nothing is done when it waits for another one by now.
    pub fn end(&mut self, client: usize, id: u64, outcome: Outcome<'_>, now: u64) {
        let waits = &mut self.clients[client].waits;
        if let Some(request) = waits.take_if(|request| request.id == id) {
            self.done += u64::from(matches!(outcome, Outcome::Done(_)));
            self.history.complete(request.op, outcome, now);
        }
    }

    /// What client `client` has seen of `key` by now was written at `index`, by itself perhaps: it sees nothing older
    /// again. `None` when that holds; else what it had seen.
    pub fn sees(&mut self, client: usize, key: &[u8], index: u64) -> Option<u64> {
        let seen = self.clients[client].seen.entry(key.to_vec()).or_default();
        let before = *seen;
        *seen = before.max(index);
        (index < before).then_some(before)
    }

    /// What a read's answer is in the history.
    #[must_use]
    pub fn read(value: Option<&[u8]>) -> Outcome<'_> {
        Outcome::Done(Reply::Value(value))
    }
}

/// A span of some of these keys, or of all.
fn scan(keys: &[Vec<u8>], rng: &mut Rng) -> Wish {
    let (first, last) = (keys[rng.place(keys.len())].clone(), &keys[keys.len() - 1]);
    let mut end = last.clone();
    end.push(0);
    Wish::Scan { start: first, end, limit: rng.place(keys.len() + 1) + 1 }
}

/// What request `id` writes: its last value begins with its number.
fn writes(
    id: u64,
    client: u64,
    key: Vec<u8>,
    keys: &[Vec<u8>],
    plan: &LoadPlan,
    rng: &mut Rng,
) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let value = |id: u64, rng: &mut Rng| {
        let mut value = id.to_le_bytes().to_vec();
        let len = rng.scale(8, plan.value_bytes.max(8));
        value.resize(place(len).max(8), u8::try_from(id & 0xff).expect("masked"));
        value
    };
    if rng.chance(plan.deletes) {
        let mut marker = key[..8].to_vec();
        marker.extend_from_slice(&MARKER.to_le_bytes());
        marker.extend_from_slice(&client.to_le_bytes());
        return vec![(key, None), (marker, Some(value(id, rng)))];
    }
    let mut all = Vec::new();
    if rng.chance(plan.batches) {
        let more = keys.iter().filter(|other| **other != key);
        for other in more.take(2) {
            all.push((other.clone(), rng.chance(700).then(|| value(id, rng))));
        }
    }
    all.push((key, Some(value(id, rng))));
    all
}

/// The bytes of a write.
#[must_use]
pub fn encode(writes: &[(Vec<u8>, Option<Vec<u8>>)]) -> Vec<u8> {
    let ops = writes.iter().map(|(key, value)| match value {
        Some(value) => Op::Put { key, value },
        None => Op::Delete { key },
    });
    let mut bytes = Vec::new();
    encode_batch(&mut bytes, ops).expect("a few small operations");
    bytes
}
