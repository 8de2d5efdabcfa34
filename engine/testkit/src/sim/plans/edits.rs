use chrono::DateTime;
use serde_json::json;
use telecine_engine::definition::Definition;
use telecine_engine::id::StepId;
use telecine_engine::retry::edits::{Edit, RecordedEdit};

use crate::sim::{Model, Random};

/// A few edits of different steps, each of which may be asked for.
pub(super) fn some(
    random: &mut Random,
    (model, definition): (&Model, &Definition),
) -> Vec<RecordedEdit> {
    let mut edits = Vec::new();
    for (name, written) in &definition.steps {
        if !random.chance(30) {
            continue;
        }
        let is_list = written.for_each.is_some();
        let node = model.nodes.iter().find(|node| node.name == *name);
        let items = node.and_then(|node| node.total);
        let items = items.filter(|total| is_list && *total > 0);
        let step = match items {
            Some(total) if random.chance(50) => {
                let item = random.below(total as usize);
                StepId::item(name, u32::try_from(item).unwrap_or_default())
            }
            _ => StepId::single(name),
        };
        let whole_list = is_list && step.item.is_none();
        let set = model.amendments().set.get(&step);
        let set = set.and_then(|values| values.keys().next());
        edits.push(match random.below(7) {
            0 => Edit::Force { step },
            1 => Edit::Skip {
                step,
                why: "the history wants it".to_owned(),
            },
            2 => Edit::Supply {
                step,
                output: match whole_list {
                    true => json!(vec![1; random.below(3)]),
                    false => json!({"list": [1]}),
                },
            },
            3 => Edit::Budget {
                step: Some(step),
                attempts: 1 + u32::try_from(random.below(3)).unwrap_or_default(),
            },
            4 if set.is_some() => Edit::Unset {
                path: set.cloned().unwrap_or_default(),
                step,
            },
            _ => Edit::Set {
                step,
                path: "/size".to_owned(),
                value: json!(random.below(5)),
            },
        });
    }
    if random.chance(20) {
        edits.push(Edit::Budget {
            attempts: 1,
            step: None,
        });
    }
    edits.into_iter().map(recorded).collect()
}

pub(super) fn recorded(edit: Edit) -> RecordedEdit {
    RecordedEdit {
        edit,
        by: "the history".to_owned(),
        at: DateTime::UNIX_EPOCH,
    }
}
