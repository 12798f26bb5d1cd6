//! `raftctl` and `kontiki-node` without a cluster: every wrong call has one clear line and its exit code.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::net::{Ipv4Addr, TcpListener};

use common::{node_ends, raftctl};

/// One line on standard error that contains `words`, nothing on standard output, and this code.
fn fails(args: &[&str], code: i32, words: &[&str]) {
    let said = raftctl(args);
    assert_eq!(said.code, Some(code), "{args:?}: {}", said.err);
    assert_eq!(said.out, "", "{args:?}");
    assert_eq!(said.err.lines().count(), 1, "{args:?}: {}", said.err);
    for word in words {
        assert!(said.err.contains(word), "{args:?}: {word} is not in {}", said.err);
    }
}

#[test]
fn a_wrong_endpoint_is_one_line_and_code_3() {
    fails(&["status", "--endpoint", "127.0.0.1:1"], 3, &["127.0.0.1:1", "cannot be reached"]);
    fails(&["group", "ls", "--endpoint", "no-port"], 3, &["no-port", "cannot be resolved"]);
    // Something that accepts and says nothing.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = silent.local_addr().unwrap().to_string();
    fails(&["status", "--endpoint", &address, "--timeout", "1"], 3, &[&address, "in time"]);
}

#[test]
fn a_missing_directory_is_one_line_and_code_4() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("nothing-here").display().to_string();
    for command in [
        &["store", "info"][..],
        &["store", "check"],
        &["group", "ls"],
        &["group", "get", "1"],
        &["log", "show", "1"],
        &["status"],
    ] {
        fails(&[command, &["--data-dir", &missing]].concat(), 4, &[&missing]);
    }
    let empty = dir.path().display().to_string();
    fails(&["store", "info", "--data-dir", &empty], 4, &[&empty]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn a_foreign_directory_is_one_line_and_code_5() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("holiday.jpg"), b"not a store").unwrap();
    let name = dir.path().display().to_string();
    for command in
        [&["store", "info"][..], &["store", "check"], &["group", "ls"], &["log", "show", "1"]]
    {
        fails(&[command, &["--data-dir", &name]].concat(), 5, &[&name]);
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was added");
}

#[test]
fn wrong_usage_is_code_2() {
    fails(&["status"], 2, &["--endpoint", "--data-dir"]);
    for args in [
        &["nonsense"][..],
        &["group", "get", "x"],
        &["status", "--endpoint", "a:1", "--data-dir", "b"],
        &[],
    ] {
        assert_eq!(raftctl(args).code, Some(2), "{args:?}");
    }
    fails(&["store", "check", "--endpoint", "127.0.0.1:1"], 2, &["--data-dir"]);
    fails(&["node", "ls", "--data-dir", "/x"], 2, &["--endpoint"]);
    assert_eq!(raftctl(&["--help"]).code, Some(0));
    assert!(raftctl(&["--help"]).out.contains("Exit codes"));
}

/// A node that does not start: one line and this code.
fn node_fails(args: &[&str], code: i32, words: &[&str]) {
    let output = node_ends(args);
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {err}");
    assert!(output.stdout.is_empty());
    assert_eq!(err.lines().count(), 1, "{err}");
    for word in words {
        assert!(err.contains(word), "{word} is not in {err}");
    }
}

#[test]
fn a_node_says_what_is_wrong_with_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.toml");
    let name = file.display().to_string();
    std::fs::write(&file, "node = 1\ndata_dir = \"/x\"\nlisten_at = \"127.0.0.1:1\"\n").unwrap();
    node_fails(&["--config", &name], 2, &[&format!("{name}:3:"), "listen_at"]);
    std::fs::write(&file, "node = 1\n[limits]\ninbox_bytes_max = 1\n").unwrap();
    node_fails(&["--config", &name, "--data-dir", "/x"], 2, &["inbox_bytes_max"]);
    node_fails(&["--config", "/no/such.toml"], 2, &["/no/such.toml"]);
    node_fails(&["--node", "1"], 2, &["--data-dir"]);
}

#[test]
fn a_node_says_which_address_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store").display().to_string();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    node_fails(&["--node", "1", "--data-dir", &store, "--admin", &address], 3, &[&address]);
    node_fails(
        &["--node", "1", "--data-dir", &store, "--admin", "off", "--listen", &address],
        3,
        &["listen"],
    );
}
