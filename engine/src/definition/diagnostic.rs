//! What is wrong with a definition, where, and how it is shown.

use std::fmt::Write;
use std::ops::Range;

use serde::Serialize;

use super::expr::ExprError;
use crate::limits;

/// Characters of a source line that are shown around a mistake: what fits a terminal.
const SHOWN_CHARS: usize = 100;

/// One mistake in a definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Stable, `snake_case`; listed in `docs/reference/errors.md`.
    pub code: &'static str,
    /// Lowercase, one sentence.
    pub message: String,
    /// Line in the file, from 1.
    pub line: usize,
    /// Character in the line, from 1.
    pub column: usize,
    /// Bytes of the file that are to blame.
    pub span: Range<usize>,
    /// What would be right, as far as known.
    pub help: Option<String>,
}

impl Diagnostic {
    /// The mistake with its source line and a caret, for a terminal:
    ///
    /// ```text
    /// video.yaml:4:5: error[unknown_key]: a step has no key `activty`
    ///   4 |     activty: media.probe@1
    ///     |     ^^^^^^^
    ///     = help: did you mean `activity`?
    /// ```
    #[must_use]
    pub fn render(&self, file: &str, text: &str) -> String {
        let place = Place::of(text, &self.span);
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        let mut out = format!(
            "{file}:{}:{}: error[{}]: {}\n",
            self.line,
            self.column,
            self.code,
            printable(&self.message)
        );
        // Writing to a string cannot fail.
        let _ = writeln!(out, "  {number} | {}", place.shown);
        let _ = writeln!(out, "  {margin} | {}{}", place.indent, place.carets);
        if let Some(help) = &self.help {
            let _ = writeln!(out, "  {margin} = help: {}", printable(help));
        }
        out
    }
}

/// The part of a source line around a mistake, and what points at it.
struct Place {
    shown: String,
    indent: String,
    carets: String,
}

impl Place {
    fn of(text: &str, span: &Range<usize>) -> Self {
        let start = text.floor_char_boundary(span.start.min(text.len()));
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line = text[line_start..].lines().next().unwrap_or_default();
        let before = text[line_start..start].chars().count();
        let end = text.floor_char_boundary(span.end.clamp(start, text.len()));
        let marked = text[start..end].lines().next().unwrap_or_default();
        // A file of one line, as JSON often is, is shown from shortly before the mistake.
        let skipped = before.saturating_sub(SHOWN_CHARS / 2);
        let shown: String = line.chars().skip(skipped).take(SHOWN_CHARS).collect();
        let room = SHOWN_CHARS - (before - skipped);
        Self {
            shown: printable(&shown),
            indent: " ".repeat(before - skipped),
            carets: "^".repeat(marked.chars().count().clamp(1, room)),
        }
    }
}

/// The text with every control character replaced by a space: a file must not drive a terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// The mistakes found so far.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: Vec<Problem>,
}

#[derive(Debug)]
struct Problem {
    code: &'static str,
    message: String,
    span: Range<usize>,
    help: Option<String>,
}

impl Problems {
    /// Adds a mistake.
    pub(super) fn add(
        &mut self,
        code: &'static str,
        span: &Range<usize>,
        message: impl Into<String>,
    ) {
        self.add_with_help(code, span, message, None);
    }

    /// Adds a mistake for which there is advice.
    pub(super) fn add_with_help(
        &mut self,
        code: &'static str,
        span: &Range<usize>,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.found.push(Problem {
            code,
            message: message.into(),
            span: span.clone(),
            help,
        });
    }

    /// Adds what is wrong with an expression.
    pub(super) fn add_expr(&mut self, error: ExprError, span: &Range<usize>) {
        let help = error.help.map(String::from);
        self.add_with_help(error.code, span, error.message, help);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The mistakes in the order of the text, at most [`limits::DIAGNOSTICS_PER_FILE`].
    pub(super) fn into_diagnostics(mut self, text: &str) -> Vec<Diagnostic> {
        self.found.sort_by_key(|problem| problem.span.start);
        self.found
            .into_iter()
            .take(limits::DIAGNOSTICS_PER_FILE)
            .map(|problem| problem.locate(text))
            .collect()
    }
}

impl Problem {
    fn locate(self, text: &str) -> Diagnostic {
        let before = &text[..text.floor_char_boundary(self.span.start.min(text.len()))];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Diagnostic {
            code: self.code,
            message: self.message,
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            span: self.span,
            help: self.help,
        }
    }
}

/// "did you mean `x`?", if one of the known names is close to what was written.
pub(super) fn nearest_help<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    nearest(name, known).map(|known| format!("did you mean `{known}`?"))
}

/// The known name that takes the fewest typing errors to become `name`: at most one in three
/// letters, so that nonsense gets no advice.
#[must_use]
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Comparing takes time with the product of the lengths, and nobody misspells a paragraph.
    if name.len() > 2 * limits::NAME_BYTES {
        return None;
    }
    let allowed = (name.chars().count() / 3).max(1);
    known
        .into_iter()
        .filter(|known| known.len() <= 2 * limits::NAME_BYTES)
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, known)| known)
}
