//! What the process is set up with: defaults, then `telecine.toml`, then the environment (the files
//! `.env` and `.env.local`, then the real one), then flags.
//!
//! [`SETTINGS`] is the only list of settings: reading, `telecine config show` and
//! `docs/reference/configuration.md` follow from it.

mod database;
mod server;
mod sources;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use telecine_engine::definition::units;
use telecine_engine::objects::ObjectStores as _;
use telecine_object_stores::FsStores;
use tracing_subscriber::EnvFilter;

pub(crate) use database::Database;
pub(crate) use server::{Mode, ServerConfig};
pub(crate) use sources::{Origin, Sources};

/// Attempts at a time in one process. Each may hold a few child processes and their pipelines; no
/// machine that we know of runs more.
const MAX_CONCURRENCY: usize = 1024;

/// One setting, as it is documented.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Its name in `telecine.toml`; `TELECINE_` and the name in capitals in the environment, with
    /// dashes as a flag.
    pub(crate) name: &'static str,
    /// Its default, for people.
    pub(crate) default: &'static str,
    /// What it does; one sentence.
    pub(crate) help: &'static str,
}

/// Settings whose values are never shown, and that are no flags: other users of the machine can read
/// command lines.
const SECRETS: [&str; 1] = ["api_keys"];

impl Setting {
    /// Its name in the environment.
    pub(crate) fn variable(&self) -> String {
        format!("TELECINE_{}", self.name.to_uppercase())
    }
}

/// Every setting, in the order in which it is shown.
pub(crate) const SETTINGS: [Setting; 14] = [
    Setting {
        name: "data_dir",
        default: "./.telecine",
        help: "Directory of the embedded database.",
    },
    Setting {
        name: "database_url",
        default: "SQLite in `data_dir`",
        help: "Address of a Postgres database to keep jobs in, which many machines share: \
               `postgres://user:password@host/database`.",
    },
    Setting {
        name: "source_url",
        default: "none",
        help: "Address of the store that the server's jobs read their sources from: `file:///dir`.",
    },
    Setting {
        name: "media_url",
        default: "none",
        help: "Address of the store that the server's jobs write results to: `file:///dir`.",
    },
    Setting {
        name: "mode",
        default: "all",
        help: "What `serve` does: `server` accepts and shows jobs, `worker` runs them, `all` both.",
    },
    Setting {
        name: "listen",
        default: "127.0.0.1:3000",
        help: "Address and port of the HTTP API; port 0 takes a free one.",
    },
    Setting {
        name: "api_keys",
        default: "none",
        help: "Who may use the HTTP API: `id:hex`, or `id:hex=scope+scope` for some scopes only, \
               separated by commas; no flag. Without any, only this machine may.",
    },
    Setting {
        name: "shutdown_timeout",
        default: "30s",
        help: "How long requests get to end when a server is told to stop.",
    },
    Setting {
        name: "worker_metrics_port",
        default: "3001",
        help: "Port of a worker's own `/healthz` and `/metrics`, at the address of `listen`; 0 for none.",
    },
    Setting {
        name: "scratch_dir",
        default: "`scratch` in `data_dir`",
        help: "Directory for what steps write while they run; emptied as they end.",
    },
    Setting {
        name: "worker_concurrency",
        default: "number of cores",
        help: "Steps that one process runs at a time.",
    },
    Setting {
        name: "worker_shutdown_timeout",
        default: "10m",
        help: "How long running steps get to reach a checkpoint when the process is told to stop.",
    },
    Setting {
        name: "log",
        default: "warn",
        help: "What is logged to standard error: a level, or levels by module \
               (`info,telecine_engine=debug`).",
    },
    Setting {
        name: "log_format",
        default: "text",
        help: "`text` or `json`, one object per line.",
    },
];

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// A setting with its value and where the value came from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Resolved {
    /// Name of the setting.
    pub(crate) name: &'static str,
    /// Its value.
    pub(crate) value: String,
    /// What set it.
    pub(crate) origin: Origin,
}

