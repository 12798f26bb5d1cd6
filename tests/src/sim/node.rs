//! One node: the engine's own parts, put together for turns instead of threads.
//!
//! A running node is a worker with its shard and its sockets, the log writer, the state writer and the flush cycles, as
//! `engine/src/node.rs` starts them; only who calls them differs. What outlives it is its disk.
//!
//! Deliberately absent: time. `world.rs` says when each of them has its turn.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crossbeam::channel::{Receiver, bounded};
use kontiki::clock::Clock;
use kontiki::error::{Fatal, StartError};
use kontiki::kv::{KvMachine, KvView};
use kontiki::machine::{Answers, FlushJob, MachineContext, MachineError, StateMachine, Wake};
use kontiki::metrics::Metrics;
use kontiki::parts::{
    Chore, Inbox, InboxReceiver, LogSlot, Placed, Router, StateWriter, Worker, WorkerParts, Writer,
    first_records, flush_policy, ranges_of, rebuild, state_writer, supports,
};
use kontiki::shard::Shard;
use kontiki::store::{
    Identity, LogBatch, LogReader, LogStore, MemoryLog, OpenError, PartVisitor, StoreError, Written,
};
use kontiki::support::Support;
use kontiki::{Block, Bootstrap, CompletionQueue, Config, Durability, Index};
use kontiki_net::{Net, NetConfig, Waker};
use kontiki_raft::{Raft, Time};

use super::fabric::{Fabric, address_of};
use super::ledger::Ledger;
use super::marks::Mark;
use super::plan::Plan;
use super::store::SimState;

/// The cluster of every world.
pub const CLUSTER: u128 = 0x5157;

/// The rules of a world, shared by whoever has something to tell.
pub type Rules = Arc<Mutex<Ledger>>;

/// What outlives a process.
#[derive(Debug)]
pub struct Disk {
    /// The log.
    pub log: MemoryLog,
    /// The state.
    pub state: SimState,
    /// What is wrong with it.
    pub trouble: Arc<Trouble>,
}

/// What is wrong with a disk: shared with the log that writes to it.
#[derive(Debug, Default)]
pub struct Trouble {
    /// The next sync fails.
    pub fail_next: AtomicBool,
    /// The batch whose sync failed; 0 when none did. It may look as if it were there, until the power goes.
    pub failed: AtomicU64,
}

impl Disk {
    /// The disk of a new store.
    ///
    /// # Errors
    /// When plan and bootstrap do not fit together.
    pub fn format(config: &Config, bootstrap: &Bootstrap) -> Result<Self, StartError> {
        let records = first_records(config, bootstrap)?;
        let store_id = 0x1000 + u128::from(config.node_id);
        let (cluster_id, node_id) = (config.cluster_id, config.node_id);
        let identity = Identity { cluster_id, node_id, store_id, boot_epoch: 0 };
        let log = MemoryLog::new(identity, records.iter().collect(), Durability::Os);
        Ok(Self { log, state: SimState::default(), trouble: Arc::default() })
    }

    /// The log of a node that starts on it.
    fn log_of(&self, node: u64, rules: &Rules) -> Log {
        let (log, state) = (self.log.clone(), self.state.clone());
        Log { node, log, state, trouble: Arc::clone(&self.trouble), rules: Arc::clone(rules) }
    }
}

/// The log of a running node: tells the ledger what is written.
#[derive(Debug)]
struct Log {
    node: u64,
    log: MemoryLog,
    state: SimState,
    trouble: Arc<Trouble>,
    rules: Rules,
}

