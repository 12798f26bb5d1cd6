//! One measured run against nodes in other processes, through their admin addresses.
//!
//! Each client has a thread, a connection per node, keys of its own in one group, and one batch of puts under way,
//! of as many as the pipeline is deep. Because nobody else writes its keys, the last acknowledged write of each
//! is known without log indexes, also when nodes are killed meanwhile: a batch whose connection broke may be
//! there or not, everything acknowledged must be.
//!
//! Deliberately absent: figures of the nodes' processes (processor time, disk, allocations); those are theirs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kontiki::range::RangeMap;
use kontiki::status::GroupStatus;
use serde::Deserialize;

use crate::cli::{Durability, Loop, Options};
use crate::clock::Clock;
use crate::driver::ledger::LastWrite;
use crate::driver::{Phase, Shared, Troubles};
use crate::environment::Environment;
use crate::error::BenchError;
use crate::histogram::Recorder;
use crate::http::{Client, HttpError, hex};
use crate::measure::{Snapshot, Window};
use crate::report::{Report, Results};
use crate::verify::{Verdict, key_fault};
use crate::workload::{KeySpace, Kind, Op, Workload, active_groups};

/// How long a refused or unreachable request waits before it is repeated.
const RETRY_WAIT: Duration = Duration::from_millis(5);

/// How long reading back one key may take, elections and restarts included.
const READ_BACK_WAIT: Duration = Duration::from_secs(30);

/// How long the replicas may take to catch up.
const SETTLE_WAIT: Duration = Duration::from_secs(60);

/// The nodes, and what is written to them.
#[derive(Debug)]
struct Remote<'a> {
    /// With the durability that the nodes report.
    options: Options,
    endpoints: &'a [String],
    /// Node ids by place of the endpoint.
    nodes: Vec<u64>,
    /// Active groups by slot, and the place of their leader when the run begins.
    active: Vec<u64>,
    leaders: Vec<usize>,
    keys: KeySpace,
    workload: Workload,
    pipeline: u32,
}

/// The answer to a batch, whatever its status.
#[derive(Debug, Default, Deserialize)]
struct BatchAnswer {
    #[serde(default)]
    applied: u64,
    #[serde(default)]
    errors: Vec<BatchError>,
}

/// Writes of a batch that failed alike.
#[derive(Debug, Deserialize)]
struct BatchError {
    /// Their places in the batch.
    at: Vec<usize>,
    #[serde(flatten)]
    refusal: Refusal,
}

/// Why something was not done.
#[derive(Clone, Debug, Default, Deserialize)]
struct Refusal {
    outcome: Option<String>,
    leader: Option<u64>,
}

impl Refusal {
    /// Whether it was certainly not applied, so that it may be repeated.
    fn is_harmless(&self) -> bool {
        self.outcome.as_deref() == Some("not_applied")
    }
}

/// What a node says of itself, as far as it matters here.
#[derive(Debug, Deserialize)]
struct NodeReport {
    node: u64,
    #[serde(default)]
    machine: Option<String>,
    #[serde(default)]
    durability: Option<String>,
}

/// What became of a request.
enum Fate {
    Done,
    NotFound,
    /// Certainly not applied: repeat it, at this place if known.
    Repeat(Option<usize>),
    /// It may be applied.
    Unknown,
}

/// What one client brings home.
#[derive(Debug)]
struct ClientOutcome {
    recorder: Recorder,
    troubles: Troubles,
    verdict: Verdict,
    reads_found: u64,
}

