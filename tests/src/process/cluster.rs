//! Three nodes that know each other's addresses, and what all of them say together.
//!
//! Every address must be known before the first node starts, and stay the node's while it is down. So ports are
//! taken from below the range that the system hands out by itself: no connection of anybody's can be given one
//! of them while its node is away.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use super::{Node, within};

/// Ports below the system's own range.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// The timing that most tests use: short, so that they are.
pub const GROUP_TIMING: [&str; 2] = ["--election-timeout-ms=500", "--heartbeat-ms=100"];

/// Three nodes, each running or not.
#[derive(Debug)]
pub struct Cluster {
    dir: PathBuf,
    addresses: Vec<(SocketAddr, SocketAddr)>,
    flags: Vec<String>,
    /// How many groups there are.
    pub groups: u64,
    /// The nodes by position; node ids are one higher.
    pub nodes: Vec<Option<Node>>,
}

/// `count` addresses that are free now, and that nobody is given by chance.
fn free_addresses(count: usize) -> Vec<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let span = PORTS.end - PORTS.start;
    let start = u16::try_from(std::process::id() * 131 % u32::from(span)).expect("below the span");
    let mut bound = Vec::new();
    for _ in 0..span {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start
            + u16::try_from((u32::from(start) + u32::from(step)) % u32::from(span))
                .expect("below the span");
        // All stay bound until there are enough, so that they differ and are free.
        bound.extend(TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
        if bound.len() == count {
            break;
        }
    }
    assert_eq!(bound.len(), count, "free ports in {PORTS:?}");
    bound.iter().map(|listener| listener.local_addr().unwrap()).collect()
}

impl Cluster {
    /// Starts three nodes with `groups` groups in `dir`, and waits until every group is led.
    ///
    /// # Panics
    /// When they do not come up.
    #[must_use]
    pub fn start(dir: &Path, groups: u64, flags: &[&str]) -> Self {
        for attempt in 1..=5 {
            let free = free_addresses(6);
            let addresses = free.chunks(2).map(|pair| (pair[0], pair[1])).collect();
            let dir = dir.join(format!("attempt-{attempt}"));
            std::fs::create_dir_all(&dir).unwrap();
            let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
            let mut cluster = Self { dir, addresses, flags, groups, nodes: Vec::new() };
            cluster.nodes = (0..3).map(|at| Some(cluster.spawn(at))).collect();
            let ready: Vec<_> = cluster.nodes.iter_mut().flatten().map(Node::ready).collect();
            let lost: Vec<_> = ready.into_iter().filter_map(Result::err).collect();
            if lost.is_empty() {
                cluster.wait_all_led(Duration::from_secs(60));
                return cluster;
            }
            // Somebody else took a port between our look and the node's.
            let taken = |(_, said): &(_, String)| said.contains("in use");
            assert!(lost.iter().all(taken), "a node does not start: {lost:?}");
        }
        panic!("no six free ports in five attempts");
    }

    /// The directory of the store of the node at `at`.
    #[must_use]
    pub fn data_dir(&self, at: usize) -> PathBuf {
        self.dir.join(format!("node-{}", at + 1))
    }

    /// Where the node at `at` listens for its peers.
    #[must_use]
    pub fn peer_address(&self, at: usize) -> SocketAddr {
        self.addresses[at].0
    }

    /// The admin addresses of all nodes, by position.
    #[must_use]
    pub fn admins(&self) -> Vec<String> {
        self.addresses.iter().map(|(_, admin)| admin.to_string()).collect()
    }

    /// The flags of the node at `at`.
    #[must_use]
    pub fn args(&self, at: usize) -> Vec<String> {
        let (listen, admin) = self.addresses[at];
        let mut args = vec![
            format!("--node={}", at + 1),
            format!("--data-dir={}", self.data_dir(at).display()),
            format!("--listen={listen}"),
            format!("--admin={admin}"),
            format!("--groups={}", self.groups),
        ];
        args.extend(self.flags.iter().cloned());
        for (peer, (listen, admin)) in self.addresses.iter().enumerate() {
            if peer != at {
                args.push(format!("--peer={}={listen},{admin}", peer + 1));
            }
        }
        args
    }

    /// A new process for the node at `at`, not waited for.
    #[must_use]
    pub fn spawn(&self, at: usize) -> Node {
        let said = self.dir.join(format!("node-{}.err", at + 1));
        Node::spawn(&self.args(at), self.addresses[at].1.to_string(), &said)
    }

    /// Starts the node at `at` again and waits until it says that it serves.
    ///
    /// # Panics
    /// When it does not.
    pub fn restart(&mut self, at: usize) {
        let mut node = self.spawn(at);
        node.ready().unwrap_or_else(|ended| panic!("node {} ended: {ended:?}", at + 1));
        self.nodes[at] = Some(node);
    }

    /// The running node at `at`.
    ///
    /// # Panics
    /// When it is down.
    #[must_use]
    pub fn node(&self, at: usize) -> &Node {
        self.nodes[at].as_ref().expect("a running node")
    }

    /// How many groups the node at `at` leads.
    #[must_use]
    pub fn leading(&self, at: usize) -> Option<u64> {
        self.nodes[at].as_ref()?.json("/v1/status")?["leading"].as_u64()
    }

    /// Whether each group has one leader and every running node knows it.
    #[must_use]
    pub fn all_led(&self) -> bool {
        let statuses: Option<Vec<_>> =
            self.nodes.iter().flatten().map(|node| node.json("/v1/status")).collect();
        statuses.is_some_and(|statuses| {
            let sum = |name: &str| statuses.iter().filter_map(|s| s[name].as_u64()).sum::<u64>();
            sum("leading") == self.groups && sum("leaderless") == 0
        })
    }

    /// Waits for [`Cluster::all_led`]; returns how long it took.
    ///
    /// # Panics
    /// When it is not so in time.
    pub fn wait_all_led(&self, limit: Duration) -> Duration {
        within("leaders of all groups", limit, || self.all_led().then_some(())).1
    }

    /// By group, a field of the status of its replica on the node at `at`.
    #[must_use]
    pub fn by_group(&self, at: usize, field: &str) -> Option<BTreeMap<u64, u64>> {
        let listing = self.nodes[at].as_ref()?.json("/v1/groups")?;
        listing
            .as_array()?
            .iter()
            .map(|g| Some((g["group"].as_u64()?, g[field].as_u64()?)))
            .collect()
    }
}
