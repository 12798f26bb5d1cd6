//! Compaction and snapshots: who needs one gets it, whatever comes between, and none undoes what is
//! committed. Names begin with the hazard's id.

#![expect(clippy::unwrap_used, reason = "helpers of tests, though not inside of one")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use common::{Cluster, Packet, config, id, position};
use kontiki_raft::{
    Change, Index, Membership, MessageKind, Persist, ProgressState, Raft, Role, SnapshotHeader,
    SnapshotOutcome, SnapshotRequest, SnapshotSent, Term, Time, Transition,
};

const TIMEOUT_US: u64 = 100_000;

fn group(voters: u64, spares: u64) -> Cluster {
    let mut cluster = Cluster::stopped(voters, spares, config(), 1);
    cluster.serves_snapshots = true;
    for number in cluster.numbers() {
        cluster.restart(number);
    }
    cluster
}

fn progress(cluster: &Cluster, leader: u64, of: u64) -> (ProgressState, Index, Option<Index>) {
    let peer = cluster.raft(leader).progress().find(|peer| peer.id == id(of)).unwrap();
    (peer.state, peer.matched, peer.pending_snapshot)
}

/// The leader forgets everything that it has applied.
fn compact_all(cluster: &mut Cluster, leader: u64) -> Index {
    let applied = cluster.node(leader).applied;
    cluster.compact(leader, applied);
    assert_eq!(cluster.raft(leader).compacted().index, applied);
    applied
}

/// Replica 3 was away while 1 and 2 committed `entries` and forgot them all. Nothing is on its way.
fn left_behind(entries: u32) -> Cluster {
    let mut cluster = group(3, 0);
    cluster.elect(1);
    cluster.isolate(3);
    cluster.propose(1, entries);
    cluster.run();
    compact_all(&mut cluster, 1);
    cluster.cut.clear();
    let now = cluster.now;
    cluster.raft_mut(1).on_peer_up(now, id(3));
    cluster
}

/// Takes the snapshot off the network that replica 1 sends.
fn catch_snapshot(cluster: &mut Cluster) -> (SnapshotHeader, Packet) {
    while cluster.send_append(1, 3) {}
    for packet in std::mem::take(&mut cluster.net) {
        cluster.deliver(packet);
    }
    cluster.sync(3);
    cluster.send_messages(3);
    for packet in std::mem::take(&mut cluster.net) {
        cluster.deliver(packet);
    }
    while cluster.send_append(1, 3) {}
    assert!(cluster.send_snapshot(1, 0), "it asks for a snapshot");
    let packet = cluster.net.pop_back().unwrap();
    let Packet::Snapshot(header) = packet else { panic!("{packet:?}") };
    assert!(cluster.net.is_empty());
    (header, packet)
}

/// A snapshot as a leader of the term would send it to replica 3.
fn snapshot(from: u64, term: u64, at: (u64, u64)) -> SnapshotHeader {
    let membership = Membership::new(&[id(1), id(2), id(3)]).unwrap();
    let position = position(at.0, at.1);
    SnapshotHeader { from: id(from), to: id(3), term: Term(term), session: 0, position, membership }
}

fn install(cluster: &mut Cluster, header: &SnapshotHeader) -> SnapshotOutcome {
    let now = cluster.now;
    cluster.raft_mut(3).install_snapshot(now, header)
}

fn acked(raft: &mut Raft) -> Vec<Index> {
    let mut acked = Vec::new();
    while let Some(message) = raft.take_message() {
        if let MessageKind::AppendAck { matched, .. } = message.kind {
            acked.push(matched.index);
        }
    }
    acked
}

fn take(cluster: &mut Cluster) -> Persist {
    cluster.raft_mut(3).take_persist().expect("there is something to write")
}

#[test]
fn l7_an_empty_log_does_not_match_past_a_compaction() {
    let mut cluster = left_behind(5);
    // A probe names an entry that the leader still knows; replica 3 has nothing there and says so.
    let (header, _) = catch_snapshot(&mut cluster);
    assert_eq!(header.position, cluster.raft(1).last());
    let (state, matched, pending) = progress(&cluster, 1, 3);
    assert_eq!((state, pending), (ProgressState::Snapshot, Some(header.position.index)));
    assert!(matched < header.position.index && cluster.raft(1).log_floor() == matched);
    assert!(cluster.raft(3).last().index < header.position.index);
}

