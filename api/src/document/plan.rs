use serde::{Deserialize, Serialize};
use telecine_engine::retry::plan::{PlannedStep, RetryPlan};
use telecine_engine::store::PlanHead;
use utoipa::ToSchema;

use super::LIST_LIMIT;
use crate::cursor::Cursor;

/// What trying a stopped job again would do, step by step.
///
/// Steps are in the order of the workflow, each with one `action` (`reuse`, `resume`, `rerun`, `skip`,
/// `blocked`) and one `reason`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct RetryPlanDocument {
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub(crate) plan: RetryPlan,
    /// How many steps there are; `steps` may be shorter.
    pub(crate) steps_total: usize,
    /// Where a server shows the steps behind these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) steps_next: Option<String>,
}

impl RetryPlanDocument {
    /// With all of its steps.
    pub(crate) fn complete(plan: RetryPlan) -> Self {
        Self {
            steps_total: plan.steps.len(),
            steps_next: None,
            plan,
        }
    }

    /// With at most [`LIST_LIMIT`] steps and as many corrupt objects.
    pub(crate) fn abridged(mut self) -> Self {
        self.plan.steps.truncate(LIST_LIMIT);
        self.plan.corrupt.truncate(LIST_LIMIT);
        self
    }

    /// What a server shows of a plan: its first steps, and where to find the others.
    pub(crate) fn linked(plan: RetryPlan) -> Self {
        let total = plan.steps.len();
        Self::head(PlanHead { plan, total })
    }

    /// The same of a plan of which no more was read.
    pub(crate) fn head(PlanHead { plan, total }: PlanHead) -> Self {
        let mut document = Self {
            steps_total: total,
            steps_next: None,
            plan,
        }
        .abridged();
        let shown = document.plan.steps.len();
        document.steps_next = (shown < total).then(|| {
            let (job, plan) = (&document.plan.job, &document.plan.id);
            let cursor = Cursor::PlannedStep(shown);
            format!("/api/jobs/{job}/retry-plans/{plan}/steps?cursor={cursor}")
        });
        document
    }
}

/// A page of the steps of a plan, in the order of the workflow.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct PlannedStepPage {
    #[schema(value_type = Vec<Object>)]
    pub(crate) items: Vec<PlannedStep>,
    /// How many steps the plan has.
    pub(crate) total: usize,
    /// For the next page; null on the last one.
    pub(crate) next_cursor: Option<String>,
}

/// The name that a value has in JSON.
pub(crate) fn json_name(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}
