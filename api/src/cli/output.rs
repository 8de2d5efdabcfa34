use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use super::exit::CliError;

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// One JSON document
    Json,
    /// One JSON document per line
    Jsonl,
}

/// Writes an answer to standard output. A reader that has gone away (`| head`) is no error.
pub(crate) fn print(text: &str) -> Result<(), CliError> {
    print_drawn(&printable(text))
}

/// The same for a text with colours, whose words are [`printable`].
pub(crate) fn print_drawn(text: &str) -> Result<(), CliError> {
    let text = text.trim_end();
    if text.is_empty() {
        return Ok(());
    }
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::failed(format!(
            "cannot write to standard output: {error}"
        ))),
        _ => Ok(()),
    }
}

/// The text with every control character replaced by a blank: names and messages that come out of a
/// media file must not drive a terminal. (In JSON they are escaped already.)
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let unwanted = |c: char| c.is_control() && c != '\n';
    if text.contains(unwanted) {
        Cow::Owned(text.replace(unwanted, " "))
    } else {
        Cow::Borrowed(text)
    }
}

/// Prints one thing: as a text for people, or as JSON.
pub(crate) fn print_one<T: Serialize>(
    format: Format,
    value: &T,
    text: impl FnOnce() -> String,
) -> Result<(), CliError> {
    match format {
        Format::Table => print(&text()),
        Format::Json => print(&json(value, true)?),
        Format::Jsonl => print(&json(value, false)?),
    }
}

/// Prints many things: as a text for people, as one JSON array, or as one JSON document per line.
pub(crate) fn print_list<T: Serialize>(
    format: Format,
    values: &[T],
    text: impl FnOnce() -> String,
) -> Result<(), CliError> {
    match format {
        Format::Table => print(&text()),
        Format::Json => print(&json(&values, true)?),
        Format::Jsonl => values
            .iter()
            .try_for_each(|value| print(&json(value, false)?)),
    }
}

fn json<T: Serialize>(value: &T, pretty: bool) -> Result<String, CliError> {
    let text = if pretty {
        serde_json::to_string_pretty(value)
    } else {
        serde_json::to_string(value)
    };
    text.map_err(|e| CliError::failed(format!("cannot write the answer as JSON: {e}")))
}

/// Whether a stream gets colours.
pub(crate) fn colours(is_terminal: bool) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    is_terminal && !refused
}

/// A table without lines, for standard output.
pub(crate) fn table(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    if !colours(io::stdout().is_terminal()) {
        table.force_no_tty();
    }
    table.set_header(columns.iter().map(|column| column.to_uppercase()));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// A name for a table: of a long one its beginning and its end, which has what files differ in.
pub(crate) fn shortened(name: &str) -> String {
    const CHARS: usize = 60;
    const END: usize = 20;
    let count = name.chars().count();
    if count <= CHARS {
        return name.to_owned();
    }
    let start: String = name.chars().take(CHARS - END - 3).collect();
    let end: String = name.chars().skip(count - END).collect();
    format!("{start}...{end}")
}

/// A cell aligned to the right, for numbers.
pub(crate) fn number(text: impl ToString) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// A table as text, without the blanks that end its lines.
pub(crate) fn lines(table: &Table) -> String {
    table
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

/// Seconds as people read them: `8.1 s`, `3 m 20 s`, `1 h 5 m`.
pub(crate) fn seconds(seconds: f64) -> String {
    const MINUTE_S: f64 = 60.0;
    const HOUR_S: f64 = 3600.0;
    if seconds < MINUTE_S {
        return format!("{seconds:.1} s");
    }
    let (large, small, names) = if seconds < HOUR_S {
        (MINUTE_S, 1.0, ("m", "s"))
    } else {
        (HOUR_S, MINUTE_S, ("h", "m"))
    };
    let units = (seconds / small).round();
    let per_large = large / small;
    format!(
        "{} {} {} {}",
        (units / per_large).floor(),
        names.0,
        units % per_large,
        names.1
    )
}

#[cfg(test)]
mod tests {
    use super::{seconds, shortened};

    #[test]
    fn long_names_keep_their_beginning_and_their_end() {
        let name = format!("holiday_{}_part2.mp4", "x".repeat(240));
        let short = shortened(&name);
        assert_eq!(short.chars().count(), 60);
        assert!(short.starts_with("holiday_x") && short.ends_with("x_part2.mp4"));
        assert_eq!(shortened("film.mp4"), "film.mp4");
    }

    #[test]
    fn durations_read_well() {
        let texts = [0.04, 8.13, 59.9, 60.0, 200.4, 3599.0, 3600.0, 3900.0].map(seconds);
        assert_eq!(
            texts,
            [
                "0.0 s",
                "8.1 s",
                "59.9 s",
                "1 m 0 s",
                "3 m 20 s",
                "59 m 59 s",
                "1 h 0 m",
                "1 h 5 m"
            ]
        );
    }
}
