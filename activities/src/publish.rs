//! `media.publish`: makes a complete set the one that readers see.
//!
//! In this order: fixed names inside the generation, the publication (one fenced row, the moment
//! at which it happens), the generation's own mark of it, then the copies at the root for readers of the bucket, playlist last. The
//! copies lead into the generation, so an old copy leads to an old set that is still whole.

pub(crate) mod look;
mod root;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telecine_engine::activity::{Activity, ActivityError, Context, Progress};
use telecine_engine::objects::Artifact;

use crate::allocate::Allocation;
use crate::keys;
use crate::package::PackagedSet;
use crate::picture::Picture;
use crate::sprites::SpriteSheets;

/// See the module.
#[derive(Debug)]
pub struct Publish;

/// Input of [`Publish`].
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Output of `media.allocate`.
    allocation: Allocation,
    /// Output of `video.package_hls`; `null` if there is no streaming set.
    set: Option<PackagedSet>,
    /// Output of `video.cover`; `null` if there is no cover.
    cover: Option<Picture>,
    /// Output of `video.preview`; `null` if there is no preview.
    preview: Option<Picture>,
    /// Output of `video.sprites`; `null` if there are no sprites.
    #[serde(default)]
    sprites: Option<SpriteSheets>,
}

/// What readers find, as object keys. `null` for what the set does not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Published {
    /// The multivariant playlist.
    pub playlist: Option<String>,
    /// The cover.
    pub cover: Option<String>,
    /// The preview.
    pub preview: Option<String>,
    /// The WebVTT of the sprites.
    pub sprites: Option<String>,
    /// Key prefix of the generation.
    pub prefix: String,
    /// Number of the generation.
    pub generation: u64,
    /// The generation that readers saw before.
    pub previous_generation: Option<u64>,
}

impl Activity for Publish {
    const NAME: &'static str = "media.publish";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Makes a complete set the one that readers see.";
    type Input = Input;
    type Output = Published;

    async fn run(&self, ctx: &Context, input: Input) -> Result<Published, ActivityError> {
        let pictures = pictures(&input);
        if pictures.is_empty() && input.set.is_none() && input.sprites.is_none() {
            return Err(ActivityError::input(
                "nothing_to_publish",
                "there is neither a streaming set nor a picture to publish",
            ));
        }
        let Allocation {
            hash,
            generation,
            prefix,
        } = &input.allocation;
        for picture in &pictures {
            picture.copy_to(ctx, prefix).await?;
        }
        if let Some(sprites) = &input.sprites {
            ctx.copy(&sprites.index, &keys::sprites_index(prefix))
                .await?;
        }
        let moved = ctx.publish(hash, *generation).await?;
        if moved.current == *generation {
            let mark = keys::published(prefix);
            ctx.media().put_bytes(&mark, Default::default()).await?;
        }
        ctx.progress(Progress {
            counter: 1,
            ..Progress::default()
        });
        let shown = root::show(ctx, &input.allocation, moved.current).await?;
        if shown != *generation {
            ctx.warn(format!(
                "published_meanwhile: g{shown} was published meanwhile: readers keep seeing it instead of g{generation}"
            ));
        }
        let root = keys::root(hash);
        let published = |stem: &str| {
            let picture = pictures.iter().find(|picture| picture.stem == stem);
            picture.map(|picture| picture.key(&root))
        };
        Ok(Published {
            playlist: input.set.as_ref().map(|_| keys::playlist(&root)),
            cover: published(COVER),
            preview: published(PREVIEW),
            sprites: input.sprites.as_ref().map(|_| keys::sprites_index(&root)),
            prefix: prefix.clone(),
            generation: *generation,
            previous_generation: moved.previous,
        })
    }
}

const COVER: &str = "cover";
const PREVIEW: &str = "preview";

/// A picture of the set under the name that readers know.
struct Named<'a> {
    stem: &'static str,
    object: &'a Artifact,
}

fn pictures(input: &Input) -> Vec<Named<'_>> {
    let pictures = [(COVER, &input.cover), (PREVIEW, &input.preview)];
    let named = pictures.into_iter().filter_map(|(stem, picture)| {
        let object = &picture.as_ref()?.object;
        Some(Named { stem, object })
    });
    named.collect()
}

impl Named<'_> {
    /// `{directory}/cover.jpg`: the extension is that of the object.
    fn key(&self, directory: &str) -> String {
        let name = self.object.key.rsplit('/').next().unwrap_or_default();
        let extension = name
            .rsplit_once('.')
            .map_or("bin", |(_, extension)| extension);
        format!("{directory}/{}.{extension}", self.stem)
    }

    async fn copy_to(&self, ctx: &Context, directory: &str) -> Result<(), ActivityError> {
        let to = self.key(directory);
        ctx.copy(self.object, &to).await?;
        Ok(())
    }
}
