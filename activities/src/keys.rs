//! Where objects go in the media store. Pure, and the only place that knows.
//!
//! ```text
//! videos/{hh}/{hash}/g{n}/           one generation: a complete, immutable set
//!     .claim  cover.jpg  preview.webp  master.m3u8
//!     sprites/{sprites.vtt, sprites_{tag}.vtt, sheet_001_{tag}.jpg ...}
//!     audio/{track}/{init.mp4, playlist.m3u8, seg_00001_{tag}.m4s ...}
//!     video/{track}/{init.mp4, playlist.m3u8, seg_00001_{tag}.m4s ...}
//! videos/{hh}/{hash}/{master.m3u8, cover.jpg, preview.webp, sprites/sprites.vtt}
//!                                    copies for readers of the bucket
//! images/{hh}/{hash}/{variant}.{format}           copies of {variant}.g{n}_{tag}.{format}
//! ```
//!
//! Objects whose bytes depend on more than the step's input (encoders are not bit-reproducible)
//! carry the attempt's tag, so that a stale worker can only leave litter.

use telecine_engine::activity::ActivityError;
use telecine_engine::objects::PUBLISHED_MARK;

/// Shortest and longest hash.
const HASH_CHARS: std::ops::RangeInclusive<usize> = 8..=128;

/// What the keys of everything begin with that readers are pointed at.
const PUBLISHED: [&str; 2] = ["videos/", "images/"];

/// Whether a text names an object that readers are pointed at: a file of the layout above, not one of
/// its directories.
#[must_use]
pub fn is_published(text: &str) -> bool {
    let file = text.rsplit('/').next().unwrap_or_default();
    PUBLISHED.iter().any(|start| text.starts_with(start)) && file.contains('.')
}

/// What kind of track a rendition is; its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrackKind {
    /// `video/`.
    Video,
    /// `audio/`.
    Audio,
}

impl TrackKind {
    /// Name of the directory.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Audio => "audio",
        }
    }
}

/// Checks a hash: `[0-9a-z]{8,128}`.
///
/// # Errors
/// `bad_hash`.
pub fn check_hash(hash: &str) -> Result<(), ActivityError> {
    let plain = hash
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase());
    if plain && HASH_CHARS.contains(&hash.len()) {
        return Ok(());
    }
    Err(ActivityError::input(
        "bad_hash",
        format!("the hash {hash:?} is not 8 to 128 characters of 0-9 and a-z"),
    ))
}

/// `videos/{hh}/{hash}`: where the copies for readers of the bucket are. The hash is checked.
#[must_use]
pub fn root(hash: &str) -> String {
    let shard = hash.get(..2).unwrap_or(hash);
    format!("videos/{shard}/{hash}")
}

/// `{prefix}/sprites`: where the sheets of a generation are.
#[must_use]
pub fn sprites(prefix: &str) -> String {
    format!("{prefix}/sprites")
}

/// `{directory}/sprites/sprites.vtt`: what leads into the sheets, of a generation or at the root.
#[must_use]
pub fn sprites_index(directory: &str) -> String {
    format!("{}/sprites.vtt", sprites(directory))
}

/// `{directory}/master.m3u8`: the multivariant playlist of a generation or at the root.
#[must_use]
pub fn playlist(directory: &str) -> String {
    format!("{directory}/master.m3u8")
}

/// `images/{hh}/{hash}`: where the sizes and formats of a picture are. The hash is checked.
#[must_use]
pub fn images(hash: &str) -> String {
    let shard = hash.get(..2).unwrap_or(hash);
    format!("images/{shard}/{hash}")
}

/// `{directory}/{variant}.g{n}_`: what the keys of all objects of a generation of a variant begin with;
/// they end with the attempt and the format. No variant has a dot in its name.
#[must_use]
pub fn image_generation(directory: &str, variant: &str, n: u64) -> String {
    format!("{directory}/{variant}.g{n}_")
}

/// Checks the name of a variant: `[a-z0-9][a-z0-9_-]{0,63}`.
///
/// # Errors
/// `bad_option`.
pub fn check_variant(variant: &str) -> Result<(), ActivityError> {
    let allowed = |byte: u8| {
        byte.is_ascii_digit() || byte.is_ascii_lowercase() || matches!(byte, b'-' | b'_')
    };
    let begins_well = !variant.starts_with(['-', '_']);
    let short = (1..=64).contains(&variant.len());
    if short && begins_well && variant.bytes().all(allowed) {
        return Ok(());
    }
    Err(ActivityError::input(
        "bad_option",
        format!(
            "the variant {variant:?} is not 1 to 64 characters of a-z, 0-9, - and _ that begin \
             with a letter or a digit"
        ),
    ))
}

