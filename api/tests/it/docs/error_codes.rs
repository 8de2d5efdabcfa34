//! `docs/reference/errors.md` has a row for every error code, and for nothing else.

use std::collections::{BTreeMap, BTreeSet};

use crate::repository::{files, read, relative, root};

/// Constructors whose first argument is a code; each is named after the class.
const CONSTRUCTORS: [&str; 6] = [
    "input",
    "config",
    "transient",
    "dependency",
    "resource",
    "bug",
];

/// `ExprError::new("code", ..)`, `Failure { code: "code".to_owned(), .. }`, `=> ("code", ..)`.
const OTHER_OPENINGS: [&str; 2] = ["Error::new(", "code: "];

/// Where codes are made up.
const NOT_THE_PRODUCT: [&str; 3] = ["engine/testkit", "api/testkit", "examples"];

/// A code as the source uses it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Use {
    code: String,
    /// Where the place tells.
    class: Option<String>,
}

#[test]
fn every_error_code_is_explained() {
    let documented = documented();
    let missing: BTreeSet<_> = used()
        .into_iter()
        .filter(|(used, _)| !documented.contains_key(&used.code))
        .map(|(used, file)| format!("{} ({file})", used.code))
        .collect();
    let missing: Vec<_> = missing.into_iter().collect();
    assert!(
        missing.is_empty(),
        "without a row in docs/reference/errors.md:\n{}",
        missing.join("\n")
    );
}

#[test]
fn every_explanation_names_the_class() {
    let documented = documented();
    for (used, file) in used() {
        let (Some(class), Some(cells)) = (used.class, documented.get(&used.code)) else {
            continue;
        };
        let named = cells[1].split(", ").any(|named| named == class);
        assert!(
            named,
            "{} is {class} in {file}, {} in errors.md",
            used.code, cells[1]
        );
    }
}

#[test]
fn no_error_is_explained_that_does_not_exist() {
    let source: String = product_sources().map(|(_, text)| text).collect();
    let stale: Vec<_> = documented()
        .into_keys()
        .filter(|code| !source.contains(&format!("\"{code}\"")))
        .collect();
    assert!(
        stale.is_empty(),
        "explained, but nowhere in the source: {stale:?}"
    );
}

#[test]
fn every_explanation_says_what_to_do() {
    for (code, cells) in documented() {
        let complete = cells.len() == 4 && cells.iter().all(|cell| !cell.is_empty());
        assert!(
            complete,
            "the row of {code} needs code, class, what happened, what to do"
        );
    }
}

#[test]
fn codes_are_found_however_they_are_written() {
    let source = r#"
        ActivityError::input("one", "x");
        ToolError::new(
            ErrorClass::Resource,
            "two",
        );
        let (class, code) = (ErrorClass::Config, "three");
        fn code(&self) -> &'static str {
            match self { Self::A => "four", Self::B { .. } => "five" }
        }
        let failure = Failure { code: "six".to_owned(), ..failure };
        Err(ExprError::new("seven", "x"))
        Value::input("Not a code");
        #[cfg(test)]
        mod tests { fn f() { ActivityError::bug("eight", ""); } }
    "#;
    let found: BTreeMap<_, _> = uses_in(source)
        .into_iter()
        .map(|u| (u.code, u.class))
        .collect();
    let expected = [
        ("one", Some("input")),
        ("two", Some("resource")),
        ("three", Some("config")),
        ("four", None),
        ("five", None),
        ("six", None),
        ("seven", None),
    ];
    let expected = expected.map(|(code, class)| (code.to_owned(), class.map(str::to_owned)));
    assert_eq!(found, BTreeMap::from(expected));
}

/// Rows of the tables whose first cell is a code in backticks: the code, and all cells.
fn documented() -> BTreeMap<String, Vec<String>> {
    let text = read(&root().join("docs/reference/errors.md"));
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells = row.trim_matches('|').split('|');
        let cells: Vec<_> = cells.map(|cell| cell.trim().to_owned()).collect();
        (cells[0].trim_matches('`').to_owned(), cells)
    })
    .collect()
}

/// Every code that the product can give, with a file that uses it.
fn used() -> BTreeMap<Use, String> {
    let mut used = BTreeMap::new();
    for (file, text) in product_sources() {
        let mut uses = uses_in(&text);
        if file.starts_with("engine/src/definition") {
            uses.extend(reported(&text));
        }
        used.extend(uses.into_iter().map(|found| (found, file.clone())));
    }
    used
}

