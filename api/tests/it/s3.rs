//! Jobs that read from S3 and publish to S3, on a real server.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use telecine_engine::objects::ObjectStore as _;
use telecine_object_stores::{S3Credentials, S3Options, S3Store};
use telecine_testkit::faults::{Fault, FaultProxy};
use telecine_testkit::servers::S3Place;
use tokio::runtime::Runtime;

use crate::ffmpeg;
use crate::http::client::Request;
use crate::http::process::Server;
use crate::product::{self, Workplace};

/// Key of the source.
const KEY: &str = "uploads/a clip.mov";

/// The store of a place, with nothing in between.
pub(crate) fn store(place: &S3Place) -> S3Store {
    let options = S3Options {
        endpoint: Some(place.endpoint()),
        region: None,
        credentials: Some(S3Credentials {
            access_key: place.access_key(),
            secret_key: place.secret_key(),
        }),
    };
    S3Store::new(&place.url(), options).expect("an address of a bucket")
}

/// Two buckets' worth: a place for sources, one for results, and a workplace beside them.
struct Remote {
    place: Workplace,
    source: S3Place,
    media: S3Place,
    runtime: Runtime,
}

impl Remote {
    /// With a clip among the sources.
    fn new() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let (source, media) =
            runtime.block_on(async { (S3Place::create().await, S3Place::create().await) });
        let remote = Self {
            place: Workplace::new(),
            source,
            media,
            runtime,
        };
        let clip = std::fs::read(remote.clip()).expect("a clip");
        let store = store(&remote.source);
        let put = store.put_bytes(KEY, clip.into());
        remote.runtime.block_on(put).expect("the clip is stored");
        remote
    }

    /// Ten seconds with a flash and a beep.
    fn clip(&self) -> PathBuf {
        let path = self.place.path().join("flash.mov");
        if !path.exists() {
            ffmpeg::flash_and_beep(&path);
        }
        path
    }

    /// Keys of what was published.
    fn keys(&self) -> BTreeSet<String> {
        let listed = self.runtime.block_on(store(&self.media).list(""));
        let listed = listed.expect("the results are listed");
        listed.into_iter().map(|(key, _)| key).collect()
    }

    fn text(&self, key: &str) -> String {
        let store = store(&self.media);
        let read = self.runtime.block_on(store.read_range(key, 0, 1 << 20));
        String::from_utf8(read.expect("an object").to_vec()).expect("text")
    }

    /// A job on the source, with both roles set by variables.
    fn run(&self, workflow: &str) -> Command {
        let mut command = self.place.telecine(&["run", workflow, KEY, "-o", "json"]);
        self.reach(&mut command);
        command
    }

    /// Sets both roles by variables.
    fn reach(&self, command: &mut Command) {
        for (role, place) in [("SOURCE", &self.source), ("MEDIA", &self.media)] {
            let set = [
                ("URL", place.url()),
                ("S3_ENDPOINT", place.endpoint()),
                ("S3_ACCESS_KEY", place.access_key()),
                ("S3_SECRET_KEY", place.secret_key()),
            ];
            command.envs(set.map(|(name, value)| (format!("TELECINE_{role}_{name}"), value)));
        }
    }
}

/// Paths of files below a directory.
fn files(directory: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in std::fs::read_dir(next).expect("a directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                pending.push(path);
            } else {
                let key = path.strip_prefix(directory).expect("a path below it");
                found.insert(key.to_str().expect("UTF-8").to_owned());
            }
        }
    }
    found
}

/// Names without what differs from attempt to attempt: the eight hex digits.
fn without_tags(names: &BTreeSet<String>) -> BTreeSet<String> {
    let untagged = names.iter().map(|name| {
        let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
        match stem.rsplit_once('_') {
            Some((stem, tag)) if tag.len() == 8 => format!("{stem}.{extension}"),
            _ => name.clone(),
        }
    });
    untagged.collect()
}

