//! One test per claim of the Raft paper ("In Search of an Understandable Consensus Algorithm",
//! extended version) and of Ongaro's thesis that the core relies on, in their order.
//!
//! The five properties of Figure 3 are checked by the oracle in every test and history.

mod common;

use common::{Cluster, config, id, position};
use kontiki_raft::{Index, MessageKind, ReadReady, Role, Term};

const TIMEOUT_US: u64 = 100_000;

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
