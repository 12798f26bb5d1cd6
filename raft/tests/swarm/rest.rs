//! The end of every history: all is mended, everybody runs, and the group must get on by itself.
//!
//! Within a bounded time there is one leader, everything is committed, applied and the same
//! everywhere, no joint membership is left over, and nothing is counted that is no longer there:
//! reads, proposals, bytes.

use kontiki_raft::{CommitStatus, Time};

use super::world::World;
use crate::common::{Cluster, Packet, Sabotage, id};

/// How long the group has, by a true clock: many elections, the slowest priority included.
const PATIENCE_US: u64 = 6_000_000;
const BEAT_US: u64 = 20_000;

pub(crate) fn come_to_rest(cluster: &mut Cluster, world: &World) {
    mend(cluster);
    until(cluster, world, "nobody leads a group at rest", |cluster| is_calm(cluster, 0));
    leave_joint(cluster, world);
    let leader = cluster.leader().expect("a leader was found");
    let before = cluster.raft(leader).last().index;
    let proposed = cluster.propose(leader, 1).expect("a leader at rest takes proposals");
    assert_eq!(proposed.first, before.next());
    let last = proposed.last.0;
    until(cluster, world, "a proposal does not get through", move |c| is_calm(c, last));
    check(cluster);
    sleep(cluster, world);
}

/// Everybody runs, every connection is new, and nothing old is on its way.
fn mend(cluster: &mut Cluster) {
    cluster.cut.clear();
    for packet in std::mem::take(&mut cluster.net) {
        if packet.is_local() {
            cluster.net.push_back(packet);
        } else {
            cluster.lose(packet);
        }
    }
    for number in cluster.numbers() {
        if !cluster.running(number) {
            cluster.restart(number);
        }
    }
    cluster.heal();
    cluster.extent_max = 64;
    cluster.page_max = u64::MAX;
    cluster.lazy_apply = false;
    if cluster.sabotage.take() == Some(Sabotage::PersistEarly) {
        // These were reported when they began.
        for node in &mut cluster.nodes {
            for write in node.writing.drain(..) {
                node.disk.write(&write);
            }
            node.staged = None;
        }
    }
    for number in cluster.numbers() {
        cluster.flush(number);
        let now = cluster.clock(number);
        cluster.raft_mut(number).wake(now);
        cluster.after_input(number);
    }
}

fn until(cluster: &mut Cluster, world: &World, what: &str, done: impl Fn(&Cluster) -> bool) {
    let end = Time(cluster.now.0 + PATIENCE_US);
    let mut beat_at = cluster.now;
    loop {
        assert!(cluster.run_rounds(2_000), "the group does not come to rest");
        if done(cluster) {
            return;
        }
        if cluster.now >= end {
            for number in cluster.numbers().filter(|&number| cluster.running(number)) {
                cluster.note(|| format!("{:?}", cluster.raft(number).status()));
            }
            panic!("{what}: {}", unrest(cluster));
        }
        advance(cluster, world, &mut beat_at);
        if !world.pre_vote {
            destroy_strangers(cluster);
        }
    }
}

/// What keeps the group from being calm, in words.
fn unrest(cluster: &Cluster) -> &'static str {
    let Some(leader) = cluster.leader() else { return "no leader" };
    let (raft, status) = (cluster.raft(leader), cluster.raft(leader).status());
    let leads = |&number: &u64| cluster.running(number) && cluster.raft(number).is_leader();
    if cluster.numbers().filter(leads).count() > 1 {
        "two leaders"
    } else if status.committed != status.last.index {
        "uncommitted entries"
    } else if raft.membership().is_joint() && raft.membership().auto_leave() {
        "a joint membership"
    } else if cluster.net.iter().any(|packet| !matches!(packet, Packet::Beat(_))) {
        "packets on their way"
    } else if status.transferring.is_some() {
        "a transfer"
    } else {
        "a member that is behind, or a read without an end"
    }
}

/// To the next moment at which anybody has something to do.
fn advance(cluster: &mut Cluster, world: &World, beat_at: &mut Time) {
    let running = |&number: &u64| cluster.running(number);
    let ripe = |number: &u64| running(number) && !cluster.is_reborn(*number);
    let deadlines = cluster.numbers().filter(ripe).filter_map(|number| {
        let deadline = cluster.raft(number).deadline()?;
        Some(cluster.moment(number, deadline))
    });
    let next = deadlines.min().unwrap_or(Time(cluster.now.0 + BEAT_US));
    let next = if world.is_external() { next.min(*beat_at) } else { next };
    cluster.now = next.clamp(Time(cluster.now.0 + 100), Time(cluster.now.0 + BEAT_US));
    for number in cluster.numbers() {
        if cluster.running(number) {
            cluster.deadline(number);
        }
    }
    if world.is_external() && cluster.now >= *beat_at {
        *beat_at = Time(cluster.now.0 + BEAT_US);
        for number in cluster.numbers() {
            if cluster.running(number) {
                cluster.beat(number);
            }
            if cluster.running(number) && cluster.raft(number).is_leader() {
                cluster.check_support(number);
            }
        }
    }
}

