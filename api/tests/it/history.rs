//! What the history of a job has to be like, whatever has happened to it.

use std::collections::BTreeSet;

use telecine_engine::run::RecordedEvent;

/// The events name every object that a checkpoint made durable: none of them is made durable by a
/// second attempt.
pub(crate) fn check_nothing_twice(events: &[RecordedEvent]) {
    let mut made = BTreeSet::new();
    let checkpoints = events.iter().map(|event| &event.event);
    for event in checkpoints.filter(|event| event.kind == "step.checkpoint") {
        let keys = event.data["artifacts"]
            .as_array()
            .expect("a checkpoint names objects");
        for key in keys.iter().filter_map(|key| key.as_str()) {
            let (name, _tag) = key.rsplit_once('_').expect("an attempt's own name");
            assert!(made.insert(name.to_owned()), "{name} was encoded twice");
        }
    }
}
