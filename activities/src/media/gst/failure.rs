//! What goes wrong on the threads of a pipeline, and what it means for the user.

use std::sync::{Arc, Mutex, PoisonError};

use gstreamer as gst;
use gstreamer_pbutils::MissingPluginMessage;
use telecine_engine::activity::ErrorClass;

use super::super::super::tool::ToolError;

/// Turns an error of an element into one of ours.
pub(super) type Sort = fn(&gst::glib::Error) -> ToolError;

/// The first failure of a run, shared by its pipelines and their threads.
#[derive(Debug, Clone, Default)]
pub struct Failure {
    first: Arc<Mutex<Option<ToolError>>>,
}

impl Failure {
    /// Notes a failure; later ones follow from the first and are dropped.
    pub fn set(&self, error: ToolError) {
        self.lock().get_or_insert(error);
    }

    /// Succeeds as long as nothing has failed.
    ///
    /// # Errors
    /// The first failure.
    pub fn check(&self) -> Result<(), ToolError> {
        self.lock().clone().map_or(Ok(()), Err)
    }

    /// Takes the messages of a bus, on whatever thread posts them, so that none piles up.
    pub(super) fn watch(&self, bus: &gst::Bus, sort: Sort) {
        let failure = self.clone();
        bus.set_sync_handler(move |_, message| {
            if let Some(error) = failure_of(message, sort) {
                failure.set(error);
            }
            gst::BusSyncReply::Drop
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<ToolError>> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failure_of(message: &gst::Message, sort: Sort) -> Option<ToolError> {
    match message.view() {
        gst::MessageView::Error(error) => {
            tracing::debug!(error = %error.error(), debug = ?error.debug(), "pipeline error");
            Some(sort(&error.error()))
        }
        gst::MessageView::Element(_) => missing_codec(message),
        _ => None,
    }
}

/// Names the codec that no installed plugin decodes.
fn missing_codec(message: &gst::Message) -> Option<ToolError> {
    let missing = MissingPluginMessage::parse(message).ok()?;
    Some(unsupported(&missing.description()))
}

fn unsupported(what: &str) -> ToolError {
    ToolError::input(
        "codec_unsupported",
        format!("the source cannot be decoded: there is no {what} here"),
    )
}

/// Sorts an error of a pipeline that reads a source.
pub(super) fn sort_source_error(error: &gst::glib::Error) -> ToolError {
    use gst::{CoreError, StreamError};
    if error.is::<gst::ResourceError>() {
        let message = format!("cannot read the source: {}", lowercase(error.message()));
        return ToolError::new(ErrorClass::Transient, "io_error", message);
    }
    match error.kind::<StreamError>() {
        Some(StreamError::CodecNotFound) => unsupported("decoder for it"),
        Some(StreamError::Decrypt | StreamError::DecryptNokey) => encrypted(),
        _ if error.matches(CoreError::MissingPlugin) => unsupported("decoder for it"),
        _ => ToolError::input(
            "decode_failed",
            format!("the source is damaged: {}", lowercase(error.message())),
        ),
    }
}

/// Sorts an error of a pipeline that encodes what it is given.
pub fn sort_encode_error(error: &gst::glib::Error) -> ToolError {
    ToolError::new(
        ErrorClass::Bug,
        "encode_failed",
        format!("the encoder failed: {}", lowercase(error.message())),
    )
}

/// The source is protected.
pub(super) fn encrypted() -> ToolError {
    ToolError::input(
        "encrypted_source",
        "the source is encrypted (DRM); submit it without encryption",
    )
}

/// The message with a small first letter and no full stop, to stand inside a sentence.
fn lowercase(message: &str) -> String {
    let message = message.trim_end_matches('.');
    let mut letters = message.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(letters).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_is_kept() {
        let failure = Failure::default();
        assert_eq!(failure.check(), Ok(()));
        failure.set(ToolError::input("first", "one"));
        failure.clone().set(ToolError::input("second", "two"));
        assert_eq!(failure.check().unwrap_err().code, "first");
    }

    #[test]
    fn a_missing_decoder_is_the_users_move() {
        let error = gst::glib::Error::new(gst::StreamError::CodecNotFound, "No decoder.");
        assert_eq!(sort_source_error(&error).code, "codec_unsupported");
        let error = gst::glib::Error::new(gst::StreamError::Decode, "Bad frame.");
        assert_eq!(
            sort_source_error(&error).message,
            "the source is damaged: bad frame"
        );
    }
}
