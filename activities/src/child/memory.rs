//! Whether a child had less memory than it asked for.
//!
//! Libraries seldom say so: a decoder that cannot be loaded is "not installed" to GStreamer, a
//! thread that cannot be started is nothing at all. What stays is how close the process once came to
//! its limit.

use telecine_engine::activity::ErrorClass;

use crate::tool::ToolError;

/// What may be left of the address space when a request for more fails: a thread needs 8 MiB of
/// stack, the allocator takes 64 MiB at a time for a new thread.
const MARGIN_BYTES: u64 = 72 << 20;

/// The error of a tool; want of memory if it came to its limit, whatever else the libraries made
/// of that.
pub(super) fn explain(error: ToolError) -> ToolError {
    let blamed = matches!(
        error.class,
        ErrorClass::Input | ErrorClass::Config | ErrorClass::Bug | ErrorClass::Transient
    );
    match exhausted().filter(|_| blamed) {
        Some(limit) => out_of_memory(limit, &error.message),
        None => error,
    }
}

/// What a tool that came to its limit says if it cannot say anything else.
pub(super) fn stuck() -> Option<ToolError> {
    exhausted().map(|limit| out_of_memory(limit, "nothing moves any more"))
}

fn out_of_memory(limit: u64, what: &str) -> ToolError {
    ToolError::new(
        ErrorClass::Resource,
        "out_of_memory",
        format!(
            "the limit of {} MiB on memory was reached: {what}",
            limit >> 20
        ),
    )
}

/// The limit on this process's address space in bytes, if it has come close to it.
#[cfg(target_os = "linux")]
fn exhausted() -> Option<u64> {
    use rustix::process::{Resource, getrlimit};
    let limit = getrlimit(Resource::As).current?;
    let peak = super::inside::status_kib("VmPeak:")? * 1024;
    (peak + MARGIN_BYTES > limit).then_some(limit)
}

/// The BSDs put no limit on address space.
#[cfg(not(target_os = "linux"))]
fn exhausted() -> Option<u64> {
    None
}
