//! Leases: whatever clocks and processes do, no read is served from the past, and no promise that
//! a lease rests on is broken. Names begin with the hazard's id.
//!
//! The oracle knows what is committed anywhere, and stops a read that does not see it. So the
//! tests make leases end as late, and other leaders come as early, as they can.

mod common;

use common::{Cluster, Packet, config, id, position};
use kontiki_raft::{Config, Index, Liveness, MessageKind, ReadError, ReadReady, Role, Term, Time};

const TIMEOUT_US: u64 = 100_000;

fn leased() -> Config {
    Config { lease_percent: 80, ..config() }
}

/// A group whose clocks count so many thousandths of a second in one.
fn group_with(rates: &[u64], config: Config, seed: u64) -> Cluster {
    common::switch_planted();
    let mut cluster = Cluster::stopped(rates.len() as u64, 0, config, seed);
    for (number, &rate) in cluster.numbers().zip(rates) {
        cluster.node_mut(number).rate = rate;
        cluster.restart(number);
    }
    cluster
}

/// Replica 1 leads three, under a lease.
fn led() -> Cluster {
    let mut cluster = group_with(&[1_000; 3], leased(), 1);
    cluster.elect(1);
    cluster.pass(TIMEOUT_US / 2);
    assert!(lease(&cluster, 1).is_some_and(|until| until > cluster.now));
    cluster
}

fn lease(cluster: &Cluster, number: u64) -> Option<Time> {
    cluster.raft(number).status().lease_until
}

/// Whether the replica serves a read at once, with nobody asked.
fn serves(cluster: &mut Cluster, number: u64) -> bool {
    if cluster.read(number).is_none() {
        return false;
    }
    served(cluster, number)
}

/// Whether any read has been confirmed since the last look.
fn served(cluster: &mut Cluster, number: u64) -> bool {
    let node = cluster.node_mut(number);
    node.reads.clear();
    while let Some(ready) = cluster.raft_mut(number).take_reads() {
        cluster.oracle.on_read_ready(id(number), ready);
        cluster.node_mut(number).reads.push(ready);
    }
    let confirmed = |ready: &ReadReady| matches!(ready, ReadReady::Confirmed { .. });
    cluster.node(number).reads.iter().any(confirmed)
}

fn vote(cluster: &mut Cluster, from: u64, to: u64, term: u64, forced: bool) -> Vec<MessageKind> {
    let last = cluster.raft(from).last();
    cluster.tell(from, to, term, MessageKind::Vote { last, forced });
    cluster.sync(to);
    cluster.says(to).into_iter().map(|reply| reply.kind).collect()
}

#[test]
fn a_read_under_a_lease_asks_nobody() {
    let mut cluster = led();
    cluster.isolate(1);
    assert!(serves(&mut cluster, 1));
    assert!(cluster.net.is_empty());
    let index = cluster.raft(1).committed();
    assert!(
        matches!(cluster.node(1).reads[..], [ReadReady::Confirmed { index: at, .. }] if at == index)
    );
}

#[test]
fn a_follower_s_read_is_answered_at_once_under_a_lease() {
    let mut cluster = led();
    cluster.read(2).unwrap();
    cluster.send_messages(2);
    let request = cluster.net.pop_front().unwrap();
    cluster.deliver(request);
    cluster.isolate(3);
    let answers = cluster.says(1);
    let index = cluster.raft(1).committed();
    assert!(
        matches!(answers[..], [m] if matches!(m.kind, MessageKind::ReadIndexReply { index: at, .. } if at == index)),
        "{answers:?}"
    );
    cluster.deliver(Packet::Message(answers[0]));
    assert!(served(&mut cluster, 2));
}

#[test]
fn r2_a_new_leader_has_no_lease_before_it_commits_in_its_term() {
    let mut cluster = group_with(&[1_000; 3], leased(), 1);
    cluster.elect_silently(1);
    for _ in 0..5 {
        cluster.now = Time(cluster.now.0 + 20_000);
        cluster.deadline(1);
        cluster.run_messages();
        assert_eq!(lease(&cluster, 1), None);
    }
    assert!(!serves(&mut cluster, 1));
    cluster.run();
    let confirmed = cluster.node(1).reads.len();
    assert_eq!(confirmed, 1, "after its first commit");
    assert!(lease(&cluster, 1).is_some());
}

