//! One test per claim of the Raft paper ("In Search of an Understandable Consensus Algorithm",
//! extended version) and of Ongaro's thesis that the core relies on, in their order.
//!
//! The five properties of Figure 3 are checked by the oracle in every test and history.

mod common;

use common::{Cluster, Packet, config, id, position};
use kontiki_raft::{
    Change, ChangeError, Config, Index, Membership, MessageKind, ReadReady, Role, Term, Time,
    Transition,
};

const TIMEOUT_US: u64 = 100_000;

/// Replicas 1 to `voters`, and `spares` who wait to be added.
fn group(voters: u64, spares: u64, config: Config) -> Cluster {
    let mut cluster = Cluster::stopped(voters, spares, config, 1);
    cluster.serves_snapshots = true;
    for number in cluster.numbers() {
        cluster.restart(number);
    }
    cluster
}

#[test]
fn paper_5_1_a_server_enters_any_later_term_it_hears_of() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    cluster.tell(2, 1, 5, MessageKind::HeartbeatAck { read_round: 0 });
    assert_eq!((cluster.raft(1).term(), cluster.raft(1).role()), (Term(5), Role::Follower));
}

#[test]
fn paper_5_1_requests_of_an_earlier_term_are_refused_and_answered_with_ours() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    let (now, term) = (cluster.now, cluster.raft(1).term());
    cluster.raft_mut(1).transfer(now, id(2)).unwrap();
    cluster.run();
    let (commit, floor) = (Index(1), Index(0));
    cluster.tell(
        1,
        3,
        term.0,
        MessageKind::Heartbeat { sleep: false, commit, floor, read_round: 0 },
    );
    let answers = cluster.says(3);
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].term, cluster.raft(3).term());
    assert_eq!(cluster.raft(3).leader(), Some(id(2)), "and nobody was impressed");
}

#[test]
fn paper_5_2_one_vote_per_term_first_come_first_served() {
    let mut cluster = Cluster::new(3, 1);
    let vote = MessageKind::Vote { last: position(0, 0), forced: false };
    for (from, granted) in [(1, true), (2, false), (1, true)] {
        cluster.tell(from, 3, 1, vote);
        cluster.sync(3);
        let replies: Vec<_> = cluster.says(3).into_iter().map(|reply| reply.kind).collect();
        assert_eq!(replies, [MessageKind::VoteReply { granted }], "to replica {from}");
    }
}

#[test]
fn paper_5_2_a_majority_elects_and_a_minority_does_not() {
    for (voters, elected) in [(5, true), (3, true), (2, false)] {
        let mut cluster = Cluster::new(5, 1);
        for other in voters + 1..=5 {
            cluster.isolate(other);
        }
        cluster.campaign(1);
        cluster.run();
        assert_eq!(cluster.raft(1).is_leader(), elected, "{voters} of 5");
    }
}

#[test]
fn paper_5_2_heartbeats_keep_followers_from_campaigning() {
    let mut cluster = Cluster::new(5, 1);
    cluster.elect(1);
    cluster.pass(30 * TIMEOUT_US);
    assert_eq!((cluster.leader(), cluster.raft(1).term()), (Some(1), Term(1)));
    assert_eq!(cluster.oracle.elections, 1);
}

#[test]
fn paper_5_2_randomized_timeouts_end_split_votes() {
    for seed in 0..50 {
        let mut cluster = Cluster::new(4, seed);
        for number in cluster.numbers() {
            cluster.campaign(number);
        }
        cluster.pass(6 * TIMEOUT_US);
        assert!(cluster.leader().is_some(), "seed {seed}: {:?}", cluster.roles());
    }
}

#[test]
fn paper_5_3_an_append_is_taken_only_where_the_logs_meet() {
    let mut cluster = Cluster::with_logs(&[&[1, 1, 2], &[1, 1, 2], &[1]], 1);
    cluster.elect_silently(1);
    cluster.send_append(1, 3);
    cluster.run_messages_of(3);
    assert_eq!(cluster.raft(3).last(), position(1, 1), "entries 2 and 3 are missing");
    cluster.run();
    assert_eq!(cluster.raft(3).last(), cluster.raft(1).last());
}

