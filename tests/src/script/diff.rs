//! The difference of two texts as a reviewer expects it: unified, three lines of context.
//!
//! Deliberately absent: speed. The common subsequence is found by the quadratic table, after equal
//! ends are taken off; scripts are short.

use std::fmt::Write as _;
use std::ops::Range;

const CONTEXT: usize = 3;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Edit {
    Keep,
    Remove,
    Add,
}

/// The unified difference from `old` to `new`, empty when they are equal. `name` stands in its
/// head.
///
/// ```
/// let diff = kontiki_tests::script::unified("greeting", "a\nb\n", "a\nc\n");
/// assert_eq!(diff, "--- greeting, expected\n+++ greeting, happened\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n");
/// ```
#[must_use]
pub fn unified(name: &str, old: &str, new: &str) -> String {
    if old == new {
        return String::new();
    }
    let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    let edits = edits(&old, &new);
    let mut text = format!("--- {name}, expected\n+++ {name}, happened\n");
    for hunk in hunks(&edits) {
        write_hunk(&mut text, &edits, hunk, &old, &new);
    }
    text
}

/// How to come from `old` to `new`, line by line.
fn edits(old: &[&str], new: &[&str]) -> Vec<Edit> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[head..], &new[head..]);
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[..old.len() - tail], &new[..new.len() - tail]);

    // common[i][j]: the longest common subsequence of old[i..] and new[j..].
    let mut common = vec![vec![0_u32; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let mut edits = vec![Edit::Keep; head];
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            edits.push(Edit::Keep);
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            edits.push(Edit::Remove);
            i += 1;
        } else {
            edits.push(Edit::Add);
            j += 1;
        }
    }
    edits.extend(std::iter::repeat_n(Edit::Keep, tail));
    edits
}

/// The stretches of edits that are shown: every change with its context.
fn hunks(edits: &[Edit]) -> Vec<Range<usize>> {
    let mut hunks: Vec<Range<usize>> = Vec::new();
    for (at, _) in edits.iter().enumerate().filter(|&(_, &edit)| edit != Edit::Keep) {
        let (from, to) = (at.saturating_sub(CONTEXT), edits.len().min(at + 1 + CONTEXT));
        match hunks.last_mut() {
            Some(last) if from <= last.end => last.end = to,
            _ => hunks.push(from..to),
        }
    }
    hunks
}

fn write_hunk(text: &mut String, edits: &[Edit], hunk: Range<usize>, old: &[&str], new: &[&str]) {
    let count = |edits: &[Edit], not: Edit| edits.iter().filter(|&&edit| edit != not).count();
    let (before, inside) = (&edits[..hunk.start], &edits[hunk]);
    let (mut i, mut j) = (count(before, Edit::Add), count(before, Edit::Remove));
    let (from_old, from_new) = (count(inside, Edit::Add), count(inside, Edit::Remove));
    let put = |text: &mut String, line: std::fmt::Arguments<'_>| {
        writeln!(text, "{line}").expect("a string takes any text");
    };
    put(text, format_args!("@@ -{},{from_old} +{},{from_new} @@", i + 1, j + 1));
    for edit in inside {
        match edit {
            Edit::Keep => put(text, format_args!(" {}", old[i])),
            Edit::Remove => put(text, format_args!("-{}", old[i])),
            Edit::Add => put(text, format_args!("+{}", new[j])),
        }
        i += usize::from(*edit != Edit::Add);
        j += usize::from(*edit != Edit::Remove);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distant_changes_are_apart_and_near_ones_together() {
        let old: Vec<_> = (1..=30).map(|n| n.to_string()).collect();
        let mut new = old.clone();
        new[1] = "two".to_owned();
        new[4] = "five".to_owned();
        new.remove(24);
        let text = unified("count", &old.join("\n"), &new.join("\n"));
        let heads: Vec<_> = text.lines().filter(|line| line.starts_with("@@")).collect();
        assert_eq!(heads, ["@@ -1,8 +1,8 @@", "@@ -22,7 +22,6 @@"]);
        assert!(text.ends_with("-25\n 26\n 27\n 28\n"), "{text}");
    }

    #[test]
    fn equal_texts_do_not_differ() {
        assert_eq!(unified("same", "a\n", "a\n"), "");
    }
}
