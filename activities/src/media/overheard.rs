//! What GStreamer says in its log and nowhere else.
//!
//! Damage is such a thing (1.22, measured): where a tenth of an H.264 file was noise, no buffer was
//! marked as corrupted, no message came over the bus, and `max-errors` counts what a decoder refuses
//! but not what it conceals.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gstreamer as gst;
use gstreamer::log::DebugLogFunction;

/// A message to listen for.
#[derive(Debug)]
pub(crate) struct Phrase {
    /// The log category it comes in.
    pub(crate) category: &'static str,
    /// Its level.
    pub(crate) level: gst::DebugLevel,
    /// How it begins.
    pub(crate) begins: &'static str,
}

/// Counts messages of the whole process until it is dropped.
#[derive(Debug)]
pub(crate) struct Overheard<const N: usize> {
    counts: Arc<[AtomicU64; N]>,
    function: Option<DebugLogFunction>,
}

impl<const N: usize> Overheard<N> {
    /// Starts to listen.
    pub(crate) fn listen(phrases: &'static [Phrase; N]) -> Self {
        gst::log::set_active(true);
        for phrase in phrases {
            gst::log::set_threshold_for_name(phrase.category, phrase.level);
        }
        let counts: Arc<[AtomicU64; N]> = Arc::new(std::array::from_fn(|_| AtomicU64::new(0)));
        let counted = Arc::clone(&counts);
        let function = gst::log::add_log_function(move |category, level, _, _, _, _, message| {
            let name = category.name();
            for (phrase, count) in phrases.iter().zip(counted.iter()) {
                if level == phrase.level && name == phrase.category {
                    let text = message.get();
                    let said = text.is_some_and(|text| text.starts_with(phrase.begins));
                    count.fetch_add(u64::from(said), Ordering::Relaxed);
                }
            }
        });
        Self {
            counts,
            function: Some(function),
        }
    }

    /// How often each phrase was heard, in their order.
    pub(crate) fn counts(&self) -> [u64; N] {
        std::array::from_fn(|index| self.counts[index].load(Ordering::Relaxed))
    }
}

impl<const N: usize> Drop for Overheard<N> {
    fn drop(&mut self) {
        if let Some(function) = self.function.take() {
            gst::log::remove_log_function(function);
        }
    }
}
