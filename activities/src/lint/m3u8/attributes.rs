//! Attribute lists (RFC 8216bis, section 4.2).

use super::tags::{is_decimal, is_integer};
use crate::lint::report::{FileReport, Place};
use crate::lint::rules::Rule;

/// Attributes of one tag; the longest list of the standard has 20.
const MAX_ATTRIBUTES: usize = 100;

/// What a value looks like.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    Quoted,
    /// Quoted, or this word.
    QuotedOr(&'static str),
    OneOf(&'static [&'static str]),
    Word,
    Integer,
    Decimal,
    /// A decimal number that may be negative.
    Signed,
    Hex,
    Resolution,
}

impl Form {
    fn holds(self, value: Value<'_>) -> bool {
        let plain = match (self, value) {
            (Self::Quoted | Self::QuotedOr(_), Value::Quoted(_)) => return true,
            (_, Value::Quoted(_)) | (Self::Quoted, _) => return false,
            (_, Value::Plain(plain)) => plain,
        };
        match self {
            Self::Quoted => false,
            Self::QuotedOr(word) => plain == word,
            Self::OneOf(words) => words.contains(&plain),
            Self::Word => !plain.is_empty(),
            Self::Integer => !plain.is_empty() && is_integer(plain),
            Self::Decimal => is_decimal(plain),
            Self::Signed => is_decimal(plain.strip_prefix('-').unwrap_or(plain)),
            Self::Hex => plain
                .strip_prefix("0x")
                .or_else(|| plain.strip_prefix("0X"))
                .is_some_and(|digits| {
                    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
                }),
            Self::Resolution => resolution(plain).is_some(),
        }
    }

    fn name(self) -> String {
        match self {
            Self::Quoted => "a quoted string".to_owned(),
            Self::QuotedOr(word) => format!("a quoted string or {word}"),
            Self::OneOf(words) => words.join(" or "),
            Self::Word => "a word".to_owned(),
            Self::Integer => "a whole number".to_owned(),
            Self::Decimal | Self::Signed => "a decimal number".to_owned(),
            Self::Hex => "a hexadecimal number".to_owned(),
            Self::Resolution => "WIDTHxHEIGHT".to_owned(),
        }
    }
}

fn resolution(text: &str) -> Option<(u64, u64)> {
    let (width, height) = text.split_once('x')?;
    let number = |text: &str| is_integer(text).then(|| text.parse().ok()).flatten();
    Some((number(width)?, number(height)?))
}

/// What is known of an attribute.
#[derive(Debug)]
pub(super) struct Spec {
    name: &'static str,
    form: Form,
    needed: bool,
}

impl Spec {
    pub(super) const fn needed(name: &'static str, form: Form) -> Self {
        Self {
            name,
            form,
            needed: true,
        }
    }

