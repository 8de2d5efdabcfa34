//! What `POST /api/jobs` reads: a request for a job, checked against its own schema and the
//! workflow's.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde::Deserialize;
use serde_json::{Map, Value};
use telecine_engine::coordinator::{Submission, SubmitError};
use telecine_engine::definition::{InputError, misfits};
use telecine_engine::objects::ObjectError;
use telecine_engine::queue::Queue;
use telecine_engine::run::StoreUrls;
use utoipa::{PartialSchema as _, ToSchema};

use super::Site;
use crate::error::{Code, FieldError, Problem};

/// Labels of one job.
const LABELS: usize = 32;
/// Characters of a label's name.
const LABEL_NAME_CHARS: usize = 64;
/// Characters of a label's value.
const LABEL_CHARS: usize = 256;

/// A request for a job: with its whole `input`, or with `source`, `hash` and `options`, which is
/// short for the input of a media workflow.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct JobRequest {
    /// The workflow: `video:full`.
    #[schema(min_length = 1, max_length = 64)]
    r#type: String,
    /// Its whole input.
    #[schema(value_type = Option<Object>)]
    input: Option<Map<String, Value>>,
    /// Key of the object in the source store.
    #[schema(min_length = 1, max_length = 1024)]
    source: Option<String>,
    /// Identity of the media; the SHA-256 of the source unless given.
    hash: Option<String>,
    /// The other members of the input.
    #[schema(value_type = Option<Object>)]
    options: Option<Map<String, Value>>,
    /// Where its steps wait; by the size of the source unless given.
    #[schema(value_type = Option<String>, pattern = "^(critical|default|video:large)$")]
    queue: Option<Queue>,
    /// Which of its queue go first: the higher. 0 unless given.
    #[schema(minimum = -1000, maximum = 1000)]
    priority: Option<i32>,
    /// Names and values for people and filters.
    #[schema(value_type = Option<std::collections::HashMap<String, String>>)]
    labels: Option<BTreeMap<String, String>>,
}

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let schema = JobRequest::schema();
    serde_json::to_value(schema).unwrap_or_default()
});

/// Members that the contract of the API has, and that this version cannot honour.
const NOT_YET: [&str; 1] = ["callback_url"];

impl JobRequest {
    /// Reads a body.
    pub(super) fn read(body: Value) -> Result<Self, Problem> {
        let asked: Vec<FieldError> = NOT_YET
            .into_iter()
            .filter(|name| body.get(name).is_some())
            .map(|name| FieldError::new(format!("/{name}"), "this version does not know it yet"))
            .collect();
        if !asked.is_empty() {
            return Err(invalid(asked));
        }
        let misfits = misfits(&SCHEMA, &body);
        if !misfits.is_empty() {
            return Err(invalid(misfits.into_iter().map(FieldError::from).collect()));
        }
        let request: Self = serde_json::from_value(body)
            .map_err(|error| invalid(vec![FieldError::new("", error.to_string())]))?;
        request.check()?;
        Ok(request)
    }

    fn check(&self) -> Result<(), Problem> {
        let mut errors = Vec::new();
        if self.input.is_some() {
            let others = [
                ("/source", self.source.is_some()),
                ("/hash", self.hash.is_some()),
                ("/options", self.options.is_some()),
            ];
            let given = others.into_iter().filter(|(_, given)| *given);
            errors.extend(given.map(|(pointer, _)| {
                FieldError::new(pointer, "is a part of `input`: write one of the two")
            }));
        }
        for name in ["source", "hash"] {
            if self
                .options
                .iter()
                .any(|options| options.contains_key(name))
            {
                let pointer = format!("/options/{name}");
                errors.push(FieldError::new(pointer, "belongs beside `options`"));
            }
        }
        errors.extend(self.labels.iter().flat_map(wrong_labels));
        if errors.is_empty() {
            Ok(())
        } else {
            Err(invalid(errors))
        }
    }

