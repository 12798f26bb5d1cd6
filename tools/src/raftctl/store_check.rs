//! `raftctl store check`: reads all of a store and lists everything that is wrong with it.

use kontiki::store::{CheckReport, OpenOptions, check};
use serde::Serialize;

use super::failure::{Exit, Failure};
use super::output::{bytes, facts, print, print_json};
use super::store_info::witness;
use super::{Format, Source};

/// The outcome of a check; every number is of what could be read.
#[derive(Debug, Serialize)]
struct Checked {
    whole: bool,
    problems: Vec<String>,
    cluster: Option<String>,
    node: Option<u64>,
    store: Option<String>,
    groups: u64,
    first_batch: u64,
    last_batch: u64,
    parts: u64,
    blocks: u64,
    block_bytes: u64,
    tables: u64,
    table_bytes: u64,
    wal_files: u64,
    wal_bytes: u64,
    witness: String,
    /// A tail that was never synced; opening the store cuts it.
    torn_tail: Option<String>,
}

pub(super) fn run(source: &Source, output: Format) -> Result<Exit, Failure> {
    let Source::Dir(dir) = source else {
        return Err(Failure::new(
            Exit::Usage,
            "`store check` reads a directory: give --data-dir DIR",
        ));
    };
    let report = check(&OpenOptions::new(dir)).map_err(|error| Failure::of_store(dir, &error))?;
    let checked = Checked::of(&report);
    if output == Format::Json {
        print_json(&checked)?;
    } else {
        print(&checked.text())?;
    }
    Ok(if checked.whole { Exit::Done } else { Exit::DamageFound })
}

impl Checked {
    fn of(report: &CheckReport) -> Self {
        let (first_batch, last_batch) = report.numbers;
        let (tables, table_bytes) = report.tables;
        let torn = report.torn.as_ref();
        Self {
            whole: report.is_whole(),
            problems: report.problems.iter().map(|p| p.to_string().replace('\n', " ")).collect(),
            cluster: report.identity.map(|id| format!("{:#x}", id.cluster_id)),
            node: report.identity.map(|id| id.node_id),
            store: report.identity.map(|id| format!("{:#x}", id.store_id)),
            groups: report.groups.len() as u64,
            first_batch,
            last_batch,
            parts: report.parts,
            blocks: report.blocks,
            block_bytes: report.bytes,
            tables: tables as u64,
            table_bytes,
            wal_files: report.wal.files.len() as u64,
            wal_bytes: report.wal.bytes,
            witness: witness(&report.witness),
            torn_tail: torn.map(|t| format!("{} from offset {} on", t.file.display(), t.offset)),
        }
    }

    fn text(&self) -> String {
        let unknown = || "unreadable".to_owned();
        let mut text = facts(&[
            ("node", self.node.map_or_else(unknown, |node| node.to_string())),
            ("store", self.store.clone().unwrap_or_else(unknown)),
            ("groups", self.groups.to_string()),
            ("batches", format!("{} to {}", self.first_batch, self.last_batch)),
            (
                "blocks",
                format!("{} in {} parts, {}", self.blocks, self.parts, bytes(self.block_bytes)),
            ),
            ("tables", format!("{}, {}", self.tables, bytes(self.table_bytes))),
            ("log files", format!("{}, {}", self.wal_files, bytes(self.wal_bytes))),
            ("witness", self.witness.clone()),
        ]);
        if let Some(torn) = &self.torn_tail {
            text += &format!("\nan unsynced tail, which opening the store cuts: {torn}\n");
        }
        if self.whole {
            return text + "\nwhole: everything that was read is as it was written\n";
        }
        text += &format!("\nDAMAGED, {} finding(s):\n", self.problems.len());
        for problem in &self.problems {
            text += &format!("  {problem}\n");
        }
        text
    }
}
