//! The state database: whose it is, what survives, what is refused.

#![expect(clippy::cast_possible_truncation, reason = "small numbers")]

use std::path::PathBuf;

use kontiki_raft::Index;

use super::*;
use crate::machine::testing::crash_image;

fn options(dir: &Path) -> StateOptions {
    StateOptions { memtable_bytes: 1 << 20, ..StateOptions::new(dir.to_path_buf(), 9) }
}

fn record(applied: u64) -> AppliedRecord {
    AppliedRecord { applied: Index(applied), digest: applied * 3, commands: applied }
}

fn put(state: &StateDb, keys: &[&str], value: &str, records: &[(u64, AppliedRecord)]) {
    let tagged: Vec<Vec<u8>> = keys.iter().map(|key| format!("k{key}").into_bytes()).collect();
    let value = Some(value.as_bytes());
    state.write(64, &mut tagged.iter().map(|key| (key.as_slice(), value)), records).unwrap();
}

fn keys(state: &StateDb, start: &[u8], end: Option<&[u8]>) -> Vec<String> {
    let mut found = Vec::new();
    let mut visit = |key: &[u8], _: &[u8]| {
        found.push(String::from_utf8(key.to_vec()).unwrap());
        true
    };
    state.view().scan(start, end, &mut visit).unwrap();
    found
}

/// What a crash at this moment would leave of the database.
fn crashed(dir: &Path) -> tempfile::TempDir {
    let image = tempfile::tempdir().unwrap();
    crash_image(dir, image.path());
    image
}

#[test]
fn data_and_positions_are_read_back_together() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDb::open(&options(dir.path())).unwrap();
    assert_eq!(state.applied(1).unwrap(), AppliedRecord::default());
    put(&state, &["a", "b", "c"], "1", &[(1, record(5)), (2, record(6))]);
    state.write(8, &mut std::iter::once((&b"kb"[..], None)), &[(2, record(7))]).unwrap();
    assert_eq!(state.get(b"a").unwrap().unwrap(), b"1");
    assert_eq!(state.get(b"b").unwrap(), None);
    assert_eq!((state.applied(1).unwrap(), state.applied(2).unwrap()), (record(5), record(7)));
    assert_eq!(
        keys(&state, b"", None),
        ["a", "c"],
        "neither records nor the identity are user keys"
    );
    assert_eq!(keys(&state, b"b", Some(b"c")), Vec::<String>::new());
    assert_eq!(keys(&state, b"a", Some(b"c")), ["a"]);
}

#[test]
fn a_crash_leaves_what_was_flushed_and_says_how_far_that_is() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDb::open(&options(dir.path())).unwrap();
    put(&state, &["a"], "1", &[(1, record(1))]);
    state.flush().unwrap();
    put(&state, &["a"], "2", &[(1, record(2))]);
    let image = crashed(dir.path());
    let after = StateDb::open(&options(image.path())).unwrap();
    assert_eq!(
        (after.get(b"a").unwrap().unwrap(), after.applied(1).unwrap()),
        (b"1".to_vec(), record(1))
    );
    drop(state);
    let closed = StateDb::open(&options(dir.path())).unwrap();
    assert_eq!(closed.applied(1).unwrap(), record(2), "a clean close loses nothing");
}

#[test]
fn memtables_that_fill_up_leave_a_prefix_of_the_batches() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDb::open(&options(dir.path())).unwrap();
    let value = "v".repeat(1000);
    for batch in 1..=40u64 {
        let keys: Vec<String> = (0..100).map(|key| format!("{batch:04}-{key:04}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        put(&state, &keys, &value, &[(1, record(batch)), (batch % 5 + 2, record(batch))]);
        if batch % 8 == 0 {
            let image = crashed(dir.path());
            let after = StateDb::open(&options(image.path())).unwrap();
            let applied = after.applied(1).unwrap().applied.0;
            let found = keys_of(&after);
            assert_eq!(
                found,
                applied as usize * 100,
                "all of {applied} batches and nothing of the next"
            );
            for group in 2..7 {
                let last = (1..=applied).rev().find(|batch| batch % 5 + 2 == group).unwrap_or(0);
                assert_eq!(after.applied(group).unwrap().applied.0, last);
            }
        }
    }
}

fn keys_of(state: &StateDb) -> usize {
    keys(state, b"", None).len()
}

#[test]
fn a_state_of_another_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(StateDb::open(&options(dir.path())).unwrap());
    let foreign = StateOptions { store_id: 10, ..options(dir.path()) };
    let error = StateDb::open(&foreign).unwrap_err();
    assert!(matches!(error, MachineError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("of store"), "{error}");
    assert!(StateDb::open(&options(dir.path())).is_ok());
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.to_string_lossy().contains(extension))
        .collect();
    files.sort();
    files
}

#[test]
fn damage_is_a_typed_error_that_names_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDb::open(&options(dir.path())).unwrap();
    put(&state, &["a", "b"], "1", &[(1, record(1))]);
    drop(state);
    let manifest = files(dir.path(), "MANIFEST").pop().unwrap();
    let good = std::fs::read(&manifest).unwrap();
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    std::fs::write(&manifest, &bad).unwrap();
    let error = StateDb::open(&options(dir.path())).unwrap_err();
    assert!(matches!(error, MachineError::Corrupt { .. }), "{error}");
    std::fs::write(&manifest, &good).unwrap();

    for table in files(dir.path(), ".sst") {
        let good = std::fs::read(&table).unwrap();
        for at in [0, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            std::fs::write(&table, &bad).unwrap();
            let read = StateDb::open(&options(dir.path())).and_then(|state| {
                state.applied(1)?;
                state.get(b"a")?;
                state.view().scan(b"", None, &mut |_, _| true)
            });
            if let Err(error) = read {
                let text = error.to_string();
                assert!(matches!(error, MachineError::Corrupt { .. }), "{text}");
                assert!(text.contains(&dir.path().display().to_string()), "{text}");
            }
        }
        std::fs::write(&table, &good).unwrap();
    }
    std::fs::remove_file(files(dir.path(), ".sst").pop().unwrap()).unwrap();
    assert!(StateDb::open(&options(dir.path())).is_err(), "a missing table");
}
