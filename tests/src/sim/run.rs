//! One seed from its plan to its verdict, panics included.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Once, PoisonError};

use super::ledger::Wrong;
use super::marks::Marks;
use super::plan::Plan;
use super::trace::Event;
use super::world::World;

/// What became of a plan.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The rule that was broken, if one was.
    pub wrong: Option<Wrong>,
    /// The trace's hash.
    pub hash: u64,
    /// Events of the trace.
    pub events: u64,
    /// Simulated time.
    pub simulated_us: u64,
    /// Requests answered with success.
    pub done: u64,
    /// Requests asked.
    pub asked: u64,
    /// Situations it came through.
    pub marks: Marks,
    /// The last events, of the group in question if there is one.
    pub last: Vec<Event>,
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static QUIET: RefCell<bool> = const { RefCell::new(false) };
}

/// Has panics of this thread noted instead of printed while a plan runs.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if QUIET.with_borrow(|quiet| *quiet) {
                PANIC.with_borrow_mut(|panic| {
                    panic.get_or_insert_with(|| info.to_string());
                });
            } else {
                before(info);
            }
        }));
    });
}

/// Runs a plan, and gives what its clients saw as JSON, one event a line.
#[must_use]
pub fn history(plan: Plan) -> String {
    listen();
    let mut world = World::new(plan);
    QUIET.set(true);
    drop(catch_unwind(AssertUnwindSafe(|| world.run())));
    let json = world.load().history.to_json();
    drop(catch_unwind(AssertUnwindSafe(|| drop(world))));
    QUIET.set(false);
    PANIC.take();
    json
}

/// Runs a plan.
#[must_use]
pub fn run(plan: Plan) -> Verdict {
    listen();
    let mut world = World::new(plan);
    QUIET.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run()));
    let (simulated_us, done) = (world.now(), world.load().done);
    let asked = world.load().history.len() as u64;
    let mut rules = world.rules.lock().unwrap_or_else(PoisonError::into_inner);
    if outcome.is_err() {
        let what = PANIC.take().unwrap_or_else(|| "a panic without words".to_owned());
        rules.fail(None, what);
    }
    let wrong = rules.wrong().cloned();
    let group = wrong.as_ref().and_then(|wrong| wrong.group);
    let verdict = Verdict {
        hash: rules.trace.hash(),
        events: rules.trace.events(),
        simulated_us,
        done,
        asked,
        marks: rules.marks,
        last: if wrong.is_some() { rules.trace.last(usize::MAX, group) } else { Vec::new() },
        wrong,
    };
    drop(rules);
    drop(catch_unwind(AssertUnwindSafe(|| drop(world))));
    QUIET.set(false);
    PANIC.take();
    verdict
}
