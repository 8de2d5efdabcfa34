use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a checkpoint says that the one before it did not.
///
/// Most activities save a list of what is done, which only gets longer. An activity hands over the
/// whole list each time; what is written is what is new, so a step that saves a thousand
/// checkpoints does not write its first entry a thousand times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Growth {
    /// Takes the place of what was there.
    Set(Value),
    /// What happened to entries of an object; the others stay.
    Keys(BTreeMap<String, Growth>),
    /// What happened to elements of a list, by their place, and what follows after the last one.
    List {
        /// Elements that changed.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        changed: BTreeMap<usize, Growth>,
        /// Elements that are new.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        more: Vec<Value>,
    },
}

/// A growth does not fit the value that it is said to grow from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a checkpoint does not continue the one before it")]
pub struct Mismatch;

impl Growth {
    /// What makes `after` out of `before`; `None` if they are equal.
    #[must_use]
    pub fn between(before: &Value, after: &Value) -> Option<Self> {
        match (before, after) {
            _ if before == after => None,
            (Value::Object(before), Value::Object(after))
                if before.keys().all(|key| after.contains_key(key)) =>
            {
                let change = |(key, new): (&String, &Value)| {
                    let growth = match before.get(key) {
                        Some(old) => Self::between(old, new)?,
                        None => Self::Set(new.clone()),
                    };
                    Some((key.clone(), growth))
                };
                Some(Self::Keys(after.iter().filter_map(change).collect()))
            }
            (Value::Array(before), Value::Array(after)) if before.len() <= after.len() => {
                let places = before.iter().zip(after).enumerate();
                let changed = places
                    .filter_map(|(place, (old, new))| Some((place, Self::between(old, new)?)));
                Some(Self::List {
                    changed: changed.collect(),
                    more: after[before.len()..].to_vec(),
                })
            }
            _ => Some(Self::Set(after.clone())),
        }
    }

    /// Makes of a value what it grew to.
    ///
    /// # Errors
    /// [`Mismatch`] if the value is not the one that this is the growth of; it is then half changed.
    pub fn apply(self, value: &mut Value) -> Result<(), Mismatch> {
        match (self, value) {
            (Self::Set(new), value) => *value = new,
            (Self::Keys(changed), Value::Object(entries)) => {
                for (key, growth) in changed {
                    growth.apply(entries.entry(key).or_insert(Value::Null))?;
                }
            }
            (Self::List { changed, more }, Value::Array(elements)) => {
                for (place, growth) in changed {
                    growth.apply(elements.get_mut(place).ok_or(Mismatch)?)?;
                }
                elements.extend(more);
            }
            _ => return Err(Mismatch),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..3).prop_map(Value::from),
            "[ab]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[abc]", inner, 0..3)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_value_grows_into_what_it_was_compared_with(before in values(), after in values()) {
            let Some(growth) = Growth::between(&before, &after) else {
                prop_assert_eq!(before, after);
                return Ok(());
            };
            let text = serde_json::to_string(&growth).unwrap();
            let stored: Growth = serde_json::from_str(&text).unwrap();
            let mut grown = before;
            stored.apply(&mut grown).unwrap();
            prop_assert_eq!(grown, after);
        }
    }

    #[test]
    fn a_list_that_got_longer_is_told_by_what_is_new() {
        let before = json!({"track": "r720", "segments": [{"n": 1}, {"n": 2}]});
        let after = json!({"track": "r720", "segments": [{"n": 1}, {"n": 2}, {"n": 3}]});
        let growth = serde_json::to_value(Growth::between(&before, &after)).unwrap();
        let expected = json!({"keys": {"segments": {"list": {"more": [{"n": 3}]}}}});
        assert_eq!(growth, expected);
    }

    #[test]
    fn a_growth_of_something_else_is_refused() {
        let growth = Growth::between(&json!({"a": [1]}), &json!({"a": [1, 2]})).unwrap();
        assert_eq!(growth.apply(&mut json!({"a": 1})), Err(Mismatch));
    }
}
