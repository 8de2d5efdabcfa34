//! How the channels of a source are heard in two (ITU-R BS.775-3, annex 4).
//!
//! `audioconvert` has weights of its own, which bring the bass channel in at full level, and then
//! turn everything down to make room for it.

use std::sync::atomic::{AtomicBool, Ordering};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_audio::{AudioChannelPosition, AudioInfo};

/// The level of a channel that is heard in both ears, or beside another: 3 dB down.
const HALF_POWER: f32 = std::f32::consts::FRAC_1_SQRT_2;

/// Lets an `audioconvert` mix more than two channels with the weights of this module, as soon as
/// it learns which they are.
pub(super) fn mix_by_position(convert: &gst::Element) {
    let Some(pad) = convert.static_pad("sink") else {
        return;
    };
    let mixes = AtomicBool::new(false);
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |pad, probed| {
        if let (Some(event), Some(convert)) = (probed.event(), pad.parent_element())
            && let gst::EventView::Caps(caps) = event.view()
            && let Ok(info) = AudioInfo::from_caps(caps.caps())
        {
            let many = info.channels() > 2;
            // A recording goes from six channels to two where a programme ends. Weights that were
            // set stay set, and those for six refuse two.
            if mixes.fetch_or(many, Ordering::Relaxed) || many {
                convert.set_property("mix-matrix", as_value(&weights_of(&info)));
            }
        }
        gst::PadProbeReturn::Ok
    });
}

/// The weight of each channel in left and right: of one or two channels, what they are.
fn weights_of(info: &AudioInfo) -> [Vec<f32>; 2] {
    match info.channels() {
        1 => [vec![1.0], vec![1.0]],
        2 => [vec![1.0, 0.0], vec![0.0, 1.0]],
        _ => matrix(&positions(info)),
    }
}

/// Positions of all channels; those that are not said are taken to be in the centre.
fn positions(info: &AudioInfo) -> Vec<AudioChannelPosition> {
    let known = info.positions().filter(|_| !info.is_unpositioned());
    known.map_or_else(
        || vec![AudioChannelPosition::FrontCenter; info.channels() as usize],
        <[AudioChannelPosition]>::to_vec,
    )
}

/// The weight of each channel in left and right. No input can make a sum above full scale.
fn matrix(positions: &[AudioChannelPosition]) -> [Vec<f32>; 2] {
    let mut rows = [0, 1].map(|ear| {
        let weights = positions.iter().map(|position| weights(*position)[ear]);
        weights.collect::<Vec<f32>>()
    });
    let loudest = rows
        .iter()
        .map(|row| row.iter().sum())
        .fold(1.0_f32, f32::max);
    for weight in rows.iter_mut().flatten() {
        *weight /= loudest;
    }
    rows
}

/// The weight of a channel in left and right, before there is made room for all of them. Bass has
/// none: speakers of two channels cannot show it, and mixes for them leave it out.
fn weights(position: AudioChannelPosition) -> [f32; 2] {
    use AudioChannelPosition as Position;
    match position {
        Position::FrontLeft => [1.0, 0.0],
        Position::FrontRight => [0.0, 1.0],
        Position::Lfe1 | Position::Lfe2 => [0.0, 0.0],
        Position::RearLeft
        | Position::SideLeft
        | Position::SurroundLeft
        | Position::WideLeft
        | Position::FrontLeftOfCenter
        | Position::TopFrontLeft
        | Position::TopRearLeft
        | Position::TopSideLeft
        | Position::BottomFrontLeft => [HALF_POWER, 0.0],
        Position::RearRight
        | Position::SideRight
        | Position::SurroundRight
        | Position::WideRight
        | Position::FrontRightOfCenter
        | Position::TopFrontRight
        | Position::TopRearRight
        | Position::TopSideRight
        | Position::BottomFrontRight => [0.0, HALF_POWER],
        Position::RearCenter => [0.5, 0.5],
        _ => [HALF_POWER, HALF_POWER],
    }
}

fn as_value(matrix: &[Vec<f32>; 2]) -> gst::Array {
    gst::Array::new(matrix.iter().map(gst::Array::new))
}

#[cfg(test)]
mod tests {
    use super::*;
    use AudioChannelPosition as Position;

    #[test]
    fn centre_and_surround_are_half_as_strong_and_bass_is_left_out() {
        let [left, right] = matrix(&[
            Position::FrontLeft,
            Position::FrontRight,
            Position::FrontCenter,
            Position::Lfe1,
            Position::RearLeft,
            Position::RearRight,
        ]);
        let near = |found: f32, expected: f32| assert!((found - expected).abs() < 1e-3, "{found}");
        for (found, expected) in left.iter().zip([0.414, 0.0, 0.293, 0.0, 0.293, 0.0]) {
            near(*found, expected);
        }
        near(right.iter().sum(), 1.0);
    }

    #[test]
    fn three_channels_without_bass_keep_their_balance() {
        let [left, right] = matrix(&[
            Position::FrontLeft,
            Position::FrontRight,
            Position::RearCenter,
        ]);
        assert_eq!(left, [2.0 / 3.0, 0.0, 1.0 / 3.0]);
        assert_eq!(right, [0.0, 2.0 / 3.0, 1.0 / 3.0]);
    }
}
