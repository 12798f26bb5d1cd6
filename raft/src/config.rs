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
    /// How long a leader may serve reads without asking, in percent of the election timeout and
    /// counted from the sending of what a majority answered (thesis §6.4.1). 0 turns leases off;
    /// at most [`LEASE_PERCENT_MAX`], which leaves room for clocks that run 10 % fast or slow. All
    /// replicas of a group must agree on whether there are leases: with them, a replica that
    /// starts waits out one election timeout before it votes, since it may have promised so.
    pub lease_percent: u8,
    /// How willing the replica is to lead, up to [`PRIORITY_MAX`]. Each step below the top waits
    /// one election timeout more before it campaigns. Only a preference: whom votes go to does not
    /// depend on it. Meant for groups with pre-vote: without, a replica of the top priority that was
    /// left behind asks in ever new terms before those who could win, and unseats whoever leads.
    pub priority: u8,
    /// Whether an election is asked for before a term is entered for it (thesis §9.6). A group
    /// without it works, but a replica that was cut off unseats the leader when it comes back.
    pub pre_vote: bool,
    /// Who watches whether the leader lives.
    pub liveness: Liveness,
}

/// The highest [`Config::lease_percent`]: at clock rates within 10 % of true, a leader's 80 % end
/// before a follower's 100 %.
pub const LEASE_PERCENT_MAX: u8 = 80;

/// The highest [`Config::priority`], and the default.
pub const PRIORITY_MAX: u8 = 3;

/// Who watches whether the leader lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Liveness {
    /// The replicas of the group, by heartbeats and election timeouts. A leader that has not heard
    /// a majority for an election timeout steps down (check-quorum, thesis §6.2), and a replica
    /// that hears its leader votes for nobody else (thesis §4.2.3).
    #[default]
    SelfTimed,
    /// As `SelfTimed`, but a leader stays whoever is silent, and votes go by term and log alone:
    /// Raft as the paper has it, for comparison. Excludes leases.
    Unchecked,
    /// The caller: nodes support each other, and groups only hear of it. A follower through
    /// [`Raft::leader_supported_until`](crate::Raft::leader_supported_until) and
    /// [`Raft::on_support_lapsed`](crate::Raft::on_support_lapsed), a leader through
    /// [`Raft::on_support_gained`](crate::Raft::on_support_gained) and
    /// [`Raft::check_support`](crate::Raft::check_support). A group at rest has no deadline.
    External,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            election_timeout_us: 1_000_000,
            heartbeat_us: 250_000,
            inflight_bytes_max: 16 << 20,
            uncommitted_bytes_max: 64 << 20,
            lease_percent: 0,
            priority: PRIORITY_MAX,
            pre_vote: true,
            liveness: Liveness::SelfTimed,
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
        let self_timed = matches!(self.liveness, Liveness::SelfTimed);
        if self.lease_percent > LEASE_PERCENT_MAX || (!self_timed && self.lease_percent > 0) {
            return Err(ConfigError::Lease);
        }
        if self.priority > PRIORITY_MAX {
            return Err(ConfigError::Priority);
        }
        Ok(())
    }

    /// How long a lease lasts; 0 without leases.
    pub(crate) fn lease_us(&self) -> u32 {
        let us = u64::from(self.election_timeout_us) * u64::from(self.lease_percent) / 100;
        u32::try_from(us).expect("a part of a u32")
    }
}