#[test]
fn l9_a_fully_compacted_idle_leader_catches_up_whoever_comes() {
    let mut cluster = group(1, 2);
    cluster.elect(1);
    cluster.propose(1, 20);
    cluster.run();
    compact_all(&mut cluster, 1);
    cluster.change(1, &[Change::AddLearner(id(2))], Transition::Auto).unwrap();
    cluster.run();
    assert_eq!(cluster.raft(2).last(), cluster.raft(1).last());
    assert_eq!(cluster.oracle.installs, 1);

    // Even where the change itself is compacted before the newcomer can be reached.
    cluster.isolate(3);
    cluster.change(1, &[Change::AddVoter(id(3))], Transition::Auto).unwrap();
    cluster.run();
    cluster.change(1, &[Change::AddVoter(id(2))], Transition::Auto).unwrap_err();
    cluster.heal();
    cluster.run();
    compact_all(&mut cluster, 1);
    cluster.crash(1, 0);
    cluster.restart(1);
    assert_eq!(cluster.raft(1).last(), cluster.raft(1).compacted(), "nothing but a place is left");
    cluster.now = Time(cluster.now.0 + 2 * TIMEOUT_US);
    cluster.elect(1);
    assert_eq!(cluster.raft(3).committed(), cluster.raft(1).last().index);
}

#[test]
fn l9_a_new_leader_without_a_log_probes_and_sends_a_snapshot_without_being_told_anything() {
    let mut cluster = group(3, 0);
    cluster.elect(1);
    cluster.isolate(3);
    cluster.propose(1, 9);
    cluster.run();
    compact_all(&mut cluster, 2);
    cluster.now = Time(cluster.now.0 + 2 * TIMEOUT_US);
    cluster.deadline(1);
    assert!(!cluster.raft(1).is_leader(), "it has not heard a majority");
    cluster.elect(2);
    compact_all(&mut cluster, 2);
    cluster.heal();
    cluster.run();
    assert_eq!(cluster.oracle.installs, 1);
    assert_eq!(cluster.raft(3).committed(), cluster.raft(2).last().index, "and no proposal came");
}

#[test]
fn l10_a_snapshot_that_the_log_has_outrun_is_followed_by_another() {
    let mut cluster = left_behind(5);
    let (first, packet) = catch_snapshot(&mut cluster);
    // While it is on its way, the leader forgets more.
    cluster.propose(1, 5);
    cluster.run();
    let later = compact_all(&mut cluster, 1);
    assert!(first.position.index < later);
    cluster.deliver(packet);
    cluster.run();
    assert_eq!(cluster.oracle.installs, 2);
    assert_eq!(cluster.raft(3).last(), cluster.raft(1).last());
    assert_eq!(progress(&cluster, 1, 3), (ProgressState::Replicate, later, None));
}

#[test]
fn l10_a_snapshot_from_which_the_log_goes_on_is_enough_wherever_it_is() {
    // Asked for one at 6 or later; the one that comes is at 11, and the log still begins at 6.
    let mut cluster = left_behind(5);
    let (first, _) = catch_snapshot(&mut cluster);
    cluster.propose(1, 5);
    cluster.run();
    let header = SnapshotHeader { position: cluster.raft(1).last(), ..first };
    cluster.deliver(Packet::Snapshot(header));
    cluster.propose(1, 1);
    cluster.run();
    assert_eq!(cluster.oracle.installs, 1);
    assert_eq!(cluster.raft(3).last(), cluster.raft(1).last());
}

