//! A node: open, recover, start, stop, in order. The only file that starts and joins threads.
//!
//! Opening goes from the outside in: check the configuration, take the store, rebuild the shards from its log,
//! bind, open the machines, and only then start threads. Stopping goes the other way: no new requests, workers
//! (which answer, flush and write their last round), writer, maintenance, and then the log's clean mark.
//!
//! Deliberately absent: decisions about groups. They are the shards'.

use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::thread::{Builder as ThreadBuilder, JoinHandle};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use kontiki_net::{Net, NetConfig};
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::config::{Bootstrap, Config, OnFatal};
use crate::error::{Fatal, RequestError, StartError};
use crate::machine::{MachineContext, MachineError, StateMachine, Wake};
use crate::maintenance::{Chore, Maintenance};
use crate::metrics::Metrics;
use crate::opening::{first_records, flush_policy, ranges_of, rebuild, supports};
use crate::range::RangeMap;
use crate::router::{Ask, Inbox, InboxReceiver, Router, ToWorker};
use crate::shard::Shard;
use crate::status::{GroupStatus, NodeStatus, PeerStatus};
use crate::store::{
    Identity, LogReader, LogStore, OpenError, OpenOptions, Opened, RocksLog, WitnessWriter,
};
use crate::support::Support;
use crate::worker::{Worker, WorkerParts};
use crate::writer::{Job, LogSlot, Writer};

#[cfg(test)]
mod tests;

/// How long an operator's question waits for a worker before it counts as stopped.
const ASK_TIMEOUT: Duration = Duration::from_secs(60);

/// How often a call that waits for a flush looks whether the engine is still there.
const FLUSH_LOOK: Duration = Duration::from_secs(1);

/// Flush cycles that may wait for the maintenance thread: one per worker at a time, 64 workers at most.
const CHORES_MAX: usize = 64;

/// Why a shutdown was not clean. The store is closed all the same, and recovers at its next opening.
#[derive(Debug)]
pub enum ShutdownError {
    /// Something had ended the engine before, or did while it stopped.
    Fatal(String),
    /// The log could not be closed.
    Log(crate::store::StoreError),
}

impl std::fmt::Display for ShutdownError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fatal(what) => write!(f, "not a clean shutdown: {what}"),
            Self::Log(error) => write!(f, "the log could not be closed: {error}"),
        }
    }
}

impl std::error::Error for ShutdownError {}

/// What becomes of a fault that ends the engine: the handler's word, and the first reason.
#[derive(Debug)]
struct Failure {
    on_fatal: OnFatal,
    first: OnceLock<String>,
}

impl Failure {
    /// Ends the engine: by default the process, since a stopped replica is safe and a confused one is not.
    fn end(&self, fatal: &Fatal, router: &Router) {
        drop(self.first.set(fatal.to_string()));
        match &self.on_fatal {
            OnFatal::Abort => {
                eprintln!("kontiki: {fatal}; the process ends");
                std::process::abort();
            }
            OnFatal::Call(handler) => handler(fatal),
        }
        router.stop();
        for inbox in router.inboxes() {
            inbox.close();
            inbox.tell(ToWorker::Stop { clean: false });
        }
    }
}

/// A thread of the machines' own, started and joined with the node's.
pub(crate) struct Background {
    /// What it is called.
    pub(crate) name: &'static str,
    /// What it does, until the last machine is dropped.
    pub(crate) run: Box<dyn FnOnce() -> Result<(), MachineError> + Send>,
}

/// Where the machines of a node come from, one per shard.
pub(crate) trait Machines {
    /// What they are.
    type Machine: StateMachine;
    /// Opens the machine of one shard.
    fn open(&mut self, context: MachineContext) -> Result<Self::Machine, MachineError>;
    /// The thread that they share, if any; asked once all are open.
    fn background(&mut self) -> Option<Background>;
}

/// Machines from an embedder's function, without a thread of their own.
pub(crate) struct Opener<F>(pub(crate) F);

impl<M: StateMachine, F: FnMut(MachineContext) -> Result<M, MachineError>> Machines for Opener<F> {
    type Machine = M;

    fn open(&mut self, context: MachineContext) -> Result<M, MachineError> {
        (self.0)(context)
    }

