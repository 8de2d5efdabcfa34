//! JSON with holes: strings may contain `${{ expression }}`.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::expr::{Expr, ExprError, OutputBudget, Reference, Scope, json_type, skip_literal};

const OPEN: &str = "${{";
/// How a literal `${{` is written.
const ESCAPED_OPEN: &str = "$${{";
const CLOSE: &str = "}}";

/// A JSON value whose strings may contain `${{ expression }}`.
///
/// A string that is exactly one `${{ }}` yields the value of the expression with its type. In any
/// other string each `${{ }}` is replaced by its value as text; there a list, a map or `null` is
/// an error. `$${{` stands for a literal `${{`.
#[derive(Debug, Clone, PartialEq)]
pub struct Template(Part);

#[derive(Debug, Clone, PartialEq)]
enum Part {
    /// A scalar without expressions.
    Literal(Value),
    /// One expression alone.
    Expr(Expr),
    /// Text with expressions in it.
    Text(Vec<Piece>),
    List(Vec<Template>),
    Map(BTreeMap<String, Template>),
}

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Literal(String),
    Expr(Expr),
}

/// A mistake in a string, and its bytes in that string.
pub(super) type TextError = (ExprError, Range<usize>);

impl Template {
    /// Compiles a JSON value.
    ///
    /// # Errors
    /// The first mistake; `pointer` says where.
    pub fn parse(value: &Value) -> Result<Self, ExprError> {
        let inside = |pointer: String| move |e: ExprError| inside(e, &pointer);
        Ok(match value {
            Value::String(text) => match Self::parse_text(text) {
                Ok((template, _)) => template,
                Err((error, _)) => return Err(error),
            },
            Value::Array(items) => Self::list(
                items
                    .iter()
                    .enumerate()
                    .map(|(n, item)| Self::parse(item).map_err(inside(n.to_string())))
                    .collect::<Result<_, _>>()?,
            ),
            Value::Object(members) => Self::map(
                members
                    .iter()
                    .map(|(name, value)| {
                        let value = Self::parse(value).map_err(inside(escape_pointer(name)))?;
                        Ok((name.clone(), value))
                    })
                    .collect::<Result<_, ExprError>>()?,
            ),
            scalar => Self::literal(scalar.clone()),
        })
    }

    pub(super) fn literal(value: Value) -> Self {
        Self(Part::Literal(value))
    }

    pub(super) fn list(items: Vec<Self>) -> Self {
        Self(Part::List(items))
    }

    pub(super) fn map(members: BTreeMap<String, Self>) -> Self {
        Self(Part::Map(members))
    }

