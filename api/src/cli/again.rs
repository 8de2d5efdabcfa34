//! Commands that can be given next, for a shell. Passwords are left out of them.

use std::path::PathBuf;

use crate::config::without_password;

/// Options that say where jobs are. Whoever gave one has to give it again.
const PLACES: [&str; 3] = ["--data-dir", "--database-url", "--server"];

/// The command that was given; without `--new`, which would begin from the start.
pub(super) fn same() -> String {
    same_as(given())
}

/// Another command of this program (`plan show ID`), on the same jobs.
pub(super) fn other(words: &str) -> String {
    other_than(given(), words)
}

/// What this program is called: one with activities of its own has a name of its own.
pub(super) fn called() -> String {
    let called = std::env::args_os().next().map(PathBuf::from);
    let name = called.as_ref().and_then(|path| path.file_name());
    name.unwrap_or_default().to_string_lossy().into_owned()
}

fn given() -> impl Iterator<Item = String> {
    std::env::args_os().map(|argument| argument.to_string_lossy().into_owned())
}

fn same_as(arguments: impl Iterator<Item = String>) -> String {
    let words: Vec<String> = arguments
        .filter(|argument| argument != "--new")
        .map(|argument| quoted(&without_password(&argument)))
        .collect();
    words.join(" ")
}

fn other_than(mut arguments: impl Iterator<Item = String>, words: &str) -> String {
    let mut command = quoted(&arguments.next().unwrap_or_default());
    command.push(' ');
    command.push_str(words);
    while let Some(argument) = arguments.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        if PLACES.contains(&name) {
            let value = value.or_else(|| arguments.next()).unwrap_or_default();
            command.push_str(&format!(" {name} {}", quoted(&without_password(&value))));
        }
    }
    command
}

fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::{other_than, same_as};

    #[test]
    fn a_command_can_be_given_again_as_it_is_shown() {
        let given = ["telecine", "run", "video:full", "my film's.mp4", "--new"];
        assert_eq!(
            same_as(given.map(str::to_owned).into_iter()),
            r"telecine run video:full 'my film'\''s.mp4'"
        );
        let given = ["telecine", "--database-url=postgres://me:secret@db/x?a=b"];
        assert_eq!(
            same_as(given.map(str::to_owned).into_iter()),
            "telecine '--database-url=postgres://me:***@db/x?a=b'"
        );
    }

    #[test]
    fn another_command_finds_the_same_jobs() {
        let after = |given: &[&str]| {
            let given = given.iter().map(|word| (*word).to_owned());
            other_than(given, "plan show job_1")
        };
        assert_eq!(after(&["telecine", "run"]), "telecine plan show job_1");
        assert_eq!(
            after(&["./mine", "--data-dir", "my jobs", "run", "x", "--out", "o"]),
            "./mine plan show job_1 --data-dir 'my jobs'"
        );
        assert_eq!(
            after(&["telecine", "run", "--server=http://a:1", "--set", "a=b"]),
            "telecine plan show job_1 --server http://a:1"
        );
        assert_eq!(
            after(&[
                "telecine",
                "run",
                "--database-url",
                "postgres://me:secret@db/x"
            ]),
            "telecine plan show job_1 --database-url 'postgres://me:***@db/x'"
        );
    }
}
