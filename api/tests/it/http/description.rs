//! The server describes exactly what it answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, OnceLock};

use boon::{Compiler, Schemas};
use serde_json::Value;

use super::client::{Answer, Request};
use super::process::Server;
use crate::product::Workplace;

const URL: &str = "http://test/openapi.json";
const METHODS: [&str; 5] = ["get", "post", "put", "delete", "patch"];

/// `/api/openapi.json` of a server.
#[derive(Debug, Clone)]
pub(super) struct Description(Value);

/// Descriptions by server: most tests ask one many times.
static KNOWN: OnceLock<Mutex<BTreeMap<SocketAddr, Value>>> = OnceLock::new();

impl Description {
    pub(super) fn of(server: SocketAddr) -> Self {
        let known = KNOWN.get_or_init(Mutex::default);
        if let Some(found) = known.lock().expect("a lock").get(&server) {
            return Self(found.clone());
        }
        // Kept before it is asked for: the answer is checked too.
        known.lock().expect("a lock").insert(server, Value::Null);
        let answer = Request::get("/api/openapi.json").send(server);
        // A worker's own listener has none.
        let description = match answer.status {
            200 => answer.json(),
            _ => Value::Null,
        };
        let mut known = known.lock().expect("a lock");
        known.insert(server, description.clone());
        Self(description)
    }

    /// Fails if an answer is not what is described for it.
    pub(super) fn check(&self, method: &str, path: &str, answer: &Answer) {
        let kind = answer.headers.get("content-type");
        let kind = kind.map_or("", |kind| kind.split(';').next().unwrap_or_default());
        let schema = match self.operation(method, path) {
            _ if self.0.is_null() || !kind.ends_with("json") => return,
            None => "/components/schemas/ProblemDocument".to_owned(),
            Some(operation) => {
                let responses = &self.0.pointer(&operation).expect("an operation")["responses"];
                let exact = answer.status.to_string();
                let range = format!("{}XX", answer.status / 100);
                let described = [exact, range]
                    .into_iter()
                    .find(|status| responses.get(status).is_some());
                match described {
                    Some(status) => {
                        format!(
                            "{operation}/responses/{status}/content/{}/schema",
                            escape(kind)
                        )
                    }
                    // Whatever can go wrong with every request is described once.
                    None if answer.status >= 400 => {
                        "/components/schemas/ProblemDocument".to_owned()
                    }
                    None => panic!("{method} {path} does not describe {}", answer.status),
                }
            }
        };
        self.assert_fits(&schema, answer);
    }

    /// Every method with an address that it can be tried on, and the scopes that it wants.
    pub(super) fn operations(&self) -> Vec<(String, String, Vec<String>)> {
        let mut operations = Vec::new();
        for (template, item) in self.0["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("methods") {
                let scopes = operation["security"][0]["api_key"].as_array();
                let scopes = scopes.into_iter().flatten();
                let scopes = scopes.map(|scope| scope.as_str().expect("a scope").to_owned());
                let path = address(template);
                operations.push((method.to_uppercase(), path, scopes.collect()));
            }
        }
        operations
    }

    /// The pointer to the description of a request.
    fn operation(&self, method: &str, path: &str) -> Option<String> {
        let paths = self.0["paths"].as_object()?;
        let template = paths.keys().find(|template| fits(template, path))?;
        let method = method.to_lowercase();
        paths[template].get(&method)?;
        Some(format!("/paths/{}/{method}", escape(template)))
    }

    fn assert_fits(&self, pointer: &str, answer: &Answer) {
        assert!(self.0.pointer(pointer).is_some(), "nothing at {pointer}");
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler
            .add_resource(URL, self.0.clone())
            .expect("a description");
        let fragment = pointer.replace('{', "%7B").replace('}', "%7D");
        let schema = compiler
            .compile(&format!("{URL}#{fragment}"), &mut schemas)
            .unwrap_or_else(|error| panic!("{pointer}: {error:#}"));
        if let Err(error) = schemas.validate(&answer.json(), schema) {
            panic!(
                "not as described at {pointer}: {error:#}\n{:#}",
                answer.json()
            );
        }
    }
}

/// An address that a template stands for.
fn address(template: &str) -> String {
    template
        .replace("{id}", "job_none")
        .replace("{name}", "none")
        .replace("{step}", "none")
        .replace("{plan}", "none")
}

fn escape(segment: &str) -> String {
    segment.replace('~', "~0").replace('/', "~1")
}

fn fits(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) =
        (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len()
        && template
            .iter()
            .zip(&path)
            .all(|(part, given)| part == given || part.starts_with('{'))
}

/// The routes of the contract that there are so far.
const ROUTES: [&str; 26] = [
    "get /api/activities",
    "get /api/events",
    "get /api/jobs",
    "get /api/jobs/{id}",
    "get /api/jobs/{id}/events",
    "get /api/jobs/{id}/retry-plan",
    "get /api/jobs/{id}/retry-plans/{plan}",
    "get /api/jobs/{id}/retry-plans/{plan}/steps",
    "get /api/jobs/{id}/steps",
    "get /api/jobs/{id}/steps/{step}/artifacts",
    "get /api/jobs/{id}/steps/{step}/reuse",
    "get /api/openapi.json",
    "get /api/workflows",
    "get /api/workflows/{name}",
    "get /docs",
    "get /healthz",
    "get /metrics",
    "get /readyz",
    "get /version",
    "post /api/jobs",
    "post /api/jobs/{id}/cancel",
    "post /api/jobs/{id}/retry",
    "post /api/jobs/{id}/retry-plans",
    "post /api/jobs/{id}/retry-plans/{plan}/execute",
    "post /api/retry-plans",
    "post /api/retry-plans/execute",
];

#[test]
fn the_description_names_exactly_the_routes_that_are_served() {
    let place = Workplace::new();
    let server = Server::development(&place);
    let Description(description) = Description::of(server.address);
    assert_eq!(description["openapi"], "3.1.0");
    let paths = description["paths"].as_object().expect("paths");
    let mut described = Vec::new();
    for (template, item) in paths {
        let path = address(template);
        for method in METHODS {
            let known = item.get(method).is_some();
            let answer = Request::new(&method.to_uppercase(), &path).send(server.address);
            let unknown = answer.status == 405;
            assert_eq!(known, !unknown, "{method} {template}: {}", answer.text());
            described.extend(known.then(|| format!("{method} {template}")));
        }
    }
    described.sort();
    assert_eq!(described, ROUTES);
    let security = &description["paths"]["/api/jobs"]["get"]["security"];
    assert_eq!(
        security[1],
        serde_json::json!({}),
        "a server without keys wants none"
    );
}

#[test]
fn the_reference_lists_every_route() {
    let text = crate::repository::read(&crate::repository::root().join("docs/reference/http.md"));
    for route in ROUTES {
        let (method, path) = route.split_once(' ').expect("a method and a path");
        let cell = format!("`{} {path}`", method.to_uppercase());
        assert!(
            text.contains(&cell),
            "docs/reference/http.md does not say {cell}"
        );
    }
}
