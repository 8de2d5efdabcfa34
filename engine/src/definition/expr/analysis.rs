//! Which data an expression names, and where a `null` would hurt it.

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr as Node, IdedExpr, LiteralValue};
use cel::common::ast::{SourceInfo, operators};

use super::compile::{children, is_identifier, start_of};
use super::{ExprError, Reference};

/// Identifiers that are types, not data.
pub(super) const TYPES: [&str; 10] = [
    "bool",
    "bytes",
    "double",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "type",
    "uint",
];

/// Names of `steps.NAME.output`: what a test for `null` decides about.
const OUTPUT_NAMES: usize = 3;

/// A path that is known not to be null.
type Fact = Vec<String>;

/// The reference of an expression that is nothing but a path.
pub(super) fn plain_reference(path: Vec<String>, bytes: usize) -> Reference {
    Reference {
        null_safe: path.first().is_none_or(|root| root != "steps"),
        path,
        span: 0..bytes,
    }
}

/// Every reference of the expression, in the order of the text.
pub(super) fn references(
    ast: &IdedExpr,
    text: &str,
    source: &SourceInfo,
) -> Result<Vec<Reference>, ExprError> {
    let mut walk = Walk {
        text,
        source,
        bound: Vec::new(),
        found: Vec::new(),
    };
    walk.visit(ast, &[])?;
    walk.found.sort_by_key(|reference| reference.span.start);
    Ok(walk.found)
}

struct Walk<'a> {
    text: &'a str,
    source: &'a SourceInfo,
    /// Variables of the macros around the current node.
    bound: Vec<String>,
    found: Vec<Reference>,
}

