//! `telecine lint`: judges any streaming set, here or behind an address.

mod alone;
mod remote;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use telecine_activities::child::Limits;
use telecine_activities::lint::{Finding, Profile, Report, Rule};
use telecine_activities::media::check::{CheckSet, Spec};
use telecine_engine::activity::Progress;

use super::Session;
use super::exit::{CliError, Exit};
use super::interrupt::Interrupts;
use super::output;

/// CPU for a set whose length is not known: that of a day of media.
const LONGEST_MEDIA_S: f64 = 86_400.0;

/// How often it is said how far the work is.
const TELL_INTERVAL: Duration = Duration::from_secs(5);

/// The names that a multivariant playlist has in most sets, best first.
const ENTRIES: [&str; 4] = ["master.m3u8", "index.m3u8", "main.m3u8", "playlist.m3u8"];

#[derive(Debug, Args)]
pub(super) struct LintArgs {
    /// Directory of a set, playlist, WebVTT of thumbnails, or http(s) address of one of the last two
    #[arg(value_name = "DIR|URL", required_unless_present = "rules")]
    set: Option<String>,
    /// List the rules instead
    #[arg(long, conflicts_with = "set")]
    rules: bool,
    /// Judge playlists and boxes only, decode nothing
    #[arg(long)]
    no_decode: bool,
    /// Count rules of the house and of CMAF as errors too, as telecine does with its own sets
    #[arg(long)]
    strict: bool,
}

/// A set as files.
#[derive(Debug)]
struct Set {
    root: PathBuf,
    /// The playlist to begin with, and the WebVTT of thumbnails, relative to it.
    entries: Vec<String>,
    /// Removed when the set is dropped: what was fetched.
    _fetched: Option<tempfile::TempDir>,
}

pub(super) async fn run(arguments: LintArgs, session: &Session) -> Result<Exit, CliError> {
    let Some(set) = &arguments.set else {
        print_rules(session)?;
        return Ok(Exit::Success);
    };
    let mut interrupts = Interrupts::listen()?;
    // What was fetched, and the process that decodes, go with the future that is dropped.
    let report = tokio::select! {
        report = judge(set, &arguments, session) => report?,
        exit = interrupts.next() => return Ok(exit),
    };
    print_report(&report, session)?;
    Ok(match report.error_count {
        0 => Exit::Success,
        _ => Exit::Failed,
    })
}

async fn judge(set: &str, arguments: &LintArgs, session: &Session) -> Result<Report, CliError> {
    let set = if set.starts_with("http://") || set.starts_with("https://") {
        remote::fetch(set, session).await?
    } else {
        local(Path::new(set))?
    };
    let spec = Spec {
        root: set.root.clone(),
        entries: set.entries.clone(),
        profile: if arguments.strict {
            Profile::House
        } else {
            Profile::Standards
        },
        recorded: None,
        decode: !arguments.no_decode,
    };
    let far = |far: Progress| session.console.note(&said_of(far));
    alone::run::<CheckSet>(spec, Limits::for_media(LONGEST_MEDIA_S), far).await
}

/// How far judging is; a part of the whole is only known once decoding has begun.
fn said_of(progress: Progress) -> String {
    match progress.percent {
        Some(percent) => format!("{percent:.0} % of the samples decoded so far"),
        None => format!("{} segments read so far", progress.counter),
    }
}

/// Does some work, and tells every so often how far it is.
async fn telling<T>(tell: impl Fn(), work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        match tokio::time::timeout(TELL_INTERVAL, &mut work).await {
            Ok(done) => return done,
            Err(_) => tell(),
        }
    }
}

