use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use telecine_engine::activity::ActivityInfo;
use utoipa::ToSchema;

use super::Site;
use crate::auth::Reader;
use crate::error::Problem;

/// An activity that steps can name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ActivityDocument {
    /// `area.verb`.
    name: &'static str,
    /// Behaviour version.
    version: u32,
    description: &'static str,
    /// JSON Schema of what it takes.
    input_schema: Value,
    /// JSON Schema of what it returns.
    output_schema: Value,
    /// Whether it makes again what was lost of its objects, and nothing else.
    mends: bool,
}

impl From<&ActivityInfo> for ActivityDocument {
    fn from(info: &ActivityInfo) -> Self {
        Self {
            name: info.name,
            version: info.version,
            description: info.description,
            input_schema: info.input_schema.clone(),
            output_schema: info.output_schema.clone(),
            mends: info.mends,
        }
    }
}

/// All activities.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ActivityList {
    items: Vec<ActivityDocument>,
}

/// Lists installed activities with their schemas.
#[utoipa::path(
    get,
    path = "/api/activities",
    tag = "definitions",
    security(("api_key" = ["jobs:read"])),
    responses((status = 200, description = "All of them.", body = ActivityList)),
)]
pub(crate) async fn list(
    State(site): State<Arc<Site>>,
    _: Reader,
) -> Result<Json<ActivityList>, Problem> {
    let installed = site.registry.iter();
    let items = installed.map(|activity| ActivityDocument::from(activity.info().as_ref()));
    Ok(Json(ActivityList {
        items: items.collect(),
    }))
}
