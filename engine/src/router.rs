//! The queues into the shards, and where each group's leader is.
//!
//! A shard has two queues. Clients' requests wait in one that is bounded in number and in bytes; when it is
//! full they hear `Busy`. What the engine's own threads have to say goes through the other one, which is
//! bounded by what can be under way (see [`INTERNAL_MAX`]).
//!
//! Invariant: a submission that was taken is answered, also when the worker is about to stop: the door is
//! closed under the same lock that a submission is pushed under, and emptied after that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use kontiki_net::{Handoff, Waker};
use kontiki_raft::Time;
use parking_lot::RwLock;

use crate::beating::Said;
use crate::error::{RequestError, SubmitError};
use crate::ids::GroupIds;
use crate::shard::AppliedMarks;
use crate::status::GroupStatus;
use crate::submission::{RunPart, Submission, Submitted};
use crate::support::PairStatus;
use crate::ticket::{Completion, CompletionQueue, Sink, deliver};

/// Submissions that may wait in one inbox. With the byte bound, memory is known; a submission of many requests
/// counts once.
const REQUESTS_MAX: usize = 64 << 10;

/// Messages of the engine's own threads that may wait: more than rounds can be on their way to the disk
/// ([`crate::writer::ROUNDS_QUEUED_MAX`] and one batch of as many), plus calls of operators.
const INTERNAL_MAX: usize = 4096;

/// What the engine's own threads and operators tell a worker.
#[expect(clippy::large_enum_variant, reason = "connections are handed over once in their life")]
pub(crate) enum ToWorker {
    /// Round `seq` is durable.
    Persisted { seq: u64, number: u64, part: u16 },
    /// Everything applied up to these marks is durable.
    Flushed { marks: AppliedMarks },
    /// A connection that came in elsewhere and is for this worker.
    Adopt(Handoff),
    /// What changed between this node and another.
    Said(Said),
    /// An operator asks.
    Ask(Ask),
    /// Stop: answer everything and end; when `clean`, also flush and write what is under way.
    Stop { clean: bool },
}

/// A call of an operator, with the way back.
pub(crate) enum Ask {
    Groups(Sender<Vec<GroupStatus>>),
    Group(u64, Sender<Result<GroupStatus, RequestError>>),
    Digest(u64, Sender<Result<(u64, u64), RequestError>>),
    Transfer(u64, Option<u64>, Sender<Result<(), RequestError>>),
    /// Hand every leadership over; answers how many there are now.
    HandOver(Sender<u64>),
    /// Flush; answered when what is applied now is durable, and never when that fails.
    Flush(Sender<()>),
    /// What nodes promise each other.
    Pairs(Sender<Vec<PairStatus>>),
    /// The peers' connections.
    Peers(Sender<Vec<PeerState>>),
}

/// One worker's connection to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerState {
    pub(crate) node: u64,
    pub(crate) connected: bool,
    /// Why there was no connection when it was last lost or refused.
    pub(crate) reason: Option<String>,
}

/// One shard's door.
pub struct Inbox {
    requests: Sender<Arc<Submitted>>,
    internal: Sender<ToWorker>,
    bytes: AtomicUsize,
    bytes_max: usize,
    closed: RwLock<bool>,
    waker: Waker,
}

/// The worker's side of the door.
pub struct InboxReceiver {
    pub(crate) requests: Receiver<Arc<Submitted>>,
    pub(crate) internal: Receiver<ToWorker>,
}

impl std::fmt::Debug for InboxReceiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InboxReceiver")
            .field("requests", &self.requests.len())
            .finish_non_exhaustive()
    }
}

impl Inbox {
    /// A door whose worker is woken by `waker`, and its inside.
    #[must_use]
    pub fn new(bytes_max: usize, waker: Waker) -> (Self, InboxReceiver) {
        let (requests, request_rx) = bounded(REQUESTS_MAX);
        let (internal, internal_rx) = bounded(INTERNAL_MAX);
        let (bytes, closed) = (AtomicUsize::new(0), RwLock::new(false));
        let inbox = Self { requests, internal, bytes, bytes_max, closed, waker };
        (inbox, InboxReceiver { requests: request_rx, internal: internal_rx })
    }

