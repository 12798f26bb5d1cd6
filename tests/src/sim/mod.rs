//! The deterministic simulator: the real engine in a world that only does what its seed says.

pub mod checker;
