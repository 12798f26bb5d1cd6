//! Clients that write without pause, follow the leaders, and keep a ledger of every answer.
//!
//! Each client has keys of its own, and every attempt at a key carries a number that is never used again. A write
//! whose outcome is unknown is the last one of its key: so at the end a key holds its last acknowledged number,
//! or the unknown one, and nothing else. A write that was refused as "not applied" must not be found.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use kontiki::Bootstrap;
use kontiki::range::RangeMap;
use kontiki_tools::api::{BatchReport, ErrorReport};
use kontiki_tools::http::{ClientError, Method, ask};

use super::Random;

/// Keys that a client writes again and again.
const KEYS: usize = 3_000;
/// Writes that a client has under way at one time.
const BATCH: usize = 128;
/// How long an answer may take: longer than any election.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is known of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// The last number that was acknowledged.
    pub acknowledged: Option<u64>,
    /// A later number whose outcome is not known.
    pub unknown: Option<u64>,
}

/// What became of the writes of a load.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Acknowledged.
    pub acknowledged: u64,
    /// Certainly not applied.
    pub refused: u64,
    /// Applied or not.
    pub unknown: u64,
}

/// Every key that was ever written, and the sum of all answers.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// By key.
    pub fates: BTreeMap<Vec<u8>, Fate>,
    /// Over all of them.
    pub counts: Counts,
}

/// Clients at work.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Ledger>>,
}

/// The value of the attempt `number` at `key`.
#[must_use]
pub fn value_of(key: &[u8], number: u64) -> Vec<u8> {
    let mut value = number.to_le_bytes().to_vec();
    value.extend_from_slice(key);
    value.resize(64, 0x5a);
    value
}

impl Load {
    /// Sets `clients` clients to work on `groups` groups behind these admin addresses.
    ///
    /// # Panics
    /// When no thread can be started.
    #[must_use]
    pub fn start(admins: &[String], groups: u64, clients: u64, seed: u64) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients = (0..clients)
            .map(|number| {
                let mut client = Client::new(admins.to_vec(), groups, number, seed);
                let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
                let body = move || {
                    while !stop.load(Ordering::Relaxed) {
                        client.turn();
                        acknowledged.fetch_add(client.fresh, Ordering::Relaxed);
                        client.fresh = 0;
                    }
                    client.ledger
                };
                Builder::new().name(format!("client-{number}")).spawn(body).unwrap()
            })
            .collect();
        Self { stop, acknowledged, clients }
    }

    /// How many writes were acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Ends the load when its last answers are in.
    ///
    /// # Panics
    /// When a client got an answer that makes no sense.
    #[must_use]
    pub fn finish(self) -> Ledger {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Ledger::default();
        for client in self.clients {
            let ledger = client.join().expect("a client understood every answer");
            all.counts.acknowledged += ledger.counts.acknowledged;
            all.counts.refused += ledger.counts.refused;
            all.counts.unknown += ledger.counts.unknown;
            all.fates.extend(ledger.fates);
        }
        all
    }
}

/// One client: a closed loop over its own keys.
struct Client {
    admins: Vec<String>,
    ranges: RangeMap,
    /// By group: the position of the node that is thought to lead.
    leaders: BTreeMap<u64, usize>,
    number: u64,
    keys: Vec<Vec<u8>>,
    keys_made: u64,
    attempts: u64,
    random: Random,
    fresh: u64,
    ledger: Ledger,
}

/// How a write was answered.
enum Answered {
    Applied,
    /// Not applied; another node to try, if one was named.
    Refused(Option<usize>),
    Unknown,
}

impl Client {
    fn new(admins: Vec<String>, groups: u64, number: u64, seed: u64) -> Self {
        let bootstrap = Bootstrap::groups(&[1], usize::try_from(groups).unwrap());
        let mut client = Self {
            admins,
            ranges: RangeMap::new(&bootstrap.ranges).unwrap(),
            leaders: BTreeMap::new(),
            number,
            keys: Vec::new(),
            keys_made: 0,
            attempts: 0,
            random: Random::new(seed ^ number.rotate_left(17)),
            fresh: 0,
            ledger: Ledger::default(),
        };
        client.keys = (0..KEYS).map(|_| client.new_key()).collect();
        client
    }

