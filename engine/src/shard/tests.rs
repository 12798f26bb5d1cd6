//! Three shards joined by outboxes and a memory log: the whole path of a write, without a thread or a socket.

use std::collections::VecDeque;
use std::sync::Arc;

use kontiki_net::{Block, BlockKind, FRAME_BYTES_MAX, Frame, Outbox};
use kontiki_raft::{HardState, Index, Position, ReplicaId, Time};

use super::*;
use crate::error::RequestError;
use crate::opening::ranges_of;
use crate::store::{GroupRecord, Identity, LogBatch, LogStore, MemoryLog, Part};
use crate::submission::Submission;
use crate::ticket::{Completion, CompletionQueue, Sink, deliver};

mod living;

const NODES: [u64; 3] = [1, 2, 3];

fn records(node: u64, groups: u64) -> Vec<(u64, GroupRecord)> {
    let id = |n| ReplicaId::new(n).unwrap();
    let record = GroupRecord {
        replica: id(node),
        hard_state: HardState::default(),
        compacted: Position::ZERO,
        membership: NODES.iter().map(|&n| (id(n), n)).collect(),
        range: crate::range::RangeBounds::all(),
    };
    let ranges = crate::range::split_evenly(usize::try_from(groups).unwrap(), 1).unwrap();
    let of = |range| GroupRecord { range, ..record.clone() };
    ranges.into_iter().map(|(group, range)| (group, of(range))).collect()
}

fn builder(config: ShardConfig, records: &[(u64, GroupRecord)]) -> Builder {
    let records = records.iter().collect();
    Builder::new(config, &ranges_of(&records).unwrap(), &records)
}

fn config(node: u64) -> ShardConfig {
    ShardConfig {
        node,
        shard: 0,
        shards: 1,
        raft: kontiki_raft::Config::default(),
        cache_bytes_max: 1 << 20,
        seed: node,
        priority_groups: Arc::new([]),
    }
}

#[derive(Default)]
struct TestLinks {
    outboxes: Vec<(u64, Outbox)>,
}

impl Links for TestLinks {
    fn outbox(&mut self, node: u64) -> Option<&mut Outbox> {
        self.outboxes.iter_mut().find(|(n, _)| *n == node).map(|(_, outbox)| outbox)
    }
}

struct TestNode {
    id: u64,
    shard: Shard,
    links: TestLinks,
    out: Output,
    log: MemoryLog,
    unwritten: VecDeque<RoundWrite>,
    applied: Vec<(u64, u64, Vec<Vec<u8>>)>,
}

impl TestNode {
    fn new(id: u64, groups: u64) -> Self {
        let records = records(id, groups);
        let identity = Identity::new(1, id).unwrap();
        let log = MemoryLog::new(identity, records, crate::config::Durability::Fsync);
        Self::open(id, log, &|_| Index(0))
    }

    fn open(id: u64, log: MemoryLog, applied: &dyn Fn(u64) -> Index) -> Self {
        Self::open_with(config(id), Time(1_000_000), log, applied)
    }

    fn open_with(
        config: ShardConfig,
        now: Time,
        mut log: MemoryLog,
        applied: &dyn Fn(u64) -> Index,
    ) -> Self {
        let id = config.node;
        let mut building = builder(config, &log.groups());
        log.for_each_part(&mut |number, part, bytes| {
            building.part(number, part, bytes).unwrap();
            Ok(())
        })
        .unwrap();
        let shard = building.finish(now, applied).unwrap();
        let outboxes =
            NODES.iter().filter(|&&n| n != id).map(|&n| (n, Outbox::new(32 << 20))).collect();
        Self {
            id,
            shard,
            links: TestLinks { outboxes },
            out: Output::default(),
            log,
            unwritten: VecDeque::new(),
            applied: Vec::new(),
        }
    }

