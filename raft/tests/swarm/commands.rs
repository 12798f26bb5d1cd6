//! What happens in a history, one step at a time.
//!
//! A command carries small numbers, and means whatever is there when its turn comes: the n-th
//! packet, the n-th replica that runs. So every part of a list of commands is a list of commands,
//! and a failing one can be cut down. A command for which there is nothing to do does nothing.

use std::collections::VecDeque;

use kontiki_raft::{Change, Index, ReplicaId, Term, Time, Transition};

use crate::common::{Cluster, Packet, id};

/// Numbers from here on mean any replica; below, the leader where one is wanted.
pub(crate) const ANYBODY: u8 = 200;
/// Packets on the network before the oldest are lost.
const PACKETS_MAX: usize = 120;

/// What to make of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alter {
    Voter,
    Learner,
    Witness,
    Remove,
}

/// One step. The first number says who, where it is not a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Deliver(u8),
    DeliverTo(u8),
    DeliverAll,
    Duplicate(u8),
    /// The packet is lost, and nobody hears of it.
    Drop(u8),
    /// The packet is lost with its connection.
    Break(u8),
    Cut(u8, u8),
    Isolate(u8),
    Heal,
    Write(u8),
    Persist(u8),
    Sync(u8),
    Crash(u8, u8),
    CrashAll(u8),
    Restart(u8),
    RestartAll,
    Wipe(u8),
    Flush(u8),
    Apply(u8),
    Compact(u8, u8),
    Say(u8),
    SayOne(u8),
    Append(u8, u8),
    AppendAll(u8),
    Commits(u8),
    Snapshot(u8, u8),
    Pump(u8),
    Settle(u8),
    /// Time passes, and nobody looks at the clock.
    Tick(u8),
    /// Time passes, and everybody keeps his deadlines.
    Pass(u8),
    /// Time passes until the replica has something to do; the others oversleep.
    Expire(u8),
    Campaign(u8),
    Elect(u8),
    /// The leader is cut off, and the replica campaigns as soon as it may.
    Usurp(u8),
    Propose(u8, u8),
    Read(u8),
    Transfer(u8, u8),
    Change(u8, u8, Vec<(Alter, u8)>),
    LeaveJoint(u8),
    Heartbeat(u8),
    Forget(u8),
    Sleep(u8),
    Wake(u8),
    Beat(u8),
    CheckSupport(u8),
}

impl Command {
    /// Commands that do less, or name what comes first.
    pub(crate) fn simpler(&self) -> Vec<Self> {
        match self {
            Self::Change(who, how, alters) if alters.len() > 1 => {
                let without = |slot: usize| {
                    let mut alters = alters.clone();
                    alters.remove(slot);
                    Self::Change(*who, *how, alters)
                };
                (0..alters.len()).map(without).collect()
            }
            Self::Deliver(slot) if *slot > 0 => (0..=1.min(slot - 1)).map(Self::Deliver).collect(),
            Self::Propose(who, count) if *count > 1 => vec![Self::Propose(*who, 1)],
            Self::Crash(who, kept) if *kept > 0 => vec![Self::Crash(*who, 0)],
            Self::Compact(who, behind) if *behind > 0 => vec![Self::Compact(*who, 0)],
            Self::Snapshot(who, behind) if *behind > 0 => vec![Self::Snapshot(*who, 0)],
            Self::CrashAll(_) => vec![Self::Crash(0, 0), Self::Crash(1, 0), Self::Crash(2, 0)],
            _ => Vec::new(),
        }
    }

