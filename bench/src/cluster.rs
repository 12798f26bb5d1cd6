//! The nodes under test, in this process: opened on real directories, connected over real sockets.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kontiki::machine::{MachineContext, MachineError, MemoryMachine, MemoryProbe, payload_hash};
use kontiki::testing::{Cluster, Plan};
use kontiki::{Engine, OnFatal, Store};
use parking_lot::Mutex;

use crate::cli::{Durability, Leaders, LogWriter, Machine, Options};
use crate::clock::Clock;
use crate::error::BenchError;
use crate::machines::{CountedNull, EntryCounts};
use crate::workload::{KeySpace, active_groups};

/// How long the nodes may take to elect leaders, or to hand leaderships over.
const LEADERS_WAIT: Duration = Duration::from_secs(30);

/// How long a node waits between two looks at what it waits for.
pub(crate) const POLL: Duration = Duration::from_millis(5);

/// What each node applies to, as far as others may look into it.
#[derive(Debug)]
pub(crate) enum Insight {
    /// Entry counts by node.
    Null(Vec<EntryCounts>),
    /// Probes by node, one per shard.
    Memory(Vec<Vec<MemoryProbe>>),
    /// Stores by node, and the shards of each.
    Kv { stores: Vec<Store>, shards: u64 },
}

/// The running nodes and the groups that are written to.
#[derive(Debug)]
pub(crate) struct Target {
    cluster: Cluster,
    pub(crate) insight: Insight,
    /// The active groups, by slot.
    pub(crate) active: Vec<u64>,
    /// The keys of a key-value run.
    pub(crate) keys: Option<KeySpace>,
}

impl Target {
    /// Opens `nodes` nodes in `dir` and waits until all groups are led where they should be.
    pub(crate) fn open(options: &Options, nodes: usize, dir: &Path) -> Result<Self, BenchError> {
        let plan = plan(options, nodes, dir)?;
        let (cluster, insight) = match options.machine {
            Machine::Null => open_null(plan, options.groups)?,
            Machine::Memory => open_memory(plan)?,
            Machine::Kv => open_kv(plan)?,
        };
        let all = cluster.nodes[0].groups();
        let active = active_groups(&all, options.active_groups);
        let keys = (options.machine == Machine::Kv).then(|| {
            let ranges = cluster.nodes[0].ranges();
            let slot_of = |key: &[u8]| active.binary_search(&ranges.group_of(key)).ok();
            KeySpace::new(options.seed, options.keys, options.key_size, active.len(), slot_of)
        });
        if let Some(slot) = keys.as_ref().and_then(KeySpace::empty_slot) {
            let group = active[slot];
            return Err(BenchError::Usage(format!(
                "no key falls on group {group}: use more --keys"
            )));
        }
        let target = Self { cluster, insight, active, keys };
        target.place_leaders(options.leaders)?;
        Ok(target)
    }

    /// The nodes, by place.
    pub(crate) fn engines(&self) -> &[Engine] {
        &self.cluster.nodes
    }

    /// The hash of a payload that the machine sums up, if it does.
    pub(crate) fn payload_hash(&self) -> Option<fn(&[u8]) -> u64> {
        matches!(self.insight, Insight::Memory(_)).then_some(payload_hash as fn(&[u8]) -> u64)
    }

