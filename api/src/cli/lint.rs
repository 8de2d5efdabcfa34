//! `telecine lint`: judges any streaming set, here or behind an address.

mod alone;
mod remote;

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use telecine_activities::child::Limits;
use telecine_activities::lint::{Finding, Report, Rule, Severity};
use telecine_activities::media::check::{CheckSet, Spec};

use super::Session;
use super::exit::{CliError, Exit};
use super::output;

/// CPU for a set whose length is not known: that of a day of media.
const LONGEST_MEDIA_S: f64 = 86_400.0;

/// The names that a multivariant playlist has in most sets, best first.
const ENTRIES: [&str; 4] = ["master.m3u8", "index.m3u8", "main.m3u8", "playlist.m3u8"];

#[derive(Debug, Args)]
pub(super) struct LintArgs {
    /// Directory of a set, playlist, or http(s) address of a playlist
    #[arg(value_name = "DIR|URL", required_unless_present = "rules")]
    set: Option<String>,
    /// List the rules instead
    #[arg(long, conflicts_with = "set")]
    rules: bool,
    /// Judge playlists and boxes only, decode nothing
    #[arg(long)]
    no_decode: bool,
}

/// A set as files.
#[derive(Debug)]
struct Set {
    root: PathBuf,
    /// The playlist to begin with, relative to it.
    entry: String,
    /// Removed when the set is dropped: what was fetched.
    _fetched: Option<tempfile::TempDir>,
}

pub(super) async fn run(arguments: LintArgs, session: &Session) -> Result<Exit, CliError> {
    let Some(set) = &arguments.set else {
        print_rules(session)?;
        return Ok(Exit::Success);
    };
    let set = if set.starts_with("http://") || set.starts_with("https://") {
        remote::fetch(set, &session.console).await?
    } else {
        local(Path::new(set))?
    };
    let spec = Spec {
        root: set.root.clone(),
        entry: set.entry.clone(),
        recorded: None,
        decode: !arguments.no_decode,
    };
    let report = alone::run::<CheckSet>(spec, Limits::for_media(LONGEST_MEDIA_S)).await?;
    print_report(&report, session)?;
    let broken = report.errors().next().is_some();
    Ok(if broken { Exit::Failed } else { Exit::Success })
}

fn local(path: &Path) -> Result<Set, CliError> {
    if path.is_file() {
        let name = path.file_name().and_then(|name| name.to_str());
        let directory = path.parent().filter(|parent| *parent != Path::new(""));
        return Ok(Set {
            root: directory.unwrap_or(Path::new(".")).to_owned(),
            entry: name.unwrap_or_default().to_owned(),
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
        entry: entry(path)?,
        _fetched: None,
    })
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
    severity: Severity,
    says: &'static str,
    source: &'static str,
}

fn print_rules(session: &Session) -> Result<(), CliError> {
    let rules: Vec<RuleRow> = Rule::ALL
        .iter()
        .map(|rule| RuleRow {
            rule: rule.id(),
            severity: rule.severity(),
            says: rule.says(),
            source: rule.source(),
        })
        .collect();
    output::print_list(session.format, &rules, || {
        let mut table =
            output::table(&["rule", "severity", "what is true of a good set", "source"]);
        for row in &rules {
            table.add_row([row.rule, row.severity.as_str(), row.says, row.source]);
        }
        output::lines(&table)
    })
}

fn print_report(report: &Report, session: &Session) -> Result<(), CliError> {
    output::print_list(session.format, &report.findings, || {
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
    let errors = report.errors().count();
    let warnings = report.findings.len() - errors;
    let more = match report.more {
        0 => String::new(),
        more => format!(" ({more} more like these)"),
    };
    format!(
        "{errors} errors, {warnings} warnings{more}: {} playlists, {} segments, {} samples, {} of \
         them decoded",
        report.renditions, report.segments, report.samples, report.decoded
    )
}
