//! Where `kontiki-node` is: beside the test that runs it, built in the same profile, and never an old one.
//!
//! Cargo hands the path of a binary only to tests of its own package. Here it is looked for in the directory that
//! the test itself was built into. When it is missing there or older than any of its sources, cargo builds it;
//! after `cargo test --workspace` there is nothing to do, since that has built it already.
//! A test that cannot have its binary fails: it is never skipped.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// The packages that `kontiki-node` is made of.
const PARTS: [&str; 4] = ["raft", "net", "engine", "tools"];

/// The path of an up-to-date `kontiki-node`.
///
/// # Panics
/// When it cannot be built.
pub fn node_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        // TARGET/PROFILE/deps/process-0123456789abcdef
        let test = std::env::current_exe().expect("a test knows its own path");
        let profile = test.ancestors().nth(2).expect("a test lies in deps, that in the profile's");
        let binary = profile.join("kontiki-node");
        if !is_fresh(&binary) {
            build(profile);
        }
        assert!(binary.is_file(), "{} was not built", binary.display());
        binary
    })
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace")
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|m| m.modified()).ok()
}

fn is_fresh(binary: &Path) -> bool {
    let Some(built) = modified(binary) else { return false };
    let mut open = vec![workspace().join("Cargo.lock")];
    for part in PARTS {
        open.extend([
            workspace().join(part).join("src"),
            workspace().join(part).join("Cargo.toml"),
        ]);
    }
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("a source directory can be read");
            open.extend(entries.map(|entry| entry.expect("and each entry of it").path()));
        } else if modified(&path).is_none_or(|changed| changed > built) {
            return false;
        }
    }
    true
}

fn build(profile: &Path) {
    let name = profile.file_name().and_then(|n| n.to_str()).expect("a profile has a name");
    let target = profile.parent().expect("a profile lies in the target directory");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(workspace())
        .args(["build", "--quiet", "--package=kontiki-tools", "--bin=kontiki-node"])
        .args(["--profile", if name == "debug" { "dev" } else { name }])
        .arg("--target-dir")
        .arg(target)
        .status()
        .expect("cargo can be run");
    assert!(status.success(), "kontiki-node does not build: {status}");
}
