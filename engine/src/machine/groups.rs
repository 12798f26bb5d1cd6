//! A value per group, found by group id once per block.
//!
//! Groups keep the position they were added at, so that a position can be listed where an id would need
//! another lookup. Deliberately absent: removal (a destroyed group goes with its machine's next opening).

use hashbrown::HashTable;

use super::fold::hash_u64;

/// A value per group.
#[derive(Debug)]
pub(crate) struct Groups<T> {
    table: HashTable<u32>,
    items: Vec<(u64, T)>,
}

impl<T: Default> Groups<T> {
    pub(crate) fn new(groups: &[u64]) -> Self {
        let mut all = Self { table: HashTable::new(), items: Vec::new() };
        for &group in groups {
            all.position(group);
        }
        all
    }

    /// The position of `group`, which is added when it is new.
    #[inline]
    pub(crate) fn position(&mut self, group: u64) -> usize {
        let Self { table, items } = self;
        let hash = hash_u64(0, group);
        if let Some(&at) = table.find(hash, |&at| items[at as usize].0 == group) {
            return at as usize;
        }
        let at = u32::try_from(items.len()).expect("a store holds fewer than 2^32 groups");
        items.push((group, T::default()));
        table.insert_unique(hash, at, |&at| hash_u64(0, items[at as usize].0));
        at as usize
    }

    /// The value of `group`, which is added when it is new.
    #[inline]
    pub(crate) fn entry(&mut self, group: u64) -> &mut T {
        let at = self.position(group);
        &mut self.items[at].1
    }

    pub(crate) fn get(&self, group: u64) -> Option<&T> {
        let at = self.table.find(hash_u64(0, group), |&at| self.items[at as usize].0 == group)?;
        Some(&self.items[*at as usize].1)
    }

    /// The group at a position, and its value.
    #[inline]
    pub(crate) fn at_mut(&mut self, position: usize) -> (u64, &mut T) {
        let (group, value) = &mut self.items[position];
        (*group, value)
    }

    /// All groups in the order of their positions.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (u64, &T)> {
        self.items.iter().map(|(group, value)| (*group, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_keep_their_position_and_come_when_first_named() {
        let mut groups = Groups::<u64>::new(&[3, 9]);
        *groups.entry(9) = 90;
        *groups.entry(1) = 10;
        assert_eq!(groups.position(3), 0);
        assert_eq!(groups.position(1), 2);
        assert_eq!(groups.get(9), Some(&90));
        assert_eq!(groups.get(2), None);
        assert_eq!(*groups.at_mut(2).1, 10);
        assert_eq!(groups.iter().collect::<Vec<_>>(), [(3, &0), (9, &90), (1, &10)]);
    }
}
