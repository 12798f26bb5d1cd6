//! The words of directives: numbers, arrows, positions, times.

use kontiki_raft::{Index, Position, Term};

pub(super) fn number(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("not a number: {word}"))
}

/// `1->2`: from whom, to whom.
pub(super) fn arrow(word: &str) -> Result<(u64, u64), String> {
    let (from, to) = word.split_once("->").ok_or_else(|| format!("not an arrow: {word}"))?;
    Ok((number(from)?, number(to)?))
}

/// `2/5`
pub(super) fn position(word: &str) -> Result<Position, String> {
    let (term, index) = word.split_once('/').ok_or_else(|| format!("not a position: {word}"))?;
    Ok(Position::new(Term(number(term)?), Index(number(index)?)))
}

/// `2/5` or `2/5..2/9`: a run of entries of one term.
pub(super) fn run(word: &str) -> Result<(Position, Position), String> {
    let (first, last) = word.split_once("..").unwrap_or((word, word));
    let (first, last) = (position(first)?, position(last)?);
    if first.term == last.term && first.index <= last.index {
        Ok((first, last))
    } else {
        Err(format!("not a run of one term: {word}"))
    }
}

/// `1500ms` or `2s`, in microseconds.
pub(super) fn time_us(word: &str) -> Result<u64, String> {
    let (count, unit) = match word.strip_suffix("ms") {
        Some(count) => (count, 1_000),
        None => (word.strip_suffix('s').unwrap_or(word), 1_000_000),
    };
    let is_time = count != word;
    let count = count.parse::<u64>().ok().filter(|_| is_time);
    count.and_then(|n| n.checked_mul(unit)).ok_or_else(|| format!("not a time: {word}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_mean_what_they_say() {
        assert_eq!(arrow("1->2"), Ok((1, 2)));
        assert_eq!(time_us("1500ms"), Ok(1_500_000));
        assert_eq!(time_us("2s"), Ok(2_000_000));
        assert_eq!(time_us("2"), Err("not a time: 2".to_owned()));
        let at = |index| Position::new(Term(2), Index(index));
        assert_eq!(run("2/5..2/9"), Ok((at(5), at(9))));
        assert_eq!(run("2/5"), Ok((at(5), at(5))));
        assert!(run("2/5..3/9").is_err() && run("2/5..2/4").is_err());
    }
}
