//! Edits of a plan as flags, and as the JSON that the API takes.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value, json};
use telecine_engine::retry::edits::Edits;

use crate::cli::exit::CliError;
use crate::cli::run::input;

/// What to change of a plan. Steps are written `package`, `encode[3]`, or `encode` for all of its items.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Edits")]
pub(in crate::cli) struct EditFlags {
    /// Run a step again although its result could be kept
    #[arg(long, value_name = "STEP")]
    force: Vec<String>,
    /// Leave a step out, and say why
    #[arg(long, value_name = "STEP=WHY")]
    skip: Vec<String>,
    /// Take this as the output of a step: JSON, or `@FILE`
    #[arg(long, value_name = "STEP=JSON")]
    supply: Vec<String>,
    /// Give a step another value at a path of its input: `encode/rungs/0/height=240`, as JSON or as text
    #[arg(long, value_name = "STEP/PATH=VALUE")]
    set: Vec<String>,
    /// Withdraw a value that an earlier plan has set: `encode/rungs/0/height`
    #[arg(long, value_name = "STEP/PATH")]
    unset: Vec<String>,
    /// Attempts that each step gets which runs
    #[arg(long, value_name = "N")]
    budget: Option<u32>,
    /// Where the steps wait: `critical`, `default`, `video:large`
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,
    /// Which of its queue go first: -1000 to 1000, higher first
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    priority: Option<i32>,
    /// Go on with another definition of the job's workflow: `video:full@4`, a digest, or a file
    #[arg(long, value_name = "WORKFLOW")]
    definition: Option<String>,
    /// Read edits from a JSON file, or from `-`; the other flags are put over it
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
}

impl EditFlags {
    /// The edits.
    pub(super) fn edits(&self) -> Result<Edits, CliError> {
        serde_json::from_value(self.read()?)
            .map_err(|error| CliError::usage(format!("the edits cannot be read: {error}")))
    }

    /// The edits as the API takes them.
    pub(super) fn read(&self) -> Result<Value, CliError> {
        let mut edits = match &self.from {
            Some(file) => input::read(Some(file), &[])?,
            None => Map::new(),
        };
        for step in &self.force {
            list(&mut edits, "force")?.push(json!(step));
        }
        for flag in &self.skip {
            let (step, why) = split(flag, "--skip", "STEP=WHY")?;
            list(&mut edits, "skip")?.push(json!({"step": step, "why": why}));
        }
        for flag in &self.supply {
            let (step, output) = split(flag, "--supply", "STEP=JSON")?;
            members(&mut edits, "supply")?.insert(step.to_owned(), supplied(output)?);
        }
        for flag in &self.set {
            set(&mut edits, flag)?;
        }
        for flag in &self.unset {
            let (step, path) = place(flag, "--unset", "STEP/PATH")?;
            let paths = members(&mut edits, "unset")?
                .entry(step)
                .or_insert_with(|| json!([]));
            let paths = paths
                .as_array_mut()
                .ok_or_else(|| wrong("unset", "lists by step"))?;
            paths.push(Value::from(path));
        }
        if let Some(attempts) = self.budget {
            edits.insert("budget".to_owned(), json!({"attempts": attempts}));
        }
        let single = [
            ("definition", self.definition.clone().map(Value::from)),
            ("queue", self.queue.clone().map(Value::from)),
            ("priority", self.priority.map(Value::from)),
        ];
        let given = single
            .into_iter()
            .filter_map(|(name, it)| Some((name.to_owned(), it?)));
        edits.extend(given);
        Ok(Value::Object(edits))
    }
}

fn split<'a>(flag: &'a str, name: &str, form: &str) -> Result<(&'a str, &'a str), CliError> {
    let parts = flag.split_once('=').filter(|(step, _)| !step.is_empty());
    parts.ok_or_else(|| CliError::usage(format!("{name} {flag}: write it as {form}")))
}

/// What reads as JSON, or the JSON in the file behind `@`.
fn supplied(text: &str) -> Result<Value, CliError> {
    match text.strip_prefix('@') {
        Some(file) => input::json(Path::new(file)),
        None => serde_json::from_str(text).map_err(|error| {
            let why = "is not JSON; a text is written in quotes, and @FILE names a file";
            CliError::usage(format!("--supply: {text} {why} ({error})"))
        }),
    }
}