/// Runs `options` against `endpoints`.
pub(crate) fn run(
    options: &Options,
    endpoints: &[String],
    command: Vec<String>,
) -> Result<Report, BenchError> {
    let remote = Remote::connect(options, endpoints)?;
    let shared = Shared::new(options.clients as usize);
    let started = crate::clock::calendar();
    let (window, outcomes) = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for client in 0..options.clients {
            let (remote, shared) = (&remote, &shared);
            let named = std::thread::Builder::new().name(format!("client-{client}"));
            match named.spawn_scoped(scope, move || RemoteClient::new(remote, shared, client).run())
            {
                Ok(handle) => threads.push(handle),
                Err(e) => {
                    shared.begin(Phase::Abort);
                    return Err(BenchError::io("a client's thread")(e));
                }
            }
        }
        sleep_until(&shared.clock, options.warmup);
        shared.begin(Phase::Measure);
        let start = Snapshot::new(&shared, remote.counters());
        sleep_until(&shared.clock, options.warmup + options.duration);
        let end = Snapshot::new(&shared, remote.counters());
        shared.begin(Phase::Drain);
        let outcomes: Vec<ClientOutcome> =
            threads.into_iter().map(|t| t.join().expect("a client does not panic")).collect();
        Ok((Window::between(&start, &end), outcomes))
    })?;
    let results = remote.gather(window, outcomes);
    if let Some(path) = &options.hdr {
        results.latencies.write_log(path, started + options.warmup)?;
    }
    let environment = Environment::read(Path::new("."));
    Ok(Report::new(&remote.options, &results, environment, command))
}