#[test]
fn r6_a_transfer_renews_no_lease() {
    let mut cluster = led();
    cluster.isolate(3);
    cluster.propose(1, 1);
    cluster.transfer(1, 3);
    let now = cluster.now;
    assert_eq!(lease(&cluster, 1), None);
    assert_eq!(cluster.raft_mut(1).read(now), Err(ReadError::NotReady));
    // Replica 2 answers heartbeats and rounds all the time.
    cluster.pass(TIMEOUT_US / 2);
    assert_eq!(lease(&cluster, 1), None);
    // One that follows and asks is told that it gets no answer.
    cluster.read(2).unwrap();
    cluster.run();
    assert!(matches!(cluster.node(2).reads[..], [ReadReady::Lost { .. }]));
    // It never ordered anybody to campaign, so when it gives up it is what it was.
    cluster.pass(TIMEOUT_US);
    assert_eq!(cluster.raft(1).status().transferring, None);
    assert!(lease(&cluster, 1).is_some_and(|until| until > cluster.now));
}

#[test]
fn r7_no_lease_survives_the_order_to_campaign() {
    let mut cluster = led();
    cluster.transfer(1, 2);
    cluster.send_messages(1);
    let order = |packet: &Packet| matches!(packet, Packet::Message(m) if matches!(m.kind, MessageKind::TimeoutNow { .. }));
    let at = cluster.net.iter().position(order).unwrap();
    let order = cluster.net.remove(at).unwrap();
    // The order is long on its way; the transfer is given up, the leader goes on.
    cluster.pass(5 * TIMEOUT_US);
    assert!(cluster.raft(1).is_leader() && cluster.propose(1, 1).is_some());
    cluster.run();
    assert_eq!(lease(&cluster, 1), None, "rounds are answered, but none makes a lease");
    assert!(!serves(&mut cluster, 1));
    cluster.run();
    assert!(cluster.node(1).reads.len() == 1, "a round of its own serves it");

    // Now the order arrives, and is obeyed within the lease that replica 1 would have.
    cluster.pass(TIMEOUT_US / 2);
    cluster.isolate(1);
    cluster.net.clear();
    let last = cluster.raft(1).last();
    let kind = MessageKind::TimeoutNow { last };
    assert!(matches!(order, Packet::Message(m) if m.term == Term(1)));
    cluster.cut.clear();
    cluster.tell(1, 2, 1, kind);
    cluster.cut.extend([(2, 1), (3, 1), (1, 2), (1, 3)]);
    cluster.run();
    assert!(cluster.raft(2).is_leader() && cluster.raft(1).is_leader(), "which does not know");
    cluster.propose(2, 1);
    cluster.run();
    assert_eq!(cluster.raft(2).committed(), cluster.raft(2).last().index);
    assert!(!serves(&mut cluster, 1));
}

#[test]
fn r8_no_read_is_stale_whatever_rate_the_clocks_have() {
    let rates = [900, 1_000, 1_100];
    let mut served_by_lease = 0;
    for case in 0..27_usize {
        let rates = [rates[case % 3], rates[case / 3 % 3], rates[case / 9]];
        let mut cluster = group_with(&rates, leased(), case as u64);
        cluster.elect(1);
        cluster.pass(3 * TIMEOUT_US / 10 + case as u64 * 1_000);
        cluster.isolate(1);
        // The others do not wait for their timers: they ask as soon as they may.
        let mut elected = false;
        for _ in 0..1_000 {
            cluster.now = Time(cluster.now.0 + 250);
            for number in cluster.numbers() {
                cluster.deadline(number);
            }
            if elected {
                let leader = [2, 3].into_iter().find(|&n| cluster.raft(n).is_leader()).unwrap();
                cluster.propose(leader, 1);
            } else {
                cluster.campaign(2);
            }
            cluster.run();
            elected = [2, 3].iter().any(|&n| cluster.raft(n).is_leader());
            if cluster.raft(1).is_leader() {
                served_by_lease += usize::from(serves(&mut cluster, 1));
            }
        }
        assert!(elected && !cluster.raft(1).is_leader(), "{rates:?}: {:?}", cluster.roles());
    }
    assert!(served_by_lease > 27 * 100, "{served_by_lease} reads by lease are no test");
}

