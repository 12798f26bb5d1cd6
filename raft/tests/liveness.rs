//! Sleep and waking, the heartbeat and the doubts that a caller may have, and who campaigns first.
//! Names begin with the hazard's id.

#![expect(clippy::unwrap_used, reason = "helpers of tests, though not inside of one")]

mod common;

use common::{Cluster, config, id, message, position};
use kontiki_raft::{Change, Config, Liveness, MessageKind, Role, Term, Time, Transition};

const TIMEOUT_US: u64 = 100_000;

fn sleep(cluster: &mut Cluster, number: u64) -> bool {
    let now = cluster.now;
    let asleep = cluster.raft_mut(number).sleep(now);
    cluster.after_input(number);
    asleep
}

fn asleep(cluster: &Cluster) -> Vec<u64> {
    let asleep = |&n: &u64| cluster.running(n) && cluster.raft(n).status().asleep;
    cluster.numbers().filter(asleep).collect()
}

/// Replica 1 leads three, and all of them sleep for long already.
fn sleeping(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(3, seed);
    cluster.elect(1);
    cluster.propose(1, 3);
    cluster.run();
    assert!(sleep(&mut cluster, 1));
    cluster.run();
    assert_eq!(asleep(&cluster), [1, 2, 3]);
    let before: Vec<_> = cluster.numbers().map(|n| cluster.raft(n).status()).collect();
    cluster.pass(50 * TIMEOUT_US);
    let after: Vec<_> = cluster.numbers().map(|n| cluster.raft(n).status()).collect();
    assert_eq!(before, after, "nobody has anything to do");
    assert!(cluster.numbers().all(|n| cluster.raft(n).deadline().is_none()));
    cluster
}

fn peers_see(cluster: &mut Cluster, gone: u64) {
    let now = cluster.now;
    for other in cluster.numbers().filter(|&other| other != gone) {
        cluster.raft_mut(other).on_peer_down(now, id(gone));
        cluster.after_input(other);
    }
}

/// Two election timeouts later there is a leader, and it commits on everybody who runs.
fn heals(cluster: &mut Cluster, what: &str) {
    cluster.pass(2 * TIMEOUT_US + 2_000);
    let leader = cluster.leader().unwrap_or_else(|| panic!("{what}: {:?}", cluster.roles()));
    let last = cluster.propose(leader, 1).expect(what).last;
    cluster.pass(50_000);
    for number in cluster.numbers().filter(|&n| cluster.running(n)) {
        assert_eq!(cluster.raft(number).committed(), last, "{what}: replica {number}");
    }
}

