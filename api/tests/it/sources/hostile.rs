//! Files that want to be led elsewhere: to another file of the machine, or to an address. Each names
//! a bait of both kinds; nobody may open the file, and nobody may call.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::inotify;
use serde_json::Value;

use super::bad::assert_refused;
use super::recipes::run;
use crate::product::{self, Workplace};

/// What a step may take of processors to refuse. Measured, unoptimised: 20 to 220 ms, nearly all of it the
/// start of a process.
const REFUSED_WITHIN_S: f64 = 0.75;

/// How much memory it may take. Measured: 57 MB, which is what the loaded libraries need.
const REFUSED_WITHIN_BYTES: u64 = 100_000_000;

/// A file on disk and an address, both of which are watched.
struct Bait {
    file: PathBuf,
    watch: rustix::fd::OwnedFd,
    listener: TcpListener,
}

/// A hostile file: what it is called, how it is made for a path and an address, and the code of the
/// refusal.
type Hostile = (&'static str, fn(&str, &str) -> Vec<u8>, &'static str);

/// Playlists, manifests and drawings, by their own names and as media.
const HOSTILE: &[Hostile] = &[
    ("hls.m3u8", hls, "playlist_refused"),
    ("hls.mp4", hls, "playlist_refused"),
    ("hls_of_urls.ts", hls_of_urls, "playlist_refused"),
    (
        "plain.m3u",
        |file, url| format!("{url}\n{file}\n").into(),
        "playlist_refused",
    ),
    ("list.pls", pls, "playlist_refused"),
    ("manifest.mpd", dash, "playlist_refused"),
    ("manifest.mkv", dash, "playlist_refused"),
    ("concat.ffconcat", concat, "playlist_refused"),
    ("concat.mp4", concat, "playlist_refused"),
    (
        "concat.txt",
        |file, url| format!("file '{file}'\nfile '{url}'\n").into(),
        "playlist_refused",
    ),
    ("session.sdp", sdp, "playlist_refused"),
    ("show.asx", asx, "playlist_refused"),
    ("show.wmv", asx, "playlist_refused"),
    ("reference.asf", reference_asf, "playlist_refused"),
    ("show.smil", smil, "playlist_refused"),
    ("list.xspf", xspf, "playlist_refused"),
    ("disc.cue", cue, "playlist_refused"),
    ("script.mp4", script, "not_media"),
    ("drawing.svg", svg, "not_video"),
    ("drawing.mp4", svg, "not_video"),
    ("reference.mov", reference_movie, "playlist_refused"),
];

/// Pictures that name others.
const DRAWINGS: &[Hostile] = &[
    ("drawing.svg", svg, "vector_refused"),
    ("drawing.png", svg, "vector_refused"),
    ("drawing.mvg", mvg, "vector_refused"),
    ("page.ps", postscript, "vector_refused"),
    ("list.jpg", hls, "not_image"),
];

#[test]
fn hostile_files_are_refused_at_once_and_lead_nobody_anywhere() {
    let place = Workplace::new();
    let bait = Bait::new(place.path());
    for (rows, workflow) in [(HOSTILE, "video:full"), (DRAWINGS, "image:thumbnail")] {
        for row in rows {
            check(row, workflow, &place, &bait);
        }
    }
    place.assert_no_survivors();
}

#[test]
fn media_data_in_another_file_is_refused_and_not_looked_for() {
    let place = Workplace::new();
    let bait = Bait::new(place.path());
    run("video=320x240:25:2 x264 whole.mp4", place.path());
    let source = place.path().join("whole.mp4");
    let bytes = std::fs::read(&source).expect("a source");
    std::fs::write(&source, with_data_reference(bytes, &bait.url())).expect("a file to write");
    refuse(&place, "video:full", &source, "playlist_refused");
    bait.assert_untouched("a data reference");
}

/// That the watches work, and that the baits are such.
#[test]
fn a_tool_without_a_guard_takes_the_bait() {
    let place = Workplace::new();
    let bait = Bait::new(place.path());
    let list = place.path().join("list.m3u8");
    for (hostile, touched) in [(hls as fn(&str, &str) -> Vec<u8>, 0), (hls_of_urls, 1)] {
        std::fs::write(&list, hostile(bait.path(), &bait.url())).expect("a file to write");
        let list = list.to_str().expect("a plain path");
        let mut ffprobe = std::process::Command::new("ffprobe");
        ffprobe.args(["-v", "quiet", "-rw_timeout", "1000000"]);
        ffprobe.args([
            "-allowed_extensions",
            "ALL",
            "-protocol_whitelist",
            "file,tcp,http",
            list,
        ]);
        let mut child = ffprobe.spawn().expect("ffprobe");
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut taken = [false; 2];
        while !taken[touched] && Instant::now() < deadline {
            let (opened, called) = bait.touched();
            taken = [taken[0] || opened, taken[1] || called];
            std::thread::sleep(Duration::from_millis(10));
        }
        // It may wait for an answer from the listener.
        let _ = child.kill();
        child.wait().expect("an end");
        assert!(taken[touched], "{taken:?}");
    }
}

