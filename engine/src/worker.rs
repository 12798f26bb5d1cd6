//! One worker's thread: the shell around one shard. A loop short enough to check by eye.
//!
//! One turn: gather what came in (sockets, inbox, deadlines), let the shard decide, send, hand the round to the
//! log, apply what is committed, answer. Order is the contract:
//!
//! 1. Messages leave before the round is written. Those that rest on durability were held back by the core until
//!    [`Shard::persisted`].
//! 2. A round is with the writer before its commits are applied, so that the disk works meanwhile.
//! 3. A round that is written right here comes last: whoever can be answered has been answered by then.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::Sender;
use kontiki_net::{Block, BlockKind, DecodeError, Frame, Net, NetEvent, Outbox};
use kontiki_raft::Time;
use parking_lot::Mutex;

use crate::beating::Beating;
use crate::clock::Clock;
use crate::config::LogWriter;
use crate::error::Fatal;
use crate::machine::{Answers, StateMachine};
use crate::maintenance::Chore;
use crate::metrics::Metrics;
use crate::router::{Ask, Inbox, InboxReceiver, PeerState, Router, ToWorker};
use crate::shard::{Links, Output, RoundWrite, Shard};
use crate::store::LogReader;
use crate::submission::Submitted;
use crate::support::Support;
use crate::ticket::deliver;
use crate::writer::{Job, LogSlot};

/// Submissions taken from the inbox in one turn: bounds a turn, while sockets wait.
const REQUESTS_PER_TURN: usize = 4096;

/// Bytes of frames taken in one turn: bounds a round.
const FRAME_BYTES_PER_TURN: usize = 16 << 20;

/// Payload bytes of requests that wait for a block, beyond which the inbox keeps what comes.
const QUEUED_BYTES_MAX: usize = 64 << 20;

/// Bytes of rounds on their way to the disk, beyond which peers are not read from.
const IN_FLIGHT_BYTES_MAX: usize = 64 << 20;

/// How long to wait for the disk, then, before looking around again.
const DISK_WAIT: Duration = Duration::from_millis(10);

/// A round of at most so many bytes may be written by the worker itself.
const INLINE_BYTES_MAX: usize = 4 << 10;

/// The transport, as the shard sees it.
struct NetLinks<'a>(&'a mut Net);

impl Links for NetLinks<'_> {
    fn outbox(&mut self, node: u64) -> Option<&mut Outbox> {
        self.0.outbox(node)
    }
}

/// What a worker is made with.
#[expect(missing_debug_implementations, reason = "taken apart at once")]
pub struct WorkerParts<M> {
    /// Which worker it is.
    pub number: usize,
    /// Its groups.
    pub shard: Shard,
    /// What they are applied to.
    pub machine: M,
    /// Its connections.
    pub net: Net,
    /// Its time.
    pub clock: Clock,
    /// Its door.
    pub inbox: Arc<Inbox>,
    /// The inside of its door.
    pub receiver: InboxReceiver,
    /// The doors of all workers.
    pub router: Arc<Router>,
    /// The log, for rounds that it writes itself.
    pub log: Arc<Mutex<LogSlot>>,
    /// For rounds that are no longer in memory.
    pub reader: Arc<dyn LogReader>,
    /// To the log writer.
    pub writer: Sender<Job>,
    /// To the maintenance thread.
    pub chores: Sender<Chore>,
    /// Tells the maintenance thread that the witness is behind.
    pub synced: Sender<()>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Where the synced write happens.
    pub log_writer: LogWriter,
    /// How many workers there are.
    pub workers: usize,
    /// When a flush cycle starts.
    pub flush: FlushPolicy,
    /// Nodes in the cluster, this one included, while it waits for its first majority.
    pub first_start: Option<usize>,
    /// The node's support, for the worker that keeps it.
    pub support: Option<Support>,
    /// Before this time nothing here votes, if nodes support each other.
    pub votes_from: Option<Time>,
}

/// When a flush cycle starts.
#[derive(Clone, Copy, Debug)]
pub struct FlushPolicy {
    /// After so many bytes of rounds.
    pub bytes: u64,
    /// Or after so long, when anything was written at all.
    pub interval_us: u64,
}

/// Where the flush cycles of this worker stand.
#[derive(Default)]
struct Flushing {
    running: bool,
    bytes_since: u64,
    last_us: u64,
    /// Who waits for the end of the cycle that runs.
    running_for: Vec<Sender<()>>,
    /// Who asked since it began, and so waits for the next one.
    wanted_by: Vec<Sender<()>>,
}

