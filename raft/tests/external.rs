//! Liveness from outside: nodes promise support to each other, once for all their groups, and the
//! core is told until when. Names begin with the hazard's id.

#![expect(clippy::unwrap_used, reason = "helpers of tests, though not inside of one")]

use kontiki_raft::{
    Config, Extent, HardState, Index, Liveness, Membership, Message, MessageKind, Position, Raft,
    ReplicaId, Role, Span, Start, Term, Time,
};

const TIMEOUT_US: u32 = 100_000;
const BEGIN: Time = Time(1_000_000);

fn id(number: u64) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

/// Three replicas whose messages arrive at once, unless one end is cut off.
struct Trio {
    rafts: Vec<Raft>,
    cut: Vec<u64>,
    now: Time,
}

impl Trio {
    fn new() -> Self {
        let ids = [1, 2, 3].map(id);
        let config = Config {
            election_timeout_us: TIMEOUT_US,
            heartbeat_us: 20_000,
            liveness: Liveness::External,
            ..Config::default()
        };
        let start = |id: ReplicaId| Start {
            id,
            membership: Membership::new(&ids).unwrap(),
            changes: &[],
            hard_state: HardState::default(),
            compacted: Position::ZERO,
            spans: &[],
            committed: Index::ZERO,
            seed: id.get(),
            now: BEGIN,
        };
        let rafts = ids.map(|id| Raft::new(config, start(id)).unwrap()).into();
        Self { rafts, cut: Vec::new(), now: BEGIN }
    }

    /// Replica 1 leads, and everybody supports its node for ever.
    fn led() -> Self {
        let mut trio = Self::new();
        trio.campaign(1);
        trio.support(Time::NEVER);
        assert!(trio.raft(1).is_leader());
        trio
    }

    fn raft(&mut self, number: u64) -> &mut Raft {
        &mut self.rafts[usize::try_from(number - 1).unwrap()]
    }

    fn campaign(&mut self, number: u64) {
        let now = self.now;
        self.raft(number).campaign(now);
        self.settle();
    }

    /// Replicas 2 and 3 are told until when replica 1 is supported.
    fn support(&mut self, until: Time) {
        let now = self.now;
        for follower in [2, 3] {
            self.raft(follower).leader_supported_until(now, until);
        }
    }

    fn tell(&mut self, from: u64, to: u64, term: u64, kind: MessageKind) -> Vec<MessageKind> {
        let now = self.now;
        let message = Message { from: id(from), to: id(to), term: Term(term), kind, session: 0 };
        self.raft(to).step(now, &message);
        let raft = self.raft(to);
        while let Some(write) = raft.take_persist() {
            raft.on_persisted(write.seq);
        }
        std::iter::from_fn(|| raft.take_message()).map(|reply| reply.kind).collect()
    }

    /// Everything is persisted and delivered until nothing moves.
    fn settle(&mut self) {
        while (1..=3).any(|number| self.turn(number)) {}
        self.rafts.iter().for_each(Raft::check_invariants);
    }

    fn turn(&mut self, number: u64) -> bool {
        let now = self.now;
        let mut moved = false;
        let raft = self.raft(number);
        raft.take_noop();
        while let Some(write) = raft.take_persist() {
            raft.on_persisted(write.seq);
            raft.take_noop();
            moved = true;
        }
        let mut messages: Vec<_> = std::iter::from_fn(|| raft.take_message()).collect();
        for peer in (1..=3).filter(|&peer| peer != number) {
            messages.extend(self.raft(number).commit_owed(id(peer)));
            moved |= self.append(number, peer);
        }
        for message in messages {
            moved = true;
            let (from, to) = (message.from.get(), message.to.get());
            if !self.cut.contains(&from) && !self.cut.contains(&to) {
                self.raft(to).step(now, &message);
                self.raft(to).take_noop();
            }
        }
        moved
    }

