//! Evaluation: binding what is referred to, running, and saying what went wrong.

use std::sync::{Arc, LazyLock};

use cel::common::ast::{Expr as Node, IdedExpr, LiteralValue, operators};
use cel::objects::ValueType;
use cel::{Context, Env, ExecutionError};
use serde_json::Value;

use super::compile::{Compiled, children};
use super::convert::{OutputBudget, map, to_cel, to_json};
use super::meter::Meter;
use super::{ExprError, Reference, Scope, json_type};
use crate::limits;

/// The functions of CEL: a table that never changes, made once because that takes longer than
/// most evaluations.
pub(super) static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// Evaluates a compiled expression.
pub(super) fn evaluate(compiled: &Compiled, scope: &Scope<'_>) -> Result<Value, ExprError> {
    match compiled {
        Compiled::Path(reference) => {
            let value = read(scope, &reference.path)?;
            OutputBudget::default().take(&value)?;
            Ok(value)
        }
        Compiled::Program { ast, references } => run(ast, references, scope),
    }
}

fn run(ast: &IdedExpr, references: &[Reference], scope: &Scope<'_>) -> Result<Value, ExprError> {
    let mut context = Context::with_env(ENV.clone());
    bind(&mut context, references, scope);
    let meter = Meter::default();
    let result = meter
        .install(&mut context)
        .and_then(|()| cel::Value::resolve(ast, &context));
    if meter.is_exhausted() {
        return Err(too_much_work());
    }
    match result {
        Ok(value) => to_json(&value),
        Err(error) => Err(explain(ast, &context, &error, scope)),
    }
}

/// Reads a path from the JSON of the scope.
fn read(scope: &Scope<'_>, path: &[String]) -> Result<Value, ExprError> {
    let (root, root_names) = match path {
        [root] if root == "attempt" => {
            let attempt = scope.attempt_number().map(Value::from);
            return attempt.ok_or_else(|| no_data(path));
        }
        [root, step, output, ..] if root == "steps" && output == "output" => {
            (scope.step_output(step), 3)
        }
        [root, ..] => (scope.root(root), 1),
        [] => (None, 0),
    };
    let mut value = root.ok_or_else(|| no_data(path))?;
    for (n, member) in path.iter().enumerate().skip(root_names) {
        value = member_of(value, member, &path[..n])?;
    }
    Ok(value.clone())
}

fn member_of<'v>(value: &'v Value, member: &str, path: &[String]) -> Result<&'v Value, ExprError> {
    let members = value
        .as_object()
        .ok_or_else(|| not_a_map(path, member, json_type(value)))?;
    members.get(member).ok_or_else(|| {
        ExprError::new(
            "no_such_member",
            format!("`{}` has no member `{member}`", path.join(".")),
        )
    })
}

fn no_data(path: &[String]) -> ExprError {
    let names = match path {
        [root, step, ..] if root == "steps" => format!("{root}.{step}"),
        _ => path.first().cloned().unwrap_or_default(),
    };
    ExprError::new("no_such_member", format!("there is no `{names}` here"))
}

fn not_a_map(path: &[String], member: &str, found: &str) -> ExprError {
    let path_text = path.join(".");
    if found != "null" {
        return ExprError::new(
            "no_such_member",
            format!("`{path_text}` is {found}, so it has no member `{member}`"),
        );
    }
    let why = if path.len() == 3 && path[0] == "steps" {
        " (the step was skipped, or failed under `on_failure: continue`)"
    } else {
        ""
    };
    ExprError::new(
        "null_member",
        format!("`{path_text}` is null{why}, so `{member}` cannot be read from it"),
    )
    .with_help(Some(format!(
        "test it first: `{path_text} != null ? ... : ...`"
    )))
}

/// Binds the roots with no more of the data than the expression refers to: a step that reads
/// one field must not pay for the outputs of a hundred thousand items.
fn bind(context: &mut Context<'_, '_>, references: &[Reference], scope: &Scope<'_>) {
    for root in ["input", "each", "error"] {
        let paths = paths_below(references, root);
        if let (Some(value), false) = (scope.root(root), paths.is_empty()) {
            context.add_variable_from_value(root, pruned(value, &paths));
        }
    }
    let steps = paths_below(references, "steps");
    if !steps.is_empty() {
        context.add_variable_from_value("steps", steps_map(&steps, scope));
    }
    if let Some(attempt) = scope.attempt_number() {
        context.add_variable_from_value("attempt", i64::from(attempt));
    }
}

fn paths_below<'r>(references: &'r [Reference], root: &str) -> Vec<&'r [String]> {
    references
        .iter()
        .filter(|reference| reference.path[0] == root)
        .map(|reference| &reference.path[1..])
        .collect()
}

fn steps_map(paths: &[&[String]], scope: &Scope<'_>) -> cel::Value {
    let steps = group(paths).into_iter().filter_map(|(step, below)| {
        let output = scope.step_output(step)?;
        let below: Vec<&[String]> = below.iter().filter_map(|path| path.get(1..)).collect();
        let output = std::iter::once(("output", pruned(output, &below)));
        Some((step, map(output)))
    });
    map(steps)
}

/// The value with only those members that a path leads to. A path that ends takes all.
fn pruned(value: &Value, paths: &[&[String]]) -> cel::Value {
    match value {
        Value::Object(members) if paths.iter().all(|path| !path.is_empty()) => map(group(paths)
            .into_iter()
            .filter_map(|(name, below)| Some((name, pruned(members.get(name)?, &below))))),
        _ => to_cel(value),
    }
}

