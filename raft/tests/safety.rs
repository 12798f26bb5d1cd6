//! Random histories: elect, deliver, duplicate, drop, reorder, crash, restart, propose, read,
//! persist, compact, in any order. The oracle checks the safety properties after every step; at
//! the end the network is mended and the group must get on.
//!
//! A failing history is named by its seed: `KONTIKI_SEED=n cargo test -p kontiki-raft --test safety`
//! runs that one alone, and `KONTIKI_SEEDS=n` runs that many.

#![expect(clippy::unwrap_used, reason = "helpers of tests, though not inside of one")]

mod common;

use common::{Cluster, id};
use kontiki_raft::Time;

/// xorshift64*: the histories must not change when some library does.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        let mut dice = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        dice.below(2);
        dice
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn slot(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap()
    }

    fn pick<const N: usize>(&mut self, choices: [u64; N]) -> u64 {
        choices[self.slot(N)]
    }
}

/// What one history is made of, in weights, so that histories differ in kind.
struct Weather {
    drop: u64,
    duplicate: u64,
    reorder: u64,
    crash: u64,
    clock: u64,
    unrest: u64,
}

impl Weather {
    fn draw(dice: &mut Dice) -> Self {
        Self {
            drop: dice.pick([0, 0, 5, 30]),
            duplicate: dice.pick([0, 5, 20]),
            reorder: dice.pick([0, 20, 80]),
            crash: dice.pick([0, 1, 3]),
            clock: dice.pick([2, 10, 40]),
            unrest: dice.pick([5, 40, 90]),
        }
    }
}

fn step(cluster: &mut Cluster, dice: &mut Dice, weather: &Weather) {
    let count = cluster.nodes.len() as u64;
    let number = 1 + dice.below(count);
    if !cluster.running(number) {
        if dice.chance(10) {
            cluster.restart(number);
        }
        return;
    }
    match dice.below(100) {
        0..35 => deliver(cluster, dice, weather),
        35..50 => {
            cluster.persist(number);
        }
        50..60 => {
            cluster.write(number);
        }
        60..70 => cluster.send_messages(number),
        70..80 => {
            cluster.extent_max = 1 + dice.below(4);
            let peer = 1 + dice.below(count);
            if peer != number {
                cluster.send_append(number, peer);
            }
        }
        80..84 => {
            let compact = dice.chance(30);
            cluster.apply(number, compact);
        }
        84..90 => {
            let leader = cluster.leader().unwrap_or(number);
            let count = u32::try_from(1 + dice.below(3)).unwrap();
            cluster.propose(leader, count);
        }
        90..92 => {
            cluster.read(number);
        }
        92..94 => cluster.send_commits(number),
        94..97 if dice.chance(weather.clock) => {
            cluster.now = Time(cluster.now.0 + dice.below(60_000));
            cluster.deadline(number);
        }
        97 if dice.chance(10) => {
            let (now, target) = (cluster.now, id(1 + dice.below(count)));
            cluster.raft_mut(number).transfer(now, target).ok();
            cluster.after_input(number);
        }
        98 if dice.chance(weather.crash * 10) => {
            let survived = dice.slot(4);
            cluster.crash(number, survived);
        }
        99 if dice.chance(weather.unrest) => {
            // Nobody has heard its leader for a while, so votes are given.
            cluster.now = Time(cluster.now.0 + 100_000);
            cluster.campaign(number);
        }
        _ => cluster.deadline(number),
    }
}

fn deliver(cluster: &mut Cluster, dice: &mut Dice, weather: &Weather) {
    if cluster.net.is_empty() {
        return;
    }
    let slot = if dice.chance(weather.reorder) { dice.slot(cluster.net.len()) } else { 0 };
    let packet = cluster.net.remove(slot).expect("the slot is in the queue");
    if dice.chance(weather.duplicate) {
        cluster.net.push_back(packet.clone());
    }
    if dice.chance(weather.drop) {
        // A connection that loses something is a connection that broke.
        let (from, to) = (packet.from(), packet.to());
        if cluster.running(from.get()) {
            let now = cluster.now;
            cluster.raft_mut(from.get()).on_peer_down(now, to);
            cluster.raft_mut(from.get()).on_peer_up(now, to);
        }
        return;
    }
    cluster.deliver(packet);
}

fn history(seed: u64) -> (u64, u64, u64) {
    let mut dice = Dice::new(seed);
    let count = dice.pick([1, 2, 3, 3, 3, 5, 5, 7]);
    let mut cluster = Cluster::new(count, seed);
    let weather = Weather::draw(&mut dice);
    for _ in 0..4_000 {
        step(&mut cluster, &mut dice, &weather);
        while cluster.net.len() > 200 {
            cluster.net.pop_front();
            cluster.heal();
        }
    }
    // The weather clears: everybody runs, every connection is new, and time passes.
    for number in cluster.numbers() {
        if !cluster.running(number) {
            cluster.restart(number);
        }
    }
    cluster.net.clear();
    cluster.heal();
    cluster.extent_max = 64;
    cluster.pass(1_000_000);
    let leader = cluster.leader().expect("a leader is found when all is well");
    let last = cluster.propose(leader, 1).expect("the leader takes proposals").last;
    cluster.pass(50_000);
    for number in cluster.numbers() {
        assert_eq!(cluster.raft(number).committed(), last, "replica {number} lags");
        assert_eq!(cluster.node(number).disk.applied, last, "replica {number} lags");
        assert_eq!(cluster.oracle.reads_waiting(id(number)), 0, "a read has no answer");
    }
    let status = cluster.raft(leader).status();
    assert_eq!(status.uncommitted_bytes, 0, "bytes leak");
    assert!(cluster.raft(leader).progress().all(|peer| peer.inflight_bytes == 0), "bytes leak");
    (
        cluster.oracle.elections,
        cluster.oracle.committed.len() as u64,
        cluster.oracle.reads_confirmed,
    )
}

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn random_histories_keep_every_property() {
    if let Some(seed) = number_from("KONTIKI_SEED") {
        println!("{:?}", history(seed));
        return;
    }
    let seeds = number_from("KONTIKI_SEEDS").unwrap_or(300);
    let mut sum = (0, 0, 0);
    for seed in 0..seeds {
        let result = std::panic::catch_unwind(|| history(seed));
        let Ok((elections, commits, reads)) = result else { panic!("KONTIKI_SEED={seed} fails") };
        sum = (sum.0 + elections, sum.1 + commits, sum.2 + reads);
    }
    println!("{seeds} histories: {} elections, {} commits, {} reads", sum.0, sum.1, sum.2);
    // A history in which nothing happens proves nothing.
    assert!(sum.0 > 3 * seeds && sum.1 > 20 * seeds && sum.2 > seeds);
}

#[test]
fn the_same_seed_gives_the_same_history() {
    assert_eq!(history(7), history(7));
}
