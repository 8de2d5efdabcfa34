//! The same on a server.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use telecine_engine::id::RunId;
use telecine_engine::run::{RecordedEvent, RunStatus};

use super::events::{Rows, Wanted};
use super::{
    CANDIDATES, FOR_EVER, JobsCommand, LAST, cancel, events, print_headers, several, written,
};
use crate::cli::Session;
use crate::cli::exit::{CliError, Exit};
use crate::cli::remote::Server;
use crate::cli::summary;
use crate::cursor::Cursor;
use crate::document::{JobDocument, JobHeader, StepDocument};

/// Entries that a server is asked for at a time.
const PAGE: usize = 100;
/// How often a server is asked what is new.
const LOOK: Duration = Duration::from_secs(1);

/// A page of a list.
#[derive(Debug, Deserialize)]
struct Page<T> {
    items: Vec<T>,
    next_cursor: Option<String>,
}

pub(super) async fn run(
    command: JobsCommand,
    server: &Server,
    session: &Session,
) -> Result<Exit, CliError> {
    match command {
        JobsCommand::List {
            status,
            workflow,
            limit,
        } => {
            let status = status.map(|status| RunStatus::from(status).as_str().to_owned());
            let filters = [("status", status), ("type", workflow)];
            let filters = filters
                .into_iter()
                .filter_map(|(name, it)| Some((name, it?)));
            list(server, filters.collect(), limit, session).await
        }
        JobsCommand::Get { id, all } => {
            let job = find(server, &id).await?;
            let mut document = document(server, &job).await?;
            if all {
                document.steps = steps(server, &job).await?;
                document.steps_next = None;
            }
            summary::print(session.format, &document)?;
            Ok(Exit::Success)
        }
        JobsCommand::Watch { id, timeout } => {
            let job = find(server, &id).await?;
            watch(server, &job, timeout.unwrap_or(FOR_EVER), session).await
        }
        JobsCommand::Events {
            id,
            follow,
            after,
            limit,
        } => {
            let job = find(server, &id).await?;
            let wanted = Wanted {
                after,
                limit,
                follow,
            };
            print_events(server, &job, wanted, session).await
        }
        JobsCommand::Cancel { id, reason } => {
            let job = find(server, &id).await?;
            cancel(server, &job, reason.as_deref(), session).await
        }
        JobsCommand::Retry { id } => {
            let job = find(server, &id).await?;
            let path = ["api", "jobs", job.as_str(), "retry"];
            let header: JobHeader = server.post(&path, &json!({})).await?;
            cancel::print(&header, session)
        }
    }
}

async fn list(
    server: &Server,
    filters: Vec<(&str, String)>,
    limit: usize,
    session: &Session,
) -> Result<Exit, CliError> {
    let (mut headers, mut cursor) = (Vec::<JobHeader>::new(), None);
    let more = loop {
        let left = (limit - headers.len()).clamp(1, PAGE);
        let mut parameters = filters.clone();
        parameters.push(("limit", left.to_string()));
        parameters.extend(cursor.map(|cursor| ("cursor", cursor)));
        let page: Page<JobHeader> = server.get(&["api", "jobs"], &parameters).await?;
        headers.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() || headers.len() >= limit {
            break cursor.is_some();
        }
    };
    headers.truncate(limit);
    print_headers(&headers, session)?;
    if more {
        let note = format!("these are the latest {limit}; --limit shows more");
        session.console.note(&note);
    }
    Ok(Exit::Success)
}

async fn document(server: &Server, job: &RunId) -> Result<JobDocument, CliError> {
    server.get(&["api", "jobs", job.as_str()], &[]).await
}

/// All steps of a job.
async fn steps(server: &Server, job: &RunId) -> Result<Vec<StepDocument>, CliError> {
    let path = ["api", "jobs", job.as_str(), "steps"];
    let (mut steps, mut cursor) = (Vec::new(), None);
    loop {
        let parameters: Vec<_> = cursor
            .map(|cursor| ("cursor", cursor))
            .into_iter()
            .collect();
        let page: Page<StepDocument> = server.get(&path, &parameters).await?;
        steps.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(steps);
        }
    }
}

