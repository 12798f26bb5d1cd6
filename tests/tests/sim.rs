//! Seeds of the simulator: each is a cluster with its faults, and everything that must hold of it.
//!
//! Run by `cargo test`, a fixed number of seeds; `./dev sim` runs others, for a number of seeds or of minutes.
//! `kontiki_tests::sim::command` has the words.

use std::process::ExitCode;

fn main() -> ExitCode {
    kontiki_tests::sim::command::main()
}
