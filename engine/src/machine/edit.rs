use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Rejected, View};
use crate::activity::hex;
use crate::retry::edits::Edit;
use crate::run::RunStatus;

/// Bytes of a value that an event repeats; of a longer one it says the digest.
const VALUE_BYTES: usize = 4096;

/// Somebody changes the plan of a run that stopped short: its history says who and what, one event for
/// each edit. What the edits do is in the plan.
pub(super) fn edit(view: &mut View, edits: &[Edit], by: &str) -> Result<(), Rejected> {
    let status = view.run.status;
    if !status.is_stopped() || status == RunStatus::Succeeded {
        return Err(Rejected::Conflict(format!("the job is {status}")));
    }
    if edits.is_empty() {
        let data = json!({"op": "withdraw", "by": by});
        view.event("plan.edited", None, data);
    }
    for edit in edits {
        let mut data = json!(edit);
        data["by"] = json!(by);
        for member in ["output", "value"] {
            if let Some(value) = data.get_mut(member) {
                shorten(value);
            }
        }
        view.event("plan.edited", edit.step().cloned(), data);
    }
    Ok(())
}

fn shorten(value: &mut Value) {
    let text = value.to_string();
    if text.len() > VALUE_BYTES {
        let digest = hex(&Sha256::digest(text.as_bytes()));
        *value = json!({"bytes": text.len(), "sha256": digest});
    }
}