    /// The same among so many replicas, with numbers that a reader can follow.
    pub(crate) fn plain(&self, replicas: u8) -> Self {
        let short = |who: u8| who % replicas;
        match self.clone() {
            Self::DeliverTo(who) => Self::DeliverTo(short(who)),
            Self::Cut(a, b) => Self::Cut(short(a), short(b)),
            Self::Isolate(who) => Self::Isolate(short(who)),
            Self::Write(who) => Self::Write(short(who)),
            Self::Persist(who) => Self::Persist(short(who)),
            Self::Sync(who) => Self::Sync(short(who)),
            Self::Crash(who, kept) => Self::Crash(short(who), kept),
            Self::Wipe(who) => Self::Wipe(short(who)),
            Self::Flush(who) => Self::Flush(short(who)),
            Self::Apply(who) => Self::Apply(short(who)),
            Self::Compact(who, behind) => Self::Compact(short(who), behind),
            Self::Say(who) => Self::Say(short(who)),
            Self::SayOne(who) => Self::SayOne(short(who)),
            Self::Append(who, peer) => Self::Append(who, short(peer)),
            Self::Pump(who) => Self::Pump(short(who)),
            Self::Expire(who) => Self::Expire(short(who)),
            Self::Campaign(who) => Self::Campaign(short(who)),
            Self::Elect(who) => Self::Elect(short(who)),
            Self::Usurp(who) => Self::Usurp(short(who)),
            Self::Transfer(who, to) => Self::Transfer(who, short(to)),
            Self::Change(who, how, mut alters) => {
                alters.iter_mut().for_each(|(_, who)| *who = short(*who));
                Self::Change(who, how % 4, alters)
            }
            Self::Forget(who) => Self::Forget(short(who)),
            Self::Wake(who) => Self::Wake(short(who)),
            Self::Beat(who) => Self::Beat(short(who)),
            other => other,
        }
    }

    pub(crate) fn run(&self, cluster: &mut Cluster) {
        self.run_network(cluster);
        self.run_disk(cluster);
        self.run_outputs(cluster);
        self.run_time(cluster);
        self.run_inputs(cluster);
        while cluster.net.len() > PACKETS_MAX {
            let packet = cluster.net.pop_front().expect("it is long");
            break_connection(cluster, packet);
        }
    }

    fn run_network(&self, cluster: &mut Cluster) {
        match *self {
            Self::Deliver(slot) => {
                if let Some(packet) = take_packet(cluster, slot) {
                    cluster.deliver(packet);
                }
            }
            Self::DeliverTo(who) => {
                let to = id(anybody(cluster, who));
                let all = std::mem::take(&mut cluster.net);
                let (those, rest): (VecDeque<Packet>, _) =
                    all.into_iter().partition(|packet| packet.to() == to);
                cluster.net = rest;
                those.into_iter().for_each(|packet| cluster.deliver(packet));
            }
            Self::DeliverAll => {
                for packet in std::mem::take(&mut cluster.net) {
                    cluster.deliver(packet);
                }
            }
            Self::Duplicate(slot) if !cluster.net.is_empty() => {
                let slot = usize::from(slot) % cluster.net.len();
                cluster.net.push_back(cluster.net[slot].clone());
            }
            Self::Drop(slot) => match take_packet(cluster, slot) {
                Some(packet) if packet.is_local() => cluster.net.push_back(packet),
                Some(packet) => cluster.lose(packet),
                None => {}
            },
            Self::Break(slot) => {
                if let Some(packet) = take_packet(cluster, slot) {
                    break_connection(cluster, packet);
                }
            }
            Self::Cut(a, b) => {
                let (a, b) = (anybody(cluster, a), anybody(cluster, b));
                if a != b && !cluster.cut.contains(&(a, b)) {
                    cluster.cut.push((a, b));
                    connection(cluster, a, b, false);
                }
            }
            Self::Isolate(who) => {
                let number = anybody(cluster, who);
                cluster.isolate(number);
            }
            Self::Heal => cluster.heal(),
            _ => {}
        }
    }

