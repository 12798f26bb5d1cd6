//! Reads: each is answered, and none is answered from the past. Names begin with the hazard's id.

mod common;

use common::{Cluster, id};
use kontiki_raft::{Index, MessageKind, ReadError, ReadReady};

fn heartbeat_ack(read_round: u64) -> MessageKind {
    MessageKind::HeartbeatAck { read_round }
}

#[test]
fn a_read_is_confirmed_by_a_majority() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    let index = cluster.raft(1).committed();
    let reads = [cluster.read(1).unwrap(), cluster.read(1).unwrap()];
    cluster.run();
    let confirmed = ReadReady::Confirmed { up_to: reads[1], index };
    assert_eq!(cluster.node(1).reads, [confirmed], "both in one round");
}

#[test]
fn r1_a_round_belongs_to_the_leader_and_its_term() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    for _ in 0..3 {
        cluster.read(1);
        cluster.run();
    }
    // A second leadership of the same replica numbers its rounds anew, and answers to the first
    // leadership's rounds come late, with the same numbers.
    let now = cluster.now;
    cluster.raft_mut(1).transfer(now, id(2)).unwrap();
    cluster.run();
    let now = cluster.now;
    cluster.raft_mut(2).transfer(now, id(1)).unwrap();
    cluster.run();
    let answered = cluster.node(1).reads.len();
    cluster.read(1);
    cluster.send_messages(1);
    for follower in [2, 3] {
        cluster.tell(follower, 1, 1, heartbeat_ack(1));
        cluster.tell(follower, 1, 3, heartbeat_ack(2)); // That round has not begun.
    }
    cluster.send_messages(1);
    assert_eq!(cluster.node(1).reads.len(), answered);
    cluster.tell(2, 1, 3, heartbeat_ack(1));
    cluster.send_messages(1);
    assert_eq!(cluster.node(1).reads.len(), answered + 1);
}

#[test]
fn r2_a_new_leader_answers_nothing_before_it_commits_in_its_term() {
    let mut cluster = Cluster::with_logs(&[&[1, 1], &[1, 1], &[1]], 1);
    cluster.elect_silently(1);
    cluster.read(1).unwrap();
    for follower in [2, 3] {
        cluster.tell(follower, 1, 2, heartbeat_ack(0));
        cluster.tell(follower, 1, 2, heartbeat_ack(1));
    }
    cluster.send_messages(1);
    assert_eq!(cluster.node(1).reads, []);
    cluster.run();
    let [ReadReady::Confirmed { index, .. }] = cluster.node(1).reads[..] else {
        panic!("{:?}", cluster.node(1).reads)
    };
    assert!(index >= Index(3), "the no-op of the term is at 3");
}

#[test]
fn r3_every_read_ends_when_the_leadership_does() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    cluster.isolate(1);
    let reads: Vec<_> = (0..5)
        .map(|_| {
            cluster.send_messages(1);
            cluster.read(1).unwrap()
        })
        .collect();
    cluster.pass(300_000);
    assert!(!cluster.raft(1).is_leader());
    assert_eq!(cluster.node(1).reads, [ReadReady::Lost { up_to: reads[4] }]);
    let now = cluster.now;
    let refused = cluster.raft_mut(1).read(now);
    assert_eq!(refused, Err(ReadError::NotLeader { leader: None }));
}

#[test]
fn r3_the_reads_of_a_later_leadership_have_later_ids() {
    let mut cluster = Cluster::new(1, 1);
    cluster.elect(1);
    let before = cluster.read(1).unwrap();
    cluster.run();
    assert!(cluster.read(1).unwrap() > before);
}

#[test]
fn r4_a_group_of_one_confirms_at_once() {
    let mut cluster = Cluster::new(1, 1);
    cluster.elect(1);
    let up_to = cluster.read(1).unwrap();
    cluster.send_messages(1);
    let index = cluster.raft(1).committed();
    assert_eq!(cluster.node(1).reads, [ReadReady::Confirmed { up_to, index }]);
}

#[test]
fn r5_reads_need_the_majority_that_commits() {
    let mut cluster = Cluster::new(5, 1);
    cluster.elect(1);
    cluster.read(1);
    cluster.send_messages(1);
    cluster.tell(2, 1, 1, heartbeat_ack(1));
    cluster.tell(2, 1, 1, heartbeat_ack(1));
    cluster.send_messages(1);
    assert_eq!(cluster.node(1).reads, [], "two of five");
    cluster.tell(3, 1, 1, heartbeat_ack(1));
    cluster.send_messages(1);
    assert_eq!(cluster.node(1).reads.len(), 1, "three of five");
}

#[test]
fn r10_an_isolated_leader_serves_nothing() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    cluster.isolate(1);
    cluster.read(1);
    cluster.pass(50_000);
    assert!(cluster.raft(1).is_leader());
    assert_eq!(cluster.node(1).reads, []);
}

