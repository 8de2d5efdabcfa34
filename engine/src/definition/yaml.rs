//! YAML 1.2, strictly: one document, no anchors, aliases or tags, no key twice, and no scalar
//! whose type depends on which YAML a reader has in mind.

use std::collections::HashSet;
use std::ops::Range;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput};
use serde_json::{Map, Number, Value};

use super::diagnostic::Problems;
use crate::limits;

/// A value of the file with its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) value: NodeValue,
    /// Bytes of the file.
    pub(super) span: Range<usize>,
}

#[derive(Debug, Clone)]
pub(super) enum NodeValue {
    /// `null`, or nothing at all.
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Member>),
}

/// A key of a map with its value.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) name_span: Range<usize>,
    pub(super) node: Node,
}

impl Node {
    /// JSON as a tree without places.
    pub(super) fn from_json(value: Value) -> Self {
        let value = match value {
            Value::Null => NodeValue::Null,
            Value::Bool(value) => NodeValue::Bool(value),
            Value::Number(number) => NodeValue::Number(number),
            Value::String(text) => NodeValue::Text(text),
            Value::Array(items) => {
                NodeValue::List(items.into_iter().map(Self::from_json).collect())
            }
            Value::Object(members) => NodeValue::Map(
                members
                    .into_iter()
                    .map(|(name, value)| Member {
                        name,
                        name_span: 0..0,
                        node: Self::from_json(value),
                    })
                    .collect(),
            ),
        };
        Self { value, span: 0..0 }
    }

