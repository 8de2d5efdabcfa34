//! Puts in order what names of another length, or of another place in the alphabet, have put out of it.

/// The text of a new file as formatters have it.
pub(super) fn tidy(path: &str, text: &str) -> String {
    let blocks = text.split("\n\n").map(|block| {
        if path.ends_with(".rs") && block.lines().all(|line| line.starts_with("use ")) {
            imports_sorted(block)
        } else if path.ends_with(".md") && block.starts_with('|') {
            table_aligned(block)
        } else if path.ends_with(".md") && block.starts_with("```") {
            comments_aligned(block)
        } else {
            block.to_owned()
        }
    });
    blocks.collect::<Vec<_>>().join("\n\n")
}

/// Sorts imports by their crates; `_` comes before everything else, as rustfmt has it.
fn imports_sorted(block: &str) -> String {
    let mut lines: Vec<&str> = block.lines().collect();
    lines.sort_by_key(|line| {
        let of_crate = line.split("::").next().unwrap_or_default();
        of_crate.replace('_', " ")
    });
    lines.join("\n")
}

/// Makes every cell as wide as the widest of its column.
fn table_aligned(block: &str) -> String {
    let rows = block.lines().map(|line| {
        let cells = line.trim_matches('|').split('|').map(str::trim);
        cells.collect::<Vec<_>>()
    });
    let rows: Vec<_> = rows.collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.len()).max().unwrap_or_default()
    };
    let aligned = rows.iter().map(|row| {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let width = width(column);
            match cell.starts_with("---") {
                true => "-".repeat(width),
                false => format!("{cell:width$}"),
            }
        });
        format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
    });
    aligned.collect::<Vec<_>>().join("\n")
}

/// Puts what is said of commands into one column.
fn comments_aligned(block: &str) -> String {
    let rows = block.lines().map(|line| line.split_once("  # "));
    let commands = rows
        .clone()
        .flatten()
        .map(|(command, _)| command.trim_end());
    let width = commands.map(str::len).max().unwrap_or_default();
    let aligned = block.lines().zip(rows).map(|(line, row)| match row {
        Some((command, said)) => format!("{:width$}   # {said}", command.trim_end()),
        None => line.to_owned(),
    });
    aligned.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::super::{FILES, names::Names};
    use super::tidy;

    /// What rustfmt makes of a text.
    fn formatted(text: &str) -> String {
        let mut rustfmt = Command::new("rustfmt")
            .args(["--edition", "2024", "--config-path", "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("rustfmt starts");
        let mut stdin = rustfmt.stdin.take().expect("a pipe");
        stdin.write_all(text.as_bytes()).expect("it reads");
        drop(stdin);
        let output = rustfmt.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    #[test]
    fn what_is_written_is_formatted_whatever_its_name() {
        for name in [
            "blur",
            "serde2",
            "serdes",
            "tele",
            "word-count",
            "word.count_in",
            "a-name-that-is-as-long-as-names-can-be-to-the-en",
        ] {
            let names = Names::new(name).expect("a name");
            for (path, text) in FILES.iter().filter(|(path, _)| path.ends_with(".rs")) {
                let text = tidy(path, &names.put_into(text));
                assert_eq!(text, formatted(&text), "{name}: {path}");
            }
        }
    }

    #[test]
    fn what_is_said_of_commands_and_files_is_in_columns() {
        let names = Names::new("word-count").expect("a name");
        let (path, text) = FILES[1];
        let text = tidy(path, &names.put_into(text));
        for mark in [" # ", " | "] {
            let columns = text.lines().filter_map(|line| line.rfind(mark));
            let mut columns: Vec<_> = columns.collect();
            columns.dedup();
            assert_eq!(columns.len(), 1, "{mark:?}:\n{text}");
        }
        assert!(text.ends_with(".\n"), "{text}");
    }
}
