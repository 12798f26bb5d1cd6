//! The checks themselves: one function each, run in order and summed up at the end.

use std::time::{Duration, Instant};

use super::cargo::{TestTotals, command, quiet, run, run_tests};

/// The target without an operating system that proves what `raft` cannot name.
const BARE_TARGET: &str = "x86_64-unknown-none";

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Passed,
    Failed,
    /// Its tool is not here; says which.
    Skipped(&'static str),
}

impl Ended {
    fn of(passed: bool) -> Self {
        if passed { Self::Passed } else { Self::Failed }
    }
}

type Check = (&'static str, &'static str, fn(&mut TestTotals) -> Ended);

/// The quick ones first, the tests last, so that their closing lines are the last ones printed.
const CHECKS: &[Check] = &[
    ("fmt", "the sources are formatted", fmt),
    ("clippy", "no lint warns, in any target", clippy),
    ("doc", "rustdoc has no warning and no undocumented public item", doc),
    ("bare", "raft builds where there is no operating system", bare),
    ("lean", "the engine's tests pass without RocksDB", lean),
    ("test", "all tests, doc tests and tidy", tests),
];

/// Runs all checks. With `strict`, one that cannot run counts as failed.
pub(super) fn all(strict: bool) -> bool {
    let start = now();
    let mut totals = TestTotals::default();
    let mut lines = Vec::new();
    let mut good = true;
    for &(name, what, check) in CHECKS {
        eprintln!("\ndev: {name}: {what}");
        let began = now();
        let ended = check(&mut totals);
        let said = match ended {
            Ended::Passed => "ok".to_owned(),
            Ended::Failed => "FAILED".to_owned(),
            Ended::Skipped(why) if strict => format!("FAILED: {why}"),
            Ended::Skipped(why) => format!("skipped: {why}"),
        };
        good &= ended == Ended::Passed || (ended != Ended::Failed && !strict);
        let line = format!("{name:<8}{said:<10}{:>7.1} s   {what}", began.elapsed().as_secs_f64());
        eprintln!("dev: {line}");
        lines.push(line);
    }
    println!();
    for line in lines {
        println!("{line}");
    }
    close(good, &totals, start.elapsed());
    good
}

/// `./dev test ARGS`: the tests alone, with `ARGS` for `cargo test`.
pub(super) fn tests_only(args: &[String]) -> bool {
    let start = now();
    let mut totals = TestTotals::default();
    let mut cargo = command(&["test", "--release"]);
    let good = run_tests(cargo.args(args), &mut totals);
    close(good, &totals, start.elapsed());
    good
}

/// The last line, in the words of `cargo test`: the figures of all test binaries together.
fn close(good: bool, totals: &TestTotals, took: Duration) {
    println!(
        "\ntest result: {}. {} passed; {} failed; {} ignored; in {} test binaries; finished in {:.1}s",
        if good { "ok" } else { "FAILED" },
        totals.passed,
        totals.failed,
        totals.ignored,
        totals.binaries,
        took.as_secs_f64()
    );
}

/// Formats, and lets clippy repair what it can.
pub(super) fn fix() -> bool {
    let formatted = run(&mut command(&["fmt", "--all"]));
    let repaired = run(&mut command(&[
        "clippy",
        "--fix",
        "--release",
        "--workspace",
        "--all-targets",
        "--allow-dirty",
        "--allow-staged",
    ]));
    formatted && repaired && run(&mut command(&["fmt", "--all"]))
}

/// The criterion benches.
pub(super) fn bench(args: &[String]) -> bool {
    run(command(&["bench", "-p", "raft-bench", "--"]).args(args))
}

/// Seeds of the simulator, built without RocksDB; the words go to the test binary, which knows them.
pub(super) fn sim(args: &[String]) -> bool {
    let mut cargo = command(&["test", "--release", "-p", "kontiki-tests", "--no-default-features"]);
    if args.iter().any(|arg| arg == "--planted") {
        cargo.args(["--features", "planted"]);
    }
    run(cargo.args(["--test", "sim", "--"]).args(args))
}

fn fmt(_: &mut TestTotals) -> Ended {
    if !component("fmt", "rustfmt") {
        return Ended::Skipped("rustfmt is not installed");
    }
    Ended::of(run(&mut command(&["fmt", "--all", "--check"])))
}

fn clippy(_: &mut TestTotals) -> Ended {
    if !component("clippy", "clippy") {
        return Ended::Skipped("clippy is not installed");
    }
    let args = "clippy --release --workspace --all-targets --keep-going -- -D warnings";
    let args: Vec<&str> = args.split(' ').collect();
    Ended::of(run(&mut command(&args)))
}

fn doc(_: &mut TestTotals) -> Ended {
    let mut cargo = command(&["doc", "--release", "--workspace", "--no-deps", "--keep-going"]);
    Ended::of(run(cargo.env("RUSTDOCFLAGS", "-D warnings -D missing-docs")))
}

fn bare(_: &mut TestTotals) -> Ended {
    let here =
        has_target() || (quiet(&mut rustup(&["target", "add", BARE_TARGET])) && has_target());
    if !here {
        return Ended::Skipped("target x86_64-unknown-none is not installed (rustup target add)");
    }
    let args = ["build", "--release", "-p", "kontiki-raft", "--target", BARE_TARGET];
    Ended::of(run(&mut command(&args)))
}

fn lean(totals: &mut TestTotals) -> Ended {
    let mut cargo = command(&["test", "--release", "-p", "kontiki", "--no-default-features"]);
    Ended::of(run_tests(cargo.arg("--no-fail-fast"), totals))
}

fn tests(totals: &mut TestTotals) -> Ended {
    let mut cargo = command(&["test", "--release", "--workspace", "--no-fail-fast"]);
    Ended::of(run_tests(&mut cargo, totals))
}

/// Whether cargo has this subcommand; asks rustup for the component when it has not.
fn component(subcommand: &str, component: &str) -> bool {
    let here = || quiet(&mut command(&[subcommand, "--version"]));
    here() || (quiet(&mut rustup(&["component", "add", component])) && here())
}

/// Whether the core library of the bare target is in the toolchain that is in use.
fn has_target() -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = std::process::Command::new(rustc)
        .args(["--print", "target-libdir", "--target", BARE_TARGET])
        .output();
    output.is_ok_and(|o| {
        let dir = String::from_utf8_lossy(&o.stdout).trim().to_owned();
        o.status.success() && std::path::Path::new(&dir).is_dir()
    })
}

fn rustup(args: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new("rustup");
    command.args(args);
    command
}

#[expect(clippy::disallowed_methods, reason = "the automation measures itself; nothing replays it")]
fn now() -> Instant {
    Instant::now()
}
