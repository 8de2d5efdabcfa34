//! Checks one rendition as it is stored: every byte, box and frame of it.

mod decode;
mod rules;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use telecine_engine::activity::{ErrorClass, Progress};
use telecine_engine::objects::Artifact;

use super::boxes::{Header, read_header, read_segment};
use super::renditions::{Segment, Track};
use crate::tool::{Emitter, Tool, ToolError};
use decode::Decoding;
use rules::{Rule, Violation};

/// Reads, compares and decodes the segments of a rendition.
#[derive(Debug)]
pub struct CheckRendition;

/// Which rendition, and where it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    /// What was recorded of it.
    pub track: Track,
    /// Its header.
    pub header: PathBuf,
    /// Its segments in order of time.
    pub segments: Vec<StoredSegment>,
    /// Samples of the renditions that were checked before this one.
    pub samples_before: u64,
    /// Samples of all renditions.
    pub samples_total: u64,
}

/// A segment as recorded, and as a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoredSegment {
    /// What was recorded of it.
    pub segment: Segment,
    /// Its bytes.
    pub file: PathBuf,
}

impl Tool for CheckRendition {
    const NAME: &'static str = "check";
    type Spec = Spec;
    type Event = ();
    /// Number of samples that were decoded.
    type Output = u64;

    /// # Errors
    /// Class `bug`: `package_invalid`, naming the rule. Class `dependency`: `object_corrupt`.
    fn run(spec: Spec, emit: &Emitter<()>) -> Result<u64, ToolError> {
        super::gst::init()?;
        let name = spec.track.name.clone();
        let broken = |violation: Violation| violation.in_rendition(&name);
        let init = read(&spec.header)?;
        let header = read_header(&init).map_err(|e| broken(Rule::HeaderReadable.says(e)))?;
        rules::check_header(&header, &spec.track).map_err(broken)?;
        let decoding = Decoding::start(&spec, &header, init)?;
        for stored in &spec.segments {
            let bytes = checked_bytes(stored)?;
            check_segment(&bytes, &header, &stored.segment).map_err(broken)?;
            decoding.push(bytes)?;
            emit.progress(progress(&spec, decoding.decoded()));
        }
        let decoded = decoding.finish(|decoded| emit.progress(progress(&spec, decoded)))?;
        rules::check_decoded(&spec, &decoded).map_err(broken)?;
        Ok(decoded.iter().sum())
    }
}

fn check_segment(bytes: &[u8], header: &Header, segment: &Segment) -> Result<(), Violation> {
    let unreadable = |e| Rule::SegmentReadable.says(e).in_segment(segment.number);
    let fragment = read_segment(bytes, header).map_err(unreadable)?;
    rules::check_segment(&fragment, segment)
}

/// The bytes of a segment, which are those that were recorded.
fn checked_bytes(stored: &StoredSegment) -> Result<Vec<u8>, ToolError> {
    let bytes = read(&stored.file)?;
    let Artifact {
        key, size, sha256, ..
    } = &stored.segment.object;
    let digest = Sha256::digest(&bytes);
    let found = digest
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>();
    if bytes.len() as u64 == *size && found == *sha256 {
        return Ok(bytes);
    }
    Err(ToolError::new(
        ErrorClass::Dependency,
        "object_corrupt",
        format!("the stored object {key} does not hold the bytes that were written"),
    ))
}

fn read(path: &PathBuf) -> Result<Vec<u8>, ToolError> {
    std::fs::read(path).map_err(|error| ToolError::io("read a stored object", error))
}

fn progress(spec: &Spec, decoded: u64) -> Progress {
    let counter = spec.samples_before + decoded;
    Progress {
        counter,
        percent: Some(100.0 * counter as f64 / spec.samples_total.max(1) as f64),
        ..Progress::default()
    }
}
