//! `encode-audio`.

use super::clips::make;
use super::run::{audio, track, track_facts};
use super::seen::{decoded_frames, first_loud, packets, peak, samples, stream};

/// Silence, then a beep at exactly one second.
const BEEP: &str = "-f lavfi -i aevalsrc='if(gte(t,1)*lt(t,1.2),sin(2*PI*1000*t),0)':s=48000:d=7";

/// Samples of one AAC packet.
const PACKET: usize = 1024;

#[test]
fn a_beep_at_one_second_is_heard_at_one_second() {
    let clip = make("beep.mkv", &format!("{BEEP} -c:a pcm_s16le"));
    let spec = track(&clip.path, track_facts(1, 48_000, 7_000_000_000), None);
    let (output, told) = audio(spec);
    assert_eq!(output.samples, 7 * 48_000);
    let file = told.file("eng_aac_2ch");
    let first = first_loud(&samples(&file));
    assert!(first.abs_diff(48_000) < PACKET, "{first}");
    let found = stream(&file);
    assert_eq!(found["channels"], 2);
    assert_eq!(found["sample_rate"], "48000");
    assert_eq!(found["tags"]["language"], "eng");
    assert_eq!(told.tracks["eng_aac_2ch"].codecs, "mp4a.40.2");
}

#[test]
fn an_aac_source_with_an_edit_list_is_on_time() {
    let clip = make("beep.mp4", &format!("{BEEP} -c:a aac"));
    let (_, told) = audio(track(
        &clip.path,
        track_facts(1, 48_000, 7_000_000_000),
        None,
    ));
    let first = first_loud(&samples(&told.file("eng_aac_2ch")));
    assert!(first.abs_diff(48_000) < PACKET, "{first}");
}

/// How loud each channel of a 5.1 source is in left and right, of a tone at half of full scale.
fn heard_from(channel: usize) -> (f32, f32) {
    let tones: Vec<&str> = (0..6)
        .map(|n| {
            if n == channel {
                "0.5*sin(2*PI*440*t)"
            } else {
                "0"
            }
        })
        .collect();
    let clip = make(
        "surround.mkv",
        &format!(
            "-f lavfi -i aevalsrc={}:c=5.1:s=48000:d=2 -c:a flac",
            tones.join("|")
        ),
    );
    let (_, told) = audio(track(
        &clip.path,
        track_facts(6, 48_000, 2_000_000_000),
        None,
    ));
    let file = told.file("eng_aac_2ch");
    let heard = samples(&file);
    let steady = 24_000..72_000;
    (peak(&heard, 0, steady.clone()), peak(&heard, 1, steady))
}

#[test]
fn every_channel_of_surround_sound_is_heard_on_its_side_at_its_level() {
    let front = 0.5 / (1.0 + 2.0_f32.sqrt());
    let behind = front / 2.0_f32.sqrt();
    let expected = [
        ("left", (front, 0.0)),
        ("right", (0.0, front)),
        ("centre", (behind, behind)),
        ("bass", (0.0, 0.0)),
        ("back left", (behind, 0.0)),
        ("back right", (0.0, behind)),
    ];
    for (channel, (name, (left, right))) in expected.into_iter().enumerate() {
        let heard = heard_from(channel);
        let off = (heard.0 - left).abs().max((heard.1 - right).abs());
        assert!(off < 0.02, "{name}: {heard:?}");
    }
}

#[test]
fn segments_begin_at_the_nearest_packet_and_leave_no_gap() {
    let clip = make(
        "tone.mkv",
        "-f lavfi -i sine=duration=14:sample_rate=44100 -c:a flac",
    );
    let spec = track(
        &clip.path,
        track_facts(1, 44_100, 14_000_000_000),
        Some(14_000_000_000),
    );
    let (_, told) = audio(spec);
    let timeline = told.timeline("eng_aac_2ch");
    assert_eq!(timeline.len(), 3);
    for (place, (number, start, _)) in timeline.iter().enumerate() {
        assert_eq!(*number as usize, place + 1);
        assert!(start.abs_diff(place as u64 * 6 * 44_100) <= PACKET as u64 / 2);
    }
    let file = told.file("eng_aac_2ch");
    let packets = packets(&file);
    assert_eq!(packets.len(), (14 * 44_100_usize).div_ceil(PACKET));
    assert!(
        packets
            .windows(2)
            .all(|pair| pair[0].dts + 1024 == pair[1].dts)
    );
    assert_eq!(decoded_frames(&file), packets.len());
}

