//! kill -9 at any moment, then the same command: it finishes, nothing is encoded twice, and the
//! result is that of an undisturbed run. `TELECINE_KILLS` sets the number of moments,
//! `TELECINE_KILL_CLIP` another clip than a small one. `TELECINE_SEED` says where in its part of the job each
//! moment lies (unless given, drawn from the commit).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use telecine_engine::id::RunId;
use telecine_engine::store::Store as _;
use telecine_store_sqlite::SqliteStore;

use crate::chance::{self, Dice};
use crate::product::{self, Workplace};

/// Moments in a usual test run.
const MOMENTS: u32 = 4;

fn moments() -> u32 {
    std::env::var("TELECINE_KILLS").map_or(MOMENTS, |text| text.parse().expect("a number"))
}

fn clip() -> PathBuf {
    std::env::var_os("TELECINE_KILL_CLIP").map_or_else(product::light_clip, PathBuf::from)
}

#[derive(Debug, Clone, Copy)]
enum Victim {
    Group,
    Parent,
}

impl Victim {
    fn kill(self, child: &Child) {
        let pid = Pid::from_raw(child.id().cast_signed()).expect("a process id");
        let killed = match self {
            Self::Group => kill_process_group(pid, Signal::KILL),
            Self::Parent => kill_process(pid, Signal::KILL),
        };
        killed.expect("the process can be killed");
    }
}

#[test]
fn a_job_killed_at_any_moment_is_finished_by_the_same_command() {
    let clip = clip();
    let undisturbed = Workplace::new();
    let began = Instant::now();
    product::succeed(undisturbed.run("video:full", &clip));
    let whole = began.elapsed();
    let seed = chance::seed();
    eprintln!("moments drawn with TELECINE_SEED={seed}");
    let mut dice = Dice::new(seed);
    for moment in 0..moments() {
        let victim = if moment % 2 == 0 {
            Victim::Group
        } else {
            Victim::Parent
        };
        let after = whole.mul_f64((f64::from(moment) + dice.fraction()) / f64::from(moments()));
        eprintln!("killing the {victim:?} after {after:?} of {whole:?}");
        let disturbed = Workplace::new();
        kill_after(&disturbed, &clip, victim, after);
        let document = product::succeed(disturbed.run("video:full", &clip));
        check_equal(&undisturbed, &disturbed);
        check_nothing_twice(&disturbed, &document);
    }
}

#[test]
fn a_job_killed_again_and_again_still_finishes() {
    let clip = product::small_clip();
    let place = Workplace::new();
    for _ in 0..8 {
        kill_after_progress(&place, &clip);
    }
    let document = product::succeed(place.run("video:full", &clip));
    check_nothing_twice(&place, &document);
}

fn kill_after(place: &Workplace, clip: &Path, victim: Victim, after: Duration) {
    let child = product::spawn(place.run("video:full", clip));
    std::thread::sleep(after);
    victim.kill(&child);
    product::finish(child);
    place.assert_no_survivors();
}

/// Kills a process as soon as it has done anything that the next one can build on. One that did
/// nothing six times in a row would be under suspicion of killing itself.
fn kill_after_progress(place: &Workplace, clip: &Path) {
    let before = durable_events(place);
    let child = product::spawn(place.run("video:full", clip));
    let deadline = Instant::now() + Duration::from_secs(120);
    while durable_events(place) == before {
        assert!(Instant::now() < deadline, "the job does not get on");
        std::thread::sleep(Duration::from_millis(20));
    }
    Victim::Group.kill(&child);
    product::finish(child);
    place.assert_no_survivors();
}

/// How many checkpoints and finished steps there are.
fn durable_events(place: &Workplace) -> usize {
    let events = product::events(place).into_iter();
    events
        .filter(|event| matches!(&*event.event.kind, "step.checkpoint" | "step.succeeded"))
        .count()
}

fn check_equal(undisturbed: &Workplace, disturbed: &Workplace) {
    let (whole, resumed) = (undisturbed.set(), disturbed.set());
    assert_eq!(
        product::media_playlists(&whole),
        product::media_playlists(&resumed)
    );
    assert_eq!(
        product::decoded_frames(&whole),
        product::decoded_frames(&resumed)
    );
}

/// The events name every object that a checkpoint made durable: none of their segments may have
/// been made durable by a second attempt.
fn check_nothing_twice(place: &Workplace, document: &Value) {
    let job = document["id"].as_str().expect("a job id").to_owned();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let events = runtime.block_on(async {
        let store = SqliteStore::open(&place.data())
            .await
            .expect("the store opens");
        store
            .events(&RunId::from(job), 0, 100_000)
            .await
            .expect("events can be read")
    });
    let mut segments = BTreeSet::new();
    for event in events
        .iter()
        .filter(|event| event.event.kind == "step.checkpoint")
    {
        for key in event.event.data["artifacts"]
            .as_array()
            .expect("a checkpoint names objects")
        {
            let key = key.as_str().expect("an object key");
            let (name, _tag) = key.rsplit_once('_').expect("an attempt's own name");
            assert!(segments.insert(name.to_owned()), "{name} was encoded twice");
        }
    }
    assert!(!segments.is_empty(), "checkpoints were saved");
}
