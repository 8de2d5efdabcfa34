//! `image.thumbnail`: several sizes and formats of one picture.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use telecine_engine::activity::{Activity, ActivityError, Context};
use telecine_engine::objects::Artifact;

use crate::child::{Limits, ToolHost};
use crate::keys;
use crate::media::report::Size;
use crate::media::thumbnail::{
    MAX_BYTES, Output, PictureMade, SourcePicture, Thumbnail, ThumbnailSpec,
};
use crate::publish::look;
use crate::{picture, source};

/// CPU time in seconds: the largest source into sixteen AVIF files takes under a minute.
const CPU_S: u64 = 300;

/// How much of a source is hashed at a time.
const DIGEST_BUFFER_BYTES: usize = 256 << 10;

/// See the module.
#[derive(Debug)]
pub struct ImageThumbnail {
    /// Where the tool runs.
    pub host: ToolHost,
}

/// Input of [`ImageThumbnail`].
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Key of the picture in the source store.
    #[schemars(extend("x-telecine-source" = true))]
    source: String,
    /// Identity of the media, chosen by the caller: `[0-9a-z]{8,128}`; the SHA-256 of the source
    /// unless given.
    hash: Option<String>,
    /// What is made of it, 1 to 16; no two of the same variant and format.
    outputs: Vec<Output>,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Thumbnails {
    /// Identity of the media.
    hash: String,
    /// What it was made of.
    source: SourcePicture,
    /// One for each output, in the same order.
    images: Vec<Published>,
}

/// One picture as readers find it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Published {
    /// Its name.
    variant: String,
    /// Its key in the media store: `images/ab/ab12.../{variant}.{format}`.
    key: String,
    /// The object that this run made; `key` is a copy of it.
    object: Artifact,
    /// Size of each picture.
    size: Size,
    /// Number of pictures: 1 unless it moves.
    frames: u32,
}

impl Activity for ImageThumbnail {
    const NAME: &'static str = "image.thumbnail";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Makes several sizes and formats of one picture.";
    type Input = Input;
    type Output = Thumbnails;

    fn tool_fingerprint(&self) -> String {
        crate::media::vips_version()
    }

    async fn run(&self, ctx: &Context, input: Input) -> Result<Thumbnails, ActivityError> {
        check_names(&input.outputs)?;
        let source = source::local_within(ctx, &input.source, MAX_BYTES).await?;
        let hash = match input.hash {
            Some(hash) => hash,
            None => sha256(&source.path).await?,
        };
        keys::check_hash(&hash)?;
        let places = Place::allocate(ctx, &hash, &input.outputs).await?;
        let spec = ThumbnailSpec {
            source: source.path,
            outputs: input.outputs,
            directory: source::scratch_dir(ctx, "made")?,
        };
        let limits = Limits {
            cpu_s: CPU_S,
            ..Limits::SMALL
        };
        let made = self.host.run::<Thumbnail>(ctx, spec, limits).await?;
        let mut images = Vec::new();
        for (place, picture) in places.into_iter().zip(made.pictures) {
            images.push(place.publish(ctx, picture).await?);
        }
        Ok(Thumbnails {
            hash,
            source: made.source,
            images,
        })
    }
}

/// # Errors
/// `bad_option`.
fn check_names(outputs: &[Output]) -> Result<(), ActivityError> {
    let mut names = BTreeSet::new();
    for Output {
        variant, format, ..
    } in outputs
    {
        keys::check_variant(variant)?;
        if !names.insert((variant, format.extension())) {
            let name = format!("{variant}.{}", format.extension());
            return Err(ActivityError::input(
                "bad_option",
                format!("two outputs are called {name}; give one another variant"),
            ));
        }
    }
    Ok(())
}

async fn sha256(path: &Path) -> Result<String, ActivityError> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || digest(&path))
        .await
        .map_err(|e| ActivityError::bug("panic", e.to_string()))?
        .map_err(|e| ActivityError::io("read the source", e))
}

/// SHA-256 of a file, hex. Blocks.
fn digest(path: &Path) -> std::io::Result<String> {
    let mut file = BufReader::with_capacity(DIGEST_BUFFER_BYTES, File::open(path)?);
    let mut hasher = Sha256::new();
    loop {
        let read = file.fill_buf()?;
        if read.is_empty() {
            let digest = hasher.finalize();
            return Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hasher.update(read);
        let length = read.len();
        file.consume(length);
    }
}

/// Where one picture goes. Each name has a publication of its own, so that a job cannot hide what
/// another one made under other names.
#[derive(Debug)]
struct Place {
    variant: String,
    directory: String,
    /// `{directory}/{variant}.{format}`, which is also the name of the publication.
    key: String,
    generation: u64,
}

impl Place {
    async fn allocate(
        ctx: &Context,
        hash: &str,
        outputs: &[Output],
    ) -> Result<Vec<Self>, ActivityError> {
        let directory = keys::images(hash);
        let mut places = Vec::new();
        for output in outputs {
            let (variant, extension) = (&output.variant, output.format.extension());
            let key = format!("{directory}/{variant}.{extension}");
            places.push(Self {
                // Jobs of other databases write to the directory as well, so it is nobody's place.
                generation: ctx.allocate_generation(&key, 0, None).await?,
                variant: variant.clone(),
                directory: directory.clone(),
                key,
            });
        }
        Ok(places)
    }

    /// Stores a picture under the attempt's name, moves the publication, then copies what it shows to
    /// the name that readers know.
    async fn publish(self, ctx: &Context, made: PictureMade) -> Result<Published, ActivityError> {
        let stem = format!("{}.g{}", self.variant, self.generation);
        let object = picture::store(ctx, &self.directory, &stem, &made.file).await?;
        if self.show(ctx, &object.key).await? != self.generation {
            ctx.warn(format!(
                "published_meanwhile: a later job has published {} meanwhile: readers keep seeing that",
                self.key
            ));
        }
        Ok(Published {
            variant: self.variant,
            key: self.key,
            object,
            size: made.size,
            frames: made.frames,
        })
    }

    /// Moves the publication to `own` and copies until what was copied is what readers are to see:
    /// a copy is no fenced write, and may come after that of a later job. Answers the generation.
    async fn show(&self, ctx: &Context, own: &str) -> Result<u64, ActivityError> {
        let mut shown = ctx.publish(&self.key, self.generation).await?.current;
        loop {
            if shown == self.generation {
                ctx.media().copy(own, &self.key).await?;
            } else if let Some(object) = self.object_of(ctx, shown).await? {
                ctx.media().copy(&object, &self.key).await?;
            }
            let seen = look::again(ctx, (&self.key, self.generation), shown).await?;
            if seen == shown {
                return Ok(shown);
            }
            shown = seen;
        }
    }

    /// An object of another generation; all of one generation show the same.
    async fn object_of(
        &self,
        ctx: &Context,
        generation: u64,
    ) -> Result<Option<String>, ActivityError> {
        let prefix = keys::image_generation(&self.directory, &self.variant, generation);
        let objects = ctx.media().list(&prefix).await?;
        let extension = self
            .key
            .rsplit_once('.')
            .map_or("", |(_, extension)| extension);
        let fits = |(key, _): (String, u64)| key.ends_with(extension).then_some(key);
        Ok(objects.into_iter().find_map(fits))
    }
}