pub(super) fn product_sources() -> impl Iterator<Item = (String, String)> {
    let paths = files("rs").into_iter().map(|file| (relative(&file), file));
    paths
        .filter(|(name, _)| name.contains("/src/") && !name.ends_with("/tests.rs"))
        .filter(|(name, _)| {
            !NOT_THE_PRODUCT
                .iter()
                .any(|folder| name.starts_with(folder))
        })
        .map(|(name, file)| (name, without_documentation(&read(&file))))
}

/// Examples in doc comments make up codes of their own.
fn without_documentation(source: &str) -> String {
    let is_documentation = |line: &&str| {
        let line = line.trim_start();
        line.starts_with("///") || line.starts_with("//!")
    };
    let kept = source.lines().filter(|line| !is_documentation(line));
    kept.flat_map(|line| [line, "\n"]).collect()
}

fn uses_in(source: &str) -> Vec<Use> {
    let source = without_test_module(source);
    let mut uses = Vec::new();
    for class in CONSTRUCTORS {
        let opening = format!("::{class}(");
        let codes = literals_after(source, &opening);
        uses.extend(codes.map(|code| Use {
            code,
            class: Some(class.to_owned()),
        }));
    }
    for opening in OTHER_OPENINGS {
        uses.extend(literals_after(source, opening).map(without_class));
    }
    // Arms of other tables look alike, but their words are single ones.
    let in_arms = literals_after(source, "=> (").filter(|code| code.contains('_'));
    uses.extend(in_arms.map(without_class));
    uses.extend(
        source
            .split("ErrorClass::")
            .skip(1)
            .filter_map(literal_after_class),
    );
    uses.extend(source.split("fn code(").skip(1).flat_map(literals_of_arms));
    uses
}

fn without_class(code: String) -> Use {
    Use { code, class: None }
}

/// Unit tests end a file; what they make up is nothing that users meet.
fn without_test_module(source: &str) -> &str {
    let end = source.match_indices("#[cfg(test)]").map(|(at, _)| at);
    let end = end.filter(|at| {
        let after = source[at + "#[cfg(test)]".len()..].trim_start();
        after.starts_with("mod ") && after.lines().next().is_some_and(|line| line.contains('{'))
    });
    &source[..end.last().unwrap_or(source.len())]
}

fn literals_after(source: &str, opening: &str) -> impl Iterator<Item = String> {
    source.split(opening).skip(1).filter_map(leading_code)
}

/// `Resource, "code"`.
fn literal_after_class(after: &str) -> Option<Use> {
    let rest = after.trim_start_matches(char::is_alphanumeric);
    let code = leading_code(rest.strip_prefix(',')?)?;
    let class = after[..after.len() - rest.len()].to_lowercase();
    Some(Use {
        code,
        class: Some(class),
    })
}

/// The literals to the right of the arrows of the function that begins here.
fn literals_of_arms(function: &str) -> Vec<Use> {
    let body = function.split("\n    }\n").next().unwrap_or(function);
    literals_after(body, "=>").map(without_class).collect()
}

/// Codes as definitions are checked with them: `problems.add("code", ..)` and its kin, and pairs of
/// code and message.
fn reported(source: &str) -> Vec<Use> {
    const REPORTERS: [&str; 5] = ["add", "add_with_help", "error", "mismatch", "wrong_type"];
    let pieces: Vec<_> = without_test_module(source).split('(').collect();
    let calls = pieces.windows(2).filter_map(|pair| {
        let code = leading_code(pair[1])?;
        let function = pair[0]
            .rsplit(|c: char| !c.is_alphanumeric() && c != '_')
            .next()?;
        let message = pair[1].split_once(',')?.1.trim_start();
        let says_why = message.starts_with("format!") || message.starts_with('"');
        let in_pair = function.is_empty() && says_why && code.contains('_');
        (in_pair || REPORTERS.contains(&function)).then_some(code)
    });
    calls.map(without_class).collect()
}

/// The literal that this begins with, if it looks like a code.
fn leading_code(text: &str) -> Option<String> {
    let literal = text.trim_start().strip_prefix('"')?.split('"').next()?;
    let is_code = !literal.is_empty()
        && literal
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    is_code.then(|| literal.to_owned())
}