/// The paths by their first name.
fn group<'r>(paths: &[&'r [String]]) -> Vec<(&'r str, Vec<&'r [String]>)> {
    let mut groups: Vec<(&str, Vec<&[String]>)> = Vec::new();
    for path in paths {
        let Some((name, below)) = path.split_first() else {
            continue;
        };
        match groups.iter_mut().find(|(known, _)| known == name) {
            Some((_, paths)) => paths.push(below),
            None => groups.push((name, vec![below])),
        }
    }
    groups
}

/// Says what failed in the words of the definition: the CEL library knows values, not names.
fn explain(
    ast: &IdedExpr,
    context: &Context<'_, '_>,
    error: &ExecutionError,
    scope: &Scope<'_>,
) -> ExprError {
    let culprit = smallest_failure(ast, context);
    if let Some(path) = dotted_path(culprit)
        && let Err(error) = read(scope, &path)
    {
        return error;
    }
    describe(error)
}

/// The innermost part that fails by itself, on the branch that was taken.
fn smallest_failure<'e>(node: &'e IdedExpr, context: &Context<'_, '_>) -> &'e IdedExpr {
    let fails = |part: &IdedExpr| cel::Value::resolve(part, context).is_err();
    let parts = match &node.expr {
        // The body of a loop cannot be evaluated outside of it.
        Node::Comprehension(fold) => vec![&fold.iter_range],
        Node::Call(call) if call.func_name == operators::CONDITIONAL => {
            match cel::Value::resolve(&call.args[0], context) {
                Ok(cel::Value::Bool(true)) => vec![&call.args[1]],
                Ok(_) => vec![&call.args[2]],
                Err(_) => vec![&call.args[0]],
            }
        }
        _ => children(node),
    };
    match parts.into_iter().find(|part| fails(part)) {
        Some(part) => smallest_failure(part, context),
        None => node,
    }
}

fn dotted_path(node: &IdedExpr) -> Option<Vec<String>> {
    match &node.expr {
        Node::Ident(name) => Some(vec![name.clone()]),
        Node::Select(select) => {
            let mut path = dotted_path(&select.operand)?;
            path.push(select.field.clone());
            Some(path)
        }
        Node::Call(call) if call.func_name == operators::INDEX => {
            let Node::Literal(LiteralValue::String(member)) = &call.args.get(1)?.expr else {
                return None;
            };
            let mut path = dotted_path(&call.args[0])?;
            path.push(member.inner().to_owned());
            Some(path)
        }
        _ => None,
    }
}

fn too_much_work() -> ExprError {
    ExprError::new(
        "limit_exceeded",
        format!(
            "the expression takes more than {} units of work (limits::EXPRESSION_WORK)",
            limits::EXPRESSION_WORK
        ),
    )
}

/// A sentence for an error of the CEL library. Values are never printed: they may be megabytes.
fn describe(error: &ExecutionError) -> ExprError {
    use ExecutionError as E;
    let kind = |value: &cel::Value| type_name(value.type_of());
    let (code, message) = match error {
        E::NoSuchKey(name) => ("no_such_member", format!("there is no member `{name}`")),
        E::UndeclaredReference(name) => ("unknown_root", format!("there is no `{name}` here")),
        E::IndexOutOfBounds(_) => (
            "index_out_of_range",
            "the index is beyond the end of the list".to_owned(),
        ),
        E::DivisionByZero(_) | E::RemainderByZero(_) => {
            ("division_by_zero", "the divisor is zero".to_owned())
        }
        E::Overflow(..) => (
            "overflow",
            "the result does not fit a 64-bit integer".to_owned(),
        ),
        E::UnsupportedBinaryOperator(operator, left, right) => (
            "bad_operand",
            format!(
                "`{}` does not take {} and {}",
                operator_sign(operator),
                kind(left),
                kind(right)
            ),
        ),
        E::ValuesNotComparable(left, right) => (
            "bad_operand",
            format!("{} cannot be compared with {}", kind(left), kind(right)),
        ),
        E::NoSuchOverload(overload) => (
            "bad_operand",
            format!(
                "`{}` does not take {}",
                operator_sign(overload.function()),
                overload
                    .argument_types()
                    .join(" and ")
                    .replace("null_type", "null")
            ),
        ),
        E::UnexpectedType { got, want } if got.len() + want.len() < 80 => {
            ("bad_operand", format!("expected {want}, found {got}"))
        }
        E::FunctionError { function, message } if message.len() < 200 => (
            "bad_operand",
            format!("`{function}` failed: {}", message.to_lowercase()),
        ),
        _ => (
            "bad_operand",
            "an operator or a function got a value it does not take".to_owned(),
        ),
    };
    ExprError::new(code, message)
}

fn type_name(kind: ValueType) -> String {
    kind.to_string().replace("float", "double")
}

/// `_<_`, `@in` and `add` as they are written.
fn operator_sign(name: &str) -> &str {
    match name {
        "_._" | "_[_]" | "_?._" => "member access",
        "add" => "+",
        "sub" => "-",
        "mul" => "*",
        "div" => "/",
        "rem" => "%",
        _ => name.trim_matches(['_', '@']),
    }
}
