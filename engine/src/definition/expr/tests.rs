use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::definition::Template;
use crate::limits;

fn scope_of<'a>(input: &'a Value, cover: &'a Value, probe: &'a Value) -> Scope<'a> {
    Scope::new()
        .input(input)
        .step("cover", cover)
        .step("package", probe)
}

fn eval(text: &str) -> Result<Value, ExprError> {
    let input = json!({"source": "a.mp4", "opts": {}, "nothing": null, "n": 4, "list": [3, 1, 2]});
    let probe = json!({"playlist": "p.m3u8", "list": [1, 2, 3], "duration_s": 30.5, "width": 1920});
    let expr = Expr::parse(text)?;
    expr.eval(&scope_of(&input, &Value::Null, &probe))
}

fn code_of(text: &str) -> &'static str {
    eval(text).unwrap_err().code
}

#[test]
fn paths_and_operators_work_on_json() {
    for (text, value) in [
        ("steps.package.output.playlist", json!("p.m3u8")),
        (
            "steps.package.output",
            json!({"playlist": "p.m3u8", "list": [1, 2, 3], "duration_s": 30.5, "width": 1920}),
        ),
        ("steps['package'].output['playlist']", json!("p.m3u8")),
        ("steps.package.output.list[1]", json!(2)),
        ("steps.package.output.width / 2 - 1", json!(959)),
        ("input.list.map(i, i + 1)", json!([4, 2, 3])),
        ("input.list.filter(i, i > 1).size()", json!(2)),
        ("input.list.exists(steps, steps == 3)", json!(true)),
        ("steps.package.output.duration_s * 2.0", json!(61.0)),
        ("input.n > 3 && input.source.endsWith('.mp4')", json!(true)),
        ("'x' in input.opts", json!(false)),
        (
            "{'w': input.n, 'l': [1, null]}",
            json!({"w": 4, "l": [1, null]}),
        ),
        ("input.opts.?encrypt.orValue(false)", json!(false)),
        ("input.?nope", Value::Null),
        ("has(input.opts.encrypt)", json!(false)),
        ("has(input.nothing.encrypt)", json!(false)),
        ("duration('90s')", json!("1m30s")),
        ("type(input.n) == int", json!(true)),
    ] {
        assert_eq!(eval(text), Ok(value), "{text}");
    }
}

#[test]
fn integers_of_json_can_be_subtracted_from() {
    assert_eq!(eval("input.n - 5"), Ok(json!(-1)));
    assert_eq!(eval("3 - input.n"), Ok(json!(-1)));
}

#[test]
fn null_can_be_tested_for() {
    for (text, value) in [
        ("steps.cover.output", Value::Null),
        ("steps.cover.output == null", json!(true)),
        (
            "steps.cover.output != null ? steps.cover.output.key : 'none'",
            json!("none"),
        ),
        (
            "steps.cover.output == null || steps.cover.output.key == 'x'",
            json!(true),
        ),
        (
            "steps.cover.output != null && steps.cover.output.key == 'x'",
            json!(false),
        ),
        ("has(steps.cover.output.key)", json!(false)),
        ("steps.cover.output.?key.orValue('none')", json!("none")),
    ] {
        assert_eq!(eval(text), Ok(value), "{text}");
    }
}

#[test]
fn reading_from_null_names_the_step_and_the_member() {
    for text in [
        "steps.cover.output.key",
        "steps.cover.output.key + 'x'",
        "true ? steps.cover.output.key : ''",
        "[1].map(i, i).size() > 0 && steps.cover.output.key == 'x'",
    ] {
        let error = eval(text).unwrap_err();
        assert_eq!(error.code, "null_member", "{text}");
        assert!(
            error.message.contains("`steps.cover.output` is null")
                && error.message.contains("`key`"),
            "{error}"
        );
    }
}