/// See the module.
#[expect(missing_debug_implementations, reason = "a thread of its own, which nobody prints")]
pub struct Worker<M> {
    parts: WorkerParts<M>,
    out: Output,
    answers: Answers,
    /// Scratch: requests that were just taken.
    taken: Vec<Arc<Submitted>>,
    flushing: Flushing,
    /// Rounds with the writer's thread: since when.
    with_writer: VecDeque<Time>,
    /// The node's support, if this worker keeps it.
    beating: Option<Beating>,
    /// The time, where somebody else says it.
    told: Option<Time>,
    peers: Vec<PeerState>,
    stopping: Option<Stopping>,
    /// What was last published of the figures that this worker shares with others.
    published: Published,
}

/// See [`Worker::report`]: in its order.
#[derive(Default)]
struct Published([u64; 14]);

/// How the worker ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stopping {
    /// With everything durable.
    Clean,
    /// At once: something has failed, and what is under way may never be reported.
    AtOnce,
}

impl<M: StateMachine> Worker<M> {
    /// A worker that has not begun.
    #[must_use]
    pub fn new(now: Time, mut parts: WorkerParts<M>) -> Self {
        if let Some(from) = parts.votes_from {
            parts.shard.hold_votes(now, from);
        }
        let beating = parts.support.take().map(Beating::new);
        // What recovery found counts as written since the last cycle, or restarts would let it grow for ever.
        let (last_us, bytes_since) = (now.0, parts.shard.retained_bytes());
        let flushing = Flushing { last_us, bytes_since, ..Flushing::default() };
        Self {
            parts,
            out: Output::default(),
            answers: Answers::default(),
            taken: Vec::new(),
            flushing,
            with_writer: VecDeque::new(),
            beating,
            told: None,
            peers: Vec::new(),
            stopping: None,
            published: Published::default(),
        }
    }

    /// Serves until it is told to stop.
    pub(crate) fn run(mut self) -> Result<(), Fatal> {
        while self.stopping.is_none() {
            self.turn()?;
        }
        if self.stopping == Some(Stopping::Clean) { self.finish() } else { Ok(()) }
    }

    fn turn(&mut self) -> Result<(), Fatal> {
        self.wait_for_disk();
        let before = self.parts.clock.now();
        let timeout = self.timeout(before);
        self.parts.net.poll(timeout, before.0).map_err(Fatal::Net)?;
        self.round(self.parts.clock.now())
    }

    /// The shard, to look at.
    #[must_use]
    pub const fn shard(&self) -> &Shard {
        &self.parts.shard
    }

    /// The shard, to be told what no queue brings.
    pub const fn shard_mut(&mut self) -> &mut Shard {
        &mut self.parts.shard
    }

    /// The machine, to look at.
    #[must_use]
    pub const fn machine(&self) -> &M {
        &self.parts.machine
    }

    /// Takes a frame that no connection brought, as the transport would hand it over: for those who repeat frames, or
    /// have one overtake another.
    ///
    /// # Errors
    /// As [`Shard::messages`].
    pub fn take_frame(
        &mut self,
        now: Time,
        node: u64,
        frame: &Frame<'_>,
    ) -> Result<(), DecodeError> {
        self.parts.shard.messages(now, node, frame.messages(), &mut self.out)
    }

    /// A turn that does not sleep, at the time `now`: for those who drive a worker without a thread.
    ///
    /// # Errors
    /// What ends the engine.
    pub fn turn_at(&mut self, now: Time) -> Result<(), Fatal> {
        self.told = Some(now);
        self.parts.net.poll(Some(Duration::ZERO), now.0).map_err(Fatal::Net)?;
        self.round(now)
    }

    /// How long the next turn would sleep, were nothing to come in; `None` for ever.
    pub fn sleeps(&mut self, now: Time) -> Option<Duration> {
        let timeout = self.timeout(now);
        self.parts.net.time_left(timeout)
    }

    /// Takes what came in, decides, and does what was decided.
    fn round(&mut self, now: Time) -> Result<(), Fatal> {
        self.take_events(now);
        self.maybe_first_campaigns(now);
        self.take_internal(now);
        self.take_messages(now);
        self.beat();
        let requests = self.takes_requests() && self.take_requests();
        self.parts.shard.tick(now);
        self.maybe_flush(now)?;
        self.finish_round(requests)
    }

