//! Identifiers: a prefix that says what it is, then a UUID v7 in Crockford base32, so that ids
//! sort by time.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 128 bits in groups of five.
const ENCODED_CHARS: usize = 26;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// What ids of this kind begin with.
            pub const PREFIX: &'static str = $prefix;

            /// A new id, later than every earlier one of this process.
            #[must_use]
            pub fn generate() -> Self {
                Self(format!("{}{}", $prefix, base32(Uuid::now_v7())))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<String> for $name {
            /// Takes an id as it was stored.
            fn from(id: String) -> Self {
                Self(id)
            }
        }
    };
}

id!(
    /// A run. The public API calls it a job, hence the prefix.
    RunId,
    "job_"
);
id!(
    /// One start of one worker process.
    SessionId,
    "session_"
);
id!(
    /// A retry plan.
    PlanId,
    "plan_"
);

impl RunId {
    /// What sorts before every id that is made from then on, and behind those made before.
    #[must_use]
    pub fn first_of(at: DateTime<Utc>) -> Self {
        let millis = u128::try_from(at.timestamp_millis()).unwrap_or_default();
        Self(format!(
            "{}{}",
            Self::PREFIX,
            base32(Uuid::from_u128(millis << 80))
        ))
    }
}

/// A step of a run: a node of the definition, and which item of its fan-out.
/// Written `package` or `encode[3]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct StepId {
    /// Name of the step in the definition.
    pub node: String,
    /// Position in the list of `for_each`, from 0.
    pub item: Option<u32>,
}

impl StepId {
    /// The only step of a node without `for_each`.
    #[must_use]
    pub fn single(node: &str) -> Self {
        Self {
            node: node.to_owned(),
            item: None,
        }
    }

    /// An item of a fan-out.
    #[must_use]
    pub fn item(node: &str, item: u32) -> Self {
        Self {
            node: node.to_owned(),
            item: Some(item),
        }
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.item {
            None => f.write_str(&self.node),
            Some(item) => write!(f, "{}[{item}]", self.node),
        }
    }
}

impl From<StepId> for String {
    fn from(id: StepId) -> Self {
        id.to_string()
    }
}

/// A text that is no step id.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a step id; they look like `package` or `encode[3]`")]
pub struct BadStepId(String);

impl FromStr for StepId {
    type Err = BadStepId;

    fn from_str(text: &str) -> Result<Self, BadStepId> {
        let bad = || BadStepId(text.to_owned());
        match text.split_once('[') {
            None if text.is_empty() => Err(bad()),
            None => Ok(Self::single(text)),
            Some((node, rest)) => {
                let item = rest.strip_suffix(']').ok_or_else(bad)?;
                Ok(Self::item(node, item.parse().map_err(|_| bad())?))
            }
        }
    }
}

impl TryFrom<String> for StepId {
    type Error = BadStepId;

    fn try_from(text: String) -> Result<Self, BadStepId> {
        text.parse()
    }
}

fn base32(id: Uuid) -> String {
    let bits = id.as_u128();
    (0..ENCODED_CHARS)
        .rev()
        .map(|group| char::from(ALPHABET[(bits >> (group * 5) & 31) as usize]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time() {
        let ids: Vec<_> = (0..100).map(|_| RunId::generate()).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(ids.iter().all(|id| id.as_str().len() == 30));
    }

    #[test]
    fn ids_of_a_moment_sort_behind_its_first() {
        let id = RunId::generate();
        let second = chrono::TimeDelta::seconds(1);
        assert!(RunId::first_of(Utc::now() - second) < id);
        assert!(RunId::first_of(Utc::now() + second) > id);
        assert_eq!(
            RunId::first_of(Utc::now()).as_str().len(),
            id.as_str().len()
        );
    }

    #[test]
    fn step_ids_round_trip() {
        for text in ["probe", "encode[0]", "encode[99999]"] {
            assert_eq!(text.parse::<StepId>().unwrap().to_string(), text);
        }
        for text in ["", "a[", "a[]", "a[x]", "a[-1]"] {
            assert!(text.parse::<StepId>().is_err(), "{text:?}");
        }
    }
}
