//! Reads of the key-value state, from any thread: overlays first, then the database.
//!
//! A read sees what was applied when it began, or later; that this is recent enough is the business of the read
//! permit, which the engine obtains first. A scan's page is one moment of all shards: the overlays are copied
//! and the database's view is taken under the locks of all shards together. Two pages are two moments.
//!
//! Why a page needs no more than `limit` values of an active overlay: it is the newest layer, so each of its
//! values is in the result; with `limit` of them, or the bytes of a page, it is full before they run out.

use std::iter::Peekable;
use std::sync::Arc;

use parking_lot::RwLockReadGuard;

use super::layers::{Layers, Sealed, ShardLayers};
use super::overlay::{Copied, Known};
use crate::machine::MachineError;
use crate::store::state::{StateStore, StateView};

/// Bytes of keys and values at which a page of a scan ends, after at least one entry.
pub const SCAN_PAGE_BYTES_MAX: usize = 4 << 20;

/// Entries at which a page of a scan ends, whatever its limit: the overlays' part is copied under the locks.
pub const SCAN_PAGE_ENTRIES_MAX: usize = 1024;

/// Reads of one shard's keys.
#[derive(Clone, Debug)]
pub struct ShardView {
    state: Arc<dyn StateStore>,
    shared: Arc<ShardLayers>,
}

impl ShardView {
    pub(crate) const fn new(state: Arc<dyn StateStore>, shared: Arc<ShardLayers>) -> Self {
        Self { state, shared }
    }

    /// The value of `key`, which a group of this shard serves.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MachineError> {
        if let Some(known) = look(&self.shared.layers.read(), key) {
            return Ok(known);
        }
        self.state.get(key)
    }
}

fn look(layers: &Layers, key: &[u8]) -> Option<Option<Vec<u8>>> {
    let sealed = layers.sealed.iter().rev().map(|sealed| sealed.keys.overlay());
    std::iter::once(&layers.active)
        .chain(sealed)
        .find_map(|overlay| overlay.get(key))
        .map(|known| known.map(<[u8]>::to_vec))
}

/// A page of a scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanPage {
    /// Keys and values in key order.
    pub entries: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the next page starts; `None` when this is the last one. A page may end before its limit.
    pub next: Option<Vec<u8>>,
}

/// Reads of a whole store.
#[derive(Clone, Debug)]
pub struct KvView {
    state: Arc<dyn StateStore>,
    shards: Arc<[ShardView]>,
}

impl KvView {
    /// The view over the machines of all shards of a store, by shard number.
    ///
    /// # Panics
    /// When there is no shard.
    #[must_use]
    pub fn new(shards: Vec<ShardView>) -> Self {
        let state = Arc::clone(&shards.first().expect("a store has at least one shard").state);
        Self { state, shards: shards.into() }
    }

    /// The value of `key`, which a group of `shard` serves.
    ///
    /// # Errors
    /// When the database cannot be read.
    ///
    /// # Panics
    /// When there are not that many shards.
    pub fn get(&self, shard: usize, key: &[u8]) -> Result<Option<Vec<u8>>, MachineError> {
        self.shards[shard].get(key)
    }

