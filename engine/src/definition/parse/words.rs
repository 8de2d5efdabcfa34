//! The words of the format that stand for one of a few choices.

use crate::activity::ErrorClass;
use crate::definition::{Cache, Gpu, Jitter, OnFailure};
use crate::queue::Queue;

/// `cache`.
pub(in crate::definition) const CACHE: [(&str, Cache); 3] = [
    ("off", Cache::Off),
    ("read", Cache::Read),
    ("readwrite", Cache::ReadWrite),
];

/// `on_failure`.
pub(in crate::definition) const ON_FAILURE: [(&str, OnFailure); 3] = [
    ("fail", OnFailure::Fail),
    ("continue", OnFailure::Continue),
    ("hold", OnFailure::Hold),
];

/// `requires.gpu`.
pub(in crate::definition) const GPU: [(&str, Gpu); 3] = [
    ("none", Gpu::None),
    ("optional", Gpu::Optional),
    ("required", Gpu::Required),
];

/// `queue`; the last is another spelling.
pub(in crate::definition) const QUEUE: [(&str, Queue); 4] = [
    ("critical", Queue::Critical),
    ("default", Queue::Default),
    ("video:large", Queue::VideoLarge),
    ("video-large", Queue::VideoLarge),
];

/// `retry.backoff.jitter`.
pub(in crate::definition) const JITTER: [(&str, Jitter); 2] =
    [("full", Jitter::Full), ("none", Jitter::None)];

/// The outcome of a needed step; true for any.
pub(in crate::definition) const NEEDS: [(&str, bool); 2] = [("any", true), ("succeeded", false)];

/// `class` of a retry rule.
pub(in crate::definition) const CLASSES: [(&str, ErrorClass); 10] = [
    ("transient", ErrorClass::Transient),
    ("dependency", ErrorClass::Dependency),
    ("resource", ErrorClass::Resource),
    ("input", ErrorClass::Input),
    ("config", ErrorClass::Config),
    ("bug", ErrorClass::Bug),
    ("lost", ErrorClass::Lost),
    ("stalled", ErrorClass::Stalled),
    ("timeout", ErrorClass::Timeout),
    ("cancelled", ErrorClass::Cancelled),
];

/// The word for a choice.
pub(in crate::definition) fn of<T: PartialEq>(
    words: &'static [(&'static str, T)],
    value: &T,
) -> &'static str {
    words
        .iter()
        .find(|(_, choice)| choice == value)
        .map_or("", |(word, _)| word)
}

/// Every word of a list.
pub(in crate::definition) fn all<T>(words: &[(&'static str, T)]) -> Vec<&'static str> {
    words.iter().map(|(word, _)| *word).collect()
}
