mod processes;
mod report;
mod site;
mod trials;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

pub use report::{Finding, Report, Trial};
use site::Look;

/// The longest time that an undisturbed attempt gets, unless told.
pub(crate) const LONGEST: Duration = Duration::from_secs(600);

/// The conformance kit: runs an activity for real, in processes of the program that it is built
/// into, and does to it what happens to activities: kills it and resumes it, repeats it, cancels
/// it, shuts its worker down, gives it broken input.
///
/// ```no_run
/// use serde_json::json;
/// use telecine::testing::Check;
///
/// // In a test of the package `my-plugin`: env!("CARGO_BIN_EXE_my-plugin").
/// let program = "target/debug/my-plugin";
/// let report = Check::new(program, "hello.greet")
///     .input(json!({"guests": ["Ada", "Grace"]}))
///     .run()
///     .unwrap();
/// report.assert_clean();
/// ```
#[derive(Debug, Clone)]
pub struct Check {
    program: PathBuf,
    activity: String,
    input: Value,
    source: Option<PathBuf>,
    media: Option<PathBuf>,
    bytes_may_differ: bool,
    limit: Duration,
}

/// Why an activity could not be checked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CheckError(String);

impl From<std::io::Error> for CheckError {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

impl Check {
    /// A check of an activity (`area.verb`, or `area.verb@1`) that is built into a program.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, activity: impl Into<String>) -> Self {
        Self {
            program: program.into(),
            activity: activity.into(),
            input: Value::Object(serde_json::Map::new()),
            source: None,
            media: None,
            bytes_may_differ: false,
            limit: LONGEST,
        }
    }

    /// An input that the activity can work on.
    #[must_use]
    pub fn input(mut self, input: Value) -> Self {
        self.input = input;
        self
    }

    /// The file that the input names as `source`; the name is put into the input. The activity is
    /// given a copy.
    #[must_use]
    pub fn source(mut self, file: impl Into<PathBuf>) -> Self {
        self.source = Some(file.into());
        self
    }

    /// A directory whose files are in the store of results when the activity begins: what earlier
    /// steps have made. It is copied.
    #[must_use]
    pub fn media(mut self, directory: impl Into<PathBuf>) -> Self {
        self.media = Some(directory.into());
        self
    }

    /// Lets the objects of a run that was killed or drained have other bytes than those of one that
    /// was not: an encoder that begins in the middle decides otherwise. Everything else about them is
    /// still compared.
    #[must_use]
    pub fn bytes_may_differ(mut self) -> Self {
        self.bytes_may_differ = true;
        self
    }

    /// The longest time that an undisturbed attempt may take; ten minutes unless told.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Checks the activity. Takes some ten times as long as the activity does, and some seconds.
    ///
    /// # Errors
    /// If there is no such program, activity or file. What the activity gets wrong is in the report.
    pub fn run(&self) -> Result<Report, CheckError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        runtime.block_on(self.perform(&|_| {}))
    }

    /// As [`Check::run`], where a runtime is there already; tells of each trial when it is over.
    pub(crate) async fn perform(&self, told: &(dyn Fn(&str) + Sync)) -> Result<Report, CheckError> {
        let subject = Subject::of(&self.program, &self.activity)?;
        let (input, source) = self.with_source()?;
        let site = site::Site::new().await?;
        if let Some(media) = &self.media {
            copy_below(media, &site.path("media"))?;
        }
        let source = source.map(|path| Source::copy(path, &site.path("sources")));
        let course = trials::Course::new(&site, &subject, (input, source.transpose()?), told);
        let course = course.bytes_may_differ(self.bytes_may_differ);
        course.run(self.limit).await
    }

    /// The input, with the name of the source in it, and where the source is.
    fn with_source(&self) -> Result<(Value, Option<PathBuf>), CheckError> {
        let mut input = self.input.clone();
        let Some(source) = &self.source else {
            return Ok((input, None));
        };
        let said = |e| CheckError(format!("cannot find {}: {e}", source.display()));
        let path = source.canonicalize().map_err(said)?;
        let name = path.file_name().and_then(|name| name.to_str());
        let (Some(name), Some(members)) = (name, input.as_object_mut()) else {
            return Err(CheckError(
                "a source needs a name and a map as input".to_owned(),
            ));
        };
        members.insert("source".to_owned(), name.into());
        Ok((input, Some(path)))
    }
}

/// The source of a check: a copy, because nobody knows what the activity does to it.
#[derive(Debug)]
struct Source {
    original: PathBuf,
    copy: PathBuf,
    /// The copy as it was made.
    look: Look,
}

impl Source {
    fn copy(original: PathBuf, to: &Path) -> std::io::Result<Self> {
        let copy = to.join(original.file_name().unwrap_or_default());
        std::fs::copy(&original, &copy)?;
        let look = Look::at(&copy)?;
        Ok(Self {
            original,
            copy,
            look,
        })
    }

    /// What has become of the copy, which then is made anew; `None` if it is as it was.
    fn mend(&mut self) -> std::io::Result<Option<&'static str>> {
        let what = match Look::at(&self.copy) {
            Ok(look) if look == self.look => return Ok(None),
            Ok(_) => "it changed its source",
            Err(_) => "it removed its source",
        };
        let _ = std::fs::remove_file(&self.copy);
        std::fs::copy(&self.original, &self.copy)?;
        self.look = Look::at(&self.copy)?;
        Ok(Some(what))
    }
}

/// The activity that is checked.
#[derive(Debug, Deserialize)]
struct Subject {
    #[serde(skip)]
    program: PathBuf,
    name: String,
    version: u32,
    input_schema: Value,
    output_schema: Value,
    mends: bool,
}

impl Subject {
    /// What the program says of its activity.
    fn of(program: &Path, activity: &str) -> Result<Self, CheckError> {
        let program = program
            .canonicalize()
            .map_err(|e| CheckError(format!("there is no program {}: {e}", program.display())))?;
        let output = Command::new(&program)
            .args(["activity", "describe", activity, "-o", "json"])
            .output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(CheckError(
                said.trim().trim_start_matches("error: ").to_owned(),
            ));
        }
        let mut subject: Self = serde_json::from_slice(&output.stdout)
            .map_err(|e| CheckError(format!("the program is not one of telecine's: {e}")))?;
        subject.program = program;
        Ok(subject)
    }

    fn title(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }
}

fn copy_below(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_below(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