    /// What node number `node` has under a `key` of `group` now, without asking the others.
    pub(crate) fn local_get(
        &self,
        node: usize,
        group: u64,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, MachineError> {
        let Insight::Kv { stores, shards } = &self.insight else { return Ok(None) };
        let shard = usize::try_from(group % shards).expect("less than the number of shards");
        stores[node].view().get(shard, key)
    }

    /// Waits until every group has a leader, and moves leaders where they should be.
    fn place_leaders(&self, leaders: Leaders) -> Result<(), BenchError> {
        let clock = Clock::new();
        loop {
            let wrong = self.misplaced(leaders);
            if wrong.is_empty() {
                return Ok(());
            }
            self.check_alive()?;
            if clock.elapsed() > LEADERS_WAIT {
                let (group, at) = wrong[0];
                return Err(BenchError::TimedOut {
                    what: format!(
                        "{} groups are not led as they should be, group {group} by {at:?}",
                        wrong.len()
                    ),
                });
            }
            std::thread::park_timeout(POLL * 4);
        }
    }

    /// Groups without a leader or with a misplaced one, which is then asked to hand over.
    fn misplaced(&self, leaders: Leaders) -> Vec<(u64, Option<u64>)> {
        let engines = self.engines();
        let mut wrong = Vec::new();
        for (number, group) in engines[0].groups().into_iter().enumerate() {
            let leads = |engine: &&Engine| engine.leader(group) == Some(engine.node_id());
            let leader = engines.iter().find(leads);
            let wanted = match leaders {
                Leaders::Spread => engines[number % engines.len()].node_id(),
                Leaders::First => engines[0].node_id(),
                Leaders::Elected => leader.map_or(0, Engine::node_id),
            };
            match leader {
                Some(leader) if leader.node_id() == wanted => {}
                Some(leader) => {
                    wrong.push((group, Some(leader.node_id())));
                    if leader.transfer_leader(group, wanted).is_err() {
                        // One is under way, or the leadership is gone: the next look tells.
                    }
                }
                None => wrong.push((group, None)),
            }
        }
        wrong
    }

    /// An error when a node has ended.
    pub(crate) fn check_alive(&self) -> Result<(), BenchError> {
        for engine in self.engines() {
            if let Some(why) = engine.fatal() {
                return Err(BenchError::NodeEnded { node: engine.node_id(), why });
            }
        }
        Ok(())
    }

    /// Stops all nodes.
    pub(crate) fn shutdown(&self) -> Result<(), BenchError> {
        Ok(self.cluster.shutdown()?)
    }
}

fn plan(options: &Options, nodes: usize, dir: &Path) -> Result<Plan, BenchError> {
    let groups = usize::try_from(options.groups).expect("at most 2^20");
    let mut plan = Plan::new(dir, nodes, groups).map_err(BenchError::io("a loopback listener"))?;
    for config in &mut plan.configs {
        config.durability = match options.durability {
            Durability::Fsync => kontiki::Durability::Fsync,
            Durability::Os => kontiki::Durability::Os,
            Durability::None => kontiki::Durability::None,
        };
        config.log_writer = match options.log_writer {
            LogWriter::Adaptive => kontiki::LogWriter::Adaptive,
            LogWriter::Inline => kontiki::LogWriter::Inline,
            LogWriter::Thread => kontiki::LogWriter::Thread,
        };
        if let Some(workers) = options.workers {
            config.workers = workers;
        }
        config.on_fatal = on_fatal();
        config.seed = config.seed.wrapping_add(options.seed << 8);
    }
    Ok(plan)
}

/// A node that ends must end the run with a message, not the process without one.
pub(crate) fn on_fatal() -> OnFatal {
    OnFatal::Call(Arc::new(|fatal| eprintln!("a node ends: {fatal}")))
}

fn open_null(plan: Plan, groups: u64) -> Result<(Cluster, Insight), BenchError> {
    let counts: Vec<EntryCounts> = plan.configs.iter().map(|_| EntryCounts::new(groups)).collect();
    let nodes = plan.configs.into_iter().zip(&counts).map(|(config, counts)| {
        let machine = |context: MachineContext| CountedNull::open(context, counts.clone());
        Engine::open(config, plan.bootstrap.clone(), machine)
    });
    let nodes = nodes.collect::<Result<_, _>>()?;
    Ok((Cluster { nodes }, Insight::Null(counts)))
}

fn open_memory(plan: Plan) -> Result<(Cluster, Insight), BenchError> {
    let (mut nodes, mut probes) = (Vec::new(), Vec::new());
    for config in plan.configs {
        let of_node = Arc::new(Mutex::new(Vec::new()));
        let engine = Engine::open(config, plan.bootstrap.clone(), |context| {
            let machine = MemoryMachine::open(context)?;
            of_node.lock().push(machine.probe());
            Ok(machine)
        })?;
        nodes.push(engine);
        let of_node = of_node.lock().clone();
        probes.push(of_node);
    }
    Ok((Cluster { nodes }, Insight::Memory(probes)))
}

fn open_kv(plan: Plan) -> Result<(Cluster, Insight), BenchError> {
    let shards = plan.configs[0].workers as u64;
    let stores = plan.configs.into_iter().map(|config| Store::open(config, plan.bootstrap.clone()));
    let stores = stores.collect::<Result<Vec<Store>, _>>()?;
    let nodes = stores.iter().map(|store| store.engine().clone()).collect();
    Ok((Cluster { nodes }, Insight::Kv { stores, shards }))
}