    pub(super) fn to_json(&self) -> Value {
        match &self.value {
            NodeValue::Null => Value::Null,
            NodeValue::Bool(value) => Value::Bool(*value),
            NodeValue::Number(number) => Value::Number(number.clone()),
            NodeValue::Text(text) => Value::String(text.clone()),
            NodeValue::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            NodeValue::Map(members) => Value::Object(
                members
                    .iter()
                    .map(|member| (member.name.clone(), member.node.to_json()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }

    /// The members, if it is a map.
    pub(super) fn members(&self) -> Option<&[Member]> {
        match &self.value {
            NodeValue::Map(members) => Some(members),
            _ => None,
        }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.value {
            NodeValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value of a key, if it is a map that has it.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        let member = self.members()?.iter().find(|member| member.name == name)?;
        Some(&member.node)
    }

    /// What lies at the end of a path of member names and list indexes.
    pub(super) fn at(&self, path: &[String]) -> Option<&Self> {
        path.iter().try_fold(self, |node, name| match &node.value {
            NodeValue::List(items) => items.get(name.parse::<usize>().ok()?),
            _ => node.get(name),
        })
    }

    /// "a list", "text": what it is, for a sentence.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            NodeValue::Null => "nothing",
            NodeValue::Bool(_) => "a boolean",
            NodeValue::Number(_) => "a number",
            NodeValue::Text(_) => "text",
            NodeValue::List(_) => "a list",
            NodeValue::Map(_) => "a map",
        }
    }
}

/// Reads a file. `None` if it has no tree at all; what is wrong goes to `problems` in any case.
pub(super) fn read(text: &str, problems: &mut Problems) -> Option<Node> {
    if text.len() > limits::DEFINITION_BYTES {
        problems.add(
            "limit_exceeded",
            &(0..0),
            format!(
                "the file is larger than {} KiB (limits::DEFINITION_BYTES)",
                limits::DEFINITION_BYTES / 1024
            ),
        );
        return None;
    }
    let mut reader = Reader {
        text,
        places: Places::of(text),
        parser: Parser::new_from_str(text),
        nodes: 0,
        path: Vec::new(),
        problems,
    };
    let root = reader.document();
    root.ok().flatten()
}

/// The file cannot be read any further; why is among the problems.
struct Stop;

struct Reader<'t, 'p> {
    text: &'t str,
    places: Places,
    parser: Parser<'t, StrInput<'t>>,
    nodes: usize,
    /// Keys of the maps around what is read.
    path: Vec<String>,
    problems: &'p mut Problems,
}

impl<'t> Reader<'t, '_> {
    fn document(&mut self) -> Result<Option<Node>, Stop> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
                Event::DocumentStart(_) if root.is_some() => {
                    let span = self.bytes(span);
                    self.problems.add(
                        "several_documents",
                        &span,
                        "a file holds one definition, but here begins a second document",
                    );
                    break;
                }
                Event::DocumentStart(_) => {}
                event => root = Some(self.node(event, span, 1)?),
            }
        }
        if root.is_none() {
            self.problems
                .add("empty_file", &(0..0), "the file holds no definition");
        }
        Ok(root)
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Stop> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(self.syntax_error(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node, Stop> {
        self.check_budget(span, depth)?;
        let span = self.bytes(span);
        let (anchor, tag) = match &event {
            Event::Scalar(_, _, anchor, tag) => (*anchor, tag),
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => (*anchor, tag),
            _ => (0, &None),
        };
        if anchor != 0 || tag.is_some() {
            self.refuse(if anchor != 0 { "anchors" } else { "tags" }, &span);
        }
        Ok(match event {
            Event::Scalar(value, style, ..) => self.scalar(&value, style, span),
            Event::SequenceStart(..) => self.list(span, depth)?,
            Event::MappingStart(..) => self.map(span, depth)?,
            Event::Alias(_) => {
                self.refuse("aliases", &span);
                Node {
                    value: NodeValue::Null,
                    span,
                }
            }
            _ => Node {
                value: NodeValue::Null,
                span,
            },
        })
    }

    fn refuse(&mut self, what: &str, span: &Range<usize>) {
        self.problems.add_with_help(
            "yaml_feature",
            span,
            format!("YAML {what} are not part of the format"),
            Some("write the value out".to_owned()),
        );
    }

    fn check_budget(&mut self, span: Span, depth: usize) -> Result<(), Stop> {
        self.nodes += 1;
        let message = if depth > limits::DEFINITION_DEPTH {
            too_deep_message()
        } else if self.nodes > limits::DEFINITION_NODES {
            format!(
                "the file has more than {} keys, values and items (limits::DEFINITION_NODES)",
                limits::DEFINITION_NODES
            )
        } else {
            return Ok(());
        };
        let span = self.bytes(span);
        self.problems.add("limit_exceeded", &span, message);
        Err(Stop)
    }

    fn list(&mut self, start: Range<usize>, depth: usize) -> Result<Node, Stop> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd | Event::StreamEnd) {
                let end = self.bytes(span).end;
                return Ok(Node {
                    value: NodeValue::List(items),
                    span: self.trimmed(start.start..end),
                });
            }
            items.push(self.node(event, span, depth + 1)?);
        }
    }

    fn map(&mut self, start: Range<usize>, depth: usize) -> Result<Node, Stop> {
        let mut members: Vec<Member> = Vec::new();
        let mut seen = HashSet::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd | Event::StreamEnd) {
                let end = self.bytes(span).end;
                return Ok(Node {
                    value: NodeValue::Map(members),
                    span: self.trimmed(start.start..end),
                });
            }
            let (name, name_span) = self.key(event, span, depth)?;
            let (event, span) = self.next()?;
            self.path.push(name.clone());
            let node = self.node(event, span, depth + 1);
            self.path.pop();
            let mut node = node?;
            if node.span.is_empty() {
                // An absent value is reported at its key.
                node.span = name_span.clone();
            }
            if !seen.insert(name.clone()) {
                self.duplicate(&name, &name_span, &members);
                continue;
            }
            members.push(Member {
                name,
                name_span,
                node,
            });
        }
    }

    fn duplicate(&mut self, name: &str, span: &Range<usize>, members: &[Member]) {
        let first = members.iter().find(|member| member.name == name);
        let line = first.map_or(0, |member| {
            self.text[..member.name_span.start].matches('\n').count() + 1
        });
        self.problems.add(
            "duplicate_key",
            span,
            format!("the key `{name}` is there already, on line {line}"),
        );
    }

    /// The name of a key. Keys are text whatever they look like: `1` and `"1"` are the same.
    fn key(
        &mut self,
        event: Event<'t>,
        span: Span,
        depth: usize,
    ) -> Result<(String, Range<usize>), Stop> {
        let bytes = self.bytes(span);
        if let Event::Scalar(name, style, 0, None) = &event {
            self.nodes += 1;
            if name == "<<" && *style == ScalarStyle::Plain {
                self.refuse("merge keys", &bytes);
            }
            return Ok((name.to_string(), self.trimmed(bytes)));
        }
        if matches!(event, Event::Scalar(..)) {
            let node = self.node(event, span, depth + 1)?;
            let name = match &node.value {
                NodeValue::Text(text) => text.clone(),
                _ => node.to_json().to_string(),
            };
            return Ok((name, bytes));
        }
        self.problems.add("bad_type", &bytes, "a key must be text");
        self.node(event, span, depth + 1)?;
        Ok((String::new(), bytes))
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, span: Range<usize>) -> Node {
        let span = self.trimmed(span);
        let value = match style {
            ScalarStyle::Plain => self.plain(text, &span),
            _ => NodeValue::Text(text.to_owned()),
        };
        Node { value, span }
    }

    fn plain(&mut self, text: &str, span: &Range<usize>) -> NodeValue {
        match text {
            "" | "null" => return NodeValue::Null,
            "true" => return NodeValue::Bool(true),
            "false" => return NodeValue::Bool(false),
            _ => {}
        }
        if let Some(number) = json_number(text) {
            return NodeValue::Number(number);
        }
        if is_word(&self.path, text) {
            return NodeValue::Text(text.to_owned());
        }
        if let Some((code, message, help)) = surprise(text) {
            self.problems.add_with_help(code, span, message, Some(help));
        }
        NodeValue::Text(text.to_owned())
    }

    fn syntax_error(&mut self, error: &ScanError) -> Stop {
        let at = self.places.byte_of(*error.marker());
        let span = at..self.text.ceil_char_boundary((at + 1).min(self.text.len()));
        // The scanner looks ahead, so its own limit of 255 can be met before ours.
        let too_deep = error.info().contains("recursion limit");
        let (code, message) = if too_deep {
            ("limit_exceeded", too_deep_message())
        } else {
            let info = error.info().to_lowercase();
            ("bad_yaml", format!("not YAML: {info}"))
        };
        self.problems.add(code, &span, message);
        Stop
    }

    fn bytes(&self, span: Span) -> Range<usize> {
        self.places.byte_of(span.start)..self.places.byte_of(span.end)
    }

    /// Without the white space that the scanner counts in.
    fn trimmed(&self, span: Range<usize>) -> Range<usize> {
        let end = span.end.max(span.start);
        let text = &self.text[span.start..end];
        span.start..span.start + text.trim_end().len()
    }
}

