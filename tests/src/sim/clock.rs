//! What a node takes for the time: its own beginning, its own rate, and jumps forward.
//!
//! The engine's clock is monotone, so a node's time never goes back. It may stand still (a pause) or leap (a machine that
//! was suspended).
//! Deliberately absent: dates. Nothing in the engine has use for them.

/// A node's clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    base_world: u64,
    base_local: u64,
    ppm: u64,
}

/// A clock that is right.
const RIGHT: u64 = 1_000_000;

impl Clock {
    /// A clock that shows `local` when the world's time is `world`.
    #[must_use]
    pub const fn new(world: u64, local: u64) -> Self {
        Self { base_world: world, base_local: local, ppm: RIGHT }
    }

    /// What it shows at the world's time `world`.
    #[must_use]
    pub const fn local(&self, world: u64) -> u64 {
        self.base_local + (world - self.base_world) * self.ppm / RIGHT
    }

    /// How much world's time passes while it goes on by `local`; never zero.
    #[must_use]
    pub const fn world_for(&self, local: u64) -> u64 {
        local.saturating_mul(RIGHT) / self.ppm + 1
    }

    /// It goes at another rate from now on.
    pub const fn set_rate(&mut self, world: u64, ppm: u64) {
        *self = Self { base_world: world, base_local: self.local(world), ppm };
    }

    /// It leaps forward.
    pub const fn jump(&mut self, us: u64) {
        self.base_local += us;
    }
}
