use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use telecine_engine::coordinator::Submission;
use telecine_engine::definition::{self, ActivityCatalog, Definition};
use telecine_engine::id::RunId;
use telecine_engine::run::{Snapshot, StoreUrls};
use telecine_object_stores::FsStores;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::{CheckError, Subject, processes};
use crate::app::App;
use crate::config::Database;
use crate::testing::rehearsal::{Order, Plot, REHEARSE, Seen, Twist};

/// Name of the only step.
const STEP: &str = "step";

/// How long the last lines of a process that has ended may take to arrive.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// How much of what a process says to standard error is kept, in bytes.
const STDERR_BYTES: u64 = 64 * 1024;

/// How much of a line that an activity printed is kept, in characters.
const PRINTED_CHARS: usize = 80;

/// How much of an object is hashed at a time.
const DIGEST_BUFFER_BYTES: usize = 64 * 1024;

/// The directories: stores, what nobody should write to, and a place for broken sources.
const DIRECTORIES: [&str; 6] = ["media", "sources", "bad_sources", "tmp", "cwd", "home"];

/// Where a check takes place: a data directory, stores, and directories for what nobody should
/// write; all of it temporary.
#[derive(Debug)]
pub(super) struct Site {
    home: tempfile::TempDir,
    app: App,
    /// What objects were found to hold: a set is looked at several times in each trial.
    digests: Mutex<BTreeMap<PathBuf, (Look, String)>>,
}

/// What a file looks like from outside: it has not been written to while this stays the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) size: u64,
    inode: u64,
    modified: Option<SystemTime>,
}

impl Look {
    pub(super) fn at(path: &Path) -> std::io::Result<Self> {
        let found = std::fs::symlink_metadata(path)?;
        Ok(Self {
            size: found.size(),
            inode: found.ino(),
            modified: found.modified().ok(),
        })
    }
}

/// One process that worked on a run.
#[derive(Debug)]
pub(super) struct Performance {
    /// What it told, and when.
    pub(super) seen: Vec<(Duration, Seen)>,
    /// Whether it had to be killed because it took too long.
    pub(super) hung: bool,
    /// How it ended; it may have been killed.
    pub(super) status: ExitStatus,
    /// The first line that the activity printed itself.
    pub(super) printed: Option<String>,
    /// Processes that outlived it.
    pub(super) survivors: usize,
}

/// An object in the store of results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) size: u64,
    pub(super) sha256: String,
}

/// Objects by key.
pub(super) type Objects = BTreeMap<String, Object>;

/// What a process is given to do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Act<'a> {
    pub(super) run: &'a RunId,
    /// What is done to the activity.
    pub(super) plot: Option<Plot>,
    /// An object that it is told to be damaged.
    pub(super) lost: Option<&'a str>,
}

/// Limits of a process: how long it may work, how long what it started gets to be gone, and how
/// long a drained activity gets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) work: Duration,
    pub(super) patience: Duration,
    pub(super) grace: Duration,
}

