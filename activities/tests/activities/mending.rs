//! What is lost of a set after it was encoded is made again, and nothing else is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::clips::Clips;
use crate::pipeline::{Packaged, Run, light_clip};

/// Every segment of a set, as it was when it was looked at.
fn segments(run: &Run) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut directories = vec![run.published("g1")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.is_dir() => directories.push(path),
                Some(extension) if extension == "m4s" => drop(found.insert(path)),
                _ => {}
            }
        }
    }
    found
}

/// Key of a segment of a rendition.
fn key(rendition: &Value, number: usize) -> String {
    let key = &rendition["segments"][number - 1]["object"]["key"];
    key.as_str().unwrap().to_owned()
}

/// Takes objects away and gives the step to its activity again; its output, and what is new.
async fn mend(
    run: &Run,
    (activity, input): (&str, Value),
    (checkpoint, lost): (Value, &[String]),
) -> (Value, Vec<PathBuf>) {
    for key in lost {
        std::fs::remove_file(run.bench.media_dir().join(key)).unwrap();
    }
    let before = segments(run);
    let mut attempt = run.bench.attempt(Some(checkpoint));
    attempt.ctx = attempt.ctx.with_damaged(lost.to_vec());
    let output = run.attempt(&attempt, activity, input).await.unwrap();
    let new = segments(run).difference(&before).cloned().collect();
    (output, new)
}

/// Packages what is there now, and looks at all of it.
async fn assert_whole(run: &Run, packaged: &mut Packaged, clips: &Clips) {
    let set = json!({
        "prefix": packaged.prepared.allocation["prefix"],
        "chunks": packaged.chunks,
        "audio": packaged.audio,
    });
    packaged.set = run.step("video.package_hls", set).await;
    let validated = run.step("media.validate", packaged.validate()).await;
    assert_eq!(validated["samples"], 2 * 140 + 657);
    assert_eq!(clips.frames_of(&run.published("g1/master.m3u8")), 140);
}

/// As pairs of number and rendition.
fn named(paths: &[PathBuf]) -> Vec<(String, String)> {
    let part = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let named = paths.iter().map(|path| {
        let name = part(path);
        (part(path.parent().unwrap()), name[..9].to_owned())
    });
    let mut named: Vec<_> = named.collect();
    named.sort();
    named
}

fn owned(names: &[(&str, &str)]) -> Vec<(String, String)> {
    let names = names.iter();
    names
        .map(|(rendition, name)| ((*rendition).to_owned(), (*name).to_owned()))
        .collect()
}

#[tokio::test]
async fn only_the_renditions_that_lost_a_segment_are_encoded_again_and_only_that_segment() {
    let clips = Clips::new();
    let run = Run::new(&light_clip(&clips));
    let prepared = run.prepare().await;
    let encode = prepared.encode(0);
    let chunk = run.step("video.encode", encode.clone()).await;
    let checkpoint = run.bench.take_written().checkpoints.pop().unwrap().0;
    let audio = run.step("audio.encode", prepared.audio()).await;
    let (large, small) = (&chunk["renditions"][0], &chunk["renditions"][1]);
    let lost = [key(large, 1), key(small, 1), key(small, 3)];

    let work = ("video.encode", encode);
    let (mended, new) = mend(&run, work, (checkpoint, &lost)).await;

    let names = ["r240_h264", "r360_h264"];
    let expected = [
        (names[0], "seg_00001"),
        (names[0], "seg_00003"),
        (names[1], "seg_00001"),
    ];
    assert_eq!(named(&new), owned(&expected));
    for (rendition, number) in [(0, 2), (0, 3), (1, 2)] {
        let kept = |chunk: &Value| key(&chunk["renditions"][rendition], number);
        assert_eq!(kept(&mended), kept(&chunk), "it was there");
    }
    let mut packaged = Packaged {
        prepared,
        chunks: vec![mended],
        audio,
        set: Value::Null,
    };
    assert_whole(&run, &mut packaged, &clips).await;
}

#[tokio::test]
async fn sound_that_lost_a_segment_gets_the_same_bytes_again() {
    let clips = Clips::new();
    let run = Run::new(&light_clip(&clips));
    let prepared = run.prepare().await;
    let chunk = run.step("video.encode", prepared.encode(0)).await;
    run.bench.take_written();
    let audio = run.step("audio.encode", prepared.audio()).await;
    let checkpoint = run.bench.take_written().checkpoints.pop().unwrap().0;

    let work = ("audio.encode", prepared.audio());
    let lost = [key(&audio, 2)];
    let (mended, new) = mend(&run, work, (checkpoint.clone(), &lost)).await;

    assert_eq!(named(&new), owned(&[("und_aac_2ch", "seg_00002")]));
    let sha256 = |audio: &Value| audio["segments"][1]["object"]["sha256"].clone();
    assert_eq!(sha256(&mended), sha256(&audio));
    let mut packaged = Packaged {
        prepared,
        chunks: vec![chunk],
        audio: mended.clone(),
        set: Value::Null,
    };
    assert_whole(&run, &mut packaged, &clips).await;

    // What an attempt has mended is as good as what it was given.
    let checkpoint = run.bench.take_written().checkpoints.pop().unwrap().0;
    assert_eq!(checkpoint, mended);
    std::fs::remove_file(run.bench.source_dir().join("source.mp4")).unwrap();
    let mut attempt = run.bench.attempt(Some(checkpoint));
    attempt.ctx = attempt.ctx.with_damaged(lost.to_vec());
    let input = packaged.prepared.audio();
    let again = run.attempt(&attempt, "audio.encode", input).await;
    assert_eq!(again.unwrap(), mended);
}
