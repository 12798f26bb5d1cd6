//! Seats: who votes, who is counted, who may lead, and to whom the lead goes. Names begin with the
//! hazard's id.

#![expect(clippy::unwrap_used, reason = "helpers of tests, though not inside of one")]

mod common;

use common::{Cluster, config, id, position};
use kontiki_raft::Change::{AddLearner, AddVoter, AddWitness, Remove};
use kontiki_raft::{
    Change, Member, Membership, Message, MessageKind, Role, Seat, Time, TransferError, Transition,
};

const TIMEOUT_US: u64 = 100_000;

/// Replicas 1 to `voters`, and `spares` who wait to be added.
fn group(voters: u64, spares: u64, seed: u64) -> Cluster {
    let mut cluster = Cluster::stopped(voters, spares, config(), seed);
    cluster.serves_snapshots = true;
    for number in cluster.numbers() {
        cluster.restart(number);
    }
    cluster
}

/// The change is made, committed and everywhere.
fn change(cluster: &mut Cluster, leader: u64, changes: &[Change]) -> Membership {
    cluster.change(leader, changes, Transition::Auto).unwrap();
    cluster.run();
    let membership = cluster.raft(leader).membership();
    assert!(!membership.is_joint(), "{membership}");
    membership
}

/// Delivers what is on its way, lets the others write and answer, and delivers that.
fn round_trip(cluster: &mut Cluster, leader: u64, others: &[u64]) {
    for &other in others {
        while cluster.send_append(leader, other) {}
    }
    for packet in std::mem::take(&mut cluster.net) {
        cluster.deliver(packet);
    }
    for &other in others {
        cluster.sync(other);
        cluster.send_messages(other);
    }
    for packet in std::mem::take(&mut cluster.net) {
        cluster.deliver(packet);
    }
}

fn silence(cluster: &mut Cluster) {
    cluster.now = Time(cluster.now.0 + 2 * TIMEOUT_US);
}

#[test]
fn m12_learners_and_strangers_do_not_commit() {
    let mut cluster = group(3, 3, 1);
    cluster.elect(1);
    change(&mut cluster, 1, &[AddLearner(id(4)), AddLearner(id(5))]);
    for gone in [2, 3] {
        cluster.isolate(gone);
    }
    let before = cluster.raft(1).committed();
    let last = cluster.propose(1, 1).unwrap().last;
    cluster.run();
    assert_eq!(cluster.raft(4).last().index, last);
    let matched = position(1, last.0);
    cluster.tell(6, 1, 1, MessageKind::AppendAck { matched, read_round: 0 });
    assert_eq!(
        cluster.raft(1).committed(),
        before,
        "one of three voters, two learners, a stranger"
    );
}

#[test]
fn m12_learners_and_strangers_do_not_elect() {
    let mut cluster = group(3, 3, 1);
    cluster.elect(1);
    change(&mut cluster, 1, &[AddLearner(id(4)), AddLearner(id(5))]);
    cluster.isolate(1);
    silence(&mut cluster);
    cluster.campaign(2);
    let requests = cluster.says(2);
    assert!(requests.iter().all(|m| [1, 3].contains(&m.to.get())), "only voters are asked");
    for stray in [4, 5, 6] {
        cluster.tell(stray, 2, 1, MessageKind::PreVoteReply { granted: true });
    }
    assert_eq!(cluster.raft(2).role(), Role::PreCandidate);
    cluster.tell(3, 2, 1, MessageKind::PreVoteReply { granted: true });
    cluster.sync(2);
    for stray in [4, 5, 6] {
        cluster.tell(stray, 2, 2, MessageKind::VoteReply { granted: true });
    }
    assert_eq!(cluster.raft(2).role(), Role::Candidate);
}

#[test]
fn m12_learners_do_not_confirm_reads_nor_a_leadership() {
    let mut cluster = group(3, 2, 1);
    cluster.elect(1);
    change(&mut cluster, 1, &[AddLearner(id(4)), AddLearner(id(5))]);
    for gone in [2, 3] {
        cluster.isolate(gone);
    }
    cluster.read(1).unwrap();
    cluster.pass(TIMEOUT_US / 2);
    assert_eq!(cluster.node(1).reads, []);
    cluster.pass(TIMEOUT_US);
    assert!(!cluster.raft(1).is_leader(), "two learners who answer are no quorum");
}

