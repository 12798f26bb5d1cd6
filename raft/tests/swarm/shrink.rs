//! Runs histories, and cuts a failing one down.
//!
//! A history fails by a panic: of the oracle, of an invariant, of the core. Cutting keeps whatever
//! still panics at the same place, first by leaving out commands in ever smaller runs, then by
//! simpler commands and simpler worlds, until nothing more can go. It draws nothing, so the same
//! seed gives the same small case.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use super::rest::come_to_rest;
use super::world::Case;
use crate::common::Cluster;

/// Histories run to shrink one, at most.
const ATTEMPTS_MAX: u64 = 20_000;

/// Proposals that are asked about after every command.
const TICKETS: usize = 4;

thread_local! {
    /// Where and how the history on this thread panicked; nothing is kept outside of histories.
    static PANIC: RefCell<Option<Option<(String, String)>>> = const { RefCell::new(None) };
}

/// Why a history failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// File and line.
    pub(crate) place: String,
    pub(crate) message: String,
    /// How many commands had ended.
    pub(crate) at: usize,
}

/// What a history got to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) histories: u64,
    pub(crate) commands: u64,
    pub(crate) elections: u64,
    pub(crate) commits: u64,
    pub(crate) reads: u64,
    pub(crate) lease_reads: u64,
    pub(crate) memberships: u64,
    pub(crate) snapshots: u64,
    pub(crate) wipes: u64,
}

impl Summary {
    fn of(cluster: &Cluster, commands: u64) -> Self {
        Self {
            histories: 1,
            commands,
            elections: cluster.oracle.elections,
            commits: cluster.oracle.committed.len() as u64,
            reads: cluster.oracle.reads_confirmed,
            lease_reads: cluster.oracle.lease_reads,
            memberships: cluster.oracle.memberships(),
            snapshots: cluster.oracle.installs,
            wipes: cluster.nodes.iter().map(|node| node.wipes).sum(),
        }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            histories: self.histories + other.histories,
            commands: self.commands + other.commands,
            elections: self.elections + other.elections,
            commits: self.commits + other.commits,
            reads: self.reads + other.reads,
            lease_reads: self.lease_reads + other.lease_reads,
            memberships: self.memberships + other.memberships,
            snapshots: self.snapshots + other.snapshots,
            wipes: self.wipes + other.wipes,
        }
    }
}

/// Runs the history, printing what happens if it is to.
pub(crate) fn run(case: &Case, tracing: bool) -> Result<Summary, Failure> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let place = info.location().map(|at| format!("{}:{}", at.file(), at.line()));
            let payload = info.payload();
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| payload.downcast_ref::<&str>().map(|&text| text.into()));
            let kept = PANIC.with_borrow_mut(|panic| {
                if let Some(panic) = panic {
                    *panic = Some((place.unwrap_or_default(), text.unwrap_or_default()));
                    return true;
                }
                false
            });
            if !kept {
                usual(info);
            }
        }));
    });
    PANIC.with_borrow_mut(|panic| *panic = Some(None));
    let mut at = 0;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut cluster = case.world.build();
        cluster.tracing = tracing;
        for command in &case.commands {
            if tracing {
                println!("{command:?}");
            }
            command.run(&mut cluster);
            at += 1;
            check_tickets(&mut cluster);
        }
        come_to_rest(&mut cluster, &case.world);
        Summary::of(&cluster, at as u64)
    }));
    let panic = PANIC.with_borrow_mut(Option::take).flatten();
    outcome.map_err(|_| {
        let (place, message) = panic.expect("the hook saw the panic");
        Failure { place, message, at }
    })
}

/// Asks everybody about the latest proposals.
fn check_tickets(cluster: &mut Cluster) {
    let first = cluster.oracle.tickets.len().saturating_sub(TICKETS);
    for slot in first..cluster.oracle.tickets.len() {
        let ticket = cluster.oracle.tickets[slot];
        for node in &cluster.nodes {
            if let Some(raft) = &node.raft {
                cluster.oracle.check_ticket(raft, ticket);
            }
        }
    }
}

/// The commands of a history, to be read.
pub(crate) fn list(case: &Case) -> String {
    let lines = case.commands.iter().map(|command| format!("  {command:?}\n"));
    format!("{:?}\n{}", case.world, lines.collect::<String>())
}

/// The smallest history found that fails like this one.
pub(crate) fn shrink(case: &Case, failure: &Failure) -> (Case, Failure) {
    let mut search = Search { case: case.clone(), failure: failure.clone(), attempts: 0 };
    let mut cut = search.case.clone();
    cut.commands.truncate(failure.at + 1);
    search.keep(cut);
    loop {
        let before = (search.case.world.clone(), search.case.commands.clone());
        search.leave_out();
        search.simplify_world();
        search.simplify_commands();
        let same = before == (search.case.world.clone(), search.case.commands.clone());
        if same || search.attempts >= ATTEMPTS_MAX {
            search.attempts = 0;
            let mut plain = search.case.clone();
            let replicas = u8::try_from(plain.world.voters + plain.world.spares).unwrap();
            plain.commands.iter_mut().for_each(|command| *command = command.plain(replicas));
            search.keep(plain);
            return (search.case, search.failure);
        }
    }
}

struct Search {
    case: Case,
    failure: Failure,
    attempts: u64,
}

impl Search {
    /// Goes on from this case if it fails like the first one.
    fn keep(&mut self, case: Case) -> bool {
        self.attempts += 1;
        if self.attempts > ATTEMPTS_MAX {
            return false;
        }
        match run(&case, false) {
            Err(failure) if failure.place == self.failure.place => {
                self.failure = failure;
                self.case = case;
                // Whatever comes after the failure was not needed.
                self.case.commands.truncate(self.failure.at + 1);
                true
            }
            _ => false,
        }
    }

    fn leave_out(&mut self) {
        let mut size = self.case.commands.len().div_ceil(2).max(1);
        loop {
            let mut end = self.case.commands.len();
            while end > 0 {
                let mut case = self.case.clone();
                case.commands.drain(end.saturating_sub(size)..end);
                self.keep(case);
                end = end.saturating_sub(size).min(self.case.commands.len());
            }
            if size == 1 {
                return;
            }
            size = size.div_ceil(2);
        }
    }

    fn simplify_world(&mut self) {
        let mut slot = 0;
        while let Some(world) = self.case.world.simpler().into_iter().nth(slot) {
            let kept = self.keep(Case { world, commands: self.case.commands.clone() });
            slot = if kept { 0 } else { slot + 1 };
        }
    }

    fn simplify_commands(&mut self) {
        for slot in 0..self.case.commands.len() {
            let Some(command) = self.case.commands.get(slot).cloned() else { return };
            for simpler in command.simpler() {
                let mut case = self.case.clone();
                case.commands[slot] = simpler;
                if self.keep(case) {
                    break;
                }
            }
        }
    }
}
