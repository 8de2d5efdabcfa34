//! A limit on the work of one evaluation. The CEL library has none, so the macros of an
//! expression are rewritten to pay for what they visit and copy; without macros, the work is
//! bounded by the length of the text.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr as Node, IdedExpr};
use cel::common::ast::{LiteralValue, operators};
use cel::common::types::{CelInt, CelList, CelMap, CelString};
use cel::common::value::{CowVal, Val};
use cel::{Context, ExecutionError, FunctionContext};

use super::compile::children;
use crate::limits;

/// `@range(range, units)` pays for a loop: `units` for each item and the copy of each. The names
/// cannot be written in an expression.
const RANGE: &str = "@range";
/// `@item(value)` pays for the copy of a value.
const ITEM: &str = "@item";
/// Bytes of text that are copied for one unit of work.
const BYTES_PER_UNIT: usize = 64;

/// The tree with its payments in place, and `has(a.b)` made false where `a` is null.
pub(super) fn metered(mut ast: IdedExpr) -> IdedExpr {
    rewrite(&mut ast, false);
    ast
}

fn rewrite(node: &mut IdedExpr, in_loop: bool) {
    match &mut node.expr {
        Node::Call(call) => {
            call.target
                .iter_mut()
                .map(AsMut::as_mut)
                .chain(&mut call.args)
                .for_each(|part| rewrite(part, in_loop));
            if in_loop && is_copying_addition(call) {
                wrap(node, ITEM, Vec::new());
            }
        }
        Node::Comprehension(fold) => rewrite_fold(fold),
        Node::List(list) => list
            .elements
            .iter_mut()
            .for_each(|element| rewrite_item(element, in_loop)),
        Node::Map(map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    rewrite(&mut entry.key, in_loop);
                    rewrite_item(&mut entry.value, in_loop);
                }
            }
        }
        Node::Select(select) => {
            rewrite(&mut select.operand, in_loop);
            if select.test {
                guard_test(node);
            }
        }
        Node::Struct(_) | Node::Ident(_) | Node::Literal(_) | Node::Unspecified => {}
    }
}

fn rewrite_item(item: &mut IdedExpr, in_loop: bool) {
    rewrite(item, in_loop);
    if in_loop && !matches!(item.expr, Node::Literal(_)) {
        wrap(item, ITEM, Vec::new());
    }
}

fn rewrite_fold(fold: &mut ComprehensionExpr) {
    let units = count(&fold.loop_cond) + count(&fold.loop_step);
    rewrite(&mut fold.iter_range, true);
    rewrite(&mut fold.loop_cond, true);
    rewrite(&mut fold.loop_step, true);
    let units = LiteralValue::Int(CelInt::from(units));
    wrap(&mut fold.iter_range, RANGE, vec![literal(units)]);
}

/// Additions copy both sides. The accumulator of a macro (`@result`) is grown in place.
fn is_copying_addition(call: &CallExpr) -> bool {
    let accumulates = call
        .args
        .first()
        .is_some_and(|left| matches!(&left.expr, Node::Ident(name) if name.starts_with('@')));
    call.func_name == operators::ADD && !accumulates
}

/// `has(a.b)` becomes `a != null && has(a.b)`.
fn guard_test(node: &mut IdedExpr) {
    let test = mem::take(node);
    let Node::Select(select) = &test.expr else {
        *node = test;
        return;
    };
    let operand = (*select.operand).clone();
    let id = test.id;
    let not_null = call(
        id,
        operators::NOT_EQUALS,
        vec![operand, literal(LiteralValue::Null)],
    );
    *node = call(id, operators::LOGICAL_AND, vec![not_null, test]);
}

fn wrap(node: &mut IdedExpr, function: &str, more: Vec<IdedExpr>) {
    let inner = mem::take(node);
    let id = inner.id;
    let mut args = vec![inner];
    args.extend(more);
    *node = call(id, function, args);
}

