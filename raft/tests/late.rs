//! External liveness and old messages: faults that an independent reading of the core found, each as the conversation
//! that shows it.
//!
//! A group here is a handful of cores, written to their disks and connected by hand, so that a message can be late by
//! as much as a test wants. Deliberately absent: nodes; who supports whom is told by the test.

use kontiki_raft::*;

const TIMEOUT_US: u32 = 100_000;
const BEGIN: Time = Time(1_000_000);

fn id(number: u64) -> ReplicaId {
    ReplicaId::new(number).expect("a small group of numbered replicas")
}

struct Group {
    rafts: Vec<Raft>,
    cut: Vec<(u64, u64)>,
    now: Time,
    promised: bool,
}

impl Group {
    fn new(n: u64) -> Self {
        let ids: Vec<_> = (1..=n).map(id).collect();
        let config = Config {
            election_timeout_us: TIMEOUT_US,
            heartbeat_us: 20_000,
            liveness: Liveness::External,
            ..Config::default()
        };
        let rafts = ids
            .iter()
            .map(|&id| {
                Raft::new(
                    config,
                    Start {
                        id,
                        membership: Membership::new(&ids)
                            .expect("a small group of numbered replicas"),
                        changes: &[],
                        hard_state: HardState::default(),
                        compacted: Position::ZERO,
                        spans: &[],
                        committed: Index::ZERO,
                        seed: id.get(),
                        now: BEGIN,
                    },
                )
                .expect("a small group of numbered replicas")
            })
            .collect();
        Self { rafts, cut: vec![], now: BEGIN, promised: true }
    }
    fn n(&self) -> u64 {
        self.rafts.len() as u64
    }
    fn raft(&mut self, number: u64) -> &mut Raft {
        &mut self.rafts[usize::try_from(number - 1).expect("a small group of numbered replicas")]
    }
    /// the engine: whoever follows a leader supports its node for ever
    fn engine(&mut self, number: u64) {
        let now = self.now;
        let promised = self.promised;
        let r = self.raft(number);
        if promised && !r.is_leader() && r.leader().is_some() {
            r.leader_supported_until(now, Time::NEVER);
        }
    }
    fn write(&mut self, number: u64) -> bool {
        let raft = self.raft(number);
        let mut moved = false;
        raft.take_noop();
        while let Some(w) = raft.take_persist() {
            raft.on_persisted(w.seq);
            raft.take_noop();
            moved = true;
        }
        moved
    }
    fn settle(&mut self) {
        while (1..=self.n()).any(|x| self.turn(x)) {}
        self.rafts.iter().for_each(Raft::check_invariants);
    }
    fn turn(&mut self, number: u64) -> bool {
        self.engine(number);
        let mut moved = self.write(number);
        let mut messages: Vec<_> =
            std::iter::from_fn(|| self.raft(number).take_message()).collect();
        for peer in (1..=self.n()).filter(|&p| p != number) {
            messages.extend(self.raft(number).commit_owed(id(peer)));
            moved |= self.append(number, peer);
        }
        for m in messages {
            moved = true;
            self.deliver(m);
        }
        moved
    }
    fn deliver(&mut self, m: Message) {
        let (f, t) = (m.from.get(), m.to.get());
        if self.cut.contains(&(f, t)) {
            return;
        }
        let now = self.now;
        self.raft(t).step(now, &m);
        self.raft(t).take_noop();
        self.engine(t);
    }
    fn append(&mut self, from: u64, to: u64) -> bool {
        let now = self.now;
        let Some(h) =
            self.raft(from).next_append(id(to), |_, last, _| Some(Extent { last, bytes: 1 }))
        else {
            return false;
        };
        if !self.cut.contains(&(from, to)) {
            let raft = self.raft(from);
            let spans: Vec<_> = (h.prev.index.0 + 1..=h.last.0)
                .map(Index)
                .map(|at| Span {
                    term: raft.term_at(at).expect("a small group of numbered replicas"),
                    first: at,
                    last: at,
                })
                .collect();
            self.raft(to).step_append(now, &h, &spans, &[]);
            self.engine(to);
        }
        true
    }
    fn campaign(&mut self, number: u64) {
        let now = self.now;
        self.raft(number).campaign(now);
        self.settle();
    }
    /// time goes on: deadlines are obeyed
    fn run(&mut self, us: u64) {
        let end = Time(self.now.0 + us);
        loop {
            self.settle();
            let cut_off: Vec<u64> = (1..=self.n())
                .filter(|&x| (1..=self.n()).all(|y| y == x || self.cut.contains(&(x, y))))
                .collect();
            let next = (1..=self.n())
                .filter(|x| !cut_off.contains(x))
                .filter_map(|x| Some((self.raft(x).deadline()?, x)))
                .min();
            match next {
                Some((at, x)) if at <= end => {
                    self.now = self.now.max(at);
                    let now = self.now;
                    self.raft(x).on_deadline(now);
                }
                _ => break,
            }
        }
        self.now = end;
    }
}
fn msg(from: u64, to: u64, term: u64, kind: MessageKind) -> Message {
    Message { from: id(from), to: id(to), term: Term(term), kind, session: 0 }
}

