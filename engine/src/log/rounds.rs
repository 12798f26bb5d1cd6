//! The rounds of one shard that still hold a live block: where they are, and whether they are in memory.
//!
//! A round is numbered by the shard (its *sequence*) when it is handed to the log writer, and by the writer
//! (batch *number* and *part*) when it is written. Recent rounds stay in memory, within a byte budget, to serve
//! followers and apply without reading back; a round that is not yet persisted is always in memory.
//!
//! Invariant: sequences are contiguous; a round leaves at the front, when it and all before it are dead.
//! Bytes leave memory at the end of a round only, so that what was read back is used before it goes.

use std::collections::VecDeque;
use std::sync::Arc;

/// Where the log keeps a round: batch number and part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) number: u64,
    pub(crate) part: u16,
}

/// Which batches of the log a shard still needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// None of them.
    Nothing,
    /// This one and those after it.
    From(u64),
}

#[derive(Debug)]
struct Round {
    /// `None` until the round is persisted.
    place: Option<Place>,
    buffer: Option<Arc<Vec<u8>>>,
    bytes: u32,
    live_blocks: u32,
    /// Whether the bytes in memory were read back from the log.
    read_back: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Rounds {
    base: u64,
    rounds: VecDeque<Round>,
    cached_bytes: usize,
    cache_bytes_max: usize,
    retained_bytes: u64,
    /// Every round before this one has been considered for eviction.
    evict_from: u64,
    /// Rounds that were read back, oldest first; they leave memory in this order.
    loaded: VecDeque<u64>,
    /// The number of the last round that left at the front.
    last_dead: Option<u64>,
    /// Buffers of rounds that left memory, empty, for rounds to come.
    spare: Vec<Vec<u8>>,
}

/// Buffers kept for reuse: as many as rounds are being made, sent and written at one time.
const SPARE_MAX: usize = 4;

/// Room that a round may waste, besides three times its own size.
const FIT_BYTES: usize = 64 << 10;

impl Rounds {
    pub(crate) fn new(cache_bytes_max: usize) -> Self {
        Self {
            base: 0,
            rounds: VecDeque::new(),
            cached_bytes: 0,
            cache_bytes_max,
            retained_bytes: 0,
            evict_from: 0,
            loaded: VecDeque::new(),
            last_dead: None,
            spare: Vec::new(),
        }
    }

    /// The sequence that the next round gets.
    pub(crate) fn next(&self) -> u64 {
        self.base + self.rounds.len() as u64
    }

    /// Adds a round that is now being handed to the log writer.
    pub(crate) fn push(&mut self, buffer: Arc<Vec<u8>>, live_blocks: u32) {
        self.add(None, Some(buffer), 0, live_blocks);
    }

    /// Adds a round found in the log at recovery. `live_blocks` counts all its blocks; those that prove dead
    /// are [released](Rounds::release).
    pub(crate) fn push_recovered(&mut self, place: Place, bytes: u32, live_blocks: u32) {
        self.add(Some(place), None, bytes, live_blocks);
    }

    fn add(&mut self, place: Option<Place>, buffer: Option<Arc<Vec<u8>>>, bytes: u32, live: u32) {
        let bytes = buffer.as_ref().map_or(bytes, |buffer| {
            self.cached_bytes += buffer.len();
            u32::try_from(buffer.len()).expect("a round stays under 4 GiB")
        });
        self.retained_bytes += u64::from(bytes);
        self.rounds.push_back(Round { place, buffer, bytes, live_blocks: live, read_back: false });
    }

    fn at(&self, seq: u64) -> usize {
        let at = seq.checked_sub(self.base).expect("a round that left has no live block");
        usize::try_from(at).expect("fewer rounds than memory")
    }

    /// Notes where round `seq` was written.
    pub(crate) fn persisted(&mut self, seq: u64, place: Place) {
        if seq < self.base {
            return; // All its blocks died before it was written, and so did all before it.
        }
        let at = self.at(seq);
        assert!(self.rounds[at].place.is_none(), "round {seq} is persisted twice");
        self.rounds[at].place = Some(place);
    }

    /// The bytes of round `seq`, when they are in memory.
    pub(crate) fn buffer(&self, seq: u64) -> Option<&Arc<Vec<u8>>> {
        self.rounds[self.at(seq)].buffer.as_ref()
    }

    /// Whether the bytes of round `seq` came from the log, and so are to be verified before they are applied.
    pub(crate) fn was_read_back(&self, seq: u64) -> bool {
        self.rounds[self.at(seq)].read_back
    }

    /// Where to read round `seq` back from.
    ///
    /// # Panics
    /// When it is not persisted: such a round is in memory.
    pub(crate) fn place(&self, seq: u64) -> Place {
        self.rounds[self.at(seq)].place.expect("a round that is not persisted is in memory")
    }

    /// Takes the bytes of a round that was read back.
    pub(crate) fn loaded(&mut self, seq: u64, buffer: Arc<Vec<u8>>) {
        if seq < self.base {
            return; // It died while it was read.
        }
        let at = self.at(seq);
        if self.rounds[at].buffer.is_none() {
            self.cached_bytes += buffer.len();
            self.rounds[at].buffer = Some(buffer);
            self.rounds[at].read_back = true;
            self.loaded.push_back(seq);
        }
    }

