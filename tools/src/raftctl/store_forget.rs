//! `raftctl store forget-peer`: has a stopped node forget which store another node had.
//!
//! Deliberately absent: asking whether it is meant. Who types it vouches for it; docs/operations.md says for what.

use std::path::PathBuf;

use kontiki::store::{ForgetError, OpenError, OpenOptions, forget_peer};
use serde::Serialize;

use super::failure::{Exit, Failure};
use super::output::{facts, print, print_json};
use super::{Format, Source};

/// What was forgotten.
#[derive(Debug, Serialize)]
struct Forgotten {
    node: u64,
    store: String,
}

pub(super) fn run(
    source: &Source,
    node: u64,
    witness_dir: Option<PathBuf>,
    output: Format,
) -> Result<Exit, Failure> {
    let Source::Dir(dir) = source else {
        return Err(Failure::new(
            Exit::Usage,
            "`store forget-peer` changes a directory: give --data-dir DIR",
        ));
    };
    let mut options = OpenOptions::new(dir);
    options.witness_dir = witness_dir;
    let store = forget_peer(&options, node).map_err(|error| match &error {
        ForgetError::Open(OpenError::Locked { .. }) => {
            Failure::new(Exit::Refused, format!("{error}; stop it first"))
        }
        ForgetError::Open(error) => Failure::of_store(dir, error),
        ForgetError::NoSuchPeer { .. } => {
            Failure::new(Exit::NotFound, format!("{}: {error}", dir.display()))
        }
        ForgetError::Store(_) => Failure::new(Exit::Io, format!("{}: {error}", dir.display())),
    })?;
    let forgotten = Forgotten { node, store: format!("{store:#x}") };
    if output == Format::Json {
        return print_json(&forgotten);
    }
    print(&facts(&[("forgotten node", node.to_string()), ("its store was", forgotten.store)]))
}
