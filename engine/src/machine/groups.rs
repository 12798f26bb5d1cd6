//! A value per group, found by group id once per block.
//!
//! Groups keep the position they were added at, so that a position can be listed where an id would need
//! another lookup. Deliberately absent: removal (a destroyed group goes with its machine's next opening).

use crate::ids::GroupIds;

/// A value per group: for groups that are numbered evenly, nothing but the values.
#[derive(Debug)]
pub(crate) struct Groups<T> {
    ids: GroupIds,
    values: Vec<T>,
}

impl<T: Default> Groups<T> {
    pub(crate) fn new(groups: &[u64]) -> Self {
        let mut all = Self { ids: GroupIds::default(), values: Vec::with_capacity(groups.len()) };
        for &group in groups {
            all.position(group);
        }
        all
    }

    /// The position of `group`, which is added when it is new.
    #[inline]
    pub(crate) fn position(&mut self, group: u64) -> usize {
        if let Some(at) = self.ids.position(group) {
            return at as usize;
        }
        self.values.push(T::default());
        self.ids.add(group) as usize
    }

    /// The value of `group`, which is added when it is new.
    #[inline]
    pub(crate) fn entry(&mut self, group: u64) -> &mut T {
        let at = self.position(group);
        &mut self.values[at]
    }

    pub(crate) fn get(&self, group: u64) -> Option<&T> {
        Some(&self.values[self.ids.position(group)? as usize])
    }

    /// The group at a position, and its value.
    #[inline]
    pub(crate) fn at_mut(&mut self, position: usize) -> (u64, &mut T) {
        let at = u32::try_from(position).expect("a position that was given out");
        (self.ids.id(at), &mut self.values[position])
    }

    /// All groups in the order of their positions.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (u64, &T)> {
        self.ids.iter().zip(&self.values)
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