#[test]
fn l11_a_second_snapshot_may_overtake_the_write_of_the_first() {
    let mut cluster = group(3, 0);
    assert_eq!(install(&mut cluster, &snapshot(1, 1, (1, 10))), SnapshotOutcome::Install);
    let first = take(&mut cluster);
    assert_eq!(first.snapshot, Some(position(1, 10)));
    assert_eq!(install(&mut cluster, &snapshot(1, 1, (1, 20))), SnapshotOutcome::Install);
    let second = take(&mut cluster);
    assert_eq!(second.snapshot, Some(position(1, 20)));
    let raft = cluster.raft_mut(3);
    assert_eq!(acked(raft), []);
    raft.on_persisted(first.seq);
    raft.check_invariants();
    assert_eq!(acked(raft), [], "the log begins at 20, which is not durable");
    raft.on_persisted(second.seq);
    raft.check_invariants();
    assert_eq!((raft.persisted(), acked(raft)), (Index(20), vec![Index(20)]));
    // One that comes late, and would lead back, is nothing new.
    assert_eq!(install(&mut cluster, &snapshot(1, 1, (1, 10))), SnapshotOutcome::Known);
    assert_eq!(cluster.raft(3).compacted(), position(1, 20));
}

#[test]
fn l11_appends_behind_a_snapshot_are_not_acknowledged_before_it() {
    let mut cluster = left_behind(5);
    let (_, packet) = catch_snapshot(&mut cluster);
    cluster.deliver(packet);
    cluster.write(3);
    for packet in std::mem::take(&mut cluster.net) {
        cluster.deliver(packet); // The report: the leader goes on at once.
    }
    cluster.propose(1, 3);
    while cluster.send_append(1, 3) {}
    for packet in std::mem::take(&mut cluster.net) {
        cluster.deliver(packet);
    }
    cluster.write(3);
    assert_eq!(acked(cluster.raft_mut(3)), []);
    cluster.crash(3, 1);
    assert_eq!(cluster.node(3).disk.log.last(), Index(6), "the first write was the snapshot");
    cluster.restart(3);
    cluster.run();
    assert_eq!(cluster.raft(3).last(), cluster.raft(1).last());
}

#[test]
fn l12_a_snapshot_of_another_history_stops_the_replica() {
    let mut cluster = Cluster::with_logs(&[&[], &[], &[1, 1, 1]], 1);
    let last = position(1, 3);
    let heartbeat =
        MessageKind::Heartbeat { commit: last.index, floor: Index(0), read_round: 0, sleep: false };
    cluster.raft_mut(3).step(Time(1_000_000), &common::message(1, 3, 1, heartbeat));
    assert_eq!(cluster.raft(3).committed(), Index(3));
    let before = cluster.raft(3).clone();
    let conflict = snapshot(2, 4, (2, 2));
    let stopped = catch_unwind(AssertUnwindSafe(|| install(&mut cluster, &conflict)));
    let why = stopped.unwrap_err();
    let why = why.downcast_ref::<String>().unwrap();
    assert!(why.contains("is committed there"), "{why}");

    // What it does know is no reason to forget anything, whoever says it.
    let mut raft = before;
    for (from, term, at) in [(1, 1, (1, 2)), (2, 4, (1, 3)), (2, 4, (1, 1))] {
        let outcome = raft.install_snapshot(Time(1_000_000), &snapshot(from, term, at));
        assert_eq!(outcome, SnapshotOutcome::Known);
        assert_eq!((raft.compacted(), raft.last()), (position(0, 0), last));
    }
    // An old leader is answered, and not heard.
    let old = raft.install_snapshot(Time(1_000_000), &snapshot(1, 3, (3, 50)));
    assert_eq!((old, raft.last(), raft.leader()), (SnapshotOutcome::Rejected, last, Some(id(2))));
}

#[test]
fn l12_a_snapshot_that_the_log_reaches_commits_and_keeps_the_rest() {
    let mut cluster = Cluster::with_logs(&[&[], &[], &[1, 1, 1, 1, 1]], 1);
    assert_eq!(install(&mut cluster, &snapshot(1, 1, (1, 3))), SnapshotOutcome::Known);
    let raft = cluster.raft_mut(3);
    assert_eq!((raft.committed(), raft.last()), (Index(3), position(1, 5)));
    assert_eq!((raft.take_persist(), acked(raft)), (None, vec![Index(3)]), "it is acknowledged");
    // A log of another term there holds nothing that could be committed.
    assert_eq!(install(&mut cluster, &snapshot(2, 4, (2, 4))), SnapshotOutcome::Install);
    let raft = cluster.raft(3);
    assert_eq!((raft.compacted(), raft.last()), (position(2, 4), position(2, 4)));
}

