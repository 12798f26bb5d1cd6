//! Elections: one test for each way in which systems like this one elected the wrong replica, or
//! none. Names begin with the hazard's id.

mod common;

use common::{Cluster, Packet, config, id, message, position};
use kontiki_raft::{MessageKind, Role, Term, Time};

const TIMEOUT_US: u64 = 100_000;

fn granted(cluster: &mut Cluster, voter: u64) -> Vec<(u64, bool)> {
    let replies = cluster.says(voter).into_iter();
    let vote = replies.filter_map(|message| match message.kind {
        MessageKind::VoteReply { granted } | MessageKind::PreVoteReply { granted } => {
            Some((message.to.get(), granted))
        }
        _ => None,
    });
    vote.collect()
}

fn vote(term: u64, index: u64) -> MessageKind {
    MessageKind::Vote { last: position(term, index), forced: false }
}

/// Brings the replica to ask for votes, with the pre-votes of two others.
fn make_candidate(cluster: &mut Cluster, number: u64, friends: [u64; 2]) {
    let term = cluster.raft(number).term().0;
    cluster.campaign(number);
    for friend in friends {
        cluster.tell(friend, number, term, MessageKind::PreVoteReply { granted: true });
    }
    assert_eq!(cluster.raft(number).role(), Role::Candidate);
}

#[test]
fn e1_vote_compares_term_first() {
    let mut cluster = Cluster::with_logs(&[&[1, 1, 1, 1], &[1, 2], &[1, 2]], 1);
    cluster.tell(1, 2, 5, vote(1, 4));
    cluster.sync(2);
    assert_eq!(granted(&mut cluster, 2), [(1, false)], "a longer log of an older term");
    cluster.tell(2, 1, 6, vote(2, 2));
    cluster.sync(1);
    assert_eq!(granted(&mut cluster, 1), [(2, true)], "a shorter log of a newer term");
    cluster.tell(3, 1, 7, vote(1, 3));
    cluster.sync(1);
    assert_eq!(granted(&mut cluster, 1), [(3, false)], "a shorter log of the same term");
}

#[test]
fn e1_the_replica_with_the_latest_term_wins_over_the_longer_log() {
    let mut cluster = Cluster::with_logs(&[&[1, 1, 1, 1], &[1, 2], &[1, 2]], 1);
    cluster.campaign(1);
    cluster.run();
    assert_eq!(cluster.leader(), None);
    cluster.elect(2);
    cluster.run();
    assert_eq!(cluster.node(1).memory.entries, cluster.node(2).memory.entries);
}

#[test]
fn e2_the_winner_of_the_term_is_followed_by_rivals_and_by_those_who_voted_for_them() {
    let mut cluster = Cluster::new(5, 1);
    make_candidate(&mut cluster, 1, [2, 3]);
    cluster.tell(1, 3, 1, vote(0, 0));
    cluster.sync(3);
    assert_eq!(cluster.raft(3).status().vote, Some(id(1)));

    make_candidate(&mut cluster, 2, [4, 5]);
    cluster.sync(2);
    for friend in [4, 5] {
        cluster.tell(2, friend, 1, vote(0, 0));
        cluster.sync(friend);
        assert_eq!(granted(&mut cluster, friend), [(2, true)]);
        cluster.tell(friend, 2, 1, MessageKind::VoteReply { granted: true });
    }
    assert!(cluster.raft(2).is_leader());
    cluster.run();
    for number in [1, 3, 4, 5] {
        assert_eq!(cluster.raft(number).leader(), Some(id(2)), "replica {number}");
        assert_eq!(cluster.raft(number).term(), Term(1));
    }
}

#[test]
fn e3_a_vote_leaves_once_it_is_durable_and_holds_after_a_crash() {
    for durable in [0, 1] {
        let mut cluster = Cluster::new(3, 1);
        cluster.tell(1, 3, 1, vote(0, 0));
        assert_eq!(granted(&mut cluster, 3), [], "nothing is written yet");
        cluster.write(3);
        assert_eq!(granted(&mut cluster, 3), [], "nothing is durable yet");
        cluster.crash(3, durable);
        cluster.restart(3);
        cluster.tell(2, 3, 1, vote(0, 0));
        cluster.sync(3);
        let second = durable == 0;
        assert_eq!(granted(&mut cluster, 3), [(2, second)], "after {durable} writes");
    }
}