    /// How long there is nothing to do, unless something comes in.
    fn timeout(&self, now: Time) -> Option<Duration> {
        let parts = &self.parts;
        let busy = parts.shard.has_work()
            || (self.takes_requests() && !parts.receiver.requests.is_empty())
            || !parts.receiver.internal.is_empty();
        if busy {
            return Some(Duration::ZERO);
        }
        let shard = parts.shard.deadline().map(|at| at.0);
        let unwritten = !self.flushing.running && self.has_unflushed();
        let flush = unwritten.then(|| self.flushing.last_us + parts.flush.interval_us);
        let beat = self.beating.as_ref().and_then(Beating::deadline).map(|at| at.0);
        let next = [shard, flush, beat].into_iter().flatten().min()?;
        Some(Duration::from_micros(next.saturating_sub(now.0)))
    }

    fn take_events(&mut self, now: Time) {
        while let Some(event) = self.parts.net.next_event() {
            match event {
                NetEvent::PeerUp { node, epoch, .. } => {
                    self.note_peer(node, true, None);
                    if let Some(beating) = &mut self.beating {
                        beating.on_epoch(now, node, epoch);
                    }
                    self.parts.shard.peer_up(now, node, epoch);
                }
                NetEvent::PeerDown { node, reason } => {
                    self.note_peer(node, false, Some(reason.to_string()));
                    self.parts.metrics.disconnects.add(1);
                    self.parts.shard.peer_down(now, node);
                }
                NetEvent::Writable { node } => self.parts.shard.peer_writable(node),
                NetEvent::Refused { node, error, .. } => {
                    self.parts.metrics.connections_refused.add(1);
                    let known = node.filter(|&node| !self.is_connected(node));
                    if let Some(node) = known {
                        self.note_peer(node, false, Some(error.to_string()));
                    }
                }
            }
        }
        while let Some((lane, handoff)) = self.parts.net.take_handoff() {
            // The handshake has checked the lane against the number of workers.
            let inbox = self.parts.router.inbox(lane as usize);
            inbox.tell(ToWorker::Adopt(handoff));
        }
    }

    /// The oldest round that was with the writer is durable.
    fn returned(&mut self) {
        self.with_writer.pop_front().expect("a round was handed to the writer");
        self.parts.router.note_oldest_round(self.parts.number, self.with_writer.front());
    }

    fn note_peer(&mut self, node: u64, connected: bool, reason: Option<String>) {
        self.peers.retain(|peer| peer.node != node);
        self.peers.push(PeerState { node, connected, reason });
    }

    fn is_connected(&self, node: u64) -> bool {
        self.peers.iter().any(|peer| peer.node == node && peer.connected)
    }

    /// A new cluster spreads its leaders: each node campaigns for its share once a majority is there.
    fn maybe_first_campaigns(&mut self, now: Time) {
        if self
            .parts
            .first_start
            .is_some_and(|nodes| self.peers.iter().filter(|p| p.connected).count() + 1 > nodes / 2)
        {
            self.parts.first_start = None;
            self.parts.shard.first_campaigns(now);
        }
    }

    fn take_messages(&mut self, now: Time) {
        if self.parts.shard.in_flight_bytes() > IN_FLIGHT_BYTES_MAX {
            return;
        }
        let WorkerParts { net, shard, .. } = &mut self.parts;
        let out = &mut self.out;
        net.for_each_frame(FRAME_BYTES_PER_TURN, |node, frame| {
            shard.messages(now, node, frame.messages(), out)
        });
    }

    /// While too much is on its way to the disk, waits for the disk instead of taking more from the peers.
    fn wait_for_disk(&mut self) {
        if self.parts.shard.in_flight_bytes() > IN_FLIGHT_BYTES_MAX
            && let Ok(message) = self.parts.receiver.internal.recv_timeout(DISK_WAIT)
        {
            self.take(self.parts.clock.now(), message);
        }
    }

    /// The time by now, after things that may have taken a while.
    fn later(&self) -> Time {
        self.told.unwrap_or_else(|| self.parts.clock.now())
    }

    /// Support between nodes: what came and what is due. The worker that does not keep it only looks at the disk.
    fn beat(&mut self) {
        let now = self.later();
        let WorkerParts { net, shard, router, .. } = &mut self.parts;
        match &mut self.beating {
            Some(beating) => beating.turn(now, &mut self.out.beats, shard, router, net),
            None => self.out.beats.clear(),
        }
        shard.set_stalled(router.log_stalled(now, crate::beating::LOG_STALL_US));
    }

