use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::CliError;

/// A checkout of telecine that new crates are built against.
#[derive(Debug)]
pub(super) struct Checkout {
    root: PathBuf,
}

impl Checkout {
    /// The checkout at `said`, or the one that this program was built from, if it is still there.
    /// telecine is in no registry: a crate that asked one for it would get whatever has its name.
    pub(super) fn find(said: Option<&Path>) -> Result<Self, CliError> {
        let Some(said) = said else {
            let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
            return built_from.and_then(Self::at).ok_or_else(|| {
                CliError::not_found(
                    "the checkout that this program was built from is gone; name one with --telecine",
                )
            });
        };
        Self::at(said).ok_or_else(|| {
            CliError::not_found(format!(
                "there is no checkout of telecine in {}; name the directory that has `api` in it",
                said.display()
            ))
        })
    }

    fn at(root: &Path) -> Option<Self> {
        let root = root.canonicalize().ok()?;
        let manifest: Table = fs::read_to_string(root.join("api/Cargo.toml"))
            .ok()?
            .parse()
            .ok()?;
        let is_ours = manifest.get("package")?.get("name")?.as_str()? == env!("CARGO_PKG_NAME");
        is_ours.then_some(Self { root })
    }

    /// What `Cargo.toml` says of telecine.
    pub(super) fn dependency(&self) -> String {
        let path = Value::from(self.root.join("api").display().to_string());
        format!("{{ path = {path} }}")
    }

    /// Files that make a build use the versions that telecine was tested with, without asking a
    /// registry, and what the checkout has compiled already of other people's crates.
    pub(super) fn build_files(&self) -> Result<Vec<(String, String)>, CliError> {
        let lock = self.read("Cargo.lock")?;
        let mut files = vec![("Cargo.lock".to_owned(), lock)];
        if let Some(target) = target_directory() {
            let config = self.config(&target)?;
            files.push((".cargo/config.toml".to_owned(), config));
        }
        Ok(files)
    }

    fn config(&self, target: &Path) -> Result<String, CliError> {
        let manifest: Table = self.read("Cargo.toml")?.parse().map_err(|error| {
            CliError::failed(format!("cannot read telecine's Cargo.toml: {error}"))
        })?;
        let mut config = Table::new();
        if let Some(profile) = manifest.get("profile") {
            let mut profile = profile.clone();
            leave_own_crates_alone(&mut profile);
            config.insert("profile".to_owned(), profile);
        }
        Ok(format!(
            "# Shares the dependencies that telecine's checkout has compiled: same directory, same settings.\n\
             # Remove this file, and the first build takes some minutes and leaves the checkout alone.\n\
             [build]\ntarget-dir = {}\n\n{config}",
            Value::from(target.display().to_string())
        ))
    }

    fn read(&self, file: &str) -> Result<String, CliError> {
        let path = self.root.join(file);
        fs::read_to_string(&path)
            .map_err(|error| CliError::failed(format!("cannot read {}: {error}", path.display())))
    }
}

/// Takes out what a profile says of telecine's own crates. Cargo knows those of a checkout by another
/// name from outside of it, and compiles them again: optimised, that takes 53 CPU seconds instead of 20.
fn leave_own_crates_alone(profile: &mut Value) {
    let packages = profile
        .get_mut("dev")
        .and_then(|dev| dev.get_mut("package"))
        .and_then(Value::as_table_mut);
    if let Some(packages) = packages {
        packages.retain(|name, _| !name.starts_with(env!("CARGO_PKG_NAME")));
    }
}

/// The directory that Cargo built this program into, if it still lies there: two above it, beside
/// Cargo's notes on what is fresh.
fn target_directory() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let profile = program.parent()?;
    let is_cargos = profile.join(".fingerprint").is_dir();
    is_cargos.then(|| profile.parent().map(Path::to_owned))?
}
