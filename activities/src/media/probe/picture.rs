//! The video track of a source.

use gstreamer as gst;

use super::packets::{FrameTime, StreamLog};
use super::timing::{self, Rate};
use super::{Source, describe, limits, of_kind};
use crate::media::colour;
use crate::media::demux::{Kind, TRANSPARENT};
use crate::media::frames::{self, Frame, FrameReader, Selection};
use crate::media::isobmff::{DolbyVision, Orientation};
use crate::media::letterbox::pixel_aspect;
use crate::media::report::{Colour, Ratio, Size, VideoTrack};
use crate::media::sniff::Container;
use crate::media::tone::{self, HighRange};
use crate::tool::ToolError;

/// The video track, and whether it can be encoded in chunks.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) track: VideoTrack,
    pub(super) chunkable: bool,
}

/// What the times of a video are laid out on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    /// Length of a segment.
    pub(super) segment_ns: u64,
    /// Length of the presentation, as the container's header says.
    pub(super) declared_ns: Option<u64>,
}

/// The stream that players show: the first one that is not a cover picture, which is a still image,
/// or a single frame next to sound that lasts much longer.
pub(super) fn find(streams: &[StreamLog]) -> Option<&StreamLog> {
    let sounds = of_kind(streams, Kind::Audio).map(|stream| stream.end_ns);
    let sound_ns = sounds.max().unwrap_or(0);
    of_kind(streams, Kind::Video).find(|stream| {
        let name = stream.caps.structure(0).map(|s| s.name().as_str());
        let still = name.is_some_and(|name| name.starts_with("image/"));
        let shown_until_ns = stream.tail.map_or(stream.end_ns, |tail| tail.1);
        let brief = shown_until_ns < sound_ns / 2;
        match stream.frames.len() {
            0 => !still,
            1 => !still && !brief,
            _ => true,
        }
    })
}

/// Describes a stream.
///
/// # Errors
/// `hdr_unsupported`, `codec_unsupported`, `no_frames`, `too_many_pixels`, and those of decoding.
pub(super) fn describe(
    source: &Source,
    stream: &StreamLog,
    grid: Grid,
    warnings: &mut Vec<String>,
) -> Result<Picture, ToolError> {
    if stream.frames.is_empty() {
        return Err(frames::no_frames());
    }
    let mut colour = colour::or(
        colour::stated(&stream.caps),
        colour::stated(&stream.container_caps),
    );
    say_transfer(&mut colour, source, stream);
    // Nothing else has its tones mapped by it.
    colour.peak_nits = colour
        .peak_nits
        .filter(|_| tone::kind(&colour) == Some(HighRange::Hdr10));
    let hdr = high_dynamic_range(source, stream, &colour)?;
    check_pixels(stream)?;
    if !frames::is_decodable(&stream.caps) {
        return Err(frames::codec_unsupported(&describe::codec(&stream.caps)));
    }
    let timeline = Timeline::of(stream, grid);
    let looks = look(source, stream, &timeline)?;
    let orientation = orientation(source, stream);
    let mut track = VideoTrack {
        pixel_aspect: looks.pixel_aspect,
        display: shown_size(looks.stored, looks.pixel_aspect, orientation),
        stored: looks.stored,
        bit_depth: looks.bit_depth,
        chroma: looks.chroma.to_owned(),
        interlaced: looks.interlaced,
        codec: describe::codec(&stream.caps),
        index: stream.index,
        origin_ns: stream.origin_ns,
        rotation: orientation.rotation,
        mirrored: orientation.mirrored,
        colour,
        hdr: hdr.map(str::to_owned),
        guessed_times: !stream.has_presentation_times,
        ..timeline.into_track()
    };
    if track.guessed_times {
        // Frames are told by counting them.
        track.seeks_ns.fill(0);
    }
    warn(&track, orientation, &looks, warnings);
    Ok(Picture {
        chunkable: looks.exact_seeks && may_be_chunked(source, stream),
        track,
    })
}

