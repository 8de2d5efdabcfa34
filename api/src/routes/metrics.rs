use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use telecine_engine::store::StoreError;

use super::Site;
use crate::metrics;

/// How long the database has to answer; whoever asks for metrics has better things to wait for.
const ANSWER: Duration = Duration::from_secs(2);

/// Counts the steps that wait now. A database that does not answer is told by other metrics.
async fn count_waiting(site: &Site) {
    let store = site.app.visitors();
    let counting = async { Ok((store.count_waiting().await?, store.offers().await?)) };
    let counted: Result<Result<_, StoreError>, _> = tokio::time::timeout(ANSWER, counting).await;
    match counted {
        Ok(Ok((kinds, offers))) => metrics::waiting(&kinds, &offers),
        Ok(Err(error)) => tracing::warn!(%error, "the steps that wait were not counted"),
        Err(_) => tracing::warn!("the steps that wait were not counted in time"),
    }
}

/// What was measured, for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "process",
    responses((status = 200, description = "All metrics.", body = String, content_type = "text/plain")),
)]
pub(crate) async fn metrics(State(site): State<Arc<Site>>) -> Response {
    site.counted.get(count_waiting(&site)).await;
    let text = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, text)], site.measured.render()).into_response()
}
