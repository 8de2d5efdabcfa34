//! Reuse keys: what the output of a step depends on, as one digest. Two steps of equal keys would
//! make the same thing, whatever run they belong to.
//!
//! The preimage is kept apart from the digest, so that a difference can be named: see [`explain`].
//! It says how the input would look if it did not matter where anything lies:
//!
//! * a member that the activity's schema marks as [`SOURCE`] stands for the object that it names:
//!   its size and etag;
//! * an object that an earlier step made (an [`Artifact`]) stands for its bytes: size and SHA-256.
//!   One below a place keeps its name below that: a playlist may name it;
//! * a member that is marked as [`PLACE`] says where the output goes, and is left out.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::activity::hex;
use crate::id::{RunId, StepId};
use crate::objects::{Artifact, ObjectMeta};
use crate::run::{StepRecord, StepStatus};

/// Marks a member of an input schema that says below which key the output goes.
pub const PLACE: &str = "x-telecine-place";

/// Marks a member of an input schema that names an object the activity reads: a key of the store of
/// sources, or `media://KEY`.
pub const SOURCE: &str = "x-telecine-source";

/// What tells a source from another one of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceIdentity {
    /// Size in bytes.
    pub size: u64,
    /// As the store gave it.
    pub etag: String,
}

impl From<&ObjectMeta> for SourceIdentity {
    fn from(found: &ObjectMeta) -> Self {
        Self {
            size: found.size,
            etag: found.etag.clone(),
        }
    }
}

/// The step that an output was taken from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Its job.
    pub job: RunId,
    /// The step.
    pub step: StepId,
}

/// What an output is made with beside activity and input. Recorded when a step succeeds whose
/// activity [names its tools](crate::activity::Activity::tool_fingerprint).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// The activity's tool fingerprint.
    pub tools: String,
    /// Pointers to the members of the input that say where the output goes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<String>,
    /// What was read, by pointers to the members of the input that name it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, SourceIdentity>,
    /// Where the output was taken from, if no attempt of this step made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reused_from: Option<Origin>,
}

/// A reuse key, and what it is the digest of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReuseKey {
    /// `sha256:...` of the preimage.
    pub digest: String,
    /// `activity`, `tools` and `input`.
    pub preimage: Value,
}

/// The first component in which two reuse keys differ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// A pointer into the preimage: `/tools`, `/input/source/etag`.
    pub path: String,
    /// What it was; `None` if there was nothing.
    pub before: Option<Value>,
    /// What it is.
    pub after: Option<Value>,
}

/// The reuse key of a step of an activity (`video.encode@1`) with that input.
#[must_use]
pub fn key(activity: &str, input: &Value, made: &Made) -> ReuseKey {
    let canonical = Canonical {
        made,
        places: prefixes(input, &made.places),
    };
    let preimage = json!({
        "activity": activity,
        "tools": made.tools,
        "input": canonical.value(input, "").unwrap_or_default(),
    });
    let digest = hex(&Sha256::digest(preimage.to_string().as_bytes()));
    ReuseKey {
        digest: format!("sha256:{digest}"),
        preimage,
    }
}

/// The key of a step as it was made: `None` if it has not succeeded, or its activity names no tools.
#[must_use]
pub fn recorded(record: &StepRecord) -> Option<ReuseKey> {
    let (input, made) = (record.step.input.as_ref()?, record.made.as_ref()?);
    let succeeded = record.step.status == StepStatus::Succeeded;
    succeeded.then(|| key(&record.step.activity, input, made))
}

/// The first component in which the preimages of two keys differ: activity, then tools, then the
/// members of the input in the order of their names. `None` if they are equal.
#[must_use]
pub fn explain(before: &ReuseKey, after: &ReuseKey) -> Option<Difference> {
    ["activity", "tools", "input"].iter().find_map(|part| {
        let (old, new) = (before.preimage.get(part), after.preimage.get(part));
        difference(&format!("/{part}"), old, new)
    })
}

