use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};

/// What every child may map beside what its threads need. The ladder of a 1080p source maps
/// 2.4 GiB on two cores and has 0.65 GiB resident; 8K has sixteen times the pixels of 1080p, but
/// only few of its frames are held. The limit is to stop what has run away.
const ADDRESS_SPACE_BYTES: u64 = 8 << 30;

/// The allocator reserves up to eight arenas of 64 MiB per core and hardly touches them, and each
/// encoder of a ladder starts some threads per core with 8 MiB of stack.
const ADDRESS_SPACE_PER_CORE_BYTES: u64 = 1 << 30;

/// After `SIGXCPU`, which the tool cannot catch, the kernel would kill.
const CPU_GRACE_S: u64 = 5;

/// What a child may use, enforced by the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// CPU time over all its threads, in seconds.
    pub cpu_s: u64,
    /// The largest file it may write, in bytes.
    pub file_bytes: u64,
}

impl Limits {
    /// For tools that look at a source or make a few pictures of it: ten minutes of CPU, files
    /// of 1 GiB.
    pub const SMALL: Self = Self {
        cpu_s: 600,
        file_bytes: 1 << 30,
    };

    /// For tools that decode or encode `media_s` seconds of media. The ladder of a 1080p source
    /// costs 2.2 CPU seconds per second; 300 leaves room for 4K sources, slow codecs and slow
    /// machines, and still ends a loop. Files may have 4 GiB, far more than a segment has.
    #[must_use]
    pub fn for_media(media_s: f64) -> Self {
        const CPU_PER_MEDIA: u64 = 300;
        Self {
            cpu_s: Self::SMALL.cpu_s + (media_s.max(0.0).ceil() as u64) * CPU_PER_MEDIA,
            file_bytes: 4 << 30,
        }
    }

    /// For tools that read a source of that size once without decoding it: hashing and demuxing
    /// took a CPU second per 350 MB, so one per 10 MB ends only what loops.
    #[must_use]
    pub fn for_bytes(bytes: u64) -> Self {
        Self {
            cpu_s: Self::SMALL.cpu_s + bytes / 10_000_000,
            ..Self::SMALL
        }
    }

    /// Puts the limits on this process. A limit that the system does not know is left out.
    pub(super) fn apply(self) {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
        let memory = ADDRESS_SPACE_BYTES + cores * ADDRESS_SPACE_PER_CORE_BYTES;
        limit(Resource::Core, 0, 0);
        limit(Resource::Cpu, self.cpu_s, self.cpu_s + CPU_GRACE_S);
        limit(Resource::Fsize, self.file_bytes, self.file_bytes);
        limit(Resource::As, memory, memory);
    }
}

fn limit(resource: Resource, current: u64, maximum: u64) {
    let _ = setrlimit(
        resource,
        Rlimit {
            current: Some(current),
            maximum: Some(maximum),
        },
    );
}
