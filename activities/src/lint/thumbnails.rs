//! Thumbnails for the bar on which a player seeks: a WebVTT file each of whose cues names a rectangle of
//! a picture, `sheet.jpg#xywh=160,90,160,90`.

use super::media::path_of;
use super::report::{FileReport, Place};
use super::rules::Rule;

/// The longest time in milliseconds that a timestamp may say: more than a year.
const LATEST_MS: u64 = 1 << 35;

/// Width and height in pixels.
pub(super) type Extent = (u32, u32);

/// A rectangle of a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Thumbnail {
    pub(super) line: u32,
    /// Path of the picture.
    pub(super) path: String,
    /// Left, top, width and height in pixels.
    pub(super) rectangle: [u32; 4],
}

/// A cue as it stands there.
struct Cue<'a> {
    line: u32,
    timing: &'a str,
    /// The lines of its text.
    text: Vec<&'a str>,
}

/// Reads an index of thumbnails, and judges everything that it says by itself.
pub(super) fn read(bytes: &[u8], report: &mut FileReport<'_>) -> Vec<Thumbnail> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        report.say(Rule::VttFile, Place::FILE, "it is not UTF-8");
        return Vec::new();
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // Lines end with any of the three.
    let text = &text.replace("\r\n", "\n").replace('\r', "\n");
    let first = text.lines().next().unwrap_or_default();
    let after = first.strip_prefix("WEBVTT");
    if !after.is_some_and(|after| after.is_empty() || after.starts_with([' ', '\t'])) {
        report.say(
            Rule::VttFile,
            Place::line(1),
            "the first line is not WEBVTT",
        );
    }
    let cues = cues(text, report);
    if cues.is_empty() {
        report.say(Rule::VttFile, Place::FILE, "it has no cue");
    }
    check_times(&cues, report);
    let thumbnails = cues.iter().filter_map(|cue| thumbnail(cue, report));
    thumbnails.collect()
}

/// The cues of a file: blocks between blank lines that have a timing line, first or after a name.
fn cues<'a>(text: &'a str, report: &mut FileReport<'_>) -> Vec<Cue<'a>> {
    let mut cues = Vec::new();
    let numbered: Vec<(u32, &str)> = (1..).zip(text.lines()).collect();
    let blocks = numbered.split(|(_, line)| line.is_empty());
    for (n, block) in blocks.enumerate() {
        let Some((line, first)) = block.first() else {
            continue;
        };
        let timing = block.iter().position(|(_, line)| line.contains("-->"));
        match timing {
            // The head of the file, which may go on over several lines.
            None if n == 0 => {}
            None if ["NOTE", "STYLE", "REGION"]
                .iter()
                .filter_map(|kind| first.strip_prefix(kind))
                .any(|after| after.is_empty() || after.starts_with([' ', '\t'])) => {}
            Some(at @ 0..=1) if n > 0 => cues.push(Cue {
                line: block[at].0,
                timing: block[at].1,
                text: block[at + 1..].iter().map(|(_, line)| *line).collect(),
            }),
            Some(_) if n == 0 => {
                let what = "a blank line is missing after the first lines";
                report.say(Rule::VttFile, Place::line(*line), what);
            }
            _ => {
                let what = "this is no cue: its first or second line has to say when it is shown";
                report.say(Rule::VttCue, Place::line(*line), what);
            }
        }
    }
    cues
}

