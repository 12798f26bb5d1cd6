//! From RocksDB's error texts to a file and an offset, for the operator who has to find the disk.
//!
//! RocksDB reports a failed checksum as one line of text that mostly names file and offset. What it leaves out is
//! looked for here: a bad record in the manifest, a file that is not there.
//!
//! Invariant: a text that is about damage becomes [`OpenError::Corrupt`]; at worst its file is the directory.
//! Deliberately absent: guessing whether damage matters. Any damage refuses the store.

use std::path::{Path, PathBuf};

use rocksdb::{Error, ErrorKind};

use super::files::SystemFiles;
use super::{OpenError, StoreError, manifest, table_scan};

/// What an error of the database in `dir` means for opening.
pub(super) fn on_open(dir: &Path, error: Error) -> OpenError {
    let missing = is_missing_file(&error);
    if !is_damage(&error) && !missing {
        return OpenError::Database(error.into_string());
    }
    if let Some(flaw) = manifest_flaw(dir) {
        return flaw;
    }
    let text = error.into_string();
    let (file, offset) = place(dir, &text);
    if file.extension().is_none_or(|extension| extension != "sst") {
        // RocksDB blames the manifest for tables that it cannot make sense of.
        if let Some(flaw) = table_flaw(dir) {
            return flaw;
        }
    }
    OpenError::Corrupt { file, offset, why: text }
}

/// Checks the tables that a database in `dir` uses, by their names.
pub(super) fn check_tables<'a>(
    dir: &Path,
    mut names: impl Iterator<Item = &'a str>,
) -> Result<(), OpenError> {
    names.try_for_each(|name| table_scan::check(&dir.join(name.trim_start_matches('/'))))
}

/// What an error of the database in `dir` means for a read.
pub(super) fn on_read(dir: &Path, error: Error) -> StoreError {
    if !is_damage(&error) && !is_missing_file(&error) {
        return StoreError::Database(error.into_string());
    }
    let text = error.into_string();
    let (file, offset) = place(dir, &text);
    StoreError::Corrupt { file, offset, why: text }
}

fn manifest_flaw(dir: &Path) -> Option<OpenError> {
    manifest::check(&SystemFiles, dir, true).err()
}

fn table_flaw(dir: &Path) -> Option<OpenError> {
    let mut tables: Vec<_> = std::fs::read_dir(dir).ok()?.flatten().map(|e| e.path()).collect();
    tables.retain(|path| path.extension().is_some_and(|extension| extension == "sst"));
    tables.sort();
    tables.iter().find_map(|path| table_scan::check(path).err())
}

fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corruption)
}

fn is_missing_file(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::IOError | ErrorKind::NotFound)
        && error.as_ref().contains("No such file")
}

/// File and offset in a text such as `block checksum mismatch: .. in /x/000012.sst offset 33 size 44`.
fn place(dir: &Path, text: &str) -> (PathBuf, u64) {
    let words = || text.split_ascii_whitespace();
    let file = words()
        .map(|word| word.trim_end_matches([':', ',', ')', '"', '.']))
        .find(|word| word.ends_with(".sst") || word.ends_with(".log") || word.contains("MANIFEST-"))
        .and_then(|word| word.rsplit('/').next())
        .map_or_else(|| dir.to_owned(), |name| dir.join(name));
    let offset = words()
        .skip_while(|word| !word.ends_with("offset") && !word.ends_with("offset:"))
        .nth(1)
        .and_then(|word| word.trim_end_matches([',', ';', '.', ')']).parse().ok())
        .unwrap_or(0);
    (file, offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_and_offset_are_found_in_rocksdbs_words() {
        let dir = Path::new("/data/log");
        for (text, file, offset) in [
            (
                "Corruption: block checksum mismatch: stored = 1, computed = 2, type = 4  in \
                 /data/log/000012.sst offset 4096 size 3301",
                "/data/log/000012.sst",
                4096,
            ),
            (
                "IO error: No such file or directory: While open a file for random read: \
                 /data/log/000009.sst: No such file or directory",
                "/data/log/000009.sst",
                0,
            ),
            ("Corruption: something else", "/data/log", 0),
        ] {
            assert_eq!(place(dir, text), (PathBuf::from(file), offset), "{text}");
        }
    }
}
