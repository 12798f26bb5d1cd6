//! The work that every system does, and what is asked of a system.
//!
//! A batch of proposals goes in at the leader of a group of three, all in one thread; when
//! [`System::commit_batch`] returns, the leader has committed and applied all of them, a majority
//! holds them in its log, and they are on all three nodes as soon as these have heard of the
//! commit. Disks are memory that says "persisted" at once, networks are queues that lose nothing.
//!
//! What always holds: every node applies every payload, in order, to a [`Machine`], and the
//! machines of all nodes and all systems are equal after the same batches. A log keeps at most
//! [`KEEP`] entries beyond a batch, and then drops what is applied, so memory is bounded.
//!
//! Deliberately absent: elections during the measurement, time, loss, restarts.

/// Entries that a log may hold before what is applied is dropped from it.
pub const KEEP: u64 = 4096;

/// Payloads of one size that are proposed together, back to back in one buffer.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    bytes: &'a [u8],
    size: usize,
}

impl<'a> Batch<'a> {
    /// A batch of `bytes` in payloads of `size`.
    ///
    /// # Panics
    /// When there is no payload, or a part of one.
    pub fn new(bytes: &'a [u8], size: usize) -> Self {
        assert!(!bytes.is_empty() && bytes.len().is_multiple_of(size), "whole payloads");
        Self { bytes, size }
    }

    /// All payloads, back to back.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes of each payload.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The number of payloads.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.size
    }

    /// The payloads.
    pub fn payloads(&self) -> std::slice::ChunksExact<'a, u8> {
        self.bytes.chunks_exact(self.size)
    }
}

/// A trivial state machine: counts what it is given, and sums it up so that order matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Payloads applied.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The sum of each payload's words, each folded into those before it.
    pub digest: u64,
}

impl Machine {
    /// Applies one payload.
    #[inline]
    pub fn apply(&mut self, payload: &[u8]) {
        let (words, rest) = payload.as_chunks::<8>();
        let mut sum = words.iter().fold(0_u64, |sum, w| sum.wrapping_add(u64::from_le_bytes(*w)));
        for &byte in rest {
            sum = sum.wrapping_add(u64::from(byte));
        }
        self.entries += 1;
        self.bytes += payload.len() as u64;
        self.digest = self.digest.rotate_left(7) ^ sum;
    }
}

/// A group of three nodes with a leader, in memory and in one thread.
pub trait System {
    /// Proposes the batch at the leader, and returns when the leader has applied all of it.
    fn commit_batch(&mut self, batch: Batch<'_>);

    /// Lets the followers learn the last commit; the machines of the leader and the followers.
    fn finish(&mut self) -> [Machine; 3];
}

/// An endless supply of batches, the same for every system. The payloads differ from each other
/// and from batch to batch, and lie in a buffer small enough for the nearest caches.
#[derive(Debug)]
pub struct Source {
    slab: Vec<u8>,
    size: usize,
    batch: usize,
    turn: usize,
}

/// How many different batches there are.
const TURNS: usize = 7;

impl Source {
    /// Batches of `batch` payloads of `size` bytes.
    pub fn new(size: usize, batch: usize) -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let byte = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        let slab = std::iter::repeat_with(byte).take((batch + TURNS) * size).collect();
        Self { slab, size, batch, turn: 0 }
    }

    /// The next batch.
    pub fn next(&mut self) -> Batch<'_> {
        let start = self.turn * self.size;
        self.turn = (self.turn + 1) % TURNS;
        Batch::new(&self.slab[start..start + self.batch * self.size], self.size)
    }
}