#[test]
fn r8_an_answer_to_an_old_leader_acknowledges_nothing() {
    let mut g = Group::new(5);
    g.campaign(1);
    let now = g.now;
    assert!(g.raft(1).is_leader());
    // Replica 1 leads term 1. It speaks to 2, on a slow connection.
    g.raft(1).heartbeat(now);
    let beat = std::iter::from_fn(|| g.raft(1).take_message()).find(|m| m.to == id(2)).unwrap();
    // Its support lapses everywhere (nodes), it steps down, and campaigns; so does 5.
    assert!(!g.raft(1).check_support(now, |_| Time(0)));
    while g.raft(1).take_message().is_some() {} // resignations are on their slow way
    g.promised = false;
    for x in 2..=5 {
        g.raft(x).leader_supported_until(now, now);
    }
    // 5 pre-campaigns with 3 and 4, and becomes a candidate of term 2; only 2 hears of it.
    g.raft(5).campaign(now);
    for x in [3, 4] {
        g.raft(5).step(now, &msg(x, 5, 1, MessageKind::PreVoteReply { granted: true }));
    }
    g.write(5);
    let ask = std::iter::from_fn(|| g.raft(5).take_message()).find(|m| m.to == id(2)).unwrap();
    assert!(matches!(ask.kind, MessageKind::Vote { .. }), "{ask:?}");
    g.raft(2).step(now, &ask);
    assert_eq!((g.raft(2).term(), g.raft(2).leader()), (Term(2), None));
    // Now the beat of term 1 arrives at 2, which answers it.
    g.raft(2).step(now, &beat);
    g.write(2);
    let late: Vec<_> =
        std::iter::from_fn(|| g.raft(2).take_message()).filter(|m| m.to == id(1)).collect();
    // 1 becomes a candidate of term 2 too and wins by 3 and 4.
    g.raft(1).campaign(now);
    for x in [3, 4] {
        g.raft(1).step(now, &msg(x, 1, 1, MessageKind::PreVoteReply { granted: true }));
    }
    g.write(1);
    for x in [3, 4] {
        g.raft(1).step(now, &msg(x, 1, 2, MessageKind::VoteReply { granted: true }));
    }
    assert!(g.raft(1).is_leader(), "{:?}", g.raft(1).status());
    g.write(1);
    for m in &late {
        g.raft(1).step(now, m);
    }
    // Nobody has acknowledged it but, properly, 3.
    g.append(1, 3);
    g.append(1, 3);
    g.write(3);
    for m in std::iter::from_fn(|| g.raft(3).take_message()).collect::<Vec<_>>() {
        if m.to == id(1) {
            g.raft(1).step(now, &m);
        }
    }
    let until = g.raft(1).lease_until(|_| Time::NEVER);
    assert_eq!(g.raft(2).leader(), None);
    assert_eq!(until, Time(0), "only 3 follows; 2 does not know of this leader");
}