fn warn(track: &VideoTrack, orientation: Orientation, looks: &Looks, warnings: &mut Vec<String>) {
    if track.variable_frame_rate {
        warnings.push("varying_rate: the frame rate varies".to_owned());
    }
    if let Some(kind) = &track.hdr {
        let name = match kind.as_str() {
            "hdr10" => "HDR10",
            "hlg" => "HLG",
            _ => "Dolby Vision",
        };
        warnings.push(format!(
            "high_dynamic_range: the video is {name}; what is made of it has standard range"
        ));
    }
    if track.interlaced {
        warnings.push(
            "interlaced_video: the video is interlaced; whole pictures are made of its fields"
                .to_owned(),
        );
    }
    if orientation.inexact {
        warnings.push(format!(
            "odd_rotation: the video is to be turned by an odd angle; {} degrees are used",
            orientation.rotation
        ));
    }
    if looks.transparent {
        warnings.push(
            "transparent_video: the video can be transparent in places; what is made of it is not, \
             and shows the colours that are stored there"
                .to_owned(),
        );
    }
    if !looks.exact_seeks {
        warnings.push(
            "inexact_seeks: seeking in the source is not exact, so it is encoded in one piece"
                .to_owned(),
        );
    }
}

/// Dolby Vision knows what its base layer is, where the layer itself says nothing, or what decoders are to
/// take it for that know no better.
fn say_transfer(colour: &mut Colour, source: &Source, stream: &StreamLog) {
    let said = colour.transfer.as_deref();
    let dolby = source.track(stream).and_then(|track| track.dolby_vision);
    if let (None | Some("bt2020-10"), Some(transfer)) = (said, dolby.and_then(|it| it.transfer())) {
        colour.transfer = Some(transfer.to_owned());
    }
}

/// `hdr10`, `hlg` or `dolby_vision`; `None` for standard range.
///
/// # Errors
/// `hdr_unsupported` for Dolby Vision in colours of its own.
fn high_dynamic_range(
    source: &Source,
    stream: &StreamLog,
    colour: &Colour,
) -> Result<Option<&'static str>, ToolError> {
    let dolby = source.track(stream).and_then(|track| track.dolby_vision);
    match (tone::kind(colour), dolby) {
        (_, Some(dolby)) if dolby.has_own_colours() => Err(own_colours(dolby)),
        (Some(_), Some(_)) => Ok(Some("dolby_vision")),
        (Some(HighRange::Hdr10), None) => Ok(Some("hdr10")),
        (Some(HighRange::Hlg), None) => Ok(Some("hlg")),
        (None, _) => Ok(None),
    }
}

fn own_colours(dolby: DolbyVision) -> ToolError {
    let profile = dolby.profile;
    let profile = profile.map_or_else(String::new, |profile| format!(" profile {profile}"));
    ToolError::input(
        "hdr_unsupported",
        format!(
            "the source is Dolby Vision{profile}, in colours that only its own decoders know; export it as \
             HLG, HDR10 or standard range, or as Dolby Vision that is compatible with one of them (profile 8)"
        ),
    )
}

fn check_pixels(stream: &StreamLog) -> Result<(), ToolError> {
    let width = describe::count(&stream.caps, "width");
    let height = describe::count(&stream.caps, "height");
    if u64::from(width) * u64::from(height) <= limits::MAX_PIXELS {
        return Ok(());
    }
    Err(ToolError::input(
        "too_many_pixels",
        format!("the video has {width}x{height} pixels; the limit is 8192x8192"),
    ))
}

/// What follows from the times of the packets.
struct Timeline {
    times: Vec<u64>,
    keyframes: Vec<u64>,
    rate: Rate,
    end_ns: u64,
    cuts: Vec<u64>,
    seeks: Vec<u64>,
}

impl Timeline {
    fn of(stream: &StreamLog, grid: Grid) -> Self {
        let stated = describe::fraction(&stream.caps, "framerate")
            .or_else(|| describe::fraction(&stream.container_caps, "framerate"));
        let mut frames = stream.frames.clone();
        frames.sort_unstable_by_key(|frame| frame.time_ns);
        if let (true, Some(rate)) = (describe::codes_fields(&stream.caps), stated) {
            join_fields(&mut frames, timing::frame_ns(rate));
        }
        if let (false, Some(rate)) = (stream.has_presentation_times, stated) {
            space_evenly(&mut frames, rate);
        }
        let times: Vec<u64> = frames.iter().map(|frame| frame.time_ns).collect();
        let keyframes: Vec<u64> = (frames.iter().filter(|frame| frame.keyframe))
            .map(|frame| frame.time_ns)
            .collect();
        let said = stream
            .tail
            .filter(|tail| tail.1 > tail.0)
            .map(|tail| tail.1);
        // A single frame without a duration lasts as long as the file claims.
        let declared = grid.declared_ns.filter(|_| times.len() == 1);
        let rate = timing::rate(&times, said.or(declared).unwrap_or(0), stated);
        let last = times.last().copied().unwrap_or(0);
        let whole = last + timing::frame_ns(rate.frames);
        // A cut may leave a part of the last frame; at a constant rate it is shown for all of one.
        let end_ns = match said {
            Some(said) if rate.variable => said,
            said => said.map_or(whole, |said| said.max(whole)),
        };
        let cuts = timing::cuts(&times, grid.segment_ns);
        Self {
            seeks: timing::seeks(&cuts, &keyframes),
            cuts,
            times,
            keyframes,
            rate,
            end_ns,
        }
    }

