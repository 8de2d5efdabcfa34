//! `telecine workflow graph`: the steps of a workflow as a picture.

mod dot;
mod layout;
mod mermaid;
mod reduction;
mod svg;

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, ValueEnum};
use serde::Serialize;
use telecine_engine::definition::{Definition, Expr, OnFailure};
use telecine_engine::id::RunId;
use telecine_engine::run::{Node, Snapshot, StepStatus};

use crate::app::App;
use crate::cli::exit::{CliError, Exit};
use crate::cli::output::{self, Format};
use crate::cli::{Session, jobs};

/// Characters of an expression in a picture; the rest is in the definition.
const EXPRESSION_CHARS: usize = 40;

#[derive(Debug, Args)]
pub(in crate::cli) struct GraphArgs {
    /// A workflow of this program, or a YAML file; with `--job` it may be left out
    #[arg(required_unless_present = "job")]
    workflow: Option<String>,
    /// What is printed; `-o json` prints steps and edges as data instead
    #[arg(long, value_enum, default_value_t = Picture::Mermaid)]
    format: Picture,
    /// Colour the steps by their states in this job: its id, the beginning of it, or `@last`
    #[arg(long, value_name = "JOB")]
    job: Option<String>,
    /// Draw every edge, also those that longer ways imply
    #[arg(long)]
    all: bool,
}

/// Languages of pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Picture {
    /// For Markdown
    Mermaid,
    /// For Graphviz
    Dot,
    /// For browsers
    Svg,
}

pub(super) async fn run(arguments: GraphArgs, session: &Session) -> Result<Exit, CliError> {
    let graph = read(&arguments, session).await?;
    let text = match arguments.format {
        _ if session.format != Format::Table => String::new(),
        Picture::Mermaid => mermaid::draw(&graph),
        Picture::Dot => dot::draw(&graph),
        Picture::Svg => svg::draw(&graph).ok_or_else(|| {
            CliError::failed("the graph is too large for a picture: use --format dot")
        })?,
    };
    output::print_one(session.format, &graph, || text)?;
    Ok(Exit::Success)
}

async fn read(arguments: &GraphArgs, session: &Session) -> Result<Graph, CliError> {
    let named = arguments.workflow.as_deref();
    let named = named.map(|workflow| super::find(workflow, &session.program));
    let named = named.transpose()?;
    match (&arguments.job, named) {
        (None, Some(definition)) => Ok(Graph::new(&definition, arguments.all)),
        (None, None) => Err(CliError::usage("name a workflow, or a job with --job")),
        (Some(id), named) => {
            let app = App::open(&session.config.database, session.config.objects.clone()).await?;
            let job = jobs::find(&app, id).await?;
            let sources = jobs::sources(&app, &job).await?;
            if let Some(named) = named
                && named.digest() != sources.definition.digest()
            {
                return Err(CliError::usage(format!(
                    "{job} did not run this definition of {}: leave the workflow out",
                    named.name
                )));
            }
            let graph = Graph::new(&sources.definition, arguments.all);
            Ok(graph.with_states(&sources.snapshot))
        }
    }
}

/// What is drawn.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Graph {
    workflow: String,
    version: u32,
    digest: String,
    /// The job whose states are shown.
    job: Option<RunId>,
    /// In an order that respects every edge.
    steps: Vec<GraphStep>,
    edges: Vec<Edge>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct GraphStep {
    name: String,
    activity: String,
    for_each: Option<Expr>,
    when: Option<Expr>,
    /// `fail`, `continue` or `hold`.
    on_failure: &'static str,
    state: Option<State>,
}

/// How far a step of a job is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct State {
    status: StepStatus,
    /// Items of a fan-out whose list is known.
    items: Option<u32>,
    /// How many of them are settled.
    settled: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Edge {
    from: String,
    to: String,
    /// Whether `to` runs even if `from` was skipped.
    any: bool,
    #[serde(skip)]
    ends: (usize, usize),
}

impl Graph {
    /// The graph of a definition; without edges that follow from others, unless all are wanted.
    fn new(definition: &Definition, all: bool) -> Self {
        let needs: Vec<Vec<(usize, bool)>> = definition
            .steps
            .values()
            .map(|step| {
                let places = step.needs.iter();
                places
                    .filter_map(|need| Some((definition.steps.get_index_of(&need.step)?, need.any)))
                    .collect()
            })
            .collect();
        let needs = if all {
            needs
        } else {
            reduction::reduce(&needs)
        };
        let name = |at: usize| definition.steps.get_index(at).map(|(name, _)| name.clone());
        let edge = |to: usize, (from, any): (usize, bool)| Edge {
            from: name(from).unwrap_or_default(),
            to: name(to).unwrap_or_default(),
            any,
            ends: (from, to),
        };
        let edges = needs.into_iter().enumerate();
        Self {
            workflow: definition.name.clone(),
            version: definition.version,
            digest: definition.digest(),
            job: None,
            steps: definition.steps.iter().map(GraphStep::from).collect(),
            edges: edges
                .flat_map(|(to, needs)| needs.into_iter().map(move |need| (to, need)))
                .map(|(to, need)| edge(to, need))
                .collect(),
        }
    }