fn too_deep_message() -> String {
    format!(
        "lists and maps are nested more than {} deep (limits::DEFINITION_DEPTH)",
        limits::DEFINITION_DEPTH
    )
}

/// Byte offsets of characters: the scanner counts these.
enum Places {
    Ascii(usize),
    Other(Vec<usize>),
}

impl Places {
    fn of(text: &str) -> Self {
        if text.is_ascii() {
            return Self::Ascii(text.len());
        }
        let starts = text.char_indices().map(|(at, _)| at);
        Self::Other(starts.chain([text.len()]).collect())
    }

    fn byte_of(&self, marker: Marker) -> usize {
        match self {
            Self::Ascii(len) => marker.index().min(*len),
            Self::Other(starts) => {
                let last = starts.len() - 1;
                starts[marker.index().min(last)]
            }
        }
    }
}

/// A number in the notation of JSON that fits 64 bits.
fn json_number(text: &str) -> Option<Number> {
    if !text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
        return None;
    }
    let number: Number = serde_json::from_str(text).ok()?;
    let integer = text.chars().all(|c| c == '-' || c.is_ascii_digit());
    (!integer || number.is_i64() || number.is_u64()).then_some(number)
}

/// Whether a scalar that some readers take for a boolean is a word of the format where it stands: `cache: off` of
/// a step. It takes no booleans, so that whoever reads one there means the same.
fn is_word(path: &[String], text: &str) -> bool {
    matches!(path, [steps, _, cache] if steps == "steps" && cache == "cache") && text == "off"
}

/// Why a plain scalar is refused: code, message, help.
fn surprise(text: &str) -> Option<(&'static str, String, String)> {
    let lower = text.to_ascii_lowercase();
    let quote = format!("write `\"{text}\"` for text");
    match lower.as_str() {
        "yes" | "on" | "true" => Some((
            "implicit_boolean",
            format!("`{text}` is a boolean for some readers of YAML and text for others"),
            format!("write `true`, or `\"{text}\"` for text"),
        )),
        "no" | "off" | "false" => Some((
            "implicit_boolean",
            format!("`{text}` is a boolean for some readers of YAML and text for others"),
            format!("write `false`, or `\"{text}\"` for text"),
        )),
        "~" | "null" => Some((
            "implicit_null",
            format!("`{text}` is another way to write null"),
            format!("write `null`, or `\"{text}\"` for text"),
        )),
        _ if is_number_elsewhere(&lower) => Some((
            "ambiguous_number",
            format!(
                "`{text}` is a number for some readers of YAML and text, or another, for others"
            ),
            format!("write it as in JSON, or {}", &quote[6..]),
        )),
        _ => None,
    }
}

/// Whether some YAML reads the lower-case text as a number: signs, leading zeros, bare points,
/// underscores, other bases, infinities, and integers beyond 64 bits.
fn is_number_elsewhere(text: &str) -> bool {
    let digits = text.trim_start_matches(['+', '-']);
    if matches!(digits, ".inf" | ".nan") {
        return true;
    }
    let based = ["0x", "0o", "0b"]
        .iter()
        .find_map(|base| digits.strip_prefix(base));
    if let Some(based) = based {
        return !based.is_empty() && based.chars().all(|c| c.is_ascii_hexdigit() || c == '_');
    }
    digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.replace('_', "").parse::<f64>().is_ok()
}
