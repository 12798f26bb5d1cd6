//! `raftctl`: what an operator asks of a cluster or of a store, one file per command.
//!
//! Live (`--endpoint`) it asks one node for all nodes and then each of them; a node that is down is shown as such and
//! fails nothing. Offline (`--data-dir`) it reads a store's directory, also while a node runs on it, and writes
//! nothing there. Every command prints a table or, with `-o json`, one JSON value; errors are one line on standard
//! error, and an exit code that says what kind.
//!
//! Deliberately absent: any command that changes a store.

mod failure;
mod group_get;
mod group_ls;
mod live;
mod log_show;
mod node_ls;
mod output;
mod status;
mod store_check;
mod store_info;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use failure::{Exit, Failure};
use live::Endpoint;

/// Looks at a Kontiki cluster, or at the store of one node.
///
/// Exit codes: 0 done; 1 `store check` found damage; 2 wrong usage; 3 the endpoint does not answer as a node does;
/// 4 no such directory, or nothing in it; 5 the directory is not a Kontiki store, or too new for this program;
/// 6 no such group; 7 the store is damaged where it had to be read; 8 the node refused; 9 a file cannot be read.
#[derive(Debug, Parser)]
#[command(name = "raftctl", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    from: From,
    /// How to print
    #[arg(short, long, value_enum, global = true, default_value_t = Format::Table)]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

/// Where the answer comes from.
#[derive(Debug, Args)]
struct From {
    /// The admin address of any one node (host:port); the others are found through it
    #[arg(long, global = true, value_name = "HOST:PORT", conflicts_with = "data_dir")]
    endpoint: Option<String>,
    /// A store's directory; it is only read, and a node may be running on it
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// How long a node may take to answer, in seconds
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 5,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people: aligned columns
    Table,
    /// For programs: one JSON value
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The nodes of the cluster at a glance
    Status,
    /// Nodes: what they promise each other
    #[command(subcommand)]
    Node(Node),
    /// Groups: their leaders, positions and lag
    #[command(subcommand)]
    Group(Group),
    /// The store of a node: who it is, and whether it is whole
    #[command(subcommand)]
    Store(Store),
    /// A group's log, without its payloads
    #[command(subcommand)]
    Log(Log),
}

#[derive(Debug, Subcommand)]
enum Node {
    /// Support between nodes, a line for each node and each other one (with --endpoint)
    Ls,
}

#[derive(Debug, Subcommand)]
enum Group {
    /// All groups, a line each
    Ls,
    /// One group, with all that is known of its replicas
    Get {
        /// The group's id
        id: u64,
    },
}

#[derive(Debug, Subcommand)]
enum Store {
    /// Who the store is and what it holds
    Info,
    /// Reads all of the store and lists everything that is wrong (with --data-dir)
    Check,
}

#[derive(Debug, Subcommand)]
enum Log {
    /// The blocks of one group's log on one node
    Show {
        /// The group's id
        id: u64,
        /// From the block with this index on
        #[arg(long, value_name = "INDEX", default_value_t = 0)]
        from: u64,
        /// Up to the block with this index
        #[arg(long, value_name = "INDEX", default_value_t = u64::MAX, hide_default_value = true)]
        to: u64,
    },
}

/// Where the answer comes from, decided.
#[derive(Debug)]
enum Source {
    Live(Endpoint),
    Dir(PathBuf),
}

impl From {
    fn source(self) -> Result<Source, Failure> {
        match (self.endpoint, self.data_dir) {
            (Some(address), None) => {
                let limit = Duration::from_secs(self.timeout);
                Ok(Source::Live(Endpoint { address, limit }))
            }
            (None, Some(dir)) => Ok(Source::Dir(dir)),
            _ => Err(Failure::new(Exit::Usage, "give --endpoint HOST:PORT or --data-dir DIR")),
        }
    }
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = cli.output;
    let done = cli.from.source().and_then(|source| match cli.command {
        Command::Status => status::run(&source, output),
        Command::Node(Node::Ls) => node_ls::run(&source, output),
        Command::Group(Group::Ls) => group_ls::run(&source, output),
        Command::Group(Group::Get { id }) => group_get::run(&source, id, output),
        Command::Store(Store::Info) => store_info::run(&source, output),
        Command::Store(Store::Check) => store_check::run(&source, output),
        Command::Log(Log::Show { id, from, to }) => log_show::run(&source, id, from..=to, output),
    });
    match done {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("raftctl: {failure}");
            failure.exit.into()
        }
    }
}
