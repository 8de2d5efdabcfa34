//! High dynamic range as standard range: pictures in PQ (HDR10) and in HLG become those of BT.709 that
//! everything shows.
//!
//! A colour goes through light and back. PQ and HLG say how much light (`curves`); what BT.709 does not have
//! is mixed with grey of the same luminance; what is brighter than a display of standard range is rolled
//! off, by the brightest of red, green and blue, so that hues stay (`light`). As most of this is slow, it is
//! computed for a grid of colours (`cube`), and between them taken for linear: 27 ms of CPU for a frame
//! of 1080p, a quarter of what computing each pixel takes, on a busy machine.
//!
//! What a frame becomes depends on that frame and on what the probe recorded, on nothing else: chunks
//! that are made elsewhere or later are the same.

mod cube;
mod curves;
mod light;

use gstreamer as gst;
use gstreamer::glib::{BoolError, bool_error};
use gstreamer_video::prelude::*;
use gstreamer_video::video_frame::{Readable, Writable};
use gstreamer_video::{
    VideoColorMatrix as Matrix, VideoColorPrimaries as Primaries, VideoColorRange as Range,
    VideoColorimetry, VideoConverter, VideoConverterConfig, VideoDitherMethod, VideoFormat,
    VideoFrame, VideoInfo, VideoInterlaceMode, VideoTransferFunction as Transfer,
};

use self::cube::{Cube, Place};
use self::light::Source;
use super::report::Colour;

/// How pictures of one source become standard range.
#[derive(Debug)]
pub(crate) struct Tone {
    cube: Cube,
    /// How it reads numbers.
    range: Range,
    matrix: Matrix,
    /// Whether the source says that its numbers are red, green and blue.
    rgb: bool,
}

/// A kind of high dynamic range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HighRange {
    /// PQ.
    Hdr10,
    Hlg,
}

/// What pictures say of their colours once they went through [`Tone`]; of a source in standard range,
/// what it says itself.
pub(crate) fn shown(colour: &Colour) -> Colour {
    if kind(colour).is_none() {
        return colour.clone();
    }
    let bt709 = Some("bt709".to_owned());
    Colour {
        primaries: bt709.clone(),
        transfer: bt709.clone(),
        matrix: bt709,
        range: Some("limited".to_owned()),
        peak_nits: None,
    }
}

/// The kind of high dynamic range; `None` for standard range.
pub(crate) fn kind(colour: &Colour) -> Option<HighRange> {
    match colour.transfer.as_deref() {
        Some("smpte2084") => Some(HighRange::Hdr10),
        Some("arib-std-b67") => Some(HighRange::Hlg),
        _ => None,
    }
}

impl Tone {
    /// For a source that says these colours; `None` if it is in standard range. Takes
    /// 80 ms of CPU.
    pub(crate) fn of(said: &Colour) -> Option<Self> {
        let source = Source::of(said)?;
        Some(Self {
            cube: Cube::of(|levels| source.standard(levels)),
            range: source.range,
            matrix: source.matrix,
            rgb: said.matrix.as_deref() == Some("gbr"),
        })
    }