#[test]
fn failures_have_codes_and_sentences() {
    for (text, code, part) in [
        (
            "input.nope",
            "no_such_member",
            "`input` has no member `nope`",
        ),
        (
            "input.nope + 1",
            "no_such_member",
            "`input` has no member `nope`",
        ),
        ("input.n.x", "no_such_member", "`input.n` is a number"),
        ("steps.other.output", "no_such_member", "`steps.other`"),
        ("each", "no_such_member", "`each`"),
        ("each + 1", "no_such_member", "`each`"),
        ("1 + 1.5", "bad_operand", "`+` does not take int and double"),
        (
            "input.n < 'a'",
            "bad_operand",
            "`<` does not take int and string",
        ),
        ("input.list[7]", "index_out_of_range", "beyond the end"),
        ("1 / (input.n - 4)", "division_by_zero", "zero"),
        ("9223372036854775807 + 1", "overflow", "64-bit"),
        ("input.list.map(x, x.y)", "bad_operand", "member access"),
        ("1.0 / 0.0", "bad_result", "inf"),
        ("b'abc'", "bad_result", "JSON"),
        ("input.list ? 1 : 2", "bad_operand", "expected bool"),
    ] {
        let error = eval(text).unwrap_err();
        assert_eq!(error.code, code, "{text}: {error}");
        assert!(error.message.contains(part), "{text}: {error}");
    }
}

#[test]
fn what_is_not_an_expression_is_refused_where_it_goes_wrong() {
    for (text, code, span) in [
        ("", "bad_expression", 0..0),
        ("'é' + foo bar", "bad_expression", 11..12),
        ("a.b(", "bad_expression", 3..4),
        ("1 +\n+ 2", "bad_expression", 4..5),
        ("input.x.lenght()", "unknown_function", 8..14),
        ("siez(input.x)", "unknown_function", 0..4),
        ("Foo{a: 1}", "bad_expression", 0..9),
        ("`a`", "bad_expression", 0..1),
    ] {
        let error = Expr::parse(text).unwrap_err();
        assert_eq!(error.code, code, "{text}: {error}");
        assert_eq!(error.span, span, "{text}: {error}");
    }
    let error = Expr::parse("siez(input.x)").unwrap_err();
    assert_eq!(error.help.as_deref(), Some("did you mean `size`?"));
}

fn null_safety(text: &str) -> Vec<(String, bool)> {
    Expr::parse(text)
        .unwrap()
        .references()
        .iter()
        .map(|reference| (reference.path.join("."), reference.null_safe))
        .collect()
}

#[test]
fn references_guarded_against_null_are_safe() {
    for text in [
        "steps.a.output == null",
        "null != steps.a.output",
        "steps.a.output != null ? steps.a.output.x.y : 1",
        "steps.a.output == null ? 1 : steps.a.output.x",
        "!(steps.a.output == null) ? steps.a.output.x : 1",
        "steps.a.output != null && steps.a.output.x > 1",
        "steps.a.output.x > 1 && steps.a.output != null",
        "steps.a.output == null || steps.a.output.x > 1",
        "has(steps.a.output.x) ? steps.a.output.x : 1",
        "has(steps.a.output.x) && steps.a.output.x > 1",
        "steps.a.output.?x.orValue(1)",
        "steps['a'].output[?'x'].orValue(1)",
        "steps.a.output != null ? input.list.map(i, i + steps.a.output.x) : []",
        "input.x == 1 && (steps.a.output != null && input.y) ? steps.a.output.x : 1",
    ] {
        assert!(null_safety(text).iter().all(|(_, safe)| *safe), "{text}");
        assert!(
            null_safety(text)
                .iter()
                .any(|(path, _)| path.starts_with("steps.a.output"))
        );
    }
}

#[test]
fn references_that_null_would_break_are_not_safe() {
    for text in [
        "steps.a.output",
        "steps.a.output.x",
        "steps.a.output.x != null",
        "has(steps.a.output.x.y)",
        "steps.a.output.x.?y.orValue(1)",
        "steps.a.output != null ? 1 : steps.a.output.x",
        "steps.a.output == null ? steps.a.output.x : 1",
        "steps.a.output != null || steps.a.output.x > 1",
        "steps.b.output != null ? steps.a.output.x : 1",
        "input.list.map(i, i + steps.a.output.x)",
        "steps.a.output[input.key]",
        "size(steps.a.output)",
    ] {
        assert!(
            null_safety(text)
                .iter()
                .any(|(path, safe)| path.starts_with("steps.a") && !safe),
            "{text}"
        );
    }
}

