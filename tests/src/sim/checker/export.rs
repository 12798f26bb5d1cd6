//! A history as JSON lines, in the form of Jepsen's histories, so that other checkers can judge it too.
//!
//! One event a line, in order: `index`, `time`, `process`, `type` (`invoke`, `ok`, `fail`, `info`), `f`, `value`,
//! and `op`, the number by which a [`Violation`](super::Violation) names the operation.
//!
//! | operation | `f` | `value` when invoked | `value` when `ok` |
//! |---|---|---|---|
//! | get | `read` | `[key, null]` | `[key, value]` |
//! | put, delete | `write` | `[key, value]`, `[key, null]` | the same |
//! | compare-and-set | `cas` | `[key, [expected, new]]` | the same; `fail`, `error: mismatch` when it did not hold |
//! | batch | `txn` | `[["w", key, value], ...]` | the same |
//! | scan | `scan` | `{"start", "end", "view"}` | the same with `pairs` as `[["r", key, value], ...]` and `next` |
//!
//! Single-key operations are those of a register under independent keys, which Knossos and porcupine read; batches
//! are transactions of micro-operations, as Elle reads them. `fail` did not happen (`error: not-applied`), `info`
//! may have. As there, a process has one operation at a time, and none after one of unknown outcome: clients
//! that go on do so as another process, and `client` keeps their number. Bytes that are no UTF-8 are
//! written as `hex:` and their digits, and so is text that begins with `hex:`.
//!
//! Deliberately absent: reading it back. A seed brings the history again.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::history::{Action, Answer, History, NEVER, Record, View};

/// A process of the export: the client it belongs to, and whether it may begin an operation.
struct Process {
    client: u64,
    idle: bool,
}

impl History {
    /// The history as JSON lines, one event a line.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut events: Vec<(u32, usize)> = Vec::with_capacity(2 * self.len());
        for (op, record) in self.records.iter().enumerate() {
            events.push((record.call, op));
            if record.ret != NEVER {
                events.push((record.ret, op));
            }
        }
        events.sort_unstable();
        let mut processes: Vec<Process> = Vec::new();
        let mut process_of = vec![0; self.len()];
        let mut text = String::new();
        for (index, (event, op)) in events.into_iter().enumerate() {
            let record = &self.records[op];
            let invoked = event == record.call;
            if invoked {
                process_of[op] = take(&mut processes, record.client);
            } else {
                let unknown = matches!(record.answer, Answer::Unknown);
                processes[process_of[op]].idle = !unknown;
            }
            let mut line = self.event_line(record, invoked);
            line["index"] = json!(index);
            line["op"] = json!(op);
            line["process"] = json!(process_of[op]);
            line["client"] = json!(record.client);
            writeln!(text, "{line}").expect("a string takes all");
        }
        text
    }

    fn event_line(&self, record: &Record, invoked: bool) -> Value {
        let time = if invoked { Some(record.invoked) } else { record.completed };
        let (f, value) = self.function(record, invoked);
        let mut line = json!({ "time": time, "f": f, "value": value });
        let (kind, error) = match &record.answer {
            _ if invoked => ("invoke", None),
            Answer::Unknown => ("info", Some("unknown")),
            Answer::NotApplied => ("fail", Some("not-applied")),
            Answer::Swapped(false) => ("fail", Some("mismatch")),
            Answer::Written
            | Answer::Value { .. }
            | Answer::Swapped(true)
            | Answer::Page { .. } => ("ok", None),
        };
        line["type"] = json!(kind);
        if let Some(error) = error {
            line["error"] = json!(error);
        }
        line
    }

    fn function(&self, record: &Record, invoked: bool) -> (&'static str, Value) {
        let key = |pair: u32| written(self.key_bytes(pair));
        let value = |pair: u32| self.value(pair).map(written);
        let micro = |f: &str, pairs: &[u32]| -> Vec<Value> {
            pairs.iter().map(|&pair| json!([f, key(pair), value(pair)])).collect()
        };
        match &record.action {
            Action::Get { key } => {
                let read = match &record.answer {
                    Answer::Value { pair } if !invoked => value(*pair),
                    _ => None,
                };
                ("read", json!([written(&self.keys[*key as usize].bytes), read]))
            }
            &Action::Write { pair, .. } => ("write", json!([key(pair), value(pair)])),
            &Action::CompareAndSet { expected, new } => {
                ("cas", json!([key(expected), [value(expected), value(new)]]))
            }
            Action::Batch { pairs } => ("txn", json!(micro("w", &self.lists[pairs.clone()]))),
            Action::Scan { start, end, view } => {
                let view = match view {
                    View::Whole => "whole",
                    View::PerKey => "per-key",
                };
                let end = end.as_deref().map(written);
                let mut scan = json!({ "start": written(start), "end": end, "view": view });
                if let Answer::Page { pairs, next } = &record.answer
                    && !invoked
                {
                    scan["pairs"] = json!(micro("r", &self.lists[pairs.clone()]));
                    scan["next"] = json!(next.as_deref().map(written));
                }
                ("scan", scan)
            }
        }
    }
}

/// A process of this client that has nothing under way, or a new one.
fn take(processes: &mut Vec<Process>, client: u64) -> usize {
    let idle = processes.iter().position(|process| process.client == client && process.idle);
    let process = idle.unwrap_or_else(|| {
        processes.push(Process { client, idle: true });
        processes.len() - 1
    });
    processes[process].idle = false;
    process
}

fn written(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.starts_with("hex:") => text.to_owned(),
        Ok(_) | Err(_) => bytes.iter().fold(String::from("hex:"), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string takes all");
            text
        }),
    }
}
