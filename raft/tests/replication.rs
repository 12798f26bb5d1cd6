//! Log and durability: what is acknowledged, truncated, committed, applied and compacted, and
//! when. Names begin with the hazard's id.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use common::{Cluster, ENTRY_BYTES, Packet, config, id, message, position};
use kontiki_raft::{
    AppendHeader, AppendOutcome, Config, Extent, Index, MessageKind, ProgressState, ProposeError,
    Role, SnapshotRequest, Span, Term,
};

fn deliver_all(cluster: &mut Cluster) {
    for packet in std::mem::take(&mut cluster.net) {
        cluster.deliver(packet);
    }
}

/// An append as a leader of the term would send it: runs of `(term, count)` after `prev`.
fn append(
    cluster: &mut Cluster,
    (from, to, term): (u64, u64, u64),
    prev: (u64, u64),
    runs: &[(u64, u64)],
    commit: u64,
) -> AppendOutcome {
    let mut last = prev.1;
    let spans: Vec<_> = runs
        .iter()
        .map(|&(term, count)| {
            let first = Index(last + 1);
            last += count;
            Span { term: Term(term), first, last: Index(last) }
        })
        .collect();
    let header = AppendHeader {
        from: id(from),
        to: id(to),
        term: Term(term),
        prev: position(prev.0, prev.1),
        last: Index(last),
        commit: Index(commit),
        floor: Index(0),
        read_round: 0,
        session: 0,
    };
    let now = cluster.now;
    cluster.raft_mut(to).step_append(now, &header, &spans, &[])
}

/// Completes the writes of a replica that was told of entries past the network.
fn complete_writes(cluster: &mut Cluster, number: u64) {
    while let Some(write) = cluster.raft_mut(number).take_persist() {
        cluster.raft_mut(number).on_persisted(write.seq);
    }
}

fn acked(cluster: &mut Cluster, number: u64) -> Vec<u64> {
    let acks = cluster.says(number).into_iter().filter_map(|message| match message.kind {
        MessageKind::AppendAck { matched, .. } => Some(matched.index.0),
        _ => None,
    });
    acks.collect()
}

#[test]
fn l1_an_ack_speaks_of_the_entry_that_is_there_now() {
    let mut cluster = Cluster::new(3, 1);
    let raft = |cluster: &mut Cluster| cluster.raft_mut(3).take_persist().unwrap();
    append(&mut cluster, (1, 3, 1), (0, 0), &[(1, 1)], 0);
    let first = raft(&mut cluster);
    append(&mut cluster, (2, 3, 2), (0, 0), &[(2, 1)], 0);
    let second = raft(&mut cluster);
    assert_eq!(second.truncate_from, Some(Index(1)));
    append(&mut cluster, (1, 3, 3), (0, 0), &[(1, 1), (3, 1)], 0);
    let third = raft(&mut cluster);
    assert_eq!((third.truncate_from, third.append), (Some(Index(1)), Some((Index(1), Index(2)))));
    cluster.raft_mut(3).on_persisted(first.seq);
    assert_eq!(acked(&mut cluster, 3), [], "the write of entry 1 has been overwritten since");
    cluster.raft_mut(3).on_persisted(second.seq);
    assert_eq!(acked(&mut cluster, 3), []);
    cluster.raft_mut(3).on_persisted(third.seq);
    assert_eq!(acked(&mut cluster, 3), [2]);
}

#[test]
fn l1_a_term_that_is_durable_does_not_vouch_for_an_entry_that_is_not() {
    // The same overwriting, but the last term was written before its leader restored the entry.
    let mut cluster = Cluster::new(3, 1);
    let take = |cluster: &mut Cluster| cluster.raft_mut(3).take_persist().unwrap().seq;
    append(&mut cluster, (1, 3, 1), (0, 0), &[(1, 1)], 0);
    let first = take(&mut cluster);
    append(&mut cluster, (2, 3, 2), (0, 0), &[(2, 1)], 0);
    let second = take(&mut cluster);
    let (commit, floor) = (Index(0), Index(0));
    let now = cluster.now;
    let beat = MessageKind::Heartbeat { commit, floor, read_round: 0, sleep: false };
    cluster.raft_mut(3).step(now, &message(1, 3, 3, beat));
    let third = take(&mut cluster);
    append(&mut cluster, (1, 3, 3), (0, 0), &[(1, 1)], 0);
    let fourth = take(&mut cluster);
    for seq in [first, second, third] {
        cluster.raft_mut(3).on_persisted(seq);
        assert_eq!(acked(&mut cluster, 3), [], "the disk has the entry of term 2");
    }
    cluster.raft_mut(3).on_persisted(fourth);
    assert_eq!(acked(&mut cluster, 3), [1]);
}

