//! What a node is told: one TOML file, flags that override it, and one check that turns both into [`Settings`].
//!
//! A key that is not known is an error with its line: a misspelt limit that is silently ignored is found at the
//! worst moment. Every limit is checked by the engine's own `Config::validate`; here are only the names.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use kontiki::{Bootstrap, Config, Durability, LogWriter};
use serde::Deserialize;

/// The groups of a new store when nobody says how many.
const GROUPS_DEFAULT: usize = 16;

/// A node of a Kontiki cluster.
///
/// Everything comes from one TOML file (--config), from flags, or from both; flags win.
/// It prints one line `ready node=… listen=… admin=…` once it serves, and stops cleanly on SIGTERM.
///
/// Exit codes: 0 stopped cleanly, 2 bad flags or configuration, 3 an address cannot be bound or a file cannot be
/// read, 4 the store is in use, 5 the store is not this node's (foreign, too new, not a store), 6 the store is
/// damaged, 70 the engine failed while running, 71 stopping was not clean, 130 a second signal ended it at once.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "kontiki-node", version, max_term_width = 100)]
pub struct Flags {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// This node's id, not zero
    #[arg(long, value_name = "ID")]
    pub node: Option<u64>,
    /// The cluster's id: decimal, or hexadecimal with 0x
    #[arg(long, value_name = "ID", value_parser = parse_cluster)]
    pub cluster: Option<u128>,
    /// Where the store lives; made when absent
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where the witness of the last synced batch lives; best on another device
    #[arg(long, value_name = "DIR")]
    pub witness_dir: Option<PathBuf>,
    /// Where peers reach this node; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// The admin listener, or `off` [default: 127.0.0.1:0]
    #[arg(long, value_name = "ADDR|off")]
    pub admin: Option<Admin>,
    /// A peer: its id, its address and, after a comma, its admin address; replaces the file's peers
    #[arg(long = "peer", value_name = "ID=ADDR[,ADMIN]")]
    pub peers: Vec<Peer>,
    /// How many groups a new store is split into; the same on every node
    #[arg(long, value_name = "N")]
    pub groups: Option<usize>,
    /// The state machine
    #[arg(long)]
    pub machine: Option<Machine>,
    /// How far a write goes before it is acknowledged; anything but fsync may lose data
    #[arg(long, value_name = "fsync|os|none", value_parser = parse_durability)]
    pub durability: Option<Durability>,
    /// Worker threads; the same on every node
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// How long a follower waits for its leader
    #[arg(long, value_name = "MS")]
    pub election_timeout_ms: Option<u32>,
    /// How often a leader shows itself when it has nothing else to send
    #[arg(long, value_name = "MS")]
    pub heartbeat_ms: Option<u32>,
    /// Listen off loopback although peers are not authenticated
    #[arg(long)]
    pub insecure: bool,
}

/// The state machine behind the groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Machine {
    /// The key-value store.
    #[default]
    Kv,
    /// Counts and digests in memory, rebuilt from the log; for measuring.
    Memory,
    /// Forgets everything; for measuring.
    Null,
}

impl Machine {
    /// Its name in flags, files and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kv => "kv",
            Self::Memory => "memory",
            Self::Null => "null",
        }
    }
}

/// Where the admin listener is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Admin {
    /// Nowhere.
    Off,
    /// At this address.
    At(SocketAddr),
}

impl std::str::FromStr for Admin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse().map(Self::At).map_err(|_| format!("`{text}` is neither `off` nor IP:PORT"))
    }
}

impl TryFrom<String> for Admin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A peer, as it was told: addresses may name hosts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its node id.
    pub id: u64,
    /// Where it listens for its peers.
    pub addr: String,
    /// Where its admin listener is.
    pub admin: Option<String>,
}

impl std::str::FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (id, addresses) = text.split_once('=').ok_or("not of the form ID=ADDR[,ADMIN]")?;
        let id = id.parse().map_err(|_| format!("`{id}` is no node id"))?;
        let (addr, admin) = match addresses.split_once(',') {
            Some((addr, admin)) => (addr, Some(admin.to_owned())),
            None => (addresses, None),
        };
        Ok(Self { id, addr: addr.to_owned(), admin })
    }
}

