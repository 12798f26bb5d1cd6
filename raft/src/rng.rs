//! The draw of election timeouts: splitmix64, seeded by the caller.
//!
//! It need only keep replicas out of step, and be the same for the same seed.

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`, which is not zero. The bias is far below a clock's precision.
    pub(crate) const fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (((z >> 32) * bound as u64) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e11_draws_fill_the_range() {
        let mut slots = [0; 10];
        for seed in 0..1000 {
            slots[Rng::new(seed).below(10) as usize] += 1;
        }
        assert!(slots.iter().all(|&count| (60..140).contains(&count)), "{slots:?}");
    }
}