/// `videos/{hh}/{hash}/g{n}`: a generation.
#[must_use]
pub fn generation(hash: &str, n: u64) -> String {
    format!("{}{n}", generations(hash))
}

/// `videos/{hh}/{hash}/g`: what the keys of all generations begin with.
#[must_use]
pub fn generations(hash: &str) -> String {
    format!("{}/g", root(hash))
}

/// `videos/{hh}/{hash}/g{n}/*`: what the keys of the objects of any generation are like, for the engine.
#[must_use]
pub fn all_generations(hash: &str) -> String {
    format!("{}{{n}}/*", generations(hash))
}

/// The number of a generation, of its directory `videos/{hh}/{hash}/g{n}/`.
#[must_use]
pub fn generation_number(hash: &str, directory: &str) -> Option<u32> {
    let number = directory.strip_prefix(&generations(hash))?;
    number.strip_suffix('/')?.parse().ok()
}

/// `{prefix}/.published`: there is one once a generation was published.
#[must_use]
pub fn published(prefix: &str) -> String {
    format!("{prefix}/{PUBLISHED_MARK}")
}

/// `{generation}/.claim`: holds the id of the run that a generation belongs to.
#[must_use]
pub fn claim(hash: &str, n: u64) -> String {
    format!("{}/.claim", generation(hash, n))
}

/// A file of a rendition, relative to its generation: `video/r720_h264/init.mp4`.
#[must_use]
pub fn track_file(kind: TrackKind, track: &str, file: &str) -> String {
    format!("{}/{track}/{file}", kind.as_str())
}

/// `seg_00001_0a1b2c3d.m4s`.
#[must_use]
pub fn segment_file(number: u32, tag: &str) -> String {
    format!("seg_{number:05}_{tag}.m4s")
}

/// A file under an attempt's own name: `cover_0a1b2c3d.jpg`.
#[must_use]
pub fn attempt_file(stem: &str, tag: &str, extension: &str) -> String {
    format!("{stem}_{tag}.{extension}")
}

#[cfg(test)]
mod tests {
    use telecine_engine::objects::OWN_PREFIXES;

    use super::*;

    #[test]
    fn keys_follow_the_layout() {
        let set = generation("ab12cd34", 3);
        assert_eq!(set, "videos/ab/ab12cd34/g3");
        assert_eq!(generation_number("ab12cd34", &format!("{set}/")), Some(3));
        assert_eq!(
            generation_number("ab12cd34", "videos/ab/ab12cd34/gone/"),
            None
        );
        let segment = segment_file(7, "0a1b2c3d");
        assert_eq!(
            track_file(TrackKind::Video, "r720_h264", &segment),
            "video/r720_h264/seg_00007_0a1b2c3d.m4s"
        );
    }

    #[test]
    fn files_are_published_and_directories_are_not() {
        assert!(is_published("videos/ab/ab12cd34/master.m3u8"));
        assert!(is_published("images/ab/ab12cd34/small.webp"));
        for text in ["videos/ab/ab12cd34/g3", "image/webp", "small.webp", ""] {
            assert!(!is_published(text), "{text:?}");
        }
    }

    #[test]
    fn everything_is_where_what_never_ended_is_cleared_away() {
        for key in [root("ab12cd34"), images("ab12cd34")] {
            let is_own = OWN_PREFIXES.iter().any(|own| key.starts_with(own));
            assert!(is_own, "{key}");
        }
    }

    #[test]
    fn hashes_that_could_leave_their_directory_are_refused() {
        for hash in [
            "",
            "short",
            "../../../etc",
            "ABCDEFGH",
            "abcdefg/",
            &"a".repeat(129),
        ] {
            assert!(check_hash(hash).is_err(), "{hash:?}");
        }
        assert!(check_hash("ab12cd34").is_ok());
    }

    #[test]
    fn variants_are_plain() {
        for variant in [
            "",
            "_a",
            "a/b",
            "..",
            "Small",
            "a.g1_0a1b2c3d",
            &"a".repeat(65),
        ] {
            assert!(check_variant(variant).is_err(), "{variant:?}");
        }
        for variant in ["small", "w320-h180", "thumb_small", "a_2x"] {
            assert!(check_variant(variant).is_ok(), "{variant:?}");
        }
    }
}