    /// Compiles one string; also says where in it each expression starts.
    pub(super) fn parse_text(text: &str) -> Result<(Self, Vec<usize>), TextError> {
        let mut pieces = Vec::new();
        let mut starts = Vec::new();
        let mut literal = String::new();
        let mut at = 0;
        while let Some(found) = text[at..].find(OPEN) {
            let open = at + found;
            if text[at..open].ends_with('$') {
                literal.push_str(&text[at..open - 1]);
                literal.push_str(OPEN);
                at = open + OPEN.len();
                continue;
            }
            literal.push_str(&text[at..open]);
            let inner = expression_at(text, open)?;
            let source = &text[inner.clone()];
            let start = inner.start + source.len() - source.trim_start().len();
            let expr = Expr::parse(source).map_err(|error| {
                let span = start + error.span.start..start + error.span.end;
                (error, span)
            })?;
            starts.push(start);
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::Expr(expr));
            at = inner.end + CLOSE.len();
        }
        literal.push_str(&text[at..]);
        Ok((Self::from_pieces(pieces, literal), starts))
    }

    fn from_pieces(mut pieces: Vec<Piece>, rest: String) -> Self {
        if pieces.is_empty() {
            return Self::literal(Value::String(rest));
        }
        if !rest.is_empty() {
            pieces.push(Piece::Literal(rest));
        }
        match pieces.as_slice() {
            [Piece::Expr(expr)] => Self(Part::Expr(expr.clone())),
            _ => Self(Part::Text(pieces)),
        }
    }

    /// The value with every expression evaluated.
    ///
    /// # Errors
    /// Those of [`Expr::eval`], with `pointer` set; `null_in_text` and `not_text` when a value
    /// cannot be part of a text; `limit_exceeded` when the whole is too large.
    pub fn render(&self, scope: &Scope<'_>) -> Result<Value, ExprError> {
        self.render_within(scope, &mut OutputBudget::default())
    }

    fn render_within(
        &self,
        scope: &Scope<'_>,
        budget: &mut OutputBudget,
    ) -> Result<Value, ExprError> {
        match &self.0 {
            Part::Literal(value) => Ok(value.clone()),
            Part::Expr(expr) => {
                let value = expr.eval(scope)?;
                budget.take(&value)?;
                Ok(value)
            }
            Part::Text(pieces) => {
                let text = render_text(pieces, scope)?;
                budget.take(&text)?;
                Ok(text)
            }
            Part::List(items) => {
                let rendered = items.iter().enumerate().map(|(n, item)| {
                    item.render_within(scope, budget)
                        .map_err(|e| inside(e, &n.to_string()))
                });
                Ok(Value::Array(rendered.collect::<Result<_, _>>()?))
            }
            Part::Map(members) => {
                let rendered = members.iter().map(|(name, member)| {
                    let value = member
                        .render_within(scope, budget)
                        .map_err(|e| inside(e, &escape_pointer(name)))?;
                    Ok((name.clone(), value))
                });
                Ok(Value::Object(rendered.collect::<Result<_, ExprError>>()?))
            }
        }
    }

    /// Every expression, in the order of the text.
    #[must_use]
    pub fn expressions(&self) -> Vec<&Expr> {
        match &self.0 {
            Part::Literal(_) => Vec::new(),
            Part::Expr(expr) => vec![expr],
            Part::Text(pieces) => pieces
                .iter()
                .filter_map(|piece| match piece {
                    Piece::Expr(expr) => Some(expr),
                    Piece::Literal(_) => None,
                })
                .collect(),
            Part::List(items) => items.iter().flat_map(Self::expressions).collect(),
            Part::Map(members) => members.values().flat_map(Self::expressions).collect(),
        }
    }

    /// The parts that have expressions, each with its JSON pointer.
    pub(crate) fn leaves(&self) -> Vec<(String, &Self)> {
        match &self.0 {
            Part::Literal(_) => Vec::new(),
            Part::Expr(_) | Part::Text(_) => vec![(String::new(), self)],
            Part::List(items) => {
                let items = items.iter().enumerate();
                leaves_below(items.map(|(n, item)| (n.to_string(), item)))
            }
            Part::Map(members) => {
                let members = members.iter();
                leaves_below(members.map(|(name, member)| (escape_pointer(name), member)))
            }
        }
    }

    /// Every place where an expression names data.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.expressions().into_iter().flat_map(Expr::references)
    }

    /// Whether there is no expression in it.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.expressions().is_empty()
    }

    /// The JSON that [`Template::parse`] reads back.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match &self.0 {
            Part::Literal(Value::String(text)) => Value::String(escape(text)),
            Part::Literal(value) => value.clone(),
            Part::Expr(expr) => Value::String(hole(expr)),
            Part::Text(pieces) => Value::String(
                pieces
                    .iter()
                    .map(|piece| match piece {
                        Piece::Literal(text) => escape(text),
                        Piece::Expr(expr) => hole(expr),
                    })
                    .collect(),
            ),
            Part::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Part::Map(members) => Value::Object(
                members
                    .iter()
                    .map(|(name, member)| (name.clone(), member.to_json()))
                    .collect(),
            ),
        }
    }
}

fn leaves_below<'t>(
    parts: impl Iterator<Item = (String, &'t Template)>,
) -> Vec<(String, &'t Template)> {
    let below = |(name, part): (String, &'t Template)| {
        let leaves = part.leaves().into_iter();
        leaves.map(move |(pointer, leaf)| (format!("/{name}{pointer}"), leaf))
    };
    parts.flat_map(below).collect()
}

impl Default for Template {
    fn default() -> Self {
        Self::literal(Value::Null)
    }
}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::parse(&value).map_err(serde::de::Error::custom)
    }
}

/// Bytes of the expression whose `${{` is at `open`. Braces and strings of the expression may
/// contain `}}`.
fn expression_at(text: &str, open: usize) -> Result<Range<usize>, TextError> {
    let start = open + OPEN.len();
    let mut rest = &text[start..];
    let mut braces = 0usize;
    while let Some(c) = rest.chars().next() {
        if braces == 0 && rest.starts_with(CLOSE) {
            return Ok(start..text.len() - rest.len());
        }
        match c {
            '{' => braces += 1,
            '}' => braces = braces.saturating_sub(1),
            _ => {}
        }
        rest = match c {
            '"' | '\'' => skip_literal(rest),
            _ => &rest[c.len_utf8()..],
        };
    }
    let error = ExprError::new("bad_expression", "`${{` has no matching `}}`").with_help(Some(
        "close it, or write `$${{` for a literal `${{`".to_owned(),
    ));
    Err((error, open..open + OPEN.len()))
}

fn render_text(pieces: &[Piece], scope: &Scope<'_>) -> Result<Value, ExprError> {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Literal(literal) => text.push_str(literal),
            Piece::Expr(expr) => text.push_str(&as_text(expr, &expr.eval(scope)?)?),
        }
    }
    Ok(Value::String(text))
}