fn check((name, make, code): &Hostile, workflow: &str, place: &Workplace, bait: &Bait) {
    let source = place.path().join(name);
    std::fs::write(&source, make(bait.path(), &bait.url())).expect("a file to write");
    refuse(place, workflow, &source, code);
    bait.assert_untouched(name);
}

/// Runs a job, which fails at once with a code, in little memory.
fn refuse(place: &Workplace, workflow: &str, source: &Path, code: &str) {
    let began = Instant::now();
    let output = product::output(place.run(workflow, source));
    let took = began.elapsed();
    let document: Value = serde_json::from_slice(&output.stdout).expect("a document");
    let name = source.display();
    assert_eq!(
        document["error"]["code"], code,
        "{name}: {}",
        document["error"]
    );
    assert_refused(place, &document, took);
    let attempt = &document["steps"][0]["attempts"][0];
    let (cpu_s, wall_s) = (attempt["cpu_s"].as_f64(), attempt["wall_s"].as_f64());
    let bytes = attempt["max_rss_bytes"].as_u64();
    eprintln!("{name}: {code} after {wall_s:?} s, {cpu_s:?} s of processors, with {bytes:?} bytes");
    // One that was refused before a process was begun took none.
    assert!(
        cpu_s.is_none_or(|cpu_s| cpu_s < REFUSED_WITHIN_S),
        "{name}: {cpu_s:?} s"
    );
    assert!(
        bytes.is_none_or(|bytes| bytes < REFUSED_WITHIN_BYTES),
        "{name}: {bytes:?} bytes"
    );
}

impl Bait {
    fn new(directory: &Path) -> Self {
        let file = directory.join("bait.ts");
        std::fs::write(&file, "nobody reads this\n").expect("a file to write");
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK).expect("a watch");
        inotify::add_watch(&watch, &file, inotify::WatchFlags::OPEN).expect("a watch");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        Self {
            file,
            watch,
            listener,
        }
    }

    fn path(&self) -> &str {
        self.file.to_str().expect("a plain path")
    }

    fn url(&self) -> String {
        let address = self.listener.local_addr().expect("an address");
        format!("http://{address}/bait.ts")
    }

    /// Whether the file was opened, and whether somebody called, since the last look.
    fn touched(&self) -> (bool, bool) {
        let opened = match rustix::io::read(&self.watch, &mut [0_u8; 4096]) {
            Err(rustix::io::Errno::AGAIN) => false,
            read => read.expect("a watch") > 0,
        };
        (opened, self.listener.accept().is_ok())
    }

    fn assert_untouched(&self, by: &str) {
        let (opened, called) = self.touched();
        assert!(!opened, "{by} led to a file");
        assert!(!called, "{by} led to an address");
    }
}

fn hls(file: &str, url: &str) -> Vec<u8> {
    let head = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:6\n";
    format!("{head}#EXTINF:6,\n{file}\n#EXTINF:6,\n{url}\n#EXT-X-ENDLIST\n").into()
}

fn hls_of_urls(_: &str, url: &str) -> Vec<u8> {
    hls(url, url)
}

fn pls(file: &str, url: &str) -> Vec<u8> {
    format!("[playlist]\nFile1={url}\nFile2={file}\nNumberOfEntries=2\nVersion=2\n").into()
}

fn dash(file: &str, url: &str) -> Vec<u8> {
    format!(
        "<?xml version=\"1.0\"?>\n<!DOCTYPE MPD [<!ENTITY bait SYSTEM \"file://{file}\">]>\n\
         <MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\" \
         mediaPresentationDuration=\"PT6S\" minBufferTime=\"PT1S\" profiles=\"x\"><BaseURL>{url}\
         </BaseURL><Period><AdaptationSet mimeType=\"video/mp4\"><Representation id=\"&bait;\" \
         bandwidth=\"1\"/></AdaptationSet></Period></MPD>\n"
    )
    .into()
}

fn concat(file: &str, url: &str) -> Vec<u8> {
    format!("ffconcat version 1.0\nfile '{file}'\nfile '{url}'\n").into()
}

