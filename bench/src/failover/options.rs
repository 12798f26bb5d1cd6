//! The flags of `failover`, and those of the node that it ends.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

/// Flags of `failover`.
#[derive(Clone, Debug, Args)]
pub(crate) struct FailoverArgs {
    /// Groups; each of the three nodes leads a third
    #[arg(long, value_name = "N", default_value_t = 3_000)]
    pub(crate) groups: usize,
    /// Writes under way per node while the third one is killed
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(crate) clients: usize,
    /// How long the nodes are under load before that, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 3_000)]
    pub(crate) load_ms: u64,
    /// Where the stores are made (in a directory of their own, which is removed)
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// Flags of the node in a process of its own.
#[derive(Clone, Debug, Args)]
pub(crate) struct VictimArgs {
    /// Its directory
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// Where it listens
    #[arg(long)]
    pub(crate) listen: SocketAddr,
    /// The addresses of nodes 1 and 2
    #[arg(long)]
    pub(crate) peer: Vec<SocketAddr>,
    /// As for `failover`
    #[arg(long)]
    pub(crate) groups: usize,
    /// As for `failover`
    #[arg(long)]
    pub(crate) clients: usize,
}
