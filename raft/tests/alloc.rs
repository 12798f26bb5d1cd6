//! What the core takes from the heap: nothing on the hot calls, nothing for an idle follower, and
//! little for a leader.
//!
//! One test, since the allocator counts for the whole process.

#![expect(clippy::unwrap_used, reason = "helpers of tests, though not inside of one")]

use std::alloc::System;

use kontiki_raft::{
    AppendOutcome, Config, Extent, HardState, Index, Membership, Message, MessageKind, Position,
    Raft, ReadReady, ReplicaId, Span, Start, Term, Time,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn id(number: u64) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

fn replica(number: u64, spans: &[Span]) -> Raft {
    replica_of(3, number, spans)
}

fn replica_of(count: u64, number: u64, spans: &[Span]) -> Raft {
    let voters: Vec<_> = (1..=count).map(id).collect();
    let term = spans.last().map_or(Term::ZERO, |span| span.term);
    let start = Start {
        id: id(number),
        membership: Membership::new(&voters).unwrap(),
        changes: &[],
        hard_state: HardState { term, vote: None },
        compacted: Position::ZERO,
        spans,
        committed: Index::ZERO,
        seed: number,
        now: Time(0),
    };
    Raft::new(Config::default(), start).unwrap()
}

fn message(from: u64, to: u64, term: u64, kind: MessageKind) -> Message {
    Message { from: id(from), to: id(to), term: Term(term), kind, session: 0 }
}

fn persist(raft: &mut Raft) {
    while let Some(write) = raft.take_persist() {
        raft.on_persisted(write.seq);
    }
}

fn make_leader(raft: &mut Raft) {
    raft.campaign(Time(0));
    raft.step(Time(0), &message(2, 1, 0, MessageKind::PreVoteReply { granted: true }));
    persist(raft);
    while raft.take_message().is_some() {}
    raft.step(Time(0), &message(2, 1, 1, MessageKind::VoteReply { granted: true }));
    raft.take_noop().expect("it leads");
}

/// One round of a group under load, as the engine runs it. Returns what is committed,
/// and whether the read was confirmed.
fn round(now: Time, leader: &mut Raft, followers: &mut [Raft; 2]) -> (Index, bool) {
    leader.propose(16, 4096).unwrap();
    leader.read(now).unwrap();
    for follower in followers.iter_mut() {
        let peer = follower.id();
        let whole = |_, last, _| Some(Extent { last, bytes: 4096 });
        while let Some(header) = leader.next_append(peer, whole) {
            let span =
                Span { term: header.term, first: header.prev.index.next(), last: header.last };
            let outcome = follower.step_append(now, &header, &[span], &[]);
            assert!(matches!(outcome, AppendOutcome::Accepted { .. }));
        }
    }
    persist(leader);
    for follower in followers.iter_mut() {
        persist(follower);
        while let Some(answer) = follower.take_message() {
            leader.step(now, &answer);
        }
        if let Some(owed) = leader.commit_owed(follower.id()) {
            follower.step(now, &owed);
        }
    }
    while let Some(beat) = leader.take_message() {
        followers.iter_mut().for_each(|follower| follower.step(now, &beat));
    }
    for raft in [&mut *leader].into_iter().chain(followers) {
        if let Some((_, last)) = raft.take_committed() {
            raft.on_applied(last);
            raft.on_compacted(raft.log_floor().min(last));
        }
        raft.on_deadline(now);
    }
    let confirmed = matches!(leader.take_reads(), Some(ReadReady::Confirmed { .. }));
    (leader.status().committed, confirmed)
}

/// A follower that was elected around, wrote, applied, and now rests.
fn idle_follower(count: u64) -> Raft {
    let mut raft =
        replica_of(count, 2, &[Span { term: Term(1), first: Index(1), last: Index(500) }]);
    let last = raft.last();
    let vote = MessageKind::Vote { last, forced: false };
    raft.step(Time(0), &message(1, 2, 2, vote));
    raft.step(Time(0), &message(3, 2, 2, vote));
    persist(&mut raft);
    while raft.take_message().is_some() {}
    raft
}

#[test]
fn the_hot_calls_and_an_idle_follower_take_nothing_from_the_heap() {
    let mut leader = replica(1, &[]);
    let mut followers = [replica(2, &[]), replica(3, &[])];
    make_leader(&mut leader);
    for now in 0..10 {
        round(Time(now), &mut leader, &mut followers);
    }
    // The thread that runs the tests takes memory too, once, soon after it started this one: what
    // the calls themselves take shows in every stretch.
    let mut taken = Vec::with_capacity(4);
    for stretch in 1..=4 {
        let region = Region::new(ALLOCATOR);
        let mut committed = Index::ZERO;
        let mut confirmed = true;
        for now in (stretch - 1) * 10_000 + 10..stretch * 10_000 + 10 {
            let (index, read) = round(Time(now), &mut leader, &mut followers);
            committed = index;
            confirmed &= read;
        }
        taken.push(region.change());
        assert_eq!((committed, confirmed), (Index(1 + 16 * (stretch * 10_000 + 10)), true));
    }
    assert!(taken.contains(&Stats::default()), "the hot calls allocate: {taken:?}");

    idle_replicas_hold_nothing();
    a_follower_that_sleeps_holds_nothing();
    a_leader_of_five_holds_little(false);
    a_leader_of_five_holds_little(true);
}

/// Bytes that are on the heap now and were not when the region began.
fn held(region: &Region<'_, System>) -> usize {
    let change = region.change();
    change.bytes_allocated - change.bytes_deallocated
}

fn idle_replicas_hold_nothing() {
    for count in [3, 5] {
        let region = Region::new(ALLOCATOR);
        let idle = idle_follower(count);
        assert_eq!(held(&region), 0, "an idle follower of {count} holds memory");
        assert!(size_of_val(&idle) <= 320, "an idle follower is {} bytes", size_of_val(&idle));

        // To look at it takes nothing either.
        let region = Region::new(ALLOCATOR);
        let status = idle.status();
        let seats = idle.membership().members().filter(|member| member.seat.votes()).count();
        assert_eq!((status.seat.is_some(), seats), (true, usize::try_from(count).unwrap()));
        assert_eq!((idle.progress().count(), idle.deadline().is_some()), (0, true));
        assert_eq!(region.change(), Stats::default(), "looking allocates");
    }
}

fn a_follower_that_sleeps_holds_nothing() {
    let region = Region::new(ALLOCATOR);
    let mut raft = idle_follower(5);
    let beat = |sleep| {
        let (commit, floor) = (Index(500), Index(500));
        message(1, 2, 2, MessageKind::Heartbeat { commit, floor, read_round: 0, sleep })
    };
    raft.step(Time(1), &beat(false));
    raft.take_committed();
    raft.on_applied(Index(500));
    raft.step(Time(2), &beat(true));
    while raft.take_message().is_some() {}
    assert!(raft.status().asleep && raft.deadline().is_none());
    assert_eq!(held(&region), 0, "a sleeping follower holds memory");
}

/// A leader of five, under load and asleep afterwards.
fn a_leader_of_five_holds_little(reads: bool) {
    let region = Region::new(ALLOCATOR);
    let mut leader = replica_of(5, 1, &[]);
    leader.campaign(Time(0));
    for voter in [2, 3] {
        let grant = MessageKind::PreVoteReply { granted: true };
        leader.step(Time(0), &message(voter, 1, 0, grant));
    }
    persist(&mut leader);
    while leader.take_message().is_some() {}
    for voter in [2, 3] {
        leader.step(Time(0), &message(voter, 1, 1, MessageKind::VoteReply { granted: true }));
    }
    leader.take_noop().expect("it leads");
    for now in 0..100 {
        leader.propose(16, 4096).unwrap();
        if reads {
            leader.read(Time(now)).unwrap();
        }
        persist(&mut leader);
        for peer in 2..=5 {
            while leader
                .next_append(id(peer), |_, last, _| Some(Extent { last, bytes: 1 }))
                .is_some()
            {}
            let (matched, read_round) = (leader.last(), if reads { now + 1 } else { 0 });
            let ack = MessageKind::AppendAck { matched, read_round };
            leader.step(Time(now), &message(peer, 1, 1, ack));
        }
        let (_, last) = leader.take_committed().expect("everybody has it");
        leader.on_applied(last);
        assert_eq!(leader.take_reads().is_some(), reads);
        while leader.take_message().is_some() {}
    }
    // Rounds and leases are a block of their own, from the first read on.
    let most = if reads { 512 + 256 } else { 512 };
    assert!(held(&region) <= most, "a leader of five holds {} bytes", held(&region));
    assert!(leader.sleep(Time(200)));
    while leader.take_message().is_some() {}
    assert!(held(&region) <= most, "asleep, it holds {} bytes", held(&region));
    let looked = Region::new(ALLOCATOR);
    assert_eq!((leader.status().asleep, leader.progress().count()), (true, 4));
    assert_eq!(looked.change(), Stats::default(), "looking allocates");
}
