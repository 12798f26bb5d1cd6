//! The operator's side of Kontiki: `raftctl`, the ready-made node `kontiki-node`, and the project's automation.
//!
//! | module | what |
//! |---|---|
//! | [`dev`] | `./dev verify`, `test`, `fix`: runs cargo, judges, sums up; no dependencies |
//! | `api` | the JSON that the admin listener speaks and `raftctl` reads |
//! | `disk` | what tools read from a store's directory |
//! | `http` | HTTP/1.1, as little of it as an admin listener and its client need |
//! | `node` | `kontiki-node`: configuration, admin listener, signals |
//! | `raftctl` | the operator's command line, live and offline |
//!
//! The binaries are a few lines each; everything that can be tested is here. `dev` is built without the feature
//! `rocks`, so that the automation runs before RocksDB's C++ has been compiled.

#[cfg(feature = "rocks")]
pub mod api;
pub mod dev;
#[cfg(feature = "rocks")]
pub mod disk;
#[cfg(feature = "rocks")]
pub mod http;
#[cfg(feature = "rocks")]
pub mod node;
#[cfg(feature = "rocks")]
pub mod raftctl;
