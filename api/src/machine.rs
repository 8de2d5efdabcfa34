//! What the machine of this process has.

use std::fs;
use std::path::{Path, PathBuf};

use telecine_engine::queue::{Machine, Room};

use crate::config::Config;

/// Where Linux says how much memory there is.
const MEMORY: &str = "/proc/meminfo";
/// Where Linux says to which control group a process belongs.
const CGROUP: &str = "/proc/self/cgroup";
/// Where the control groups are.
const CGROUPS: &str = "/sys/fs/cgroup";
/// The limit of a control group of the first version.
const FIRST_LIMIT: &str = "/sys/fs/cgroup/memory/memory.limit_in_bytes";
/// One part in so many of the memory is for the process itself and for everything else.
const MEMORY_KEPT: u64 = 10;

/// How slots for large sources are to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pools {
    /// In a pool of their own, as configured.
    Own,
    /// There is one pool: the process works on one job.
    One,
}

/// What the steps of this process may use. Disk is what is free for scratch now.
pub(crate) fn machine(config: &Config, pools: Pools) -> Machine {
    let slots = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let worker = &config.worker;
    Machine::new(Room {
        slots: slots(config.worker_concurrency),
        large_slots: match pools {
            Pools::Own => slots(worker.large_concurrency),
            Pools::One => 0,
        },
        cpus: slots(processors()),
        memory_bytes: bytes(worker.memory_bytes),
        disk_bytes: bytes(free_disk(&config.scratch_dir)),
        gpus: slots(worker.gpus),
    })
}

/// The same with the disk that is free for scratch now.
pub(crate) fn with_free_disk(machine: Machine, scratch: &Path) -> Machine {
    Machine::new(Room {
        disk_bytes: bytes(free_disk(scratch)),
        ..machine.room()
    })
}

/// As much as is known; without knowledge there is no limit.
fn bytes(known: Option<u64>) -> i64 {
    known.map_or(i64::MAX, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
}

/// Processors that this process may use: those of its control group and its affinity.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Memory that steps may use: nine tenths of what the machine has, or of what its control groups
/// leave to this process. `None` where neither is known.
pub(crate) fn memory() -> Option<u64> {
    let machine = fs::read_to_string(MEMORY).ok();
    let machine = machine.and_then(|text| total(&text));
    let bytes = machine.into_iter().chain(limits()).min()?;
    Some(bytes - bytes / MEMORY_KEPT)
}

/// The total of `/proc/meminfo`.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// The limits of the control groups of this process.
fn limits() -> Vec<u64> {
    let text = fs::read_to_string(CGROUP).unwrap_or_default();
    let own = group(&text).map(|group| PathBuf::from(CGROUPS).join(group));
    let groups = own.iter().flat_map(|own| own.ancestors());
    groups
        .take_while(|group| group.starts_with(CGROUPS))
        .map(|group| group.join("memory.max"))
        .chain([PathBuf::from(FIRST_LIMIT)])
        .filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok())
        .collect()
}

/// The group that `/proc/self/cgroup` names, below the root of all.
fn group(text: &str) -> Option<&str> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(path.trim_start_matches('/'))
}

/// What is free on the disk of a directory that need not be there yet.
fn free_disk(directory: &Path) -> Option<u64> {
    let there = directory.ancestors().find(|path| path.exists())?;
    let disk = rustix::fs::statvfs(there).ok()?;
    Some(disk.f_bavail * disk.f_frsize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_the_machine_is_read() {
        let text = "MemTotal:        8127436 kB\nMemFree:          123 kB\n";
        assert_eq!(total(text), Some(8_127_436 * 1024));
        assert_eq!(total("MemFree: 1 kB"), None);
    }

    #[test]
    fn the_control_group_of_the_second_version_is_found() {
        let text = "12:memory:/old\n0::/system.slice/telecine.service\n";
        assert_eq!(group(text), Some("system.slice/telecine.service"));
        assert_eq!(group("1:memory:/old\n"), None);
    }

    #[test]
    fn a_directory_that_is_not_there_yet_is_on_the_disk_of_its_parent() {
        let home = tempfile::tempdir().unwrap();
        let free = free_disk(&home.path().join("not/there/yet"));
        assert!(free.is_some_and(|bytes| bytes > 0));
    }
}
