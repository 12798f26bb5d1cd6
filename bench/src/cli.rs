//! Flags in, checked [`Options`] out: past this file nothing asks again whether a number makes sense.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;

use crate::error::BenchError;
use crate::failover::{FailoverArgs, VictimArgs};
use crate::idle::IdleArgs;

/// Requests under way at which three synced nodes on two cores are close to saturated; more mostly adds waiting.
const REQUESTS_UNDER_WAY: u32 = 16_384;

/// The fewest requests that a client has under way when the flags do not say: with thousands of groups, each of
/// which has one client, a round is to hold more than a handful of a group's entries.
const PIPELINE_MIN: u32 = 16;

/// The fewest logical clients that are used when the flags do not say.
const CLIENTS_MIN: u32 = 256;

const EXIT_CODES: &str = "\
Exit codes:
  0  everything that was acknowledged is there, on all replicas alike
  1  verification failed: an acknowledged write is missing, or replicas differ
  2  the flags make no sense
  3  the run could not be set up, or could not go on";

/// Measures Kontiki: committed and applied requests per second, their latency, and what each of them costs.
#[derive(Debug, Parser)]
#[command(name = "raft-bench", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Two numbers in about 20 seconds: how much, and how fast for one. Three nodes in this process, synced
    #[command(after_help = EXIT_CODES)]
    Quick(QuickArgs),
    /// One measured run with everything adjustable
    #[command(after_help = EXIT_CODES)]
    Run(Box<RunArgs>),
    /// What groups cost that nobody writes to: memory, processor time, messages, and the time to start them
    #[command(after_help = EXIT_CODES)]
    Idle(IdleArgs),
    /// For how long groups cannot be written to when the node that led them is killed
    #[command(after_help = EXIT_CODES)]
    Failover(FailoverArgs),
    /// The node that `failover` kills
    #[command(hide = true)]
    FailoverNode(VictimArgs),
    /// What the machine itself needs for one synced write, or for one round trip
    Micro(MicroArgs),
}

/// Flags of `quick`.
#[derive(Clone, Debug, Args)]
pub(crate) struct QuickArgs {
    /// Where the stores are made (in a directory of their own, which is removed). Default: the system's
    /// temporary directory, or the current one when that is kept in memory
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Write both reports as one JSON object
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// Flags of `micro`.
#[derive(Clone, Debug, Args)]
pub(crate) struct MicroArgs {
    /// What to measure
    #[arg(value_enum)]
    pub(crate) what: Micro,
    /// How long
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "5s")]
    pub(crate) duration: Duration,
    /// Where `sync` makes its databases (in a directory of their own, which is removed)
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// The two things every write is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Micro {
    /// One small synced RocksDB write, while three databases do the same
    Sync,
    /// One TCP round trip on loopback between two threads that sleep in between
    Loopback,
}

/// Flags of `run`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    /// Run this many nodes in this process [default: 3]
    #[arg(long, value_name = "N", conflicts_with = "endpoints")]
    pub(crate) embedded: Option<usize>,
    /// Drive running nodes instead, through their admin addresses (host:port, comma separated; `kv` only)
    #[arg(long, value_name = "A,B,C", value_delimiter = ',')]
    pub(crate) endpoints: Vec<String>,
    /// What the committed requests are applied to [default: memory, with --endpoints kv]
    #[arg(long, value_enum)]
    pub(crate) machine: Option<Machine>,
    /// Groups that exist (with `kv`: ranges)
    #[arg(long, value_name = "N", default_value_t = 48)]
    pub(crate) groups: u64,
    /// How many of the groups are written to [default: all]
    #[arg(long, value_name = "N")]
    pub(crate) active_groups: Option<u64>,
    /// Bytes of one value; the first 16 name client and request
    #[arg(long, value_name = "BYTES", default_value_t = 16)]
    pub(crate) value_size: usize,
    /// Bytes of one key (`kv`)
    #[arg(long, value_name = "BYTES", default_value_t = 16)]
    pub(crate) key_size: usize,
    /// How many different keys there are (`kv`)
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub(crate) keys: u32,
    /// Logical clients, each with one group of its own choice [default: 256, or one per active group]
    #[arg(long, value_name = "N")]
    pub(crate) clients: Option<u32>,
    /// Requests each client keeps under way (closed loop) [default: 16384 in all, 16 at least]
    #[arg(long, value_name = "N", conflicts_with = "rate")]
    pub(crate) pipeline: Option<u32>,
    /// Requests per second whatever the answers do (open loop): latency counts from the intended start
    #[arg(long, value_name = "PER_SECOND")]
    pub(crate) rate: Option<f64>,
    /// Shares of writes and linearizable reads
    #[arg(long, value_name = "put=N,get=N", default_value_t = Mix { put: 1, get: 0 })]
    pub(crate) mix: Mix,
    /// Threads of the load generator; a group belongs to one of them [default: 1; with --endpoints one per client]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Not measured
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "3s")]
    pub(crate) warmup: Duration,
    /// Measured
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "10s")]
    pub(crate) duration: Duration,
    /// How far a write goes before it is acknowledged
    #[arg(long, value_enum, default_value_t = Durability::Fsync)]
    pub(crate) durability: Durability,
    /// Where a round is written and synced
    #[arg(long, value_enum, default_value_t = LogWriter::Adaptive)]
    pub(crate) log_writer: LogWriter,
    /// Worker threads (shards) of each node [default: the engine's]
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<usize>,
    /// Who leads the groups when measuring begins
    #[arg(long, value_enum, default_value_t = Leaders::Spread)]
    pub(crate) leaders: Leaders,
    /// Where the stores are made (in a directory of their own, which is removed). Default: the system's
    /// temporary directory, or the current one when that is kept in memory
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Leave the stores behind
    #[arg(long)]
    pub(crate) keep: bool,
    /// The seed of keys, kinds and values
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the latencies, one histogram a second, as an HdrHistogram interval log
    #[arg(long, value_name = "FILE")]
    pub(crate) hdr: Option<PathBuf>,
}

