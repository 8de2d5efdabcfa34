//! The copies at the root, for readers of the bucket: what the published generation holds under fixed
//! names. The playlist and the sprites' index lead into the generation.

use telecine_engine::activity::{ActivityError, Context};
use telecine_engine::objects::ObjectError;

use crate::allocate::Allocation;
use crate::keys;
use crate::publish::look;

/// Pictures that a generation may hold under these names.
const PICTURES: [&str; 3] = ["cover.jpg", "preview.webp", "preview.gif"];

/// Size of the largest index: a hundred thousand sprites.
const MAX_INDEX_BYTES: usize = 16 << 20;

/// Copies the generation that readers see to the root, and answers which one that is.
///
/// `current` was seen a moment ago. The copies are no fenced writes: a process may stall over them
/// while another one publishes a later generation. So whoever has copied looks again, and whoever
/// copied too late puts right what he has overwritten.
pub(super) async fn show(
    ctx: &Context,
    own: &Allocation,
    current: u64,
) -> Result<u64, ActivityError> {
    let mut shown = current;
    loop {
        copy(ctx, &own.hash, shown).await?;
        let seen = look::again(ctx, (&own.hash, own.generation), shown).await?;
        if seen == shown {
            return Ok(shown);
        }
        shown = seen;
    }
}

async fn copy(ctx: &Context, hash: &str, generation: u64) -> Result<(), ActivityError> {
    let (from, root) = (keys::generation(hash, generation), keys::root(hash));
    for name in PICTURES {
        let (from, to) = (format!("{from}/{name}"), format!("{root}/{name}"));
        unless_missing(ctx.media().copy(&from, &to).await)?;
    }
    let sprites = keys::sprites_index(&from);
    if let Some(index) = read(ctx, &sprites).await? {
        let index = below(&index, &format!("../g{generation}/sprites/"));
        put(ctx, keys::sprites_index(&root), index).await?;
    }
    if let Some(playlist) = read(ctx, &keys::playlist(&from)).await? {
        let playlist = below(&playlist, &format!("g{generation}/"));
        put(ctx, keys::playlist(&root), playlist).await?;
    }
    Ok(())
}

/// The text of an object that may not be there.
async fn read(ctx: &Context, key: &str) -> Result<Option<String>, ActivityError> {
    let bytes = unless_missing(ctx.media().read_range(key, 0, MAX_INDEX_BYTES).await)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

async fn put(ctx: &Context, key: String, text: String) -> Result<(), ActivityError> {
    ctx.media().put_bytes(&key, text.into()).await?;
    Ok(())
}

fn unless_missing<T>(outcome: Result<T, ObjectError>) -> Result<Option<T>, ActivityError> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(ObjectError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A playlist or index of our own whose addresses lead into another directory.
fn below(text: &str, directory: &str) -> String {
    let lines = text.lines().map(|line| match line {
        "" | "WEBVTT" => format!("{line}\n"),
        tag if tag.starts_with('#') => {
            format!("{}\n", tag.replace("URI=\"", &format!("URI=\"{directory}")))
        }
        cue if cue.contains(" --> ") => format!("{cue}\n"),
        address => format!("{directory}{address}\n"),
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_into_the_generation_and_nothing_else_changes() {
        let playlist = "#EXTM3U\n\
            #EXT-X-MEDIA:TYPE=AUDIO,NAME=\"Audio\",URI=\"audio/a/playlist.m3u8\"\n\
            #EXT-X-STREAM-INF:BANDWIDTH=1,CODECS=\"avc1\"\n\
            video/r720_h264/playlist.m3u8\n";
        let expected = playlist
            .replace("audio/a", "g3/audio/a")
            .replace("video/", "g3/video/");
        assert_eq!(below(playlist, "g3/"), expected);
        let index = "WEBVTT\n\n00:00.000 --> 00:02.000\nsheet_001.jpg#xywh=0,0,80,45\n";
        let expected = index.replace("sheet", "../g3/sprites/sheet");
        assert_eq!(below(index, "../g3/sprites/"), expected);
    }
}