#[test]
fn paper_5_3_figure_7_every_kind_of_log_is_brought_to_the_leaders() {
    let leader: &[u64] = &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
    let followers: [&[u64]; 6] = [
        &[1, 1, 1, 4, 4, 5, 5, 6, 6],
        &[1, 1, 1, 4],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
        &[1, 1, 1, 4, 4, 4, 4],
        &[1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
    ];
    let mut logs = vec![leader];
    logs.extend(followers);
    let mut cluster = Cluster::with_logs(&logs, 1);
    // In the figure the leader has just come to power, in term 8.
    cluster.node_mut(1).disk.hard_state.term = Term(7);
    cluster.crash(1, 0);
    cluster.restart(1);
    cluster.elect(1);
    assert_eq!(cluster.raft(1).term(), Term(8));
    for number in 2..=7 {
        assert_eq!(cluster.node(number).memory.entries, cluster.node(1).memory.entries);
        assert_eq!(cluster.raft(number).committed(), cluster.raft(1).last().index);
    }
}

#[test]
fn paper_5_3_a_slow_follower_does_not_hold_back_the_commit() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    cluster.isolate(3);
    let last = cluster.propose(1, 4).unwrap().last;
    cluster.run();
    assert_eq!(cluster.raft(1).committed(), last);
}

#[test]
fn paper_5_4_1_a_candidate_lacking_a_committed_entry_does_not_win() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    cluster.isolate(3);
    cluster.propose(1, 4);
    cluster.run();
    cluster.crash(1, 0);
    cluster.heal();
    for _ in 0..5 {
        cluster.campaign(3);
        cluster.run();
        assert!(!cluster.raft(3).is_leader());
    }
    cluster.elect(2);
}

#[test]
fn paper_5_4_2_entries_of_earlier_terms_commit_with_the_leaders_first() {
    let mut cluster = Cluster::with_logs(&[&[1, 2], &[1, 2], &[1, 2]], 1);
    cluster.elect_silently(1);
    for follower in [2, 3] {
        let ack = MessageKind::AppendAck { matched: position(2, 2), read_round: 0 };
        cluster.tell(follower, 1, 3, ack);
    }
    assert_eq!(cluster.raft(1).committed(), Index(0), "though everybody has them");
    cluster.run();
    assert_eq!(cluster.raft(1).committed(), Index(3));
}

#[test]
fn paper_5_5_messages_may_come_twice() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    cluster.propose(1, 3);
    cluster.send_appends(1);
    let twice: Vec<_> = cluster.net.iter().chain(&cluster.net).cloned().collect();
    cluster.net.clear();
    for packet in twice {
        cluster.deliver(packet);
    }
    cluster.run();
    assert_eq!(cluster.node(2).memory.entries, cluster.node(1).memory.entries);
}

#[test]
fn paper_5_5_a_follower_that_crashed_catches_up() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    cluster.crash(3, 0);
    let last = cluster.propose(1, 20).unwrap().last;
    cluster.run();
    cluster.restart(3);
    cluster.run();
    assert_eq!(cluster.raft(3).committed(), last);
}

#[test]
fn paper_8_a_new_leader_commits_a_no_op_without_being_asked() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    assert_eq!(cluster.raft(1).committed(), Index(1));
    assert_eq!(cluster.node(3).disk.applied, Index(1));
}

#[test]
fn thesis_3_10_a_transfer_brings_the_target_up_to_date_first() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    cluster.isolate(2);
    cluster.propose(1, 9);
    cluster.run();
    let now = cluster.now;
    cluster.raft_mut(1).transfer(now, id(2)).unwrap();
    assert!(cluster.propose(1, 1).is_none(), "no new proposals, or it might never end");
    cluster.heal();
    cluster.run();
    assert_eq!(cluster.leader(), Some(2));
    assert_eq!(cluster.raft(2).last(), position(2, 11));
}

#[test]
fn thesis_3_8_term_and_vote_and_log_survive_a_restart_and_nothing_else_has_to() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    cluster.propose(1, 3);
    cluster.run();
    let before = cluster.raft(2).status();
    cluster.crash(2, 0);
    cluster.restart(2);
    let after = cluster.raft(2).status();
    assert_eq!((after.term, after.vote, after.last), (before.term, before.vote, before.last));
    assert_eq!((after.leader, after.role), (None, Role::Follower));
}