/// The first part in which two values differ.
pub(crate) fn difference(
    path: &str,
    before: Option<&Value>,
    after: Option<&Value>,
) -> Option<Difference> {
    match (before, after) {
        _ if before == after => None,
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            names.into_iter().find_map(|name| {
                let path = format!("{path}/{}", escaped(name));
                difference(&path, old.get(name), new.get(name))
            })
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => (0..old.len().max(new.len()))
            .find_map(|place| {
                difference(&format!("{path}/{place}"), old.get(place), new.get(place))
            }),
        _ => Some(Difference {
            path: path.to_owned(),
            before: before.cloned(),
            after: after.cloned(),
        }),
    }
}

/// What stands at pointers of an input, as far as it is text.
fn prefixes<'a>(input: &'a Value, pointers: &[String]) -> Vec<&'a str> {
    let values = pointers.iter().map(|pointer| input.pointer(pointer));
    values.filter_map(|value| value?.as_str()).collect()
}

struct Canonical<'a> {
    made: &'a Made,
    places: Vec<&'a str>,
}

impl Canonical<'_> {
    /// A value as the key has it; `None` if it is left out.
    fn value(&self, value: &Value, pointer: &str) -> Option<Value> {
        if self.made.places.iter().any(|place| place == pointer) {
            return None;
        }
        if let Some(source) = self.made.sources.get(pointer) {
            return serde_json::to_value(source).ok();
        }
        Some(match value {
            Value::Object(members) => match artifact(members) {
                Some(artifact) => self.object(&artifact),
                None => Value::Object(self.members(members, pointer)),
            },
            Value::Array(items) => {
                let items = items.iter().enumerate();
                let item = |(place, item)| {
                    let item = self.value(item, &format!("{pointer}/{place}"));
                    item.unwrap_or_default()
                };
                Value::Array(items.map(item).collect())
            }
            plain => plain.clone(),
        })
    }

    fn members(&self, members: &Map<String, Value>, pointer: &str) -> Map<String, Value> {
        let member = |(name, value): (&String, &Value)| {
            let value = self.value(value, &format!("{pointer}/{}", escaped(name)))?;
            Some((name.clone(), value))
        };
        members.iter().filter_map(member).collect()
    }

    fn object(&self, object: &Artifact) -> Value {
        let name = self
            .places
            .iter()
            .find_map(|place| below(&object.key, place));
        json!({
            "name": name, "sha256": object.sha256, "size": object.size,
            "media_type": object.media_type,
        })
    }
}

/// An object that an earlier step made, if the members are exactly those of one.
fn artifact(members: &Map<String, Value>) -> Option<Artifact> {
    let named = ["key", "size", "sha256", "media_type"];
    let is_one =
        members.len() == named.len() && named.iter().all(|name| members.contains_key(*name));
    is_one
        .then(|| serde_json::from_value(Value::Object(members.clone())).ok())
        .flatten()
}

/// What a key is called below a place.
fn below<'a>(key: &'a str, place: &str) -> Option<&'a str> {
    key.strip_prefix(place)?.strip_prefix('/')
}

/// A name as part of a JSON pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// What objects of the store of sources are like that an input names beside the job's own source: a watermark, a
/// subtitle. By key; `None` for one that is not there.
pub type Beside = BTreeMap<String, Option<SourceIdentity>>;

/// The keys in the store of sources that an input has where the schema of its activity marks a [`SOURCE`], but
/// for the job's `own`. Results have names that are written once, and those of the job are known by their digests.
#[must_use]
pub fn beside<'a>(schema: &Value, input: &'a Value, own: Option<&str>) -> BTreeSet<&'a str> {
    let marks = Marks::of(schema, input).sources.into_iter();
    let named = marks.filter_map(|pointer| input.pointer(&pointer)?.as_str());
    let is_result = |name: &str| name.starts_with(crate::objects::MEDIA_SCHEME);
    named
        .filter(|name| Some(*name) != own && !is_result(name))
        .collect()
}