/// `STEP/PATH=VALUE`: the path is a JSON pointer into the input of the step.
fn set(edits: &mut Map<String, Value>, flag: &str) -> Result<(), CliError> {
    let form = "STEP/PATH=VALUE";
    let (named, text) = split(flag, "--set", form)?;
    let (step, path) = place(named, "--set", form)?;
    let value = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
    members(members(edits, "set")?, step)?.insert(path, value);
    Ok(())
}

/// The step and the JSON pointer of `STEP/PATH`.
fn place<'a>(named: &'a str, flag: &str, form: &str) -> Result<(&'a str, String), CliError> {
    match named.split_once('/') {
        Some((step, path)) => Ok((step, format!("/{path}"))),
        None => Err(CliError::usage(format!(
            "{flag} {named}: name the member of the step's input too: {form}"
        ))),
    }
}

fn list<'a>(edits: &'a mut Map<String, Value>, name: &str) -> Result<&'a mut Vec<Value>, CliError> {
    let member = edits.entry(name).or_insert_with(|| json!([]));
    member.as_array_mut().ok_or_else(|| wrong(name, "a list"))
}

fn members<'a>(
    edits: &'a mut Map<String, Value>,
    name: &str,
) -> Result<&'a mut Map<String, Value>, CliError> {
    let member = edits.entry(name).or_insert_with(|| json!({}));
    member
        .as_object_mut()
        .ok_or_else(|| wrong(name, "an object"))
}

fn wrong(name: &str, kind: &str) -> CliError {
    CliError::usage(format!("`{name}` in the file of --from has to be {kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn flags_become_what_the_api_takes() {
        let flags = EditFlags {
            force: texts(&["cover"]),
            skip: texts(&["sprites=nobody seeks = nobody looks"]),
            supply: texts(&[r#"plan={"chunks": []}"#]),
            set: texts(&["encode/rungs/0/height=240", "encode[3]/video/codec=h264"]),
            unset: texts(&["preview/options/width", "preview/options/fps"]),
            budget: Some(5),
            queue: Some("critical".to_owned()),
            priority: Some(-7),
            definition: Some("video:full@4".to_owned()),
            from: None,
        };
        let edits = json!({
            "force": ["cover"],
            "skip": [{"step": "sprites", "why": "nobody seeks = nobody looks"}],
            "supply": {"plan": {"chunks": []}},
            "set": {"encode": {"/rungs/0/height": 240}, "encode[3]": {"/video/codec": "h264"}},
            "unset": {"preview": ["/options/width", "/options/fps"]},
            "budget": {"attempts": 5}, "queue": "critical", "definition": "video:full@4", "priority": -7,
        });
        assert_eq!(flags.read(), Ok(edits));
    }

    #[test]
    fn files_are_read_and_flags_are_put_over_them() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let from = file("edits.json", r#"{"force": ["cover"], "queue": "default"}"#);
        let output = file("plan.json", r#"[1, 2]"#);
        let flags = EditFlags {
            force: texts(&["encode[3]"]),
            supply: vec![format!("plan=@{}", output.display())],
            queue: Some("critical".to_owned()),
            from: Some(from),
            ..EditFlags::default()
        };
        let edits = json!({
            "force": ["cover", "encode[3]"], "supply": {"plan": [1, 2]}, "queue": "critical",
        });
        assert_eq!(flags.read(), Ok(edits));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let refused = |flags: EditFlags, says: &str| {
            let error = flags.read().unwrap_err();
            assert!(format!("{error:?}").contains(says), "{error:?}");
        };
        let skip = texts(&["sprites"]);
        let flags = EditFlags {
            skip,
            ..EditFlags::default()
        };
        refused(flags, "--skip sprites: write it as STEP=WHY");
        let set = texts(&["encode=7"]);
        let flags = EditFlags {
            set,
            ..EditFlags::default()
        };
        refused(flags, "name the member");
        let unset = texts(&["encode"]);
        let flags = EditFlags {
            unset,
            ..EditFlags::default()
        };
        refused(flags, "--unset encode: name the member");
        let supply = texts(&["plan=later"]);
        let flags = EditFlags {
            supply,
            ..EditFlags::default()
        };
        refused(flags, "is not JSON");
    }
}
