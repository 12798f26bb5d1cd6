//! The benchmark's own monotone clock.
//!
//! One per run, shared by all its threads, so that a start stamped by one thread and an end stamped by another
//! may be subtracted.

use std::time::{Duration, Instant, SystemTime};

/// Time since the clock was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the file through which time enters the benchmark"
    )]
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now() }
    }

    /// Time since the origin.
    pub(crate) fn elapsed(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Whole microseconds since the origin.
    pub(crate) fn micros(&self) -> u64 {
        micros(self.origin.elapsed())
    }
}

/// `duration` in whole microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The calendar's time, for reports.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the file through which time enters the benchmark"
)]
pub(crate) fn calendar() -> SystemTime {
    SystemTime::now()
}
