use clap::Subcommand;
use serde_json::{Map, Value};

use super::Session;
use super::exit::{CliError, Exit};
use super::output;
use crate::config::{SETTINGS, Setting};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print every setting with its value
    Show {
        /// Also say where each value comes from
        #[arg(long)]
        origin: bool,
    },
}

pub(super) fn run(command: &ConfigCommand, session: &Session) -> Result<Exit, CliError> {
    let ConfigCommand::Show { origin } = command;
    let settings = &session.config.resolved;
    let value: Map<String, Value> = settings
        .iter()
        .map(|setting| {
            let value = if *origin {
                serde_json::json!({
                    "value": setting.value, "origin": setting.origin,
                    "default": documented(setting.name).map(|it| it.default),
                    "help": documented(setting.name).map(|it| it.help),
                })
            } else {
                Value::from(setting.value.clone())
            };
            (setting.name.to_owned(), value)
        })
        .collect();
    output::print_one(session.format, &value, || {
        let mut columns = vec!["setting", "value"];
        columns.extend(origin.then_some("origin"));
        let mut table = output::table(&columns);
        for setting in settings {
            let mut row = vec![setting.name.to_owned(), setting.value.clone()];
            row.extend(origin.then(|| setting.origin.to_string()));
            table.add_row(row);
        }
        output::lines(&table)
    })?;
    Ok(Exit::Success)
}

/// What is documented of a setting.
fn documented(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}
