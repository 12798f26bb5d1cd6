//! Nodes whose disk stalls: a sync that does not return, while the process and its connections are well.

use std::collections::BTreeMap;

use kontiki_net::Block;
use kontiki_raft::Index;
use parking_lot::Condvar;

use super::*;
use crate::config::LogWriter;
use crate::engine::Engine;
use crate::machine::{Answers, FlushJob, NullMachine};
use crate::store::{LogBatch, PartVisitor, StoreError, Written};
use crate::testing::{Cluster, Plan, wait_until};
use crate::ticket::Ticket;

const GROUPS: usize = 12;

/// What holds a disk up: writes wait while it is closed.
#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    opened: Condvar,
}

#[derive(Default)]
struct GateState {
    closed: bool,
    waiting: usize,
}

impl Gate {
    fn pass(&self) {
        let mut state = self.state.lock();
        state.waiting += 1;
        self.opened.wait_while(&mut state, |state| state.closed);
        state.waiting -= 1;
    }

    fn close(&self) {
        self.state.lock().closed = true;
    }

    fn open(&self) {
        self.state.lock().closed = false;
        self.opened.notify_all();
    }
}

/// Opens the gate at the end of a test, however it ends: nodes wait for their disks when they are dropped.
struct OpensAtLast(Arc<Gate>);

impl Drop for OpensAtLast {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// The log of a store, behind a gate.
struct Gated {
    log: RocksLog,
    gate: Arc<Gate>,
}

impl LogStore for Gated {
    fn write(&mut self, batch: &LogBatch) -> Result<Written, StoreError> {
        self.gate.pass();
        self.log.write(batch)
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        self.log.reader()
    }

    fn for_each_part(&mut self, visit: &mut PartVisitor<'_>) -> Result<(), OpenError> {
        self.log.for_each_part(visit)
    }

    fn last(&self) -> u64 {
        self.log.last()
    }

    fn close(self: Box<Self>) -> Result<u64, StoreError> {
        Box::new(self.log).close()
    }
}

/// Every payload that a node has applied, by group and index.
type Applied = Arc<Mutex<BTreeMap<(u64, u64), Vec<u8>>>>;

/// A machine that can be asked what it was given.
struct Remembering(NullMachine, Applied);

impl StateMachine for Remembering {
    fn applied(&self, group: u64) -> Index {
        self.0.applied(group)
    }

    fn apply(&mut self, block: &Block<'_>, answers: &mut Answers) {
        let entries = block.entries().zip(block.first().0..);
        self.1.lock().extend(entries.map(|(payload, at)| ((block.group(), at), payload.to_vec())));
        self.0.apply(block, answers);
    }

    fn skip(&mut self, group: u64, index: Index) {
        self.0.skip(group, index);
    }

    fn flush(&mut self) -> Result<FlushJob, MachineError> {
        self.0.flush()
    }

    fn digest(&self, group: u64) -> u64 {
        self.0.digest(group)
    }
}

/// Three nodes, of which the first has a gate before its disk and leads everything.
struct Stalling {
    cluster: Cluster,
    applied: Vec<Applied>,
    gate: Arc<Gate>,
    /// What was acknowledged: group, index, payload.
    acknowledged: Vec<(u64, u64, Vec<u8>)>,
}

impl Stalling {
    fn open(dir: &std::path::Path, log_writer: LogWriter) -> Self {
        let gate = Arc::new(Gate::default());
        let mut plan = Plan::new(dir, 3, GROUPS).unwrap();
        plan.configs.iter_mut().for_each(|config| config.log_writer = log_writer);
        let (mut nodes, mut applied) = (Vec::new(), Vec::new());
        for config in plan.configs {
            let remembered = Applied::default();
            applied.push(Arc::clone(&remembered));
            let mut machines = Opener(move |context| {
                Ok(Remembering(NullMachine::open(context)?, Arc::clone(&remembered)))
            });
            let gate = (config.node_id == 1).then(|| Arc::clone(&gate));
            let node = open_over(config, &plan.bootstrap, &mut machines, &|log| match &gate {
                Some(gate) => Box::new(Gated { log, gate: Arc::clone(gate) }),
                None => Box::new(log),
            });
            nodes.push(Engine::of(node.unwrap()));
        }
        let cluster = Cluster { nodes };
        cluster.wait_all_led();
        for group in 1..=GROUPS as u64 {
            wait_until("node 1 to lead", || {
                let leader = cluster.leader(group)?;
                // It refuses while an earlier hand-over is under way.
                leader.transfer_leader(group, 1).ok();
                (leader.node_id() == 1).then_some(())
            })
            .unwrap();
        }
        Self { cluster, applied, gate, acknowledged: Vec::new() }
    }

