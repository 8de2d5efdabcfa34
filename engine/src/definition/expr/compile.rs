//! From the text of an expression to what can be evaluated.

use std::ops::Range;
use std::thread;

use cel::common::ast::{EntryExpr, Expr as Node, IdedEntryExpr, IdedExpr, SourceInfo};
use cel::{ParseError, ParseErrors};

use super::evaluate::ENV;
use super::{ExprError, Reference, analysis, meter};
use crate::definition::diagnostic::nearest_help;
use crate::limits;

/// Stack of the thread that parses: the generated parser takes up to 170 KiB for each level of
/// [`limits::EXPRESSION_NESTING`] in an unoptimised build. What is not touched costs nothing.
const PARSER_STACK_BYTES: usize = 32 * 1024 * 1024;

/// The functions that expressions may call. Naming them here finds a typing error before a run,
/// and keeps definitions portable between releases of the CEL library.
const FUNCTIONS: [&str; 32] = [
    "bool",
    "bytes",
    "contains",
    "double",
    "duration",
    "dyn",
    "endsWith",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "hasValue",
    "int",
    "matches",
    "none",
    "of",
    "ofNonZeroValue",
    "or",
    "orValue",
    "size",
    "startsWith",
    "string",
    "timestamp",
    "type",
    "uint",
    "value",
];

/// What looks like a function and is expanded by the parser; named in suggestions only.
const MACROS: [&str; 6] = ["all", "exists", "exists_one", "filter", "has", "map"];

/// Words that cannot be names of data.
const KEYWORDS: [&str; 4] = ["false", "in", "null", "true"];

/// An expression ready to be evaluated.
#[derive(Debug)]
pub(super) enum Compiled {
    /// Nothing but a path; yields the JSON that is there.
    Path(Reference),
    /// Anything else.
    Program {
        /// The syntax tree, metered (see [`meter`]).
        ast: IdedExpr,
        /// Where it names data.
        references: Vec<Reference>,
    },
}

impl Compiled {
    pub(super) fn references(&self) -> &[Reference] {
        match self {
            Self::Path(reference) => std::slice::from_ref(reference),
            Self::Program { references, .. } => references,
        }
    }
}

/// Compiles a trimmed text.
pub(super) fn compile(text: &str) -> Result<Compiled, ExprError> {
    check_text(text)?;
    if let Some(path) = plain_path(text) {
        return Ok(Compiled::Path(analysis::plain_reference(path, text.len())));
    }
    thread::scope(|scope| {
        thread::Builder::new()
            .name("cel-parser".into())
            .stack_size(PARSER_STACK_BYTES)
            .spawn_scoped(scope, || parse(text))
            .map_err(|e| {
                let message = format!("there is no memory to read expressions with: {e}");
                ExprError::new("out_of_memory", message)
            })?
            .join()
            .unwrap_or_else(|_| {
                Err(ExprError::new(
                    "bad_expression",
                    "the parser gave up on this expression",
                ))
            })
    })
}

fn parse(text: &str) -> Result<Compiled, ExprError> {
    let parser = ENV.parser().max_recursion_depth(limits::EXPRESSION_NESTING);
    let (ast, source) = parser
        .parse_with_source_info(text)
        .map_err(|errors| syntax_error(text, &errors))?;
    check_depth(&ast)?;
    check_functions(&ast, text, &source)?;
    let references = analysis::references(&ast, text, &source)?;
    Ok(Compiled::Program {
        ast: meter::metered(ast),
        references,
    })
}

/// Refuses a text that would take the parser too long.
fn check_text(text: &str) -> Result<(), ExprError> {
    if text.is_empty() {
        return Err(ExprError::new("bad_expression", "the expression is empty"));
    }
    if text.len() > limits::EXPRESSION_BYTES {
        return Err(ExprError::new(
            "limit_exceeded",
            format!(
                "the expression is longer than {} bytes (limits::EXPRESSION_BYTES)",
                limits::EXPRESSION_BYTES
            ),
        ));
    }
    Ok(())
}

/// The text after the string literal that it begins with; all of it is skipped when the literal
/// has no end. Raw literals (`r'\'`) end earlier than this says.
pub(in crate::definition) fn skip_literal(text: &str) -> &str {
    let quote = &text[..1];
    let triple = quote.repeat(3);
    let delimiter = if text.starts_with(&triple) {
        triple.as_str()
    } else {
        quote
    };
    let mut rest = &text[delimiter.len()..];
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(delimiter) {
            return after;
        }
        let skipped = usize::from(rest.starts_with('\\')) + 1;
        rest = rest
            .char_indices()
            .nth(skipped)
            .map_or("", |(at, _)| &rest[at..]);
    }
    rest
}

/// The names of `a.b.c`, or `None` for anything that is not just that.
fn plain_path(text: &str) -> Option<Vec<String>> {
    let names: Vec<&str> = text.split('.').collect();
    let plain = names.iter().all(|name| {
        is_identifier(name) && !KEYWORDS.contains(name) && !analysis::TYPES.contains(name)
    });
    plain.then(|| names.into_iter().map(str::to_owned).collect())
}