fn sleep_until(clock: &Clock, end: Duration) {
    while let Some(left) = end.checked_sub(clock.elapsed()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

fn parse<'a, T: Deserialize<'a>>(endpoint: &str, body: &'a [u8]) -> Result<T, BenchError> {
    serde_json::from_slice(body)
        .map_err(|e| BenchError::Protocol { endpoint: endpoint.to_owned(), why: e.to_string() })
}

/// Asks an endpoint for a document; only a 200 counts.
fn fetch<T: for<'a> Deserialize<'a>>(endpoint: &str, path: &str) -> Result<T, BenchError> {
    let mut client = Client::new(endpoint);
    let answer = client.get(path).map_err(|e| BenchError::Protocol {
        endpoint: endpoint.to_owned(),
        why: format!("{path}: {e}"),
    })?;
    if answer.status != 200 {
        let why = format!("{path}: status {}", answer.status);
        return Err(BenchError::Protocol { endpoint: endpoint.to_owned(), why });
    }
    parse(endpoint, answer.body)
}

/// A list of groups, plain or wrapped in an object.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Groups {
    Plain(Vec<GroupStatus>),
    Wrapped { groups: Vec<GroupStatus> },
}

fn groups(endpoint: &str) -> Result<Vec<GroupStatus>, BenchError> {
    let (Groups::Plain(groups) | Groups::Wrapped { groups }) = fetch(endpoint, "/v1/groups")?;
    Ok(groups)
}

impl<'a> Remote<'a> {
    fn connect(options: &Options, endpoints: &'a [String]) -> Result<Self, BenchError> {
        let mut nodes = Vec::new();
        let mut durability = Durability::Fsync;
        for endpoint in endpoints {
            let report: NodeReport = fetch(endpoint, "/v1/status")?;
            if report.machine.as_deref().is_some_and(|machine| machine != "kv") {
                let why = "its machine is not kv".to_owned();
                return Err(BenchError::Protocol { endpoint: endpoint.clone(), why });
            }
            durability = report.durability.as_deref().map_or(durability, weaker(durability));
            nodes.push(report.node);
        }
        let statuses = groups(&endpoints[0])?;
        let all: Vec<u64> = statuses.iter().map(|status| status.group).collect();
        if all.len() as u64 != options.groups {
            let (found, asked) = (all.len(), options.groups);
            return Err(BenchError::Usage(format!(
                "the nodes have {found} groups: say --groups {found}, not {asked}"
            )));
        }
        let active = active_groups(&all, options.active_groups);
        let leader = |group: &u64| {
            let status = statuses.iter().find(|status| status.group == *group);
            let leader = status.and_then(|status| status.leader);
            nodes.iter().position(|&node| Some(node) == leader).unwrap_or(0)
        };
        let leaders = active.iter().map(leader).collect();
        let ranges = even_ranges(all.len())?;
        let slot_of = |key: &[u8]| active.binary_search(&ranges.group_of(key)).ok();
        let (seed, size) = (options.seed, options.key_size);
        let keys = KeySpace::new(seed, options.keys, size, active.len(), slot_of);
        let workload = Workload::new(seed, options.mix, options.value_size);
        let pipeline = match options.pace {
            Loop::Closed { pipeline } => pipeline,
            Loop::Open { .. } => unreachable!("the flags allow a rate with --embedded only"),
        };
        let options = Options { durability, ..options.clone() };
        Ok(Self { options, endpoints, nodes, active, leaders, keys, workload, pipeline })
    }

    /// The nodes' counters, as far as they tell; the sums over all of them.
    fn counters(&self) -> BTreeMap<String, u64> {
        let mut counters = BTreeMap::new();
        for endpoint in self.endpoints {
            let mut client = Client::new(endpoint);
            let Ok(answer) = client.get("/metrics") else { continue };
            for (name, value) in parse_metrics(&String::from_utf8_lossy(answer.body)) {
                *counters.entry(name).or_default() += value;
            }
        }
        counters
    }

    fn gather(&self, window: Window, outcomes: Vec<ClientOutcome>) -> Results {
        let mut latencies = Recorder::new(self.options.hdr.is_some());
        let (mut troubles, mut verdict, mut reads_found) =
            (Troubles::default(), Verdict::default(), 0);
        for outcome in outcomes {
            latencies.merge(outcome.recorder);
            troubles.add(&outcome.troubles);
            reads_found += outcome.reads_found;
            verdict.writes_checked += outcome.verdict.writes_checked;
            verdict.faults += outcome.verdict.faults;
            verdict.first_faults.extend(outcome.verdict.first_faults);
        }
        verdict.first_faults.truncate(10);
        self.check_replicas(&mut verdict);
        verdict.exact = troubles.errors() == 0;
        verdict.verified = verdict.faults == 0;
        let nodes = self.endpoints.len();
        Results { nodes, window, latencies, troubles, reads_found, verdict, embedded: false }
    }

    /// Every replica must come to have applied what its leader has.
    fn check_replicas(&self, verdict: &mut Verdict) {
        let clock = Clock::new();
        loop {
            let fault = match self.behind() {
                Ok(None) => {
                    verdict.groups_checked = self.options.groups;
                    return;
                }
                Ok(Some(behind)) => behind,
                Err(e) => e.to_string(),
            };
            if clock.elapsed() > SETTLE_WAIT {
                verdict.fault(|| format!("the replicas never caught up: {fault}"));
                return;
            }
            std::thread::park_timeout(RETRY_WAIT * 10);
        }
    }

    fn behind(&self) -> Result<Option<String>, BenchError> {
        let all = self.endpoints.iter().map(|e| groups(e)).collect::<Result<Vec<_>, _>>()?;
        for at in 0..all[0].len() {
            let of_group = || all.iter().filter_map(|node| node.get(at));
            let leader = of_group().filter(|s| s.role == "leader").max_by_key(|s| s.term);
            let group = all[0][at].group;
            let Some(leader) = leader else {
                return Ok(Some(format!("group {group} has no leader")));
            };
            if let Some(s) = of_group().find(|s| s.applied < leader.last) {
                let (node, applied, last) = (s.node, s.applied, leader.last);
                return Ok(Some(format!(
                    "group {group} on node {node} has applied {applied} of {last}"
                )));
            }
        }
        Ok(None)
    }
}

/// The weaker of a durability and the one a node reports.
fn weaker(durability: Durability) -> impl FnOnce(&str) -> Durability {
    move |reported| match (reported, durability) {
        ("none", _) | (_, Durability::None) => Durability::None,
        ("os", _) | (_, Durability::Os) => Durability::Os,
        _ => Durability::Fsync,
    }
}

/// The ranges of a store that was split evenly into `count`.
fn even_ranges(count: usize) -> Result<RangeMap, BenchError> {
    let refused = |e: kontiki::range::RangeError| BenchError::Usage(format!("--groups: {e}"));
    RangeMap::new(&kontiki::range::split_evenly(count, 1).map_err(refused)?).map_err(refused)
}

/// Counters of a Prometheus text, by the engine's names: `kontiki_NAME` or `kontiki_NAME_total`, whatever the labels.
fn parse_metrics(text: &str) -> Vec<(String, u64)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            let name = name.split('{').next()?.trim().strip_prefix("kontiki_")?;
            let name = name.strip_suffix("_total").unwrap_or(name);
            let whole = value.split('.').next()?;
            Some((name.to_owned(), whole.parse().ok()?))
        })
        .collect()
}