    fn with_states(mut self, snapshot: &Snapshot) -> Self {
        self.job = Some(snapshot.run.id.clone());
        let running: BTreeSet<&str> = snapshot
            .steps
            .iter()
            .filter(|record| record.step.status == StepStatus::Running)
            .map(|record| record.step.id.node.as_str())
            .collect();
        let singles: BTreeMap<&str, StepStatus> = snapshot
            .steps
            .iter()
            .filter(|record| record.step.id.item.is_none())
            .map(|record| (record.step.id.node.as_str(), record.step.status))
            .collect();
        for step in &mut self.steps {
            let node = snapshot.nodes.iter().find(|node| node.name == step.name);
            step.state = node.map(|node| State {
                status: match singles.get(node.name.as_str()) {
                    Some(status) => *status,
                    None if running.contains(node.name.as_str()) => StepStatus::Running,
                    None => node.status,
                },
                ..State::of(node, step.for_each.is_some())
            });
        }
        self
    }

    fn title(&self) -> String {
        let title = format!("{}@{}", self.workflow, self.version);
        match &self.job {
            Some(job) => format!("{title}  {job}"),
            None => title,
        }
    }
}

impl State {
    fn of(node: &Node, fan_out: bool) -> Self {
        Self {
            status: node.status,
            items: node.total.filter(|_| fan_out),
            settled: node.settled,
        }
    }
}

impl From<(&String, &telecine_engine::definition::StepDef)> for GraphStep {
    fn from((name, step): (&String, &telecine_engine::definition::StepDef)) -> Self {
        Self {
            name: name.clone(),
            activity: step.activity.to_string(),
            for_each: step.for_each.clone(),
            when: step.when.clone(),
            on_failure: match step.on_failure {
                OnFailure::Fail => "fail",
                OnFailure::Continue => "continue",
                OnFailure::Hold => "hold",
            },
            state: None,
        }
    }
}

impl GraphStep {
    /// What is said of a step below its name and activity, a line each.
    fn details(&self) -> Vec<String> {
        let for_each = self.for_each.as_ref();
        let when = self.when.as_ref();
        let on_failure = (self.on_failure != "fail").then_some(self.on_failure);
        for_each
            .map(|list| format!("for each of {}", shortened(list)))
            .into_iter()
            .chain(when.map(|condition| format!("when {}", shortened(condition))))
            .chain(on_failure.map(|what| format!("on failure {what}")))
            .chain(self.state.map(State::text))
            .collect()
    }
}

impl State {
    fn text(self) -> String {
        match self.items {
            Some(items) => format!("{}, {} of {items}", self.status, self.settled),
            None => self.status.to_string(),
        }
    }
}

/// An expression on one line, cut where it gets long.
fn shortened(expression: &Expr) -> String {
    let text: Vec<&str> = expression.text().split_whitespace().collect();
    let text = text.join(" ");
    match text.char_indices().nth(EXPRESSION_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Fill and border of a step in a state. The state is also written in the step: colours alone would
/// not reach everybody.
fn colours(status: StepStatus) -> (&'static str, &'static str) {
    match status {
        StepStatus::Pending => ("#ffffff", "#8c959f"),
        StepStatus::Ready => ("#eef6ff", "#54aeff"),
        StepStatus::Running => ("#cfe5ff", "#0969da"),
        StepStatus::Backoff => ("#fff1d6", "#bf8700"),
        StepStatus::Held => ("#efe3ff", "#8250df"),
        StepStatus::Succeeded => ("#d8f5e0", "#1a7f37"),
        StepStatus::Failed => ("#ffdcd9", "#cf222e"),
        StepStatus::Skipped => ("#f3f4f6", "#8c959f"),
        StepStatus::Blocked => ("#fbe9e7", "#a0594f"),
        StepStatus::Cancelled => ("#e7e9ec", "#57606a"),
    }
}

/// States that a graph shows, in the order of their declaration.
fn states(graph: &Graph) -> Vec<StepStatus> {
    let shown = |status: &&StepStatus| {
        let mut states = graph.steps.iter().filter_map(|step| step.state);
        states.any(|state| state.status == **status)
    };
    StepStatus::ALL.iter().filter(shown).copied().collect()
}

#[cfg(test)]
mod tests;
