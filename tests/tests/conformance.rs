//! The cases of other Raft implementations hold; see [`kontiki_tests::conformance`].
//!
//! Prints `N passed, N failed, N skipped` for each kind, and what was skipped with the reason.
//! Where no cases are, that is said and counts as skipped.

use kontiki_tests::conformance::{Totals, files, folders};

#[test]
fn other_implementations_cases_hold() {
    let folders = folders();
    let files = files(&folders);
    if files.is_empty() {
        println!("no cases: neither in KONTIKI_CONFORMANCE nor in ../shared/conformance");
        println!("conformance: 0 passed, 0 failed, 1 skipped");
        return;
    }
    let mut totals = Totals::default();
    for (kind, file) in &files {
        let verdicts = kind.run(file);
        assert!(!verdicts.is_empty(), "{} has no case", file.display());
        for (name, verdict) in verdicts {
            totals.add(*kind, &name, verdict);
        }
    }
    println!("{totals}");
    for line in &totals.skipped {
        println!("skipped: {line}");
    }
    assert!(
        totals.failures.is_empty(),
        "{} failed:\n{}",
        totals.failures.len(),
        totals.failures.join("\n")
    );
}
