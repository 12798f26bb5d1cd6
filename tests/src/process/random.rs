//! SplitMix64: enough chance for a test, and the same every time for the same seed.

use kontiki::clock::Clock;

/// A seeded generator.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator that starts at `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed of this run: `KONTIKI_SEED` when it is set, else a new one. Printed, so that it can be set.
    ///
    /// # Panics
    /// When `KONTIKI_SEED` is no number.
    #[must_use]
    pub fn of_this_run(what: &str) -> Self {
        let seed = match std::env::var("KONTIKI_SEED") {
            Ok(text) => text.parse().expect("KONTIKI_SEED is a number"),
            Err(_) => Clock::new().now().0 ^ u64::from(std::process::id()).rotate_left(32),
        };
        eprintln!("{what}: KONTIKI_SEED={seed}");
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not zero.
    pub fn below(&mut self, end: u64) -> u64 {
        self.bits() % end
    }

    /// A place in a row of `len`, which is not zero.
    pub fn at(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a usize")
    }

    /// `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.bits().to_le_bytes()[3]).collect()
    }
}