/// What is applied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Machine {
    /// Nothing: replication alone
    Null,
    /// A table in memory, with what the verification needs
    Memory,
    /// The range-partitioned key-value store on RocksDB
    Kv,
}

/// How far a write goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Durability {
    /// Synced to the disk: the only one that survives a power cut
    Fsync,
    /// Handed to the operating system
    Os,
    /// Kept in memory
    None,
}

/// Where the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogWriter {
    /// In the worker for a lone small round, else on the writer's thread
    Adaptive,
    /// In the worker
    Inline,
    /// On the writer's thread
    Thread,
}

/// Where the leaders are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Leaders {
    /// Evenly on all nodes
    Spread,
    /// All on the first node
    First,
    /// Where the elections put them
    Elected,
}

/// Shares of writes and reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Mix {
    /// Writes.
    pub(crate) put: u32,
    /// Linearizable reads.
    pub(crate) get: u32,
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "put={},get={}", self.put, self.get)
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut mix = Self { put: 0, get: 0 };
        for part in text.split(',') {
            let (name, share) =
                part.split_once('=').ok_or_else(|| format!("{part:?} is not name=N"))?;
            let share: u32 = share.parse().map_err(|e| format!("{part:?}: {e}"))?;
            match name {
                "put" => mix.put = share,
                "get" => mix.get = share,
                _ => return Err(format!("{name:?} is neither put nor get")),
            }
        }
        if mix.put == 0 && mix.get == 0 {
            return Err("all shares are zero".to_owned());
        }
        mix.put.checked_add(mix.get).ok_or("the shares are too large")?;
        Ok(mix)
    }
}

/// How requests are issued.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Loop {
    /// Each client keeps so many under way.
    Closed {
        /// Requests per client.
        pipeline: u32,
    },
    /// So many per second, whatever the answers do.
    Open {
        /// Requests per second.
        rate: f64,
    },
}

/// What is driven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Nodes in this process.
    Embedded(usize),
    /// Running nodes, by admin address.
    Endpoints(Vec<String>),
}

/// The checked flags of one run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) target: Target,
    pub(crate) machine: Machine,
    pub(crate) groups: u64,
    pub(crate) active_groups: u32,
    pub(crate) value_size: usize,
    pub(crate) key_size: usize,
    pub(crate) keys: u32,
    pub(crate) clients: u32,
    pub(crate) pace: Loop,
    pub(crate) mix: Mix,
    pub(crate) threads: usize,
    pub(crate) warmup: Duration,
    pub(crate) duration: Duration,
    pub(crate) durability: Durability,
    pub(crate) log_writer: LogWriter,
    pub(crate) workers: Option<usize>,
    pub(crate) leaders: Leaders,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) keep: bool,
    pub(crate) seed: u64,
    pub(crate) json: Option<PathBuf>,
    pub(crate) hdr: Option<PathBuf>,
}

/// A flag that makes no sense.
pub(crate) fn refuse<T>(why: impl Into<String>) -> Result<T, BenchError> {
    Err(BenchError::Usage(why.into()))
}