    fn append(&mut self, from: u64, to: u64) -> bool {
        let now = self.now;
        let all = |_, last, _| Some(Extent { last, bytes: 1 });
        let Some(header) = self.raft(from).next_append(id(to), all) else { return false };
        if !self.cut.contains(&from) && !self.cut.contains(&to) {
            let indexes = (header.prev.index.0 + 1..=header.last.0).map(Index);
            let raft = self.raft(from);
            let span = |at| Span { term: raft.term_at(at).unwrap(), first: at, last: at };
            let spans: Vec<_> = indexes.map(span).collect();
            self.raft(to).step_append(now, &header, &spans, &[]);
        }
        true
    }
}

fn vote(forced: bool) -> MessageKind {
    MessageKind::Vote { last: Position::new(Term(9), Index(9)), forced }
}

const PRE_VOTE: MessageKind = MessageKind::PreVote { last: Position::new(Term(9), Index(9)) };

#[test]
fn nobody_has_deadlines_while_the_leader_is_supported() {
    let mut trio = Trio::led();
    assert!(trio.rafts.iter().all(|raft| raft.deadline().is_none()));
    // The leader sends no heartbeats of its own, and does not count its silent followers.
    trio.now = trio.now.after(50 * TIMEOUT_US);
    let now = trio.now;
    trio.raft(1).on_deadline(now);
    assert!(trio.raft(1).is_leader());
    assert_eq!(trio.raft(1).take_message(), None);
    assert_eq!(trio.raft(1).deadline(), None);
}

#[test]
fn a_follower_neither_campaigns_nor_votes_before_the_support_ends() {
    let mut trio = Trio::led();
    let until = BEGIN.after(7 * TIMEOUT_US);
    trio.support(until);
    let at = trio.raft(2).deadline().unwrap();
    assert!(until <= at && at < until.after(TIMEOUT_US), "drawn behind the promise: {at:?}");
    for us in [0, TIMEOUT_US, 7 * TIMEOUT_US - 1] {
        trio.now = BEGIN.after(us);
        let now = trio.now;
        trio.raft(2).on_deadline(now);
        trio.raft(2).campaign(now);
        assert_eq!(trio.raft(2).role(), Role::Follower);
        assert_eq!(trio.tell(3, 2, 9, PRE_VOTE), [MessageKind::PreVoteReply { granted: false }]);
        assert_eq!(trio.tell(3, 2, 9, vote(false)), [], "not even its term is entered");
        assert_eq!(trio.raft(2).term(), Term(1));
    }
    trio.now = until;
    assert_eq!(trio.tell(3, 2, 9, PRE_VOTE), [MessageKind::PreVoteReply { granted: true }]);
    trio.now = at;
    trio.raft(2).on_deadline(at);
    assert_eq!(trio.raft(2).role(), Role::PreCandidate);
}

#[test]
fn r9_what_was_promised_outlives_the_leader_s_term() {
    let mut trio = Trio::led();
    trio.support(BEGIN.after(TIMEOUT_US));
    trio.tell(3, 2, 9, MessageKind::HeartbeatAck { read_round: 0 });
    assert_eq!((trio.raft(2).term(), trio.raft(2).leader()), (Term(9), None));
    let granted = false;
    assert_eq!(trio.tell(3, 2, 9, vote(false)), [MessageKind::VoteReply { granted }]);
    trio.raft(2).forget_leader();
    assert_eq!(trio.tell(3, 2, 9, vote(false)), [MessageKind::VoteReply { granted }]);
    trio.now = BEGIN.after(TIMEOUT_US);
    let granted = true;
    assert_eq!(trio.tell(3, 2, 9, vote(false)), [MessageKind::VoteReply { granted }]);
}

