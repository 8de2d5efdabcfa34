//! Expressions and templates, and what they may refer to.

use std::ops::Range;

use super::Cx;
use crate::definition::diagnostic::nearest_help;
use crate::definition::json_schema::{UnknownMember, unknown_member};
use crate::definition::yaml::{Member, Node, NodeValue};
use crate::definition::{Expr, Reference, Template};

/// Where an expression stands, which decides what it can see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::definition) enum Place {
    /// `when` and `for_each`.
    Condition,
    /// `with` of a step.
    With {
        /// Whether the step has `for_each`.
        each: bool,
    },
    /// `when` of `retry` and of its rules.
    Retry,
    /// `output` of the definition.
    Output,
}

impl Place {
    fn roots(self) -> &'static [&'static str] {
        match self {
            Self::Condition | Self::Output | Self::With { each: false } => &["input", "steps"],
            Self::With { each: true } => &["each", "input", "steps"],
            Self::Retry => &["attempt", "error"],
        }
    }
}

impl Cx<'_> {
    /// An expression that is the whole text of a key.
    pub(super) fn expr(&mut self, node: &Node, what: &str, place: Place) -> Option<Expr> {
        let text = match &node.value {
            NodeValue::Bool(value) => value.to_string(),
            NodeValue::Text(text) if text.trim_start().starts_with("${{") => {
                self.problems.add(
                    "bad_expression",
                    &node.span,
                    format!("{what} is an expression: write it without `${{{{ }}}}`"),
                );
                return None;
            }
            NodeValue::Text(text) => text.clone(),
            _ => {
                self.wrong_type(node, what, "an expression");
                return None;
            }
        };
        let leading = text.len() - text.trim_start().len();
        let within = |span: &Range<usize>| leading + span.start..leading + span.end;
        match Expr::parse(&text) {
            Ok(expr) => {
                for reference in expr.references() {
                    let span = self.locate(node, &text, within(&reference.span));
                    self.check_reference(reference, place, &span);
                }
                Some(expr)
            }
            Err(error) => {
                let span = self.locate(node, &text, within(&error.span));
                self.problems.add_expr(error, &span);
                None
            }
        }
    }

    /// JSON with expressions in its strings.
    pub(super) fn template(&mut self, node: &Node, place: Place) -> Template {
        match &node.value {
            NodeValue::Text(text) => self.template_text(node, text, place),
            NodeValue::List(items) => Template::list(
                items
                    .iter()
                    .map(|item| self.template(item, place))
                    .collect(),
            ),
            NodeValue::Map(members) => Template::map(
                members
                    .iter()
                    .map(|member| self.template_member(member, place))
                    .collect(),
            ),
            _ => Template::literal(node.to_json()),
        }
    }

    fn template_member(&mut self, member: &Member, place: Place) -> (String, Template) {
        if member.name.contains("${{") {
            self.problems.add(
                "bad_expression",
                &member.name_span,
                "expressions are not evaluated in keys",
            );
        }
        let value = self.template(&member.node, place);
        (member.name.clone(), value)
    }

    fn template_text(&mut self, node: &Node, text: &str, place: Place) -> Template {
        match Template::parse_text(text) {
            Ok((template, starts)) => {
                for (expr, start) in template.expressions().into_iter().zip(starts) {
                    for reference in expr.references() {
                        let span = start + reference.span.start..start + reference.span.end;
                        let span = self.locate(node, text, span);
                        self.check_reference(reference, place, &span);
                    }
                }
                template
            }
            Err((error, span)) => {
                let span = self.locate(node, text, span);
                self.problems.add_expr(error, &span);
                Template::default()
            }
        }
    }

    /// Bytes of the file for bytes of a scalar's text: exact where the file has that text as it
    /// is, the whole scalar where it is folded or has escapes.
    fn locate(&self, node: &Node, text: &str, within: Range<usize>) -> Range<usize> {
        let source = self.text.get(node.span.clone()).unwrap_or_default();
        match source.find(text) {
            Some(at) => {
                let start = node.span.start + at;
                start + within.start..start + within.end
            }
            None => node.span.clone(),
        }
    }

    fn check_reference(&mut self, reference: &Reference, place: Place, span: &Range<usize>) {
        let root = reference.path[0].as_str();
        if !place.roots().contains(&root) {
            let roots = place.roots();
            self.problems.add_with_help(
                "unknown_root",
                span,
                match root {
                    "each" if roots.contains(&"steps") => {
                        "`each` is there only in `with` of a step that has `for_each`".to_owned()
                    }
                    _ => format!(
                        "there is no `{root}` here; expressions here begin with {}",
                        roots.join(", ")
                    ),
                },
                nearest_help(root, roots.iter().copied()),
            );
            return;
        }
        match root {
            "steps" => self.check_step_reference(&reference.path, span),
            "input" => self.check_input_reference(&reference.path, span),
            _ => {}
        }
    }

    fn check_step_reference(&mut self, path: &[String], span: &Range<usize>) {
        let Some(step) = path.get(1) else {
            self.problems
                .add("bad_expression", span, "name one step: `steps.NAME.output`");
            return;
        };
        if !self.steps.contains_key(step) {
            self.unknown_step(step, span);
            return;
        }
        match path.get(2).map(String::as_str) {
            Some("output") => self.check_output_reference(step, path, span),
            None => self.problems.add(
                "unknown_member",
                span,
                format!("write `steps.{step}.output`: a step has nothing else"),
            ),
            Some(other) => self.problems.add_with_help(
                "unknown_member",
                span,
                format!("a step has no `{other}`, only `output`"),
                Some(format!("write `steps.{step}.output`")),
            ),
        }
    }

    fn check_output_reference(&mut self, step: &str, path: &[String], span: &Range<usize>) {
        let known = &self.steps[step];
        let members = &path[3..];
        if known.is_list {
            if let Some(member) = members.first() {
                self.problems.add(
                    "bad_type",
                    span,
                    format!(
                        "`{step}` has `for_each`, so its output is a list and has no `{member}`"
                    ),
                );
            }
            return;
        }
        let unknown = known
            .output
            .as_ref()
            .and_then(|schema| unknown_member(schema, members));
        if let Some(unknown) = unknown {
            self.unknown_member(path, 3, &unknown, span);
        }
    }

    pub(super) fn unknown_step(&mut self, step: &str, span: &Range<usize>) {
        let names = self.steps.keys().map(String::as_str);
        self.problems.add_with_help(
            "unknown_step",
            span,
            format!("there is no step `{step}`"),
            nearest_help(step, names),
        );
    }

    fn check_input_reference(&mut self, path: &[String], span: &Range<usize>) {
        if let Some(unknown) = unknown_member(&self.input, &path[1..]) {
            self.unknown_member(path, 1, &unknown, span);
        }
    }

    fn unknown_member(
        &mut self,
        path: &[String],
        root_names: usize,
        unknown: &UnknownMember,
        span: &Range<usize>,
    ) {
        let (before, rest) = path.split_at(root_names + unknown.depth);
        let member = rest.first().map_or("", String::as_str);
        self.problems.add_with_help(
            "unknown_member",
            span,
            format!("`{}` has no member `{member}`", before.join(".")),
            nearest_help(member, unknown.known.iter().map(String::as_str)),
        );
    }
}
