//! Notes what a report must name: the git revision and the compiler.
//!
//! Both are `unknown` where they cannot be had (a source archive, a build without git).

use std::path::Path;
use std::process::Command;

fn main() {
    // A commit moves the branch, not HEAD; the log of HEAD changes with both.
    for file in ["../.git/HEAD", "../.git/logs/HEAD"] {
        if Path::new(file).exists() {
            println!("cargo::rerun-if-changed={file}");
        }
    }
    println!("cargo::rerun-if-changed=build.rs");
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    note("RAFT_BENCH_GIT", "git", &["rev-parse", "--short=12", "HEAD"]);
    note("RAFT_BENCH_RUSTC", &rustc, &["--version"]);
}

fn note(name: &str, program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let text = output
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok());
    let text = text.as_deref().map_or("unknown", str::trim);
    println!("cargo::rustc-env={name}={text}");
}
