use std::io;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{Action, Basis, PlannedStep, Reason};
use crate::activity::hex;
use crate::id::StepId;
use crate::retry::adoption::DefinitionChanges;
use crate::retry::edits::{Edit, RecordedEdit};
use crate::retry::reuse::Beside;
use crate::retry::world::Identity;
use crate::run::CheckpointHead;

/// What of a plan its digest is over.
#[derive(Serialize)]
pub(super) struct Essence<'a> {
    basis: &'a Basis,
    steps: Vec<Part<'a>>,
    edits: Vec<&'a Edit>,
    identity: Option<&'a Identity>,
    /// Objects beside the source that are others now.
    #[serde(skip_serializing_if = "Option::is_none")]
    replacements: Option<&'a Beside>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<&'a DefinitionChanges>,
}

/// What of a step. An object is named with its digest; that it is damaged shows in what the step does,
/// so that looking at objects that are all there leaves the digest as it was.
type Part<'a> = (
    (&'a StepId, Action, Reason, &'a [StepId]),
    (Option<CheckpointHead>, &'a [String]),
    Option<(Option<&'a str>, Vec<(&'a str, &'a str)>)>,
);

impl<'a> Essence<'a> {
    pub(super) fn of(basis: &'a Basis, steps: &'a [PlannedStep]) -> Self {
        Self {
            basis,
            steps: steps.iter().map(part).collect(),
            edits: Vec::new(),
            identity: None,
            replacements: None,
            changes: None,
        }
    }

    pub(super) fn with(self, edits: &'a [RecordedEdit], identity: Option<&'a Identity>) -> Self {
        Self {
            edits: edits.iter().map(|recorded| &recorded.edit).collect(),
            identity,
            ..self
        }
    }

    pub(super) fn made_of(self, replacements: &'a Beside) -> Self {
        Self {
            replacements: Some(replacements).filter(|it| !it.is_empty()),
            ..self
        }
    }

    pub(super) fn becoming(self, changes: Option<&'a DefinitionChanges>) -> Self {
        Self { changes, ..self }
    }

    pub(super) fn digest(&self) -> String {
        let mut hash = Hashing(Sha256::new());
        // Nothing in it can fail to be JSON, and hashing does not fail.
        let _ = serde_json::to_writer(&mut hash, self);
        format!("sha256:{}", hex(&hash.0.finalize()))
    }
}

fn part(step: &PlannedStep) -> Part<'_> {
    let proof = step.proof.as_ref().map(|proof| {
        let objects = proof.artifacts.iter();
        let objects = objects.map(|it| (it.artifact.key.as_str(), it.artifact.sha256.as_str()));
        (proof.cache_key.as_deref(), objects.collect())
    });
    (
        (&step.id, step.action, step.reason, &step.because),
        (step.checkpoint, &step.damaged),
        proof,
    )
}

struct Hashing(Sha256);

impl io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