    /// Formats to ask for where pictures are converted before they get here: in another one, colours could have
    /// become numbers in another way than the source says.
    pub(crate) fn formats(&self) -> &'static [VideoFormat] {
        match self.rgb {
            true => &[VideoFormat::Gbr, VideoFormat::Gbr10le, VideoFormat::Gbr12le],
            false => &[VideoFormat::I420, VideoFormat::I42010le],
        }
    }

    /// The format of pictures that went through it: fields have become pictures before.
    ///
    /// # Errors
    /// If there is none of this size.
    pub(crate) fn info(source: &VideoInfo) -> Result<VideoInfo, BoolError> {
        let bt709 = VideoColorimetry::new(
            Range::Range16_235,
            Matrix::Bt709,
            Transfer::Bt709,
            Primaries::Bt709,
        );
        VideoInfo::builder(VideoFormat::I420, source.width(), source.height())
            .fps(source.fps())
            .par(source.par())
            .interlace_mode(VideoInterlaceMode::Progressive)
            .colorimetry(&bt709)
            .build()
    }

    /// Makes a picture of standard range, without times or flags, and says its format, that of
    /// [`Self::info`]. What is not I420 of eight or ten bits is converted to that first.
    ///
    /// # Errors
    /// If the buffer is no picture of that format.
    pub(crate) fn map(
        &self,
        picture: &gst::Buffer,
        info: &VideoInfo,
    ) -> Result<(gst::Buffer, VideoInfo), BoolError> {
        let source = VideoFrame::from_buffer_readable(picture.clone(), info);
        let mut source = source.map_err(|_| unmapped())?;
        if !matches!(info.format(), VideoFormat::I420 | VideoFormat::I42010le) {
            source = self.planar(&source, info)?;
        }
        let target = Self::info(info)?;
        let mut shown = empty(&target)?;
        self.map_planes(&source, &mut shown)?;
        Ok((shown.into_buffer(), target))
    }

    /// Converts the format of a picture and none of its colours, except that RGB becomes what the table is for: to
    /// I420 of ten bits, or of eight if it has no more, since what converts would take the middle of chroma
    /// for a level above it.
    fn planar(
        &self,
        picture: &VideoFrame<Readable>,
        info: &VideoInfo,
    ) -> Result<VideoFrame<Readable>, BoolError> {
        let said = info.colorimetry();
        let (colorimetry, format) = if info.is_rgb() {
            let read =
                VideoColorimetry::new(self.range, self.matrix, said.transfer(), said.primaries());
            (read, VideoFormat::I42010le)
        } else if info.comp_depth(0) <= 8 {
            (said, VideoFormat::I420)
        } else {
            (said, VideoFormat::I42010le)
        };
        let target = VideoInfo::builder(format, info.width(), info.height())
            .fps(info.fps())
            .par(info.par())
            .interlace_mode(info.interlace_mode())
            .chroma_site(info.chroma_site())
            .colorimetry(&colorimetry)
            .build()?;
        let mut config = VideoConverterConfig::new();
        config.set_dither_method(VideoDitherMethod::None);
        let mut planar = empty(&target)?;
        VideoConverter::new(info, &target, Some(config))?.frame(picture, &mut planar);
        VideoFrame::from_buffer_readable(planar.into_buffer(), &target).map_err(|_| unmapped())
    }

    fn map_planes(
        &self,
        source: &VideoFrame<Readable>,
        shown: &mut VideoFrame<Writable>,
    ) -> Result<(), BoolError> {
        let planes = Planes::of(source, self.range == Range::Range0_255)?;
        let strides = [0, 1, 2].map(|plane| shown.plane_stride()[plane] as usize);
        let [luma, cb, cr, _] = shown.planes_data_mut();
        let chroma = cb.chunks_mut(strides[1]).zip(cr.chunks_mut(strides[2]));
        let pairs = luma.chunks_mut(2 * strides[0]).zip(chroma);
        let mut rows = Rows::default();
        for (pair, (luma, (cb, cr))) in pairs.take(planes.pairs()).enumerate() {
            planes.read(pair, &mut rows);
            for (shown, ys) in luma.chunks_mut(strides[0]).zip(&rows.luma) {
                self.map_luma(ys, &rows.chroma, shown);
            }
            self.map_chroma(&rows, cb, cr);
        }
        Ok(())
    }

    fn map_luma(&self, ys: &[u16], chroma: &[Place], shown: &mut [u8]) {
        let pairs = shown.chunks_mut(2).zip(ys.chunks(2));
        for ((shown, ys), place) in pairs.zip(chroma) {
            for (shown, y) in shown.iter_mut().zip(ys) {
                *shown = self.cube.luma(*y, place);
            }
        }
    }

    /// Chroma stands for four pixels: that of their mean luma.
    fn map_chroma(&self, rows: &Rows, cb: &mut [u8], cr: &mut [u8]) {
        let [above, below] = &rows.luma;
        let lumas = above.chunks(2).zip(below.chunks(2));
        for (((cb, cr), (above, below)), place) in
            cb.iter_mut().zip(cr).zip(lumas).zip(&rows.chroma)
        {
            let sum: u16 = above.iter().chain(below).sum();
            let count = 2 * above.len() as u16;
            [*cb, *cr] = self.cube.chroma((sum + count / 2) / count, place);
        }
    }
}

