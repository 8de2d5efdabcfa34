//! What has to be true of the playlists of a set together.

use std::collections::BTreeMap;

use super::fragment::Segment;
use super::header::Header;
use super::language;
use super::multivariant::{Media, Multivariant, Variant};
use super::rendition::{Rates, Rendition};
use super::report::{FileReport, Place, Report};
use super::rules::Rule;

/// How far stated rates may be from measured ones (Apple's authoring rules).
const RATE_TOLERANCE: f64 = 0.10;

/// How many times the average the peak may be (Apple's authoring rules).
const PEAK_RATIO: f64 = 2.0;

/// How far FRAME-RATE may be from what was measured: it has three decimals, and 23.976 and 24 are
/// 0.1 % apart.
const FRAME_RATE_TOLERANCE: f64 = 0.0005;

/// How many times the shortest frame of a constant rate the longest is: rounding to a tick.
const EVEN: f64 = 1.01;

/// How far sound may end from the picture, in seconds, if a frame is not longer: two packets of
/// 21 ms, because sound begins and ends with whole packets.
const AUDIO_TOLERANCE_S: f64 = 0.050;

/// Renditions by the path of their playlist.
pub(super) type Renditions = BTreeMap<String, Rendition>;

/// Compares everything with everything else.
pub(super) fn check(
    file: &str,
    multivariant: &Multivariant,
    renditions: &Renditions,
    report: &mut Report,
) {
    for variant in &multivariant.variants {
        let Some(own) = renditions.get(&variant.path) else {
            continue;
        };
        let audio = multivariant.audio_of(variant);
        let audio: Vec<&Rendition> = audio
            .filter_map(|media| renditions.get(media.path.as_ref()?))
            .collect();
        let checked = Checked {
            variant,
            own,
            audio: &audio,
        };
        let mut report = report.file(file);
        checked.rates(&mut report);
        checked.codecs(&mut report);
        checked.picture(&mut report);
    }
    for media in &multivariant.media {
        check_media(media, renditions, &mut report.file(file));
    }
    check_sequence(renditions, report);
    check_switching(multivariant, renditions, report);
}

/// A variant with what plays when it is chosen.
struct Checked<'a> {
    variant: &'a Variant,
    own: &'a Rendition,
    audio: &'a [&'a Rendition],
}

