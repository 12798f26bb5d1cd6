//! The report keeps its names: other programs read them.

use std::time::Duration;

use clap::Parser as _;

use super::*;
use crate::cli::{Cli, Command};
use crate::process_stats::ProcessStats;

fn options(flags: &[&str]) -> Options {
    let line = ["raft-bench", "run"].iter().chain(flags);
    let Command::Run(run) = Cli::try_parse_from(line).unwrap().command else { panic!("not run") };
    run.check().unwrap()
}

fn report(flags: &[&str]) -> Report {
    let mut latencies = Recorder::new(false);
    latencies.record(1_500, 1_000, 0);
    let engine =
        [("log_bytes", 96_000), ("payload_bytes", 16_000), ("syncs", 40), ("messages_out", 50)];
    let window = Window {
        seconds: 2.0,
        writes: 1_000,
        reads: 0,
        process: ProcessStats {
            cpu_micros: 2_500,
            disk_bytes: Some(70_000),
            allocations: 100,
            cpu_by_thread: BTreeMap::from([("worker".to_owned(), 2_000)]),
        },
        engine: engine.iter().map(|&(name, n)| (name.to_owned(), n)).collect(),
    };
    let verdict = Verdict { verified: true, exact: true, ..Verdict::default() };
    let results = Results {
        nodes: 3,
        window,
        latencies,
        troubles: Troubles::default(),
        reads_found: 0,
        verdict,
        embedded: true,
    };
    let environment = Environment::read(Path::new("/"));
    Report::new(&options(flags), &results, environment, vec!["raft-bench".into(), "run".into()])
}

#[test]
fn the_names_in_the_json_are_stable() {
    let json = serde_json::to_value(report(&[])).unwrap();
    let names = [
        "schema",
        "ops_per_s",
        "latency_us",
        "cpu_us_per_op",
        "disk_bytes_per_op",
        "log_bytes_per_payload_byte",
        "syncs_per_s",
        "messages_per_op",
        "allocations_per_op",
        "errors",
        "verified",
        "nodes",
        "groups",
        "active_groups",
        "value_size",
        "machine",
        "durability",
        "loop",
        "duration_s",
        "git_revision",
        "environment",
        "seed",
        "command",
    ];
    for name in names {
        assert!(!json[name].is_null(), "{name} is missing");
    }
    for name in ["p50", "p90", "p99", "p999", "max"] {
        assert!(json["latency_us"][name].is_u64(), "latency_us.{name} is missing");
    }
    for name in ["cpu", "cores", "kernel", "memory_bytes", "filesystem", "rustc"] {
        assert!(!json["environment"][name].is_null(), "environment.{name} is missing");
    }
    assert_eq!(json["schema"], 1);
    assert_eq!(
        (&json["machine"], &json["durability"], &json["loop"]),
        (&"memory".into(), &"fsync".into(), &"closed".into())
    );
    assert_eq!(json["verified"], true);
}

#[test]
fn figures_are_per_request_and_per_replica() {
    let r = report(&[]);
    let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
    assert!(near(r.ops_per_s, 500.0) && near(r.duration_s, 2.0));
    assert!(near(r.cpu_us_per_op.unwrap(), 2.5));
    assert!(near(r.disk_bytes_per_op.unwrap(), 70.0));
    assert!(near(r.log_bytes_per_payload_byte.unwrap(), 2.0), "three replicas share 96 kB");
    assert!(near(r.syncs_per_s.unwrap(), 20.0));
    assert!(near(r.messages_per_op.unwrap(), 0.05));
    assert!(near(r.allocations_per_op.unwrap(), 0.1));
    assert!(r.latency_us.p50 >= 1_500 && r.latency_us.p50 < 1_510);
}

#[test]
fn anything_but_fsync_is_red() {
    let red = "\x1b[1;31m";
    assert!(!report(&[]).text(true).contains(red));
    for durability in ["os", "none"] {
        let report = report(&["--durability", durability]);
        assert!(report.text(true).contains(red));
        assert!(report.text(false).contains("NOT SYNCED") && !report.text(false).contains('\x1b'));
        assert_eq!(serde_json::to_value(&report).unwrap()["durability"], durability);
    }
}

#[test]
fn a_failed_verification_is_said_with_its_faults() {
    let mut report = report(&[]);
    report.verified = false;
    report.verification.fault(|| "group 3 on node 2: some are lost".to_owned());
    let text = report.text(false);
    assert!(text.contains("verified      NO: 1 faults") && text.contains("group 3 on node 2"));
}

#[test]
fn numbers_are_readable() {
    assert_eq!(thousands(7), "7");
    assert_eq!(thousands(1_234), "1,234");
    assert_eq!(grouped(1_234_567.8), "1,234,568");
    assert_eq!(duration(999), "999 us");
    assert_eq!(duration(1_500), "1.50 ms");
    assert_eq!(duration(2_500_000), "2.50 s");
}

#[test]
fn a_json_file_can_be_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("report.json");
    write_json(&path, &report(&["--duration", "2s"])).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(json["nodes"], 3);
    assert_eq!(options(&["--duration", "2s"]).duration, Duration::from_secs(2));
    assert!(write_json(&dir.path().join("no/such/dir"), &1).is_err());
}
