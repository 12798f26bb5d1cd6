//! What comes after a place in the log: writes that fail or are late, entries given to apply in
//! pages, and what a replica says of the fate of a proposal. Names begin with the hazard's id.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use common::{Cluster, id, message, position};
use kontiki_raft::{
    AppendHeader, CommitStatus, Index, MessageKind, Position, ProposeError, Raft, Role, Span, Term,
};

/// Appends `count` entries of `term` after `prev` to replica 3.
fn append(cluster: &mut Cluster, term: u64, prev: (u64, u64), count: u64, commit: u64) {
    let prev = position(prev.0, prev.1);
    let last = Index(prev.index.0 + count);
    let header = AppendHeader {
        from: id(term),
        to: id(3),
        term: Term(term),
        prev,
        last,
        commit: Index(commit),
        floor: Index(0),
        read_round: 0,
        session: 0,
    };
    let span = Span { term: Term(term), first: prev.index.next(), last };
    let spans = if count > 0 { &[span][..] } else { &[] };
    let now = cluster.now;
    cluster.raft_mut(3).step_append(now, &header, spans, &[]);
    cluster.raft(3).check_invariants();
}

fn complete_writes(raft: &mut Raft) {
    while let Some(write) = raft.take_persist() {
        raft.on_persisted(write.seq);
    }
}

#[test]
fn l14_nothing_rests_on_a_write_that_failed_nor_on_any_after_it() {
    // A sync that failed is never reported: the entries may be gone. Whatever is written later
    // cannot stand for it.
    let mut cluster = Cluster::new(3, 1);
    append(&mut cluster, 1, (0, 0), 2, 2);
    let failed = cluster.raft_mut(3).take_persist().unwrap();
    append(&mut cluster, 1, (1, 2), 2, 4);
    let later = cluster.raft_mut(3).take_persist().unwrap();
    assert_eq!(later.append, Some((Index(3), Index(4))), "it is not handed out once more");
    let stop = AssertUnwindSafe(cluster.raft(3).clone());
    let stopped = catch_unwind(|| { stop }.on_persisted(later.seq));
    assert!(stopped.is_err(), "the core does not go on past the failed one");
    let twice = AssertUnwindSafe(cluster.raft(3).clone());
    let twice = catch_unwind(|| {
        let mut raft = twice;
        raft.on_persisted(failed.seq);
        raft.on_persisted(failed.seq);
    });
    assert!(twice.is_err(), "nor by counting one twice");

    let raft = cluster.raft_mut(3);
    assert_eq!((raft.persisted(), raft.take_committed()), (Index(0), None));
    assert_eq!(raft.take_message(), None, "no acknowledgement, not even that the leader was heard");
    let at = raft.deadline().unwrap();
    raft.on_deadline(at);
    assert_eq!((raft.role(), raft.take_message()), (Role::PreCandidate, None), "it asks nobody");
    raft.step(at, &message(2, 3, 9, MessageKind::Vote { last: position(8, 9), forced: false }));
    assert_eq!(raft.take_message(), None, "and its vote does not leave");
    assert_eq!(raft.take_persist().unwrap().append, None);
}

#[test]
fn l14_a_leader_whose_disk_failed_commits_only_what_others_have() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    let before = cluster.raft(1).committed();
    let last = cluster.propose(1, 1).unwrap().last;
    cluster.write(1);
    cluster.send_append(1, 2);
    cluster.run_messages_of(2);
    assert_eq!(cluster.raft(1).committed(), before);
    cluster.send_append(1, 3);
    cluster.run_messages_of(3);
    assert_eq!(cluster.raft(1).committed(), last);
    let last = cluster.raft_mut(1).take_committed();
    assert_eq!(last, None, "but what its disk lacks it does not apply");
}

#[test]
fn l5_pages_of_any_size_give_each_entry_once() {
    for page in [1, 2, 3, 7, 100] {
        let mut cluster = Cluster::new(3, 1);
        append(&mut cluster, 1, (0, 0), 20, 0);
        complete_writes(cluster.raft_mut(3));
        let mut next = 1;
        for commit in [1, 1, 4, 5, 13, 20, 20] {
            append(&mut cluster, 1, (1, 20), 0, commit);
            let raft = cluster.raft_mut(3);
            loop {
                // A budget that is used up takes nothing, and loses nothing.
                assert_eq!(raft.take_committed_page(|first, _| first.prev()), None);
                let given = raft.take_committed_page(|first, last| {
                    assert_eq!((first, last), (Index(next), Index(commit)));
                    last.min(Index(first.0 + page - 1))
                });
                let Some((first, last)) = given else { break };
                assert_eq!(first, Index(next));
                assert!(last.0 < next + page);
                next = last.0 + 1;
                // The state machine lags behind what it is given, by any amount.
                if next.is_multiple_of(3) {
                    raft.on_applied(last);
                }
                raft.check_invariants();
            }
            assert_eq!(next, commit + 1);
        }
        cluster.raft_mut(3).on_applied(Index(20));
        assert_eq!(cluster.raft_mut(3).take_committed(), None);
    }
}

