//! The real support module under a model checker: every order of beats, of time passing by clocks of different
//! rates, of lives that end and begin again.
//!
//! True time passes in small steps; the rates of the clocks are the slowest and the fastest that are allowed. A beat
//! that was sent may come at any time after, more than once, or never. After every event the observer checks that
//! whoever is counted on keeps the very promise that is counted on, or cannot vote. Times are chosen so that a lease
//! and the promise that it rests on end within one step of each other.
//!
//! `cargo test --release -p kontiki --no-default-features --test support_model -- --nocapture` prints the counts;
//! `KONTIKI_MODEL=nightly` selects the large sizes.
//!
//! Deliberately absent: the groups. What they make of a promise is theirs to check.

#[path = "../support_world/mod.rs"]
mod support_world;

use std::time::Instant;

use kontiki::support::{Beat, PairStatus, SupportConfig};
use stateright::{Checker, Model, Property};
use support_world::{Mistake, Node, Seen, check};

/// Beats of 10 ms and promises of 30: a lease is 19,999 us of a clock at 0.8, which is just below 25,000 us of true
/// time, and that is 30,000 us of a clock at 1.2: two steps.
const CONFIG: SupportConfig =
    SupportConfig { beat_us: 10_000, promise_us: 30_000, drift_percent: 20 };
const STEP_US: u64 = 12_500;

