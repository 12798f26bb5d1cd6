//! The machine that keeps nothing but counts: what is left of the cost of a write is the engine's.
//!
//! Per group it counts entries and keeps a sequence digest over `(index, payload)`, so that replicas can be
//! compared. Deliberately absent: values and answers.

use std::path::PathBuf;

use kontiki_net::Block;
use kontiki_raft::Index;
use zerocopy::{FromBytes, IntoBytes};

use super::fold::{hash_bytes, step};
use super::groups::Groups;
use super::image::{self, Counts, GroupImage, ImageKind};
use super::{Answers, FlushJob, MachineContext, MachineError, StateMachine};

/// Counts entries and keeps a digest per group.
#[derive(Debug)]
pub struct NullMachine {
    dir: PathBuf,
    store_id: u128,
    groups: Groups<Counts>,
}

impl NullMachine {
    /// Opens the machine, with the counts of its last flush.
    ///
    /// # Errors
    /// When its image cannot be read, or is damaged.
    pub fn open(ctx: MachineContext) -> Result<Self, MachineError> {
        let mut groups = Groups::new(&ctx.groups);
        if let Some(body) = image::read(&ctx.dir, ctx.store_id, ImageKind::Null)? {
            let images =
                <[GroupImage]>::ref_from_bytes(&body).map_err(|_| MachineError::Corrupt {
                    what: ctx.dir.join("image").display().to_string(),
                    why: format!("{} bytes are no whole number of groups", body.len()),
                })?;
            for image in images {
                *groups.entry(image.group.get()) = Counts::of_image(image);
            }
        }
        Ok(Self { dir: ctx.dir, store_id: ctx.store_id, groups })
    }

    /// How many entries of `group` were applied since it exists.
    #[must_use]
    pub fn entries(&self, group: u64) -> u64 {
        self.groups.get(group).map_or(0, |counts| counts.entries)
    }
}

impl StateMachine for NullMachine {
    fn applied(&self, group: u64) -> Index {
        self.groups.get(group).map_or(Index::ZERO, |counts| counts.opened)
    }

    fn apply(&mut self, block: &Block<'_>, _answers: &mut Answers) {
        let counts = self.groups.entry(block.group());
        counts.advance(block.group(), block.first(), block.last());
        let mut digest = counts.digest;
        for (payload, index) in block.entries().zip(block.first().0..) {
            digest = step(digest, index, hash_bytes(0, payload));
        }
        counts.digest = digest;
        counts.entries += u64::from(block.count());
    }

    fn skip(&mut self, group: u64, index: Index) {
        self.groups.entry(group).advance(group, index, index);
    }

    fn flush(&mut self) -> Result<FlushJob, MachineError> {
        let images: Vec<GroupImage> =
            self.groups.iter().map(|(group, counts)| counts.image(group)).collect();
        let (dir, store_id) = (self.dir.clone(), self.store_id);
        Ok(Box::new(move || image::write(&dir, store_id, ImageKind::Null, images.as_bytes())))
    }

    fn digest(&self, group: u64) -> u64 {
        self.groups.get(group).map_or(0, |counts| counts.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::testing::{apply, context};

    #[test]
    fn it_counts_and_comes_back_at_its_last_flush() {
        let dir = tempfile::tempdir().unwrap();
        let mut machine = NullMachine::open(context(dir.path(), &[1, 2])).unwrap();
        assert_eq!(machine.applied(1), Index::ZERO);
        apply(&mut machine, 1, 1, &[b"a", b"b"]);
        machine.skip(1, Index(3));
        apply(&mut machine, 2, 1, &[b"a"]);
        assert_eq!((machine.entries(1), machine.applied(1)), (2, Index::ZERO));
        let job = machine.flush().unwrap();
        let flushed = machine.digest(1);
        apply(&mut machine, 1, 4, &[b"c"]);
        let later = machine.digest(1);
        job().unwrap();

        let mut machine = NullMachine::open(context(dir.path(), &[1, 2])).unwrap();
        assert_eq!((machine.applied(1), machine.applied(2)), (Index(3), Index(1)));
        assert_eq!((machine.digest(1), machine.entries(1)), (flushed, 2));
        apply(&mut machine, 1, 4, &[b"c"]);
        assert_eq!(machine.digest(1), later);
    }

    #[test]
    #[should_panic(expected = "group 1 is applied up to")]
    fn a_block_out_of_order_is_a_fault() {
        let dir = tempfile::tempdir().unwrap();
        let mut machine = NullMachine::open(context(dir.path(), &[1])).unwrap();
        apply(&mut machine, 1, 2, &[b"a"]);
    }
}