    fn background(&mut self) -> Option<Background> {
        None
    }
}

#[derive(Debug)]
struct Threads {
    workers: Vec<JoinHandle<Option<()>>>,
    writer: JoinHandle<Option<()>>,
    maintenance: JoinHandle<Option<WitnessWriter>>,
    background: Option<JoinHandle<Option<()>>>,
    log: Arc<Mutex<LogSlot>>,
}

/// A running node.
#[derive(Debug)]
pub(crate) struct Node {
    config: Config,
    identity: Identity,
    listen: SocketAddr,
    ranges: Arc<RangeMap>,
    router: Arc<Router>,
    metrics: Arc<Metrics>,
    failure: Arc<Failure>,
    threads: Mutex<Option<Threads>>,
}

/// Opens a node; see [`crate::Engine::open`].
pub(crate) fn open<S: Machines>(
    config: Config,
    bootstrap: &Bootstrap,
    machines: &mut S,
) -> Result<Node, StartError> {
    open_over(config, bootstrap, machines, &|log| Box::new(log))
}

/// Opens a node that writes to what `over` makes of its log.
fn open_over<S: Machines>(
    config: Config,
    bootstrap: &Bootstrap,
    machines: &mut S,
    over: &dyn Fn(RocksLog) -> Box<dyn LogStore>,
) -> Result<Node, StartError> {
    config.validate().map_err(StartError::Config)?;
    let opened = open_store(&config, bootstrap)?;
    let records = opened.groups;
    let ranges = ranges_of(&records)?;
    let mut log = opened.log;
    let builders = rebuild(&config, &mut log, &ranges, &records)?;

    let listener = bind(&config)?;
    let listen = listener.local_addr().map_err(StartError::Listen)?;
    let nets = transports(&config, &opened.identity, listener)?;
    let (inboxes, receivers): (Vec<_>, Vec<_>) = nets
        .iter()
        .map(|net| Inbox::new(config.inbox_bytes_max, net.waker()))
        .map(|(inbox, receiver)| (Arc::new(inbox), receiver))
        .unzip();
    let router = Arc::new(Router::new(inboxes, records.groups()));
    drop(records); // What is needed of them is in the shards, and there may be a million.
    let metrics = Arc::new(Metrics::default());
    let failure = Arc::new(Failure { on_fatal: config.on_fatal.clone(), first: OnceLock::new() });
    let (reader, witness) = (log.reader(), log.witness_writer());
    let office = Office::new(&config, over(log), reader, witness, &router, &metrics);

    let mut workers = Vec::new();
    for ((net, builder), receiver) in nets.into_iter().zip(builders).zip(receivers) {
        let number = workers.len();
        let inbox = router.inbox(number);
        let context = machine_context(&config, &opened.identity, number, builder.groups(), inbox)?;
        let machine = machines.open(context).map_err(StartError::Machine)?;
        let shard = builder
            .finish(office.clock.now(), |group| machine.applied(group))
            .map_err(StartError::Recovery)?;
        office.log.lock().retain(number, shard.retention());
        let support = supports(&config, office.clock.now(), opened.identity.boot_epoch);
        workers.push(office.worker(&config, number, shard, machine, net, receiver, support));
    }
    let started = start(&config, &failure, office, workers, machines.background());
    let threads = started.inspect_err(|_| {
        // What runs already must not go on without the rest.
        router.stop();
        for inbox in router.inboxes() {
            inbox.close();
            inbox.tell(ToWorker::Stop { clean: false });
        }
    })?;
    Ok(Node {
        identity: opened.identity,
        listen,
        ranges,
        router,
        metrics,
        failure,
        threads: Mutex::new(Some(threads)),
        config,
    })
}

/// What the workers of a node share, and the two threads that serve them all.
struct Office {
    router: Arc<Router>,
    metrics: Arc<Metrics>,
    clock: Clock,
    log: Arc<Mutex<LogSlot>>,
    reader: Arc<dyn LogReader>,
    writer: Writer,
    maintenance: Maintenance,
    jobs: Sender<Job>,
    chores: Sender<Chore>,
    synced: Sender<()>,
}

