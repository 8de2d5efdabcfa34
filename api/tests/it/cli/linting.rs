//! `telecine lint` on sets in directories and behind addresses.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::Answer;
use crate::ffmpeg::ffmpeg;
use crate::product::Workplace;

/// Playlists that lead to no segment: enough where only the way to the files matters.
const MASTER: &str = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=100000\nvideo.m3u8\n";

/// Three seconds of video in one rendition, as ffmpeg makes them: not a perfect set.
fn make_set(directory: &Path) {
    std::fs::create_dir(directory).expect("a directory");
    let at = |name: &str| directory.join(name).display().to_string();
    let source = ["-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=3"];
    let codec = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25"];
    let hls = ["-f", "hls", "-hls_time", "1", "-hls_playlist_type", "vod"];
    let (segments, playlist) = (at("s%d.m4s"), at("main.m3u8"));
    let names = [
        "-hls_segment_type",
        "fmp4",
        "-hls_segment_filename",
        &segments,
        &playlist,
    ];
    ffmpeg(&[&source[..], &codec, &hls, &names].concat());
}

fn findings(answer: &Answer) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let report = answer.json();
    let list = report["findings"].as_array().expect("findings").iter();
    list.map(|finding| (text(&finding["rule"]), text(&finding["message"])))
        .collect()
}

fn rules(answer: &Answer) -> Vec<String> {
    findings(answer).into_iter().map(|(rule, _)| rule).collect()
}

/// The exit code for a set that could not be judged.
const UNJUDGED: i32 = 5;

/// What a server answers to the path of a request, to the end of the connection.
type Respond = dyn Fn(&str, &mut TcpStream) + Send + Sync;

/// A server on the loopback interface for as long as the test program runs.
struct Server {
    address: SocketAddr,
    /// The paths that were asked for, in order.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(respond: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (log, respond): (_, Arc<Respond>) = (asked.clone(), Arc::new(respond));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, respond) = (log.clone(), respond.clone());
                std::thread::spawn(move || answer(stream, &log, respond.as_ref()));
            }
        });
        Self { address, asked }
    }

    /// Serves files by their paths; `404` for others.
    fn of(files: &[(&str, &str)]) -> Self {
        let files: BTreeMap<String, String> = files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
            .collect();
        Self::start(move |path, stream| match files.get(path) {
            Some(text) => ok(stream, text.as_bytes()),
            None => head(stream, "404 Not Found", ""),
        })
    }

    /// Serves a directory.
    fn of_directory(root: PathBuf) -> Self {
        Self::start(
            move |path, stream| match std::fs::read(root.join(&path[1..])) {
                Ok(bytes) => ok(stream, &bytes),
                Err(_) => head(stream, "404 Not Found", ""),
            },
        )
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }
}

/// Answers one request; the connection ends with it.
fn answer(mut stream: TcpStream, log: &Mutex<Vec<String>>, respond: &Respond) {
    let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
    let Some(Ok(request)) = lines.next() else {
        return;
    };
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    while lines
        .next()
        .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
    {}
    log.lock().expect("no panic").push(path.clone());
    respond(&path, &mut stream);
}

/// Writes the head of an answer. Clients may leave at any time.
fn head(stream: &mut TcpStream, status: &str, more: &str) {
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nConnection: close\r\n{more}\r\n"
    );
}

fn ok(stream: &mut TcpStream, body: &[u8]) {
    head(
        stream,
        "200 OK",
        &format!("Content-Length: {}\r\n", body.len()),
    );
    let _ = stream.write_all(body);
}

fn lint(place: &Workplace, set: &str) -> Answer {
    place.call(&["lint", set, "--no-decode", "-o", "json"])
}

/// The set could not be judged, and the last line on standard error says why.
fn assert_unjudged(answer: &Answer, says: &[&str]) {
    assert_eq!(answer.code, Some(UNJUDGED), "{answer:#?}");
    let last = answer.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("error: "), "{answer:#?}");
    for text in says {
        assert!(last.contains(text), "{text:?} in {answer:#?}");
    }
    assert_eq!(answer.stdout, "", "{answer:#?}");
}

#[test]
fn every_rule_is_listed_without_a_set() {
    let place = Workplace::new();
    let table = place.call(&["lint", "--rules"]);
    assert_eq!(table.code, Some(0), "{table:#?}");
    let json = place.call(&["lint", "--rules", "-o", "json"]).json();
    let list = json.as_array().expect("a list");
    assert!(list.len() > 50, "{}", list.len());
    for rule in list {
        let text = |name: &str| rule[name].as_str().expect("a text");
        let id = text("rule");
        assert!(table.stdout.contains(id), "{id}");
        let graded = ["error", "warning"];
        assert!(
            graded.iter().any(|word| text("severity").starts_with(word)),
            "{rule}"
        );
        assert!(
            !text("says").is_empty() && !text("source").is_empty(),
            "{rule}"
        );
    }
    assert_eq!(place.call(&["lint"]).code, Some(2), "a set or --rules");
    assert_eq!(
        place.call(&["lint", "--rules", "x"]).code,
        Some(2),
        "not both"
    );
}