#[test]
fn a_round_rides_on_an_append_and_does_not_wait_for_the_followers_disk() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    cluster.propose(1, 1);
    cluster.read(1);
    cluster.send_appends(1);
    cluster.send_messages(1);
    assert_eq!(cluster.net.len(), 2, "no heartbeat beside the appends: {:?}", cluster.net);
    for packet in std::mem::take(&mut cluster.net) {
        cluster.deliver(packet);
    }
    cluster.write(2);
    cluster.send_messages(2);
    assert_eq!(cluster.between(2, 1), [heartbeat_ack(1)], "the entry is not durable");
    for packet in std::mem::take(&mut cluster.net) {
        cluster.deliver(packet);
    }
    cluster.send_messages(1);
    assert_eq!(cluster.node(1).reads.len(), 1);
    cluster.run();
    assert_eq!(cluster.raft(1).committed(), cluster.raft(1).last().index);
}

#[test]
fn a_round_reaches_a_follower_whose_connection_broke_meanwhile() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    cluster.isolate(2);
    cluster.isolate(3);
    cluster.read(1);
    cluster.run();
    assert_eq!(cluster.node(1).reads, []);
    cluster.heal();
    cluster.run();
    assert_eq!(cluster.node(1).reads.len(), 1, "without any time passing");
}

#[test]
fn reads_are_refused_while_the_leadership_moves() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    let now = cluster.now;
    cluster.raft_mut(1).transfer(now, id(2)).unwrap();
    let now = cluster.now;
    assert_eq!(cluster.raft_mut(1).read(now), Err(ReadError::NotReady));
}

#[test]
fn r1_the_answer_to_an_earlier_request_confirms_no_later_read() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    let ask = |cluster: &mut Cluster| {
        cluster.read(2).unwrap();
        let request = cluster.says(2).into_iter().find_map(|message| match message.kind {
            MessageKind::ReadIndex { request } => Some(request),
            _ => None,
        });
        request.expect("the read is forwarded")
    };
    let first = ask(&mut cluster);
    let (term, index) = (1, Index(1));
    cluster.tell(1, 2, term, MessageKind::ReadIndexReply { request: first, index });
    cluster.send_messages(2);
    assert_eq!(cluster.node(2).reads.len(), 1);
    let second = ask(&mut cluster);
    assert_ne!(first, second, "requests are named at random, so a restart repeats none");
    cluster.tell(1, 2, term, MessageKind::ReadIndexReply { request: first, index });
    cluster.send_messages(2);
    assert_eq!(cluster.node(2).reads.len(), 1);
    let mut restarted = Cluster::new(3, 1);
    restarted.elect(1);
    restarted.crash(2, 0);
    restarted.restart(2);
    restarted.pass(30_000);
    let third = ask(&mut restarted);
    assert!(third != first && third != second);
}

#[test]
fn r2_a_forwarded_read_waits_for_the_leader_s_first_commit() {
    let mut cluster = Cluster::with_logs(&[&[1, 1], &[1, 1], &[1]], 1);
    cluster.elect_silently(1);
    let now = cluster.now;
    let heartbeat =
        MessageKind::Heartbeat { commit: Index(0), floor: Index(0), read_round: 0, sleep: false };
    cluster.tell(1, 2, 2, heartbeat);
    cluster.raft_mut(2).read(now).unwrap();
    cluster.run_messages();
    assert_eq!(cluster.node(2).reads, []);
    cluster.run();
    let [ReadReady::Confirmed { index, .. }] = cluster.node(2).reads[..] else {
        panic!("{:?}", cluster.node(2).reads)
    };
    assert!(index >= Index(3), "the no-op of the term is at 3");
}

#[test]
fn r3_a_forwarded_read_ends_whatever_becomes_of_the_leader() {
    type Event = (&'static str, fn(&mut Cluster), bool);
    let events: [Event; 5] = [
        ("the request is lost with its connection", |c| c.heal(), true),
        ("the leader crashes", |c| c.crash(1, 0), false),
        ("the leader restarts", |c| (c.crash(1, 0), c.restart(1)).1, false),
        ("the lead moves", |c| c.transfer(1, 3), false),
        ("the follower campaigns", |c| c.campaign(2), false),
    ];
    for (what, event, served) in events {
        let mut cluster = Cluster::new(3, 1);
        cluster.elect(1);
        let read = cluster.read(2).unwrap();
        cluster.send_messages(2);
        cluster.net.clear();
        event(&mut cluster);
        cluster.pass(400_000);
        let confirmed = cluster
            .node(2)
            .reads
            .iter()
            .any(|ready| matches!(ready, ReadReady::Confirmed { up_to, .. } if *up_to >= read));
        assert!(!cluster.node(2).reads.is_empty(), "{what}: it waits for ever");
        assert!(confirmed || !served, "{what}: {:?}", cluster.node(2).reads);
    }
}