/// Time passes while replica 1 does not run. What is sent to it waits.
fn pause(cluster: &mut Cluster, us: u64) -> Vec<Packet> {
    let (end, mut waiting) = (cluster.now.0 + us, Vec::new());
    while cluster.now.0 < end {
        cluster.now = Time(end.min(cluster.now.0 + 20_000));
        for number in [2, 3] {
            cluster.deadline(number);
        }
        loop {
            for number in [2, 3] {
                cluster.pump(number);
                while cluster.persist(number) {
                    cluster.pump(number);
                }
            }
            if cluster.net.is_empty() {
                break;
            }
            for packet in std::mem::take(&mut cluster.net) {
                if packet.to() == id(1) {
                    waiting.push(packet);
                } else {
                    cluster.deliver(packet);
                }
            }
        }
    }
    waiting
}

#[test]
fn r8_a_process_that_paused_serves_nothing_from_before() {
    for seconds in 1..=30 {
        for (rate, answered) in [(900, true), (900, false), (1_100, true), (1_000, false)] {
            let mut cluster = group_with(&[rate, 1_000, 1_000], leased(), seconds);
            cluster.elect(1);
            cluster.pass(TIMEOUT_US / 2);
            // A round is on its way when the process stops; its answers wait when it goes on.
            cluster.now = Time(cluster.now.0 + 25_000);
            let before = lease(&cluster, 1);
            cluster.deadline(1);
            cluster.send_messages(1);
            assert_eq!(
                (cluster.net.len(), lease(&cluster, 1)),
                (2, before),
                "heartbeats, unanswered"
            );
            if !answered {
                cluster.net.clear();
            }
            let waiting = pause(&mut cluster, seconds * 1_000_000);
            let leader = [2, 3].into_iter().find(|&n| cluster.raft(n).is_leader()).unwrap();
            cluster.propose(leader, 3).unwrap();
            let rest = pause(&mut cluster, 1_000);
            assert!(cluster.oracle.committed_end() >= cluster.raft(leader).last().index);

            assert!(cluster.raft(1).is_leader(), "it does not know");
            assert!(!serves(&mut cluster, 1), "the lease has ended meanwhile");
            let mut answers = 0;
            for packet in waiting.into_iter().chain(rest) {
                answers += usize::from(answered && cluster.raft(1).is_leader());
                cluster.deliver(packet);
                serves(&mut cluster, 1);
            }
            assert!(!answered || answers > 0);
            assert!(!cluster.raft(1).is_leader());
        }
    }
}

#[test]
fn r9_a_later_term_does_not_end_a_promise() {
    for (percent, bound) in [(80, true), (0, false)] {
        let mut cluster = group_with(&[1_000; 3], Config { lease_percent: percent, ..config() }, 1);
        cluster.elect(1);
        cluster.pass(TIMEOUT_US / 2);
        cluster.isolate(1);
        // Replica 2 supports replica 1 and hears of a later term, from wherever.
        cluster.tell(3, 2, 7, MessageKind::HeartbeatAck { read_round: 0 });
        assert_eq!(cluster.raft(2).term(), Term(7));
        let granted = !bound;
        assert_eq!(vote(&mut cluster, 3, 2, 7, false), [MessageKind::VoteReply { granted }]);
        if bound {
            assert!(serves(&mut cluster, 1), "since the leader rests on it still");
            assert!(cluster.raft(2).deadline().unwrap() > lease(&cluster, 1).unwrap());
            cluster.now = Time(cluster.now.0 + TIMEOUT_US);
            let granted = true;
            assert_eq!(vote(&mut cluster, 3, 2, 7, false), [MessageKind::VoteReply { granted }]);
        }
    }
}

