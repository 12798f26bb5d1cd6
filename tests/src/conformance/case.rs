//! One case of a file: a directive, its input, and what is expected of it.
//!
//! The format is that of data-driven tests in Go. A case begins with a line `command arg
//! key=value key=(value, value)`, which a backslash at its end continues. The lines up to `----`
//! are its input, and those from there to the next empty line are expected. Where something
//! expected has empty lines itself, the line `----` is doubled at its begin and its end. Between
//! cases, empty lines and lines that begin with `#` mean nothing.
//!
//! Deliberately absent: what commands and arguments mean. Each kind of cases knows its own.

use std::fs;
use std::path::Path;

/// One case as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The file and the line of the directive, to find the case again.
    pub at: String,
    /// The first word of the directive.
    pub command: String,
    /// The other words: each key with its values, none for a bare word such as the `1` of
    /// `campaign 1`.
    pub args: Vec<(String, Vec<String>)>,
    /// The lines between the directive and `----`, such as `v1 l2`.
    pub input: Vec<String>,
    /// The expected lines.
    pub expected: Vec<String>,
}

impl Case {
    /// The values of an argument; `None` when the directive does not have it.
    #[must_use]
    pub fn values(&self, key: &str) -> Option<&[String]> {
        self.args.iter().find(|(name, _)| name == key).map(|(_, values)| &values[..])
    }

    /// The value of an argument that has one.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&str> {
        match self.values(key) {
            Some([value]) => Some(value),
            _ => None,
        }
    }

    /// The words of the directive that have no value, in order: `1` and `x` of `propose 1 x`.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.args.iter().filter(|(_, values)| values.is_empty()).map(|(key, _)| key.as_str())
    }
}

/// The cases of a file, in order.
///
/// # Panics
/// When the file is not a text, or not one of cases: the panic names the line.
#[must_use]
pub fn cases(path: &Path) -> Vec<Case> {
    let text = fs::read_to_string(path).expect("a file of cases can be read");
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    parse(&name, &text)
}

fn parse(name: &str, text: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((at, line)) = lines.next() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let at = format!("{name}:{}", at + 1);
        let mut directive = line.to_owned();
        while directive.ends_with('\\') {
            directive.pop();
            directive.push_str(lines.next().map_or("", |(_, line)| line));
        }
        let (command, args) = words(&directive, &at);

        let mut input = Vec::new();
        loop {
            match lines.next() {
                Some((_, "----")) => break,
                Some((_, line)) => input.push(line.to_owned()),
                None => panic!("{at}: no line ---- follows"),
            }
        }
        let mut expected: Vec<String> = Vec::new();
        if lines.next_if(|(_, line)| *line == "----").is_some() {
            while let Some((_, line)) = lines.next() {
                if line == "----" && lines.next_if(|(_, line)| *line == "----").is_some() {
                    break;
                }
                expected.push(line.to_owned());
            }
        } else {
            let until_empty = lines.by_ref().map(|(_, line)| line).take_while(|l| !l.is_empty());
            expected.extend(until_empty.map(str::to_owned));
        }
        cases.push(Case { at, command, args, input, expected });
    }
    cases
}

/// The command and the arguments of a directive.
fn words(directive: &str, at: &str) -> (String, Vec<(String, Vec<String>)>) {
    let mut rest = directive.trim();
    let mut words = Vec::new();
    while !rest.is_empty() {
        let end = rest.find([' ', '\t', '=']).unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        let mut values = Vec::new();
        rest = match after.strip_prefix('=') {
            None => after,
            Some(value) if value.starts_with('(') => {
                let end = value.find(')').unwrap_or_else(|| panic!("{at}: a list does not end"));
                let list = value[1..end].split(',').map(str::trim);
                values.extend(list.filter(|value| !value.is_empty()).map(str::to_owned));
                &value[end + 1..]
            }
            Some(value) => {
                let end = value.find(char::is_whitespace).unwrap_or(value.len());
                values.push(value[..end].to_owned());
                &value[end..]
            }
        };
        rest = rest.trim_start();
        words.push((key.to_owned(), values));
    }
    assert!(!words.is_empty(), "{at}: a case begins with a command");
    (words.remove(0).0, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_read_in_its_parts() {
        let text = "\
# A comment.

committed cfg=(1, 2,3) cfgj=zero idx=(_,5,\\
6) votes=()
----
  6

# Another.
enter-joint autoleave=true
v1 l2
# no comment here
----

propose 1 prop_1
----
----
one

two
----
----
last
----
end";
        let cases = parse("f", text);
        let summary: Vec<_> = cases.iter().map(|c| (c.at.as_str(), c.command.as_str())).collect();
        let expected =
            [("f:3", "committed"), ("f:9", "enter-joint"), ("f:14", "propose"), ("f:22", "last")];
        assert_eq!(summary, expected);

        let [committed, enter, propose, last] = &cases[..] else { unreachable!() };
        assert_eq!(committed.values("cfg").unwrap(), ["1", "2", "3"]);
        assert_eq!(committed.values("idx").unwrap(), ["_", "5", "6"]);
        assert_eq!(committed.values("votes").unwrap(), [""; 0]);
        assert_eq!(committed.values("none"), None);
        assert_eq!((committed.value("cfgj"), committed.value("cfg")), (Some("zero"), None));
        assert_eq!(committed.expected, ["  6"]);

        assert_eq!(enter.value("autoleave"), Some("true"));
        assert_eq!(enter.input, ["v1 l2", "# no comment here"]);
        assert!(enter.expected.is_empty());

        assert_eq!(propose.words().collect::<Vec<_>>(), ["1", "prop_1"]);
        assert_eq!(propose.expected, ["one", "", "two"]);
        assert_eq!(last.expected, ["end"]);
    }

    #[test]
    #[should_panic(expected = "f:1: no line ---- follows")]
    fn a_directive_alone_is_no_case() {
        parse("f", "vote cfg=(1,2)\nVoteWon\n");
    }

    #[test]
    #[should_panic(expected = "f:1: a list does not end")]
    fn a_list_that_does_not_end_is_no_case() {
        parse("f", "vote cfg=(1,2\n----\n");
    }
}