#[test]
fn e3_term_and_vote_are_one_record() {
    let mut cluster = Cluster::new(3, 1);
    cluster.tell(1, 3, 4, vote(0, 0));
    let hard_state = cluster.raft_mut(3).take_persist().unwrap().hard_state.unwrap();
    assert_eq!((hard_state.term, hard_state.vote), (Term(4), Some(id(1))));
}

#[test]
fn e4_a_request_leaves_once_term_vote_and_log_are_durable() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(2);
    cluster.propose(2, 2);
    cluster.send_appends(2);
    for packet in std::mem::take(&mut cluster.net) {
        cluster.deliver(packet);
    }
    // Replica 1 holds two entries that no disk of its own has; then the leader falls silent.
    cluster.write(1);
    make_candidate(&mut cluster, 1, [2, 3]);
    cluster.write(1);
    assert_eq!(cluster.says(1), [], "neither the log nor the term is durable");
    cluster.persist(1);
    assert_eq!(cluster.says(1), [], "the term is not durable");
    cluster.persist(1);
    let requests = cluster.says(1);
    assert_eq!(requests.len(), 2);
    let last = position(1, 3);
    assert!(requests.iter().all(|m| m.kind == MessageKind::Vote { last, forced: false }));
}

#[test]
fn e4_a_replica_whose_disk_is_behind_does_not_even_ask() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(2);
    cluster.propose(2, 2);
    cluster.send_append(2, 1);
    let packet = cluster.net.pop_front().unwrap();
    cluster.deliver(packet);
    cluster.write(1);
    cluster.campaign(1);
    assert_eq!(cluster.says(1), []);
    cluster.persist(1);
    let requests: Vec<_> = cluster.says(1).iter().map(|message| message.kind).collect();
    assert_eq!(requests, [MessageKind::PreVote { last: position(1, 3) }; 2]);
}

#[test]
fn e4_a_grant_of_before_the_crash_elects_nobody() {
    let mut cluster = Cluster::new(3, 1);
    make_candidate(&mut cluster, 1, [2, 3]);
    cluster.sync(1);
    cluster.crash(1, 0);
    cluster.restart(1);
    for voter in [2, 3, 2, 3] {
        cluster.tell(voter, 1, 1, MessageKind::VoteReply { granted: true });
    }
    assert_eq!(cluster.raft(1).role(), Role::Follower);
    make_candidate(&mut cluster, 1, [2, 3]);
    assert_eq!(cluster.raft(1).term(), Term(2), "a term is asked for only once");
}

#[test]
fn e5_an_entry_of_an_old_term_does_not_commit_by_counting() {
    // Raft, Figure 8: replica 1 leads term 4 and completes a majority for its entry of term 2,
    // which replica 5 may still replace by its own of term 3.
    let mut cluster = Cluster::with_logs(&[&[1, 2], &[1, 2], &[1], &[1], &[1, 3]], 1);
    cluster.node_mut(1).disk.hard_state.term = Term(3);
    cluster.crash(1, 0);
    cluster.restart(1);
    cluster.elect_silently(1);
    assert_eq!(cluster.raft(1).term(), Term(4));
    // The probe is refused, the next append carries one entry: that of term 2.
    cluster.extent_max = 1;
    for _ in 0..2 {
        cluster.send_append(1, 3);
        cluster.run_messages();
    }
    assert_eq!(cluster.raft(3).last(), position(2, 2));
    let matched = cluster.raft(1).progress().find(|peer| peer.id == id(3)).unwrap().matched;
    assert_eq!(matched.0, 2, "replicas 1 and 3 hold it");
    let matched = position(2, 2);
    cluster.tell(2, 1, 4, MessageKind::AppendAck { matched, read_round: 0 });
    assert_eq!(cluster.raft(1).committed().0, 0);

    // Replica 5 does replace it, and nothing committed is lost.
    cluster.crash(1, 0);
    cluster.pass(2 * TIMEOUT_US);
    cluster.run();
    assert!(cluster.leader().is_some());
}