impl Office {
    fn new(
        config: &Config,
        log: Box<dyn LogStore>,
        reader: Arc<dyn LogReader>,
        witness: WitnessWriter,
        router: &Arc<Router>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let clock = Clock::new();
        let log = Arc::new(Mutex::new(LogSlot::new(log, config.workers, Arc::clone(metrics))));
        let (synced, synced_rx) = bounded(1);
        let (chores, chores_rx) = bounded(CHORES_MAX);
        let (writer, jobs) = Writer::new(Arc::clone(&log), Arc::clone(router), synced.clone());
        let maintenance = Maintenance {
            chores: chores_rx,
            synced: synced_rx,
            router: Arc::clone(router),
            witness,
            clock,
        };
        let (router, metrics) = (Arc::clone(router), Arc::clone(metrics));
        Self { router, metrics, clock, log, reader, writer, maintenance, jobs, chores, synced }
    }

    #[expect(clippy::too_many_arguments, reason = "everything that is one worker's own")]
    fn worker<M: StateMachine>(
        &self,
        config: &Config,
        number: usize,
        shard: Shard,
        machine: M,
        net: Net,
        receiver: InboxReceiver,
        support: Option<Support>,
    ) -> Worker<M> {
        Worker::new(
            self.clock.now(),
            WorkerParts {
                number,
                shard,
                machine,
                net,
                receiver,
                first_start: Some(config.peers.len() + 1),
                votes_from: support.as_ref().map(Support::votes_from),
                support: support.filter(|_| number == 0),
                clock: self.clock,
                inbox: Arc::clone(self.router.inbox(number)),
                router: Arc::clone(&self.router),
                log: Arc::clone(&self.log),
                reader: Arc::clone(&self.reader),
                writer: self.jobs.clone(),
                chores: self.chores.clone(),
                synced: self.synced.clone(),
                metrics: Arc::clone(&self.metrics),
                log_writer: config.log_writer,
                workers: config.workers,
                flush: flush_policy(config),
            },
        )
    }
}

/// Opens the store, after formatting it when there is none.
fn open_store(config: &Config, bootstrap: &Bootstrap) -> Result<Opened, StartError> {
    let mut options = OpenOptions::new(&config.dir);
    options.witness_dir.clone_from(&config.witness_dir);
    options.durability = config.durability;
    options.cluster_id = Some(config.cluster_id);
    options.node_id = Some(config.node_id);
    options.memtable_bytes = config.log_memtable_bytes;
    match RocksLog::open(&options) {
        Err(OpenError::Missing { .. }) => {
            let records = first_records(config, bootstrap)?;
            let identity =
                Identity::new(config.cluster_id, config.node_id).map_err(StartError::Store)?;
            RocksLog::format(&options, &identity, &records).map_err(StartError::Store)?;
            RocksLog::open(&options).map_err(StartError::Store)
        }
        result => result.map_err(StartError::Store),
    }
}

fn bind(config: &Config) -> Result<TcpListener, StartError> {
    match &config.listener {
        Some(listener) => listener.try_clone(),
        None => TcpListener::bind(config.listen),
    }
    .map_err(StartError::Listen)
}

/// One transport per worker; the first has the listener and hands over what is the others'.
fn transports(
    config: &Config,
    identity: &Identity,
    listener: TcpListener,
) -> Result<Vec<Net>, StartError> {
    let mut listener = Some(listener);
    (0..config.workers)
        .map(|lane| {
            let mut net = NetConfig::new(config.cluster_id, config.node_id, identity.store_id);
            net.lane = u16::try_from(lane).expect("64 workers at most");
            net.epoch = identity.boot_epoch;
            net.lane_count = u16::try_from(config.workers).expect("64 workers at most");
            net.listen = listener.take();
            net.peers.clone_from(&config.peers);
            net.write_queue_bytes_max = config.peer_queue_bytes_max;
            net.seed = config.seed ^ lane as u64;
            net.insecure = config.insecure;
            Net::new(net).map_err(StartError::Net)
        })
        .collect()
}

fn machine_context(
    config: &Config,
    identity: &Identity,
    shard: usize,
    groups: Vec<u64>,
    inbox: &Arc<Inbox>,
) -> Result<MachineContext, StartError> {
    let dir = config.dir.join("machine").join(shard.to_string());
    std::fs::create_dir_all(&dir).map_err(|e| StartError::Machine(MachineError::Io(e)))?;
    let inbox = Arc::clone(inbox);
    let wake = Wake::new(move || inbox.wake());
    let (shards, store_id) = (config.workers, identity.store_id);
    Ok(MachineContext { shard, shards, store_id, dir, groups: groups.into(), wake })
}

