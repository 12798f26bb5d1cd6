//! Histories that failed once, as small as they were cut: each names what was wrong.

use super::commands::{
    Alter::Remove,
    Command::{self, Campaign, Change, Crash, Elect, Expire, Pass, Propose, Read, Restart, Settle},
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
