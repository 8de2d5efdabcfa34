//! Every limit of the engine: a named constant with its unit and its reason. An error that is
//! due to a limit names the constant.

use std::time::Duration;

/// Steps of one run, fan-out items included. A run of this size keeps its rows below 100 MB and
/// its events below a million.
pub const STEPS_PER_RUN: usize = 100_000;

/// Bytes of one definition file. The largest built-in workflow takes 6 KiB; this much text is
/// parsed in some tens of milliseconds.
pub const DEFINITION_BYTES: usize = 256 * 1024;

/// Nodes (keys, values, list items) of one definition file: bounds the memory of its tree.
pub const DEFINITION_NODES: usize = 50_000;

/// Nested lists and maps in one definition file. Schemas nest deepest, and 32 levels of them are
/// more than a person can read; every walk over the tree recurses this deep at most.
pub const DEFINITION_DEPTH: usize = 32;

/// Problems reported for one file. Whoever has more starts with these.
pub const DIAGNOSTICS_PER_FILE: usize = 100;

/// Steps written in one definition. Wider work is a `for_each`, deeper work a sub-workflow.
pub const STEPS_PER_DEFINITION: usize = 1_000;

/// Bytes of a workflow's name, a step's id, a queue's name and the like: they are parts of keys,
/// paths and metric labels.
pub const NAME_BYTES: usize = 64;

/// Bytes of a description.
pub const DESCRIPTION_BYTES: usize = 4 * 1024;

/// Patterns of one JSON Schema: a regular expression of a few characters may take 10 MB.
pub const SCHEMA_PATTERNS: usize = 100;

/// Bytes of one expression. A longer one belongs into an activity.
pub const EXPRESSION_BYTES: usize = 4 * 1024;

/// Nested brackets and conditionals in the text of one expression: more than anybody can read.
pub const EXPRESSION_NESTING: u16 = 16;

/// Height of the syntax tree of one expression, macros expanded; `a + b + c` has 3. Evaluation
/// takes up to 4 KiB of stack for each level as `Cargo.toml` builds the CEL library, and 48 KiB
/// without optimisation, on threads of 2 MiB.
pub const EXPRESSION_DEPTH: usize = 32;

/// Units of work of one evaluation: a unit is one node visited or one value (64 bytes of text)
/// copied inside a macro such as `map`. Mapping 100,000 items takes a million; two million take
/// up to 0.4 s in an unoptimised build.
pub const EXPRESSION_WORK: u64 = 2_000_000;

/// Bytes of the JSON that one expression or one `with` may yield: the outputs of 100,000 items
/// at 160 bytes each.
pub const EXPRESSION_OUTPUT_BYTES: usize = 16 * 1024 * 1024;

/// Bytes of the JSON output of one step. Outputs are rows of the database; media goes to the
/// object store. Four hours of video encoded in a single chunk list their segments in 3 MB.
pub const OUTPUT_BYTES: usize = 4 * 1024 * 1024;

/// Attempts that a definition may grant one step.
pub const ATTEMPTS_PER_STEP: u32 = 100;

/// Retry rules of one step: they are tried one by one.
pub const RETRY_RULES_PER_STEP: usize = 32;

/// Distance of `priority` from 0, which is usual.
pub const PRIORITY: i32 = 1_000;

/// Logical processors that one step may ask for.
pub const CPUS_PER_STEP: u32 = 1_024;

/// Days of the longest duration in a definition: a year, and the longest wait that makes sense.
pub const DURATION_DAYS: u64 = 366;

/// Attempts that end `lost` one after the other beside others. A step that loses its worker again and again
/// is likely to be what kills it, and what ran beside it is under the same suspicion: after so many, each
/// attempt gets a worker for itself, which it has to wait for.
pub const LOSSES_IN_A_ROW: u32 = 4;

/// Attempts that end `lost` after that, with a worker for themselves, until the step is held. With one of four
/// workers killed every ten seconds, a single such attempt was lost by chance in one of twenty jobs.
pub const LOSSES_ALONE: u32 = 2;

/// Failures of class `dependency` in a row that are not charged to a step: with the pauses of a policy that says nothing
/// else, a service may be away for about a quarter of an hour.
pub const OUTAGES: u32 = 36;

/// The longest pause after a failure that is not charged, unless the policy begins with a longer one: the step goes on soon
/// after the service does.
pub const OUTAGE_PAUSE: Duration = Duration::from_secs(60);

/// Failures of class `bug`, `stalled` or `timeout` that may follow the same checkpoint before it is
/// dropped: whatever fails twice from the same place is likely to fail because of that place.
pub const FAILURES_PER_CHECKPOINT: u32 = 2;

/// Characters of the tag that tells the objects of one attempt from those of another: 32 bits of
/// a hash, among the few attempts of one step.
pub const ATTEMPT_TAG_CHARS: usize = 8;

/// Warnings kept of one attempt: a hostile file can cause one per frame.
pub const WARNINGS_PER_ATTEMPT: usize = 100;

/// Characters kept of a warning or an error message.
pub const MESSAGE_CHARS: usize = 2_000;

/// Times that a step shared what it made whose keys are kept; the oldest go first. A key that is shared again
/// takes another of them, on Postgres two. At some 500 bytes for each key they take 50 MB at most, and a
/// busy month of a thousand videos with thirty steps each is within them.
pub const REUSE_KEYS: u64 = 100_000;

/// Bytes of the JSON of a checkpoint: as much as an output may have.
pub const CHECKPOINT_BYTES: usize = OUTPUT_BYTES;

/// Edits of one retry plan: more steps than anybody names by hand; a whole fan-out is one.
pub const EDITS_PER_PLAN: usize = 1_000;

/// Plans of a run that others took the place of and that are kept, the latest ones. A plan of 100,000 steps
/// takes tens of megabytes, and whoever tries out edits makes one with each try.
pub const SUPERSEDED_PLANS: u64 = 20;

/// Bytes of the values of one plan's edits: four of the largest outputs.
pub const EDITS_BYTES: usize = 4 * OUTPUT_BYTES;

/// Runs of the same workflow that an estimate is made from: the last ones say more than many.
pub const RUNS_PER_ESTIMATE: usize = 20;

/// Attempts that a plan's schedule shows of a step.
pub const SCHEDULED_ATTEMPTS: u32 = 10;