    fn submit(&self, submitted: &Arc<Submitted>) -> Result<(), SubmitError> {
        let closed = self.closed.read();
        if *closed {
            return Err(SubmitError::Stopped);
        }
        let bytes = submitted.inbox_bytes();
        if self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > self.bytes_max {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(SubmitError::Busy);
        }
        let sent = self.requests.try_send(Arc::clone(submitted));
        drop(closed);
        match sent {
            Ok(()) => {
                self.waker.wake();
                Ok(())
            }
            Err(error) => {
                self.bytes.fetch_sub(bytes, Ordering::Relaxed);
                Err(match error {
                    TrySendError::Full(_) => SubmitError::Busy,
                    TrySendError::Disconnected(_) => SubmitError::Stopped,
                })
            }
        }
    }

    /// Tells the worker something; false when it is gone.
    pub(crate) fn tell(&self, message: ToWorker) -> bool {
        let told = self.internal.send(message).is_ok();
        self.waker.wake();
        told
    }

    /// The worker took a submission out.
    pub(crate) fn taken(&self, submitted: &Submitted) {
        self.bytes.fetch_sub(submitted.inbox_bytes(), Ordering::Relaxed);
    }

    /// Bytes of requests that wait.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Takes no more submissions. What was taken before is in the queue when this returns.
    pub(crate) fn close(&self) {
        *self.closed.write() = true;
    }

    /// Wakes the worker, if it sleeps.
    pub fn wake(&self) {
        self.waker.wake();
    }
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Nodes that may ever lead a group here: far more than a cluster has, and what a byte can tell apart.
const NODES_MAX: usize = 64;

/// See the module.
#[derive(Debug)]
pub struct Router {
    inboxes: Vec<Arc<Inbox>>,
    groups: GroupIds,
    /// The leader's node per group, by position: its place in `nodes`, counted from 1; 0 when none is known.
    leaders: Box<[AtomicU8]>,
    /// The nodes that have led anything, and zeros.
    nodes: [AtomicU64; NODES_MAX],
    /// Per worker: since when its oldest round is with the log writer; 0 when none is.
    oldest_rounds: Vec<AtomicU64>,
    stopped: AtomicBool,
}

impl Router {
    /// The doors of all workers, and the groups that they serve, ascending.
    #[must_use]
    pub fn new(inboxes: Vec<Arc<Inbox>>, groups: impl IntoIterator<Item = u64>) -> Self {
        let groups: GroupIds = groups.into_iter().collect();
        let leaders = (0..groups.len()).map(|_| AtomicU8::new(0)).collect();
        let nodes = [const { AtomicU64::new(0) }; NODES_MAX];
        let oldest_rounds = inboxes.iter().map(|_| AtomicU64::new(0)).collect();
        Self { inboxes, groups, leaders, nodes, oldest_rounds, stopped: AtomicBool::new(false) }
    }

    /// Hands over many requests at once; each is answered into `queue`.
    ///
    /// # Errors
    /// `Busy` or `Stopped`, with the submission given back: nothing of it was queued.
    pub fn submit_many(
        &self,
        submission: Submission,
        queue: &Arc<CompletionQueue>,
    ) -> Result<(), (SubmitError, Submission)> {
        if submission.is_empty() {
            return Ok(());
        }
        let sink = Sink::Queue(Arc::clone(queue));
        self.submit(Arc::new(Submitted { submission, sink })).map_err(|(error, back)| {
            let submitted = Arc::into_inner(back).expect("a refused submission has no other owner");
            (error, submitted.submission)
        })
    }

