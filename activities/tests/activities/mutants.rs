//! One change to a good set, and the rule that has to find it.
//!
//! All of them run always: a mutant costs a few milliseconds, because nothing is encoded again.
//! `TELECINE_MUTANT_TRIALS` is how often bytes are damaged at random (1,000 without it).

mod boxes;
mod playlists;
mod records;
mod sound;
mod sprites;
mod surgery;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use telecine_activities::child::Limits;
use telecine_activities::lint::{
    Demand, Finding, Part, Profile, Recorded, Report, Rule, SetError, SetReader, Severity, Terms,
    lint,
};
use telecine_activities::media::check::{CheckSet, Spec};
use tokio::sync::OnceCell;

use crate::clips::Clips;
use crate::pipeline::{Run, light_clip, short_clip};
use crate::processor::busy;
use surgery::{Change, apply};

/// A set in memory.
#[derive(Debug, Clone)]
pub(crate) struct Files(pub(crate) BTreeMap<String, Vec<u8>>);

impl SetReader for Files {
    fn read(&self, path: &str, part: Part, limit: u64) -> Result<Vec<u8>, SetError> {
        let bytes = self.0.get(path).ok_or(SetError::NotFound)?;
        if bytes.len() as u64 > limit {
            return Err(SetError::TooLarge { limit });
        }
        Ok(match part {
            Part::Whole => bytes.clone(),
            Part::Range { offset, len } => {
                let rest = bytes.get(offset as usize..).unwrap_or_default();
                rest[..rest.len().min(len as usize)].to_vec()
            }
        })
    }
}

impl Files {
    /// The files of a generation, without the claim beside them.
    fn load(root: &Path) -> Self {
        let mut files = BTreeMap::new();
        let mut directories = vec![root.to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else {
                    let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                    files.insert(name.to_owned(), std::fs::read(&path).unwrap());
                }
            }
        }
        files.remove(".claim");
        Self(files)
    }

    /// The file that a short name stands for: `360/init`, `360/2`, `audio/playlist`, `master`.
    fn path(&self, name: &str) -> String {
        let (track, file) = name.split_once('/').unwrap_or(("", name));
        let track = match track {
            "" => String::new(),
            "audio" => "audio/und_aac_2ch/".to_owned(),
            edge => format!("video/r{edge}_h264/"),
        };
        let start = match file {
            "master" | "playlist" => format!("{track}{file}.m3u8"),
            "sprites" | "sheet" => file.to_owned(),
            "init" => format!("{track}init.mp4"),
            number => format!("{track}seg_0000{number}_"),
        };
        let mut paths = self.0.keys();
        paths.find(|path| path.starts_with(&start)).unwrap().clone()
    }

    /// The playlist, and the index of thumbnails of a set of those.
    fn entries(&self) -> Vec<String> {
        let index = self.0.keys().find(|path| path.ends_with(".vtt"));
        let entry = index.map_or("master.m3u8", String::as_str);
        vec![entry.to_owned()]
    }

    fn report(&self, recorded: Option<&Recorded>) -> Report {
        let terms = Terms {
            profile: Profile::House,
            recorded,
        };
        lint(self, &self.entries(), terms, &mut |_| ())
            .unwrap()
            .report
    }

    fn errors(&self) -> Vec<Finding> {
        self.report(None).errors().cloned().collect()
    }
}

/// A set, and what was recorded when it was made.
#[derive(Debug, Clone)]
struct Good {
    set: Files,
    recorded: Recorded,
}

/// Fourteen seconds in two renditions and sound, made once.
async fn good() -> Good {
    static GOOD: OnceCell<Good> = OnceCell::const_new();
    let make = || async { Good::of(&short_clip(&Clips::new())).await };
    GOOD.get_or_init(make).await.clone()
}

async fn good_set() -> Files {
    good().await.set
}

/// Fourteen seconds of sound.
async fn good_set_of_sound() -> Files {
    let clips = Clips::new();
    let tone = "-f lavfi -i sine=r=48000:d=14 -c:a aac -ac 2";
    Good::of(&clips.ffmpeg(tone, "tone.mp4")).await.set
}

impl Good {
    async fn of(source: &Path) -> Self {
        let run = Run::new(source);
        let packaged = run.package().await;
        let set = Files::load(&run.published("g1"));
        let recorded = records::of(&set, &packaged);
        for known in [None, Some(&recorded)] {
            let found = set.report(known).findings;
            assert_eq!(found, [], "the set that is mutated is good");
        }
        Self { set, recorded }
    }
}