    fn take_internal(&mut self, now: Time) {
        while let Ok(message) = self.parts.receiver.internal.try_recv() {
            self.take(now, message);
        }
        self.parts.shard.set_may_apply(self.parts.machine.may_apply());
    }

    fn take(&mut self, now: Time, message: ToWorker) {
        match message {
            ToWorker::Persisted { seq, number, part } => {
                self.returned();
                self.parts.shard.persisted(seq, number, part);
            }
            ToWorker::Said(said) => said.tell(now, &mut self.parts.shard),
            ToWorker::Flushed { marks } => {
                self.parts.shard.durable(&marks, &mut self.out);
                self.parts.metrics.flush_cycles.add(1);
                self.flushing.running = false;
                self.flushing.last_us = now.0;
                for asked in self.flushing.running_for.drain(..) {
                    asked.send(()).ok(); // Whoever asked may have gone.
                }
            }
            ToWorker::Adopt(handoff) => self.parts.net.adopt(handoff),
            ToWorker::Ask(ask) => self.answer(now, ask),
            ToWorker::Stop { clean } => {
                let how = if clean { Stopping::Clean } else { Stopping::AtOnce };
                self.stopping = self.stopping.filter(|&how| how == Stopping::AtOnce).or(Some(how));
            }
        }
    }

    /// Ends the round: decide, send, persist, apply, answer.
    fn finish_round(&mut self, more: bool) -> Result<(), Fatal> {
        let WorkerParts { net, shard, .. } = &mut self.parts;
        let write = shard.end_round(&mut NetLinks(net), &mut self.out);
        net.flush(write.as_ref().map(|write| &write.bytes));
        let inline = match write {
            Some(write) if self.writes_inline(&write, more) => Some(write),
            Some(write) => {
                self.hand_to_writer(write)?;
                None
            }
            None => None,
        };
        self.load()?;
        self.apply()?;
        self.report();
        if let Some(write) = inline {
            self.flushing.bytes_since += write.bytes.len() as u64;
            self.parts.metrics.rounds.add(1);
            let placed = self.parts.log.lock().write_inline(write).map_err(Fatal::Log)?;
            self.parts.shard.persisted(placed.seq, placed.number, placed.part);
            self.parts.synced.try_send(()).ok();
        }
        Ok(())
    }

    /// Whether this round is written right here: only when nothing of this worker is with the writer.
    fn writes_inline(&self, write: &RoundWrite, more: bool) -> bool {
        // With several workers a batch is for all of them, so it is the writer's.
        let alone = self.with_writer.is_empty() && self.parts.workers == 1;
        match self.parts.log_writer {
            LogWriter::Inline => alone,
            LogWriter::Thread => false,
            LogWriter::Adaptive => {
                let small = write.bytes.len() <= INLINE_BYTES_MAX && write.records.len() <= 16;
                let quiet = !more || self.parts.receiver.requests.is_empty();
                alone && small && quiet
            }
        }
    }

    fn hand_to_writer(&mut self, write: RoundWrite) -> Result<(), Fatal> {
        self.flushing.bytes_since += write.bytes.len() as u64;
        self.parts.metrics.rounds.add(1);
        let now = self.later();
        self.with_writer.push_back(now);
        self.parts.router.note_oldest_round(self.parts.number, self.with_writer.front());
        let job = Job { shard: self.parts.number, write };
        // The writer is gone only when it has failed, and then the engine has ended.
        self.parts.writer.send(job).map_err(|_| Fatal::Gone { thread: "writer" })
    }

    /// Reads back what is no longer in memory.
    fn load(&mut self) -> Result<(), Fatal> {
        for (seq, number, part) in self.out.loads.drain(..) {
            self.parts.metrics.log_loads.add(1);
            let bytes = self.parts.reader.read_part(number, part).map_err(Fatal::Log)?;
            let bytes = bytes.ok_or(Fatal::LogGap { number, part })?;
            self.parts.shard.loaded(seq, Arc::new(bytes));
        }
        Ok(())
    }

