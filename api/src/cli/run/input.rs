use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use serde_json::{Map, Value};

use crate::cli::exit::CliError;

/// The longest input, in bytes. It is a few options, and it is kept in every copy of the job.
const INPUT_BYTES: u64 = 1024 * 1024;

/// The input of a job: the file, with single values put over it.
pub(in crate::cli) fn read(
    file: Option<&Path>,
    settings: &[String],
) -> Result<Map<String, Value>, CliError> {
    let mut input = match file {
        None => Map::new(),
        Some(path) if path == Path::new("-") => parse(io::stdin().lock(), "standard input")?,
        Some(path) => parse(open(path)?, &path.display().to_string())?,
    };
    for setting in settings {
        set(&mut input, setting)
            .map_err(|why| CliError::usage(format!("--set {setting}: {why}")))?;
    }
    Ok(input)
}

fn open(path: &Path) -> Result<File, CliError> {
    let name = path.display();
    File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => CliError::not_found(format!("there is no file {name}")),
        _ => CliError::usage(format!("cannot read {name}: {error}")),
    })
}

fn parse(reader: impl Read, name: &str) -> Result<Map<String, Value>, CliError> {
    match parse_any(reader, name)? {
        Value::Object(input) => Ok(input),
        _ => Err(CliError::usage(format!("{name} has to hold a JSON object"))),
    }
}

/// The JSON in a file.
pub(in crate::cli) fn json(path: &Path) -> Result<Value, CliError> {
    parse_any(open(path)?, &path.display().to_string())
}

fn parse_any(reader: impl Read, name: &str) -> Result<Value, CliError> {
    let mut bytes = Vec::new();
    reader
        .take(INPUT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| CliError::usage(format!("cannot read {name}: {error}")))?;
    if bytes.len() as u64 > INPUT_BYTES {
        return Err(CliError::usage(format!(
            "{name} is larger than {INPUT_BYTES} bytes"
        )));
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| CliError::usage(format!("{name} is not JSON: {error}")))
}

/// Sets one value, `a.b=1`: what reads as JSON is JSON, everything else is text.
fn set(input: &mut Map<String, Value>, setting: &str) -> Result<(), String> {
    let (path, text) = setting.split_once('=').ok_or("write it as name=value")?;
    let value = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
    let mut parents: Vec<&str> = path.split('.').collect();
    if parents.contains(&"") {
        return Err("the name has an empty part".to_owned());
    }
    let name = parents.pop().unwrap_or(path);
    let mut object = input;
    for parent in parents {
        let member = object
            .entry(parent)
            .or_insert_with(|| Value::Object(Map::new()));
        object = member
            .as_object_mut()
            .ok_or_else(|| format!("`{parent}` is a value, which has no members"))?;
    }
    object.insert(name.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn given(settings: &[&str]) -> Result<Map<String, Value>, CliError> {
        let settings: Vec<_> = settings
            .iter()
            .map(|setting| (*setting).to_owned())
            .collect();
        read(None, &settings)
    }

    #[test]
    fn dotted_names_set_members_of_objects() {
        let input = given(&[
            "preview.width=320",
            "preview.format=gif",
            "hash=\"007\"",
            "a=b=c",
        ])
        .unwrap();
        assert_eq!(
            Value::Object(input),
            json!({"preview": {"width": 320, "format": "gif"}, "hash": "007", "a": "b=c"})
        );
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        for settings in [
            &["novalue"][..],
            &["=1"],
            &["a..b=1"],
            &[".a=1"],
            &["a=1", "a.b=2"],
        ] {
            assert!(given(settings).is_err(), "{settings:?}");
        }
    }
}
