//! What each address answers, and what the answers are made of.

pub(crate) mod activities;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod jobs;
pub(crate) mod metrics;
pub(crate) mod reference;
mod request;
pub(crate) mod retry;
pub(crate) mod steps;
mod submit;
pub(crate) mod workflows;

use std::sync::{Arc, OnceLock};

use metrics_exporter_prometheus::PrometheusHandle;
use telecine_engine::activity::Registry;
use telecine_engine::definition::Definition;
use telecine_engine::run::StoreUrls;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use utoipa::openapi::OpenApi;

use crate::app::App;
use crate::auth::ApiKeys;
use crate::changes::Changes;
use crate::fresh::Fresh;
use crate::proofs::Proofs;

/// Requests that are answered at once. Each may hold a megabyte of body and a database connection;
/// waiting for one of few connections is no use to anybody.
const REQUESTS: usize = 256;
/// Streams of events at once; each costs a read of the database per change of any job.
const STREAMS: usize = 256;

/// What requests are answered with.
#[derive(Debug)]
pub(crate) struct Site {
    /// The engine.
    pub(crate) app: App,
    /// Installed activities.
    pub(crate) registry: Arc<Registry>,
    /// Workflows that can be asked for.
    pub(crate) workflows: Vec<Arc<Definition>>,
    /// The stores of jobs that are submitted here, and whether they answer is part of whether the process is ready; one
    /// that only works need not know of any.
    pub(crate) stores: Option<StoreUrls>,
    /// Who may ask.
    pub(crate) keys: ApiKeys,
    /// Bounds requests.
    pub(crate) requests: Semaphore,
    /// Bounds streams.
    pub(crate) streams: Arc<Semaphore>,
    /// Plans that take long to be made.
    pub(crate) proofs: Proofs,
    /// Tells when something may have happened to a job.
    pub(crate) changes: Changes,
    /// Cancelled when the process is told to stop.
    pub(crate) stopping: CancellationToken,
    /// Cancelled when its steps have ended after that: nothing more happens here.
    pub(crate) closing: CancellationToken,
    /// What was measured.
    pub(crate) measured: PrometheusHandle,
    /// That the steps were counted which wait.
    counted: Fresh<()>,
    /// What the process needs and does not get.
    condition: Fresh<health::Condition>,
    description: OnceLock<String>,
    reference: OnceLock<String>,
}

/// What differs between the processes that serve.
#[derive(Debug)]
pub(crate) struct SiteParts {
    pub(crate) app: App,
    pub(crate) registry: Arc<Registry>,
    pub(crate) workflows: Vec<Arc<Definition>>,
    pub(crate) stores: Option<StoreUrls>,
    pub(crate) keys: ApiKeys,
    pub(crate) measured: PrometheusHandle,
}

impl Site {
    /// Starts to watch the database for whoever follows a job.
    pub(crate) fn new(
        parts: SiteParts,
        (stopping, closing): (CancellationToken, CancellationToken),
    ) -> Self {
        Self {
            changes: Changes::watch(parts.app.visitors().clone()),
            app: parts.app,
            registry: parts.registry,
            workflows: parts.workflows,
            stores: parts.stores,
            keys: parts.keys,
            requests: Semaphore::new(REQUESTS),
            streams: Arc::new(Semaphore::new(STREAMS)),
            proofs: Proofs::default(),
            stopping,
            closing,
            measured: parts.measured,
            counted: Fresh::default(),
            condition: Fresh::default(),
            description: OnceLock::new(),
            reference: OnceLock::new(),
        }
    }

    /// Sets what `/api/openapi.json` and `/docs` answer.
    pub(crate) fn describe(&self, description: &OpenApi) {
        self.description
            .get_or_init(|| serde_json::to_string_pretty(description).unwrap_or_default());
        let description = serde_json::to_value(description).unwrap_or_default();
        self.reference.get_or_init(|| reference::page(&description));
    }

    /// What `/docs` answers.
    pub(crate) fn reference(&self) -> &str {
        self.reference.get().map_or("", String::as_str)
    }

    /// What `/api/openapi.json` answers.
    pub(crate) fn description(&self) -> &str {
        self.description.get().map_or("{}", String::as_str)
    }
}
