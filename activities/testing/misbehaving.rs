//! A tool whose way to end is picked by its specification.

use std::io::Write as _;
use std::path::PathBuf;

use nix::sys::resource::{UsageWho, getrusage};
use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};
use telecine_activities::tool::{Emitter, Tool, ToolError};
use telecine_engine::activity::{ErrorClass, Progress};

/// See [`How`].
#[derive(Debug)]
pub(crate) struct Misbehaving;

/// What it does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum How {
    /// Emits each number and returns their sum.
    Add(Vec<u64>),
    /// Prints to stdout, then returns 0.
    Print(String),
    /// Returns the value of an environment variable as an event, then 0.
    TellVariable(String),
    /// Returns an error of class `input`.
    Refuse,
    /// Panics.
    Panic,
    /// Sends itself a signal.
    Signal(i32),
    /// Uses CPU until it is stopped.
    Spin,
    /// Uses that many seconds of CPU, then returns 0.
    SpinFor(f64),
    /// Allocates until it is stopped.
    Allocate,
    /// Asks for memory until it is given none, and then blames the source.
    Crave,
    /// Writes to a file until it is stopped.
    Fill(PathBuf),
    /// Tells its pid and that of a grandchild as events, then hangs.
    HangWithGrandchild,
    /// Says that it is at work, then hangs.
    Hang,
    /// Leaves without a word.
    Vanish,
    /// Writes what is no message, straight to the pipe of the messages.
    LongLine(usize),
}

/// What it tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Told {
    /// A number.
    Number(u64),
    /// A text.
    Text(Option<String>),
}

impl Tool for Misbehaving {
    const NAME: &'static str = "misbehaving";
    type Spec = How;
    type Event = Told;
    type Output = u64;

    fn run(how: How, emit: &Emitter<Told>) -> Result<u64, ToolError> {
        match how {
            How::Add(numbers) => return Ok(add(&numbers, emit)),
            How::Print(text) => println!("{text}"),
            How::TellVariable(name) => emit.event(Told::Text(std::env::var(name).ok())),
            How::Refuse => return Err(ToolError::input("refused", "this is refused")),
            How::Panic => panic!("on purpose"),
            How::Signal(number) => signal(number),
            How::Spin => spin(f64::INFINITY),
            How::SpinFor(seconds) => spin(seconds),
            How::Allocate => allocate(),
            How::Crave => return Err(crave()),
            How::Fill(path) => fill(&path)?,
            How::HangWithGrandchild => hang_with_grandchild(emit),
            How::Hang => hang(emit),
            How::Vanish => std::process::exit(0),
            How::LongLine(bytes) => emit.event(Told::Text(Some("x".repeat(bytes)))),
        }
        Ok(0)
    }
}

fn add(numbers: &[u64], emit: &Emitter<Told>) -> u64 {
    emit.warn("numbers are added");
    for number in numbers {
        emit.progress(Progress {
            counter: *number,
            ..Progress::default()
        });
        emit.event(Told::Number(*number));
    }
    numbers.iter().sum()
}

fn signal(number: i32) {
    // Rust's own handler of SIGSEGV takes the first one and gives way to the default.
    while let Some(signal) = Signal::from_named_raw(number) {
        let _ = kill_process(getpid(), signal);
    }
}

fn spin(cpu_s: f64) {
    let mut number = 1_u64;
    while used_cpu_s() < cpu_s {
        for _ in 0..1_000_000 {
            number = std::hint::black_box(number.wrapping_mul(3));
        }
    }
}

fn used_cpu_s() -> f64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(f64::INFINITY, |usage| {
        let user = usage.user_time();
        user.tv_sec() as f64 + user.tv_usec() as f64 / 1e6
    })
}

fn allocate() {
    let mut held = Vec::new();
    loop {
        // Never touched, so it costs address space only.
        held.push(Vec::<u8>::with_capacity(1 << 30));
        std::hint::black_box(&held);
    }
}

fn crave() -> ToolError {
    let mut held = Vec::new();
    loop {
        let mut more = Vec::<u8>::new();
        if more.try_reserve_exact(16 << 20).is_err() {
            return ToolError::input("refused", "there is no decoder for this");
        }
        held.push(std::hint::black_box(more));
    }
}

fn fill(path: &std::path::Path) -> Result<(), ToolError> {
    let failed = |e: std::io::Error| ToolError::new(ErrorClass::Transient, "io", e.to_string());
    let mut file = std::fs::File::create(path).map_err(failed)?;
    loop {
        file.write_all(&[0; 4096]).map_err(failed)?;
    }
}

fn hang(emit: &Emitter<Told>) {
    emit.event(Told::Text(None));
    loop {
        std::thread::park();
    }
}

fn hang_with_grandchild(emit: &Emitter<Told>) {
    let grandchild = std::process::Command::new("sleep").arg("600").spawn();
    emit.event(Told::Number(u64::from(std::process::id())));
    if let Ok(mut grandchild) = grandchild {
        emit.event(Told::Number(u64::from(grandchild.id())));
        let _ = grandchild.wait();
    }
}
