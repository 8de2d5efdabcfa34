//! One media playlist with everything that it leads to.

mod peak;

use std::collections::HashMap;

use super::format::{self, Format};
use super::fragment::{self, Segment, TrackSoFar};
use super::header::{self, Header};
use super::media::{Entry, Map, MediaPlaylist, Resource};
use super::report::{FileReport, Place, Report};
use super::rules::Rule;
use super::set::Part;
use super::{Broken, Linter, MAX_HEADER_BYTES, MAX_SEGMENT_BYTES};

/// How far EXTINF may be from the measured duration: it is written with six decimals at best, and
/// many write three.
const EXTINF_TOLERANCE_S: f64 = 0.001;

/// How far EXTINF may be from the measured duration by the standard, which allows whole seconds.
const ROUNDED_S: f64 = 0.501;

/// A media playlist, its headers, and what was measured in its segments.
#[derive(Debug)]
pub(super) struct Rendition {
    /// Path of the playlist.
    pub(super) file: String,
    pub(super) playlist: MediaPlaylist,
    /// By the index of their maps.
    pub(super) headers: Vec<Option<Header>>,
    /// In the order of the playlist; `None` where one could not be read.
    pub(super) segments: Vec<Option<Segment>>,
    /// Shortest, longest and average duration of a sample, in ticks.
    pub(super) sample_ticks: Option<(u32, u32, f64)>,
}

/// What of a rendition was read: a playlist may list the same again and again.
#[derive(Debug, Default)]
struct Known<'a> {
    /// Segments, read with the header that each had first; `None` where one could not be read.
    segments: HashMap<(&'a str, Part), Option<Segment>>,
    /// Bytes of all ranges of a file, and where the last of them ends.
    ranges: HashMap<&'a str, (u64, u64)>,
}

impl<'a> Known<'a> {
    /// Whether the ranges of a file overlap so much, this one included, that reading them all
    /// would be reading the file more than twice.
    fn overlaps(&mut self, Resource { path, part, .. }: &'a Resource) -> bool {
        let Part::Range { offset, len } = *part else {
            return false;
        };
        let (bytes, end) = self.ranges.entry(path).or_default();
        *bytes = bytes.saturating_add(len);
        *end = offset.saturating_add(len).max(*end);
        *bytes > end.saturating_mul(2)
    }
}

/// Measured bit rates, in bits per second.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rates {
    pub(super) peak: f64,
    pub(super) average: f64,
}

impl Rendition {
    /// The only header; `None` if there are more or it could not be read.
    pub(super) fn header(&self) -> Option<&Header> {
        match self.headers.as_slice() {
            [only] => only.as_ref(),
            _ => None,
        }
    }

    /// Every header; `None` if one could not be read or there is none.
    pub(super) fn all_headers(&self) -> Option<Vec<&Header>> {
        let all: Option<Vec<_>> = self.headers.iter().map(Option::as_ref).collect();
        all.filter(|headers| !headers.is_empty())
    }

    /// Every segment, if all could be read.
    pub(super) fn whole(&self) -> Option<Vec<Segment>> {
        let whole: Option<Vec<_>> = self.segments.iter().copied().collect();
        whole.filter(|segments| !segments.is_empty())
    }

    /// Seconds of all segments.
    pub(super) fn duration_s(&self) -> Option<f64> {
        Some(self.whole()?.iter().map(Segment::seconds).sum())
    }

    /// Bit rates as RFC 8216bis, section 4.1 defines them: the peak is that of any run of segments
    /// that lasts 0.5 to 1.5 target durations.
    pub(super) fn rates(&self) -> Option<Rates> {
        let target = self.playlist.target?.1 as f64;
        let segments = self.whole()?;
        let bits = |segment: &Segment| segment.bytes as f64 * 8.0;
        let all: f64 = segments.iter().map(Segment::seconds).sum();
        let average = segments.iter().map(bits).sum::<f64>() / all.max(f64::MIN_POSITIVE);
        let runs = segments.iter().map(|one| (one.seconds(), bits(one)));
        let peak = peak::of_runs(runs, (0.5 * target, 1.5 * target));
        let peak = peak.unwrap_or(average);
        Some(Rates { peak, average })
    }
}

