//! A command of an interaction script, from a case or from a line.
//!
//! A case is one command, and for most commands its input is further commands, one a line, as the
//! scripts' own runner has it.
//!
//! Deliberately absent: what any command means.

use crate::conformance::Case;

/// One argument of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arg {
    pub(super) key: String,
    /// What stands behind `=`; none for a plain word.
    pub(super) values: Vec<String>,
}

/// A command with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) name: String,
    pub(super) args: Vec<Arg>,
}

impl Command {
    /// The command that the case begins with.
    pub(super) fn of(case: &Case) -> Self {
        let arg = |(key, values): &(String, Vec<String>)| Arg {
            key: key.clone(),
            values: values.clone(),
        };
        Self { name: case.command.clone(), args: case.args.iter().map(arg).collect() }
    }

    /// A command from its line.
    pub(super) fn parse(line: &str) -> Result<Self, String> {
        let mut words = words(line)?.into_iter();
        let name = words.next().ok_or("a block without a command")?;
        let arg = |word: String| match word.split_once('=') {
            None => Arg { key: word, values: Vec::new() },
            Some((key, value)) => {
                let value = value.strip_prefix('(').and_then(|v| v.strip_suffix(')')).map_or_else(
                    || vec![value.to_owned()],
                    |list| {
                        let items = list.split([',', ' ']).filter(|item| !item.is_empty());
                        items.map(str::to_owned).collect()
                    },
                );
                Arg { key: key.to_owned(), values: value }
            }
        };
        Ok(Self { name, args: words.map(arg).collect() })
    }

    /// The plain numbers among the arguments: the replicas it is about.
    pub(super) fn numbers(&self) -> Result<Vec<u64>, String> {
        self.args.iter().filter(|arg| arg.values.is_empty()).map(|arg| number(&arg.key)).collect()
    }

    /// The first argument as a number.
    pub(super) fn first(&self) -> Result<u64, String> {
        let first = self.args.first().ok_or_else(|| format!("{} of what?", self.name))?;
        number(&first.key)
    }

    /// The values of `key=...`, empty when it is not there.
    pub(super) fn values(&self, key: &str) -> &[String] {
        let arg = self.args.iter().find(|arg| arg.key == key && !arg.values.is_empty());
        arg.map_or(&[], |arg| &arg.values)
    }

    /// The one value of `key=...`.
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.values(key).first().map(String::as_str)
    }

    /// The value of `key=...` as a number.
    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, String> {
        self.value(key).map(number).transpose()
    }
}

pub(super) fn number(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("not a number: {word}"))
}

/// The words of a line; blanks inside of parentheses do not part them.
fn words(line: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut depth) = (Vec::new(), String::new(), 0_usize);
    for letter in line.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.checked_sub(1).ok_or_else(|| format!("unmatched ): {line}"))?,
            _ => {}
        }
        if letter.is_whitespace() && depth == 0 {
            words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
        } else {
            word.push(letter);
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    if depth == 0 { Ok(words) } else { Err(format!("unmatched (: {line}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_words_values_or_lists() {
        let command = Command::parse("add-nodes 3 voters=(1, 2,3) index=10").unwrap();
        assert_eq!(command.name, "add-nodes");
        assert_eq!(command.first(), Ok(3));
        assert_eq!(command.numbers(), Ok(vec![3]));
        assert_eq!(command.values("voters"), ["1", "2", "3"]);
        assert_eq!(command.number("index"), Ok(Some(10)));
        assert_eq!(command.value("inflight"), None);
        assert!(command.values("learners").is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        assert_eq!(Command::parse("a (b"), Err("unmatched (: a (b".to_owned()));
        assert_eq!(Command::parse("a b)"), Err("unmatched ): a b)".to_owned()));
        let command = Command::parse("status one").unwrap();
        assert_eq!(command.first(), Err("not a number: one".to_owned()));
    }
}
