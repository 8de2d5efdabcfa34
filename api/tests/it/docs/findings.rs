//! `docs/reference/activity-check.md` has a row for every finding of the conformance kit.

use std::collections::BTreeSet;

use crate::repository::{read, root};

#[test]
fn every_finding_is_explained_and_no_other() {
    let source = read(&root().join("api/src/testing/check/report.rs"));
    let kinds = source
        .split("const KINDS")
        .nth(1)
        .expect("the list of kinds");
    let kinds = kinds.split("];").next().expect("its end");
    let kinds: BTreeSet<_> = kinds
        .split('(')
        .filter_map(|entry| entry.trim_start().strip_prefix('"')?.split('"').next())
        .filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        .collect();
    let page = read(&root().join("docs/reference/activity-check.md"));
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let explained: BTreeSet<_> = rows.filter_map(|row| row.split('`').next()).collect();
    assert!(kinds.len() > 20, "{kinds:?}");
    assert_eq!(kinds, explained);
}
