//! The one table of rules: what each is called, how grave a breach is, and where it comes from.

use serde::{Deserialize, Serialize};

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The set breaks a rule that it has to keep; it is not published.
    Error,
    /// Worth knowing; players cope.
    Warning,
}

impl Severity {
    /// As it is printed and written to JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Declares the rules: name in code, id, severity, source, and the one sentence that is true of a
/// set that keeps it.
macro_rules! rules {
    ($($name:ident $id:literal $severity:ident $source:literal $says:literal;)+) => {
        /// A rule. Its id is stable: scripts may rely on it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Rule {
            $(#[doc = $says] #[serde(rename = $id)] $name,)+
        }

        impl Rule {
            /// Every rule, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// `hls-target-duration`, ...
            #[must_use]
            pub fn id(self) -> &'static str {
                match self { $(Self::$name => $id,)+ }
            }

            /// How grave a breach is.
            #[must_use]
            pub fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)+ }
            }

            /// The standard that asks for it.
            #[must_use]
            pub fn source(self) -> &'static str {
                match self { $(Self::$name => $source,)+ }
            }

            /// What is true of a set that keeps the rule.
            #[must_use]
            pub fn says(self) -> &'static str {
                match self { $(Self::$name => $says,)+ }
            }
        }
    };
}

rules! {
    M3u8Encoding "m3u8-encoding" Error "RFC 8216bis 4.1"
        "A playlist is UTF-8 without a byte order mark and without control characters.";
    M3u8Nfc "m3u8-nfc" Warning "RFC 8216bis 4.1"
        "A playlist is normalised to Unicode form NFC.";
    M3u8Line "m3u8-line" Error "RFC 8216bis 4.1"
        "Lines end with LF or CRLF, are blank, a tag, a comment or a URI, and have no blanks around them.";
    M3u8Start "m3u8-start" Error "RFC 8216bis 4.4.1.1"
        "The first line is #EXTM3U.";
    M3u8Kind "m3u8-kind" Error "RFC 8216bis 4.1"
        "A playlist is a multivariant or a media playlist, and has no tags of the other kind.";
    M3u8Tag "m3u8-tag" Error "RFC 8216bis 4.4"
        "A tag has the kind of value that belongs to it, and stands where it applies.";
    M3u8TagOnce "m3u8-tag-once" Error "RFC 8216bis 4.4"
        "A tag that describes the whole playlist stands there once.";
    M3u8TagUnknown "m3u8-tag-unknown" Warning "RFC 8216bis 6.3.1"
        "Every tag is known; players ignore the others.";
    M3u8AttributeSyntax "m3u8-attribute-syntax" Error "RFC 8216bis 4.2"
        "Attribute lists are NAME=value, separated by commas, without blanks.";
    M3u8AttributeOnce "m3u8-attribute-once" Error "RFC 8216bis 4.2"
        "An attribute stands in its list once.";
    M3u8AttributeType "m3u8-attribute-type" Error "RFC 8216bis 4.2"
        "The value of an attribute is quoted, enumerated or a number, as the attribute asks for.";
    M3u8AttributeMissing "m3u8-attribute-missing" Error "RFC 8216bis 4.4"
        "A tag has the attributes that it cannot do without.";
    M3u8AttributeUnknown "m3u8-attribute-unknown" Warning "RFC 8216bis 6.3.1"
        "Every attribute is known; players ignore the others.";
    HlsVersion "hls-version" Error "RFC 8216bis 8"
        "EXT-X-VERSION is as high as the tags and attributes of the playlist ask for.";
    HlsTargetDuration "hls-target-duration" Error "RFC 8216bis 4.4.3.1"
        "No segment, rounded to whole seconds, is longer than EXT-X-TARGETDURATION.";
    HlsTargetDurationLoose "hls-target-duration-loose" Error "RFC 8216bis 4.4.3.1, per playlist"
        "EXT-X-TARGETDURATION is the playlist's own longest segment, rounded up at most.";
    HlsExtinf "hls-extinf" Error "RFC 8216bis 4.4.4.1"
        "EXTINF is the duration of the segment's samples, to a millisecond.";
    HlsEndlist "hls-endlist" Error "RFC 8216bis 4.4.3.4"
        "A playlist on demand ends with EXT-X-ENDLIST.";
    HlsPlaylistType "hls-playlist-type" Error "RFC 8216bis 4.4.3.5"
        "A playlist on demand says EXT-X-PLAYLIST-TYPE:VOD.";
    HlsMediaSequence "hls-media-sequence" Error "RFC 8216bis 4.4.3.2"
        "All media playlists begin with the same EXT-X-MEDIA-SEQUENCE.";
    HlsMap "hls-map" Error "RFC 8216bis 4.4.4.5"
        "EXT-X-MAP names the header of the segments that follow it.";
    HlsIndependentSegments "hls-independent-segments" Error "Apple HLS authoring, RFC 8216bis 4.4.2.1"
        "EXT-X-INDEPENDENT-SEGMENTS stands in the multivariant playlist, or in a media playlist that is alone.";
    HlsEmpty "hls-empty" Error "RFC 8216bis 4.4"
        "A media playlist has segments, a multivariant playlist variants.";
    HlsLastSegment "hls-last-segment" Error "Apple HLS authoring"
        "The last segment lasts half a second at least.";
    HlsUri "hls-uri" Error "RFC 8216bis 4.1"
        "A URI is relative, well formed, and stays inside the set.";
    HlsUriExists "hls-uri-exists" Error "RFC 8216bis 6.2.1"
        "What a URI names is there.";
    HlsUriOnce "hls-uri-once" Error "RFC 8216bis 4.4.4.3"
        "A media playlist names each segment once, unless a discontinuity lies between.";
    HlsIFrames "hls-i-frames" Error "RFC 8216bis 4.4.3.6"
        "A playlist that is listed as I-frame playlist says EXT-X-I-FRAMES-ONLY, and no other does.";
    HlsBandwidth "hls-bandwidth" Error "Apple HLS authoring, RFC 8216bis 4.4.6.2"
        "BANDWIDTH is within 10 % of the measured peak.";
    HlsAverageBandwidth "hls-average-bandwidth" Error "Apple HLS authoring, RFC 8216bis 4.4.6.2"
        "AVERAGE-BANDWIDTH is there and within 10 % of the measured average.";
    HlsPeakRatio "hls-peak-ratio" Warning "Apple HLS authoring"
        "The measured peak is at most twice the measured average.";
    HlsCodecs "hls-codecs" Error "RFC 8216bis 4.4.6.2, RFC 6381"
        "CODECS lists exactly the codecs of the variant and its audio, with profile and level.";
    HlsResolution "hls-resolution" Error "RFC 8216bis 4.4.6.2"
        "RESOLUTION is the size at which the pictures are shown.";
    HlsFrameRate "hls-frame-rate" Error "RFC 8216bis 4.4.6.2"
        "FRAME-RATE is the measured frame rate.";
    HlsVideoRange "hls-video-range" Error "Apple HLS authoring, RFC 8216bis 4.4.6.2"
        "VIDEO-RANGE is there and agrees with the transfer function of the pictures.";
    HlsClosedCaptions "hls-closed-captions" Error "Apple HLS authoring, RFC 8216bis 4.4.6.2"
        "CLOSED-CAPTIONS is NONE where there are none, and else names a group.";
    HlsGroup "hls-group" Error "RFC 8216bis 4.4.6.2"
        "A variant names groups that exist, and every group is named.";
    HlsDefault "hls-default" Error "RFC 8216bis 4.4.6.1.1"
        "An audio group has exactly one rendition with DEFAULT=YES, which is AUTOSELECT=YES as well.";
    HlsName "hls-name" Error "RFC 8216bis 4.4.6.1.1"
        "The renditions of a group have different NAMEs.";
    HlsChannels "hls-channels" Error "RFC 8216bis 4.4.6.1"
        "CHANNELS is the number of channels of the audio.";
    HlsLanguage "hls-language" Error "RFC 8216bis 4.4.6.1, RFC 5646"
        "LANGUAGE is a language tag, and that of the track.";
    HlsVariantUnique "hls-variant-unique" Error "RFC 8216bis 4.4.6.2"
        "No variant is listed twice.";
    BoxSize "box-size" Error "ISO/IEC 14496-12 4.2"
        "Boxes fill their parent exactly, and fields fill their box.";
    BoxMissing "box-missing" Error "ISO/IEC 23000-19 7.3"
        "Every box that a CMAF header or segment needs is there.";
    BoxTwice "box-twice" Error "ISO/IEC 14496-12"
        "A box of which there is one is there once.";
    BoxStray "box-stray" Error "ISO/IEC 14496-12"
        "Boxes are inside the box to which they belong.";
    BoxUnknown "box-unknown" Warning "ISO/IEC 14496-12 4.2"
        "Every box is known; readers skip the others.";
    BoxOrder "box-order" Error "ISO/IEC 14496-12 6.2.3, ISO/IEC 23000-19 7.3"
        "Boxes stand in an order in which a stream can be read.";
    BoxField "box-field" Error "ISO/IEC 14496-12, ISO/IEC 23000-19 7.5"
        "Versions are known, and reserved and constant fields have the value that the standard gives.";
    CmafBrand "cmaf-brand" Error "ISO/IEC 23000-19 7.2"
        "Headers have the brand cmfc, and segments one of cmfs, cmff and cmfl.";
    CmafOneTrack "cmaf-one-track" Error "ISO/IEC 23000-19 7.3.1"
        "A file holds one track.";
    CmafHandler "cmaf-handler" Error "ISO/IEC 14496-12 8.4.3"
        "Handler, media header and sample entry are of one kind of media.";
    CmafTrackHeader "cmaf-track-header" Error "ISO/IEC 23000-19 7.5"
        "The track is enabled, and its size and volume are those of its media.";
    CmafDuration "cmaf-duration" Error "ISO/IEC 23000-19 7.5"
        "Durations in the header are 0 or that of the track.";
    CmafSampleTable "cmaf-sample-table" Error "ISO/IEC 23000-19 7.5"
        "The header's sample tables are empty.";
    CmafTrackId "cmaf-track-id" Error "ISO/IEC 14496-12 8.8.7"
        "Track header, mvex and fragments name the same track.";
    CmafEditList "cmaf-edit-list" Error "ISO/IEC 23000-19 7.5"
        "One edit at most, which takes away exactly the delay of composition; none with the brand cmf2.";
    CmafSequenceNumber "cmaf-sequence-number" Error "ISO/IEC 14496-12 8.8.5"
        "Sequence numbers of fragments rise by one.";
    CmafTfdt "cmaf-tfdt" Error "ISO/IEC 23000-19 7.5"
        "Fragments carry a decode time with 64 bits (tfdt version 1).";
    CmafGap "cmaf-gap" Error "ISO/IEC 23000-19 7.3.2.3"
        "A fragment is decoded from the end of the one before it on.";
    CmafBase "cmaf-base" Error "ISO/IEC 23000-19 7.5"
        "Addresses count from the start of the moof (default-base-is-moof).";
    CmafRun "cmaf-run" Error "ISO/IEC 14496-12 8.8.8"
        "The flags of a track run are known and do not contradict each other, and its data begin where the mdat does.";
    CmafSampleSize "cmaf-sample-size" Error "ISO/IEC 14496-12 8.8.8"
        "The sizes of the samples add up to the mdat.";
    CmafSampleDuration "cmaf-sample-duration" Error "ISO/IEC 14496-12 8.8.8"
        "Every sample lasts.";
    CmafSampleFlags "cmaf-sample-flags" Error "ISO/IEC 14496-12 8.8.3.1"
        "The flags of samples agree with each other and with what the samples are.";
    CmafSync "cmaf-sync" Error "RFC 8216bis 3, ISO/IEC 23000-19 7.3.2.3"
        "Decoding can begin with the first sample of every segment.";
    CmafPresentation "cmaf-presentation" Error "ISO/IEC 23000-19 7.3.2.3"
        "Each sample is shown at a time of its own, and a segment from its decode time on and before its end.";
    AvcConfig "avc-config" Error "ISO/IEC 14496-15 5.3.3.1"
        "avcC agrees with the parameter sets in it: profile, compatibility, level, chroma, bit depth.";
    AvcParameterSets "avc-parameter-sets" Error "ITU-T H.264 7.3.2"
        "Parameter sets can be read to their last bit, and pictures refer to sets that exist.";
    AvcInBand "avc-in-band" Error "ISO/IEC 14496-15 5.3.2"
        "Parameter sets among the pictures are those of the header.";
    AvcSize "avc-size" Error "ITU-T H.264 7.4.2.1"
        "The cropped pictures have the size of the sample entry.";
    AvcAspect "avc-aspect" Error "ISO/IEC 14496-12 12.1.4"
        "pasp is the sample aspect ratio of the pictures.";
    AvcColour "avc-colour" Error "ISO/IEC 14496-12 12.1.5"
        "colr is the colour description of the pictures.";
    AvcLevel "avc-level" Error "ITU-T H.264 A.3"
        "Picture size, frame rate and reference pictures are within the level.";
    AvcTiming "avc-timing" Error "ITU-T H.264 E.2.1"
        "A fixed frame rate in the parameter sets is the measured one.";
    AvcNal "avc-nal" Error "ISO/IEC 14496-15 5.2.3"
        "NAL units fill their sample exactly and have headers that make sense.";
    AvcIdr "avc-idr" Error "Apple HLS authoring, ISO/IEC 23000-19 9.2"
        "Every segment begins with an IDR picture.";
    AvcSlice "avc-slice" Error "ITU-T H.264 7.4.3"
        "Slice headers agree with the parameter sets, and frame numbers follow each other.";
    AvcOrder "avc-order" Error "ITU-T H.264 8.2.1"
        "Pictures are shown in the order that they themselves tell, reordered no further than they say.";
    AacConfig "aac-config" Error "ISO/IEC 14496-3 1.6.2"
        "The AudioSpecificConfig can be read, and agrees with the sample entry on rate and channels.";
    AacDescriptor "aac-descriptor" Error "ISO/IEC 14496-14 3.1.2, ISO/IEC 14496-1 7.2.6"
        "The esds holds the descriptors of AAC, of the right sizes.";
    AacPacket "aac-packet" Error "ISO/IEC 14496-3"
        "Samples are raw AAC packets of the duration that the configuration gives.";
    SetAligned "set-aligned" Error "ISO/IEC 23000-19 7.3.4"
        "All video renditions are cut at the same times.";
    SetTimescale "set-timescale" Error "ISO/IEC 23000-19 7.3.4"
        "All renditions of one kind count in one timescale.";
    SetSampleEntry "set-sample-entry" Error "ISO/IEC 23000-19 7.3.4"
        "Variants of one codec have one type of sample entry.";
    SetAudioBoundary "set-audio-boundary" Error "Apple HLS authoring"
        "Audio segments begin within one frame or packet of the video segments.";
    SetAudioDuration "set-audio-duration" Error "Apple HLS authoring"
        "Sound and picture end at the same time, to 50 ms or a frame.";
    RecordedDigest "recorded-digest" Error "what was recorded when the set was made"
        "Every file holds the bytes that were written.";
    RecordedFile "recorded-file" Error "what was recorded when the set was made"
        "The playlists lead to every file that was made, and to no other.";
    RecordedFacts "recorded-facts" Error "what was recorded when the set was made"
        "Headers and segments say what the encoder said.";
    RecordedDuration "recorded-duration" Error "what was recorded when the set was made"
        "The set lasts as long as its source.";
    Decode "decode" Error "ITU-T H.264, ISO/IEC 14496-3"
        "Every frame and packet decodes without an error.";
    NotJudged "not-judged" Warning "telecine"
        "Everything in the set can be judged: H.264 and AAC in fragmented MP4, not encrypted.";
    TooMuch "too-much" Error "telecine"
        "The set is within the limits of the linter.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_unique_and_of_one_form() {
        let ids: BTreeSet<_> = Rule::ALL.iter().map(|rule| rule.id()).collect();
        assert_eq!(ids.len(), Rule::ALL.len());
        for id in ids {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(id.chars().all(plain), "{id}");
        }
    }

    #[test]
    fn every_rule_is_one_sentence() {
        for rule in Rule::ALL {
            assert!(rule.says().ends_with('.'), "{}", rule.id());
        }
    }
}