    /// What is submitted.
    pub(super) fn submission(self, site: &Site) -> Result<(Submission, Pointers), Problem> {
        let stores = site.stores.clone().ok_or_else(|| {
            Problem::internal("a process without stores was asked to submit a job")
        })?;
        let pointers = match self.input {
            Some(_) => Pointers::Input,
            None => Pointers::Short,
        };
        let workflow = site.workflow(&self.r#type).ok_or_else(|| {
            let names: Vec<_> = site
                .workflows
                .iter()
                .map(|known| known.name.as_str())
                .collect();
            let message = format!("there is no such workflow; these are: {}", names.join(", "));
            let detail = format!("there is no workflow {}", self.r#type);
            Problem::new(Code::UnknownWorkflow, detail)
                .with_errors(vec![FieldError::new("/type", message)])
        })?;
        let input = self.input.unwrap_or_else(|| {
            let mut input = self.options.unwrap_or_default();
            input.extend(
                self.source
                    .map(|source| ("source".to_owned(), source.into())),
            );
            input.extend(self.hash.map(|hash| ("hash".to_owned(), hash.into())));
            input
        });
        let submission = Submission {
            definition: workflow.clone(),
            input: Value::Object(input),
            stores,
            queue: self.queue,
            priority: self.priority.unwrap_or_default(),
            labels: self.labels.unwrap_or_default(),
            force: false,
        };
        Ok((submission, pointers))
    }
}

impl Site {
    /// The workflow of that name.
    pub(super) fn workflow(
        &self,
        name: &str,
    ) -> Option<&Arc<telecine_engine::definition::Definition>> {
        self.workflows.iter().find(|known| known.name == name)
    }
}

fn invalid(errors: Vec<FieldError>) -> Problem {
    let detail = "the request is not as it should be: see `errors`";
    Problem::new(Code::InvalidRequest, detail).with_errors(errors)
}

fn wrong_labels(labels: &BTreeMap<String, String>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if labels.len() > LABELS {
        errors.push(FieldError::new(
            "/labels",
            format!("has more than {LABELS} members"),
        ));
    }
    let bad =
        |text: &str, limit| text.chars().count() > limit || text.chars().any(char::is_control);
    for (name, value) in labels {
        let wrong_name = name.is_empty() || name.contains('=') || bad(name, LABEL_NAME_CHARS);
        let pointer = format!("/labels/{}", name.replace('~', "~0").replace('/', "~1"));
        if wrong_name {
            let message = format!(
                "its name has to be 1 to {LABEL_NAME_CHARS} characters, without `=` and control characters"
            );
            errors.push(FieldError::new(pointer, message));
        } else if bad(value, LABEL_CHARS) {
            let message =
                format!("has to be at most {LABEL_CHARS} characters, without control characters");
            errors.push(FieldError::new(pointer, message));
        }
    }
    errors
}

/// How members of the input are called in the request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pointers {
    /// The request had an `input`.
    Input,
    /// It was put together.
    Short,
}

impl Pointers {
    fn of(self, pointer: &str) -> String {
        match self {
            Self::Input => format!("/input{pointer}"),
            Self::Short if ["/source", "/hash"].contains(&pointer) => pointer.to_owned(),
            Self::Short if pointer.is_empty() => String::new(),
            Self::Short => format!("/options{pointer}"),
        }
    }

    /// Why a submission was refused.
    pub(super) fn problem(self, error: SubmitError, stores: &StoreUrls) -> Problem {
        match error {
            SubmitError::BadInput(errors) => self.bad_input(errors),
            SubmitError::SourceMissing { key, .. } => {
                let detail = format!("there is no object {key} in the source store");
                self.bad_source(detail)
            }
            SubmitError::KeyReused => {
                let detail = "this Idempotency-Key came with another request before";
                Problem::new(Code::IdempotencyKeyReused, detail)
            }
            SubmitError::Objects(ObjectError::BadKey { key, .. }) if key.contains("://") => {
                let detail = format!(
                    "{key:?} is an address: a source is named by its key in the source store"
                );
                self.bad_source(detail)
            }
            SubmitError::Objects(error @ ObjectError::BadKey { .. }) => {
                self.bad_source(error.to_string())
            }
            SubmitError::Objects(error) => {
                tracing::warn!(%error, store = stores.source, "a source could not be looked at");
                let detail = "the source store cannot be used at the moment; try again";
                Problem::new(Code::StoreUnavailable, detail)
            }
            SubmitError::Commit(error) => error.into(),
        }
    }

    fn bad_input(self, errors: Vec<InputError>) -> Problem {
        let errors = errors
            .into_iter()
            .map(|error| FieldError::new(self.of(&error.pointer), error.message));
        let detail = "the input does not fit the workflow: see `errors`";
        Problem::new(Code::InvalidInput, detail).with_errors(errors.collect())
    }

    fn bad_source(self, why: String) -> Problem {
        let error = FieldError::new(self.of("/source"), why.clone());
        Problem::new(Code::SourceMissing, why).with_errors(vec![error])
    }
}