#[test]
fn an_expression_with_only_safe_references_survives_null() {
    for text in [
        "steps.cover.output.x > 1 && steps.cover.output != null",
        "has(steps.cover.output.x) && steps.cover.output.x > 1",
        "!(steps.cover.output == null) ? steps.cover.output.x : 1",
        "steps.cover.output[?'x'].orValue(1)",
        "steps.cover.output != null ? input.list.map(i, i + steps.cover.output.x) : []",
    ] {
        assert!(null_safety(text).iter().all(|(_, safe)| *safe), "{text}");
        assert!(eval(text).is_ok(), "{text}: {:?}", eval(text));
    }
}

#[test]
fn references_know_their_place_and_their_names() {
    let expr = Expr::parse("'é' + steps.probe.output.x + input['a b']").unwrap();
    let found: Vec<_> = expr
        .references()
        .iter()
        .map(|reference| {
            (
                &expr.text()[reference.span.clone()],
                reference.path.join("/"),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("steps.probe.output.x", "steps/probe/output/x".to_owned()),
            ("input", "input/a b".to_owned()),
        ]
    );
    assert_eq!(expr.references()[0].step(), Some("probe"));
    assert_eq!(expr.references()[1].step(), None);
}

#[test]
fn variables_of_macros_and_types_are_not_references() {
    assert_eq!(
        null_safety(
            "input.list.map(input2, input2.x).exists(steps, steps.y == 1) && type(1) == int"
        )
        .into_iter()
        .map(|(path, _)| path)
        .collect::<Vec<_>>(),
        ["input.list"]
    );
}

#[test]
fn hostile_expressions_are_refused_at_once() {
    let n = limits::EXPRESSION_BYTES / 4;
    let texts = [
        "(".repeat(n),
        "[".repeat(n),
        "{".repeat(n),
        "f(".repeat(n),
        "a?".repeat(n),
        "a?a:".repeat(n) + "a",
        "[1].map(x,".repeat(n / 3) + "x" + &")".repeat(n / 3),
        "a+".repeat(n) + "a",
        "a==".repeat(n) + "a",
        "a".to_owned() + &"[0]".repeat(n),
        "'".repeat(4 * n),
        "\u{1}".repeat(4 * n),
        "a ".repeat(n),
        "x".repeat(limits::EXPRESSION_BYTES + 1),
    ];
    for text in texts {
        let start = Instant::now();
        let error = Expr::parse(&text).unwrap_err();
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{} took {:?}",
            &text[..12],
            start.elapsed()
        );
        assert!(error.to_string().len() < 600, "{error}");
    }
}

/// The deepest of what is accepted runs on the stack of an ordinary thread.
#[test]
fn expressions_at_the_limit_of_depth_are_evaluated() {
    let sum = "1+".repeat(limits::EXPRESSION_DEPTH - 1) + "1";
    assert_eq!(eval(&sum), Ok(json!(limits::EXPRESSION_DEPTH)));
    assert_eq!(code_of(&format!("1+{sum}")), "limit_exceeded");
    for (open, inside, close) in [
        ("[1].map(x,", "1", ")"),
        ("[1].exists(x,", "x == 1", ")"),
        ("size([", "1", "])"),
        ("{'a': ", "1", "}"),
        ("(", "1", ")"),
    ] {
        let nested = |n: usize| open.repeat(n) + inside + &close.repeat(n);
        let mut texts = (1..20).rev().map(nested);
        let deepest = texts.find(|text| Expr::parse(text).is_ok()).unwrap();
        assert!(deepest.len() > nested(4).len(), "{deepest}");
        assert!(eval(&deepest).is_ok(), "{deepest}");
    }
}

