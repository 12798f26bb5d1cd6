//! Three shards whose nodes support each other: what becomes of groups, most of them at rest, when that changes.
//!
//! Beats are not sent here: the tests say who supports whom, in the order in which `crate::support` would. What is
//! counted on ends before what was promised does.

use super::*;
use crate::shard::CAMPAIGNS_IN_FLIGHT_MAX;
use kontiki_raft::Liveness;

/// What a promise is worth to whom it was made, until the next beat.
const LEASE_US: u64 = 500_000;
/// What a node waits after a start before it votes.
const RESTART_WAIT_US: u64 = 740_000;
const STEP_US: u64 = 50_000;
const ELECTION_TIMEOUT_US: u64 = 1_000_000;

struct Living {
    cluster: TestCluster,
    /// Who supports whom.
    support: Vec<(u64, u64)>,
    /// Links that are cut, both ways.
    cut: Vec<(u64, u64)>,
    down: Vec<u64>,
    epochs: [u64; 3],
    priority: Arc<[u64]>,
}

fn pair(a: u64, b: u64) -> (u64, u64) {
    (a.min(b), a.max(b))
}

impl Living {
    fn config(&self, node: u64) -> ShardConfig {
        let raft = kontiki_raft::Config { liveness: Liveness::External, ..Default::default() };
        ShardConfig { raft, priority_groups: Arc::clone(&self.priority), ..config(node) }
    }

    fn new(groups: u64, priority: &[u64]) -> Self {
        let cluster =
            TestCluster { nodes: vec![], now: Time(1_000_000), queue: CompletionQueue::new() };
        let (support, cut, down) = (Vec::new(), Vec::new(), Vec::new());
        let mut this =
            Self { cluster, support, cut, down, epochs: [1; 3], priority: priority.into() };
        for id in NODES {
            let identity = Identity::new(1, id).unwrap();
            let durability = crate::config::Durability::Fsync;
            let log = MemoryLog::new(identity, records(id, groups), durability);
            let node = TestNode::open_with(this.config(id), this.now(), log, &|_| Index(0));
            this.cluster.nodes.push(node);
        }
        for (a, b) in [(1, 2), (1, 3), (2, 3)] {
            this.connect(a, b);
        }
        this
    }

    /// Node 1 leads every group, and all of them rest.
    fn at_rest(groups: u64, priority: &[u64]) -> Self {
        let mut this = Self::new(groups, priority);
        for group in 1..=groups {
            let now = this.now();
            this.shard(1).campaign(now, group);
        }
        this.settle();
        for _ in 0..100 {
            this.step();
        }
        assert_eq!(this.shard(1).led().count() as u64, groups);
        assert!(NODES.iter().all(|&node| this.shard(node).awake() == 0), "not at rest");
        this
    }

    fn now(&self) -> Time {
        self.cluster.now
    }

    fn shard(&mut self, node: u64) -> &mut Shard {
        &mut self.cluster.nodes[usize::try_from(node - 1).unwrap()].shard
    }

    fn hear(&self, from: u64, to: u64) -> bool {
        !self.cut.contains(&pair(from, to))
            && !self.down.contains(&from)
            && !self.down.contains(&to)
    }

    /// One round of every node; whether anything happened.
    fn round(&mut self) -> bool {
        let mut moved = false;
        for node in NODES {
            if self.down.contains(&node) {
                continue;
            }
            let at = usize::try_from(node - 1).unwrap();
            let mut sent = self.cluster.nodes[at].round();
            moved |= !sent.is_empty() || self.cluster.nodes[at].shard.has_work();
            sent.retain(|&(to, _)| self.hear(node, to));
            self.cluster.deliver(node, sent);
            while self.cluster.nodes[at].persist() {
                moved = true;
            }
        }
        moved
    }

    fn settle(&mut self) {
        assert!((0..1000).any(|_| !self.round()), "the cluster does not come to rest");
    }

