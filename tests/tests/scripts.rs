//! Plays every script of `tests/scripts` and compares what happened with what is written there.
//!
//! With `KONTIKI_REWRITE=1` in the environment the files are rewritten instead. What a script may
//! say stands on the page of `kontiki_tests::script`.
#![allow(clippy::unwrap_used, reason = "a script that cannot be read fails")]

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use kontiki_tests::script;

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    assert!(paths.len() >= 15, "only {} scripts found", paths.len());
    paths
}

#[test]
fn every_script_holds() {
    let rewrite = std::env::var_os("KONTIKI_REWRITE").is_some_and(|value| value == "1");
    let mut failed = Vec::new();
    for path in scripts() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let expected = fs::read_to_string(&path).unwrap();
        // A broken safety property panics; the other scripts are played all the same.
        let happened = match catch_unwind(|| script::play(&expected)) {
            Ok(Ok(happened)) => happened,
            Err(_) => {
                println!("{name}: a safety property is broken");
                failed.push(name);
                continue;
            }
            Ok(Err(error)) => {
                println!("{name}: {error}");
                failed.push(name);
                continue;
            }
        };
        assert_eq!(script::play(&expected).as_ref(), Ok(&happened), "{name} is not deterministic");
        if happened == expected {
            println!("{name} holds");
        } else if rewrite {
            fs::write(&path, happened).unwrap();
            println!("{name} rewritten");
        } else {
            print!("{}", script::unified(&name, &expected, &happened));
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "{failed:?} (KONTIKI_REWRITE=1 rewrites what differs)");
}