/// One client: its connections, its keys, and what was acknowledged of them.
struct RemoteClient<'a> {
    remote: &'a Remote<'a>,
    shared: &'a Shared,
    client: u32,
    connections: Vec<Client>,
    leader: usize,
    /// Its keys by number, and the last write of each.
    keys: Vec<u32>,
    last: Vec<LastWrite>,
    sequence: u32,
    done: (u64, u64),
    outcome: ClientOutcome,
}

impl<'a> RemoteClient<'a> {
    fn new(remote: &'a Remote<'a>, shared: &'a Shared, client: u32) -> Self {
        let slots = remote.active.len();
        let slot = client as usize % slots;
        let (nth, count) =
            (client as usize / slots, (remote.options.clients as usize - slot).div_ceil(slots));
        let of_slot = remote.keys.of_slot(slot).iter().skip(nth).step_by(count);
        let keys: Vec<u32> = of_slot.copied().collect();
        let recorder = Recorder::new(remote.options.hdr.is_some());
        let (troubles, verdict) = (Troubles::default(), Verdict::default());
        Self {
            remote,
            shared,
            client,
            connections: remote.endpoints.iter().map(|endpoint| Client::new(endpoint)).collect(),
            leader: remote.leaders[slot],
            last: vec![LastWrite::default(); keys.len()],
            keys,
            sequence: 0,
            done: (0, 0),
            outcome: ClientOutcome { recorder, troubles, verdict, reads_found: 0 },
        }
    }

    fn run(mut self) -> ClientOutcome {
        let (mut batch, mut body) = (Vec::new(), Vec::new());
        while !self.keys.is_empty() && matches!(self.shared.phase(), Phase::Warmup | Phase::Measure)
        {
            let gets = self.next_batch(&mut batch, &mut body);
            if !batch.is_empty() {
                self.put(&batch, &body);
            }
            for key in gets {
                self.get(key);
            }
            let tally = &self.shared.tallies[self.client as usize];
            tally.writes.store(self.done.0, Ordering::Relaxed);
            tally.reads.store(self.done.1, Ordering::Relaxed);
        }
        if self.shared.phase() != Phase::Abort {
            self.read_back();
        }
        self.outcome
    }

    /// Draws the next requests: puts into `batch` and `body`, each key once; the keys of the gets are returned.
    fn next_batch(&mut self, batch: &mut Vec<(usize, Op)>, body: &mut Vec<u8>) -> Vec<usize> {
        let remote = self.remote;
        let count = u32::try_from(self.keys.len()).expect("keys are numbered by u32");
        let mut gets = Vec::new();
        batch.clear();
        body.clear();
        for _ in 0..remote.pipeline {
            self.sequence += 1;
            let op = Op { client: self.client, sequence: self.sequence };
            let at = remote.workload.key(op, count) as usize;
            if remote.workload.kind(op) == Kind::Get {
                gets.push(at);
            } else if !batch.iter().any(|&(other, _)| other == at) {
                batch.push((at, op));
                let lengths = [remote.options.key_size, remote.options.value_size];
                for length in lengths {
                    let length = u32::try_from(length).expect("sizes are checked with the flags");
                    body.extend_from_slice(&length.to_le_bytes());
                }
                remote.keys.write_key(self.keys[at], body);
                remote.workload.write_value(op, body);
            }
        }
        gets
    }

