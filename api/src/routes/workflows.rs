use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use telecine_engine::definition::Definition;
use utoipa::ToSchema;

use super::Site;
use super::request::Named;
use crate::auth::Reader;
use crate::error::{Code, Problem, ProblemDocument};

/// What a list shows of a workflow.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowHeader {
    name: String,
    version: u32,
    /// `sha256:...` of its canonical form.
    digest: String,
    description: Option<String>,
}

impl From<&Definition> for WorkflowHeader {
    fn from(definition: &Definition) -> Self {
        Self {
            name: definition.name.clone(),
            version: definition.version,
            digest: definition.digest(),
            description: definition.description.clone(),
        }
    }
}

/// All workflows.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowList {
    items: Vec<WorkflowHeader>,
}

/// A workflow.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowDocument {
    name: String,
    version: u32,
    /// `sha256:...` of its canonical form.
    digest: String,
    description: Option<String>,
    /// JSON Schema of the input.
    input: Value,
    /// The definition in its canonical form.
    definition: Value,
}

/// Lists what can be run.
#[utoipa::path(
    get,
    path = "/api/workflows",
    tag = "definitions",
    security(("api_key" = ["jobs:read"])),
    responses((status = 200, description = "All of them.", body = WorkflowList)),
)]
pub(crate) async fn list(
    State(site): State<Arc<Site>>,
    _: Reader,
) -> Result<Json<WorkflowList>, Problem> {
    let items = site.workflows.iter();
    let items = items.map(|definition| definition.as_ref().into());
    Ok(Json(WorkflowList {
        items: items.collect(),
    }))
}

/// Shows a workflow, with the schema of its input.
#[utoipa::path(
    get,
    path = "/api/workflows/{name}",
    tag = "definitions",
    security(("api_key" = ["jobs:read"])),
    params(("name" = String, Path, description = "The workflow: `video:full`.")),
    responses(
        (status = 200, description = "The workflow.", body = WorkflowDocument),
        (status = "4XX", description = "There is none.", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn get(
    State(site): State<Arc<Site>>,
    _: Reader,
    Named(name): Named,
) -> Result<Json<WorkflowDocument>, Problem> {
    let definition = site
        .workflow(&name)
        .ok_or_else(|| Problem::new(Code::NoWorkflow, format!("there is no workflow {name}")))?;
    let WorkflowHeader {
        name,
        version,
        digest,
        description,
    } = definition.as_ref().into();
    let canonical = serde_json::from_str(&definition.canonical()).map_err(Problem::internal)?;
    Ok(Json(WorkflowDocument {
        name,
        version,
        digest,
        description,
        input: definition.input.json().clone(),
        definition: canonical,
    }))
}
