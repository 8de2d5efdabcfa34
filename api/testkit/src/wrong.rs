//! An activity that breaks one rule, chosen by its input.

use schemars::JsonSchema;
use serde::Deserialize;
use telecine::activity::{Activity, ActivityError, Artifact, Context, ErrorClass, Progress};

/// How many pieces its work has.
const PIECES: u64 = 4;

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
    BlameItself,
    BlameTheWeather,
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

impl Activity for Wrong {
    const NAME: &'static str = "wrong.step";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Breaks a rule of activities.";
    type Input = Input;
    type Output = u64;

    async fn run(&self, ctx: &Context, input: Input) -> Result<u64, ActivityError> {
        let how = input.how;
        fail_at_once(ctx, how)?;
        match how {
            How::Hang => std::future::pending().await,
            How::LeaveProcess => drop(std::process::Command::new("sleep").arg("600").spawn()),
            How::LeaveFile => drop(std::fs::write(std::env::temp_dir().join("left"), "x")),
            How::LeaveScratch => make_scratch_again(ctx),
            How::BlameItself | How::BlameTheWeather => read_source(ctx, &input).await?,
            _ => store(ctx, how).await?,
        }
        report(ctx, how);
        work(ctx, how).await
    }
}

fn fail_at_once(ctx: &Context, how: How) -> Result<(), ActivityError> {
    match how {
        How::Fail => Err(ActivityError::input("told_to_fail", "it was told to fail")),
        How::Panic => panic!("it was told to panic"),
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
        How::HideObject => ctx.media().put_bytes(&own, "x".into()).await?,
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
async fn work(ctx: &Context, how: How) -> Result<u64, ActivityError> {
    let before: u64 = match how {
        How::IgnoreCheckpoint => 0,
        How::RedoWork => ctx.checkpoint::<u64>()?.map_or(0, |_| 0),
        _ => ctx.checkpoint()?.unwrap_or_default(),
    };
    if matches!(how, How::CountBackwards | How::MisstateArtifact) {
        return Ok(0);
    }
    for done in before + 1..=PIECES {
        ctx.save(&done).await?;
        ctx.progress(Progress::of(done, PIECES));
        stop(ctx, how).await?;
    }
    Ok(PIECES)
}

async fn stop(ctx: &Context, how: How) -> Result<(), ActivityError> {
    match how {
        How::IgnoreCancel if ctx.cancelled().is_cancelled() => std::future::pending().await,
        How::IgnoreDrain if ctx.draining().is_cancelled() => Ok(()),
        How::FailWhenDrained if ctx.draining().is_cancelled() => Err(ActivityError::input(
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
