//! Where each block of each group lives: which round it was written in, and where in it.
//!
//! `index` is a group's own list, `rounds` is the shard's: which rounds still hold a live block, which of
//! them are in memory, and under which batch number the others are found in the log.

pub(crate) mod index;
pub(crate) mod rounds;