    fn put(&mut self, batch: &[(usize, Op)], body: &[u8]) {
        let start = self.shared.clock.micros();
        let mut answered = BatchAnswer::default();
        let fate = self.until_decided(|client, nodes| match client.post("/v1/kv/batch", body) {
            Ok(answer) => {
                answered = serde_json::from_slice(answer.body).unwrap_or_default();
                let first = answered.errors.first().map(|error| error.refusal.clone());
                match first {
                    None if answer.status == 200 => Fate::Done,
                    Some(_) if answered.applied > 0 => Fate::Done,
                    Some(refusal) => refusal_fate(&refusal, nodes),
                    None => refused(answer.status, answer.body, nodes),
                }
            }
            Err(HttpError::Connect(_)) => Fate::Repeat(None),
            Err(HttpError::Exchange(_)) => Fate::Unknown,
        });
        let decided = matches!(fate, Fate::Done);
        let mut done = 0;
        for (place, &(at, op)) in batch.iter().enumerate() {
            let last = &mut self.last[at];
            let error = answered.errors.iter().find(|error| error.at.contains(&place));
            if decided && error.is_none() {
                *last = LastWrite { index: u64::from(op.sequence), op, blurred: false };
                done += 1;
            } else if decided && error.is_some_and(|error| error.refusal.is_harmless()) {
                self.outcome.troubles.busy += 1;
            } else {
                last.blurred = true;
                self.outcome.troubles.stopped += 1;
            }
        }
        self.done.0 += done;
        if done > 0 {
            self.record(start, done);
        }
    }

    fn get(&mut self, at: usize) {
        let start = self.shared.clock.micros();
        match self.fetch_key(at).0 {
            Fate::Done => self.outcome.reads_found += 1,
            Fate::NotFound => {}
            Fate::Repeat(_) | Fate::Unknown => {
                self.outcome.troubles.stopped += 1;
                return;
            }
        }
        self.done.1 += 1;
        self.record(start, 1);
    }

    /// Reads a key through its leader.
    fn fetch_key(&mut self, at: usize) -> (Fate, Option<Vec<u8>>) {
        let mut key = Vec::new();
        self.remote.keys.write_key(self.keys[at], &mut key);
        let path = format!("/v1/kv/get?key={}", hex(&key));
        let mut value = None;
        let fate = self.until_decided(|client, nodes| match client.get(&path) {
            Ok(answer) if answer.status == 200 => {
                value = Some(answer.body.to_vec());
                Fate::Done
            }
            Ok(answer) if answer.status == 404 => Fate::NotFound,
            Ok(answer) => match refused(answer.status, answer.body, nodes) {
                // A read does no harm when it is done twice.
                Fate::Unknown if answer.status == 503 => Fate::Repeat(None),
                fate => fate,
            },
            Err(_) => Fate::Repeat(None),
        });
        (fate, value)
    }

    /// Repeats a request until it is decided, or hopeless.
    fn until_decided(&mut self, mut attempt: impl FnMut(&mut Client, &[u64]) -> Fate) -> Fate {
        let clock = Clock::new();
        loop {
            let fate = attempt(&mut self.connections[self.leader], &self.remote.nodes);
            let Fate::Repeat(hint) = fate else { return fate };
            self.outcome.troubles.not_leader += 1;
            if clock.elapsed() > READ_BACK_WAIT || self.shared.phase() == Phase::Abort {
                return Fate::Unknown;
            }
            let next = (self.leader + 1) % self.connections.len();
            if hint.is_none_or(|hint| hint == self.leader) {
                std::thread::park_timeout(RETRY_WAIT);
            }
            self.leader = hint.unwrap_or(next);
        }
    }

    fn record(&mut self, start: u64, count: u64) {
        if self.shared.phase() == Phase::Measure {
            let now = self.shared.clock.micros();
            let (window, _) = self.shared.window();
            self.outcome.recorder.record(now - start, count, now.saturating_sub(window));
        }
    }

