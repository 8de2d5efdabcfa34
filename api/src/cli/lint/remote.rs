//! Fetches a set: one playlist, and what it leads to below the same address.

mod transfer;

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::{Client, Response, StatusCode, Url, redirect};
use telecine_activities::lint::{
    MAX_HEADER_BYTES, MAX_PICTURE_BYTES, MAX_PLAYLIST_BYTES, MAX_SEGMENT_BYTES, Part, Reference,
    Target, references,
};
use tokio::io::AsyncWriteExt as _;

use super::{Set, telling};
use crate::cli::Session;
use crate::cli::exit::CliError;
use crate::cli::run::source::writable_directory;
use transfer::{CONNECT_TIMEOUT, PATIENCE, Transfer};

/// Redirects that are followed, all of them on the same host.
const MAX_REDIRECTS: usize = 5;

/// What is fetched of one set, in bytes: two hours at 16 Mbit/s.
const MAX_SET_BYTES: u64 = 16 << 30;

/// The playlist that an address means which ends with a slash.
const DEFAULT_ENTRY: &str = "master.m3u8";

/// Files of a set that are fetched; a day in four renditions of 6 s segments has 57,600.
const MAX_FILES: usize = 100_000;

/// How long fetching may take.
const MAX_DURATION: Duration = Duration::from_hours(6);

/// Fetches what of a set is judged into a directory that is removed with the answer.
///
/// # Errors
/// Not found if the playlist is not there, unjudged if the set cannot be fetched to its end. What
/// else is not there is left out: the linter says so.
pub(super) async fn fetch(address: &str, session: &Session) -> Result<Set, CliError> {
    let mut url = Url::parse(address)
        .map_err(|error| CliError::usage(format!("{address} is no address: {error}")))?;
    if url.path().ends_with('/') {
        url = url
            .join(DEFAULT_ENTRY)
            .map_err(|error| CliError::usage(format!("{address}: {error}")))?;
    }
    let entry = url.path().rsplit('/').next().unwrap_or_default().to_owned();
    let scratch = writable_directory(&session.config.scratch_dir)?;
    let directory = tempfile::Builder::new()
        .prefix("lint-")
        .tempdir_in(scratch)
        .map_err(|error| CliError::unjudged(format!("cannot make a directory: {error}")))?;
    let place = directory.path().display();
    session.console.note(&format!("fetching into {place}"));
    let fetched = Fetched::default();
    let mut mirror = Mirror {
        client: client()?,
        base: url.clone(),
        root: directory.path(),
        files: BTreeSet::new(),
        fetched: &fetched,
    };
    let fetching = tokio::time::timeout(MAX_DURATION, mirror.set(&entry, url));
    let so_far = || session.console.note(&format!("{} so far", fetched.said()));
    let hours = MAX_DURATION.as_secs() / 3600;
    let late = |_| CliError::unjudged(format!("the set was not fetched within {hours} hours"));
    telling(so_far, fetching).await.map_err(late)??;
    session.console.note(&fetched.said());
    Ok(Set {
        root: directory.path().to_owned(),
        entries: vec![entry],
        _fetched: Some(directory),
    })
}

fn client() -> Result<Client, CliError> {
    // A second call finds the one that the first installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let same_host = redirect::Policy::custom(|attempt| {
        let first = attempt.previous().first().map(Url::origin);
        if first != Some(attempt.url().origin()) {
            attempt.error("the server redirects to another host")
        } else if attempt.previous().len() > MAX_REDIRECTS {
            attempt.error("the server redirects too often")
        } else {
            attempt.follow()
        }
    });
    Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(same_host)
        .user_agent(concat!("telecine/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| CliError::unjudged(format!("cannot start the HTTP client: {error}")))
}

/// What came.
#[derive(Debug, Default)]
struct Fetched {
    files: AtomicU64,
    bytes: AtomicU64,
}

impl Fetched {
    fn said(&self) -> String {
        let [files, bytes] = [&self.files, &self.bytes].map(|count| count.load(Ordering::Relaxed));
        format!("fetched {files} files, {bytes} bytes")
    }
}

struct Mirror<'a> {
    client: Client,
    base: Url,
    root: &'a Path,
    /// What was asked for.
    files: BTreeSet<String>,
    fetched: &'a Fetched,
}