#[test]
fn sound_that_begins_late_or_ends_early_is_filled_with_silence() {
    let clip = make(
        "late.mkv",
        "-f lavfi -i testsrc2=size=64x64:duration=4 -itsoffset 1 -f lavfi -i sine=duration=2 \
         -c:v libx264 -c:a pcm_s16le",
    );
    let spec = track(
        &clip.path,
        track_facts(1, 44_100, 3_000_000_000),
        Some(4_000_000_000),
    );
    let (output, told) = audio(spec);
    assert_eq!(output.samples, 4 * 44_100);
    assert!(output.silence_samples.abs_diff(2 * 44_100) < 100);
    let heard = samples(&told.file("eng_aac_2ch"));
    assert!(first_loud(&heard).abs_diff(44_100) < PACKET);
    assert!(peak(&heard, 0, 3 * 44_100 + 2 * PACKET..4 * 44_100) < 0.01);
}

#[test]
fn a_gap_in_the_source_does_not_move_what_follows() {
    // Packets between 2 s and 4 s are missing; the beep at 5 s stays there.
    let clip = make(
        "gap.mkv",
        "-f lavfi -i aevalsrc='if(gte(t,5),sin(2*PI*1000*t),0)':s=48000:d=6 \
         -af aselect='not(between(t,2,4))' -c:a pcm_s16le",
    );
    let (_, told) = audio(track(
        &clip.path,
        track_facts(1, 48_000, 6_000_000_000),
        None,
    ));
    let first = first_loud(&samples(&told.file("eng_aac_2ch")));
    assert!(first.abs_diff(5 * 48_000) < PACKET, "{first}");
}

#[test]
fn the_centre_of_surround_is_in_both_channels() {
    let clip = make(
        "surround.mp4",
        "-f lavfi -i sine=frequency=500:duration=2:sample_rate=48000 \
         -af pan=5.1|FL=0*c0|FR=0*c0|FC=4*c0|LFE=0*c0|BL=0*c0|BR=0*c0 -c:a aac",
    );
    let (_, told) = audio(track(
        &clip.path,
        track_facts(6, 48_000, 2_000_000_000),
        None,
    ));
    let heard = samples(&told.file("eng_aac_2ch"));
    let (left, right) = (
        peak(&heard, 0, 24_000..72_000),
        peak(&heard, 1, 24_000..72_000),
    );
    assert!(left > 0.1 && (left - right).abs() < 0.02, "{left} {right}");
}

/// As in a recording, where a programme in 5.1 is followed by one in stereo.
#[test]
fn sound_that_goes_from_six_channels_to_two_is_heard_to_its_end() {
    let part = |name: &str, layout: &str, from_s: u32| {
        let tone = "0.5*sin(2*PI*440*t)";
        let silent = "|0".repeat(if layout == "stereo" { 1 } else { 5 });
        let recipe = format!(
            "-f lavfi -i aevalsrc={tone}{silent}:c={layout}:s=48000:d=3 -c:a aac -b:a 192k \
             -output_ts_offset {from_s}"
        );
        std::fs::read(make(name, &recipe).path).unwrap()
    };
    let clip = make("whole.ts", "-f lavfi -i sine=duration=1 -c:a aac");
    let parts = [part("a.ts", "5.1", 0), part("b.ts", "stereo", 3)];
    std::fs::write(&clip.path, parts.concat()).unwrap();
    let (_, told) = audio(track(
        &clip.path,
        track_facts(6, 48_000, 6_000_000_000),
        None,
    ));
    let heard = samples(&told.file("eng_aac_2ch"));
    let surround = peak(&heard, 0, 48_000..2 * 48_000);
    let stereo = peak(&heard, 0, 4 * 48_000..5 * 48_000);
    assert!((surround - 0.207).abs() < 0.03, "{surround}");
    assert!((stereo - 0.5).abs() < 0.03, "{stereo}");
    assert!(peak(&heard, 1, 4 * 48_000..5 * 48_000) < 0.02);
}

#[test]
fn a_truncated_track_is_refused() {
    let clip = make("beep.mkv", &format!("{BEEP} -c:a pcm_s16le"));
    let spec = track(&clip.path, track_facts(1, 48_000, 9_000_000_000), None);
    let (result, _) = telecine_activities::tool::run_in_process::<
        telecine_activities::media::encode_audio::EncodeAudio,
    >(spec);
    assert_eq!(result.unwrap_err().code, "source_truncated");
}