    /// A key that nobody else has, anywhere in the key space.
    fn new_key(&mut self) -> Vec<u8> {
        self.keys_made += 1;
        let mut key = self.random.bytes(6);
        key.extend_from_slice(&self.number.to_le_bytes()[..2]);
        key.extend_from_slice(&self.keys_made.to_le_bytes());
        key
    }

    /// Writes to a batch of keys, node by node.
    fn turn(&mut self) {
        let start = self.random.at(KEYS);
        let mut by_node: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for place in (0..BATCH).map(|step| (start + step) % KEYS) {
            let group = self.ranges.group_of(&self.keys[place]);
            by_node.entry(self.leaders.get(&group).copied().unwrap_or(0)).or_default().push(place);
        }
        let mut moved = false;
        for (node, places) in by_node {
            let numbers: Vec<u64> = places.iter().map(|_| self.next_attempt()).collect();
            let answers = self.write(node, &places, &numbers);
            for ((place, number), answer) in places.into_iter().zip(numbers).zip(answers) {
                moved |= matches!(answer, Answered::Applied);
                self.book(node, place, number, answer);
            }
        }
        if !moved {
            // Nobody leads any of these keys just now.
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    fn next_attempt(&mut self) -> u64 {
        self.attempts += 1;
        self.attempts
    }

    fn write(&self, node: usize, places: &[usize], numbers: &[u64]) -> Vec<Answered> {
        let mut body = Vec::new();
        for (&place, &number) in places.iter().zip(numbers) {
            let (key, value) = (&self.keys[place], value_of(&self.keys[place], number));
            for bytes in [key, &value] {
                body.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_le_bytes());
            }
            body.extend_from_slice(key);
            body.extend_from_slice(&value);
        }
        let all = |answer: fn() -> Answered| places.iter().map(|_| answer()).collect();
        match ask(&self.admins[node], Method::Post, "/v1/kv/batch", &body, PATIENCE) {
            Err(ClientError::Connect(_) | ClientError::Resolve(_)) => {
                all(|| Answered::Refused(None))
            }
            Err(_) => all(|| Answered::Unknown),
            Ok(answer) => match serde_json::from_slice::<BatchReport>(&answer.body) {
                Ok(report) => of_report(&report, places.len()),
                Err(_) => {
                    let report: ErrorReport = serde_json::from_slice(&answer.body).unwrap();
                    // Without an outcome it is no answer of the engine's: the node is starting.
                    let refused = matches!(report.outcome.as_deref(), None | Some("not_applied"));
                    assert!(answer.status == 503, "{}: {report:?}", answer.status);
                    if refused {
                        all(|| Answered::Refused(None))
                    } else {
                        all(|| Answered::Unknown)
                    }
                }
            },
        }
    }

    fn book(&mut self, node: usize, place: usize, number: u64, answer: Answered) {
        let group = self.ranges.group_of(&self.keys[place]);
        let next = (node + 1) % self.admins.len();
        let counts = &mut self.ledger.counts;
        match answer {
            Answered::Applied => {
                counts.acknowledged += 1;
                self.fresh += 1;
                self.leaders.insert(group, node);
                self.ledger.fates.entry(self.keys[place].clone()).or_default().acknowledged =
                    Some(number);
            }
            Answered::Refused(leader) => {
                counts.refused += 1;
                self.leaders.insert(group, leader.unwrap_or(next));
            }
            Answered::Unknown => {
                counts.unknown += 1;
                self.leaders.insert(group, next);
                let key = self.new_key();
                let key = std::mem::replace(&mut self.keys[place], key);
                self.ledger.fates.entry(key).or_default().unknown = Some(number);
            }
        }
    }
}

fn of_report(report: &BatchReport, count: usize) -> Vec<Answered> {
    let mut answers: Vec<Answered> = (0..count).map(|_| Answered::Applied).collect();
    let mut failed = 0;
    for error in &report.errors {
        let leader = error.report.leader.map(|node| usize::try_from(node - 1).unwrap());
        for &at in &error.at {
            failed += 1;
            answers[usize::try_from(at).unwrap()] = match error.report.outcome.as_deref() {
                Some("not_applied") => Answered::Refused(leader),
                Some("unknown") => Answered::Unknown,
                other => panic!("an outcome {other:?}: {error:?}"),
            };
        }
    }
    assert_eq!(report.applied + failed, count as u64, "each write is answered once: {report:?}");
    answers
}
