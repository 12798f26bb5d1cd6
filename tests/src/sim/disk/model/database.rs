//! What the engine calls: reads over the layers of a family, and writes.
//!
//! Deliberately absent: compaction and caches.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kontiki::store::database::{Database, Family, KeyVisitor, Reads};
use kontiki::store::{OpenError, StoreError};

use super::super::table::{Table, Value};
use super::super::wal;
use super::batch::{
    HEADER, ModelBatch, TAG_DELETE_RANGE, TAG_PUT, insert, number_of, put_slice, records,
};
use super::{Core, ModelDb, Step, WAITING_MAX, corrupt, log_path, table_path};

impl Core {
    /// The layers of a family, newest first, with their files if they have one.
    fn layers(&self, family: Family) -> impl DoubleEndedIterator<Item = (&Table, Option<u64>)> {
        let memory = self.memory.get(&family).map(|table| (table, None));
        let waiting = self.waiting.iter().rev().filter_map(move |(_, memory)| memory.get(&family));
        let tables = self.tables.iter().rev().filter(move |(_, (of, _))| *of == family);
        let tables = tables.map(|(&number, (_, table))| (&**table, Some(number)));
        memory
            .into_iter()
            .chain(waiting.map(|table| (table, None)).collect::<Vec<_>>())
            .chain(tables.collect::<Vec<_>>())
    }