    /// The first `limit` entries of `[start, end)`, or fewer with a place to go on (see
    /// [`SCAN_PAGE_ENTRIES_MAX`] and [`SCAN_PAGE_BYTES_MAX`]).
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn scan(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<ScanPage, MachineError> {
        if end.is_some_and(|end| end <= start) {
            return Ok(ScanPage::default());
        }
        if limit == 0 {
            return Ok(ScanPage { entries: Vec::new(), next: Some(start.to_vec()) });
        }
        let limit = limit.min(SCAN_PAGE_ENTRIES_MAX);
        let (moment, view) = self.moment(start, end, limit);
        Merge::new(&moment, start, end, limit).page(&*view)
    }

    /// The overlays and the database at one moment.
    fn moment(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> (Moment, Box<dyn StateView + '_>) {
        let locked: Vec<RwLockReadGuard<'_, Layers>> =
            self.shards.iter().map(|shard| shard.shared.layers.read()).collect();
        let mut moment = Moment::default();
        for layers in &locked {
            let (copied, cut) = layers.active.copy_span(start, end, limit, SCAN_PAGE_BYTES_MAX);
            moment.active.push(copied);
            // Behind the place where any copy was cut the page cannot go.
            moment.cut = match (moment.cut.take(), cut) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            moment.sealed.push(layers.sealed.clone());
        }
        let view = self.state.view();
        drop(locked);
        (moment, view)
    }
}

/// What the overlays of all shards held at one moment.
#[derive(Default)]
struct Moment {
    active: Vec<Vec<Copied>>,
    sealed: Vec<Vec<Arc<Sealed>>>,
    /// The first key that an active overlay had and the copy has not.
    cut: Option<Vec<u8>>,
}

type Layer<'a> = Peekable<Box<dyn Iterator<Item = (&'a [u8], Known<'a>)> + 'a>>;

/// The overlays merged, to be laid over the database.
struct Merge<'a> {
    /// Newest first within a shard; shards have no key in common.
    layers: Vec<Layer<'a>>,
    start: &'a [u8],
    end: Option<&'a [u8]>,
    page: ScanPage,
    bytes: usize,
    limit: usize,
}

impl<'a> Merge<'a> {
    fn new(moment: &'a Moment, start: &'a [u8], end: Option<&'a [u8]>, limit: usize) -> Self {
        let cut = moment.cut.as_deref();
        let end = match (cut, end) {
            (Some(cut), Some(end)) => Some(end.min(cut)),
            (cut, end) => end.or(cut),
        };
        let mut layers: Vec<Layer<'a>> = Vec::new();
        for (active, sealed) in moment.active.iter().zip(&moment.sealed) {
            let copied = active.iter().map(|(key, value)| (key.as_slice(), value.as_deref()));
            layers.push(layer(copied.take_while(move |(key, _)| end.is_none_or(|end| *key < end))));
            layers.extend(sealed.iter().rev().map(|sealed| layer(sealed.keys.span(start, end))));
        }
        let page = ScanPage { entries: Vec::new(), next: moment.cut.clone() };
        Self { layers, start, end, page, bytes: 0, limit }
    }

    fn page(mut self, view: &dyn StateView) -> Result<ScanPage, MachineError> {
        let mut room = true;
        view.scan(self.start, self.end, &mut |key, value| {
            room = self.take_up_to(key, value);
            room
        })?;
        while room {
            let Some((key, known)) = self.next_overlaid(None) else { break };
            room = self.take(key, known);
        }
        Ok(self.page)
    }

    /// Takes what the overlays have up to `key`, and then the database's `value` unless an overlay hides it.
    fn take_up_to(&mut self, key: &[u8], value: &[u8]) -> bool {
        while let Some((at, known)) = self.next_overlaid(Some(key)) {
            if !self.take(at, known) {
                return false;
            }
            if at == key {
                return true;
            }
        }
        self.take(key, Some(value))
    }

    /// The next key of the overlays that is not behind `bound`, as the newest of them knows it.
    fn next_overlaid(&mut self, bound: Option<&[u8]>) -> Option<(&'a [u8], Known<'a>)> {
        let heads = self.layers.iter_mut().filter_map(|layer| layer.peek());
        let next = heads.map(|&(key, _)| key).min()?;
        if bound.is_some_and(|bound| next > bound) {
            return None;
        }
        let mut newest = None;
        for layer in &mut self.layers {
            if let Some((_, known)) = layer.next_if(|&(key, _)| key == next) {
                newest.get_or_insert(known);
            }
        }
        newest.map(|known| (next, known))
    }

    /// Puts an entry on the page; false when the page was full already and ends before `key`.
    fn take(&mut self, key: &[u8], known: Known<'_>) -> bool {
        let Some(value) = known else { return true };
        if self.page.entries.len() == self.limit || self.bytes >= SCAN_PAGE_BYTES_MAX {
            self.page.next = Some(key.to_vec());
            return false;
        }
        self.bytes += key.len() + value.len();
        self.page.entries.push((key.to_vec(), value.to_vec()));
        true
    }
}

fn layer<'a>(entries: impl Iterator<Item = (&'a [u8], Known<'a>)> + 'a) -> Layer<'a> {
    let entries: Box<dyn Iterator<Item = (&'a [u8], Known<'a>)> + 'a> = Box::new(entries);
    entries.peekable()
}

#[cfg(feature = "rocks")]
#[cfg(test)]
mod tests;