impl Checked<'_> {
    /// The largest sums of rates of renditions that play together.
    fn measured(&self) -> Option<Rates> {
        let mut rates = self.own.rates()?;
        let mut sound = Rates::default();
        for rendition in self.audio {
            // An audio group may repeat the variant itself.
            if rendition.file == self.own.file {
                continue;
            }
            let own = rendition.rates()?;
            sound.peak = sound.peak.max(own.peak);
            sound.average = sound.average.max(own.average);
        }
        rates.peak += sound.peak;
        rates.average += sound.average;
        Some(rates)
    }

    fn rates(&self, report: &mut FileReport<'_>) {
        if self.variant.average.is_none() {
            let what = "AVERAGE-BANDWIDTH is missing";
            let mut report = report.house();
            report.say(Rule::HlsAverageBandwidth, self.variant.place(), what);
        }
        let Some(measured) = self.measured() else {
            return;
        };
        let mut near = |rule, name, stated: Option<u64>, measured: f64| {
            let Some(stated) = stated else { return };
            if (stated as f64 - measured).abs() > measured * RATE_TOLERANCE + 1.0 {
                let expected = format!("{measured:.0} bit/s, within 10 %");
                let (at, stated_rate) = ((self.variant.place(), name), format!("{stated} bit/s"));
                if (stated as f64) < measured {
                    report.differs(rule, at, expected, stated_rate);
                } else {
                    report.house().differs(rule, at, expected, stated_rate);
                }
            }
        };
        near(
            Rule::HlsBandwidth,
            "BANDWIDTH",
            self.variant.bandwidth,
            measured.peak,
        );
        let average = Rule::HlsAverageBandwidth;
        near(
            average,
            "AVERAGE-BANDWIDTH",
            self.variant.average,
            measured.average,
        );
        if measured.peak > PEAK_RATIO * measured.average {
            let at = (self.variant.place(), "the measured peak");
            let expected = format!("at most {:.0} bit/s", PEAK_RATIO * measured.average);
            let found = format!("{:.0} bit/s", measured.peak);
            report.differs(Rule::HlsPeakRatio, at, expected, found);
        }
    }

    fn codecs(&self, report: &mut FileReport<'_>) {
        let place = || self.variant.place();
        let Some(stated) = &self.variant.codecs else {
            let mut report = report.house();
            report.say(Rule::HlsCodecs, place(), "CODECS is missing");
            return;
        };
        let headers = std::iter::once(self.own).chain(self.audio.iter().copied());
        let headers: Option<Vec<Vec<&Header>>> = headers.map(Rendition::all_headers).collect();
        let Some(headers) = headers.map(|headers| headers.concat()) else {
            return;
        };
        if let Some(entry) = headers.iter().find_map(|header| unlisted(header, stated)) {
            let at = (place(), "CODECS");
            report.differs(Rule::HlsCodecs, at, format!("{entry} among them"), stated);
            return;
        }
        let known: Option<Vec<String>> = headers.iter().map(|header| header.codec()).collect();
        let Some(mut known) = known else { return };
        let mut listed: Vec<String> = stated
            .split(',')
            .map(|codec| codec.trim().to_ascii_lowercase())
            .collect();
        for (header, known) in headers.iter().zip(&mut known) {
            let also = header.also_codec().filter(|also| listed.contains(also));
            if let Some(also) = also {
                *known = also;
            }
        }
        for list in [&mut known, &mut listed] {
            list.sort();
        }
        known.dedup();
        if known != listed {
            let at = (place(), "CODECS");
            report.differs(Rule::HlsCodecs, at, known.join(","), stated);
        }
    }

    fn picture(&self, report: &mut FileReport<'_>) {
        let Some(header) = self.own.header() else {
            return;
        };
        let place = || self.variant.place();
        let Some(video) = header.video() else {
            if header.audio().is_some() && self.variant.resolution.is_some() {
                let what = "RESOLUTION is stated for sound alone";
                report.say(Rule::HlsResolution, place(), what);
            }
            return;
        };
        self.resolution(video.shown(), report);
        self.frame_rate(header, report);
        let range = match video.transfer {
            Some(16) => "PQ",
            Some(18) => "HLG",
            _ => "SDR",
        };
        let at = (place(), "VIDEO-RANGE");
        match &self.variant.range {
            Some(stated) => report.equal(Rule::HlsVideoRange, at, range, stated),
            None => {
                let mut report = report.house();
                report.differs(Rule::HlsVideoRange, at, range, "nothing");
            }
        }
    }

    fn resolution(&self, (width, height): (f64, f64), report: &mut FileReport<'_>) {
        let expected = format!("{}x{}", width.round(), height.round());
        let at = (self.variant.place(), "RESOLUTION");
        let Some(stated) = self.variant.resolution else {
            let mut report = report.house();
            report.differs(Rule::HlsResolution, at, expected, "nothing");
            return;
        };
        let near = |stated: u64, shown: f64| (stated as f64 - shown).abs() < 1.0;
        if !near(stated.0, width) || !near(stated.1, height) {
            let stated = format!("{}x{}", stated.0, stated.1);
            report.differs(Rule::HlsResolution, at, expected, stated);
        }
    }

    fn frame_rate(&self, header: &Header, report: &mut FileReport<'_>) {
        let Some((shortest, longest, average)) = self.own.sample_ticks else {
            return;
        };
        let timescale = f64::from(header.timescale);
        // What a varying rate is called is not laid down: average, nominal or highest.
        let is_even = f64::from(longest) <= f64::from(shortest) * EVEN;
        let slowest = if is_even { average } else { f64::from(longest) };
        let lowest = timescale / slowest.max(1.0) * (1.0 - FRAME_RATE_TOLERANCE) - 0.001;
        let highest = timescale / f64::from(shortest.max(1)) * (1.0 + FRAME_RATE_TOLERANCE) + 0.001;
        let expected = format!("{lowest:.3} to {highest:.3}");
        let at = (self.variant.place(), "FRAME-RATE");
        match self.variant.frame_rate {
            None => {
                let mut report = report.house();
                report.differs(Rule::HlsFrameRate, at, expected, "nothing");
            }
            Some(stated) if stated < lowest || stated > highest => {
                report.differs(Rule::HlsFrameRate, at, expected, format!("{stated:.3}"));
            }
            Some(_) => {}
        }
    }
}