impl Linter<'_> {
    /// Reads a media playlist and everything that it leads to.
    pub(super) fn rendition(
        &mut self,
        file: &str,
        playlist: MediaPlaylist,
    ) -> Result<Rendition, Broken> {
        self.report.renditions += 1;
        let mut rendition = Rendition {
            file: file.to_owned(),
            headers: Vec::new(),
            segments: Vec::new(),
            sample_ticks: None,
            playlist,
        };
        if let Some(line) = rendition.playlist.encrypted {
            let what = "its segments are encrypted";
            self.report
                .file(file)
                .say(Rule::NotJudged, Place::line(line), what);
            return Ok(rendition);
        }
        for map in &rendition.playlist.maps {
            rendition.headers.push(self.header(file, map)?);
        }
        self.sniff(&rendition)?;
        self.segments(&mut rendition)?;
        check_stream(&rendition, &mut self.report);
        Ok(rendition)
    }

    fn segments(&mut self, rendition: &mut Rendition) -> Result<(), Broken> {
        let mut so_far = TrackSoFar::default();
        let mut known = Known::default();
        let mut map_before = None;
        for entry in &rendition.playlist.entries {
            let other_map = map_before.is_some_and(|before| before != entry.map);
            if entry.discontinuity || other_map {
                so_far.start_anew();
            }
            map_before = Some(entry.map);
            let header = match entry.map {
                Map::At(map) => rendition.headers.get(map).and_then(Option::as_ref),
                Map::Absent | Map::Unknown => None,
            };
            let Some(header) = header.filter(|_| !entry.gap) else {
                so_far.break_off();
                rendition.segments.push(None);
                continue;
            };
            let (file, Resource { path, part, .. }) = (&rendition.file, &entry.resource);
            let key = (path.as_str(), *part);
            let segment = match known.segments.get(&key).copied() {
                Some(segment) => {
                    self.again((file, entry), segment, (header, &mut so_far));
                    segment
                }
                None if known.overlaps(&entry.resource) => {
                    let what = format!("the ranges of {path} overlap, more are not read");
                    let place = Place::line(entry.resource.line);
                    self.report.file(file).say(Rule::TooMuch, place, what);
                    so_far.break_off();
                    None
                }
                None => {
                    let segment = self.segment(file, entry, (header, &mut so_far))?;
                    known.segments.insert(key, segment);
                    (self.tell)(&self.report);
                    segment
                }
            };
            rendition.segments.push(segment);
        }
        // Of tracks that count differently, durations tell nothing together.
        if rendition.header().is_some() {
            rendition.sample_ticks = sample_ticks(&so_far);
        }
        Ok(())
    }

    /// Looks at the first segment without a header: whether it is one that needs none.
    fn sniff(&mut self, rendition: &Rendition) -> Result<(), Broken> {
        let Some(entry) = rendition.playlist.without_map() else {
            return Ok(());
        };
        let Some(bytes) = self.fetch(&rendition.file, &entry.resource, MAX_SEGMENT_BYTES)? else {
            return Ok(());
        };
        let mut report = self.report.file(&rendition.file);
        let place = Place::line(entry.resource.line);
        match format::of(&bytes) {
            Format::FragmentedMp4 => {
                let what = "no EXT-X-MAP stands before this segment";
                report.say(Rule::HlsMap, place, what);
            }
            format => {
                let what = format!("its segments are {}", format.name());
                report.say(Rule::NotJudged, place, what);
            }
        }
        Ok(())
    }

    fn header(&mut self, file: &str, map: &Resource) -> Result<Option<Header>, Broken> {
        let Some(bytes) = self.fetch(file, map, MAX_HEADER_BYTES)? else {
            return Ok(None);
        };
        let is_cmaf = header::claims_cmaf(&bytes);
        let mut report = self.report.file(&map.path).claiming(is_cmaf);
        Ok(header::read(&bytes, &mut report))
    }

    fn segment(
        &mut self,
        file: &str,
        entry: &Entry,
        (header, so_far): (&Header, &mut TrackSoFar),
    ) -> Result<Option<Segment>, Broken> {
        let Some(bytes) = self.fetch(file, &entry.resource, MAX_SEGMENT_BYTES)? else {
            so_far.break_off();
            return Ok(None);
        };
        let path = &entry.resource.path;
        let mut report = self.report.file(path).claiming(header.is_cmaf);
        let read = fragment::read(&bytes, header, so_far, &mut report);
        self.report.segments += 1;
        let Some(segment) = read else {
            so_far.break_off();
            return Ok(None);
        };
        self.report.samples += u64::from(segment.samples);
        check_extinf(entry, segment.seconds(), &mut self.report.file(file));
        Ok(Some(segment))
    }

    /// A segment that was read already is listed again.
    fn again(
        &mut self,
        (file, entry): (&str, &Entry),
        segment: Option<Segment>,
        (header, so_far): (&Header, &mut TrackSoFar),
    ) {
        let Some(segment) = segment else {
            so_far.break_off();
            return;
        };
        let path = &entry.resource.path;
        let mut report = self.report.file(path).claiming(header.is_cmaf);
        so_far.again(&segment, &mut report);
        check_extinf(entry, segment.seconds(), &mut self.report.file(file));
    }
}

