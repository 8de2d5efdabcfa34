//! The table that is printed.

use std::fmt;
use std::path::Path;
use std::process::Command;

use crate::chunks::Chunks;
use crate::measure::Cost;
use crate::telecine::Job;

/// What nobody sees of a difference in VMAF.
const VMAF_ALIKE: f64 = 0.1;

/// What was measured, round by round.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) telecine: Vec<Job>,
    pub(crate) split: Vec<Cost>,
    pub(crate) each: Vec<Cost>,
    pub(crate) bare: Vec<Cost>,
    pub(crate) chunks: Option<Chunks>,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:44} {:>8} {:>8} {:>9}",
            "", "CPU s", "wall s", "peak MiB"
        )?;
        let jobs: Vec<Cost> = self.telecine.iter().map(|job| job.cost).collect();
        row(f, "telecine run video:transcode", &jobs)?;
        row(f, "one ffmpeg process with split", &self.split)?;
        row(f, "one ffmpeg process for each rendition", &self.each)?;
        row(f, "bare GStreamer: decode, scale, encode", &self.bare)?;
        writeln!(f, "\n{:60} {:>8} {:>6}", "", "measured", "due")?;
        for Due {
            what,
            measured,
            due,
        } in self.due()
        {
            let due = due.map_or(String::new(), |due| format!("{due:.2}"));
            writeln!(f, "{what:60} {measured:>8.3} {due:>6}")?;
        }
        Ok(())
    }
}

struct Due {
    what: String,
    measured: f64,
    /// The most that it may be.
    due: Option<f64>,
}

impl Table {
    /// What was measured to be more than is due.
    pub(crate) fn missed(&self) -> Vec<String> {
        let due = self.due().into_iter();
        due.filter(|row| row.due.is_some_and(|due| row.measured > due))
            .map(|row| row.what)
            .collect()
    }

    fn due(&self) -> Vec<Due> {
        let rounds = 0..self.telecine.len();
        let over = |ratio: &dyn Fn(usize) -> f64| median(rounds.clone().map(ratio));
        let ladder = |n: usize| self.telecine[n].cost.cpu_s - self.telecine[n].validate_cpu_s;
        let due = |what: &str, due, measured| Due {
            what: what.to_owned(),
            measured,
            due,
        };
        let mut dues = vec![
            due(
                "CPU without validation, over one ffmpeg with split",
                Some(1.10),
                over(&|n| ladder(n) / self.split[n].cpu_s),
            ),
            due(
                "CPU without validation, over one ffmpeg per rendition",
                None,
                over(&|n| ladder(n) / self.each[n].cpu_s),
            ),
            due(
                "CPU of validation, over one ffmpeg with split",
                None,
                over(&|n| self.telecine[n].validate_cpu_s / self.split[n].cpu_s),
            ),
            due(
                "peak memory of an encode, over one ffmpeg with split",
                Some(1.10),
                over(&|n| {
                    self.telecine[n].encode_rss_bytes as f64 / self.split[n].rss_bytes as f64
                }),
            ),
            due(
                "share of CPU outside decode, scale and encode",
                Some(0.05),
                over(&|n| 1.0 - self.bare[n].cpu_s / ladder(n)),
            ),
            due(
                "share of wall time in which no step ran",
                Some(0.02),
                over(&|n| self.telecine[n].idle_s / self.telecine[n].cost.wall_s),
            ),
            due(
                "bytes written for each byte of output",
                Some(1.10),
                over(&|n| {
                    let job = &self.telecine[n];
                    job.cost.written_bytes as f64 / job.made_bytes as f64
                }),
            ),
        ];
        dues.extend(self.chunks.iter().flat_map(of_chunks));
        dues
    }
}

/// What encoding in chunks costs in bytes, and in quality if that was measured.
fn of_chunks(chunks: &Chunks) -> Vec<Due> {
    let mut dues = vec![Due {
        what: format!("bytes in {} chunks, over one whole encode", chunks.count),
        measured: chunks.bytes_ratio,
        due: Some(1.01),
    }];
    dues.extend(chunks.vmaf.map(|(parts, whole)| Due {
        what: format!("VMAF lost in chunks, {parts:.2} instead of {whole:.2}"),
        measured: whole - parts,
        due: Some(VMAF_ALIKE),
    }));
    dues
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, rounds: &[Cost]) -> fmt::Result {
    let cpu_s = median(rounds.iter().map(|cost| cost.cpu_s));
    let wall_s = median(rounds.iter().map(|cost| cost.wall_s));
    let rss = median(rounds.iter().map(|cost| cost.rss_bytes as f64)) / f64::from(1 << 20);
    writeln!(f, "{name:44} {cpu_s:>8.1} {wall_s:>8.1} {rss:>9.0}")
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// On what the figures were measured.
pub(crate) fn conditions(clip: &Path, rounds: usize) -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default().to_owned();
    let first_line = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let text = text.unwrap_or_default();
        text.lines().next().unwrap_or_default().to_owned()
    };
    format!(
        "{} · {rounds} rounds in turn, medians · {model}, {cores} cores, load {load} at the end\n{} · {}\n",
        clip.file_name().unwrap_or_default().display(),
        first_line("ffmpeg", "-version"),
        first_line("gst-launch-1.0", "--gst-version"),
    )
}
