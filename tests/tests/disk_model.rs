//! The simulated disk, held against the real one: the same scripts over RocksDB on a real file system that loses power.
//!
//! An ext4 on a loop device is shut down hard in the middle of writing (the file system's own ioctl: nothing more reaches
//! the device, not even the journal), and mounted again. What RocksDB and the engine then find must be what the model
//! allows: every synced batch, a beginning of those that were not, all of it intact, and a refusal only where nothing was to
//! be synced. And each kind of outcome that the real disk shows, the model must show too, or its faults would be too kind.
//!
//! Needs root, loop devices, `mkfs.ext4` and `perl` (for the ioctl); without them it is skipped, and says so.
//! `KONTIKI_SEEDS` is the number of scripts.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kontiki::Durability;
use kontiki::store::database::Database;
use kontiki::store::files::Files;
use kontiki::store::recovery::{self, Recovered};
use kontiki::store::{
    Amnesia, BatchLog, GroupRecord, GroupRecords, Identity, LogBatch, LogStore as _, OpenError,
    OpenOptions, Part, RangeBounds, RocksLog, SystemFiles, wal_scan,
};
use kontiki_raft::{HardState, Position, ReplicaId, Term};
use kontiki_tests::sim::disk::{Drive, ModelStore};
use kontiki_tests::sim::random::Rng;

const SCRIPTS: u64 = 24;
/// Power cuts of the model for each script.
const CUTS: u64 = 60;
const GROUP: u64 = 7;

/// What a process does until it ends.
#[derive(Clone, Debug)]
struct Life {
    durability: Durability,
    /// The bytes of each batch's one part.
    writes: Vec<usize>,
    /// After which writes the kernel writes back what it has of the log.
    write_back: BTreeSet<usize>,
}

/// What one store goes through: lives that end with the process, and a last one that ends with the power.
#[derive(Clone, Debug)]
struct Script {
    seed: u64,
    memtable_bytes: usize,
    lives: Vec<Life>,
}

impl Script {
    fn draw(seed: u64) -> Self {
        let mut dice = Rng::stream(seed, "disk model");
        let lives = dice.between(1, 3);
        let life = |dice: &mut Rng| {
            let writes = dice.between(1, 40);
            let size = dice.scale(50, 40_000);
            let durability = dice.pick(&[Durability::Fsync, Durability::Os, Durability::Os]);
            let often = dice.below(200);
            Life {
                durability,
                writes: (0..writes)
                    .map(|_| usize::try_from(dice.between(1, size)).unwrap())
                    .collect(),
                write_back: (0..40).filter(|_| dice.chance(often)).collect(),
            }
        };
        let memtable_bytes = usize::try_from(dice.scale(20_000, 1 << 20)).unwrap();
        Self { seed, memtable_bytes, lives: (0..lives).map(|_| life(&mut dice)).collect() }
    }

    /// Whether each write of its last life is durable when it returns.
    fn ends_synced(&self) -> bool {
        self.lives.last().is_some_and(|life| life.durability == Durability::Fsync)
    }

    fn options(&self, dir: &Path, durability: Durability) -> OpenOptions {
        let mut options = OpenOptions::new(dir.join("store"));
        options.memtable_bytes = self.memtable_bytes;
        options.durability = durability;
        options
    }

    /// The batch that gets this number: its number is in every byte of it, and in the group's record.
    fn batch(&self, number: u64, len: usize) -> LogBatch {
        let part = Part { bytes: Arc::new(bytes_of(self.seed, number, len)), blocks: 1 };
        let delete_below = number.is_multiple_of(5).then(|| number.saturating_sub(12));
        let records = vec![(GROUP, Arc::new(record(number)))];
        LogBatch { parts: vec![part], records, delete_below, ..LogBatch::default() }
    }
}

fn bytes_of(seed: u64, number: u64, len: usize) -> Vec<u8> {
    let mut dice = Rng::new(seed ^ number);
    (0..len).map(|_| u8::try_from(dice.below(256)).unwrap()).collect()
}

