//! The simulator's dice: one stream of numbers per purpose, all from one seed.
//!
//! Streams of their own keep decisions apart: a fault plan that was made shorter does not change how long messages take.
//! Deliberately absent: any other source of chance, and floating point.

/// A stream of numbers (splitmix64).
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The stream of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Another stream of the same seed; streams with different names have nothing in common.
    #[must_use]
    pub fn stream(seed: u64, name: &str) -> Self {
        let mut mixed = Self(seed ^ 0x6b6f_6e74_696b_6921);
        for &byte in name.as_bytes() {
            mixed.0 = mixed.0.wrapping_mul(0x0000_0100_0000_01b3) ^ u64::from(byte);
            mixed.next();
        }
        Self(mixed.next())
    }

    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "a stream without an end is no iterator")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not zero.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// A number from `low` to `high`, both possible.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True this many times out of a thousand.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.place(of.len())]
    }

    /// A place in something of `len` parts.
    pub fn place(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a length")
    }

    /// A number from `low` to `high`, small ones as likely as large ones in order of magnitude.
    pub fn scale(&mut self, low: u64, high: u64) -> u64 {
        let (low_bits, high_bits) = (low.max(1).ilog2(), high.max(1).ilog2());
        let bits = self.between(u64::from(low_bits), u64::from(high_bits));
        let base = 1_u64 << bits;
        (base + self.below(base)).clamp(low, high)
    }
}