    /// Time passes, beats renew what stands, and everything that follows is done.
    fn step(&mut self) {
        self.cluster.now = Time(self.now().0 + STEP_US);
        let (now, until) = (self.now(), Time(self.now().0 + LEASE_US));
        for (by, of) in self.support.clone() {
            self.shard(of).supported_by(now, by, until, false);
        }
        self.tick();
        self.settle();
    }

    fn tick(&mut self) {
        let now = self.now();
        for node in NODES {
            if !self.down.contains(&node) {
                self.shard(node).tick(now);
            }
        }
    }

    /// The two are connected, and begin to support each other.
    fn connect(&mut self, a: u64, b: u64) {
        self.cut.retain(|&link| link != pair(a, b));
        let (now, until) = (self.now(), Time(self.now().0 + LEASE_US));
        for (of, by) in [(a, b), (b, a)] {
            let epoch = self.epochs[usize::try_from(by - 1).unwrap()];
            self.shard(of).peer_up(now, by, epoch);
        }
        for (of, by) in [(a, b), (b, a)] {
            self.shard(by).supported(now, of);
            self.shard(of).supported_by(now, by, until, true);
            self.support.push((by, of));
        }
    }

    /// The two hear nothing of each other for so long that all is over between them.
    fn disconnect(&mut self, a: u64, b: u64) {
        self.cut.push(pair(a, b));
        self.support.retain(|&(by, of)| pair(by, of) != pair(a, b));
        let (now, down) = (self.now(), self.down.clone());
        let each = [(a, b), (b, a)].into_iter().filter(|(of, _)| !down.contains(of));
        for (of, by) in each.clone() {
            self.shard(of).peer_down(now, by);
            self.shard(of).lost(now, by);
        }
        for (of, by) in each {
            self.shard(of).lapsed(now, by);
        }
    }

    fn kill(&mut self, node: u64) {
        self.down.push(node);
        for other in NODES.into_iter().filter(|&other| other != node) {
            self.disconnect(node, other);
        }
    }

    /// The node is killed and comes back at once, in its next epoch, with what its disk has. The others have promised
    /// it something, and it has promised them something.
    fn restart(&mut self, node: u64) {
        let at = usize::try_from(node - 1).unwrap();
        let now = self.now();
        self.epochs[at] += 1;
        self.support.retain(|&(by, of)| by != node && of != node);
        let old = self.cluster.nodes.remove(at);
        let new = TestNode::open_with(self.config(node), now, old.log.crash(0), &|_| Index(0));
        self.cluster.nodes.insert(at, new);
        self.shard(node).hold_votes(now, Time(now.0 + RESTART_WAIT_US));
        for other in NODES.into_iter().filter(|&other| other != node) {
            self.shard(other).peer_down(now, node);
            self.shard(other).lost(now, node);
            self.shard(other).lapsed(now, node);
            self.connect(node, other);
        }
    }

    /// Whether those that are up agree who leads `group`, and it does.
    fn leader(&mut self, group: u64) -> Option<u64> {
        let up: Vec<u64> = NODES.into_iter().filter(|node| !self.down.contains(node)).collect();
        let named: Vec<_> =
            up.iter().map(|&node| self.shard(node).status(group).unwrap().leader).collect();
        let leader = named[0].filter(|_| named.windows(2).all(|pair| pair[0] == pair[1]))?;
        (self.shard(leader).status(group).unwrap().role == "leader").then_some(leader)
    }

    /// How long it takes until all groups are led and everybody knows by whom.
    fn healed_after(&mut self, groups: u64, limit_us: u64) -> u64 {
        let began = self.now().0;
        while !(1..=groups).all(|group| self.leader(group).is_some()) {
            let took = self.now().0 - began;
            assert!(took <= limit_us, "not healed after {took} us");
            self.step();
        }
        self.now().0 - began
    }

