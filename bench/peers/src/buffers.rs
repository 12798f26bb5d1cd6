//! Shared buffers of encoded batches, used again once no log holds them.
//!
//! For the two systems whose cores carry no payload, so that it is the caller who keeps the bytes:
//! Kontiki's and noraft. (The others own each payload, and allocate it.)

use std::rc::Rc;

use crate::work::KEEP;

/// Empty buffers for batches to come.
#[derive(Debug, Default)]
pub struct Buffers {
    spare: Vec<Rc<Vec<u8>>>,
}

impl Buffers {
    /// A buffer filled by `fill`.
    #[inline]
    pub fn filled(&mut self, fill: impl FnOnce(&mut Vec<u8>)) -> Rc<Vec<u8>> {
        let mut buffer = self.spare.pop().unwrap_or_default();
        fill(Rc::get_mut(&mut buffer).expect("a spare buffer has one owner"));
        buffer
    }

    /// A log no longer holds the buffer; kept for use when that was the last one.
    #[inline]
    pub fn release(&mut self, mut buffer: Rc<Vec<u8>>) {
        if self.spare.len() < 2 * usize::try_from(KEEP).unwrap_or(usize::MAX)
            && let Some(bytes) = Rc::get_mut(&mut buffer)
        {
            bytes.clear();
            self.spare.push(buffer);
        }
    }
}