#[test]
fn thesis_4_1_a_membership_is_in_force_once_appended_and_gone_with_its_entry() {
    let mut cluster = group(3, 1, config());
    cluster.elect(1);
    let before = cluster.raft(1).membership();
    cluster.isolate(1);
    let change = cluster.change(1, &[Change::AddVoter(id(4))], Transition::Auto).unwrap();
    let index = change.proposed.last;
    assert!(cluster.raft(1).committed() < index);
    assert_eq!(cluster.raft(1).membership(), change.membership, "at the leader");
    // At a follower too, before anybody knows whether it will be committed.
    cluster.cut.retain(|&(from, to)| (from, to) != (1, 2));
    while cluster.send_append(1, 2) {}
    for packet in std::mem::take(&mut cluster.net) {
        cluster.deliver(packet);
    }
    assert_eq!(cluster.raft(2).membership(), change.membership);
    cluster.crash(1, 0);
    cluster.crash(2, 0); // It has not got it on its disk.
    cluster.restart(2);
    cluster.heal();
    cluster.pass(4 * TIMEOUT_US);
    assert!(cluster.leader().is_some());
    // What was appended at replica 1 is replaced, and its membership with it.
    let mut cluster = group(3, 1, config());
    cluster.elect(1);
    cluster.isolate(1);
    cluster.change(1, &[Change::AddVoter(id(4))], Transition::Auto).unwrap();
    cluster.pass(4 * TIMEOUT_US);
    assert_ne!(cluster.raft(1).membership(), before);
    cluster.heal();
    cluster.pass(TIMEOUT_US);
    assert_eq!(
        (cluster.raft(1).membership(), cluster.raft(1).membership_index()),
        (before, Index(0))
    );
}

#[test]
fn thesis_4_1_one_server_at_a_time_keeps_majorities_together() {
    let mut cluster = group(3, 2, config());
    cluster.elect(1);
    for (change, members) in [
        (Change::AddVoter(id(4)), "voters=(1 2 3 4)"),
        (Change::AddVoter(id(5)), "voters=(1 2 3 4 5)"),
        (Change::Remove(id(2)), "voters=(1 3 4 5)"),
        (Change::Remove(id(3)), "voters=(1 4 5)"),
    ] {
        // The harness checks that no majority of the one misses a majority of the other.
        let change = cluster.change(1, &[change], Transition::Auto).unwrap();
        assert_eq!(change.membership.to_string(), members, "without a joint membership");
        let refused = cluster.change(1, &[Change::AddLearner(id(2))], Transition::Auto);
        assert!(matches!(refused, Err(ChangeError::InProgress { .. })), "one after the other");
        cluster.run();
    }
}

#[test]
fn thesis_4_2_1_a_learner_catches_up_without_holding_anybody_back() {
    let mut cluster = group(1, 1, config());
    cluster.elect(1);
    cluster.propose(1, 50);
    cluster.run();
    cluster.isolate(2);
    cluster.change(1, &[Change::AddLearner(id(2))], Transition::Auto).unwrap();
    cluster.propose(1, 50);
    cluster.run();
    assert_eq!(cluster.raft(1).committed(), cluster.raft(1).last().index, "it is not waited for");
    cluster.heal();
    cluster.run();
    assert_eq!(cluster.raft(2).last(), cluster.raft(1).last());
    // Added with a vote instead, it would have been: that is what the phase is for.
    cluster.change(1, &[Change::AddVoter(id(2))], Transition::Auto).unwrap();
    cluster.run();
    cluster.isolate(2);
    cluster.propose(1, 1);
    cluster.run();
    assert!(cluster.raft(1).committed() < cluster.raft(1).last().index);
}

#[test]
fn thesis_4_2_2_a_removed_leader_leads_until_that_is_committed_and_hands_over() {
    let mut cluster = group(3, 0, config());
    cluster.elect(1);
    cluster.isolate(3);
    cluster.propose(1, 2);
    let change = cluster.change(1, &[Change::Remove(id(1))], Transition::Auto).unwrap();
    cluster.run();
    assert!(cluster.raft(1).is_leader(), "replica 2 and itself: but it does not count");
    assert!(cluster.raft(1).committed() < change.proposed.last);
    cluster.heal();
    cluster.run();
    let leader = cluster.leader().expect("without an election timeout");
    assert_ne!(leader, 1);
    assert_eq!(cluster.raft(leader).membership().to_string(), "voters=(2 3)");
    assert!(cluster.raft(leader).committed() > change.proposed.last);
    assert_eq!(cluster.raft(1).role(), Role::Follower);
}

