//! The one place where time enters: a monotone clock in microseconds.

use std::time::Instant;

use kontiki_raft::Time;

/// Microseconds since it was made; never goes back.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that starts at one second, so that "some time ago" stays expressible.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the file through which time enters")]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Time {
        let micros = self.origin.elapsed().as_micros();
        Time(1_000_000 + u64::try_from(micros).expect("a process runs for less than 500,000 years"))
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
