//! `./x bench media`: what the H.264 ladder costs, against what its users would run instead.
//!
//! The contestants take turns for several rounds on one clip; each is a process of its own, and what
//! it and its children used is read from the kernel. Figures are medians over the rounds.
//!
//! `TELECINE_BENCH_CLIP` (default: the clip of the demo, four times over), `TELECINE_BENCH_ROUNDS`
//! (default 3), `TELECINE_BENCH_VMAF` (an ffmpeg that has libvmaf; without one quality is left out).

mod chunks;
mod measure;
mod peers;
mod report;
mod telecine;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use measure::run_quietly;
use report::Table;
use telecine::Product;

/// Rounds unless said otherwise.
const ROUNDS: usize = 3;

/// How often the clip of the demo is repeated: 80 s are enough for two chunks.
const REPEATED: &str = "3";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == measure::VERB) {
        return measure::child(arguments);
    }
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let clip = clip(home.path());
    let product = Product::new(home.path(), &clip);
    let plan = product.plan();
    let mut table = Table::default();
    for round in 1..=rounds() {
        eprintln!("round {round} of {}", rounds());
        table.telecine.push(product.transcode());
        table.split.push(peers::split(&clip, &plan, home.path()));
        table.each.push(peers::each(&clip, &plan, home.path()));
        table.bare.push(peers::bare_pipeline(&clip, &plan));
    }
    table.chunks = Some(chunks::compare(&product, &clip));
    println!("{}", report::conditions(&clip, rounds()));
    println!("{table}");
    for what in table.missed() {
        eprintln!("more than is due: {what}");
    }
    if table.missed().is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn rounds() -> usize {
    std::env::var("TELECINE_BENCH_ROUNDS").map_or(ROUNDS, |text| text.parse().expect("a number"))
}

fn clip(home: &Path) -> PathBuf {
    if let Some(clip) = std::env::var_os("TELECINE_BENCH_CLIP") {
        return clip.into();
    }
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let demo = repository.join("examples/media/sintel-20s.mp4");
    let clip = home.join("clip.mp4");
    run_quietly(
        std::process::Command::new("ffmpeg")
            .args(["-v", "error", "-stream_loop", REPEATED, "-i"])
            .arg(demo)
            .args(["-c", "copy"])
            .arg(&clip),
    );
    clip
}
