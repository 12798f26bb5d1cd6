//! The thread for what must not hold up a worker: flush cycles and the witness.
//!
//! It wakes when there is something to do and sleeps otherwise; an idle store has no timer here.

use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, select};

use crate::clock::Clock;
use crate::error::Fatal;
use crate::machine::FlushJob;
use crate::router::{Router, ToWorker};
use crate::shard::AppliedMarks;
use crate::store::WitnessWriter;

/// How long the witness may lag behind the last sync, in a store that is written to.
const WITNESS_INTERVAL: Duration = Duration::from_millis(50);

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
}

impl Maintenance {
    /// Works until every sender is gone, and gives the witness back for the last word.
    pub(crate) fn run(mut self) -> Result<WitnessWriter, Fatal> {
        let mut behind = false;
        loop {
            let chore = if behind {
                match self.chores.recv_timeout(WITNESS_INTERVAL) {
                    Ok(chore) => Some(chore),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return Ok(self.witness),
                }
            } else {
                select! {
                    recv(self.chores) -> chore => match chore {
                        Ok(chore) => Some(chore),
                        Err(_) => return Ok(self.witness),
                    },
                    recv(self.synced) -> _ => {
                        behind = true;
                        continue;
                    }
                }
            };
            match chore {
                Some(chore) => chore.carry_out(&self.router)?,
                None => {
                    self.witness.maybe_write(self.clock.now().0).map_err(Fatal::Log)?;
                    behind = self.synced.try_recv().is_ok();
                }
            }
        }
    }
}
