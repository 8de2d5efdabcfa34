use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{IN_FILES, SETTINGS, objects};

/// The file that is read from the working directory.
const FILE: &str = "telecine.toml";
/// What the name of a variable ends in that names the file of a secret.
const SECRET_FILE: &str = "_FILE";
/// What the name of every variable begins with.
const PREFIX: &str = "TELECINE_";
/// Typing errors that make a variable an attempt at a setting. Others are somebody else's: Kubernetes sets
/// some of its own for a service of this name.
const TYPING_ERRORS: usize = 2;
/// Read from the working directory before the real environment, the later one winning.
const ENVIRONMENT_FILES: [&str; 2] = [".env", ".env.local"];

/// What set a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nothing did.
    Default,
    /// `telecine.toml`.
    File(PathBuf),
    /// `.env` or `.env.local`.
    EnvironmentFile(PathBuf),
    /// The environment.
    Environment,
    /// The command line.
    Flag,
}

impl Origin {
    /// What a setting is called where it was set, for messages.
    pub(super) fn place(&self, name: &str) -> String {
        let variable = || format!("TELECINE_{}", name.to_uppercase());
        match self {
            Self::Default => name.to_owned(),
            Self::File(path) => format!("{}: {name}", path.display()),
            Self::EnvironmentFile(path) => format!("{}: {}", path.display(), variable()),
            Self::Environment => variable(),
            Self::Flag => format!("--{}", name.replace('_', "-")),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) | Self::EnvironmentFile(path) => path.display().fmt(f),
            Self::Environment => f.write_str("environment"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Values as they were written, the strongest source first, and what could not be read.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    layers: Vec<(Origin, BTreeMap<&'static str, String>)>,
    /// What is wrong with the sources themselves; one sentence each.
    pub(super) errors: Vec<String>,
    /// What is set and changes nothing, though somebody may think so; one sentence each.
    pub(super) warnings: Vec<String>,
}

impl Sources {
    /// Flags, the environment, and the files of the working directory.
    pub(crate) fn gather(flags: impl IntoIterator<Item = (&'static str, Option<String>)>) -> Self {
        let mut sources = Self::default();
        sources.add_flags(flags);
        sources.add_environment();
        for file in ENVIRONMENT_FILES.iter().rev() {
            sources.add_environment_file(Path::new(file));
        }
        let path = Path::new(FILE);
        match std::fs::read_to_string(path) {
            Ok(text) => sources.add_toml(&text, path),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => sources.errors.push(format!("cannot read {FILE}: {e}")),
        }
        sources
    }

    /// The strongest value of a setting.
    pub(super) fn find(&self, name: &str) -> Option<(&str, Origin)> {
        self.layers
            .iter()
            .find_map(|(origin, values)| Some((values.get(name)?.as_str(), origin.clone())))
    }

    pub(super) fn add_flags(
        &mut self,
        flags: impl IntoIterator<Item = (&'static str, Option<String>)>,
    ) {
        let given = flags
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        self.layers.push((Origin::Flag, given.collect()));
    }

    fn add_environment(&mut self) {
        let mut variables = Vec::new();
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
                continue;
            };
            match value.into_string() {
                Ok(value) => variables.push((name.to_owned(), value)),
                Err(_) if !is_setting(name) => {}
                Err(_) => self.errors.push(format!("{name}: it is not UTF-8")),
            }
        }
        variables.sort_unstable();
        self.add_variables(variables, &Origin::Environment);
    }

    fn add_environment_file(&mut self, path: &Path) {
        let entries = match dotenvy::from_path_iter(path) {
            Ok(entries) => entries,
            Err(error) if error.not_found() => return,
            Err(error) => {
                return self
                    .errors
                    .push(format!("cannot read {}: {error}", path.display()));
            }
        };
        let mut variables = Vec::new();
        for entry in entries {
            match entry {
                Ok(variable) => variables.push(variable),
                Err(error) => {
                    self.errors
                        .push(format!("{}: {}", path.display(), explain(&error)));
                    break;
                }
            }
        }
        self.add_variables(variables, &Origin::EnvironmentFile(path.to_owned()));
    }

    /// Adds the variables that are settings; an empty one counts as not set.
    pub(super) fn add_variables(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
        origin: &Origin,
    ) {
        let mut values = BTreeMap::new();
        for (name, value) in variables {
            if value.is_empty() {
                continue;
            }
            match read_variable(&name, value) {
                Ok(Some((setting, value))) => {
                    if values.insert(setting, value).is_some() && IN_FILES.contains(&setting) {
                        let place = origin.place(setting);
                        let why = "it is set twice, by itself and as a file";
                        self.errors.push(format!("{place}: {why}"));
                    }
                }
                Ok(None) => {
                    let meant = meant(&name).map(|meant| {
                        format!(
                            "{name} is not a setting, and changes nothing; did you mean {meant}?"
                        )
                    });
                    self.warnings.extend(meant);
                }
                Err(why) => self.errors.push(format!("{name}: {why}")),
            }
        }
        self.layers.push((origin.clone(), values));
    }

    pub(super) fn add_toml(&mut self, text: &str, path: &Path) {
        let table: toml::Table = match text.parse() {
            Ok(table) => table,
            Err(error) => return self.errors.push(format!("{}: {error}", path.display())),
        };
        let mut values = BTreeMap::new();
        for (key, value) in table {
            match read_entry(&key, value) {
                Ok((name, value)) => {
                    values.insert(name, value);
                }
                Err(why) => self.errors.push(format!("{}: {key} {why}", path.display())),
            }
        }
        self.layers.push((Origin::File(path.to_owned()), values));
    }
}

/// Every name that a variable may have.
fn variables() -> impl Iterator<Item = String> {
    let plain = SETTINGS.iter().map(super::Setting::variable);
    let in_files = SETTINGS.iter().filter(|it| IN_FILES.contains(&it.name));
    plain.chain(in_files.map(|it| it.variable() + SECRET_FILE))
}

fn is_setting(variable: &str) -> bool {
    variables().any(|known| known == variable)
}

/// The variable that somebody mistyped.
fn meant(name: &str) -> Option<String> {
    if !name.starts_with(PREFIX) {
        return None;
    }
    variables()
        .map(|known| (strsim::damerau_levenshtein(name, &known), known))
        .filter(|(distance, _)| *distance <= TYPING_ERRORS)
        .min()
        .map(|(_, known)| known)
}

/// The setting of a variable and its value, which a secret may have in a file.
fn read_variable(name: &str, value: String) -> Result<Option<(&'static str, String)>, String> {
    let find = |name| SETTINGS.iter().find(|setting| setting.variable() == name);
    if let Some(setting) = find(name) {
        return Ok(Some((setting.name, value)));
    }
    let secret = name.strip_suffix(SECRET_FILE).and_then(find);
    match secret.filter(|setting| IN_FILES.contains(&setting.name)) {
        Some(setting) => Ok(Some((setting.name, objects::secret(Path::new(&value))?))),
        None => Ok(None),
    }
}

fn read_entry(key: &str, value: toml::Value) -> Result<(&'static str, String), String> {
    let setting = SETTINGS
        .iter()
        .find(|setting| setting.name == key)
        .ok_or_else(|| {
            let names: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
            format!("is not a setting; these are: {}", names.join(", "))
        })?;
    match value {
        toml::Value::String(text) => Ok((setting.name, text)),
        toml::Value::Integer(number) => Ok((setting.name, number.to_string())),
        other => Err(format!(
            "has to be text or a number, not {}",
            other.type_str()
        )),
    }
}

fn explain(error: &dotenvy::Error) -> String {
    match error {
        dotenvy::Error::LineParse(line, _) => format!("`{line}` is not NAME=value"),
        other => other.to_string(),
    }
}
