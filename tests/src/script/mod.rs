//! Golden scripts: conversations of replicas, written down so that they can be read and reviewed.
//!
//! A script is a text of blocks. A block is some directives, a line `---`, and what happened, up
//! to an empty line. Lines that begin with `#` explain. The runner plays the directives against
//! real replicas, with a network, disks and a clock that do only what they are told, and compares.
//! What happened is one line per replica and step: its number, then its events. Positions are
//! `term/index`; `-> 2 3` says to whom a message goes.
//!
//! ```text
//! # A slow follower does not hold back the commit.
//! propose 1 x=1
//! deliver 2
//! ---
//! 1 propose 3/5, send 3/5 -> 2 3
//! 2 append 3/5, ack 3/5 -> 1
//! 1 commit 3/5
//! ```
//!
//! # Directives
//!
//! | directive | meaning |
//! |---|---|
//! | `config election=1s heartbeat=250ms append-max=8` | before `nodes`; `append-max` counts entries |
//! | `nodes 3`, `seed 7` | replicas 1 to 3, all new; what their timeouts are drawn from |
//! | `given 2 1/1..1/3 2/4 [term 3] [vote 1] [applied 2]` | what the disk of replica 2 held before it started |
//! | `elect 1` | an election that must succeed, everything delivered; only the result is told |
//! | `campaign 1`, `propose 1 x=1 y=2`, `read 1`, `transfer 1 2` | inputs; one proposal of two entries |
//! | `deliver` | everything arrives, answers too, until nothing is in flight |
//! | `deliver 2` | the same between replica 2 and the others, both ways |
//! | `deliver 1->2 [3]` | what is in flight from 1 to 2 now (the first three) arrives |
//! | `round 1` | replica 1 has an otherwise empty round: it tells the commits it owes |
//! | `settle` | `deliver` and `round` until nothing moves |
//! | `drop [1->2]`, `duplicate 1->2`, `reverse 1->2` | what is in flight is lost, doubled, turned around |
//! | `keep 1->2 late`, `replay late` | copies what is in flight under a name; puts the copy back |
//! | `cut 1->2`, `isolate 3`, `heal` | packets vanish unnoticed; connections break; all is mended |
//! | `peer-down 1 2`, `peer-up 1 2` | replica 1 is told that its connection to 2 broke, or stands |
//! | `hold 1`, `persist 1 [2]`, `release 1` | writes stay in flight; (two of) them complete; hold no more |
//! | `crash 2`, `restart 2`, `wipe 2` | loses what is not written; starts from the disk; empties it |
//! | `tick 300ms` | time passes, deadlines are kept, nothing is delivered |
//! | `run 3s` | time passes and everything is delivered; only changes of state are told |
//! | `compact 1` | forgets the log as far as it may |
//! | `status [1]`, `log 1`, `progress 1`, `net` | shows replicas, a log, a leader's followers, what is in flight |
//! | `quietly DIRECTIVE` | tells nothing of it |
//!
//! Packets to one replica that arrive together are one step, as in a round of the engine. Writes
//! complete at once unless held. After every step the whole state of the replica is checked, and
//! so are election safety, log matching up to the commit and state machine safety for the group.
//!
//! # Rewriting
//!
//! `KONTIKI_REWRITE=1 cargo test --release -p kontiki-tests --test scripts` writes what happened
//! into the files; the difference is then reviewed like code.
//!
//! Deliberately absent: loops, variables and conditions. A script is read from top to bottom.

mod diff;
mod interpret;
mod net;
mod node;
mod safety;
mod trace;
mod words;
mod world;

use std::fmt;

pub use diff::unified;
use world::World;

/// Why a script could not be played to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

impl std::error::Error for ScriptError {}

/// Plays a script and returns it with what happened in the place of what was expected. A script
/// that holds comes back as it was.
///
/// ```
/// let script = "nodes 1\ncampaign 1\n---\n1 candidate in 1, leads 1, commit 1/1\n";
/// assert_eq!(kontiki_tests::script::play(script)?, script);
/// # Ok::<(), kontiki_tests::script::ScriptError>(())
/// ```
///
/// # Errors
/// When a directive is unknown or makes no sense where it stands, or a block has no `---`.
pub fn play(script: &str) -> Result<String, ScriptError> {
    let mut world = World::default();
    let mut played = String::with_capacity(script.len());
    let mut lines = script.lines().enumerate();
    let mut open = None;
    while let Some((at, line)) = lines.next() {
        let wrong = |why| ScriptError { line: at + 1, why };
        played.push_str(line);
        played.push('\n');
        if line == "---" {
            for told in world.take_told() {
                played.push_str(&told);
                played.push('\n');
            }
            // What was expected is skipped; the empty line after it belongs to the script.
            if lines.by_ref().any(|(_, line)| line.is_empty()) {
                played.push('\n');
            }
            open = None;
        } else if !line.is_empty() && !line.starts_with('#') {
            open = Some(at + 1);
            world.execute(line).map_err(wrong)?;
        }
    }
    match open {
        None => Ok(played),
        Some(line) => Err(ScriptError { line, why: "no --- follows this directive".to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_expectation_is_replaced_and_the_rest_is_kept() {
        let script =
            "# Alone.\nnodes 1\n\ncampaign 1\n---\n1 sulks\n\n# The end.\nlog 1\n---\n1 log 1/1 -";
        let expected = "# Alone.\nnodes 1\n\ncampaign 1\n---\n1 candidate in 1, leads 1, commit 1/1\n\n\
                        # The end.\nlog 1\n---\n1 log 1/1 no-op\n";
        assert_eq!(play(script).unwrap(), expected);
    }

    #[test]
    fn errors_name_their_line() {
        let why = |script: &str| play(script).unwrap_err().to_string();
        assert_eq!(why("nodes 1\n\njump 1\n---\n"), "line 3: unknown directive: jump 1");
        assert_eq!(why("nodes 1\n---\n\ncrash 1\n"), "line 4: no --- follows this directive");
        assert_eq!(why("nodes 1\ncampaign 2\n---\n"), "line 2: there is no replica 2");
        assert_eq!(why("nodes 1\ncrash 1\nread 1\n---\n"), "line 3: replica 1 is down");
        assert_eq!(why("nodes 1\ntick 3 weeks\n---\n"), "line 2: unknown directive: tick 3 weeks");
        assert_eq!(why("nodes 1\ntick 3w\n---\n"), "line 2: not a time: 3w");
    }

    #[test]
    fn the_same_script_gives_the_same_story() {
        let script = "nodes 5\nseed 3\nrun 20s\nstatus\n---\n";
        let once = play(script).unwrap();
        assert_eq!(once, play(script).unwrap());
        assert!(once.contains(" leads "), "{once}");
    }
}
