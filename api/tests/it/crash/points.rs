use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::sync::OnceLock;

use telecine_testkit::writes::Moment;

use super::served::{REQUEST, STATEMENT};

/// What can be killed at: on directories, and on servers.
const KINDS: [&str; 7] = [
    "commit", "write", "rename", "link", "unlink", STATEMENT, REQUEST,
];

/// Something that a run makes durable, and when the process is killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) kind: String,
    pub(crate) number: u32,
    pub(crate) moment: Moment,
    /// How far into it: frames of a commit.
    pub(crate) frame: u32,
}

impl Point {
    /// The one before it of the same kind, if there is one.
    pub(crate) fn earlier(&self) -> Option<Self> {
        let number = self.number.checked_sub(1).filter(|number| *number > 0)?;
        Some(Self {
            number,
            ..self.clone()
        })
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = match self.moment {
            Moment::Before => "before",
            Moment::During => "during",
            Moment::After => "after",
        };
        write!(f, "{} {} {moment} {}", self.kind, self.number, self.frame)
    }
}

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [kind, number, moment, rest @ ..] = words.as_slice() else {
            return Err(format!("{text:?} is no point"));
        };
        let moment = match *moment {
            "before" => Moment::Before,
            "during" => Moment::During,
            "after" => Moment::After,
            other => return Err(format!("{other:?} is no moment")),
        };
        if !KINDS.contains(kind) {
            return Err(format!("{kind:?} is none of {KINDS:?}"));
        }
        let parse = |word: &str| word.parse().map_err(|e| format!("{word:?}: {e}"));
        Ok(Self {
            kind: (*kind).to_owned(),
            number: parse(number)?,
            moment,
            frame: rest.first().map_or(Ok(0), |word| parse(word))?,
        })
    }
}

/// The points of a run, by what the library told of it.
pub(crate) fn of_log(log: &str) -> Vec<Point> {
    let moments = log.lines().flat_map(|line| {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().expect("KIND NUMBER SIZE PATH");
        let (kind, number, size) = (word(), word(), word());
        let number = number.parse().expect("a number");
        let frames: u32 = size.parse().expect("a size");
        let at = |moment, frame| Point {
            kind: kind.to_owned(),
            number,
            moment,
            frame,
        };
        match kind {
            // Killed in its only frame, a commit is not begun.
            "commit" if frames > 1 => vec![
                at(Moment::Before, 0),
                at(Moment::During, frames / 2 + 1),
                at(Moment::After, 0),
            ],
            // Before and after it, a temporary file is empty or not yet synced: as good as half of it.
            "write" => vec![at(Moment::During, 0)],
            _ => vec![at(Moment::Before, 0), at(Moment::After, 0)],
        }
    });
    moments.collect()
}

/// The library, compiled once.
pub(crate) fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/crash/kill_at.c");
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kill_at.so");
        let mut compile = Command::new("cc");
        compile
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .args([&library, &source]);
        let compiled = compile.arg("-ldl").status().expect("a C compiler");
        assert!(compiled.success(), "the library does not compile");
        library
    })
}
