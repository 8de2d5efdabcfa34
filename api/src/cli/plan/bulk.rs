//! `telecine plan new --all` and `telecine plan execute --all`: the plans of many jobs.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Args;
use telecine_engine::definition::units;
use telecine_engine::run::RunStatus;

use super::desk::Desk;
use super::edits::EditFlags;
use super::{StoppedStatus, Verify};
use crate::bulk::{self, Execution, Filter, Page, PlanHeader, RollUp, Stage, Wanted};
use crate::cli::Session;
use crate::cli::exit::{CliError, Exit};
use crate::cli::output::{self, number};
use crate::cursor::Cursor;

/// Jobs that are planned at most, unless `--limit` says more.
const JOBS: usize = 1000;
/// How often it is looked whether another job may begin.
const LOOK: Duration = Duration::from_secs(1);

/// All jobs that fit.
#[derive(Debug, Args)]
pub(super) struct FilterFlags {
    /// All jobs that fit, instead of one
    #[arg(long)]
    all: bool,
    /// Of all: those that stopped so; `failed` unless given
    #[arg(long, value_enum, requires = "all")]
    status: Option<StoppedStatus>,
    /// Of all: those whose error has this code, also if they are held with it
    #[arg(long, value_name = "CODE", requires = "all")]
    failed_with: Option<String>,
    /// Of all: those that stopped since: `2h` ago, or `2026-01-31T12:00:00Z`
    #[arg(long, value_name = "TIME", requires = "all", value_parser = since)]
    since: Option<DateTime<Utc>>,
    /// Of all: those of this workflow
    #[arg(long = "type", value_name = "WORKFLOW", requires = "all")]
    workflow: Option<String>,
    /// Of all: those with this label
    #[arg(long, value_name = "NAME=VALUE", requires = "all", value_parser = label)]
    label: Option<String>,
    /// Of all: at most so many
    #[arg(long, value_name = "N", requires = "all", default_value_t = JOBS)]
    limit: usize,
}

fn since(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(ago) = units::parse_duration(text) {
        return Ok(Utc::now() - ago);
    }
    let at = DateTime::parse_from_rfc3339(text);
    at.map(|at| at.with_timezone(&Utc)).map_err(|_| {
        "write how long ago, as in 2h, or a time, as in 2026-01-31T12:00:00Z".to_owned()
    })
}

fn label(text: &str) -> Result<String, String> {
    match text.contains('=') {
        true => Ok(text.to_owned()),
        false => Err("write it as NAME=VALUE".to_owned()),
    }
}

impl FilterFlags {
    fn filter(&self) -> Filter {
        Filter {
            status: self.status.map(RunStatus::from),
            r#type: self.workflow.clone(),
            label: self.label.clone(),
            code: self.failed_with.clone(),
            since: self.since,
        }
    }
}

pub(super) async fn plan(
    desk: &Desk<'_>,
    (flags, edits, verify): (&FilterFlags, &EditFlags, Verify),
    session: &Session,
) -> Result<Exit, CliError> {
    let request = bulk::Request {
        filter: flags.filter(),
        edits: Some(edits.edits()?),
        how: verify.into(),
        ..bulk::Request::default()
    };
    let whole = gather(desk, request, flags.limit).await?;
    output::print_one(session.format, &whole, || text(&whole))?;
    if whole.next_cursor.is_some() {
        let note = format!("these are the latest {}; --limit plans more", flags.limit);
        session.console.note(&note);
    }
    Ok(Exit::Success)
}

/// The plans of all jobs that fit, page by page.
async fn gather(
    desk: &Desk<'_>,
    mut request: bulk::Request,
    limit: usize,
) -> Result<Page, CliError> {
    let mut whole = Page::default();
    loop {
        request.limit = (limit - whole.items.len()).min(bulk::PAGE);
        let page = desk.plan_many(&request).await?;
        whole.rollup.add(&page.rollup);
        whole.items.extend(page.items);
        let next = page.next_cursor.as_deref().map(str::parse);
        request.before = match next {
            Some(Ok(Cursor::Job(job))) => Some(job),
            _ => None,
        };
        if request.before.is_none() || whole.items.len() >= limit {
            whole.next_cursor = page.next_cursor;
            return Ok(whole);
        }
    }
}

fn text(whole: &Page) -> String {
    let columns = [
        "job", "error", "kept", "resumed", "again", "left out", "blocked", "note",
    ];
    let mut table = output::table(&columns);
    for item in &whole.items {
        let error = item.error.as_ref().map(|error| error.code.clone());
        let mut row = vec![
            item.job.to_string().into(),
            error.unwrap_or_default().into(),
        ];
        let counts = item.plan.as_ref().map(|plan| plan.summary);
        let counts = counts.map(|it| [it.reuse, it.resume, it.rerun, it.skip, it.blocked]);
        row.extend(match counts {
            Some(counts) => counts.map(number),
            None => [(); 5].map(|()| number("")),
        });
        let refused = item.refused.as_ref().map(|refused| refused.detail.clone());
        let note = refused.or_else(|| item.plan.as_ref().map(note));
        row.push(super::tree::one_line(&note.unwrap_or_default()).into());
        table.add_row(row);
    }
    format!("{}\n{}\n", output::lines(&table), sentence(&whole.rollup))
}

