//! How often nodes beat, how long they promise, and how far their clocks may be off.
//!
//! Deliberately absent: a setting for the lease and one for the wait after a start. Both follow from these three;
//! `promise.rs` has the derivation.

use std::fmt;

use super::promise;

/// The least interval between beats.
pub const BEAT_US_MIN: u64 = 10_000;
/// The greatest interval between beats.
pub const BEAT_US_MAX: u64 = 1_000_000;
/// A promise lasts at least so many beats, so that a lost one does not end it.
pub const BEATS_PER_PROMISE_MIN: u64 = 3;
/// The longest promise: it is also how long a group may wait for another leader.
pub const PROMISE_US_MAX: u64 = 60_000_000;
/// The furthest that a clock's rate may be from true.
pub const DRIFT_PERCENT_MAX: u8 = 20;

/// What a node promises and expects. Best equal on all nodes; a promise says for how long it is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SupportConfig {
    /// Between two beats to the same node.
    pub beat_us: u64,
    /// For how long a beat is answered with support. To lower it, leave the node stopped for as long as the former
    /// promise: what an earlier life has promised is waited out as if it had been this long.
    pub promise_us: u64,
    /// By how much the rate of any node's clock may differ from true time.
    pub drift_percent: u8,
}

impl Default for SupportConfig {
    fn default() -> Self {
        Self { beat_us: 100_000, promise_us: 600_000, drift_percent: 10 }
    }
}

impl SupportConfig {
    /// Checks the limits.
    ///
    /// # Errors
    /// [`SupportConfigError`] names the value that cannot work.
    pub const fn validate(&self) -> Result<(), SupportConfigError> {
        if self.beat_us < BEAT_US_MIN || self.beat_us > BEAT_US_MAX {
            return Err(SupportConfigError::Beat { us: self.beat_us });
        }
        let least = self.beat_us * BEATS_PER_PROMISE_MIN;
        if self.promise_us < least || self.promise_us > PROMISE_US_MAX {
            return Err(SupportConfigError::Promise { us: self.promise_us, least });
        }
        if self.drift_percent > DRIFT_PERCENT_MAX {
            return Err(SupportConfigError::Drift { percent: self.drift_percent });
        }
        Ok(())
    }

    /// For how long, from its sending, a beat that was answered gives certainty.
    ///
    /// ```
    /// use kontiki::support::SupportConfig;
    /// assert_eq!(SupportConfig::default().lease_us(), 490_908);
    /// ```
    #[must_use]
    pub const fn lease_us(&self) -> u64 {
        promise::lease_us(self.promise_us, self.drift_percent)
    }

    /// For how long a node that started again votes for nobody.
    ///
    /// ```
    /// use kontiki::support::SupportConfig;
    /// assert_eq!(SupportConfig::default().restart_wait_us(), 733_335);
    /// ```
    #[must_use]
    pub const fn restart_wait_us(&self) -> u64 {
        promise::restart_wait_us(self.promise_us, self.drift_percent)
    }
}

/// Why a [`SupportConfig`] cannot work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SupportConfigError {
    /// The interval between beats is not within [`BEAT_US_MIN`] and [`BEAT_US_MAX`].
    Beat {
        /// The interval.
        us: u64,
    },
    /// The promise is shorter than [`BEATS_PER_PROMISE_MIN`] beats, or longer than [`PROMISE_US_MAX`].
    Promise {
        /// The promise.
        us: u64,
        /// The least it may be with this interval.
        least: u64,
    },
    /// The drift is beyond [`DRIFT_PERCENT_MAX`].
    Drift {
        /// The drift.
        percent: u8,
    },
}

impl fmt::Display for SupportConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beat { us } => {
                write!(f, "a beat every {us} us; allowed are {BEAT_US_MIN} to {BEAT_US_MAX}")
            }
            Self::Promise { us, least } => {
                write!(f, "a promise of {us} us; allowed are {least} to {PROMISE_US_MAX}")
            }
            Self::Drift { percent } => {
                write!(f, "clocks off by {percent} %; allowed are at most {DRIFT_PERCENT_MAX} %")
            }
        }
    }
}

impl std::error::Error for SupportConfigError {}