/// The file, with nothing checked but its syntax and its names.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    node: Option<u64>,
    cluster: Option<ClusterId>,
    data_dir: Option<PathBuf>,
    witness_dir: Option<PathBuf>,
    listen: Option<SocketAddr>,
    admin: Option<Admin>,
    machine: Option<Machine>,
    durability: Option<DurabilityName>,
    workers: Option<usize>,
    log_writer: Option<LogWriterName>,
    seed: Option<u64>,
    insecure: bool,
    peers: Vec<Peer>,
    bootstrap: BootstrapTable,
    timing: TimingTable,
    limits: LimitsTable,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct BootstrapTable {
    groups: Option<usize>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TimingTable {
    election_timeout_ms: Option<u32>,
    heartbeat_ms: Option<u32>,
    flush_interval_ms: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsTable {
    inbox_bytes_max: Option<usize>,
    cache_bytes_max: Option<usize>,
    peer_queue_bytes_max: Option<usize>,
    log_retain_bytes: Option<u64>,
    log_memtable_bytes: Option<usize>,
    inflight_bytes_max: Option<u32>,
    uncommitted_bytes_max: Option<u32>,
}

/// A cluster id: a number, or a text for those that are larger than TOML's numbers.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "a cluster id is a positive number, or a text such as \"0x1f\"")]
enum ClusterId {
    Number(u64),
    Text(String),
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DurabilityName {
    Fsync,
    Os,
    None,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LogWriterName {
    Adaptive,
    Inline,
    Thread,
}

fn parse_cluster(text: &str) -> Result<u128, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u128::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| format!("`{text}` is no cluster id (decimal, or hexadecimal with 0x)"))
}

fn parse_durability(text: &str) -> Result<Durability, String> {
    match text {
        "fsync" => Ok(Durability::Fsync),
        "os" => Ok(Durability::Os),
        "none" => Ok(Durability::None),
        _ => Err("it is fsync, os or none".to_owned()),
    }
}

/// Why the configuration was refused: one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError(String);

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SettingsError {}

fn refuse<T>(why: impl Into<String>) -> Result<T, SettingsError> {
    Err(SettingsError(why.into()))
}

/// Everything a node needs to start; checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The engine's configuration.
    pub config: Config,
    /// What a new store is made from.
    pub bootstrap: Bootstrap,
    /// The state machine.
    pub machine: Machine,
    /// Where the admin listener is to be; `None` for nowhere.
    pub admin: Option<SocketAddr>,
    /// The peers as they were told, with their admin addresses.
    pub peers: Vec<Peer>,
}

impl Settings {
    /// Reads the file that `flags` name, if any, lets the flags override it, and checks the result.
    ///
    /// # Errors
    /// The first thing that is wrong, with file and line where it has one.
    pub fn load(flags: &Flags) -> Result<Self, SettingsError> {
        let file = match &flags.config {
            Some(path) => read(path)?,
            None => File::default(),
        };
        Self::merge(flags, file)
    }

    fn merge(flags: &Flags, file: File) -> Result<Self, SettingsError> {
        let Some(node) = flags.node.or(file.node) else {
            return refuse("no node id: give --node, or `node` in the file");
        };
        let Some(dir) = flags.data_dir.clone().or_else(|| file.data_dir.clone()) else {
            return refuse("no directory: give --data-dir, or `data_dir` in the file");
        };
        let peers = if flags.peers.is_empty() { file.peers.clone() } else { flags.peers.clone() };
        let groups = flags.groups.or(file.bootstrap.groups).unwrap_or(GROUPS_DEFAULT);
        if groups == 0 || groups > kontiki::range::RANGES_MAX {
            return refuse(format!(
                "bootstrap.groups: {groups} is not between 1 and {}",
                kontiki::range::RANGES_MAX
            ));
        }
        let mut config = Config::new(dir, node);
        config.peers = peers.iter().map(resolve).collect::<Result<_, _>>()?;
        fill(&mut config, flags, &file)?;
        config.validate().map_err(|e| SettingsError(format!("{}: {}", e.field, e.why)))?;

        let admin = match flags.admin.or(file.admin) {
            Some(Admin::Off) => None,
            Some(Admin::At(address)) => Some(address),
            None => Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        };
        let exposed = |address: &SocketAddr| !address.ip().is_loopback() && !config.insecure;
        if exposed(&config.listen) {
            return refuse(format!(
                "listen: {} is not loopback, and peers are not authenticated: say --insecure if that is meant",
                config.listen
            ));
        }
        if let Some(address) = admin.filter(exposed) {
            return refuse(format!(
                "admin: {address} is not loopback, and whoever reaches it may write: say --insecure if that is meant"
            ));
        }
        let mut nodes: Vec<u64> = peers.iter().map(|p| p.id).chain([node]).collect();
        nodes.sort_unstable();
        let bootstrap = Bootstrap::groups(&nodes, groups);
        let machine = flags.machine.or(file.machine).unwrap_or_default();
        Ok(Self { config, bootstrap, machine, admin, peers })
    }
}

/// Copies what was said, and leaves the default where nothing was.
fn fill(config: &mut Config, flags: &Flags, file: &File) -> Result<(), SettingsError> {
    fn set<T>(to: &mut T, from: Option<T>) {
        if let Some(value) = from {
            *to = value;
        }
    }
    let cluster = match (&flags.cluster, &file.cluster) {
        (Some(id), _) => Some(*id),
        (None, Some(ClusterId::Number(id))) => Some(u128::from(*id)),
        (None, Some(ClusterId::Text(text))) => {
            Some(parse_cluster(text).map_err(|e| SettingsError(format!("cluster: {e}")))?)
        }
        (None, None) => None,
    };
    set(&mut config.cluster_id, cluster);
    config.witness_dir = flags.witness_dir.clone().or_else(|| file.witness_dir.clone());
    set(&mut config.listen, flags.listen.or(file.listen));
    config.insecure = flags.insecure || file.insecure;
    let durability = file.durability.map(|name| match name {
        DurabilityName::Fsync => Durability::Fsync,
        DurabilityName::Os => Durability::Os,
        DurabilityName::None => Durability::None,
    });
    set(&mut config.durability, flags.durability.or(durability));
    set(&mut config.workers, flags.workers.or(file.workers));
    let log_writer = file.log_writer.map(|name| match name {
        LogWriterName::Adaptive => LogWriter::Adaptive,
        LogWriterName::Inline => LogWriter::Inline,
        LogWriterName::Thread => LogWriter::Thread,
    });
    set(&mut config.log_writer, log_writer);
    set(&mut config.seed, file.seed);

    let timeout = flags.election_timeout_ms.or(file.timing.election_timeout_ms);
    set(&mut config.raft.election_timeout_us, timeout.map(|ms| ms.saturating_mul(1000)));
    let heartbeat = flags.heartbeat_ms.or(file.timing.heartbeat_ms);
    set(&mut config.raft.heartbeat_us, heartbeat.map(|ms| ms.saturating_mul(1000)));
    set(&mut config.flush_interval, file.timing.flush_interval_ms.map(Duration::from_millis));

    let limits = &file.limits;
    set(&mut config.inbox_bytes_max, limits.inbox_bytes_max);
    set(&mut config.cache_bytes_max, limits.cache_bytes_max);
    set(&mut config.peer_queue_bytes_max, limits.peer_queue_bytes_max);
    set(&mut config.log_retain_bytes, limits.log_retain_bytes);
    set(&mut config.log_memtable_bytes, limits.log_memtable_bytes);
    set(&mut config.raft.inflight_bytes_max, limits.inflight_bytes_max);
    set(&mut config.raft.uncommitted_bytes_max, limits.uncommitted_bytes_max);
    Ok(())
}

fn read(path: &Path) -> Result<File, SettingsError> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|e| SettingsError(format!("{name}: {e}")))?;
    parse(&text).map_err(|(line, why)| SettingsError(format!("{name}:{line}: {why}")))
}

/// The file's content, or the line and what is wrong with it.
fn parse(text: &str) -> Result<File, (usize, String)> {
    toml::from_str(text).map_err(|e| {
        let at = e.span().map_or(0, |span| span.start.min(text.len()));
        let line = text.as_bytes()[..at].iter().filter(|&&b| b == b'\n').count() + 1;
        (line, e.message().trim().replace('\n', " "))
    })
}

fn resolve(peer: &Peer) -> Result<(u64, SocketAddr), SettingsError> {
    let refuse =
        |why: String| SettingsError(format!("peers: node {}: `{}`: {why}", peer.id, peer.addr));
    let mut addresses = peer.addr.to_socket_addrs().map_err(|e| refuse(e.to_string()))?;
    addresses.next().map(|a| (peer.id, a)).ok_or_else(|| refuse("no address".to_owned()))
}

#[cfg(test)]
mod tests;