#[test]
fn e5_the_old_entry_commits_with_one_of_the_leaders_own() {
    let mut cluster = Cluster::with_logs(&[&[1, 2], &[1, 2], &[1]], 1);
    cluster.elect(1);
    assert_eq!(cluster.raft(1).committed(), cluster.raft(1).last().index);
    assert_eq!(cluster.raft(3).term_at(cluster.raft(1).last().index), Some(Term(3)));
}

#[test]
fn e6_a_refused_pre_vote_teaches_the_term() {
    let mut cluster = Cluster::with_logs(&[&[1, 1], &[1], &[1]], 1);
    cluster.node_mut(2).disk.hard_state.term = Term(6);
    cluster.crash(2, 0);
    cluster.restart(2);
    // Replica 1 has the longer log, and is behind in terms: its question must be answered.
    cluster.tell(1, 2, 1, MessageKind::PreVote { last: position(1, 2) });
    let reply = cluster.says(2);
    assert_eq!(reply, [message(2, 1, 6, MessageKind::PreVoteReply { granted: false })]);
    cluster.campaign(1);
    cluster.deliver(Packet::Message(reply[0]));
    assert_eq!((cluster.raft(1).term(), cluster.raft(1).role()), (Term(6), Role::Follower));
}

#[test]
fn e6_a_partition_at_a_low_term_heals_and_the_leader_stops_at_once() {
    for seed in 0..30 {
        let mut cluster = Cluster::new(3, seed);
        cluster.elect(1);
        cluster.isolate(3);
        for leader in [2, 1, 2] {
            cluster.pass(TIMEOUT_US / 2);
            let (now, old) = (cluster.now, cluster.leader().unwrap());
            if old != leader {
                cluster.raft_mut(old).transfer(now, id(leader)).unwrap();
            }
            cluster.run();
        }
        assert_eq!(cluster.leader(), Some(2));
        cluster.heal();
        cluster.crash(2, 0);
        cluster.pass(4 * TIMEOUT_US);
        assert!(cluster.leader().is_some(), "seed {seed}: {:?}", cluster.raft(3).status());
    }
}

#[test]
fn e7_followers_of_an_isolated_leader_elect_one_of_them() {
    for seed in 0..30 {
        let mut cluster = Cluster::new(3, seed);
        cluster.elect(1);
        cluster.isolate(1);
        cluster.pass(4 * TIMEOUT_US);
        let leads = |n: &u64| cluster.raft(*n).is_leader();
        assert!([2, 3].iter().any(leads), "seed {seed}: {:?}", cluster.roles());
        assert!(!cluster.raft(1).is_leader(), "a leader without a quorum steps down");
    }
}

#[test]
fn e7_a_pre_candidate_does_not_refuse_for_the_sake_of_a_leader_it_gave_up() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    cluster.campaign(2);
    let last = cluster.raft(3).last();
    cluster.tell(3, 2, 1, MessageKind::PreVote { last });
    assert_eq!(granted(&mut cluster, 2), [(3, true)]);
}

#[test]
fn votes_are_refused_while_the_leader_is_heard() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    let last = cluster.raft(3).last();
    for kind in [MessageKind::PreVote { last }, vote(last.term.0, last.index.0)] {
        cluster.tell(3, 2, 8, kind);
        cluster.tell(3, 1, 8, kind);
    }
    for number in [1, 2] {
        assert_eq!(cluster.raft(number).term(), Term(1), "nobody was disturbed");
        assert!(granted(&mut cluster, number).iter().all(|&(_, granted)| !granted));
    }
    cluster.now = Time(cluster.now.0 + TIMEOUT_US);
    cluster.tell(3, 2, 8, vote(last.term.0, last.index.0));
    assert_eq!(cluster.raft(2).status().vote, Some(id(3)), "the leader has been silent");
}