    /// Ends a round; what is sent comes back, the write waits for [`TestNode::persist`].
    fn round(&mut self) -> Vec<(u64, Vec<u8>)> {
        let write = self.shard.end_round(&mut self.links, &mut self.out);
        let round = write.as_ref().map(|w| Arc::clone(&w.bytes));
        self.unwritten.extend(write);
        for (seq, number, part) in std::mem::take(&mut self.out.loads) {
            let bytes = self.log.reader().read_part(number, part).unwrap().unwrap();
            self.shard.loaded(seq, Arc::new(bytes));
        }
        for committed in std::mem::take(&mut self.out.committed) {
            let (block, _) = Block::parse(&committed.buffer[committed.range.clone()]).unwrap();
            block.verify().unwrap();
            if block.kind() == BlockKind::Command {
                let payloads = block.entries().map(<[u8]>::to_vec).collect();
                self.applied.push((block.group(), block.first().0, payloads));
            }
            let (first, last) = (block.first(), block.last());
            self.shard.applied(committed.slot, first, last, None, &mut self.out);
        }
        deliver(&mut self.out.completions);
        let mut sent = Vec::new();
        for (node, outbox) in &mut self.links.outboxes {
            outbox.seal(round.as_ref());
            let mut bytes = Vec::new();
            while !outbox.is_empty() {
                let mut slices = [std::io::IoSlice::new(&[]); 16];
                let filled = outbox.gather(&mut slices);
                let before = bytes.len();
                slices[..filled].iter().for_each(|slice| bytes.extend_from_slice(slice));
                let n = bytes.len() - before;
                outbox.consume(n);
            }
            if !bytes.is_empty() {
                sent.push((*node, bytes));
            }
        }
        sent
    }

    /// Writes the oldest round.
    fn persist(&mut self) -> bool {
        let Some(write) = self.unwritten.pop_front() else { return false };
        let parts = if write.bytes.is_empty() {
            Vec::new()
        } else {
            vec![Part { bytes: write.bytes, blocks: write.blocks }]
        };
        let delete_below = match write.retention {
            Some(Retention::From(number)) => Some(number),
            Some(Retention::Nothing) | None => None,
        };
        let batch = LogBatch { parts, records: write.records, delete_below };
        let written = self.log.write(&batch).unwrap();
        self.shard.persisted(write.seq, written.number, 1);
        true
    }
}

struct TestCluster {
    nodes: Vec<TestNode>,
    now: Time,
    queue: Arc<CompletionQueue>,
}

impl TestCluster {
    fn new(groups: u64) -> Self {
        let nodes = NODES.iter().map(|&id| TestNode::new(id, groups)).collect();
        let mut cluster = Self { nodes, now: Time(1_000_000), queue: CompletionQueue::new() };
        for node in &mut cluster.nodes {
            for peer in NODES.into_iter().filter(|&peer| peer != node.id) {
                node.shard.peer_up(cluster.now, peer, 1);
            }
        }
        cluster
    }

    /// Elects node 1 in every group.
    fn elected(groups: u64) -> Self {
        let mut cluster = Self::new(groups);
        for group in 1..=groups {
            cluster.nodes[0].shard.campaign(cluster.now, group);
        }
        cluster.settle();
        assert_eq!(cluster.nodes[0].shard.led().count() as u64, groups);
        cluster
    }

    fn deliver(&mut self, from: u64, sent: Vec<(u64, Vec<u8>)>) {
        for (to, bytes) in sent {
            let node = self.nodes.iter_mut().find(|n| n.id == to).unwrap();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (frame, after) = Frame::parse(rest, FRAME_BYTES_MAX).unwrap();
                rest = after;
                node.shard.messages(self.now, from, frame.messages(), &mut node.out).unwrap();
            }
        }
    }

    /// Rounds and writes until nothing is left to do.
    fn settle(&mut self) {
        for _ in 0..1000 {
            let mut quiet = true;
            for at in 0..self.nodes.len() {
                let from = self.nodes[at].id;
                let sent = self.nodes[at].round();
                quiet &= sent.is_empty() && !self.nodes[at].shard.has_work();
                self.deliver(from, sent);
                while self.nodes[at].persist() {
                    quiet = false;
                }
            }
            if quiet {
                return;
            }
        }
        panic!("the cluster does not come to rest");
    }

    fn submit(&mut self, node: usize, submission: Submission) {
        let sink = Sink::Queue(Arc::clone(&self.queue));
        let submitted = Arc::new(Submitted { submission, sink });
        let node = &mut self.nodes[node];
        node.shard.submit(self.now, &submitted, &mut node.out);
    }

    #[track_caller]
    fn answers(&self) -> Vec<Completion> {
        let mut answers = Vec::new();
        self.queue.drain(&mut answers, Some(std::time::Duration::ZERO));
        answers
    }
}

