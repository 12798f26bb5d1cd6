//! How callers learn what became of their requests: a ticket for one, a completion queue for many.
//!
//! A ticket can be waited for, waited for with a limit, or polled as a future on any executor. A completion
//! queue is drained in bulk, blocking or after its eventfd became readable; it answers whole runs, so that a
//! caller with thousands of requests under way pays per run and not per request.
//!
//! Invariant: each request is answered exactly once, also when the engine stops.

use std::future::Future;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use kontiki_raft::Index;
use parking_lot::{Condvar, Mutex};
use rustix::event::{EventfdFlags, eventfd};

use crate::error::RequestError;
use crate::machine::Answers;
use crate::submission::{RunKind, RunPart, Submission};

/// Where the answers of a submission go.
#[derive(Clone, Debug)]
pub(crate) enum Sink {
    Queue(Arc<CompletionQueue>),
    Ticket(Arc<TicketCell>),
}

impl Sink {
    const fn queue(&self) -> Option<&Arc<CompletionQueue>> {
        match self {
            Self::Queue(queue) => Some(queue),
            Self::Ticket(_) => None,
        }
    }
}

/// Hands over the answers of a round: each queue is locked and woken once per run of answers to it.
pub(crate) fn deliver(completions: &mut Vec<Completion>) {
    let mut completions = completions.drain(..).peekable();
    while let Some(completion) = completions.next() {
        let queue = match &completion.part.submitted.sink {
            Sink::Ticket(cell) => {
                cell.complete(&completion);
                continue;
            }
            Sink::Queue(queue) => Arc::clone(queue),
        };
        let same = |next: &Completion| {
            next.part.submitted.sink.queue().is_some_and(|other| Arc::ptr_eq(other, &queue))
        };
        let mut items = queue.items.lock();
        items.push(completion);
        while let Some(next) = completions.next_if(same) {
            items.push(next);
        }
        drop(items);
        queue.wake();
    }
}

/// Where and with what a request of one group ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// A write: its index in the group's log. A read: the index that the local state has reached.
    pub index: Index,
    /// What the state machine answered; mostly empty.
    pub answer: Vec<u8>,
}

/// The answer to a run of requests, or to a part of one.
#[derive(Debug)]
pub struct Completion {
    pub(crate) part: RunPart,
    pub(crate) result: Result<Index, RequestError>,
    /// The answers of the block, and which entry of it the part's first write is.
    pub(crate) answers: Option<(Arc<Answers>, u32)>,
}

impl Completion {
    fn run(&self) -> &crate::submission::Run {
        &self.part.submitted.submission.runs()[self.part.run as usize]
    }

    /// The group the requests were for.
    #[must_use]
    pub fn group(&self) -> u64 {
        self.run().group
    }

    /// Whether the requests were writes or reads.
    #[must_use]
    pub fn kind(&self) -> RunKind {
        self.run().kind
    }

    /// The tags of the requests answered, in the order in which they were pushed.
    #[must_use]
    pub fn tags(&self) -> &[u64] {
        self.part.submitted.submission.tags(self.run().first + self.part.from, self.part.count)
    }

    /// The index of the first write answered (the following writes have the following indexes), or the index
    /// that a read's state has reached; or why none of these requests was served.
    ///
    /// # Errors
    /// The same for all requests of this completion.
    pub const fn result(&self) -> Result<Index, RequestError> {
        self.result
    }

    /// What the state machine answered to request number `at` of this completion; mostly empty.
    #[must_use]
    pub fn answer(&self, at: u32) -> &[u8] {
        self.answers.as_ref().map_or(&[], |(answers, first)| answers.get(first + at))
    }

    /// Gives the submission back for reuse, cleared, when this was the last of its completions.
    #[must_use]
    pub fn recycle(self) -> Option<Submission> {
        let mut submission = Arc::into_inner(self.part.submitted)?.submission;
        submission.clear();
        Some(submission)
    }
}

/// Collects the answers to many requests.
///
/// Create one per consuming thread with [`CompletionQueue::new`]; any number of submissions of any number of
/// engines may answer into it. It is bounded by what its owner has under way.
#[derive(Debug)]
pub struct CompletionQueue {
    items: Mutex<Vec<Completion>>,
    ready: Condvar,
    /// Readable while items may wait; written only when someone asked for it.
    event: Option<OwnedFd>,
}

