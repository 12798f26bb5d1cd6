//! The project's automation: which checks there are, in which order they run, and what their failure means.
//!
//! `verify` is what a change must pass and never edits a file; `fix` edits. Every check runs even when an earlier
//! one failed, because one run should tell everything. All of them build in `--release`: a second profile would
//! compile RocksDB's C++ a second time, and that costs more than all checks together.
//!
//! Deliberately absent: any check that lives only here. What is checked is a cargo command or a test, so that
//! plain `cargo` gives the same answer.

mod cargo;
mod checks;
mod mutants;

use std::process::ExitCode;

/// Runs the word that `./dev` was given.
#[must_use]
pub fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let word = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let done = match word.as_str() {
        "verify" => checks::all(true),
        "test" if rest.is_empty() => checks::all(false),
        "test" => checks::tests_only(&rest),
        "fix" => checks::fix(),
        "bench" => checks::bench(&rest),
        "sim" => checks::sim(&rest),
        "mutants" => mutants::all(),
        _ => {
            eprintln!("dev: no word `{word}`; ./dev help lists them");
            return ExitCode::from(2);
        }
    };
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
