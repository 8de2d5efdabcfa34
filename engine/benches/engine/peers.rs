//! What one might use instead of telecine. `engine/benches/peers` says how each is set up; `./x bench
//! engine` installs them and says in `TELECINE_BENCH_PEERS_DIR` where.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

/// How long one of the commands that set up a database may take.
const SET_UP: Duration = Duration::from_secs(60);

/// One of them.
#[derive(Debug)]
pub(crate) struct Peer {
    /// As `TELECINE_BENCH_PEERS` names it.
    pub(crate) name: &'static str,
    title: &'static str,
    /// When a step of its counts as done.
    pub(crate) durability: &'static str,
    package: Package,
    program: &'static str,
    pub(crate) state: State,
    /// Commands that set up its database, without its address.
    set_up: &'static [&'static [&'static str]],
}

#[derive(Debug)]
enum Package {
    Npm(&'static str),
    PyPi(&'static str),
}

/// Where a peer keeps its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Postgres,
    /// In files of its own.
    Directory,
}

pub(crate) const PEERS: [Peer; 5] = [
    Peer {
        name: "restate",
        title: "Restate, TypeScript",
        durability: "each step, in a log of its own",
        package: Package::Npm("@restatedev/restate-sdk"),
        program: "restate.mjs",
        state: State::Directory,
        set_up: &[],
    },
    Peer {
        name: "dbos-typescript",
        title: "DBOS, TypeScript",
        durability: "each step, its own commit",
        package: Package::Npm("@dbos-inc/dbos-sdk"),
        program: "dbos.mjs",
        state: State::Postgres,
        set_up: &[],
    },
    Peer {
        name: "dbos-python",
        title: "DBOS, Python",
        durability: "each step, its own commit",
        package: Package::PyPi("dbos"),
        program: "dbos_python.py",
        state: State::Postgres,
        set_up: &[],
    },
    Peer {
        name: "absurd",
        title: "absurd, TypeScript",
        durability: "each step, its own commit",
        package: Package::Npm("absurd-sdk"),
        program: "absurd.mjs",
        state: State::Postgres,
        set_up: &[&["init"], &["create-queue", "default"]],
    },
    Peer {
        name: "graphile-worker",
        title: "graphile-worker (a queue)",
        durability: "each job, its own commit",
        package: Package::Npm("graphile-worker"),
        program: "graphile-worker.mjs",
        state: State::Postgres,
        set_up: &[],
    },
];

/// Those that `TELECINE_BENCH_PEERS` selects: `none`, or names with commas; all of them without it.
pub(crate) fn selected() -> Vec<&'static Peer> {
    let wanted = std::env::var("TELECINE_BENCH_PEERS").unwrap_or_else(|_| "all".to_owned());
    let known = |name: &str| PEERS.iter().find(|peer| peer.name == name);
    match wanted.as_str() {
        "all" => PEERS.iter().collect(),
        "none" => Vec::new(),
        names => names
            .split(',')
            .map(|name| {
                known(name).unwrap_or_else(|| panic!("there is no peer {name}: {}", names_of_all()))
            })
            .collect(),
    }
}

fn names_of_all() -> String {
    PEERS.map(|peer| peer.name).join(", ")
}

impl Peer {
    /// Its name with the version that is installed.
    pub(crate) fn title(&self) -> String {
        match directory().and_then(|directory| self.version(&directory)) {
            Ok(version) => format!("{} {version}", self.title),
            Err(_) => self.title.to_owned(),
        }
    }

    /// The command that starts it, on the Postgres at an address or with its files in a directory.
    pub(crate) async fn command(&self, place: &str) -> Result<Command, String> {
        let directory = directory()?;
        self.version(&directory)?;
        for arguments in self.set_up {
            absurdctl(&directory, arguments, place).await?;
        }
        let program = directory.join(self.program);
        let mut command = match self.package {
            Package::Npm(_) => Command::new(node(&directory)?),
            Package::PyPi(_) => python(&directory),
        };
        command.arg(program).arg(place).current_dir(&directory);
        Ok(command)
    }

    fn version(&self, directory: &Path) -> Result<String, String> {
        let found = match self.package {
            Package::Npm(name) => version_of_npm(&directory.join("node_modules"), name),
            Package::PyPi(name) => version_of_pypi(directory, name),
        };
        found.ok_or_else(|| "not installed; see the messages of the installation".to_owned())
    }
}

fn directory() -> Result<PathBuf, String> {
    let named = std::env::var_os("TELECINE_BENCH_PEERS_DIR");
    named
        .map(PathBuf::from)
        .ok_or_else(|| "not installed; ./x bench engine does that".to_owned())
}

fn version_of_npm(modules: &Path, package: &str) -> Option<String> {
    let manifest = fs::read_to_string(modules.join(package).join("package.json")).ok()?;
    let manifest: Value = serde_json::from_str(&manifest).ok()?;
    Some(manifest["version"].as_str()?.to_owned())
}

fn version_of_pypi(directory: &Path, package: &str) -> Option<String> {
    let entries = fs::read_dir(directory.join("python")).ok()?.flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter_map(|name| {
            let version = name.strip_prefix(package)?.strip_prefix('-')?;
            Some(version.strip_suffix(".dist-info")?.to_owned())
        })
        .next()
}

/// The Node.js that was installed with the peers: some want a newer one than systems have.
fn node(directory: &Path) -> Result<PathBuf, String> {
    let arch = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "x64",
    };
    let node = directory.join(format!("node_modules/node-linux-{arch}/bin/node"));
    match node.exists() {
        true => Ok(node),
        false => Err("there is no Node.js for this kind of machine".to_owned()),
    }
}

fn python(directory: &Path) -> Command {
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", directory.join("python"));
    command
}

async fn absurdctl(directory: &Path, arguments: &[&str], url: &str) -> Result<(), String> {
    let mut command = python(directory);
    command
        .arg(directory.join("python/bin/absurdctl"))
        .args(arguments)
        .args(["--database", url])
        .kill_on_drop(true);
    let output = timeout(SET_UP, command.output()).await;
    let output = output
        .map_err(|_| "absurdctl hangs".to_owned())?
        .map_err(|error| format!("absurdctl cannot be started: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("absurdctl fails: {said:.300}"))
        }
    }
}
