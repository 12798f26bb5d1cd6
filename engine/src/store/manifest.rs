//! A look at the manifest of the log's database before the database may open.
//!
//! RocksDB names neither file nor offset when its manifest is damaged. The manifest has the format of the log files, with
//! records that are not batches, so the same reader finds the bad place.
//!
//! Deliberately absent: what the records say. That is RocksDB's.

use std::path::Path;

use super::files::{Files, read_all};
use super::{OpenError, wal_scan};

/// Looks whether `CURRENT` names a manifest and whether that is whole. A manifest that ends inside a record is a
/// legal trace of a power cut, unless the store was closed cleanly.
pub(super) fn check(files: &dyn Files, dir: &Path, clean_shutdown: bool) -> Result<(), OpenError> {
    let current = dir.join("CURRENT");
    let text = read_all(files, &current).map_err(|error| OpenError::Corrupt {
        file: current.clone(),
        offset: 0,
        why: format!("cannot be read: {error}"),
    })?;
    let name = std::str::from_utf8(&text).ok().and_then(|text| text.strip_suffix('\n'));
    let Some(name) = name.filter(|name| name.starts_with("MANIFEST-")) else {
        let why = "does not name a manifest".to_owned();
        return Err(OpenError::Corrupt { file: current, offset: 0, why });
    };
    let manifest = dir.join(name);
    if files.open(&manifest).is_err() {
        let why = format!("names {name}, which does not exist");
        return Err(OpenError::Corrupt { file: current, offset: 0, why });
    }
    let (bad, intact_behind) = wal_scan::first_flaw(files, &manifest)?;
    match bad {
        Some(bad) if intact_behind || clean_shutdown => {
            Err(OpenError::Corrupt { file: bad.file, offset: bad.offset, why: bad.why.to_string() })
        }
        _ => Ok(()),
    }
}