impl Site {
    pub(super) async fn new() -> Result<Self, CheckError> {
        let home = tempfile::tempdir()?;
        for name in DIRECTORIES {
            std::fs::create_dir(home.path().join(name))?;
        }
        let app = App::open(
            &Database::Directory(home.path().join("data")),
            Arc::new(FsStores),
        )
        .await
        .map_err(|error| CheckError(error.to_string()))?;
        Ok(Self {
            home,
            app,
            digests: Mutex::default(),
        })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Makes a run of one step with that input; `None` if the definition itself is refused.
    pub(super) async fn submit(
        &self,
        subject: &Subject,
        input: &Value,
        sources: &Path,
    ) -> Result<Option<RunId>, CheckError> {
        let Ok(definition) = definition_for(subject, input) else {
            return Ok(None);
        };
        let url = |path: &Path| format!("file://{}", path.display());
        let submission = Submission {
            definition: Arc::new(definition),
            input: json!({"with": input}),
            stores: StoreUrls {
                source: url(sources),
                media: url(&self.path("media")),
            },
            queue: None,
            priority: 0,
            labels: BTreeMap::new(),
            force: true,
        };
        let submitted = self.app.coordinator.submit(submission).await;
        let submitted = submitted.map_err(|error| CheckError(error.to_string()))?;
        Ok(Some(submitted.run))
    }

    /// Lets a process work on a run until the run stops, the plot is fulfilled or its time is over.
    pub(super) async fn perform(
        &self,
        subject: &Subject,
        Act { run, plot, lost }: Act<'_>,
        limits: Limits,
    ) -> Result<Performance, CheckError> {
        let order = Order {
            data: self.path("data"),
            scratch: self.path("scratch"),
            run: run.clone(),
            plot,
            damaged: lost.map(str::to_owned).into_iter().collect(),
            grace: limits.grace,
        };
        let (mut child, stdin) = self.start(&subject.program, &order).await?;
        let mut heard = Heard::default();
        let stops_there = plot.is_some_and(|plot| plot.twist == Twist::Hold);
        let listened = listen(&mut child, &mut heard, stops_there);
        let hung = tokio::time::timeout(limits.work, listened).await.is_err();
        if hung || stops_there {
            let _ = child.start_kill();
        }
        let status = child.wait().await?;
        drop(stdin);
        Ok(Performance {
            seen: heard.seen,
            hung,
            status,
            printed: heard.printed,
            survivors: processes::survivors(self.home.path(), limits.patience).await,
        })
    }

    /// Starts a process. It ends when its standard input does, which is handed out for that.
    async fn start(
        &self,
        program: &Path,
        order: &Order,
    ) -> Result<(Child, ChildStdin), CheckError> {
        let mut command = Command::new(program);
        if let Some(cache) = cache_directory() {
            command.env("XDG_CACHE_HOME", cache);
        }
        let mut child = command
            .arg(REHEARSE)
            .current_dir(self.path("cwd"))
            .env("TMPDIR", self.path("tmp"))
            .env("HOME", self.path("home"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(self.path("stderr"))?)
            .kill_on_drop(true)
            .spawn()?;
        let mut line = serde_json::to_vec(order).map_err(|e| CheckError(e.to_string()))?;
        line.push(b'\n');
        let stdin = child.stdin.take();
        let mut stdin = stdin.ok_or_else(|| CheckError("the process has no pipes".to_owned()))?;
        stdin.write_all(&line).await?;
        Ok((child, stdin))
    }

    /// The end of what the last process said to standard error.
    pub(super) fn stderr(&self) -> String {
        let text = std::fs::read(self.path("stderr")).unwrap_or_default();
        let from = text.len().saturating_sub(STDERR_BYTES as usize);
        String::from_utf8_lossy(&text[from..]).into_owned()
    }

    pub(super) async fn snapshot(&self, run: &RunId) -> Result<Snapshot, CheckError> {
        let snapshot = self.app.store().snapshot(run).await;
        snapshot.map_err(|error| CheckError(error.to_string()))
    }

    /// Every object in the store of results.
    pub(super) fn objects(&self) -> Result<Objects, CheckError> {
        let root = self.path("media");
        let mut objects = Objects::new();
        for path in files_below(&root)? {
            let key = path.strip_prefix(&root).unwrap_or(&path);
            let key = key.display().to_string();
            objects.insert(key, self.object(path)?);
        }
        Ok(objects)
    }

    /// Takes an object away.
    pub(super) fn lose(&self, key: &str) -> Result<(), CheckError> {
        Ok(std::fs::remove_file(self.path("media").join(key))?)
    }

    /// An object; it is read if it looks otherwise than when it was read last.
    fn object(&self, path: PathBuf) -> std::io::Result<Object> {
        let look = Look::at(&path)?;
        let mut digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        let known = digests.get(&path).filter(|(known, _)| *known == look);
        let sha256 = match known {
            Some((_, sha256)) => sha256.clone(),
            None => digest(&path)?,
        };
        let size = look.size;
        digests.insert(path, (look, sha256.clone()));
        Ok(Object { size, sha256 })
    }

    /// Takes away what lies below a directory that is to be empty, and answers the first of it.
    pub(super) fn clear(&self, name: &str) -> Result<Option<PathBuf>, CheckError> {
        let directory = self.path(name);
        if !directory.exists() {
            return Ok(None);
        }
        let first = std::fs::read_dir(&directory)?.next().transpose()?;
        std::fs::remove_dir_all(&directory)?;
        std::fs::create_dir(&directory)?;
        Ok(first.map(|entry| PathBuf::from(entry.file_name())))
    }
}

/// The directory for caches of whoever runs the kit. Processes keep it although they have a home of
/// their own: media libraries take seconds to fill an empty one.
fn cache_directory() -> Option<PathBuf> {
    if std::env::var_os("XDG_CACHE_HOME").is_some() {
        return None;
    }
    std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"))
}

/// What was heard of a process.
#[derive(Debug, Default)]
struct Heard {
    seen: Vec<(Duration, Seen)>,
    /// The first line that is not the rehearsal's.
    printed: Option<String>,
}

/// Reads what a process tells until it ends, or until the moment to kill it has come.
async fn listen(child: &mut Child, heard: &mut Heard, stops_there: bool) {
    let Some(stdout) = child.stdout.take() else {
        return;
    };
    let mut ear = Ear {
        lines: BufReader::new(stdout).lines(),
        started: Instant::now(),
        stops_there,
        heard,
    };
    tokio::select! {
        () = ear.hear() => return,
        _ = child.wait() => {}
    }
    // What it started may keep the pipe open.
    let _ = tokio::time::timeout(LAST_WORDS, ear.hear()).await;
}

struct Ear<'a> {
    lines: Lines<BufReader<ChildStdout>>,
    started: Instant,
    stops_there: bool,
    heard: &'a mut Heard,
}

impl Ear<'_> {
    async fn hear(&mut self) {
        while let Ok(Some(line)) = self.lines.next_line().await {
            let Ok(told) = serde_json::from_str::<Seen>(&line) else {
                self.overhear(&line);
                continue;
            };
            let is_moment = told == Seen::Reached;
            self.heard.seen.push((self.started.elapsed(), told));
            if is_moment && self.stops_there {
                return;
            }
        }
    }