/// Every setting, checked.
#[derive(Debug)]
pub(crate) struct Config {
    /// Directory of the embedded database; absolute.
    pub(crate) data_dir: PathBuf,
    /// Where jobs are kept.
    pub(crate) database: Database,
    /// Where sources of the server's jobs are.
    pub(crate) source_url: Option<String>,
    /// Where results of the server's jobs go.
    pub(crate) media_url: Option<String>,
    /// What the HTTP server is set up with.
    pub(crate) server: ServerConfig,
    /// Directory for scratch; absolute.
    pub(crate) scratch_dir: PathBuf,
    /// Steps at a time, at least 1.
    pub(crate) worker_concurrency: usize,
    /// Time for a graceful stop.
    pub(crate) worker_shutdown_timeout: Duration,
    /// Filter of log lines; checked.
    pub(crate) log: String,
    /// How log lines look.
    pub(crate) log_format: LogFormat,
    /// The same as text, for `config show`.
    pub(crate) resolved: Vec<Resolved>,
}

impl Config {
    /// Reads all sources.
    ///
    /// # Errors
    /// Every mistake, one sentence each.
    pub(crate) fn load(sources: &Sources) -> Result<Self, Vec<String>> {
        let mut reader = Reader {
            sources,
            errors: sources.errors.clone(),
            resolved: Vec::new(),
        };
        let data_dir = reader.read("data_dir", || "./.telecine".to_owned(), directory);
        let database = reader.read("database_url", String::new, Database::parse);
        let source_url = reader.read("source_url", String::new, store_url);
        let media_url = reader.read("media_url", String::new, store_url);
        let server = ServerConfig::read(&mut reader);
        let scratch_default = || match &data_dir {
            Some(dir) => dir.join("scratch").display().to_string(),
            None => "./.telecine/scratch".to_owned(),
        };
        let scratch_dir = reader.read("scratch_dir", scratch_default, directory);
        let worker_concurrency = reader.read("worker_concurrency", cores, concurrency);
        let worker_shutdown_timeout =
            reader.read("worker_shutdown_timeout", || "10m".to_owned(), duration);
        let log = reader.read("log", || "warn".to_owned(), log_filter);
        let log_format = reader.read("log_format", || "text".to_owned(), log_format);
        let (Some(data_dir), Some(scratch_dir), Some(worker_concurrency)) =
            (data_dir, scratch_dir, worker_concurrency)
        else {
            return Err(reader.errors);
        };
        let (Some(worker_shutdown_timeout), Some(log), Some(log_format), Some(server)) =
            (worker_shutdown_timeout, log, log_format, server)
        else {
            return Err(reader.errors);
        };
        if !reader.errors.is_empty() {
            return Err(reader.errors);
        }
        let database = database.flatten();
        Ok(Self {
            database: database.unwrap_or_else(|| Database::Directory(data_dir.clone())),
            data_dir,
            source_url: source_url.flatten(),
            media_url: media_url.flatten(),
            server,
            scratch_dir,
            worker_concurrency,
            worker_shutdown_timeout,
            log,
            log_format,
            resolved: reader.resolved,
        })
    }
}

/// Reads settings one by one and collects what is wrong.
struct Reader<'a> {
    sources: &'a Sources,
    errors: Vec<String>,
    resolved: Vec<Resolved>,
}

impl Reader<'_> {
    fn read<T>(
        &mut self,
        name: &'static str,
        default: impl FnOnce() -> String,
        check: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (value, origin) = match self.sources.find(name) {
            Some((value, origin)) => (value.to_owned(), origin),
            None => (default(), Origin::Default),
        };
        let checked = match check(&value) {
            Ok(checked) => Some(checked),
            Err(why) => {
                self.errors.push(format!("{}: {why}", origin.place(name)));
                None
            }
        };
        self.resolved.push(Resolved {
            name,
            value: match SECRETS.contains(&name) && !value.is_empty() {
                true => "***".to_owned(),
                false => database::without_password(&value),
            },
            origin,
        });
        checked
    }
}

fn cores() -> String {
    std::thread::available_parallelism()
        .map_or(1, usize::from)
        .to_string()
}

fn directory(text: &str) -> Result<PathBuf, String> {
    std::path::absolute(Path::new(text)).map_err(|e| format!("`{text}` is not a directory: {e}"))
}

