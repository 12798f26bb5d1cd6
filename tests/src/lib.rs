//! What the tests of the whole house share; the tests themselves are in `tests/tests`.

pub mod conformance;
#[cfg(feature = "rocks")]
pub mod process;
pub mod script;
pub mod sim;
