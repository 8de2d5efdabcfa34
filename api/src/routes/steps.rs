use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use telecine_engine::objects::Artifact;
use telecine_engine::reuse::{Explanation, Lookup, LookupError};
use telecine_engine::store::Window;
use utoipa::{IntoParams, ToSchema};

use super::Site;
use super::jobs::page_size;
use super::request::{NamedJob, NamedStep, Parameters, invalid_parameter, no_step};
use crate::auth::Reader;
use crate::cursor::Cursor;
use crate::document::{LIST_LIMIT, StepDocument};
use crate::error::{Code, Problem, ProblemDocument};

/// Artifacts of one page, unless a caller wants fewer.
const ARTIFACTS: usize = 1000;

/// Which part of the steps.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StepParameters {
    /// At most so many, up to 100.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<usize>,
    /// Where an earlier page ended: its `next_cursor`.
    #[param(pattern = "^([0-9a-f]{2})+$")]
    cursor: Option<String>,
}

/// A page of the steps of a job, in the order of its workflow and of its lists.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StepPage {
    items: Vec<StepDocument>,
    /// How many steps the job has now.
    total: usize,
    /// For the next page; null on the last one.
    next_cursor: Option<String>,
}

/// Lists the steps of a job.
///
/// Each with its attempts, progress, output, and its first 100 artifacts. A step whose list is not known
/// yet, or is empty, stands for itself.
#[utoipa::path(
    get,
    path = "/api/jobs/{id}/steps",
    tag = "jobs",
    security(("api_key" = ["jobs:read"])),
    params(("id" = String, Path, description = "The job."), StepParameters),
    responses(
        (status = 200, description = "A page.", body = StepPage),
        (status = "4XX", description = "There is no such job, or a parameter cannot be used.", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list(
    State(site): State<Arc<Site>>,
    _: Reader,
    NamedJob(job): NamedJob,
    Parameters(parameters): Parameters<StepParameters>,
) -> Result<Json<StepPage>, Problem> {
    let limit = page_size(parameters.limit, LIST_LIMIT)?;
    let behind = match parameters.cursor.as_deref().map(str::parse) {
        None => None,
        Some(Ok(Cursor::Step(step))) => Some(step),
        Some(_) => return Err(invalid_parameter("the cursor is of another list")),
    };
    let sources = site
        .app
        .part_of_job(&job, &Window::Behind(behind, limit))
        .await?;
    Ok(Json(StepPage {
        total: sources.whole.as_ref().map_or(0, |whole| whole.total),
        next_cursor: sources.next().map(|cursor| cursor.to_string()),
        items: sources.shown(),
    }))
}

/// Which part of the artifacts.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ArtifactParameters {
    /// At most so many, up to 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Where an earlier page ended: its `next_cursor`.
    #[param(pattern = "^([0-9a-f]{2})+$")]
    cursor: Option<String>,
}

/// A page of the artifacts of a step, in the order in which they were recorded.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ArtifactPage {
    #[schema(value_type = Vec<Object>)]
    items: Vec<Artifact>,
    /// For the next page; null on the last one.
    next_cursor: Option<String>,
}

/// Lists what a step left in the media store.
#[utoipa::path(
    get,
    path = "/api/jobs/{id}/steps/{step}/artifacts",
    tag = "jobs",
    security(("api_key" = ["jobs:read"])),
    params(
        ("id" = String, Path, description = "The job."),
        ("step" = String, Path, description = "The step: `encode[3]`."),
        ArtifactParameters,
    ),
    responses(
        (status = 200, description = "A page.", body = ArtifactPage),
        (status = "4XX", description = "There is no such job or step, or a parameter cannot be used.", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn artifacts(
    State(site): State<Arc<Site>>,
    _: Reader,
    NamedStep(job, step): NamedStep,
    Parameters(parameters): Parameters<ArtifactParameters>,
) -> Result<Json<ArtifactPage>, Problem> {
    let limit = page_size(parameters.limit, ARTIFACTS)?;
    let before = match parameters.cursor.as_deref().map(str::parse) {
        None => 0,
        Some(Ok(Cursor::Artifact(before))) => before,
        Some(_) => return Err(invalid_parameter("the cursor is of another list")),
    };
    let window = Window::One(step.clone());
    let outline = site.app.visitors().outline(&job, &window).await?;
    let record = outline.snapshot.steps.into_iter().next();
    let record = record.ok_or_else(|| no_step(&job, &step.to_string()))?;
    let all = record.artifacts;
    let end = before.saturating_add(limit).min(all.len());
    Ok(Json(ArtifactPage {
        next_cursor: (end < all.len()).then(|| Cursor::Artifact(end).to_string()),
        items: all
            .into_iter()
            .take(end)
            .skip(before)
            .map(|it| it.artifact)
            .collect(),
    }))
}

/// What a step is made from.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReuseDocument {
    #[serde(flatten)]
    #[schema(value_type = Object)]
    explanation: Explanation,
}

/// Says what a step was made from, and what it would be made from now.
///
/// `before` and `now` are reuse keys with their preimages, and `difference` the first component in which
/// they differ, with both values. `latest` compares with the same step of the latest other job.
#[utoipa::path(
    get,
    path = "/api/jobs/{id}/steps/{step}/reuse",
    tag = "jobs",
    security(("api_key" = ["jobs:read"])),
    params(
        ("id" = String, Path, description = "The job."),
        ("step" = String, Path, description = "The step: `encode[3]`."),
    ),
    responses(
        (status = 200, description = "What is known of it.", body = ReuseDocument),
        (status = "4XX", description = "There is no such job or step.", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn reuse(
    State(site): State<Arc<Site>>,
    _: Reader,
    NamedStep(job, step): NamedStep,
) -> Result<Json<ReuseDocument>, Problem> {
    let lookup = Lookup {
        store: site.app.visitors().clone(),
        objects: site.app.coordinator.objects.clone(),
        registry: site.registry.clone(),
    };
    match lookup.explain(&job, &step).await {
        Ok(explanation) => Ok(Json(ReuseDocument { explanation })),
        Err(LookupError::Store(error)) => Err(error.into()),
        Err(LookupError::NoStep(step)) => Err(no_step(&job, &step.to_string())),
        Err(LookupError::Objects(error)) => {
            tracing::warn!(%error, run.id = %job, "the source of a step could not be looked at");
            let detail = "a store cannot be used at the moment; try again";
            Err(Problem::new(Code::StoreUnavailable, detail))
        }
    }
}