fn sdp(_: &str, url: &str) -> Vec<u8> {
    let port = url
        .rsplit(':')
        .next()
        .and_then(|rest| rest.split('/').next());
    format!(
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=bait\nc=IN IP4 127.0.0.1\nt=0 0\na=control:{url}\n\
         m=video {} RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        port.unwrap_or("5004")
    )
    .into()
}

fn asx(file: &str, url: &str) -> Vec<u8> {
    format!(
        "<ASX version=\"3.0\"><Entry><Ref href=\"{url}\"/></Entry><Entry><Ref \
         href=\"file://{file}\"/></Entry></ASX>\n"
    )
    .into()
}

fn reference_asf(file: &str, url: &str) -> Vec<u8> {
    format!("[Reference]\r\nRef1={url}\r\nRef2=file://{file}\r\n").into()
}

fn smil(file: &str, url: &str) -> Vec<u8> {
    format!(
        "<smil><body><seq><video src=\"{url}\"/><video src=\"file://{file}\"/></seq></body></smil>\n"
    )
    .into()
}

fn xspf(file: &str, url: &str) -> Vec<u8> {
    format!(
        "<?xml version=\"1.0\"?><playlist version=\"1\" xmlns=\"http://xspf.org/ns/0/\"><trackList>\
         <track><location>{url}</location></track><track><location>file://{file}</location></track>\
         </trackList></playlist>\n"
    )
    .into()
}

fn cue(file: &str, _: &str) -> Vec<u8> {
    format!("FILE \"{file}\" WAVE\n  TRACK 01 AUDIO\n    INDEX 01 00:00:00\n").into()
}

fn script(file: &str, url: &str) -> Vec<u8> {
    format!("#!/bin/sh\ncat {file}\ncurl {url}\n").into()
}

fn svg(file: &str, url: &str) -> Vec<u8> {
    format!(
        "<?xml version=\"1.0\"?>\n<!DOCTYPE svg [<!ENTITY bait SYSTEM \"file://{file}\">\
         <!ENTITY call SYSTEM \"{url}\">]>\n<svg xmlns=\"http://www.w3.org/2000/svg\" \
         xmlns:xlink=\"http://www.w3.org/1999/xlink\" width=\"64\" height=\"64\"><text>&bait;&call;\
         </text><image xlink:href=\"{url}\" width=\"64\" height=\"64\"/><image xlink:href=\"{file}\" \
         width=\"64\" height=\"64\"/></svg>\n"
    )
    .into()
}

fn mvg(file: &str, url: &str) -> Vec<u8> {
    format!(
        "push graphic-context\nviewbox 0 0 64 64\nimage over 0,0 0,0 '{url}'\n\
         image over 0,0 0,0 '{file}'\npop graphic-context\n"
    )
    .into()
}

fn postscript(file: &str, _: &str) -> Vec<u8> {
    format!("%!PS-Adobe-3.0\n({file}) (r) file 64 string readline pop =\nshowpage\n").into()
}

/// QuickTime's reference movie: a movie of nothing but an address.
fn reference_movie(_: &str, url: &str) -> Vec<u8> {
    let length = u32::try_from(url.len() + 1).expect("a short address");
    let text = [url.as_bytes(), &[0]].concat();
    let rdrf = [&[0; 4], &b"url "[..], &length.to_be_bytes(), &text].concat();
    let movie = boxed(
        b"moov",
        &boxed(b"rmra", &boxed(b"rmda", &boxed(b"rdrf", &rdrf))),
    );
    [boxed(b"ftyp", b"qt  \0\0\0\0qt  "), movie].concat()
}

fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let size = u32::try_from(content.len() + 8).expect("a small box");
    [&size.to_be_bytes(), &kind[..], content].concat()
}

/// Puts an address into the data references of a movie whose `moov` is its last box: the media is no
/// longer in the file itself.
fn with_data_reference(mut bytes: Vec<u8>, url: &str) -> Vec<u8> {
    let place = [url.as_bytes(), &[0]].concat();
    let entry = boxed(b"url ", &[0, 0, 0, 1]);
    let at = position(&bytes, &entry);
    bytes.splice(
        at..at + entry.len(),
        boxed(b"url ", &[&[0; 4], &place[..]].concat()),
    );
    for parent in [b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"] {
        let size_at = position(&bytes, parent) - 4;
        let size = &mut bytes[size_at..size_at + 4];
        let grown = u32::from_be_bytes(size.try_into().expect("four bytes")) as usize + place.len();
        size.copy_from_slice(&u32::try_from(grown).expect("a small box").to_be_bytes());
    }
    bytes
}

fn position(bytes: &[u8], part: &[u8]) -> usize {
    let found = bytes.windows(part.len()).position(|window| window == part);
    found.expect("a part of the file")
}
