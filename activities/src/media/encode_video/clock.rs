//! When a decoded frame is shown, where the decoder had to guess.

/// Gives every frame a time.
///
/// AVI and MPEG program streams have no times of showing, or few. The decoder makes some up from those
/// of decoding and then takes them back: of 225 frames with two B-frames between others, the
/// thirteenth came at the time of the twelfth (0.44 s), another at 0.88 s, and all later ones two
/// frames too early. Frames come in the order in which they are shown, so one that is not later than the
/// one before it is shown next, and so are those behind it until the container leaves a gap.
#[derive(Debug)]
pub(super) struct Clock {
    guessed: bool,
    frame_ns: u64,
    last_ns: Option<i64>,
}

impl Clock {
    /// A clock for frames of `frame_ns`; `guessed` if the container has no times of showing.
    pub(super) fn new(guessed: bool, frame_ns: u64) -> Self {
        Self {
            guessed,
            frame_ns,
            last_ns: None,
        }
    }

    /// The time of the next frame, which lasts `lasts_ns` and is shown at `said_ns` as far as the
    /// decoder knows.
    pub(super) fn time(&mut self, said_ns: Option<i64>, lasts_ns: Option<u64>) -> i64 {
        // The average of a rate that varies is longer than most of its frames.
        let step_ns = lasts_ns.map_or(self.frame_ns, |lasts_ns| lasts_ns.min(self.frame_ns));
        let step_ns = i64::try_from(step_ns).unwrap_or(i64::MAX);
        let next_ns = self.last_ns.map_or(0, |last| last.saturating_add(step_ns));
        let taken_back = |said: i64| {
            let last = self.last_ns.filter(|_| self.guessed);
            last.is_some_and(|last| said < last.saturating_add(step_ns / 2))
        };
        let at_ns = said_ns.filter(|said| !taken_back(*said)).unwrap_or(next_ns);
        self.last_ns = Some(at_ns);
        at_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: u64 = 40;

    fn times(guessed: bool, said: &[Option<i64>]) -> Vec<i64> {
        let mut clock = Clock::new(guessed, FRAME);
        let said = said.iter();
        said.map(|said| clock.time(*said, Some(FRAME))).collect()
    }

    #[test]
    fn a_guess_that_is_taken_back_moves_later_frames_until_there_is_a_gap() {
        let said = [0, 40, 40, 80, 120, 300, 340].map(Some);
        assert_eq!(times(true, &said), [0, 40, 80, 120, 160, 300, 340]);
    }

    #[test]
    fn a_missing_time_follows_the_frame_before() {
        let said = [Some(80), None, None, Some(200)];
        assert_eq!(times(false, &said), [80, 120, 160, 200]);
    }

    #[test]
    fn times_of_a_container_that_has_them_are_left_alone() {
        let said = [0, 40, 40, 41, 80].map(Some);
        assert_eq!(times(false, &said), [0, 40, 40, 41, 80]);
    }
}