/// The planes of a picture with eight or ten bits.
struct Planes<'a> {
    bytes: [&'a [u8]; 3],
    strides: [usize; 3],
    width: usize,
    height: usize,
    ten_bits: bool,
    full_range: bool,
}

/// Two rows of luma and the row of chroma that they share; ten bits.
#[derive(Default)]
struct Rows {
    luma: [Vec<u16>; 2],
    cb: Vec<u16>,
    cr: Vec<u16>,
    chroma: Vec<Place>,
}

impl<'a> Planes<'a> {
    fn of(picture: &'a VideoFrame<Readable>, full_range: bool) -> Result<Self, BoolError> {
        Ok(Self {
            bytes: [
                picture.plane_data(0)?,
                picture.plane_data(1)?,
                picture.plane_data(2)?,
            ],
            strides: [0, 1, 2].map(|plane| picture.plane_stride()[plane] as usize),
            width: picture.width() as usize,
            height: picture.height() as usize,
            ten_bits: picture.format() == VideoFormat::I42010le,
            full_range,
        })
    }

    fn pairs(&self) -> usize {
        self.height.div_ceil(2)
    }

    fn read(&self, pair: usize, rows: &mut Rows) {
        let last = self.height - 1;
        let [above, below] = &mut rows.luma;
        self.row(0, 2 * pair, self.width, above);
        self.row(0, (2 * pair + 1).min(last), self.width, below);
        let width = self.width.div_ceil(2);
        self.row(1, pair, width, &mut rows.cb);
        self.row(2, pair, width, &mut rows.cr);
        rows.chroma.clear();
        let chroma = rows.cb.iter().zip(&rows.cr);
        rows.chroma
            .extend(chroma.map(|(cb, cr)| Place::of(*cb, *cr)));
    }

    fn row(&self, plane: usize, row: usize, width: usize, into: &mut Vec<u16>) {
        let bytes = &self.bytes[plane][row * self.strides[plane]..];
        into.clear();
        if self.ten_bits {
            let (samples, _) = bytes[..2 * width].as_chunks();
            into.extend(
                samples
                    .iter()
                    .map(|sample| u16::from_le_bytes(*sample).min(1023)),
            );
        } else {
            // The highest level of full range is that of ten bits; of limited range it is four times
            // that of eight.
            // Chroma keeps its middle.
            let is_spread = self.full_range && plane == 0;
            let low_bits = |level: u16| if is_spread { level >> 6 } else { 0 };
            let levels = bytes[..width].iter().map(|level| u16::from(*level));
            into.extend(levels.map(|level| level << 2 | low_bits(level)));
        }
    }
}

fn empty(info: &VideoInfo) -> Result<VideoFrame<Writable>, BoolError> {
    let buffer = gst::Buffer::with_size(info.size())?;
    VideoFrame::from_buffer_writable(buffer, info).map_err(|_| unmapped())
}