/// What may happen, and how often.
#[derive(Clone, Debug)]
struct Setup {
    name: &'static str,
    /// One rate per node, in percent; two make it the checker's choice at every step.
    rates: &'static [&'static [u64]],
    /// Who beats whom.
    talks: &'static [(u64, u64)],
    /// Steps of true time.
    steps: u8,
    /// Beats of each direction.
    beats: u64,
    deaths: u8,
    duplicates: u8,
    wrong: Option<Mistake>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Packet {
    from: u64,
    to: u64,
    beat: Beat,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    nodes: Vec<Node>,
    /// On their way, in the order of direction and sequence: any may come next.
    packets: Vec<Packet>,
    sent: Vec<u64>,
    steps: u8,
    deaths: u8,
    duplicates: u8,
    broken: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Action {
    /// Time passes; the rates by their place in the setup.
    Pass {
        rates: u8,
    },
    Beat {
        way: usize,
    },
    /// A packet arrives, and goes on existing if it is to come again.
    Arrive {
        at: usize,
        again: bool,
    },
    Die {
        node: usize,
    },
    Rise {
        node: usize,
    },
}

impl Setup {
    fn count(&self) -> u64 {
        self.rates.len() as u64
    }

    /// How many choices of rates there are in a step.
    fn choices(&self) -> u8 {
        let choices: usize = self.rates.iter().map(|rates| rates.len()).product();
        u8::try_from(choices).expect("few")
    }

    fn pass(&self, state: &mut State, mut choice: u8) {
        for (node, rates) in state.nodes.iter_mut().zip(self.rates) {
            let of = u8::try_from(rates.len()).expect("few");
            node.pass(STEP_US, rates[usize::from(choice % of)]);
            choice /= of;
        }
        state.steps += 1;
    }
}

impl Model for Setup {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        // Clocks that have nothing to do with each other.
        let nodes = (1..=self.count())
            .map(|id| Node::new(CONFIG, id, self.count(), 1_000_000 * (self.count() + 1 - id)));
        vec![State {
            nodes: nodes.collect(),
            packets: Vec::new(),
            sent: vec![0; self.talks.len()],
            steps: 0,
            deaths: 0,
            duplicates: 0,
            broken: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.broken.is_some() {
            return;
        }
        if state.steps < self.steps {
            actions.extend((0..self.choices()).map(|rates| Action::Pass { rates }));
        }
        for (way, (from, _)) in self.talks.iter().enumerate() {
            let up = state.nodes[place(*from)].support.is_some();
            if up && state.sent[way] < self.beats {
                actions.push(Action::Beat { way });
            }
        }
        for at in 0..state.packets.len() {
            actions.push(Action::Arrive { at, again: false });
            if state.duplicates < self.duplicates {
                actions.push(Action::Arrive { at, again: true });
            }
        }
        for (node, it) in state.nodes.iter().enumerate() {
            if it.support.is_none() {
                actions.push(Action::Rise { node });
                continue;
            }
            if state.deaths < self.deaths {
                actions.push(Action::Die { node });
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = last.clone();
        // What was told shows in the states themselves.
        let seen = &mut Seen::default();
        match action {
            Action::Pass { rates } => self.pass(&mut next, rates),
            Action::Beat { way } => {
                let (from, to) = self.talks[way];
                let beat = next.nodes[place(from)].beat(to, seen)?;
                next.sent[way] += 1;
                next.packets.push(Packet { from, to, beat });
                let order = |packet: &Packet| {
                    (packet.from, packet.beat.epoch, packet.to, packet.beat.sequence)
                };
                next.packets.sort_by_key(order);
            }
            Action::Arrive { at, again } => {
                let packet = next.packets[at].clone();
                if again {
                    next.duplicates += 1;
                } else {
                    next.packets.remove(at);
                }
                next.nodes[place(packet.to)].receive(packet.from, packet.beat, self.wrong, seen);
            }
            Action::Die { node } => {
                next.nodes[node].support = None;
                next.deaths += 1;
            }
            Action::Rise { node } => next.nodes[node].start(CONFIG, self.count()),
        }
        next.broken = check(&next.nodes, seen).err();
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("whoever is counted on keeps its promise", |_, state: &State| {
                state.broken.is_none()
            }),
            Property::sometimes("support is counted on", |_, state: &State| {
                state.pairs(|pair| pair.held_for_us.is_some())
            }),
            Property::sometimes("support lapses", |_, state: &State| {
                state.pairs(|pair| pair.given_lapses > 0)
            }),
            Property::sometimes("another promise is counted on", |_, state: &State| {
                state.pairs(|pair| pair.held_for_us.is_some() && pair.held_lapses > Some(0))
            }),
        ]
    }
}

impl State {
    /// Whether some node says this of another.
    fn pairs(&self, says: impl Fn(&PairStatus) -> bool) -> bool {
        let up = self.nodes.iter().filter_map(|node| node.support.as_ref());
        up.flat_map(|support| support.pairs().collect::<Vec<_>>()).any(|pair| says(&pair))
    }
}

fn place(node: u64) -> usize {
    usize::try_from(node - 1).expect("few nodes")
}

fn is_nightly() -> bool {
    std::env::var("KONTIKI_MODEL").is_ok_and(|size| size == "nightly")
}

/// Walks through all states; fails with the events that lead to a broken promise.
fn search(setup: &Setup) {
    let began = now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = setup.clone().checker().threads(threads).spawn_bfs().join();
    let (unique, all) = (checker.unique_state_count(), checker.state_count());
    let took = began.elapsed().as_secs_f64();
    println!("{}: {unique} states, {all} generated, {took:.1} s", setup.name);
    if let Some(path) = checker.discovery("whoever is counted on keeps its promise") {
        let why = path.last_state().broken.clone().unwrap_or_default();
        panic!("{}: {why}\nafter {:?}", setup.name, path.into_actions());
    }
    checker.assert_properties();
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long a search took is printed, and decides nothing"
)]
fn now() -> Instant {
    Instant::now()
}

const BOTH_WAYS: &[(u64, u64)] = &[(1, 2), (2, 1)];
/// Whoever asks has the slowest clock, whoever promises the fastest: where a lease has the least to spare.
const SLOW_ASKER: &[&[u64]] = &[&[80], &[120]];
const SLOW_PROMISER: &[&[u64]] = &[&[120], &[80]];
const ANY: &[&[u64]] = &[&[80, 120], &[80, 120]];

fn pair(name: &'static str, rates: &'static [&'static [u64]]) -> Setup {
    let steps = if is_nightly() { 6 } else { 5 };
    Setup { name, rates, talks: BOTH_WAYS, steps, beats: 2, deaths: 0, duplicates: 1, wrong: None }
}

#[test]
fn r8_a_slow_clock_counts_on_a_fast_one() {
    search(&pair("slow counts on fast", SLOW_ASKER));
}

#[test]
fn r8_a_fast_clock_counts_on_a_slow_one() {
    search(&pair("fast counts on slow", SLOW_PROMISER));
}

#[test]
fn r8_clocks_that_change_their_rates() {
    let steps = if is_nightly() { 4 } else { 3 };
    search(&Setup { steps, duplicates: 0, ..pair("any rates", ANY) });
}

#[test]
fn lives_end_and_begin_again() {
    search(&Setup { deaths: 1, duplicates: 0, ..pair("a death", SLOW_ASKER) });
}

#[test]
fn one_node_counts_on_two() {
    let small = Setup {
        rates: &[&[80], &[120], &[100]],
        talks: &[(1, 2), (2, 1), (3, 1)],
        steps: if is_nightly() { 4 } else { 3 },
        beats: 2,
        duplicates: 0,
        ..pair("three nodes", SLOW_ASKER)
    };
    search(&small);
}

/// The walk finds what is planted: otherwise it shows nothing.
#[test]
fn canary_mistakes_are_noticed() {
    for wrong in [Mistake::LeaseFromReceive, Mistake::Continued] {
        let setup = Setup { wrong: Some(wrong), ..pair("a mistake", SLOW_ASKER) };
        let checker = setup.checker().spawn_bfs().join();
        let found = checker.discovery("whoever is counted on keeps its promise");
        assert!(found.is_some(), "{wrong:?} is not noticed");
    }
}