#[test]
fn a_lease_is_what_a_majority_promises_of_those_who_know_the_leader() {
    let mut trio = Trio::new();
    trio.cut.push(3);
    let now = trio.now;
    trio.raft(1).campaign(now);
    trio.settle();
    assert!(trio.raft(1).is_leader());
    let support = |two, three| move |peer| if peer == id(2) { Time(two) } else { Time(three) };
    assert_eq!(trio.raft(1).lease_until(support(50, 9_999)), Time(50), "3 has not heard of it");
    assert_eq!(trio.raft(1).lease_until(support(0, 9_999)), Time(0));
    trio.cut.clear();
    trio.raft(1).on_peer_up(now, id(3));
    trio.settle();
    assert_eq!(trio.raft(1).lease_until(support(50, 9_999)), Time(9_999), "the leader and one");
    assert_eq!(trio.raft(2).lease_until(support(50, 9_999)), Time(0), "who does not lead has none");
}

#[test]
fn r2_a_supported_leader_serves_nothing_before_its_first_commit() {
    let mut trio = Trio::new();
    let now = trio.now;
    trio.raft(1).campaign(now);
    while !trio.raft(1).is_leader() {
        for number in 1..=3 {
            let raft = trio.raft(number);
            while let Some(write) = raft.take_persist() {
                raft.on_persisted(write.seq);
            }
            for message in std::iter::from_fn(|| raft.take_message()).collect::<Vec<_>>() {
                trio.raft(message.to.get()).step(now, &message);
            }
        }
    }
    assert_eq!(trio.raft(1).lease_read(now, |_| Time::NEVER), None);
    trio.settle();
    let committed = trio.raft(1).committed();
    assert_eq!(trio.raft(1).lease_read(now, |_| Time::NEVER), Some(committed));
    assert_eq!(trio.raft(1).lease_read(now, |_| now), None, "not beyond now");
    assert_eq!(trio.raft(2).lease_read(now, |_| Time::NEVER), None);
}

#[test]
fn r7_e8_a_transfer_works_under_support_and_ends_the_lease_for_good() {
    let mut trio = Trio::led();
    let now = trio.now;
    assert!(trio.raft(1).lease_read(now, |_| Time::NEVER).is_some());
    trio.raft(1).transfer(now, id(2)).unwrap();
    assert_eq!(trio.raft(1).lease_read(now, |_| Time::NEVER), None);
    // The order is lost, and the transfer given up; yet it may be obeyed at any time.
    let order = std::iter::from_fn(|| trio.raft(1).take_message()).next().unwrap();
    assert!(matches!(order.kind, MessageKind::TimeoutNow { .. }));
    let later = now.after(2 * TIMEOUT_US);
    trio.now = later;
    trio.raft(1).on_deadline(later);
    assert_eq!(trio.raft(1).status().transferring, None);
    assert_eq!(trio.raft(1).lease_until(|_| Time::NEVER), Time(0));
    assert!(trio.raft(1).check_support(later, |_| Time::NEVER), "it leads, only not for certain");
    trio.raft(2).step(later, &order);
    trio.settle();
    assert!(trio.raft(2).is_leader(), "though everybody supports replica 1");
    assert_eq!(trio.raft(1).leader(), Some(id(2)));
}

#[test]
fn a_leader_without_support_steps_down() {
    let mut trio = Trio::led();
    let now = trio.now;
    let one = |peer| if peer == id(2) { Time::NEVER } else { Time(0) };
    assert!(trio.raft(1).check_support(now, one), "itself and one other");
    assert!(!trio.raft(1).check_support(now, |_| now));
    assert_eq!(trio.raft(1).role(), Role::Follower);
    assert!(!trio.raft(2).check_support(now, |_| Time::NEVER), "who does not lead");
}

#[test]
fn a_new_leader_has_one_election_timeout_to_be_acknowledged() {
    let mut trio = Trio::new();
    let now = trio.now;
    trio.raft(1).campaign(now);
    for voter in [2, 3] {
        trio.tell(voter, 1, 0, MessageKind::PreVoteReply { granted: true });
    }
    let grant = MessageKind::VoteReply { granted: true };
    let message = Message { from: id(2), to: id(1), term: Term(1), kind: grant, session: 0 };
    trio.raft(1).step(now, &message);
    trio.raft(1).take_noop().unwrap();
    assert!(trio.raft(1).check_support(now, |_| Time::NEVER));
    assert!(trio.raft(1).check_support(now.after(TIMEOUT_US - 1), |_| Time(0)));
    let mut supported = trio.raft(1).clone();
    assert!(!supported.check_support(now.after(TIMEOUT_US), |_| Time::NEVER), "nobody knows it");
}

