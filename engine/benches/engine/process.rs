//! What the system knows of processes: CPU time and memory. Linux only, as the files that it reads are.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

/// Fields of `/proc/PID/stat` after the name of the program: the parent, and the CPU time in user mode, in
/// the kernel, and the same of children that were waited for, in hundredths of a second.
const PARENT: usize = 1;
const TICKS: std::ops::Range<usize> = 11..15;

/// CPU time of a process and of all that descend from it, those included that have ended.
pub(crate) fn cpu_of_tree(root: u32) -> Duration {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let mut ticks = HashMap::new();
    for pid in pids() {
        let Some(fields) = stat(pid) else { continue };
        let number = |field: &String| field.parse::<u64>().unwrap_or_default();
        let parent = u32::try_from(number(&fields[PARENT])).unwrap_or_default();
        children.entry(parent).or_default().push(pid);
        ticks.insert(pid, fields[TICKS].iter().map(number).sum::<u64>());
    }
    let mut tree = vec![root];
    let mut sum = 0;
    while let Some(pid) = tree.pop() {
        sum += ticks.get(&pid).copied().unwrap_or_default();
        tree.extend(children.remove(&pid).unwrap_or_default());
    }
    Duration::from_millis(10 * sum)
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split(' ').map(str::to_owned).collect())
}

/// The most memory that this process has had, in MiB.
pub(crate) fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    kib.unwrap().parse::<u64>().unwrap() / 1024
}

/// What kind of machine this is.
pub(crate) fn machine() -> String {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap();
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("processors of some kind", |(_, model)| model);
    let count = std::thread::available_parallelism().unwrap();
    format!("{model}, {count} at hand")
}

/// Processes that want to run, averaged over the last minute.
pub(crate) fn load() -> String {
    let averages = fs::read_to_string("/proc/loadavg").unwrap();
    averages.split(' ').next().unwrap().to_owned()
}