    /// Writes to every group through whoever leads it, and has it acknowledged.
    fn write_all(&mut self, what: &str) {
        for group in 1..=GROUPS as u64 {
            let payload = format!("{what} {group}").into_bytes();
            let index = wait_until("a write", || {
                let leaders = self.cluster.nodes.iter().skip(usize::from(self.is_stalled()));
                let leader = leaders.into_iter().find(|n| n.leader(group) == Some(n.node_id()))?;
                leader.propose(group, &payload).ok()?.wait().ok()
            });
            self.acknowledged.push((group, index.unwrap().index.0, payload));
        }
    }

    fn is_stalled(&self) -> bool {
        self.gate.state.lock().closed
    }

    /// Closes the gate, and has node 1 run into it with a write per group, which it cannot acknowledge.
    fn stall(&self) -> Vec<(u64, Vec<u8>, Ticket)> {
        self.gate.close();
        let node = &self.cluster.nodes[0];
        let write = |group: u64| {
            let payload = format!("into the stall {group}").into_bytes();
            let ticket = node.propose(group, &payload).unwrap();
            (group, payload, ticket)
        };
        let tickets = (1..=GROUPS as u64).map(write).collect();
        let waits = || (self.gate.state.lock().waiting > 0).then_some(());
        wait_until("a write to hang", waits).unwrap();
        tickets
    }

    /// Waits until the two others lead every group.
    fn wait_led_elsewhere(&self) {
        let others = &self.cluster.nodes[1..];
        let led = |group| others.iter().any(|n| n.leader(group) == Some(n.node_id()));
        wait_until("the others to lead", || (1..=GROUPS as u64).all(led).then_some(())).unwrap();
    }

    /// The disk works again: everybody comes to have everything that anybody was told is written.
    fn end(mut self, stuck: Vec<(u64, Vec<u8>, Ticket)>) {
        self.gate.open();
        for (group, payload, ticket) in stuck {
            if let Ok(applied) = ticket.wait() {
                self.acknowledged.push((group, applied.index.0, payload));
            }
        }
        self.write_all("after it");
        for (group, index, payload) in &self.acknowledged {
            for applied in &self.applied {
                let found = || applied.lock().get(&(*group, *index)).cloned();
                let found = wait_until("an acknowledged write", found);
                assert_eq!(found.as_ref(), Some(payload), "group {group}, index {index}");
            }
        }
        self.cluster.shutdown().unwrap();
    }
}

/// How old `clock` is.
fn micros_since(clock: &Clock) -> u64 {
    clock.now().0 - 1_000_000
}

/// The log writer's thread hangs in a sync; the worker is well, and sees it.
#[test]
fn g16_a_leader_whose_disk_stalls_leads_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut nodes = Stalling::open(dir.path(), LogWriter::Thread);
    let _opens = OpensAtLast(Arc::clone(&nodes.gate));
    nodes.write_all("before it");
    let clock = Clock::new();
    let stuck = nodes.stall();
    nodes.wait_led_elsewhere();
    let led = micros_since(&clock);
    let node = nodes.cluster.nodes[0].clone();
    wait_until("node 1 to lead nothing", || (node.status().ok()?.leading == 0).then_some(()))
        .unwrap();
    println!("led elsewhere after {led} us, nothing led here after {} us", micros_since(&clock));
    nodes.write_all("in the stall");
    for group in 1..=GROUPS as u64 {
        let read = node.read(group).unwrap().wait();
        assert!(matches!(read, Err(RequestError::NotLeader { .. })), "group {group}: {read:?}");
    }
    nodes.end(stuck);
}

/// The worker itself hangs in the sync, and with it the node's beats.
#[test]
fn g16_a_worker_that_hangs_in_its_own_sync_loses_its_groups() {
    let dir = tempfile::tempdir().unwrap();
    let mut nodes = Stalling::open(dir.path(), LogWriter::Inline);
    let _opens = OpensAtLast(Arc::clone(&nodes.gate));
    nodes.write_all("before it");
    let clock = Clock::new();
    let stuck = nodes.stall();
    nodes.wait_led_elsewhere();
    println!("led elsewhere after {} us", micros_since(&clock));
    nodes.write_all("in the stall");
    nodes.end(stuck);
}
