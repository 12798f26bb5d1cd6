//! A model of RocksDB as the log uses it, on a simulated drive.
//!
//! A batch becomes one record of the log file and goes into the memtables. A flush begins a new log file, then writes the
//! memtables into tables, then says so in the manifest, family by family, then removes the log files that nobody needs. The
//! steps behind the first one are the world's to call ([`ModelDb::step`]), so that the power can go between any two. Recovery
//! is point-in-time: the log files in order, up to the first record that is wrong, and on with a later file only if its
//! sequence numbers go on; everything found goes into tables before anything is removed.
//!
//! Invariant: nothing is removed before what it held is durable elsewhere.
//! Deliberately absent: compaction (the log never compacts), levels, caches, and all the decisions about what is lost and what
//! is torn. They are the engine's own, and run over this.

mod batch;
mod database;
mod flush;

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use kontiki::store::batch_log::write_first_batch;
use kontiki::store::database::{Backend, Family};
use kontiki::store::files::Files;
use kontiki::store::{GroupRecords, Identity, OpenError, OpenOptions};

use super::drive::Drive;
use super::manifest::{self, Edit, FAMILIES, Version};
use super::table::Table;
use super::wal;
use batch::{HEADER, Record, insert, records, sequences};
pub use batch::{ModelBatch, batch_number};

/// Memtables that may wait to be written before a write waits for them.
const WAITING_MAX: usize = 3;

/// The memtables of all families.
type Memory = BTreeMap<Family, Table>;

/// What a step of a flush in the background is.
#[derive(Debug)]
enum Step {
    /// The log files older than this one are durable, before what they hold of one family becomes a table: else a power cut
    /// could leave a batch in the one family and not in the other.
    Sync(u64),
    /// The oldest waiting memtable of this family becomes a table.
    Write(Family, Table),
    /// The manifest says so. With the number of the log file that the family needs from now on.
    Tell(Family, u64),
    /// Log files older than this one go.
    Remove(u64),
    /// Tables whose batches are all between these keys go.
    Delete(Vec<u8>, Vec<u8>),
}

#[derive(Debug)]
struct Core {
    drive: Drive,
    dir: PathBuf,
    version: Version,
    manifest: PathBuf,
    /// The number of the current log file.
    log: u64,
    sequence: u64,
    memory: Memory,
    /// Memtables on their way into tables, oldest first: they are still read.
    waiting: VecDeque<(u64, Memory)>,
    steps: VecDeque<Step>,
    /// Steps of what comes behind a write that is not durable yet.
    behind: VecDeque<Step>,
    /// The number of the table that was written last, by a step.
    written: Option<u64>,
    tables: BTreeMap<u64, (Family, Arc<Table>)>,
    /// Reused for records.
    frame: Vec<u8>,
    /// A step failed; RocksDB takes no writes any more.
    broken: bool,
}

/// See the module; a handle.
#[derive(Clone, Debug)]
pub struct ModelDb(Arc<Mutex<Core>>, PathBuf);

fn log_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:06}.log"))
}

fn table_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:06}.sst"))
}

/// The number in the name of a file with this ending.
fn number_in(path: &Path, ending: &str) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(ending)?.parse().ok()
}

fn corrupt(file: PathBuf, why: &str) -> OpenError {
    OpenError::Corrupt { file, offset: 0, why: why.to_owned() }
}

fn database(error: io::Error) -> OpenError {
    OpenError::Database(error.to_string())
}