#[test]
fn l2_a_term_is_durable_no_later_than_the_entries_it_brought() {
    let mut cluster = Cluster::new(3, 1);
    append(&mut cluster, (1, 3, 4), (0, 0), &[(4, 1)], 0);
    let persist = cluster.raft_mut(3).take_persist().unwrap();
    assert_eq!(persist.hard_state.unwrap().term, Term(4));
    assert_eq!(persist.append, Some((Index(1), Index(1))));
}

#[test]
fn l3_the_core_refuses_completions_out_of_order() {
    let mut cluster = Cluster::new(3, 1);
    append(&mut cluster, (1, 3, 1), (0, 0), &[(1, 1)], 0);
    cluster.raft_mut(3).take_persist().unwrap();
    append(&mut cluster, (1, 3, 1), (1, 1), &[(1, 1)], 0);
    let second = cluster.raft_mut(3).take_persist().unwrap();
    let raft = AssertUnwindSafe(cluster.raft_mut(3));
    assert!(catch_unwind(|| { raft }.on_persisted(second.seq)).is_err());
}

#[test]
fn l4_a_shorter_duplicate_truncates_nothing() {
    let mut cluster = Cluster::new(3, 1);
    let (from, last) = ((1, 3, 2), position(2, 5));
    let accepted = AppendOutcome::Accepted { first_new: Index(1) };
    assert_eq!(append(&mut cluster, from, (0, 0), &[(1, 2), (2, 3)], 0), accepted);
    for runs in [&[(1, 2)][..], &[(1, 2), (2, 1)], &[(1, 2), (2, 3)], &[]] {
        assert_eq!(append(&mut cluster, from, (0, 0), runs, 0), AppendOutcome::Duplicate);
        assert_eq!(cluster.raft(3).last(), last);
    }
    let outcome = append(&mut cluster, from, (2, 3), &[(2, 4)], 0);
    assert_eq!(outcome, AppendOutcome::Accepted { first_new: Index(6) }, "an overlap adds its end");
}

#[test]
fn l4_a_conflict_truncates_from_the_first_entry_that_differs() {
    let mut cluster = Cluster::new(3, 1);
    append(&mut cluster, (1, 3, 1), (0, 0), &[(1, 6)], 1);
    let outcome = append(&mut cluster, (2, 3, 2), (1, 2), &[(1, 1), (2, 1)], 1);
    assert_eq!(outcome, AppendOutcome::Accepted { first_new: Index(4) });
    assert_eq!(cluster.raft(3).last(), position(2, 4));
    let rejected = append(&mut cluster, (2, 3, 2), (1, 6), &[(2, 1)], 1);
    assert_eq!(rejected, AppendOutcome::Rejected);
}

#[test]
fn an_append_that_no_leader_makes_is_refused() {
    let mut cluster = Cluster::new(3, 1);
    append(&mut cluster, (1, 3, 3), (0, 0), &[(1, 2)], 0);
    let before = cluster.raft(3).clone();
    for runs in [&[(3, 1), (1, 1)][..], &[(9, 1)], &[(0, 1)], &[(2, 0)]] {
        let outcome = append(&mut cluster, (1, 3, 3), (1, 2), runs, 0);
        assert_eq!(outcome, AppendOutcome::Rejected, "{runs:?}");
        assert_eq!(*cluster.raft(3), before);
    }
}

