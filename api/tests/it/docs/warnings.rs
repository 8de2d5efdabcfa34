//! `docs/reference/warnings.md` has a row for every warning that has a code, and for nothing else.

use std::collections::BTreeSet;

use super::error_codes::product_sources;
use crate::repository::{read, root};

#[test]
fn every_warning_has_its_row_and_every_row_its_warning() {
    let page = read(&root().join("docs/reference/warnings.md"));
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: BTreeSet<&str> = rows.filter_map(|row| row.split('`').next()).collect();
    let sources: Vec<String> = product_sources().map(|(_, text)| text).collect();
    let found: BTreeSet<&str> = sources.iter().flat_map(|text| codes_in(text)).collect();
    assert_eq!(found, documented);
}

/// What stands before the colon of texts such as `"sound_cut: the sound lasts ..."`.
fn codes_in(source: &str) -> impl Iterator<Item = &str> {
    source.match_indices('"').filter_map(|(at, _)| {
        let (code, rest) = source[at + 1..].split_once(": ")?;
        let is_code = code.contains('_');
        let plain = code
            .bytes()
            .all(|byte| byte == b'_' || byte.is_ascii_lowercase());
        let sentence = rest.split('"').next()?.split_whitespace().count() > 3;
        (is_code && plain && sentence).then_some(code)
    })
}
