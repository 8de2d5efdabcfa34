//! Mutants of headers and segments.

use telecine_activities::lint::Rule::{self, *};

use super::Mutant;
use super::surgery::Change::{self, *};

/// Every mutant of a header or a segment.
pub(crate) fn all() -> Vec<Mutant> {
    let named = |name: &'static str, table: Vec<(Change, Rule)>| -> Vec<Mutant> {
        let table = table.into_iter();
        table.map(|(change, rule)| (name, change, rule)).collect()
    };
    [
        named("360/init", structure()),
        named("360/init", movie()),
        named("360/init", media()),
        named("360/init", tables()),
        named("360/init", picture()),
        named("360/init", record()),
        named("audio/init", sound()),
        named("360/1", vec![(Grow("styp", 8 << 20), HlsPeakRatio)]),
        named("360/2", segment()),
        named("360/2", run()),
        named("360/2", units()),
        named("audio/2", packets()),
        named(
            "audio/3",
            vec![(Set("moof/traf/tfhd", 10, &[8]), SetAudioDuration)],
        ),
    ]
    .concat()
}

const MDIA: &str = "moov/trak/mdia";
const MINF: &str = "moov/trak/mdia/minf";
const AVC1: &str = "moov/trak/mdia/minf/stbl/stsd/avc1";
const AVCC: &str = "moov/trak/mdia/minf/stbl/stsd/avc1/avcC";
const COLR: &str = "moov/trak/mdia/minf/stbl/stsd/avc1/colr";
const PASP: &str = "moov/trak/mdia/minf/stbl/stsd/avc1/pasp";
const MP4A: &str = "moov/trak/mdia/minf/stbl/stsd/mp4a";
const ESDS: &str = "moov/trak/mdia/minf/stbl/stsd/mp4a/esds";

/// Boxes that a header cannot do without.
const NEEDED: [&str; 21] = [
    "ftyp",
    "moov",
    "moov/mvhd",
    "moov/mvex",
    "moov/mvex/trex",
    "moov/trak",
    "moov/trak/tkhd",
    MDIA,
    "moov/trak/mdia/mdhd",
    "moov/trak/mdia/hdlr",
    MINF,
    "moov/trak/mdia/minf/dinf",
    "moov/trak/mdia/minf/dinf/dref",
    "moov/trak/mdia/minf/stbl",
    "moov/trak/mdia/minf/stbl/stsd",
    "moov/trak/mdia/minf/stbl/stts",
    "moov/trak/mdia/minf/stbl/stsc",
    "moov/trak/mdia/minf/stbl/stsz",
    "moov/trak/mdia/minf/stbl/stco",
    AVC1,
    AVCC,
];

/// Boxes of which there is one.
const SINGLE: [&str; 19] = [
    "ftyp",
    "moov",
    "moov/mvhd",
    "moov/mvex",
    "moov/trak/tkhd",
    "moov/trak/edts",
    "moov/trak/edts/elst",
    MDIA,
    "moov/trak/mdia/mdhd",
    "moov/trak/mdia/hdlr",
    MINF,
    "moov/trak/mdia/minf/vmhd",
    "moov/trak/mdia/minf/dinf",
    "moov/trak/mdia/minf/stbl",
    "moov/trak/mdia/minf/stbl/stsd",
    "moov/trak/mdia/minf/stbl/stts",
    "moov/trak/mdia/minf/stbl/stco",
    AVCC,
    PASP,
];