fn writes(group: u64, payloads: &[&[u8]]) -> Submission {
    let mut submission = Submission::default();
    for (payload, tag) in payloads.iter().zip(0..) {
        submission.push(group, tag, payload).unwrap();
    }
    submission
}

#[test]
fn a_write_is_applied_on_every_node_and_answered_once() {
    let mut cluster = TestCluster::elected(2);
    cluster.submit(0, writes(2, &[b"one", b"two", b"three"]));
    cluster.settle();
    let answers = cluster.answers();
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].tags(), [0, 1, 2]);
    assert_eq!(answers[0].result(), Ok(Index(2)));
    for node in &cluster.nodes {
        let payloads = vec![b"one".to_vec(), b"two".to_vec(), b"three".to_vec()];
        assert_eq!(node.applied, [(2, 2, payloads)], "node {}", node.id);
    }
}

#[test]
fn nothing_is_answered_before_a_quorum_has_persisted() {
    let mut cluster = TestCluster::elected(1);
    cluster.submit(0, writes(1, &[b"x"]));
    let sent = cluster.nodes[0].round();
    assert_eq!(sent.len(), 2, "appends leave before the leader's own write");
    cluster.deliver(1, sent);
    // A follower's ack waits for its disk.
    let before = cluster.nodes[1].round();
    assert!(before.is_empty(), "an ack left before the follower persisted");
    assert!(cluster.nodes[1].persist());
    let acks = cluster.nodes[1].round();
    cluster.deliver(2, acks);
    cluster.nodes[0].round();
    assert!(cluster.answers().is_empty(), "the leader counted its own unpersisted copy");
    assert!(cluster.nodes[0].persist());
    cluster.nodes[0].round();
    assert_eq!(cluster.answers().len(), 1);
}

#[test]
fn proposals_that_arrive_while_two_rounds_are_written_coalesce() {
    let mut cluster = TestCluster::elected(1);
    for _ in 0..2 {
        cluster.submit(0, writes(1, &[b"early"]));
        drop(cluster.nodes[0].round());
    }
    assert_eq!(cluster.nodes[0].unwritten.len(), 2);
    for _ in 0..5 {
        cluster.submit(0, writes(1, &[b"late"]));
        drop(cluster.nodes[0].round());
    }
    assert_eq!(cluster.nodes[0].unwritten.len(), 2, "the third round waits for the disk");
    assert!(cluster.nodes[0].persist());
    drop(cluster.nodes[0].round());
    assert_eq!(cluster.nodes[0].unwritten.back().unwrap().blocks, 1, "five writes, one block");
}

#[test]
fn who_does_not_lead_says_who_does() {
    let mut cluster = TestCluster::elected(1);
    let mut both = writes(1, &[b"x"]);
    both.push_read(1, 7).unwrap();
    both.push(99, 8, b"").unwrap();
    cluster.submit(2, both);
    cluster.settle();
    let mut results: Vec<_> =
        cluster.answers().iter().map(|a| (a.tags().to_vec(), a.result())).collect();
    results.sort_by_key(|(tags, _)| tags[0]);
    let elsewhere = Err(RequestError::NotLeader { leader: Some(1) });
    assert_eq!(
        results,
        [(vec![0], elsewhere), (vec![7], elsewhere), (vec![8], Err(RequestError::UnknownGroup))]
    );
}

#[test]
fn a_read_is_permitted_after_a_round_and_not_without_a_quorum() {
    let mut cluster = TestCluster::elected(1);
    cluster.submit(0, writes(1, &[b"x"]));
    cluster.settle();
    cluster.answers();
    let mut read = Submission::default();
    read.push_read(1, 5).unwrap();
    cluster.submit(0, read);
    let asked = cluster.nodes[0].round();
    assert!(cluster.answers().is_empty(), "a read was answered by a leader that asked nobody");
    cluster.deliver(1, asked);
    cluster.settle();
    let answers = cluster.answers();
    assert_eq!((answers.len(), answers[0].tags()), (1, &[5][..]));
    assert_eq!(answers[0].result(), Ok(Index(2)));
}