#[test]
fn a_job_from_s3_to_s3_makes_the_set_that_it_makes_in_directories() {
    let remote = Remote::new();
    let proxy = FaultProxy::start(&remote.source.endpoint());
    let mut command = remote.run("video:full");
    command.env("TELECINE_SOURCE_S3_ENDPOINT", proxy.url());
    let document = product::succeed(command);
    assert_eq!(document["status"], "succeeded");
    assert_eq!(document["source"], KEY);
    let keys = remote.keys();

    let local = Workplace::new();
    product::succeed(local.run("video:full", &remote.clip()));
    let expected: BTreeSet<_> = files(&local.out())
        .into_iter()
        .filter(|name| !name.starts_with(".telecine-partial"))
        .collect();
    assert_eq!(without_tags(&keys), without_tags(&expected));
    let master = keys.iter().find(|key| key.ends_with("g1/master.m3u8"));
    let master = master.expect("a master playlist");
    let of_local = std::fs::read_to_string(local.out().join(master)).unwrap();
    let lines = |text: &str| text.lines().count();
    assert_eq!(lines(&remote.text(master)), lines(&of_local));

    let requests = proxy.requests();
    let is_read = |line: &&String| line.starts_with("GET") && line.contains("clip.mov");
    let gets = requests.iter().filter(is_read);
    assert_eq!(gets.count(), 1, "the source is fetched once: {requests:?}");
    let reads = |line: &String| line.starts_with("GET") || line.starts_with("HEAD");
    assert!(
        requests.iter().all(reads),
        "sources are only read: {requests:?}"
    );
    let scratch = remote.place.data().join("scratch/attempts");
    assert_eq!(files(&scratch), BTreeSet::new(), "scratch is empty again");
    remote.place.assert_no_survivors();
}

#[test]
fn what_a_job_has_left_on_s3_is_taken_by_the_next() {
    let remote = Remote::new();
    let first = product::succeed(remote.run("video:cover"));
    let keys = remote.keys();
    let mut again = remote.run("video:cover");
    again.arg("--new");
    let second = product::succeed(again);
    let steps = second["steps"].as_array().expect("steps").iter();
    let taken = steps.filter(|step| step["reused_from"]["job"] == first["id"]);
    let taken: Vec<_> = taken.map(|step| step["id"].clone()).collect();
    assert_eq!(taken, ["probe", "cover"], "{second:#}");
    let copied = remote.keys().difference(&keys).count();
    assert!(copied > 0, "the objects are copied by the store");
}

#[test]
fn a_busy_and_slow_store_delays_a_job_and_no_more() {
    let remote = Remote::new();
    let proxy = FaultProxy::start(&remote.media.endpoint());
    // More than the client library asks for one object.
    proxy.next(7, "PUT", Fault::slow_down());
    proxy.next(1000, "", Fault::Slow(400_000));
    let mut command = remote.run("video:cover");
    command.env("TELECINE_MEDIA_S3_ENDPOINT", proxy.url());
    let document = product::succeed(command);
    assert_eq!(document["status"], "succeeded");
    assert!(remote.keys().iter().any(|key| key.ends_with("/cover.jpg")));
}

/// A cover, and a step that fails after it.
const STOPS_SHORT: &str = "
workflow: test:cover
version: 1
input:
  type: object
  required: [source]
  properties: {source: {type: string}}
steps:
  probe:
    activity: media.probe@1
    with: {source: '${{ input.source }}'}
  cover:
    activity: video.cover@1
    with:
      source: '${{ input.source }}'
      video: '${{ steps.probe.output.video }}'
      exact_seeks: true
      at_s: 1
      prefix: test/g1
  fails:
    activity: media.probe@1
    needs: [cover]
    with: {source: nothing.mov}
output: {}
";

#[test]
fn a_proof_that_takes_longer_than_its_caller_waits_goes_on() {
    let remote = Remote::new();
    let definition = remote.place.path().join("cover.yaml");
    std::fs::write(&definition, STOPS_SHORT).expect("a definition");
    let failed = product::output(remote.run(definition.to_str().expect("UTF-8")));
    assert_eq!(failed.status.code(), Some(1), "{failed:#?}");
    let job: Value = serde_json::from_slice(&failed.stdout).expect("JSON");
    assert_eq!(job["error"]["step"], "fails", "{job:#}");

    let proxy = FaultProxy::start(&remote.media.endpoint());
    let mut serve = Server::command(&remote.place, "server");
    remote.reach(&mut serve);
    serve.env("TELECINE_MEDIA_S3_ENDPOINT", proxy.url());
    let server = Server::start(serve);
    let plans = format!(
        "/api/jobs/{}/retry-plans?verify=full",
        job["id"].as_str().expect("an id")
    );
    let prove = |prefer: &str| {
        let request = Request::new("POST", &plans).header("prefer", prefer);
        request.send(server.address)
    };
    let reads = || {
        let requests = proxy.requests();
        let of_cover = |line: &&String| line.starts_with("GET") && line.contains("cover");
        requests.iter().filter(of_cover).count()
    };
    // Some seconds for what is read.
    proxy.next(1000, "GET", Fault::Slow(4_000));
    let reading = prove("respond-async, wait=0");
    assert_eq!(reading.status, 202, "{reading:?}");
    assert_eq!(reading.headers["retry-after"], "1");
    let (document, job) = (reading.json(), &job["id"]);
    assert_eq!(
        (&document["job"], &document["state"]),
        (job, &Value::from("reading"))
    );
    let deadline = Instant::now() + Duration::from_secs(60);
    let proved = loop {
        assert!(Instant::now() < deadline, "it comes to its end");
        let answer = prove("wait=1000");
        if answer.status != 202 {
            break answer;
        }
    };
    assert_eq!(proved.status, 201, "{proved:?}");
    let plan = proved.json();
    assert_eq!(plan["verified"]["how"], "full", "{plan:#}");
    assert_eq!(reads(), 1, "{:?}", proxy.requests());
    // Who asks once more wants it looked at once more.
    proxy.clear();
    assert_eq!(prove("wait=20").status, 201);
    assert_eq!(reads(), 2, "{:?}", proxy.requests());
}

