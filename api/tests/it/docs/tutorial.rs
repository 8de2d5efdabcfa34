//! The commands of the tutorial for authors of activities, given one after the other.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use telecine_testkit::program;

use crate::repository::{read, root};

/// How long compiling the crate of the tutorial and its tests may take, on a busy machine.
const LONGEST_BUILD: Duration = Duration::from_secs(1800);

/// The crate that the tutorial makes is compiled against this checkout: the longest part of it.
#[test]
fn whoever_follows_the_first_activity_gets_to_a_running_step() {
    let page = read(&root().join("docs/tutorial/first-activity.md"));
    let blocks: Vec<_> = page.split("```sh\n").skip(1).collect();
    let commands: String = blocks
        .iter()
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(commands.contains("activity scaffold"), "{commands}");
    let home = tempfile::tempdir().expect("a directory");
    let mut shell = Command::new("sh");
    shell
        .args(["-eux", "-c", &commands])
        .current_dir(home.path())
        .env("PATH", path_with_telecine())
        .env("CARGO_NET_OFFLINE", "true");
    let output = program::output_within(&mut shell, LONGEST_BUILD);
    let (said, printed) = (text(&output.stderr), text(&output.stdout));
    assert!(output.status.success(), "{said}\n{printed}");
    assert!(printed.contains("refused, exit code 2"), "{printed}");
    assert!(printed.contains("nothing is wrong with it"), "{printed}");
    let cards = home.path().join("face-blur/out/cards");
    assert_eq!(std::fs::read_dir(cards).expect("results").count(), 3);
}

fn path_with_telecine() -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_telecine"));
    let directory = program.parent().expect("a program is in a directory");
    let others = std::env::var("PATH").expect("a PATH");
    format!("{}:{others}", directory.display())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
