//! Printing: aligned tables for people, JSON for programs.

use std::io::{self, ErrorKind, Write};

use super::failure::{Exit, Failure};

/// A column: its title, and whether its cells are numbers.
type Column = (&'static str, Align);

/// Where the cells of a column stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Rows under titles.
#[derive(Clone, Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these titles; one that ends with `>` has its cells to the right.
    pub(super) fn new(titles: &[&'static str]) -> Self {
        let column = |title: &&'static str| match title.strip_suffix('>') {
            Some(title) => (title, Align::Right),
            None => (*title, Align::Left),
        };
        Self { columns: titles.iter().map(column).collect(), rows: Vec::new() }
    }

    /// Adds a row; it has a cell for each title.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().collect();
        assert_eq!(cells.len(), self.columns.len(), "a cell for each column");
        self.rows.push(cells);
    }

    /// The lines of the table, without blanks at their ends.
    pub(super) fn render(&self) -> String {
        let width = |at: usize| {
            let cells = self.rows.iter().map(|row| row[at].chars().count());
            cells.chain([self.columns[at].0.len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let titles: Vec<String> =
            self.columns.iter().map(|(title, _)| (*title).to_owned()).collect();
        let mut text = String::new();
        for row in [&titles].into_iter().chain(&self.rows) {
            let mut line = String::new();
            for ((cell, &width), (_, align)) in row.iter().zip(&widths).zip(&self.columns) {
                match align {
                    Align::Left => line.push_str(&format!("{cell:<width$}  ")),
                    Align::Right => line.push_str(&format!("{cell:>width$}  ")),
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Names and values, a line each, the values under each other.
pub(super) fn facts(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    facts
        .iter()
        .map(|(name, value)| format!("{name:<width$}  {value}").trim_end().to_owned() + "\n")
        .collect()
}

/// Prints `text`. A reader that has had enough (`head`) is no failure.
pub(super) fn print(text: &str) -> Result<Exit, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Io, format!("standard output: {e}")))
        }
        _ => Ok(Exit::Done),
    }
}

/// Prints `value` as JSON.
pub(super) fn print_json(value: &impl serde::Serialize) -> Result<Exit, Failure> {
    let mut text = serde_json::to_string_pretty(value).expect("plain data has a JSON form");
    text.push('\n');
    print(&text)
}

/// A value that may be unknown.
pub(super) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// A number of bytes with its unit.
pub(super) fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{} KiB", tenths(count, 1 << 10)),
        1_048_576..1_073_741_824 => format!("{} MiB", tenths(count, 1 << 20)),
        _ => format!("{} GiB", tenths(count, 1 << 30)),
    }
}

fn tenths(count: u64, unit: u64) -> String {
    let tenths = u128::from(count) * 10 / u128::from(unit);
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// A key for people: as it is when it can be printed, else in hexadecimal; not longer than a line can bear.
pub(super) fn key(key: &[u8]) -> String {
    const SHOWN: usize = 20;
    let printable = key.iter().all(|b| b.is_ascii_graphic());
    let mut text = match std::str::from_utf8(key) {
        Ok(text) if printable => text.to_owned(),
        _ => format!("0x{}", crate::api::hex(key)),
    };
    if text.len() > SHOWN {
        text.truncate(SHOWN);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_have_no_blank_end() {
        let mut table = Table::new(&["NODE>", "STATE", "LAG>"]);
        table.row(["1".into(), "up".into(), "12345".into()]);
        table.row(["10".into(), "unreachable".into(), "-".into()]);
        assert_eq!(
            table.render(),
            "NODE  STATE          LAG\n   1  up           12345\n  10  unreachable      -\n"
        );
    }

    #[test]
    fn figures_and_keys_are_readable() {
        assert_eq!(
            (bytes(1023), bytes(1536), bytes(1 << 30)),
            ("1023 B".into(), "1.5 KiB".into(), "1.0 GiB".into())
        );
        assert_eq!((key(b"abc"), key(b"a\x00b")), ("abc".into(), "0x610062".into()));
        assert_eq!(key(&[b'k'; 99]).chars().count(), 21);
        assert_eq!(
            facts(&[("node", "1".into()), ("in use by", "".into())]),
            "node       1\nin use by\n"
        );
    }
}