    /// Hands a submission to every shard that serves one of its runs.
    pub(crate) fn submit(
        &self,
        submitted: Arc<Submitted>,
    ) -> Result<(), (SubmitError, Arc<Submitted>)> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err((SubmitError::Stopped, submitted));
        }
        if let [only] = &self.inboxes[..] {
            return only.submit(&submitted).map_err(|error| (error, submitted));
        }
        let shards = self.inboxes.len() as u64;
        let mask =
            submitted.submission.runs().iter().fold(0u64, |m, run| m | 1 << (run.group % shards));
        let mut taken = false;
        for (shard, inbox) in self.inboxes.iter().enumerate().filter(|(s, _)| mask & (1 << s) != 0)
        {
            match inbox.submit(&submitted) {
                Ok(()) => taken = true,
                Err(error) if !taken && mask.count_ones() == 1 => return Err((error, submitted)),
                Err(SubmitError::Stopped) => {
                    refuse(&submitted, shard as u64, shards, RequestError::Stopped);
                }
                Err(_) => refuse(&submitted, shard as u64, shards, RequestError::Busy),
            }
        }
        Ok(())
    }

    /// Worker 0 tells all others.
    pub(crate) fn say(&self, said: Said) {
        for inbox in self.inboxes.iter().skip(1) {
            inbox.tell(ToWorker::Said(said));
        }
    }

    /// Since when the oldest round of a worker is with the log writer.
    pub(crate) fn note_oldest_round(&self, worker: usize, since: Option<&Time>) {
        let since = since.map_or(0, |since| since.0);
        self.oldest_rounds[worker].store(since, Ordering::Relaxed);
    }

    /// Whether a round is with the log writer for longer than `stall_us`.
    pub(crate) fn log_stalled(&self, now: Time, stall_us: u64) -> bool {
        let since = self.oldest_rounds.iter().map(|since| since.load(Ordering::Relaxed));
        since.into_iter().any(|since| since != 0 && now.0.saturating_sub(since) > stall_us)
    }

    pub(crate) fn inbox(&self, shard: usize) -> &Arc<Inbox> {
        &self.inboxes[shard]
    }

    pub(crate) fn inboxes(&self) -> &[Arc<Inbox>] {
        &self.inboxes
    }

    /// The inbox of the shard that owns `group`.
    pub(crate) fn inbox_of(&self, group: u64) -> &Arc<Inbox> {
        let shard = group % self.inboxes.len() as u64;
        &self.inboxes[usize::try_from(shard).expect("less than the number of inboxes")]
    }

    pub(crate) fn groups(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.groups.iter()
    }

    /// The node that leads `group`, as far as is known here.
    #[must_use]
    pub fn leader(&self, group: u64) -> Option<u64> {
        let place = self.leaders[self.groups.position(group)? as usize].load(Ordering::Acquire);
        let place = usize::from(place).checked_sub(1)?;
        Some(self.nodes[place].load(Ordering::Relaxed))
    }

    pub(crate) fn set_leader(&self, group: u64, leader: Option<u64>) {
        if let Some(at) = self.groups.position(group) {
            let place = leader.map_or(0, |node| self.place_of(node));
            self.leaders[at as usize].store(place, Ordering::Release);
        }
    }

    /// The place of `node` among those that have led anything, counted from 1; it gets one when it has none.
    fn place_of(&self, node: u64) -> u8 {
        for (place, taken) in (1..).zip(&self.nodes) {
            let known = taken.compare_exchange(0, node, Ordering::Relaxed, Ordering::Relaxed);
            if known.is_ok() || known == Err(node) {
                return place;
            }
        }
        unreachable!("a cluster has at most {NODES_MAX} nodes, the configuration says fewer");
    }

    pub(crate) fn leaderless(&self) -> u64 {
        self.leaders.iter().filter(|leader| leader.load(Ordering::Relaxed) == 0).count() as u64
    }

    pub(crate) fn led_by(&self, node: u64) -> u64 {
        let place = self.nodes.iter().position(|known| known.load(Ordering::Relaxed) == node);
        let place = place.and_then(|place| u8::try_from(place + 1).ok());
        let led = |leader: &&AtomicU8| Some(leader.load(Ordering::Relaxed)) == place;
        self.leaders.iter().filter(led).count() as u64
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

/// Answers the runs that one shard would have served.
fn refuse(submitted: &Arc<Submitted>, shard: u64, shards: u64, error: RequestError) {
    let runs = submitted.submission.runs().iter().enumerate();
    let mut completions: Vec<Completion> = runs
        .filter(|(_, run)| run.group % shards == shard)
        .map(|(at, run)| {
            let run_number = u32::try_from(at).expect("bounded by SUBMISSION_REQUESTS_MAX");
            let submitted = Arc::clone(submitted);
            let part = RunPart { submitted, run: run_number, from: 0, count: run.count };
            Completion { part, result: Err(error), answers: None }
        })
        .collect();
    deliver(&mut completions);
}
