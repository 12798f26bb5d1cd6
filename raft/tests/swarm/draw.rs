//! How often each kind of command comes in a history, and which one exactly.
//!
//! The weights are drawn once for a history: faults may be off, rare or frequent in it.

use super::commands::{ANYBODY, Alter, Command};
use super::dice::Dice;
use super::world::World;

/// The kinds, as the weights name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Deliver,
    DeliverAnywhere,
    DeliverTo,
    DeliverAll,
    Duplicate,
    Drop,
    Break,
    Cut,
    Isolate,
    Heal,
    Write,
    Persist,
    Sync,
    Crash,
    CrashAll,
    Restart,
    RestartAll,
    Wipe,
    Flush,
    Apply,
    Compact,
    Say,
    SayOne,
    Append,
    AppendAll,
    Commits,
    Snapshot,
    Pump,
    Settle,
    Tick,
    Pass,
    Expire,
    Campaign,
    Elect,
    Usurp,
    Propose,
    Read,
    Transfer,
    Change,
    LeaveJoint,
    Heartbeat,
    Forget,
    Sleep,
    Wake,
    Beat,
    CheckSupport,
}

/// How often each kind comes in this world: faults may be off, rare or frequent.
pub(crate) fn weights(dice: &mut Dice, world: &World) -> Vec<(Kind, u64)> {
    let external = u64::from(world.is_external());
    // Leases are only tried by slow answers and by a leader that does not know of its successor.
    let leases = 1 + 3 * u64::from(world.lease_percent > 0);
    let pace = dice.pick([1, 1, 2, 4]);
    let mut weights: Vec<(Kind, u64)> = vec![
        (Kind::Deliver, 60 * pace),
        (Kind::DeliverTo, 40 * pace),
        (Kind::DeliverAll, 10 * pace),
        (Kind::Write, 150),
        (Kind::Persist, 150),
        (Kind::Sync, 80),
        (Kind::Apply, 60),
        (Kind::Say, 120),
        (Kind::SayOne, 40),
        (Kind::Append, 60),
        (Kind::AppendAll, 80),
        (Kind::Commits, 20),
        (Kind::Pump, 350),
        (Kind::Settle, 10 * pace),
        (Kind::Pass, 40),
        (Kind::Propose, 160),
        (Kind::Restart, dice.pick([20, 80])),
        (Kind::RestartAll, 5),
        (Kind::Heal, dice.pick([5, 15, 40])),
        (Kind::Beat, 60 * external),
        (Kind::CheckSupport, 30 * external),
    ];
    for (kind, weight) in [
        (Kind::DeliverAnywhere, 60),
        (Kind::Duplicate, 40),
        (Kind::Drop, 30),
        (Kind::Break, 40),
        (Kind::Cut, 10),
        (Kind::Isolate, 5),
        (Kind::Crash, 12),
        (Kind::CrashAll, 2),
        (Kind::Wipe, 25),
        (Kind::Flush, 40),
        (Kind::Compact, 80),
        (Kind::Snapshot, 60),
        (Kind::Tick, 15 * leases),
        (Kind::Expire, 8),
        (Kind::Campaign, 8),
        (Kind::Elect, 20),
        (Kind::Usurp, 5 * leases),
        (Kind::Read, 50 * leases),
        (Kind::Transfer, 20),
        (Kind::Change, 70),
        (Kind::LeaveJoint, 20),
        (Kind::Heartbeat, 20),
        (Kind::Forget, 5),
        (Kind::Sleep, 10),
        (Kind::Wake, 10),
    ] {
        weights.push((kind, weight * dice.pick([0, 1, 1, 3])));
    }
    weights
}

pub(crate) fn draw(kind: Kind, dice: &mut Dice) -> Command {
    let who = dice.small(200);
    // Where a leader is wanted, it is sometimes asked of another one.
    let leader = if dice.chance(85) { 0 } else { ANYBODY + dice.small(55) };
    let other = dice.small(200);
    match kind {
        Kind::Deliver => Command::Deliver(0),
        Kind::DeliverAnywhere => Command::Deliver(who),
        Kind::DeliverTo => Command::DeliverTo(who),
        Kind::DeliverAll => Command::DeliverAll,
        Kind::Duplicate => Command::Duplicate(who),
        Kind::Drop => Command::Drop(who),
        Kind::Break => Command::Break(who),
        Kind::Cut => Command::Cut(who, other),
        Kind::Isolate => Command::Isolate(who),
        Kind::Heal => Command::Heal,
        Kind::Write => Command::Write(who),
        Kind::Persist => Command::Persist(who),
        Kind::Sync => Command::Sync(who),
        Kind::Crash => Command::Crash(who, dice.small(4)),
        Kind::CrashAll => Command::CrashAll(dice.small(4)),
        Kind::Restart => Command::Restart(who),
        Kind::RestartAll => Command::RestartAll,
        Kind::Wipe => Command::Wipe(who),
        Kind::Flush => Command::Flush(who),
        Kind::Apply => Command::Apply(who),
        Kind::Compact => Command::Compact(who, dice.pick([0, 0, 1, 2, 5])),
        Kind::Say => Command::Say(who),
        Kind::SayOne => Command::SayOne(who),
        Kind::Append => Command::Append(leader, other),
        Kind::AppendAll => Command::AppendAll(leader),
        Kind::Commits => Command::Commits(leader),
        Kind::Snapshot => Command::Snapshot(leader, dice.pick([0, 0, 1, 3])),
        Kind::Pump => Command::Pump(who),
        Kind::Settle => Command::Settle(1 + dice.small(8)),
        Kind::Tick => Command::Tick(dice.pick([1, 1, 5, 20, 60, 110])),
        Kind::Pass => Command::Pass(dice.pick([1, 2, 5, 10, 25])),
        Kind::Expire => Command::Expire(who),
        Kind::Campaign => Command::Campaign(who),
        Kind::Elect => Command::Elect(who),
        Kind::Usurp => Command::Usurp(who),
        Kind::Propose => Command::Propose(leader, dice.pick([1, 1, 1, 2, 3, 6])),
        Kind::Read => Command::Read(dice.pick([leader, ANYBODY + dice.clone().small(55)])),
        Kind::Transfer => Command::Transfer(leader, other),
        Kind::Change => draw_change(leader, dice),
        Kind::LeaveJoint => Command::LeaveJoint(leader),
        Kind::Heartbeat => Command::Heartbeat(leader),
        Kind::Forget => Command::Forget(who),
        Kind::Sleep => Command::Sleep(leader),
        Kind::Wake => Command::Wake(who),
        Kind::Beat => Command::Beat(who),
        Kind::CheckSupport => Command::CheckSupport(leader),
    }
}

fn draw_change(leader: u8, dice: &mut Dice) -> Command {
    use Alter::{Learner, Remove, Voter, Witness};
    let count = dice.pick([1, 1, 1, 2, 3]);
    let alter = |dice: &mut Dice| {
        let what = dice.pick([Voter, Voter, Voter, Learner, Learner, Witness, Remove, Remove]);
        (what, dice.small(200))
    };
    Command::Change(leader, dice.small(4), (0..count).map(|_| alter(dice)).collect())
}
