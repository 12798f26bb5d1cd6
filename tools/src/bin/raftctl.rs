//! `raftctl`: the operator's command line; see [`kontiki_tools::raftctl`].

use std::process::ExitCode;

// Its `malloc` serves Rust and RocksDB; see `docs/operations.md`.
use tikv_jemallocator as _;

fn main() -> ExitCode {
    kontiki_tools::raftctl::main()
}
