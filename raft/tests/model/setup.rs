//! What a model is made of: the group, where it begins, what its network and disks may do, and how
//! often anything may happen. The budgets make the number of states finite.

use kontiki_raft::{Change, Config, Transition};

/// How packets travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// In order between each pair, as on a connection.
    Ordered,
    /// In any order. What is never delivered is lost.
    Unordered,
}

/// Where the group begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// Nobody leads, and the logs have these terms. The first `committed` entries of the longest
    /// agreeing majority are known to be committed.
    Logs { terms: &'static [&'static [u64]], committed: u64 },
    /// Replica 1 leads, everything is committed and quiet.
    Elected,
}

/// How often each thing may happen in one history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    /// Campaigns, by a call or by a deadline.
    pub(crate) elections: u8,
    /// Nobody speaks for two election timeouts.
    pub(crate) lapses: u8,
    pub(crate) proposals: u8,
    pub(crate) reads: u8,
    pub(crate) transfers: u8,
    pub(crate) crashes: u8,
    /// A connection breaks and stands again.
    pub(crate) resets: u8,
    /// A packet vanishes on a connection that lives.
    pub(crate) losses: u8,
    /// A packet arrives and stays on its way.
    pub(crate) duplicates: u8,
    /// Changes of membership, those of [`Setup::changes`] in their order.
    pub(crate) changes: u8,
    /// A replica forgets the log that it has applied.
    pub(crate) compactions: u8,
    /// A replica that is no member loses everything, to be added again as a new one.
    pub(crate) wipes: u8,
    /// A leader speaks to everybody, as after a heartbeat interval.
    pub(crate) beats: u8,
}

/// One configuration of the model.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) name: &'static str,
    pub(crate) config: Config,
    pub(crate) voters: u64,
    /// Replicas that wait to be added, numbered after the voters.
    pub(crate) strangers: u64,
    pub(crate) changes: &'static [(&'static [Change], Transition)],
    pub(crate) begin: Begin,
    pub(crate) network: Network,
    /// Who may campaign first, and later. Replicas that nothing tells apart need not all be tried.
    pub(crate) first: &'static [u64],
    pub(crate) later: &'static [u64],
    /// Replicas also campaign before their election timer has ended.
    pub(crate) early_campaigns: bool,
    /// Followers are asked for reads as well.
    pub(crate) follower_reads: bool,
    /// Writes are taken as soon as there is something to write; otherwise at any time after it.
    pub(crate) eager_writes: bool,
    /// Followers are told of commits without waiting for the next append.
    pub(crate) tell_commits: bool,
    /// Entries in one append.
    pub(crate) extent_max: u64,
    pub(crate) budget: Budget,
    /// Stop after so many states were generated, if there are as many.
    pub(crate) states_max: Option<usize>,
    /// What must happen in some history, by the names in `properties`.
    pub(crate) sometimes: &'static [&'static str],
}