    /// Healed within two election timeouts, a write comes to everybody, and then all rest again.
    fn heals(&mut self, groups: u64) {
        self.healed_after(groups, 2 * ELECTION_TIMEOUT_US);
        for group in 1..=groups {
            let leader = self.leader(group).unwrap();
            let before: Vec<u64> =
                NODES.map(|node| self.shard(node).status(group).unwrap().applied).into();
            self.cluster.submit(usize::try_from(leader - 1).unwrap(), writes(group, &[b"x"]));
            self.settle();
            let answers = self.cluster.answers();
            assert!(answers.len() == 1 && answers[0].result().is_ok(), "{answers:?}");
            for (node, before) in NODES.into_iter().zip(before) {
                let applied = self.shard(node).status(group).unwrap().applied;
                assert!(applied > before || self.down.contains(&node), "node {node}");
            }
        }
        for _ in 0..100 {
            self.step();
        }
        assert!(NODES.iter().all(|&node| self.shard(node).awake() == 0), "not at rest again");
    }

    /// Asks node 1 for a read of group 1 and ends its round, without a word to anybody; whether it was served.
    fn read_is_served(&mut self) -> bool {
        let mut read = Submission::default();
        read.push_read(1, 5).unwrap();
        self.cluster.submit(0, read);
        drop(self.cluster.nodes[0].round());
        self.cluster.answers().iter().any(|answer| answer.result().is_ok())
    }
}

#[test]
fn g8_a_follower_that_restarts_while_its_group_sleeps() {
    let mut living = Living::at_rest(3, &[]);
    living.restart(2);
    living.heals(3);
}

#[test]
fn g8_a_leader_that_restarts_while_its_group_sleeps() {
    let mut living = Living::at_rest(3, &[]);
    living.restart(1);
    living.heals(3);
}

#[test]
fn g8_a_transfer_of_a_sleeping_group() {
    let mut living = Living::at_rest(3, &[]);
    let now = living.now();
    living.shard(1).transfer(now, 2, Some(3)).unwrap();
    living.settle();
    living.heals(3);
    assert_eq!((living.leader(1), living.leader(2)), (Some(1), Some(3)));
}

#[test]
fn g8_e12_a_partial_partition_of_a_sleeping_group() {
    for (a, b) in [(1, 2), (1, 3), (2, 3)] {
        let mut living = Living::at_rest(3, &[]);
        living.disconnect(a, b);
        for _ in 0..60 {
            living.step();
        }
        // A leader that two of three support leads on, whoever else does not hear it.
        let leads = |living: &mut Living| living.shard(1).led().count();
        assert_eq!(leads(&mut living), 3, "the link {a}-{b}");
        living.connect(a, b);
        living.heals(3);
        assert_eq!(leads(&mut living), 3, "the link {a}-{b}, healed");
    }
}

#[test]
fn g9_a_dead_node_s_groups_campaign_a_bounded_number_at_a_time() {
    const GROUPS: u64 = 1000;
    let mut living = Living::at_rest(GROUPS, &[]);
    living.kill(1);
    living.tick();
    for node in [2, 3] {
        // About half of the groups are each one's to begin with, which is more than may be under way.
        assert_eq!(living.shard(node).campaigns().0, CAMPAIGNS_IN_FLIGHT_MAX, "node {node}");
    }
    let took = living.healed_after(GROUPS, 2 * ELECTION_TIMEOUT_US);
    println!("{GROUPS} groups led again {took} us after the lapse");
    for node in [2, 3] {
        let (under_way, most) = living.shard(node).campaigns();
        assert!(under_way == 0 && most == CAMPAIGNS_IN_FLIGHT_MAX, "{under_way}, {most}");
    }
}

#[test]
fn g9_priority_groups_campaign_first_then_those_that_were_awake() {
    const GROUPS: u64 = 1000;
    let (prior, busy) = ([988, 990, 992, 994, 996, 998], [987, 989, 991, 993, 995, 997]);
    let mut living = Living::at_rest(GROUPS, &prior);
    for group in busy {
        living.cluster.submit(0, writes(group, &[b"x"]));
    }
    living.settle();
    living.kill(1);
    living.tick();
    let campaigns = |group| {
        let role = |node: u64| {
            living.cluster.nodes[usize::try_from(node - 1).unwrap()]
                .shard
                .status(group)
                .unwrap()
                .role
        };
        role(2) != "follower" || role(3) != "follower"
    };
    for group in prior.into_iter().chain(busy) {
        assert!(campaigns(group), "group {group} waits behind others");
    }
    // Those at rest come in the order of their slots, and the bound was reached long before the last.
    assert!((900..980).all(|group| !campaigns(group)));
    living.healed_after(GROUPS, 2 * ELECTION_TIMEOUT_US);
}

