//! A list that is nearly always empty, and then costs one word and no heap block.
//!
//! Thousands of idle replicas each hold a few such lists: log runs beyond the first, writes beyond
//! the third, replies of an election. A `Vec` is three words even when empty, so the vector sits
//! behind a pointer, and the pointer goes away when the list is cleared.
//!
//! Equality and hash look at the items alone, so an empty list equals a cleared one.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::hash::{Hash, Hasher};

#[expect(clippy::box_collection, reason = "one word when empty is the point of the type")]
#[derive(Clone)]
pub(crate) struct Spill<T>(Option<Box<Vec<T>>>);

impl<T> Spill<T> {
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[T] {
        match &self.0 {
            Some(items) => items,
            None => &[],
        }
    }

    #[inline]
    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        match &mut self.0 {
            Some(items) => items,
            None => &mut [],
        }
    }

    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        match &self.0 {
            Some(items) => items.is_empty(),
            None => true,
        }
    }

    pub(crate) fn push(&mut self, item: T) {
        self.0.get_or_insert_with(Box::default).push(item);
    }

    /// Takes the first item; keeps the memory, since a busy list fills again at once.
    pub(crate) fn pop_front(&mut self) -> Option<T> {
        let items = self.0.as_mut()?;
        if items.is_empty() { None } else { Some(items.remove(0)) }
    }

    /// Drops the first `count` items.
    pub(crate) fn drop_front(&mut self, count: usize) {
        if let Some(items) = &mut self.0 {
            items.drain(..count);
        }
    }

    /// Keeps the first `count` items.
    pub(crate) fn truncate(&mut self, count: usize) {
        if let Some(items) = &mut self.0 {
            items.truncate(count);
        }
    }

    /// Drops all items and the memory.
    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }
}

impl<T: PartialEq> PartialEq for Spill<T> {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl<T: Eq> Eq for Spill<T> {}

impl<T: Hash> Hash for Spill<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl<T: fmt::Debug> fmt::Debug for Spill<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}