/// The address of an object store; none for an empty one.
fn store_url(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    match FsStores.open(text) {
        Ok(_) => Ok(Some(text.to_owned())),
        Err(error) => Err(error.to_string()),
    }
}

fn concurrency(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=MAX_CONCURRENCY) => Ok(count),
        _ => Err(format!(
            "`{text}` is not a number from 1 to {MAX_CONCURRENCY}"
        )),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    units::parse_duration(text).map_err(|e| e.to_string())
}

fn log_filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text)
        .map(|_| text.to_owned())
        .map_err(|e| format!("`{text}` is not a log filter such as `info`: {e}"))
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!(
            "`{text}` is not a log format; write `text` or `json`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(
        file: &str,
        environment: &[(&str, &str)],
        flags: &[(&'static str, &str)],
    ) -> Sources {
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut sources = Sources::default();
        sources.add_flags(
            flags
                .iter()
                .map(|(name, value)| (*name, Some((*value).to_owned()))),
        );
        sources.add_variables(environment, &Origin::Environment);
        sources.add_toml(file, Path::new("telecine.toml"));
        sources
    }

    #[test]
    fn flags_win_over_the_environment_which_wins_over_the_file() {
        let file = "worker_concurrency = 3\nlog = 'info'\nlog_format = 'json'";
        let environment = [
            ("TELECINE_WORKER_CONCURRENCY", "5"),
            ("TELECINE_LOG", "debug"),
        ];
        let config =
            Config::load(&sources(file, &environment, &[("worker_concurrency", "7")])).unwrap();

        assert_eq!(config.worker_concurrency, 7);
        assert_eq!(config.log, "debug");
        assert_eq!(config.log_format, LogFormat::Json);
        assert_eq!(config.worker_shutdown_timeout, Duration::from_secs(600));
        let origins: Vec<_> = config
            .resolved
            .iter()
            .map(|r| r.origin.to_string())
            .collect();
        assert_eq!(
            origins,
            [
                "default",
                "default",
                "default",
                "default",
                "default",
                "default",
                "default",
                "default",
                "default",
                "default",
                "flag",
                "default",
                "environment",
                "telecine.toml"
            ]
        );
    }

    #[test]
    fn every_mistake_is_listed_at_once() {
        let file = "worker_concurency = 3\nlog_format = 'xml'";
        let environment = [
            ("TELECINE_WORKER_CONCURRENCY", "0"),
            ("TELECINE_LOG", "a=b=c"),
        ];
        let errors = Config::load(&sources(
            file,
            &environment,
            &[("worker_shutdown_timeout", "soon")],
        ))
        .unwrap_err();

        let named = [
            "telecine.toml: worker_concurency",
            "TELECINE_WORKER_CONCURRENCY",
            "--worker-shutdown-timeout",
            "TELECINE_LOG",
            "telecine.toml: log_format",
        ];
        assert_eq!(errors.len(), named.len(), "{errors:#?}");
        for (error, named) in errors.iter().zip(named) {
            assert!(error.starts_with(named), "{error:?} should name {named}");
        }
    }

    #[test]
    fn the_scratch_directory_follows_the_data_directory() {
        let config = Config::load(&sources("", &[], &[("data_dir", "/data")])).unwrap();
        assert_eq!(config.scratch_dir, Path::new("/data/scratch"));
    }

    #[test]
    fn an_empty_variable_is_as_good_as_none() {
        let config = Config::load(&sources("", &[("TELECINE_LOG", "")], &[])).unwrap();
        assert_eq!(config.log, "warn");
    }

    #[test]
    fn the_reference_lists_every_setting() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/configuration.md");
        let text = std::fs::read_to_string(file).unwrap();
        let mut table =
            "| setting | variable | default | meaning |\n|---|---|---|---|\n".to_owned();
        for setting in &SETTINGS {
            table += &format!(
                "| `{}` | `{}` | {} | {} |\n",
                setting.name,
                setting.variable(),
                setting.default,
                setting.help
            );
        }
        assert!(
            text.contains(&table),
            "docs/reference/configuration.md should hold\n\n{table}"
        );
    }
}