#[test]
fn l5_each_entry_is_given_to_apply_once_and_only_when_durable_here() {
    let mut cluster = Cluster::new(3, 1);
    append(&mut cluster, (1, 3, 1), (0, 0), &[(1, 4)], 3);
    assert_eq!(cluster.raft(3).committed(), Index(3));
    assert_eq!(cluster.raft_mut(3).take_committed(), None, "committed, but not on this disk");
    let seq = cluster.raft_mut(3).take_persist().unwrap().seq;
    cluster.raft_mut(3).on_persisted(seq);
    assert_eq!(cluster.raft_mut(3).take_committed(), Some((Index(1), Index(3))));
    assert_eq!(cluster.raft_mut(3).take_committed(), None);
    append(&mut cluster, (1, 3, 1), (1, 4), &[], 4);
    assert_eq!(cluster.raft_mut(3).take_committed(), Some((Index(4), Index(4))));
}

#[test]
fn l6_windows_count_to_zero() {
    let mut cluster = Cluster::new(3, 1);
    cluster.config = Config { uncommitted_bytes_max: 10 * ENTRY_BYTES, ..config() };
    for number in cluster.numbers() {
        cluster.crash(number, 0);
        cluster.restart(number);
    }
    cluster.elect(1);
    for _ in 0..50 {
        let mut taken = 0;
        while cluster.propose(1, 1).is_some() {
            taken += 1;
        }
        assert_eq!(taken, 10, "the window is as large as ever");
        let refused = cluster.raft_mut(1).propose(1, ENTRY_BYTES);
        assert_eq!(refused, Err(ProposeError::Busy));
        cluster.run();
        assert_eq!(cluster.raft(1).status().uncommitted_bytes, 0);
        assert!(cluster.raft(1).progress().all(|peer| peer.inflight_bytes == 0));
    }
    assert!(cluster.propose(1, 99).is_some(), "a proposal larger than the window passes alone");
}

#[test]
fn a_follower_is_not_sent_more_than_its_window() {
    let mut cluster = Cluster::new(3, 1);
    cluster.config = Config { inflight_bytes_max: 4 * ENTRY_BYTES, ..config() };
    for number in cluster.numbers() {
        cluster.crash(number, 0);
        cluster.restart(number);
    }
    cluster.elect(1);
    cluster.propose(1, 10);
    cluster.extent_max = 1;
    cluster.send_appends(1);
    let to = |to| move |packet: &&Packet| packet.to() == id(to);
    assert_eq!(cluster.net.iter().filter(to(2)).count(), 4);
    cluster.run();
    assert_eq!(cluster.raft(2).last(), cluster.raft(1).last());
}

#[test]
fn an_extent_that_the_transport_refuses_changes_nothing() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    cluster.propose(1, 3);
    let before = cluster.raft(1).clone();
    assert_eq!(cluster.raft_mut(1).next_append(id(2), |_, _, _| None), None);
    assert_eq!(*cluster.raft(1), before);
    let extent = |first, last: Index, _| Some(Extent { last: last.min(first), bytes: 1 });
    assert!(cluster.raft_mut(1).next_append(id(2), extent).is_some());
}

#[test]
fn appends_are_pipelined_and_acks_merge() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    let mut last = Index(0);
    for _ in 0..10 {
        last = cluster.propose(1, 1).unwrap().last;
        cluster.send_appends(1);
    }
    assert_eq!(cluster.net.len(), 20, "nothing waits for an answer");
    deliver_all(&mut cluster);
    cluster.sync(2);
    assert_eq!(acked(&mut cluster, 2), [last.0], "ten appends, one write, one answer");
}

#[test]
fn many_proposals_before_a_drain_are_one_append() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    cluster.extent_max = 100;
    for _ in 0..10 {
        cluster.propose(1, 1);
    }
    cluster.send_appends(1);
    assert_eq!(cluster.net.len(), 2);
}

#[test]
fn a_leader_counts_itself_only_when_durable() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    let before = cluster.raft(1).committed();
    let last = cluster.propose(1, 1).unwrap().last;
    cluster.send_append(1, 2);
    cluster.write(1);
    cluster.run_messages_of(2);
    assert_eq!(cluster.raft(1).committed(), before, "one durable copy of three");
    cluster.persist(1);
    assert_eq!(cluster.raft(1).committed(), last, "two of three");
}

#[test]
fn followers_commit_without_the_leaders_disk() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    let last = cluster.propose(1, 1).unwrap().last;
    cluster.send_appends(1);
    cluster.write(1);
    cluster.run_messages_of(2);
    cluster.run_messages_of(3);
    assert_eq!(cluster.raft(1).committed(), last, "two durable copies, neither the leader's");
    assert_eq!(cluster.raft_mut(1).take_committed(), None, "and the leader does not apply it yet");
}

