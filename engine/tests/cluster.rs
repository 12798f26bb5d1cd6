//! Three nodes in one process, over loopback and real RocksDB: what an embedder sees.
#![cfg(feature = "rocks")]
#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kontiki::error::RequestError;
use kontiki::machine::{Answers, FlushJob, MachineError, NullMachine, StateMachine};
use kontiki::testing::{Cluster, Plan, wait_until};
use kontiki::{CompletionQueue, Engine, OnFatal, Submission};
use kontiki_net::Block;
use kontiki_raft::Index;

fn cluster(dir: &std::path::Path, groups: usize) -> Cluster {
    let cluster = Cluster::open(Plan::new(dir, 3, groups).unwrap(), NullMachine::open).unwrap();
    cluster.wait_all_led();
    cluster
}

fn equal_everywhere(nodes: &[Engine], group: u64) -> bool {
    let digests: Vec<_> = nodes.iter().map(|n| n.digest(group).unwrap()).collect();
    digests.windows(2).all(|pair| pair[0] == pair[1])
}

#[test]
fn writes_are_answered_and_equal_on_all_nodes() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(dir.path(), 8);
    for group in 1..=8 {
        let leader = cluster.wait_leader(group);
        let tickets: Vec<_> =
            (0..50u32).map(|n| leader.propose(group, &n.to_le_bytes()).unwrap()).collect();
        let indexes: Vec<u64> = tickets.into_iter().map(|t| t.wait().unwrap().index.0).collect();
        assert!(indexes.windows(2).all(|pair| pair[0] < pair[1]), "{indexes:?}");
        leader.read(group).unwrap().wait().unwrap();
    }
    for group in 1..=8 {
        wait_until("equal state", || equal_everywhere(&cluster.nodes, group).then_some(()))
            .unwrap();
    }
    cluster.shutdown().unwrap();
}

#[test]
fn a_submission_is_answered_by_runs_and_comes_back_for_reuse() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(dir.path(), 2);
    let leader = cluster.wait_leader(1);
    let queue = CompletionQueue::new();
    let mut submission = Submission::default();
    for tag in 0..1000 {
        submission.push(1, tag, b"0123456789abcdef").unwrap();
    }
    leader.submit(submission, &queue).unwrap();
    let mut answers = Vec::new();
    queue.drain(&mut answers, Some(Duration::from_secs(30)));
    assert_eq!(answers.iter().map(|a| a.tags().len()).sum::<usize>(), 1000);
    assert!(answers.iter().all(|a| a.result().is_ok()));
    let back = answers.into_iter().find_map(kontiki::Completion::recycle).unwrap();
    assert!(back.is_empty());
    cluster.shutdown().unwrap();
}

#[test]
fn only_the_leader_serves_and_the_others_name_it() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(dir.path(), 1);
    let leader = cluster.wait_leader(1).node_id();
    let other = cluster.nodes.iter().find(|n| n.node_id() != leader).unwrap();
    wait_until("the follower to know", || other.leader(1)).unwrap();
    let refused = other.propose(1, b"x").unwrap().wait();
    assert_eq!(refused, Err(RequestError::NotLeader { leader: Some(leader) }));
    let refused = other.propose(77, b"x").unwrap().wait();
    assert_eq!(refused, Err(RequestError::UnknownGroup));
    cluster.shutdown().unwrap();
}

#[test]
fn leadership_moves_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(dir.path(), 1);
    let leader = cluster.wait_leader(1);
    let target = cluster.nodes.iter().find(|n| n.node_id() != leader.node_id()).unwrap();
    leader.propose(1, b"before").unwrap().wait().unwrap();
    leader.transfer_leader(1, target.node_id()).unwrap();
    wait_until("the target to lead", || (target.leader(1) == Some(target.node_id())).then_some(()))
        .unwrap();
    target.propose(1, b"after").unwrap().wait().unwrap();
    cluster.shutdown().unwrap();
}

#[test]
fn a_cluster_comes_back_with_everything_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut entries = Vec::new();
    for round in 1..=3u64 {
        let cluster = cluster(dir.path(), 4);
        for group in 1..=4 {
            let leader = cluster.wait_leader(group);
            for n in 0..20u64 {
                leader.propose(group, &(round * 100 + n).to_le_bytes()).unwrap().wait().unwrap();
            }
        }
        for group in 1..=4 {
            wait_until("equal state", || equal_everywhere(&cluster.nodes, group).then_some(()))
                .unwrap();
        }
        entries.push(cluster.nodes[0].digest(1).unwrap());
        if round == 2 {
            // Not a clean shutdown of the log's side: the handles are simply let go of.
            drop(cluster);
        } else {
            cluster.shutdown().unwrap();
        }
    }
    assert!(entries.windows(2).all(|pair| pair[0].1 < pair[1].1), "{entries:?}");
}

