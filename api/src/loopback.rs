//! Keeps web pages of other sites away from a server without keys.
//!
//! A browser on the same machine reaches it on behalf of any page. What such a page sends names a foreign
//! origin; one whose name was made to point at 127.0.0.1 (DNS rebinding) could even read the answers, and
//! names a foreign host.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::error::{Code, Problem};

/// Lets a request in that comes from this machine and from no page of another.
pub(crate) async fn layer(request: Request, next: Next) -> Response {
    match check(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn check(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let addressed = uri.host().is_none_or(is_loopback);
    if !addressed || !all(headers, header::HOST, of_authority) {
        let detail = "a server without API keys answers to localhost, 127.0.0.1 and [::1] only: use one \
                      of these names, or set TELECINE_API_KEYS";
        return Err(Problem::new(Code::ForeignHost, detail));
    }
    if !all(headers, header::ORIGIN, of_origin) {
        let detail = "a server without API keys does nothing for web pages of other sites: open the \
                      page from localhost, or set TELECINE_API_KEYS";
        return Err(Problem::new(Code::ForeignOrigin, detail));
    }
    Ok(())
}

/// Whether every value of a header is right. Browsers send one `Host` and, where it matters, one
/// `Origin`; whoever sends none is no browser.
fn all(headers: &HeaderMap, name: HeaderName, is_right: fn(&str) -> bool) -> bool {
    let mut values = headers.get_all(name).iter();
    values.all(|value| value.to_str().is_ok_and(is_right))
}

fn of_authority(text: &str) -> bool {
    let authority = text.parse::<Authority>();
    authority.is_ok_and(|authority| is_loopback(authority.host()))
}

fn of_origin(text: &str) -> bool {
    let origin = text.parse::<Uri>();
    origin.is_ok_and(|origin| origin.host().is_some_and(is_loopback))
}

fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let address = bare.unwrap_or(host).parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: HeaderName, value: &str) -> Option<Code> {
        let value = value.parse().expect("a header");
        let headers = HeaderMap::from_iter([(name, value)]);
        check(&Uri::from_static("/api/jobs"), &headers)
            .err()
            .map(|problem| problem.code)
    }

    #[test]
    fn this_machine_is_let_in_under_all_its_names() {
        for host in [
            "localhost",
            "LocalHost:3000",
            "127.0.0.1:3000",
            "127.8.9.1",
            "[::1]",
            "[::1]:3000",
        ] {
            assert_eq!(refusal(header::HOST, host), None, "{host}");
            let origin = format!("http://{host}");
            assert_eq!(refusal(header::ORIGIN, &origin), None, "{origin}");
        }
        assert!(check(&Uri::from_static("/"), &HeaderMap::new()).is_ok());
    }

    #[test]
    fn others_are_refused_whatever_their_names_begin_or_end_with() {
        for host in [
            "",
            "evil.example:3000",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "127.0.0.1@evil.example",
            "192.168.0.7",
            "[::2]:3000",
        ] {
            assert_eq!(
                refusal(header::HOST, host),
                Some(Code::ForeignHost),
                "{host}"
            );
            let origin = format!("http://{host}");
            assert_eq!(
                refusal(header::ORIGIN, &origin),
                Some(Code::ForeignOrigin),
                "{origin}"
            );
        }
        assert_eq!(refusal(header::ORIGIN, "null"), Some(Code::ForeignOrigin));
        let proxied = Uri::from_static("http://evil.example/api/jobs");
        assert!(check(&proxied, &HeaderMap::new()).is_err());
    }
}
