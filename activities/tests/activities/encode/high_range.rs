//! High dynamic range comes out as standard range: the right brightness, the right hues.

use std::path::{Path, PathBuf};

use telecine_activities::media::cover::{Cover, CoverSpec};
use telecine_activities::media::encode_video::SourceFacts;
use telecine_activities::media::footage::Footage;

use super::run::{Told, rung, spec_of, split, video};
use super::seen::{brightness, stream};
use crate::clips::Clips;
use crate::pictures;

const WIDTH: usize = 320;
const HEIGHT: usize = 180;

/// Vertical stripes of one colour each, as light of the primaries of BT.2020 in cd/m².
const STRIPES: [[f64; 3]; 10] = [
    [0.0; 3],
    [1.0; 3],
    [10.0; 3],
    [50.0; 3],
    [100.0; 3],
    [203.0; 3],
    [1000.0; 3],
    [203.0, 0.0, 0.0],
    [0.0, 203.0, 0.0],
    [0.0, 0.0, 203.0],
];

const HEVC: &str = "-c:v libx265 -preset ultrafast -x265-params";

const BT709: &str = "-colorspace bt709 -color_primaries bt709 -color_trc bt709";

/// The number of PQ (SMPTE ST 2084) for a luminance.
fn pq(nits: f64) -> f64 {
    let power = (nits / 10_000.0).powf(0.159_301_757_812_5);
    ((0.835_937_5 + 18.851_562_5 * power) / (1.0 + 18.6875 * power)).powf(78.843_75)
}

/// The number of HLG (ITU-R BT.2100) for a luminance of grey on a display of 1000 cd/m²; each channel of a
/// colour as if it were grey.
fn hlg(nits: f64) -> f64 {
    let scene = (nits / 1000.0).powf(1.0 / 1.2);
    if scene <= 1.0 / 12.0 {
        (3.0 * scene).sqrt()
    } else {
        0.178_832_77 * (12.0 * scene - 0.284_668_92).ln() + 0.559_910_73
    }
}

/// One frame of the stripes: ten bits, 4:2:0, limited range, BT.2020.
fn stripes(number: fn(f64) -> f64) -> Vec<u8> {
    let codes = STRIPES.map(|nits| {
        let [r, g, b] = nits.map(number);
        let y = 0.2627 * r + 0.678 * g + 0.0593 * b;
        let chroma = [(b - y) / 1.8814, (r - y) / 1.4746];
        [
            64.0 + 876.0 * y,
            512.0 + 896.0 * chroma[0],
            512.0 + 896.0 * chroma[1],
        ]
        .map(|code| code.round() as u16)
    });
    let plane = |component: usize, (width, height): (usize, usize)| {
        let row = (0..width).map(move |x| codes[x * STRIPES.len() / width][component]);
        (0..height).flat_map(move |_| row.clone())
    };
    let chroma = (WIDTH / 2, HEIGHT / 2);
    let planes = plane(0, (WIDTH, HEIGHT))
        .chain(plane(1, chroma))
        .chain(plane(2, chroma));
    planes.flat_map(u16::to_le_bytes).collect()
}

/// A second of the stripes.
fn striped(clips: &Clips, number: fn(f64) -> f64, transfer: &str) -> PathBuf {
    clips.write(&stripes(number), "stripes.yuv");
    let raw = format!("-f rawvideo -pix_fmt yuv420p10le -s {WIDTH}x{HEIGHT} -r 25");
    let said = format!("colorprim=bt2020:transfer={transfer}:colormatrix=bt2020nc");
    clips.ffmpeg(
        &format!("-stream_loop 24 {raw} -i stripes.yuv {HEVC} log-level=none:{said}"),
        &format!("{transfer}.mp4"),
    )
}

/// The first frame of the largest rendition of a source, and its cover.
fn shown(source: &Path) -> [PathBuf; 2] {
    let footage = pictures::footage(source);
    let facts = SourceFacts::from(&footage.video);
    let (_, told) = video(spec_of(
        source,
        facts,
        vec![rung(WIDTH as u32, HEIGHT as u32)],
    ));
    let file = told.file("r180_h264");
    let found = stream(&file);
    for (field, value) in [
        ("color_primaries", "bt709"),
        ("color_transfer", "bt709"),
        ("color_space", "bt709"),
        ("color_range", "tv"),
        ("pix_fmt", "yuv420p"),
    ] {
        assert_eq!(found[field], value, "{field}");
    }
    [file, cover(footage)]
}

fn cover(footage: Footage) -> PathBuf {
    let out = footage.source.with_extension("jpg");
    let spec = CoverSpec {
        footage,
        at_ns: Some(0),
        max_edge: 1280,
        quality: 95,
        out: out.clone(),
    };
    pictures::run::<Cover>(spec).0.unwrap();
    out
}

