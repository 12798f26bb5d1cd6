//! What a machine answers to the proposals of one block: bytes per entry, mostly none.
//!
//! An entry without an answer costs nothing; the buffers are reused from block to block.

/// The answers to the entries of one block.
#[derive(Debug, Default)]
pub struct Answers {
    bytes: Vec<u8>,
    /// (entry number within the block, end in `bytes`), ascending by entry.
    set: Vec<(u32, u32)>,
}

impl Answers {
    /// Sets the answer of entry number `entry` of the block. Entries are answered in ascending order, each at
    /// most once.
    ///
    /// # Panics
    /// When called out of order, or when the answers of a block pass 4 GiB: both are faults of the machine.
    pub fn set(&mut self, entry: u32, bytes: &[u8]) {
        assert!(
            self.set.last().is_none_or(|&(last, _)| last < entry),
            "answers must be set in ascending order: entry {entry} after {:?}",
            self.set.last()
        );
        self.bytes.extend_from_slice(bytes);
        let end = u32::try_from(self.bytes.len()).expect("answers of one block stay under 4 GiB");
        self.set.push((entry, end));
    }

    /// Whether no entry has an answer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// The answer of entry number `entry`; empty when none was set.
    #[must_use]
    pub fn get(&self, entry: u32) -> &[u8] {
        let Ok(at) = self.set.binary_search_by_key(&entry, |&(e, _)| e) else { return &[] };
        let start = if at == 0 { 0 } else { self.set[at - 1].1 };
        &self.bytes[start as usize..self.set[at].1 as usize]
    }

    /// Forgets all answers and keeps the buffers.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.set.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_found_by_entry_and_default_to_empty() {
        let mut answers = Answers::default();
        answers.set(1, b"one");
        answers.set(4, b"four");
        assert_eq!(answers.get(0), b"");
        assert_eq!(answers.get(1), b"one");
        assert_eq!(answers.get(4), b"four");
        answers.clear();
        assert!(answers.is_empty());
        assert_eq!(answers.get(1), b"");
    }

    #[test]
    #[should_panic(expected = "ascending")]
    fn answers_out_of_order_are_a_fault() {
        let mut answers = Answers::default();
        answers.set(2, b"x");
        answers.set(2, b"y");
    }
}
