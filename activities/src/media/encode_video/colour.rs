//! Colour of the renditions: standard range, limited levels, and every code point said.

use gstreamer_video::{
    VideoColorMatrix, VideoColorPrimaries, VideoColorRange, VideoColorimetry, VideoInfo,
    VideoTransferFunction,
};

use crate::media::fmp4::Nclx;
use crate::tool::ToolError;

/// Pictures without a description are taken for high definition above this height, as decoders
/// do: the lines of PAL.
const SD_HEIGHT: u32 = 576;

/// How the source's numbers are read, and what the renditions say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Colours {
    /// Of decoded frames, with what the source left open filled in.
    pub(super) source: VideoColorimetry,
    /// Of every rendition.
    pub(super) output: VideoColorimetry,
}

impl Colours {
    /// The colours for frames of a format. What the source does not say is guessed once for all
    /// renditions: players would guess for each by its own height.
    ///
    /// # Errors
    /// `input` for high dynamic range, which 8-bit renditions cannot show.
    pub(super) fn of(info: &VideoInfo) -> Result<Self, ToolError> {
        let said = info.colorimetry();
        if is_high_dynamic_range(said.transfer()) {
            return Err(ToolError::input(
                "hdr_unsupported",
                "the source has high dynamic range, which is not supported: supply a standard range version",
            ));
        }
        let source = completed(said, info.height() > SD_HEIGHT);
        Ok(Self {
            source,
            output: delivered(source),
        })
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

fn is_high_dynamic_range(transfer: VideoTransferFunction) -> bool {
    use VideoTransferFunction as Transfer;
    matches!(transfer, Transfer::Smpte2084 | Transfer::AribStdB67)
}

fn completed(said: VideoColorimetry, hd: bool) -> VideoColorimetry {
    use {VideoColorMatrix as Matrix, VideoColorPrimaries as Primaries};
    use {VideoColorRange as Range, VideoTransferFunction as Transfer};
    let matrix = match said.matrix() {
        Matrix::Unknown if hd => Matrix::Bt709,
        Matrix::Unknown => Matrix::Bt601,
        matrix => matrix,
    };
    let sd = matrix == Matrix::Bt601;
    let range = match said.range() {
        Range::Unknown => Range::Range16_235,
        range => range,
    };
    let transfer = match said.transfer() {
        Transfer::Unknown if sd => Transfer::Bt601,
        Transfer::Unknown => Transfer::Bt709,
        transfer => transfer,
    };
    let primaries = match said.primaries() {
        Primaries::Unknown if sd => Primaries::Smpte170m,
        Primaries::Unknown => Primaries::Bt709,
        primaries => primaries,
    };
    VideoColorimetry::new(range, matrix, transfer, primaries)
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

#[cfg(test)]
mod tests {
    use super::*;
    use gstreamer_video::VideoFormat;

    fn colours(height: u32, colorimetry: &str) -> Result<Colours, ToolError> {
        gstreamer::init().unwrap();
        let info = VideoInfo::builder(VideoFormat::I420, 640, height)
            .colorimetry(&colorimetry.parse().unwrap())
            .build()
            .unwrap();
        Colours::of(&info)
    }

    #[test]
    fn full_range_is_delivered_in_limited_range() {
        let colours = colours(480, "1:4:0:0").unwrap();
        assert_eq!(colours.source.range(), VideoColorRange::Range0_255);
        assert_eq!(colours.output.range(), VideoColorRange::Range16_235);
        let said = Nclx {
            primaries: 6,
            transfer: 6,
            matrix: 6,
        };
        assert_eq!(colours.nclx(), said);
    }

    #[test]
    fn wide_gamut_in_standard_range_becomes_bt709() {
        let colours = colours(1080, "bt2020").unwrap();
        assert!(colours.converts_gamut());
        let said = Nclx {
            primaries: 1,
            transfer: 1,
            matrix: 1,
        };
        assert_eq!(colours.nclx(), said);
    }

    #[test]
    fn high_dynamic_range_is_refused() {
        assert_eq!(
            colours(1080, "bt2100-pq").unwrap_err().code,
            "hdr_unsupported"
        );
    }
}