    /// The track with the facts of time; the others are still blank.
    fn into_track(self) -> VideoTrack {
        let nothing = Size {
            width: 0,
            height: 0,
        };
        VideoTrack {
            index: 0,
            origin_ns: 0,
            codec: String::new(),
            stored: nothing,
            display: nothing,
            pixel_aspect: Ratio { num: 1, den: 1 },
            rotation: 0,
            mirrored: false,
            frame_rate: self.rate.frames,
            variable_frame_rate: self.rate.variable,
            guessed_times: false,
            frames: self.times.len() as u64,
            start_ns: self.times.first().copied().unwrap_or(0),
            end_ns: self.end_ns,
            bit_depth: 8,
            chroma: String::new(),
            colour: Colour::default(),
            hdr: None,
            interlaced: false,
            longest_gop_ns: timing::longest_gop(&self.keyframes, self.end_ns),
            keyframes: self.keyframes.len() as u64,
            cuts_ns: self.cuts,
            seeks_ns: self.seeks,
        }
    }
}

/// Keeps the first field of each frame: they come one by one where no container holds them
/// together.
fn join_fields(fields: &mut Vec<FrameTime>, frame_ns: u64) {
    fields.dedup_by(|field, kept| field.time_ns - kept.time_ns < frame_ns * 3 / 4);
}

/// Gives frames the times of a constant rate if they are about those: where some frames only have
/// a decode time (AVI, MPEG program streams), it is shown a frame or two later.
fn space_evenly(frames: &mut [FrameTime], rate: Ratio) {
    const NEAR_FRAMES: u64 = 3;
    let (Some(first), Some(last)) = (frames.first(), frames.last()) else {
        return;
    };
    let (first, last) = (first.time_ns, last.time_ns);
    let time = |n: usize| first + timing::frames_ns(n as u64, rate);
    let near = NEAR_FRAMES * timing::frame_ns(rate);
    if time(frames.len() - 1).abs_diff(last) <= near {
        for (n, frame) in frames.iter_mut().enumerate() {
            frame.time_ns = time(n);
        }
    }
}

/// What a few decoded frames tell.
struct Looks {
    stored: Size,
    pixel_aspect: Ratio,
    bit_depth: u8,
    chroma: &'static str,
    interlaced: bool,
    transparent: bool,
    exact_seeks: bool,
}

/// Decodes the first frames, and one behind each of a few seeks.
fn look(source: &Source, stream: &StreamLog, timeline: &Timeline) -> Result<Looks, ToolError> {
    let selection = Selection {
        index: stream.index,
        deinterlace: false,
        exact_seeks: true,
        origin_ns: stream.origin_ns,
    };
    let mut reader = FrameReader::open(&source.path, source.container, selection)?;
    let first = reader.read()?.ok_or_else(frames::no_frames)?;
    let info = first.info()?;
    let mut interlaced = first.is_interlaced();
    for _ in 1..limits::SAMPLE_FRAMES {
        let Some(frame) = reader.read()? else { break };
        interlaced |= frame.is_interlaced();
    }
    let mut exact_seeks = true;
    for cut in trials(timeline.cuts.len()) {
        let Some(landed) = landing(&mut reader, timeline, cut)? else {
            exact_seeks = false;
            break;
        };
        interlaced |= landed.is_interlaced();
    }
    let format = info.format_info();
    Ok(Looks {
        stored: Size {
            width: info.width(),
            height: info.height(),
        },
        pixel_aspect: pixel_aspect(&info),
        bit_depth: u8::try_from(format.depth()[0]).unwrap_or(8),
        chroma: describe::chroma(format),
        interlaced: interlaced || stated_interlaced(stream),
        transparent: format.has_alpha() || stated_transparent(stream),
        exact_seeks,
    })
}

