//! `telecine serve` and `telecine dev`: processes that stay.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use clap::Args;
use telecine_engine::coordinator::SubmitError;
use telecine_engine::run::StoreUrls;
use telecine_engine::store::StoreError;
use telecine_engine::worker::WorkerOptions;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::exit::{CliError, Exit};
use super::interrupt::Interrupts;
use super::run::source::{file_url, writable_directory};
use super::{Session, stores, workflow};
use crate::app::App;
use crate::auth::ApiKeys;
use crate::config::{Config, Database, Mode};
use crate::machine::{self, Pools};
use crate::routes::{Site, SiteParts};
use crate::shift::{Shift, Workplace};
use crate::{metrics, router, server};

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    settings: ServerFlags,
}

/// Settings of processes that stay; read as text like all others.
#[derive(Debug, Args)]
#[command(next_help_heading = "Settings")]
struct ServerFlags {
    /// `server` accepts and shows jobs, `worker` runs them, `all` both [default: all]
    #[arg(long, value_name = "MODE")]
    mode: Option<String>,
    #[command(flatten)]
    shared: SharedFlags,
    /// Address of a Redis that tells workers of waiting steps: `redis://host:6379`
    #[arg(long, value_name = "URL")]
    redis_url: Option<String>,
    /// Address of the store of sources: `s3://bucket/prefix`, `file:///dir`
    #[arg(long, value_name = "URL")]
    source_url: Option<String>,
    /// Address of the store for results: `s3://bucket/prefix`, `file:///dir`
    #[arg(long, value_name = "URL")]
    media_url: Option<String>,
    #[command(flatten)]
    worker: WorkerFlags,
    /// Port of a worker's own /healthz and /metrics; 0 for none [default: 3001]
    #[arg(long, value_name = "PORT")]
    worker_metrics_port: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct DevArgs {
    #[command(flatten)]
    settings: SharedFlags,
}

#[derive(Debug, Args)]
struct SharedFlags {
    /// Address and port of the HTTP API [default: 127.0.0.1:3000]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// How long a job is kept after its end that published nothing, or `never` [default: 30d]
    #[arg(long, value_name = "DURATION")]
    retention: Option<String>,
    /// How long requests get to end on SIGTERM [default: 30s]
    #[arg(long, value_name = "DURATION")]
    shutdown_timeout: Option<String>,
}

/// What a worker may use besides its slots.
#[derive(Debug, Args)]
struct WorkerFlags {
    /// Steps of the queue `video:large` at a time; 0: in the slots of the others [default: 1]
    #[arg(long, value_name = "N")]
    large_worker_concurrency: Option<String>,
    /// Size of sources from which jobs wait in the queue `video:large` [default: 5GiB]
    #[arg(long, value_name = "SIZE")]
    large_file_threshold: Option<String>,
    /// Memory that steps may ask for together [default: nine tenths of what there is]
    #[arg(long, value_name = "SIZE")]
    worker_memory: Option<String>,
    /// Graphics processors that steps may ask for [default: 0]
    #[arg(long, value_name = "N")]
    worker_gpus: Option<String>,
}

impl WorkerFlags {
    fn take(&mut self) -> Vec<Flag> {
        vec![
            (
                "large_worker_concurrency",
                self.large_worker_concurrency.take(),
            ),
            ("large_file_threshold", self.large_file_threshold.take()),
            ("worker_memory", self.worker_memory.take()),
            ("worker_gpus", self.worker_gpus.take()),
        ]
    }
}

/// A setting and its value as a flag gave it.
type Flag = (&'static str, Option<String>);

impl ServeArgs {
    /// Its settings.
    pub(super) fn take_settings(&mut self) -> Vec<Flag> {
        let settings = &mut self.settings;
        let mut flags = settings.shared.take();
        flags.extend(settings.worker.take());
        flags.extend([
            ("mode", settings.mode.take()),
            ("redis_url", settings.redis_url.take()),
            ("source_url", settings.source_url.take()),
            ("media_url", settings.media_url.take()),
            ("worker_metrics_port", settings.worker_metrics_port.take()),
        ]);
        flags
    }
}

impl DevArgs {
    /// Its settings.
    pub(super) fn take_settings(&mut self) -> Vec<Flag> {
        self.settings.take()
    }
}

impl SharedFlags {
    fn take(&mut self) -> Vec<Flag> {
        vec![
            ("listen", self.listen.take()),
            ("retention", self.retention.take()),
            ("shutdown_timeout", self.shutdown_timeout.take()),
        ]
    }
}

/// What one process does.
struct Plan {
    mode: Mode,
    database: Database,
    redis: Option<String>,
    /// A process that accepts no jobs need not know of any.
    stores: Option<StoreUrls>,
    keys: ApiKeys,
}

/// `telecine serve`.
pub(super) async fn serve(session: &Session) -> Result<Exit, CliError> {
    let Config { server, .. } = &session.config;
    let stores = match server.mode.serves() {
        true => {
            check_keys(server.listen, &server.api_keys)?;
            Some(store_urls(&session.config)?)
        }
        false => named_stores(&session.config),
    };
    let plan = Plan {
        mode: server.mode,
        database: session.config.database.clone(),
        redis: session.config.redis_url.clone(),
        stores,
        keys: server.api_keys.clone(),
    };
    stay(plan, session).await
}

/// `telecine dev`: everything in one process, for this machine only, and in one directory unless the
/// settings name stores.
pub(super) async fn dev(session: &Session) -> Result<Exit, CliError> {
    let Config {
        server,
        data_dir,
        source_url,
        media_url,
        ..
    } = &session.config;
    if !server.listen.ip().is_loopback() {
        return Err(CliError::usage(format!(
            "`dev` has no authentication and listens on this machine only, not on {}; use `serve`",
            server.listen
        )));
    }
    let stores = StoreUrls {
        source: or_directory(source_url.as_ref(), &data_dir.join("sources"))?,
        media: or_directory(media_url.as_ref(), &data_dir.join("media"))?,
    };
    session.console.note(&format!(
        "for development: no authentication, this machine only\n  sources  {}\n  results  {}",
        stores.source, stores.media
    ));
    let plan = Plan {
        mode: Mode::All,
        database: session.config.database.clone(),
        redis: None,
        stores: Some(stores),
        keys: ApiKeys::default(),
    };
    stay(plan, session).await
}

/// The store that the settings name, or a directory, which is made.
fn or_directory(configured: Option<&String>, directory: &Path) -> Result<String, CliError> {
    match configured {
        Some(url) => Ok(url.clone()),
        None => Ok(file_url(&writable_directory(directory)?)),
    }
}

/// Whoever reaches a server without keys may do everything.
fn check_keys(listen: SocketAddr, keys: &ApiKeys) -> Result<(), CliError> {
    if listen.ip().is_loopback() || !keys.is_empty() {
        return Ok(());
    }
    Err(CliError::usage(format!(
        "{listen} can be reached from other machines and there are no API keys: set \
         TELECINE_API_KEYS, or listen on 127.0.0.1"
    )))
}

fn store_urls(config: &Config) -> Result<StoreUrls, CliError> {
    let needed = |url: &Option<String>, what: &str, setting: &str| {
        url.clone().ok_or_else(|| {
            CliError::usage(format!(
                "the server does not know {what}: set TELECINE_{setting}, as in s3://bucket or file:///dir"
            ))
        })
    };
    Ok(StoreUrls {
        source: needed(&config.source_url, "where sources are", "SOURCE_URL")?,
        media: needed(&config.media_url, "where results go", "MEDIA_URL")?,
    })
}

/// The stores of a worker, which looks whether they answer: what it works with are those of each job.
fn named_stores(config: &Config) -> Option<StoreUrls> {
    Some(StoreUrls {
        source: config.source_url.clone()?,
        media: config.media_url.clone()?,
    })
}

/// Does what the plan says until a signal comes and all of it has ended.
async fn stay(plan: Plan, session: &Session) -> Result<Exit, CliError> {
    let mut interrupts = Interrupts::listen()?;
    let listener = listener(&plan, session).await?;
    if let Some(urls) = &plan.stores {
        let mut refused = None;
        for trouble in stores::troubles(session.config.objects.as_ref(), urls).await {
            match stores::may_pass(&trouble) || refused.is_some() {
                true => session.console.note(&trouble.to_string()),
                false => refused = Some(SubmitError::from(trouble)),
            }
        }
        if let Some(refused) = refused {
            return Err(refused.into());
        }
        stores::make_directory(&urls.media).map_err(SubmitError::from)?;
    }
    let workflows: Vec<_> = workflow::provided(&session.program)?
        .into_iter()
        .map(Arc::new)
        .collect();
    let app = open(&plan, session)
        .await
        .map_err(CliError::set_up)?
        .with_workflows(&workflows)
        .with_activities(session.program.registry.clone())
        .with_large_sources_from(session.config.worker.large_file_bytes)
        .with_retention(session.config.server.retention);
    let measured = metrics::record().map_err(CliError::failed)?;
    let stop = CancellationToken::new();
    let mut shift = None;
    if plan.mode.works() {
        writable_directory(&session.config.scratch_dir)?;
        let begun = Shift::begin(workplace(&app, session, &stop)).await;
        shift = Some(begun.map_err(|error| CliError::failed(error.to_string()))?);
    }
    let without_worker = || app.start_services_without_worker();
    let _services = (!plan.mode.works()).then(without_worker);
    let parts = SiteParts {
        app,
        registry: session.program.registry.clone(),
        workflows,
        stores: plan.stores,
        keys: plan.keys,
        measured,
    };
    let closing = CancellationToken::new();
    let site = Arc::new(Site::new(parts, (stop.clone(), closing.clone())));
    let serving = listener.map(|listener| {
        let router = router_of(plan.mode, &site);
        begin_serving((listener, &closing), router, session)
    });
    interrupts.next().await;
    session.console.note(
        "stopping: requests and running steps are brought to an end; a second signal does not wait",
    );
    stop.cancel();
    tokio::select! {
        () = ended(shift, (serving, closing)) => {}
        exit = interrupts.next() => return Ok(exit),
    }
    Ok(Exit::Success)
}

/// Opens the database and the doorbell; one that does not answer is told, and waited for by nobody.
async fn open(plan: &Plan, session: &Session) -> Result<App, StoreError> {
    let objects = session.config.objects.clone();
    let Some(redis) = &plan.redis else {
        return App::open(&plan.database, objects).await;
    };
    let app = App::open_with_redis(&plan.database, redis, objects).await?;
    if let Some(trouble) = app.doorbell_trouble_at_start().await {
        session.console.note(&format!(
            "{trouble}; until it can, steps begin a little later"
        ));
    }
    Ok(app)
}

fn workplace(app: &App, session: &Session, stop: &CancellationToken) -> Workplace {
    let config = &session.config;
    Workplace {
        app: app.clone(),
        registry: session.program.registry.clone(),
        scratch: config.scratch_dir.clone(),
        options: WorkerOptions {
            machine: machine::machine(config, Pools::Own),
            run: None,
            grace: config.worker_shutdown_timeout,
        },
        stop: stop.clone(),
    }
}

/// Waits until running steps have come to their end, and then until requests have. Whoever asks how the process is
/// meanwhile gets an answer.
async fn ended(
    shift: Option<Shift>,
    (serving, closing): (Option<JoinHandle<()>>, CancellationToken),
) {
    if let Some(shift) = shift {
        shift.ended().await;
    }
    closing.cancel();
    if let Some(serving) = serving {
        let _ = serving.await;
    }
}

/// Takes the address of the process before anything is done.
async fn listener(plan: &Plan, session: &Session) -> Result<Option<TcpListener>, CliError> {
    let server = &session.config.server;
    let (address, setting) = match (plan.mode.serves(), server.worker_metrics) {
        (true, _) => (server.listen, "TELECINE_LISTEN"),
        (false, Some(address)) => (address, "TELECINE_WORKER_METRICS_PORT"),
        (false, None) => return Ok(None),
    };
    let listening = server::listen(address, setting).await;
    listening.map(Some).map_err(CliError::usage)
}

fn router_of(mode: Mode, site: &Arc<Site>) -> Router {
    match mode.serves() {
        true => router::server(site).0,
        false => router::worker(site),
    }
}

fn begin_serving(
    (listener, closing): (TcpListener, &CancellationToken),
    router: Router,
    session: &Session,
) -> JoinHandle<()> {
    if let Ok(address) = listener.local_addr() {
        session
            .console
            .note(&format!("listening on http://{address}"));
    }
    let grace = session.config.server.shutdown_timeout;
    tokio::spawn(server::serve(listener, router, closing.clone(), grace))
}