fn unmapped() -> BoolError {
    bool_error!("the memory of a picture cannot be used")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(transfer: &str, range: &str) -> Colour {
        let word = |word: &str| Some(word.to_owned());
        Colour {
            primaries: word("bt2020"),
            transfer: word(transfer),
            matrix: word("bt2020nc"),
            range: word(range),
            peak_nits: None,
        }
    }

    /// A format, and a frame with the same bytes in every row of a plane.
    fn frame(
        format: VideoFormat,
        width: u32,
        height: u32,
        rows: [&[u8]; 3],
    ) -> (gst::Buffer, VideoInfo) {
        gst::init().unwrap();
        let info = VideoInfo::builder(format, width, height).build().unwrap();
        let mut frame = empty(&info).unwrap();
        for (plane, row) in (0..info.n_planes()).zip(rows) {
            let stride = frame.plane_stride()[plane as usize] as usize;
            for line in frame.plane_data_mut(plane).unwrap().chunks_mut(stride) {
                line[..row.len()].copy_from_slice(row);
            }
        }
        (frame.into_buffer(), info)
    }

    /// Frames of grey codes, one column of two pixels each.
    fn greys(codes: &[u16]) -> (gst::Buffer, VideoInfo) {
        let wide = |codes: &[u16]| {
            codes
                .iter()
                .flat_map(|code| code.to_le_bytes())
                .collect::<Vec<_>>()
        };
        let luma: Vec<u16> = codes.iter().flat_map(|code| [*code; 2]).collect();
        let chroma = wide(&vec![512; codes.len()]);
        let width = luma.len() as u32;
        frame(
            VideoFormat::I42010le,
            width,
            2,
            [&wide(&luma), &chroma, &chroma],
        )
    }

    /// The first row of each plane of a frame that was mapped.
    fn mapped(said: &Colour, (picture, info): &(gst::Buffer, VideoInfo)) -> [Vec<u8>; 3] {
        let tone = Tone::of(said).unwrap();
        let (shown, info) = tone.map(picture, info).unwrap();
        let shown = VideoFrame::from_buffer_readable(shown, &info).unwrap();
        [0, 1, 2].map(|plane| {
            let width = shown.comp_width(plane) as usize;
            shown.plane_data(plane).unwrap()[..width].to_vec()
        })
    }

    #[test]
    fn greys_stay_grey_and_in_order() {
        let codes: Vec<u16> = (0..1024).collect();
        for transfer in ["smpte2084", "arib-std-b67"] {
            let [luma, cb, cr] = mapped(&said(transfer, "limited"), &greys(&codes));
            assert!(luma.is_sorted(), "{transfer}: {luma:?}");
            assert_eq!((luma[2 * 64], luma[2 * 940]), (16, 235), "{transfer}");
            let neutral = cb
                .iter()
                .chain(&cr)
                .all(|level| (127..=129).contains(level));
            assert!(neutral, "{transfer}");
        }
    }

    #[test]
    fn reference_white_is_nearly_white_and_what_is_dark_is_as_it_was() {
        // 203 and 10 cd/m² in both.
        for (transfer, codes) in [("smpte2084", [573, 327]), ("arib-std-b67", [721, 287])] {
            let [luma, ..] = mapped(&said(transfer, "limited"), &greys(&codes));
            let (white, dark) = (luma[0], luma[2]);
            assert!((205..=225).contains(&white), "{transfer}: {white}");
            let right = 16.0 + 219.0 * (10.0_f64 / 203.0).powf(1.0 / 2.4);
            assert!(
                (f64::from(dark) - right).abs() <= 1.5,
                "{transfer}: {dark} is not {right:.1}"
            );
        }
    }

    #[test]
    fn a_darker_peak_leaves_more_of_the_bright() {
        let greys = greys(&[573]);
        let white = |peak_nits| {
            let said = said("smpte2084", "limited");
            mapped(&Colour { peak_nits, ..said }, &greys)[0][0]
        };
        assert!(white(Some(400)) > white(None) && white(None) > white(Some(4000)));
        assert_eq!(white(Some(1000)), white(None));
        assert_eq!(white(Some(1)), white(Some(400)), "nobody believes that");
    }

    #[test]
    fn levels_are_read_as_their_range_and_depth_say() {
        let [limited, full] = ["limited", "full"].map(|range| said("smpte2084", range));
        let ten = mapped(&limited, &greys(&[64, 500, 940]));
        let eight = frame(
            VideoFormat::I420,
            6,
            2,
            [&[16, 16, 125, 125, 235, 235], &[128; 3], &[128; 3]],
        );
        assert_eq!(mapped(&limited, &eight), ten);
        let [_, cb, cr] = mapped(&full, &eight);
        assert_eq!([cb, cr], [[128; 3]; 2], "grey stays grey");
        let full_ten = mapped(&full, &greys(&[0, 509, 1023]));
        for (a, b) in full_ten.iter().flatten().zip(ten.iter().flatten()) {
            assert!(a.abs_diff(*b) <= 1, "{full_ten:?} {ten:?}");
        }
    }

    #[test]
    fn other_formats_are_converted_and_sizes_may_be_odd() {
        let said = said("arib-std-b67", "limited");
        let ten = mapped(&said, &greys(&[500; 3]));
        let row = |code: u16, width: usize| code.to_le_bytes().repeat(width);
        let rows = [row(2000, 5), row(2048, 5), row(2048, 5)];
        let twelve = frame(VideoFormat::Y44412le, 5, 3, [&rows[0], &rows[1], &rows[2]]);
        let converted = mapped(&said, &twelve);
        assert_eq!(converted.each_ref().map(Vec::len), [5, 3, 3]);
        assert_eq!(converted[0], ten[0][..5]);
        assert_eq!(converted[1..], ten[1..]);
        let luma = [90, 120, 150, 180, 210, 235];
        let planar = [&luma[..], &[100, 128, 150], &[90, 128, 140]];
        let chroma = [100, 90, 128, 128, 150, 140];
        let planar = frame(VideoFormat::I420, 6, 2, planar);
        let paired = frame(VideoFormat::Nv12, 6, 2, [&luma, &chroma, &[]]);
        assert_eq!(mapped(&said, &paired), mapped(&said, &planar));
    }

    #[test]
    fn rgb_is_the_same_whatever_its_container_says_of_a_matrix() {
        let row = |code: u16| code.to_le_bytes().repeat(4);
        let colour = [600_u16, 400, 500];
        let [r, g, b] = colour.map(row);
        let (picture, info) = frame(VideoFormat::Gbr10le, 4, 2, [&g, &b, &r]);
        let [r, g, b] = colour.map(|code| f64::from(code) / 1023.0);
        let y = 0.2627 * r + 0.678 * g + 0.0593 * b;
        let chroma = [(b - y) / 1.8814, (r - y) / 1.4746];
        let row = |code: f64, width: usize| (code.round() as u16).to_le_bytes().repeat(width);
        let planes = [
            row(64.0 + 876.0 * y, 4),
            row(512.0 + 896.0 * chroma[0], 2),
            row(512.0 + 896.0 * chroma[1], 2),
        ];
        let planes = planes.each_ref().map(Vec::as_slice);
        let right = frame(VideoFormat::I42010le, 4, 2, planes);
        let right = mapped(&said("smpte2084", "limited"), &right);
        for matrix in ["gbr", "bt2020nc", "bt709", "smpte170m"] {
            for range in ["limited", "full"] {
                let said = Colour {
                    matrix: Some(matrix.to_owned()),
                    ..said("smpte2084", range)
                };
                let seen = mapped(&said, &(picture.clone(), info.clone()));
                for (a, b) in seen.iter().flatten().zip(right.iter().flatten()) {
                    // The tables of the two ranges are coarse in different places.
                    assert!(a.abs_diff(*b) <= 4, "{matrix} {range}: {seen:?} {right:?}");
                }
            }
        }
    }

    #[test]
    fn standard_range_is_left_alone() {
        let standard = said("bt2020-10", "limited");
        assert!(Tone::of(&standard).is_none());
        assert_eq!(shown(&standard), standard);
        assert_eq!(
            shown(&said("smpte2084", "full")).transfer.as_deref(),
            Some("bt709")
        );
    }
}
