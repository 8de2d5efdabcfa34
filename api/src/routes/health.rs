use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use telecine_engine::objects::{ObjectError, ObjectStore};
use utoipa::ToSchema;

use super::Site;
use crate::error::{Code, Problem, ProblemDocument};

/// How long a dependency has to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// That a process is well.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`, or `ready`.
    status: &'static str,
    /// What is wrong without keeping the process from its work, one sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    degraded: Vec<String>,
}

/// Whether the process is alive.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "process",
    responses((status = 200, description = "It is.", body = Health)),
)]
pub(crate) async fn healthz() -> Json<Health> {
    Json(Health {
        status: "ok",
        degraded: Vec::new(),
    })
}

/// Whether the process can do its work: the database and the stores answer within two seconds. What does not keep it
/// from that, as a Redis that is away or a database that a newer version has brought up to date, is listed in
/// `degraded`.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "process",
    responses(
        (status = 200, description = "It can.", body = Health),
        (status = 503, description = "It cannot; the detail names what does not answer.", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn readyz(State(site): State<Arc<Site>>) -> Result<Json<Health>, Problem> {
    if site.stopping.is_cancelled() {
        let detail = "the server is about to stop";
        return Err(Problem::new(Code::ShuttingDown, detail));
    }
    let Condition { failing, degraded } = site.condition.get(condition(&site)).await;
    if failing.is_empty() {
        return Ok(Json(Health {
            status: "ready",
            degraded,
        }));
    }
    Err(Problem::new(Code::NotReady, failing.join("; ")))
}

/// What is wrong, in sentences.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    /// What keeps the process from its work.
    failing: Vec<String>,
    /// What does not.
    degraded: Vec<String>,
}

async fn condition(site: &Site) -> Condition {
    let stores = site.stores.as_ref();
    let objects = &site.app.coordinator.objects;
    let mut newer = None;
    let (database, source, media) = tokio::join!(
        answers("the database", async {
            newer = site
                .app
                .store()
                .newer_schema()
                .await
                .map_err(|e| e.to_string())?;
            Ok(())
        }),
        answers(
            "the source store",
            store(stores.map(|urls| objects.open_source(&urls.source)))
        ),
        answers(
            "the media store",
            store(stores.map(|urls| objects.open(&urls.media)))
        ),
    );
    let newer = newer.map(|schema| {
        format!(
            "the database was brought up to date by a newer version of telecine (schema {schema}): update this process, \
             which could not start again"
        )
    });
    Condition {
        failing: [database, source, media].into_iter().flatten().collect(),
        degraded: [site.app.doorbell_trouble(), newer]
            .into_iter()
            .flatten()
            .collect(),
    }
}

/// What is wrong with a dependency, in a sentence that names it.
async fn answers(name: &str, asking: impl Future<Output = Result<(), String>>) -> Option<String> {
    match tokio::time::timeout(ANSWER, asking).await {
        Ok(Ok(())) => None,
        Ok(Err(why)) => {
            tracing::warn!(why, "{name} cannot be used");
            Some(format!("{name} cannot be used"))
        }
        Err(_) => Some(format!(
            "{name} does not answer within {} s",
            ANSWER.as_secs()
        )),
    }
}

async fn store(opened: Option<Result<Arc<dyn ObjectStore>, ObjectError>>) -> Result<(), String> {
    let Some(opened) = opened else { return Ok(()) };
    let probe = async { opened?.ready().await };
    probe.await.map_err(|error| error.to_string())
}

/// Which program this is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Version {
    name: &'static str,
    version: &'static str,
}

/// Which program and version answers.
#[utoipa::path(
    get,
    path = "/version",
    tag = "process",
    responses((status = 200, description = "Name and version.", body = Version)),
)]
pub(crate) async fn version() -> Json<Version> {
    Json(Version {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
    })
}
