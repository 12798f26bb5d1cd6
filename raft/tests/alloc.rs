//! What the core takes from the heap: nothing on the hot calls, nothing for an idle follower.
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
    let voters = [1, 2, 3].map(|number| ReplicaId::new(number).unwrap());
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
fn idle_follower() -> Raft {
    let mut raft = replica(2, &[Span { term: Term(1), first: Index(1), last: Index(500) }]);
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
    let region = Region::new(ALLOCATOR);
    let mut committed = Index::ZERO;
    let mut confirmed = true;
    for now in 10..10_000 {
        let (index, read) = round(Time(now), &mut leader, &mut followers);
        committed = index;
        confirmed &= read;
    }
    assert_eq!(region.change(), Stats::default(), "the hot calls allocate");
    assert_eq!((committed, confirmed), (Index(1 + 16 * 10_000), true));

    let region = Region::new(ALLOCATOR);
    let idle = idle_follower();
    let change = region.change();
    assert_eq!(change.bytes_allocated, change.bytes_deallocated, "an idle follower holds memory");
    assert!(size_of_val(&idle) <= 320, "an idle follower is {} bytes", size_of_val(&idle));
}