#[test]
fn e13_nobody_campaigns_on_a_snapshot_that_is_not_durable() {
    let mut cluster = group(3, 0);
    assert_eq!(install(&mut cluster, &snapshot(1, 1, (1, 10))), SnapshotOutcome::Install);
    let write = take(&mut cluster);
    let raft = cluster.raft_mut(3);
    let mut now = Time(1_000_000);
    for _ in 0..10 {
        now = now.after(200_000);
        raft.on_deadline(now);
        raft.campaign(now);
        let last = raft.last();
        raft.step(now, &common::message(1, 3, 1, MessageKind::TimeoutNow { last }));
        raft.check_invariants();
        assert_eq!((raft.role(), raft.term()), (Role::Follower, Term(1)));
        assert!(acked(raft).is_empty());
    }
    raft.on_persisted(write.seq);
    let at = raft.deadline().expect("now it may");
    raft.on_deadline(at);
    assert_eq!(raft.role(), Role::PreCandidate);
}

#[test]
fn a_replica_votes_by_the_snapshot_that_it_installs() {
    let mut cluster = group(3, 0);
    install(&mut cluster, &snapshot(1, 1, (1, 10)));
    let now = Time(cluster.now.0 + 2 * TIMEOUT_US);
    for (last, granted) in [(position(1, 9), false), (position(1, 10), true)] {
        let raft = cluster.raft_mut(3);
        raft.step(now, &common::message(2, 3, 2, MessageKind::Vote { last, forced: false }));
        while let Some(write) = raft.take_persist() {
            raft.on_persisted(write.seq);
        }
        let replies: Vec<_> = std::iter::from_fn(|| raft.take_message()).collect();
        let kinds: Vec<_> = replies.iter().map(|reply| reply.kind).collect();
        assert_eq!(kinds, [MessageKind::VoteReply { granted }], "to {last}");
    }
}

#[test]
fn a_snapshot_that_failed_is_asked_for_again() {
    let mut cluster = left_behind(5);
    let (header, packet) = catch_snapshot(&mut cluster);
    assert_eq!(cluster.raft_mut(1).take_snapshot_request(), None, "once");
    let now = cluster.now;
    cluster.raft_mut(1).on_snapshot_sent(now, id(2), SnapshotSent::Failed);
    assert_eq!(progress(&cluster, 1, 2).0, ProgressState::Replicate, "that one has not asked");
    cluster.raft_mut(1).on_snapshot_sent(now, id(3), SnapshotSent::Failed);
    let (state, ..) = progress(&cluster, 1, 3);
    assert_eq!(state, ProgressState::Probe);
    let again = catch_snapshot(&mut cluster);
    assert_eq!(again.0, header);
    cluster.deliver(packet);
    cluster.run();
    assert_eq!(cluster.raft(3).last(), cluster.raft(1).last());
}

#[test]
fn a_snapshot_that_was_sent_is_probed_behind_or_asked_for_again() {
    // The transport says that all bytes are there, before the replica has said anything.
    let mut cluster = left_behind(5);
    let (header, packet) = catch_snapshot(&mut cluster);
    cluster.deliver(packet);
    cluster.net.clear();
    let (now, at) = (cluster.now, header.position.index);
    cluster.raft_mut(1).on_snapshot_sent(now, id(3), SnapshotSent::Sent(at));
    let peer = cluster.raft(1).progress().find(|peer| peer.id == id(3)).unwrap();
    assert_eq!((peer.state, peer.next, peer.paused), (ProgressState::Probe, at.next(), false));
    cluster.run();
    assert_eq!(cluster.raft(3).last(), cluster.raft(1).last());

    // It says so and is wrong: the replica crashed before it had persisted anything.
    let mut cluster = left_behind(5);
    let (_, packet) = catch_snapshot(&mut cluster);
    cluster.deliver(packet);
    cluster.crash(3, 0);
    cluster.run();
    cluster.restart(3);
    cluster.run();
    assert_eq!((cluster.oracle.installs, cluster.raft(3).last()), (2, cluster.raft(1).last()));
}

