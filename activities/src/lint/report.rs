use std::collections::BTreeMap;
use std::fmt::Display;

use serde::{Deserialize, Serialize};

use super::rules::{Rule, Severity};

/// Findings of one rule in one file beyond these are only counted: the thousandth says nothing
/// that the tenth does not.
const MAX_PER_RULE_AND_FILE: u32 = 10;

/// Findings of a set beyond these are only counted.
const MAX_FINDINGS: usize = 1000;

/// The longest text that a finding quotes out of a file, in characters.
const MAX_QUOTED_CHARS: usize = 200;

/// A breach of a rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Which rule.
    pub rule: Rule,
    /// How grave it is.
    pub severity: Severity,
    /// Path of the file in the set.
    pub file: String,
    /// Where in the file.
    pub place: Place,
    /// What is wrong, lowercase.
    pub message: String,
    /// What the rule asks for, where it is a value.
    pub expected: Option<String>,
    /// What was found instead.
    pub measured: Option<String>,
}

/// Where in a file something is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Line of a playlist, from 1.
    pub line: Option<u32>,
    /// Boxes from the outermost: `moov/trak/tkhd`.
    pub path: Option<String>,
    /// Offset of that box in bytes.
    pub offset: Option<u64>,
}

impl Place {
    /// The file as a whole.
    pub(super) const FILE: Self = Self {
        line: None,
        path: None,
        offset: None,
    };

    pub(super) fn line(line: u32) -> Self {
        Self {
            line: Some(line),
            ..Self::FILE
        }
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.line, &self.path, self.offset) {
            (Some(line), ..) => write!(f, "line {line}"),
            (_, Some(path), Some(offset)) => write!(f, "{path} at {offset}"),
            (_, Some(path), None) => f.write_str(path),
            _ => Ok(()),
        }
    }
}

impl Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}", self.rule.id(), self.file)?;
        if self.place != Place::FILE {
            write!(f, ", {}", self.place)?;
        }
        write!(f, "): {}", self.message)?;
        match (&self.expected, &self.measured) {
            (Some(expected), Some(measured)) => {
                write!(f, ": expected {expected}, found {measured}")
            }
            _ => Ok(()),
        }
    }
}

/// What was found, and how much was looked at.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Breaches, in the order in which they were met.
    pub findings: Vec<Finding>,
    /// Findings that were left out because there are so many of their kind.
    pub more: u64,
    /// Media playlists that were read.
    pub renditions: u32,
    /// Segments that were read.
    pub segments: u32,
    /// Samples in them: frames of video, packets of audio.
    pub samples: u64,
    /// Samples that were decoded.
    pub decoded: u64,
    /// Bytes that were read.
    pub size_bytes: u64,
    #[serde(skip)]
    seen: BTreeMap<(Rule, String), u32>,
}

impl Report {
    /// Findings of severity error.
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        let errors = |finding: &&Finding| finding.severity == Severity::Error;
        self.findings.iter().filter(errors)
    }

    /// Notes a finding, unless there are very many like it.
    pub(crate) fn add(&mut self, finding: Finding) {
        let seen = self
            .seen
            .entry((finding.rule, finding.file.clone()))
            .or_default();
        *seen += 1;
        if *seen > MAX_PER_RULE_AND_FILE || self.findings.len() >= MAX_FINDINGS {
            self.more += 1;
        } else {
            self.findings.push(finding);
        }
    }

    /// Findings in one file.
    pub(crate) fn file<'a>(&'a mut self, file: &'a str) -> FileReport<'a> {
        FileReport { report: self, file }
    }
}

/// Notes findings of one file.
pub(crate) struct FileReport<'a> {
    report: &'a mut Report,
    pub(super) file: &'a str,
}

impl FileReport<'_> {
    /// Something is wrong.
    pub(crate) fn say(&mut self, rule: Rule, place: Place, message: impl Display) {
        self.add(rule, place, message, None);
    }

    /// Something is not what it has to be.
    pub(crate) fn differs(
        &mut self,
        rule: Rule,
        (place, what): (Place, &str),
        expected: impl Display,
        measured: impl Display,
    ) {
        let values = (expected.to_string(), measured.to_string());
        self.add(rule, place, what, Some(values));
    }

    /// Says so if a value is not what it has to be.
    pub(crate) fn equal<T: PartialEq + Display>(
        &mut self,
        rule: Rule,
        at: (Place, &str),
        expected: T,
        measured: T,
    ) {
        if expected != measured {
            self.differs(rule, at, expected, measured);
        }
    }

    fn add(
        &mut self,
        rule: Rule,
        place: Place,
        message: impl Display,
        values: Option<(String, String)>,
    ) {
        let short = |text: String| -> String { text.chars().take(MAX_QUOTED_CHARS).collect() };
        let (expected, measured) = values.unzip();
        self.report.add(Finding {
            rule,
            severity: rule.severity(),
            file: self.file.to_owned(),
            place,
            message: short(message.to_string()),
            expected: expected.map(short),
            measured: measured.map(short),
        });
    }
}
