//! What a flush does, in steps: the power can go between any two.
//!
//! Invariant: a memtable is read until the manifest names its table, and a log file stays until every family is past it.
//! Deliberately absent: when a step is done. The world says that, or a write that has to wait.

use std::io;
use std::sync::Arc;

use kontiki::store::files::Files as _;

use kontiki::store::database::Family;

use super::super::manifest::Edit;
use super::super::table::Table;
use super::{Core, Step, log_path, table_path};

impl Core {
    /// Moves the memtables to the end of those that wait, and begins a new log file.
    pub(super) fn switch(&mut self) -> io::Result<()> {
        let memory = std::mem::take(&mut self.memory);
        if memory.values().all(Table::is_empty) {
            return Ok(());
        }
        self.begin_log()?;
        self.plan(Step::Sync(self.log));
        let families: Vec<Family> = memory.keys().copied().collect();
        for family in families {
            self.plan(Step::Write(family, memory[&family].clone()));
            self.plan(Step::Tell(family, self.log));
        }
        self.plan(Step::Remove(self.log));
        self.waiting.push_back((self.log, memory));
        Ok(())
    }

    /// Puts a step at the end. RocksDB's write returns when it is durable, and what its caller does then comes behind that.
    pub(super) fn plan(&mut self, step: Step) {
        if self.drive.syncs(".log") {
            self.behind.push_back(step);
        } else {
            self.steps.push_back(step);
        }
    }

    /// The next step of what was begun; false when nothing is left to do.
    pub(super) fn step(&mut self) -> io::Result<bool> {
        let Some(step) = self.steps.pop_front() else { return Ok(false) };
        match step {
            Step::Sync(log) => {
                for number in self.logs().into_iter().filter(|&number| number < log) {
                    self.drive.sync_now(&log_path(&self.dir, number))?;
                }
                self.drive.sync_dir(&self.dir)?;
            }
            Step::Write(family, table) => {
                let number = self.next_number();
                // A table is rewritten without what its own ranges delete; those still hide older layers.
                self.drive.create_table(&table_path(&self.dir, number), table.clone())?;
                self.tables.insert(number, (family, Arc::new(table)));
                self.written = Some(number);
            }
            Step::Tell(family, log) => {
                let number = self.written.take().expect("it was just written");
                self.tell(&[Edit::Add(number, family), Edit::Log(family, log)])?;
                if let Some((_, memory)) = self.waiting.iter_mut().find(|(of, _)| *of == log) {
                    memory.remove(&family);
                }
            }
            Step::Remove(log) => {
                self.waiting.retain(|(of, _)| *of != log);
                for number in self.logs().into_iter().filter(|&number| number < log) {
                    self.drive.remove(&log_path(&self.dir, number))?;
                }
            }
            Step::Delete(from, to) => self.delete_tables(&from, &to)?,
        }
        Ok(true)
    }

    pub(super) fn steps(&mut self) -> io::Result<()> {
        while self.step()? {}
        Ok(())
    }

    /// Tables whose batches are all between these keys go.
    pub(super) fn delete_tables(&mut self, from: &[u8], to: &[u8]) -> io::Result<()> {
        let inside = |table: &Table| {
            let ends = table.keys.first_key_value().zip(table.keys.last_key_value());
            ends.is_some_and(|((first, _), (last, _))| {
                from <= first.as_slice() && last.as_slice() <= to
            })
        };
        let known = |number| self.version.tables.contains_key(number);
        let dead: Vec<u64> = self
            .tables
            .iter()
            .filter(|(number, (family, table))| {
                *family == Family::Batch && known(number) && inside(table)
            })
            .map(|(&number, _)| number)
            .collect();
        if dead.is_empty() {
            return Ok(());
        }
        let edits: Vec<Edit> = dead.iter().map(|&number| Edit::Delete(number)).collect();
        self.tell(&edits)?;
        for number in dead {
            self.tables.remove(&number);
            self.drive.remove(&table_path(&self.dir, number))?;
        }
        Ok(())
    }
}