#[test]
fn l6_an_acknowledgement_of_compacted_entries_frees_its_window() {
    let mut g = Group::new(3);
    g.campaign(1);
    let now = g.now;
    // A window's worth of entries goes to 3, whose disk is slow; 2 has everything.
    g.raft(1).propose(1, 1).unwrap();
    let h =
        g.raft(1).next_append(id(3), |_, last, room| Some(Extent { last, bytes: room })).unwrap();
    let span = Span { term: Term(1), first: h.last, last: h.last };
    g.raft(3).step_append(now, &h, &[span], &[]);
    g.raft(1).propose(5, 5).unwrap();
    g.write(1);
    while g.append(1, 2) {}
    g.write(2);
    for m in std::iter::from_fn(|| g.raft(2).take_message()).collect::<Vec<_>>() {
        g.raft(1).step(now, &m);
    }
    let committed = g.raft(1).committed();
    assert_eq!(committed, g.raft(1).last().index);
    let (_, last) = g.raft(1).take_committed().unwrap();
    g.raft(1).on_applied(last);
    g.raft(1).on_compacted(last);
    // Now the acknowledgement comes.
    g.write(3);
    for m in std::iter::from_fn(|| g.raft(3).take_message()).collect::<Vec<_>>() {
        g.raft(1).step(now, &m);
    }
    g.run(50 * u64::from(TIMEOUT_US));
    for _ in 0..5 {
        let now = g.now;
        g.raft(1).heartbeat(now);
        g.settle();
        g.now = g.now.after(TIMEOUT_US);
    }
    assert!(
        g.raft(1).take_snapshot_request().is_some(),
        "3 lacks what is compacted, and nobody sends it"
    );
}

#[test]
fn g13_a_resignation_outlasts_a_later_term() {
    let mut g = Group::new(3);
    g.campaign(1);
    let now = g.now;
    g.raft(1).step(now, &msg(3, 1, 5, MessageKind::HeartbeatAck { read_round: 0 }));
    g.raft(1).step(now, &msg(3, 1, 6, MessageKind::HeartbeatAck { read_round: 0 }));
    g.write(1);
    let said: Vec<_> = std::iter::from_fn(|| g.raft(1).take_message()).collect();
    assert!(said.iter().any(|m| m.kind == MessageKind::Resign && m.to == id(2)));
}

#[test]
fn r8_an_answer_to_an_old_leader_makes_no_stale_read() {
    let mut g = Group::new(5);
    g.campaign(1);
    let now = g.now;
    g.raft(1).heartbeat(now);
    let beat = std::iter::from_fn(|| g.raft(1).take_message()).find(|m| m.to == id(2)).unwrap();
    // The nodes let their support of 1's lapse; 1 steps down. Its words to 2 are slow from here on.
    assert!(!g.raft(1).check_support(now, |_| Time(0)));
    g.promised = false;
    for x in 2..=5 {
        g.raft(x).leader_supported_until(now, now);
    }
    g.cut = vec![(1, 2), (1, 5), (5, 1), (5, 3), (5, 4)];
    while let Some(m) = g.raft(1).take_message() {
        g.deliver(m);
    }
    // 5 asks 3 and 4 to be, then 2 for its vote of term 2 (3 and 4 hear of that later).
    g.raft(5).campaign(now);
    for x in [3, 4] {
        g.raft(5).step(now, &msg(x, 5, 1, MessageKind::PreVoteReply { granted: true }));
    }
    g.write(5);
    let ask = std::iter::from_fn(|| g.raft(5).take_message()).find(|m| m.to == id(2)).unwrap();
    g.raft(2).step(now, &ask);
    g.raft(2).step(now, &beat);
    g.write(2);
    let late: Vec<_> =
        std::iter::from_fn(|| g.raft(2).take_message()).filter(|m| m.to == id(1)).collect();
    // 1 campaigns and wins term 2 by 3 and 4; nodes 2, 3 and 4 support it again.
    g.raft(1).campaign(now);
    for _ in 0..20 {
        for x in [1, 3, 4] {
            g.turn(x);
        }
    }
    assert!(g.raft(1).is_leader());
    for x in [3, 4] {
        assert_eq!(g.raft(x).leader(), Some(id(1)));
        g.raft(x).leader_supported_until(now, Time::NEVER);
    }
    for m in &late {
        g.raft(1).step(now, m);
    }
    // The node of 4 stops supporting that of 1, which knows it: 2 and 3 are left.
    g.raft(4).leader_supported_until(now, now);
    let support = |peer| if peer == id(2) || peer == id(3) { Time::NEVER } else { Time(0) };
    assert!(!g.raft(1).check_support(now, support), "only 3 has acknowledged it");
    // 4 is elected by 2 and 5, and commits.
    g.cut = (1..=5).flat_map(|x| [(1, x), (3, x), (x, 1), (x, 3)]).collect();
    g.campaign(4);
    assert!(g.raft(4).is_leader());
    g.raft(4).propose(1, 1).unwrap();
    g.settle();
    let now = g.now;
    let read = g.raft(1).lease_read(now, support);
    assert_eq!(read, None);
}

