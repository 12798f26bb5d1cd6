//! `kontiki-node`: a ready-made node; see [`kontiki_tools::node`].

use std::process::ExitCode;

// Its `malloc` serves Rust and RocksDB; see `docs/operations.md`.
use tikv_jemallocator as _;

fn main() -> ExitCode {
    kontiki_tools::node::main()
}