fn as_text(expr: &Expr, value: &Value) -> Result<String, ExprError> {
    let error = |code, message: String| {
        let mut error = ExprError::new(code, message);
        error.expression = expr.text().into();
        error
    };
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Null => Err(error(
            "null_in_text",
            "the expression gave null, which cannot be part of a text".to_owned(),
        )),
        Value::Array(_) | Value::Object(_) => Err(error(
            "not_text",
            format!(
                "the expression gave {}, which cannot be part of a text",
                json_type(value)
            ),
        )),
    }
}

fn hole(expr: &Expr) -> String {
    format!("{OPEN} {} {CLOSE}", expr.text())
}

fn escape(text: &str) -> String {
    text.replace(OPEN, ESCAPED_OPEN)
}

fn inside(mut error: ExprError, member: &str) -> ExprError {
    error.pointer = format!("/{member}{}", error.pointer).into();
    error
}

/// A name as part of a JSON pointer (RFC 6901).
pub(crate) fn escape_pointer(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn render(template: Value, scope: &Scope<'_>) -> Result<Value, ExprError> {
        Template::parse(&template)?.render(scope)
    }

    #[test]
    fn an_expression_alone_keeps_its_type() {
        let input = json!({"n": 3, "list": [1, {"a": null}], "big": u64::MAX, "third": 0.1});
        let scope = Scope::new().input(&input);
        for (text, value) in [
            ("${{ input.n }}", json!(3)),
            ("${{input.n}}", json!(3)),
            ("${{ input.list }}", json!([1, {"a": null}])),
            ("${{ input.n + 1 }}", json!(4)),
            ("${{ input.big }}", json!(u64::MAX)),
            ("${{ input.third }}", json!(0.1)),
            ("${{ {'a': {'b': '}}'}} }}", json!({"a": {"b": "}}"}})),
        ] {
            assert_eq!(render(json!(text), &scope), Ok(value), "{text}");
        }
    }

    #[test]
    fn expressions_in_text_become_text() {
        let input = json!({"n": 3, "s": "x", "b": true, "list": []});
        let scope = Scope::new().input(&input);
        for (text, value) in [
            ("a-${{ input.n }}", "a-3"),
            ("${{ input.s }}${{ input.b }}", "xtrue"),
            (" ${{ input.s }}", " x"),
            ("$${{ input.s }}", "${{ input.s }}"),
            ("$${{ ${{ input.s }}", "${{ x"),
            ("$$${{", "$${{"),
            ("5$ }} {{", "5$ }} {{"),
        ] {
            assert_eq!(render(json!(text), &scope), Ok(json!(value)), "{text}");
        }
    }

    #[test]
    fn a_list_or_null_cannot_be_part_of_a_text() {
        let input = json!({"list": [], "nothing": null});
        let scope = Scope::new().input(&input);
        let code = |text: &str| render(json!({"k": [text]}), &scope).unwrap_err();
        let error = code("x ${{ input.list }}");
        assert_eq!((error.code, &*error.pointer), ("not_text", "/k/0"));
        assert_eq!(code("x ${{ input.nothing }}").code, "null_in_text");
    }

    #[test]
    fn an_open_expression_is_refused_where_it_opens() {
        let (error, span) = Template::parse_text("ab ${{ input.x").unwrap_err();
        assert_eq!((error.code, span), ("bad_expression", 3..6));
    }

    #[test]
    fn a_mistake_is_located_in_the_string_around_the_expression() {
        let (_, span) = Template::parse_text("ab ${{  nope(1) }}").unwrap_err();
        assert_eq!(span, 8..12);
    }

    #[test]
    fn the_parts_with_expressions_have_their_places() {
        let template = json!({"a": ["x", "${{ input.a }}"], "b/c": "b ${{ input.b }}", "d": 1});
        let template = Template::parse(&template).unwrap();
        let leaves = template.leaves().into_iter();
        let leaves: Vec<_> = leaves
            .map(|(place, leaf)| (place, leaf.to_json()))
            .collect();
        let expected = [("/a/1", "${{ input.a }}"), ("/b~1c", "b ${{ input.b }}")];
        let expected = expected.map(|(place, text)| (place.to_owned(), json!(text)));
        assert_eq!(leaves, expected);
    }

    #[test]
    fn a_template_yields_no_more_than_its_limit() {
        let input = json!({"big": "x".repeat(1024 * 1024)});
        let scope = Scope::new().input(&input);
        let error = render(json!(vec!["${{ input.big }}"; 17]), &scope).unwrap_err();
        assert_eq!(error.code, "limit_exceeded");
        assert!(error.message.contains("EXPRESSION_OUTPUT_BYTES"), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_survives_writing_and_reading(text in "[$ {}'\"ax.\\\\]{0,24}") {
            if let Ok(template) = Template::parse(&json!({"k": text})) {
                let again = Template::parse(&template.to_json());
                prop_assert_eq!(again, Ok(template));
            }
        }
    }
}