fn local(path: &Path) -> Result<Set, CliError> {
    if path.is_file() {
        let name = path.file_name().and_then(|name| name.to_str());
        let directory = path.parent().filter(|parent| *parent != Path::new(""));
        return Ok(Set {
            root: directory.unwrap_or(Path::new(".")).to_owned(),
            entries: vec![name.unwrap_or_default().to_owned()],
            _fetched: None,
        });
    }
    if !path.is_dir() {
        return Err(CliError::not_found(format!(
            "there is no directory or playlist {}",
            path.display()
        )));
    }
    Ok(Set {
        root: path.to_owned(),
        entries: entries(path)?,
        _fetched: None,
    })
}

/// The thumbnails of telecine's own sets.
const THUMBNAILS: &str = "sprites/sprites.vtt";

/// What of a directory is judged.
fn entries(directory: &Path) -> Result<Vec<String>, CliError> {
    let mut entries = vec![entry(directory)?];
    if directory.join(THUMBNAILS).is_file() {
        entries.push(THUMBNAILS.to_owned());
    }
    Ok(entries)
}

/// The playlist of a directory with which to begin.
fn entry(directory: &Path) -> Result<String, CliError> {
    let known = ENTRIES.iter().find(|name| directory.join(name).is_file());
    if let Some(known) = known {
        return Ok((*known).to_owned());
    }
    let failed = |e| CliError::failed(format!("cannot read {}: {e}", directory.display()));
    let mut playlists = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        playlists.extend(
            name.to_str()
                .filter(|name| name.ends_with(".m3u8"))
                .map(str::to_owned),
        );
    }
    match playlists.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(CliError::not_found(format!(
            "there is no playlist (*.m3u8) in {}",
            directory.display()
        ))),
        _ => Err(CliError::usage(format!(
            "there are several playlists in {}, and none is called master.m3u8; name one of them",
            directory.display()
        ))),
    }
}

/// A rule as it is printed.
#[derive(Debug, Serialize)]
struct RuleRow {
    rule: &'static str,
    /// In the profile of the standards, and in that of the house.
    severity: &'static str,
    severity_strict: &'static str,
    says: &'static str,
    source: &'static str,
}

fn print_rules(session: &Session) -> Result<(), CliError> {
    let rules: Vec<RuleRow> = Rule::ALL
        .iter()
        .map(|rule| {
            let [severity, severity_strict] = rule.demand().severities();
            RuleRow {
                rule: rule.id(),
                severity,
                severity_strict,
                says: rule.says(),
                source: rule.source(),
            }
        })
        .collect();
    output::print_list(session.format, &rules, || {
        let (says, strict) = ("what is true of a good set", "with --strict");
        let mut table = output::table(&["rule", "severity", strict, says, "source"]);
        for row in &rules {
            let strict = row.severity_strict;
            table.add_row([row.rule, row.severity, strict, row.says, row.source]);
        }
        output::lines(&table)
    })
}

fn print_report(report: &Report, session: &Session) -> Result<(), CliError> {
    output::print_one(session.format, report, || {
        if report.findings.is_empty() {
            return String::new();
        }
        let mut table = output::table(&["rule", "severity", "file", "where", "what"]);
        for finding in &report.findings {
            table.add_row([
                finding.rule.id().to_owned(),
                finding.severity.as_str().to_owned(),
                finding.file.clone(),
                finding.place.to_string(),
                said(finding),
            ]);
        }
        output::lines(&table)
    })?;
    session.console.note(&summary(report));
    Ok(())
}

fn said(finding: &Finding) -> String {
    match (&finding.expected, &finding.measured) {
        (Some(expected), Some(measured)) => {
            format!("{}: expected {expected}, found {measured}", finding.message)
        }
        _ => finding.message.clone(),
    }
}

fn summary(report: &Report) -> String {
    let more = match report.more {
        0 => String::new(),
        more => format!(" ({more} of them not listed)"),
    };
    format!(
        "{} errors, {} warnings{more}: {} playlists, {} segments, {} samples, {} of them decoded",
        report.error_count,
        report.warning_count,
        report.renditions,
        report.segments,
        report.samples,
        report.decoded
    )
}