#[test]
fn g16_groups_whose_leader_resigns_do_not_wait_for_an_election_timeout() {
    let mut living = Living::at_rest(100, &[]);
    // Node 1's beats stop, and it is the first to know that nobody counts it among the living.
    living.support.retain(|&(_, of)| of != 1);
    let now = living.now();
    for by in [2, 3] {
        living.shard(1).lost(now, by);
    }
    living.shard(1).set_stalled(true);
    living.settle();
    assert_eq!(living.shard(1).led().count(), 0);
    for node in [2, 3] {
        living.shard(node).lapsed(now, 1);
    }
    let took = living.healed_after(100, ELECTION_TIMEOUT_US / 2);
    println!("100 groups led again {took} us after their leader resigned");
    assert_eq!(living.shard(1).led().count(), 0);
}

#[test]
fn g16_nobody_campaigns_whose_log_could_not_keep_a_vote() {
    let mut living = Living::at_rest(10, &[]);
    living.shard(2).set_stalled(true);
    living.shard(3).set_stalled(true);
    living.kill(1);
    for _ in 0..100 {
        living.step();
    }
    assert_eq!((living.shard(2).campaigns().1, living.shard(3).campaigns().1), (0, 0));
    living.shard(3).set_stalled(false);
    living.healed_after(10, 2 * ELECTION_TIMEOUT_US);
    assert_eq!(living.shard(3).led().count(), 10);
}

#[test]
fn r10_an_isolated_leader_serves_to_the_end_of_its_lease_and_no_longer() {
    let mut living = Living::at_rest(1, &[]);
    let end = living.now().0 + LEASE_US;
    living.cut = vec![(1, 2), (1, 3)]; // Nobody is told: it is isolated, and knows nothing of it.
    living.cluster.now = Time(end - 1);
    assert!(living.read_is_served());
    living.cluster.now = Time(end);
    assert!(!living.read_is_served(), "all is applied, and it leads for all it knows");
}

#[test]
fn r6_r7_no_lease_outlives_the_order_to_campaign_whatever_is_asked_meanwhile() {
    let mut living = Living::at_rest(1, &[]);
    assert!(living.read_is_served());
    let now = living.now();
    living.shard(1).transfer(now, 1, Some(2)).unwrap();
    let order = living.cluster.nodes[0].round();
    assert!(!order.is_empty(), "the order leaves");
    for _ in 0..3 {
        // Its support is renewed all the while, and reads that ask the others may be on their way.
        let (now, until) = (living.now(), Time(living.now().0 + LEASE_US));
        for by in [2, 3] {
            living.shard(1).supported_by(now, by, until, false);
        }
        assert!(!living.read_is_served(), "by a lease that another may have taken");
        living.cluster.now = Time(now.0 + 10_000);
    }
    living.cluster.deliver(1, order);
    living.settle();
    living.healed_after(1, ELECTION_TIMEOUT_US);
    assert_eq!(living.leader(1), Some(2));
}

#[test]
fn r9_a_follower_that_supports_takes_no_newer_term() {
    let mut living = Living::at_rest(1, &[]);
    let before = living.shard(2).status(1).unwrap().term;
    // Node 3 has lost node 1, and asks; node 2 has promised node 1 not to listen.
    living.disconnect(1, 3);
    for _ in 0..60 {
        living.step();
        for node in [1, 2] {
            assert_eq!(living.shard(node).status(1).unwrap().term, before, "node {node}");
        }
        assert!(living.read_is_served(), "the leader is counted on still");
        living.settle();
        living.cluster.answers();
    }
}