#[test]
fn l5_a_page_ends_where_it_was_offered() {
    let mut cluster = Cluster::new(3, 1);
    append(&mut cluster, 1, (0, 0), 5, 3);
    complete_writes(cluster.raft_mut(3));
    let raft = AssertUnwindSafe(cluster.raft(3).clone());
    let beyond = catch_unwind(|| { raft }.take_committed_page(|_, last| last.next()));
    assert!(beyond.is_err(), "entry 4 is not committed");
    assert_eq!(cluster.raft_mut(3).take_committed(), Some((Index(1), Index(3))));
}

#[test]
fn commit_status_says_what_became_of_a_proposal() {
    let status = |cluster: &Cluster, number, at: Position| cluster.raft(number).commit_status(at);
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    cluster.isolate(1);
    let lost = cluster.propose(1, 2).unwrap();
    let lost = Position::new(lost.term, lost.last);
    assert_eq!(status(&cluster, 1, lost), CommitStatus::InProgress);
    assert_eq!(status(&cluster, 2, lost), CommitStatus::InProgress, "it may come yet");
    cluster.pass(400_000);
    let leader = cluster.leader().unwrap();
    let kept = cluster.propose(leader, 5).unwrap();
    let kept = Position::new(kept.term, kept.last);
    assert_eq!(status(&cluster, leader, kept), CommitStatus::InProgress);
    cluster.run();
    assert_eq!(status(&cluster, leader, kept), CommitStatus::Committed);
    assert_eq!(status(&cluster, leader, lost), CommitStatus::Rejected);
    assert_eq!(status(&cluster, 1, lost), CommitStatus::InProgress, "which has not heard");
    assert_eq!(status(&cluster, 1, kept), CommitStatus::InProgress);
    cluster.heal();
    cluster.run();
    for number in cluster.numbers() {
        assert_eq!(status(&cluster, number, lost), CommitStatus::Rejected);
        assert_eq!(status(&cluster, number, kept), CommitStatus::Committed);
    }
    let beyond = Position::new(kept.term, kept.index.next());
    assert_eq!(status(&cluster, leader, beyond), CommitStatus::InProgress);
    let older = Position::new(lost.term, kept.index.next());
    assert_eq!(status(&cluster, leader, older), CommitStatus::Rejected, "terms never go down");
    let applied = cluster.node(leader).applied;
    cluster.compact(leader, applied);
    assert_eq!(status(&cluster, leader, lost), CommitStatus::Unknown, "before the log begins");
    assert_eq!(status(&cluster, leader, kept), CommitStatus::Committed, "where it begins");
}

#[test]
fn a_proposal_that_an_older_leader_s_entry_replaced_may_come_back() {
    // Paper, Figure 8: entry 2 of term 2 gives way to one of term 3 at a replica, and may commit
    // all the same. So the replica must not call it rejected.
    let mut cluster = Cluster::new(3, 1);
    append(&mut cluster, 1, (0, 0), 1, 1);
    append(&mut cluster, 2, (1, 1), 1, 1);
    let proposal = position(1, 2);
    complete_writes(cluster.raft_mut(3));
    assert_eq!(cluster.raft(3).commit_status(proposal), CommitStatus::InProgress);
    assert_eq!(cluster.raft(3).commit_status(position(2, 2)), CommitStatus::InProgress);
    append(&mut cluster, 2, (2, 2), 0, 2);
    assert_eq!(cluster.raft(3).commit_status(position(2, 2)), CommitStatus::Committed);
    assert_eq!(cluster.raft(3).commit_status(proposal), CommitStatus::Rejected);
}

#[test]
fn the_window_of_uncommitted_bytes_is_the_leader_s_and_ends_with_it() {
    let mut cluster = Cluster::new(3, 1);
    cluster.config.uncommitted_bytes_max = 100;
    for number in cluster.numbers() {
        cluster.crash(number, 0);
        cluster.restart(number);
    }
    cluster.elect(1);
    cluster.isolate(1);
    let accepted = (0..50).take_while(|_| cluster.propose(1, 1).is_some()).count();
    assert_eq!(accepted, 10);
    assert_eq!(cluster.raft_mut(1).propose(1, 10), Err(ProposeError::Busy));
    assert_eq!(cluster.raft(1).status().uncommitted_bytes, 100);
    cluster.pass(400_000);
    assert_eq!(cluster.raft(1).status().uncommitted_bytes, 0, "a follower counts nothing");
    cluster.heal();
    cluster.run();
    let leader = cluster.leader().unwrap();
    cluster.transfer(leader, 1);
    cluster.run();
    let accepted = (0..50).take_while(|_| cluster.propose(1, 1).is_some()).count();
    assert_eq!(accepted, 10, "nothing of the first leadership is left");
}
