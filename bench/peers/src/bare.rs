//! No consensus at all: the batch is copied once and applied three times.
//!
//! What this takes is the part of every other figure that no consensus core can save.

use crate::work::{Batch, Machine, System};

/// See the module.
#[derive(Debug, Default)]
pub struct Bare {
    copy: Vec<u8>,
    machines: [Machine; 3],
}

impl System for Bare {
    fn commit_batch(&mut self, batch: Batch<'_>) {
        self.copy.clear();
        self.copy.extend_from_slice(batch.bytes());
        for machine in &mut self.machines {
            for payload in self.copy.chunks_exact(batch.size()) {
                machine.apply(payload);
            }
        }
    }

    fn finish(&mut self) -> [Machine; 3] {
        self.machines
    }
}