impl CompletionQueue {
    /// A queue that is drained by [`CompletionQueue::drain`].
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { items: Mutex::default(), ready: Condvar::new(), event: None })
    }

    /// A queue with an eventfd, for callers that wait in an event loop of their own.
    ///
    /// # Errors
    /// The system's, when no file descriptor can be had.
    pub fn with_eventfd() -> std::io::Result<Arc<Self>> {
        let event = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Arc::new(Self { items: Mutex::default(), ready: Condvar::new(), event: Some(event) }))
    }

    /// The eventfd, when the queue has one: readable when there is something to drain.
    #[must_use]
    pub fn eventfd(&self) -> Option<BorrowedFd<'_>> {
        self.event.as_ref().map(AsFd::as_fd)
    }

    /// Moves all that has been answered into `into` and says how many completions that were.
    ///
    /// With `None` it waits until there is something, with a limit for so long at most, with a zero limit not
    /// at all.
    pub fn drain(&self, into: &mut Vec<Completion>, wait: Option<Duration>) -> usize {
        let mut items = self.items.lock();
        // Before anything is taken: a signal that comes later is for what comes later.
        self.clear_event();
        if items.is_empty() {
            match wait {
                None => self.ready.wait_while(&mut items, |items| items.is_empty()),
                Some(limit) if limit.is_zero() => {}
                Some(limit) => {
                    self.ready.wait_while_for(&mut items, |items| items.is_empty(), limit);
                }
            }
        }
        let count = items.len();
        if into.is_empty() {
            std::mem::swap(&mut *items, into);
        } else {
            into.append(&mut items);
        }
        count
    }

    fn wake(&self) {
        self.ready.notify_one();
        if let Some(event) = &self.event {
            // A full counter is readable already, so a refused write loses nothing.
            rustix::io::write(event, &1u64.to_ne_bytes_event()).ok();
        }
    }

    fn clear_event(&self) {
        if let Some(event) = &self.event {
            // Nothing to read is as good: the counter is zero then.
            rustix::io::read(event, &mut [0u8; 8]).ok();
        }
    }
}

/// An eventfd counts in host order, which is the one place where that is right.
trait EventBytes {
    fn to_ne_bytes_event(self) -> [u8; 8];
}

impl EventBytes for u64 {
    #[expect(clippy::host_endian_bytes, reason = "the kernel reads the counter in host order")]
    fn to_ne_bytes_event(self) -> [u8; 8] {
        self.to_ne_bytes()
    }
}

#[derive(Debug, Default)]
enum TicketState {
    #[default]
    Pending,
    Polled(Waker),
    Done(Result<Applied, RequestError>),
}

/// The shared half of a ticket.
#[derive(Debug, Default)]
pub(crate) struct TicketCell {
    state: Mutex<TicketState>,
    done: Condvar,
}

impl TicketCell {
    fn complete(&self, completion: &Completion) {
        let result =
            completion.result.map(|index| Applied { index, answer: completion.answer(0).to_vec() });
        let before = std::mem::replace(&mut *self.state.lock(), TicketState::Done(result));
        self.done.notify_all();
        match before {
            TicketState::Polled(waker) => waker.wake(),
            TicketState::Pending => {}
            TicketState::Done(_) => unreachable!("a request is answered exactly once"),
        }
    }
}

/// One request under way.
///
/// A ticket that is dropped does not take its request back.
#[derive(Debug)]
#[must_use = "a ticket that is dropped tells nobody what became of its request"]
pub struct Ticket {
    pub(crate) cell: Arc<TicketCell>,
}

impl Ticket {
    pub(crate) fn new() -> Self {
        Self { cell: Arc::default() }
    }

    /// Waits until the request is answered.
    ///
    /// # Errors
    /// Why it was not served; see [`RequestError::outcome`].
    pub fn wait(self) -> Result<Applied, RequestError> {
        let mut state = self.cell.state.lock();
        self.cell.done.wait_while(&mut state, |state| !matches!(state, TicketState::Done(_)));
        match &*state {
            TicketState::Done(result) => result.clone(),
            TicketState::Pending | TicketState::Polled(_) => unreachable!("waited until done"),
        }
    }

    /// Waits for `limit` at most; the ticket comes back when the request is still under way.
    ///
    /// # Errors
    /// The ticket itself: nothing is decided yet.
    pub fn wait_timeout(self, limit: Duration) -> Result<Result<Applied, RequestError>, Self> {
        let mut state = self.cell.state.lock();
        self.cell.done.wait_while_for(&mut state, |s| !matches!(s, TicketState::Done(_)), limit);
        let result = match &*state {
            TicketState::Done(result) => Some(result.clone()),
            TicketState::Pending | TicketState::Polled(_) => None,
        };
        drop(state);
        result.ok_or(self)
    }

    /// The answer, when there is one already.
    #[must_use]
    pub fn try_result(&self) -> Option<Result<Applied, RequestError>> {
        match &*self.cell.state.lock() {
            TicketState::Done(result) => Some(result.clone()),
            TicketState::Pending | TicketState::Polled(_) => None,
        }
    }
}

impl Future for Ticket {
    type Output = Result<Applied, RequestError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.cell.state.lock();
        if let TicketState::Done(result) = &*state {
            return Poll::Ready(result.clone());
        }
        *state = TicketState::Polled(context.waker().clone());
        Poll::Pending
    }
}
