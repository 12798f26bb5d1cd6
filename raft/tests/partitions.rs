//! Partial partitions: wherever a leader can exist, there is one within three election timeouts,
//! and it stays (hazard E12). With and without leases, of three and five replicas.
//!
//! A leader can exist where some replica reaches a majority, itself included, whose logs are no
//! further than its own.

#![expect(clippy::unwrap_used, reason = "helpers of tests, though not inside of one")]

mod common;

use common::{Cluster, config};
use kontiki_raft::Config;

const TIMEOUT_US: u64 = 100_000;
const SEEDS: u64 = 40;

fn group(count: u64, lease_percent: u8, seed: u64) -> Cluster {
    let mut cluster = Cluster::stopped(count, 0, Config { lease_percent, ..config() }, seed);
    cluster.serves_snapshots = true;
    for number in cluster.numbers() {
        cluster.restart(number);
    }
    cluster
}

/// Leaves only these links, both ways. Nobody is told of the others.
fn link(cluster: &mut Cluster, links: &[(u64, u64)]) {
    cluster.cut.clear();
    for a in cluster.numbers() {
        for b in cluster.numbers().filter(|&b| b != a) {
            if !links.contains(&(a, b)) && !links.contains(&(b, a)) {
                cluster.cut.push((a, b));
            }
        }
    }
}

/// Who leads so that what is proposed to it is committed.
fn working_leader(cluster: &mut Cluster) -> Option<u64> {
    let leads: Vec<_> = cluster.numbers().filter(|&n| cluster.raft(n).is_leader()).collect();
    leads.into_iter().find(|&leader| {
        let Some(proposed) = cluster.propose(leader, 1) else { return false };
        cluster.run();
        cluster.raft(leader).committed() >= proposed.last
    })
}

/// Within three election timeouts one of `able` leads, and does so ten timeouts later in that same
/// term.
fn settles(cluster: &mut Cluster, able: &[u64], what: &str) {
    let begin = cluster.now.0;
    let leader = loop {
        if let Some(leader) = working_leader(cluster) {
            break leader;
        }
        let waited = cluster.now.0 - begin;
        assert!(waited < 3 * TIMEOUT_US, "{what}: nobody leads: {:?}", cluster.roles());
        cluster.pass(1_000);
    };
    assert!(able.contains(&leader), "{what}: replica {leader} leads");
    let term = cluster.raft(leader).term();
    cluster.pass(2 * TIMEOUT_US);
    let leader = working_leader(cluster).unwrap();
    let settled = cluster.raft(leader).term();
    cluster.pass(10 * TIMEOUT_US);
    assert_eq!(working_leader(cluster), Some(leader), "{what}: it does not last");
    assert_eq!(cluster.raft(leader).term(), settled, "{what}: it is disturbed");
    assert!(settled.0 <= term.0 + 1, "{what}: from {term} to {settled}");
}

fn each(mut test: impl FnMut(u8, u64)) {
    for lease_percent in [0, 80] {
        for seed in 0..SEEDS {
            test(lease_percent, seed);
        }
    }
}

#[test]
fn e12_quorum_loss_the_hub_leads() {
    // The leader lives but reaches only the hub, and so do all others.
    each(|lease, seed| {
        for hub in [2, 3, 5] {
            let mut cluster = group(5, lease, seed);
            cluster.elect(1);
            cluster.pass(TIMEOUT_US / 2);
            let links: Vec<_> = (1..=5).filter(|&n| n != hub).map(|n| (n, hub)).collect();
            link(&mut cluster, &links);
            settles(&mut cluster, &[hub], &format!("seed {seed}, hub {hub}, lease {lease}"));
        }
    });
}

#[test]
fn e12_quorum_loss_of_three_keeps_a_leader() {
    each(|lease, seed| {
        for hub in 1..=3 {
            let mut cluster = group(3, lease, seed);
            cluster.elect(1);
            cluster.pass(TIMEOUT_US / 2);
            let links: Vec<_> = (1..=3).filter(|&n| n != hub).map(|n| (n, hub)).collect();
            link(&mut cluster, &links);
            settles(&mut cluster, &[1, 2, 3], &format!("seed {seed}, hub {hub}, lease {lease}"));
            assert_eq!(cluster.leader(), Some(1), "seed {seed}: it had a majority all the time");
        }
    });
}

