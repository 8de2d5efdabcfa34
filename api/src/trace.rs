//! The outermost layer: gives each request its trace id, each answer its `X-Trace-ID`, and each
//! error its body.

use std::fmt::Write as _;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument as _;

use crate::error::{PROBLEM_JSON, Problem};
use crate::metrics;

/// Where the W3C Trace Context travels.
const TRACEPARENT: &str = "traceparent";
const TRACE_ID: &str = "x-trace-id";

/// What a request is called in logs here and elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trace {
    /// 32 hex digits.
    id: String,
    /// 16 hex digits: this request within the trace.
    span: String,
    /// 2 hex digits.
    flags: String,
}

impl Trace {
    /// The trace of a caller who sent one that can be read, or else a new one.
    fn of(headers: &HeaderMap) -> Self {
        let sent = headers
            .get(TRACEPARENT)
            .and_then(|value| value.to_str().ok())
            .and_then(read);
        let (id, flags) = sent.unwrap_or_else(|| (random_hex::<16>(), "00".to_owned()));
        Self {
            id,
            span: random_hex::<8>(),
            flags,
        }
    }

    fn parent(&self) -> String {
        format!("00-{}-{}-{}", self.id, self.span, self.flags)
    }
}

/// Trace id and flags of `00-{32 hex}-{16 hex}-{2 hex}`; later versions may have more behind it.
fn read(traceparent: &str) -> Option<(String, String)> {
    let mut parts = traceparent.split('-');
    let (version, id) = (parts.next()?, parts.next()?);
    let (span, flags) = (parts.next()?, parts.next()?);
    let is_hex = |text: &str, length| {
        text.len() == length
            && text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let is_zero = |text: &str| text.bytes().all(|byte| byte == b'0');
    let known =
        is_hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
    let readable = is_hex(id, 32) && !is_zero(id) && is_hex(span, 16) && !is_zero(span);
    (known && readable && is_hex(flags, 2)).then(|| (id.to_owned(), flags.to_owned()))
}

fn random_hex<const BYTES: usize>() -> String {
    let mut bytes = [0; BYTES];
    if getrandom::fill(&mut bytes).is_err() {
        // An id that is no id is better than no answer.
        bytes[BYTES - 1] = 1;
    }
    bytes.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Runs a request within its trace, and finishes its answer.
pub(crate) async fn layer(request: Request, next: Next) -> Response {
    let trace = Trace::of(request.headers());
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let method = request.method().as_str().to_owned();
    let span = tracing::info_span!("request", trace.id = %trace.id, http.method = %method, http.route = %route);
    let began = Instant::now();
    let response = next.run(request).instrument(span).await;
    let mut response = with_body(response, &trace);
    mark(response.headers_mut(), TRACE_ID, &trace.id);
    mark(response.headers_mut(), TRACEPARENT, &trace.parent());
    metrics::answered(&method, &route, (response.status(), began.elapsed()));
    response
}

fn mark(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Gives an error its body, also one that no handler of ours answered with.
fn with_body(response: Response, trace: &Trace) -> Response {
    let status = response.status();
    let problem = response.extensions().get::<Problem>().cloned();
    let problem = match problem {
        None if status.is_client_error() || status.is_server_error() => Problem::of_status(status),
        None => return response,
        Some(problem) => problem,
    };
    let document = problem.document(trace.id.clone());
    let body = serde_json::to_vec(&document).unwrap_or_default();
    let (mut parts, _) = response.into_parts();
    parts.status = problem.code.status();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts
        .headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    Response::from_parts(parts, Body::from(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_goes_on_and_what_is_none_is_replaced() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        let good = format!("00-{id}-b7ad6b7169203331-01");
        assert_eq!(read(&good), Some((id.to_owned(), "01".to_owned())));
        assert_eq!(
            read(&format!("cc-{id}-b7ad6b7169203331-01-more"))
                .unwrap()
                .0,
            id
        );
        for bad in [
            "",
            "00",
            &format!("{good}-more"),
            &good.to_uppercase(),
            &format!("ff-{id}-b7ad6b7169203331-01"),
            &format!("00-{id}-0000000000000000-01"),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
        let mut headers = HeaderMap::new();
        assert_eq!(Trace::of(&headers).id.len(), 32);
        headers.insert(TRACEPARENT, HeaderValue::from_str(&good).unwrap());
        let trace = Trace::of(&headers);
        assert_eq!(trace.id, id);
        assert!(trace.parent().starts_with(&format!("00-{id}-")));
        assert_ne!(trace.span, "b7ad6b7169203331");
    }
}
