//! `raft-bench`: what Kontiki does per second, how long it takes, and what each request costs.
//!
//! `quick` gives two numbers and what they mean; `run` measures one load with everything adjustable; `idle` measures
//! groups that nobody writes to; `failover` kills a node under load; `micro` measures what the machine itself needs for the parts. Every run ends with a check that all acknowledged
//! writes are there and all replicas are equal; a figure without that check is not worth printing.
//!
//! The life of a run: [`cli`] checks the flags, [`cluster`] opens the nodes, [`driver`] loads them with what
//! [`workload`] and [`schedule`] derive from the seed, [`measure`] reads the counters at both ends of the
//! window, [`verify`] checks, [`report`] tells. [`remote`] does the same to nodes in other processes.

use std::alloc::System;
use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

mod cli;
mod clock;
mod cluster;
mod driver;
mod environment;
mod error;
mod failover;
mod histogram;
mod http;
mod idle;
mod machines;
mod measure;
mod micro;
mod process_stats;
mod quick;
mod remote;
mod report;
mod run;
mod schedule;
mod scratch;
mod verify;
mod workload;

use cli::{Cli, Command, RunArgs, Target};
use error::{BenchError, EXIT_OK, EXIT_VERIFY};

/// Counts allocations, so that a report can say how many a request needs.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Quick(args) => quick::run(&args),
        Command::Run(args) => run_once(*args),
        Command::Idle(args) => idle::run(&args),
        Command::Failover(args) => failover::run(&args),
        Command::FailoverNode(args) => failover::victim(&args).map(|()| true),
        Command::Micro(args) => micro::run(&args).map(|()| true),
    };
    match result {
        Ok(true) => ExitCode::from(EXIT_OK),
        Ok(false) => ExitCode::from(EXIT_VERIFY),
        Err(error) => {
            eprintln!("raft-bench: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// The `run` subcommand; true when the run was verified.
fn run_once(args: RunArgs) -> Result<bool, BenchError> {
    let asked = args.active_groups.unwrap_or(args.groups);
    let options = args.check()?;
    if u64::from(options.active_groups) < asked {
        eprintln!(
            "note: {} clients can keep only {} of {asked} groups active",
            options.clients, options.active_groups
        );
    }
    let command = std::env::args().collect();
    let report = match &options.target {
        Target::Embedded(nodes) => run::embedded(&options, *nodes, command)?,
        Target::Endpoints(endpoints) => remote::run(&options, endpoints, command)?,
    };
    print!("{}", report.text(std::io::stdout().is_terminal()));
    if let Some(path) = &options.json {
        report::write_json(path, &report)?;
    }
    Ok(report.verified)
}
