//! An activity that breaks one rule, chosen by its input.

use std::time::{Duration, SystemTime};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telecine::activity::{Activity, ActivityError, Artifact, Context, ErrorClass, Progress};

/// How many pieces its work has.
const PIECES: u64 = 4;

/// Longer than anybody may work on who was told to stop: five seconds, and two more for who is only
/// asked to.
const TOO_LONG: Duration = Duration::from_secs(8);

/// `wrong.step@1`.
#[derive(Debug)]
pub(crate) struct Wrong;

/// What it does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum How {
    /// Nothing: it works through its pieces as it should.
    Behave,
    Fail,
    Panic,
    EndProcess,
    Hang,
    CryWithBadCode,
    LoseArtifact,
    MisstateArtifact,
    HideObject,
    OverwriteObject,
    CountBackwards,
    ReportTooMuch,
    TripOverItself,
    FailSecondTime,
    IgnoreCheckpoint,
    RedoWork,
    IgnoreCancel,
    IgnoreDrain,
    FailWhenDrained,
    LeaveProcess,
    LeaveFile,
    LeaveScratch,
    LeaveFileAtHome,
    BlameItself,
    BlameTheWeather,
    /// Nothing that a rule forbids.
    OverlookSource,
    EatSource,
    RemoveSource,
    NameNothing,
    LosePieces,
    EndEarlyWhenDrained,
    BlockThreadWhenCancelled,
    BlockThreadWhenDrained,
    Print,
    /// Nothing that a rule forbids.
    Vary,
}

/// Input of [`Wrong`].
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    how: How,
    /// Key of a source, for those that are wrong about it.
    #[serde(default)]
    source: Option<String>,
}

/// Output of [`Wrong`].
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Made {
    pieces: u64,
    object: Option<Artifact>,
}

impl Made {
    fn of(pieces: u64) -> Self {
        Self {
            pieces,
            ..Self::default()
        }
    }
}

impl Activity for Wrong {
    const NAME: &'static str = "wrong.step";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Breaks a rule of activities.";
    type Input = Input;
    type Output = Made;

    async fn run(&self, ctx: &Context, input: Input) -> Result<Made, ActivityError> {
        let how = input.how;
        fail_at_once(ctx, how)?;
        match how {
            How::Hang => std::future::pending().await,
            How::LeaveProcess => drop(std::process::Command::new("sleep").arg("600").spawn()),
            How::LeaveFile => drop(std::fs::write(std::env::temp_dir().join("left"), "x")),
            How::LeaveFileAtHome => drop(std::fs::write(home().join("left"), "x")),
            How::EatSource | How::RemoveSource => harm_source(ctx, &input).await?,
            How::Print => println!("made by {}", ctx.attempt_tag()),
            How::LeaveScratch => make_scratch_again(ctx),
            How::BlameItself | How::BlameTheWeather => read_source(ctx, &input).await?,
            _ => store(ctx, how).await?,
        }
        report(ctx, how);
        work(ctx, how).await
    }
}

fn home() -> std::path::PathBuf {
    std::env::var_os("HOME").unwrap_or_default().into()
}

fn fail_at_once(ctx: &Context, how: How) -> Result<(), ActivityError> {
    match how {
        How::Fail => Err(ActivityError::input("told_to_fail", "it was told to fail")),
        How::Panic => panic!("it was told to panic"),
        How::EndProcess => std::process::exit(0),
        How::CryWithBadCode => Err(ActivityError::input("Told To Cry", "it was told to cry")),
        How::FailSecondTime if ctx.attempt() > 1 => {
            Err(ActivityError::input("been_here", "it expects to be alone"))
        }
        _ => Ok(()),
    }
}

/// What it does wrong with objects.
async fn store(ctx: &Context, how: How) -> Result<(), ActivityError> {
    let own = format!("own_{}", ctx.attempt_tag());
    match how {
        How::LoseArtifact => {
            ctx.put_bytes(&own, "x", "text/plain").await?;
            ctx.media().delete(&own).await?;
        }
        How::MisstateArtifact => {
            let made = ctx.put_bytes(&own, "x", "text/plain").await?;
            let misstated = Artifact { size: 2, ..made };
            ctx.save_checkpoint(&0, None, vec![misstated]).await?;
            ctx.media().put_bytes(&own, "yy".into()).await?;
        }
        How::HideObject => drop(ctx.media().put_bytes(&own, "x".into()).await?),
        How::OverwriteObject => {
            let bytes = ctx.attempt_tag().to_owned();
            ctx.put_bytes("one_for_all", bytes, "text/plain").await?;
        }
        How::TripOverItself => {
            if ctx.media().head("trap").await?.is_some() && ctx.attempt() == 1 {
                return Err(ActivityError::input("been_here", "it expects to be alone"));
            }
            ctx.put_bytes("trap", "x", "text/plain").await?;
        }
        _ => {}
    }
    Ok(())
}

