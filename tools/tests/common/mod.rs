//! Nodes as real processes, and `raftctl` run against them.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use kontiki::testing::wait_until;
use kontiki_tools::http::{Answer, Method, ask};

const LIMIT: Duration = Duration::from_secs(30);

/// A running `kontiki-node`; killed when dropped.
pub struct Node {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub listen: String,
    pub admin: String,
}

impl Node {
    /// Starts a node with these flags and waits for its line.
    pub fn start(args: &[String]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_kontiki-node"))
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let field = |name: &str| {
            let found = line.split_whitespace().find_map(|word| word.strip_prefix(name));
            found.unwrap_or_else(|| panic!("no {name} in the line {line:?}")).to_owned()
        };
        assert!(line.starts_with("ready node="), "{line:?}");
        let (listen, admin) = (field("listen="), field("admin="));
        Self { child, stdout, listen, admin }
    }

    pub fn ask(&self, method: Method, target: &str, body: &[u8]) -> Answer {
        ask(&self.admin, method, target, body, LIMIT).unwrap()
    }

    pub fn get(&self, target: &str) -> Answer {
        self.ask(Method::Get, target, b"")
    }

    pub fn json(&self, target: &str) -> serde_json::Value {
        let answer = self.get(target);
        assert_eq!(answer.status, 200, "{target}: {}", String::from_utf8_lossy(&answer.body));
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for the process to end, and returns what else it had printed.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap(), rest)
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs a node that is expected to end by itself.
pub fn node_ends(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kontiki-node")).args(args).output().unwrap()
}

/// Three nodes that know each other, not started yet.
pub struct Trio {
    pub dir: PathBuf,
    addresses: Vec<(SocketAddr, SocketAddr)>,
    groups: u64,
}

impl Trio {
    pub fn new(dir: &Path, groups: u64) -> Self {
        // All are bound at once, so that they differ; each is free again for its node afterwards.
        let bound: Vec<TcpListener> =
            (0..6).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
        let address = |at: usize| bound[at].local_addr().unwrap();
        let addresses = (0..3).map(|i| (address(i * 2), address(i * 2 + 1))).collect();
        Self { dir: dir.to_owned(), addresses, groups }
    }

    pub fn data_dir(&self, node: usize) -> PathBuf {
        self.dir.join(format!("node-{node}"))
    }

    /// The flags of node `node`, from 1.
    pub fn args(&self, node: usize) -> Vec<String> {
        let (listen, admin) = self.addresses[node - 1];
        let mut args = vec![
            format!("--node={node}"),
            format!("--data-dir={}", self.data_dir(node).display()),
            format!("--listen={listen}"),
            format!("--admin={admin}"),
            format!("--groups={}", self.groups),
            "--election-timeout-ms=500".to_owned(),
            "--heartbeat-ms=100".to_owned(),
        ];
        for (id, (listen, admin)) in (1..).zip(&self.addresses) {
            if id != node {
                args.push(format!("--peer={id}={listen},{admin}"));
            }
        }
        args
    }

    pub fn start(&self, node: usize) -> Node {
        Node::start(&self.args(node))
    }

    pub fn start_all(&self) -> Vec<Node> {
        (1..=3).map(|node| self.start(node)).collect()
    }
}

/// What `raftctl` said.
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

pub fn raftctl(args: &[&str]) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_raftctl")).args(args).output().unwrap();
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs `raftctl … -o json`, expecting success.
pub fn raftctl_json(args: &[&str]) -> serde_json::Value {
    let said = raftctl(&[args, &["-o", "json"]].concat());
    assert_eq!(said.code, Some(0), "{args:?}: {}", said.err);
    serde_json::from_str(&said.out).unwrap()
}

/// Waits until every group has a leader, as the nodes that are up see it.
pub fn wait_all_led(nodes: &[&Node]) {
    let led = wait_until("leaders of all groups", || {
        let leaderless = |node: &&Node| node.json("/v1/status")["leaderless"].as_u64() != Some(0);
        let leading = |node: &&Node| node.json("/v1/status")["leading"].as_u64().unwrap();
        let groups = nodes[0].json("/v1/status")["groups"].as_u64().unwrap();
        let all = nodes.iter().map(leading).sum::<u64>() == groups;
        (all && !nodes.iter().any(leaderless)).then_some(())
    });
    led.expect("every group has a leader within 30 s");
}

/// Puts through whichever node leads, with patience.
pub fn put(nodes: &[&Node], key: &str, value: &[u8]) {
    let target = format!("/v1/kv/put?key={}", kontiki_tools::api::hex(key.as_bytes()));
    let done = wait_until("a put", || {
        nodes.iter().find(|node| node.ask(Method::Post, &target, value).status == 200).map(|_| ())
    });
    done.expect("a put is served within 30 s");
}
