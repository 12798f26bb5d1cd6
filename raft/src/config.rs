//! The tunables of one replica, checked once.

use crate::error::ConfigError;

/// The tunables of one replica. All replicas of a group should agree on the times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// How long a leader may be silent. A replica waits for one to two of these, drawn at random,
    /// before it campaigns; a leader steps down after one without a quorum.
    pub election_timeout_us: u32,
    /// How long a leader lets a peer wait for a sign of life.
    pub heartbeat_us: u32,
    /// Bytes that may be on their way to one follower.
    pub inflight_bytes_max: u32,
    /// Bytes of proposals that may wait for their commit, in the whole group.
    pub uncommitted_bytes_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            election_timeout_us: 1_000_000,
            heartbeat_us: 250_000,
            inflight_bytes_max: 16 << 20,
            uncommitted_bytes_max: 64 << 20,
        }
    }
}

impl Config {
    /// Checks the limits and their relations.
    ///
    /// # Errors
    /// Says which relation does not hold.
    ///
    /// ```
    /// use kontiki_raft::{Config, ConfigError};
    /// let config = Config { heartbeat_us: 0, ..Config::default() };
    /// assert_eq!(config.validate(), Err(ConfigError::Heartbeat));
    /// ```
    pub const fn validate(&self) -> Result<(), ConfigError> {
        if self.election_timeout_us < 1_000 || self.election_timeout_us > 1_800_000_000 {
            return Err(ConfigError::ElectionTimeout);
        }
        if self.heartbeat_us == 0 || self.heartbeat_us > self.election_timeout_us / 2 {
            return Err(ConfigError::Heartbeat);
        }
        if self.inflight_bytes_max == 0 || self.uncommitted_bytes_max == 0 {
            return Err(ConfigError::Window);
        }
        Ok(())
    }
}