pub(super) fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The parser's first message, shortened to what a reader can use.
fn syntax_error(text: &str, errors: &ParseErrors) -> ExprError {
    let Some(first) = errors.errors.first() else {
        return ExprError::new("bad_expression", "the expression cannot be parsed");
    };
    let too_deep = |error: &ParseError| error.msg.contains("Recursion limit");
    if errors.errors.iter().any(too_deep) {
        return ExprError::new(
            "limit_exceeded",
            format!(
                "brackets and conditionals are nested more than {} deep \
                 (limits::EXPRESSION_NESTING)",
                limits::EXPRESSION_NESTING
            ),
        );
    }
    let message = first.msg.trim_start_matches("Syntax error: ");
    // The list of every token that would fit helps nobody.
    let message = message.split(" expecting ").next().unwrap_or(message);
    let message = message.replace("'<EOF>'", "the end of the expression");
    let column = usize::try_from(first.pos.1).unwrap_or(1).saturating_sub(1);
    let line = usize::try_from(first.pos.0).unwrap_or(1).saturating_sub(1);
    let line_start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let start = byte_of(&text[line_start..], column) + line_start;
    // What is missing at the end is shown at the last character.
    let start = start.min(text.floor_char_boundary(text.len() - 1));
    let end = byte_of(&text[start..], 1) + start;
    ExprError::new("bad_expression", format!("not an expression: {message}")).at(start..end)
}

/// Byte offset of the n-th character.
fn byte_of(text: &str, chars: usize) -> usize {
    text.char_indices()
        .nth(chars)
        .map_or(text.len(), |(at, _)| at)
}

/// Where a node begins in the text: the parser counts bytes here, and characters in its errors.
pub(super) fn start_of(node: &IdedExpr, text: &str, source: &SourceInfo) -> usize {
    let (start, _) = source.offset_for(node.id).unwrap_or_default();
    text.floor_char_boundary(start as usize)
}

/// Visits the tree without recursion, so that it can be measured before anything recurses.
fn check_depth(ast: &IdedExpr) -> Result<(), ExprError> {
    let mut open = vec![(ast, 1)];
    while let Some((node, depth)) = open.pop() {
        if depth > limits::EXPRESSION_DEPTH {
            return Err(ExprError::new(
                "limit_exceeded",
                format!(
                    "the syntax tree is more than {} deep (limits::EXPRESSION_DEPTH)",
                    limits::EXPRESSION_DEPTH
                ),
            ));
        }
        open.extend(children(node).into_iter().map(|child| (child, depth + 1)));
    }
    Ok(())
}

fn check_functions(ast: &IdedExpr, text: &str, source: &SourceInfo) -> Result<(), ExprError> {
    if let Node::Call(call) = &ast.expr {
        let name = call.func_name.as_str();
        let named = name.starts_with(|c: char| c.is_ascii_alphabetic());
        if named && !FUNCTIONS.contains(&name) {
            let known = FUNCTIONS.iter().chain(&MACROS).copied();
            return Err(ExprError::new(
                "unknown_function",
                format!("there is no function `{name}`, or not with these arguments"),
            )
            .at(name_span(name, start_of(ast, text, source), text))
            .with_help(nearest_help(name, known)));
        }
    }
    if matches!(ast.expr, Node::Struct(_)) {
        return Err(ExprError::new(
            "bad_expression",
            "messages cannot be built here; write a map in braces",
        ));
    }
    children(ast)
        .into_iter()
        .try_for_each(|child| check_functions(child, text, source))
}

/// The place of a function's name: a call is recorded at its opening bracket.
fn name_span(name: &str, start: usize, text: &str) -> Range<usize> {
    match text[..start].rfind(name) {
        Some(at) => at..at + name.len(),
        None => start..start,
    }
}

/// The direct parts of a node, in the order of evaluation.
pub(super) fn children(node: &IdedExpr) -> Vec<&IdedExpr> {
    match &node.expr {
        Node::Call(call) => call
            .target
            .as_deref()
            .into_iter()
            .chain(&call.args)
            .collect(),
        Node::Comprehension(fold) => vec![
            &fold.iter_range,
            &fold.accu_init,
            &fold.loop_cond,
            &fold.loop_step,
            &fold.result,
        ],
        Node::List(list) => list.elements.iter().collect(),
        Node::Map(map) => map.entries.iter().flat_map(entry_parts).collect(),
        Node::Struct(message) => message.entries.iter().flat_map(entry_parts).collect(),
        Node::Select(select) => vec![&select.operand],
        Node::Ident(_) | Node::Literal(_) | Node::Unspecified => Vec::new(),
    }
}

fn entry_parts(entry: &IdedEntryExpr) -> Vec<&IdedExpr> {
    match &entry.expr {
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
        EntryExpr::StructField(field) => vec![&field.value],
    }
}