    /// One block of round `seq` is no longer needed.
    pub(crate) fn release(&mut self, seq: u64) {
        let at = self.at(seq);
        let live = &mut self.rounds[at].live_blocks;
        *live = live.checked_sub(1).expect("a block dies once");
    }

    /// Lets the dead rounds at the front go, and says which batches hold nothing live any more: all before the
    /// number returned, if it moved.
    pub(crate) fn drop_dead(&mut self) -> Option<Retention> {
        let before = self.base;
        // An unpersisted round stays even when dead: its place is still to come.
        while self.rounds.front().is_some_and(|r| r.live_blocks == 0 && r.place.is_some()) {
            let round = self.rounds.pop_front().expect("seen just now");
            self.base += 1;
            self.retained_bytes -= u64::from(round.bytes);
            if let Some(buffer) = round.buffer {
                self.forget(buffer);
            }
            self.last_dead = round.place.map(|place| place.number);
        }
        if self.base == before {
            return None;
        }
        // A batch may hold several rounds, so the batch of the last dead one may still be needed.
        match self.rounds.front() {
            None => Some(Retention::Nothing),
            // What is still on its way may have joined the batch of the last dead one.
            Some(front) => {
                front.place.map(|place| place.number).or(self.last_dead).map(Retention::From)
            }
        }
    }

    /// What the shard needs of the log now.
    pub(crate) fn retention(&self) -> Retention {
        let first = self.rounds.front().and_then(|round| round.place);
        first.map_or(Retention::Nothing, |place| Retention::From(place.number))
    }

    /// Takes bytes out of memory; the buffer is kept for a round to come when nobody else holds it.
    fn forget(&mut self, buffer: Arc<Vec<u8>>) {
        self.cached_bytes -= buffer.len();
        if self.spare.len() < SPARE_MAX
            && let Some(mut bytes) = Arc::into_inner(buffer)
        {
            bytes.clear();
            self.spare.push(bytes);
        }
    }

    /// The same bytes in a buffer that is not far larger: a small round must not hold the room of a large one for
    /// as long as it is cached. The large buffer is kept for a round to come.
    pub(crate) fn fitted(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        if bytes.capacity() <= 4 * bytes.len() + FIT_BYTES {
            return bytes;
        }
        let fitted = bytes.clone();
        bytes.clear();
        if self.spare.len() < SPARE_MAX {
            self.spare.push(bytes);
        }
        fitted
    }

    /// An empty buffer, with the room of an earlier round when there is one.
    pub(crate) fn take_spare(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Brings the bytes in memory back under the budget, oldest first.
    pub(crate) fn evict(&mut self) {
        self.evict_from = self.evict_from.max(self.base);
        while self.cached_bytes > self.cache_bytes_max {
            let seq = match self.loaded.pop_front() {
                Some(seq) if seq < self.base => continue,
                Some(seq) => seq,
                None if self.evict_from < self.next() => {
                    if self.rounds[self.at(self.evict_from)].place.is_none() {
                        return;
                    }
                    self.evict_from += 1;
                    self.evict_from - 1
                }
                None => return,
            };
            let at = self.at(seq);
            if let Some(buffer) = self.rounds[at].buffer.take() {
                self.forget(buffer);
            }
        }
    }

    /// Bytes of rounds in memory.
    pub(crate) fn cached_bytes(&self) -> usize {
        self.cached_bytes
    }

    /// Bytes of rounds that the log still needs.
    pub(crate) fn retained_bytes(&self) -> u64 {
        self.retained_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(n: u64, max: usize) -> Rounds {
        let mut rounds = Rounds::new(max);
        for seq in 0..n {
            assert_eq!(rounds.next(), seq);
            rounds.push(Arc::new(vec![0; 100]), 1);
        }
        rounds
    }

    fn place(number: u64) -> Place {
        Place { number, part: 1 }
    }

    #[test]
    fn dead_rounds_leave_at_the_front_only() {
        let mut rounds = rounds(3, 1000);
        for seq in 0..3 {
            rounds.persisted(seq, place(10 + seq));
        }
        rounds.release(1);
        assert_eq!(rounds.drop_dead(), None);
        rounds.release(0);
        assert_eq!(rounds.drop_dead(), Some(Retention::From(12)));
        assert_eq!(rounds.retained_bytes(), 100);
        rounds.release(2);
        assert_eq!(rounds.drop_dead(), Some(Retention::Nothing));
    }

    #[test]
    fn a_dead_round_waits_for_its_place() {
        let mut rounds = rounds(2, 1000);
        rounds.release(0);
        assert_eq!(rounds.drop_dead(), None);
        rounds.persisted(0, place(7));
        rounds.persisted(1, place(7));
        assert_eq!(rounds.drop_dead(), Some(Retention::From(7)), "batch 7 still holds round 1");
    }

    #[test]
    fn only_persisted_rounds_leave_memory() {
        let mut rounds = rounds(4, 150);
        rounds.evict();
        assert_eq!(rounds.cached_bytes(), 400);
        rounds.persisted(0, place(1));
        rounds.persisted(1, place(2));
        rounds.evict();
        assert_eq!(rounds.cached_bytes(), 200);
        assert!(rounds.buffer(0).is_none() && rounds.buffer(2).is_some());
        rounds.loaded(0, Arc::new(vec![0; 100]));
        assert!(rounds.buffer(0).is_some());
        rounds.evict();
        assert!(rounds.buffer(0).is_none(), "what was read back leaves first");
    }
}
