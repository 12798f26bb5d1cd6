//! Cases of other Raft implementations, read from where they lie and never copied here.
//!
//! They lie in `../shared/conformance` beside the workspace and in the folder that
//! `KONTIKI_CONFORMANCE` names; both are read. A file's kind is the folder it lies in, at any
//! depth: `quorum`, `confchange`, and every other script is an interaction. Each kind has a module
//! that plays a file and gives a verdict for each of its cases:
//!
//! - [`quorum`]: what enough voters agree on, simple and joint.
//! - [`confchange`]: how one membership follows from another.
//! - [`interaction`]: whole conversations of replicas; a command whose outcome is told is a case.
//!
//! The first two are pure and compared word by word, but for the texts of errors.
//!
//! Deliberately absent: rewriting what a case expects. The cases are others' and are right.

mod case;
pub mod confchange;
pub mod interaction;
pub mod quorum;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

pub use case::{Case, cases};

/// What came of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Ours is what the case expects.
    Passed,
    /// Ours is something else, or the case cannot be read; with both.
    Failed(String),
    /// The case asks for what we do not have by design; with the reason.
    Skipped(String),
}

impl Verdict {
    /// Passed when both are the same.
    #[must_use]
    pub fn compare(expected: &str, ours: &str) -> Self {
        if expected == ours {
            Self::Passed
        } else {
            Self::Failed(format!("expected:\n{expected}\nours:\n{ours}"))
        }
    }
}

/// What a file of cases is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What enough voters agree on.
    Quorum,
    /// How one membership follows from another.
    Confchange,
    /// Whole conversations of replicas.
    Interaction,
}

impl Kind {
    /// All of them, in the order in which they are told of.
    pub const ALL: [Self; 3] = [Self::Quorum, Self::Confchange, Self::Interaction];

    /// The kind of a file below `root`: what the nearest folder says that says anything, where
    /// `root` itself and the folder it lies in count too, for it may name a kind's folder.
    fn of(root: &Path, file: &Path) -> Self {
        let within = file.strip_prefix(root).map_or(0, |within| within.components().count());
        let mut folders = file.ancestors().skip(1).take(within + 1).filter_map(Path::file_name);
        let named = folders.find_map(|name| match name.to_str() {
            Some("quorum") => Some(Self::Quorum),
            Some("confchange") => Some(Self::Confchange),
            _ => None,
        });
        named.unwrap_or(Self::Interaction)
    }

    /// Plays a file of this kind; the name and the verdict of each of its cases.
    #[must_use]
    pub fn run(self, file: &Path) -> Vec<(String, Verdict)> {
        match self {
            Self::Quorum => quorum::run(file),
            Self::Confchange => confchange::run(file),
            Self::Interaction => interaction::run(file),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quorum => "quorum",
            Self::Confchange => "confchange",
            Self::Interaction => "interaction",
        })
    }
}

/// The folders with cases: the one beside the workspace, if it is there, and the named one.
///
/// # Panics
/// When `KONTIKI_CONFORMANCE` names no folder, because its cases would pass unseen.
#[must_use]
pub fn folders() -> Vec<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance");
    let mut folders = Vec::from_iter(beside.canonicalize().ok());
    if let Some(named) = std::env::var_os("KONTIKI_CONFORMANCE").filter(|named| !named.is_empty()) {
        let named = PathBuf::from(named).canonicalize().expect("KONTIKI_CONFORMANCE is a folder");
        assert!(named.is_dir(), "KONTIKI_CONFORMANCE={} is no folder", named.display());
        folders.push(named);
    }
    folders
}

/// The files of cases below these folders with their kinds, each file once, in the order of their
/// paths.
///
/// # Panics
/// When a folder or file cannot be read.
#[must_use]
pub fn files(folders: &[PathBuf]) -> Vec<(Kind, PathBuf)> {
    let mut found: Vec<(Kind, PathBuf)> = Vec::new();
    for root in folders {
        let mut open = vec![root.clone()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(&folder).expect("a folder of cases can be listed") {
                let path = entry.expect("a folder of cases can be listed").path();
                if path.is_dir() {
                    open.push(path);
                } else if is_case_file(&path) && found.iter().all(|(_, known)| *known != path) {
                    found.push((Kind::of(root, &path), path));
                }
            }
        }
    }
    found.sort_by(|a, b| a.1.cmp(&b.1));
    found
}