fn report(ctx: &Context, how: How) {
    let counters: &[u64] = if how == How::CountBackwards {
        &[3, 2]
    } else {
        &[]
    };
    for counter in counters {
        ctx.progress(Progress {
            counter: *counter,
            ..Progress::default()
        });
    }
    if how == How::ReportTooMuch {
        ctx.progress(Progress {
            percent: Some(140.0),
            ..Progress::default()
        });
    }
}

/// Works through its pieces, a checkpoint after each.
async fn work(ctx: &Context, how: How) -> Result<Made, ActivityError> {
    let before: u64 = match how {
        How::IgnoreCheckpoint => 0,
        How::RedoWork => ctx.checkpoint::<u64>()?.map_or(0, |_| 0),
        _ => ctx.checkpoint()?.unwrap_or_default(),
    };
    if matches!(how, How::CountBackwards | How::MisstateArtifact) {
        return Ok(Made::default());
    }
    if how == How::BlockThreadWhenDrained {
        return Ok(without_checkpoints(ctx));
    }
    for done in before + 1..=PIECES {
        ctx.save(&done).await?;
        ctx.progress(Progress::of(done, PIECES));
        if how == How::EndEarlyWhenDrained && ctx.is_draining() {
            return Ok(Made::of(done));
        }
        stop(ctx, how).await?;
    }
    Ok(match how {
        How::LosePieces => Made::of(PIECES - before),
        How::Vary => Made::of(now()),
        How::NameNothing => Made {
            pieces: PIECES,
            object: Some(nothing()),
        },
        _ => Made::of(PIECES),
    })
}

fn without_checkpoints(ctx: &Context) -> Made {
    if ctx.is_draining() {
        std::thread::sleep(TOO_LONG);
    }
    Made::of(PIECES)
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| u64::from(now.subsec_nanos()))
}

/// An object that nobody has stored.
fn nothing() -> Artifact {
    Artifact {
        key: "nothing".to_owned(),
        size: 0,
        sha256: String::new(),
        media_type: "text/plain".to_owned(),
    }
}

async fn stop(ctx: &Context, how: How) -> Result<(), ActivityError> {
    match how {
        How::IgnoreCancel if ctx.is_cancelled() => std::future::pending().await,
        How::BlockThreadWhenCancelled if ctx.is_cancelled() => {
            std::thread::sleep(TOO_LONG);
            Ok(())
        }
        How::IgnoreDrain if ctx.is_draining() => Ok(()),
        How::FailWhenDrained if ctx.is_draining() => Err(ActivityError::input(
            "interrupted",
            "it cannot stop half way",
        )),
        _ => ctx.check_stop(),
    }
}

/// Waits until its scratch directory was removed, and makes it again.
fn make_scratch_again(ctx: &Context) {
    let scratch = ctx.scratch().to_owned();
    std::thread::spawn(move || {
        while scratch.exists() {
            std::thread::yield_now();
        }
        drop(std::fs::create_dir_all(&scratch));
    });
}

/// Is wrong about whose fault a bad source is.
async fn read_source(ctx: &Context, input: &Input) -> Result<(), ActivityError> {
    let class = match input.how {
        How::BlameItself => ErrorClass::Bug,
        _ => ErrorClass::Transient,
    };
    let key = input.source.as_deref().unwrap_or_default();
    match ctx.source().head(key).await? {
        Some(found) if found.size > 0 => Ok(()),
        _ => Err(ActivityError::new(class, "no_source", "something is wrong")),
    }
}

async fn harm_source(ctx: &Context, input: &Input) -> Result<(), ActivityError> {
    let key = input.source.as_deref().unwrap_or_default();
    let path = ctx.source_file(key).await?;
    let harmed = match input.how {
        How::EatSource => std::fs::write(path, "eaten"),
        _ => std::fs::remove_file(path),
    };
    harmed.map_err(|error| ActivityError::io("harm a source", error))
}