/// Whether a schema marks a [`SOURCE`] anywhere.
#[must_use]
pub fn marks_sources(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => {
            members.get(SOURCE) == Some(&true.into()) || members.values().any(marks_sources)
        }
        Value::Array(items) => items.iter().any(marks_sources),
        _ => false,
    }
}

/// What the schema of an activity marks in an input: pointers to its members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// Those that are a [`PLACE`].
    pub places: Vec<String>,
    /// Those that are a [`SOURCE`].
    pub sources: Vec<String>,
}

impl Marks {
    /// The marks in an input. Alternatives of a schema are taken to hold all of them.
    #[must_use]
    pub fn of(schema: &Value, input: &Value) -> Self {
        let mut looking = Looking {
            root: schema,
            seen: HashSet::new(),
            marks: Self::default(),
            any: false,
        };
        looking.at(schema, input, "");
        let mut marks = looking.marks;
        for marked in [&mut marks.places, &mut marks.sources] {
            marked.sort_unstable();
            marked.dedup();
        }
        marks
    }
}

/// Where a value of that schema has a [`PLACE`], also one that is no text.
#[must_use]
pub(crate) fn places(schema: &Value, value: &Value) -> Vec<String> {
    let mut looking = Looking {
        root: schema,
        seen: HashSet::new(),
        marks: Marks::default(),
        any: true,
    };
    looking.at(schema, value, "");
    let mut places = looking.marks.places;
    places.sort_unstable();
    places.dedup();
    places
}

/// Whether a pointer leads to a [`PLACE`] of a schema, into one, or to what has one in it.
#[must_use]
pub(crate) fn touches_place(schema: &Value, pointer: &str) -> bool {
    let mut reached = vec![schema];
    for name in pointer.split('/').skip(1) {
        let name = name.replace("~1", "/").replace("~0", "~");
        let all = with_alternatives(schema, reached);
        if all.iter().any(|it| is_place(it)) {
            return true;
        }
        reached = all.iter().flat_map(|it| inside(it, &name)).collect();
    }
    let mut seen: HashSet<*const Value> = HashSet::new();
    while !reached.is_empty() {
        let all = with_alternatives(schema, reached);
        if all.iter().any(|it| is_place(it)) {
            return true;
        }
        let new = all.into_iter().filter(|it| seen.insert(*it));
        reached = new.flat_map(parts).collect();
    }
    false
}

fn is_place(schema: &Value) -> bool {
    schema.get(PLACE) == Some(&true.into())
}

/// Schemas, and all that say something of the same values.
pub(crate) fn with_alternatives<'a>(root: &'a Value, schemas: Vec<&'a Value>) -> Vec<&'a Value> {
    let mut seen: HashSet<*const Value> = HashSet::new();
    let (mut all, mut left) = (Vec::new(), schemas);
    while let Some(schema) = left.pop() {
        if seen.insert(schema) {
            all.push(schema);
            left.extend(alternatives(root, schema));
        }
    }
    all
}

/// What a schema says of a member, or of an item.
fn inside<'a>(schema: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    let known = schema.get("properties").and_then(|known| known.get(name));
    let member = known.or_else(|| schema.get("additionalProperties"));
    member.into_iter().chain(schema.get("items"))
}

/// What a schema says of anything in its values.
fn parts(schema: &Value) -> impl Iterator<Item = &Value> {
    let members = schema.get("properties").and_then(Value::as_object);
    let members = members.into_iter().flat_map(serde_json::Map::values);
    let others = ["additionalProperties", "items"].into_iter();
    members.chain(others.filter_map(|name| schema.get(name)))
}

struct Looking<'a> {
    root: &'a Value,
    /// Parts of the schema and the places where they were applied: a schema may refer to itself.
    seen: HashSet<(*const Value, String)>,
    marks: Marks,
    /// Whether what is no text may be marked too.
    any: bool,
}