#[test]
fn thesis_4_2_3_a_removed_server_that_does_not_know_disturbs_nobody() {
    let mut cluster = group(4, 0, config());
    cluster.elect(1);
    cluster.isolate(4);
    cluster.change(1, &[Change::Remove(id(4))], Transition::Auto).unwrap();
    cluster.run();
    cluster.cut.clear();
    assert!(cluster.raft(4).membership().contains(id(4)), "as far as it knows");
    cluster.pass(20 * TIMEOUT_US);
    assert_eq!((cluster.leader(), cluster.raft(1).term()), (Some(1), Term(1)));
}

#[test]
fn thesis_4_3_a_joint_membership_decides_by_both_and_is_left_when_committed() {
    let mut cluster = group(3, 3, config());
    cluster.elect(1);
    for learner in [4, 5, 6] {
        cluster.change(1, &[Change::AddLearner(id(learner))], Transition::Auto).unwrap();
        cluster.run();
    }
    let changes: Vec<_> = (4..=6).map(|n| Change::AddVoter(id(n))).collect();
    let gone = [2, 3].map(|n| Change::Remove(id(n)));
    cluster.isolate(2);
    cluster.isolate(3);
    let all: Vec<_> = changes.into_iter().chain(gone).collect();
    let joint = cluster.change(1, &all, Transition::Auto).unwrap();
    assert_eq!(joint.membership.to_string(), "voters=(1 4 5 6)&&(1 2 3) autoleave");
    cluster.run();
    assert!(cluster.raft(1).committed() < joint.proposed.last, "all of the new, one of the old");
    cluster.heal();
    cluster.run();
    assert_eq!(cluster.raft(1).membership().to_string(), "voters=(1 4 5 6)");
    assert_eq!(cluster.raft(1).committed(), cluster.raft(1).last().index);
    cluster.isolate(2);
    cluster.isolate(3);
    cluster.propose(1, 1);
    cluster.run();
    assert_eq!(cluster.raft(1).committed(), cluster.raft(1).last().index, "the old has no say");
}

#[test]
fn paper_6_a_server_takes_leaders_and_candidates_that_its_membership_does_not_know() {
    let mut cluster = group(1, 1, config());
    cluster.elect(1);
    cluster.change(1, &[Change::AddVoter(id(2))], Transition::Auto).unwrap();
    cluster.run();
    assert_eq!(cluster.raft(2).committed(), cluster.raft(1).committed(), "from a stranger to it");
    let mut cluster = group(2, 1, config());
    assert_eq!(cluster.raft(3).membership(), Membership::EMPTY);
    cluster.tell(1, 3, 1, MessageKind::Vote { last: position(0, 0), forced: false });
    cluster.sync(3);
    let replies: Vec<_> = cluster.says(3).into_iter().map(|reply| reply.kind).collect();
    assert_eq!(replies, [MessageKind::VoteReply { granted: true }]);
}

#[test]
fn thesis_5_a_snapshot_replaces_the_log_with_position_and_membership() {
    let mut cluster = group(3, 1, config());
    cluster.elect(1);
    cluster.isolate(3);
    cluster.change(1, &[Change::AddLearner(id(4))], Transition::Auto).unwrap();
    cluster.propose(1, 9);
    cluster.run();
    let applied = cluster.node(1).applied;
    cluster.compact(1, applied);
    cluster.heal();
    cluster.run();
    let (leader, follower) = (cluster.raft(1), cluster.raft(3));
    assert_eq!((follower.compacted(), cluster.oracle.installs), (leader.compacted(), 1));
    assert_eq!(follower.membership(), leader.membership(), "the latest before its end");
    assert_eq!(follower.status().applied, applied, "its state is that of the snapshot");
    cluster.propose(1, 1);
    cluster.run();
    assert_eq!(cluster.raft(3).committed(), cluster.raft(1).last().index, "and the log goes on");
}

#[test]
fn thesis_4_2_3_a_server_that_hears_its_leader_ignores_elections() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    let last = cluster.raft(3).last();
    cluster.tell(3, 2, 50, MessageKind::Vote { last, forced: false });
    assert_eq!(cluster.raft(2).term(), Term(1));
}

#[test]
fn thesis_6_2_a_leader_steps_down_without_a_majority() {
    let mut cluster = Cluster::new(5, 1);
    cluster.elect(1);
    for other in [2, 3] {
        cluster.isolate(other);
    }
    cluster.pass(3 * TIMEOUT_US);
    assert!(cluster.raft(1).is_leader(), "three of five");
    cluster.isolate(4);
    cluster.pass(3 * TIMEOUT_US);
    assert!(!cluster.raft(1).is_leader(), "two of five");
}

