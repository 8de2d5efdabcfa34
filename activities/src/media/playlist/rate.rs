use crate::media::playlist::target_duration;
use crate::media::renditions::Rendition;

/// Measured bit rates of a rendition, in bits per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// The largest rate of any run of segments that lasts 0.5 to 1.5 target durations
    /// (RFC 8216bis, section 4.1).
    pub peak: u64,
    /// All bits over the whole duration.
    pub average: u64,
}

/// Measures a rendition.
#[must_use]
pub fn rates(rendition: &Rendition) -> Rates {
    let whole = run(rendition, 0, rendition.segments.len());
    let average = whole.rate(rendition.track.timescale);
    let peak = peak(rendition).unwrap_or(average);
    Rates { peak, average }
}

/// Bits and ticks of a run of segments.
#[derive(Debug, Clone, Copy)]
struct Run {
    bits: u64,
    ticks: u64,
}

impl Run {
    fn rate(self, timescale: u32) -> u64 {
        (self.bits * u64::from(timescale)).div_ceil(self.ticks.max(1))
    }
}

fn run(rendition: &Rendition, from: usize, to: usize) -> Run {
    let segments = &rendition.segments[from..to];
    Run {
        bits: segments.iter().map(|segment| segment.object.size * 8).sum(),
        ticks: segments.iter().map(|segment| segment.duration_ticks).sum(),
    }
}

/// `None` if the whole rendition is shorter than half a target duration.
fn peak(rendition: &Rendition) -> Option<u64> {
    let timescale = rendition.track.timescale;
    let target = target_duration(rendition) * u64::from(timescale);
    let count = rendition.segments.len();
    let mut peak = None;
    for from in 0..count {
        for to in from + 1..=count {
            let run = run(rendition, from, to);
            if 2 * run.ticks > 3 * target {
                break;
            }
            if 2 * run.ticks >= target {
                peak = peak.max(Some(run.rate(timescale)));
            }
        }
    }
    peak
}
