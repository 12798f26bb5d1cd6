//! One pair of nodes as an operator sees it: plain numbers, ready for JSON.

use serde::{Deserialize, Serialize};

use super::RoundTrips;

/// What is between this node and another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairStatus {
    /// The other node.
    pub node: u64,
    /// Its boot epoch, as far as is known; 0 before it was heard.
    pub epoch: u64,
    /// For how many microseconds of our clock we still support it; absent when we do not.
    pub given_for_us: Option<u64>,
    /// How often we have let its support lapse since our start.
    pub given_lapses: u64,
    /// For how many microseconds we can still count on its support; absent when we cannot.
    pub held_for_us: Option<u64>,
    /// How often it had let our support lapse when it began its present promise; absent when it makes none.
    pub held_lapses: Option<u64>,
    /// Beats that we made for it, whether there was a connection or not.
    pub beats_sent: u64,
    /// Beats of its that we took.
    pub beats_heard: u64,
    /// Beats of its that never came.
    pub beats_missed: u64,
    /// Beats and promises that came too late to say anything.
    pub beats_ignored: u64,
    /// Round trips; absent before the first.
    pub round_trips: Option<RoundTrips>,
}