#[test]
fn a_large_entry_goes_alone_and_a_run_is_cut_at_the_block_limit() {
    let mut cluster = TestCluster::elected(1);
    let (small, large) = (vec![1u8; 400_000], vec![2u8; 3 << 20]);
    cluster.submit(0, writes(1, &[&small, &small, &small, &large, &small]));
    cluster.settle();
    let answered: usize = cluster.answers().iter().map(|a| a.tags().len()).sum();
    assert_eq!(answered, 5);
    let sizes: Vec<usize> = cluster.nodes[2].applied.iter().map(|(_, _, p)| p.len()).collect();
    assert_eq!(sizes, [2, 1, 1, 1]);
    let lengths = cluster.nodes[2].applied.iter().flat_map(|(_, _, p)| p.iter().map(Vec::len));
    assert_eq!(lengths.collect::<Vec<_>>(), [400_000, 400_000, 400_000, 3 << 20, 400_000]);
}

#[test]
fn a_shard_comes_back_from_its_log_with_what_was_persisted() {
    let mut cluster = TestCluster::elected(3);
    for group in 1..=3 {
        cluster.submit(0, writes(group, &[b"a", b"b"]));
        cluster.settle();
    }
    cluster.submit(0, writes(1, &[b"unpersisted"]));
    drop(cluster.nodes[0].round());
    let node = cluster.nodes.remove(0);
    let log = node.log.crash(0);
    let again = TestNode::open(1, log, &|_| Index(0));
    for group in 1..=3 {
        let status = again.shard.status(group).unwrap();
        assert_eq!((status.last, status.persisted, status.term), (3, 3, 1), "group {group}");
    }
}

#[test]
fn compaction_stops_at_the_slowest_member_and_drops_dead_batches() {
    let mut cluster = TestCluster::elected(2);
    cluster.submit(0, writes(1, &[&b"x"[..]; 10]));
    cluster.settle();
    for at in 0..3 {
        // Heartbeats tell the followers how far everybody is.
        cluster.now = Time(cluster.now.0 + 300_000);
        cluster.nodes[at].shard.tick(cluster.now);
        cluster.settle();
    }
    for at in 0..3 {
        let node = &mut cluster.nodes[at];
        let marks = node.shard.applied_marks();
        node.shard.durable(&marks, &mut node.out);
        cluster.settle();
        let status = cluster.nodes[at].shard.status(1).unwrap();
        assert_eq!(status.compacted, status.last, "node {}", at + 1);
        assert_eq!(cluster.nodes[at].shard.retained_bytes(), 0);
    }
    cluster.submit(0, writes(1, &[b"after"]));
    cluster.settle();
    assert_eq!(cluster.answers().len(), 2);
    let log = cluster.nodes.remove(1).log.crash(0);
    let again = TestNode::open(2, log, &|group| Index(if group == 1 { 11 } else { 1 }));
    assert_eq!(again.shard.status(1).unwrap().last, 12);
}

#[test]
fn l17_nothing_is_compacted_past_what_the_machine_has_made_durable() {
    let mut cluster = TestCluster::elected(1);
    let marks = cluster.nodes[0].shard.applied_marks();
    cluster.submit(0, writes(1, &[b"later"]));
    cluster.settle();
    let node = &mut cluster.nodes[0];
    node.shard.durable(&marks, &mut node.out);
    let status = node.shard.status(1).unwrap();
    assert!(status.compacted <= 1 && status.applied == 2);
}

#[test]
fn what_left_memory_is_read_back_for_a_follower_that_was_away() {
    let mut cluster = TestCluster::elected(1);
    // Node 3 is cut off while more than the cache holds is written.
    cluster.nodes[0].shard.peer_down(cluster.now, 3);
    let away = cluster.nodes.remove(2);
    cluster.nodes[0].links.outboxes.retain(|(node, _)| *node != 3);
    cluster.nodes[1].links.outboxes.retain(|(node, _)| *node != 3);
    let payload = vec![7u8; 300_000];
    for _ in 0..12 {
        cluster.submit(0, writes(1, &[&payload]));
        cluster.settle();
    }
    assert!(cluster.nodes[0].shard.cached_bytes() <= 1 << 20);
    cluster.nodes.push(away);
    for at in 0..2 {
        cluster.nodes[at].links.outboxes.push((3, Outbox::new(32 << 20)));
    }
    cluster.nodes[0].shard.peer_up(cluster.now, 3, 1);
    cluster.nodes[2].shard.peer_up(cluster.now, 1, 1);
    cluster.settle();
    assert_eq!(cluster.nodes[2].applied.len(), 12);
}