fn record(term: u64) -> GroupRecord {
    GroupRecord {
        replica: ReplicaId::new(1).unwrap(),
        hard_state: HardState { term: Term(term), vote: None },
        compacted: Position::ZERO,
        membership: vec![(ReplicaId::new(1).unwrap(), 1)],
        range: RangeBounds::all(),
    }
}

fn identity() -> Identity {
    Identity { cluster_id: 1, node_id: 1, store_id: 99, boot_epoch: 0 }
}

fn first_groups() -> GroupRecords {
    let mut groups = GroupRecords::default();
    groups.push(GROUP, &record(0));
    groups
}

/// What is known of a store when the power goes.
#[derive(Debug, Default)]
struct Known {
    /// The length of the part of each batch, by number; none for the batch of an opening.
    parts: Vec<(u64, Option<usize>)>,
    /// Must be there.
    synced: u64,
    /// May be there.
    written: u64,
}

/// What was found after a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kept {
    /// Everything was synced, and nothing more was found.
    Whole,
    /// Nothing of what was not synced.
    Nothing,
    /// A beginning of it.
    Beginning,
    /// All of it.
    All,
    /// The store says that it lost something, as it may when it was not told to sync ([`Durability::Os`]).
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Outcome {
    kept: Kept,
    /// A bad place was cut.
    torn: bool,
    /// More than one log file was left.
    several: bool,
}

/// Opens a store after its power went, and holds it against what is known.
fn examine<D: Database>(
    script: &Script,
    known: &Known,
    files: &dyn Files,
    options: &OpenOptions,
    open: impl FnOnce() -> Result<Recovered<BatchLog<D>>, OpenError>,
) -> Outcome {
    let context = format!("seed {}", script.seed);
    let several = wal_scan::scan(files, &options.log_dir(), None).unwrap().files.len() > 1;
    let (kept, torn) = match open().and_then(|opened| inspect(script, known, opened)) {
        Ok(found) => found,
        // Its files were given up by a batch that the power cut took.
        Err(OpenError::Amnesiac(Amnesia::Hole { .. })) if !script.ends_synced() => {
            (Kept::Refused, false)
        }
        Err(error) => panic!("{context}: {error}"),
    };
    Outcome { kept, torn, several }
}

/// Everything that a store holds.
fn inspect<D: Database>(
    script: &Script,
    known: &Known,
    opened: Recovered<BatchLog<D>>,
) -> Result<(Kept, bool), OpenError> {
    let context = format!("seed {}", script.seed);
    let Recovered { mut log, groups, torn, .. } = opened;
    let found = log.last();
    let mut next = log.numbers().0;
    log.for_each_part(&mut |number, part, bytes| {
        assert!(number >= next, "{context}: batch {number} comes after {next}");
        next = number + 1;
        let len = known.parts.iter().find(|(of, _)| *of == number).and_then(|(_, len)| *len);
        assert_eq!((part, Some(bytes.len())), (1, len), "{context}: batch {number}");
        assert_eq!(bytes, bytes_of(script.seed, number, bytes.len()), "{context}: batch {number}");
        Ok(())
    })?;
    assert!(found >= known.synced, "{context}: found {found}, synced {}", known.synced);
    assert!(found <= known.written, "{context}: found {found}, written {}", known.written);
    let term = groups.iter().find(|(group, _)| *group == GROUP).unwrap().1.hard_state.term.0;
    let rounds = known.parts.iter().filter(|(number, len)| *number <= found && len.is_some());
    let last = rounds.map(|(number, _)| *number).max().unwrap_or(0);
    assert_eq!(term, last, "{context}: the group's record is that of the last batch");
    let kept = match found {
        _ if known.synced == known.written => Kept::Whole,
        found if found == known.synced => Kept::Nothing,
        found if found == known.written => Kept::All,
        _ => Kept::Beginning,
    };
    Ok((kept, torn.is_some()))
}