/// A parser that trusted another's idea of where strings end would run out of stack.
#[test]
fn brackets_behind_strings_and_comments_count() {
    let deep = "(".repeat(2000);
    for head in ["// it's\n", r"r'\' + ", "'abc\n", "'''a''' + ", "\"\\\" + "] {
        let text = format!("{head}{deep}");
        assert!(Expr::parse(&text).is_err(), "{head}");
        let template = json!(format!("${{{{ {text} }}}}"));
        assert!(Template::parse(&template).is_err(), "{head}");
    }
}

#[test]
fn work_is_bounded_whatever_the_expression_does_with_it() {
    let many: Vec<u32> = (0..20_000).collect();
    let input = json!({"l": many, "text": "x".repeat(100_000)});
    let scope = Scope::new().input(&input);
    for text in [
        "input.l.map(x, input.l.map(y, x + y)).size()",
        "input.l.map(x, input.l).size()",
        "input.l.map(x, input.text).size()",
        "input.l.map(x, {'a': input.text}).size()",
        "input.l.map(x, input.text + input.text == '').size()",
        "input.l.all(x, input.l.exists(y, y == -1) || true)",
        "input.l.exists(x, input.l.filter(y, y == x).size() == 2)",
    ] {
        let start = Instant::now();
        let error = Expr::parse(text).unwrap().eval(&scope).unwrap_err();
        assert_eq!(error.code, "limit_exceeded", "{text}");
        assert!(error.message.contains("EXPRESSION_WORK"), "{error}");
        let elapsed = start.elapsed();
        assert!(elapsed < Duration::from_secs(10), "{text} took {elapsed:?}");
    }
}

#[test]
fn a_long_list_is_mapped_within_the_limit() {
    let many: Vec<Value> = (0..limits::STEPS_PER_RUN)
        .map(|n| json!({"n": n}))
        .collect();
    let input = json!({"l": many});
    let expr = Expr::parse("input.l.map(x, x.n + 1)").unwrap();
    let items = expr.eval_list(&Scope::new().input(&input)).unwrap();
    assert_eq!(items.last(), Some(&json!(limits::STEPS_PER_RUN)));
}

#[test]
fn conditions_and_lists_must_have_their_type() {
    let input = json!({"n": 1});
    let scope = Scope::new().input(&input);
    let parse = |text| Expr::parse(text).unwrap();
    assert_eq!(parse("input.n == 1").eval_bool(&scope), Ok(true));
    assert_eq!(
        parse("input.n").eval_bool(&scope).unwrap_err().code,
        "not_a_boolean"
    );
    assert_eq!(
        parse("input.n").eval_list(&scope).unwrap_err().code,
        "not_a_list"
    );
    assert_eq!(code_of("input.nope"), "no_such_member");
}

#[test]
fn errors_and_attempts_are_in_scope_of_a_retry() {
    let error = json!({"class": "resource", "code": "out_of_memory", "message": "..."});
    let scope = Scope::new().error(&error).attempt(2);
    for text in [
        "error.code == 'out_of_memory' && attempt < 3",
        "attempt == 2",
    ] {
        assert_eq!(
            Expr::parse(text).unwrap().eval_bool(&scope),
            Ok(true),
            "{text}"
        );
    }
    assert_eq!(Expr::parse("attempt").unwrap().eval(&scope), Ok(json!(2)));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z ]{0,4}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn json_goes_through_cel_unchanged(value in any_json()) {
        let input = json!({"v": value});
        let scope = Scope::new().input(&input);
        // The conditional keeps the expression from being a plain path.
        let through = Expr::parse("true ? input.v : null").unwrap().eval(&scope).unwrap();
        prop_assert_eq!(&through, &input["v"]);
        prop_assert_eq!(&Expr::parse("input.v").unwrap().eval(&scope).unwrap(), &input["v"]);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[a-z.()\\[\\]{}?:&|!'\"0-9 +=,\\\\]{0,40}") {
        let _ = Expr::parse(&text);
    }
}