#[test]
fn e12_constrained_election_the_only_one_who_can_win_does() {
    // The leader is cut off from everybody. Of the others, only the hub reaches a majority. Some
    // hold entries that it lacks, but nothing that could be committed, so it may be elected: by
    // those who hold no more than it does.
    each(|lease, seed| {
        let mut cluster = group(5, lease, seed);
        cluster.elect(1);
        cluster.pass(TIMEOUT_US / 2);
        link(&mut cluster, &[(1, 5)]);
        cluster.propose(1, 3).unwrap();
        cluster.run();
        assert!(cluster.raft(5).last() > cluster.raft(2).last(), "replica 5 alone has more");
        link(&mut cluster, &[(2, 3), (2, 4), (2, 5)]);
        settles(&mut cluster, &[2], &format!("seed {seed}, lease {lease}"));

        let mut cluster = group(3, lease, seed);
        cluster.elect(1);
        cluster.pass(TIMEOUT_US / 2);
        link(&mut cluster, &[(2, 3)]);
        settles(&mut cluster, &[2, 3], &format!("seed {seed}, lease {lease}, three"));
    });
}

#[test]
fn e12_constrained_election_no_leader_that_would_lose_what_is_committed() {
    // Where only the hub reaches a majority and lacks what is committed, nobody can lead. As soon
    // as one of those who have it reaches a majority, one leads.
    each(|lease, seed| {
        let mut cluster = group(5, lease, seed);
        cluster.elect(1);
        cluster.pass(TIMEOUT_US / 2);
        link(&mut cluster, &[(1, 3), (1, 4), (1, 5), (3, 4), (3, 5), (4, 5)]);
        let last = cluster.propose(1, 3).unwrap().last;
        cluster.run();
        assert_eq!(cluster.raft(1).committed(), last);
        link(&mut cluster, &[(2, 3), (2, 4), (2, 5)]);
        cluster.pass(5 * TIMEOUT_US);
        assert_eq!(cluster.leader(), None, "seed {seed}: {:?}", cluster.roles());
        link(&mut cluster, &[(2, 3), (2, 4), (2, 5), (3, 4)]);
        settles(&mut cluster, &[3, 4], &format!("seed {seed}, lease {lease}"));
    });
}

#[test]
fn e12_chained_the_ends_do_not_disturb_the_middle() {
    each(|lease, seed| {
        // 1 - 2 - 3, led from an end or from the middle.
        for first in [1, 2, 3] {
            let mut cluster = group(3, lease, seed);
            cluster.elect(first);
            cluster.pass(TIMEOUT_US / 2);
            link(&mut cluster, &[(1, 2), (2, 3)]);
            settles(&mut cluster, &[1, 2, 3], &format!("seed {seed}, lease {lease}, from {first}"));
            assert_eq!(cluster.leader(), Some(first), "it had a majority all the time");
        }
        // 1 - 2 - 3 - 4 - 5: only the three in the middle... and of these, whoever still reaches
        // two neighbours.
        for first in [1, 3, 5] {
            let mut cluster = group(5, lease, seed);
            cluster.elect(first);
            cluster.pass(TIMEOUT_US / 2);
            link(&mut cluster, &[(1, 2), (2, 3), (3, 4), (4, 5)]);
            settles(&mut cluster, &[2, 3, 4], &format!("seed {seed}, lease {lease}, from {first}"));
        }
    });
}

#[test]
fn e12_a_link_that_works_one_way_only_leaves_no_group_without_a_leader() {
    each(|lease, seed| {
        for (from, to) in [(1, 2), (2, 1)] {
            for count in [3, 5] {
                let mut cluster = group(count, lease, seed);
                cluster.elect(1);
                cluster.pass(TIMEOUT_US / 2);
                cluster.cut.push((from, to));
                let all: Vec<_> = cluster.numbers().collect();
                settles(&mut cluster, &all, &format!("seed {seed}, {from} to {to}, of {count}"));
            }
        }
    });
}
