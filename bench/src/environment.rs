//! Where a figure was measured: what a reader needs to compare it with another one.

use std::fs;
use std::path::Path;

use serde::Serialize;

/// The machine, the system, the build.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Environment {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) memory_bytes: u64,
    /// Of the directory the stores are in.
    pub(crate) filesystem: String,
    pub(crate) rustc: &'static str,
    pub(crate) git_revision: &'static str,
    pub(crate) version: &'static str,
}

impl Environment {
    /// Reads it all; what cannot be had says `unknown`.
    pub(crate) fn read(data_dir: &Path) -> Self {
        Self {
            cpu: field("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned()),
            memory_bytes: memory_bytes(&field("/proc/meminfo", "MemTotal")),
            filesystem: filesystem(data_dir),
            rustc: env!("RAFT_BENCH_RUSTC"),
            git_revision: env!("RAFT_BENCH_GIT"),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// The first `name: value` of a file.
fn field(path: &str, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let values = text.lines().filter_map(|line| line.split_once(':'));
    let mut named = values.filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim());
    named.next().unwrap_or("unknown").to_owned()
}

fn memory_bytes(total: &str) -> u64 {
    total.split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// The type of the file system `path` is on; `unknown` when the system does not say.
pub(crate) fn filesystem(path: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    filesystem_in(&mounts, &path).unwrap_or_else(|| "unknown".to_owned())
}

/// The type of the longest mount point that is a prefix of `path`; of two equal ones the later covers.
fn filesystem_in(mounts: &str, path: &Path) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        Some((left.split(' ').nth(4)?, right.split(' ').next()?))
    });
    let covering = mounts.filter(|(point, _)| path.starts_with(point));
    covering.max_by_key(|(point, _)| point.len()).map(|(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_decides() {
        let mounts = "1 0 8:1 / / rw - ext4 /dev/sda rw\n\
                      2 1 0:5 / /tmp rw shared:1 - tmpfs tmpfs rw\n\
                      3 1 8:2 / /tmp/disk rw - xfs /dev/sdb rw\n";
        let of = |path: &str| filesystem_in(mounts, Path::new(path));
        assert_eq!(of("/home/x").as_deref(), Some("ext4"));
        assert_eq!(of("/tmp/x").as_deref(), Some("tmpfs"));
        assert_eq!(of("/tmpfile").as_deref(), Some("ext4"));
        assert_eq!(of("/tmp/disk/a/b").as_deref(), Some("xfs"));
        assert_eq!(filesystem_in("", Path::new("/")), None);
    }

    #[test]
    fn this_machine_has_a_processor_and_memory() {
        let environment = Environment::read(Path::new("/"));
        assert!(environment.cores >= 1 && environment.memory_bytes > 1 << 20);
        assert_ne!(environment.kernel, "unknown");
    }
}
