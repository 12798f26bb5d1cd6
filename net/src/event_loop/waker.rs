//! Waking a worker that sleeps in its poll, without paying for it when it does not.
//!
//! One atomic tells whether the worker runs, sleeps, or was already woken. A wake is a swap; only
//! the first wake of a sleeping worker is a system call. The worker takes the wake back before its
//! poll returns, so whatever was queued before the wake is seen by the look that follows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const RUNNING: u8 = 0;
const SLEEPING: u8 = 1;
const WOKEN: u8 = 2;

#[derive(Debug)]
struct Shared {
    state: AtomicU8,
    /// `None` where nothing sleeps: a simulation looks at the state instead.
    signal: Option<mio::Waker>,
}

/// Wakes the worker of one transport. Cheap to clone and to call.
#[derive(Debug, Clone)]
pub struct Waker {
    shared: Arc<Shared>,
}

impl Waker {
    pub(super) fn new(signal: mio::Waker) -> Self {
        Self::with(Some(signal))
    }

    /// A waker without a signal, for a system whose poll never sleeps: its owner asks [`Self::was_woken`].
    #[must_use]
    pub fn silent() -> Self {
        Self::with(None)
    }

    fn with(signal: Option<mio::Waker>) -> Self {
        Self { shared: Arc::new(Shared { state: AtomicU8::new(RUNNING), signal }) }
    }

    /// Whether a wake came since the last poll.
    #[must_use]
    pub fn was_woken(&self) -> bool {
        self.shared.state.load(Ordering::SeqCst) == WOKEN
    }

    /// Makes the present or the next poll return at once.
    ///
    /// # Panics
    /// When the system cannot signal an eventfd, which leaves the worker asleep for ever.
    pub fn wake(&self) {
        // SeqCst orders the caller's queue operation before the swap for every other thread.
        if self.shared.state.swap(WOKEN, Ordering::SeqCst) == SLEEPING
            && let Some(signal) = &self.shared.signal
        {
            signal.wake().expect("an eventfd can be signalled");
        }
    }

    /// Goes to sleep; false when a wake came first.
    pub(super) fn begin_sleep(&self) -> bool {
        let state = &self.shared.state;
        state.compare_exchange(RUNNING, SLEEPING, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Takes back any wake: the worker looks at its queues next.
    pub(super) fn end_sleep(&self) {
        self.shared.state.swap(RUNNING, Ordering::SeqCst);
    }
}
