//! `raftctl store info`: who a store is and what it holds.

use std::path::Path;

use kontiki::store::{StoreView, WitnessState};
use serde::Serialize;

use super::failure::{Exit, Failure};
use super::live::Endpoint;
use super::output::{facts, or_dash, print, print_json};
use super::{Format, Source};
use crate::api::NodeReport;

/// A store as its directory shows it.
#[derive(Debug, Serialize)]
struct Info {
    cluster: String,
    node: u64,
    store: String,
    boot_epoch: u64,
    format_version: u32,
    groups: u64,
    first_batch: u64,
    last_batch: u64,
    witness: String,
    /// The process that has the store open.
    in_use_by: Option<String>,
}

pub(super) fn run(source: &Source, output: Format) -> Result<Exit, Failure> {
    match source {
        Source::Live(endpoint) => live(endpoint, output),
        Source::Dir(dir) => offline(dir, output),
    }
}

fn live(endpoint: &Endpoint, output: Format) -> Result<Exit, Failure> {
    let report: NodeReport = endpoint.get("/v1/status")?;
    if output == Format::Json {
        return print_json(&report);
    }
    let status = &report.status;
    print(&facts(&[
        ("cluster", status.cluster.clone()),
        ("node", status.node.to_string()),
        ("store", status.store.clone()),
        ("boot epoch", status.boot_epoch.to_string()),
        ("groups", status.groups.to_string()),
        ("machine", report.machine.clone()),
        ("durability", report.durability.clone()),
        ("address", status.listen.clone()),
        ("version", report.version.clone()),
        ("uptime", format!("{} s", report.uptime_s)),
    ]))
}

/// What the witness says, in a word or two.
pub(super) fn witness(state: &WitnessState) -> String {
    match state {
        WitnessState::Present(found) if found.clean => {
            format!("batch {} synced, cleanly shut down", found.synced)
        }
        WitnessState::Present(found) => format!("batch {} synced", found.synced),
        WitnessState::Missing => "missing".to_owned(),
        WitnessState::Damaged { why } => format!("damaged: {why}"),
    }
}

fn offline(dir: &Path, output: Format) -> Result<Exit, Failure> {
    let view = StoreView::open(dir).map_err(|error| Failure::of_store(dir, &error))?;
    let identity = view.identity();
    let (first_batch, last_batch) = view.numbers();
    let info = Info {
        cluster: format!("{:#x}", identity.cluster_id),
        node: identity.node_id,
        store: format!("{:#x}", identity.store_id),
        boot_epoch: identity.boot_epoch,
        format_version: view.format().version,
        groups: view.groups().len() as u64,
        first_batch,
        last_batch,
        witness: witness(view.witness()),
        in_use_by: view.holder().map(ToString::to_string),
    };
    if output == Format::Json {
        return print_json(&info);
    }
    print(&facts(&[
        ("cluster", info.cluster.clone()),
        ("node", info.node.to_string()),
        ("store", info.store.clone()),
        ("boot epoch", info.boot_epoch.to_string()),
        ("format", format!("version {}", info.format_version)),
        ("groups", info.groups.to_string()),
        ("batches", format!("{} to {}", info.first_batch, info.last_batch)),
        ("witness", info.witness.clone()),
        ("in use by", or_dash(info.in_use_by.as_ref())),
    ]))
}
