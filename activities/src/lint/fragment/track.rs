use std::collections::BTreeMap;

use super::super::header::{Header, Media};
use super::super::report::{FileReport, Place};
use super::super::rules::Rule;
use super::run::Sample;
use super::{Fragment, Segment};

/// Different durations of samples that are counted; a constant rate has two at most.
const MAX_DURATIONS: usize = 1000;

/// What the fragments of a track so far have in common.
#[derive(Debug, Default)]
pub(in crate::lint) struct TrackSoFar {
    /// Where the next fragment has to begin.
    next_start: Option<u64>,
    number: Option<u32>,
    /// How much later than it is decoded a segment is shown, with the edit applied.
    delay: Option<i64>,
    /// When the samples of the segment are shown.
    shown: Vec<i64>,
    /// How often samples last how long.
    pub(in crate::lint) durations: BTreeMap<u32, u64>,
    pub(in crate::lint) pictures: super::video::Pictures,
}

impl TrackSoFar {
    /// Something is left out: times and numbers need not go on from here.
    pub(in crate::lint) fn break_off(&mut self) {
        self.next_start = None;
        self.number = None;
    }

    /// Other material follows, of which nothing can be told from what was before.
    pub(in crate::lint) fn start_anew(&mut self) {
        self.break_off();
        self.delay = None;
        self.pictures = super::video::Pictures::default();
    }

    /// A segment comes again that was read before: of that, only whether it goes on from what is
    /// before it is new.
    pub(in crate::lint) fn again(&mut self, segment: &Segment, report: &mut FileReport<'_>) {
        if let Some(expected) = self.next_start {
            let at = (Place::FILE, "the decode time");
            report.equal(Rule::CmafGap, at, expected, segment.start);
        }
        self.next_start = segment.start.checked_add(segment.duration);
        self.number = None;
    }

    pub(super) fn check(
        &mut self,
        fragment: &Fragment,
        header: &Header,
        begins_segment: bool,
        report: &mut FileReport<'_>,
    ) {
        let place = || fragment.place.clone();
        if let Some(before) = self.number.filter(|before| *before >= fragment.number) {
            let at = (place(), "the sequence number");
            let (rule, expected) = (Rule::CmafSequenceNumber, format!("more than {before}"));
            report.differs(rule, at, expected, fragment.number);
        }
        self.number = Some(fragment.number);
        if let Some(expected) = self.next_start {
            let at = (place(), "the decode time");
            report.equal(Rule::CmafGap, at, expected, fragment.start);
        }
        let duration: u64 = fragment.samples.iter().map(|s| u64::from(s.duration)).sum();
        self.next_start = fragment.start.checked_add(duration);
        for sample in &fragment.samples {
            if self.durations.len() < MAX_DURATIONS || self.durations.contains_key(&sample.duration)
            {
                *self.durations.entry(sample.duration).or_default() += 1;
            }
        }
        check_samples(fragment, header, begins_segment, report);
        if begins_segment {
            self.shown.clear();
        }
        self.shown.extend(shown(fragment));
    }

    /// What only a whole segment tells: a picture of one fragment may be shown in the next.
    pub(super) fn end_segment(
        &mut self,
        segment: &Segment,
        header: &Header,
        (place, report): (&Place, &mut FileReport<'_>),
    ) {
        if let Media::Video(video) = &header.media
            && let Some(avc) = &video.avc
        {
            self.pictures.check_order(avc, place, report);
        }
        self.shown.sort_unstable();
        let (Some(first), Some(last)) = (self.shown.first(), self.shown.last()) else {
            return;
        };
        let rule = Rule::CmafPresentation;
        if self.shown.windows(2).any(|pair| pair[0] == pair[1]) {
            report.say(rule, place.clone(), "two samples are shown at one time");
        }
        if last.saturating_sub_unsigned(segment.duration) >= *first {
            let what = "a sample is shown after the end of the segment";
            report.say(rule, place.clone(), what);
        }
        let Some(edit) = header.edit_start else {
            return;
        };
        let delay = first.saturating_sub_unsigned(edit);
        let delay = delay.saturating_sub_unsigned(segment.start);
        let what = "ticks between decoding and showing the first sample";
        let at = (place.clone(), what);
        match self.delay {
            Some(expected) => report.equal(rule, at, expected, delay),
            None => {
                if header.video().is_some() {
                    report.equal(Rule::CmafEditList, at, 0, delay);
                }
                self.delay = Some(delay);
            }
        }
    }
}

/// When samples are shown, without the edit, in order of decoding.
pub(super) fn shown(fragment: &Fragment) -> Vec<i64> {
    let mut decoded = fragment.start as i64;
    let times = fragment.samples.iter().map(|sample| {
        let shown = decoded.saturating_add(sample.offset);
        decoded = decoded.saturating_add(sample.duration.into());
        shown
    });
    times.collect()
}

fn check_samples(
    fragment: &Fragment,
    header: &Header,
    begins_segment: bool,
    report: &mut FileReport<'_>,
) {
    let place = || fragment.place.clone();
    let said = |number: usize, what: &str| format!("{what} (sample {})", number + 1);
    let samples = || fragment.samples.iter().enumerate();
    if let Some((number, _)) = samples().find(|(_, sample)| sample.duration == 0) {
        report.say(
            Rule::CmafSampleDuration,
            place(),
            said(number, "a sample lasts no time"),
        );
    }
    if begins_segment
        && fragment
            .samples
            .first()
            .is_some_and(|sample| !sample.is_sync())
    {
        let what = "decoding cannot begin with the first sample";
        report.say(Rule::CmafSync, place(), what);
    }
    for (number, sample) in samples() {
        if let Some(what) = contradiction(sample, &header.media) {
            report.say(Rule::CmafSampleFlags, place(), said(number, what));
            break;
        }
    }
    if let Media::Audio(audio) = &header.media
        && let Some(config) = audio.config
    {
        check_packets(
            fragment,
            (config.packet, config.rate, header.timescale),
            report,
        );
    }
}

/// What is wrong with the flags of a sample.
fn contradiction(sample: &Sample, media: &Media) -> Option<&'static str> {
    let is_audio = matches!(media, Media::Audio(_));
    if sample.flags >> 28 != 0 {
        Some("reserved bits of the flags are not zero")
    } else if sample.is_sync() && sample.depends_on() == 1 {
        Some("decoding can begin with a sample that depends on others")
    } else if sample.depends_on() == 3 {
        Some("what the sample depends on has no meaning")
    } else if is_audio && !sample.is_sync() {
        Some("decoding cannot begin with a packet of sound")
    } else {
        None
    }
}

/// All packets last equally long, but the last of a track may be cut short.
fn check_packets(
    fragment: &Fragment,
    (packet, rate, timescale): (u32, u32, u32),
    report: &mut FileReport<'_>,
) {
    // Nothing else is exact where the timescale is not the sample rate.
    let expected = u64::from(packet) * u64::from(timescale) / u64::from(rate.max(1));
    if u64::from(packet) * u64::from(timescale) % u64::from(rate.max(1)) != 0 {
        return;
    }
    let Some((_, whole)) = fragment.samples.split_last() else {
        return;
    };
    let odd = whole
        .iter()
        .find(|sample| u64::from(sample.duration) != expected);
    let last = fragment.samples.last();
    let long = last.filter(|sample| u64::from(sample.duration) > expected);
    if let Some(sample) = odd.or(long) {
        let at = (fragment.place.clone(), "the duration of a packet");
        report.equal(Rule::AacPacket, at, expected, sample.duration.into());
    }
}
