//! CMAF media segments: `styp`, `moof`, `mdat`.

use mp4_atom::{Encode as _, Mfhd, Moof, Styp, Tfdt, Tfhd, Traf, Trun, TrunEntry, TrunSamples};

use super::{
    AAC_PACKET_SAMPLES, BoxError, DEPENDENT_FLAGS, SYNC_FLAGS, TRACK_ID, container, narrow,
};

/// Size of the header of `mdat`.
const MDAT_HEADER_BYTES: usize = 8;

/// One frame of video.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// Presentation time, in ticks from the start of the presentation.
    pub pts_ticks: u64,
    /// Whether decoding can begin here.
    pub sync: bool,
    /// NAL units with four-byte lengths.
    pub data: &'a [u8],
}

/// A media segment of video.
///
/// `samples` are in decode order and form closed groups of pictures; the first is a keyframe.
/// The segment begins at the smallest presentation time and ends at `end_ticks`.
///
/// # Errors
/// If that does not hold, or frames are reordered further than `reorder_ticks`.
pub fn video_segment(
    number: u32,
    samples: &[Sample<'_>],
    end_ticks: u64,
    reorder_ticks: u32,
) -> Result<Vec<u8>, BoxError> {
    if !samples.first().ok_or(BoxError::Empty)?.sync {
        return Err(BoxError::NoSync);
    }
    let times = decode_times(samples, end_ticks)?;
    let entries = samples
        .iter()
        .zip(times.windows(2))
        .map(|(sample, time)| video_entry(sample, time[0], time[1], reorder_ticks))
        .collect::<Result<_, _>>()?;
    let fragment = Fragment {
        number,
        start_ticks: times[0],
        default_duration: None,
        entries,
    };
    fragment.encode(samples.iter().map(|sample| sample.data))
}

/// A media segment of AAC, whose first packet is presented at `start_ticks` (samples).
///
/// # Errors
/// If there is no packet.
pub fn audio_segment(
    number: u32,
    start_ticks: u64,
    packets: &[impl AsRef<[u8]>],
) -> Result<Vec<u8>, BoxError> {
    if packets.is_empty() {
        return Err(BoxError::Empty);
    }
    let entries = packets.iter().map(audio_entry).collect::<Result<_, _>>()?;
    let fragment = Fragment {
        number,
        start_ticks,
        default_duration: Some(AAC_PACKET_SAMPLES),
        entries,
    };
    fragment.encode(packets.iter().map(AsRef::as_ref))
}

/// Presentation times in rising order, and the end: sample `i` is decoded at the i-th of them.
fn decode_times(samples: &[Sample<'_>], end_ticks: u64) -> Result<Vec<u64>, BoxError> {
    let mut times: Vec<u64> = samples.iter().map(|sample| sample.pts_ticks).collect();
    times.sort_unstable();
    times.push(end_ticks);
    match times.windows(2).find(|pair| pair[0] >= pair[1]) {
        Some(pair) => Err(BoxError::NotRising {
            at: pair[0],
            next: pair[1],
        }),
        None => Ok(times),
    }
}

fn video_entry(
    sample: &Sample<'_>,
    dts: u64,
    next_dts: u64,
    reorder_ticks: u32,
) -> Result<TrunEntry, BoxError> {
    let Some(offset) = (sample.pts_ticks + u64::from(reorder_ticks)).checked_sub(dts) else {
        return Err(BoxError::TooDeep {
            pts: sample.pts_ticks,
            dts,
            reorder: reorder_ticks,
        });
    };
    Ok(TrunEntry {
        duration: Some(narrow(next_dts - dts, "the duration of a frame")?),
        size: Some(narrow(sample.data.len(), "the size of a frame")?),
        flags: Some(if sample.sync {
            SYNC_FLAGS
        } else {
            DEPENDENT_FLAGS
        }),
        cts: Some(narrow(offset, "a composition offset")?.into()),
    })
}

fn audio_entry(packet: &impl AsRef<[u8]>) -> Result<TrunEntry, BoxError> {
    Ok(TrunEntry {
        size: Some(narrow(packet.as_ref().len(), "the size of a packet")?),
        ..TrunEntry::default()
    })
}

/// One `moof` with its `mdat`.
struct Fragment {
    number: u32,
    start_ticks: u64,
    default_duration: Option<u32>,
    entries: Vec<TrunEntry>,
}

impl Fragment {
    fn encode<'a>(self, data: impl Iterator<Item = &'a [u8]>) -> Result<Vec<u8>, BoxError> {
        let bytes: u64 = self
            .entries
            .iter()
            .filter_map(|e| e.size)
            .map(u64::from)
            .sum();
        let mut out = Vec::with_capacity(bytes as usize + 16 * self.entries.len() + 256);
        segment_type().encode(&mut out)?;
        self.write_moof(&mut out)?;
        container(&mut out, b"mdat", |out| {
            data.for_each(|sample| out.extend(sample));
            Ok(())
        })?;
        Ok(out)
    }

    /// Appends the `moof`, whose `data_offset` counts its own size.
    fn write_moof(self, out: &mut Vec<u8>) -> Result<(), BoxError> {
        let start = out.len();
        let mut moof = self.moof();
        moof.encode(out)?;
        let data_offset = narrow(out.len() - start + MDAT_HEADER_BYTES, "size of moof")?;
        moof.traf[0].trun[0].data_offset = i32::try_from(data_offset).ok();
        out.truncate(start);
        moof.encode(out)?;
        Ok(())
    }

    fn moof(self) -> Moof {
        Moof {
            mfhd: Mfhd {
                sequence_number: self.number,
            },
            traf: vec![Traf {
                tfhd: Tfhd {
                    track_id: TRACK_ID,
                    default_sample_duration: self.default_duration,
                    default_base_is_moof: true,
                    ..Tfhd::default()
                },
                tfdt: Some(Tfdt {
                    base_media_decode_time: self.start_ticks,
                }),
                trun: vec![Trun {
                    data_offset: Some(0),
                    samples: TrunSamples::Explicit(self.entries),
                }],
                ..Traf::default()
            }],
        }
    }
}

fn segment_type() -> Styp {
    Styp {
        major_brand: (*b"cmfs").into(),
        minor_version: 0,
        compatible_brands: vec![(*b"cmfs").into(), (*b"msdh").into(), (*b"iso6").into()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mp4_atom::{Any, Decode as _};

    fn sample(pts_ticks: u64, sync: bool) -> Sample<'static> {
        Sample {
            pts_ticks,
            sync,
            data: b"frame",
        }
    }

    fn boxes(segment: &[u8]) -> (Moof, usize) {
        let mut rest = segment;
        let mut moof = None;
        while !rest.is_empty() {
            let at = segment.len() - rest.len();
            match Any::decode(&mut rest).unwrap() {
                Any::Moof(found) => moof = Some((found, at)),
                _ => continue,
            }
        }
        moof.unwrap()
    }

    #[test]
    fn decode_times_are_the_presentation_times_in_order() {
        // I P B B: shown as I B B P.
        let frames = [
            sample(1000, true),
            sample(1300, false),
            sample(1100, false),
            sample(1200, false),
        ];
        let (moof, _) = boxes(&video_segment(7, &frames, 1400, 200).unwrap());
        assert_eq!(moof.mfhd.sequence_number, 7);
        let traf = &moof.traf[0];
        assert_eq!(traf.tfdt.as_ref().unwrap().base_media_decode_time, 1000);
        assert!(traf.tfhd.default_base_is_moof);
        let entries: Vec<_> = traf.trun[0].samples.iter().collect();
        let offsets: Vec<_> = entries.iter().filter_map(|e| e.cts).collect();
        assert_eq!(offsets, [200, 400, 100, 100]);
        assert!(entries.iter().all(|e| e.duration == Some(100)));
        assert_eq!(entries[0].flags, Some(SYNC_FLAGS));
        assert_eq!(entries[1].flags, Some(DEPENDENT_FLAGS));
    }

    #[test]
    fn the_data_offset_points_at_the_first_sample() {
        let segment = video_segment(1, &[sample(0, true)], 10, 0).unwrap();
        let (moof, at) = boxes(&segment);
        let data = at + moof.traf[0].trun[0].data_offset.unwrap() as usize;
        assert_eq!(&segment[data..], b"frame");
    }

    #[test]
    fn the_last_frame_lasts_to_the_end_of_the_segment() {
        let (moof, _) =
            boxes(&video_segment(1, &[sample(0, true), sample(40, false)], 1000, 0).unwrap());
        let last = moof.traf[0].trun[0].samples.get(1).unwrap();
        assert_eq!(last.duration, Some(960));
    }

    #[test]
    fn segments_that_break_the_rules_are_refused() {
        assert_eq!(video_segment(1, &[], 10, 0), Err(BoxError::Empty));
        assert_eq!(
            video_segment(1, &[sample(0, false)], 10, 0),
            Err(BoxError::NoSync)
        );
        assert_eq!(
            video_segment(1, &[sample(5, true)], 5, 0),
            Err(BoxError::NotRising { at: 5, next: 5 })
        );
        let deep = [sample(0, true), sample(20, false), sample(10, false)];
        assert_eq!(
            video_segment(1, &deep, 30, 9),
            Err(BoxError::TooDeep {
                pts: 10,
                dts: 20,
                reorder: 9
            })
        );
        assert!(video_segment(1, &deep, 30, 10).is_ok());
    }

    #[test]
    fn audio_counts_in_samples() {
        let (moof, _) = boxes(&audio_segment(3, 2048, &[b"ab", b"cd"]).unwrap());
        let traf = &moof.traf[0];
        assert_eq!(traf.tfhd.default_sample_duration, Some(1024));
        assert_eq!(traf.tfdt.as_ref().unwrap().base_media_decode_time, 2048);
        assert_eq!(traf.trun[0].samples.len(), 2);
    }
}