#[test]
fn l7_a_silent_follower_holds_the_floor_and_past_it_needs_a_snapshot() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    let floor = cluster.raft(1).log_floor();
    cluster.isolate(3);
    cluster.propose(1, 5);
    cluster.run();
    assert_eq!(cluster.raft(1).committed(), cluster.raft(1).last().index);
    assert_eq!(cluster.raft(1).log_floor(), floor, "replica 3 has not got them");
    let applied = cluster.raft(1).status().applied;
    assert_eq!(cluster.raft_mut(1).on_compacted(applied).index, applied);
    cluster.heal();
    cluster.run();
    assert_eq!(cluster.raft(1).log_floor(), floor, "an empty log does not match");
    let request = cluster.raft_mut(1).take_snapshot_request();
    assert_eq!(request, Some(SnapshotRequest { to: id(3), session: 0, at_least: applied }));
    assert_eq!(cluster.raft_mut(1).take_snapshot_request(), None, "asked for once");
    assert_eq!(cluster.raft_mut(1).on_compacted(applied).index, applied);
}

#[test]
fn the_floor_reaches_followers() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    cluster.propose(1, 5);
    cluster.run();
    cluster.pass(50_000);
    let last = cluster.raft(1).last().index;
    assert!(cluster.numbers().all(|number| cluster.raft(number).log_floor() == last));
}

#[test]
fn l8_answers_of_an_old_term_or_round_move_nothing() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    cluster.propose(1, 3);
    cluster.run();
    let progress: Vec<_> = cluster.raft(1).progress().collect();
    let (prev, hint) = (Index(2), position(0, 0));
    for kind in [
        MessageKind::AppendReject { prev, hint, read_round: 0 },
        MessageKind::AppendAck { matched: position(1, 1), read_round: 0 },
        MessageKind::HeartbeatAck { read_round: 0 },
    ] {
        cluster.tell(2, 1, 0, kind);
        cluster.tell(2, 1, 1, kind);
    }
    assert!(cluster.raft(1).progress().eq(progress));
}

#[test]
fn an_ack_names_only_what_this_leader_has_verified() {
    let mut cluster = Cluster::with_logs(&[&[1, 1, 1, 1], &[1, 1], &[1, 1]], 1);
    append(&mut cluster, (2, 1, 2), (1, 2), &[], 0);
    complete_writes(&mut cluster, 1);
    assert_eq!(acked(&mut cluster, 1), [2], "entries 3 and 4 may be replaced yet");
    append(&mut cluster, (2, 1, 2), (1, 2), &[(2, 1)], 0);
    complete_writes(&mut cluster, 1);
    assert_eq!(acked(&mut cluster, 1), [3]);
    assert_eq!(cluster.raft(1).last(), position(2, 3));
}

#[test]
fn numbers_out_of_range_are_no_answer() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    let progress: Vec<_> = cluster.raft(1).progress().collect();
    let far = position(1, u64::MAX);
    for kind in [
        MessageKind::AppendReject { prev: Index(u64::MAX), hint: far, read_round: u64::MAX },
        MessageKind::AppendReject { prev: Index(0), hint: far, read_round: u64::MAX },
        MessageKind::AppendAck { matched: far, read_round: u64::MAX },
        MessageKind::HeartbeatAck { read_round: u64::MAX },
    ] {
        cluster.tell(2, 1, 1, kind);
        assert!(cluster.raft(1).progress().eq(progress.iter().copied()), "{kind:?}");
    }
    let first = Index(u64::MAX);
    let header = AppendHeader {
        from: id(1),
        to: id(2),
        term: Term(1),
        prev: far,
        last: first,
        commit: first,
        floor: Index(0),
        read_round: 0,
        session: 0,
    };
    let (now, spans) = (cluster.now, [Span { term: Term(1), first: Index(0), last: first }]);
    let outcome = cluster.raft_mut(2).step_append(now, &header, &spans, &[]);
    assert_eq!(outcome, AppendOutcome::Rejected);
}

