use super::super::boxes::BoxView;
use super::super::header::Header;
use super::super::report::FileReport;
use super::super::rules::Rule;
use super::FragmentHeader;

/// A sample of a fragment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) duration: u32,
    pub(super) size: u32,
    pub(super) flags: u32,
    /// Composition offset.
    pub(super) offset: i64,
}

/// `sample_is_non_sync_sample`.
const NON_SYNC: u32 = 0x0001_0000;

impl Sample {
    pub(super) fn is_sync(&self) -> bool {
        self.flags & NON_SYNC == 0
    }

    /// `sample_depends_on`: 1 depends on others, 2 does not.
    pub(super) fn depends_on(&self) -> u32 {
        self.flags >> 24 & 3
    }
}

/// Flags of `trun` (ISO/IEC 14496-12, 8.8.8).
const DATA_OFFSET: u32 = 0x01;
const FIRST_FLAGS: u32 = 0x04;
const DURATIONS: u32 = 0x100;
const SIZES: u32 = 0x200;
const FLAGS: u32 = 0x400;
const OFFSETS: u32 = 0x800;
const KNOWN_FLAGS: u32 = DATA_OFFSET | FIRST_FLAGS | DURATIONS | SIZES | FLAGS | OFFSETS;

/// A track run as it is written.
pub(super) struct Run {
    flags: u32,
    count: usize,
    data_offset: Option<i32>,
    first_flags: Option<u32>,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Default)]
struct Entry {
    duration: Option<u32>,
    size: Option<u32>,
    flags: Option<u32>,
    offset: i64,
}

impl Run {
    pub(super) fn read(trun: &BoxView<'_>, report: &mut FileReport<'_>) -> Option<Self> {
        let (version, run) = trun.read(report, |fields| {
            let (version, flags) = fields.full()?;
            let count = fields.u32()? as usize;
            let has = |bit| flags & bit != 0;
            let data_offset = if has(DATA_OFFSET) {
                Some(fields.u32()?.cast_signed())
            } else {
                None
            };
            let first_flags = if has(FIRST_FLAGS) {
                Some(fields.u32()?)
            } else {
                None
            };
            let mut entries = Vec::new();
            // Without fields there are no bytes that would end a wrong count.
            for _ in 0..if has(DURATIONS | SIZES | FLAGS | OFFSETS) {
                count
            } else {
                0
            } {
                let mut optional = |bit| {
                    if has(bit) {
                        fields.u32().map(Some)
                    } else {
                        Some(None)
                    }
                };
                entries.push(Entry {
                    duration: optional(DURATIONS)?,
                    size: optional(SIZES)?,
                    flags: optional(FLAGS)?,
                    offset: optional(OFFSETS)?.map_or(0, |offset| match version {
                        0 => i64::from(offset),
                        _ => i64::from(offset.cast_signed()),
                    }),
                });
            }
            let run = Self {
                flags,
                count,
                data_offset,
                first_flags,
                entries,
            };
            Some((version, run))
        })?;
        if version > 1 {
            report.say(
                Rule::BoxField,
                trun.place(),
                format!("version {version} is not known"),
            );
        }
        Some(run)
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn check(
        &self,
        trun: &BoxView<'_>,
        moof: &BoxView<'_>,
        data: usize,
        report: &mut FileReport<'_>,
    ) {
        let rule = Rule::CmafRun;
        if self.flags & !KNOWN_FLAGS != 0 {
            report.say(rule, trun.place(), "it has flags that are not known");
        }
        if self.flags & FIRST_FLAGS != 0 && self.flags & FLAGS != 0 {
            report.say(
                rule,
                trun.place(),
                "it has flags for the first and for every sample",
            );
        }
        if self.count == 0 {
            report.say(rule, trun.place(), "it has no sample");
        }
        let Some(offset) = self.data_offset else {
            report.say(rule, trun.place(), "it does not say where its data are");
            return;
        };
        let stated = moof.offset as i64 + i64::from(offset);
        let at = (trun.place(), "where its data begin");
        report.equal(rule, at, data as i64, stated);
    }

    /// Adds its samples to those of the runs before it.
    pub(super) fn append(&self, samples: &mut Vec<Sample>, head: &FragmentHeader, header: &Header) {
        for index in 0..self.count {
            let entry = self.entries.get(index).copied().unwrap_or_default();
            let first = self.first_flags.filter(|_| index == 0);
            let flags = first.or(entry.flags).or(head.sample_flags);
            samples.push(Sample {
                duration: entry
                    .duration
                    .or(head.duration)
                    .unwrap_or(header.defaults.duration),
                size: entry.size.or(head.size).unwrap_or(header.defaults.size),
                flags: flags.unwrap_or(header.defaults.flags),
                offset: entry.offset,
            });
        }
    }
}
