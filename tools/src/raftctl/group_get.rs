//! `raftctl group get ID`: one group, with all that is known of its replicas.

use std::path::Path;

use kontiki::status::GroupStatus;
use kontiki::store::StoreView;

use super::failure::{Exit, Failure};
use super::group_ls::{GroupView, ReplicaView, StoredGroup};
use super::live::{Endpoint, complain};
use super::output::{Table, bytes, facts, or_dash, print, print_json};
use super::{Format, Source};
use crate::disk;

pub(super) fn run(source: &Source, group: u64, output: Format) -> Result<Exit, Failure> {
    match source {
        Source::Live(endpoint) => live(endpoint, group, output),
        Source::Dir(dir) => offline(dir, group, output),
    }
}

fn live(endpoint: &Endpoint, group: u64, output: Format) -> Result<Exit, Failure> {
    let cluster = endpoint.cluster()?;
    let heard = endpoint.fan_out::<GroupStatus>(&cluster, &format!("/v1/groups/{group}"));
    let statuses: Vec<&GroupStatus> =
        heard.iter().filter_map(|node| node.report.as_ref()).collect();
    let Some(view) = GroupView::of(&statuses) else {
        return Err(Failure::no_group(group));
    };
    if output == Format::Json {
        return print_json(&view);
    }
    let mut table = Table::new(&[
        "NODE>",
        "REPLICA>",
        "ROLE",
        "TERM>",
        "COMPACTED>",
        "APPLIED>",
        "COMMITTED>",
        "PERSISTED>",
        "LAST>",
        "LAG>",
        "PROGRESS",
        "IN FLIGHT>",
        "ACTIVE",
    ]);
    for replica in &view.replicas {
        table.row(cells(replica));
    }
    let head = facts(&[
        ("group", view.group.to_string()),
        ("leader", view.leader.map_or_else(|| "none".to_owned(), |node| format!("node {node}"))),
        ("term", view.term.to_string()),
        ("committed", view.committed.to_string()),
    ]);
    let done = print(&format!("{head}\n{}", table.render()))?;
    complain(&heard);
    Ok(done)
}

fn cells(replica: &ReplicaView) -> [String; 13] {
    let own = |f: fn(&GroupStatus) -> String| or_dash(replica.own.as_ref().map(f));
    let role =
        replica.own.as_ref().map_or_else(|| "unreachable".to_owned(), |own| own.role.clone());
    let active = replica.active.map(|active| if active { "yes" } else { "no" });
    [
        replica.node.to_string(),
        replica.replica.to_string(),
        role,
        own(|s| s.term.to_string()),
        own(|s| s.compacted.to_string()),
        own(|s| s.applied.to_string()),
        own(|s| s.committed.to_string()),
        own(|s| s.persisted.to_string()),
        own(|s| s.last.to_string()),
        or_dash(replica.lag),
        or_dash(replica.progress.as_ref()),
        or_dash(replica.inflight_bytes.map(bytes)),
        or_dash(active),
    ]
}

fn offline(dir: &Path, group: u64, output: Format) -> Result<Exit, Failure> {
    let failed = |error| Failure::of_store(dir, &error);
    let view = StoreView::open(dir).map_err(failed)?;
    let Some(record) = disk::record(&view, group) else {
        return Err(Failure::no_group(group));
    };
    let tails = disk::tails(&view).map_err(failed)?;
    let stored = StoredGroup::of(group, record, tails.get(&group));
    if output == Format::Json {
        return print_json(&stored);
    }
    print(&facts(&[
        ("group", stored.group.to_string()),
        ("replica", stored.replica.to_string()),
        ("term", stored.term.to_string()),
        ("vote", or_dash(stored.vote)),
        ("compacted", stored.compacted.to_string()),
        ("last", format!("{} (term {})", stored.last, stored.last_term)),
        ("log", format!("{} blocks, {}", stored.blocks, bytes(stored.bytes))),
        ("members", stored.members()),
        ("range", stored.range),
    ]))
}