/// A change to one file, and the rule that finds it.
pub(crate) type Mutant = (&'static str, Change, Rule);

/// The one rule that no table of mutants breaks: its mutant has to be decoded.
const BY_DECODING: Rule = Rule::Decode;

/// A rule that nothing is seen to break may as well not be there.
#[test]
fn every_rule_has_a_mutant() {
    let sets = [pictures_and_sound(), sound::all(), sprites::all()];
    let by_change = sets.iter().flatten().map(|(.., rule)| *rule);
    let by_record = records::all().into_iter().map(|(.., rule)| rule);
    let broken: BTreeSet<Rule> = by_change.chain(by_record).chain([BY_DECODING]).collect();
    let unbroken: Vec<_> = Rule::ALL
        .iter()
        .filter(|rule| !broken.contains(rule))
        .collect();
    assert!(unbroken.is_empty(), "no mutant breaks {unbroken:?}");
}

fn pictures_and_sound() -> Vec<Mutant> {
    playlists::all().into_iter().chain(boxes::all()).collect()
}

#[tokio::test]
async fn every_mutant_is_caught_by_its_rule() {
    let mutants = pictures_and_sound();
    assert!(mutants.len() >= 150, "{} are too few", mutants.len());
    all_are_caught(&good_set().await, &mutants);
}

#[tokio::test]
async fn a_set_that_is_not_what_was_recorded_is_caught_by_its_rule() {
    let Good { set, recorded } = good().await;
    for (what, change, rule) in records::all() {
        let mut other = recorded.clone();
        change(&mut other);
        let found = set.report(Some(&other)).findings;
        assert!(
            breaks(&found, rule),
            "{what}: {rule:?} wanted, {found:?} found"
        );
    }
}

#[tokio::test]
async fn every_mutant_of_a_set_of_sound_alone_is_caught_by_its_rule() {
    let mutants = sound::all();
    assert!(mutants.len() >= 100, "{} are too few", mutants.len());
    all_are_caught(&good_set_of_sound().await, &mutants);
}

#[tokio::test]
async fn every_mutant_of_thumbnails_is_caught_by_its_rule() {
    let mutants = sprites::all();
    assert!(mutants.len() >= 30, "{} are too few", mutants.len());
    let good = sprites::good().await;
    assert_eq!(good.report(None).findings, []);
    all_are_caught(&good, &mutants);
}

fn all_are_caught(good: &Files, mutants: &[Mutant]) {
    let started = Instant::now();
    let mut survivors = Vec::new();
    for (name, change, rule) in mutants {
        let mut mutant = good.clone();
        apply(&mut mutant, name, change);
        assert_ne!(mutant.0, good.0, "{name} {change:?} changes nothing");
        let findings = mutant.report(None).findings;
        if !breaks(&findings, *rule) {
            let found: BTreeSet<_> = findings.iter().map(|found| found.rule.id()).collect();
            survivors.push(format!(
                "{name} {change:?}: {} wanted, {found:?} found",
                rule.id()
            ));
        }
    }
    let took = started.elapsed();
    eprintln!("{} mutants in {took:?}", mutants.len());
    assert!(
        survivors.is_empty(),
        "{} survive:\n{}",
        survivors.len(),
        survivors.join("\n")
    );
}

/// Whether a rule is broken: with an error, unless nobody insists on it.
fn breaks(findings: &[Finding], rule: Rule) -> bool {
    let severity = match rule.demand() {
        Demand::Advice => Severity::Warning,
        _ => Severity::Error,
    };
    let mut found = findings.iter().map(|found| (found.rule, found.severity));
    found.any(|found| found == (rule, severity))
}

/// Bits of `esds` that may have any value: id and priority of the stream, size of the buffer and
/// rates, and what follows the configuration.
const FREE_BITS: [std::ops::Range<usize>; 4] = [48..64, 67..72, 104..192, 224..248];

#[tokio::test]
async fn flipped_bits_of_parameter_sets_are_caught() {
    let good = good_set().await;
    let places = [
        ("360/init", "moov/trak/mdia/minf/stbl/stsd/avc1/avcC"),
        ("audio/init", "moov/trak/mdia/minf/stbl/stsd/mp4a/esds"),
    ];
    for (name, path) in places {
        let body = surgery::body(&good.0[&good.path(name)], path);
        let mut survivors = Vec::new();
        for bit in 0..body.len() * 8 {
            let mut mutant = good.clone();
            let offset = i32::try_from(bit / 8).unwrap();
            apply(
                &mut mutant,
                name,
                &Change::Xor(path, offset, 0x80 >> (bit % 8)),
            );
            if mutant.errors().is_empty() {
                survivors.push(bit);
            }
        }
        eprintln!(
            "{path}: {} of {} bits survive",
            survivors.len(),
            body.len() * 8
        );
        let is_free =
            |bit: &usize| name == "audio/init" && FREE_BITS.iter().any(|r| r.contains(bit));
        survivors.retain(|bit| !is_free(bit));
        assert_eq!(survivors, [0_usize; 0], "bits of {path}");
    }
}

/// How many bytes are damaged at random.
fn trials() -> u32 {
    let asked = std::env::var("TELECINE_MUTANT_TRIALS").ok();
    asked.map_or(1000, |asked| asked.parse().expect("a number of trials"))
}

/// Random numbers that are the same each time (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

#[tokio::test]
async fn flipped_payload_bytes_are_caught_by_the_recorded_digests() {
    let Good {
        set: good,
        recorded,
    } = good().await;
    let segments: Vec<String> = good
        .0
        .keys()
        .filter(|p| p.ends_with(".m4s"))
        .cloned()
        .collect();
    let mut dice = Dice(1);
    for _ in 0..trials() / 3 {
        let path = &segments[dice.below(segments.len())];
        let mut mutant = good.clone();
        let bytes = mutant.0.get_mut(path).unwrap();
        let at = dice.below(bytes.len());
        bytes[at] ^= 1 << dice.below(8);
        let report = mutant.report(Some(&recorded));
        let found: Vec<_> = report
            .errors()
            .map(|found| (found.rule, &found.file))
            .collect();
        assert!(
            found.contains(&(Rule::RecordedDigest, path)),
            "{path} at {at}: {found:?}"
        );
    }
}

/// Damage of any kind takes no time, no memory and no panic.
#[tokio::test]
async fn damaged_bytes_never_stop_the_linter() {
    for good in [good_set().await, sprites::good().await] {
        let paths: Vec<String> = good.0.keys().cloned().collect();
        let mut dice = Dice(2);
        for trial in 0..trials() {
            let mut mutant = good.clone();
            let path = &paths[dice.below(paths.len())];
            damage(mutant.0.get_mut(path).unwrap(), &mut dice);
            let started = busy();
            let report = mutant.report(None);
            let took = busy() - started;
            assert!(took < Duration::from_secs(5), "{path}, trial {trial}");
            let listed = report.findings.len() as u64;
            assert_eq!(
                listed + report.more,
                report.error_count + report.warning_count
            );
        }
    }
}

/// Up to four kinds of damage.
fn damage(bytes: &mut Vec<u8>, dice: &mut Dice) {
    // The start of a file is where structure is.
    let span = if dice.below(2) == 0 {
        bytes.len()
    } else {
        bytes.len().min(800)
    };
    for _ in 0..=dice.below(4) {
        let at = dice.below(span);
        match dice.below(4) {
            0 => bytes[at] = dice.below(256) as u8,
            1 => bytes[at] ^= 1 << dice.below(8),
            2 => bytes[at..(at + 4).min(span)].fill(0xff),
            _ => bytes.truncate(at.max(span / 2).max(1)),
        }
        if bytes.len() < span {
            break;
        }
    }
}

/// What only decoding can find, in a child process as always: messages of the decoder are those of
/// the whole process.
#[tokio::test]
async fn damaged_pictures_are_found_by_decoding() {
    let run = Run::new(&light_clip(&Clips::new()));
    run.package().await;
    let root = run.published("g1");
    let set = Files::load(&root);
    let whole = checked(&run, &root).await;
    let errors = |report: &Report| -> Vec<Rule> { report.errors().map(|e| e.rule).collect() };
    assert_eq!((whole.decoded, errors(&whole)), (whole.samples, vec![]));
    let path = set.path("360/2");
    let mut bytes = set.0[&path].clone();
    let quarter = bytes.len() / 4;
    bytes[quarter..].fill(0xa5);
    std::fs::write(root.join(&path), bytes).unwrap();
    let damaged = checked(&run, &root).await;
    assert!(errors(&damaged).contains(&BY_DECODING));
}

async fn checked(run: &Run, root: &Path) -> Report {
    let spec = Spec {
        root: root.to_owned(),
        entries: vec!["master.m3u8".to_owned()],
        profile: Profile::House,
        recorded: None,
        decode: true,
    };
    let attempt = run.bench.attempt(None);
    let ran = run
        .bench
        .host
        .run::<CheckSet>(&attempt.ctx, spec, Limits::SMALL);
    ran.await.unwrap()
}
