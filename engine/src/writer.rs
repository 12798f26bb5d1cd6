//! The one write path of a store: the rounds of all shards become one batch and one synced write.
//!
//! The writer takes all rounds that wait, writes them as one RocksDB batch, reports them, and takes what arrived
//! meanwhile; so the number of syncs follows the disk and not the load, and never the number of groups. A worker
//! whose lone small round would only wait for this thread may write it itself through the same [`LogSlot`]
//! (see [`crate::LogWriter`]).
//!
//! Invariant: rounds of one shard are written in order, since the worker writes only when nothing of its own is
//! with the writer. A failed write ends the engine; nothing is retried and nothing is reported.

use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use crate::metrics::Metrics;
use crate::planted::{self, Bug};
use crate::router::{Router, ToWorker};
use crate::shard::{Retention, RoundWrite};
use crate::store::{LogBatch, LogStore, Part, StoreError, Written};

/// Rounds that may wait for the writer. A worker that gets this far ahead waits, which is what slows down who
/// sends to it; the writer takes all of them into one batch.
pub(crate) const ROUNDS_QUEUED_MAX: usize = 1024;

/// The most bytes of rounds in one batch: what RocksDB is asked to insert at once.
const BATCH_BYTES_MAX: usize = 16 << 20;

/// A round of one shard, on its way to the disk.
#[derive(Debug)]
pub struct Job {
    pub(crate) shard: usize,
    pub(crate) write: RoundWrite,
}

/// Where a round went.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    pub(crate) shard: usize,
    pub(crate) seq: u64,
    pub(crate) number: u64,
    pub(crate) part: u16,
}

/// The log and what is put together for its next batch. Whoever writes holds it for that long: the writer's
/// thread, or the one worker while that thread has nothing to do. It is never waited for in practice.
pub struct LogSlot {
    log: Box<dyn LogStore>,
    batch: LogBatch,
    placed: Vec<Placed>,
    bytes: usize,
    /// What each shard needs of the log.
    retained: Vec<Retention>,
    /// The last batch written.
    last: u64,
    metrics: Arc<Metrics>,
}

impl LogSlot {
    /// The slot of a log that was audited, for so many shards.
    #[must_use]
    pub fn new(log: Box<dyn LogStore>, shards: usize, metrics: Arc<Metrics>) -> Self {
        let last = log.last();
        Self {
            log,
            batch: LogBatch::default(),
            placed: Vec::new(),
            bytes: 0,
            retained: vec![Retention::Nothing; shards],
            last,
            metrics,
        }
    }

    /// What shard `shard` needs of the log, as recovery found it.
    pub fn retain(&mut self, shard: usize, retention: Retention) {
        self.retained[shard] = retention;
    }

    pub(crate) fn into_log(self) -> Box<dyn LogStore> {
        self.log
    }

    /// Puts a round into the next batch.
    fn add(&mut self, shard: usize, write: RoundWrite) {
        self.bytes += write.bytes.len();
        self.batch.records.extend(write.records);
        if let Some(retention) = write.retention {
            self.retained[shard] = retention;
            self.batch.delete_below = self.needed_from();
        }
        if !write.bytes.is_empty() && self.retained[shard] == Retention::Nothing {
            // Its round will be in the next batch; none before that is needed for it.
            self.retained[shard] = Retention::From(self.last);
        }
        let part = if write.bytes.is_empty() {
            0
        } else {
            self.batch.parts.push(Part { bytes: write.bytes, blocks: write.blocks });
            u16::try_from(self.batch.parts.len()).expect("bounded by ROUNDS_QUEUED_MAX")
        };
        self.placed.push(Placed { shard, seq: write.seq, number: 0, part });
    }

    /// The first batch that any shard needs: a batch may hold rounds of several, so the slowest one decides.
    fn needed_from(&self) -> Option<u64> {
        let needed = self.retained.iter().filter_map(|retained| match retained {
            Retention::Nothing => None,
            Retention::From(number) => Some(*number),
        });
        needed.min().or(Some(self.last)).filter(|&from| from > 0)
    }

