//! Processes of the product that stay until they are told to stop.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::ffmpeg;
use crate::product::Workplace;

/// What a server says once it answers.
const LISTENING: &str = "listening on http://";

/// A process that listens; killed with its children when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    child: Child,
    /// What it has written to standard error since then.
    said: Arc<Mutex<String>>,
}

impl Server {
    /// `telecine dev`.
    pub(crate) fn development(place: &Workplace) -> Self {
        Self::start(place.telecine(&["dev", "--listen", "127.0.0.1:0"]))
    }

    /// `telecine serve` in a mode, with SQLite unless the command says otherwise.
    pub(crate) fn command(place: &Workplace, mode: &str) -> Command {
        let directory = |name: &str| {
            let directory = place.path().join(name);
            std::fs::create_dir_all(&directory).expect("a directory");
            format!("file://{}", directory.display())
        };
        let mut command = place.telecine(&["serve", "--mode", mode]);
        command
            .env("TELECINE_LISTEN", "127.0.0.1:0")
            .env("TELECINE_WORKER_METRICS_PORT", "0")
            .env("TELECINE_SOURCE_URL", directory("sources"))
            .env("TELECINE_MEDIA_URL", directory("media"));
        command
    }

    /// Starts a command that will listen.
    pub(crate) fn start(mut command: Command) -> Self {
        command.stderr(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().expect("the command starts");
        let mut notes = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut said = String::new();
        let address = loop {
            let mut line = String::new();
            let read = notes.read_line(&mut line).expect("notes");
            assert_ne!(read, 0, "it ended before it listened: {said}");
            if let Some(address) = line.strip_prefix(LISTENING) {
                break address.trim().parse().expect("an address");
            }
            said += &line;
        };
        // Also because a full pipe would stop the process.
        let heard = Arc::new(Mutex::new(said));
        let said = heard.clone();
        std::thread::spawn(move || {
            for line in notes.lines().map_while(Result::ok) {
                let mut heard = heard.lock().expect("nobody panics with it");
                heard.push_str(&line);
                heard.push('\n');
            }
        });
        Self {
            address,
            child,
            said,
        }
    }

    /// What it has written to standard error so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().expect("nobody panics with it").clone()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a process id");
        kill_process(pid, signal).expect("the process can be signalled");
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end.
    pub(crate) fn ended(mut self, within: Duration) -> ExitStatus {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child to wait for") {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "it did not end within {within:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// Makes a clip of so many seconds in the directory of sources of `telecine dev`, or of a server.
pub(crate) fn clip(place: &Workplace, (directory, name): (&str, &str), seconds: u32) {
    let directory = place.path().join(directory);
    std::fs::create_dir_all(&directory).expect("a directory");
    let picture = format!("testsrc2=size=320x180:rate=25:duration={seconds}");
    let file = directory.join(name);
    let file = file.to_str().expect("a path in UTF-8");
    ffmpeg::ffmpeg(&[
        "-f",
        "lavfi",
        "-i",
        &picture,
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-g",
        "25",
        file,
    ]);
}