#[test]
fn a_set_that_is_not_there_is_not_found() {
    let place = Workplace::new();
    std::fs::create_dir(place.path().join("empty")).unwrap();
    lint(&place, "gone").assert_error(3, &["there is no directory or playlist gone"]);
    lint(&place, "empty").assert_error(3, &["there is no playlist", "empty"]);
    place.write("empty/a.m3u8", MASTER);
    place.write("empty/b.m3u8", MASTER);
    lint(&place, "empty").assert_error(2, &["several playlists", "name one"]);
}

#[test]
fn a_foreign_set_passes_but_not_by_the_rules_of_the_house_and_a_broken_frame_is_found() {
    let place = Workplace::new();
    let set = place.path().join("set");
    make_set(&set);
    let segment = set.join("s1.m4s");
    let whole = place.call(&["lint", "set", "-o", "json"]);
    assert_eq!(whole.code, Some(0), "{whole:#?}");
    assert_eq!(whole.json()["error_count"], 0, "{whole:#?}");
    let strict = place.call(&["lint", "set", "--strict", "--no-decode"]);
    assert_eq!(strict.code, Some(1), "{strict:#?}");
    let mut bytes = std::fs::read(&segment).unwrap();
    let mdat = bytes.windows(4).position(|four| four == b"mdat").unwrap();
    // Behind the slice header of the first picture.
    for byte in &mut bytes[mdat + 200..mdat + 1200] {
        *byte = !*byte;
    }
    std::fs::write(&segment, bytes).unwrap();
    let decoded = place.call(&["lint", "set", "-o", "json"]);
    let boxes = lint(&place, "set");
    assert_eq!(decoded.code, Some(1), "{decoded:#?}");
    assert!(
        rules(&decoded).contains(&"decode".to_owned()),
        "{decoded:#?}"
    );
    assert!(!rules(&boxes).contains(&"decode".to_owned()), "{boxes:#?}");
}

#[test]
fn thumbnails_beside_a_set_are_judged_with_it_and_alone() {
    let place = Workplace::new();
    make_set(&place.path().join("set"));
    let index = |rectangle: &str| {
        let cue = format!("00:00.000 --> 00:01.000\nsheet.gif#xywh={rectangle}\n");
        place.write("set/sprites/sprites.vtt", &format!("WEBVTT\n\n{cue}"));
    };
    std::fs::create_dir(place.path().join("set/sprites")).unwrap();
    // The head of a picture of 32x18.
    place.write("set/sprites/sheet.gif", "GIF89a \0\x12\0\0\0\0\0");
    index("0,0,32,18");
    let right = lint(&place, "set");
    assert_eq!(right.code, Some(0), "{right:#?}");
    index("1,0,32,18");
    let server = Server::of_directory(place.path().to_owned());
    let far = server.url("/set/sprites/sprites.vtt");
    for set in ["set", "set/sprites/sprites.vtt", &far] {
        let wrong = lint(&place, set);
        assert_eq!(wrong.code, Some(1), "{wrong:#?}");
        assert!(
            rules(&wrong).contains(&"vtt-picture".to_owned()),
            "{wrong:#?}"
        );
    }
}

#[test]
fn a_served_set_has_the_findings_of_the_same_set_in_a_directory() {
    let place = Workplace::new();
    let set = place.path().join("set");
    make_set(&set);
    let near = lint(&place, "set");
    let server = Server::of_directory(place.path().to_owned());
    let far = lint(&place, &server.url("/set/main.m3u8"));
    assert_eq!(far.code, near.code, "{far:#?}");
    assert_eq!(findings(&far), findings(&near));
    let mut asked = server.asked();
    asked.sort();
    let all = ["init.mp4", "main.m3u8", "s0.m4s", "s1.m4s", "s2.m4s"];
    assert_eq!(
        asked,
        all.map(|name| format!("/set/{name}")),
        "each is fetched once"
    );
}

#[test]
fn what_a_server_does_not_have_is_a_finding_and_no_playlist_is_none() {
    let place = Workplace::new();
    let server = Server::of(&[("/set/master.m3u8", MASTER)]);
    let answer = lint(&place, &server.url("/set/"));
    assert_eq!(answer.code, Some(1), "{answer:#?}");
    assert!(
        rules(&answer).contains(&"hls-uri-exists".to_owned()),
        "{answer:#?}"
    );
    assert_eq!(server.asked(), ["/set/master.m3u8", "/set/video.m3u8"]);
    let other = lint(&place, &server.url("/other.m3u8"));
    assert_eq!(other.code, Some(3), "{other:#?}");
    assert!(
        other.stderr.contains("there is no playlist at http"),
        "{other:#?}"
    );
}