#[test]
fn e8_a_transfer_works_although_votes_are_refused() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    cluster.propose(1, 5);
    let now = cluster.now;
    cluster.raft_mut(1).transfer(now, id(3)).unwrap();
    cluster.run();
    assert_eq!(cluster.leader(), Some(3), "no time had to pass");
    assert_eq!(cluster.raft(1).leader(), Some(id(3)));
}

#[test]
fn e9_late_grants_do_not_disturb_the_winner() {
    let mut cluster = Cluster::new(5, 1);
    cluster.elect(1);
    let before = cluster.raft(1).clone();
    for voter in 2..=5 {
        cluster.tell(voter, 1, 1, MessageKind::VoteReply { granted: true });
        cluster.tell(voter, 1, 0, MessageKind::PreVoteReply { granted: true });
        cluster.tell(voter, 1, 1, MessageKind::PreVoteReply { granted: true });
        cluster.tell(voter, 1, 7, MessageKind::PreVoteReply { granted: true });
        cluster.tell(voter, 1, 1, MessageKind::VoteReply { granted: false });
    }
    assert_eq!(*cluster.raft(1), before);
}

#[test]
fn e10_the_target_of_a_transfer_first_makes_durable_what_the_leader_has() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    cluster.propose(1, 2);
    let now = cluster.now;
    cluster.raft_mut(1).transfer(now, id(2)).unwrap();
    cluster.send_appends(1);
    for packet in std::mem::take(&mut cluster.net) {
        cluster.deliver(packet);
    }
    cluster.write(2);
    cluster.send_messages(2);
    cluster.send_messages(1);
    assert!(cluster.net.is_empty(), "the target has not persisted: {:?}", cluster.net);
    // Even if it is told too early.
    let last = cluster.raft(1).last();
    cluster.tell(1, 2, 1, MessageKind::TimeoutNow { last });
    assert_eq!(cluster.raft(2).role(), Role::Follower);
    cluster.run();
    assert_eq!(cluster.leader(), Some(2));
}

#[test]
fn e11_asking_for_votes_does_not_keep_others_from_campaigning() {
    let mut cluster = Cluster::with_logs(&[&[1], &[1, 1], &[1, 1]], 1);
    let deadline = cluster.raft(2).deadline().unwrap();
    for term in 2..20 {
        cluster.now = Time(cluster.now.0 + 1_000);
        cluster.tell(1, 2, term, vote(1, 1));
        cluster.tell(1, 2, term, MessageKind::PreVote { last: position(1, 1) });
    }
    // Following a later term draws a new timeout, but the lagging replica cannot push it away for
    // ever: in its own term a refused request changes nothing.
    let after = cluster.raft(2).deadline().unwrap();
    for _ in 0..50 {
        cluster.now = Time(cluster.now.0 + 1_000);
        cluster.tell(1, 2, 19, vote(1, 1));
    }
    assert_eq!(cluster.raft(2).deadline(), Some(after));
    assert!(after.0 <= deadline.0 + 2 * TIMEOUT_US);
}

#[test]
fn e11_groups_do_not_campaign_in_step() {
    let mut deadlines: Vec<u64> =
        (0..20).map(|seed| Cluster::new(1, seed * 977).raft(1).deadline().unwrap().0).collect();
    deadlines.sort_unstable();
    let base = Time(1_000_000).0 + TIMEOUT_US;
    assert!(deadlines.iter().all(|at| (base..base + TIMEOUT_US).contains(at)));
    let windows = deadlines.windows(8);
    let closest = windows.map(|group| group[7] - group[0]).min().unwrap();
    assert!(closest > TIMEOUT_US / 20, "eight of twenty groups within {closest} us");
}

#[test]
fn e12_a_hub_that_alone_reaches_everybody_leads() {
    // Quorum loss: five replicas, only replica 3 still reaches all others, and 1 led.
    for seed in 0..20 {
        let mut cluster = Cluster::new(5, seed);
        cluster.elect(1);
        for a in [1, 2, 4, 5] {
            for b in [1, 2, 4, 5].into_iter().filter(|&b| b != a) {
                cluster.cut.push((a, b));
            }
        }
        cluster.pass(6 * TIMEOUT_US);
        assert_eq!(cluster.leader(), Some(3), "seed {seed}: {:?}", cluster.roles());
    }
}

