use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use serde::{Deserialize, Serialize};

use super::rules::{Demand, Profile, Rule, Severity};

/// Findings of one rule in one file beyond these are only counted: the thousandth says nothing
/// that the tenth does not.
const MAX_PER_RULE_AND_FILE: u32 = 10;

/// Findings of one severity beyond these are only counted, except the first of a rule: what is
/// plentiful must not hide what is grave, nor one kind of damage another.
const MAX_PER_SEVERITY: u64 = 1000;

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
    /// Findings of severity error, those that were left out included.
    pub error_count: u64,
    /// Findings of severity warning, those that were left out included.
    pub warning_count: u64,
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
    profile: Profile,
    #[serde(skip)]
    seen: BTreeMap<(Rule, Severity, String), u32>,
    #[serde(skip)]
    kinds: BTreeSet<(Rule, Severity)>,
}

impl Report {
    /// An empty report of a set that has to keep the rules of a profile.
    pub(crate) fn new(profile: Profile) -> Self {
        Self {
            profile,
            ..Self::default()
        }
    }

    /// Findings of severity error that were not left out; the first of each rule is among them.
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        let errors = |finding: &&Finding| finding.severity == Severity::Error;
        self.findings.iter().filter(errors)
    }

    /// Counts a finding, and keeps it unless there are very many like it.
    fn add(&mut self, finding: Finding) {
        let Finding { rule, severity, .. } = finding;
        let count = match severity {
            Severity::Error => &mut self.error_count,
            Severity::Warning => &mut self.warning_count,
        };
        *count += 1;
        let is_first = self.kinds.insert((rule, severity));
        let seen = self.seen.entry((rule, severity, finding.file.clone()));
        let seen = seen.or_default();
        *seen += 1;
        let is_rare = *seen <= MAX_PER_RULE_AND_FILE && *count <= MAX_PER_SEVERITY;
        if is_first || is_rare {
            self.findings.push(finding);
        } else {
            self.more += 1;
        }
    }

    /// Findings in one file.
    pub(crate) fn file<'a>(&'a mut self, file: &'a str) -> FileReport<'a> {
        FileReport {
            is_cmaf: self.profile == Profile::House,
            report: self,
            file,
            is_house: false,
        }
    }
}

/// Notes findings of one file.
pub(crate) struct FileReport<'a> {
    report: &'a mut Report,
    pub(super) file: &'a str,
    is_house: bool,
    /// Whether rules of CMAF apply.
    is_cmaf: bool,
}

impl<'a> FileReport<'a> {
    /// The same of a file that claims to follow CMAF, or does not.
    pub(super) fn claiming(self, is_cmaf: bool) -> Self {
        let is_cmaf = is_cmaf || self.report.profile == Profile::House;
        Self { is_cmaf, ..self }
    }

    /// Whether rules of CMAF apply.
    pub(super) fn is_cmaf(&self) -> bool {
        self.is_cmaf
    }
}

impl FileReport<'_> {
    /// Notes what no standard asks for: of rules of which a part is the house's.
    pub(super) fn house(&mut self) -> FileReport<'_> {
        FileReport {
            report: &mut *self.report,
            file: self.file,
            is_house: true,
            is_cmaf: self.is_cmaf,
        }
    }

    /// There are several tracks, which only CMAF forbids and nobody here reads.
    pub(super) fn one_track(&mut self, place: Place, what: String) {
        if self.is_cmaf {
            self.say(Rule::CmafOneTrack, place, what);
        } else {
            self.say(Rule::NotJudged, place, what);
        }
    }

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
        if rule.demand() == Demand::Cmaf && !self.is_cmaf {
            return;
        }
        let short = |text: String| -> String { text.chars().take(MAX_QUOTED_CHARS).collect() };
        let (expected, measured) = values.unzip();
        self.report.add(Finding {
            rule,
            severity: rule.severity(self.report.profile, self.is_house),
            file: self.file.to_owned(),
            place,
            message: short(message.to_string()),
            expected: expected.map(short),
            measured: measured.map(short),
        });
    }
}