impl<'a> Looking<'a> {
    fn at(&mut self, schema: &'a Value, value: &Value, pointer: &str) {
        let holds_text = value.is_string() || value.is_object() || value.is_array();
        if !holds_text || !self.seen.insert((schema, pointer.to_owned())) {
            return;
        }
        let markable = self.any || value.is_string();
        let is_marked = |mark: &str| markable && schema.get(mark) == Some(&true.into());
        if is_marked(PLACE) {
            self.marks.places.push(pointer.to_owned());
        }
        if is_marked(SOURCE) {
            self.marks.sources.push(pointer.to_owned());
        }
        for same in alternatives(self.root, schema) {
            self.at(same, value, pointer);
        }
        for (step, schema, value) in inner(schema, value) {
            self.at(schema, value, &format!("{pointer}/{step}"));
        }
    }
}

/// Schemas that say something of the same value.
fn alternatives<'a>(root: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    let lists = ["anyOf", "oneOf", "allOf"].iter();
    let listed = lists.filter_map(|name| schema.get(name)?.as_array());
    let reference = schema.get("$ref").and_then(Value::as_str);
    let referred = reference.and_then(|path| root.pointer(path.strip_prefix('#')?));
    listed.flatten().chain(referred).collect()
}

/// Members and items of a value, each with its schema and its part of the pointer.
fn inner<'s, 'v>(schema: &'s Value, value: &'v Value) -> Vec<(String, &'s Value, &'v Value)> {
    match value {
        Value::Object(members) => {
            let schema_of = |name: &String| {
                let known = schema.get("properties").and_then(|known| known.get(name));
                known.or_else(|| schema.get("additionalProperties"))
            };
            let members = members.iter();
            members
                .filter_map(|(name, value)| Some((escaped(name), schema_of(name)?, value)))
                .collect()
        }
        Value::Array(items) => {
            let of_items = schema.get("items");
            let items = items.iter().enumerate();
            items
                .filter_map(|(place, item)| Some((place.to_string(), of_items?, item)))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// Moves what was made below the places of one input to those of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// From and to, the longest first.
    places: Vec<(String, String)>,
}

impl Move {
    /// The move from the places of `before` to those of `after`; `None` if there is no text at one of
    /// them.
    #[must_use]
    pub fn between(before: &Value, after: &Value, places: &[String]) -> Option<Self> {
        let text = |input: &Value, place: &String| {
            let text = input.pointer(place)?.as_str()?;
            (!text.is_empty()).then(|| text.to_owned())
        };
        let pairs = places
            .iter()
            .map(|place| Some((text(before, place)?, text(after, place)?)));
        let mut places = pairs.collect::<Option<Vec<_>>>()?;
        places.sort_by_key(|(from, _)| std::cmp::Reverse(from.len()));
        Some(Self { places })
    }

    /// Where an object goes; `None` if it lies below no place.
    #[must_use]
    pub fn key(&self, key: &str) -> Option<String> {
        self.places
            .iter()
            .find_map(|(from, to)| Some(format!("{to}/{}", below(key, from)?)))
    }

    /// An output with every key below a place, and every place itself, as it is called now.
    #[must_use]
    pub fn output(&self, output: &Value) -> Value {
        match output {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => {
                Value::Array(items.iter().map(|item| self.output(item)).collect())
            }
            Value::Object(members) => {
                let members = members.iter();
                Value::Object(
                    members
                        .map(|(name, value)| (name.clone(), self.output(value)))
                        .collect(),
                )
            }
            plain => plain.clone(),
        }
    }

    fn text(&self, text: &str) -> String {
        let scheme = crate::objects::MEDIA_SCHEME;
        let (scheme, key) = match text.strip_prefix(scheme) {
            Some(key) => (scheme, key),
            None => ("", text),
        };
        let mut places = self.places.iter();
        let place = places
            .find(|(from, _)| from == key)
            .map(|(_, to)| to.clone());
        match place.or_else(|| self.key(key)) {
            Some(key) => format!("{scheme}{key}"),
            None => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