    /// Reads back every key that was acknowledged.
    fn read_back(&mut self) {
        for at in 0..self.keys.len() {
            let last = self.last[at];
            if last.index == 0 {
                continue;
            }
            self.outcome.verdict.writes_checked += 1;
            let (fate, value) = self.fetch_key(at);
            let fault = match fate {
                Fate::Repeat(_) | Fate::Unknown => Some("cannot be read".to_owned()),
                Fate::Done | Fate::NotFound => {
                    let older =
                        value.as_deref().and_then(Op::of_value).is_some_and(|op| op < last.op);
                    let fault =
                        key_fault(&self.remote.workload, &last, value.as_deref(), &mut Vec::new());
                    fault.or_else(|| older.then(|| format!("is older than {:?}", last.op)))
                }
            };
            if let Some(why) = fault {
                let key = self.keys[at];
                self.outcome.verdict.fault(|| format!("key {key}: {why}"));
            }
        }
    }
}

/// What an answer that is not a success means.
fn refused(status: u16, body: &[u8], nodes: &[u64]) -> Fate {
    let refusal: Refusal = serde_json::from_slice(body).unwrap_or_default();
    match (status, refusal.outcome.as_deref()) {
        (421, _) | (429 | 503, Some("not_applied")) => repeat(&refusal, nodes),
        _ => Fate::Unknown,
    }
}

fn refusal_fate(refusal: &Refusal, nodes: &[u64]) -> Fate {
    if refusal.is_harmless() { repeat(refusal, nodes) } else { Fate::Unknown }
}

fn repeat(refusal: &Refusal, nodes: &[u64]) -> Fate {
    Fate::Repeat(refusal.leader.and_then(|id| nodes.iter().position(|&node| node == id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_whatever_their_labels() {
        let text = "# HELP kontiki_syncs Synced writes.\n# TYPE kontiki_syncs counter\n\
                    kontiki_syncs 17\nkontiki_messages_out_total{node=\"1\"} 5\nother 9\nkontiki_x nan\n";
        let expected = [("syncs".to_owned(), 17), ("messages_out".to_owned(), 5)];
        assert_eq!(parse_metrics(text), expected);
    }

    #[test]
    fn refusals_say_whether_to_repeat_and_where() {
        let at = |fate| match fate {
            Fate::Repeat(at) => Some(at),
            _ => None,
        };
        let nodes = [5, 7];
        let leader = br#"{"error":"","outcome":"not_applied","leader":7}"#;
        assert_eq!(at(refused(421, leader, &nodes)), Some(Some(1)));
        assert_eq!(at(refused(421, br#"{"leader":null}"#, &nodes)), Some(None));
        assert_eq!(at(refused(503, br#"{"outcome":"not_applied"}"#, &nodes)), Some(None));
        assert_eq!(at(refused(503, br#"{"outcome":"unknown"}"#, &nodes)), None);
        assert_eq!(at(refused(500, b"", &nodes)), None);
    }

    #[test]
    fn an_answer_to_a_batch_tells_which_failed_and_how() {
        let text = r#"{"applied":1,"errors":[{"at":[0,2],"error":"x","outcome":"unknown"}]}"#;
        let answer: BatchAnswer = serde_json::from_str(text).unwrap();
        assert_eq!((answer.applied, &answer.errors[0].at), (1, &vec![0, 2]));
        assert!(!answer.errors[0].refusal.is_harmless());
    }

    #[test]
    fn a_report_says_the_weakest_durability() {
        assert_eq!(weaker(Durability::Fsync)("fsync"), Durability::Fsync);
        assert_eq!(weaker(Durability::Fsync)("os"), Durability::Os);
        assert_eq!(weaker(Durability::Os)("none"), Durability::None);
        assert_eq!(weaker(Durability::None)("fsync"), Durability::None);
    }
}