fn block_bytes(group: u64, first: u64, term: u64, entries: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let meta = kontiki_net::BlockMeta {
        group,
        first_index: Index(first),
        term: kontiki_raft::Term(term),
        kind: BlockKind::Command,
    };
    let lengths = vec![0; entries * 4];
    let run = kontiki_net::Run { lengths: &lengths, payload: &[] };
    kontiki_net::encode_block(&mut bytes, meta, std::iter::once(run));
    bytes
}

#[test]
fn an_overwritten_tail_stays_dead_when_the_log_is_compacted_over_it() {
    let mut records = records(1, 2);
    for (_, record) in &mut records {
        record.hard_state.term = kontiki_raft::Term(2);
    }
    records[0].1.compacted = Position { term: kontiki_raft::Term(2), index: Index(8) };
    let mut building = builder(config(1), &records);
    // Group 1 held 8..=12 of term 1, which 8 of term 2 replaced before it was compacted. Group 2 keeps both batches.
    building.part(100, 1, &[block_bytes(1, 8, 1, 5), block_bytes(2, 1, 1, 1)].concat()).unwrap();
    building.part(101, 1, &[block_bytes(1, 8, 2, 1), block_bytes(2, 2, 2, 1)].concat()).unwrap();
    let shard =
        building.finish(Time(1_000_000), |group| Index(if group == 1 { 8 } else { 0 })).unwrap();
    assert_eq!(shard.status(1).unwrap().last, 8);
    assert_eq!(shard.status(2).unwrap().last, 2);
    assert_eq!(shard.retention(), Retention::From(100));
}

#[test]
fn a_log_that_does_not_follow_on_its_compaction_is_refused() {
    let mut records = records(1, 1);
    records[0].1.compacted = Position { term: kontiki_raft::Term(1), index: Index(4) };
    records[0].1.hard_state.term = kontiki_raft::Term(1);
    let mut building = builder(config(1), &records);
    building.part(100, 1, &block_bytes(1, 6, 1, 1)).unwrap();
    let refused = building.finish(Time(1_000_000), |_| Index(4)).unwrap_err();
    assert_eq!(refused, RecoveryError::Hole { group: 1, expected: 5, found: 6 });
}

#[test]
fn l18_a_block_whose_head_names_another_group_by_a_flipped_bit_is_refused() {
    let mut bytes = block_bytes(1, 1, 1, 1);
    bytes[3] ^= 1; // Of the group's number: a group that nobody has.
    let mut building = builder(config(1), &records(1, 1));
    let refused = building.part(100, 1, &bytes).unwrap_err();
    assert!(matches!(refused, RecoveryError::Block { batch: (100, 1), .. }), "{refused}");
    // A group of another shard is that one's to verify.
    let one_of_two = ShardConfig { shards: 2, ..config(1) };
    let mut bytes = block_bytes(1, 1, 1, 1);
    bytes[0] ^= 2;
    builder(one_of_two, &records(1, 1)).part(100, 1, &bytes).unwrap();
    let other = ShardConfig { shards: 2, shard: 1, ..config(1) };
    builder(other, &records(1, 1)).part(100, 1, &bytes).unwrap_err();
}

#[test]
fn proposals_do_not_wait_for_rounds_that_hold_none() {
    let mut cluster = TestCluster::elected(2);
    // Node 2 leads group 2, and its rounds keep node 1's disk busy.
    cluster.nodes[1].shard.campaign(cluster.now, 2);
    cluster.now = Time(cluster.now.0 + 5_000_000);
    let now = cluster.now;
    cluster.nodes[0].shard.transfer(now, 2, Some(2)).unwrap();
    cluster.settle();
    assert_eq!(cluster.nodes[1].shard.led().collect::<Vec<_>>(), [2]);
    for _ in 0..4 {
        cluster.submit(1, writes(2, &[b"neighbour"]));
        let sent = cluster.nodes[1].round();
        cluster.deliver(2, sent);
        while cluster.nodes[1].persist() {}
        drop(cluster.nodes[0].round());
    }
    assert!(cluster.nodes[0].unwritten.len() > ROUNDS_SEALING_MAX);
    let before = cluster.nodes[0].unwritten.len();
    cluster.submit(0, writes(1, &[b"own"]));
    drop(cluster.nodes[0].round());
    assert_eq!(
        cluster.nodes[0].unwritten.len(),
        before + 1,
        "the own write waits for the neighbour's"
    );
}
