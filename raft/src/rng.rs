//! The draw of election timeouts, and of names for forwarded reads: a Weyl sequence through a
//! finalizer (murmur3's), seeded by the caller.
//!
//! It need only keep replicas out of step, and be the same for the same seed. Four bytes of state,
//! since a hundred thousand replicas hold one each.

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rng(u32);

impl Rng {
    #[expect(clippy::cast_possible_truncation, reason = "both halves of the seed are folded in")]
    pub(crate) const fn new(seed: u64) -> Self {
        let mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self((mixed ^ (mixed >> 32)) as u32)
    }

    const fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9);
        let mut z = self.0;
        z = (z ^ (z >> 16)).wrapping_mul(0x85eb_ca6b);
        z = (z ^ (z >> 13)).wrapping_mul(0xc2b2_ae35);
        z ^ (z >> 16)
    }

    /// A number below `bound`, which is not zero. The bias is far below a clock's precision.
    pub(crate) const fn below(&mut self, bound: u32) -> u32 {
        ((self.next() as u64 * bound as u64) >> 32) as u32
    }

    /// A number of 63 bits that is unlikely to come again.
    pub(crate) const fn name(&mut self) -> u64 {
        (self.next() as u64) << 31 | self.next() as u64 >> 1
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