    fn apply(&mut self) -> Result<(), Fatal> {
        if self.out.committed.is_empty() {
            return Ok(());
        }
        let (mut blocks, mut entries) = (0, 0);
        let mut all = std::mem::take(&mut self.out.committed);
        for committed in all.drain(..) {
            let bytes = &committed.buffer[committed.range.clone()];
            let (block, _) = Block::parse(bytes).map_err(Fatal::LogBlock)?;
            if committed.read_back {
                block.verify().map_err(Fatal::LogBlock)?;
            }
            let slot = committed.slot;
            assert!(block.group() == self.parts.shard.group(slot), "a block of another group");
            let mut answers = None;
            if block.kind() == BlockKind::Command {
                self.parts.machine.apply(&block, &mut self.answers);
                if !self.answers.is_empty() {
                    answers = Some(Arc::new(std::mem::take(&mut self.answers)));
                }
            } else {
                self.parts.machine.skip(block.group(), block.last());
            }
            blocks += 1;
            entries += u64::from(block.count());
            let (first, last) = (block.first(), block.last());
            self.parts.shard.applied(slot, first, last, answers.as_ref(), &mut self.out);
        }
        self.out.committed = all;
        self.parts.machine.end_round();
        self.parts.metrics.blocks_applied.add(blocks);
        self.parts.metrics.entries_applied.add(entries);
        self.parts.shard.set_may_apply(self.parts.machine.may_apply());
        Ok(())
    }

    fn maybe_flush(&mut self, now: Time) -> Result<(), Fatal> {
        let unflushed = self.has_unflushed();
        let flushing = &mut self.flushing;
        let late = now.0.saturating_sub(flushing.last_us) >= self.parts.flush.interval_us;
        let due = flushing.bytes_since >= self.parts.flush.bytes || (late && unflushed);
        let wanted = due || !flushing.wanted_by.is_empty();
        if flushing.running || !wanted {
            return Ok(());
        }
        flushing.running_for = std::mem::take(&mut flushing.wanted_by);
        flushing.bytes_since = 0;
        flushing.running = true;
        let marks = self.parts.shard.applied_marks();
        let job = self.parts.machine.flush().map_err(Fatal::Machine)?;
        let chore = Chore { shard: self.parts.number, marks, job };
        // Gone only when it has failed, and then the engine has ended.
        self.parts.chores.send(chore).map_err(|_| Fatal::Gone { thread: "maintenance" })
    }

    /// Whether a flush cycle could let go of something: new rounds, or old ones that members lacked before.
    fn has_unflushed(&self) -> bool {
        self.flushing.bytes_since > 0 || self.parts.shard.retained_bytes() > 0
    }

    /// Whether clients' requests are taken: while enough of them wait for the disk, the inbox fills up instead,
    /// and then clients hear `Busy`.
    fn takes_requests(&self) -> bool {
        self.parts.shard.queued_bytes() < QUEUED_BYTES_MAX
    }

    fn answer(&mut self, now: Time, ask: Ask) {
        let shard = &mut self.parts.shard;
        // Whoever asked may have gone; nobody misses the answer then.
        match ask {
            Ask::Groups(to) => {
                to.send(shard.statuses().collect()).ok();
            }
            Ask::Group(group, to) => {
                to.send(shard.status(group)).ok();
            }
            Ask::Digest(group, to) => {
                let digest = self.parts.machine.digest(group);
                to.send(shard.applied_of(group).map(|applied| (digest, applied))).ok();
            }
            Ask::Transfer(group, node, to) => {
                to.send(shard.transfer(now, group, node)).ok();
            }
            Ask::HandOver(to) => {
                let led: Vec<u64> = shard.led_with_others().collect();
                for &group in &led {
                    // One that cannot go now is tried again with the next call.
                    shard.transfer(now, group, None).ok();
                }
                to.send(led.len() as u64).ok();
            }
            Ask::Flush(to) => {
                self.flushing.wanted_by.push(to);
            }
            Ask::Pairs(to) => {
                to.send(self.beating.as_ref().map_or_else(Vec::new, Beating::pairs)).ok();
            }
            Ask::Peers(to) => {
                to.send(self.peers.clone()).ok();
            }
        }
    }

