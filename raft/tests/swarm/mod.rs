//! Random histories in the style of swarm testing.
//!
//! - `dice`: the one source of chance, which no library can change.
//! - `world`: what is drawn once for a history: sizes, features, faults, limits.
//! - `commands`: what happens, one step at a time. A command names things relative to what is
//!   there when its turn comes, so any part of a history is a history.
//! - `draw`: how often each kind of command comes.
//! - `rest`: the end of every history, when all is mended and the group must get on.
//! - `found`: small histories that failed once.
//! - `shrink`: running a history, and cutting a failing one down to what is needed to fail.

pub(crate) mod commands;
pub(crate) mod dice;
pub(crate) mod draw;
mod found;
pub(crate) mod rest;
pub(crate) mod shrink;
pub(crate) mod world;