#[test]
fn thesis_6_4_a_read_sees_what_was_committed_before_it() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    let last = cluster.propose(1, 3).unwrap().last;
    cluster.run();
    cluster.read(1);
    cluster.run();
    assert!(
        matches!(cluster.node(1).reads[..], [ReadReady::Confirmed { index, .. }] if index == last)
    );
}

#[test]
fn thesis_6_4_a_follower_serves_reads_by_asking_its_leader() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    let last = cluster.propose(1, 3).unwrap().last;
    cluster.send_appends(1);
    let first = cluster.read(2).unwrap();
    let second = cluster.read(2).unwrap();
    assert!(first < second);
    cluster.send_messages(2);
    assert!(matches!(cluster.between(2, 1)[..], [MessageKind::ReadIndex { .. }]), "once for both");
    cluster.run();
    let [ReadReady::Confirmed { up_to, index }] = cluster.node(2).reads[..] else {
        panic!("{:?}", cluster.node(2).reads)
    };
    assert_eq!(up_to, second);
    assert!(index <= last && index >= Index(1));
    // A leader that cannot confirm its leadership does not answer for one.
    cluster.cut.extend([(1, 3), (3, 1), (2, 3), (3, 2)]);
    cluster.read(2).unwrap();
    cluster.send_messages(2);
    cluster.cut.extend([(2, 1), (1, 2)]);
    let request = cluster.net.pop_front().unwrap();
    let Packet::Message(request) = request else { panic!("{request:?}") };
    let now = cluster.now;
    cluster.raft_mut(1).step(now, &request);
    cluster.run();
    assert_eq!(cluster.node(2).reads.len(), 1);
}

#[test]
fn thesis_6_4_1_a_lease_serves_reads_without_a_round() {
    let config = Config { lease_percent: 50, ..config() };
    let mut cluster = group(3, 0, config);
    cluster.elect(1);
    cluster.pass(TIMEOUT_US / 2);
    let until = cluster.raft(1).status().lease_until.expect("its heartbeats were answered");
    assert!(until.0 <= cluster.now.0 + TIMEOUT_US / 2, "no longer than from when it asked");
    cluster.isolate(1);
    cluster.read(1).unwrap();
    assert!(matches!(cluster.raft_mut(1).take_reads(), Some(ReadReady::Confirmed { .. })));
    cluster.now = Time(until.0);
    cluster.read(1).unwrap();
    assert_eq!(cluster.raft_mut(1).take_reads(), None, "clocks may differ, so it ends in time");
}

#[test]
fn thesis_9_6_a_pre_vote_changes_nothing_at_the_voter() {
    let mut cluster = Cluster::new(3, 1);
    let before = cluster.raft(2).status();
    cluster.tell(1, 2, 0, MessageKind::PreVote { last: position(0, 0) });
    assert_eq!(cluster.raft(2).status(), before);
    assert_eq!(cluster.raft_mut(2).take_persist(), None);
}

#[test]
fn thesis_9_6_a_cut_off_server_does_not_raise_its_term() {
    let mut cluster = Cluster::new(3, 1);
    cluster.isolate(3);
    cluster.pass(50 * TIMEOUT_US);
    assert_eq!(cluster.raft(3).term(), Term(0));
}

#[test]
fn thesis_10_2_1_the_leader_sends_before_its_own_disk_has_it() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    cluster.propose(1, 1);
    cluster.send_appends(1);
    assert_eq!(cluster.net.len(), 2, "before any write was even taken");
    let last = cluster.raft(1).last().index;
    for packet in std::mem::take(&mut cluster.net) {
        cluster.deliver(packet);
    }
    for follower in [2, 3] {
        cluster.sync(follower);
        cluster.send_messages(follower);
    }
    for packet in std::mem::take(&mut cluster.net) {
        cluster.deliver(packet);
    }
    assert_eq!(cluster.raft(1).committed(), last, "and it may commit before that, too");
    assert!(cluster.raft(1).persisted() < last);
}

#[test]
fn thesis_10_2_2_appends_are_pipelined() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    let timeout = config().election_timeout_us;
    assert!(timeout > 0);
    for sent in 1..=5 {
        cluster.propose(1, 1);
        cluster.send_append(1, 2);
        assert_eq!(cluster.net.len(), sent, "the one before is not answered yet");
    }
}