/// Boxes of a header that are missing, doubled, misplaced or of another size.
fn structure() -> Vec<(Change, Rule)> {
    let mut mutants = vec![
        (First("moov"), BoxOrder),
        (Twice("moov/trak"), CmafOneTrack),
        (Rename("ftyp", b"xtyp"), BoxMissing),
        (Rename("moov", b"moof"), BoxStray),
        (Rename("moov/trak/mdia/mdhd", b"mvhd"), BoxStray),
        (Insert("", b"mdat"), BoxStray),
        (Insert("", b"styp"), BoxStray),
        (Insert("", b"what"), BoxUnknown),
        (Insert("moov/trak", b"what"), BoxUnknown),
        (Insert("moov", b"traf"), BoxStray),
        (Insert("moov/trak", b"stts"), BoxStray),
        (Insert(MINF, b"tkhd"), BoxStray),
        (Remove("moov/trak/edts"), CmafEditList),
        (Remove("moov/trak/edts/elst"), BoxMissing),
        (Remove("moov/trak/mdia/minf/dinf/dref/url "), BoxMissing),
        (Remove("moov/trak/mdia/minf/vmhd"), CmafHandler),
        (Rename("moov/trak/mdia/minf/vmhd", b"smhd"), CmafHandler),
        (Size("ftyp", 4), BoxSize),
        (Size("ftyp", -4), BoxSize),
        (Size("moov", 1), BoxSize),
        (Size("moov", -1), BoxSize),
        (Size("moov/trak", 8), BoxSize),
        (Size(AVC1, -1), BoxSize),
        (Size(AVCC, 1), BoxSize),
        (Grow("moov/mvhd", 4), BoxSize),
        (Grow("moov/trak/tkhd", 1), BoxSize),
        (Grow("moov/trak/mdia/mdhd", 2), BoxSize),
        (Grow("moov/mvex/trex", 4), BoxSize),
        (Grow("moov/trak", 3), BoxSize),
        (Grow(PASP, 1), BoxSize),
        (Grow(COLR, 1), BoxSize),
        (Grow("moov", 1 << 20), TooMuch),
    ];
    mutants.extend(NEEDED.map(|path| (Remove(path), BoxMissing)));
    mutants.extend(SINGLE.map(|path| (Twice(path), BoxTwice)));
    mutants
}

/// Fields of movie, track and edit.
fn movie() -> Vec<(Change, Rule)> {
    let (movie, track, edit) = ("moov/mvhd", "moov/trak/tkhd", "moov/trak/edts/elst");
    vec![
        (Set("ftyp", 8, b"iso5"), CmafBrand),
        (Set(movie, 0, &[2]), BoxField),
        (Set(movie, 0, &[0]), BoxSize),
        (Set(movie, 3, &[1]), BoxField),
        (Set(movie, 31, &[1]), CmafDuration),
        (Set(movie, 33, &[2]), BoxField),
        (Set(movie, 36, &[0]), BoxField),
        (Set(movie, 38, &[1]), BoxField),
        (Set(movie, 40, &[1]), BoxField),
        (Set(movie, 49, &[2]), BoxField),
        (Set(movie, 52, &[1]), BoxField),
        (Set(movie, -1, &[1]), CmafTrackId),
        (Set(track, 0, &[3]), BoxField),
        (Set(track, 3, &[6]), CmafTrackHeader),
        (Set(track, 1, &[1]), CmafTrackHeader),
        (Set(track, 23, &[2]), CmafTrackId),
        (Set(track, 23, &[0]), CmafTrackId),
        (Set(track, 24, &[1]), BoxField),
        (Set(track, 35, &[9]), CmafDuration),
        (Set(track, 36, &[1]), BoxField),
        (Set(track, 45, &[1]), BoxField),
        (Set(track, 48, &[1]), CmafTrackHeader),
        (Set(track, 50, &[1]), BoxField),
        (Set(track, 53, &[0]), BoxField),
        (Set(track, 88, &[1]), CmafTrackHeader),
        (Xor(track, 93, 2), CmafTrackHeader),
        (Set(edit, 0, &[2]), BoxField),
        (Set(edit, 7, &[0]), BoxSize),
        (Set(edit, 7, &[2]), BoxSize),
        (Set(edit, 11, &[1]), CmafEditList),
        (Xor(edit, 15, 1), CmafEditList),
        (Set(edit, 12, &[0, 0, 0, 0]), CmafEditList),
        (Set(edit, 12, &[0xff, 0xff, 0xff, 0xff]), CmafEditList),
        (Set(edit, 17, &[2]), CmafEditList),
        (Set("moov/mvex/trex", 0, &[1]), BoxField),
        (Set("moov/mvex/trex", 7, &[2]), CmafTrackId),
        (Set("moov/mvex/trex", 11, &[2]), BoxField),
        (Set("moov/mvex/trex", 20, &[0xf0]), BoxField),
    ]
}

