//! Cuts AAC packets into segment files.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use gstreamer as gst;

use crate::media::encoded::{Extent, Outbox, ticks_of};
use crate::media::fmp4::{self, AAC_PACKET_SAMPLES, AudioHeader};
use crate::media::gst::{bug, codec_data};
use crate::media::plan::SEGMENT_NS;
use crate::media::renditions::{AudioFacts, Track};
use crate::tool::ToolError;

/// Packets at the start of the encoder's output that hold only its run-up: `avenc_aac` delays by
/// one packet. With it dropped, packet `n` is heard from sample `1024 n` on, in every player and
/// without an edit list; kept, everything is heard 21 ms late.
const PRIMING_PACKETS: u64 = 1;

/// What the header of the rendition says.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) sample_rate: u32,
    pub(super) channels: u32,
    pub(super) bitrate: u32,
    pub(super) language: String,
}

/// Where segments begin, in packets.
#[derive(Debug)]
pub(super) struct Grid {
    starts: Vec<u64>,
    rate: u32,
    /// Whether segments go on behind the planned ones, so that sound that is longer than
    /// promised does not pile up in the last.
    open: bool,
    last_ns: u64,
}

impl Grid {
    /// The grid of segments that begin at `starts_ns`.
    pub(super) fn new(starts_ns: &[u64], rate: u32, open: bool) -> Self {
        Self {
            starts: starts_ns
                .iter()
                .map(|&ns| nearest_packet(ns, rate))
                .collect(),
            rate,
            open,
            last_ns: starts_ns.last().copied().unwrap_or(0),
        }
    }

    /// First packet of the segment at a place; `None` behind the last segment.
    fn start(&self, place: usize) -> Option<u64> {
        let planned = self.starts.get(place).copied();
        let extra = place.checked_sub(self.starts.len()).filter(|_| self.open);
        // The last planned segment may be longer than the others, but not twice as long.
        planned.or_else(|| {
            extra.map(|extra| {
                nearest_packet(self.last_ns + (extra as u64 + 2) * SEGMENT_NS, self.rate)
            })
        })
    }
}

fn nearest_packet(time_ns: u64, rate: u32) -> u64 {
    let packet = u64::from(AAC_PACKET_SAMPLES);
    (ticks_of(time_ns, rate) + packet / 2) / packet
}

type Packet = gst::MappedBuffer<gst::buffer::Readable>;

/// Collects the packets of one segment, and no more, and writes it when the next one begins.
pub(super) struct PacketWriter {
    facts: Facts,
    grid: Grid,
    outbox: Outbox,
    /// Packets that came from the encoder.
    received: u64,
    /// Place of the segment whose packets are collected.
    place: usize,
    packets: Vec<Packet>,
}

impl PacketWriter {
    pub(super) fn new(facts: Facts, grid: Grid, outbox: Outbox) -> Self {
        Self {
            facts,
            grid,
            outbox,
            received: 0,
            place: 0,
            packets: Vec::new(),
        }
    }

    /// Takes the next packet.
    ///
    /// # Errors
    /// `resource` if the disk is full.
    pub(super) fn push(&mut self, sample: &gst::Sample) -> Result<(), ToolError> {
        if self.received == 0 {
            self.outbox.announce(self.track(sample)?);
        }
        self.received += 1;
        let Some(packet) = self.received.checked_sub(PRIMING_PACKETS + 1) else {
            return Ok(());
        };
        if self.grid.start(self.place + 1) == Some(packet) {
            self.write()?;
            self.place += 1;
        }
        let buffer = sample
            .buffer_owned()
            .ok_or_else(|| bug("a sample without data"))?;
        let data = buffer
            .into_mapped_buffer_readable()
            .map_err(|_| bug("unreadable data"))?;
        self.packets.push(data);
        Ok(())
    }

    /// Writes the last segment of a rendition of `samples` samples. What the encoder gave beyond
    /// them is the run-out of its filter.
    ///
    /// # Errors
    /// As [`PacketWriter::push`].
    pub(super) fn finish(&mut self, samples: u64) -> Result<(), ToolError> {
        let needed = samples.div_ceil(AAC_PACKET_SAMPLES.into());
        let first = self.grid.start(self.place).unwrap_or(0);
        let left = usize::try_from(needed.saturating_sub(first)).unwrap_or(usize::MAX);
        self.packets.truncate(left);
        if self.packets.is_empty() {
            return Ok(());
        }
        self.write()
    }

    fn write(&mut self) -> Result<(), ToolError> {
        let packets = std::mem::take(&mut self.packets);
        let first = self.grid.start(self.place).unwrap_or(0);
        let start_ticks = first * u64::from(AAC_PACKET_SAMPLES);
        let number = self.place as u32 + 1;
        let bytes = fmp4::audio_segment(number, start_ticks, &packets)?;
        let extent = Extent {
            start_ticks,
            duration_ticks: packets.len() as u64 * u64::from(AAC_PACKET_SAMPLES),
            samples: packets.len(),
        };
        self.outbox.write(number, extent, &bytes)
    }

    fn track(&self, sample: &gst::Sample) -> Result<Track, ToolError> {
        let config = codec_data(sample)?;
        let facts = &self.facts;
        let header = AudioHeader {
            sample_rate: facts.sample_rate,
            channels: facts.channels,
            bitrate: facts.bitrate,
            config: &config,
            language: &facts.language,
        };
        Ok(Track {
            name: self.outbox.track.clone(),
            codecs: codecs(&config),
            timescale: facts.sample_rate,
            init_base64: BASE64.encode(fmp4::audio_init(&header)?),
            video: None,
            audio: Some(AudioFacts {
                channels: facts.channels,
                sample_rate: facts.sample_rate,
                language: facts.language.clone(),
            }),
        })
    }
}

/// RFC 6381: MPEG-4 audio and its object type, the first five bits of the configuration.
fn codecs(config: &[u8]) -> String {
    format!("mp4a.40.{}", config.first().map_or(2, |byte| byte >> 3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_begin_at_the_nearest_packet() {
        let grid = Grid::new(&[0, 6_000_000_000, 12_000_000_000], 48_000, false);
        // 6 s are 281.25 packets, 12 s 562.5.
        assert_eq!(grid.start(1), Some(281));
        assert_eq!(grid.start(2), Some(563));
        assert_eq!(grid.start(3), None);
    }

    #[test]
    fn sound_that_goes_on_is_still_cut() {
        let grid = Grid::new(&[0], 48_000, true);
        assert_eq!(grid.start(1), Some(563));
        assert_eq!(grid.start(2), Some(844));
    }
}
