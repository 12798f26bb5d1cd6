//! Changes of the membership: nothing is decided apart, and every change ends.
//! Names begin with the hazard's id.

#![expect(clippy::unwrap_used, reason = "helpers of tests, though not inside of one")]

mod common;

use common::{Cluster, Packet, config, id, message};
use kontiki_raft::Change::{AddLearner, AddVoter, Remove};
use kontiki_raft::{
    Change, ChangeError, Index, Membership, MessageKind, Role, Seat, Term, Time, TransferError,
    Transition,
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

/// Five replicas in a joint membership, led by replica 1, that nobody leaves of himself:
/// `voters=(1 4 5)&&(1 2 3)`.
fn joint_group(seed: u64) -> Cluster {
    let mut cluster = group(3, 2, seed);
    cluster.elect(1);
    change(&mut cluster, 1, &[AddLearner(id(4)), AddLearner(id(5))]);
    cluster.change(1, &swap(), Transition::JointExplicit).unwrap();
    cluster.run();
    assert_eq!(cluster.raft(1).membership().to_string(), "voters=(1 4 5)&&(1 2 3)");
    assert_eq!(cluster.raft(1).committed(), cluster.raft(1).last().index);
    cluster
}

fn swap() -> [Change; 4] {
    [AddVoter(id(4)), AddVoter(id(5)), Remove(id(2)), Remove(id(3))]
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
fn m1_a_second_change_waits_for_the_first() {
    let mut cluster = group(3, 2, 1);
    cluster.elect(1);
    let first = cluster.change(1, &[AddVoter(id(4))], Transition::Auto).unwrap();
    let index = first.proposed.last;
    for transition in [Transition::Auto, Transition::Joint, Transition::JointExplicit] {
        let second = cluster.change(1, &[AddVoter(id(5))], transition);
        assert_eq!(second, Err(ChangeError::InProgress { index }));
    }
    cluster.run();
    let joint = cluster.change(1, &swap()[1..], Transition::JointExplicit).unwrap();
    let index = joint.proposed.last;
    assert_eq!(cluster.leave_joint(1), Err(ChangeError::InProgress { index }));
    cluster.run();
    let second = cluster.change(1, &[AddLearner(id(2))], Transition::Auto);
    assert_eq!(second, Err(ChangeError::Joint), "a joint membership can only be left");
    let left = cluster.leave_joint(1).unwrap();
    let index = left.proposed.last;
    let second = cluster.change(1, &[AddLearner(id(2))], Transition::Auto);
    assert_eq!(second, Err(ChangeError::InProgress { index }));
    cluster.run();
    assert_eq!(cluster.raft(1).membership().to_string(), "voters=(1 4 5)");
}

#[test]
fn m2_two_operators_remove_two_different_replicas_of_four() {
    let mut cluster = group(4, 0, 1);
    cluster.elect(1);
    // The first operator's change is on the disk of its leader alone.
    cluster.isolate(1);
    cluster.change(1, &[Remove(id(4))], Transition::Auto).unwrap();
    cluster.sync(1);
    silence(&mut cluster);
    cluster.elect_silently(2);
    let early = cluster.change(2, &[Remove(id(1))], Transition::Auto);
    assert_eq!(early, Err(ChangeError::NotReady), "nothing of its own term is committed");
    cluster.sync(2);
    round_trip(&mut cluster, 2, &[3]);
    let early = cluster.change(2, &[Remove(id(1))], Transition::Auto);
    assert_eq!(early, Err(ChangeError::NotReady), "two of four are no majority");
    round_trip(&mut cluster, 2, &[4]);
    cluster.change(2, &[Remove(id(1))], Transition::Auto).unwrap();
    cluster.sync(2);
    round_trip(&mut cluster, 2, &[4]);
    assert_eq!(cluster.raft(2).committed(), cluster.raft(2).membership_index());

    // Replicas 1 and 3 are a majority of (1 2 3) and know nothing of the second change; but
    // replica 3 had to hear of the second leader before there could be one.
    cluster.cut =
        [(1, 2), (1, 4), (2, 3), (3, 4)].iter().flat_map(|&(a, b)| [(a, b), (b, a)]).collect();
    for _ in 0..5 {
        silence(&mut cluster);
        assert_eq!(cluster.raft(1).membership().to_string(), "voters=(1 2 3)");
        cluster.campaign(1);
        cluster.run();
        assert!(!cluster.raft(1).is_leader());
    }
}

#[test]
fn m3_m4_whoever_leads_next_leaves_the_joint_membership_once() {
    for seed in 0..20 {
        let mut cluster = group(3, 2, seed);
        cluster.elect(1);
        change(&mut cluster, 1, &[AddLearner(id(4)), AddLearner(id(5))]);
        cluster.change(1, &swap(), Transition::Joint).unwrap();
        let joint = cluster.raft(1).membership_index();
        cluster.sync(1);
        round_trip(&mut cluster, 1, &[2, 3]);
        assert!(cluster.raft(1).membership().is_joint(), "not before both halves have it");
        assert_eq!(cluster.raft_mut(1).take_membership(), None);
        round_trip(&mut cluster, 1, &[4, 5]);
        assert_eq!(cluster.raft(1).committed(), joint);
        assert!(!cluster.raft(1).membership().is_joint(), "its leader leaves it, and is lost");
        cluster.crash(1, 0);

        // The next one begins, and is lost too if it is in its power to be.
        cluster.pass(4 * TIMEOUT_US);
        let leader = cluster.leader().expect("two of each half are there");
        assert_eq!(cluster.raft(leader).membership().to_string(), "voters=(1 4 5)");
        cluster.restart(1);
        cluster.pass(4 * TIMEOUT_US);
        let leader = cluster.leader().expect("a leader");
        assert!([1, 4, 5].contains(&leader), "who has left does not lead");
        let changes = &cluster.node(leader).memory.changes;
        let after = changes.iter().filter(|change| change.index > joint).count();
        assert_eq!(after, 1, "left once: {changes:?}");
        assert_eq!(cluster.raft_mut(leader).take_membership(), None);
        assert_eq!(cluster.leave_joint(leader), Err(ChangeError::NotJoint));
    }
}

#[test]
fn m3_every_new_leader_is_asked_to_leave_again() {
    // The entry that leaves is truncated with its leader, so each next one makes its own.
    let mut cluster = group(5, 0, 1);
    cluster.elect(1);
    cluster.change(1, &[Remove(id(4)), Remove(id(5))], Transition::Joint).unwrap();
    let joint = cluster.raft(1).membership();
    assert!(joint.is_joint() && joint.auto_leave());
    cluster.sync(1);
    round_trip(&mut cluster, 1, &[2, 3]);
    assert_eq!(cluster.raft(1).membership().to_string(), "voters=(1 2 3)");
    cluster.net.clear();
    cluster.crash(1, 0);
    cluster.restart(1);
    for leader in [2, 3] {
        silence(&mut cluster);
        cluster.elect_silently(leader);
        assert_eq!(cluster.raft(leader).membership(), joint, "nobody else has left it");
        let voters: Vec<_> = (1..=5).filter(|&n| n != leader).collect();
        cluster.sync(leader);
        let mut trips = 0;
        while cluster.raft(leader).membership().is_joint() {
            // Those who lack entries refuse the first probe.
            trips += 1;
            assert!(trips < 10, "it never leaves");
            round_trip(&mut cluster, leader, &voters);
        }
        assert_eq!(cluster.raft(leader).membership().to_string(), "voters=(1 2 3)");
        // What it has appended last is on no disk, and lost with it.
        cluster.net.clear();
        cluster.crash(leader, 0);
        cluster.restart(leader);
    }
    cluster.pass(4 * TIMEOUT_US);
    assert!(cluster.numbers().take(3).all(|n| !cluster.raft(n).membership().is_joint()));
}

#[test]
fn m4_nobody_leaves_an_explicit_joint_membership_unasked() {
    let mut cluster = joint_group(1);
    cluster.pass(5 * TIMEOUT_US);
    cluster.crash(1, 0);
    cluster.pass(5 * TIMEOUT_US);
    let leader = cluster.leader().expect("two of each half are there");
    assert!(cluster.raft(leader).membership().is_joint());
    cluster.leave_joint(leader).unwrap();
    assert_eq!(cluster.leave_joint(leader).map_err(|error| error.to_string()).unwrap_err(), {
        let index = cluster.raft(leader).membership_index();
        ChangeError::InProgress { index }.to_string()
    });
}

#[test]
fn m5_a_snapshot_of_a_joint_group_carries_both_halves() {
    let mut cluster = group(3, 2, 1);
    cluster.elect(1);
    change(&mut cluster, 1, &[AddLearner(id(4)), AddLearner(id(5))]);
    cluster.isolate(3);
    let changes = [AddVoter(id(4)), AddVoter(id(5)), AddLearner(id(2)), Remove(id(3))];
    cluster.change(1, &changes, Transition::JointExplicit).unwrap();
    cluster.run();
    cluster.propose(1, 5);
    cluster.run();
    let applied = cluster.node(1).applied;
    cluster.compact(1, applied);
    cluster.heal();
    cluster.run();
    let joint = cluster.raft(1).membership();
    assert_eq!(joint.to_string(), "voters=(1 4 5)&&(1 2 3) learners_next=(2)");
    assert_eq!((cluster.oracle.installs, cluster.raft(3).membership()), (1, joint));
    cluster.crash(3, 0);
    cluster.restart(3);
    assert_eq!(cluster.raft(3).membership(), joint, "and keeps both on its disk");

    // It knows who decides: with 2, 4 and 5 it elects, and the joint membership can be left.
    cluster.crash(1, 0);
    silence(&mut cluster);
    cluster.elect(3);
    cluster.leave_joint(3).unwrap();
    cluster.pass(4 * TIMEOUT_US);
    let leader = cluster.leader().expect("replica 3 has handed over");
    assert_eq!(cluster.raft(leader).membership().to_string(), "voters=(1 4 5) learners=(2)");
}

#[test]
fn m6_a_promoted_learner_votes_before_it_knows() {
    let mut cluster = group(2, 1, 1);
    cluster.elect(1);
    change(&mut cluster, 1, &[AddLearner(id(3))]);
    cluster.isolate(3);
    cluster.change(1, &[AddVoter(id(3))], Transition::Auto).unwrap();
    cluster.run();
    assert_eq!(cluster.raft(1).committed(), cluster.raft(1).membership_index(), "two of three");
    cluster.crash(1, 0);
    cluster.heal();
    assert_eq!(cluster.raft(3).status().seat, Some(Seat::LEARNER), "as far as it knows");
    silence(&mut cluster);
    cluster.elect(2);
    assert_eq!(cluster.raft(3).status().seat, Some(Seat::VOTER));
}

#[test]
fn m7_who_leaves_with_the_old_half_decides_until_then() {
    let mut cluster = joint_group(1);
    for gone in [2, 3] {
        cluster.isolate(gone);
    }
    let last = cluster.propose(1, 1).unwrap().last;
    cluster.run();
    assert!(cluster.raft(1).committed() < last, "all of the new half, one of the old");
    cluster.crash(1, 0);
    silence(&mut cluster);
    cluster.campaign(4);
    cluster.run();
    assert_eq!(cluster.raft(4).role(), Role::PreCandidate, "two of the new half, none of the old");
    cluster.heal();
    silence(&mut cluster);
    cluster.elect(4);
    assert_eq!(cluster.raft(4).committed(), cluster.raft(4).last().index);
}

#[test]
fn m8_a_group_shrinks_to_one_voter() {
    // From two at once, though the other is gone already.
    let mut cluster = group(2, 0, 1);
    cluster.elect(1);
    cluster.crash(2, 0);
    let change = cluster.change(1, &[Remove(id(2))], Transition::Auto).unwrap();
    let last = change.proposed.last;
    assert!(cluster.raft(1).committed() < last, "its own disk still counts");
    cluster.run();
    assert_eq!(cluster.raft(1).committed(), last, "without anything more to say");
    cluster.pass(5 * TIMEOUT_US);
    assert!(cluster.raft(1).is_leader());

    // From three by way of a joint membership.
    let mut cluster = group(3, 0, 1);
    cluster.elect(1);
    cluster.crash(3, 0);
    cluster.change(1, &[Remove(id(2)), Remove(id(3))], Transition::Auto).unwrap();
    cluster.run();
    assert_eq!(cluster.raft(1).membership().to_string(), "voters=(1)");
    assert_eq!(cluster.raft(1).committed(), cluster.raft(1).last().index);
}

#[test]
fn r4_reads_that_wait_are_served_when_the_leader_remains_alone() {
    let mut cluster = group(2, 0, 1);
    cluster.elect(1);
    cluster.isolate(2);
    cluster.read(1).unwrap();
    cluster.run();
    assert_eq!(cluster.node(1).reads, []);
    cluster.change(1, &[Remove(id(2))], Transition::Auto).unwrap();
    cluster.send_messages(1);
    assert_eq!(cluster.node(1).reads.len(), 1, "nobody else could have committed anything");
}

#[test]
fn m9_the_target_of_a_transfer_keeps_its_seat_meanwhile() {
    let mut cluster = group(3, 0, 1);
    cluster.elect(1);
    cluster.isolate(3);
    cluster.propose(1, 1);
    cluster.transfer(1, 3);
    let refused = cluster.change(1, &[AddLearner(id(3))], Transition::Auto);
    assert_eq!(refused, Err(ChangeError::Transferring { to: id(3) }));
    cluster.pass(TIMEOUT_US + 1_000);
    cluster.change(1, &[AddLearner(id(3))], Transition::Auto).unwrap();
    let now = cluster.now;
    assert_eq!(cluster.raft_mut(1).transfer(now, id(3)), Err(TransferError::NotVoter));

    // Who leaves with the old half is no target either.
    let mut cluster = joint_group(1);
    let now = cluster.now;
    assert_eq!(cluster.raft_mut(1).transfer(now, id(2)), Err(TransferError::NotVoter));
    cluster.raft_mut(1).transfer(now, id(4)).unwrap();
}

#[test]
fn m9_a_late_order_to_one_who_was_demoted_is_not_obeyed() {
    let mut cluster = group(3, 0, 1);
    cluster.elect(1);
    cluster.transfer(1, 3);
    cluster.send_messages(1);
    let order = cluster.net.pop_front().unwrap();
    assert!(
        matches!(&order, Packet::Message(m) if matches!(m.kind, MessageKind::TimeoutNow { .. }))
    );
    cluster.pass(TIMEOUT_US + 1_000);
    change(&mut cluster, 1, &[AddLearner(id(3))]);
    cluster.deliver(order);
    cluster.run();
    assert_eq!((cluster.leader(), cluster.raft(1).term()), (Some(1), Term(1)));
}

#[test]
fn m10_acks_of_an_earlier_stay_count_for_nothing() {
    let mut cluster = group(3, 0, 1);
    cluster.elect(1);
    let last = cluster.propose(1, 5).unwrap().last;
    cluster.read(1);
    cluster.send_appends(1);
    cluster.send_messages(1);
    for packet in std::mem::take(&mut cluster.net) {
        cluster.deliver(packet);
    }
    cluster.sync(3);
    cluster.send_messages(3);
    let old: Vec<_> = cluster.net.drain(..).collect();
    assert!(!old.is_empty(), "what replica 3 says is long on its way");
    cluster.run();
    change(&mut cluster, 1, &[Remove(id(3))]);
    cluster.wipe(3);
    cluster.isolate(2);
    let again = cluster.change(1, &[AddVoter(id(3))], Transition::Auto).unwrap();
    cluster.read(1);
    cluster.cut.extend([(1, 3)]);
    cluster.run();
    let before: Vec<_> = cluster.raft(1).progress().collect();
    for packet in old {
        cluster.deliver(packet);
    }
    cluster.run();
    assert!(cluster.raft(1).progress().eq(before), "not its match, not its state, not its life");
    let peer = cluster.raft(1).progress().find(|peer| peer.id == id(3)).unwrap();
    assert!(peer.matched == Index::ZERO && peer.session > 0, "{peer:?}, which had acked {last}");
    assert_eq!(
        cluster.node(1).reads.len(),
        1,
        "nor an answer to a round: {:?}",
        cluster.node(1).reads
    );
    cluster.cut.retain(|&pair| pair != (1, 3));
    cluster.heal();
    cluster.isolate(2);
    cluster.run();
    assert_eq!(cluster.raft(1).committed(), again.proposed.last, "and then it does catch up");
    assert_eq!(cluster.raft(3).last(), cluster.raft(1).last());
}

#[test]
fn m10_a_wiped_replica_does_not_answer_in_a_session_it_never_heard_of() {
    let mut cluster = group(3, 0, 1);
    cluster.elect(1);
    change(&mut cluster, 1, &[Remove(id(3))]);
    cluster.wipe(3);
    change(&mut cluster, 1, &[AddVoter(id(3))]);
    let session = |cluster: &Cluster| {
        cluster.raft(1).progress().find(|peer| peer.id == id(3)).unwrap().session
    };
    assert_eq!(session(&cluster), 2, "the stay that the second change began");
    let stale = message(
        1,
        3,
        1,
        MessageKind::Heartbeat {
            commit: Index::ZERO,
            floor: Index::ZERO,
            read_round: 9,
            sleep: false,
        },
    );
    let before = cluster.raft(3).clone();
    cluster.deliver(Packet::Message(stale));
    assert_eq!(cluster.says(3), [], "the leader speaks to its earlier stay");
    assert_eq!(cluster.raft(3).status(), before.status());
    // Other peers keep theirs: their place in the group has not changed.
    assert_eq!(cluster.raft(1).progress().next().unwrap().session, 0);
}

#[test]
fn r5_reads_need_a_majority_of_each_half() {
    for (gone, served) in [([2, 3], false), ([4, 5], false), ([2, 4], true)] {
        let mut cluster = joint_group(1);
        for gone in gone {
            cluster.isolate(gone);
        }
        cluster.read(1).unwrap();
        cluster.run();
        assert_eq!(!cluster.node(1).reads.is_empty(), served, "without {gone:?}");
    }
}

#[test]
fn a_change_that_makes_no_membership_is_refused_and_changes_nothing() {
    let mut cluster = group(3, 0, 1);
    cluster.elect(1);
    let before = cluster.raft(1).clone();
    let all = [Remove(id(1)), Remove(id(2)), Remove(id(3))];
    assert!(matches!(cluster.change(1, &all, Transition::Auto), Err(ChangeError::Invalid(_))));
    assert_eq!(cluster.leave_joint(1), Err(ChangeError::NotJoint));
    assert_eq!(*cluster.raft(1), before);
    let follower = cluster.change(2, &[Remove(id(3))], Transition::Auto);
    assert_eq!(follower, Err(ChangeError::NotLeader { leader: Some(id(1)) }));
}