/// Other texts may lie among the cases; what makes a file of cases is the line between a directive
/// and what is expected.
fn is_case_file(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "txt")
        && fs::read_to_string(path)
            .expect("a file of cases can be read")
            .lines()
            .any(|line| line == "----")
}

/// How many cases of each kind passed, failed and were skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    counts: [[usize; 3]; 3],
    /// What failed, with the case's name and the reason.
    pub failures: Vec<String>,
    /// What was skipped, with the case's name and the reason.
    pub skipped: Vec<String>,
}

impl Totals {
    /// Counts one case.
    pub fn add(&mut self, kind: Kind, name: &str, verdict: Verdict) {
        let [passed, failed, skipped] = &mut self.counts[kind as usize];
        match verdict {
            Verdict::Passed => *passed += 1,
            Verdict::Failed(why) => {
                *failed += 1;
                self.failures.push(format!("{kind} {name}: {why}"));
            }
            Verdict::Skipped(why) => {
                *skipped += 1;
                self.skipped.push(format!("{kind} {name}: {why}"));
            }
        }
    }

    /// How many cases of a kind passed, failed and were skipped.
    #[must_use]
    pub const fn of(&self, kind: Kind) -> [usize; 3] {
        self.counts[kind as usize]
    }
}

/// A line for each kind: `quorum: 127 passed, 0 failed, 0 skipped`.
impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, kind) in Kind::ALL.into_iter().enumerate() {
            let [passed, failed, skipped] = self.of(kind);
            let end = if at == 0 { "" } else { "\n" };
            write!(f, "{end}{kind}: {passed} passed, {failed} failed, {skipped} skipped")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_folder_says_the_kind() {
        let kind = |root: &str, file: &str| Kind::of(Path::new(root), &Path::new(root).join(file));
        assert_eq!(kind("/c", "etcd/quorum/testdata/joint.txt"), Kind::Quorum);
        assert_eq!(kind("/c", "confchange/zero.txt"), Kind::Confchange);
        assert_eq!(kind("/c", "quorum/x/confchange/zero.txt"), Kind::Confchange);
        assert_eq!(kind("/c", "etcd/testdata/quorum.txt"), Kind::Interaction);
        assert_eq!(kind("/c/quorum", "a.txt"), Kind::Quorum);
        assert_eq!(kind("/c/quorum/testdata", "a.txt"), Kind::Quorum);
        assert_eq!(kind("/quorum/c/etcd", "a.txt"), Kind::Interaction, "too far above the root");
    }

    #[test]
    fn files_are_found_at_any_depth_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for (path, text) in [
            ("a/b/quorum/c/one.txt", "vote\n----\nVoteWon\n"),
            ("confchange/two.txt", "simple\n----\n"),
            ("three.txt", "campaign 1\n----\nok\n"),
            ("LICENSE.txt", "No case.\n"),
            ("four.md", "x\n----\ny\n"),
        ] {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let found = files(&[root.clone(), root.join("a")]);
        let found: Vec<_> =
            found.iter().map(|(kind, path)| (*kind, path.strip_prefix(&root).unwrap())).collect();
        let expected = [
            (Kind::Quorum, Path::new("a/b/quorum/c/one.txt")),
            (Kind::Confchange, Path::new("confchange/two.txt")),
            (Kind::Interaction, Path::new("three.txt")),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn totals_tell_kinds_apart() {
        let mut totals = Totals::default();
        totals.add(Kind::Quorum, "a", Verdict::Passed);
        totals.add(Kind::Confchange, "b", Verdict::compare("x", "y"));
        totals.add(Kind::Interaction, "c", Verdict::Skipped("why".into()));
        let text = "quorum: 1 passed, 0 failed, 0 skipped\n\
                    confchange: 0 passed, 1 failed, 0 skipped\n\
                    interaction: 0 passed, 0 failed, 1 skipped";
        assert_eq!(totals.to_string(), text);
        assert_eq!(totals.failures, ["confchange b: expected:\nx\nours:\ny"]);
        assert_eq!(totals.skipped, ["interaction c: why"]);
    }
}
