//! `raftctl status`: the nodes of the cluster at a glance.

use serde::Serialize;

use super::failure::{Exit, Failure};
use super::live::{Endpoint, Heard, complain};
use super::output::{Table, or_dash, print, print_json};
use super::{Format, Source, store_info};
use crate::api::NodeReport;

#[derive(Debug, Serialize)]
struct Status {
    cluster: String,
    nodes: Vec<Heard<NodeReport>>,
}

/// Of a directory the status is what `store info` says.
pub(super) fn run(source: &Source, output: Format) -> Result<Exit, Failure> {
    match source {
        Source::Live(endpoint) => live(endpoint, output),
        Source::Dir(_) => store_info::run(source, output),
    }
}

fn live(endpoint: &Endpoint, output: Format) -> Result<Exit, Failure> {
    let cluster = endpoint.cluster()?;
    let nodes = endpoint.fan_out::<NodeReport>(&cluster, "/v1/status");
    if output == Format::Json {
        return print_json(&Status { cluster: cluster.cluster, nodes });
    }
    let mut table = Table::new(&[
        "NODE>",
        "STATE",
        "ADDRESS",
        "ADMIN",
        "STORE",
        "EPOCH>",
        "GROUPS>",
        "LEADING>",
        "LEADERLESS>",
        "PEERS>",
        "MACHINE",
        "DURABILITY",
        "UPTIME>",
    ]);
    for node in &nodes {
        let seen = node.report.as_ref();
        let figure = |f: fn(&NodeReport) -> String| or_dash(seen.map(f));
        table.row([
            node.node.to_string(),
            if seen.is_some() { "up".to_owned() } else { "unreachable".to_owned() },
            node.address.clone(),
            or_dash(node.admin.as_ref()),
            figure(|r| r.status.store.trim_start_matches("0x").chars().take(8).collect()),
            figure(|r| r.status.boot_epoch.to_string()),
            figure(|r| r.status.groups.to_string()),
            figure(|r| r.status.leading.to_string()),
            figure(|r| r.status.leaderless.to_string()),
            figure(|r| {
                let up = r.status.peers.iter().filter(|peer| peer.connected).count();
                format!("{up}/{}", r.status.peers.len())
            }),
            figure(|r| r.machine.clone()),
            figure(|r| r.durability.clone()),
            figure(|r| format!("{} s", r.uptime_s)),
        ]);
    }
    let done = print(&format!("cluster {}\n\n{}", cluster.cluster, table.render()))?;
    complain(&nodes);
    Ok(done)
}
