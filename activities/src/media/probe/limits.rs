//! What a source may be at most.

/// Pixels of one picture: 8192 x 8192. A decoded frame of that size is 100 MiB.
pub(super) const MAX_PIXELS: u64 = 8192 * 8192;

/// Length of the presentation: 24 hours.
pub(super) const MAX_DURATION_NS: u64 = 24 * 3600 * 1_000_000_000;

/// Streams of all kinds. Broadcast multiplexes have a few dozen.
pub(super) const MAX_STREAMS: usize = 64;

/// Packets of all streams. A day at 120 fps with sound has 15 million, at 16 bytes each.
pub(super) const MAX_FRAMES: u64 = 20_000_000;

/// Decoded frames that are looked at for facts that only decoded frames tell.
pub(super) const SAMPLE_FRAMES: usize = 8;

/// Cuts at which seeking is tried.
pub(super) const SEEK_TRIALS: usize = 3;
