//! The thread for what must not hold up a worker: flush cycles, the witness, and bringing the log to rest.
//!
//! It wakes when there is something to do and sleeps otherwise; an idle store has no timer here.

use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, after, never, select};

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::error::Fatal;
use crate::machine::FlushJob;
use crate::router::{Router, ToWorker};
use crate::shard::AppliedMarks;
use crate::store::WitnessWriter;
use crate::writer::LogSlot;

/// How long the witness may lag behind the last sync, in a store that is written to.
const WITNESS_INTERVAL: Duration = Duration::from_millis(50);

/// After so long without a sync the log rests, and gives back the memory that it still holds.
const REST: Duration = Duration::from_secs(2);

/// A flush cycle of one shard.
pub struct Chore {
    pub(crate) shard: usize,
    pub(crate) marks: AppliedMarks,
    pub(crate) job: FlushJob,
}

impl std::fmt::Debug for Chore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chore").field("shard", &self.shard).finish_non_exhaustive()
    }
}

impl Chore {
    /// Does the work, and tells the worker that it is done.
    ///
    /// # Errors
    /// What the machine says; then nothing was told, and the engine is to end.
    pub fn carry_out(self, router: &Router) -> Result<(), Fatal> {
        let Self { shard, marks, job } = self;
        job().map_err(Fatal::Machine)?;
        router.inbox(shard).tell(ToWorker::Flushed { marks });
        Ok(())
    }
}

/// See the module.
pub(crate) struct Maintenance {
    pub(crate) chores: Receiver<Chore>,
    pub(crate) synced: Receiver<()>,
    pub(crate) router: Arc<Router>,
    pub(crate) witness: WitnessWriter,
    pub(crate) clock: Clock,
    pub(crate) log: Arc<Mutex<LogSlot>>,
}

/// What is due when nothing more comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    Nothing,
    /// The witness is behind.
    Witness,
    /// The log may rest.
    Rest,
}

impl Maintenance {
    /// Works until every sender is gone, and gives the witness back for the last word.
    pub(crate) fn run(mut self) -> Result<WitnessWriter, Fatal> {
        let mut due = Due::Nothing;
        loop {
            let chore = match due {
                Due::Witness => match self.chores.recv_timeout(WITNESS_INTERVAL) {
                    Ok(chore) => Some(chore),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return Ok(self.witness),
                },
                Due::Rest | Due::Nothing => {
                    let rest = if due == Due::Rest { after(REST) } else { never() };
                    select! {
                        recv(self.chores) -> chore => match chore {
                            Ok(chore) => Some(chore),
                            Err(_) => return Ok(self.witness),
                        },
                        recv(self.synced) -> _ => {
                            due = Due::Witness;
                            continue;
                        }
                        recv(rest) -> _ => None,
                    }
                }
            };
            match (chore, due) {
                (Some(chore), _) => chore.carry_out(&self.router)?,
                (None, Due::Witness) => {
                    self.witness.maybe_write(self.clock.now().0).map_err(Fatal::Log)?;
                    due = if self.synced.try_recv().is_ok() { Due::Witness } else { Due::Rest };
                }
                (None, Due::Rest | Due::Nothing) => {
                    let wrote = self.log.lock().rest().map_err(Fatal::Log)?;
                    due = if wrote { Due::Witness } else { Due::Nothing };
                }
            }
        }
    }
}
