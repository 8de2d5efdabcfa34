//! What users of other tools would run, with the same encoder settings, sizes and boundaries.

use std::path::Path;

use serde_json::Value;

use crate::measure::{Cost, measured};

/// One ffmpeg process: decodes once, splits, and makes the same renditions as HLS.
pub(crate) fn split(clip: &Path, plan: &Value, home: &Path) -> Cost {
    let rungs = rungs(plan);
    let mut graph = format!("[0:v]split={}", rungs.len());
    for n in 0..rungs.len() {
        graph += &format!("[i{n}]");
    }
    for (n, rung) in rungs.iter().enumerate() {
        graph += &format!(";[i{n}]scale={}:{}[o{n}]", rung.width, rung.height);
    }
    let mut command = Ffmpeg::open(clip);
    command.add(&["-filter_complex", &graph]);
    for (n, rung) in rungs.iter().enumerate() {
        command.rendition(&format!("[o{n}]"), rung, home);
    }
    command.sound(home);
    command.measure()
}

/// One ffmpeg process after the other, each for one rendition.
pub(crate) fn each(clip: &Path, plan: &Value, home: &Path) -> Cost {
    let video = rungs(plan).into_iter().map(|rung| {
        let mut command = Ffmpeg::open(clip);
        command.add(&["-vf", &format!("scale={}:{}", rung.width, rung.height)]);
        command.rendition("0:v", &rung, home);
        command.measure()
    });
    let mut sound = Ffmpeg::open(clip);
    sound.sound(home);
    video.fold(Cost::default(), Cost::and).and(sound.measure())
}

/// Decoding, scaling and encoding with GStreamer and nothing else: the same elements, no output.
pub(crate) fn bare_pipeline(clip: &Path, plan: &Value) -> Cost {
    let location = format!("location={}", clip.display());
    let mut line = vec![
        "-q",
        "filesrc",
        &location,
        "!",
        "qtdemux",
        "!",
        "h264parse",
        "!",
    ]
    .into_iter()
    .map(str::to_owned)
    .collect::<Vec<_>>();
    let mut add = |text: &str| line.extend(text.split(' ').map(str::to_owned));
    add("avdec_h264 ! queue max-size-buffers=3");
    let rungs = rungs(plan);
    for (n, rung) in rungs.iter().enumerate() {
        let Rung { width, height, .. } = rung;
        let caps = format!("video/x-raw,format=I420,width={width},height={height}");
        add(&format!(
            "! videoconvertscale method=catrom n-threads=1 ! {caps} ! tee name=t{n}"
        ));
        let Rung {
            preset, crf, kbps, ..
        } = rung;
        let encoder = format!(
            "x264enc speed-preset={preset} pass=qual quantizer={crf} bitrate={kbps} \
             vbv-buf-capacity=2000 key-int-max=144 sync-lookahead=0 b-pyramid=false"
        );
        add(&format!(
            "t{n}. ! queue max-size-buffers=3 ! {encoder} ! fakesink async=false"
        ));
        if n + 1 < rungs.len() {
            add(&format!("t{n}. ! queue max-size-buffers=3"));
        }
    }
    let arguments: Vec<&str> = line.iter().map(String::as_str).collect();
    measured(Path::new("gst-launch-1.0"), &arguments).0
}

struct Rung {
    name: String,
    width: u64,
    height: u64,
    crf: u64,
    kbps: u64,
    preset: String,
}

fn rungs(plan: &Value) -> Vec<Rung> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let number = |value: &Value| value.as_u64().expect("a number");
    let rungs = plan["rungs"].as_array().expect("rungs").iter();
    rungs
        .map(|rung| Rung {
            name: text(&rung["name"]),
            width: number(&rung["size"]["width"]),
            height: number(&rung["size"]["height"]),
            crf: number(&rung["crf"]),
            kbps: number(&rung["max_kbps"]),
            preset: text(&rung["preset"]),
        })
        .collect()
}

struct Ffmpeg(Vec<String>);

impl Ffmpeg {
    fn open(clip: &Path) -> Self {
        let mut command = Self(Vec::new());
        command.add(&["-v", "error", "-nostdin", "-y", "-i"]);
        command.0.push(clip.display().to_string());
        command
    }

    fn add(&mut self, arguments: &[&str]) {
        self.0
            .extend(arguments.iter().map(|text| (*text).to_owned()));
    }

    fn rendition(&mut self, source: &str, rung: &Rung, home: &Path) {
        self.add(&["-map", source, "-c:v", "libx264", "-preset", &rung.preset]);
        self.add(&["-crf", &rung.crf.to_string(), "-pix_fmt", "yuv420p"]);
        // As telecine does at 20 to 40 frames per second (ADR 0026).
        self.add(&["-x264-params", "b-pyramid=none"]);
        self.add(&["-maxrate", &format!("{}k", rung.kbps)]);
        self.add(&["-bufsize", &format!("{}k", 2 * rung.kbps)]);
        self.add(&[
            "-g",
            "100000",
            "-force_key_frames",
            "expr:gte(t,n_forced*6)",
        ]);
        self.hls(&rung.name, home);
    }

    fn sound(&mut self, home: &Path) {
        self.add(&["-map", "0:a?", "-c:a", "aac", "-b:a", "128k", "-ac", "2"]);
        self.hls("audio", home);
    }

    fn hls(&mut self, name: &str, home: &Path) {
        let directory = home.join("ffmpeg").join(name);
        std::fs::create_dir_all(&directory).expect("a directory");
        self.add(&["-f", "hls", "-hls_time", "6", "-hls_playlist_type", "vod"]);
        self.add(&["-hls_segment_type", "fmp4"]);
        self.0
            .push(directory.join("playlist.m3u8").display().to_string());
    }

    fn measure(&self) -> Cost {
        let arguments: Vec<&str> = self.0.iter().map(String::as_str).collect();
        measured(Path::new("ffmpeg"), &arguments).0
    }
}