#[test]
fn e12_a_broken_link_in_a_chain_keeps_the_leader() {
    for seed in 0..20 {
        let mut cluster = Cluster::new(3, seed);
        cluster.elect(1);
        cluster.cut.extend([(1, 3), (3, 1)]);
        cluster.pass(10 * TIMEOUT_US);
        let leader = cluster.leader().expect("a leader");
        assert!(cluster.propose(leader, 1).is_some());
        cluster.run();
        assert_eq!(cluster.raft(leader).committed(), cluster.raft(leader).last().index);
    }
}

#[test]
fn a_leader_without_a_quorum_steps_down_after_an_election_timeout() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    cluster.pass(10 * TIMEOUT_US);
    assert_eq!(cluster.leader(), Some(1), "with a quorum it stays");
    assert_eq!(cluster.raft(1).term(), Term(1));
    cluster.isolate(1);
    cluster.pass(TIMEOUT_US / 2);
    assert!(cluster.raft(1).is_leader());
    cluster.pass(TIMEOUT_US);
    assert!(!cluster.raft(1).is_leader());
    assert!(cluster.raft(1).term() <= Term(1), "and does not raise its term alone");
}

#[test]
fn a_replica_that_comes_back_does_not_disturb_the_leader() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    cluster.isolate(3);
    cluster.pass(20 * TIMEOUT_US);
    assert_eq!(cluster.raft(3).term(), Term(1), "pre-votes enter no term");
    cluster.heal();
    cluster.pass(2 * TIMEOUT_US);
    assert_eq!((cluster.leader(), cluster.raft(1).term()), (Some(1), Term(1)));
    assert_eq!(cluster.raft(3).leader(), Some(id(1)));
}

#[test]
fn a_replica_ahead_in_terms_can_rejoin() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    cluster.node_mut(3).disk.hard_state.term = Term(9);
    cluster.crash(3, 0);
    cluster.restart(3);
    cluster.pass(5 * TIMEOUT_US);
    let leader = cluster.leader().expect("a leader of a later term");
    assert!(cluster.raft(leader).term() > Term(9));
    assert!(cluster.numbers().all(|n| cluster.raft(n).leader() == Some(id(leader))));
}

#[test]
fn a_transfer_that_takes_too_long_is_given_up() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    cluster.isolate(3);
    cluster.propose(1, 1);
    let now = cluster.now;
    cluster.raft_mut(1).transfer(now, id(3)).unwrap();
    assert!(cluster.propose(1, 1).is_none(), "proposals are refused meanwhile");
    cluster.pass(u64::from(config().election_timeout_us) + 1_000);
    assert_eq!(cluster.raft(1).status().transferring, None);
    assert!(cluster.propose(1, 1).is_some());
}

#[test]
fn a_single_voter_leads_itself() {
    let mut cluster = Cluster::new(1, 1);
    cluster.pass(3 * TIMEOUT_US);
    assert!(cluster.raft(1).is_leader());
    assert_eq!(cluster.raft(1).deadline(), None, "and has nothing to wait for");
    let last = cluster.propose(1, 3).unwrap().last;
    assert!(cluster.raft(1).committed() < last, "not before its own disk has it");
    cluster.run();
    assert_eq!(cluster.raft(1).committed(), last);
    assert_eq!(cluster.raft(1).log_floor(), last);
}

#[test]
fn m12_g12_strangers_and_misdirected_messages_count_for_nothing() {
    let mut cluster = Cluster::new(3, 1);
    make_candidate(&mut cluster, 1, [2, 3]);
    cluster.sync(1);
    let before = cluster.raft(1).clone();
    let grant = MessageKind::VoteReply { granted: true };
    for stray in [message(9, 1, 1, grant), message(2, 3, 1, grant), message(1, 1, 1, grant)] {
        let now = cluster.now;
        cluster.raft_mut(1).step(now, &stray);
    }
    assert_eq!(*cluster.raft(1), before);
}