/// The sample entry of a codec that is not judged further, if CODECS does not begin with it.
fn unlisted(header: &Header, stated: &str) -> Option<String> {
    if !matches!(header.media, super::header::Media::Other) {
        return None;
    }
    let entry = super::boxes::name(&header.entry);
    let listed = stated.split(',').any(|codec| begins(codec.trim(), &entry));
    (!listed).then_some(entry)
}

/// Whether a codec is of a type of sample entry. `Opus` and `fLaC` are spelt in either case.
fn begins(codec: &str, entry: &str) -> bool {
    let start = codec.get(..entry.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(entry))
}

fn check_media(media: &Media, renditions: &Renditions, report: &mut FileReport<'_>) {
    let rendition = media.path.as_ref().and_then(|path| renditions.get(path));
    let Some(header) = rendition.and_then(Rendition::header) else {
        return;
    };
    let place = || Place::line(media.line);
    let Some(audio) = header.audio() else {
        return;
    };
    if let Some(stated) = &media.channels {
        let count = stated.split('/').next().unwrap_or_default();
        let expected = audio.channels.to_string();
        let at = (place(), "CHANNELS");
        report.equal(Rule::HlsChannels, at, expected.as_str(), count);
    }
    if let Some(stated) = &media.language
        && header.language != "und"
    {
        let primary = stated.split('-').next().unwrap_or_default();
        if !language::agree(&header.language, primary) {
            let at = (place(), "LANGUAGE");
            report.differs(Rule::HlsLanguage, at, &header.language, stated);
        }
    }
}

/// All playlists begin with one number.
fn check_sequence(renditions: &Renditions, report: &mut Report) {
    let Some(first) = renditions.values().next() else {
        return;
    };
    for other in renditions.values() {
        let at = (Place::FILE, "EXT-X-MEDIA-SEQUENCE of all playlists");
        let (expected, found) = (first.playlist.sequence, other.playlist.sequence);
        report
            .file(&other.file)
            .equal(Rule::HlsMediaSequence, at, expected, found);
    }
}

/// Renditions between which players switch, and the sound beside them.
fn check_switching(multivariant: &Multivariant, renditions: &Renditions, report: &mut Report) {
    let variants = multivariant.variants.iter();
    let own = variants.filter_map(|variant| renditions.get(&variant.path));
    let mut video: Vec<&Rendition> = Vec::new();
    for rendition in own {
        let is_video = rendition
            .header()
            .is_some_and(|header| header.video().is_some());
        if is_video && !video.iter().any(|known| known.file == rendition.file) {
            video.push(rendition);
        }
    }
    let Some((first, others)) = video.split_first() else {
        return;
    };
    for other in others {
        compare_video(first, other, report);
    }
    let audio = multivariant
        .media
        .iter()
        .filter(|media| media.kind == "AUDIO");
    for rendition in audio.filter_map(|media| renditions.get(media.path.as_ref()?)) {
        compare_audio(first, rendition, report);
    }
}

