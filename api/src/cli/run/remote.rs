//! `telecine run` on a server: the job is submitted, and the server's workers run it.

use serde_json::{Value, json};

use super::{Request, RunArgs, input};
use crate::cli::Session;
use crate::cli::again;
use crate::cli::exit::{CliError, Exit};
use crate::cli::jobs::cancel;
use crate::cli::remote::Server;
use crate::document::JobHeader;

pub(super) async fn submit(
    arguments: RunArgs,
    server: &Server,
    session: &Session,
) -> Result<Exit, CliError> {
    let request = arguments.request;
    let refused = [
        (
            request.out.is_some(),
            "--out: a server knows where results go",
        ),
        (
            arguments.new,
            "--new: a server finds the job that an equal request made",
        ),
        (
            request.no_cache,
            "--no-cache: a server runs its workflows as they are",
        ),
    ];
    if let Some((_, why)) = refused.into_iter().find(|(given, _)| *given) {
        return Err(CliError::usage(format!("{why}; leave it out")));
    }
    let header: JobHeader = server.post(&["api", "jobs"], &body(request)?).await?;
    let job = &header.id;
    let note = format!(
        "`{}` follows it",
        again::other(&format!("jobs watch {job}"))
    );
    session.console.note(&note);
    cancel::print(&header, session)
}

/// The request as the API takes it.
fn body(request: Request) -> Result<Value, CliError> {
    let mut members = input::read(request.input.as_deref(), &request.set)?;
    if let Some(source) = &request.source {
        let key = source.to_str().ok_or_else(|| {
            CliError::usage("the key of the source is not UTF-8: the server would not find it")
        })?;
        if members.insert("source".to_owned(), key.into()).is_some() {
            return Err(CliError::usage(
                "the source is named twice: as an argument and in the input",
            ));
        }
    }
    let mut body = json!({
        "type": request.workflow, "input": members, "priority": request.priority,
    });
    if let Some(queue) = request.queue {
        body["queue"] = queue.as_str().into();
    }
    Ok(body)
}
