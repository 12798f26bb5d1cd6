//! What the consensus core costs per call, in three-replica groups: a proposal, an append taken,
//! an acknowledgement that commits, an append made.
//!
//! Each figure is of one call on a replica in steady state. A call that needs others around it to
//! stay in steady state is measured together with them, and the name says so. The budgets:
//! propose 20 ns, append 60 ns, acknowledgement with commit 40 ns.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use kontiki_raft::{
    AppendHeader, Config, Extent, HardState, Index, Membership, Message, MessageKind, Position,
    Raft, ReplicaId, Span, Start, Term, Time,
};

const NOW: Time = Time(0);
const PAYLOAD_BYTES: u32 = 128;

fn id(number: u64) -> ReplicaId {
    ReplicaId::new(number).expect("ids of the bench are not zero")
}

fn replica(number: u64) -> Raft {
    let start = Start {
        id: id(number),
        membership: Membership::new(&[id(1), id(2), id(3)]).expect("three voters"),
        changes: &[],
        hard_state: HardState::default(),
        compacted: Position::ZERO,
        spans: &[],
        committed: Index::ZERO,
        seed: number,
        now: NOW,
    };
    let config = Config { uncommitted_bytes_max: u32::MAX, ..Config::default() };
    Raft::new(config, start).expect("an empty replica starts")
}

fn message(from: u64, term: u64, kind: MessageKind) -> Message {
    Message { from: id(from), to: id(1), term: Term(term), kind, session: 0 }
}

fn persist(raft: &mut Raft) {
    while let Some(write) = raft.take_persist() {
        raft.on_persisted(write.seq);
    }
}

fn ack(from: u64, index: Index) -> Message {
    let matched = Position::new(Term(1), index);
    message(from, 1, MessageKind::AppendAck { matched, read_round: 0 })
}

fn whole(_: Index, last: Index, _: u32) -> Option<Extent> {
    Some(Extent { last, bytes: PAYLOAD_BYTES })
}

/// A leader whose followers have everything.
fn leader() -> Raft {
    let mut raft = replica(1);
    raft.campaign(NOW);
    raft.step(NOW, &message(2, 0, MessageKind::PreVoteReply { granted: true }));
    persist(&mut raft);
    while raft.take_message().is_some() {}
    raft.step(NOW, &message(2, 1, MessageKind::VoteReply { granted: true }));
    let noop = raft.take_noop().expect("it leads");
    persist(&mut raft);
    for follower in [2, 3] {
        raft.next_append(id(follower), whole).expect("a probe");
        raft.step(NOW, &ack(follower, noop.last));
    }
    raft
}

fn append(prev: Index, last: Index) -> (AppendHeader, [Span; 1]) {
    let header = AppendHeader {
        from: id(2),
        to: id(1),
        term: Term(1),
        prev: Position::new(if prev == Index::ZERO { Term::ZERO } else { Term(1) }, prev),
        last,
        commit: prev,
        floor: Index::ZERO,
        read_round: 0,
        session: 0,
    };
    (header, [Span { term: Term(1), first: prev.next(), last }])
}

fn propose(c: &mut Criterion) {
    let mut raft = leader();
    c.bench_function("raft/propose", |b| {
        b.iter(|| raft.propose(black_box(16), black_box(0)));
    });
}

fn step_append(c: &mut Criterion) {
    let mut raft = replica(1);
    let mut prev = Index::ZERO;
    c.bench_function("raft/step_append", |b| {
        b.iter(|| {
            let last = prev.advanced(16);
            let (header, spans) = append(prev, last);
            prev = last;
            raft.step_append(NOW, black_box(&header), black_box(&spans), &[])
        });
    });
    let mut raft = replica(1);
    let mut prev = Index::ZERO;
    c.bench_function("raft/step_append, persist, answer", |b| {
        b.iter(|| {
            let last = prev.advanced(16);
            let (header, spans) = append(prev, last);
            prev = last;
            raft.step_append(NOW, black_box(&header), black_box(&spans), &[]);
            let write = raft.take_persist().expect("entries to write");
            raft.on_persisted(write.seq);
            raft.take_message()
        });
    });
}

fn ack_and_commit(c: &mut Criterion) {
    let mut raft = leader();
    // Enough entries that no acknowledgement reaches the end.
    for _ in 0..1000 {
        raft.propose(u32::MAX, 0).expect("room");
    }
    persist(&mut raft);
    let mut index = raft.committed();
    c.bench_function("raft/ack and commit", |b| {
        b.iter(|| {
            index = index.next();
            raft.step(NOW, black_box(&ack(2, index)));
            raft.committed()
        });
    });
}

fn next_append(c: &mut Criterion) {
    let mut raft = leader();
    c.bench_function("raft/propose, next_append", |b| {
        b.iter(|| {
            raft.propose(16, 0).expect("no bytes, no limit");
            raft.next_append(black_box(id(2)), |_, last, _| Some(Extent { last, bytes: 0 }))
        });
    });
    c.bench_function("raft/next_append with nothing to send", |b| {
        b.iter(|| raft.next_append(black_box(id(2)), whole));
    });
}

fn leader_round(c: &mut Criterion) {
    let mut raft = leader();
    c.bench_function("raft/leader's whole round of three replicas", |b| {
        b.iter(|| {
            let last = raft.propose(16, PAYLOAD_BYTES).expect("everything is committed").last;
            for follower in [2, 3] {
                raft.next_append(id(follower), whole).expect("an append");
            }
            let write = raft.take_persist().expect("entries to write");
            for follower in [2, 3] {
                raft.step(NOW, &ack(follower, last));
            }
            raft.on_persisted(write.seq);
            raft.take_committed()
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .sample_size(50);
    targets = propose, step_append, ack_and_commit, next_append, leader_round
}
criterion_main!(benches);