impl Walk<'_> {
    fn visit(&mut self, node: &IdedExpr, facts: &[Fact]) -> Result<(), ExprError> {
        if let Some((path, root)) = self.path(node) {
            self.found(path, root, facts, false);
            return Ok(());
        }
        match &node.expr {
            Node::Call(call) => self.call(call, facts),
            Node::Comprehension(fold) => self.fold(fold, facts),
            Node::Select(select) => match self.path(&select.operand) {
                // has(path.field): the operand may be null.
                Some((mut path, root)) => {
                    let operand_names = path.len();
                    path.push(select.field.clone());
                    self.found(path, root, facts, operand_names == OUTPUT_NAMES);
                    Ok(())
                }
                None => self.visit(&select.operand, facts),
            },
            Node::Ident(name) if name.starts_with('.') => Err(ExprError::new(
                "bad_expression",
                format!("write `{}` without the leading dot", &name[1..]),
            )),
            _ => self.each_child(node, facts),
        }
    }

    fn each_child(&mut self, node: &IdedExpr, facts: &[Fact]) -> Result<(), ExprError> {
        children(node)
            .into_iter()
            .try_for_each(|child| self.visit(child, facts))
    }

    fn call(&mut self, call: &CallExpr, facts: &[Fact]) -> Result<(), ExprError> {
        match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::CONDITIONAL, [test, then, otherwise]) => {
                self.visit(test, facts)?;
                self.visit(then, &with(facts, self.facts_if(test, true)))?;
                self.visit(otherwise, &with(facts, self.facts_if(test, false)))
            }
            // Both sides are evaluated in CEL's own order-free sense: an error on one side does
            // not count when the other side decides. So each side guards the other.
            (operators::LOGICAL_AND, [left, right]) => {
                self.visit(left, &with(facts, self.facts_if(right, true)))?;
                self.visit(right, &with(facts, self.facts_if(left, true)))
            }
            (operators::LOGICAL_OR, [left, right]) => {
                self.visit(left, &with(facts, self.facts_if(right, false)))?;
                self.visit(right, &with(facts, self.facts_if(left, false)))
            }
            (operators::EQUALS | operators::NOT_EQUALS, [left, right])
                if is_null(left) || is_null(right) =>
            {
                let operand = if is_null(left) { right } else { left };
                self.harmless_if_null(operand, facts)
            }
            (operators::OPT_SELECT | operators::OPT_INDEX, [operand, field]) => {
                self.harmless_if_null(operand, facts)?;
                self.visit(field, facts)
            }
            _ => call
                .target
                .iter()
                .map(AsRef::as_ref)
                .chain(&call.args)
                .try_for_each(|part| self.visit(part, facts)),
        }
    }

    /// An operand that may be null where it stands, but not what it is read from.
    fn harmless_if_null(&mut self, operand: &IdedExpr, facts: &[Fact]) -> Result<(), ExprError> {
        match self.path(operand) {
            Some((path, root)) => {
                let whole_output = path.len() == OUTPUT_NAMES;
                self.found(path, root, facts, whole_output);
                Ok(())
            }
            None => self.visit(operand, facts),
        }
    }

    fn fold(&mut self, fold: &ComprehensionExpr, facts: &[Fact]) -> Result<(), ExprError> {
        self.visit(&fold.iter_range, facts)?;
        self.visit(&fold.accu_init, facts)?;
        let outer = self.bound.len();
        self.bound.push(fold.iter_var.clone());
        self.bound.extend(fold.iter_var2.clone());
        self.bound.push(fold.accu_var.clone());
        self.visit(&fold.loop_cond, facts)?;
        self.visit(&fold.loop_step, facts)?;
        self.visit(&fold.result, facts)?;
        self.bound.truncate(outer);
        Ok(())
    }

    fn found(&mut self, path: Vec<String>, root: &IdedExpr, facts: &[Fact], harmless: bool) {
        let start = start_of(root, self.text, self.source);
        let null_safe =
            harmless || path[0] != "steps" || facts.iter().any(|fact| same_output(fact, &path));
        self.found.push(Reference {
            span: start..start + written_bytes(&self.text[start..], &path),
            path,
            null_safe,
        });
    }

    /// The names of a chain of literal member accesses that starts at data, and its root.
    fn path<'e>(&self, node: &'e IdedExpr) -> Option<(Vec<String>, &'e IdedExpr)> {
        match &node.expr {
            Node::Ident(name) => {
                let data = is_identifier(name)
                    && !TYPES.contains(&name.as_str())
                    && !(name == "optional" || self.bound.contains(name));
                data.then(|| (vec![name.clone()], node))
            }
            Node::Select(select) if !select.test => {
                let (mut names, root) = self.path(&select.operand)?;
                names.push(select.field.clone());
                Some((names, root))
            }
            Node::Call(call) if call.func_name == operators::INDEX => match call.args.as_slice() {
                [operand, index] => {
                    let Node::Literal(LiteralValue::String(member)) = &index.expr else {
                        return None;
                    };
                    let (mut names, root) = self.path(operand)?;
                    names.push(member.inner().to_owned());
                    Some((names, root))
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// What is known not to be null once `test` gave `outcome`.
    fn facts_if(&self, test: &IdedExpr, outcome: bool) -> Vec<Fact> {
        match &test.expr {
            Node::Select(select) if select.test && outcome => self
                .path(&select.operand)
                .map(|(path, _)| path)
                .into_iter()
                .collect(),
            Node::Call(call) => self.facts_of_call(call, outcome),
            _ => Vec::new(),
        }
    }

    fn facts_of_call(&self, call: &CallExpr, outcome: bool) -> Vec<Fact> {
        match (call.func_name.as_str(), call.args.as_slice(), outcome) {
            (operators::LOGICAL_NOT, [inner], _) => self.facts_if(inner, !outcome),
            (operators::LOGICAL_AND, [left, right], true)
            | (operators::LOGICAL_OR, [left, right], false) => {
                let mut facts = self.facts_if(left, outcome);
                facts.extend(self.facts_if(right, outcome));
                facts
            }
            (operators::NOT_EQUALS, [left, right], true)
            | (operators::EQUALS, [left, right], false)
                if is_null(left) || is_null(right) =>
            {
                let operand = if is_null(left) { right } else { left };
                self.path(operand)
                    .map(|(path, _)| path)
                    .into_iter()
                    .collect()
            }
            _ => Vec::new(),
        }
    }
}

fn is_null(node: &IdedExpr) -> bool {
    matches!(node.expr, Node::Literal(LiteralValue::Null))
}

fn with(facts: &[Fact], more: Vec<Fact>) -> Vec<Fact> {
    facts.iter().cloned().chain(more).collect()
}

/// Whether a fact about `steps.a.output...` says that the output read at `path` is not null.
fn same_output(fact: &Fact, path: &[String]) -> bool {
    fact.len() >= OUTPUT_NAMES
        && path.len() >= OUTPUT_NAMES
        && fact[..OUTPUT_NAMES] == path[..OUTPUT_NAMES]
}

/// Length of the path as written; of its root alone when it is not written with plain dots.
fn written_bytes(text: &str, path: &[String]) -> usize {
    let dotted = path.join(".");
    if text.starts_with(&dotted) {
        dotted.len()
    } else {
        path[0].len().min(text.len())
    }
}
