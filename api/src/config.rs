//! What the process is set up with: defaults, then `telecine.toml`, then the environment (the files
//! `.env` and `.env.local`, then the real one), then flags.
//!
//! [`SETTINGS`] is the only list of settings: reading, `telecine config show` and
//! `docs/reference/configuration.md` follow from it.

mod database;
mod objects;
mod remote;
mod server;
mod sources;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use telecine_engine::definition::units;
use telecine_object_stores::Stores;
use telecine_store_postgres::PostgresStore;
use tracing_subscriber::EnvFilter;

pub(crate) use database::{Database, without_password};
pub(crate) use objects::S3;
pub(crate) use remote::Remote;
pub(crate) use server::{Mode, ServerConfig};
pub(crate) use sources::{Origin, Sources};
pub(crate) use worker::WorkerConfig;

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

/// Settings whose values are never shown. They are no flags, because other users of the machine can
/// read command lines.
const SECRETS: [&str; 4] = [
    "source_s3_secret_key",
    "media_s3_secret_key",
    "api_keys",
    "api_key",
];

/// Settings whose variables have a second form that ends in `_FILE` and names a file: secrets, and
/// addresses that may have a password in them.
const IN_FILES: [&str; 6] = [
    "source_s3_secret_key",
    "media_s3_secret_key",
    "api_keys",
    "api_key",
    "database_url",
    "redis_url",
];

impl Setting {
    /// Its name in the environment.
    pub(crate) fn variable(&self) -> String {
        format!("TELECINE_{}", self.name.to_uppercase())
    }
}

