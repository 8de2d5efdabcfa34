use std::path::PathBuf;

use crate::ffmpeg;
use crate::product::{self, Workplace};

/// What is run: a workflow on a source, in a store that may hold what an earlier job has published of it.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) workflow: &'static str,
    /// What the job asks for that the earlier one did not.
    pub(crate) asks: [&'static str; 2],
    /// Where the earlier job was run, and the source is.
    pub(crate) place: Workplace,
    pub(crate) source: PathBuf,
    /// The code that the job fails with, if it is to.
    pub(crate) fails: Option<&'static str>,
}

/// Three segments of picture and sound, small enough to be encoded in no time.
const FILM: &str = "-f lavfi -i testsrc2=s=192x108:r=12:d=14 -f lavfi -i sine=f=440:d=14 \
                    -c:v libx264 -preset ultrafast -g 24 -c:a aac";
const PICTURE: &str = "-f lavfi -i testsrc2=s=640x360 -frames:v 1";
/// More segments of picture, to be damaged.
const LONGER_FILM: &str = "-f lavfi -i testsrc2=s=320x240:r=25:d=20 \
                           -c:v libx264 -preset ultrafast -bf 2 -g 50";

impl Scenario {
    pub(crate) fn film(workflow: &'static str) -> Self {
        let asks = match workflow {
            "video:full" => ["--set", "preview.width=160"],
            _ => ["--priority", "1"],
        };
        let scenario = Self::make((workflow, asks), (FILM, "clip.mp4"));
        scenario.publish();
        scenario
    }

    /// A picture in two sizes.
    pub(crate) fn pictures() -> Self {
        let thumbnails = ("image:thumbnail", ["--priority", "1"]);
        let scenario = Self::make(thumbnails, (PICTURE, "picture.png"));
        scenario.publish();
        scenario
    }

    /// A film that begins well and is damaged nearly everywhere: its job fails, and can not be tried again.
    pub(crate) fn damaged() -> Self {
        let transcode = ("video:transcode", ["--priority", "1"]);
        let mut scenario = Self::make(transcode, (LONGER_FILM, "damaged.mp4"));
        let mut bytes = std::fs::read(&scenario.source).expect("a source");
        let part = bytes.len() / 5..bytes.len() * 9 / 10;
        for byte in bytes[part].iter_mut().step_by(500) {
            *byte = !*byte;
        }
        std::fs::write(&scenario.source, bytes).expect("the source is written");
        scenario.fails = Some("source_damaged");
        scenario
    }

    fn make(
        (workflow, asks): (&'static str, [&'static str; 2]),
        (recipe, name): (&str, &str),
    ) -> Self {
        let place = Workplace::new();
        let source = place.path().join(name);
        let path = source.to_str().expect("a path in UTF-8");
        let arguments: Vec<&str> = recipe.split_whitespace().chain([path]).collect();
        let made = ffmpeg::ffmpeg(&arguments);
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        Self {
            workflow,
            asks,
            place,
            source,
            fails: None,
        }
    }

    /// Runs the earlier job.
    fn publish(&self) {
        product::succeed(self.place.run(self.workflow, &self.source));
    }

    /// Whether an earlier job has published something.
    pub(crate) fn has_published(&self) -> bool {
        self.place.out().exists()
    }
}