/// Fields of media header, handler and data reference.
fn media() -> Vec<(Change, Rule)> {
    let (header, handler) = ("moov/trak/mdia/mdhd", "moov/trak/mdia/hdlr");
    let (video, reference) = ("moov/trak/mdia/minf/vmhd", "moov/trak/mdia/minf/dinf/dref");
    vec![
        (Set(header, 0, &[2]), BoxField),
        (Xor(header, 22, 1), HlsExtinf),
        (Xor(header, 23, 8), SetTimescale),
        (Xor(header, 21, 1), AvcTiming),
        (Set(header, 20, &[0, 0, 0, 0]), BoxField),
        (Set(header, 31, &[1]), CmafDuration),
        (Set(header, 32, &[0, 0]), BoxField),
        (Set(header, 32, &[0x95]), BoxField),
        (Set(header, 35, &[1]), BoxField),
        (Set(handler, 3, &[1]), BoxField),
        (Set(handler, 4, &[1]), BoxField),
        (Set(handler, 8, b"soun"), CmafHandler),
        (Set(handler, 8, b"text"), CmafHandler),
        (Set(handler, 12, &[1]), BoxField),
        (Set(handler, 23, &[1]), BoxField),
        (Set(handler, -1, b"x"), BoxField),
        (Set(handler, 24, &[0]), BoxField),
        (Set(handler, 24, &[0xff]), BoxField),
        (Set(video, 0, &[2]), BoxField),
        (Set(video, 3, &[0]), BoxField),
        (Set(video, 5, &[1]), BoxField),
        (Set(video, 7, &[1]), BoxField),
        (Set(reference, 3, &[1]), BoxField),
        (Set(reference, 7, &[2]), BoxField),
        (Set(reference, 7, &[0]), BoxField),
        (Set("moov/trak/mdia/minf/dinf/dref/url ", 3, &[0]), BoxField),
    ]
}

/// Tables that have to be empty.
fn tables() -> Vec<(Change, Rule)> {
    let mut mutants = vec![(
        Set("moov/trak/mdia/minf/stbl/stsz", 11, &[1]),
        CmafSampleTable,
    )];
    for path in [
        "moov/trak/mdia/minf/stbl/stts",
        "moov/trak/mdia/minf/stbl/stsc",
        "moov/trak/mdia/minf/stbl/stsz",
        "moov/trak/mdia/minf/stbl/stco",
    ] {
        mutants.push((Set(path, 7, &[1]), CmafSampleTable));
        mutants.push((Set(path, 3, &[1]), BoxField));
        mutants.push((Set(path, 0, &[9]), BoxField));
        mutants.push((Grow(path, 4), BoxSize));
    }
    mutants
}

