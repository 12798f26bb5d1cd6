//! Who waits for which index: client writes on their way through one replica.
//!
//! A write is *queued* until a round seals it into a block, and *waiting* from then until its block is applied.
//! Both queues hold parts of runs, not single requests.
//!
//! Invariant: waiting parts are in index order, and a replica that does not lead has none.

use std::collections::VecDeque;
use std::sync::Arc;

use kontiki_net::{BLOCK_BYTES_MAX, Run};
use kontiki_raft::Index;

use crate::error::RequestError;
use crate::machine::Answers;
use crate::submission::{RunKind, RunPart, Submitted};

use super::output::Output;

/// A part of a run that no block holds yet, and where its payload is in the submission.
#[derive(Debug)]
struct Queued {
    part: RunPart,
    payload_start: u32,
    payload_len: u32,
}

/// A part of a run in the log.
#[derive(Debug)]
struct Waiting {
    part: RunPart,
    first: Index,
}

/// What the next block takes from the front of the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Take {
    /// Whole parts.
    whole: usize,
    /// Requests of the part after those.
    of_next: u32,
    /// Payload bytes of these requests.
    next_bytes: u32,
    /// Entries in all.
    pub(super) count: u32,
    /// Payload bytes in all.
    pub(super) bytes: u32,
}

/// What `count` queued requests with `bytes` of payload count for: their memory, roughly.
pub(super) const fn cost(count: u32, bytes: u32) -> usize {
    bytes as usize + count as usize * 64
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Proposals {
    queued: VecDeque<Queued>,
    waiting: VecDeque<Waiting>,
    /// Entries in `waiting`.
    waiting_entries: u64,
}

impl Proposals {
    /// Queues run number `run` of a submission; returns what it counts for ([`cost`]).
    pub(super) fn queue(&mut self, submitted: &Arc<Submitted>, run: u32) -> usize {
        let of = &submitted.submission.runs()[run as usize];
        debug_assert_eq!(of.kind, RunKind::Write);
        self.queued.push_back(Queued {
            part: RunPart { submitted: Arc::clone(submitted), run, from: 0, count: of.count },
            payload_start: of.payload_start,
            payload_len: of.payload_len,
        });
        cost(of.count, of.payload_len)
    }

    pub(super) fn has_queued(&self) -> bool {
        !self.queued.is_empty()
    }

    /// Whether nobody waits here.
    pub(super) fn is_empty(&self) -> bool {
        self.queued.is_empty() && self.waiting.is_empty()
    }

    /// Entries in the log that a client waits for.
    pub(super) const fn waiting_entries(&self) -> u64 {
        self.waiting_entries
    }

    /// How much of the queue fits into one block: as many entries as its byte limit allows, or a single large
    /// one alone.
    pub(super) fn measure(&self) -> Take {
        let mut take = Take::default();
        let limit = u32::try_from(BLOCK_BYTES_MAX).expect("1 MiB");
        for queued in &self.queued {
            // Each entry costs its payload and four bytes of the length table.
            let cost = |count: u32, bytes: u32| bytes.saturating_add(count.saturating_mul(4));
            let all =
                cost(take.count + queued.part.count, take.bytes.saturating_add(queued.payload_len));
            if all <= limit {
                take.whole += 1;
                take.count += queued.part.count;
                take.bytes += queued.payload_len;
                continue;
            }
            let submission = &queued.part.submitted.submission;
            let run = &submission.runs()[queued.part.run as usize];
            for at in 0..queued.part.count {
                let length = submission.length(run, queued.part.from + at);
                let fits = cost(take.count + 1, take.bytes.saturating_add(length)) <= limit;
                if !fits && take.count > 0 {
                    break;
                }
                take.of_next += 1;
                take.next_bytes += length;
                take.count += 1;
                take.bytes += length;
                if !fits {
                    break; // Larger than a block of several entries may be: alone in its block.
                }
            }
            if take.of_next == queued.part.count {
                take.whole += 1;
                (take.of_next, take.next_bytes) = (0, 0);
            }
            break;
        }
        take
    }

    /// The runs that `take` covers, as the block encoder wants them.
    pub(super) fn runs(&self, take: Take) -> impl Iterator<Item = Run<'_>> + Clone {
        let whole = self.queued.iter().take(take.whole).map(|q| q.run(q.part.count, q.payload_len));
        let next = self.queued.get(take.whole).filter(|_| take.of_next > 0);
        whole.chain(next.map(move |q| q.run(take.of_next, take.next_bytes)))
    }

    /// Moves what `take` covers to the waiting side, as the entries from `first` on.
    pub(super) fn sealed(&mut self, take: Take, mut first: Index) {
        self.waiting_entries += u64::from(take.count);
        for _ in 0..take.whole {
            let part = self.queued.pop_front().expect("measured just now").part;
            let next = Index(first.0 + u64::from(part.count));
            self.waiting.push_back(Waiting { part, first });
            first = next;
        }
        if take.of_next > 0 {
            let queued = self.queued.front_mut().expect("measured just now");
            let mut part = queued.part.clone();
            part.count = take.of_next;
            self.waiting.push_back(Waiting { part, first });
            queued.part.from += take.of_next;
            queued.part.count -= take.of_next;
            queued.payload_start += take.next_bytes;
            queued.payload_len -= take.next_bytes;
        }
    }

    /// Answers every waiting part up to `last`; the block that was applied starts at `block_first`.
    pub(super) fn applied(
        &mut self,
        block_first: Index,
        last: Index,
        answers: Option<&Arc<Answers>>,
        out: &mut Output,
    ) {
        while self.waiting.front().is_some_and(|w| w.first <= last) {
            let Waiting { part, first } = self.waiting.pop_front().expect("seen just now");
            assert!(
                first.0 + u64::from(part.count) - 1 <= last.0,
                "a part of a run lies in one block: {first:?} + {} past {last:?}",
                part.count
            );
            self.waiting_entries -= u64::from(part.count);
            let offset =
                u32::try_from(first.0 - block_first.0).expect("entries of a block fit u32");
            out.complete(part, first, answers.map(|a| (Arc::clone(a), offset)));
        }
    }

    /// Answers everything that is queued with `error`; returns what it counted for.
    pub(super) fn refuse_queued(&mut self, error: RequestError, out: &mut Output) -> usize {
        let bytes = self.queued.iter().map(|q| cost(q.part.count, q.payload_len)).sum();
        for queued in self.queued.drain(..) {
            out.refuse(queued.part, error);
        }
        bytes
    }

    /// Answers everything in the log: its outcome is no longer known here.
    pub(super) fn lose_waiting(&mut self, error: RequestError, out: &mut Output) {
        self.waiting_entries = 0;
        for waiting in self.waiting.drain(..) {
            out.refuse(waiting.part, error);
        }
    }
}

impl Queued {
    fn run(&self, count: u32, bytes: u32) -> Run<'_> {
        let submission = &self.part.submitted.submission;
        let run = &submission.runs()[self.part.run as usize];
        Run {
            lengths: submission.lengths(run, self.part.from, count),
            payload: submission.payload(self.payload_start, bytes),
        }
    }
}
