//! Colours of the renditions: standard range, limited levels, and every code point said.

use gstreamer as gst;
use gstreamer_video::{
    VideoColorMatrix, VideoColorPrimaries, VideoColorRange, VideoColorimetry, VideoFrameRef,
    VideoInfo, VideoTransferFunction,
};

use crate::media::colour;
use crate::media::fmp4::Nclx;
use crate::media::report::Colour;

/// RGB that says no more is sRGB: the primaries and, nearly, the curve of high definition, whatever
/// its size.
const HD_HEIGHT: u32 = 1080;

/// How the source's numbers are read, and what the renditions say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Colours {
    /// Of decoded frames, with what the source left open filled in.
    pub(super) source: VideoColorimetry,
    /// Of every rendition.
    pub(super) output: VideoColorimetry,
    /// Whether levels have to be brought from full to limited range, with [`limit`].
    pub(super) full_range: bool,
}

impl Colours {
    /// The colours of decoded frames, given what the source says of itself. What it leaves open
    /// is guessed once for all renditions, by the height at which the source stores its pictures,
    /// as players of the source do; players of the renditions would guess for each by its own.
    pub(super) fn of(info: &VideoInfo, said: &Colour, stored_height: u32) -> Self {
        use {VideoColorMatrix as Matrix, VideoColorRange as Range};
        let height = if info.is_rgb() {
            HD_HEIGHT
        } else {
            stored_height
        };
        let read = colour::yuv(said, height);
        // `videoconvertscale` 1.22 leaves the levels of YUV alone unless the matrix changes too,
        // and is then two levels off, so it is told that they are limited; `limit` makes it true.
        let (matrix, range) = if info.is_rgb() {
            (Matrix::Rgb, Range::Range0_255)
        } else {
            (read.matrix(), Range::Range16_235)
        };
        let source = VideoColorimetry::new(range, matrix, read.transfer(), read.primaries());
        Self {
            source,
            output: delivered(source),
            full_range: !info.is_rgb() && read.range() == Range::Range0_255,
        }
    }

    /// Whether the gamut itself has to be converted, not only the numbers.
    pub(super) fn converts_gamut(&self) -> bool {
        self.source.primaries() != self.output.primaries()
    }

    /// Code points of the renditions.
    pub(super) fn nclx(&self) -> Nclx {
        /// "Unspecified" in every table of ISO/IEC 23091-2.
        const UNSPECIFIED: u16 = 2;
        let code = |iso: u32| u16::try_from(iso).unwrap_or(UNSPECIFIED);
        Nclx {
            primaries: code(self.output.primaries().to_iso()),
            transfer: code(self.output.transfer().to_iso()),
            matrix: code(self.output.matrix().to_iso()),
        }
    }
}

/// Limited levels; standard definition keeps its matrix, which costs nothing, and everything that
/// is not common in H.264 becomes BT.709.
fn delivered(source: VideoColorimetry) -> VideoColorimetry {
    use VideoTransferFunction as Transfer;
    use {VideoColorMatrix as Matrix, VideoColorPrimaries as Primaries};
    let matrix = match source.matrix() {
        Matrix::Bt601 => Matrix::Bt601,
        _ => Matrix::Bt709,
    };
    // The curves of BT.2020 in standard range are those of BT.709.
    let transfer = match source.transfer() {
        Transfer::Bt202010 | Transfer::Bt202012 => Transfer::Bt709,
        transfer => transfer,
    };
    let primaries = match source.primaries() {
        Primaries::Bt2020 => Primaries::Bt709,
        primaries => primaries,
    };
    VideoColorimetry::new(VideoColorRange::Range16_235, matrix, transfer, primaries)
}

/// Brings the levels of an I420 frame from full to limited range (ITU-R BT.601, 2.5.1): about a
/// millisecond for 1080p.
///
/// # Errors
/// If the buffer is no frame of that format.
pub(super) fn limit(
    buffer: &mut gst::Buffer,
    info: &VideoInfo,
) -> Result<(), gst::glib::BoolError> {
    let mut frame = VideoFrameRef::from_buffer_ref_writable(buffer.make_mut(), info)?;
    let (luma, chroma) = (limited_levels(219), limited_levels(224));
    for plane in 0..info.n_planes() {
        let levels = if plane == 0 { &luma } else { &chroma };
        for level in frame.plane_data_mut(plane)? {
            *level = levels[usize::from(*level)];
        }
    }
    Ok(())
}

/// Levels from 0 to 255 squeezed into `span` levels: from 16 on for luma, around 128 for chroma.
fn limited_levels(span: u32) -> [u8; 256] {
    std::array::from_fn(|level| {
        // Both ranges have their lowest level at 16; the middle of chroma, 128, stays.
        let scaled = (level as u32 * span * 2 + 255) / (2 * 255);
        u8::try_from(16 + scaled).unwrap_or(u8::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use gstreamer_video::VideoFormat;

    fn colours(height: u32, matrix: &str, transfer: &str, range: &str) -> Colours {
        gstreamer::init().unwrap();
        let info = VideoInfo::builder(VideoFormat::I420, 640, height)
            .build()
            .unwrap();
        let said = |word: &str| (!word.is_empty()).then(|| word.to_owned());
        let colour = Colour {
            primaries: said(if matrix.starts_with("bt2020") {
                "bt2020"
            } else {
                ""
            }),
            transfer: said(transfer),
            matrix: said(matrix),
            range: said(range),
            peak_nits: None,
        };
        Colours::of(&info, &colour, height)
    }

    #[test]
    fn full_range_is_delivered_in_limited_range() {
        let colours = colours(480, "", "", "full");
        assert!(colours.full_range);
        assert_eq!(colours.output.range(), VideoColorRange::Range16_235);
        let said = Nclx {
            primaries: 6,
            transfer: 6,
            matrix: 6,
        };
        assert_eq!(colours.nclx(), said);
    }

    #[test]
    fn levels_of_full_range_become_those_of_limited_range() {
        let (luma, chroma) = (limited_levels(219), limited_levels(224));
        assert_eq!([luma[0], luma[128], luma[255]], [16, 126, 235]);
        assert_eq!([chroma[0], chroma[128], chroma[255]], [16, 128, 240]);
    }

    #[test]
    fn wide_gamut_in_standard_range_becomes_bt709() {
        let colours = colours(1080, "bt2020nc", "", "");
        assert!(colours.converts_gamut());
        let said = Nclx {
            primaries: 1,
            transfer: 1,
            matrix: 1,
        };
        assert_eq!(colours.nclx(), said);
    }
}
