mod graph;
mod plan;

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::{Deserialize, Serialize};
use telecine_engine::activity::Registry;
use telecine_engine::definition::{self, Definition, Diagnostic};
use telecine_engine::limits;

use super::Session;
use super::exit::{CliError, Exit};
use super::output::{self, Format};
use super::remote::Server;
use crate::builder::Program;

#[derive(Debug, Subcommand)]
pub(super) enum WorkflowCommand {
    /// Workflows that come with this program
    List,
    /// Check definition files; prints every mistake
    Validate {
        /// YAML or JSON files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// The steps and what comes after what, as a picture
    Graph(graph::GraphArgs),
    /// What a new job would do: its input, its steps, what is known of them before they run
    Plan(plan::PlanArgs),
    /// The JSON Schema of definition files, with what every installed activity takes; for editors
    Schema,
}

pub(super) async fn run(command: WorkflowCommand, session: &Session) -> Result<Exit, CliError> {
    match command {
        WorkflowCommand::List => list(session).await,
        WorkflowCommand::Validate { files } => validate(&files, &session.program.registry, session),
        WorkflowCommand::Graph(arguments) => graph::run(arguments, session).await,
        WorkflowCommand::Plan(arguments) => plan::run(arguments, session).await,
        WorkflowCommand::Schema => schema(&session.program.registry),
    }
}

/// What `workflow list` shows of each.
#[derive(Debug, Serialize, Deserialize)]
struct Listed {
    name: String,
    version: u32,
    digest: String,
    description: Option<String>,
}

/// What a server lists.
#[derive(Debug, Deserialize)]
struct Answered {
    items: Vec<Listed>,
}

/// What is listed: of a server, if the settings name one, else of this program.
async fn listed(session: &Session) -> Result<Vec<Listed>, CliError> {
    if let Some(server) = Server::of(&session.config)? {
        let answered: Answered = server.get(&["api", "workflows"], &[]).await?;
        return Ok(answered.items);
    }
    let provided = provided(&session.program)?.into_iter();
    Ok(provided
        .map(|definition| Listed {
            digest: definition.digest(),
            name: definition.name,
            version: definition.version,
            description: definition.description,
        })
        .collect())
}

async fn list(session: &Session) -> Result<Exit, CliError> {
    let listed = listed(session).await?;
    output::print_list(session.format, &listed, || {
        let mut table = output::table(&["workflow", "version", "description"]);
        for workflow in &listed {
            let description = workflow.description.as_deref().unwrap_or_default();
            table.add_row([
                workflow.name.clone().into(),
                output::number(workflow.version),
                description.into(),
            ]);
        }
        output::lines(&table)
    })?;
    Ok(Exit::Success)
}

/// A schema is JSON whatever `-o` says.
fn schema(registry: &Registry) -> Result<Exit, CliError> {
    let schema = definition::schema(registry);
    output::print(&format!("{schema:#}"))?;
    Ok(Exit::Success)
}

/// What `workflow validate` found of one file.
#[derive(Debug, Serialize)]
struct Validated {
    file: String,
    valid: bool,
    workflow: Option<String>,
    version: Option<u32>,
    digest: Option<String>,
    errors: Vec<Diagnostic>,
}

fn validate(files: &[PathBuf], registry: &Registry, session: &Session) -> Result<Exit, CliError> {
    let mut validated = Vec::new();
    let mut missing = None;
    for file in files {
        match read(file) {
            Ok(text) => validated.push(validate_text(file, &text, registry, session)),
            Err(error) => missing = Some(error.report(&session.console)),
        }
    }
    output::print_list(session.format, &validated, || valid_lines(&validated))?;
    let invalid = validated.iter().any(|file| !file.valid);
    Ok(if invalid {
        Exit::Usage
    } else {
        missing.unwrap_or(Exit::Success)
    })
}

fn validate_text(file: &Path, text: &str, registry: &Registry, session: &Session) -> Validated {
    let name = file.display().to_string();
    match definition::validate(text, registry) {
        Ok(definition) => Validated {
            file: name,
            valid: true,
            digest: Some(definition.digest()),
            workflow: Some(definition.name),
            version: Some(definition.version),
            errors: Vec::new(),
        },
        Err(errors) => {
            if session.format == Format::Table {
                session.console.note(&rendered(&errors, &name, text));
            }
            let (workflow, version, digest) = (None, None, None);
            Validated {
                file: name,
                valid: false,
                workflow,
                version,
                digest,
                errors,
            }
        }
    }
}

fn valid_lines(validated: &[Validated]) -> String {
    validated
        .iter()
        .filter_map(|file| {
            let (workflow, version) = (file.workflow.as_ref()?, file.version?);
            Some(format!("ok  {}  {workflow}@{version}\n", file.file))
        })
        .collect()
}

/// The workflows that come with the program, by name.
pub(super) fn provided(program: &Program) -> Result<Vec<Definition>, CliError> {
    let mut provided = Vec::<Definition>::new();
    for workflow in &program.workflows {
        let definition = check(&workflow.file, &workflow.text, &program.registry)?;
        if provided.iter().any(|other| other.name == definition.name) {
            return Err(twice(&definition.name));
        }
        provided.push(definition);
    }
    provided.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(provided)
}

/// The definition that `run` is asked for: one that comes with the program by name, or a file. A
/// mistake in another workflow of the program is no obstacle.
pub(super) fn find(workflow: &str, program: &Program) -> Result<Definition, CliError> {
    let known = program.workflows.iter();
    let known = known.map(|known| check(&known.file, &known.text, &program.registry));
    let (known, mut broken): (Vec<_>, Vec<_>) = known.partition(Result::is_ok);
    let named = |found: &Definition| found.name == workflow;
    let mut matching: Vec<_> = known.into_iter().flatten().filter(named).collect();
    if matching.len() > 1 {
        return Err(twice(workflow));
    }
    if let Some(found) = matching.pop() {
        return Ok(found);
    }
    let path = Path::new(workflow);
    if !path.exists() && path.extension().is_none() {
        // It may be the one that has mistakes.
        if let Some(Err(error)) = broken.pop() {
            return Err(error);
        }
        let names: Vec<_> = provided(program)?
            .into_iter()
            .map(|known| known.name)
            .collect();
        return Err(CliError::not_found(format!(
            "there is no workflow {workflow}; name one of {}, or a YAML file",
            names.join(", ")
        )));
    }
    check(workflow, &read(path)?, &program.registry)
}

fn twice(name: &str) -> CliError {
    CliError::usage(format!(
        "two workflows of this program are called {name}; rename one"
    ))
}

fn check(file: &str, text: &str, registry: &Registry) -> Result<Definition, CliError> {
    definition::validate(text, registry).map_err(|errors| {
        let rendered = rendered(&errors, file, text);
        CliError::usage(format!("the workflow cannot be run as it is\n\n{rendered}"))
    })
}

fn rendered(errors: &[Diagnostic], file: &str, text: &str) -> String {
    let shown: Vec<_> = errors
        .iter()
        .map(|error| error.render(file, text))
        .collect();
    let count = match shown.len() {
        1 => "1 mistake".to_owned(),
        count => format!("{count} mistakes"),
    };
    format!("{}\n{file}: {count}", shown.join("\n"))
}

/// Reads a definition file, but no more of it than a definition may have.
fn read(path: &Path) -> Result<String, CliError> {
    let name = path.display();
    let file = File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => CliError::not_found(format!("there is no file {name}")),
        _ => CliError::usage(format!("cannot read {name}: {error}")),
    })?;
    let mut text = String::new();
    // One byte more than is allowed: whoever checks the text sees that it is too long.
    let limit = limits::DEFINITION_BYTES as u64 + 1;
    match file.take(limit).read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            Err(CliError::usage(format!("{name} is not a text in UTF-8")))
        }
        Err(error) => Err(CliError::usage(format!("cannot read {name}: {error}"))),
    }
}