#[test]
fn e14_learners_witnesses_and_strangers_never_campaign() {
    let mut cluster = group(2, 3, 1);
    cluster.elect(1);
    change(&mut cluster, 1, &[AddLearner(id(3))]);
    change(&mut cluster, 1, &[AddWitness(id(4))]);
    cluster.crash(1, 0);
    for silent in [3, 4, 5] {
        assert_eq!(cluster.raft(silent).deadline(), None, "replica {silent}");
        cluster.campaign(silent);
        let last = cluster.raft(silent).last();
        cluster.tell(1, silent, 1, MessageKind::TimeoutNow { last });
        cluster.sync(silent);
        assert_eq!((cluster.raft(silent).role(), cluster.says(silent)), (Role::Follower, vec![]));
    }
    cluster.pass(4 * TIMEOUT_US);
    assert_eq!(cluster.leader(), Some(2), "elected by itself and the witness");
}

#[test]
fn a_witness_votes_and_acknowledges_and_is_never_handed_the_lead() {
    let mut cluster = group(3, 1, 1);
    cluster.elect(1);
    let membership = change(&mut cluster, 1, &[AddWitness(id(4))]);
    let seats: Vec<_> = membership.members().map(|Member { seat, .. }| seat).collect();
    assert_eq!(seats, [Seat::VOTER, Seat::VOTER, Seat::VOTER, Seat::WITNESS]);
    cluster.isolate(2);
    let last = cluster.propose(1, 3).unwrap().last;
    cluster.run();
    assert_eq!(cluster.raft(1).committed(), last, "a copy of its positions counts: three of four");
    let now = cluster.now;
    assert_eq!(cluster.raft_mut(1).transfer(now, id(4)), Err(TransferError::NotVoter));
    // It votes: without replica 1, the other two are no majority of four.
    cluster.heal();
    cluster.run();
    cluster.crash(1, 0);
    silence(&mut cluster);
    cluster.elect(2);
    cluster.restart(1);
    cluster.run();
    // A voter takes over from a leader that leaves, though the witness is even.
    cluster.isolate(3);
    cluster.change(2, &[Remove(id(2))], Transition::Auto).unwrap();
    cluster.run();
    cluster.heal();
    cluster.run();
    assert!(matches!(cluster.leader(), Some(1 | 3)), "{:?}", cluster.roles());
}

#[test]
fn the_lead_goes_to_the_voter_that_is_furthest() {
    let mut cluster = group(5, 0, 1);
    cluster.elect(1);
    cluster.isolate(2);
    cluster.isolate(3);
    cluster.change(1, &[Remove(id(1))], Transition::Auto).unwrap();
    cluster.propose(1, 4);
    cluster.sync(1);
    round_trip(&mut cluster, 1, &[4]);
    // The third copy commits the change; replica 4 has more than that.
    cluster.cut.clear();
    cluster.extent_max = 1;
    cluster.send_append(1, 5);
    round_trip(&mut cluster, 1, &[]);
    cluster.sync(5);
    cluster.send_messages(5);
    round_trip(&mut cluster, 1, &[]);
    cluster.heal();
    let mut rounds = 0;
    while cluster.raft(1).is_leader() {
        rounds += 1;
        assert!(rounds < 20, "it never hands over");
        round_trip(&mut cluster, 1, &[5, 3]);
    }
    let order = |message: &Message| matches!(message.kind, MessageKind::TimeoutNow { .. });
    let orders: Vec<_> = cluster.says(1).into_iter().filter(order).map(|m| m.to).collect();
    assert_eq!(orders, [id(4)], "to the furthest");
}

#[test]
fn a_replica_that_waits_to_be_added_follows_whoever_leads() {
    let mut cluster = group(1, 1, 1);
    cluster.elect(1);
    assert_eq!(
        (cluster.raft(2).membership(), cluster.raft(2).deadline()),
        (Membership::EMPTY, None)
    );
    cluster.propose(1, 9);
    cluster.run();
    let membership = change(&mut cluster, 1, &[AddVoter(id(2))]);
    assert_eq!(cluster.raft(2).membership(), membership);
    assert_eq!(cluster.raft(2).committed(), cluster.raft(1).last().index);
    assert!(cluster.raft(2).deadline().is_some(), "and could lead by now");
}
