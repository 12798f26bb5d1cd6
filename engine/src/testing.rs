//! Several nodes in one process, over real sockets and real disks: for tests, benchmarks and first steps.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{Bootstrap, Config};
use crate::engine::Engine;
use crate::error::StartError;
use crate::machine::{MachineContext, MachineError, StateMachine};

/// The nodes of a cluster to be, each with a bound loopback listener, so that all addresses are known before
/// the first node starts.
#[derive(Debug)]
pub struct Plan {
    /// A configuration per node, node ids from 1 on; change what you like before opening.
    pub configs: Vec<Config>,
    /// What the stores are formatted from when they are new.
    pub bootstrap: Bootstrap,
}

impl Plan {
    /// `nodes` nodes with their stores in `dir/node-N`, and `groups` groups on each.
    ///
    /// # Errors
    /// When a loopback port cannot be bound.
    pub fn new(dir: &Path, nodes: usize, groups: usize) -> io::Result<Self> {
        let ids: Vec<u64> = (1..=nodes as u64).collect();
        let listeners = ids
            .iter()
            .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map(Arc::new))
            .collect::<io::Result<Vec<_>>>()?;
        let addresses = listeners.iter().map(|l| l.local_addr()).collect::<io::Result<Vec<_>>>()?;
        let configs = ids
            .iter()
            .zip(listeners)
            .map(|(&id, listener)| {
                let mut config = Config::new(dir.join(format!("node-{id}")), id);
                config.listener = Some(listener);
                let all = ids.iter().copied().zip(addresses.iter().copied());
                config.peers = all.filter(|&(peer, _)| peer != id).collect();
                config
            })
            .collect();
        Ok(Self { configs, bootstrap: Bootstrap::groups(&ids, groups) })
    }
}

/// Running nodes in one process; see [`Plan`].
///
/// ```
/// use kontiki::testing::{Cluster, Plan};
/// use kontiki::machine::NullMachine;
/// let dir = tempfile::tempdir()?;
/// let cluster = Cluster::open(Plan::new(dir.path(), 3, 4)?, NullMachine::open)?;
/// let leader = cluster.wait_leader(1);
/// leader.propose(1, b"hello")?.wait()?;
/// cluster.shutdown()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Cluster {
    /// The nodes, by position; node ids are one higher.
    pub nodes: Vec<Engine>,
}

impl Cluster {
    /// Opens every node of `plan`; `machine` is called once per node and shard.
    ///
    /// # Errors
    /// The first node that cannot be opened.
    pub fn open<M: StateMachine>(
        plan: Plan,
        mut machine: impl FnMut(MachineContext) -> Result<M, MachineError>,
    ) -> Result<Self, StartError> {
        let nodes = plan
            .configs
            .into_iter()
            .map(|config| Engine::open(config, plan.bootstrap.clone(), &mut machine))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { nodes })
    }

    /// The node that leads `group`, once one does.
    ///
    /// # Panics
    /// After 30 s without a leader.
    #[must_use]
    pub fn wait_leader(&self, group: u64) -> &Engine {
        wait_until("a leader", || self.leader(group)).expect("a leader within 30 s")
    }

    /// The node that says of itself that it leads `group`.
    #[must_use]
    pub fn leader(&self, group: u64) -> Option<&Engine> {
        self.nodes.iter().find(|engine| engine.leader(group) == Some(engine.node_id()))
    }

    /// Waits until every group has a leader that the leader itself knows of.
    ///
    /// # Panics
    /// After 30 s with a leaderless group.
    pub fn wait_all_led(&self) {
        for group in self.nodes[0].groups() {
            assert!(self.wait_leader(group).leader(group).is_some(), "waited for just now");
        }
    }

    /// Stops every node.
    ///
    /// # Errors
    /// The first node's that could not stop cleanly; all are stopped.
    pub fn shutdown(&self) -> Result<(), crate::engine::ShutdownError> {
        let results: Vec<_> = self.nodes.iter().map(Engine::shutdown).collect();
        results.into_iter().collect()
    }
}

/// Asks `f` again and again, a few milliseconds apart, until it has an answer; `None` after 30 s.
pub fn wait_until<T>(what: &str, mut f: impl FnMut() -> Option<T>) -> Option<T> {
    let clock = Clock::new();
    let limit = clock.now().0 + 30_000_000;
    loop {
        if let Some(answer) = f() {
            return Some(answer);
        }
        if clock.now().0 > limit {
            eprintln!("waited 30 s in vain for {what}");
            return None;
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// A place for the stores of node `node` under `dir`, as [`Plan`] lays them out.
#[must_use]
pub fn node_dir(dir: &Path, node: u64) -> PathBuf {
    dir.join(format!("node-{node}"))
}