impl Mirror<'_> {
    /// A playlist and everything that it leads to.
    async fn set(&mut self, entry: &str, url: Url) -> Result<(), CliError> {
        self.files.insert(entry.to_owned());
        match self.file(entry, url, MAX_PLAYLIST_BYTES).await? {
            Answer::Fetched => self.rest(entry).await,
            Answer::Missing(status) => {
                let what = format!("there is no playlist at {}: {status}", self.base);
                Err(CliError::not_found(what))
            }
            Answer::Refused(status) => {
                let what = format!("the server refuses {}: {status}", self.base);
                Err(CliError::unjudged(what))
            }
        }
    }

    /// Everything that a playlist leads to.
    async fn rest(&mut self, entry: &str) -> Result<(), CliError> {
        let mut playlists = VecDeque::from([entry.to_owned()]);
        while let Some(playlist) = playlists.pop_front() {
            let text = tokio::fs::read(self.root.join(&playlist))
                .await
                .map_err(unwritable)?;
            for (path, target, limit) in wanted(&playlist, &text) {
                if !self.files.insert(path.clone()) {
                    continue;
                }
                if self.files.len() > MAX_FILES {
                    let what = format!("the set has more than {MAX_FILES} files");
                    return Err(CliError::unjudged(what));
                }
                let url = self.address(&path)?;
                let answer = self.file(&path, url, limit).await?;
                if matches!(answer, Answer::Fetched) && target == Target::Playlist {
                    playlists.push_back(path);
                }
            }
        }
        Ok(())
    }

    /// The address of a path below that of the set.
    fn address(&self, path: &str) -> Result<Url, CliError> {
        let mut url = self.base.clone();
        // As a player resolves it: the query of a playlist is not that of what it names.
        url.set_query(None);
        url.path_segments_mut()
            .map_err(|()| CliError::usage("the address has no path"))?
            .pop()
            .extend(path.split('/'));
        Ok(url)
    }

    /// Fetches a file. One that is larger than the limit ends one
    /// byte behind it, so that the linter sees that it is too large.
    async fn file(&mut self, path: &str, url: Url, limit: u64) -> Result<Answer, CliError> {
        let mut transfer = Transfer::begin(url.clone(), PATIENCE);
        let response = transfer.next(self.client.get(url).send()).await?;
        transfer.heard(0);
        match response.status() {
            status if status.is_success() => {}
            status @ (StatusCode::NOT_FOUND | StatusCode::GONE) => {
                return Ok(Answer::Missing(status));
            }
            // Some stores answer so for what is not there.
            status @ (StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED) => {
                return Ok(Answer::Refused(status));
            }
            status => return Err(transfer.failed(status)),
        }
        let to = self.root.join(path);
        if let Some(directory) = to.parent() {
            tokio::fs::create_dir_all(directory)
                .await
                .map_err(unwritable)?;
        }
        let file = tokio::fs::File::create(to).await.map_err(unwritable)?;
        self.copy((transfer, response), file, limit).await?;
        self.fetched.files.fetch_add(1, Ordering::Relaxed);
        Ok(Answer::Fetched)
    }

    async fn copy(
        &self,
        (mut transfer, mut response): (Transfer, Response),
        mut file: tokio::fs::File,
        limit: u64,
    ) -> Result<(), CliError> {
        while let Some(piece) = transfer.next(response.chunk()).await? {
            transfer.heard(piece.len());
            let size = piece.len() as u64;
            if self.fetched.bytes.fetch_add(size, Ordering::Relaxed) + size > MAX_SET_BYTES {
                let limit = MAX_SET_BYTES >> 30;
                let what = format!("the set has more than {limit} GiB");
                return Err(CliError::unjudged(what));
            }
            file.write_all(&piece).await.map_err(unwritable)?;
            if transfer.bytes() > limit {
                break;
            }
        }
        file.flush().await.map_err(unwritable)
    }
}