fn compare_video(first: &Rendition, other: &Rendition, report: &mut Report) {
    let (Some(a), Some(b)) = (first.header(), other.header()) else {
        return;
    };
    let is_cmaf = a.is_cmaf && b.is_cmaf;
    let mut report = report.file(&other.file).claiming(is_cmaf);
    let at = (Place::FILE, "the timescale of all video renditions");
    report.equal(Rule::SetTimescale, at, a.timescale, b.timescale);
    let (one, two) = (super::boxes::name(&a.entry), super::boxes::name(&b.entry));
    let at = (Place::FILE, "the sample entry of all video renditions");
    report.equal(Rule::SetSampleEntry, at, one, two);
    let (Some(left), Some(right)) = (first.whole(), other.whole()) else {
        return;
    };
    let rule = Rule::SetAligned;
    if left.len() != right.len() {
        let at = (
            Place::FILE,
            "the number of segments of all video renditions",
        );
        report.equal(rule, at, left.len(), right.len());
    }
    // Cross-multiplied, so that different timescales compare exactly.
    let cut = |segment: &Segment, timescale: u32| {
        let end = segment.start + segment.duration;
        (
            u128::from(segment.start) * u128::from(timescale),
            u128::from(end) * u128::from(timescale),
        )
    };
    let pairs = left.iter().zip(&right).enumerate();
    let mut apart = pairs.filter(|(_, (x, y))| cut(x, b.timescale) != cut(y, a.timescale));
    if let Some((number, (x, y))) = apart.next() {
        let at = |segment: &Segment, timescale: u32| {
            format!("{:.6} s", segment.start as f64 / f64::from(timescale))
        };
        let what = format!(
            "segment {} is cut at other times than in {}",
            number + 1,
            first.file
        );
        let values = (at(x, a.timescale), at(y, b.timescale));
        report.differs(rule, (Place::FILE, &what), values.0, values.1);
    }
}

fn compare_audio(video: &Rendition, audio: &Rendition, report: &mut Report) {
    let (Some(a), Some(b)) = (video.header(), audio.header()) else {
        return;
    };
    let Some((left, right)) = video.whole().zip(audio.whole()) else {
        return;
    };
    let longest = |rendition: &Rendition, header: &Header| {
        let (_, longest, _) = rendition.sample_ticks.unwrap_or_default();
        f64::from(longest) / f64::from(header.timescale)
    };
    let sample_s = longest(video, a).max(longest(audio, b));
    let mut report = report.file(&audio.file);
    // With an edit, sound begins before what is heard first: the packet that primes the decoder.
    let edit = |header: &Header| match header.media {
        super::header::Media::Audio(_) => header.edit_start.unwrap_or(0) as f64,
        _ => 0.0,
    };
    let at =
        |ticks: u64, header: &Header| (ticks as f64 - edit(header)) / f64::from(header.timescale);
    let ends = |segments: &[Segment], header: &Header| {
        segments
            .last()
            .map_or(0.0, |last| at(last.start + last.duration, header))
    };
    for (number, (x, y)) in left.iter().zip(&right).enumerate() {
        let (picture, sound) = (at(x.start, a), at(y.start, b));
        if (picture - sound).abs() > sample_s + 0.001 {
            let what = format!(
                "segment {} begins too far from that of the picture",
                number + 1
            );
            let (picture, sound) = (format!("{picture:.6} s"), format!("{sound:.6} s"));
            report.differs(Rule::SetAudioBoundary, (Place::FILE, &what), picture, sound);
            break;
        }
    }
    if left.len() != right.len() {
        let at = (Place::FILE, "the number of segments of picture and sound");
        report.equal(Rule::SetAudioBoundary, at, left.len(), right.len());
    }
    let (picture, sound) = (ends(&left, a), ends(&right, b));
    if (picture - sound).abs() > AUDIO_TOLERANCE_S.max(sample_s) {
        let at = (Place::FILE, "the end of picture and sound");
        let (picture, sound) = (format!("{picture:.3} s"), format!("{sound:.3} s"));
        report.differs(Rule::SetAudioDuration, at, picture, sound);
    }
}