    pub(super) const fn free(name: &'static str, form: Form) -> Self {
        Self {
            name,
            form,
            needed: false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value<'a> {
    Quoted(&'a str),
    Plain(&'a str),
}

/// Known attributes with values of their kind.
#[derive(Debug, Default)]
pub(in crate::lint) struct Attributes<'a> {
    list: Vec<(&'a str, Value<'a>)>,
}

impl<'a> Attributes<'a> {
    pub(super) fn parse(
        text: &'a str,
        specs: &[Spec],
        (report, line): &mut (&mut FileReport<'_>, u32),
    ) -> Self {
        let place = || Place::line(*line);
        let mut list = Vec::new();
        let mut names = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let first = (names.len() < MAX_ATTRIBUTES).then(|| split(rest));
            let Some((name, value, next)) = first.flatten() else {
                report.say(Rule::M3u8AttributeSyntax, place(), format!("at {rest:?}"));
                break;
            };
            rest = next;
            if names.contains(&name) {
                report.say(Rule::M3u8AttributeOnce, place(), format!("{name} twice"));
            }
            names.push(name);
            let Some(spec) = specs.iter().find(|spec| spec.name == name) else {
                if !name.starts_with("X-") {
                    let unknown = format!("{name} is not known");
                    report.say(Rule::M3u8AttributeUnknown, place(), unknown);
                }
                continue;
            };
            if spec.form.holds(value) {
                list.push((name, value));
            } else {
                let what = format!("the value of {name}");
                let found = format!("{value:?}");
                report.differs(
                    Rule::M3u8AttributeType,
                    (place(), &what),
                    spec.form.name(),
                    found,
                );
            }
        }
        for spec in specs {
            if spec.needed && !names.contains(&spec.name) {
                let missing = format!("{} is missing", spec.name);
                report.say(Rule::M3u8AttributeMissing, place(), missing);
            }
        }
        Self { list }
    }

    /// A value without its quotes.
    pub(in crate::lint) fn get(&self, name: &str) -> Option<&'a str> {
        let found = self.list.iter().find(|(known, _)| *known == name)?;
        Some(match found.1 {
            Value::Quoted(text) | Value::Plain(text) => text,
        })
    }

    /// A value that is not quoted.
    pub(in crate::lint) fn word(&self, name: &str) -> Option<&'a str> {
        let found = self.list.iter().find(|(known, _)| *known == name)?;
        match found.1 {
            Value::Plain(text) => Some(text),
            Value::Quoted(_) => None,
        }
    }

    /// A whole number.
    pub(in crate::lint) fn integer(&self, name: &str) -> Option<u64> {
        self.word(name)?.parse().ok()
    }

    /// A decimal number.
    pub(in crate::lint) fn decimal(&self, name: &str) -> Option<f64> {
        self.word(name)?.parse().ok()
    }

    /// Width and height.
    pub(in crate::lint) fn resolution(&self, name: &str) -> Option<(u64, u64)> {
        resolution(self.word(name)?)
    }
}

/// The first attribute of a list, and what is behind its comma.
fn split(text: &str) -> Option<(&str, Value<'_>, &str)> {
    let (name, rest) = text.split_once('=')?;
    let of_a_name = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || !name.bytes().all(of_a_name) {
        return None;
    }
    let (value, rest) = if let Some(quoted) = rest.strip_prefix('"') {
        let (inner, rest) = quoted.split_once('"')?;
        (Value::Quoted(inner), rest)
    } else {
        let end = rest.find(',').unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        if word.is_empty() || word.contains(['"', ' ', '\t']) {
            return None;
        }
        (Value::Plain(word), rest)
    };
    match rest.strip_prefix(',') {
        // A comma at the end has nothing behind it.
        Some("") => None,
        Some(next) => Some((name, value, next)),
        None => rest.is_empty().then_some((name, value, "")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_split_at_commas_outside_of_quotes() {
        let list = r#"A="x,y",B-2=3,C=d"#;
        let (name, value, rest) = split(list).unwrap();
        assert_eq!(
            (name, value, rest),
            ("A", Value::Quoted("x,y"), "B-2=3,C=d")
        );
        let (name, value, rest) = split(rest).unwrap();
        assert_eq!((name, value, rest), ("B-2", Value::Plain("3"), "C=d"));
    }

    #[test]
    fn broken_lists_are_refused() {
        for list in [
            "", "A", "=1", "a=1", "A=", "A=1,", "A=\"x", "A=\"x\"y", "A =1", "A= 1", "A=1 ,B=2",
        ] {
            assert_eq!(split(list), None, "{list}");
        }
    }

    #[test]
    fn values_have_the_form_of_their_attribute() {
        for (form, value, holds) in [
            (Form::Quoted, Value::Quoted(""), true),
            (Form::Quoted, Value::Plain("x"), false),
            (Form::Integer, Value::Plain("12"), true),
            (Form::Integer, Value::Plain("12.5"), false),
            (Form::Integer, Value::Plain("99999999999999999999"), false),
            (Form::Integer, Value::Quoted("12"), false),
            (Form::Decimal, Value::Plain("23.976"), true),
            (Form::Decimal, Value::Plain("-1"), false),
            (Form::Signed, Value::Plain("-1.5"), true),
            (Form::Decimal, Value::Plain("nan"), false),
            (Form::Hex, Value::Plain("0xAb"), true),
            (Form::Hex, Value::Plain("Ab"), false),
            (Form::Resolution, Value::Plain("640x360"), true),
            (Form::Resolution, Value::Plain("640X360"), false),
            (Form::QuotedOr("NONE"), Value::Plain("NONE"), true),
            (Form::QuotedOr("NONE"), Value::Plain("NO"), false),
        ] {
            assert_eq!(form.holds(value), holds, "{form:?} {value:?}");
        }
    }
}