/// Every setting, in the order in which it is shown.
pub(crate) const SETTINGS: [Setting; 31] = [
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
        name: "database_connections",
        default: "17",
        help: "Connections to Postgres that one process keeps at most, 8 at least.",
    },
    Setting {
        name: "redis_url",
        default: "none",
        help: "Address of a Redis that `serve` tells workers by of waiting steps: `redis://host:6379`, or \
               `rediss://` for TLS. Without it, or while it is away, steps begin a little later.",
    },
    Setting {
        name: "server",
        default: "none",
        help: "Address of a server that `run`, `jobs` and `workflow list` ask, instead of the database: \
               `http://127.0.0.1:3000`.",
    },
    Setting {
        name: "api_key",
        default: "none",
        help: "The key for that server: the hex digits of one of its `api_keys`; no flag.",
    },
    Setting {
        name: "source_url",
        default: "none",
        help: "Address of the store that sources are keys of: `s3://bucket/prefix` or `file:///dir`. \
               Without it, sources are files of this machine.",
    },
    Setting {
        name: "source_s3_endpoint",
        default: "AWS",
        help: "Address of another S3 service for sources: `https://s3.example.com`.",
    },
    Setting {
        name: "source_s3_region",
        default: "what the environment of AWS says",
        help: "Region of the bucket with the sources.",
    },
    Setting {
        name: "source_s3_access_key",
        default: "credential chain of AWS",
        help: "Who reads sources.",
    },
    Setting {
        name: "source_s3_secret_key",
        default: "credential chain of AWS",
        help: "The secret of that access key.",
    },
    Setting {
        name: "media_url",
        default: "none",
        help: "Address of the store that results go to: `s3://bucket/prefix` or `file:///dir`. \
               `--out` wins; without either it is the directory `out`.",
    },
    Setting {
        name: "media_s3_endpoint",
        default: "AWS",
        help: "Address of another S3 service for results.",
    },
    Setting {
        name: "media_s3_region",
        default: "what the environment of AWS says",
        help: "Region of the bucket for results.",
    },
    Setting {
        name: "media_s3_access_key",
        default: "credential chain of AWS",
        help: "Who writes results.",
    },
    Setting {
        name: "media_s3_secret_key",
        default: "credential chain of AWS",
        help: "The secret of that access key.",
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
        help: "How long requests get to end when a server is told to stop, once its steps have ended.",
    },
    Setting {
        name: "retention",
        default: "30d",
        help: "How long a job is kept after its end that published nothing: a day at least, or `never`. With it go its \
               history, its idempotency key, and if it did not succeed, what it left in the store.",
    },
    Setting {
        name: "worker_metrics_port",
        default: "3001",
        help: "Port of a worker's own `/healthz` and `/metrics`, at the address of `listen`; 0 for none.",
    },
    Setting {
        name: "scratch_dir",
        default: "`scratch` in `data_dir`",
        help: "Directory for what steps write while they run; emptied as they end. It is of one machine; \
               its workers may share it, and a process that is started where another one was killed \
               should have the same.",
    },
    Setting {
        name: "large_worker_concurrency",
        default: "1",
        help: "Steps of the queue `video:large` that one process runs at a time, besides the others; 0 \
               lets them share the slots of the others.",
    },
    Setting {
        name: "large_file_threshold",
        default: "5GiB",
        help: "Jobs on sources of this size or more wait in the queue `video:large`, unless they name \
               another.",
    },
    Setting {
        name: "worker_memory",
        default: "nine tenths of the machine's, or of what its control group may use",
        help: "Memory that the steps of one process may ask for together.",
    },
    Setting {
        name: "worker_gpus",
        default: "0",
        help: "Graphics processors that the steps of one process may ask for.",
    },
    Setting {
        name: "worker_concurrency",
        default: "number of cores",
        help: "Steps that one process runs at a time, those of `video:large` apart.",
    },
    Setting {
        name: "worker_shutdown_timeout",
        default: "10m",
        help: "How long running steps get to reach a checkpoint, or their end without one, when the process is told to stop.",
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
    /// Address of a Redis.
    pub(crate) redis_url: Option<String>,
    /// A server to ask instead.
    pub(crate) remote: Option<Remote>,
    /// Address of the store that sources are keys of.
    pub(crate) source_url: Option<String>,
    /// Address of the store for results.
    pub(crate) media_url: Option<String>,
    /// Opens them, and any others.
    pub(crate) objects: Arc<Stores>,
    /// What the HTTP server is set up with.
    pub(crate) server: ServerConfig,
    /// Directory for scratch; absolute.
    pub(crate) scratch_dir: PathBuf,
    /// What else a worker may use.
    pub(crate) worker: WorkerConfig,
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
    /// What is set in vain; one sentence each.
    pub(crate) warnings: Vec<String>,
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
        let database = reader.read("database_url", String::new, Database::address);
        let usual = || PostgresStore::CONNECTIONS.to_string();
        let connections = reader.read("database_connections", usual, database::connections);
        let redis_url = reader.read("redis_url", String::new, database::redis_url);
        let remote = Remote::read(&mut reader);
        let source_url = reader.read("source_url", String::new, objects::store_url);
        let media_url = reader.read("media_url", String::new, objects::store_url);
        let objects = objects::read(&mut reader);
        let server = ServerConfig::read(&mut reader);
        let scratch_default = || match &data_dir {
            Some(dir) => dir.join("scratch").display().to_string(),
            None => "./.telecine/scratch".to_owned(),
        };
        let scratch_dir = reader.read("scratch_dir", scratch_default, directory);
        let worker = WorkerConfig::read(&mut reader);
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
        let (Some(worker_shutdown_timeout), Some(log), Some(log_format)) =
            (worker_shutdown_timeout, log, log_format)
        else {
            return Err(reader.errors);
        };
        let (Some(objects), Some(server), Some(worker)) = (objects, server, worker) else {
            return Err(reader.errors);
        };
        if !reader.errors.is_empty() {
            return Err(reader.errors);
        }
        let database = match (database.flatten(), connections) {
            (Some(url), Some(connections)) => Database::Postgres(url, connections),
            _ => Database::Directory(data_dir.clone()),
        };
        Ok(Self {
            database,
            data_dir,
            redis_url: redis_url.flatten(),
            remote: remote.flatten(),
            source_url: source_url.flatten(),
            media_url: media_url.flatten(),
            objects: Arc::new(objects),
            server,
            scratch_dir,
            worker,
            worker_concurrency,
            worker_shutdown_timeout,
            log,
            log_format,
            resolved: reader.resolved,
            warnings: sources.warnings.clone(),
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
                false => without_password(&value),
            },
            origin,
        });
        checked
    }
}

fn cores() -> String {
    crate::machine::processors().to_string()
}

