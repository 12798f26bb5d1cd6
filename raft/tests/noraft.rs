//! What noraft 0.4.0, a Raft core of the same shape as ours, does wrong: one test for each defect,
//! which that version does not pass.
//!
//! Found by reading it and by driving it. Each is a way to lose a committed entry, to stand still,
//! or to be slow for ever:
//!
//! - A vote compares the length of the logs only, so a stale, longer log is elected.
//! - A candidate, or who voted for another, ignores the winner of the same term.
//! - A group that shrinks to one voter never commits again.
//! - A snapshot moves the commit of its receiver to wherever it lies, with a log behind it that
//!   was never compared with the leader's.
//! - A divergent log is repaired by one entry per round trip.
//! - A leader counts its own copy of an entry before its disk has it.

mod common;

use common::{Cluster, Packet, id, message, position};
use kontiki_raft::{
    Change, Index, Membership, MessageKind, Role, SnapshotHeader, SnapshotOutcome, Term, Transition,
};

fn deliver_all(cluster: &mut Cluster) {
    for packet in std::mem::take(&mut cluster.net) {
        cluster.deliver(packet);
    }
}

#[test]
fn a_stale_longer_log_is_not_elected() {
    // Entry 2 of term 2 is committed; replica 1 has a longer log of term 1.
    let mut cluster = Cluster::with_logs(&[&[1, 1, 1, 1, 1], &[1, 2], &[1, 2]], 1);
    for _ in 0..5 {
        cluster.campaign(1);
        cluster.run();
        assert!(!cluster.raft(1).is_leader());
    }
    cluster.elect(2);
    assert_eq!(cluster.raft(1).term_at(Index(2)), Some(Term(2)), "its tail is replaced");
}

#[test]
fn the_winner_of_the_term_is_followed_by_those_who_wanted_another() {
    let mut cluster = Cluster::new(5, 1);
    // Replicas 1 and 2 are both candidates of term 1, and replica 3 votes for the loser.
    for (candidate, friends) in [(1, [3, 4]), (2, [4, 5])] {
        cluster.campaign(candidate);
        for friend in friends {
            cluster.tell(friend, candidate, 0, MessageKind::PreVoteReply { granted: true });
        }
        assert_eq!(cluster.raft(candidate).role(), Role::Candidate);
        cluster.sync(candidate);
        cluster.says(candidate);
    }
    let vote = MessageKind::Vote { last: position(0, 0), forced: false };
    cluster.tell(1, 3, 1, vote);
    for friend in [4, 5] {
        cluster.tell(2, friend, 1, vote);
        cluster.sync(friend);
        cluster.tell(friend, 2, 1, MessageKind::VoteReply { granted: true });
    }
    assert!(cluster.raft(2).is_leader());
    cluster.run();
    for loser in [1, 3] {
        assert_eq!(cluster.raft(loser).leader(), Some(id(2)));
        assert_eq!(cluster.raft(loser).last(), cluster.raft(2).last());
        assert_eq!(cluster.raft(loser).term(), Term(1), "and no other election was needed");
    }
}

#[test]
fn a_group_that_shrinks_to_one_voter_goes_on() {
    let mut cluster = Cluster::new(2, 1);
    cluster.elect(1);
    cluster.change(1, &[Change::Remove(id(2))], Transition::Auto).unwrap();
    cluster.crash(2, 0);
    cluster.run();
    assert_eq!(cluster.raft(1).committed(), cluster.raft(1).membership_index());
    let last = cluster.propose(1, 3).unwrap().last;
    cluster.run();
    assert_eq!(cluster.raft(1).committed(), last);
}

#[test]
fn a_snapshot_commits_what_it_holds_and_no_entry_that_was_not_compared() {
    let membership = Membership::new(&[id(1), id(2), id(3)]).unwrap();
    let header = |at| SnapshotHeader {
        from: id(1),
        to: id(3),
        term: Term(4),
        session: 0,
        position: at,
        membership,
    };
    // Replica 3 has entries of term 2 that no majority ever had. A snapshot behind their end must
    // neither commit them nor leave them standing.
    let mut cluster = Cluster::with_logs(&[&[], &[], &[1, 2, 2, 2, 2]], 1);
    let now = cluster.now;
    let raft = cluster.raft_mut(3);
    assert_eq!(raft.install_snapshot(now, &header(position(3, 3))), SnapshotOutcome::Install);
    assert_eq!((raft.committed(), raft.last()), (Index(3), position(3, 3)));
    assert_eq!(raft.take_committed(), None, "what the snapshot holds is applied with it");
    // A log that it does meet keeps its rest, and that is not committed.
    let mut cluster = Cluster::with_logs(&[&[], &[], &[1, 2, 2, 2, 2]], 1);
    let raft = cluster.raft_mut(3);
    assert_eq!(raft.install_snapshot(now, &header(position(2, 3))), SnapshotOutcome::Known);
    assert_eq!((raft.committed(), raft.last()), (Index(3), position(2, 5)));
    // And the leader's later commit is taken only as far as the logs are known to be the same.
    let commit = Index(3);
    let beat = MessageKind::Heartbeat { commit, floor: Index(0), read_round: 0, sleep: false };
    raft.step(now, &message(1, 3, 4, beat));
    assert_eq!(raft.committed(), Index(3));
    let (_, first) = (raft.take_committed(), raft.status().applied);
    assert_eq!(first, Index(0));
}

#[test]
fn a_divergent_log_is_repaired_in_a_few_round_trips() {
    const TAIL: usize = 10_000;
    let tail = |term: u64| [1].into_iter().chain([term].repeat(TAIL)).collect::<Vec<u64>>();
    let (ours, theirs) = (tail(3), tail(2));
    let mut cluster = Cluster::with_logs(&[&ours, &theirs, &ours], 1);
    cluster.extent_max = u64::MAX / 2;
    cluster.elect_silently(1);
    let mut round_trips = 0;
    while cluster.raft(2).last() != cluster.raft(1).last() {
        round_trips += 1;
        assert!(round_trips <= 3, "one term differs");
        assert!(cluster.send_append(1, 2));
        deliver_all(&mut cluster);
        cluster.sync(2);
        cluster.send_messages(2);
        deliver_all(&mut cluster);
    }
}

#[test]
fn a_leader_does_not_count_itself_before_its_disk_has_the_entry() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    let before = cluster.raft(1).committed();
    let last = cluster.propose(1, 1).unwrap().last;
    assert!(cluster.send_append(1, 2), "it leaves meanwhile");
    deliver_all(&mut cluster);
    cluster.sync(2);
    cluster.send_messages(2);
    cluster.write(1);
    deliver_all(&mut cluster);
    assert_eq!(cluster.raft(1).committed(), before, "one disk of three has it");
    // Power fails: replica 1 forgets it, and nobody was told that it is committed.
    let mut lost = Cluster::new(3, 1);
    lost.elect(1);
    lost.propose(1, 1);
    lost.write(1);
    lost.crash(1, 0);
    lost.restart(1);
    assert_eq!(lost.raft(1).last(), position(1, 1));
    cluster.persist(1);
    assert_eq!(cluster.raft(1).committed(), last, "two of three");
    assert!(cluster.net.iter().all(|packet| matches!(packet, Packet::Message(_))));
}
