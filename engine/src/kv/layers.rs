//! The overlays of one shard, shared between its worker, the state writer and readers.
//!
//! Newest to oldest: the active overlay, which the worker fills, then the sealed ones in the order in which
//! they wait for the state writer, then the database. A reader that looks at them in this order sees the latest
//! value: an overlay leaves the list only after the database has it all.
//!
//! The lock is a leaf: held for one block by the worker, for one lookup or one copy by a reader, for a pointer
//! swap by the writer, and never across a read or a write of the database.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};

use super::overlay::{Overlay, Sorted};
use super::record::AppliedRecord;
use crate::machine::Wake;

/// Sealed overlays that may wait before a shard's applies pause. With fewer the worker waits while a memtable
/// is switched; more only hold memory (each up to [`super::OVERLAY_BYTES_MAX`] and a block).
pub(crate) const SEALED_MAX: usize = 3;

/// A sealed overlay with the positions it brings its groups to.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) keys: Sorted,
    pub(crate) records: Vec<(u64, AppliedRecord)>,
}

/// The overlays of one shard.
#[derive(Debug)]
pub(crate) struct Layers {
    pub(crate) active: Overlay,
    /// Oldest first.
    pub(crate) sealed: Vec<Arc<Sealed>>,
}

/// What a shard shares with its readers and the state writer.
#[derive(Debug)]
pub(crate) struct ShardLayers {
    pub(crate) layers: RwLock<Layers>,
    /// The length of `sealed`, to be read without the lock.
    waiting: AtomicUsize,
    /// An emptied overlay, to be filled again; at most one is kept.
    spare: Mutex<Option<Overlay>>,
    /// What the hashes of the overlays are seeded with.
    seed: u64,
    wake: Wake,
}

impl ShardLayers {
    pub(crate) fn new(seed: u64, wake: Wake) -> Self {
        Self {
            layers: RwLock::new(Layers { active: Overlay::new(seed), sealed: Vec::new() }),
            waiting: AtomicUsize::new(0),
            spare: Mutex::new(None),
            seed,
            wake,
        }
    }

    /// Whether the shard may go on to apply.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.load(Ordering::Acquire) < SEALED_MAX
    }

    /// Ends the active overlay and starts another; the sealed one is to be handed to the writer.
    pub(crate) fn seal(&self, records: Vec<(u64, AppliedRecord)>) -> Arc<Sealed> {
        let next = self.spare.lock().take().unwrap_or_else(|| Overlay::new(self.seed));
        let mut layers = self.layers.write();
        let full = std::mem::replace(&mut layers.active, next);
        let sealed = Arc::new(Sealed { keys: Sorted::new(full), records });
        layers.sealed.push(Arc::clone(&sealed));
        self.waiting.store(layers.sealed.len(), Ordering::Release);
        sealed
    }

    /// Takes `written`, the oldest one, off the list: the database has it.
    pub(crate) fn written(&self, written: Arc<Sealed>) {
        let mut layers = self.layers.write();
        let first = layers.sealed.remove(0);
        assert!(
            Arc::ptr_eq(&first, &written),
            "overlays are written in the order they were sealed"
        );
        let was = layers.sealed.len() + 1;
        self.waiting.store(was - 1, Ordering::Release);
        drop(layers);
        if was >= SEALED_MAX {
            self.wake.wake();
        }
        drop(first);
        // A scan may still hold it; then its memory goes with the scan.
        if let Some(sealed) = Arc::into_inner(written) {
            let emptied = sealed.keys.recycle();
            *self.spare.lock() = Some(emptied);
        }
    }
}