/// The sample entry of H.264, its aspect and colour.
fn picture() -> Vec<(Change, Rule)> {
    vec![
        (Set("moov/trak/mdia/minf/stbl/stsd", 7, &[2]), BoxField),
        (Set("moov/trak/mdia/minf/stbl/stsd", 0, &[9]), BoxField),
        (Rename(AVC1, b"avc3"), HlsCodecs),
        (Rename(AVC1, b"avc3"), SetSampleEntry),
        (Rename(AVC1, b"hvc1"), HlsCodecs),
        (Rename(AVC1, b"mp4a"), CmafHandler),
        (Set(AVC1, 0, &[1]), BoxField),
        (Set(AVC1, 7, &[2]), BoxField),
        (Set(AVC1, 8, &[1]), BoxField),
        (Set(AVC1, 16, &[1]), BoxField),
        (Xor(AVC1, 25, 2), AvcSize),
        (Xor(AVC1, 27, 2), AvcSize),
        (Xor(AVC1, 25, 2), HlsResolution),
        (Set(AVC1, 29, &[0x96]), BoxField),
        (Set(AVC1, 33, &[0x96]), BoxField),
        (Set(AVC1, 36, &[1]), BoxField),
        (Set(AVC1, 41, &[2]), BoxField),
        (Set(AVC1, 42, &[40]), BoxField),
        (Set(AVC1, 75, &[0x20]), BoxField),
        (Set(AVC1, 76, &[0]), BoxField),
        (Set(COLR, 0, b"nclc"), AvcColour),
        (Set(COLR, 5, &[9]), AvcColour),
        (Set(COLR, 7, &[16]), AvcColour),
        (Set(COLR, 7, &[16]), HlsVideoRange),
        (Set(COLR, 9, &[9]), AvcColour),
        (Set(COLR, 10, &[0x80]), AvcColour),
        (Set(COLR, 10, &[1]), BoxField),
        (Set(PASP, 3, &[2]), AvcAspect),
        (Set(PASP, 3, &[0]), AvcAspect),
        (Set(PASP, 7, &[3]), AvcAspect),
        (Set(PASP, 7, &[0]), AvcAspect),
    ]
}

/// The decoder configuration record and its parameter sets.
fn record() -> Vec<(Change, Rule)> {
    vec![
        (Set(AVCC, 0, &[0]), AvcConfig),
        (Set(AVCC, 1, &[77]), AvcConfig),
        (Set(AVCC, 2, &[0x40]), AvcConfig),
        (Xor(AVCC, 3, 1), AvcConfig),
        (Xor(AVCC, 4, 0x80), AvcConfig),
        (Xor(AVCC, 4, 2), AvcNal),
        (Xor(AVCC, 4, 1), AvcConfig),
        (Xor(AVCC, 5, 0x80), AvcConfig),
        (Set(AVCC, 5, &[0xe0]), AvcParameterSets),
        (Set(AVCC, 5, &[0xe2]), AvcConfig),
        (Xor(AVCC, 7, 1), AvcParameterSets),
        (Xor(AVCC, 8, 2), AvcParameterSets),
        (Set(AVCC, 9, &[66]), AvcParameterSets),
        (Xor(AVCC, 10, 1), AvcParameterSets),
        (Xor(AVCC, 11, 1), AvcConfig),
        (Set(AVCC, 11, &[10]), AvcLevel),
        (Xor(AVCC, -4, 1), AvcConfig),
        (Xor(AVCC, -4, 0x80), AvcConfig),
        (Xor(AVCC, -3, 2), AvcConfig),
        (Xor(AVCC, -2, 2), AvcConfig),
        (Set(AVCC, -1, &[1]), AvcConfig),
        (Grow(AVCC, 1), AvcConfig),
    ]
}

