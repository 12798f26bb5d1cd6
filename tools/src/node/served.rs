//! The engine behind the admin listener: what it is, and in which part of its life.
//!
//! The listener answers before the store is open and while it stops, so the engine is behind a cell that is set
//! once; no call through it takes a lock.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use kontiki::clock::Clock;
use kontiki::error::StartError;
use kontiki::machine::{MemoryMachine, NullMachine};
use kontiki::{Engine, Store};
use parking_lot::Mutex;

use super::config::{Machine, Peer, Settings};
use crate::api::{ClusterNode, ClusterReport, NodeReport, durability_name};

/// The engine, with the calls that its state machine allows.
#[derive(Debug)]
enum Opened {
    Kv(Store),
    Raw(Engine),
}

/// What the admin listener answers from.
#[derive(Debug)]
pub(super) struct Served {
    opened: OnceLock<Opened>,
    stopping: AtomicBool,
    clock: Clock,
    admin: Option<SocketAddr>,
    machine: Machine,
    durability: kontiki::Durability,
    node: u64,
    cluster: u128,
    peers: Vec<Peer>,
    /// The store's directory, for looking at the log of a running node.
    pub(super) dir: PathBuf,
    /// Held while the log is being read: one reader at a time is enough for an operator.
    pub(super) reading: Mutex<()>,
}

impl Served {
    pub(super) fn new(settings: &Settings, admin: Option<SocketAddr>) -> Self {
        Self {
            opened: OnceLock::new(),
            stopping: AtomicBool::new(false),
            clock: Clock::new(),
            admin,
            machine: settings.machine,
            durability: settings.config.durability,
            node: settings.config.node_id,
            cluster: settings.config.cluster_id,
            peers: settings.peers.clone(),
            dir: settings.config.dir.clone(),
            reading: Mutex::new(()),
        }
    }

    /// Opens the store and starts the engine.
    pub(super) fn open(&self, settings: Settings) -> Result<(), StartError> {
        let Settings { config, bootstrap, machine, .. } = settings;
        let opened = match machine {
            Machine::Kv => Opened::Kv(Store::open(config, bootstrap)?),
            Machine::Memory => Opened::Raw(Engine::open(config, bootstrap, MemoryMachine::open)?),
            Machine::Null => Opened::Raw(Engine::open(config, bootstrap, NullMachine::open)?),
        };
        self.opened.set(opened).expect("opened once, by the thread that runs the node");
        Ok(())
    }

    /// The engine, once it is open.
    pub(super) fn engine(&self) -> Option<&Engine> {
        self.opened.get().map(|opened| match opened {
            Opened::Kv(store) => store.engine(),
            Opened::Raw(engine) => engine,
        })
    }

    /// The key-value store, when that is what this node serves.
    pub(super) fn store(&self) -> Option<&Store> {
        match self.opened.get()? {
            Opened::Kv(store) => Some(store),
            Opened::Raw(_) => None,
        }
    }

    /// Says that the node is about to stop.
    pub(super) fn stopping(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    /// Why this node does not serve, when it does not.
    pub(super) fn trouble(&self) -> Option<String> {
        let Some(engine) = self.engine() else {
            return Some("starting: the store is being opened".to_owned());
        };
        if let Some(reason) = engine.fatal() {
            return Some(format!("the engine failed: {reason}"));
        }
        self.stopping.load(Ordering::SeqCst).then(|| "stopping".to_owned())
    }

    pub(super) fn uptime_s(&self) -> u64 {
        // The clock starts at one second.
        self.clock.now().0 / 1_000_000 - 1
    }

    /// Whether there is anyone to hand leaderships to.
    pub(super) fn has_peers(&self) -> bool {
        !self.peers.is_empty()
    }

    pub(super) fn machine(&self) -> Machine {
        self.machine
    }

    pub(super) fn node_report(&self, status: kontiki::status::NodeStatus) -> NodeReport {
        NodeReport {
            status,
            admin: self.admin.map(|a| a.to_string()).unwrap_or_default(),
            machine: self.machine.name().to_owned(),
            durability: durability_name(self.durability).to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: self.uptime_s(),
        }
    }

    pub(super) fn cluster_report(&self) -> ClusterReport {
        let listen = self.engine().map(|e| e.listen_address().to_string()).unwrap_or_default();
        let own = ClusterNode {
            node: self.node,
            address: listen,
            admin: self.admin.map(|a| a.to_string()),
        };
        let peers = self.peers.iter().map(|peer| ClusterNode {
            node: peer.id,
            address: peer.addr.clone(),
            admin: peer.admin.clone(),
        });
        let mut nodes: Vec<ClusterNode> = peers.chain([own]).collect();
        nodes.sort_by_key(|node| node.node);
        ClusterReport { cluster: format!("{:#x}", self.cluster), node: self.node, nodes }
    }
}