    /// Writes and syncs the batch. Returns where its rounds went.
    fn write(&mut self) -> Result<&mut Vec<Placed>, StoreError> {
        let written = match self.log.write(&self.batch) {
            Err(StoreError::SyncFailed(_)) if planted::has(Bug::SyncErrorSwallowed) => {
                Written { number: self.last + 1, bytes: 0 }
            }
            result => result?,
        };
        self.last = written.number;
        for placed in &mut self.placed {
            placed.number = written.number;
        }
        self.batch.parts.clear();
        self.batch.records.clear();
        self.batch.delete_below = None;
        self.bytes = 0;
        self.metrics.syncs.add(1);
        self.metrics.log_bytes.add(written.bytes);
        Ok(&mut self.placed)
    }

    /// Writes one round alone, from the worker.
    pub(crate) fn write_inline(&mut self, write: RoundWrite) -> Result<Placed, StoreError> {
        self.add(0, write);
        Ok(self.write()?.pop().expect("one round was put in"))
    }

    /// Writes the last round of shard `shard`, which nobody waits for any more.
    pub(crate) fn write_last(&mut self, shard: usize, write: RoundWrite) -> Result<(), StoreError> {
        self.add(shard, write);
        self.write()?.clear();
        Ok(())
    }
}

impl std::fmt::Debug for LogSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogSlot").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// The writer's thread.
#[derive(Debug)]
pub struct Writer {
    jobs: Receiver<Job>,
    slot: Arc<Mutex<LogSlot>>,
    router: Arc<Router>,
    /// Tells the maintenance thread that the witness is behind.
    synced: Sender<()>,
}

impl Writer {
    /// The writer and the queue into it; it ends when every sender is gone.
    #[must_use]
    pub fn new(
        slot: Arc<Mutex<LogSlot>>,
        router: Arc<Router>,
        synced: Sender<()>,
    ) -> (Self, Sender<Job>) {
        let (tx, jobs) = bounded(ROUNDS_QUEUED_MAX);
        (Self { jobs, slot, router, synced }, tx)
    }

    /// Writes until there is nobody left to write for.
    pub(crate) fn run(self) -> Result<(), StoreError> {
        while let Ok(first) = self.jobs.recv() {
            let written = self.write(first)?;
            self.report(written);
        }
        Ok(())
    }

    /// Writes all that waits, as one batch; `None` when nothing does. What comes back is to be [reported](Self::report)
    /// once the batch is durable: for those who write without a thread.
    ///
    /// # Errors
    /// A failed write, after which nothing may be reported.
    pub fn write_waiting(&self) -> Result<Option<Vec<Placed>>, StoreError> {
        self.jobs.try_recv().ok().map(|first| self.write(first)).transpose()
    }

    /// Writes `first` and what waits behind it.
    fn write(&self, first: Job) -> Result<Vec<Placed>, StoreError> {
        let mut slot = self.slot.lock();
        slot.add(first.shard, first.write);
        while slot.bytes < BATCH_BYTES_MAX && slot.placed.len() < ROUNDS_QUEUED_MAX {
            let Ok(job) = self.jobs.try_recv() else { break };
            slot.add(job.shard, job.write);
        }
        if planted::has(Bug::ReportBeforeSync) {
            let number = slot.last + 1;
            let early = slot.placed.drain(..).map(|placed| Placed { number, ..placed }).collect();
            drop(slot);
            self.report(early);
            slot = self.slot.lock();
        }
        Ok(std::mem::take(slot.write()?))
    }

    /// Tells the workers where their rounds went: they are durable.
    pub fn report(&self, mut written: Vec<Placed>) {
        for Placed { shard, seq, number, part } in written.drain(..) {
            // A worker that is gone has lost interest; its rounds are durable all the same.
            self.router.inbox(shard).tell(ToWorker::Persisted { seq, number, part });
        }
        self.slot.lock().placed = written;
        // One message waits at most: a full queue says the same.
        self.synced.try_send(()).ok();
    }
}