    /// Keeps what the activity printed. Each line of the rehearsal has an empty one before it.
    fn overhear(&mut self, line: &str) {
        if !line.is_empty() && self.heard.printed.is_none() {
            self.heard.printed = Some(line.chars().take(PRINTED_CHARS).collect());
        }
    }
}

/// A workflow with the activity as its only step. Each member of the input is an expression, so
/// that what is in it reaches the activity as it is.
pub(super) fn definition_for(subject: &Subject, input: &Value) -> Result<Definition, CheckError> {
    let members = input.as_object().into_iter().flat_map(Map::keys);
    let with: Map<String, Value> = members
        .map(|name| {
            let quoted = Value::from(name.as_str());
            (
                name.clone(),
                format!("${{{{ input.with[{quoted}] }}}}").into(),
            )
        })
        .collect();
    let text = json!({
        "workflow": "check:activity",
        "version": 1,
        "input": {"type": "object", "properties": {"with": {}}},
        "steps": {STEP: {"activity": subject.title(), "with": with, "retry": {"max_attempts": 1}}},
    });
    definition::validate(&text.to_string(), subject).map_err(|errors| {
        let said: Vec<_> = errors.iter().map(|error| error.message.as_str()).collect();
        CheckError(said.join("; "))
    })
}

impl ActivityCatalog for Subject {
    fn input_schema(&self, name: &str, version: u32) -> Option<Value> {
        (name == self.name && version == self.version).then(|| self.input_schema.clone())
    }

    fn output_schema(&self, name: &str, version: u32) -> Option<Value> {
        (name == self.name && version == self.version).then(|| self.output_schema.clone())
    }

    fn names(&self) -> Vec<String> {
        vec![self.title()]
    }
}

fn files_below(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

/// SHA-256 of a file, hex.
fn digest(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; DIGEST_BUFFER_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    let digest = hasher.finalize();
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}
