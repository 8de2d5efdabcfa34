//! Which address is answered by what, and within which bounds.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::API_KEY;
use crate::error::{Code, Problem};
use crate::routes::{
    Site, activities, events, health, jobs, metrics, reference, retry, steps, workflows,
};
use crate::{loopback, openapi, trace};

/// Bytes of the headers of one request.
const HEADER_BYTES: usize = 16 * 1024;
/// Bytes of an address.
const URI_BYTES: usize = 8 * 1024;
/// From the end of a request's head to the beginning of its answer; the body has to arrive meanwhile.
const REQUEST: Duration = Duration::from_secs(30);
/// How long a caller waits who came to a server with too much to do.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Everything that a server answers, and its description.
pub(crate) fn server(site: &Arc<Site>) -> (Router, OpenApi) {
    let (api, described) = described().split_for_parts();
    let api = api.layer(middleware::from_fn_with_state(site.clone(), admit));
    let (open, open_described) = open().split_for_parts();
    let mut description = described;
    description.merge(open_described);
    let mut routes = api.merge(open);
    if site.keys.is_empty() {
        openapi::want_no_key(&mut description);
        routes = routes.layer(middleware::from_fn(loopback::layer));
    }
    site.describe(&description);
    (bounded(routes, site), description)
}

/// What a worker answers on its own listener.
pub(crate) fn worker(site: &Arc<Site>) -> Router {
    let (router, _) = OpenApiRouter::<Arc<Site>>::new()
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(metrics::metrics))
        .routes(routes!(health::version))
        .split_for_parts();
    bounded(router, site)
}

/// The routes for which a key is needed, if the server has any.
fn described() -> OpenApiRouter<Arc<Site>> {
    OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(jobs::list, jobs::submit))
        .routes(routes!(jobs::get))
        .routes(routes!(jobs::cancel))
        .routes(routes!(steps::list))
        .routes(routes!(steps::artifacts))
        .routes(routes!(steps::reuse))
        .routes(routes!(events::events))
        .routes(routes!(events::feed))
        .routes(routes!(retry::retry))
        .routes(routes!(retry::plan))
        .routes(routes!(retry::plans::create))
        .routes(routes!(retry::plans::get))
        .routes(routes!(retry::plans::steps))
        .routes(routes!(retry::plans::execute))
        .routes(routes!(retry::bulk::plan))
        .routes(routes!(retry::bulk::execute))
        .routes(routes!(workflows::list))
        .routes(routes!(workflows::get))
        .routes(routes!(activities::list))
}

/// The routes for everybody.
fn open() -> OpenApiRouter<Arc<Site>> {
    OpenApiRouter::new()
        .routes(routes!(openapi::document))
        .routes(routes!(reference::reference))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::version))
        .routes(routes!(metrics::metrics))
}

fn bounded(router: Router<Arc<Site>>, site: &Arc<Site>) -> Router {
    router
        .fallback(|| async { Problem::of_status(StatusCode::NOT_FOUND) })
        .method_not_allowed_fallback(|| async {
            Problem::of_status(StatusCode::METHOD_NOT_ALLOWED)
        })
        .layer(middleware::from_fn(within_bounds))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(trace::layer))
        .with_state(site.clone())
}

/// Lets a request in whose key is good, as one of not too many.
async fn admit(State(site): State<Arc<Site>>, mut request: Request, next: Next) -> Response {
    let presented = request.headers().get(API_KEY);
    let caller = site
        .keys
        .authenticate(presented.map(|value| value.as_bytes()));
    match caller {
        Ok(caller) => request.extensions_mut().insert(caller),
        Err(problem) => return problem.into_response(),
    };
    let Ok(_permit) = site.requests.try_acquire() else {
        let detail = "the server answers as many requests at once as it does; try again";
        return Problem::new(Code::TooManyRequests, detail)
            .retry_after(RETRY_AFTER)
            .into_response();
    };
    next.run(request).await
}

async fn within_bounds(request: Request, next: Next) -> Response {
    let uri = request.uri().path_and_query();
    if uri.is_some_and(|uri| uri.as_str().len() > URI_BYTES) {
        let detail = format!("the address is longer than {URI_BYTES} bytes");
        return Problem::new(Code::UriTooLong, detail).into_response();
    }
    let headers = request.headers().iter();
    let bytes: usize = headers
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if bytes > HEADER_BYTES {
        let detail = format!("the headers are larger than {HEADER_BYTES} bytes");
        return Problem::new(Code::HeadersTooLarge, detail).into_response();
    }
    match tokio::time::timeout(REQUEST, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = format!("the request took longer than {} s", REQUEST.as_secs());
            Problem::new(Code::RequestTimeout, detail).into_response()
        }
    }
}

fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    Problem::internal(text.unwrap_or("a panic without a message")).into_response()
}