/// Each cue ends after it begins, and they follow each other.
fn check_times(cues: &[Cue<'_>], report: &mut FileReport<'_>) {
    let mut before: Option<(u64, u64)> = None;
    for cue in cues {
        let place = || Place::line(cue.line);
        let Some((start, end)) = times(cue.timing) else {
            let what = "the times are not of the form 00:00:00.000 --> 00:00:01.000";
            report.say(Rule::VttCue, place(), what);
            continue;
        };
        if end <= start {
            report.say(
                Rule::VttCue,
                place(),
                "the cue does not end after it begins",
            );
        }
        let (start_before, end_before) = before.unwrap_or_default();
        if start < start_before {
            report.say(
                Rule::VttOrder,
                place(),
                "the cue begins before the one before it",
            );
        } else if start != end_before {
            let at = (place(), "the time at which the cue before ends");
            let mut house = report.house();
            house.differs(Rule::VttOrder, at, seconds(end_before), seconds(start));
        }
        before = Some((start, end));
    }
}

fn seconds(ms: u64) -> String {
    format!("{:.3} s", ms as f64 / 1e3)
}

/// Both times of a timing line, in milliseconds. Settings may follow.
fn times(timing: &str) -> Option<(u64, u64)> {
    let (start, rest) = timing.split_once("-->")?;
    let is_blank = |c: char| matches!(c, ' ' | '\t');
    if !start.ends_with(is_blank) || !rest.starts_with(is_blank) {
        return None;
    }
    let end = rest.trim_start_matches(is_blank).split(is_blank).next()?;
    Some((time(start.trim_end_matches(is_blank))?, time(end)?))
}

/// `01:02:03.456` or `02:03.456`, in milliseconds.
fn time(text: &str) -> Option<u64> {
    let (clock, ms) = text.split_once('.')?;
    let mut parts = clock.rsplit(':');
    let (second, minute) = (number(parts.next()?, 2..=2)?, number(parts.next()?, 2..=2)?);
    let hour = parts.next().map_or(Some(0), |hour| number(hour, 2..=6))?;
    if parts.next().is_some() || second > 59 || minute > 59 {
        return None;
    }
    let time = ((hour * 60 + minute) * 60 + second) * 1000 + number(ms, 3..=3)?;
    Some(time).filter(|time| *time < LATEST_MS)
}

/// A number of so many digits.
fn number(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<u64> {
    let plain = digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

/// The rectangle that the text of a cue names.
fn thumbnail(cue: &Cue<'_>, report: &mut FileReport<'_>) -> Option<Thumbnail> {
    let place = || Place::line(cue.line);
    let [uri] = cue.text.as_slice() else {
        report.say(
            Rule::VttThumbnail,
            place(),
            "the text of the cue is not one line",
        );
        return None;
    };
    let rectangle = uri
        .split_once('#')
        .and_then(|(_, fragment)| rectangle(fragment));
    let Some(rectangle) = rectangle else {
        let what = "the text of the cue is no URI that ends with #xywh=x,y,width,height";
        report.say(Rule::VttThumbnail, place(), what);
        return None;
    };
    Some(Thumbnail {
        line: cue.line,
        path: path_of(cue.line, uri, report)?,
        rectangle,
    })
}

/// `xywh=x,y,w,h` in pixels, of which the last two are at least 1.
fn rectangle(fragment: &str) -> Option<[u32; 4]> {
    let values = fragment.strip_prefix("xywh=")?;
    let values = values.strip_prefix("pixel:").unwrap_or(values);
    let values: Option<Vec<u32>> = values.split(',').map(pixels).collect();
    let values: [u32; 4] = values?.try_into().ok()?;
    let [.., width, height] = values;
    (width > 0 && height > 0).then_some(values)
}

fn pixels(text: &str) -> Option<u32> {
    u32::try_from(number(text, 1..=6)?).ok()
}

/// Judges a rectangle by the size of its picture.
pub(super) fn check(thumbnail: &Thumbnail, picture: Extent, report: &mut FileReport<'_>) {
    let [x, y, width, height] = thumbnail.rectangle;
    if x + width > picture.0 || y + height > picture.1 {
        let at = (
            Place::line(thumbnail.line),
            "a rectangle within the picture",
        );
        let found = format!("{width}x{height} at {x},{y}");
        let size = format!("{}x{}", picture.0, picture.1);
        report.differs(Rule::VttPicture, at, size, found);
    }
}

/// The size of a picture, if its bytes begin like those of one.
pub(super) fn extent(bytes: &[u8]) -> Option<Extent> {
    let size = imagesize::blob_size(bytes).ok()?;
    Some((
        u32::try_from(size.width).ok()?,
        u32::try_from(size.height).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::super::report::Report;
    use super::super::rules::Profile;
    use super::*;

    /// The rules that a file breaks by itself, and what it names.
    fn judged(text: &str) -> (Vec<Rule>, Vec<Thumbnail>) {
        let mut report = Report::new(Profile::House);
        let thumbnails = read(text.as_bytes(), &mut report.file("a/t.vtt"));
        (
            report.errors().map(|found| found.rule).collect(),
            thumbnails,
        )
    }

    #[test]
    fn everything_that_webvtt_allows_is_read() {
        let text = "\u{feff}WEBVTT a title\r\nKind: metadata\r\n\r\nNOTE by hand\r\n\r\n\
                    first\r\n00:00.000 --> 00:01.000 align:start\r\ns.jpg#xywh=0,0,16,9\r\n\r\n\r\n\
                    00:00:01.000\t-->\t100:00:00.000\r\n../s.jpg#xywh=pixel:16,0,16,9";
        let (rules, thumbnails) = judged(text);
        assert_eq!(rules, []);
        let places: Vec<_> = thumbnails
            .iter()
            .map(|t| (t.line, t.path.as_str()))
            .collect();
        assert_eq!(places, [(7, "a/s.jpg"), (11, "s.jpg")]);
        assert_eq!(thumbnails[1].rectangle, [16, 0, 16, 9]);
    }

    #[test]
    fn lines_end_as_webvtt_has_it_and_notes_are_told_from_names() {
        let text = "WEBVTT\r\rNOTEWORTHY\r00:00.000 --> 00:01.000\rs.jpg#xywh=0,0,1,1\r\rNOTE\rthis is one\r\r\
                    NOTEWORTHY\rthis is none\r";
        let (rules, thumbnails) = judged(text);
        assert_eq!(rules, [Rule::VttCue]);
        assert_eq!(thumbnails.len(), 1);
        assert_eq!(thumbnails[0].line, 4);
    }

    #[test]
    fn times_that_nobody_can_mean_are_refused() {
        for time in [
            "1:00.000",
            "00:60.000",
            "60:00.000",
            "00:00,000",
            "00:00.00",
            "99999999:00:00.000",
        ] {
            let text = format!("WEBVTT\n\n00:00.000 --> {time}\ns.jpg#xywh=0,0,1,1\n");
            assert_eq!(judged(&text).0, [Rule::VttCue], "{time}");
        }
    }
}
