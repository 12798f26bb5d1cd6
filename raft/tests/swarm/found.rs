//! Histories that failed once, as small as they were cut: each names what was wrong.

use kontiki_raft::Liveness;

use super::commands::{
    Alter::{Learner, Remove, Voter, Witness},
    Command::{
        self, AppendAll, Campaign, Change, CheckSupport, Crash, DeliverAll, Elect, Expire, Isolate,
        Pass, Propose, Pump, Read, Restart, Settle, Sync,
    },
};
use super::shrink::{list, run};
use super::world::{Case, World};

#[track_caller]
fn holds(world: World, commands: &[Command]) {
    crate::common::switch_planted();
    let case = Case { world, commands: commands.to_vec() };
    if let Err(failure) = run(&case, false) {
        panic!("{}: {}\n{}", failure.place, failure.message, list(&case));
    }
}

/// Replica 3 lacks an entry, so it cannot win; but it asks first, and in ever new terms.
#[test]
fn e11_one_that_cannot_win_does_not_keep_the_others_from_asking() {
    let world = World { pre_vote: false, priorities: vec![0, 0, 3], ..World::plain(3, 0) };
    holds(world, &[Campaign(1), Settle(8), Propose(0, 1), Campaign(2)]);
}

/// Replica 2 is removed and knows it, and its leader listens to members only.
#[test]
fn r3_a_read_of_one_that_was_removed_ends() {
    let remove = Change(0, 0, vec![(Remove, 1)]);
    holds(World::plain(4, 0), &[Elect(2), remove, Settle(8), Read(201)]);
}

/// Replica 3 gives up the lead just when it is to tell replica 1, which was removed, that it will
/// not answer its read.
#[test]
fn r3_a_read_of_one_that_was_removed_ends_even_when_the_term_does() {
    let remove = Change(0, 2, vec![(Remove, 0)]);
    let commands = [Elect(2), remove, Settle(7), Read(252), Expire(5), Pass(5), Pump(0), Read(252)];
    holds(World::plain(7, 2), &commands);
}

/// A leader alone has an entry of a later term where the others hold an older one, which is
/// committed in the end.
#[test]
fn an_uncommitted_entry_of_a_later_term_rejects_no_proposal() {
    let world = World { pre_vote: false, ..World::plain(3, 2) };
    let commands = [
        Elect(2),
        Campaign(0),
        Propose(0, 1),
        Expire(1),
        Crash(1, 0),
        Restart(90),
        Pass(1),
        Settle(2),
        Crash(0, 0),
    ];
    holds(world, &commands);
}

/// Only the leader's disk has its removal, so only the leader can win; its own log says that it is
/// no member.
#[test]
fn thesis_4_2_2_one_that_was_removed_but_not_for_certain_still_campaigns() {
    let remove = Change(0, 0, vec![(Remove, 0)]);
    holds(World::plain(2, 0), &[Elect(0), remove, Sync(0), Crash(0, 0)]);
}

/// The removal of the leader is committed on witnesses alone; replica 2, the only one who may
/// lead then, does not have it yet.
#[test]
fn a_leader_that_was_removed_leads_on_until_its_heir_has_everything() {
    let witnesses = Change(0, 2, vec![(Witness, 2), (Witness, 3), (Witness, 4)]);
    let remove = Change(0, 0, vec![(Remove, 0)]);
    let commands = [Elect(0), witnesses, Settle(8), Isolate(1), remove, Settle(8)];
    holds(World::plain(5, 0), &commands);
}

/// The node of a leader that stepped down is supported for ever, but the group must not be.
#[test]
fn a_leader_that_asks_for_votes_is_refused_none_for_its_own_sake() {
    let world = World { liveness: Liveness::External, ..World::plain(2, 0) };
    holds(world, &[Elect(0), CheckSupport(0)]);
}

/// What the leader loses with its memory must not be on a witness, who could never lead with it.
#[test]
fn a_witness_is_sent_only_what_the_leader_has_persisted() {
    let witness = Change(0, 0, vec![(Witness, 1)]);
    let lost = [Propose(0, 1), AppendAll(0), DeliverAll, Sync(1), Crash(0, 0)];
    let mut commands = vec![Elect(0), witness, Settle(8)];
    commands.extend(lost);
    holds(World::plain(2, 0), &commands);
}

/// Replica 3 still follows replica 2, whose node lives, in a term that has ended; it was added
/// again meanwhile, and its vote is needed.
#[test]
fn one_that_follows_in_an_earlier_term_hears_that_it_has_ended() {
    let world = World { liveness: Liveness::External, ..World::plain(3, 0) };
    let commands = [
        Elect(1),
        Change(0, 2, vec![(Remove, 2)]),
        Settle(8),
        Isolate(2),
        Change(0, 1, vec![(Learner, 1)]),
        Settle(8),
        Change(0, 0, vec![(Voter, 2)]),
        CheckSupport(0),
        Elect(0),
    ];
    holds(world, &commands);
}
