//! The sources of the matrix: how ffmpeg makes each, and what has to come out of it.
//!
//! Commands are words of ffmpeg, run in the directory of the row; `;` begins another command.
//! Five words stand for more: `video=SIZE:RATE:SECONDS` is a moving test picture, `tone=SECONDS`
//! a tone, `beeps=SECONDS` a hum with beeps of 0.1 s at uneven times, `flash` and `beep` are nine seconds with a flash and a beep of 0.1 s at 1.000 s and
//! 7.000 s; `x264` encodes fast.

use std::path::{Path, PathBuf};

use crate::ffmpeg;

/// One source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recipe {
    /// File name; unique.
    pub(super) name: &'static str,
    /// The inputs, before the words of `ffmpeg`.
    source: &'static str,
    /// What makes it.
    ffmpeg: &'static str,
    /// The picture that has to come out; `None` for sound alone.
    pub(super) picture: Option<Picture>,
    /// Samples per second of the sound that has to come out.
    pub(super) sound: Option<u32>,
    /// How long the set lasts.
    pub(super) seconds: f64,
    /// By how much later ffmpeg shows its pictures than they are to be shown, in seconds.
    pub(super) shown_late_s: f64,
    /// Whether the picture is then marked, in its track header, as mirrored left to right.
    mirrored: bool,
    /// When the first flash is seen and the first beep is heard.
    pub(super) flash_s: Option<f64>,
    /// Codes of the warnings of what is lost, in the order of the alphabet.
    pub(super) warns: &'static [&'static str],
    /// Whether browsers play it in the whole matrix.
    pub(super) played: bool,
}

/// The picture of the largest rendition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Picture {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) frames: usize,
    /// Whether all frames last equally long.
    pub(super) even: bool,
    pub(super) like: Like,
}