    fn run_disk(&self, cluster: &mut Cluster) {
        match *self {
            Self::Write(who) => with(cluster, who, |cluster, number| {
                cluster.write(number);
            }),
            Self::Persist(who) => with(cluster, who, |cluster, number| {
                cluster.persist(number);
            }),
            Self::Sync(who) => with(cluster, who, Cluster::sync),
            Self::Crash(who, kept) => with(cluster, who, |cluster, number| {
                cluster.crash(number, usize::from(kept));
            }),
            Self::CrashAll(kept) => {
                for number in cluster.numbers() {
                    if cluster.running(number) {
                        cluster.crash(number, usize::from(kept));
                    }
                }
            }
            Self::Restart(who) => {
                let down: Vec<_> = cluster.numbers().filter(|&n| !cluster.running(n)).collect();
                if !down.is_empty() {
                    cluster.restart(down[usize::from(who) % down.len()]);
                }
            }
            Self::RestartAll => {
                for number in cluster.numbers() {
                    if !cluster.running(number) {
                        cluster.restart(number);
                    }
                }
            }
            Self::Wipe(who) => {
                let number = anybody(cluster, who);
                let used = cluster.node(number).disk.hard_state.term > Term::ZERO;
                if used && may_wipe(cluster, id(number)) {
                    cluster.wipe(number);
                }
            }
            Self::Flush(who) => with(cluster, who, Cluster::flush),
            Self::Apply(who) => with(cluster, who, |cluster, number| cluster.apply(number, false)),
            Self::Compact(who, behind) => with(cluster, who, |cluster, number| {
                let applied = cluster.node(number).applied.0;
                cluster.compact(number, Index(applied.saturating_sub(u64::from(behind))));
            }),
            _ => {}
        }
    }

    fn run_outputs(&self, cluster: &mut Cluster) {
        match *self {
            Self::Say(who) => with(cluster, who, Cluster::send_messages),
            Self::SayOne(who) => with(cluster, who, |cluster, number| {
                cluster.send_message(number);
            }),
            Self::Append(who, peer) => with_leader(cluster, who, |cluster, number| {
                let peer = anybody(cluster, peer);
                if peer != number {
                    cluster.send_append(number, peer);
                }
            }),
            Self::AppendAll(who) => with_leader(cluster, who, Cluster::send_appends),
            Self::Commits(who) => with_leader(cluster, who, Cluster::send_commits),
            Self::Snapshot(who, behind) => with_leader(cluster, who, |cluster, number| {
                cluster.send_snapshot(number, u64::from(behind));
            }),
            Self::Pump(who) => with(cluster, who, Cluster::pump),
            Self::Settle(rounds) => {
                cluster.run_rounds(u64::from(rounds));
            }
            _ => {}
        }
    }

    fn run_time(&self, cluster: &mut Cluster) {
        match *self {
            Self::Tick(ms) => cluster.now = later(cluster, ms),
            Self::Pass(ms) => {
                cluster.now = later(cluster, ms);
                for number in cluster.numbers() {
                    if cluster.running(number) {
                        cluster.deadline(number);
                    }
                }
            }
            Self::Expire(who) => with(cluster, who, |cluster, number| {
                if let Some(deadline) = cluster.raft(number).deadline() {
                    cluster.now = cluster.moment(number, deadline).max(cluster.now);
                    cluster.deadline(number);
                }
            }),
            Self::Beat(who) => with(cluster, who, Cluster::beat),
            Self::CheckSupport(who) => with_leader(cluster, who, |cluster, number| {
                if cluster.is_external() {
                    cluster.check_support(number);
                }
            }),
            Self::Sleep(who) => with_leader(cluster, who, |cluster, number| {
                let now = cluster.clock(number);
                cluster.raft_mut(number).sleep(now);
                cluster.after_input(number);
            }),
            Self::Wake(who) => with(cluster, who, |cluster, number| {
                let now = cluster.clock(number);
                cluster.raft_mut(number).wake(now);
                cluster.after_input(number);
            }),
            _ => {}
        }
    }