#[test]
fn an_ack_that_names_another_entry_counts_for_nothing() {
    let mut cluster = Cluster::with_logs(&[&[1, 2, 2], &[1], &[1]], 1);
    cluster.elect_silently(1);
    cluster.sync(1);
    for matched in [position(1, 3), position(9, 4), position(3, 99)] {
        for follower in [2, 3] {
            cluster.tell(follower, 1, 3, MessageKind::AppendAck { matched, read_round: 0 });
        }
    }
    assert_eq!(cluster.raft(1).committed(), Index(0));
    assert!(cluster.raft(1).progress().all(|peer| peer.matched == Index(0)));
}

#[test]
fn l13_a_follower_that_lost_durable_entries_stops() {
    for with_floor in [true, false] {
        let mut cluster = Cluster::new(3, 1);
        cluster.elect(1);
        if !with_floor {
            cluster.isolate(3); // Then the floor stays low, and only the commit tells.
        }
        cluster.propose(1, 5);
        cluster.run();
        let matched = |cluster: &Cluster| {
            cluster.raft(1).progress().find(|peer| peer.id == id(2)).unwrap().matched
        };
        let before = matched(&cluster);
        cluster.crash(2, 0);
        cluster.node_mut(2).disk.log.entries.truncate(1);
        cluster.node_mut(2).disk.applied = Index(0);
        cluster.restart(2);
        let stopped = catch_unwind(AssertUnwindSafe(|| cluster.pass(60_000))).unwrap_err();
        let why = stopped.downcast_ref::<String>().unwrap();
        assert!(why.contains("durable entries are lost"), "{why}");
        assert_eq!(matched(&cluster), before, "the leader does not take its word back");
    }
}

#[test]
fn l15_a_restart_keeps_what_was_applied_and_gives_it_no_second_time() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    cluster.propose(1, 5);
    cluster.run();
    cluster.pass(50_000);
    let applied = cluster.node(2).disk.applied;
    assert!(applied >= Index(6));
    cluster.crash(2, 0);
    cluster.restart(2);
    assert_eq!(cluster.raft(2).committed(), applied);
    assert_eq!(cluster.raft_mut(2).take_committed(), None);
}

/// Appends sent until the follower's log has met the leader's.
fn repair_rounds(cluster: &mut Cluster, leader: u64, follower: u64) -> usize {
    cluster.extent_max = u64::MAX / 2;
    for round in 1.. {
        assert!(cluster.send_append(leader, follower), "the leader probes");
        deliver_all(cluster);
        cluster.sync(follower);
        cluster.send_messages(follower);
        deliver_all(cluster);
        if cluster.raft(follower).last() == cluster.raft(leader).last() {
            return round;
        }
    }
    unreachable!()
}

#[test]
fn l16_a_divergent_tail_is_repaired_term_by_term() {
    const TAIL: u64 = 100_000;
    for terms in [1, 2, 10, 100] {
        // After a common beginning the leader has odd terms and the follower even ones.
        let tail = |first: u64| {
            let own = move |slot: u64| first + 2 * (slot * terms / TAIL);
            [1, 1, 1].into_iter().chain((0..TAIL).map(own)).collect::<Vec<_>>()
        };
        let (odd, even) = (tail(3), tail(2));
        let mut cluster = Cluster::with_logs(&[&odd, &even, &odd], 1);
        cluster.elect_silently(1);
        let rounds = repair_rounds(&mut cluster, 1, 2);
        let limit = usize::try_from(terms).unwrap() + 2;
        assert!(rounds <= limit, "{rounds} round trips for {terms} terms");
    }
}

#[test]
fn l16_a_follower_that_is_merely_short_is_met_in_two_rounds() {
    let long: Vec<u64> = (0..50_000).map(|slot| 1 + slot / 500).collect();
    let mut cluster = Cluster::with_logs(&[&long, &long[..777], &long], 1);
    cluster.elect_silently(1);
    assert_eq!(repair_rounds(&mut cluster, 1, 2), 2);
}

