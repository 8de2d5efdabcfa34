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

/// Which rules a set has to keep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Those of the standards that the set claims to follow. What the house asks for besides is a
    /// warning, and CMAF is asked of tracks whose header has its brand.
    #[default]
    Standards,
    /// Those of the house as well, and CMAF of every track: telecine's own sets.
    House,
}

/// Who asks for a rule, and so how grave a breach is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// A standard that every set follows.
    Standard,
    /// CMAF, which a set may claim to follow.
    Cmaf,
    /// A standard for a part of it, and the house for the rest.
    Partly,
    /// telecine, or Apple's authoring specification beyond the standards.
    House,
    /// Nobody insists.
    Advice,
}

impl Demand {
    /// How grave a breach is: in the profile of the standards, and in that of the house.
    #[must_use]
    pub fn severities(self) -> [&'static str; 2] {
        match self {
            Self::Standard => ["error", "error"],
            Self::Cmaf => ["error if CMAF is claimed", "error"],
            Self::Partly => ["error or warning", "error"],
            Self::House => ["warning", "error"],
            Self::Advice => ["warning", "warning"],
        }
    }
}

/// Declares the rules: name in code, id, who asks, source, and the one sentence that is true of a
/// set that keeps it.
macro_rules! rules {
    ($($name:ident $id:literal $demand:ident $source:literal $says:literal;)+) => {
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

            /// Who asks for it.
            #[must_use]
            pub fn demand(self) -> Demand {
                match self { $(Self::$name => Demand::$demand,)+ }
            }

            /// The standard that asks for it, or telecine.
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

impl Rule {
    /// How grave a breach is; of a rule that is partly the house's, `is_house` tells which part.
    pub(super) fn severity(self, profile: Profile, is_house: bool) -> Severity {
        match (self.demand(), profile) {
            (Demand::Advice, _) | (Demand::House, Profile::Standards) => Severity::Warning,
            (_, Profile::Standards) if is_house => Severity::Warning,
            _ => Severity::Error,
        }
    }
}

rules! {
    M3u8Encoding "m3u8-encoding" Standard "RFC 8216bis 4.1"
        "A playlist is UTF-8 without a byte order mark and without control characters.";
    M3u8Nfc "m3u8-nfc" Advice "RFC 8216bis 4.1"
        "A playlist is normalised to Unicode form NFC.";
    M3u8Line "m3u8-line" Standard "RFC 8216bis 4.1"
        "Lines end with LF or CRLF, are blank, a tag, a comment or a URI, and have no blanks around them.";
    M3u8Start "m3u8-start" Standard "RFC 8216bis 4.4.1.1"
        "The first line is #EXTM3U.";
    M3u8Kind "m3u8-kind" Standard "RFC 8216bis 4.1"
        "A playlist is a multivariant or a media playlist, and has no tags of the other kind.";
    M3u8Tag "m3u8-tag" Standard "RFC 8216bis 4.4"
        "A tag has the kind of value that belongs to it, and stands where it applies.";
    M3u8TagOnce "m3u8-tag-once" Standard "RFC 8216bis 4.4"
        "A tag that describes the whole playlist stands there once.";
    M3u8TagUnknown "m3u8-tag-unknown" Advice "RFC 8216bis 6.3.1"
        "Every tag is known; players ignore the others.";
    M3u8AttributeSyntax "m3u8-attribute-syntax" Standard "RFC 8216bis 4.2"
        "Attribute lists are NAME=value, separated by commas, without blanks.";
    M3u8AttributeOnce "m3u8-attribute-once" Standard "RFC 8216bis 4.2"
        "An attribute stands in its list once.";
    M3u8AttributeType "m3u8-attribute-type" Standard "RFC 8216bis 4.2"
        "The value of an attribute is quoted, enumerated or a number, as the attribute asks for.";
    M3u8AttributeMissing "m3u8-attribute-missing" Standard "RFC 8216bis 4.4"
        "A tag has the attributes that it cannot do without.";
    M3u8AttributeUnknown "m3u8-attribute-unknown" Advice "RFC 8216bis 6.3.1"
        "Every attribute is known; players ignore the others.";
    HlsVersion "hls-version" Standard "RFC 8216bis 8"
        "EXT-X-VERSION is as high as the tags and attributes of the playlist ask for.";
    HlsTargetDuration "hls-target-duration" Standard "RFC 8216bis 4.4.3.1"
        "No segment, rounded to whole seconds, is longer than EXT-X-TARGETDURATION.";
    HlsTargetDurationLoose "hls-target-duration-loose" House "telecine"
        "EXT-X-TARGETDURATION is the playlist's own longest segment, rounded up at most.";
    HlsExtinf "hls-extinf" Partly "RFC 8216bis 4.4.4.1; to a millisecond: telecine"
        "EXTINF is the duration of the segment's samples, to half a second and, of the house, to a millisecond.";
    HlsEndlist "hls-endlist" House "telecine"
        "A playlist on demand ends with EXT-X-ENDLIST.";
    HlsPlaylistType "hls-playlist-type" House "telecine"
        "A playlist on demand says EXT-X-PLAYLIST-TYPE:VOD.";
    HlsMediaSequence "hls-media-sequence" House "telecine"
        "All media playlists begin with the same EXT-X-MEDIA-SEQUENCE.";
    HlsMap "hls-map" Standard "RFC 8216bis 3.3, 4.4.4.5"
        "EXT-X-MAP names the header of every segment of fragmented MP4 that follows it.";
    HlsIndependentSegments "hls-independent-segments" House "Apple HLS authoring"
        "EXT-X-INDEPENDENT-SEGMENTS stands in the multivariant playlist, or in a media playlist that is alone.";
    HlsEmpty "hls-empty" Standard "RFC 8216bis 4.4"
        "A media playlist has segments, a multivariant playlist variants.";
    HlsLastSegment "hls-last-segment" House "telecine"
        "The last segment lasts half a second at least.";
    HlsUri "hls-uri" Partly "RFC 3986; inside the set: telecine"
        "A URI is well formed and, of the house, relative and inside the set.";
    HlsUriExists "hls-uri-exists" Standard "RFC 8216bis 6.2.1"
        "What a URI names is there.";
    HlsUriOnce "hls-uri-once" House "telecine"
        "A media playlist names each segment once, unless a discontinuity lies between.";
    HlsIFrames "hls-i-frames" Standard "RFC 8216bis 4.4.3.6"
        "A playlist that is listed as I-frame playlist says EXT-X-I-FRAMES-ONLY, and no other does.";
    HlsBandwidth "hls-bandwidth" Partly "RFC 8216bis 4.4.6.2; not above: Apple HLS authoring"
        "BANDWIDTH is within 10 % of the measured peak.";
    HlsAverageBandwidth "hls-average-bandwidth" Partly "RFC 8216bis 4.4.6.2; that it is there and not above: Apple HLS authoring"
        "AVERAGE-BANDWIDTH is there and within 10 % of the measured average.";
    HlsPeakRatio "hls-peak-ratio" Advice "Apple HLS authoring"
        "The measured peak is at most twice the measured average.";
    HlsCodecs "hls-codecs" Partly "RFC 8216bis 4.4.6.2, RFC 6381; that it is there: Apple HLS authoring"
        "CODECS is there and lists exactly the codecs of the variant and its audio, with profile and level.";
    HlsResolution "hls-resolution" Partly "RFC 8216bis 4.4.6.2; that it is there: Apple HLS authoring"
        "RESOLUTION is there and the size at which the pictures are shown.";
    HlsFrameRate "hls-frame-rate" Partly "RFC 8216bis 4.4.6.2; that it is there: Apple HLS authoring"
        "FRAME-RATE is there and the measured frame rate.";
    HlsVideoRange "hls-video-range" Partly "RFC 8216bis 4.4.6.2; that it is there: Apple HLS authoring"
        "VIDEO-RANGE is there and agrees with the transfer function of the pictures.";
    HlsClosedCaptions "hls-closed-captions" House "Apple HLS authoring"
        "CLOSED-CAPTIONS is NONE where there are none, and else names a group.";
    HlsGroup "hls-group" Partly "RFC 8216bis 4.4.6.2; that all are named: telecine"
        "A variant names groups that exist, and every group is named.";
    HlsDefault "hls-default" Partly "RFC 8216bis 4.4.6.1.1; that there is one: telecine"
        "An audio group has exactly one rendition with DEFAULT=YES, which is AUTOSELECT=YES as well.";
    HlsName "hls-name" Standard "RFC 8216bis 4.4.6.1.1"
        "The renditions of a group have different NAMEs.";
    HlsChannels "hls-channels" Partly "RFC 8216bis 4.4.6.1; that it is there: Apple HLS authoring"
        "CHANNELS is there and the number of channels of the audio.";
    HlsLanguage "hls-language" Partly "RFC 8216bis 4.4.6.1, RFC 5646; that it is there: Apple HLS authoring"
        "LANGUAGE is there, a language tag, and that of the track.";
    HlsVariantUnique "hls-variant-unique" House "telecine"
        "No variant is listed twice.";
    BoxSize "box-size" Standard "ISO/IEC 14496-12 4.2"
        "Boxes fill their parent exactly, and fields fill their box.";
    BoxMissing "box-missing" Standard "ISO/IEC 14496-12, RFC 8216bis 3.3"
        "Every box that a header or a segment needs is there.";
    BoxTwice "box-twice" Standard "ISO/IEC 14496-12"
        "A box of which there is one is there once.";
    BoxStray "box-stray" Standard "ISO/IEC 14496-12"
        "Boxes are inside the box to which they belong.";
    BoxUnknown "box-unknown" Advice "ISO/IEC 14496-12 4.2"
        "Every box is known; readers skip the others.";
    BoxOrder "box-order" Standard "ISO/IEC 14496-12 6.2.3"
        "Boxes stand in an order in which a stream can be read.";
    BoxField "box-field" Standard "ISO/IEC 14496-12"
        "Versions are known, and reserved and constant fields have the value that the standard gives.";
    CmafBrand "cmaf-brand" Partly "ISO/IEC 23000-19 7.2; that it is claimed: telecine"
        "Headers have the brand cmfc, and segments one of cmfs, cmff and cmfl.";
    CmafOneTrack "cmaf-one-track" Cmaf "ISO/IEC 23000-19 7.3.1"
        "A file holds one track.";
    CmafHandler "cmaf-handler" Standard "ISO/IEC 14496-12 8.4.3"
        "Handler, media header and sample entry are of one kind of media.";
    CmafTrackHeader "cmaf-track-header" Cmaf "ISO/IEC 23000-19 7.5"
        "The track is enabled, and its size and volume are those of its media.";
    CmafDuration "cmaf-duration" Standard "RFC 8216bis 3.3"
        "Durations in the header are 0, or unknown (all ones).";
    CmafSampleTable "cmaf-sample-table" Standard "RFC 8216bis 3.3"
        "The header's sample tables are empty.";
    CmafTrackId "cmaf-track-id" Standard "ISO/IEC 14496-12 8.8.7"
        "Track header, mvex and fragments name the same track.";
    CmafEditList "cmaf-edit-list" Cmaf "ISO/IEC 23000-19 7.5"
        "One edit at most, which takes away exactly the delay of composition; none with the brand cmf2.";
    CmafSequenceNumber "cmaf-sequence-number" Standard "ISO/IEC 14496-12 8.8.5"
        "Sequence numbers of fragments rise.";
    CmafTfdt "cmaf-tfdt" House "telecine"
        "Fragments carry a decode time with 64 bits (tfdt version 1).";
    CmafGap "cmaf-gap" Standard "RFC 8216bis 4.4.4.3, ISO/IEC 23000-19 7.3.2.3"
        "A fragment is decoded from the end of the one before it on, unless a discontinuity lies between.";
    CmafBase "cmaf-base" Standard "RFC 8216bis 3.3"
        "Addresses count from the start of the moof (default-base-is-moof).";
    CmafRun "cmaf-run" Standard "ISO/IEC 14496-12 8.8.8"
        "The flags of a track run are known and do not contradict each other, and its data begin where the mdat does.";
    CmafSampleSize "cmaf-sample-size" Standard "ISO/IEC 14496-12 8.8.8"
        "The sizes of the samples add up to the mdat.";
    CmafSampleDuration "cmaf-sample-duration" Standard "ISO/IEC 14496-12 8.8.8"
        "Every sample lasts.";
    CmafSampleFlags "cmaf-sample-flags" Standard "ISO/IEC 14496-12 8.8.3.1"
        "The flags of samples agree with each other and with what the samples are.";
    CmafSync "cmaf-sync" House "Apple HLS authoring, ISO/IEC 23000-19 7.3.2.3"
        "Decoding can begin with the first sample of every segment.";
    CmafPresentation "cmaf-presentation" Cmaf "ISO/IEC 23000-19 7.3.2.3"
        "Each sample is shown at a time of its own, and a segment from its decode time on and before its end.";
    AvcConfig "avc-config" Standard "ISO/IEC 14496-15 5.3.3.1"
        "avcC agrees with the parameter sets in it: profile, compatibility, level, chroma, bit depth.";
    AvcParameterSets "avc-parameter-sets" Standard "ITU-T H.264 7.3.2"
        "Parameter sets can be read to their last bit, and pictures refer to sets that exist.";
    AvcInBand "avc-in-band" Standard "ISO/IEC 14496-15"
        "Parameter sets among the pictures are those of the header.";
    AvcSize "avc-size" Standard "ITU-T H.264 7.4.2.1"
        "The cropped pictures have the size of the sample entry.";
    AvcAspect "avc-aspect" Standard "ISO/IEC 14496-12 12.1.4"
        "pasp is the sample aspect ratio of the pictures.";
    AvcColour "avc-colour" Standard "ISO/IEC 14496-12 12.1.5"
        "colr is the colour description of the pictures.";
    AvcLevel "avc-level" Standard "ITU-T H.264 A.3"
        "Picture size, frame rate and reference pictures are within the level.";
    AvcTiming "avc-timing" Standard "ITU-T H.264 E.2.1"
        "A fixed frame rate in the parameter sets is the measured one.";
    AvcNal "avc-nal" Standard "ISO/IEC 14496-15"
        "NAL units fill their sample exactly and have headers that make sense.";
    AvcIdr "avc-idr" House "Apple HLS authoring, ISO/IEC 23000-19"
        "Every segment begins with an IDR picture.";
    AvcSlice "avc-slice" Standard "ITU-T H.264 7.4.3"
        "Slice headers agree with the parameter sets, and frame numbers follow each other.";
    AvcOrder "avc-order" Standard "ITU-T H.264 8.2.1"
        "Pictures are shown in the order that they themselves tell, reordered no further than they say.";
    AacConfig "aac-config" Standard "ISO/IEC 14496-3 1.6.2"
        "The AudioSpecificConfig can be read, and agrees with the sample entry on rate and channels.";
    AacDescriptor "aac-descriptor" Standard "ISO/IEC 14496-14, ISO/IEC 14496-1 7.2.6"
        "The esds holds the descriptors of AAC, of the right sizes.";
    AacPacket "aac-packet" Standard "ISO/IEC 14496-3"
        "Samples are raw AAC packets of the duration that the configuration gives.";
    SetAligned "set-aligned" Cmaf "ISO/IEC 23000-19 7.3.4"
        "All video renditions are cut at the same times.";
    SetTimescale "set-timescale" Cmaf "ISO/IEC 23000-19 7.3.4"
        "All renditions of one kind count in one timescale.";
    SetSampleEntry "set-sample-entry" Cmaf "ISO/IEC 23000-19 7.3.4"
        "Variants of one codec have one type of sample entry.";
    SetAudioBoundary "set-audio-boundary" House "Apple HLS authoring"
        "Audio segments begin within one frame or packet of the video segments.";
    SetAudioDuration "set-audio-duration" House "Apple HLS authoring"
        "Sound and picture end at the same time, to 50 ms or a frame.";
    RecordedDigest "recorded-digest" Standard "what was recorded when the set was made"
        "Every file holds the bytes that were written.";
    RecordedFile "recorded-file" Standard "what was recorded when the set was made"
        "The playlists lead to every file that was made, and to no other.";
    RecordedFacts "recorded-facts" Standard "what was recorded when the set was made"
        "Headers and segments say what the encoder said.";
    RecordedDuration "recorded-duration" Standard "what was recorded when the set was made"
        "The set lasts as long as its source.";
    VttFile "vtt-file" Standard "W3C WebVTT 4.1"
        "An index of thumbnails is UTF-8, begins with WEBVTT and a blank line, and has cues.";
    VttCue "vtt-cue" Standard "W3C WebVTT 4.1"
        "A cue says when it is shown, and ends after it begins.";
    VttOrder "vtt-order" Partly "W3C WebVTT 4.1; without gaps: telecine"
        "Cues rise and, of the house, follow each other from 0 on without a gap.";
    VttThumbnail "vtt-thumbnail" House "W3C Media Fragments URI 4.2.2"
        "The text of a cue is the URI of a picture with #xywh=x,y,width,height in pixels.";
    VttPicture "vtt-picture" Standard "W3C Media Fragments URI 4.2.2"
        "A picture that a cue names can be read and holds the rectangle.";
    Decode "decode" Standard "ITU-T H.264, ISO/IEC 14496-3"
        "Every frame and packet decodes without an error.";
    NotJudged "not-judged" Advice "telecine"
        "Everything in the set can be judged: H.264 and AAC in fragmented MP4, not encrypted.";
    TooMuch "too-much" Standard "telecine"
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
