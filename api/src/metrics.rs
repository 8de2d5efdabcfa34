//! Records what the engine and the HTTP API measure, for Prometheus.

use std::time::Duration;

use axum::http::StatusCode;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use telecine_engine::metrics::{self as engine, Kind, Metric};
use telecine_engine::queue::{Capability, Kind as QueuedKind, Queue};

/// How often histograms are summed up; between two scrapes they would grow.
const UPKEEP: Duration = Duration::from_secs(5);

/// Requests, by what they came to.
const REQUESTS: Metric = Metric {
    name: "telecine_http_requests_total",
    kind: Kind::Counter,
    labels: &["method", "route", "status"],
    help: "Requests that were answered.",
};

/// How long they took.
const REQUEST_SECONDS: Metric = Metric {
    name: "telecine_http_request_seconds",
    kind: Kind::Histogram(engine::OPERATIONS),
    labels: &["method", "route"],
    help: "From the head of a request to the beginning of its answer.",
};

/// Metrics of the HTTP API.
pub(crate) const METRICS: [Metric; 2] = [REQUESTS, REQUEST_SECONDS];

/// Starts to record everything of this process.
///
/// # Errors
/// One sentence; only one recorder can be set in a process.
pub(crate) fn record() -> Result<PrometheusHandle, String> {
    let recorder = builder()
        .map_err(|error| error.to_string())?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| error.to_string())?;
    for metric in all() {
        describe(metric);
    }
    let upkeep = handle.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

/// Every metric of the program.
pub(crate) fn all() -> impl Iterator<Item = &'static Metric> {
    engine::ALL.iter().chain(&METRICS)
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for metric in all() {
        if let Kind::Histogram(bounds) = metric.kind {
            let name = Matcher::Full(metric.name.to_owned());
            builder = builder.set_buckets_for_metric(name, bounds)?;
        }
    }
    Ok(builder)
}

fn describe(metric: &'static Metric) {
    match metric.kind {
        Kind::Counter => metrics::describe_counter!(metric.name, metric.help),
        Kind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
        Kind::Histogram(_) => metrics::describe_histogram!(metric.name, metric.help),
    }
}

/// Counts a request. `route` is the pattern of its address: addresses are without number.
pub(crate) fn answered(method: &str, route: &str, (status, took): (StatusCode, Duration)) {
    // Methods are made up as easily as addresses.
    let method = match method {
        "GET" | "POST" | "PUT" | "DELETE" | "HEAD" | "OPTIONS" | "PATCH" => method,
        _ => "other",
    };
    let labels = [("method", method.to_owned()), ("route", route.to_owned())];
    metrics::histogram!(REQUEST_SECONDS.name, &labels).record(took);
    let [method, route] = labels;
    let status = ("status", status.as_str().to_owned());
    metrics::counter!(REQUESTS.name, &[method, route, status]).increment(1);
}

/// Shows how many steps wait in each queue, and how many of them for a worker that is not there.
pub(crate) fn waiting(kinds: &[(QueuedKind, u64)], offers: &[Capability]) {
    let fits = |kind| offers.iter().any(|offer| offer.has_what_it_takes(kind));
    for queue in Queue::ALL {
        let of_queue = || kinds.iter().filter(|(kind, _)| kind.queue == queue);
        let steps: u64 = of_queue().map(|(_, steps)| steps).sum();
        let unfit = of_queue().filter(|(kind, _)| !fits(kind));
        let unfit: u64 = unfit.map(|(_, steps)| steps).sum();
        for (name, steps) in [
            (engine::STEPS_WAITING.name, steps),
            (engine::STEPS_WAITING_UNFIT.name, unfit),
        ] {
            metrics::gauge!(name, "queue" => queue.as_str()).set(steps as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_reference_lists_every_metric() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/metrics.md");
        let text = std::fs::read_to_string(file).unwrap();
        let mut table = "| metric | kind | labels | meaning |\n|---|---|---|---|\n".to_owned();
        for metric in all() {
            let kind = match metric.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram(_) => "histogram",
            };
            let labels: Vec<_> = metric
                .labels
                .iter()
                .map(|label| format!("`{label}`"))
                .collect();
            let (name, labels, help) = (metric.name, labels.join(", "), metric.help);
            table += &format!("| `{name}` | {kind} | {labels} | {help} |\n");
        }
        assert!(
            text.contains(&table),
            "docs/reference/metrics.md should hold\n\n{table}"
        );
    }
}
