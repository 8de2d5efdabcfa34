use std::collections::BTreeSet;
use std::path::Path;

use crate::repository::{files, read, relative};

#[test]
fn every_link_of_the_documentation_leads_somewhere() {
    let broken: Vec<_> = files("md")
        .iter()
        .flat_map(|file| broken_links(file))
        .collect();
    assert!(broken.is_empty(), "dead links:\n{}", broken.join("\n"));
}

#[test]
fn a_heading_becomes_the_anchor_that_forges_make_of_it() {
    assert_eq!(
        anchor("## When it's killed, `kill -9`"),
        "when-its-killed-kill--9"
    );
}

fn broken_links(file: &Path) -> Vec<String> {
    let text = read(file);
    let targets = targets(&text);
    let broken = targets.filter(|target| !leads_somewhere(file, target));
    broken
        .map(|target| format!("{}: {target}", relative(file)))
        .collect()
}

/// The targets of `[text](target)` outside code blocks, but for those on other machines.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    prose(text)
        .flat_map(|line| line.split("](").skip(1))
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
}

fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !in_code && !fence
    })
}

fn leads_somewhere(file: &Path, target: &str) -> bool {
    let (path, heading) = target.split_once('#').unwrap_or((target, ""));
    let folder = file.parent().expect("a file is in a folder");
    let there = if path.is_empty() {
        file.to_owned()
    } else {
        folder.join(path)
    };
    there.exists() && (heading.is_empty() || anchors(&there).contains(heading))
}

fn anchors(file: &Path) -> BTreeSet<String> {
    let text = read(file);
    prose(&text)
        .filter(|line| line.starts_with('#'))
        .map(anchor)
        .collect()
}

fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| {
            if c == ' ' {
                '-'
            } else {
                c.to_ascii_lowercase()
            }
        })
        .collect()
}