/// What its frames look like.
#[derive(Debug, Clone, Copy)]
pub(super) enum Like {
    /// Frame `n` is frame `n * step` of the source as ffmpeg shows it.
    Source { step: usize },
    /// Frame `n` is frame `2 n` or `2 n + 1` of these progressive pictures, from which the fields
    /// of the source were taken.
    Fields(&'static str),
    /// Frame `n` is frame `n` of these pictures, from which the source was made in other colours.
    Pictures(&'static str),
}

impl Recipe {
    const fn new(name: &'static str, seconds: f64, ffmpeg: &'static str) -> Self {
        Self {
            name,
            source: "",
            ffmpeg,
            picture: None,
            sound: None,
            seconds,
            shown_late_s: 0.0,
            mirrored: false,
            flash_s: None,
            warns: &[],
            played: false,
        }
    }

    /// Makes the source in a directory.
    pub(super) fn make(&self, directory: &Path) -> PathBuf {
        std::fs::write(directory.join("lines.srt"), SUBTITLES).expect("a file to write");
        let commands = format!("{} {} {}", self.source, self.ffmpeg, self.name);
        for command in commands.split(" ; ") {
            run(command, directory);
        }
        let file = directory.join(self.name);
        if self.mirrored {
            mirror(&file);
        }
        file
    }

    /// A picture of evenly spaced frames.
    const fn picture(mut self, width: u32, height: u32, frames: usize) -> Self {
        self.picture = Some(Picture {
            width,
            height,
            frames,
            even: true,
            like: Like::Source { step: 1 },
        });
        self
    }

    const fn lasting(mut self, seconds: f64) -> Self {
        self.seconds = seconds;
        self
    }

    const fn uneven(mut self) -> Self {
        if let Some(picture) = &mut self.picture {
            picture.even = false;
        }
        self
    }

    const fn like(mut self, like: Like) -> Self {
        if let Some(picture) = &mut self.picture {
            picture.like = like;
        }
        self
    }

    const fn sound(mut self, rate: u32) -> Self {
        self.sound = Some(rate);
        self
    }

    const fn flash(mut self, at_s: f64) -> Self {
        self.flash_s = Some(at_s);
        self
    }

    const fn shown_late(mut self, seconds: f64) -> Self {
        self.shown_late_s = seconds;
        self
    }

    const fn warns(mut self, codes: &'static [&'static str]) -> Self {
        self.warns = codes;
        self
    }

    const fn mirrored(mut self) -> Self {
        self.mirrored = true;
        self
    }

    const fn played(mut self) -> Self {
        self.played = true;
        self
    }
}

/// The progressive pictures behind interlaced sources at 25 frames per second.
const FIELDS: &str = "video=320x240:50:2";

/// The whole matrix.
pub(super) const RECIPES: &[Recipe] = &[
    // Containers and codecs of video, with picture and sound in step.
    flash("h264_aac.mp4", "x264 -bf 3 -c:a aac").played(),
    // Its first packet of sound comes 80 ms before the first picture.
    flash("fragmented.mp4", "x264 -bf 3 -c:a aac -movflags frag_keyframe+empty_moov")
        .lasting(9.08)
        .uneven()
        .flash(1.08),
    flash("faststart.m4v", "x264 -bf 3 -c:a aac -movflags +faststart"),
    flash("h264_aac.mkv", "x264 -bf 3 -c:a aac").played(),
    flash("h264_pcm.mov", "x264 -bf 2 -c:a pcm_s16le"),
    flash("h264_aac.flv", "x264 -bf 2 -c:a aac -ar 44100").sound(44_100).played(),
    flash("h264_aac.ts", "x264 -bf 2 -c:a aac").played(),
    flash("h264_ac3.m2ts", "x264 -bf 2 -c:a ac3 -f mpegts -mpegts_m2ts_mode 1"),
    flash("hevc_eac3.mkv", "-c:v libx265 -preset ultrafast -x265-params log-level=none -c:a eac3"),
    flash("hevc_aac.mp4", "-c:v libx265 -preset ultrafast -x265-params log-level=none -c:a aac"),
    flash("vp8_vorbis.webm", "-c:v libvpx -deadline realtime -cpu-used 8 -b:v 500k -c:a libvorbis")
        .played(),
    flash("vp9_opus.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 500k -c:a libopus"),
    flash("av1_opus.mkv", "-c:v libsvtav1 -preset 12 -c:a libopus"),
    // ffmpeg delays the picture by a frame, for the run-up of the sound.
    flash("mpeg4_mp3.avi", "-c:v mpeg4 -q:v 4 -c:a libmp3lame")
        .lasting(9.04)
        .flash(1.04)
        .uneven()
        .played(),
    // AVI has no times, and ffmpeg takes the delay of a decoder of B-frames for a delay of the picture:
    // it shows the flash a frame after the beep.
    flash("mpeg4_bframes.avi", "-c:v mpeg4 -bf 2 -q:v 4 -c:a ac3").shown_late(0.04),
    // A frame and the B-frame before it share a packet, and the next packet is nearly empty; behind the
    // first frame two are.
    Recipe::new("xvid_packed.avi", 9.0, "video=320x240:25:9 beeps=9 -c:v libxvid -bf 2 -q:v 4 -c:a libmp3lame")
        .lasting(9.06)
        .picture(320, 240, 223)
        .uneven()
        .sound(44_100)
        .shown_late(0.04),
    flash("flv1_mp3.flv", "-c:v flv -q:v 4 -c:a libmp3lame -ar 44100").sound(44_100),
    flash("wmv2_wmav2.wmv", "-c:v wmv2 -q:v 4 -c:a wmav2").played(),
    flash("mpeg2_mp2.ts", "-c:v mpeg2video -q:v 4 -bf 2 -c:a mp2"),
    flash("mpeg2_mp2.mpg", "-c:v mpeg2video -q:v 4 -bf 2 -c:a mp2"),
    flash("mpeg1.mpg", "-c:v mpeg1video -q:v 4 -c:a mp2"),
    Recipe::new(
        "theora_vorbis.ogv",
        9.0,
        "video=320x240:25:9 beep -c:v libtheora -q:v 6 -c:a libvorbis",
    )
    .picture(320, 240, 225)
    .sound(48_000),
    flash("mjpeg_pcm.avi", "-c:v mjpeg -q:v 4 -c:a pcm_s16le"),
    flash("prores_pcm.mov", "-c:v prores_ks -profile:v 0 -c:a pcm_s24le"),
    flash("dts.mkv", "x264 -c:a dca -strict -2 -ac 2"),
    flash("vorbis_flac.mkv", "-c:v ffv1 -c:a flac"),
    Recipe::new(
        "h263.3gp",
        3.0,
        "video=352x288:25:3 beeps=3 -c:v h263 -q:v 4 -c:a aac -ar 16000 -ac 1",
    )
    .picture(320, 240, 75)
    .sound(48_000),
    // Formats of pictures.
    silent("main10.mp4", "-pix_fmt yuv420p10le -c:v libx265 -preset ultrafast -x265-params log-level=none"),
    silent("high422.mp4", "-pix_fmt yuv422p10le -c:v libx264 -preset ultrafast"),
    silent("high444.mkv", "-pix_fmt yuv444p -c:v libx264 -preset ultrafast"),
    silent("rgb.mov", "-pix_fmt rgb24 -c:v qtrle"),
    silent("png.mov", "-c:v png"),
    silent("vp9_10bit.webm", "-pix_fmt yuv420p10le -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 2M"),
    hdr("hdr10.mp4", "-vf zscale=tin=bt709:min=bt709:pin=bt709:rin=limited:t=smpte2084:p=bt2020:m=bt2020nc:r=limited:npl=203,format=yuv420p10le -c:v libx265 -preset ultrafast -x265-params log-level=none:crf=8:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"),
    hdr("hdr10.webm", "-vf zscale=tin=bt709:min=bt709:pin=bt709:rin=limited:t=smpte2084:p=bt2020:m=bt2020nc:r=full:npl=203,format=yuv420p10le -color_range pc -color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 2M"),
    silent("full_range.mp4", "-vf scale=out_range=full -pix_fmt yuvj420p -color_range pc -c:v libx264 -preset ultrafast"),
    silent("bt709_small.mp4", "-vf scale=out_color_matrix=bt709 x264 -colorspace bt709 -color_primaries bt709 -color_trc bt709"),
    Recipe::new(
        "bt601_large.mp4",
        1.0,
        "video=1280x720:25:1 -vf scale=out_color_matrix=bt601 x264 -colorspace smpte170m \
         -color_primaries smpte170m -color_trc smpte170m",
    )
    .picture(1280, 720, 25),
    // Shapes.
    Recipe::new("rotated_90.mp4", 2.0, "video=640x360:25:2 x264 plain.mp4 ; -i plain.mp4 -c copy -metadata:s:v rotate=90")
        .picture(360, 640, 50)
        .played(),
    Recipe::new("rotated_180.mov", 2.0, "video=640x360:25:2 x264 plain.mp4 ; -i plain.mp4 -c copy -metadata:s:v rotate=180")
        .picture(640, 360, 50),
    Recipe::new("rotated_270.mp4", 2.0, "video=640x360:25:2 x264 plain.mp4 ; -i plain.mp4 -c copy -metadata:s:v rotate=270")
        .picture(360, 640, 50),
    Recipe::new("mirrored.mp4", 2.0, "video=640x360:25:2 x264").picture(640, 360, 50).mirrored(),
    Recipe::new("portrait.mp4", 2.0, "video=360x640:25:2 x264 -colorspace smpte170m -color_trc smpte170m -color_primaries smpte170m").picture(360, 640, 50),
    Recipe::new("sar_2x1.mp4", 2.0, "video=320x360:25:2 -vf setsar=2/1 x264").picture(640, 360, 50),
    Recipe::new("dvd_16x9.mpg", 2.0, "video=720x576:25:2 -vf setdar=16/9 -c:v mpeg2video -q:v 3")
        .picture(854, 480, 50),
    Recipe::new("sar_tall.mkv", 2.0, "video=640x240:25:2 -vf setsar=1/2 x264").picture(320, 240, 50),
    Recipe::new("odd.mkv", 1.0, "video=161x121:25:1 -pix_fmt yuv444p -c:v ffv1").picture(160, 120, 25),
    Recipe::new("odd_large.webm", 1.0, "video=853x479:25:1 -c:v libvpx -deadline realtime -cpu-used 8 -b:v 2M")
        .picture(642, 360, 25),
    Recipe::new("tiny.mp4", 2.0, "video=16x16:25:2 x264").picture(16, 16, 50),
    Recipe::new("wide.mp4", 2.0, "video=2048x64:25:2 x264").picture(2048, 64, 50),
    Recipe::new("tall.mkv", 2.0, "video=64x1024:25:2 x264 -colorspace smpte170m -color_trc smpte170m -color_primaries smpte170m").picture(64, 1024, 50),
    // Rates.
    Recipe::new("23.976.mkv", 7.0, "video=640x360:24000/1001:7 beeps=7 x264 -c:a aac")
        .picture(640, 360, 168)
        .sound(44_100)
        .played(),
    Recipe::new("29.97.webm", 7.0, "video=320x240:30000/1001:7 -c:v libvpx -deadline realtime -cpu-used 8 -b:v 1M")
        .picture(320, 240, 210),
    Recipe::new("59.94.mp4", 7.0, "video=320x240:60000/1001:7 x264 -bf 2").picture(320, 240, 420),
    Recipe::new("14.985.flv", 7.0, "video=320x240:15000/1001:7 x264").picture(320, 240, 105),
    Recipe::new("12.5.avi", 4.0, "video=320x240:25/2:4 -c:v mpeg4 -q:v 3").picture(320, 240, 50),
    Recipe::new("120.mp4", 7.0, "video=320x240:120:7 x264")
        .picture(320, 240, 420)
        .like(Like::Source { step: 2 })
        .played(),
    Recipe::new("100.mkv", 4.0, "video=320x240:100:4 x264")
        .picture(320, 240, 200)
        .like(Like::Source { step: 2 }),
    Recipe::new("1.mp4", 14.0, "video=320x240:1:14 x264").picture(320, 240, 14).played(),
    Recipe::new("variable.mp4", 8.0, "video=320x240:50:8 -vf select='not(mod(n,3))+lt(mod(n,7),2)' -vsync vfr x264 -bf 2")
        .picture(320, 240, 210)
        .uneven()
        .played(),
    Recipe::new("variable.mkv", 8.0, "video=320x240:50:8 -vf select='not(mod(n,3))+lt(mod(n,7),2)' -vsync vfr x264")
        .picture(320, 240, 210)
        .uneven(),
    Recipe::new("one_frame.mp4", 0.04, "video=320x240:25:0.04 x264").picture(320, 240, 1),
    Recipe::new("off_grid.mkv", 8.0, "video=320x240:30:8 x264 plain.mp4 ; -itsoffset 0.007 -i plain.mp4 beeps=8 -map 0:v -map 1:a -c:v copy -c:a flac")
        .picture(320, 240, 240)
        .sound(44_100),
    // Fields in one picture, or in alternating lines of its blocks (MBAFF). Pictures of one field
    // (PAFF) are only in recordings (an AVCHD clip among those of TELECINE_TEST_MEDIA): x264 and
    // ffmpeg's MPEG-2 encoder write none, and mpeg2enc of GStreamer 1.22 crashes when asked to.
    fields("tff.mp4", "-vf interlace=scan=tff x264 -flags +ildct+ilme -x264opts tff=1"),
    fields("bff.mp4", "-vf interlace=scan=bff x264 -flags +ildct+ilme -x264opts bff=1"),
    fields("tff.ts", "-vf interlace=scan=tff -c:v mpeg2video -q:v 2 -flags +ildct+ilme -top 1"),
    fields("bff.mpg", "-vf interlace=scan=bff -c:v mpeg2video -q:v 2 -flags +ildct+ilme -top 0"),
    fields("tff_10.mov", "-vf format=yuv422p10le,interlace=scan=tff -c:v prores_ks -flags +ildct+ilme -top 1"),
    Recipe::new("dv.avi", 2.0, "video=720x576:50:2 -vf interlace=scan=bff,setdar=4/3 -pix_fmt yuv420p -c:v dvvideo")
        .picture(640, 480, 50)
        .like(Like::Fields("video=720x576:50:2")),
    // Timelines.
    Recipe::new("late_video.mp4", 9.5, "flash beep x264 -bf 2 -c:a aac plain.mp4 ; -itsoffset 0.5 -i plain.mp4 -i plain.mp4 -map 0:v -map 1:a -c copy")
        .picture(640, 360, 225)
        .uneven()
        .sound(48_000),
    Recipe::new("late_audio.mp4", 9.0, "flash beep x264 -bf 2 -c:a aac plain.mp4 ; -i plain.mp4 -itsoffset 0.5 -i plain.mp4 -map 0:v -map 1:a -c copy")
        .picture(640, 360, 225)
        .sound(48_000),
    Recipe::new("trimmed.mp4", 8.4, "flash beep x264 -g 25 -bf 2 -c:a aac plain.mp4 ; -ss 0.6 -i plain.mp4 -c copy")
        .picture(640, 360, 210)
        .sound(48_000)
        .flash(0.4),
    flash("late_start.ts", "x264 -bf 2 -c:a aac -output_ts_offset 90000"),
    flash("wrapping.ts", "x264 -bf 2 -c:a aac -output_ts_offset 95440"),
    Recipe::new("negative.mkv", 9.0, "flash beep x264 -bf 2 -c:a aac -avoid_negative_ts disabled")
        .picture(640, 360, 225)
        .sound(48_000)
        .flash(1.0),
    Recipe::new("long_gop.mp4", 65.0, "video=128x96:10:65 x264 -g 9999 -sc_threshold 0").picture(128, 96, 650),
    // Longer than a chunk, and not to be cut into several: its times are no places to seek to.
    Recipe::new("long.ts", 75.0, "video=128x96:10:75 x264 -g 20 -bf 2").picture(128, 96, 750),
    Recipe::new("jpeg2000.mov", 1.0, "video=320x240:25:1 -c:v libopenjpeg -pix_fmt yuv422p10le").picture(320, 240, 25),
    // Transparent in places.
    Recipe::new("alpha_vp9.webm", 2.0, "video=320x240:25:2,format=rgba,colorchannelmixer=aa=0.5 -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -pix_fmt yuva420p").picture(320, 240, 50),
    Recipe::new("alpha_vp8.webm", 2.0, "video=320x240:25:2,format=rgba,colorchannelmixer=aa=0.5 -c:v libvpx -auto-alt-ref 0 -deadline realtime -pix_fmt yuva420p").picture(320, 240, 50),
    // Its size changes on the way, as that of recordings of calls.
    Recipe::new("resized.ts", 4.0, "video=640x360:25:4 -t 2 x264 -bf 0 a.ts ; video=640x360:25:4 -ss 2 -vf scale=320:180 x264 -bf 0 -output_ts_offset 2 b.ts ; -i concat:a.ts|b.ts -c copy")
        .picture(640, 360, 100)
        .like(Like::Pictures("video=640x360:25:4"))
        .warns(&["size_changes"]),
    // Television that goes from 16:9 to 4:3.
    Recipe::new("reshaped.ts", 4.0, "video=320x240:25:4,setsar=4/3 -t 2 x264 -bf 0 a.ts ; video=320x240:25:4,setsar=1 -ss 2 x264 -bf 0 -output_ts_offset 2 b.ts ; -i concat:a.ts|b.ts -c copy")
        .picture(426, 240, 100)
        .like(Like::Pictures("video=320x240:25:4,split[a][b];[a]scale=426:240[wide];[b]scale=240:240,pad=320:240:40:0,scale=426:240[boxed];[wide][boxed]overlay=enable='gte(t,2)'"))
        .warns(&["size_changes"]),
    Recipe::new("open_gop.mkv", 40.0, "video=128x96:25:40 -c:v libx264 -preset veryfast -x264opts open-gop=1:keyint=60:bframes=3 -pix_fmt yuv420p")
        .picture(128, 96, 1000),
    Recipe::new("open_gop.ts", 13.0, "video=128x96:25:13 -c:v libx264 -preset veryfast -x264opts open-gop=1:keyint=60:bframes=3 -pix_fmt yuv420p")
        .picture(128, 96, 325),
    Recipe::new("long_audio.mp4", 6.0, "video=320x240:25:6 beeps=9 x264 -c:a aac")
        .picture(320, 240, 150)
        .sound(44_100)
        .warns(&["sound_cut"]),
    Recipe::new("short_audio.mkv", 8.0, "video=320x240:25:8 beeps=3 x264 -c:a aac")
        .picture(320, 240, 200)
        .sound(44_100)
        .warns(&["sound_short"])
        .played(),
    // Company.
    Recipe::new("timecode.mov", 3.0, "video=320x240:25:3 beeps=3 x264 -c:a aac -timecode 01:00:00:00")
        .picture(320, 240, 75)
        .sound(44_100),
    Recipe::new("subtitled.mkv", 3.0, "video=320x240:25:3 beeps=3 x264 -c:a aac plain.mkv ; -i plain.mkv -i lines.srt -map 0 -map 1 -c copy -c:s srt")
        .picture(320, 240, 75)
        .sound(44_100),
    Recipe::new("subtitled.mp4", 3.0, "video=320x240:25:3 beeps=3 x264 -c:a aac plain.mkv ; -i plain.mkv -i lines.srt -map 0 -map 1 -c copy -c:s mov_text")
        .picture(320, 240, 75)
        .sound(44_100),
    Recipe::new("surround.mkv", 3.0, "video=320x240:25:3 beeps=3 -af pan=5.1|FC=c0|BL=c0 -c:a flac x264")
        .picture(320, 240, 75)
        .sound(44_100),
    // Sound alone.
    sound("tone.mp3", 44_100, "-c:a libmp3lame"),
    sound("tone.wav", 44_100, "-c:a pcm_s16le"),
    sound("tone.flac", 44_100, "-c:a flac"),
    sound("tone.aac", 44_100, "-c:a aac"),
    sound("tone.ogg", 44_100, "-c:a libvorbis"),
    sound("opus.ogg", 48_000, "-c:a libopus"),
    sound("tone.m4a", 44_100, "-c:a aac").played(),
    sound("alac.m4a", 44_100, "-c:a alac"),
    sound("tone.mka", 44_100, "-c:a flac"),
    sound("tone.wma", 44_100, "-c:a wmav2"),
    sound("sound.webm", 48_000, "-c:a libopus"),
    sound("sound.ts", 44_100, "-c:a aac"),
    sound("8k.wav", 48_000, "-ar 8000 -c:a pcm_mulaw"),
    // Its packets hold 52 ms, those of the encoder's run-up included.
    sound("11k.mp3", 44_100, "-ar 11025 -c:a libmp3lame").lasting(13.1),
    sound("22k.m4a", 44_100, "-ar 22050 -c:a aac"),
    sound("96k.flac", 48_000, "-ar 96000 -sample_fmt s32 -c:a flac"),
    sound("surround.wav", 44_100, "-af pan=7.1|FC=c0|BL=c0|SR=c0 -c:a pcm_s24le"),
    sound("surround.m4a", 44_100, "-af pan=5.1|FC=c0|BL=c0 -c:a aac"),
    Recipe::new("cover.mp3", 13.0, "video=300x300:1:1 -frames:v 1 cover.jpg ; tone=13 -i cover.jpg -map 0 -map 1 -c:a libmp3lame -c:v copy -disposition:v attached_pic")
        .sound(44_100)
        .played(),
    Recipe::new("cover.m4a", 13.0, "video=300x300:1:1 -frames:v 1 cover.jpg ; tone=13 -i cover.jpg -map 0 -map 1 -c:a aac -c:v copy -disposition:v attached_pic")
        .sound(44_100),
    Recipe::new("cover.flac", 13.0, "video=300x300:1:1 -frames:v 1 cover.jpg ; tone=13 -i cover.jpg -map 0 -map 1 -c:a flac -c:v copy -disposition:v attached_pic")
        .sound(44_100),
    // A picture that is a video track, but shown for one frame.
    Recipe::new("still.mp4", 13.0, "tone=13 video=320x240:25:0.04 -c:a aac x264").sound(44_100),
    Recipe::new("two_tracks.m4a", 13.0, "tone=13 tone=5 -map 0 -map 1 -c:a aac").sound(44_100),
];

/// The flash and the beep, 640x360 at 25 frames per second.
const fn flash(name: &'static str, codecs: &'static str) -> Recipe {
    let mut recipe = Recipe::new(name, 9.0, codecs)
        .picture(640, 360, 225)
        .sound(48_000)
        .flash(1.0);
    recipe.source = "flash beep";
    recipe
}

/// Two seconds without sound.
const fn silent(name: &'static str, codecs: &'static str) -> Recipe {
    let mut recipe = Recipe::new(name, 2.0, codecs).picture(320, 240, 50);
    recipe.source = "video=320x240:25:2";
    recipe
}

/// Pictures without what is bright, or as colourful as can be: they stay as they are when they are made high
/// dynamic range and back.
const DIM: &str = "-f lavfi -i testsrc2=s=320x240:r=25:d=2,lutrgb=r=70+val*0.25:g=70+val*0.25:b=70+val*0.25,\
     scale=out_color_matrix=bt709:out_range=limited,format=yuv420p,\
     setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709";

/// Two seconds of those pictures, made high dynamic range.
const fn hdr(name: &'static str, codecs: &'static str) -> Recipe {
    let mut recipe = Recipe::new(name, 2.0, codecs)
        .picture(320, 240, 50)
        .like(Like::Pictures(DIM));
    recipe.source = DIM;
    recipe
}

/// Two seconds of fields.
const fn fields(name: &'static str, codecs: &'static str) -> Recipe {
    let mut recipe = Recipe::new(name, 2.0, codecs)
        .picture(320, 240, 50)
        .like(Like::Fields(FIELDS));
    recipe.source = FIELDS;
    recipe
}

/// Thirteen seconds of a tone.
const fn sound(name: &'static str, rate: u32, codecs: &'static str) -> Recipe {
    let mut recipe = Recipe::new(name, 13.0, codecs).sound(rate);
    recipe.source = "tone=13";
    recipe
}

/// One line of text from the first to the second second.
const SUBTITLES: &str = "1\n00:00:01,000 --> 00:00:02,000\nhello\n";

const FLASH: &str = "-f lavfi -i color=black:size=640x360:rate=25:duration=9,drawbox=color=white:\
                     t=fill:enable='between(t,0.999,1.099)+between(t,6.999,7.099)'";
const BEEP: &str = "-f lavfi -i aevalsrc='0.03*sin(2*PI*220*t)+0.7*sin(2*PI*1000*t)*\
                    (between(t,1,1.1)+between(t,7,7.1))':s=48000:d=9";
const X264: &str = "-pix_fmt yuv420p -c:v libx264 -preset ultrafast";

/// Runs ffmpeg with the words of a command.
pub(super) fn run(command: &str, directory: &Path) {
    let command = spell_out(command);
    let words: Vec<&str> = command.split_whitespace().collect();
    ffmpeg::quietly(directory, &words);
}

/// The words of a command with the short ones written out.
pub(super) fn spell_out(command: &str) -> String {
    let words = command.split_whitespace().map(|word| match word {
        "flash" => FLASH.to_owned(),
        "beep" => BEEP.to_owned(),
        "x264" => X264.to_owned(),
        _ => generated(word).unwrap_or_else(|| word.to_owned()),
    });
    words.collect::<Vec<String>>().join(" ")
}

fn generated(word: &str) -> Option<String> {
    if let Some(seconds) = word.strip_prefix("tone=") {
        return Some(format!("-f lavfi -i sine=f=440:d={seconds}"));
    }
    if let Some(seconds) = word.strip_prefix("beeps=") {
        // Each pause is shorter than the one before it: no two places sound alike.
        return Some(format!(
            "-f lavfi -i aevalsrc='0.03*sin(2*PI*220*t)+0.7*sin(2*PI*1000*t)*\
             lt(mod(t*(1+t/20),0.9),0.1)':s=44100:d={seconds}"
        ));
    }
    let (size, rest) = word.strip_prefix("video=")?.split_once(':')?;
    let (rate, seconds) = rest.split_once(':')?;
    Some(format!(
        "-f lavfi -i testsrc2=s={size}:r={rate}:d={seconds}"
    ))
}

/// Turns the matrix of the first track header, the identity, into one that mirrors: ffmpeg writes
/// none that does.
fn mirror(file: &Path) {
    const FROM_TAG_TO_MATRIX: usize = 44;
    let mut bytes = std::fs::read(file).expect("a source");
    let tag = bytes.windows(4).position(|tag| tag == b"tkhd");
    let at = tag.expect("a track header") + FROM_TAG_TO_MATRIX;
    assert_eq!(bytes[at..at + 4], 0x1_0000_i32.to_be_bytes());
    bytes[at..at + 4].copy_from_slice(&(-0x1_0000_i32).to_be_bytes());
    std::fs::write(file, bytes).expect("a file to write");
}
