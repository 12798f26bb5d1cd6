//! What the whole process has used: processor time, bytes to disk, allocations.
//!
//! Read from the kernel and from the counting allocator at the two ends of the measured window. Memory that
//! RocksDB's C++ takes is not the Rust allocator's and is not counted as allocations.

use std::collections::BTreeMap;
use std::fs;

use rustix::time::{ClockId, clock_gettime};

/// The process so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProcessStats {
    /// Processor time of all threads, user and system.
    pub(crate) cpu_micros: u64,
    /// Bytes sent to the storage layer, when the kernel tells.
    pub(crate) disk_bytes: Option<u64>,
    /// Allocations and reallocations by Rust code.
    pub(crate) allocations: u64,
    /// Processor time in microseconds by thread name; threads of one name together.
    pub(crate) cpu_by_thread: BTreeMap<String, u64>,
}

impl ProcessStats {
    /// Reads everything.
    pub(crate) fn read() -> Self {
        let stats = stats_alloc::INSTRUMENTED_SYSTEM.stats();
        Self {
            cpu_micros: cpu_micros(),
            disk_bytes: disk_bytes(),
            allocations: (stats.allocations + stats.reallocations) as u64,
            cpu_by_thread: cpu_by_thread(),
        }
    }

    /// What was used since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let threads = self.cpu_by_thread.iter().map(|(name, &cpu)| {
            let before = earlier.cpu_by_thread.get(name).copied().unwrap_or(0);
            (name.clone(), cpu.saturating_sub(before))
        });
        Self {
            cpu_micros: self.cpu_micros.saturating_sub(earlier.cpu_micros),
            disk_bytes: self
                .disk_bytes
                .zip(earlier.disk_bytes)
                .map(|(now, then)| now.saturating_sub(then)),
            allocations: self.allocations.saturating_sub(earlier.allocations),
            cpu_by_thread: threads.collect(),
        }
    }
}

/// What the process holds in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Bytes of its pages that are in memory, whoever asked for them.
    pub(crate) resident: u64,
    /// Bytes that Rust code has allocated and not freed; what RocksDB holds is not among them.
    pub(crate) heap: u64,
}

impl Memory {
    /// Reads both.
    pub(crate) fn read() -> Self {
        let pages = fs::read_to_string("/proc/self/statm")
            .ok()
            .and_then(|statm| statm.split_ascii_whitespace().nth(1)?.parse::<u64>().ok());
        let stats = stats_alloc::INSTRUMENTED_SYSTEM.stats();
        Self {
            resident: pages.unwrap_or(0) * rustix::param::page_size() as u64,
            heap: stats.bytes_allocated.saturating_sub(stats.bytes_deallocated) as u64,
        }
    }
}

/// How often the threads of each name went to sleep of their own accord, and so were woken again.
pub(crate) fn wakes_by_thread() -> BTreeMap<String, u64> {
    let mut threads = BTreeMap::new();
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return threads };
    for task in tasks.flatten() {
        // A thread may end while it is looked at.
        let Ok(status) = fs::read_to_string(task.path().join("status")) else { continue };
        if let Some((name, wakes)) = parse_status(&status) {
            *threads.entry(name).or_default() += wakes;
        }
    }
    threads
}

/// The name and the voluntary context switches of a `/proc/.../status`.
fn parse_status(status: &str) -> Option<(String, u64)> {
    let field = |name| status.lines().find_map(|line| line.strip_prefix(name));
    let wakes = field("voluntary_ctxt_switches:")?.trim().parse().ok()?;
    Some((field("Name:")?.trim().to_owned(), wakes))
}

fn cpu_micros() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let (seconds, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
    seconds * 1_000_000 + nanos / 1_000
}

fn disk_bytes() -> Option<u64> {
    let io = fs::read_to_string("/proc/self/io").ok()?;
    io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.trim().parse().ok())
}

fn cpu_by_thread() -> BTreeMap<String, u64> {
    let tick_micros = 1_000_000 / rustix::param::clock_ticks_per_second().max(1);
    let mut threads = BTreeMap::new();
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return threads };
    for task in tasks.flatten() {
        // A thread may end while it is looked at.
        let Ok(stat) = fs::read_to_string(task.path().join("stat")) else { continue };
        if let Some((name, ticks)) = parse_stat(&stat) {
            *threads.entry(name).or_default() += ticks * tick_micros;
        }
    }
    threads
}

/// The name and the user and system ticks of a line of `/proc/.../stat`. The name stands in parentheses and may
/// itself hold any character.
fn parse_stat(stat: &str) -> Option<(String, u64)> {
    let (open, close) = (stat.find('(')?, stat.rfind(')')?);
    let mut fields = stat.get(close + 2..)?.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((stat.get(open + 1..close)?.to_owned(), user + system))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_gives_name_and_ticks_even_with_a_strange_name() {
        let line = "77 (a (b) c) S 1 77 77 0 -1 4194304 120 0 0 0 31 11 0 0 20 0 1 0 5 0 0";
        assert_eq!(parse_stat(line), Some(("a (b) c".to_owned(), 42)));
        assert_eq!(parse_stat("nonsense"), None);
    }

    #[test]
    fn a_status_gives_name_and_wakes() {
        let status = "Name:\tk1-worker-0\nState:\tS\nvoluntary_ctxt_switches:\t150\n\
                      nonvoluntary_ctxt_switches:\t545\n";
        assert_eq!(parse_status(status), Some(("k1-worker-0".to_owned(), 150)));
        assert_eq!(parse_status("nonsense"), None);
        assert!(!wakes_by_thread().is_empty());
    }

    #[test]
    fn memory_that_is_held_shows_up() {
        let held = std::hint::black_box(vec![1u8; 64 << 20]);
        let now = Memory::read();
        // Other tests allocate and free meanwhile, but what is held here is held.
        assert!(now.resident >= 64 << 20 && now.heap >= 64 << 20, "{now:?}");
        drop(held);
    }

    #[test]
    fn work_shows_up() {
        let before = ProcessStats::read();
        let mut sum = 0u64;
        while ProcessStats::read().cpu_micros < before.cpu_micros + 2_000 {
            sum = sum.wrapping_add(std::hint::black_box(1));
        }
        let used = ProcessStats::read().since(&before);
        assert!(used.cpu_micros >= 2_000 && sum > 0);
    }
}
