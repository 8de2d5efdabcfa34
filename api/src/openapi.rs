//! The description of the HTTP API, OpenAPI 3.1.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme};

use crate::error::ProblemDocument;
use crate::routes::Site;

/// What routes are added to.
pub(crate) fn base() -> OpenApi {
    #[derive(utoipa::OpenApi)]
    #[openapi(
        info(
            title = "telecine",
            description = "Durable media workflows over HTTP.",
            license(name = "Apache-2.0", identifier = "Apache-2.0"),
        ),
        components(schemas(ProblemDocument)),
        tags(
            (name = "jobs", description = "Submit, follow, cancel and retry jobs."),
            (name = "retry plans", description = "See, change and execute what retrying stopped jobs would do."),
            (name = "definitions", description = "What can be run."),
            (name = "process", description = "How the process is."),
        )
    )]
    struct Base;
    let mut base = Base::openapi();
    let scheme = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(
        "X-API-Key",
        "One of the keys of the server; a server without keys wants none.",
    )));
    let components = base.components.get_or_insert_default();
    components.add_security_scheme("api_key", scheme);
    base
}

/// Says that a key may be left out: the server has none.
pub(crate) fn want_no_key(description: &mut OpenApi) {
    for item in description.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post];
        for operation in operations.into_iter().flatten() {
            if let Some(security) = &mut operation.security {
                security.push(SecurityRequirement::default());
            }
        }
    }
}

/// This description.
#[utoipa::path(
    get,
    path = "/api/openapi.json",
    tag = "process",
    responses((status = 200, description = "The description.", body = Object)),
)]
pub(crate) async fn document(State(site): State<Arc<Site>>) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    (json, site.description().to_owned()).into_response()
}
