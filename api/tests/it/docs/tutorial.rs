//! The commands of tutorials, given one after the other.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use telecine_testkit::program;

use crate::product;
use crate::repository::{read, root};

/// How long compiling the crate of the tutorial and its tests may take, on a busy machine.
const LONGEST_BUILD: Duration = Duration::from_secs(1800);

/// How long a job may take to fail, and to be fixed.
const LONGEST_FIX: Duration = Duration::from_secs(600);

/// The crate that the tutorial makes is compiled against this checkout, with what is compiled there already:
/// that takes a minute, and five more from nothing.
#[test]
fn whoever_follows_the_first_activity_gets_to_a_running_step() {
    let commands = commands("first-activity.md");
    assert!(commands.contains("activity scaffold"), "{commands}");
    let home = tempfile::tempdir().expect("a directory");
    let mut shell = Command::new("sh");
    shell
        .args(["-eux", "-c", &commands])
        .current_dir(home.path())
        .env("PATH", path_with_telecine())
        .env("CARGO_TARGET_DIR", directory_of_builds())
        // Nobody changes anything and compiles it again.
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_NET_OFFLINE", "true");
    let output = program::output_within(&mut shell, LONGEST_BUILD);
    let (said, printed) = (text(&output.stderr), text(&output.stdout));
    assert!(output.status.success(), "{said}\n{printed}");
    assert!(printed.contains("refused, exit code 2"), "{printed}");
    assert!(printed.contains("nothing is wrong with it"), "{printed}");
    let cards = home.path().join("face-blur/out/cards");
    assert_eq!(std::fs::read_dir(cards).expect("results").count(), 3);
}

/// The commands of a page.
fn commands(page: &str) -> String {
    let page = read(&root().join("docs/tutorial").join(page));
    let blocks = page.split("```sh\n").skip(1);
    blocks.filter_map(|rest| rest.split("```").next()).collect()
}

/// Makes a small checkout with a smaller clip in the place of the one for the demo.
fn checkout() -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a directory");
    let media = home.path().join("examples/media");
    std::fs::create_dir_all(&media).expect("a directory");
    std::fs::copy(product::light_clip(), media.join("sintel-20s.mp4")).expect("a copy");
    home
}

#[test]
fn whoever_follows_the_tutorial_brings_a_failed_job_to_success() {
    let home = checkout();
    let mut shell = Command::new("sh");
    shell
        .args(["-eux", "-c", &commands("retry-plan.md")])
        .current_dir(home.path())
        .env("PATH", path_with_telecine());
    let output = program::output_within(&mut shell, LONGEST_FIX);
    let (said, printed) = (text(&output.stderr), text(&output.stdout));
    assert!(output.status.success(), "{said}\n{printed}");
    for expected in [
        "failed, exit code 1",
        "refused, exit code 2",
        "reuse  encode[0]  succeeded",
        "artifact_missing",
        "params_changed",
        "skipped_by_operator",
        "0 errors",
    ] {
        let told = printed.contains(expected) || said.contains(expected);
        assert!(told, "{expected}: {said}\n{printed}");
    }
}

/// Where cargo put the program: `target/debug/telecine`.
fn directory_of_builds() -> &'static Path {
    programs().parent().expect("a directory for each profile")
}

fn programs() -> &'static Path {
    let program = Path::new(env!("CARGO_BIN_EXE_telecine"));
    program.parent().expect("a program is in a directory")
}

fn path_with_telecine() -> String {
    let directory = programs();
    let others = std::env::var("PATH").expect("a PATH");
    format!("{}:{others}", directory.display())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
