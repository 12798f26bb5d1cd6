//! Follows the chain of batches: every batch after the one before it, every part where its header says.
//!
//! Fed with headers and part lengths in key order, it says which batch is missing, foreign or out of place. It
//! is the second half of telling lost from never written; the first is `wal_scan`, which looks before RocksDB may.
//!
//! Invariant: from the first live batch on there is no gap; what lies below it is dead and proves nothing.
//! Deliberately absent: the parts' contents (RocksDB's checksums, and the blocks' own, cover them).

use super::header::BatchHeader;
use super::{Amnesia, OpenError, SyncedBy};

/// The state of a walk over the batches.
#[derive(Debug)]
pub(super) struct Chain {
    store_id: u128,
    first_live: u64,
    /// The batch whose parts are being seen, with its chain hash.
    current: Option<(BatchHeader, u64)>,
    parts_seen: u16,
}

/// Where a part belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In a live batch.
    Live,
    /// Below the first live batch.
    Dead,
}

impl Chain {
    /// A walk over the batches of `store_id`, of which all from `first_live` on must exist.
    pub(super) const fn new(store_id: u128, first_live: u64) -> Self {
        Self { store_id, first_live, current: None, parts_seen: 0 }
    }

    /// Takes the value of part 0 of batch `number`.
    pub(super) fn header(&mut self, number: u64, bytes: &[u8]) -> Result<Place, OpenError> {
        if number < self.first_live {
            return Ok(Place::Dead);
        }
        let (header, hash) = BatchHeader::decode(bytes).map_err(|error| OpenError::Record {
            family: "batch",
            key: number,
            error,
        })?;
        self.complete()?;
        if header.number != number {
            return Err(misplaced(number, "its header has another number"));
        }
        if header.store_id != self.store_id {
            return Err(misplaced(number, "it belongs to another store"));
        }
        match &self.current {
            None if number > self.first_live => {
                let missing = self.first_live;
                return Err(OpenError::Amnesiac(Amnesia::Hole { missing, found: number }));
            }
            None => {}
            Some((last, _)) if number != last.number + 1 => {
                let missing = last.number + 1;
                return Err(OpenError::Amnesiac(Amnesia::Hole { missing, found: number }));
            }
            Some((_, last_hash)) if header.previous != *last_hash => {
                return Err(misplaced(number, "the hash of its predecessor differs"));
            }
            Some((last, _)) if header.boot_epoch < last.boot_epoch => {
                return Err(misplaced(number, "it was written before its predecessor"));
            }
            Some(_) => {}
        }
        self.current = Some((header, hash));
        self.parts_seen = 0;
        Ok(Place::Live)
    }

    /// Takes the length of a part from 1 on.
    pub(super) fn part(&mut self, number: u64, part: u16, len: usize) -> Result<Place, OpenError> {
        if number < self.first_live {
            return Ok(Place::Dead);
        }
        let expected = self.current.as_ref().and_then(|(header, _)| {
            let next = self.parts_seen + 1;
            let fits = header.number == number && next == part;
            fits.then(|| header.parts.get(usize::from(self.parts_seen)).copied()).flatten()
        });
        if expected.map(u64::from) != Some(len as u64) {
            return Err(OpenError::Amnesiac(Amnesia::Part { number, part }));
        }
        self.parts_seen = part;
        Ok(Place::Live)
    }

    /// The walk is over; `last` is the batch it had to reach.
    pub(super) fn end(self, last: u64) -> Result<(), OpenError> {
        self.complete()?;
        let found = self.current.map_or(0, |(header, _)| header.number);
        if found < last {
            let by = SyncedBy::Log;
            return Err(OpenError::Amnesiac(Amnesia::Short { found, synced: last, by }));
        }
        Ok(())
    }

    fn complete(&self) -> Result<(), OpenError> {
        match &self.current {
            Some((header, _)) if usize::from(self.parts_seen) < header.parts.len() => {
                let (number, part) = (header.number, self.parts_seen + 1);
                Err(OpenError::Amnesiac(Amnesia::Part { number, part }))
            }
            _ => Ok(()),
        }
    }
}

fn misplaced(number: u64, why: &'static str) -> OpenError {
    OpenError::Amnesiac(Amnesia::Chain { number, why })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The headers of batches 3..=6, with two parts each.
    fn headers() -> Vec<(BatchHeader, Vec<u8>)> {
        let mut previous = 99;
        (3..=6)
            .map(|number| {
                let header = BatchHeader {
                    store_id: 7,
                    boot_epoch: number / 4,
                    number,
                    previous,
                    synced: number - 1,
                    first_live: 3,
                    blocks: 2,
                    parts: vec![10, 20],
                };
                let mut bytes = Vec::new();
                previous = header.encode(&mut bytes);
                (header, bytes)
            })
            .collect()
    }

    fn walk(headers: &[(BatchHeader, Vec<u8>)], first_live: u64) -> Result<(), OpenError> {
        let mut chain = Chain::new(7, first_live);
        for (header, bytes) in headers {
            chain.header(header.number, bytes)?;
            chain.part(header.number, 1, 10)?;
            chain.part(header.number, 2, 20)?;
        }
        chain.end(6)
    }

    fn amnesia(result: Result<(), OpenError>) -> Amnesia {
        match result {
            Err(OpenError::Amnesiac(amnesia)) => amnesia,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_whole_chain_passes_and_what_is_dead_may_be_missing() {
        assert!(walk(&headers(), 3).is_ok());
        assert!(walk(&headers()[1..], 4).is_ok());
        let mut holed = headers();
        holed.remove(1);
        assert!(walk(&holed, 5).is_ok());
    }

    #[test]
    fn l18_missing_batches_are_named() {
        let all = headers();
        assert_eq!(amnesia(walk(&all[1..], 3)), Amnesia::Hole { missing: 3, found: 4 });
        let mut holed = headers();
        holed.remove(1);
        assert_eq!(amnesia(walk(&holed, 3)), Amnesia::Hole { missing: 4, found: 5 });
        let short = amnesia(walk(&all[..3], 3));
        assert_eq!(short, Amnesia::Short { found: 5, synced: 6, by: SyncedBy::Log });
    }

    #[test]
    fn l20_a_batch_of_another_store_or_time_is_named() {
        let mut foreign = headers();
        let (mut header, mut bytes) = foreign[2].clone();
        header.store_id = 8;
        bytes.clear();
        header.encode(&mut bytes);
        foreign[2] = (header.clone(), bytes.clone());
        assert!(matches!(amnesia(walk(&foreign, 3)), Amnesia::Chain { number: 5, .. }));
        header.store_id = 7;
        header.previous = 1;
        bytes.clear();
        header.encode(&mut bytes);
        foreign[2] = (header, bytes);
        assert!(matches!(amnesia(walk(&foreign, 3)), Amnesia::Chain { number: 5, .. }));
    }

    #[test]
    fn missing_and_changed_parts_are_named() {
        let all = headers();
        let mut chain = Chain::new(7, 3);
        chain.header(3, &all[0].1).unwrap();
        chain.part(3, 1, 10).unwrap();
        let lost = chain.header(4, &all[1].1).map(|_| ());
        assert_eq!(amnesia(lost), Amnesia::Part { number: 3, part: 2 });
        let wrong = chain.part(3, 2, 21).map(|_| ());
        assert_eq!(amnesia(wrong), Amnesia::Part { number: 3, part: 2 });
        let stray = chain.part(5, 1, 10).map(|_| ());
        assert_eq!(amnesia(stray), Amnesia::Part { number: 5, part: 1 });
    }
}
