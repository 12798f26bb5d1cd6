//! What the log's database knows of its own files: which tables are in use, and from which log file on to replay.
//!
//! It is kept in a file of the format of the log files, one record per change; `CURRENT` names that file. The records are
//! this model's own. As with RocksDB, a record that is wrong makes the database refuse to open, while an end in the middle
//! of one is taken for the end.
//!
//! Deliberately absent: column families that come and go, levels, sequence numbers.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kontiki::store::database::Family;

/// The files of a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// Tables by number.
    pub tables: BTreeMap<u64, Family>,
    /// What is in older log files is in tables, by family.
    pub logs: BTreeMap<Family, u64>,
    /// The number of the next file.
    pub next: u64,
}

/// All families.
pub const FAMILIES: [Family; 3] = [Family::Batch, Family::Group, Family::Store];

/// A change of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// A table is in use.
    Add(u64, Family),
    /// A table is not in use any more.
    Delete(u64),
    /// What a family has in log files older than this one is in tables.
    Log(Family, u64),
    /// The number of the next file.
    Next(u64),
}

impl Version {
    /// Makes a change.
    pub fn apply(&mut self, edit: Edit) {
        match edit {
            Edit::Add(number, family) => drop(self.tables.insert(number, family)),
            Edit::Delete(number) => drop(self.tables.remove(&number)),
            Edit::Log(family, number) => drop(self.logs.insert(family, number)),
            Edit::Next(number) => self.next = number,
        }
    }

    /// The changes that make this version out of nothing.
    #[must_use]
    pub fn edits(&self) -> Vec<Edit> {
        let tables = self.tables.iter().map(|(&number, &family)| Edit::Add(number, family));
        let logs = self.logs.iter().map(|(&family, &number)| Edit::Log(family, number));
        tables.chain(logs).chain([Edit::Next(self.next)]).collect()
    }

    /// The log file that `family` needs to be replayed from.
    #[must_use]
    pub fn log_of(&self, family: Family) -> u64 {
        self.logs.get(&family).copied().unwrap_or(0)
    }
}

/// A record of these changes.
#[must_use]
pub fn encode(edits: &[Edit]) -> Vec<u8> {
    let mut text = String::new();
    for edit in edits {
        let written = match edit {
            Edit::Add(number, family) => writeln!(text, "add {number} {}", family.name()),
            Edit::Delete(number) => writeln!(text, "delete {number}"),
            Edit::Log(family, number) => writeln!(text, "log {number} {}", family.name()),
            Edit::Next(number) => writeln!(text, "next {number}"),
        };
        written.expect("strings take everything");
    }
    text.into_bytes()
}

/// The changes of a record; `None` when it makes no sense.
#[must_use]
pub fn decode(record: &[u8]) -> Option<Vec<Edit>> {
    let family = |name: Option<&str>| FAMILIES.into_iter().find(|f| Some(f.name()) == name);
    let line = |line: &str| {
        let mut words = line.split(' ');
        let word = words.next()?;
        let number = words.next()?.parse().ok()?;
        Some(match word {
            "add" => Edit::Add(number, family(words.next())?),
            "delete" => Edit::Delete(number),
            "log" => Edit::Log(family(words.next())?, number),
            "next" => Edit::Next(number),
            _ => return None,
        })
    };
    std::str::from_utf8(record).ok()?.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_comes_back_from_its_changes() {
        let edits = [
            Edit::Next(12),
            Edit::Add(7, Family::Batch),
            Edit::Add(8, Family::Group),
            Edit::Delete(7),
            Edit::Log(Family::Store, 9),
        ];
        let mut version = Version::default();
        for edit in decode(&encode(&edits)).unwrap() {
            version.apply(edit);
        }
        let mut again = Version::default();
        version.edits().into_iter().for_each(|edit| again.apply(edit));
        assert_eq!(version, again);
        assert_eq!(version.tables, BTreeMap::from([(8, Family::Group)]));
        assert_eq!((version.log_of(Family::Store), version.log_of(Family::Batch)), (9, 0));
        assert_eq!(decode(b"add x batch"), None);
    }
}