#[test]
fn a_process_that_is_killed_while_it_stores_has_published_nothing_and_is_resumed() {
    let remote = Remote::new();
    let proxy = FaultProxy::start(&remote.media.endpoint());
    proxy.next(1000, ".m4s", Fault::Silence);
    let mut command = remote.run("video:transcode");
    command.env("TELECINE_MEDIA_S3_ENDPOINT", proxy.url());
    let mut child = product::spawn(command);
    let deadline = Instant::now() + Duration::from_secs(120);
    let is_stored = |line: &String| line.starts_with("PUT") && line.contains(".m4s");
    while !proxy.requests().iter().any(is_stored) {
        assert!(Instant::now() < deadline, "a segment is being stored");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().expect("it is killed");
    child.wait().expect("it is dead");
    remote.place.assert_no_survivors();
    let published = |keys: BTreeSet<String>| keys.iter().any(|key| key.ends_with("master.m3u8"));
    assert!(!published(remote.keys()));

    // Only the addresses of stores make a job, not how they are reached.
    let document = product::succeed(remote.run("video:transcode"));
    assert_eq!(document["status"], "succeeded");
    assert!(published(remote.keys()));
    let attempts = document["steps"].as_array().expect("steps").iter();
    let lost = attempts.filter(|step| step["attempts"][0]["outcome"] == "lost");
    assert!(lost.count() > 0, "the job of the dead process goes on");
}

#[test]
fn what_is_wrong_with_a_store_is_told_before_anything_is_done() {
    let remote = Remote::new();
    let refused = |change: &dyn Fn(&mut Command), code: i32, says: &str| {
        let mut command = remote.run("video:cover");
        change(&mut command);
        let output = product::output(command);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(says), "{stderr}");
        assert!(!stderr.contains("hidden-from-view"), "{stderr}");
    };
    let wrong_secret = |command: &mut Command| {
        command.env("TELECINE_MEDIA_S3_SECRET_KEY", "hidden-from-view");
    };
    refused(&wrong_secret, 2, "does not accept the credentials");
    let no_bucket = |command: &mut Command| {
        command.args(["--out", "s3://no-such-bucket-here/media"]);
    };
    refused(&no_bucket, 2, "has no bucket no-such-bucket-here");
    let elsewhere = format!("{}/other", remote.source.url());
    let no_source = |command: &mut Command| {
        command.env("TELECINE_SOURCE_URL", &elsewhere);
    };
    let says = "there is no source uploads/a clip.mov in s3://";
    refused(&no_source, 3, says);
    assert!(remote.keys().is_empty());
}

#[test]
fn secrets_are_not_shown_by_config_show() {
    let place = Workplace::new();
    std::fs::write(place.path().join("secret"), "hidden-from-view\n").expect("a file");
    let mut command = place.telecine(&["config", "show", "--origin", "-o", "json"]);
    command
        .env("TELECINE_SOURCE_S3_ACCESS_KEY", "telecine")
        .env("TELECINE_SOURCE_S3_SECRET_KEY", "hidden-from-view")
        .env("TELECINE_MEDIA_S3_ACCESS_KEY", "telecine")
        .env(
            "TELECINE_MEDIA_S3_SECRET_KEY_FILE",
            place.path().join("secret"),
        );
    let output = product::output(command);
    let shown = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(!shown.contains("hidden-from-view"), "{shown}");
    let settings: Value = serde_json::from_str(&shown).expect("JSON");
    for role in ["source", "media"] {
        let secret = &settings[format!("{role}_s3_secret_key")];
        assert_eq!(secret["value"], "***");
        assert_eq!(secret["origin"], "environment");
    }
}
