//! Playlists that list the same again and again: the work is that of what is there, and not that of
//! the lines.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use telecine_activities::child::Limits;
use telecine_activities::lint::{
    Directory, Part, Profile, Report, Rule, SetError, SetReader, Terms, lint,
};
use telecine_activities::media::check::{CheckSet, Spec};

use crate::attempt::Bench;
use crate::clips::Clips;

/// A set that counts what is read of it.
#[derive(Debug)]
struct Counting {
    set: Directory,
    reads: Cell<u32>,
    bytes: Cell<u64>,
}

impl Counting {
    fn open(root: &Path) -> Self {
        Self {
            set: Directory::open(root).unwrap(),
            reads: Cell::default(),
            bytes: Cell::default(),
        }
    }

    fn lint(&self, entry: &str) -> Report {
        let terms = Terms::default();
        lint(self, &[entry.to_owned()], terms, &mut |_| ())
            .unwrap()
            .report
    }
}

impl SetReader for Counting {
    fn read(&self, path: &str, part: Part, limit: u64) -> Result<Vec<u8>, SetError> {
        let bytes = self.set.read(path, part, limit)?;
        self.reads.set(self.reads.get() + 1);
        self.bytes.set(self.bytes.get() + bytes.len() as u64);
        Ok(bytes)
    }
}

/// Four segments of 25 pictures each, in one file or in four.
fn set(clips: &Clips, more: &str) -> PathBuf {
    let source = "-f lavfi -i testsrc2=s=160x90:r=25:d=4 -c:v libx264 -preset veryfast -g 25";
    let hls = "-f hls -hls_time 1 -hls_playlist_type vod -hls_segment_type fmp4";
    clips.ffmpeg(&format!("{source} {hls} {more}"), "main.m3u8");
    clips.path("main.m3u8").parent().unwrap().to_owned()
}

/// The playlist with its segments so many times, each time behind some lines.
fn repeated(root: &Path, times: usize, between: &str) {
    let text = std::fs::read_to_string(root.join("main.m3u8")).unwrap();
    let (head, rest) = text.split_at(text.find("#EXTINF").unwrap());
    let (segments, end) = rest.split_at(rest.find("#EXT-X-ENDLIST").unwrap());
    let more = format!("{between}{segments}").repeat(times - 1);
    std::fs::write(
        root.join("again.m3u8"),
        format!("{head}{segments}{more}{end}"),
    )
    .unwrap();
}

async fn checked(root: &Path, entry: &str) -> Report {
    let bench = Bench::new();
    let spec = Spec {
        root: root.to_owned(),
        entries: vec![entry.to_owned()],
        profile: Profile::Standards,
        recorded: None,
        decode: true,
    };
    let attempt = bench.attempt(None);
    let ran = bench
        .host
        .run::<CheckSet>(&attempt.ctx, spec, Limits::SMALL);
    ran.await.unwrap()
}

fn rules(report: &Report) -> Vec<Rule> {
    let mut rules: Vec<_> = report.findings.iter().map(|found| found.rule).collect();
    rules.sort_unstable();
    rules.dedup();
    rules
}

#[tokio::test]
async fn segments_that_are_listed_twenty_thousand_times_are_read_and_decoded_once() {
    let clips = Clips::new();
    let root = set(&clips, "");
    repeated(&root, 20_000, "");
    let counting = Counting::open(&root);
    let report = counting.lint("again.m3u8");
    assert_eq!(counting.reads.get(), 6, "playlist, header, four segments");
    assert_eq!((report.segments, report.samples), (4, 100));
    assert!(rules(&report).contains(&Rule::HlsUriOnce));
    assert!(rules(&report).contains(&Rule::CmafGap), "time runs back");
    let decoded = checked(&root, "again.m3u8").await;
    assert_eq!((decoded.samples, decoded.decoded), (100, 100));
    assert!(!rules(&decoded).contains(&Rule::Decode));
}

#[test]
fn segments_may_come_again_behind_a_discontinuity() {
    let clips = Clips::new();
    let root = set(&clips, "");
    let once = Counting::open(&root).lint("main.m3u8");
    repeated(&root, 3, "#EXT-X-DISCONTINUITY\n");
    let again = Counting::open(&root).lint("again.m3u8");
    assert_eq!(again.error_count, 0, "{:?}", again.findings);
    let apart = |report: &Report| -> Vec<Rule> {
        let rules = rules(report).into_iter();
        rules.filter(|rule| *rule != Rule::HlsUriOnce).collect()
    };
    assert_eq!(apart(&again), apart(&once));
}

/// A playlist of 8 MiB has room for two hundred thousand ranges, and a file for 256 MiB.
#[test]
fn ranges_that_overlap_again_and_again_are_not_all_read() {
    let clips = Clips::new();
    let root = set(&clips, "-hls_flags single_file");
    let size = std::fs::metadata(root.join("main.m4s")).unwrap().len();
    let text = std::fs::read_to_string(root.join("main.m3u8")).unwrap();
    let (head, _) = text.split_at(text.find("#EXTINF").unwrap());
    let ranges = (1..5000).map(|len| format!("#EXTINF:1,\n#EXT-X-BYTERANGE:{len}@0\nmain.m4s\n"));
    let text = format!("{head}{}#EXT-X-ENDLIST\n", ranges.collect::<String>());
    std::fs::write(root.join("ranges.m3u8"), &text).unwrap();
    let counting = Counting::open(&root);
    let report = counting.lint("ranges.m3u8");
    assert!(rules(&report).contains(&Rule::TooMuch));
    let bytes = counting.bytes.get() - text.len() as u64;
    assert!(bytes <= 3 * size, "{bytes} bytes are read of {size}");
}