#[test]
fn a_server_that_fails_or_is_not_there_is_told_and_is_no_finding() {
    let place = Workplace::new();
    let failing = Server::start(|_, stream| head(stream, "500 Internal Server Error", ""));
    let failed = lint(&place, &failing.url("/a.m3u8"));
    assert_unjudged(&failed, &["cannot fetch", "500"]);
    let gone = TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap();
    let unreachable = lint(&place, &format!("http://{gone}/a.m3u8"));
    assert_unjudged(
        &unreachable,
        &["cannot fetch", "no connection: ", "refused"],
    );
    let short = Server::start(|_, stream| {
        head(stream, "200 OK", "Content-Length: 100\r\n");
        let _ = stream.write_all(b"#EXTM3U\n");
    });
    let url = short.url("/a.m3u8");
    assert_unjudged(&lint(&place, &url), &[&url, "the answer breaks off: "]);
    let plain = url.replace("http:", "https:");
    assert_unjudged(&lint(&place, &plain), &[&plain, "no connection: "]);
    lint(&place, "http://[::1/a.m3u8").assert_error(2, &["is no address"]);
}

#[test]
fn redirects_are_followed_on_the_same_host_only_and_not_for_ever() {
    let place = Workplace::new();
    let other = Server::of(&[("/master.m3u8", MASTER)]);
    let away = other.url("/master.m3u8");
    let server = Server::start(move |path, stream| {
        let to = |stream: &mut TcpStream, place: &str| {
            head(
                stream,
                "302 Found",
                &format!("Location: {place}\r\nContent-Length: 0\r\n"),
            );
        };
        match path {
            "/moved.m3u8" => to(stream, "/here/master.m3u8"),
            "/here/master.m3u8" => ok(stream, MASTER.as_bytes()),
            "/away.m3u8" => to(stream, &away),
            "/file.m3u8" => to(stream, "file:///etc/passwd"),
            "/round.m3u8" => to(stream, "/round.m3u8"),
            _ => head(stream, "404 Not Found", ""),
        }
    });
    let moved = lint(&place, &server.url("/moved.m3u8"));
    assert_eq!(moved.code, Some(1), "{moved:#?}");
    assert!(
        rules(&moved).contains(&"hls-uri-exists".to_owned()),
        "{moved:#?}"
    );
    let reasons = [
        (
            "away",
            "a redirect is not followed: the server redirects to another host",
        ),
        ("file", "302"),
        ("round", "too often"),
    ];
    for (name, why) in reasons {
        let answer = lint(&place, &server.url(&format!("/{name}.m3u8")));
        assert_unjudged(&answer, &["cannot fetch", why]);
    }
    assert_eq!(other.asked(), [""; 0], "the other host was left alone");
}

#[test]
fn a_playlist_does_not_lead_out_of_its_set() {
    let place = Workplace::new();
    let other = Server::of(&[]);
    let master = [
        "#EXTM3U".to_owned(),
        other.url("/video.m3u8"),
        "file:///etc/passwd".to_owned(),
        "../../secret.m3u8".to_owned(),
        "%2e%2e/secret.m3u8".to_owned(),
        "/secret.m3u8".to_owned(),
    ]
    .join("\n#EXT-X-STREAM-INF:BANDWIDTH=100000\n");
    let files = [
        ("/set/master.m3u8", &*format!("{master}\n")),
        ("/secret.m3u8", "#EXTM3U\n"),
    ];
    let server = Server::of(&files);
    let answer = lint(&place, &server.url("/set/master.m3u8"));
    let refused = rules(&answer);
    let refused = refused.iter().filter(|rule| *rule == "hls-uri").count();
    assert_eq!(refused, 5, "{answer:#?}");
    assert_eq!(server.asked(), ["/set/master.m3u8"]);
    assert_eq!(other.asked(), [""; 0]);
}

/// A playlist has 8 MiB at most; a server that sends for ever is not read further than that.
#[test]
fn a_playlist_without_end_is_cut_off() {
    let place = Workplace::new();
    let server = Server::start(|_, stream| {
        head(stream, "200 OK", "");
        let comments = "# x\n".repeat(16_384);
        let _ = stream.write_all(b"#EXTM3U\n");
        while stream.write_all(comments.as_bytes()).is_ok() {}
    });
    let answer = lint(&place, &server.url("/a.m3u8"));
    assert_eq!(answer.code, Some(1), "{answer:#?}");
    assert!(
        rules(&answer).contains(&"too-much".to_owned()),
        "{answer:#?}"
    );
}