/// Starts a named thread whose fault ends the engine.
fn spawn<T: Send + 'static>(
    name: String,
    failure: &Arc<Failure>,
    router: &Arc<Router>,
    body: impl FnOnce() -> Result<T, Fatal> + Send + 'static,
) -> Result<JoinHandle<Option<T>>, StartError> {
    let (failure, router) = (Arc::clone(failure), Arc::clone(router));
    let thread = name.clone();
    ThreadBuilder::new()
        .name(name)
        .spawn(move || {
            // The state a panic leaves behind is dropped unseen, so nothing broken is observed.
            let fatal = match catch_unwind(AssertUnwindSafe(body)) {
                Ok(Ok(value)) => return Some(value),
                Ok(Err(fatal)) => fatal,
                Err(_) => Fatal::Panicked { thread },
            };
            failure.end(&fatal, &router);
            None
        })
        .map_err(StartError::Thread)
}

fn start<M: StateMachine>(
    config: &Config,
    failure: &Arc<Failure>,
    office: Office,
    workers: Vec<Worker<M>>,
    background: Option<Background>,
) -> Result<Threads, StartError> {
    let Office { router, log, writer, maintenance, .. } = office;
    let node = config.node_id;
    let writer =
        spawn(format!("k{node}-log"), failure, &router, move || writer.run().map_err(Fatal::Log))?;
    let maintenance =
        spawn(format!("k{node}-upkeep"), failure, &router, move || maintenance.run())?;
    let workers = workers
        .into_iter()
        .enumerate()
        .map(|(number, worker)| {
            spawn(format!("k{node}-worker-{number}"), failure, &router, move || worker.run())
        })
        .collect::<Result<Vec<_>, _>>()?;
    let background = background
        .map(|Background { name, run }| {
            spawn(format!("k{node}-{name}"), failure, &router, move || {
                run().map_err(Fatal::Machine)
            })
        })
        .transpose()?;
    Ok(Threads { workers, writer, maintenance, background, log })
}

impl Node {
    pub(crate) fn router(&self) -> &Router {
        &self.router
    }

    pub(crate) const fn node_id(&self) -> u64 {
        self.config.node_id
    }

    pub(crate) fn groups(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.router.groups()
    }

    pub(crate) fn ranges(&self) -> &Arc<RangeMap> {
        &self.ranges
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) const fn listen_address(&self) -> SocketAddr {
        self.listen
    }

    pub(crate) fn fatal(&self) -> Option<String> {
        self.failure.first.get().cloned()
    }

    /// Asks one worker.
    fn ask<T>(&self, inbox: &Inbox, ask: impl FnOnce(Sender<T>) -> Ask) -> Result<T, RequestError> {
        let (tx, rx) = bounded(1);
        if !inbox.tell(ToWorker::Ask(ask(tx))) {
            return Err(RequestError::Stopped);
        }
        rx.recv_timeout(ASK_TIMEOUT).map_err(|_| RequestError::Stopped)
    }

    /// Asks every worker at once.
    fn ask_all<T>(&self, ask: impl Fn(Sender<T>) -> Ask) -> Result<Vec<T>, RequestError> {
        let asked: Vec<Receiver<T>> = self
            .router
            .inboxes()
            .iter()
            .map(|inbox| {
                let (tx, rx) = bounded(1);
                inbox.tell(ToWorker::Ask(ask(tx)));
                rx
            })
            .collect();
        let answers = asked.iter().map(|rx| rx.recv_timeout(ASK_TIMEOUT));
        answers.collect::<Result<Vec<T>, _>>().map_err(|_| RequestError::Stopped)
    }

    pub(crate) fn group_status(&self, group: u64) -> Result<GroupStatus, RequestError> {
        self.ask(self.router.inbox_of(group), |tx| Ask::Group(group, tx))?
    }