impl LogStore for Log {
    fn write(&mut self, batch: &LogBatch) -> Result<Written, StoreError> {
        let written = self.log.write(batch)?;
        let applied = |group| self.state.durable_applied(group);
        let mut rules = self.rules.lock().expect("one thread");
        rules.written(self.node, written.number, batch, applied);
        if self.trouble.fail_next.swap(false, Ordering::Relaxed) {
            self.trouble.failed.store(written.number, Ordering::Relaxed);
            return Err(StoreError::SyncFailed("the disk says so".to_owned()));
        }
        Ok(written)
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        Arc::new(Reader { log: self.log.reader(), rules: Arc::clone(&self.rules) })
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

struct Reader {
    log: Arc<dyn LogReader>,
    rules: Rules,
}

impl LogReader for Reader {
    fn read_part(&self, number: u64, part: u16) -> Result<Option<Vec<u8>>, StoreError> {
        self.rules.lock().expect("one thread").marks.set(Mark::ReadBack);
        self.log.read_part(number, part)
    }
}

/// The key-value machine: tells the ledger what is applied.
#[derive(Debug)]
pub struct Machine {
    node: u64,
    kv: KvMachine,
    rules: Rules,
}

impl Machine {
    fn tell_state(&self, group: u64, applied: Index) {
        let digest = self.kv.digest(group);
        self.rules.lock().expect("one thread").state_at(self.node, group, applied, digest);
    }
}

impl StateMachine for Machine {
    fn applied(&self, group: u64) -> Index {
        self.kv.applied(group)
    }

    fn apply(&mut self, block: &Block<'_>, answers: &mut Answers) {
        self.rules.lock().expect("one thread").applied(self.node, block);
        self.kv.apply(block, answers);
        self.tell_state(block.group(), block.last());
    }

    fn skip(&mut self, group: u64, index: Index) {
        self.rules.lock().expect("one thread").skipped(self.node, group, index);
        self.kv.skip(group, index);
        self.tell_state(group, index);
    }

    fn may_apply(&self) -> bool {
        self.kv.may_apply()
    }

    fn end_round(&mut self) {
        self.kv.end_round();
    }

    fn flush(&mut self) -> Result<FlushJob, MachineError> {
        self.kv.flush()
    }

    fn digest(&self, group: u64) -> u64 {
        self.kv.digest(group)
    }
}

/// One worker, and whether somebody wants it to look.
pub struct Desk {
    /// It.
    pub worker: Worker<Machine>,
    /// Its waker.
    pub waker: Waker,
}

/// A node that runs.
pub struct Running {
    /// Its workers, by number.
    pub desks: Vec<Desk>,
    /// Its door.
    pub router: Arc<Router>,
    inboxes: Vec<Arc<Inbox>>,
    /// Its log writer.
    pub writer: Writer,
    /// What its log writer wrote and has not reported.
    pub unreported: Option<Vec<Placed>>,
    /// Its flush cycles.
    pub chores: Receiver<Chore>,
    /// The one that runs.
    pub chore: Option<Chore>,
    /// Its state writer.
    pub states: StateWriter,
    /// Where its answers come out.
    pub answers: Arc<CompletionQueue>,
    /// Its state, to be read.
    pub view: KvView,
    _synced: Receiver<()>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}

/// The configuration of a node under `plan`.
#[must_use]
pub fn config_of(plan: &Plan, node: u64) -> Config {
    let mut config = Config::new(PathBuf::from("sim"), node);
    config.cluster_id = CLUSTER;
    config.workers = plan.workers;
    config.raft = plan.raft;
    config.cache_bytes_max = plan.cache_bytes_max;
    config.log_retain_bytes = plan.log_retain_bytes;
    config.flush_interval = std::time::Duration::from_micros(plan.flush_interval_us);
    config.log_writer = plan.log_writer;
    config.inbox_bytes_max = plan.inbox_bytes_max;
    config.seed = plan.seed ^ node;
    let others = (1..=plan.nodes).filter(|&peer| peer != node);
    config.peers = others.map(|peer| (peer, address_of(peer))).collect();
    config
}

impl Running {
    /// Opens the node's store and starts it at its own time `now`.
    ///
    /// # Errors
    /// When the store is not to be opened.
    pub fn start(
        config: &Config,
        disk: &Disk,
        fabric: &Fabric,
        rules: &Rules,
        now: Time,
        overlay_max: (usize, usize),
    ) -> Result<Self, StartError> {
        let node = config.node_id;
        let identity = disk.log.identity();
        let records = disk.log.groups();
        let mut log = disk.log_of(node, rules);
        let table = records.iter().collect();
        let builders = rebuild(config, &mut log, &ranges_of(&table)?, &table)?;
        let nets = transports(config, identity, fabric)?;
        let (inboxes, receivers): (Vec<_>, Vec<_>) =
            nets.iter().map(|net| door(config, net)).unzip();
        let groups: BTreeSet<u64> = records.iter().map(|(group, _)| *group).collect();
        let router = Arc::new(Router::new(inboxes.clone(), groups));
        let metrics = Arc::new(Metrics::default());
        let (handle, states) = state_writer(Arc::new(disk.state.clone()));
        let reader = log.reader();
        let slot = LogSlot::new(Box::new(log), config.workers, Arc::clone(&metrics));
        let slot = Arc::new(parking_lot::Mutex::new(slot));
        let (synced, synced_rx) = bounded(1);
        let (chores_tx, chores) = bounded(64);
        let (writer, jobs) = Writer::new(Arc::clone(&slot), Arc::clone(&router), synced.clone());

        let (mut desks, mut views) = (Vec::new(), Vec::new());
        let parts = nets.into_iter().zip(builders).zip(receivers).zip(&inboxes);
        for (number, (((net, builder), receiver), inbox)) in parts.enumerate() {
            let support = supports(config, now, identity.boot_epoch);
            let context = context_of(config, identity, number, builder.groups(), inbox);
            let kv = KvMachine::open(&context, handle.clone()).map_err(StartError::Machine)?;
            views.push(kv.view());
            let kv = kv.with_overlays_of(overlay_max.0, overlay_max.1);
            let machine = Machine { node, kv, rules: Arc::clone(rules) };
            let shard = builder.finish(now, |group| machine.applied(group));
            let shard = shard.map_err(StartError::Recovery)?;
            tell_started(rules, node, &shard);
            slot.lock().retain(number, shard.retention());
            let waker = net.waker();
            let parts = WorkerParts {
                number,
                shard,
                machine,
                net,
                clock: Clock::new(),
                inbox: Arc::clone(inbox),
                receiver,
                router: Arc::clone(&router),
                log: Arc::clone(&slot),
                reader: Arc::clone(&reader),
                writer: jobs.clone(),
                chores: chores_tx.clone(),
                synced: synced.clone(),
                metrics: Arc::clone(&metrics),
                log_writer: config.log_writer,
                workers: config.workers,
                flush: flush_policy(config),
                first_start: Some(config.peers.len() + 1),
                votes_from: support.as_ref().map(Support::votes_from),
                support: support.filter(|_| number == 0),
            };
            desks.push(Desk { worker: Worker::new(now, parts), waker });
        }
        Ok(Self {
            desks,
            router,
            inboxes,
            writer,
            unreported: None,
            chores,
            chore: None,
            states,
            answers: CompletionQueue::new(),
            view: KvView::new(views),
            _synced: synced_rx,
        })
    }

    /// Bytes of requests that wait for a worker.
    #[must_use]
    pub fn inbox_bytes(&self, lane: usize) -> usize {
        self.inboxes[lane].bytes()
    }

    /// The worker of `group`: its number.
    #[must_use]
    pub fn lane_of(&self, group: u64) -> usize {
        usize::try_from(group % self.desks.len() as u64).expect("a few workers")
    }

    /// The replica of `group`.
    #[must_use]
    pub fn raft(&self, group: u64) -> Option<&Raft> {
        let shard = self.desks[self.lane_of(group)].worker.shard();
        self.slot(group).map(|slot| shard.raft(slot))
    }

    /// Where the replica of `group` is in its shard.
    #[must_use]
    pub fn slot(&self, group: u64) -> Option<u32> {
        let shard = self.desks[self.lane_of(group)].worker.shard();
        let slots = u32::try_from(shard.len()).expect("a few groups");
        // Groups of a shard lie in their order.
        let at = u32::try_from(group.saturating_sub(1) / self.desks.len() as u64).ok()?;
        if at < slots && shard.group(at) == group {
            return Some(at);
        }
        (0..slots).find(|&slot| shard.group(slot) == group)
    }

    /// Ends the flush cycle that runs, if one does.
    ///
    /// # Errors
    /// What the machine says.
    pub fn end_chore(&mut self) -> Result<bool, Fatal> {
        let Some(chore) = self.chore.take() else { return Ok(false) };
        while self.states.write_waiting().map_err(Fatal::Machine)? {}
        chore.carry_out(&self.router)?;
        Ok(true)
    }
}

/// The event loops of a node's workers, over the simulated network.
fn transports(
    config: &Config,
    identity: Identity,
    fabric: &Fabric,
) -> Result<Vec<Net>, StartError> {
    let systems = fabric.start(config.node_id, identity.boot_epoch, config.workers);
    let mut nets = Vec::new();
    for (lane, system) in (0..).zip(systems) {
        let mut net = NetConfig::new(config.cluster_id, config.node_id, identity.store_id);
        net.epoch = identity.boot_epoch;
        net.lane = lane;
        net.lane_count = u16::try_from(config.workers).expect("a few workers");
        net.peers.clone_from(&config.peers);
        net.seed = config.seed ^ identity.boot_epoch ^ u64::from(lane) << 32;
        net.write_queue_bytes_max = config.peer_queue_bytes_max;
        nets.push(Net::with_system(net, Box::new(system)).map_err(StartError::Net)?);
    }
    Ok(nets)
}

/// The door of a worker, and its inside.
fn door(config: &Config, net: &Net) -> (Arc<Inbox>, InboxReceiver) {
    let (inbox, receiver) = Inbox::new(config.inbox_bytes_max, net.waker());
    (Arc::new(inbox), receiver)
}

fn context_of(
    config: &Config,
    identity: Identity,
    shard: usize,
    groups: Vec<u64>,
    inbox: &Arc<Inbox>,
) -> MachineContext {
    let inbox = Arc::clone(inbox);
    MachineContext {
        shard,
        shards: config.workers,
        store_id: identity.store_id,
        dir: config.dir.clone(),
        groups: groups.into(),
        wake: Wake::new(move || inbox.wake()),
    }
}

fn tell_started(rules: &Rules, node: u64, shard: &Shard) {
    let mut rules = rules.lock().expect("one thread");
    for slot in (0..shard.len()).map(|slot| u32::try_from(slot).expect("a few groups")) {
        rules.started(node, shard.group(slot), shard.raft(slot));
    }
}
