//! Reading all of a store, to say whether it is whole and what exactly is not.
//!
//! Where opening stops at the first thing that is wrong, a check goes on and lists: bad places in the write-ahead
//! log, damaged tables, breaks of the chain, blocks whose own checksum fails. It takes no lock and writes nothing.
//! On a running store the last batches may be in the middle of being written; a torn tail is not a problem there.
//!
//! Invariant: a store in which a check finds no problem opens.
//! Deliberately absent: repair.

use kontiki_net::Block;

use super::files::SystemFiles;
use super::wal_scan::{self, Verdict, WalScan};
use super::{
    Amnesia, GroupRecord, Identity, OpenError, OpenOptions, StoreView, WitnessState, manifest,
};

/// What a check found.
#[derive(Debug)]
pub struct CheckReport {
    /// Who the store is, if that could be read.
    pub identity: Option<Identity>,
    /// What the witness says.
    pub witness: WitnessState,
    /// What the scan of the write-ahead log found.
    pub wal: WalScan,
    /// The groups' records.
    pub groups: Vec<(u64, GroupRecord)>,
    /// The numbers of the first live and of the last batch.
    pub numbers: (u64, u64),
    /// The table files and their bytes.
    pub tables: (usize, u64),
    /// The live parts.
    pub parts: u64,
    /// Their blocks.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// A tail that was never synced: opening the store cuts it.
    pub torn: Option<wal_scan::BadPlace>,
    /// Everything that is wrong. Empty: the store opens.
    pub problems: Vec<OpenError>,
}

impl CheckReport {
    /// True when nothing is wrong.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Checks the store that `options` describes.
///
/// # Errors
/// When there is no store to check; damage is what the report lists.
pub fn check(options: &OpenOptions) -> Result<CheckReport, OpenError> {
    let witness = super::witness::read(&SystemFiles, &options.witness_dir())?;
    let dir = options.log_dir();
    if !dir.is_dir() {
        return Err(super::recovery::absent(&SystemFiles, options, &witness));
    }
    let mut problems = Vec::new();
    let testimony = witness.testimony().copied();
    if let Err(error) =
        manifest::check(&SystemFiles, &dir, testimony.is_some_and(|found| found.clean))
    {
        problems.push(error);
    }
    let mut report = CheckReport {
        identity: None,
        witness,
        wal: wal_scan::scan(&SystemFiles, &dir, None)?,
        groups: Vec::new(),
        numbers: (0, 0),
        tables: (0, 0),
        parts: 0,
        blocks: 0,
        bytes: 0,
        torn: None,
        problems,
    };
    if report.wal.files.is_empty() {
        report.problems.push(OpenError::Amnesiac(Amnesia::NoWal { dir }));
    }
    match StoreView::open_with(options) {
        Ok(view) => report.read(&view)?,
        Err(
            error @ (OpenError::Foreign { .. }
            | OpenError::TooNew { .. }
            | OpenError::NotAStore { .. }),
        ) => return Err(error),
        Err(error) => report.problems.push(error),
    }
    report.judge(testimony.map_or(0, |found| found.synced));
    Ok(report)
}

impl CheckReport {
    fn read(&mut self, view: &StoreView) -> Result<(), OpenError> {
        self.identity = Some(view.identity());
        self.groups = view.groups().to_vec();
        self.numbers = view.numbers();
        self.tables = view.tables()?;
        self.problems.extend(view.check_tables().err());
        let (mut parts, mut blocks, mut bytes) = (0, 0, 0);
        let mut bad_blocks = Vec::new();
        let walk = view.for_each_part(&mut |number, part, value| {
            parts += 1;
            bytes += value.len() as u64;
            match count_blocks(number, part, value) {
                Ok(count) => blocks += count,
                Err(error) => bad_blocks.push(error),
            }
            Ok(())
        });
        (self.parts, self.blocks, self.bytes) = (parts, blocks, bytes);
        self.problems.append(&mut bad_blocks);
        self.problems.extend(walk.err());
        Ok(())
    }

    fn judge(&mut self, witnessed: u64) {
        let last = self.wal.last.unwrap_or(self.numbers.1);
        match self.wal.judge(last, witnessed) {
            Verdict::Whole => {}
            Verdict::Torn(bad) => self.torn = Some(bad),
            Verdict::Damaged(bad) => self.problems.push(OpenError::Corrupt {
                file: bad.file,
                offset: bad.offset,
                why: bad.why.to_string(),
            }),
            Verdict::Lost(amnesia) => self.problems.push(OpenError::Amnesiac(amnesia)),
        }
    }
}

/// Parses and verifies the blocks of one part.
fn count_blocks(number: u64, part: u16, value: &[u8]) -> Result<u64, OpenError> {
    let mut rest = value;
    let mut blocks = 0;
    while !rest.is_empty() {
        let offset = (value.len() - rest.len()) as u64;
        let bad = |error: kontiki_net::DecodeError| OpenError::Block {
            number,
            part,
            offset,
            why: error.to_string(),
        };
        let (block, behind) = Block::parse(rest).map_err(bad)?;
        block.verify().map_err(bad)?;
        blocks += 1;
        rest = behind;
    }
    Ok(blocks)
}
