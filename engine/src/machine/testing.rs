//! What the tests of the machines share: a context and blocks made of payloads.

use std::ffi::OsString;
use std::path::Path;

use kontiki_net::{Block, BlockKind, BlockMeta, Run, encode_block};
use kontiki_raft::{Index, Term};

use super::{Answers, MachineContext, StateMachine, Wake};

/// A context without anybody to wake.
pub(crate) fn context(dir: &Path, groups: &[u64]) -> MachineContext {
    let dir = dir.to_path_buf();
    MachineContext {
        shard: 0,
        shards: 1,
        store_id: 77,
        dir,
        groups: groups.into(),
        wake: Wake::new(|| ()),
    }
}

/// The bytes of a block of commands in term 1.
pub(crate) fn block(group: u64, first: u64, payloads: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let lengths: Vec<u8> =
        payloads.iter().flat_map(|p| u32::try_from(p.len()).unwrap().to_le_bytes()).collect();
    let payload = payloads.concat();
    let meta =
        BlockMeta { group, first_index: Index(first), term: Term(1), kind: BlockKind::Command };
    encode_block(&mut bytes, meta, std::iter::once(Run { lengths: &lengths, payload: &payload }));
    bytes
}

/// Applies one block and returns the answers.
pub(crate) fn apply(
    machine: &mut impl StateMachine,
    group: u64,
    first: u64,
    payloads: &[&[u8]],
) -> Answers {
    let mut answers = Answers::default();
    let bytes = block(group, first, payloads);
    machine.apply(&Block::parse(&bytes).unwrap().0, &mut answers);
    answers
}

/// What a crash at this moment would leave of a database: its files as they are, copied again if they change
/// meanwhile.
pub(crate) fn crash_image(from: &Path, to: &Path) {
    let listing = || {
        let files = std::fs::read_dir(from).unwrap().map(Result::unwrap);
        let mut files: Vec<(OsString, Option<u64>)> = files
            .map(|file| (file.file_name(), file.metadata().ok().map(|data| data.len())))
            .filter(|(name, _)| name != "LOCK")
            .collect();
        files.sort();
        files
    };
    loop {
        std::fs::create_dir_all(to).unwrap();
        let before = listing();
        let copied = before
            .iter()
            .all(|(name, len)| std::fs::copy(from.join(name), to.join(name)).ok() == *len);
        if copied && listing() == before {
            return;
        }
        std::fs::remove_dir_all(to).unwrap();
    }
}
