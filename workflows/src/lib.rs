//! The built-in workflows, as files. They name activities as strings only; what an activity does
//! is none of this crate's business.

/// A workflow that comes with telecine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Builtin {
    /// Its name: `video:full`.
    pub name: &'static str,
    /// Its file: `video-full.yaml`.
    pub file: &'static str,
    /// Its definition as written.
    pub text: &'static str,
}

macro_rules! builtin {
    ($name:literal, $file:literal) => {
        Builtin {
            name: $name,
            file: $file,
            text: include_str!(concat!("../definitions/", $file)),
        }
    };
}

/// Every built-in workflow, by name.
pub const BUILTINS: &[Builtin] = &[
    builtin!("image:thumbnail", "image-thumbnail.yaml"),
    builtin!("video:cover", "video-cover.yaml"),
    builtin!("video:full", "video-full.yaml"),
    builtin!("video:preview", "video-preview.yaml"),
    builtin!("video:transcode", "video-transcode.yaml"),
];

/// The built-in workflow of that name.
#[must_use]
pub fn builtin(name: &str) -> Option<&'static Builtin> {
    BUILTINS.iter().find(|workflow| workflow.name == name)
}