#[test]
fn every_ticket_ends_when_the_engine_stops() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(dir.path(), 1);
    let leader = cluster.wait_leader(1).clone();
    let proposing = {
        let leader = leader.clone();
        let body = move || {
            let mut answered = 0;
            while let Ok(ticket) = leader.propose(1, b"until it stops") {
                drop(ticket.wait());
                answered += 1;
            }
            answered
        };
        std::thread::Builder::new().spawn(body).unwrap()
    };
    leader.propose(1, b"first").unwrap().wait().unwrap();
    cluster.shutdown().unwrap();
    assert!(proposing.join().unwrap() > 0);
    assert!(leader.propose(1, b"late").is_err());
}

#[test]
fn a_flush_lets_the_log_go() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(dir.path(), 1);
    let leader = cluster.wait_leader(1);
    for _ in 0..20 {
        leader.propose(1, &[7; 10_000]).unwrap().wait().unwrap();
    }
    // Every member must have told that it holds everything before anything may go.
    wait_until("a compacted log", || {
        leader.flush().unwrap();
        let status = leader.group_status(1).unwrap();
        (status.compacted == status.last).then_some(())
    })
    .unwrap();
    assert_eq!(leader.metrics().log_retained_bytes.get(), 0);
    cluster.shutdown().unwrap();
}

#[test]
fn a_future_is_polled_by_any_executor() {
    struct Park(std::thread::Thread);
    impl std::task::Wake for Park {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(dir.path(), 1);
    let mut ticket = Box::pin(cluster.wait_leader(1).propose(1, b"async").unwrap());
    let waker = Arc::new(Park(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let applied = loop {
        match ticket.as_mut().poll(&mut context) {
            std::task::Poll::Ready(result) => break result.unwrap(),
            std::task::Poll::Pending => std::thread::park(),
        }
    };
    assert!(applied.index.0 > 0);
    cluster.shutdown().unwrap();
}

#[test]
fn two_workers_share_a_store_and_hand_connections_over() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let mut plan = Plan::new(dir.path(), 3, 10).unwrap();
        plan.configs.iter_mut().for_each(|config| config.workers = 2);
        let cluster = Cluster::open(plan, NullMachine::open).unwrap();
        cluster.wait_all_led();
        // One submission for groups of both workers.
        let queue = CompletionQueue::new();
        for node in &cluster.nodes {
            let mut submission = Submission::default();
            let led = (1..=10).filter(|&g| cluster.wait_leader(g).node_id() == node.node_id());
            led.for_each(|group| submission.push(group, group, b"both").unwrap());
            node.submit(submission, &queue).unwrap();
        }
        let mut tags = Vec::new();
        while tags.len() < 10 {
            let mut answers = Vec::new();
            assert!(queue.drain(&mut answers, Some(Duration::from_secs(30))) > 0);
            assert!(answers.iter().all(|a| a.result().is_ok()), "{answers:?}");
            tags.extend(answers.iter().flat_map(|a| a.tags().to_vec()));
        }
        for group in 1..=10 {
            wait_until("equal state", || equal_everywhere(&cluster.nodes, group).then_some(()))
                .unwrap();
        }
        cluster.shutdown().unwrap();
    }
}

/// A machine whose state can never be made durable.
struct Failing(NullMachine);

impl StateMachine for Failing {
    fn applied(&self, group: u64) -> Index {
        self.0.applied(group)
    }

    fn apply(&mut self, block: &Block<'_>, answers: &mut Answers) {
        self.0.apply(block, answers);
    }

    fn skip(&mut self, group: u64, index: Index) {
        self.0.skip(group, index);
    }

    fn flush(&mut self) -> Result<FlushJob, MachineError> {
        Ok(Box::new(|| Err(std::io::Error::other("no space left").into())))
    }

    fn digest(&self, group: u64) -> u64 {
        self.0.digest(group)
    }
}

#[test]
fn a_failed_flush_ends_the_engine_and_every_ticket() {
    let dir = tempfile::tempdir().unwrap();
    let mut plan = Plan::new(dir.path(), 1, 2).unwrap();
    let (said, hears) = std::sync::mpsc::channel();
    plan.configs[0].on_fatal = OnFatal::Call(Arc::new(move |fatal| {
        said.send(fatal.to_string()).ok();
    }));
    let cluster = Cluster::open(plan, |context| NullMachine::open(context).map(Failing)).unwrap();
    let engine = cluster.wait_leader(1).clone();
    engine.propose(1, b"x").unwrap().wait().unwrap();
    assert_eq!(engine.flush(), Err(RequestError::Stopped));
    let why = hears.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(why.contains("no space left"), "{why}");
    wait_until("the door to close", || match engine.propose(1, b"late") {
        Ok(ticket) => ticket.wait().err().map(drop),
        Err(_) => Some(()),
    })
    .unwrap();
    assert!(engine.fatal().is_some());
    assert!(cluster.shutdown().is_err());
}
