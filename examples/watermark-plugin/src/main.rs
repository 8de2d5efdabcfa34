//! telecine with two activities more, the tools that they run, and two workflows.

use std::process::ExitCode;

use telecine::App;
use watermark_plugin::picture::{DrawOnPicture, WatermarkPicture};
use watermark_plugin::video::{DrawOnVideo, WatermarkVideo};

fn main() -> ExitCode {
    App::builder()
        .tool::<DrawOnPicture>()
        .tool::<DrawOnVideo>()
        .activity_with(|host| WatermarkPicture { host: host.clone() })
        .activity_with(|host| WatermarkVideo { host: host.clone() })
        .workflow(include_str!("../watermark-picture.yaml"))
        .workflow(include_str!("../watermark-video.yaml"))
        .run()
}