fn check_extinf(entry: &Entry, measured_s: f64, report: &mut FileReport<'_>) {
    let (line, stated_s) = entry.duration;
    let apart_s = (measured_s - stated_s).abs();
    if apart_s <= EXTINF_TOLERANCE_S {
        return;
    }
    let what = "EXTINF is not the duration of the segment";
    let at = (Place::line(line), what);
    let (measured, stated) = (format!("{measured_s:.6} s"), format!("{stated_s:.6} s"));
    if apart_s <= ROUNDED_S {
        let mut report = report.house();
        report.differs(Rule::HlsExtinf, at, measured, stated);
    } else {
        report.differs(Rule::HlsExtinf, at, measured, stated);
    }
}

fn sample_ticks(so_far: &TrackSoFar) -> Option<(u32, u32, f64)> {
    let (shortest, _) = so_far.durations.first_key_value()?;
    let (longest, _) = so_far.durations.last_key_value()?;
    let samples: u64 = so_far.durations.values().sum();
    let ticks = so_far
        .durations
        .iter()
        .map(|(ticks, count)| u64::from(*ticks) * count);
    Some((
        *shortest,
        *longest,
        ticks.sum::<u64>() as f64 / samples as f64,
    ))
}

/// Samples of which a frame rate is told with an accuracy of a percent.
const ENOUGH_SAMPLES: u64 = 100;

/// Compares what the parameter sets say of the whole stream with what was measured.
fn check_stream(rendition: &Rendition, report: &mut Report) {
    let measured = rendition.header().zip(rendition.sample_ticks);
    let Some((header, (shortest, _, ticks))) = measured else {
        return;
    };
    let avc = header.video().and_then(|video| video.avc.as_ref());
    let Some(sps) = avc.and_then(|avc| avc.sequence.first()) else {
        return;
    };
    let rate = f64::from(header.timescale) / ticks.max(1.0);
    let file = &rendition.playlist.maps[0].path;
    let mut report = report.file(file);
    if let Some(why) = super::h264::beyond_level(sps, rate) {
        report.say(Rule::AvcLevel, Place::FILE, why);
    }
    let samples = rendition
        .segments
        .iter()
        .flatten()
        .map(|s| u64::from(s.samples));
    if let Some((scale, units, true)) = sps.vui.timing
        && samples.sum::<u64>() >= ENOUGH_SAMPLES
    {
        let stated = scale as f64 / units as f64;
        let near = |rate: f64| (stated / rate - 1.0).abs() <= 0.01;
        // The first frame of a video that begins late is held, which slows the average.
        if !near(rate) && !near(f64::from(header.timescale) / f64::from(shortest.max(1))) {
            let at = (Place::FILE, "frames per second");
            report.differs(
                Rule::AvcTiming,
                at,
                format!("{rate:.3}"),
                format!("{stated:.3}"),
            );
        }
    }
}
