mod check;
mod scaffold;

use std::path::PathBuf;

use clap::Subcommand;
use telecine_engine::activity::ActivityInfo;
use telecine_engine::definition::nearest;

use super::exit::{CliError, Exit};
use super::output;
use super::{Session, again};

#[derive(Debug, Subcommand)]
pub(super) enum ActivityCommand {
    /// Installed activities
    List,
    /// What an activity takes and returns, as JSON Schema
    Describe {
        /// `media.probe`, or `media.probe@1` for one of several versions
        #[arg(value_name = "NAME[@VERSION]")]
        activity: String,
    },
    /// Run an activity for real, kill it, resume it, cancel it, feed it bad input, and say what it
    /// got wrong
    Check {
        /// `hello.greet`, or `hello.greet@1` for one of several versions
        #[arg(value_name = "NAME[@VERSION]")]
        activity: String,
        /// A JSON file with an input that the activity can work on
        #[arg(long, value_name = "FILE")]
        input: Option<PathBuf>,
        /// The file that the input names as `source`
        #[arg(long, value_name = "FILE")]
        source: Option<PathBuf>,
        /// A directory with what earlier steps have put into the store of results
        #[arg(long, value_name = "DIR")]
        media: Option<PathBuf>,
        /// Let objects of a run that was killed or drained have other bytes, as those of encoders have
        #[arg(long)]
        bytes_may_differ: bool,
    },
    /// Write a new crate with an activity, a workflow and tests, ready to run
    Scaffold {
        /// Name of the crate (`face-blur`), or of the activity (`face.blur`)
        name: String,
        /// Directory to make [default: ./NAME]
        #[arg(long)]
        dir: Option<PathBuf>,
        /// Checkout of telecine to build against [default: the one this program was built from]
        #[arg(long, value_name = "PATH")]
        telecine: Option<PathBuf>,
    },
}

pub(super) async fn run(command: ActivityCommand, session: &Session) -> Result<Exit, CliError> {
    let installed = session.program.registry.iter();
    let infos = installed.map(|activity| activity.info().as_ref().clone());
    let infos: Vec<ActivityInfo> = infos.collect();
    match command {
        ActivityCommand::Check {
            activity,
            input,
            source,
            media,
            bytes_may_differ,
        } => {
            find(&infos, &activity)?;
            return check::run(
                activity,
                check::Given {
                    input,
                    source,
                    media,
                    bytes_may_differ,
                },
                session,
            )
            .await;
        }
        ActivityCommand::Scaffold {
            name,
            dir,
            telecine,
        } => {
            let installed: Vec<&str> = infos.iter().map(|info| info.name).collect();
            return scaffold::run(&name, &installed, (dir, telecine.as_deref()), session);
        }
        ActivityCommand::List => list(&infos, session)?,
        ActivityCommand::Describe { activity } => {
            let info = find(&infos, &activity)?;
            output::print_one(session.format, info, || description(info))?;
        }
    }
    Ok(Exit::Success)
}

fn list(infos: &[ActivityInfo], session: &Session) -> Result<(), CliError> {
    output::print_list(session.format, infos, || {
        let mut table = output::table(&["activity", "description"]);
        for info in infos {
            table.add_row([title(info), info.description.to_owned()]);
        }
        output::lines(&table)
    })
}

fn title(info: &ActivityInfo) -> String {
    format!("{}@{}", info.name, info.version)
}

/// The activity of that name; the latest version unless one is named.
fn find<'a>(infos: &'a [ActivityInfo], wanted: &str) -> Result<&'a ActivityInfo, CliError> {
    let matching = infos
        .iter()
        .filter(|info| info.name == wanted || title(info) == wanted);
    matching.max_by_key(|info| info.version).ok_or_else(|| {
        let titles: Vec<_> = infos.iter().map(title).collect();
        let names = infos.iter().map(|info| info.name);
        let meant = match wanted.contains('@') {
            true => nearest(wanted, titles.iter().map(String::as_str)),
            false => nearest(wanted, names),
        };
        let meant = meant.map_or_else(String::new, |meant| format!("did you mean {meant}? "));
        CliError::not_found(format!(
            "there is no activity {wanted}; {meant}`{} activity list` names all",
            again::called()
        ))
    })
}

fn description(info: &ActivityInfo) -> String {
    format!(
        "{}\n{}\n\ninput\n{:#}\n\noutput\n{:#}",
        title(info),
        info.description,
        info.input_schema,
        info.output_schema
    )
}
