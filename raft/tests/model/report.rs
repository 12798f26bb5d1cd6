//! Runs a setup, prints what was searched, and says how anything broke.

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::sync::{Mutex, Once, PoisonError};
use std::time::Instant;

use stateright::{Checker, Expectation, HasDiscoveries, Model};

use crate::model::Group;
use crate::node::Packet;
use crate::setup::Setup;
use crate::step::{Event, step};
use crate::world::{Rule, World};

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// A panic inside is a finding, which is reported with its path; it need not be printed as well.
pub(crate) fn quietly<T>(work: impl FnOnce() -> T) -> T {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                loud(panic);
            }
        }));
    });
    let before = QUIET.replace(true);
    let result = work();
    QUIET.set(before);
    result
}

/// Searches the setup and asserts its properties.
pub(crate) fn search(setup: Setup) {
    // One search at a time: each uses all processors, and the memory of two would add up.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (name, states_max) = (setup.name, setup.states_max);
    #[expect(clippy::disallowed_methods, reason = "the report says how long it took")]
    let begun = Instant::now();
    let mut builder = Group::new(setup.clone())
        .checker()
        .threads(threads)
        .finish_when(HasDiscoveries::AnyFailures);
    if let Some(most) = states_max {
        builder = builder.target_state_count(most);
    }
    let checker = builder.spawn_dfs().join();

    let (generated, unique) = (checker.state_count(), checker.unique_state_count());
    let all = states_max.is_none_or(|most| generated < most);
    let discoveries = checker.discoveries();
    let properties = checker.model().properties();
    let is_always = |name: &str| {
        properties.iter().any(|p| p.name == name && p.expectation == Expectation::Always)
    };
    let failed = discoveries.keys().find(|name| is_always(name));
    let extent = match (failed, all) {
        (Some(_), _) => "broken",
        (None, true) => "all states",
        (None, false) => "stopped at its bound",
    };
    let (depth, seconds) = (checker.max_depth(), begun.elapsed().as_secs_f64());
    println!(
        "model {name:<24} {generated:>10} generated {unique:>10} unique, depth {depth:>3}, {seconds:>6.1} s: {extent}"
    );
    if let Some(property) = failed {
        let events = discoveries[property].clone().into_actions();
        let begin = &checker.model().init_states()[0];
        panic!("{name}: {property}\n{}", explain(&setup, begin, events));
    }
    let missing: Vec<_> =
        setup.sometimes.iter().filter(|name| !discoveries.contains_key(*name)).collect();
    assert!(missing.is_empty(), "{name}: the model never shows {missing:?}");
}

/// The events that lead from the beginning to what broke, as few as leaving some out allows.
fn explain(setup: &Setup, begin: &World, events: Vec<Event>) -> String {
    let mut path = described(setup, begin, &events);
    let broken = path.last().and_then(|last| last.1.broken.clone()).expect("a broken world");
    let rule = broken.rule;
    let mut at = path.len();
    while at > 0 {
        at -= 1;
        let wanted: Vec<_> = path.iter().map(|step| step.0.clone()).collect();
        let shorter = replay(setup, begin, &wanted, at);
        if shorter.last().is_some_and(|last| breaks(&last.1, rule)) {
            path = shorter;
            at = at.min(path.len());
        }
    }
    let mut text = String::new();
    for (number, (wanted, _)) in path.iter().enumerate() {
        writeln!(text, "{:>4} {wanted:?}", number + 1).expect("a string takes everything");
    }
    let broken = path.last().and_then(|last| last.1.broken.clone()).unwrap_or(broken);
    write!(text, "     {:?}: {}", broken.rule, broken.detail).expect("a string takes everything");
    text
}

fn breaks(world: &World, rule: Rule) -> bool {
    world.broken.as_ref().is_some_and(|broken| broken.rule == rule)
}

/// An event that does not depend on what else is on the network.
#[derive(Clone)]
enum Wanted {
    Event(Event),
    Packet { event: fn(usize) -> Event, kind: &'static str, flight: crate::world::Flight },
}

impl fmt::Debug for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(event) => event.fmt(f),
            Self::Packet { kind, flight, .. } => match &*flight.packet {
                Packet::Message(message) => write!(f, "{kind} {message:?}"),
                Packet::Snapshot(header) => write!(f, "{kind} {header:?}"),
                Packet::Append(header, entries) => write!(f, "{kind} {header:?} {entries:?}"),
            },
        }
    }
}

/// An event and the world after it.
type Taken = (Wanted, World);

fn described(setup: &Setup, begin: &World, events: &[Event]) -> Vec<Taken> {
    let mut path: Vec<Taken> = Vec::new();
    for &event in events {
        let before = path.last().map_or(begin, |last| &last.1);
        let packet = |at: usize, kind, event: fn(usize) -> Event| Wanted::Packet {
            event,
            kind,
            flight: before.net[at].clone(),
        };
        let wanted = match event {
            Event::Deliver(at) => packet(at, "deliver", Event::Deliver),
            Event::Duplicate(at) => packet(at, "duplicate", Event::Duplicate),
            Event::Lose(at) => packet(at, "lose", Event::Lose),
            other => Wanted::Event(other),
        };
        let after = step(setup, before, event).expect("a path can be walked again");
        path.push((wanted, after));
    }
    path
}

/// Walks the path without the event `left_out`, and without those that are impossible then.
fn replay(setup: &Setup, begin: &World, wanted: &[Wanted], left_out: usize) -> Vec<Taken> {
    let model = Group::new(setup.clone());
    let mut path: Vec<Taken> = Vec::new();
    for (_, next) in wanted.iter().enumerate().filter(|(at, _)| *at != left_out) {
        let before = path.last().map_or(begin, |last| &last.1);
        let mut possible = Vec::new();
        model.actions(before, &mut possible);
        let event = match next {
            Wanted::Event(event) => Some(*event),
            Wanted::Packet { event, flight, .. } => {
                before.net.iter().position(|other| other == flight).map(event)
            }
        };
        let event = event.filter(|event| possible.contains(event));
        if let Some(after) = event.and_then(|event| step(setup, before, event)) {
            path.push((next.clone(), after));
        }
    }
    path
}