type Event = (&'static str, fn(&mut Cluster));

const EVENTS: &[Event] = &[
    ("a proposal", |c| {
        c.propose(1, 1).unwrap();
    }),
    ("a change", |c| {
        c.change(1, &[Change::Remove(id(3))], Transition::Auto).unwrap();
        c.run();
        c.change(1, &[Change::AddVoter(id(3))], Transition::Auto).unwrap();
    }),
    ("a read at the leader", |c| {
        c.read(1).unwrap();
    }),
    ("a read at a follower", |c| {
        c.read(2).unwrap();
    }),
    ("a transfer", |c| c.transfer(1, 2)),
    ("a campaign", |c| c.campaign(3)),
    ("a heartbeat", |c| {
        let now = c.now;
        c.raft_mut(1).heartbeat(now);
    }),
    ("a wake at the leader", |c| {
        let now = c.now;
        c.raft_mut(1).wake(now);
    }),
    ("a wake at a follower", |c| {
        let now = c.now;
        c.raft_mut(2).wake(now);
    }),
    ("a follower forgets the leader", |c| c.raft_mut(2).forget_leader()),
    ("the leader crashes", |c| {
        c.crash(1, 0);
        let now = c.now;
        for other in [2, 3] {
            c.raft_mut(other).on_peer_down(now, id(1));
        }
    }),
    ("a follower restarts", |c| {
        c.crash(2, 0);
        c.restart(2);
    }),
    ("the leader restarts", |c| {
        c.crash(1, 0);
        c.restart(1);
    }),
    ("a follower was away", |c| {
        c.isolate(3);
        peers_see(c, 3);
        c.run();
        c.heal();
    }),
    ("a broken link", |c| {
        let now = c.now;
        c.raft_mut(1).on_peer_down(now, id(2));
        c.raft_mut(2).on_peer_down(now, id(1));
        c.run();
        c.raft_mut(1).on_peer_up(now, id(2));
    }),
    ("a broken link among followers", |c| {
        let now = c.now;
        c.cut.extend([(2, 3), (3, 2)]);
        c.raft_mut(2).on_peer_down(now, id(3));
        c.raft_mut(3).on_peer_down(now, id(2));
    }),
    ("a stranger's question", |c| {
        let now = c.now;
        let kind = MessageKind::PreVote { last: position(9, 9) };
        c.raft_mut(2).step(now, &message(3, 2, 9, kind));
    }),
    ("a vote of a later term", |c| {
        let now = c.now;
        let kind = MessageKind::Vote { last: position(0, 0), forced: false };
        c.raft_mut(1).step(now, &message(3, 1, 9, kind));
        c.raft_mut(2).step(now, &message(3, 2, 9, kind));
    }),
];

#[test]
fn g8_whatever_happens_to_a_sleeping_group_heals_within_two_election_timeouts() {
    for &(what, event) in EVENTS {
        for seed in 0..10 {
            let mut cluster = sleeping(seed);
            event(&mut cluster);
            heals(&mut cluster, what);
            assert_eq!(asleep(&cluster), [], "{what}: all are awake");
        }
    }
}

#[test]
fn g8_a_question_wakes_a_follower_on_the_leader_s_side() {
    let mut cluster = sleeping(1);
    let last = cluster.raft(3).last();
    cluster.tell(3, 2, 1, MessageKind::PreVote { last });
    let replies: Vec<_> = cluster.says(2).into_iter().map(|reply| reply.kind).collect();
    assert_eq!(replies, [MessageKind::PreVoteReply { granted: false }], "its leader has a chance");
    // If it does not take it, the question is granted when it comes again.
    cluster.now = Time(cluster.now.0 + TIMEOUT_US);
    cluster.tell(3, 2, 1, MessageKind::PreVote { last });
    let replies: Vec<_> = cluster.says(2).into_iter().map(|reply| reply.kind).collect();
    assert_eq!(replies, [MessageKind::PreVoteReply { granted: true }]);
}

#[test]
fn nobody_sleeps_while_anybody_waits() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect_silently(1);
    assert!(!sleep(&mut cluster, 1), "its first entry is not committed");
    cluster.run();
    cluster.propose(1, 1);
    assert!(!sleep(&mut cluster, 1), "an entry waits");
    cluster.run();
    cluster.read(1);
    assert!(!sleep(&mut cluster, 1), "a read waits");
    cluster.run();
    assert!(!sleep(&mut cluster, 2), "only a leader may");
    cluster.isolate(3);
    assert!(!sleep(&mut cluster, 1), "it is not known where replica 3 is");
    cluster.propose(1, 1);
    cluster.transfer(1, 3);
    cluster.run();
    assert!(!sleep(&mut cluster, 1), "the lead moves, and an entry is not everywhere");
    cluster.heal();
    cluster.run();
    assert_eq!(cluster.leader(), Some(3));
    assert!(sleep(&mut cluster, 3));
}

#[test]
fn a_follower_that_missed_the_last_heartbeat_wakes_the_group() {
    for seed in 0..10 {
        let mut cluster = Cluster::new(3, seed);
        cluster.elect(1);
        assert!(sleep(&mut cluster, 1));
        cluster.send_messages(1);
        cluster.net.retain(|packet| packet.to() != id(3));
        cluster.run();
        assert_eq!(asleep(&cluster), [1, 2]);
        heals(&mut cluster, "one that was not told");
        assert_eq!(asleep(&cluster), []);
    }
}

