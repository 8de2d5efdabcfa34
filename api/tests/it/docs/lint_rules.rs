//! `docs/reference/lint-rules.md` is the table of rules, as the linter has it.

use telecine_activities::lint::Rule;

use crate::repository::{read, root};

/// What the page has between these lines is generated.
const BEGIN: &str = "<!-- begin: telecine lint --rules -->\n";
const END: &str = "<!-- end -->";

/// Run with `TELECINE_UPDATE_DOCS=1` to write the table anew.
#[test]
fn every_lint_rule_is_documented_as_it_is() {
    let path = root().join("docs/reference/lint-rules.md");
    let page = read(&path);
    let (before, rest) = page.split_once(BEGIN).expect("the page marks the table");
    let (found, after) = rest
        .split_once(END)
        .expect("the page marks the table's end");
    let table = table();
    if std::env::var_os("TELECINE_UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(found, table, "run this test with TELECINE_UPDATE_DOCS=1");
}

fn table() -> String {
    let head = "| rule | severity | `--strict` | what is true of a good set | source |\n";
    let mut table = format!("{head}|---|---|---|---|---|\n");
    for rule in Rule::ALL {
        let [severity, strict] = rule.demand().severities();
        table.push_str(&format!(
            "| `{}` | {severity} | {strict} | {} | {} |\n",
            rule.id(),
            rule.says(),
            rule.source()
        ));
    }
    table
}