#[test]
fn g8_a_leader_that_stepped_down_is_elected_again_though_its_node_is_supported() {
    // Its node lost the support of the others for a moment. They support it again, and for them it
    // leads still: if they refused it for its own sake, nobody would ever lead.
    let mut trio = Trio::led();
    let now = trio.now;
    assert!(!trio.raft(1).check_support(now, |_| now));
    let at = trio.raft(1).deadline().expect("it waits for a leader");
    trio.now = at;
    trio.raft(1).on_deadline(at);
    trio.settle();
    assert!(trio.raft(1).is_leader());
    assert_eq!(trio.raft(1).term(), Term(2));
    assert_eq!(trio.raft(2).leader(), Some(id(1)));
}

#[test]
fn r8_what_was_acknowledged_under_an_earlier_promise_counts_for_no_lease() {
    let mut trio = Trio::led();
    let now = trio.now;
    trio.cut.push(3);
    let two = |peer| if peer == id(2) { Time::NEVER } else { Time(0) };
    assert!(trio.raft(1).lease_read(now, two).is_some());
    // Node 2 let node 1 down for a moment. Its replica may have voted for another since.
    trio.raft(1).on_support_gained(now, id(2));
    assert_eq!(trio.raft(1).lease_until(two), Time(0));
    let session = trio.raft(1).progress().next().unwrap().session;
    let late = MessageKind::HeartbeatAck { read_round: 0 };
    trio.tell(2, 1, 1, late);
    assert_eq!(trio.raft(1).lease_until(two), Time(0), "that was said before");
    trio.settle();
    assert_eq!(trio.raft(1).lease_until(two), Time::NEVER, "it was asked again, and answered");
    assert_eq!(trio.raft(1).progress().next().unwrap().session, session);
}

#[test]
fn g8_a_lapse_gives_those_who_followed_a_deadline_and_their_votes_back() {
    let mut trio = Trio::led();
    let now = trio.now;
    trio.raft(2).on_support_lapsed(now, id(3));
    assert_eq!(trio.raft(2).deadline(), None, "another's node is nothing to it");
    for follower in [2, 3] {
        trio.raft(follower).on_support_lapsed(now, id(1));
        let raft = trio.raft(follower);
        assert_eq!((raft.leader(), raft.supports()), (None, None));
        assert!(raft.deadline().is_some_and(|at| at < now.after(2 * TIMEOUT_US)));
    }
    assert!(trio.raft(1).is_leader(), "it hears of that from its own node");
    trio.campaign(2);
    let leader = (trio.raft(1).is_leader(), trio.raft(2).leader());
    assert_eq!(leader, (true, Some(id(1))), "a leader that hears of the campaign speaks up");
    trio.raft(2).on_support_lapsed(now, id(1));
    trio.raft(3).on_support_lapsed(now, id(1));
    trio.cut.push(1);
    trio.campaign(2);
    assert!(trio.raft(2).is_leader());
}

#[test]
fn e12_a_leader_of_whom_nobody_hears_steps_down_by_itself() {
    let mut trio = Trio::new();
    let now = trio.now;
    trio.raft(1).campaign(now);
    trio.tell(2, 1, 0, MessageKind::PreVoteReply { granted: true });
    let grant = MessageKind::VoteReply { granted: true };
    let message = Message { from: id(2), to: id(1), term: Term(1), kind: grant, session: 0 };
    trio.raft(1).step(now, &message);
    trio.raft(1).take_noop().unwrap();
    assert!(trio.raft(1).is_leader());
    let at = trio.raft(1).deadline().expect("it waits to be acknowledged");
    assert_eq!(at, now.after(TIMEOUT_US));
    trio.raft(1).on_deadline(at);
    assert_eq!(trio.raft(1).role(), Role::Follower);
    assert!(trio.raft(1).deadline().is_some(), "and waits for another leader");
}