#[test]
fn r9_a_promise_outlives_the_process_that_made_it() {
    let mut cluster = led();
    cluster.isolate(1);
    cluster.crash(2, 0);
    cluster.restart(2);
    assert_eq!(cluster.raft(2).leader(), None, "it has forgotten whom it supported");
    assert_eq!(vote(&mut cluster, 3, 2, 1, false), [MessageKind::VoteReply { granted: false }]);
    cluster.tell(3, 2, 1, MessageKind::PreVote { last: position(1, 99) });
    let kinds: Vec<_> = cluster.says(2).into_iter().map(|reply| reply.kind).collect();
    assert_eq!(kinds, [MessageKind::PreVoteReply { granted: false }]);
    assert!(serves(&mut cluster, 1));
    cluster.now = Time(cluster.now.0 + TIMEOUT_US);
    assert_eq!(vote(&mut cluster, 3, 2, 2, false), [MessageKind::VoteReply { granted: true }]);
}

#[test]
fn r9_who_has_promised_does_not_campaign_when_asked() {
    // Replica 3 has heard nobody for long, so it would vote for replica 2 at once.
    let mut cluster = led();
    cluster.isolate(3);
    cluster.pass(3 * TIMEOUT_US);
    cluster.isolate(1);
    cluster.cut.retain(|&(a, b)| a == 1 || b == 1);
    assert!(lease(&cluster, 1).is_some_and(|until| until > cluster.now), "on replica 2's promise");
    cluster.campaign(2);
    cluster.run();
    assert!(!cluster.raft(2).is_leader());
    assert!(serves(&mut cluster, 1));
    cluster.now = Time(cluster.now.0 + TIMEOUT_US);
    cluster.campaign(2);
    cluster.run();
    assert!(cluster.raft(2).is_leader());
}

#[test]
fn r9_a_follower_that_promised_does_not_forget_its_leader() {
    let mut cluster = led();
    cluster.raft_mut(2).forget_leader();
    assert_eq!(vote(&mut cluster, 3, 2, 2, false), []);
    assert_eq!((cluster.raft(2).term(), cluster.raft(2).leader()), (Term(1), Some(id(1))));
}

#[test]
fn r10_an_isolated_leader_serves_to_the_end_of_its_lease_and_no_longer() {
    let mut cluster = led();
    cluster.isolate(1);
    let until = lease(&cluster, 1).unwrap();
    cluster.now = Time(until.0 - 1);
    assert!(serves(&mut cluster, 1));
    cluster.now = until;
    assert!(cluster.raft(1).is_leader());
    assert!(!serves(&mut cluster, 1), "applied as it may be");
}

#[test]
fn e8_a_transfer_works_with_every_way_to_refuse_votes() {
    for pre_vote in [true, false] {
        for (percent, liveness) in
            [(0, Liveness::SelfTimed), (80, Liveness::SelfTimed), (0, Liveness::Unchecked)]
        {
            for count in [2, 3, 5] {
                let config = Config { lease_percent: percent, pre_vote, liveness, ..config() };
                let mut cluster = group_with(&vec![1_000; count], config, 1);
                cluster.elect(1);
                cluster.pass(TIMEOUT_US / 2);
                cluster.propose(1, 5);
                cluster.transfer(1, 2);
                cluster.run();
                assert_eq!(cluster.leader(), Some(2), "{config:?}, and no time had to pass");
                assert!(!cluster.raft(1).is_leader());
                cluster.transfer(2, 1);
                cluster.run();
                assert_eq!(cluster.leader(), Some(1), "{config:?}, back at once");
            }
        }
    }
}

#[test]
fn a_lease_holds_as_long_as_there_is_traffic_or_none() {
    let mut cluster = led();
    for _ in 0..200 {
        cluster.pass(5_000);
        assert!(serves(&mut cluster, 1), "heartbeats keep it");
    }
    for _ in 0..200 {
        cluster.now = Time(cluster.now.0 + 5_000);
        cluster.propose(1, 1);
        for number in cluster.numbers() {
            cluster.deadline(number);
        }
        cluster.run();
        assert!(serves(&mut cluster, 1), "and so do appends");
    }
    assert_eq!((cluster.raft(1).term(), cluster.raft(1).role()), (Term(1), Role::Leader));
    assert!(cluster.raft(1).committed() > Index(200));
}
