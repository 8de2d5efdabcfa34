//! Edits as a body has them, checked member by member.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use telecine_engine::definition::misfits;
use telecine_engine::retry::edits::{Budget, Edits, Skip};
use utoipa::{PartialSchema as _, ToSchema};

use crate::error::{Code, FieldError, Problem};

/// What a plan is to do otherwise. Steps are written `package`, `encode[3]`, or `encode` for all of its items.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EditRequest {
    /// Steps that run again although their result could be kept.
    force: Vec<String>,
    /// Steps that are left out, and why.
    #[schema(inline)]
    skip: Vec<SkipRequest>,
    /// Outputs of steps, which then need not run.
    #[schema(value_type = Option<Object>)]
    supply: BTreeMap<String, Value>,
    /// By step and JSON pointer into its input, another value.
    #[schema(value_type = Option<std::collections::HashMap<String, Object>>)]
    set: BTreeMap<String, Map<String, Value>>,
    /// By step, JSON pointers of values that plans executed earlier set: they are what the definition says again.
    #[schema(value_type = Option<std::collections::HashMap<String, Vec<String>>>)]
    unset: BTreeMap<String, Vec<String>>,
    /// How many attempts steps get.
    #[schema(inline)]
    budget: Option<BudgetRequest>,
    /// Where the steps wait.
    queue: Option<String>,
    /// Which of its queue go first: the higher.
    priority: Option<i32>,
    /// Another definition of its workflow for the job to go on with: `video:full@4`, or a digest. The steps
    /// of the other edits are those of this one then.
    definition: Option<String>,
}

/// A step that is left out.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SkipRequest {
    step: String,
    /// For whoever reads the job's history.
    why: String,
}

/// Attempts.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BudgetRequest {
    #[schema(minimum = 1, maximum = 100)]
    attempts: u32,
    /// Of all steps that run, unless given.
    step: Option<String>,
}

static SCHEMA: LazyLock<Value> =
    LazyLock::new(|| serde_json::to_value(EditRequest::schema()).unwrap_or_default());

/// Reads the edits that are at a place of a body.
pub(super) fn read(edits: Value, place: &str) -> Result<Edits, Problem> {
    let wrong = |errors| {
        let detail = "the edits are not as they should be: see `errors`";
        Err(Problem::new(Code::InvalidRequest, detail).with_errors(errors))
    };
    let misfits = misfits(&SCHEMA, &edits).into_iter();
    let errors: Vec<_> = misfits
        .map(|misfit| FieldError::new(format!("{place}{}", misfit.pointer), misfit.message))
        .collect();
    if !errors.is_empty() {
        return wrong(errors);
    }
    match serde_json::from_value::<EditRequest>(edits) {
        Ok(request) => Ok(request.into()),
        Err(error) => wrong(vec![FieldError::new(place, error.to_string())]),
    }
}

impl From<EditRequest> for Edits {
    fn from(request: EditRequest) -> Self {
        let skip = request.skip.into_iter();
        let set = request.set.into_iter();
        Self {
            force: request.force,
            skip: skip
                .map(|it| Skip {
                    step: it.step,
                    why: it.why,
                })
                .collect(),
            supply: request.supply,
            set: set
                .map(|(step, values)| (step, values.into_iter().collect()))
                .collect(),
            unset: request.unset,
            budget: request.budget.map(|it| Budget {
                attempts: it.attempts,
                step: it.step,
            }),
            queue: request.queue,
            priority: request.priority,
            definition: request.definition,
        }
    }
}