#[test]
fn g8_who_supports_a_leader_of_an_earlier_term_reminds_it_until_it_resigns() {
    let mut trio = Trio::led();
    // Replica 2 hears of a later term, but of no leader.
    let said = trio.tell(3, 2, 9, MessageKind::PreVoteReply { granted: false });
    assert_eq!(said, [MessageKind::HeartbeatAck { read_round: 0 }], "the leader must know of it");
    let at = trio.raft(2).deadline().expect("nobody without a leader is left without a deadline");
    // That was lost. It says so again, and does not campaign meanwhile.
    trio.now = at;
    trio.raft(2).on_deadline(at);
    assert_eq!((trio.raft(2).role(), trio.raft(2).supports()), (Role::Follower, Some(id(1))));
    trio.settle();
    assert_eq!((trio.raft(1).role(), trio.raft(1).term()), (Role::Follower, Term(9)));
    assert_eq!(trio.raft(2).supports(), None, "it was told that its promise is void");
    trio.campaign(3);
    assert!(trio.raft(3).is_leader());
}

#[test]
fn g8_an_ordered_election_that_fails_leaves_nobody_without_a_deadline() {
    let mut trio = Trio::led();
    assert_eq!(trio.tell(3, 2, 2, vote(true)), [MessageKind::VoteReply { granted: true }]);
    assert_eq!(trio.raft(2).supports(), None, "the leader itself has ordered it");
    assert!(trio.raft(2).deadline().is_some());
    assert!(trio.raft(3).deadline().is_none(), "it follows still");
}

#[test]
fn g8_who_lacks_nothing_is_even_and_no_one_else() {
    let mut trio = Trio::led();
    let (now, quiet) = (trio.now, 1_000);
    let later = now.after(2_000);
    assert!(!trio.raft(1).is_even_with(now, id(2), quiet), "what was sent may be on its way");
    assert!(!trio.raft(1).is_even_with(later, id(2), quiet), "nor that all have everything");
    assert!(trio.raft(1).tell_floor());
    trio.settle();
    assert!(!trio.raft(1).tell_floor(), "once is enough");
    assert_eq!(trio.raft(2).log_floor(), trio.raft(1).committed());
    assert!(trio.raft(1).is_even_with(later, id(2), quiet));
    trio.raft(1).propose(1, 8).unwrap();
    assert!(!trio.raft(1).is_even_with(later, id(2), quiet));
    assert!(!trio.raft(2).is_even_with(later, id(1), quiet), "only a leader knows");
}

/// The order to resign would still be on its way when the lead is won, and void what followers
/// promise to it.
#[test]
fn r9_a_candidate_does_not_resign_the_term_that_it_may_win() {
    let mut trio = Trio::new();
    let raft = trio.raft(1);
    let say = |from, term, kind| Message { from: id(from), to: id(1), term, kind, session: 0 };
    raft.campaign(BEGIN);
    raft.step(BEGIN, &say(2, Term(0), MessageKind::PreVoteReply { granted: true }));
    assert_eq!((raft.role(), raft.term()), (Role::Candidate, Term(1)));
    // Somebody answers what this replica said as the leader of an earlier term.
    raft.step(BEGIN, &say(3, Term(1), MessageKind::HeartbeatAck { read_round: 0 }));
    while let Some(write) = raft.take_persist() {
        raft.on_persisted(write.seq);
    }
    let said: Vec<_> = std::iter::from_fn(|| raft.take_message()).map(|m| m.kind).collect();
    assert!(
        said.len() == 2 && said.iter().all(|kind| matches!(kind, MessageKind::Vote { .. })),
        "{said:?}"
    );
}