    fn sound(&self, table: &Table, number: Option<u64>, key: &[u8]) -> Result<(), OpenError> {
        let path = || table_path(&self.dir, number.unwrap_or(0));
        if table.unreadable {
            return Err(corrupt(path(), "the table cannot be read"));
        }
        if table.bad.contains(key) {
            return Err(corrupt(path(), "block checksum mismatch"));
        }
        Ok(())
    }

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Value>, OpenError> {
        for (table, number) in self.layers(family) {
            self.sound(table, number, key)?;
            if let Some(value) = table.keys.get(key) {
                return Ok(Some(Arc::clone(value)));
            }
            if table.hides(key) {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// The whole family. Reads every layer, and fails if one of them is damaged.
    fn all(&self, family: Family) -> Result<BTreeMap<&[u8], &Value>, OpenError> {
        let mut all = BTreeMap::new();
        for (table, number) in self.layers(family).rev() {
            self.sound(table, number, b"")?;
            if let Some(key) = table.bad.first() {
                self.sound(table, number, key)?;
            }
            all.retain(|key: &&[u8], _| !table.hides(key));
            all.extend(table.keys.iter().map(|(key, value)| (key.as_slice(), value)));
        }
        Ok(all)
    }
}

impl ModelDb {
    fn lock(&self) -> MutexGuard<'_, Core> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn of(core: Core) -> Self {
        let dir = core.dir.clone();
        Self(Arc::new(Mutex::new(core)), dir)
    }

    /// The write that was under way is durable. True when something is to be done in the background.
    pub fn synced(&self) -> bool {
        let mut core = self.lock();
        let mut behind = std::mem::take(&mut core.behind);
        core.steps.append(&mut behind);
        !core.steps.is_empty()
    }

    /// Whether there is something to be done in the background.
    #[must_use]
    pub fn flushes(&self) -> bool {
        !self.lock().steps.is_empty()
    }

    /// Does the next step of a flush in the background; false when there is none. What fails is told to the next write.
    pub fn step(&self) -> bool {
        let mut core = self.lock();
        match core.step() {
            Ok(more) => more,
            Err(_) => {
                core.broken = true;
                core.steps.clear();
                false
            }
        }
    }
}

impl Reads for ModelDb {
    fn dir(&self) -> &Path {
        &self.1
    }

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, OpenError> {
        Ok(self.lock().get(family, key)?.map(|value| value.to_vec()))
    }

    fn last_key(&self, family: Family) -> Result<Option<Vec<u8>>, OpenError> {
        Ok(self.lock().all(family)?.last_key_value().map(|(key, _)| key.to_vec()))
    }

    fn walk(&self, family: Family, visit: &mut KeyVisitor<'_>) -> Result<(), OpenError> {
        let core = self.lock();
        for (key, value) in core.all(family)? {
            if !visit(key, value)? {
                break;
            }
        }
        Ok(())
    }
}

impl Database for ModelDb {
    type Batch = ModelBatch;

    fn batch(&self, bytes: usize) -> ModelBatch {
        let mut batch = Vec::with_capacity(bytes);
        batch.resize(HEADER, 0);
        ModelBatch { bytes: batch, count: 0 }
    }

    fn put(&self, batch: &mut ModelBatch, family: Family, key: &[u8], value: &[u8]) {
        batch.bytes.extend([TAG_PUT, number_of(family)]);
        put_slice(&mut batch.bytes, key);
        put_slice(&mut batch.bytes, value);
        batch.count += 1;
    }

    fn delete_range(&self, batch: &mut ModelBatch, from: &[u8], to: &[u8]) {
        batch.bytes.extend([TAG_DELETE_RANGE, number_of(Family::Batch)]);
        put_slice(&mut batch.bytes, from);
        put_slice(&mut batch.bytes, to);
        batch.count += 1;
    }

    fn write(&self, batch: ModelBatch, wal: bool, sync: bool) -> Result<usize, String> {
        let mut core = self.lock();
        let ModelBatch { mut bytes, count } = batch;
        if core.broken {
            return Err("a flush failed".to_owned());
        }
        bytes[..8].copy_from_slice(&core.sequence.to_le_bytes());
        bytes[8..HEADER].copy_from_slice(&count.to_le_bytes());
        if wal {
            let path = log_path(&core.dir, core.log);
            assert!(!core.drive.syncs(".log"), "a write begins before the last one is durable");
            let mut frame = std::mem::take(&mut core.frame);
            frame.clear();
            wal::frame(core.drive.len_of(&path), &bytes, &mut frame);
            let appended = core.drive.append(&path, &frame);
            core.frame = frame;
            appended.map_err(|error| error.to_string())?;
            if sync {
                core.drive.sync_log(&path).map_err(|error| error.to_string())?;
            }
        }
        core.sequence += u64::from(count);
        records(&bytes[HEADER..]).for_each(|record| insert(&mut core.memory, &record));
        Ok(bytes.len())
    }

    fn flush(&self, wait: bool) -> Result<(), String> {
        let mut core = self.lock();
        core.switch().map_err(|error| error.to_string())?;
        if wait || (core.waiting.len() > WAITING_MAX && core.behind.is_empty()) {
            core.steps().map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn sync_wal(&self) -> Result<(), String> {
        let core = self.lock();
        core.drive.sync_log(&log_path(&core.dir, core.log)).map_err(|error| error.to_string())
    }

    fn delete_tables(&self, from: &[u8], to: &[u8]) -> Result<(), String> {
        let mut core = self.lock();
        if core.drive.syncs(".log") {
            core.plan(Step::Delete(from.to_vec(), to.to_vec()));
            return Ok(());
        }
        core.delete_tables(from, to).map_err(|error| error.to_string())
    }

    fn check_tables(&self) -> Result<(), OpenError> {
        let core = self.lock();
        let bad = core.tables.iter().find(|(_, (_, table))| table.unreadable);
        bad.map_or(Ok(()), |(&number, _)| {
            Err(corrupt(table_path(&core.dir, number), "the footer is wrong"))
        })
    }

    fn read_part(&self, number: u64, part: u16) -> Result<Option<Vec<u8>>, StoreError> {
        let key = part_key(number, part);
        match self.lock().get(Family::Batch, &key) {
            Ok(value) => Ok(value.map(|value| value.to_vec())),
            Err(OpenError::Corrupt { file, offset, why }) => {
                Err(StoreError::Corrupt { file, offset, why })
            }
            Err(error) => Err(StoreError::Database(error.to_string())),
        }
    }
}

#[expect(clippy::big_endian_bytes, reason = "the engine's keys are in the order of batches")]
fn part_key(number: u64, part: u16) -> Vec<u8> {
    [&number.to_be_bytes()[..], &part.to_be_bytes()].concat()
}
