//! `./dev mutants`: plants each known mistake in the consensus core, one at a time, and says which suites notice.
//!
//! The core is built once with its feature `planted`; a mistake is then chosen by the variable `KONTIKI_PLANTED`, so
//! every suite runs as it is. A suite that fails has noticed. All must pass with nothing planted, and each mistake
//! must be noticed by one suite at least.
//!
//! Deliberately absent: mistakes that are made up by a tool. These are ones that shipped systems have made.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::cargo::command;

/// Random histories per mistake and suite: enough, and not the minutes of a whole run.
const HISTORIES: &str = "1000";

/// One test binary of the core.
struct Suite {
    name: String,
    binary: PathBuf,
}

/// What one suite said of one mistake.
struct Verdict {
    mutant: usize,
    suite: usize,
    /// How many tests failed; the whole binary counts as one when it does not say.
    failed: u64,
}

/// Runs every suite with every mistake, and prints the table. True when all is as it should be.
pub(super) fn all() -> bool {
    let Some(suites) = build() else {
        eprintln!("dev: the suites do not build");
        return false;
    };
    let Some(mutants) = list() else {
        eprintln!("dev: the list of mistakes is not where it should be (raft/src/planted.rs)");
        return false;
    };
    eprintln!("dev: {} suites, {} mistakes", suites.len(), mutants.len());
    let verdicts = judge(&suites, &mutants);
    let noticed = |mutant| verdicts.iter().filter(move |v| v.mutant == mutant && v.failed > 0);

    println!("\n{:>3}  {:<58}noticed by", "bug", "what it does");
    let mut good = true;
    for (at, (number, what)) in mutants.iter().enumerate() {
        let by: Vec<String> =
            noticed(at).map(|v| format!("{} ({})", suites[v.suite].name, v.failed)).collect();
        // The first line is the core as it is.
        let expected = by.is_empty() == (*number == 0);
        good &= expected;
        let said = if by.is_empty() { "nobody".to_owned() } else { by.join(", ") };
        println!("{number:>3}  {what:<58}{said}{}", if expected { "" } else { "   <-- WRONG" });
    }
    let caught = (1..mutants.len()).filter(|&at| noticed(at).next().is_some()).count();
    println!("\n{caught} of {} planted mistakes are noticed", mutants.len() - 1);
    good
}

/// Builds the core's tests with the feature, and says where they are.
fn build() -> Option<Vec<Suite>> {
    let mut cargo = command(&["test", "--release", "-p", "kontiki-raft", "--features", "planted"]);
    let output = cargo
        .args(["--lib", "--tests", "--no-run", "--message-format=json"])
        .stderr(Stdio::inherit())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let suites = text.lines().filter_map(|line| {
        let binary = PathBuf::from(field(line, "executable")?);
        let stem = binary.file_stem()?.to_str()?;
        let name = stem.rsplit_once('-').map_or(stem, |(name, _)| name);
        // Counting allocations has nothing to say about safety.
        let name = if name == "kontiki_raft" { "units" } else { name }.to_owned();
        (name != "alloc").then_some(Suite { name, binary })
    });
    let suites: Vec<Suite> = suites.collect();
    (output.status.success() && !suites.is_empty()).then_some(suites)
}

/// The text of a field of one line of JSON, where it is a string without escapes.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("\"{name}\":\""))?;
    rest.split_once('"').map(|(text, _)| text)
}

/// The numbers and descriptions of the mistakes, as their source lists them; before them number 0, for none.
fn list() -> Option<Vec<(u32, String)>> {
    let source = std::fs::read_to_string(Path::new("raft/src/planted.rs")).ok()?;
    let (_, list) = source.split_once("\nbugs! {\n")?;
    let (list, _) = list.split_once("\n}")?;
    let mut mutants = vec![(0, "nothing is planted".to_owned())];
    for line in list.lines() {
        let (_, rest) = line.split_once(" = ")?;
        let (number, what) = rest.split_once(", ")?;
        mutants.push((number.parse().ok()?, what.trim_matches(['"', ';']).to_owned()));
    }
    Some(mutants)
}

/// Runs everything, on as many processors as there are.
fn judge(suites: &[Suite], mutants: &[(u32, String)]) -> Vec<Verdict> {
    let (next, verdicts) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let (mutant, suite) = (at / suites.len(), at % suites.len());
                    let Some((number, _)) = mutants.get(mutant) else { break };
                    let failed = failures(&suites[suite], *number);
                    let verdict = Verdict { mutant, suite, failed };
                    verdicts.lock().expect("nobody panics with it").push(verdict);
                }
            });
        }
    });
    let mut verdicts = verdicts.into_inner().expect("nobody panics with it");
    verdicts.sort_by_key(|verdict| (verdict.mutant, verdict.suite));
    verdicts
}

/// How many tests of the suite fail with the mistake.
fn failures(suite: &Suite, number: u32) -> u64 {
    let mut command = Command::new(&suite.binary);
    // Tests read files beside their package, as under cargo.
    command.current_dir("raft").stdin(Stdio::null());
    command.env("KONTIKI_PLANTED", number.to_string()).env("KONTIKI_SEEDS", HISTORIES);
    command.env("RUST_BACKTRACE", "0").env("RUST_TEST_THREADS", "1");
    let Ok(output) = command.output() else { return 1 };
    if output.status.success() {
        return 0;
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let failed = text.lines().rev().find_map(|line| {
        let (_, rest) = line.strip_prefix("test result: FAILED. ")?.split_once(" passed; ")?;
        rest.split_once(" failed")?.0.parse().ok()
    });
    failed.unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_cargo_names_its_binary() {
        let line =
            r#"{"reason":"compiler-artifact","name":"x","executable":"/t/paper-0f","fresh":true}"#;
        assert_eq!(field(line, "executable"), Some("/t/paper-0f"));
        assert_eq!(field(r#"{"executable":null}"#, "executable"), None);
    }
}