impl Core {
    /// What the manifest says, with the tables that it names.
    fn load(drive: &Drive, dir: &Path) -> Result<Self, OpenError> {
        let current = dir.join("CURRENT");
        let named = drive.read(&current).and_then(|text| String::from_utf8(text).ok());
        let Some(name) = named.as_deref().and_then(|text| text.strip_suffix('\n')) else {
            return Err(corrupt(current, "does not name a manifest"));
        };
        let path = dir.join(name);
        let bytes = drive.read(&path).ok_or_else(|| corrupt(path.clone(), "it is missing"))?;
        let read = wal::read(&bytes, true);
        if read.bad {
            return Err(corrupt(path, "a record's checksum does not match"));
        }
        let mut version = Version::default();
        for (_, _, record) in read.whole {
            let edits = manifest::decode(&record);
            let edits = edits.ok_or_else(|| corrupt(path.clone(), "a record makes no sense"))?;
            edits.into_iter().for_each(|edit| version.apply(edit));
        }
        let mut tables = BTreeMap::new();
        for (&number, &family) in &version.tables {
            let path = table_path(dir, number);
            let table = drive.table(&path).ok_or_else(|| corrupt(path.clone(), "it is missing"))?;
            tables.insert(number, (family, table));
        }
        Ok(Self {
            drive: drive.clone(),
            dir: dir.to_owned(),
            version,
            manifest: path,
            log: 0,
            sequence: 1,
            memory: Memory::new(),
            waiting: VecDeque::new(),
            steps: VecDeque::new(),
            behind: VecDeque::new(),
            written: None,
            tables,
            frame: Vec::new(),
            broken: false,
        })
    }

    /// Replays the log files, point in time.
    fn replay(&mut self) {
        let needed = FAMILIES.iter().map(|&family| self.version.log_of(family)).min().unwrap_or(0);
        let mut stopped = false;
        for number in self.logs().into_iter().filter(|&number| number >= needed) {
            let bytes = self.drive.read(&log_path(&self.dir, number)).unwrap_or_default();
            let read = wal::read(&bytes, false);
            for (_, _, batch) in &read.whole {
                let Some((sequence, next)) = sequences(batch) else { continue };
                if stopped && sequence != self.sequence {
                    continue;
                }
                stopped = false;
                self.sequence = next;
                for record in records(&batch[HEADER..]) {
                    let (Record::Put(family, ..) | Record::DeleteRange(family, ..)) = record;
                    if number >= self.version.log_of(family) {
                        insert(&mut self.memory, &record);
                    }
                }
            }
            stopped |= read.bad;
        }
    }

    /// The log files that are there.
    fn logs(&self) -> Vec<u64> {
        self.numbers(".log")
    }

    fn numbers(&self, ending: &str) -> Vec<u64> {
        let paths = self.drive.paths();
        let here = paths.iter().filter(|path| path.parent() == Some(&self.dir));
        let mut numbers: Vec<u64> = here.filter_map(|path| number_in(path, ending)).collect();
        numbers.sort_unstable();
        numbers
    }

    fn next_number(&mut self) -> u64 {
        let number = self.version.next.max(1);
        self.version.next = number + 1;
        number
    }

    /// Makes the current log file.
    fn begin_log(&mut self) -> io::Result<()> {
        self.log = self.next_number();
        self.drive.create(&log_path(&self.dir, self.log))
    }

    /// Says something in the manifest, durably.
    fn tell(&mut self, edits: &[Edit]) -> io::Result<()> {
        edits.iter().for_each(|&edit| self.version.apply(edit));
        let mut record = Vec::new();
        let next = [edits, &[Edit::Next(self.version.next)]].concat();
        let at = self.drive.len_of(&self.manifest);
        wal::frame(at, &manifest::encode(&next), &mut record);
        self.drive.append(&self.manifest, &record)?;
        self.drive.sync_now(&self.manifest)
    }

    /// A new manifest with everything, as each opening makes one.
    fn begin_manifest(&mut self) -> io::Result<()> {
        let number = self.next_number();
        let name = format!("MANIFEST-{number:06}");
        let old = std::mem::replace(&mut self.manifest, self.dir.join(&name));
        let mut record = Vec::new();
        wal::frame(0, &manifest::encode(&self.version.edits()), &mut record);
        self.drive.create(&self.manifest)?;
        self.drive.append(&self.manifest, &record)?;
        self.drive.sync_now(&self.manifest)?;
        let unfinished = self.dir.join("CURRENT.dbtmp");
        self.drive.create(&unfinished)?;
        self.drive.append(&unfinished, format!("{name}\n").as_bytes())?;
        self.drive.sync_now(&unfinished)?;
        self.drive.rename(&unfinished, &self.dir.join("CURRENT"))?;
        self.drive.sync_dir(&self.dir)?;
        if old != self.manifest { self.drive.remove(&old) } else { Ok(()) }
    }