/// The lives of a script in the model, and the power cut at its end.
fn simulate(script: &Script, cut: u64) -> Outcome {
    let mut dice = Rng::stream(script.seed ^ cut << 20, "cuts");
    let (drive, dir) = (Drive::default(), PathBuf::from("/model"));
    let options = |durability| script.options(&dir, durability);
    let store = ModelStore::new(&drive);
    store.format(&options(Durability::Fsync), &identity(), &first_groups()).unwrap();
    let mut known = Known::default();
    for (number, life) in script.lives.iter().enumerate() {
        drive.begin(None);
        let store = ModelStore::new(&drive);
        let mut opened = recovery::open(&options(life.durability), &store).unwrap();
        opened.log.for_each_part(&mut |_, _, _| Ok(())).unwrap();
        let database = store.live().unwrap();
        let mut log = opened.log;
        let first = log.last();
        (known.synced, known.written) = (first, first);
        known.parts.push((first, None));
        drive.run();
        let is_last = number + 1 == script.lives.len();
        // The power goes at any moment of the last life.
        let end = if is_last { dice.place(life.writes.len() + 1) } else { life.writes.len() };
        for (at, &len) in life.writes[..end].iter().enumerate() {
            let written = log.write(&script.batch(log.last() + 1, len)).unwrap();
            known.parts.push((written.number, Some(len)));
            known.written = written.number;
            let in_flight = is_last && at + 1 == end && dice.chance(300);
            if life.durability == Durability::Fsync && !in_flight {
                drive.end_sync(".log");
                known.synced = written.number;
            }
            database.synced();
            while dice.chance(600) && database.step() {}
        }
        if is_last {
            break;
        }
        drop(log);
        drive.end();
    }
    drive.lose_power(&mut dice);
    drive.begin(None);
    let options = options(Durability::Fsync);
    examine(script, &known, &drive, &options, || recovery::open(&options, &ModelStore::new(&drive)))
}

/// A file system of its own on a loop device; gone when this is dropped, also when the test fails.
struct Disk {
    dir: tempfile::TempDir,
    mounted: bool,
}

