//! `raftctl log show ID`: the blocks of one group's log on one node, without their payloads.

use std::ops::RangeInclusive;

use super::failure::{Exit, Failure};
use super::output::{Table, bytes, print, print_json};
use super::{Format, Source};
use crate::api::LogReport;
use crate::disk;

pub(super) fn run(
    source: &Source,
    group: u64,
    range: RangeInclusive<u64>,
    output: Format,
) -> Result<Exit, Failure> {
    let report = match source {
        Source::Live(endpoint) => {
            let (from, to) = (range.start(), range.end());
            match endpoint.get::<LogReport>(&format!("/v1/groups/{group}/log?from={from}&to={to}"))
            {
                Err(failure) if failure.exit == Exit::NotFound => {
                    return Err(Failure::no_group(group));
                }
                other => other?,
            }
        }
        Source::Dir(dir) => disk::log(dir, group, range, usize::MAX)
            .map_err(|error| Failure::of_store(dir, &error))?
            .ok_or_else(|| Failure::no_group(group))?,
    };
    if output == Format::Json {
        return print_json(&report);
    }
    let mut table =
        Table::new(&["FIRST>", "LAST>", "TERM>", "KIND", "ENTRIES>", "SIZE>", "BATCH>", "PART>"]);
    for block in &report.blocks {
        table.row([
            block.first.to_string(),
            block.last.to_string(),
            block.term.to_string(),
            block.kind.clone(),
            block.entries.to_string(),
            bytes(block.bytes),
            block.batch.to_string(),
            block.part.to_string(),
        ]);
    }
    let head = format!(
        "group {} on node {}, compacted up to {}\n\n",
        report.group, report.node, report.compacted
    );
    let tail = if report.truncated { "more follow; ask on with --from\n" } else { "" };
    print(&(head + &table.render() + tail))
}