    pub(crate) fn group_statuses(&self) -> Result<Vec<GroupStatus>, RequestError> {
        let mut all: Vec<GroupStatus> = self.ask_all(Ask::Groups)?.into_iter().flatten().collect();
        all.sort_unstable_by_key(|status| status.group);
        Ok(all)
    }

    pub(crate) fn status(&self) -> Result<NodeStatus, RequestError> {
        // A peer counts as connected when every worker reaches it.
        let states = self.ask_all(Ask::Peers)?;
        let pairs = self.ask(self.router.inbox(0), Ask::Pairs)?;
        let links = |node| states.iter().flatten().filter(move |peer| peer.node == node);
        let peers = self.config.peers.iter().map(|&(node, address)| PeerStatus {
            node,
            address: address.to_string(),
            connected: states.iter().all(|s| s.iter().any(|p| p.node == node && p.connected)),
            reason: links(node).filter(|p| !p.connected).find_map(|p| p.reason.clone()),
        });
        Ok(NodeStatus {
            cluster: format!("{:x}", self.identity.cluster_id),
            node: self.config.node_id,
            store: format!("{:x}", self.identity.store_id),
            boot_epoch: self.identity.boot_epoch,
            listen: self.listen.to_string(),
            peers: peers.collect(),
            pairs,
            groups: self.groups().len() as u64,
            leading: self.router.led_by(self.config.node_id),
            leaderless: self.router.leaderless(),
            awake: self.metrics.replicas_awake.get(),
            campaigns: self.metrics.campaigns_in_flight.get(),
        })
    }

    pub(crate) fn digest(&self, group: u64) -> Result<(u64, u64), RequestError> {
        self.ask(self.router.inbox_of(group), |tx| Ask::Digest(group, tx))?
    }

    pub(crate) fn transfer(&self, group: u64, to: Option<u64>) -> Result<(), RequestError> {
        self.ask(self.router.inbox_of(group), |tx| Ask::Transfer(group, to, tx))?
    }

    pub(crate) fn hand_over(&self, limit: Duration) -> Result<u64, RequestError> {
        let clock = Clock::new();
        let end = clock.now().0 + u64::try_from(limit.as_micros()).unwrap_or(u64::MAX >> 1);
        loop {
            let left = self.ask_all(Ask::HandOver)?.into_iter().sum();
            if left == 0 || clock.now().0 >= end {
                return Ok(left);
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    pub(crate) fn flush(&self) -> Result<(), RequestError> {
        let mut asked = Vec::new();
        for inbox in self.router.inboxes() {
            let (tx, rx) = bounded(1);
            if !inbox.tell(ToWorker::Ask(Ask::Flush(tx))) {
                return Err(RequestError::Stopped);
            }
            asked.push(rx);
        }
        asked.iter().try_for_each(|rx| {
            // A cycle takes as long as the disk does; only an end of the engine ends the wait for it.
            while self.fatal().is_none() && self.threads.lock().is_some() {
                match rx.recv_timeout(FLUSH_LOOK) {
                    Ok(()) => return Ok(()),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            Err(RequestError::Stopped)
        })
    }

    pub(crate) fn shutdown(&self) -> Result<(), ShutdownError> {
        let Some(threads) = self.threads.lock().take() else { return Ok(()) };
        self.router.stop();
        for inbox in self.router.inboxes() {
            inbox.tell(ToWorker::Stop { clean: true });
        }
        let mut clean = true;
        for worker in threads.workers {
            clean &= matches!(worker.join(), Ok(Some(())));
        }
        clean &= matches!(threads.writer.join(), Ok(Some(())));
        let witness = threads.maintenance.join().ok().flatten();
        // It ends with the last machine, and so after the workers and their flush jobs.
        if let Some(background) = threads.background {
            clean &= matches!(background.join(), Ok(Some(())));
        }
        let (true, Some(witness)) = (clean, witness) else {
            let what = self.fatal().unwrap_or_else(|| "a thread ended early".to_owned());
            return Err(ShutdownError::Fatal(what));
        };
        let slot = Arc::into_inner(threads.log).expect("every thread that held the log was joined");
        let last = slot.into_inner().into_log().close().map_err(ShutdownError::Log)?;
        witness.finish(last).map_err(ShutdownError::Log)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Whoever wants to hear of an error calls `shutdown`.
        drop(self.shutdown());
    }
}
