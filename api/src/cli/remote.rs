//! A server that commands act on instead of the embedded engine: `--server URL`.

use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url, header, redirect};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::exit::CliError;
use crate::auth::API_KEY;
use crate::config::Config;

/// How long a server gets to take a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long it gets to answer: somewhat longer than it gives itself.
const ANSWER: Duration = Duration::from_secs(40);
/// When it is asked again for what it is still at.
const AGAIN: Duration = Duration::from_secs(1);
/// The longest answer, in bytes: a hundred steps of whose outputs few are as large as they may be.
const ANSWER_BYTES: usize = 64 << 20;

/// A server.
#[derive(Debug)]
pub(super) struct Server {
    client: Client,
    address: Url,
    key: Option<String>,
}

/// What a server says when it does not do what it was asked.
#[derive(Debug, Deserialize)]
struct Refusal {
    code: String,
    detail: String,
    #[serde(default)]
    errors: Vec<Wrong>,
}

/// What is wrong with one member of a request.
#[derive(Debug, Deserialize)]
struct Wrong {
    pointer: String,
    message: String,
}

/// What a server says when a plan is another one by now.
#[derive(Debug, Deserialize)]
struct Changed<P> {
    plan: P,
}

/// Which program answers.
#[derive(Debug, Deserialize)]
struct Program {
    name: String,
    version: String,
}

impl Server {
    /// The server that the settings name, if they do.
    pub(super) fn of(config: &Config) -> Result<Option<Self>, CliError> {
        let Some(remote) = &config.remote else {
            return Ok(None);
        };
        // A second call finds the one that the first installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            // A key is for the server that was named, and for no other that this one names.
            .redirect(redirect::Policy::none())
            .user_agent(concat!("telecine/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| CliError::failed(format!("cannot start the HTTP client: {error}")))?;
        Ok(Some(Self {
            client,
            address: remote.url.clone(),
            key: remote.key.clone(),
        }))
    }

    /// What is at an address of the API.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        parameters: &[(&str, String)],
    ) -> Result<T, CliError> {
        let mut url = self.url(path);
        if !parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(parameters);
        }
        self.ask(self.client.request(Method::GET, url)).await
    }

    /// What is at an address of the API, if there is something.
    pub(super) async fn find<T: DeserializeOwned>(
        &self,
        path: &[&str],
    ) -> Result<Option<T>, CliError> {
        let request = self.client.request(Method::GET, self.url(path));
        match self.answer(self.with_key(request)).await? {
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, body) => self.read(status, &body).await.map(Some),
        }
    }

    /// Does what is at an address of the API.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &Value,
    ) -> Result<T, CliError> {
        let request = self.client.request(Method::POST, self.url(path));
        let request = request.header(header::CONTENT_TYPE, "application/json");
        self.ask(request.body(body.to_string())).await
    }

    /// The same with parameters, and with a body or without; again for as long as the server is still at it.
    pub(super) async fn post_with<T: DeserializeOwned>(
        &self,
        path: &[&str],
        parameters: &[(&str, String)],
        body: Option<&Value>,
    ) -> Result<T, CliError> {
        let mut url = self.url(path);
        url.query_pairs_mut().extend_pairs(parameters);
        loop {
            let request = self.client.request(Method::POST, url.clone());
            let request = match body {
                Some(body) => request
                    .header(header::CONTENT_TYPE, "application/json")
                    .body(body.to_string()),
                None => request,
            };
            match self.answer(self.with_key(request)).await? {
                (StatusCode::ACCEPTED, _) => tokio::time::sleep(AGAIN).await,
                (status, body) => return self.read(status, &body).await,
            }
        }
    }

    /// Does what is at an address of the API if it still has this digest; else the answer is the plan
    /// that there is instead.
    pub(super) async fn post_if_match<T: DeserializeOwned, P: DeserializeOwned>(
        &self,
        path: &[&str],
        digest: &str,
    ) -> Result<Result<T, P>, CliError> {
        let request = self.client.request(Method::POST, self.url(path));
        let request = request.header(header::IF_MATCH, format!("\"{digest}\""));
        let (status, body) = self.answer(self.with_key(request)).await?;
        if status == StatusCode::PRECONDITION_FAILED
            && let Ok(changed) = serde_json::from_slice::<Changed<P>>(&body)
        {
            return Ok(Err(changed.plan));
        }
        self.read(status, &body).await.map(Ok)
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.address.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, CliError> {
        let (status, body) = self.answer(self.with_key(request)).await?;
        self.read(status, &body).await
    }

    fn with_key(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.key {
            Some(key) => request.header(API_KEY, key),
            None => request,
        }
    }

    async fn read<T: DeserializeOwned>(
        &self,
        status: StatusCode,
        body: &[u8],
    ) -> Result<T, CliError> {
        if status.is_success() {
            return match serde_json::from_slice(body) {
                Ok(answer) => Ok(answer),
                Err(error) => Err(self
                    .strange(&format!("its answer cannot be read: {error}"))
                    .await),
            };
        }
        match serde_json::from_slice::<Refusal>(body) {
            Ok(refusal) if refusal.code == "not_found" => {
                Err(self.strange("it does not know what it was asked for").await)
            }
            Ok(refusal) => Err(self.refused(status, refusal)),
            Err(_) => Err(self.strange(&format!("it answers {status}")).await),
        }
    }

    async fn answer(&self, request: RequestBuilder) -> Result<(StatusCode, Vec<u8>), CliError> {
        let lost = |error: reqwest::Error| {
            CliError::unjudged(format!(
                "the server {} cannot be reached: {}",
                self.address,
                innermost(&error)
            ))
        };
        let mut response: Response = request.send().await.map_err(lost)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            if body.len() + chunk.len() > ANSWER_BYTES {
                let why = format!("its answer is longer than {ANSWER_BYTES} bytes");
                return Err(CliError::failed(format!("{}: {why}", self.address)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((response.status(), body))
    }

    fn refused(&self, status: StatusCode, refusal: Refusal) -> CliError {
        let wrong = refusal.errors.iter();
        let wrong = wrong.filter(|wrong| wrong.message != refusal.detail);
        let wrong = wrong.map(|wrong| format!("\n  {}: {}", wrong.pointer, wrong.message));
        let said = format!("{}{}", refusal.detail, wrong.collect::<String>());
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => CliError::usage(format!(
                "the server {} refuses: {said}; set TELECINE_API_KEY",
                self.address
            )),
            StatusCode::NOT_FOUND => CliError::not_found(said),
            StatusCode::CONFLICT => CliError::failed(said),
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                CliError::failed(format!("the server {} cannot: {said}", self.address))
            }
            _ => CliError::usage(said),
        }
    }

    /// Somebody answers, but not as a server of this version does: says who it is.
    async fn strange(&self, what: &str) -> CliError {
        let asked = self.client.request(Method::GET, self.url(&["version"]));
        let answer = self.answer(asked).await.ok();
        let program: Option<Program> =
            answer.and_then(|(_, body)| serde_json::from_slice(&body).ok());
        let who = match program {
            Some(Program { name, version }) if name == env!("CARGO_PKG_NAME") => format!(
                "it is telecine {version}, and this is {}",
                env!("CARGO_PKG_VERSION")
            ),
            _ => "it is no server of telecine".to_owned(),
        };
        CliError::usage(format!("{}: {what}; {who}", self.address))
    }
}

/// The cause of the cause, which says what happened: the outer ones say that something did.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}