impl RunArgs {
    /// Checks the flags together and fills in what was left open.
    pub(crate) fn check(self) -> Result<Options, BenchError> {
        let target = self.target()?;
        let remote = matches!(target, Target::Endpoints(_));
        let machine = self.machine.unwrap_or(if remote { Machine::Kv } else { Machine::Memory });
        if remote && machine != Machine::Kv {
            return refuse("--endpoints drives the key-value store; use --machine kv");
        }
        self.check_sizes(machine)?;
        let active = self.active_groups.unwrap_or(self.groups);
        if self.groups == 0 || active == 0 || active > self.groups || self.groups > 1 << 20 {
            return refuse("--groups must be 1 to 1048576, --active-groups 1 to --groups");
        }
        let active = u32::try_from(active).expect("at most 2^20");
        let clients = self.clients.unwrap_or_else(|| default_clients(active, remote));
        if !(1..=1 << 20).contains(&clients) {
            return refuse("--clients must be 1 to 1048576");
        }
        // A client stays with its group, so that fewer clients than groups leave groups idle.
        let active = active.min(clients);
        let pace = self.pace(clients, remote)?;
        if remote && clients > 1024 {
            return refuse(
                "--clients must be at most 1024 with --endpoints: each has a thread of its own",
            );
        }
        let threads = if remote { clients as usize } else { self.threads.unwrap_or(1) };
        if !(1..=1024).contains(&threads) {
            return refuse("--threads must be 1 to 1024");
        }
        if self.duration < Duration::from_millis(100) {
            return refuse("--duration must be at least 100ms");
        }
        Ok(Options {
            target,
            machine,
            groups: self.groups,
            active_groups: active,
            value_size: self.value_size,
            key_size: self.key_size,
            keys: self.keys,
            clients,
            pace,
            mix: self.mix,
            threads: threads.min(if remote { clients } else { active } as usize),
            warmup: self.warmup,
            duration: self.duration,
            durability: self.durability,
            log_writer: self.log_writer,
            workers: self.workers,
            leaders: self.leaders,
            data_dir: self.data_dir,
            keep: self.keep,
            seed: self.seed,
            json: self.json,
            hdr: self.hdr,
        })
    }

    fn target(&self) -> Result<Target, BenchError> {
        if !self.endpoints.is_empty() {
            return Ok(Target::Endpoints(self.endpoints.clone()));
        }
        let nodes = self.embedded.unwrap_or(3);
        if !(1..=7).contains(&nodes) {
            return refuse("--embedded must be 1 to 7");
        }
        Ok(Target::Embedded(nodes))
    }

    fn check_sizes(&self, machine: Machine) -> Result<(), BenchError> {
        if !(16..=4 << 20).contains(&self.value_size) {
            return refuse(
                "--value-size must be 16 to 4194304: a value begins with 16 bytes of identity",
            );
        }
        if machine == Machine::Kv {
            if !(12..=1024).contains(&self.key_size) {
                return refuse("--key-size must be 12 to 1024");
            }
            if u64::from(self.keys) < self.groups || self.keys > 1 << 28 {
                return refuse("--keys must be at least --groups, and at most 268435456");
            }
        }
        Ok(())
    }

    fn pace(&self, clients: u32, remote: bool) -> Result<Loop, BenchError> {
        if let Some(rate) = self.rate {
            if remote {
                return refuse("--rate works with --embedded");
            }
            if !(rate.is_finite() && (0.1..=100e6).contains(&rate)) {
                return refuse("--rate must be 0.1 to 100000000");
            }
            return Ok(Loop::Open { rate });
        }
        let default = if remote { 64 } else { (REQUESTS_UNDER_WAY / clients).max(PIPELINE_MIN) };
        let pipeline = self.pipeline.unwrap_or(default);
        if pipeline == 0 || u64::from(pipeline) * u64::from(clients) > 1 << 24 {
            return refuse(
                "--pipeline must be at least 1, and --clients x --pipeline at most 16777216",
            );
        }
        Ok(Loop::Closed { pipeline })
    }
}

/// The smallest multiple of the active groups that is not below the usual number of clients: all groups then
/// have equally many.
fn default_clients(active: u32, remote: bool) -> u32 {
    if remote {
        return 32;
    }
    CLIENTS_MIN.div_ceil(active) * active
}

/// `250ms`, `10s`, `2m`, or a plain number of seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.parse().map_err(|e| format!("{text:?}: {e}"))?;
    let unit = match &text[digits.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        unit => return Err(format!("{unit:?} is none of ms, s, m, h")),
    };
    let seconds = number * unit;
    if !(0.0..=86_400.0).contains(&seconds) {
        return Err(format!("{text:?} is not between 0 and a day"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests;
