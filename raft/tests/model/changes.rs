//! The configurations in which the membership changes, or a log is replaced by a snapshot.

use kontiki_raft::{Change, ReplicaId, Transition};

use crate::model::example;
use crate::setup::{Begin, Budget, Setup};
use crate::setups::{BOUND, base, nightly, paper};

type Changes = (&'static [Change], Transition);

const fn id(number: u64) -> ReplicaId {
    ReplicaId::new(number).expect("replicas are numbered from one")
}

/// The leader is replaced by a newcomer, by way of a joint membership, while another one is
/// elected.
pub(crate) fn joint_change() -> Setup {
    const OF_TWO: &[Changes] =
        &[(&[Change::AddVoter(id(3)), Change::Remove(id(1))], Transition::Auto)];
    const OF_THREE: &[Changes] =
        &[(&[Change::AddVoter(id(4)), Change::Remove(id(1))], Transition::Auto)];
    Setup {
        config: paper(),
        voters: 2 + u64::from(nightly()),
        begin: Begin::Elected,
        strangers: 1,
        changes: if nightly() { OF_THREE } else { OF_TWO },
        first: &[2],
        later: &[1, 2],
        budget: Budget {
            changes: 1,
            elections: 1,
            crashes: 1 - u8::from(nightly()),
            ..Budget::default()
        },
        sometimes: &[
            example::JOINT,
            example::JOINT_LEFT,
            example::JOINT_LEFT_LATE,
            example::NEWCOMER,
            example::RETIRED,
        ],
        states_max: nightly().then_some(BOUND),
        ..base("joint change")
    }
}

/// A joint membership that somebody has to end, with a voter that becomes a learner.
pub(crate) fn explicit_leave() -> Setup {
    Setup {
        config: paper(),
        begin: Begin::Elected,
        changes: const { &[(&[Change::AddLearner(id(3))], Transition::JointExplicit)] },
        first: &[2],
        later: &[1, 2, 3],
        budget: Budget {
            changes: 1,
            elections: 1 + u8::from(nightly()),
            crashes: u8::from(nightly()),
            ..Budget::default()
        },
        sometimes: &[example::JOINT, example::JOINT_LEFT_LATE, example::ROLLED_BACK],
        states_max: nightly().then_some(BOUND),
        ..base("explicit leave")
    }
}

/// A newcomer learns, then votes (hazard M6).
pub(crate) fn learner_promoted() -> Setup {
    Setup {
        config: paper(),
        begin: Begin::Elected,
        strangers: 1,
        changes: const {
            &[
                (&[Change::AddLearner(id(4))], Transition::Auto),
                (&[Change::AddVoter(id(4))], Transition::Auto),
            ]
        },
        first: &[2],
        later: &[1, 2, 4],
        budget: Budget {
            changes: 2,
            proposals: u8::from(nightly()),
            elections: u8::from(nightly()),
            ..Budget::default()
        },
        sometimes: &[example::NEWCOMER],
        states_max: nightly().then_some(BOUND),
        ..base("learner promoted")
    }
}

/// Two leaders each remove the other from a group of four (hazard M2).
pub(crate) fn rival_changes() -> Setup {
    Setup {
        config: paper(),
        voters: 4,
        begin: Begin::Elected,
        changes: const {
            &[
                (&[Change::Remove(id(2))], Transition::Auto),
                (&[Change::Remove(id(1))], Transition::Auto),
            ]
        },
        first: &[2],
        later: &[1],
        budget: Budget { changes: 2, elections: 2, ..Budget::default() },
        sometimes: &[example::REELECTED, example::ROLLED_BACK],
        states_max: Some(if nightly() { BOUND } else { 1_000_000 }),
        ..base("rival changes")
    }
}

/// A replica is removed, begins anew and is added again, while it is still heard from (hazard M10).
pub(crate) fn readded() -> Setup {
    Setup {
        config: paper(),
        begin: Begin::Elected,
        first: &[2],
        changes: const {
            &[
                (&[Change::Remove(id(3))], Transition::Auto),
                (&[Change::AddVoter(id(3))], Transition::Auto),
            ]
        },
        tell_commits: true,
        budget: Budget {
            changes: 2,
            wipes: 1,
            proposals: 1 + u8::from(nightly()),
            ..Budget::default()
        },
        sometimes: &[example::READDED],
        states_max: nightly().then_some(BOUND),
        ..base("removed and added again")
    }
}

/// A log is compacted under a follower that still needs it.
pub(crate) fn snapshots() -> Setup {
    Setup {
        config: paper(),
        begin: Begin::Elected,
        first: &[2],
        later: &[1, 2, 3],
        tell_commits: true,
        budget: Budget {
            proposals: 1 + u8::from(nightly()),
            compactions: 1,
            resets: 1,
            crashes: u8::from(nightly()),
            ..Budget::default()
        },
        sometimes: &[example::INSTALLED, example::CAUGHT_UP],
        states_max: nightly().then_some(BOUND),
        ..base("snapshots")
    }
}