#[test]
fn an_ack_beyond_the_snapshot_ends_the_wait_without_a_report() {
    let mut cluster = left_behind(5);
    let (_, packet) = catch_snapshot(&mut cluster);
    cluster.deliver(packet);
    cluster.net.clear(); // The report comes late, or never.
    cluster.sync(3);
    cluster.send_messages(3);
    for packet in std::mem::take(&mut cluster.net) {
        cluster.deliver(packet);
    }
    assert_eq!(progress(&cluster, 1, 3), (ProgressState::Replicate, Index(6), None));
    let now = cluster.now;
    cluster.raft_mut(1).on_snapshot_sent(now, id(3), SnapshotSent::Failed);
    assert_eq!(progress(&cluster, 1, 3).0, ProgressState::Replicate, "it changes nothing any more");
}

#[test]
fn a_new_connection_probes_again_whoever_waited_for_a_snapshot() {
    let mut cluster = left_behind(5);
    catch_snapshot(&mut cluster);
    let now = cluster.now;
    cluster.raft_mut(1).on_peer_down(now, id(3));
    cluster.raft_mut(1).on_peer_up(now, id(3));
    let (header, packet) = catch_snapshot(&mut cluster);
    let request = SnapshotRequest { to: id(3), session: 0, at_least: header.position.index };
    assert_eq!((header.session, header.to), (request.session, request.to));
    cluster.deliver(packet);
    cluster.run();
    assert_eq!(cluster.raft(3).last(), cluster.raft(1).last());
}

#[test]
fn membership_at_an_entry_is_what_a_snapshot_there_must_say() {
    let mut cluster = group(2, 1);
    cluster.elect(1);
    let before = cluster.raft(1).membership();
    cluster.propose(1, 2);
    cluster.run();
    let change = cluster.change(1, &[Change::AddLearner(id(3))], Transition::Auto).unwrap();
    cluster.run();
    let at = change.proposed.last;
    let raft = cluster.raft(1);
    assert_eq!(raft.membership_at(at), Some(change.membership));
    assert_eq!(raft.membership_at(at.prev()), Some(before));
    assert_eq!(raft.membership_at(at.next()), None, "there is no such entry");
    cluster.compact(1, at.prev());
    assert_eq!(cluster.raft(1).membership_at(at.prev()), Some(before), "where the log begins");
    assert_eq!(cluster.raft(1).membership_at(at.prev().prev()), None);
    let position = cluster.raft_mut(1).on_compacted(at);
    assert_eq!((position.index, cluster.raft(1).membership_at(at)), (at, Some(change.membership)));
}

#[test]
fn l17_nothing_is_compacted_that_is_not_applied() {
    let mut cluster = group(3, 0);
    cluster.elect(1);
    cluster.propose(1, 5);
    while cluster.raft(1).committed() < Index(6) {
        for number in cluster.numbers() {
            cluster.send_appends(number);
            cluster.write(number);
            cluster.persist(number);
            cluster.send_messages(number);
        }
        for packet in std::mem::take(&mut cluster.net) {
            cluster.deliver(packet);
        }
    }
    let mut raft = cluster.raft(1).clone();
    let applied = raft.status().applied;
    assert!(applied < Index(6), "given to nobody yet");
    let beyond = applied.next();
    let stopped = catch_unwind(AssertUnwindSafe(|| raft.on_compacted(beyond)));
    let why = stopped.unwrap_err();
    let why = why.downcast_ref::<String>().unwrap();
    assert!(why.contains("past applied"), "{why}");
    // Given is not applied either.
    let mut raft = cluster.raft(1).clone();
    assert_eq!(raft.take_committed(), Some((beyond, Index(6))));
    assert!(catch_unwind(AssertUnwindSafe(|| raft.on_compacted(beyond))).is_err());
    let raft = cluster.raft_mut(1);
    raft.take_committed();
    raft.on_applied(beyond);
    assert_eq!(raft.on_compacted(beyond).index, beyond);
    assert_eq!(raft.on_compacted(applied).index, beyond, "and going back does nothing");
}
