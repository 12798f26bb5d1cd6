//! One `kontiki-node` process: started with flags, asked through its admin listener, ended by a signal.
//!
//! What it says on standard error goes to a file beside its store, and into the message of a test that fails.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use kontiki::clock::Clock;
use kontiki_tools::http::{Answer, ClientError, Method, ask};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::node_binary;

/// How long one question to a node may take.
const ASK: Duration = Duration::from_secs(20);

/// Asks `f` again and again until it has an answer, for `limit` at most; returns the answer and how long it took.
///
/// # Panics
/// When there is none in time; `what` says what was waited for.
pub fn within<T>(what: &str, limit: Duration, mut f: impl FnMut() -> Option<T>) -> (T, Duration) {
    let clock = Clock::new();
    let start = clock.now().0;
    loop {
        let answer = f();
        let taken = Duration::from_micros(clock.now().0 - start);
        match answer {
            Some(answer) => return (answer, taken),
            None => assert!(taken < limit, "no {what} within {limit:?}"),
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// A running `kontiki-node`; killed when dropped.
#[derive(Debug)]
pub struct Node {
    child: Child,
    stdout: BufReader<ChildStdout>,
    said: PathBuf,
    /// The address of its admin listener.
    pub admin: String,
}

impl Node {
    /// Starts a node with these flags and does not wait for anything. `said` takes its standard error.
    ///
    /// # Panics
    /// When no process can be started.
    #[must_use]
    pub fn spawn(args: &[String], admin: String, said: &Path) -> Self {
        let errors = File::options().create(true).append(true).open(said).unwrap();
        let mut child = Command::new(node_binary())
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout, said: said.to_owned(), admin }
    }

    /// Waits for the line that says it serves; what it had said instead, when it ended without.
    ///
    /// # Errors
    /// The exit code and the last words of a node that did not start.
    ///
    /// # Panics
    /// When it printed another line.
    pub fn ready(&mut self) -> Result<(), (Option<i32>, String)> {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        if line.is_empty() {
            let status = self.child.wait().unwrap();
            return Err((status.code(), self.last_words()));
        }
        assert!(line.starts_with("ready node="), "{line:?}");
        Ok(())
    }

    /// The end of what it said on standard error.
    #[must_use]
    pub fn last_words(&self) -> String {
        let said = std::fs::read_to_string(&self.said).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// The process's id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// One question to its admin listener.
    ///
    /// # Errors
    /// When no whole answer came back.
    pub fn ask(&self, method: Method, target: &str, body: &[u8]) -> Result<Answer, ClientError> {
        ask(&self.admin, method, target, body, ASK)
    }

    /// The JSON at `target`, when it answers with 200.
    #[must_use]
    pub fn json(&self, target: &str) -> Option<Value> {
        let answer = self.ask(Method::Get, target, b"").ok()?;
        (answer.status == 200).then(|| serde_json::from_slice(&answer.body).unwrap())
    }

    /// Whether it says that it is well.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.ask(Method::Get, "/healthz", b"").is_ok_and(|answer| answer.status == 200)
    }

    /// Bytes of memory that the process holds.
    ///
    /// # Panics
    /// When the process has ended.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Asks it to stop.
    ///
    /// # Panics
    /// When there is no such process.
    pub fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// Waits until the process has ended by itself.
    ///
    /// # Panics
    /// When it has not after 60 s.
    pub fn wait(&mut self) -> ExitStatus {
        within("end of the process", Duration::from_secs(60), || self.child.try_wait().unwrap()).0
    }

    /// `kill -9`, and waits until it is gone.
    ///
    /// # Panics
    /// When it had ended before.
    pub fn kill(mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "it had ended before: {ended:?}\n{}", self.last_words());
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} at the end:\n{}", self.said.display(), self.last_words());
        }
        // It may have ended already; then there is nothing to kill.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs a node that is expected to end by itself.
///
/// # Panics
/// When no process can be started.
#[must_use]
pub fn node_ends(args: &[String]) -> Output {
    Command::new(node_binary()).args(args).stdin(Stdio::null()).output().unwrap()
}
