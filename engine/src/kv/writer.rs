//! The state writer: one thread per store that brings sealed overlays into the state database.
//!
//! Overlays of all shards come through one queue and are written in its order, each as one sorted batch with
//! its applied records. The queue has no bound of its own: shards pause when [`SEALED_MAX`] of their overlays
//! wait, and a flush adds one message, so what can wait is bounded by shards.
//!
//! A failed write ends the writer. [`StateWriter::run`] returns the error, which is for the node to end on;
//! flushes fail from then on, and shards stay paused once their overlays are full.
//! Deliberately absent: starting the thread (`node.rs` does), and retries.
//!
//! [`SEALED_MAX`]: super::layers::SEALED_MAX

use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, bounded, unbounded};

use super::layers::{Sealed, ShardLayers};
use crate::machine::MachineError;
use crate::store::state::StateStore;

enum Job {
    Write {
        shard: Arc<ShardLayers>,
        sealed: Arc<Sealed>,
    },
    /// Answered when everything before it is written.
    Barrier(Sender<()>),
}

/// Makes the writer of `state`, and the handle that the machines of its shards get.
#[must_use]
pub fn state_writer(state: Arc<dyn StateStore>) -> (StateWriterHandle, StateWriter) {
    let (jobs, queue) = unbounded();
    (StateWriterHandle { state: Arc::clone(&state), jobs }, StateWriter { state, queue })
}

/// The receiving end: run it on a thread of its own.
#[derive(Debug)]
pub struct StateWriter {
    state: Arc<dyn StateStore>,
    queue: Receiver<Job>,
}

impl StateWriter {
    /// Writes what is sealed until every handle is gone and the queue is empty.
    ///
    /// # Errors
    /// The first failed write; the store's applies can then never become durable.
    pub fn run(self) -> Result<(), MachineError> {
        self.queue.iter().try_for_each(|job| self.carry_out(job))
    }

    /// Whether anything is queued.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Does the next thing that is queued; false when nothing is. For those who write without a thread.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn write_waiting(&self) -> Result<bool, MachineError> {
        let Ok(job) = self.queue.try_recv() else { return Ok(false) };
        self.carry_out(job)?;
        Ok(true)
    }

    fn carry_out(&self, job: Job) -> Result<(), MachineError> {
        match job {
            Job::Write { shard, sealed } => {
                let bytes = sealed.keys.overlay().bytes();
                self.state.write(bytes, &mut sealed.keys.writes(), &sealed.records)?;
                shard.written(sealed);
            }
            // The one who waits may have given up; then nobody needs the answer.
            Job::Barrier(done) => drop(done.try_send(())),
        }
        Ok(())
    }
}

/// Hands overlays to the state writer of a store.
#[derive(Clone, Debug)]
pub struct StateWriterHandle {
    state: Arc<dyn StateStore>,
    jobs: Sender<Job>,
}

impl StateWriterHandle {
    /// The database that is written.
    #[must_use]
    pub const fn state(&self) -> &Arc<dyn StateStore> {
        &self.state
    }

    /// Queues a sealed overlay. When the writer has ended the overlay stays in its shard's list, where readers
    /// see it and the shard soon pauses.
    pub(crate) fn write(&self, shard: &Arc<ShardLayers>, sealed: Arc<Sealed>) {
        drop(self.jobs.send(Job::Write { shard: Arc::clone(shard), sealed }));
    }

    /// Returns a job that waits until everything queued so far is written, and then makes it durable.
    pub(crate) fn flush(&self) -> impl FnOnce() -> Result<(), MachineError> + Send + use<> {
        let (done, written) = bounded(1);
        let queued = self.jobs.send(Job::Barrier(done)).is_ok();
        let state = Arc::clone(&self.state);
        move || {
            if !queued || written.recv().is_err() {
                let text = "the state writer has ended on a failed write";
                return Err(MachineError::Database(text.to_owned()));
            }
            state.flush()
        }
    }
}
