//! Running cargo: the environment it gets, and the figures it leaves in its output.
//!
//! A child sees the environment of `./dev` and not the one that `cargo run` made for this process: its variables
//! would count as a change for some build scripts, and RocksDB's must not run again.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

/// What the test binaries said, summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TestTotals {
    pub(super) binaries: u64,
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) ignored: u64,
}

impl TestTotals {
    /// Takes one line of output into account, when it is the closing line of a test binary.
    pub(super) fn take(&mut self, line: &str) {
        let Some(rest) = line.trim_start().strip_prefix("test result: ") else {
            return;
        };
        self.binaries += 1;
        for figure in rest.split([';', '.']) {
            let mut words = figure.split_whitespace();
            let (Some(count), Some(what)) = (words.next(), words.next()) else {
                continue;
            };
            let Ok(count) = count.parse::<u64>() else {
                continue;
            };
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.ignored += count,
                _ => {}
            }
        }
    }
}

/// A cargo command, about to run in the workspace's root.
pub(super) fn command(args: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(args);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let ours =
            ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
        if ours.iter().any(|prefix| text.starts_with(prefix)) || text == "LD_LIBRARY_PATH" {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs it; true when it succeeded.
pub(super) fn run(command: &mut Command) -> bool {
    match command.status() {
        Ok(status) => status.success(),
        Err(error) => {
            eprintln!("dev: {} does not start: {error}", command.get_program().to_string_lossy());
            false
        }
    }
}

/// Runs it without a word; true when it succeeded.
pub(super) fn quiet(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Runs tests: passes their output on as it comes, and adds their closing lines up.
pub(super) fn run_tests(command: &mut Command, totals: &mut TestTotals) -> bool {
    let mut child = match command.stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("dev: {} does not start: {error}", command.get_program().to_string_lossy());
            return false;
        }
    };
    let output = child.stdout.take().expect("stdout was piped above");
    let mut out = std::io::stdout().lock();
    let mut piped = true;
    for line in BufReader::new(output).split(b'\n') {
        let Ok(line) = line else {
            break;
        };
        totals.take(&String::from_utf8_lossy(&line));
        // Nobody may be reading any more; the child's result counts all the same.
        piped = piped && out.write_all(&line).and_then(|()| out.write_all(b"\n")).is_ok();
    }
    child.wait().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_summed_up_and_others_are_not() {
        let mut totals = TestTotals::default();
        totals.take("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s");
        totals.take("test shard::tests::a_result ... ok");
        totals
            .take("test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out");
        assert_eq!(totals, TestTotals { binaries: 2, passed: 13, failed: 2, ignored: 1 });
    }
}