/// Greys are grey and as bright as their light; red is red, green green, blue blue.
fn check_stripes(picture: &Path) {
    let seen = pictures::pixels(picture, &format!("{}x1", STRIPES.len()));
    let seen = &seen[..STRIPES.len()];
    for ([r, g, b], nits) in seen.iter().zip(STRIPES).take(7) {
        let light = (nits[0] / 203.0).min(1.0).powf(1.0 / 2.4) * 255.0;
        let off = |channel: &u8| (f64::from(*channel) - light).abs();
        // Reference white is a little darker than the peak, which is white.
        let allowed = if nits[0] == 203.0 { 30.0 } else { 6.0 };
        let neutral = r.abs_diff(*g).max(g.abs_diff(*b)) <= 3;
        assert!(neutral && off(g) <= allowed, "{nits:?}: {seen:?}");
    }
    for (hue, colour) in seen[7..].iter().enumerate() {
        let others = (0..3).filter(|other| *other != hue);
        let mixed = others.map(|other| colour[other]).max().unwrap();
        assert!(colour[hue] > mixed + 70, "{hue}: {seen:?}");
    }
}

#[test]
fn pq_becomes_standard_range_of_the_same_greys_and_hues() {
    let clips = Clips::new();
    for picture in shown(&striped(&clips, pq, "smpte2084")) {
        check_stripes(&picture);
    }
}

#[test]
fn hlg_becomes_standard_range_of_the_same_greys_and_hues() {
    let clips = Clips::new();
    for picture in shown(&striped(&clips, hlg, "arib-std-b67")) {
        check_stripes(&picture);
    }
}

#[test]
fn a_picture_that_was_made_hdr_comes_back_as_it_was() {
    let clips = Clips::new();
    // Neither as bright as what is rolled off nor at the edge of the gamut, where the table is coarse.
    let dim = "lutrgb=r=70+val*0.25:g=70+val*0.25:b=70+val*0.25,\
               scale=out_color_matrix=bt709:out_range=limited,format=yuv420p";
    let made = format!("-f lavfi -i testsrc2=s=320x180:r=25:d=1,{dim}");
    let standard = clips.ffmpeg(
        &format!("{made} -c:v ffv1 -color_range tv {BT709}"),
        "standard.mkv",
    );
    let from = "tin=bt709:min=bt709:pin=bt709:rin=limited";
    let pq = format!(
        "zscale={from}:t=smpte2084:p=bt2020:m=bt2020nc:r=limited:npl=203,format=yuv420p10le"
    );
    let said = "log-level=none:crf=8:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc";
    let source = clips.ffmpeg(
        &format!("-i standard.mkv -vf {pq} {HEVC} {said}"),
        "made.mp4",
    );
    let was = luma(&standard);
    for picture in shown(&source) {
        let is = luma(&picture);
        let off: f64 =
            was.iter().zip(&is).map(|(a, b)| (a - b).abs()).sum::<f64>() / was.len() as f64;
        assert!(off < 5.0, "{} levels off in {}", off, picture.display());
    }
}

/// Brightness of a first frame, in small.
fn luma(picture: &Path) -> Vec<f64> {
    let pixels = pictures::pixels(picture, "32x18");
    let brightness = |[r, g, b]: &[u8; 3]| {
        0.2126 * f64::from(*r) + 0.7152 * f64::from(*g) + 0.0722 * f64::from(*b)
    };
    pixels[..32 * 18].iter().map(brightness).collect()
}

#[test]
fn chunks_of_hdr_are_what_the_whole_is() {
    let clips = Clips::new();
    let source = clips.ffmpeg(
        &format!(
            "-f lavfi -i testsrc2=s=320x180:r=25:d=13 -pix_fmt yuv420p10le {HEVC} \
             log-level=none:keyint=50:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:\
             max-cll=3000,400"
        ),
        "long.mp4",
    );
    let footage = pictures::footage(&source);
    let spec = spec_of(
        &source,
        SourceFacts::from(&footage.video),
        vec![rung(320, 180)],
    );
    let (_, whole) = video(spec.clone());
    let whole = brightness(&whole.file("r180_h264"));
    let mut joined = Told::default();
    for part in split(&spec, 1) {
        joined.join(video(part).1);
    }
    let joined = brightness(&joined.file("r180_h264"));
    assert_eq!((whole.len(), joined.len()), (325, 325));
    let off = whole.iter().zip(&joined).map(|(a, b)| (a.1 - b.1).abs());
    let most = off.fold(0.0, f64::max);
    assert!(most < 0.5, "{most} levels apart");
}