/// Without pre-vote, whoever was removed and does not know it asks for ever; a caller destroys it
/// once the removal is committed.
fn destroy_strangers(cluster: &mut Cluster) {
    let membership = cluster.oracle.membership_at(cluster.oracle.committed_end());
    let Some(leader) = cluster.leader() else { return };
    let raft = cluster.raft(leader);
    if raft.membership() != membership || raft.committed() != raft.last().index {
        return;
    }
    for number in cluster.numbers() {
        if !membership.contains(id(number)) && cluster.running(number) {
            cluster.crash(number, 0);
        }
    }
}

fn is_calm(cluster: &Cluster, at_least: u64) -> bool {
    let running = |&number: &u64| cluster.running(number);
    let leads = |&number: &u64| cluster.raft(number).is_leader();
    let Some(leader) = cluster.leader() else { return false };
    let status = cluster.raft(leader).status();
    let membership = cluster.raft(leader).membership();
    let settled = cluster.numbers().filter(running).filter(leads).count() == 1
        && status.committed == status.last.index
        && status.committed.0 >= at_least
        && status.transferring.is_none()
        && !(membership.is_joint() && membership.auto_leave())
        && cluster.net.iter().all(|packet| matches!(packet, Packet::Beat(_)));
    settled
        && cluster.numbers().filter(running).all(|number| {
            let (member, node) = (membership.contains(id(number)), cluster.node(number));
            let reads = cluster.oracle.reads_waiting(id(number));
            let caught_up = node.raft().committed() == status.committed
                && node.raft().last() == status.last
                && node.disk.applied == status.committed;
            (!member || caught_up) && reads == 0
        })
}

/// A joint membership without automatic leave waits to be told.
fn leave_joint(cluster: &mut Cluster, world: &World) {
    let leader = cluster.leader().expect("a leader was found");
    let membership = cluster.raft(leader).membership();
    if membership.is_joint() {
        cluster.leave_joint(leader).expect("a joint membership at rest can be left");
        until(cluster, world, "a joint membership is not left", |cluster| {
            is_calm(cluster, 0)
                && cluster.leader().is_some_and(|n| !cluster.raft(n).membership().is_joint())
        });
    }
}

fn check(cluster: &mut Cluster) {
    let leader = cluster.leader().expect("a leader was found");
    let status = cluster.raft(leader).status();
    let membership = cluster.raft(leader).membership();
    assert_eq!(status.uncommitted_bytes, 0, "uncommitted bytes leak");
    for peer in cluster.raft(leader).progress() {
        assert_eq!(peer.inflight_bytes, 0, "bytes in flight leak: {peer:?}");
        assert_eq!(peer.matched, status.last.index, "{peer:?} at rest");
        assert_eq!(peer.pending_snapshot, None, "{peer:?} at rest");
    }
    let tickets = std::mem::take(&mut cluster.oracle.tickets);
    for number in cluster.numbers() {
        if !membership.contains(id(number)) {
            continue;
        }
        let raft = cluster.raft(number).clone();
        assert_eq!(cluster.node(number).disk.log.last(), status.last.index);
        assert_eq!(raft.membership(), membership, "the members agree on who they are");
        for &ticket in &tickets {
            let answer = cluster.oracle.check_ticket(&raft, ticket);
            assert_ne!(answer, CommitStatus::InProgress, "{ticket} has no end at {number}");
        }
    }
}

/// A group that sleeps does nothing at all, and still answers.
fn sleep(cluster: &mut Cluster, world: &World) {
    let leader = cluster.leader().expect("a leader was found");
    let now = cluster.clock(leader);
    if world.is_external() || !cluster.raft_mut(leader).sleep(now) {
        return;
    }
    cluster.after_input(leader);
    cluster.run();
    let membership = cluster.raft(leader).membership();
    for number in cluster.numbers().filter(|&number| membership.contains(id(number))) {
        assert_eq!(cluster.raft(number).deadline(), None, "{number} does not sleep");
    }
    let term = cluster.raft(leader).term();
    cluster.now = Time(cluster.now.0 + 100 * PATIENCE_US);
    let last = cluster.propose(leader, 1).expect("a proposal wakes the leader").last.0;
    until(cluster, world, "a sleeping group does not wake", move |c| is_calm(c, last));
    if world.pre_vote {
        assert_eq!(cluster.raft(leader).term(), term, "waking up is no election");
    }
}
