//! The records of all groups of a store, as they are opened or made: many, and only looked through a few times.
//!
//! They lie back to back as they are on disk, in one piece of memory that goes as a whole, and are decoded one at a
//! time. A million records as values would be several million small pieces, in between what stays.

use super::{GroupRecord, RecordError};

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct GroupRecords {
    bytes: Vec<u8>,
    /// Each group, and where its record ends.
    places: Vec<(u64, usize)>,
}

impl GroupRecords {
    /// Adds a record.
    pub fn push(&mut self, group: u64, record: &GroupRecord) {
        record.encode(&mut self.bytes);
        self.places.push((group, self.bytes.len()));
    }

    /// Adds a record as it is on disk.
    ///
    /// # Errors
    /// When it is none.
    pub fn push_encoded(&mut self, group: u64, bytes: &[u8]) -> Result<(), RecordError> {
        GroupRecord::decode(bytes)?;
        self.bytes.extend_from_slice(bytes);
        self.places.push((group, self.bytes.len()));
        Ok(())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The groups, in the order in which they were added.
    pub fn groups(&self) -> impl Iterator<Item = u64> + '_ {
        self.places.iter().map(|&(group, _)| group)
    }

    /// The records, decoded as they are asked for.
    pub fn iter(&self) -> impl Iterator<Item = (u64, GroupRecord)> + '_ {
        self.encoded().map(|(group, bytes)| {
            (group, GroupRecord::decode(bytes).expect("encoded here, or decoded when it came"))
        })
    }

    /// The records as they are on disk.
    pub fn encoded(&self) -> impl Iterator<Item = (u64, &[u8])> + '_ {
        let mut start = 0;
        self.places.iter().map(move |&(group, end)| {
            let bytes = &self.bytes[start..end];
            start = end;
            (group, bytes)
        })
    }
}

impl<'a> FromIterator<&'a (u64, GroupRecord)> for GroupRecords {
    fn from_iter<I: IntoIterator<Item = &'a (u64, GroupRecord)>>(records: I) -> Self {
        let mut all = Self::default();
        for (group, record) in records {
            all.push(*group, record);
        }
        all
    }
}
