use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use rustix::process::Signal;
use telecine_engine::activity::{ActivityError, ErrorClass};

use super::Limits;

/// Longest part of a child's stderr that goes into an error's message.
const MAX_QUOTE_CHARS: usize = 300;

/// What Rust, GLib, C++, libc and its loader say when an allocation fails or a thread cannot be
/// started, before they end the process.
const OUT_OF_MEMORY: [&str; 8] = [
    "memory allocation of ",
    "failed to allocate ",
    "bad_alloc",
    "Cannot allocate memory",
    "cannot allocate memory",
    "failed to map segment from shared object",
    "Error creating thread",
    "failed to spawn thread",
];

/// Why a process ended that did not say so itself.
pub(super) fn explain(
    tool: &str,
    status: Option<ExitStatus>,
    stderr: &str,
    limits: Limits,
) -> ActivityError {
    let signal = status
        .and_then(|status| status.signal())
        .and_then(Signal::from_named_raw);
    if OUT_OF_MEMORY.iter().any(|said| stderr.contains(said)) {
        return ActivityError::resource(
            "out_of_memory",
            format!("the {tool} tool ran out of memory{}", quote(stderr)),
        );
    }
    if stderr.contains("No space left on device") {
        return ActivityError::resource(
            "disk_full",
            format!("the {tool} tool found the scratch disk full: free some space"),
        );
    }
    match signal {
        Some(Signal::XCPU) => ActivityError::new(
            ErrorClass::Timeout,
            "cpu_limit",
            format!(
                "the {tool} tool used more than {} s of CPU time",
                limits.cpu_s
            ),
        ),
        Some(Signal::XFSZ) => ActivityError::resource(
            "file_too_large",
            format!(
                "the {tool} tool wrote a file of more than {} bytes",
                limits.file_bytes
            ),
        ),
        Some(Signal::KILL | Signal::TERM | Signal::INT | Signal::HUP) => ActivityError::resource(
            "tool_killed",
            format!(
                "the {tool} tool was killed from outside: by the system for want of memory, or by \
                 somebody"
            ),
        ),
        _ => crashed(tool, status, stderr),
    }
}

fn crashed(tool: &str, status: Option<ExitStatus>, stderr: &str) -> ActivityError {
    let how = status.map_or("in an unknown way".to_owned(), |status| status.to_string());
    ActivityError::bug(
        "tool_crashed",
        format!("the {tool} tool crashed ({how}){}", quote(stderr)),
    )
}

/// The end of stderr as part of a sentence; nothing if nothing was written.
fn quote(stderr: &str) -> String {
    let text = stderr.trim();
    if text.is_empty() {
        return String::new();
    }
    let skipped = text.chars().count().saturating_sub(MAX_QUOTE_CHARS);
    let end: String = text.chars().skip(skipped).collect();
    format!(": {}", end.replace(['\n', '\r'], " "))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use telecine_engine::activity::ErrorClass;

    use super::{MAX_QUOTE_CHARS, explain, quote};
    use crate::child::Limits;

    fn outcome(raw_status: i32, stderr: &str) -> (ErrorClass, String) {
        let error = explain(
            "t",
            Some(ExitStatus::from_raw(raw_status)),
            stderr,
            Limits::SMALL,
        );
        (error.class, error.code.into_owned())
    }

    #[test]
    fn each_way_to_die_has_a_class_and_a_code() {
        let cases = [
            (11, "", ErrorClass::Bug, "tool_crashed"),
            (6, "assertion failed", ErrorClass::Bug, "tool_crashed"),
            (101 << 8, "panicked at", ErrorClass::Bug, "tool_crashed"),
            (0, "", ErrorClass::Bug, "tool_crashed"),
            (
                6,
                "memory allocation of 9 bytes failed",
                ErrorClass::Resource,
                "out_of_memory",
            ),
            (
                5,
                "GLib: failed to allocate 9 bytes",
                ErrorClass::Resource,
                "out_of_memory",
            ),
            (
                5,
                "GLib-ERROR: creating thread 'a': Error creating thread: Resource temporarily unavailable",
                ErrorClass::Resource,
                "out_of_memory",
            ),
            (
                127 << 8,
                "libx264.so: failed to map segment from shared object",
                ErrorClass::Resource,
                "out_of_memory",
            ),
            (9, "", ErrorClass::Resource, "tool_killed"),
            (15, "", ErrorClass::Resource, "tool_killed"),
            (24, "", ErrorClass::Timeout, "cpu_limit"),
            (25, "", ErrorClass::Resource, "file_too_large"),
            (
                6,
                "x: No space left on device",
                ErrorClass::Resource,
                "disk_full",
            ),
        ];
        for (status, stderr, class, code) in cases {
            assert_eq!(
                outcome(status, stderr),
                (class, code.to_owned()),
                "{status}"
            );
        }
    }

    #[test]
    fn a_long_stderr_is_quoted_from_its_end() {
        let quoted = quote(&format!("{}the end\n", "x".repeat(5000)));
        assert!(quoted.ends_with("the end"));
        assert_eq!(quoted.chars().count(), MAX_QUOTE_CHARS + 2);
    }
}
