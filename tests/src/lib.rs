//! What the tests of the whole house share; the tests themselves are in `tests/tests`.

pub mod conformance;
pub mod process;
pub mod script;