fn call(id: u64, function: &str, args: Vec<IdedExpr>) -> IdedExpr {
    IdedExpr {
        id,
        expr: Node::Call(CallExpr {
            func_name: function.to_owned(),
            target: None,
            args,
        }),
    }
}

fn literal(value: LiteralValue) -> IdedExpr {
    IdedExpr {
        id: 0,
        expr: Node::Literal(value),
    }
}

fn count(node: &IdedExpr) -> i64 {
    1 + children(node).into_iter().map(count).sum::<i64>()
}

/// What one evaluation has spent.
#[derive(Debug, Clone, Default)]
pub(super) struct Meter(Arc<AtomicU64>);

type Function = Box<
    dyn for<'context, 'call> Fn(
            &mut FunctionContext<'context, 'call>,
        ) -> Result<CowVal<'context, 'call>, ExecutionError>
        + Send
        + Sync,
>;

impl Meter {
    /// Makes the payments of a metered tree possible.
    pub(super) fn install(&self, context: &mut Context<'_, '_>) -> Result<(), ExecutionError> {
        let (range, item) = (self.clone(), self.clone());
        let range: Function = Box::new(move |call| range.pay_range(call));
        let item: Function = Box::new(move |call| item.pay_item(call));
        context
            .add_function(RANGE, range)
            .and_then(|()| context.add_function(ITEM, item))
            .map_err(|e| ExecutionError::function_error(RANGE, e))
    }

    /// Whether the work was more than [`limits::EXPRESSION_WORK`].
    pub(super) fn is_exhausted(&self) -> bool {
        self.0.load(Ordering::Relaxed) > limits::EXPRESSION_WORK
    }

    fn pay_range<'c, 'k>(
        &self,
        call: &mut FunctionContext<'c, 'k>,
    ) -> Result<CowVal<'c, 'k>, ExecutionError> {
        let units = call
            .args
            .pop()
            .and_then(|units| units.downcast_ref::<CelInt>().map(|units| *units.inner()))
            .and_then(|units| u64::try_from(units).ok())
            .unwrap_or(u64::MAX);
        let range = self.pay_item(call)?;
        let items = range
            .as_sizer()
            .and_then(|range| u64::try_from(*range.size().inner()).ok())
            .unwrap_or(0);
        self.pay(items.saturating_mul(units))?;
        Ok(range)
    }

    fn pay_item<'c, 'k>(
        &self,
        call: &mut FunctionContext<'c, 'k>,
    ) -> Result<CowVal<'c, 'k>, ExecutionError> {
        // `all` and `exists` go on after an error, in case a later item decides: from here on
        // that must cost nothing.
        self.pay(0)?;
        let value = call
            .args
            .pop()
            .ok_or_else(ExecutionError::missing_argument_or_target)?;
        self.pay(weight(value.as_ref(), limits::EXPRESSION_WORK))?;
        Ok(value)
    }

    fn pay(&self, units: u64) -> Result<(), ExecutionError> {
        let units = units.min(limits::EXPRESSION_WORK + 1);
        self.0.fetch_add(units, Ordering::Relaxed);
        if self.is_exhausted() {
            return Err(ExecutionError::function_error(ITEM, "too much work"));
        }
        Ok(())
    }
}

/// Units that a copy of the value takes; counting stops above `limit`.
fn weight(value: &dyn Val, limit: u64) -> u64 {
    if let Some(text) = value.downcast_ref::<CelString>() {
        return 1 + (text.inner().len() / BYTES_PER_UNIT) as u64;
    }
    let mut sum = 1;
    let mut add = |part: &dyn Val| {
        if sum <= limit {
            sum += weight(part, limit - sum);
        }
    };
    if let Some(list) = value.downcast_ref::<CelList>() {
        list.inner().iter().for_each(|item| add(item.as_ref()));
    } else if let Some(map) = value.downcast_ref::<CelMap>() {
        map.inner().values().for_each(|item| add(item.as_ref()));
    }
    sum
}