#[test]
fn a_heartbeat_can_be_asked_for() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    cluster.send_messages(1);
    let now = cluster.now;
    cluster.raft_mut(1).heartbeat(now);
    let beats = cluster.says(1);
    assert_eq!(beats.len(), 2);
    assert!(beats.iter().all(|beat| matches!(beat.kind, MessageKind::Heartbeat { .. })));
    let before = cluster.raft(2).clone();
    cluster.raft_mut(2).heartbeat(now);
    assert_eq!(*cluster.raft(2), before, "who does not lead says nothing");
}

#[test]
fn a_follower_that_forgets_its_leader_votes_at_once() {
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    let (last, deadline) = (cluster.raft(2).last(), cluster.raft(2).deadline());
    cluster.read(2).unwrap();
    cluster.raft_mut(2).forget_leader();
    assert_eq!((cluster.raft(2).leader(), cluster.raft(2).deadline()), (None, deadline));
    cluster.send_messages(2);
    assert_eq!(cluster.node(2).reads.len(), 1, "who waited for the leader hears of it");
    cluster.tell(3, 2, 2, MessageKind::Vote { last, forced: false });
    assert_eq!(cluster.raft(2).status().vote, Some(id(3)));
    // It follows the leader again if that is the one that speaks.
    let mut cluster = Cluster::new(3, 1);
    cluster.elect(1);
    cluster.raft_mut(2).forget_leader();
    cluster.pass(TIMEOUT_US / 2);
    assert_eq!((cluster.raft(2).leader(), cluster.raft(2).term()), (Some(id(1)), Term(1)));
}

#[test]
fn the_replica_of_the_highest_priority_campaigns_first() {
    for seed in 0..40 {
        let mut cluster = Cluster::stopped(4, 0, config(), seed);
        for (number, priority) in cluster.numbers().zip([3, 2, 1, 0]) {
            cluster.node_mut(number).priority = Some(priority);
            cluster.restart(number);
        }
        for first in [1, 2] {
            cluster.pass(4 * TIMEOUT_US);
            assert_eq!(cluster.leader(), Some(first), "seed {seed}");
            assert_eq!(cluster.raft(first).term(), Term(first), "and nobody else has tried");
            if first == 1 {
                cluster.crash(first, 0);
            }
        }
    }
    // The last one leads if it is the only one that can.
    let mut cluster = Cluster::stopped(2, 0, config(), 1);
    for (number, priority) in [(1, 3), (2, 0)] {
        cluster.node_mut(number).priority = Some(priority);
        cluster.restart(number);
    }
    cluster.elect(1);
    cluster.propose(1, 1);
    cluster.send_append(1, 2);
    cluster.run_messages_of(2);
    cluster.crash(1, 0);
    cluster.restart(1);
    cluster.pass(10 * TIMEOUT_US);
    assert_eq!(cluster.leader(), Some(2), "replica 1 lacks an entry that replica 2 has");
}

#[test]
fn an_unchecked_leader_stays_without_a_quorum() {
    let config = Config { liveness: Liveness::Unchecked, ..config() };
    let mut cluster = Cluster::stopped(3, 0, config, 1);
    for number in cluster.numbers() {
        cluster.restart(number);
    }
    cluster.elect(1);
    cluster.isolate(1);
    cluster.pass(10 * TIMEOUT_US);
    assert_eq!(cluster.raft(1).role(), Role::Leader);
    let leader = cluster.leader().unwrap();
    assert_ne!(leader, 1, "the others have another, of a later term");
    cluster.heal();
    cluster.pass(TIMEOUT_US);
    assert_eq!(cluster.raft(1).leader(), Some(id(leader)));
}
