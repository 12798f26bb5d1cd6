//! `raftctl node ls`: what nodes promise each other, a line for each pair and direction of view.
//!
//! Each line is one node's own view of another one: what it has of the other's support, by its own clock, and what it
//! gives. The two lines of a pair are of two moments and two clocks, so they need not agree to the millisecond.

use kontiki::support::PairStatus;
use serde::Serialize;

use super::failure::{Exit, Failure};
use super::live::{Endpoint, Heard, complain};
use super::output::{Table, or_dash, print, print_json};
use super::{Format, Source};
use crate::api::NodeReport;

/// A node, and how it stands with the others.
#[derive(Debug, Serialize)]
struct NodeView {
    node: u64,
    address: String,
    /// Its boot epoch, by its own word.
    epoch: Option<u64>,
    /// Its own view of each other node; absent when it did not answer.
    pairs: Option<Vec<PairStatus>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unreachable: Option<String>,
}

#[derive(Debug, Serialize)]
struct Listing {
    cluster: String,
    nodes: Vec<NodeView>,
}

pub(super) fn run(source: &Source, output: Format) -> Result<Exit, Failure> {
    match source {
        Source::Live(endpoint) => live(endpoint, output),
        Source::Dir(_) => {
            let why = "what nodes promise each other is on no disk: give --endpoint HOST:PORT";
            Err(Failure::new(Exit::Usage, why))
        }
    }
}

fn live(endpoint: &Endpoint, output: Format) -> Result<Exit, Failure> {
    let cluster = endpoint.cluster()?;
    let heard = endpoint.fan_out::<NodeReport>(&cluster, "/v1/status");
    let nodes: Vec<NodeView> = heard.iter().map(view).collect();
    if output == Format::Json {
        return print_json(&Listing { cluster: cluster.cluster, nodes });
    }
    let done = print(&table(&nodes).render())?;
    complain(&heard);
    Ok(done)
}

fn view(heard: &Heard<NodeReport>) -> NodeView {
    let status = heard.report.as_ref().map(|report| &report.status);
    NodeView {
        node: heard.node,
        address: heard.address.clone(),
        epoch: status.map(|status| status.boot_epoch),
        pairs: status.map(|status| status.pairs.clone()),
        unreachable: heard.unreachable.clone(),
    }
}

fn table(nodes: &[NodeView]) -> Table {
    let mut table = Table::new(&[
        "NODE>",
        "EPOCH>",
        "PEER>",
        "PEER EPOCH>",
        "LEASE>",
        "GIVES>",
        "LAPSES>",
        "HEARD>",
        "MISSED>",
        "LAST>",
        "P50>",
        "P99>",
        "MAX>",
    ]);
    for node in nodes {
        for pair in node.pairs.iter().flatten() {
            table.row(cells(node, pair));
        }
        // A node without pairs has a line all the same: it is alone, or silent.
        if node.pairs.as_ref().is_none_or(Vec::is_empty) {
            let own = [node.node.to_string(), or_dash(node.epoch)];
            table.row(own.into_iter().chain((0..11).map(|_| "-".to_owned())));
        }
    }
    table
}

fn cells(node: &NodeView, pair: &PairStatus) -> [String; 13] {
    let trips = pair.round_trips;
    let trip = |f: fn(&kontiki::support::RoundTrips) -> u32| {
        or_dash(trips.as_ref().map(|trips| millis(u64::from(f(trips)))))
    };
    [
        node.node.to_string(),
        or_dash(node.epoch),
        pair.node.to_string(),
        or_dash(Some(pair.epoch).filter(|&epoch| epoch > 0)),
        or_dash(pair.held_for_us.map(millis)),
        or_dash(pair.given_for_us.map(millis)),
        pair.given_lapses.to_string(),
        pair.beats_heard.to_string(),
        pair.beats_missed.to_string(),
        trip(|trips| trips.last_us),
        trip(|trips| trips.p50_us),
        trip(|trips| trips.p99_us),
        trip(|trips| trips.max_us),
    ]
}

/// Microseconds, to be read by people.
fn millis(us: u64) -> String {
    format!("{}.{:03} ms", us / 1000, us % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kontiki::support::RoundTrips;

    #[test]
    fn a_pair_has_a_line_and_so_has_a_node_that_is_silent() {
        let pair = PairStatus {
            node: 2,
            epoch: 7,
            given_for_us: Some(599_001),
            given_lapses: 3,
            held_for_us: None,
            held_lapses: None,
            beats_sent: 10,
            beats_heard: 9,
            beats_missed: 1,
            beats_ignored: 0,
            round_trips: Some(RoundTrips { last_us: 80, p50_us: 95, p99_us: 2100, max_us: 4000 }),
        };
        let of = |node, pairs, unreachable: Option<&str>| NodeView {
            node,
            address: String::new(),
            epoch: unreachable.is_none().then_some(4),
            pairs,
            unreachable: unreachable.map(str::to_owned),
        };
        let text = table(&[of(1, Some(vec![pair]), None), of(2, None, Some("down"))]).render();
        let words = |at: usize| text.lines().nth(at).unwrap().split("  ").map(str::trim);
        let line = |at| words(at).filter(|word| !word.is_empty()).collect::<Vec<_>>().join("|");
        assert_eq!(line(1), "1|4|2|7|-|599.001 ms|3|9|1|0.080 ms|0.095 ms|2.100 ms|4.000 ms");
        assert_eq!(line(2), "2|-|-|-|-|-|-|-|-|-|-|-|-");
    }
}