fn note(plan: &PlanHeader) -> String {
    let first = plan.warnings.first().cloned().unwrap_or_default();
    match plan.executable {
        true => first,
        false => format!("not executable: {first}"),
    }
}

/// What many plans come to.
fn sentence(sum: &RollUp) -> String {
    let counts = |counts: &BTreeMap<String, u64>| {
        let counts: Vec<_> = counts
            .iter()
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        counts.join(", ")
    };
    let mut text = format!("{} of {} plans can be executed", sum.executable, sum.jobs);
    let mut more = vec![counts(&sum.actions), counts(&sum.reasons)];
    if sum.saved_wall_s > 0.0 {
        more.push(format!("saves {}", output::seconds(sum.saved_wall_s)));
    }
    if sum.estimate_wall_s > 0.0 {
        let takes = output::seconds(sum.estimate_wall_s);
        more.push(format!("takes about {takes} one after the other"));
    }
    if sum.refused > 0 {
        more.push(format!("{} jobs have no plan", sum.refused));
    }
    for part in more.iter().filter(|part| !part.is_empty()) {
        text = format!("{text}; {part}");
    }
    text
}

pub(super) async fn execute(
    desk: &Desk<'_>,
    flags: &FilterFlags,
    concurrency: u32,
    session: &Session,
) -> Result<Exit, CliError> {
    let request = bulk::Request {
        filter: flags.filter(),
        ..bulk::Request::default()
    };
    let whole = gather(desk, request, flags.limit).await?;
    session.console.note(&sentence(&whole.rollup));
    let plans = whole.items.into_iter().filter_map(|item| {
        let plan = item.plan.filter(|plan| plan.executable)?;
        Some(Wanted {
            job: item.job,
            plan: plan.id,
            digest: plan.digest,
        })
    });
    let mut run = Run {
        desk,
        session,
        left: plans.collect(),
        concurrency: concurrency.max(1),
        done: Vec::new(),
    };
    match run.until_begun().await? {
        Some(interrupted) => Ok(interrupted),
        None => run.report(),
    }
}

/// The execution of many plans.
struct Run<'a> {
    desk: &'a Desk<'a>,
    session: &'a Session,
    /// Those that have not stopped or been refused, in their order.
    left: Vec<Wanted>,
    concurrency: u32,
    done: Vec<bulk::Progressed>,
}

impl Run<'_> {
    /// Executes plan after plan, until none waits. The last ones may be running then, unless nobody but
    /// this process works on them. Answers how a signal ended it, if one did.
    async fn until_begun(&mut self) -> Result<Option<Exit>, CliError> {
        while !self.left.is_empty() {
            let window = self.left.iter().take(bulk::PAGE).cloned();
            let wanted = Execution {
                plans: window.collect(),
                concurrency: Some(self.concurrency),
            };
            let answer = self.desk.execute_many(&wanted).await?;
            let (worked, interrupted) = self.work_off(&answer).await?;
            if interrupted.is_some() {
                return Ok(interrupted);
            }
            if worked {
                continue;
            }
            let behind = self.left.len() - wanted.plans.len();
            let last = answer.waiting + behind == 0;
            let over = |it: &bulk::Progressed| matches!(it.stage, Stage::Stopped | Stage::Refused);
            for item in answer.items.into_iter().filter(|it| last || over(it)) {
                self.left.retain(|plan| plan.plan != item.plan);
                self.note(&item);
                self.done.push(item);
            }
            if !last {
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(None)
    }

    /// Works on the jobs that were begun and that nobody else works on: whether there were any, and how a
    /// signal ended it.
    async fn work_off(&self, answer: &bulk::Executed) -> Result<(bool, Option<Exit>), CliError> {
        let running = answer.items.iter().filter(|it| it.stage == Stage::Running);
        let mut worked = false;
        for item in running {
            if self.desk.is_left_alone(&item.job).await? {
                worked = true;
                let interrupted = self.desk.work_off(&item.job).await?;
                if interrupted.is_some() {
                    return Ok((worked, interrupted));
                }
            }
        }
        Ok((worked, None))
    }

    fn note(&self, item: &bulk::Progressed) {
        let status = item.status.map(|status| status.to_string());
        let refused = item.refused.as_ref().map(|refused| refused.detail.clone());
        let what = refused.or(status).unwrap_or_default();
        self.session.console.note(&format!("{}  {what}", item.job));
    }

    fn report(self) -> Result<Exit, CliError> {
        let refused = self
            .done
            .iter()
            .filter(|it| it.stage == Stage::Refused)
            .count();
        output::print_list(self.session.format, &self.done, || {
            format!(
                "{} jobs go on, {refused} were refused",
                self.done.len() - refused
            )
        })?;
        Ok(match refused {
            0 => Exit::Success,
            _ => Exit::Failed,
        })
    }
}