fn directory(text: &str) -> Result<PathBuf, String> {
    std::path::absolute(Path::new(text)).map_err(|e| format!("`{text}` is not a directory: {e}"))
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
    fn a_mistyped_variable_is_told_and_those_of_others_are_not() {
        let environment = [
            ("TELECINE_WORKER_CONCURENCY", "3"),
            ("TELECINE_API_KEY_FIEL", "/key"),
            ("TELECINE_PORT_3000_TCP_ADDR", "10.0.0.1"),
            ("WORKER_CONCURENCY", "3"),
        ];
        let config = Config::load(&sources("", &environment, &[])).unwrap();
        assert_eq!(
            config.warnings,
            [
                "TELECINE_WORKER_CONCURENCY is not a setting, and changes nothing; did you mean \
                 TELECINE_WORKER_CONCURRENCY?",
                "TELECINE_API_KEY_FIEL is not a setting, and changes nothing; did you mean \
                 TELECINE_API_KEY_FILE?",
            ]
        );
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
        let set: Vec<_> = config
            .resolved
            .iter()
            .map(|it| (it.name, it.origin.to_string()))
            .filter(|(_, origin)| origin != "default")
            .collect();
        let expected = [
            ("worker_concurrency", "flag"),
            ("log", "environment"),
            ("log_format", "telecine.toml"),
        ];
        assert_eq!(
            set,
            expected.map(|(name, origin)| (name, origin.to_owned()))
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
    fn a_secret_may_be_in_a_file_and_is_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        std::fs::write(&file, "hidden\n").unwrap();
        let file = file.to_str().unwrap();
        let environment = [
            ("TELECINE_MEDIA_S3_ACCESS_KEY", "telecine"),
            ("TELECINE_MEDIA_S3_SECRET_KEY_FILE", file),
            ("TELECINE_SOURCE_S3_ACCESS_KEY", "telecine"),
            ("TELECINE_SOURCE_S3_SECRET_KEY", "hidden"),
        ];
        let config = Config::load(&sources("", &environment, &[])).unwrap();
        let shown = format!("{config:?}");
        assert!(
            shown.contains("telecine") && !shown.contains("hidden"),
            "{shown}"
        );
        let resolved = config.resolved.iter();
        let secrets = resolved.filter(|it| SECRETS.contains(&it.name) && !it.value.is_empty());
        let secrets: Vec<_> = secrets.map(|secret| secret.value.as_str()).collect();
        assert_eq!(secrets, ["***", "***"]);
    }

    #[test]
    fn the_address_of_the_database_may_be_in_a_file_and_its_password_is_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("url");
        std::fs::write(&file, "postgres://u:hidden@h/d\n").unwrap();
        let environment = [("TELECINE_DATABASE_URL_FILE", file.to_str().unwrap())];
        let fewer = &sources("", &environment, &[("database_connections", "9")]);
        let config = Config::load(fewer).unwrap();
        let url = "postgres://u:hidden@h/d".to_owned();
        assert_eq!(config.database, Database::Postgres(url, 9));
        let too_few = &sources("", &environment, &[("database_connections", "7")]);
        let refused = Config::load(too_few).unwrap_err();
        assert!(refused[0].contains("from 8 to 1000"), "{refused:?}");
        let shown = format!("{config:?}");
        assert!(
            shown.contains("u:***@h") && !shown.contains("hidden"),
            "{shown}"
        );
        let both = [environment[0], ("TELECINE_DATABASE_URL", "postgres://h/d")];
        let errors = Config::load(&sources("", &both, &[])).unwrap_err();
        assert_eq!(
            errors,
            ["TELECINE_DATABASE_URL: it is set twice, by itself and as a file"]
        );
    }

    #[test]
    fn mistakes_with_secrets_do_not_show_them() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        std::fs::write(&file, "hidden").unwrap();
        let file = file.to_str().unwrap();
        for (environment, says) in [
            (
                [("TELECINE_MEDIA_S3_SECRET_KEY", "hidden"), ("X", "")],
                "media_s3_secret_key is set without media_s3_access_key",
            ),
            (
                [
                    ("TELECINE_MEDIA_S3_SECRET_KEY", "hidden"),
                    ("TELECINE_MEDIA_S3_SECRET_KEY_FILE", file),
                ],
                "TELECINE_MEDIA_S3_SECRET_KEY: it is set twice",
            ),
            (
                [("TELECINE_MEDIA_S3_SECRET_KEY_FILE", "/nowhere"), ("X", "")],
                "TELECINE_MEDIA_S3_SECRET_KEY_FILE: cannot read /nowhere",
            ),
        ] {
            let errors = Config::load(&sources("", &environment, &[])).unwrap_err();
            let errors = errors.join("; ");
            assert!(errors.contains(says), "{errors}");
            assert!(!errors.contains("hidden"), "{errors}");
        }
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