/// How a server answers.
enum Answer {
    Fetched,
    Missing(StatusCode),
    Refused(StatusCode),
}

/// The files that a playlist leads to, each once, with the most that is fetched of them. Of a file
/// in parts as much is fetched as of a whole set: the parts have limits of their own.
fn wanted(playlist: &str, text: &[u8]) -> Vec<(String, Target, u64)> {
    let references = references(playlist, text);
    let mut in_parts = BTreeSet::new();
    for reference in &references {
        if reference.part != Part::Whole {
            in_parts.insert(reference.path.clone());
        }
    }
    let wanted = references
        .into_iter()
        .map(|Reference { path, target, .. }| {
            let limit = match target {
                _ if in_parts.contains(&path) => MAX_SET_BYTES,
                Target::Playlist | Target::PlaylistAlone => MAX_PLAYLIST_BYTES,
                Target::Header => MAX_HEADER_BYTES,
                Target::Segment => MAX_SEGMENT_BYTES,
                Target::Picture => MAX_PICTURE_BYTES,
            };
            (path, target, limit)
        });
    wanted.collect()
}

fn unwritable(error: std::io::Error) -> CliError {
    CliError::unjudged(format!("cannot write what was fetched: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Header and segments in one file, which is larger than any of them may be.
    const PARTS: &[u8] = b"#EXTM3U\n#EXT-X-MAP:URI=\"a.mp4\",BYTERANGE=\"719@0\"\n#EXTINF:6,\n\
        #EXT-X-BYTERANGE:9000000@719\na.mp4\n#EXTINF:6,\n#EXT-X-BYTERANGE:9000000\na.mp4\n\
        #EXT-X-ENDLIST\n";

    #[test]
    fn a_file_in_parts_may_be_as_large_as_a_set() {
        let wanted = wanted("a.m3u8", PARTS);
        assert!(wanted.len() >= 2);
        for (path, _, limit) in wanted {
            assert_eq!((path.as_str(), limit), ("a.mp4", MAX_SET_BYTES));
        }
    }

    #[test]
    fn segments_that_are_not_judged_are_not_fetched() {
        let master =
            b"#EXTM3U\n#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"s\",NAME=\"s\",URI=\"s.m3u8\"\n\
            #EXT-X-STREAM-INF:BANDWIDTH=1,SUBTITLES=\"s\"\nv.m3u8\n\
            #EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI=\"i.m3u8\"\n";
        let mut playlists: Vec<_> = wanted("master.m3u8", master)
            .into_iter()
            .map(|(path, target, _)| (path, target == Target::Playlist))
            .collect();
        playlists.sort();
        let kinds = [("i.m3u8", false), ("s.m3u8", false), ("v.m3u8", true)];
        assert_eq!(
            playlists,
            kinds.map(|(path, goes_on)| (path.to_owned(), goes_on))
        );
        let streams = b"#EXTM3U\n#EXTINF:6,\na.ts\n#EXTINF:6,\nb.ts\n#EXT-X-ENDLIST\n";
        let paths: Vec<_> = wanted("v.m3u8", streams).into_iter().map(|w| w.0).collect();
        assert_eq!(paths, ["a.ts"], "one tells what all of them are");
    }

    #[test]
    fn the_query_of_a_playlist_is_not_that_of_its_segments() {
        let base = Url::parse("https://h/set/m.m3u8?token=t").unwrap();
        let mirror = Mirror {
            client: client().unwrap(),
            base,
            root: Path::new("."),
            files: BTreeSet::new(),
            fetched: &Fetched::default(),
        };
        let address = mirror.address("video/a b.m4s").unwrap();
        assert_eq!(address.as_str(), "https://h/set/video/a%20b.m4s");
    }
}