/// The header of AAC.
pub(super) fn sound() -> Vec<(Change, Rule)> {
    vec![
        (Remove(ESDS), BoxMissing),
        (Twice(ESDS), BoxTwice),
        (Remove("moov/trak/mdia/minf/smhd"), CmafHandler),
        (Set("moov/trak/mdia/minf/smhd", 4, &[1]), BoxField),
        (Set("moov/trak/tkhd", 48, &[0]), CmafTrackHeader),
        (Set("moov/trak/tkhd", 88, &[1]), CmafTrackHeader),
        (Set("moov/trak/mdia/hdlr", 8, b"vide"), CmafHandler),
        (Xor("moov/trak/mdia/mdhd", 22, 1), HlsExtinf),
        (Set("moov/trak/mdia/mdhd", 32, &[0x15, 0xc7]), HlsLanguage),
        (Rename(MP4A, b"ac-3"), HlsCodecs),
        (Rename(MP4A, b"avc1"), CmafHandler),
        (Set(MP4A, 0, &[1]), BoxField),
        (Set(MP4A, 7, &[0]), BoxField),
        (Set(MP4A, 9, &[1]), BoxField),
        (Set(MP4A, 17, &[1]), AacConfig),
        (Set(MP4A, 17, &[6]), AacConfig),
        (Set(MP4A, 19, &[8]), BoxField),
        (Set(MP4A, 21, &[1]), BoxField),
        (Set(MP4A, 24, &[0x56, 0x22]), AacConfig),
        (Set(MP4A, 27, &[1]), BoxField),
        (Set(ESDS, 3, &[1]), BoxField),
        (Set(ESDS, 4, &[4]), AacDescriptor),
        (Xor(ESDS, 5, 1), AacDescriptor),
        (Set(ESDS, 8, &[0x80]), AacDescriptor),
        (Set(ESDS, 9, &[5]), AacDescriptor),
        (Xor(ESDS, 10, 1), AacDescriptor),
        (Set(ESDS, 11, &[0x6b]), HlsCodecs),
        (Set(ESDS, 12, &[0x11]), AacDescriptor),
        (Set(ESDS, 20, &[9]), AacDescriptor),
        (Set(ESDS, 24, &[6]), AacConfig),
        (Xor(ESDS, 25, 1), AacDescriptor),
        (Xor(ESDS, 26, 8), HlsCodecs),
        (Xor(ESDS, 26, 1), AacConfig),
        (Xor(ESDS, 27, 0x80), AacConfig),
        (Xor(ESDS, 27, 8), AacConfig),
        (Xor(ESDS, 27, 4), AacPacket),
        (Set(ESDS, -1, &[1]), AacDescriptor),
        (Grow(ESDS, 1), AacDescriptor),
    ]
}

/// Boxes and fields of a segment.
fn segment() -> Vec<(Change, Rule)> {
    let (header, start) = ("moof/traf/tfhd", "moof/traf/tfdt");
    vec![
        (Remove("styp"), CmafBrand),
        (Twice("styp"), BoxTwice),
        (Set("styp", 8, b"xxxx"), CmafBrand),
        (First("moof"), BoxOrder),
        (First("mdat"), BoxOrder),
        (Remove("moof"), BoxMissing),
        (Twice("moof"), BoxOrder),
        (Remove("moof/mfhd"), BoxMissing),
        (Twice("moof/mfhd"), BoxTwice),
        (Remove("moof/traf"), BoxMissing),
        (Twice("moof/traf"), CmafOneTrack),
        (Remove(header), BoxMissing),
        (Twice(header), BoxTwice),
        (Remove(start), BoxMissing),
        (Twice(start), BoxTwice),
        (Remove("moof/traf/trun"), BoxMissing),
        (Twice("moof/traf/trun"), CmafSampleSize),
        (Remove("mdat"), BoxMissing),
        (Twice("mdat"), BoxOrder),
        (Rename("mdat", b"free"), BoxMissing),
        (Grow("mdat", 3), CmafSampleSize),
        (Size("mdat", -1), BoxSize),
        (Size("mdat", 1), BoxSize),
        (Size("moof", 8), BoxSize),
        (Grow("moof/mfhd", 4), BoxSize),
        (Grow(header, 4), BoxSize),
        (Grow(start, 4), BoxSize),
        (Insert("", b"moov"), BoxStray),
        (Insert("", b"ftyp"), BoxStray),
        (Insert("moof", b"trun"), BoxStray),
        (Insert("moof/traf", b"mfhd"), BoxStray),
        (Set("moof/mfhd", 7, &[9]), CmafSequenceNumber),
        (Set("moof/mfhd", 4, &[1]), CmafSequenceNumber),
        (Set(header, 7, &[2]), CmafTrackId),
        (Set(header, 1, &[0]), CmafBase),
        (Set(header, 1, &[3]), BoxField),
        (Set(header, 3, &[4]), BoxField),
        (Set(header, 3, &[8]), BoxSize),
        (Set(start, 0, &[0]), CmafTfdt),
        (Set(start, 0, &[0]), BoxSize),
        (Set(start, 4, &[0xff]), CmafGap),
        (Xor(start, 11, 1), CmafGap),
        (Xor(start, 9, 1), SetAligned),
    ]
}