    /// What recovery found goes into tables, and what nobody needs goes away.
    fn settle(&mut self) -> io::Result<()> {
        let old = self.logs();
        let memory = std::mem::take(&mut self.memory);
        self.version.next = self.version.next.max(old.last().map_or(0, |last| last + 1));
        let mut edits = Vec::new();
        for (family, table) in memory.into_iter().filter(|(_, table)| !table.is_empty()) {
            let number = self.next_number();
            self.drive.create_table(&table_path(&self.dir, number), table.clone())?;
            self.tables.insert(number, (family, Arc::new(table)));
            edits.push(Edit::Add(number, family));
        }
        self.begin_log()?;
        self.drive.sync_dir(&self.dir)?;
        edits.extend(FAMILIES.map(|family| Edit::Log(family, self.log)));
        edits.iter().for_each(|&edit| self.version.apply(edit));
        self.begin_manifest()?;
        for number in old {
            self.drive.remove(&log_path(&self.dir, number))?;
        }
        for number in self.numbers(".sst") {
            if !self.version.tables.contains_key(&number) {
                self.drive.remove(&table_path(&self.dir, number))?;
            }
        }
        Ok(())
    }
}

/// The model's databases, on a drive.
#[derive(Debug)]
pub struct ModelStore {
    drive: Drive,
    live: Mutex<Option<ModelDb>>,
}

impl Backend for ModelStore {
    type Database = ModelDb;
    type View = ModelDb;

    fn files(&self) -> &dyn Files {
        &self.drive
    }

    fn lock(&self, _: &OpenOptions) -> Result<Box<dyn Any + Send + Sync>, OpenError> {
        Ok(Box::new(()))
    }

    fn view(&self, options: &OpenOptions, logs: bool, _: &[Family]) -> Result<ModelDb, OpenError> {
        let mut core = Core::load(&self.drive, &options.log_dir())?;
        if logs {
            core.replay();
        }
        Ok(ModelDb::of(core))
    }

    fn recover(&self, options: &OpenOptions) -> Result<ModelDb, OpenError> {
        let mut core = Core::load(&self.drive, &options.log_dir())?;
        core.replay();
        core.settle().map_err(database)?;
        let database = ModelDb::of(core);
        *self.live.lock().unwrap_or_else(PoisonError::into_inner) = Some(database.clone());
        Ok(database)
    }
}

impl ModelStore {
    /// What is on `drive`.
    #[must_use]
    pub fn new(drive: &Drive) -> Self {
        Self { drive: drive.clone(), live: Mutex::new(None) }
    }

    /// The database that was opened to write, if one was.
    #[must_use]
    pub fn live(&self) -> Option<ModelDb> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a new store, as `RocksLog::format` does, all at once.
    ///
    /// # Errors
    /// None on a drive that works.
    pub fn format(
        &self,
        options: &OpenOptions,
        identity: &Identity,
        groups: &GroupRecords,
    ) -> Result<(), OpenError> {
        let dir = options.log_dir();
        let mut core = Core {
            drive: self.drive.clone(),
            manifest: dir.join("MANIFEST"),
            dir,
            version: Version::default(),
            log: 0,
            sequence: 1,
            memory: Memory::new(),
            waiting: VecDeque::new(),
            steps: VecDeque::new(),
            behind: VecDeque::new(),
            written: None,
            tables: BTreeMap::new(),
            frame: Vec::new(),
            broken: false,
        };
        core.begin_manifest().and_then(|()| core.begin_log()).map_err(database)?;
        write_first_batch(&ModelDb::of(core), identity, groups)
    }
}