fn run(command: &str, args: &[&str]) -> Result<Output, String> {
    let output = Command::new(command)
        .args(args)
        .output()
        .map_err(|error| format!("{command} does not run: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    Err(format!("{command} {args:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

impl Disk {
    /// Makes a file system and mounts it.
    fn new() -> Result<Self, String> {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let image = dir.path().join("image");
        let file = std::fs::File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(96 << 20).map_err(|error| error.to_string())?;
        std::fs::create_dir(dir.path().join("mount")).map_err(|error| error.to_string())?;
        run("mkfs.ext4", &["-q", "-F", image.to_str().unwrap()])?;
        let mut disk = Self { dir, mounted: false };
        disk.mount()?;
        Ok(disk)
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("mount")
    }

    fn mount(&mut self) -> Result<(), String> {
        let (image, path) = (self.dir.path().join("image"), self.path());
        run("mount", &["-o", "loop", image.to_str().unwrap(), path.to_str().unwrap()])?;
        self.mounted = true;
        Ok(())
    }

    fn unmount(&mut self) -> Result<(), String> {
        if std::mem::take(&mut self.mounted) {
            run("umount", &[self.path().to_str().unwrap()])?;
        }
        Ok(())
    }

    /// Nothing reaches the device any more: `FS_IOC_SHUTDOWN` with `NOLOGFLUSH`.
    fn cut(path: &Path) -> Result<(), String> {
        let program = "open(my $d, '<', shift) or die $!; my $how = pack('L', 2); \
                       ioctl($d, 0x8004587d, $how) or die $!;";
        run("perl", &["-e", program, path.to_str().unwrap()]).map(drop)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted && self.unmount().is_err() {
            // Somebody still has a file open there: it goes with the last of them.
            run("umount", &["-l", self.path().to_str().unwrap()]).ok();
        }
    }
}

/// Why this machine cannot do it.
fn unable() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root to mount a file system".to_owned());
    }
    let mut disk = match Disk::new() {
        Ok(disk) => disk,
        Err(why) => return Some(why),
    };
    Disk::cut(&disk.path()).and_then(|()| disk.unmount()).err()
}

/// The lives of a script on a real disk, and the power cut somewhere in the last one.
fn really(script: &Script) -> Outcome {
    let mut dice = Rng::stream(script.seed, "real cuts");
    let mut disk = Disk::new().unwrap();
    let path = disk.path();
    let options = |durability| script.options(&path, durability);
    RocksLog::format(&options(Durability::Fsync), &identity(), &first_groups()).unwrap();
    let mut known = Known::default();
    for (number, life) in script.lives.iter().enumerate() {
        let mut opened = RocksLog::open(&options(life.durability)).unwrap();
        opened.log.for_each_part(&mut |_, _, _| Ok(())).unwrap();
        let mut log = opened.log;
        let first = log.last();
        (known.synced, known.written) = (first, first);
        known.parts.push((first, None));
        let is_last = number + 1 == script.lives.len();
        let end = if is_last { dice.place(life.writes.len() + 1) } else { usize::MAX };
        let (progress, goes) = (AtomicU64::new(0), AtomicBool::new(false));
        let write_all = |log: &mut RocksLog, known: &mut Known| {
            for (at, &len) in life.writes.iter().enumerate() {
                // It may be found from here on, whether the write returns or not.
                let number = log.last() + 1;
                known.parts.push((number, Some(len)));
                known.written = number;
                if log.write(&script.batch(number, len)).is_err() {
                    return;
                }
                // A machine without power tells nobody that it synced something; the kernel of this one still runs, and
                // may take a transaction that was given up for one that is complete.
                if life.durability == Durability::Fsync && !goes.load(Ordering::SeqCst) {
                    known.synced = number;
                }
                if life.write_back.contains(&at) {
                    write_back(&path.join("store/log"));
                }
                progress.store(at as u64 + 1, Ordering::Release);
            }
        };
        if !is_last {
            write_all(&mut log, &mut known);
            continue;
        }
        // The power goes while the process writes on.
        std::thread::scope(|scope| {
            let cutter = scope.spawn(|| {
                while progress.load(Ordering::Acquire) < end.min(life.writes.len()) as u64 {
                    std::thread::yield_now();
                }
                goes.store(true, Ordering::SeqCst);
                Disk::cut(&path).unwrap();
            });
            write_all(&mut log, &mut known);
            cutter.join().unwrap();
        });
    }
    disk.unmount().unwrap();
    disk.mount().unwrap();
    let options = options(Durability::Fsync);
    let outcome = examine(script, &known, &SystemFiles, &options, || RocksLog::open(&options));
    disk.unmount().unwrap();
    outcome
}

/// The kernel writes back what it has of the newest log file, as it may at any time.
fn write_back(dir: &Path) {
    let logs = std::fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path());
    let newest = logs.filter(|path| path.extension().is_some_and(|e| e == "log")).max();
    if let Some(file) = newest.and_then(|path| std::fs::File::open(path).ok()) {
        // After the power cut it fails, as it should.
        file.sync_data().ok();
    }
}

#[test]
fn what_a_real_disk_does_the_model_allows_and_does_too() {
    let scripts = std::env::var("KONTIKI_SEEDS").ok().and_then(|text| text.parse().ok());
    let scripts = scripts.unwrap_or(SCRIPTS);
    let mut model: BTreeSet<Outcome> = BTreeSet::new();
    for seed in 0..scripts {
        let script = Script::draw(seed);
        model.extend((0..CUTS).map(|cut| simulate(&script, cut)));
    }
    for kept in [Kept::Whole, Kept::Nothing, Kept::Beginning, Kept::All] {
        assert!(model.iter().any(|outcome| outcome.kept == kept), "the model never keeps {kept:?}");
    }
    if let Some(why) = unable() {
        eprintln!("disk_model: skipped the real disk: {why}");
        return;
    }
    let mut real = BTreeSet::new();
    for seed in 0..scripts {
        let outcome = really(&Script::draw(seed));
        assert!(model.contains(&outcome), "seed {seed}: {outcome:?} is not among {model:?}");
        real.insert(outcome);
    }
    eprintln!("disk_model: {scripts} scripts; real outcomes {real:?}; the model's {model:?}");
}
