//! Hazard G10: a node comes back under its old id with an empty store. Its votes and acknowledgements are gone, so nobody
//! may count on it any more.
#![cfg(feature = "rocks")]
#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

use kontiki::machine::NullMachine;
use kontiki::store::{ForgetError, OpenError, OpenOptions, forget_peer};
use kontiki::support::PairStatus;
use kontiki::testing::{Cluster, Plan, node_dir, wait_until};
use kontiki::{Bootstrap, Config, Engine};

const GROUPS: u64 = 4;

fn open(config: &Config, bootstrap: &Bootstrap) -> Engine {
    Engine::open(config.clone(), bootstrap.clone(), NullMachine::open).unwrap()
}

/// Whether `node` has a connection to `peer`, and if not, why not.
fn link(node: &Engine, peer: u64) -> (bool, String) {
    let status = node.status().unwrap();
    let found = status.peers.into_iter().find(|found| found.node == peer).unwrap();
    (found.connected, found.reason.unwrap_or_default())
}

fn write_all(nodes: &Cluster, what: &str) {
    for group in 1..=GROUPS {
        let written = wait_until("a write", || {
            let leader = nodes.leader(group)?;
            leader.propose(group, what.as_bytes()).ok()?.wait().ok()
        });
        written.unwrap();
    }
}

/// Waits until all nodes are connected and support each other.
fn wait_connected(nodes: &Cluster) {
    for node in &nodes.nodes {
        let up = || {
            let status = node.status().unwrap();
            let supported = |pair: &PairStatus| pair.given_for_us.and(pair.held_for_us).is_some();
            let up = status.peers.iter().all(|peer| peer.connected);
            (up && status.pairs.iter().all(supported)).then_some(())
        };
        wait_until("connections", up).unwrap();
    }
}

/// Node `wiped` of three loses its disk. It calls the nodes above it, and is called by those below.
fn refused_by_all(wiped: u64) {
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan::new(dir.path(), 3, usize::try_from(GROUPS).unwrap()).unwrap();
    let place = usize::try_from(wiped).unwrap() - 1;
    let open_at = |place: usize| open(&plan.configs[place], &plan.bootstrap);
    let mut cluster = Cluster { nodes: (0..3).map(open_at).collect() };
    cluster.wait_all_led();
    wait_connected(&cluster);
    write_all(&cluster, "before");

    cluster.nodes.remove(place).shutdown().unwrap();
    std::fs::remove_dir_all(node_dir(dir.path(), wiped)).unwrap();
    write_all(&cluster, "by two of three");
    let back = open_at(place);
    for other in &cluster.nodes {
        let refused = || {
            let (connected, reason) = link(other, wiped);
            assert!(!connected, "node {} lets it in", other.node_id());
            reason.contains("lost its memory").then_some(())
        };
        wait_until("a refusal", refused).unwrap();
        let told = || {
            let (_, reason) = link(&back, other.node_id());
            reason.contains("the node had another store before").then_some(())
        };
        wait_until("its reason at the other end", told).unwrap();
        assert!(other.metrics().wrong_stores.get() > 0);
    }
    assert!(back.metrics().wrong_stores.get() >= 2, "refused by both");
    write_all(&cluster, "beside it");
    for group in 1..=GROUPS {
        assert_eq!(back.leader(group), None, "it follows nobody");
        assert_eq!(back.digest(group).unwrap().1, 0, "it has heard nothing");
        let leader = cluster.wait_leader(group);
        leader.read(group).unwrap().wait().unwrap();
    }

    // The others know it still after a restart.
    let ids: Vec<usize> = (0..3).filter(|&at| at != place).collect();
    cluster.shutdown().unwrap();
    cluster.nodes = ids.iter().map(|&at| open_at(at)).collect();
    cluster.wait_all_led();
    for other in &cluster.nodes {
        let refused = || {
            let (connected, reason) = link(other, wiped);
            assert!(!connected, "node {} lets it in", other.node_id());
            reason.contains("lost its memory").then_some(())
        };
        wait_until("a refusal", refused).unwrap();
    }
    write_all(&cluster, "after a restart");
    for group in 1..=GROUPS {
        let (a, b) = (&cluster.nodes[0], &cluster.nodes[1]);
        let equal = || {
            let (a, b) = (a.digest(group).unwrap(), b.digest(group).unwrap());
            (a == b && a.1 >= 4).then_some(())
        };
        wait_until("both to have all four writes", equal).unwrap();
    }
    cluster.shutdown().unwrap();
    back.shutdown().unwrap();
}

#[test]
fn g10_a_wiped_node_that_calls_is_refused_by_all() {
    refused_by_all(1);
}

#[test]
fn g10_a_wiped_node_that_is_called_is_refused_by_all() {
    refused_by_all(3);
}

#[test]
fn g10_a_wiped_node_that_calls_and_is_called_is_refused_by_all() {
    refused_by_all(2);
}

#[test]
fn g10_a_replaced_node_is_let_in_by_those_who_were_told_to_forget_it() {
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan::new(dir.path(), 3, 1).unwrap();
    let open_at = |place: usize| open(&plan.configs[place], &plan.bootstrap);
    let mut cluster = Cluster { nodes: (0..3).map(open_at).collect() };
    cluster.wait_all_led();
    wait_connected(&cluster);

    cluster.nodes.remove(2).shutdown().unwrap();
    std::fs::remove_dir_all(node_dir(dir.path(), 3)).unwrap();
    let options = |node| OpenOptions::new(node_dir(dir.path(), node));
    let locked = forget_peer(&options(1), 3);
    assert!(matches!(locked, Err(ForgetError::Open(OpenError::Locked { .. }))), "{locked:?}");
    cluster.shutdown().unwrap();
    assert_ne!(forget_peer(&options(1), 3).unwrap(), 0);

    // Node 1 forgets, node 2 does not.
    let nodes: Vec<Engine> = (0..3).map(open_at).collect();
    let let_in = || (link(&nodes[0], 3).0 && link(&nodes[2], 1).0).then_some(());
    wait_until("node 3 to be let in by node 1", let_in).unwrap();
    let refused = || link(&nodes[1], 3).1.contains("lost its memory").then_some(());
    wait_until("node 3 to be refused by node 2", refused).unwrap();
    assert!(!link(&nodes[1], 3).0);
    for node in &nodes {
        node.shutdown().unwrap();
    }
}
