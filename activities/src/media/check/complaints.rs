//! Hears what libav complains about. Its decoders conceal damage: the frame comes out, and only
//! the log tells that a part of it was guessed.

use std::sync::{Arc, Mutex, PoisonError};

use gstreamer as gst;
use gstreamer::log::{DebugCategory, DebugLogFunction};

/// Where libav's own messages go.
const CATEGORY: &str = "libav";

/// Listens for errors of libav, in the whole process, until it is dropped.
#[derive(Debug)]
pub(super) struct Complaints {
    heard: Arc<Mutex<Vec<String>>>,
    function: Option<DebugLogFunction>,
}

/// The first complaint says what there is to say.
const MAX_KEPT: usize = 1;

impl Complaints {
    /// Starts listening.
    pub(super) fn listen() -> Self {
        gst::log::set_active(true);
        gst::log::set_threshold_for_name(CATEGORY, gst::DebugLevel::Error);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heard);
        let function = gst::log::add_log_function(move |category, level, _, _, _, _, message| {
            if is_complaint(category, level) {
                let text = message.get().map(|text| text.trim().to_owned());
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() < MAX_KEPT {
                    kept.push(text.unwrap_or_default());
                }
            }
        });
        Self {
            heard,
            function: Some(function),
        }
    }

    /// The first complaint since the last call.
    pub(super) fn take(&self) -> Option<String> {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *heard).into_iter().next()
    }
}

impl Drop for Complaints {
    fn drop(&mut self) {
        if let Some(function) = self.function.take() {
            gst::log::remove_log_function(function);
        }
    }
}

fn is_complaint(category: DebugCategory, level: gst::DebugLevel) -> bool {
    level == gst::DebugLevel::Error && category.name() == CATEGORY
}