#[test]
fn r9_a_renewed_promise_is_counted_after_an_answer() {
    let mut g = Group::new(3);
    g.campaign(1);
    let now = g.now;
    let support = |peer| if peer == id(3) { Time(0) } else { Time::NEVER };
    assert!(g.raft(1).lease_read(now, support).is_some());
    g.raft(1).on_support_gained(now, id(2));
    assert!(g.raft(1).lease_read(now, support).is_none());
    g.settle();
    assert!(g.raft(1).lease_read(now, support).is_some());
}

#[test]
fn m8_a_leader_alone_that_takes_in_a_voter_leads_on() {
    let config = Config {
        election_timeout_us: TIMEOUT_US,
        heartbeat_us: 20_000,
        liveness: Liveness::External,
        ..Config::default()
    };
    let start = |n: u64, membership| {
        Raft::new(
            config,
            Start {
                id: id(n),
                membership,
                changes: &[],
                hard_state: HardState::default(),
                compacted: Position::ZERO,
                spans: &[],
                committed: Index::ZERO,
                seed: n,
                now: BEGIN,
            },
        )
        .unwrap()
    };
    let mut g = Group {
        rafts: vec![start(1, Membership::new(&[id(1)]).unwrap())],
        cut: vec![],
        now: BEGIN,
        promised: true,
    };
    g.campaign(1);
    assert!(g.raft(1).is_leader());
    g.raft(1).propose_membership(&[Change::AddVoter(id(2))], Transition::Auto).unwrap();
    g.write(1);
    g.now = g.now.after(10);
    let now = g.now;
    g.raft(1).on_deadline(now);
    assert!(g.raft(1).is_leader(), "it steps down before the new voter can have answered");
}

#[test]
fn l10_a_snapshot_of_a_later_leader_ends_what_was_promised_to_the_last() {
    let mut g = Group::new(3);
    g.campaign(1);
    assert_eq!(g.raft(2).supports(), Some(id(1)));
    let now = g.now;
    let membership = g.raft(2).membership();
    let header = SnapshotHeader {
        from: id(3),
        to: id(2),
        term: Term(2),
        session: 0,
        position: Position::new(Term(2), Index(9)),
        membership,
    };
    g.raft(2).install_snapshot(now, &header);
    g.promised = false; // node 3 is not supported by node 2
    g.write(2);
    assert_eq!(g.raft(2).supports(), None);
    assert!(g.raft(2).deadline().is_some());
}

#[test]
fn r3_a_peer_that_owes_the_answer_to_a_round_is_not_even() {
    let mut g = Group::new(3);
    g.campaign(1);
    g.now = g.now.after(TIMEOUT_US);
    let now = g.now;
    g.raft(1).read(now).unwrap();
    while g.raft(1).take_message().is_some() {} // its answer is lost with the connection
    let later = now.after(TIMEOUT_US);
    assert!(!g.raft(1).is_even_with(later, id(2), 1_000), "a read waits for it");
}

#[test]
fn g8_a_bound_witness_reminds_too() {
    let mut g = Group::new(4);
    g.campaign(1);
    g.raft(1).propose_membership(&[Change::AddWitness(id(4))], Transition::Auto).unwrap();
    // relay with the membership
    let m = g.raft(1).membership();
    let at = g.raft(1).membership_index();
    let now = g.now;
    g.write(1);
    for peer in 2..=4 {
        if let Some(h) =
            g.raft(1).next_append(id(peer), |_, last, _| Some(Extent { last, bytes: 1 }))
        {
            g.raft(peer).step_append(
                now,
                &h,
                &[Span { term: Term(1), first: at, last: at }],
                &[MembershipAt { index: at, membership: m }],
            );
        }
    }
    g.settle();
    assert_eq!((g.raft(4).membership_index(), g.raft(4).supports()), (at, Some(id(1))));
    // It hears of a later term; the reminder is lost.
    g.raft(4).step(now, &msg(3, 4, 5, MessageKind::HeartbeatAck { read_round: 0 }));
    g.write(4);
    let mut said = 0;
    while g.raft(4).take_message().is_some() {
        said += 1;
    }
    assert!(said > 0);
    g.raft(4).on_peer_down(now, id(1));
    g.raft(4).on_peer_up(now, id(1));
    let again: Vec<_> = std::iter::from_fn(|| g.raft(4).take_message()).collect();
    assert!(g.raft(4).deadline().is_some() || !again.is_empty());
}
