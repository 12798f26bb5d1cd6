//! The flags of `idle`, and their limits.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use kontiki::range::RANGES_MAX;

use crate::cli::{parse_duration, refuse};
use crate::error::BenchError;

/// Flags of `idle`.
#[derive(Clone, Debug, Args)]
pub(crate) struct IdleArgs {
    /// Groups, each with a replica on every node: 1 to 1048576
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(crate) groups: u64,
    /// Nodes in this process: 1 to 7
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) nodes: usize,
    /// How long nothing is asked of them while it is measured what they use: up to a day
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "60s")]
    pub(crate) seconds: Duration,
    /// Afterwards close the nodes, and measure the same when they are opened again
    #[arg(long)]
    pub(crate) warm: bool,
    /// How long it may take until all groups are led, and then until the log is empty
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "5m")]
    pub(crate) limit: Duration,
    /// Groups that are written to and read from at the end
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) samples: u64,
    /// Time between two flush cycles: 100ms to a day [default: the engine's]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) flush_interval: Option<Duration>,
    /// Worker threads (shards) of each node: 1 to 64 [default: the engine's]
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<usize>,
    /// Where the stores are made (in a directory of their own, which is removed). Default: the system's
    /// temporary directory, or the current one when that is kept in memory
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// The checked flags.
#[derive(Clone, Debug)]
pub(crate) struct IdleOptions {
    pub(crate) groups: u64,
    pub(crate) nodes: usize,
    pub(crate) idle: Duration,
    pub(crate) warm: bool,
    pub(crate) limit: Duration,
    pub(crate) samples: u64,
    pub(crate) flush_interval: Option<Duration>,
    pub(crate) workers: Option<usize>,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) json: Option<PathBuf>,
}

impl IdleArgs {
    /// Checks the flags together.
    pub(crate) fn check(&self) -> Result<IdleOptions, BenchError> {
        if !(1..=RANGES_MAX as u64).contains(&self.groups) {
            return refuse("--groups must be 1 to 1048576");
        }
        if !(1..=7).contains(&self.nodes) {
            return refuse("--nodes must be 1 to 7");
        }
        if self.seconds < Duration::from_millis(100) {
            return refuse("--seconds must be at least 100ms");
        }
        if self.limit < Duration::from_secs(1) {
            return refuse("--limit must be at least 1s");
        }
        let interval = self.flush_interval;
        if interval.is_some_and(|interval| interval < Duration::from_millis(100)) {
            return refuse("--flush-interval must be at least 100ms");
        }
        if self.workers.is_some_and(|workers| !(1..=64).contains(&workers)) {
            return refuse("--workers must be 1 to 64");
        }
        Ok(IdleOptions {
            groups: self.groups,
            nodes: self.nodes,
            idle: self.seconds,
            warm: self.warm,
            limit: self.limit,
            samples: self.samples.min(self.groups),
            flush_interval: self.flush_interval,
            workers: self.workers,
            data_dir: self.data_dir.clone(),
            json: self.json.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn check(flags: &str) -> Result<IdleOptions, BenchError> {
        let line = ["raft-bench", "idle"].into_iter().chain(flags.split_whitespace());
        let Command::Idle(args) = Cli::try_parse_from(line).unwrap().command else {
            panic!("not idle")
        };
        args.check()
    }

    #[test]
    fn limits_are_those_that_the_help_names() {
        let options = check("--groups 1048576 --nodes 1 --seconds 2m --warm").unwrap();
        assert_eq!((options.groups, options.nodes, options.warm), (1 << 20, 1, true));
        assert_eq!(options.idle, Duration::from_secs(120));
        assert_eq!(check("--groups 3").unwrap().samples, 3, "no more samples than groups");
        for flags in [
            "--groups 0",
            "--groups 1048577",
            "--nodes 0",
            "--nodes 8",
            "--seconds 50ms",
            "--limit 10ms",
            "--flush-interval 10ms",
            "--workers 65",
        ] {
            assert!(matches!(check(flags), Err(BenchError::Usage(_))), "{flags}");
        }
    }
}