#[test]
fn a_new_connection_is_probed_with_what_was_acknowledged() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    cluster.propose(1, 3);
    cluster.run();
    let now = cluster.now;
    cluster.raft_mut(1).on_peer_down(now, id(2));
    cluster.raft_mut(1).on_peer_up(now, id(2));
    assert!(cluster.send_append(1, 2), "there is nothing new, but it must be asked");
    let Some(Packet::Append(header, _)) = cluster.net.front() else { panic!("an append") };
    assert!(header.is_empty() && header.prev == cluster.raft(1).last());
    assert!(!cluster.send_append(1, 2), "once");
    cluster.run();
    let peer = cluster.raft(1).progress().find(|peer| peer.id == id(2)).unwrap();
    assert_eq!(peer.state, ProgressState::Replicate);
}

#[test]
fn a_lost_probe_goes_out_again_once_the_follower_is_heard() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect_silently(1);
    cluster.send_appends(1);
    cluster.net.clear();
    cluster.run();
    assert_eq!(cluster.raft(2).last().index, Index(0), "nobody resends on a live connection");
    cluster.pass(100_000);
    assert_eq!(cluster.raft(2).last(), cluster.raft(1).last(), "heartbeats are the safety net");
}

#[test]
fn a_commit_is_told_without_an_append() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    let last = cluster.propose(1, 1).unwrap().last;
    cluster.run();
    assert!(cluster.numbers().all(|number| cluster.raft(number).committed() == last));
    cluster.send_commits(1);
    assert!(cluster.net.is_empty(), "and is told once");
}

#[test]
fn an_idle_leader_beats_only_when_nothing_else_was_sent() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    for _ in 0..100 {
        cluster.now.0 += 5_000;
        cluster.propose(1, 1);
        cluster.send_appends(1);
        cluster.deadline(1);
        cluster.send_messages(1);
        let beats = |packet: &&Packet| matches!(packet, Packet::Message(_));
        assert_eq!(cluster.net.iter().filter(beats).count(), 0);
        cluster.run();
    }
    cluster.now.0 += 20_000;
    cluster.deadline(1);
    cluster.send_messages(1);
    assert_eq!(cluster.net.len(), 2, "one heartbeat each");
}

#[test]
fn a_no_op_that_nobody_made_a_block_for_leaves_with_the_leadership() {
    let mut cluster = Cluster::new(3, 1);
    cluster.campaign(1);
    let (now, term) = (cluster.now, Term(1));
    // The votes arrive and a later term does, before the caller comes to ask for the no-op.
    let grant = |from, to, kind| message(from, to, 0, kind);
    let raft = cluster.raft_mut(1);
    raft.step(now, &grant(2, 1, MessageKind::PreVoteReply { granted: true }));
    let seq = raft.take_persist().unwrap().seq;
    raft.on_persisted(seq);
    raft.step(now, &message(2, 1, 1, MessageKind::VoteReply { granted: true }));
    assert!(raft.is_leader() && raft.last() == position(1, 1) && raft.term() == term);
    let forced = MessageKind::Vote { last: position(1, 5), forced: true };
    raft.step(now, &message(3, 1, 2, forced));
    assert!(!raft.is_leader());
    assert_eq!((raft.take_noop(), raft.last()), (None, position(0, 0)));
    assert_eq!(raft.take_persist().unwrap().append, None);
    raft.check_invariants();
}

#[test]
fn g13_a_follower_that_doubted_its_leader_still_acknowledges_what_it_took() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    cluster.run();
    let proposed = cluster.propose(1, 1).unwrap();
    cluster.send_appends(1);
    deliver_all(&mut cluster);
    // The follower's disk is slow, and its leader silent for long enough to be doubted.
    let now = kontiki_raft::Time(cluster.now.0 + 1_000_000);
    cluster.raft_mut(2).on_deadline(now);
    assert_eq!(cluster.raft(2).role(), Role::PreCandidate);
    let beat = MessageKind::Heartbeat {
        commit: Index::ZERO,
        floor: Index::ZERO,
        read_round: 0,
        sleep: false,
    };
    let term = cluster.raft(1).term();
    cluster.raft_mut(2).step(now, &message(1, 2, term.0, beat));
    while cluster.write(2) || cluster.persist(2) {}
    let raft = cluster.raft_mut(2);
    let acks: Vec<_> = std::iter::from_fn(|| raft.take_message()).map(|m| m.kind).collect();
    let acked = |kind: &MessageKind| matches!(kind, MessageKind::AppendAck { matched, .. } if matched.index == proposed.last);
    assert!(acks.iter().any(acked), "{acks:?}");
}
