//! The configurations without changes of membership: each in a size for every run, and in one for
//! the night, which searches to its end or to a bound that the report names.

use kontiki_raft::{Config, Liveness};

use crate::model::example;
use crate::setup::{Begin, Budget, Network, Setup};

/// Whether the large sizes were asked for.
pub(crate) fn nightly() -> bool {
    std::env::var("KONTIKI_MODEL").is_ok_and(|size| size == "nightly")
}

/// Where a search by night stops that has not come to its end.
pub(crate) const BOUND: usize = 30_000_000;

fn config() -> Config {
    Config { election_timeout_us: 100_000, heartbeat_us: 20_000, ..Config::default() }
}

/// Raft as the paper has it: no pre-vote, and nobody refuses a vote for the sake of a leader, so
/// that elections need neither time nor many messages.
pub(crate) fn paper() -> Config {
    Config { pre_vote: false, liveness: Liveness::Unchecked, ..config() }
}

/// Leaders serve reads for half of an election timeout without asking.
fn leases() -> Config {
    Config { lease_percent: 50, ..config() }
}

pub(crate) fn base(name: &'static str) -> Setup {
    Setup {
        name,
        config: config(),
        voters: 3,
        strangers: 0,
        changes: &[],
        early_campaigns: true,
        follower_reads: false,
        begin: Begin::Logs { terms: &[], committed: 0 },
        network: Network::Ordered,
        first: &[1],
        later: &[1, 2],
        eager_writes: true,
        tell_commits: false,
        extent_max: 8,
        budget: Budget::default(),
        states_max: None,
        sometimes: &[],
    }
}

/// Three new replicas, two elections, an entry; a crash beside them, or by night with them.
pub(crate) fn three_voters() -> Setup {
    let crashes = u8::from(nightly());
    Setup {
        budget: Budget { elections: 2, proposals: 1, crashes, ..Budget::default() },
        sometimes: &[example::REELECTED, example::TWO_LEADERS, example::COMMITTED_AFTER],
        states_max: nightly().then_some(4 * BOUND),
        ..base("three voters")
    }
}

/// Two elections and a crash: what of term, vote and log survives, and what was promised.
pub(crate) fn elections_and_crash() -> Setup {
    let crashes = 1 + u8::from(nightly());
    Setup {
        budget: Budget { elections: 2, crashes, ..Budget::default() },
        sometimes: &[example::REELECTED, example::RECOVERED, example::TRUNCATED],
        states_max: nightly().then_some(BOUND),
        ..base("elections and crash")
    }
}

/// Writes are taken at any time after there is something to write, so that they merge, and lag.
pub(crate) fn late_writes() -> Setup {
    let elections = 1 + u8::from(nightly());
    Setup {
        eager_writes: false,
        budget: Budget { elections, proposals: 1, crashes: 1, ..Budget::default() },
        sometimes: &[example::COMMITTED, example::RECOVERED, example::IN_FLIGHT],
        states_max: nightly().then_some(BOUND),
        ..base("late writes")
    }
}

/// A stale log that is longer than what is committed (hazard E1).
pub(crate) fn stale_longer_log() -> Setup {
    Setup {
        begin: Begin::Logs { terms: &[&[1, 1], &[2], &[2]], committed: 1 },
        later: &[1, 2, 3],
        budget: Budget {
            elections: 2,
            crashes: u8::from(nightly()),
            proposals: u8::from(nightly()),
            ..Budget::default()
        },
        sometimes: &[example::ELECTED, example::TRUNCATED],
        states_max: nightly().then_some(BOUND),
        ..base("stale longer log")
    }
}

/// Logs as in Figure 8 of the paper: an entry of an old term reaches a majority.
pub(crate) fn figure_8() -> Setup {
    Setup {
        begin: Begin::Logs { terms: &[&[1, 2], &[1], &[1, 3]], committed: 1 },
        first: &[1, 3],
        later: &[1, 2, 3],
        budget: Budget { elections: 2 + u8::from(nightly()), ..Budget::default() },
        sometimes: &[example::REELECTED, example::TRUNCATED],
        states_max: nightly().then_some(BOUND),
        ..base("figure 8")
    }
}

