//! Flags become options as the help says, and what cannot work is refused.

use clap::CommandFactory as _;

use super::*;

fn options(flags: &str) -> Result<Options, BenchError> {
    let line = std::iter::once("raft-bench").chain(std::iter::once("run"));
    let cli = Cli::try_parse_from(line.chain(flags.split_whitespace())).unwrap();
    let Command::Run(run) = cli.command else { panic!("not run") };
    run.check()
}

#[test]
fn the_definition_of_the_flags_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn without_flags_three_nodes_write_to_48_groups_in_memory_synced() {
    let o = options("").unwrap();
    assert_eq!(o.target, Target::Embedded(3));
    assert_eq!((o.machine, o.groups, o.active_groups, o.value_size), (Machine::Memory, 48, 48, 16));
    assert_eq!((o.durability, o.log_writer), (Durability::Fsync, LogWriter::Adaptive));
    assert_eq!(o.clients % 48, 0);
    let Loop::Closed { pipeline } = o.pace else { panic!("open") };
    assert!((15_000..=16_384).contains(&(o.clients * pipeline)));
}

#[test]
fn all_active_groups_have_a_client() {
    let o = options("--groups 4096 --value-size 128").unwrap();
    assert_eq!((o.active_groups, o.clients, o.pace), (4096, 4096, Loop::Closed { pipeline: 16 }));
    let o = options("--groups 4096 --active-groups 48").unwrap();
    assert_eq!((o.groups, o.active_groups, o.clients), (4096, 48, 288));
}

#[test]
fn fewer_clients_than_groups_leave_groups_idle() {
    let o = options("--groups 48 --clients 5 --threads 9").unwrap();
    assert_eq!((o.active_groups, o.clients, o.threads), (5, 5, 5));
}

#[test]
fn endpoints_mean_the_key_value_store() {
    let o = options("--endpoints a:1,b:2").unwrap();
    assert_eq!(o.target, Target::Endpoints(vec!["a:1".into(), "b:2".into()]));
    assert_eq!(o.machine, Machine::Kv);
    assert!(options("--endpoints a:1 --machine memory").is_err());
    assert!(options("--endpoints a:1 --rate 10").is_err());
}

#[test]
fn a_rate_makes_the_loop_open() {
    assert_eq!(options("--rate 5000").unwrap().pace, Loop::Open { rate: 5000.0 });
    assert!(Cli::try_parse_from(["raft-bench", "run", "--rate", "1", "--pipeline", "1"]).is_err());
}

#[test]
fn what_makes_no_sense_is_a_usage_error() {
    for flags in [
        "--embedded 0",
        "--embedded 8",
        "--groups 0",
        "--groups 2 --active-groups 3",
        "--value-size 15",
        "--machine kv --key-size 8",
        "--machine kv --groups 48 --keys 47",
        "--clients 0",
        "--clients 1 --pipeline 0",
        "--clients 1048576 --pipeline 17",
        "--rate 0",
        "--threads 0",
        "--duration 1ms",
    ] {
        let error = options(flags).expect_err(flags);
        assert_eq!(error.exit_code(), crate::error::EXIT_USAGE, "{flags}");
    }
}

#[test]
fn durations_have_units() {
    assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
    assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
    assert_eq!(parse_duration("7"), Ok(Duration::from_secs(7)));
    assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
    assert!(parse_duration("2 fortnights").is_err());
    assert!(parse_duration("-1s").is_err());
}

#[test]
fn a_mix_says_the_shares() {
    assert_eq!("put=95,get=5".parse(), Ok(Mix { put: 95, get: 5 }));
    assert_eq!("get=1".parse(), Ok(Mix { put: 0, get: 1 }));
    for wrong in ["", "put", "put=x", "scan=1", "put=0,get=0"] {
        assert!(wrong.parse::<Mix>().is_err(), "{wrong}");
    }
}