    fn run_inputs(&self, cluster: &mut Cluster) {
        match self {
            Self::Campaign(who) => with(cluster, *who, Cluster::campaign),
            Self::Elect(who) => with(cluster, *who, |cluster, number| {
                cluster.campaign(number);
                cluster.run_rounds(8);
            }),
            Self::Usurp(who) => with(cluster, *who, |cluster, number| {
                if let Some(leader) = cluster.leader().filter(|&leader| leader != number) {
                    cluster.isolate(leader);
                    Self::Expire(*who).run(cluster);
                    cluster.run_rounds(8);
                }
            }),
            Self::Propose(who, count) => with_leader(cluster, *who, |cluster, number| {
                cluster.propose(number, u32::from(*count));
            }),
            Self::Read(who) => with_leader(cluster, *who, |cluster, number| {
                cluster.read(number);
            }),
            Self::Transfer(who, to) => with_leader(cluster, *who, |cluster, number| {
                let to = anybody(cluster, *to);
                cluster.transfer(number, to);
            }),
            Self::Change(who, how, alters) => with_leader(cluster, *who, |cluster, number| {
                let change = |&(alter, who): &(Alter, u8)| {
                    let id: ReplicaId = id(anybody(cluster, who));
                    match alter {
                        Alter::Voter => Change::AddVoter(id),
                        Alter::Learner => Change::AddLearner(id),
                        Alter::Witness => Change::AddWitness(id),
                        Alter::Remove => Change::Remove(id),
                    }
                };
                let changes: Vec<_> = alters.iter().map(change).collect();
                let transition = match how % 4 {
                    0 | 1 => Transition::Auto,
                    2 => Transition::Joint,
                    _ => Transition::JointExplicit,
                };
                let outcome = cluster.change(number, &changes, transition);
                cluster.note(|| format!("{changes:?} {transition:?}: {:?}", outcome.err()));
            }),
            Self::LeaveJoint(who) => with_leader(cluster, *who, |cluster, number| {
                cluster.leave_joint(number).ok();
            }),
            Self::Heartbeat(who) => with_leader(cluster, *who, |cluster, number| {
                let now = cluster.clock(number);
                cluster.raft_mut(number).heartbeat(now);
                cluster.after_input(number);
            }),
            Self::Forget(who) => with(cluster, *who, |cluster, number| {
                cluster.raft_mut(number).forget_leader();
                cluster.after_input(number);
            }),
            _ => {}
        }
    }
}

fn anybody(cluster: &Cluster, who: u8) -> u64 {
    1 + u64::from(who) % cluster.nodes.len() as u64
}

/// With a replica that runs, if any does.
fn with(cluster: &mut Cluster, who: u8, action: impl FnOnce(&mut Cluster, u64)) {
    let number = anybody(cluster, who);
    if cluster.running(number) {
        action(cluster, number);
    }
}

/// With the leader, or with whom the number says.
fn with_leader(cluster: &mut Cluster, who: u8, action: impl FnOnce(&mut Cluster, u64)) {
    if who >= ANYBODY {
        with(cluster, who, action);
    } else if let Some(leader) = cluster.leader() {
        action(cluster, leader);
    }
}

fn later(cluster: &Cluster, ms: u8) -> Time {
    Time(cluster.now.0 + 1_000 * u64::from(ms))
}

fn take_packet(cluster: &mut Cluster, slot: u8) -> Option<Packet> {
    let count = cluster.net.len();
    (count > 0).then(|| cluster.net.remove(usize::from(slot) % count)).flatten()
}

/// A connection that loses something is a connection that broke; its sender hears of it.
fn break_connection(cluster: &mut Cluster, packet: Packet) {
    if packet.is_local() {
        return cluster.deliver(packet);
    }
    let (from, to) = (packet.from().get(), packet.to().get());
    cluster.lose(packet);
    connection(cluster, from, to, false);
    connection(cluster, from, to, true);
}

fn connection(cluster: &mut Cluster, at: u64, peer: u64, up: bool) {
    if !cluster.running(at) {
        return;
    }
    let now = cluster.clock(at);
    if up {
        cluster.raft_mut(at).on_peer_up(now, id(peer));
    } else {
        cluster.raft_mut(at).on_peer_down(now, id(peer));
    }
    cluster.after_input(at);
}

/// A replica may come back new under its old name once its removal is committed, and nobody has
/// begun to add it again: then no quorum of the past or the future rests on what it forgets.
fn may_wipe(cluster: &Cluster, who: ReplicaId) -> bool {
    let end = cluster.oracle.committed_end();
    if cluster.oracle.membership_at(end).contains(who) {
        return false;
    }
    let names =
        |change: &kontiki_raft::MembershipAt| change.index > end && change.membership.contains(who);
    let on_its_way = cluster.net.iter().any(|packet| match packet {
        Packet::Append(_, cargo) => cargo.changes.iter().any(names),
        _ => false,
    });
    let in_logs = cluster.nodes.iter().any(|node| {
        let writing = node.writing.iter().flat_map(|write| &write.changes);
        node.memory.changes.iter().chain(&node.disk.log.changes).chain(writing).any(names)
    });
    !on_its_way && !in_logs
}