/// Reads at the old leader and the new, while the leadership is handed over.
pub(crate) fn reads_and_transfer() -> Setup {
    Setup {
        begin: Begin::Elected,
        first: &[2],
        later: &[1, 2, 3],
        budget: Budget {
            elections: u8::from(nightly()),
            lapses: u8::from(nightly()),
            reads: 2,
            transfers: 1,
            proposals: 1,
            ..Budget::default()
        },
        sometimes: &[example::READ, example::READ_LATE, example::REELECTED],
        states_max: nightly().then_some(BOUND),
        ..base("reads and transfer")
    }
}

/// Reads at a leader that was not heard for so long that another one may have been elected.
pub(crate) fn reads_and_silence() -> Setup {
    Setup {
        begin: Begin::Elected,
        first: &[2],
        later: &[2, 3],
        budget: Budget {
            elections: 1,
            lapses: 1,
            reads: 1 + u8::from(nightly()),
            proposals: u8::from(nightly()),
            ..Budget::default()
        },
        sometimes: &[example::READ, example::READ_LATE, example::REELECTED, example::STEPPED_DOWN],
        states_max: nightly().then_some(BOUND),
        ..base("reads and silence")
    }
}

/// Packets overtake each other, are lost, and come twice.
pub(crate) fn bad_network() -> Setup {
    Setup {
        network: Network::Unordered,
        budget: Budget {
            elections: 1 + u8::from(nightly()),
            proposals: 1,
            duplicates: 1,
            ..Budget::default()
        },
        sometimes: &[example::COMMITTED],
        states_max: nightly().then_some(BOUND),
        ..base("bad network")
    }
}

/// Connections break under a leader that sends entry by entry, with or without anyone noticing.
pub(crate) fn broken_connections() -> Setup {
    Setup {
        begin: Begin::Elected,
        first: &[2],
        extent_max: 1,
        tell_commits: true,
        budget: Budget {
            proposals: 1 + u8::from(nightly()),
            resets: 1,
            losses: 1,
            reads: 1,
            ..Budget::default()
        },
        sometimes: &[example::COMMITTED, example::READ],
        states_max: nightly().then_some(BOUND),
        ..base("broken connections")
    }
}

/// Reads under leases, with time passing, elections and orders to campaign (hazards R7, R8).
pub(crate) fn lease_reads() -> Setup {
    Setup {
        config: leases(),
        begin: Begin::Elected,
        first: &[2],
        later: &[2, 3],
        early_campaigns: false,
        budget: Budget {
            reads: 2,
            lapses: 1,
            elections: 1,
            transfers: u8::from(nightly()),
            ..Budget::default()
        },
        sometimes: &[example::READ, example::READ_LATE, example::REELECTED],
        states_max: nightly().then_some(BOUND),
        ..base("lease reads")
    }
}

/// The same with an order to campaign instead of silence.
pub(crate) fn lease_and_transfer() -> Setup {
    Setup {
        config: leases(),
        begin: Begin::Elected,
        first: &[2],
        later: &[2, 3],
        early_campaigns: nightly(),
        budget: Budget {
            reads: 2,
            transfers: 1,
            lapses: u8::from(nightly()),
            elections: u8::from(nightly()),
            ..Budget::default()
        },
        sometimes: &[example::READ, example::READ_LATE, example::REELECTED],
        states_max: nightly().then_some(BOUND),
        ..base("lease and transfer")
    }
}

/// Reads that come to followers, while another leader is elected.
pub(crate) fn forwarded_reads() -> Setup {
    Setup {
        config: paper(),
        begin: Begin::Elected,
        first: &[2],
        later: &[1, 2, 3],
        follower_reads: true,
        tell_commits: true,
        budget: Budget {
            reads: 1 + u8::from(nightly()),
            elections: 1,
            resets: u8::from(nightly()),
            proposals: u8::from(nightly()),
            ..Budget::default()
        },
        sometimes: &[example::READ, example::READ_LATE],
        states_max: nightly().then_some(BOUND),
        ..base("forwarded reads")
    }
}