async fn watch(
    server: &Server,
    job: &RunId,
    timeout: Duration,
    session: &Session,
) -> Result<Exit, CliError> {
    let stopped = async {
        loop {
            let document = document(server, job).await?;
            if document.status.is_stopped() {
                return Ok::<_, CliError>(document);
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    match tokio::time::timeout(timeout, stopped).await {
        Ok(document) => {
            let document = document?;
            summary::print(session.format, &document)?;
            Ok(Exit::of_job(document.status))
        }
        Err(_) => {
            summary::print(session.format, &document(server, job).await?)?;
            Ok(Exit::TimedOut)
        }
    }
}

async fn print_events(
    server: &Server,
    job: &RunId,
    wanted: Wanted,
    session: &Session,
) -> Result<Exit, CliError> {
    let path = ["api", "jobs", job.as_str(), "events"];
    let mut rows = Rows::new(session.format);
    let mut left = wanted.limit.unwrap_or(usize::MAX);
    let mut cursor = Cursor::Event(wanted.after).to_string();
    let mut read = rows.begin()?;
    while read && left > 0 {
        let size = left.min(events::PAGE);
        let parameters = [("limit", size.to_string()), ("cursor", cursor)];
        let page: Page<RecordedEvent> = server.get(&path, &parameters).await?;
        left -= page.items.len();
        read = rows.print(&page.items)?;
        let Some(next) = page.next_cursor else { break };
        cursor = next;
        match page.items.len() < size {
            true if !wanted.follow => break,
            true => tokio::time::sleep(LOOK).await,
            false => {}
        }
    }
    if read {
        rows.end()?;
    }
    Ok(Exit::Success)
}

async fn cancel(
    server: &Server,
    job: &RunId,
    reason: Option<&str>,
    session: &Session,
) -> Result<Exit, CliError> {
    let before = document(server, job).await?;
    if before.status == RunStatus::Cancelled {
        session.console.note(&format!("{job} was cancelled before"));
        return cancel::print(&before.header(), session);
    }
    let path = ["api", "jobs", job.as_str(), "cancel"];
    let body = match reason {
        Some(reason) => json!({"reason": reason}),
        None => json!({}),
    };
    let header: JobHeader = server.post(&path, &body).await?;
    let note = format!("{job} is cancelled; `jobs retry` goes on with it");
    session.console.note(&note);
    cancel::print(&header, session)
}

/// The job that a person means. A server is not searched for the beginning of an id beyond its latest
/// jobs.
pub(in crate::cli) async fn find(server: &Server, id: &str) -> Result<RunId, CliError> {
    let whole = RunId::PREFIX.len() + 26;
    if id.len() == whole && id.starts_with(RunId::PREFIX) {
        return Ok(RunId::from(id.to_owned()));
    }
    let prefix = format!("{}{}", RunId::PREFIX, written(id)?);
    let parameters = [("limit", PAGE.to_string())];
    let page: Page<JobHeader> = server.get(&["api", "jobs"], &parameters).await?;
    let ids = page.items.into_iter().map(|job| job.id);
    if id == LAST {
        let mut ids = ids;
        return ids
            .next()
            .ok_or_else(|| CliError::not_found("there are no jobs yet"));
    }
    let fitting = ids.filter(|id| id.as_str().starts_with(&prefix));
    let fitting: Vec<RunId> = fitting.take(CANDIDATES + 1).collect();
    match fitting.as_slice() {
        [] => Err(CliError::not_found(format!(
            "none of the latest {PAGE} jobs begins with {id}; write the whole id"
        ))),
        [job] => Ok(job.clone()),
        jobs => Err(several(id, jobs)),
    }
}