/// Whether WebM says that it has a second picture beside each, of how much is seen of it.
fn stated_transparent(stream: &StreamLog) -> bool {
    let said = stream.container_caps.structure(0);
    said.is_some_and(|said| said.get::<bool>(TRANSPARENT).unwrap_or(false))
}

/// The first frame behind the seek for a cut, if it and the next one are where they should be.
fn landing(
    reader: &mut FrameReader,
    timeline: &Timeline,
    cut: usize,
) -> Result<Option<Frame>, ToolError> {
    let landed = match reader.seek(timeline.behind_keyframe(cut)) {
        Err(error) if error.code == "not_seekable" => None,
        landed => landed?,
    };
    let landed = landed.filter(|frame| frame.time_ns <= timeline.cuts[cut]);
    let next = if landed.is_some() {
        reader.read()?
    } else {
        None
    };
    Ok(landed.filter(|_| next.is_none_or(|frame| timeline.holds(&frame))))
}

/// The first, a middle and the last of some cuts.
fn trials(cuts: usize) -> impl Iterator<Item = usize> {
    let last = cuts.saturating_sub(1);
    let mut trials: Vec<usize> = (0..limits::SEEK_TRIALS.min(cuts))
        .map(|n| last * n / (limits::SEEK_TRIALS - 1))
        .collect();
    trials.dedup();
    trials.into_iter()
}

impl Timeline {
    /// A time shortly behind the keyframe for a cut. At its very time `qtdemux` would first go back
    /// to the audio packet before it, and so to the keyframe before: one more group of pictures.
    fn behind_keyframe(&self, cut: usize) -> u64 {
        const AUDIO_PACKET_NS: u64 = 100_000_000;
        let keyframe = self.seeks[cut];
        let next = self.keyframes.partition_point(|time| *time <= keyframe);
        let next = self.keyframes.get(next).copied().unwrap_or(self.end_ns);
        keyframe + AUDIO_PACKET_NS.min(next.saturating_sub(keyframe) / 2)
    }

    /// Whether a decoded frame is one of the packets.
    fn holds(&self, frame: &Frame) -> bool {
        const ROUNDING_NS: u64 = 1_000_000;
        let from = frame.time_ns.saturating_sub(ROUNDING_NS);
        let near = self.times.partition_point(|time| *time < from);
        (self.times.get(near)).is_some_and(|time| *time <= frame.time_ns + ROUNDING_NS)
    }
}

fn stated_interlaced(stream: &StreamLog) -> bool {
    let structure = stream.caps.structure(0);
    let mode = structure.and_then(|s| s.get::<&str>("interlace-mode").ok());
    matches!(mode, Some("interleaved" | "fields" | "alternate"))
}

/// With square pixels: the height is kept, the width follows.
fn shown_size(stored: Size, pixel_aspect: Ratio, orientation: Orientation) -> Size {
    let (num, den) = (u64::from(pixel_aspect.num), u64::from(pixel_aspect.den));
    let width = (u64::from(stored.width) * num + den / 2) / den;
    let width = u32::try_from(width.max(1)).unwrap_or(u32::MAX);
    let (width, height) = if orientation.rotation % 180 == 90 {
        (stored.height, width)
    } else {
        (width, stored.height)
    };
    Size { width, height }
}

/// The track's matrix in MP4 files, where GStreamer 1.22 knows no mirrored one; else the tag.
fn orientation(source: &Source, stream: &StreamLog) -> Orientation {
    if let Some(track) = source.track(stream) {
        return track.orientation;
    }
    let tag = stream.tags.get::<gst::tags::ImageOrientation>();
    let tag = tag.as_ref().map_or("rotate-0", |tag| tag.get());
    let rotation = tag
        .rsplit('-')
        .next()
        .and_then(|degrees| degrees.parse().ok());
    Orientation {
        rotation: rotation.unwrap_or(0),
        mirrored: tag.starts_with("flip"),
        inexact: false,
    }
}

/// Containers whose seeks are exact when their index is; MPEG streams have none.
fn may_be_chunked(source: &Source, stream: &StreamLog) -> bool {
    let indexed = match source.container {
        Container::Matroska | Container::Webm | Container::Avi | Container::Flv => true,
        container => container.is_isobmff(),
    };
    // The edits of Matroska are an invention of its demuxer.
    let matroska = matches!(source.container, Container::Matroska | Container::Webm);
    let one_timeline = stream.edits == 1 || matroska;
    indexed && one_timeline && stream.has_presentation_times
}