    /// Stops: answers everything, writes what is under way, makes the state durable and compacts behind it.
    fn finish(&mut self) -> Result<(), Fatal> {
        self.abandon();
        while !self.with_writer.is_empty() || self.flushing.running {
            let Ok(message) = self.parts.receiver.internal.recv() else {
                return Err(Fatal::Gone { thread: "writer" });
            };
            match message {
                ToWorker::Persisted { seq, number, part } => {
                    self.returned();
                    self.parts.shard.persisted(seq, number, part);
                }
                ToWorker::Flushed { .. } => self.flushing.running = false,
                // What is under way will never be reported, and nothing may be written behind it.
                ToWorker::Stop { clean: false } => return Ok(()),
                ToWorker::Adopt(_)
                | ToWorker::Ask(_)
                | ToWorker::Said(_)
                | ToWorker::Stop { clean: true } => {}
            }
        }
        let marks = self.parts.shard.applied_marks();
        let job = self.parts.machine.flush().map_err(Fatal::Machine)?;
        job().map_err(Fatal::Machine)?;
        self.parts.shard.durable(&marks, &mut self.out);
        // What this last round sends reaches nobody any more: connections end with their worker.
        if let Some(write) = self.parts.shard.end_round(&mut NoLinks, &mut self.out) {
            let mut slot = self.parts.log.lock();
            slot.write_last(self.parts.number, write).map_err(Fatal::Log)?;
        }
        self.out.committed.clear();
        self.report();
        Ok(())
    }
}

impl<M> Worker<M> {
    fn take_requests(&mut self) -> bool {
        let mut taken = std::mem::take(&mut self.taken);
        taken.extend(self.parts.receiver.requests.try_iter().take(REQUESTS_PER_TURN));
        // By the time before they came a lease might have held that did not when they were asked.
        let now = self.told.unwrap_or_else(|| self.parts.clock.now());
        let any = !taken.is_empty();
        for submitted in taken.drain(..) {
            self.parts.inbox.taken(&submitted);
            self.parts.shard.submit(now, &submitted, &mut self.out);
        }
        self.taken = taken;
        any
    }

    /// Answers, publishes leaders, counts.
    fn report(&mut self) {
        for (group, leader) in self.out.leaders.drain(..) {
            self.parts.router.set_leader(group, leader);
        }
        deliver(&mut self.out.completions);
        let counts = std::mem::take(&mut self.out.counts);
        let metrics = &self.parts.metrics;
        metrics.blocks_sealed.add(counts.blocks_sealed);
        metrics.entries_proposed.add(counts.entries_proposed);
        metrics.payload_bytes.add(counts.payload_bytes);
        metrics.blocks_received.add(counts.blocks_received);
        metrics.reads.add(counts.reads);
        metrics.lease_reads.add(counts.lease_reads);
        metrics.requests_refused.add(counts.refused);
        metrics.elections.add(counts.elections);
        metrics.compactions.add(counts.compactions);
        metrics.messages_in.add(counts.messages_in);
        metrics.messages_out.add(counts.messages_out);
        let (net, campaigns) = (self.parts.net.stats(), self.parts.shard.campaigns());
        let figures = [
            (&metrics.frames_in, net.frames_in),
            (&metrics.frames_out, net.frames_out),
            (&metrics.net_bytes_in, net.bytes_in),
            (&metrics.net_bytes_out, net.bytes_out),
            (&metrics.net_reads, net.reads),
            (&metrics.net_writes, net.writes),
            (&metrics.log_retained_bytes, self.parts.shard.retained_bytes()),
            (&metrics.cache_bytes, self.parts.shard.cached_bytes() as u64),
            (&metrics.inbox_bytes, self.parts.inbox.bytes() as u64),
            (&metrics.support_lapses, self.parts.shard.lapses()),
            (&metrics.replicas_awake, self.parts.shard.awake() as u64),
            (&metrics.replicas_asleep, self.parts.shard.asleep() as u64),
            (&metrics.campaigns_in_flight, campaigns.0 as u64),
            (&metrics.campaigns_in_flight_most, campaigns.1 as u64),
        ];
        for ((shared, now), before) in figures.into_iter().zip(&mut self.published.0) {
            shared.moved(std::mem::replace(before, now), now);
        }
    }

    /// Answers whatever waits here with `Stopped`; takes nothing more.
    fn abandon(&mut self) {
        self.parts.inbox.close();
        while self.take_requests() {}
        self.parts.shard.stop(&mut self.out);
        self.report();
    }
}

impl<M> Drop for Worker<M> {
    /// However a worker ends, a broken assertion included, nobody is left waiting for it.
    fn drop(&mut self) {
        self.abandon();
        while self.parts.receiver.internal.try_recv().is_ok() {}
    }
}

/// No way to anybody.
struct NoLinks;

impl Links for NoLinks {
    fn outbox(&mut self, _: u64) -> Option<&mut Outbox> {
        None
    }
}
