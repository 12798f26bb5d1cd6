//! Two numbers in about twenty seconds, with what they mean: the first thing to run.

use std::path::Path;
use std::time::Duration;

use clap::Parser as _;

use crate::cli::{Cli, Command, Options, QuickArgs};
use crate::error::BenchError;
use crate::micro;
use crate::report::{self, Report, grouped};
use crate::run;
use crate::scratch::Scratch;

const NODES: usize = 3;

/// Runs both measurements; true when both were verified.
pub(crate) fn run(args: &QuickArgs) -> Result<bool, BenchError> {
    println!(
        "Kontiki: {NODES} nodes in this process, real disk and loopback sockets, every write synced."
    );
    println!("About 20 seconds ...\n");
    let many = options("--groups 48 --value-size 16 --warmup 2s --duration 7s", args)?;
    let many = run::embedded(&many, NODES, vec!["raft-bench".into(), "quick".into()])?;
    print_many(&many);
    let one = options("--groups 1 --clients 1 --pipeline 1 --warmup 500ms --duration 4s", args)?;
    let one = run::embedded(&one, NODES, vec!["raft-bench".into(), "quick".into()])?;
    let floor = floor(args.data_dir.as_deref())?;
    print_one(&one, floor);
    for report in [&many, &one] {
        if !report.verified {
            println!("\n{}", report.text(false));
        }
    }
    let verified = many.verified && one.verified;
    println!(
        "\nVerified: {}",
        if verified {
            "every acknowledged write is there, and all replicas are equal."
        } else {
            "NO. See the faults above."
        }
    );
    if let Some(path) = &args.json {
        let both =
            serde_json::json!({ "schema": report::SCHEMA, "throughput": many, "latency": one });
        report::write_json(path, &both)?;
    }
    Ok(verified)
}

fn options(flags: &str, args: &QuickArgs) -> Result<Options, BenchError> {
    let line = ["raft-bench", "run"].into_iter().chain(flags.split_whitespace());
    let cli = Cli::try_parse_from(line).map_err(|e| BenchError::Usage(e.to_string()))?;
    let Command::Run(mut run) = cli.command else { unreachable!("the line says run") };
    run.data_dir.clone_from(&args.data_dir);
    run.check()
}

/// One synced write plus one round trip, in microseconds: what nothing that is synced and replicated goes below.
fn floor(data_dir: Option<&Path>) -> Result<(f64, f64), BenchError> {
    let scratch = Scratch::new(data_dir, false)?;
    let sync = micro::synced_write(scratch.path(), Duration::from_millis(1_500))?;
    let round_trip = micro::loopback(Duration::from_millis(800))?;
    Ok((sync.p50_us, round_trip.p50_us))
}

fn print_many(report: &Report) {
    println!("1. {} writes/s", grouped(report.ops_per_s));
    println!(
        "   16-byte writes to {} groups: on the disks of a majority, and applied.",
        report.groups
    );
    println!(
        "   The median took {}, one in a hundred longer than {}.",
        report::duration(report.latency_us.p50),
        report::duration(report.latency_us.p99)
    );
    if let Some(cpu) = report.cpu_us_per_op {
        println!(
            "   A write cost {cpu:.2} us of processor time: three nodes and the load generator together,"
        );
        println!("   on {} cores.", report.environment.cores);
    }
}

fn print_one(report: &Report, (sync, round_trip): (f64, f64)) {
    let median = report.latency_us.p50;
    println!("\n2. {} for a lone client", report::duration(median));
    println!(
        "   One client that waits for each write before it sends the next (median; p99 {}).",
        report::duration(report.latency_us.p99)
    );
    println!(
        "   The machine itself needs {sync:.0} us for a synced write (while two other files sync) and"
    );
    let factor = crate::measure::to_f64(median) / (sync + round_trip);
    println!(
        "   {round_trip:.0} us for a round trip on loopback: Kontiki takes {factor:.2} times their sum."
    );
}
