//! The ids of many groups, each with its position: the key of every table that has a value per group.
//!
//! Ids are mostly given out one after the other, and a shard has every n-th of them. So all that is kept of a run with
//! equal steps is where it begins; only ids that do not continue it take memory.
//!
//! Invariant: positions are given in the order in which ids are added, and stay.
//! Deliberately absent: removal.

use hashbrown::HashMap;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct GroupIds {
    first: u64,
    step: u64,
    /// How many ids the run has, from position 0 on.
    run: u32,
    /// The ids that follow, by position, and their positions.
    rest: Vec<u64>,
    places: HashMap<u64, u32>,
}

impl GroupIds {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.run as usize + self.rest.len()
    }

    /// The position of `id`.
    #[inline]
    pub(crate) fn position(&self, id: u64) -> Option<u32> {
        if let Some(after) = id.checked_sub(self.first) {
            let steps = match self.step {
                0 | 1 => after,
                step if after % step == 0 => after / step,
                _ => u64::MAX,
            };
            if steps < u64::from(self.run) {
                return u32::try_from(steps).ok();
            }
        }
        if self.rest.is_empty() {
            return None;
        }
        self.places.get(&id).copied()
    }

    /// The id at `position`.
    ///
    /// # Panics
    /// When there are not that many.
    #[inline]
    pub(crate) fn id(&self, position: u32) -> u64 {
        if position < self.run {
            return self.first + u64::from(position) * self.step;
        }
        self.rest[(position - self.run) as usize]
    }

    /// Adds `id`, which must be new, and returns its position.
    pub(crate) fn add(&mut self, id: u64) -> u32 {
        let position = u32::try_from(self.len()).expect("a store holds fewer than 2^32 groups");
        if self.rest.is_empty() && self.continues(id) {
            self.run += 1;
        } else {
            self.rest.push(id);
            self.places.insert(id, position);
        }
        position
    }

    /// Whether `id` is the next of the run; the first two make it.
    fn continues(&mut self, id: u64) -> bool {
        match self.run {
            0 => self.first = id,
            1 if id > self.first => self.step = id - self.first,
            1 => return false,
            run => return self.step.checked_mul(run.into()) == id.checked_sub(self.first),
        }
        true
    }

    /// All ids by position.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        let len = u32::try_from(self.len()).expect("checked when they were added");
        (0..len).map(|position| self.id(position))
    }
}

impl FromIterator<u64> for GroupIds {
    fn from_iter<I: IntoIterator<Item = u64>>(ids: I) -> Self {
        let mut all = Self::default();
        for id in ids {
            all.add(id);
        }
        all.rest.shrink_to_fit();
        all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_run_takes_no_memory_and_strangers_are_not_in_it() {
        let ids: GroupIds = (0..1000).map(|n| 7 + 4 * n).collect();
        assert!(ids.rest.is_empty() && ids.places.is_empty());
        assert_eq!(
            (ids.position(7), ids.position(11), ids.position(7 + 4 * 999)),
            (Some(0), Some(1), Some(999))
        );
        for stranger in [0, 3, 6, 8, 9, 7 + 4 * 1000, u64::MAX] {
            assert_eq!(ids.position(stranger), None);
        }
    }

    proptest! {
        #[test]
        fn every_id_has_its_position_and_no_other_id_has_one(
            start in 0u64..50,
            step in 1u64..5,
            run in 0u64..20,
            more in prop::collection::hash_set(0u64..200, 0..20),
        ) {
            let mut all: Vec<u64> = (0..run).map(|n| start + n * step).collect();
            let more: Vec<u64> = more.into_iter().filter(|id| !all.contains(id)).collect();
            all.extend(more);
            let ids: GroupIds = all.iter().copied().collect();
            prop_assert!(ids.iter().eq(all.iter().copied()));
            for id in 0..300 {
                let expected = all.iter().position(|&other| other == id).map(|at| u32::try_from(at).unwrap());
                prop_assert_eq!(ids.position(id), expected, "id {}", id);
            }
        }
    }
}