/// Fields of a track run; a sample has duration, size, flags and offset.
fn run() -> Vec<(Change, Rule)> {
    const RUN: &str = "moof/traf/trun";
    vec![
        (Set(RUN, 0, &[2]), BoxField),
        (Set(RUN, 1, &[1]), CmafRun),
        (Set(RUN, 2, &[7]), BoxSize),
        (Set(RUN, 3, &[0]), CmafRun),
        (Set(RUN, 3, &[5]), BoxSize),
        (Xor(RUN, 7, 1), BoxSize),
        (Set(RUN, 4, &[0xff]), BoxSize),
        (Xor(RUN, 11, 4), CmafRun),
        (Set(RUN, 8, &[0xff]), CmafRun),
        (Xor(RUN, 15, 1), CmafGap),
        (Xor(RUN, 13, 4), HlsExtinf),
        (Set(RUN, 12, &[0, 0, 0, 0]), CmafSampleDuration),
        (Xor(RUN, 19, 1), CmafSampleSize),
        (Set(RUN, 16, &[0xff]), CmafSampleSize),
        (Set(RUN, 20, &[1, 1]), CmafSync),
        (Set(RUN, 20, &[1, 0]), CmafSampleFlags),
        (Set(RUN, 20, &[0xf2]), CmafSampleFlags),
        (Set(RUN, 20, &[3]), CmafSampleFlags),
        (Set(RUN, 36, &[2, 0]), CmafSampleFlags),
        (Xor(RUN, 27, 1), CmafPresentation),
        (Xor(RUN, 41, 0x10), CmafPresentation),
        (Set(RUN, 40, &[0, 0, 0, 0]), AvcOrder),
    ]
}

/// NAL units and slice headers.
fn units() -> Vec<(Change, Rule)> {
    vec![
        (Set("mdat", 0, &[0xff]), AvcNal),
        (Set("mdat", 0, &[0, 0, 0, 0]), AvcNal),
        (Xor("mdat", 3, 1), AvcNal),
        (Nal(5, 0, 0x80), AvcNal),
        (Nal(5, 0, 0x60), AvcNal),
        (Nal(5, 0, 0x04), AvcIdr),
        (Nal(5, 0, 0x1f), AvcNal),
        (Nal(5, 0, 0x02), AvcInBand),
        (Nal(5, 0, 0x0d), AvcInBand),
        (Nal(5, 1, 0x80), AvcSlice),
        (Nal(5, 1, 0x40), AvcSlice),
        (Nal(5, 1, 0x10), AvcSlice),
        (Nal(5, 1, 0x08), AvcSlice),
        (Nal(1, 0, 0x80), AvcNal),
        (Nal(1, 0, 0x04), CmafSampleFlags),
        (Nal(1, 1, 0x80), AvcSlice),
    ]
}

/// A segment of AAC.
pub(super) fn packets() -> Vec<(Change, Rule)> {
    vec![
        (Remove("styp"), CmafBrand),
        (Remove("mdat"), BoxMissing),
        (Set("moof/mfhd", 7, &[1]), CmafSequenceNumber),
        (Set("moof/traf/tfhd", 1, &[0]), CmafBase),
        (Set("moof/traf/tfhd", 10, &[3]), AacPacket),
        (Set("moof/traf/tfhd", 10, &[8]), AacPacket),
        (Set("moof/traf/tfdt", 0, &[0]), CmafTfdt),
        (Xor("moof/traf/tfdt", 11, 1), CmafGap),
        (Xor("moof/traf/tfdt", 9, 1), SetAudioBoundary),
        (Xor("moof/traf/trun", 7, 1), BoxSize),
        (Xor("moof/traf/trun", 15, 1), CmafSampleSize),
    ]
}
