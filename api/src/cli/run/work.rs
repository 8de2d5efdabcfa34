use telecine_engine::id::RunId;
use telecine_engine::worker::WorkerError;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::cli::Session;
use crate::cli::exit::{CliError, Exit};
use crate::cli::follow::Follower;
use crate::cli::interrupt::Interrupts;
use crate::cli::jobs;

/// Why this process no longer works on a job.
pub(super) enum Ended {
    /// The job has stopped.
    Stopped,
    /// A signal told it to.
    Interrupted(Exit),
}

/// Works on a job, beside whoever else does, until it stops or a signal comes. The first signal
/// lets running steps reach a checkpoint or their end, the second does not wait for them.
pub(super) async fn until_stopped(
    app: &App,
    job: &RunId,
    session: &Session,
) -> Result<Ended, CliError> {
    let mut interrupts = Interrupts::listen()?;
    let mut follower = Follower::join(app, job, session).await?;
    loop {
        let worker = app
            .open_worker(&session.config, &session.program.registry, job)
            .await;
        let worker = worker.map_err(|error| CliError::failed(error.to_string()))?;
        let _services = app.start_services(&worker);
        let stop = CancellationToken::new();
        let working = tokio::spawn(worker.run(stop.clone()));
        let shift = Shift {
            working,
            stop,
            session,
        };
        match shift.run(&mut follower, &mut interrupts).await? {
            ShiftEnd::JobStopped => return Ok(Ended::Stopped),
            // The process slept for longer than its lease, and others took its steps: it begins
            // anew, as any other process would.
            ShiftEnd::LeaseLost => session.console.note(
                "this process was taken for dead; its steps were given back, and it begins anew",
            ),
            ShiftEnd::Interrupted(exit) => {
                // What ran last may have been all that was missing.
                let status = jobs::header(app, job).await?.status;
                return Ok(if status.is_stopped() {
                    Ended::Stopped
                } else {
                    Ended::Interrupted(exit)
                });
            }
        }
    }
}

/// The time of one worker session.
struct Shift<'a> {
    working: JoinHandle<Result<(), WorkerError>>,
    stop: CancellationToken,
    session: &'a Session,
}

/// How a worker session ended.
enum ShiftEnd {
    JobStopped,
    LeaseLost,
    Interrupted(Exit),
}

impl Shift<'_> {
    async fn run(
        mut self,
        follower: &mut Follower<'_>,
        interrupts: &mut Interrupts,
    ) -> Result<ShiftEnd, CliError> {
        let mut interrupted = None;
        loop {
            tokio::select! {
                followed = follower.until_stopped() => {
                    followed?;
                    self.stop.cancel();
                    ended(self.working.await)?;
                    return Ok(ShiftEnd::JobStopped);
                }
                exit = interrupts.next() => match interrupted.replace(exit) {
                    None => self.drain(),
                    Some(_) => {
                        self.working.abort();
                        return Ok(ShiftEnd::Interrupted(exit));
                    }
                },
                result = &mut self.working => {
                    let end = interrupted.map_or(ShiftEnd::JobStopped, ShiftEnd::Interrupted);
                    return ended(result).map(|lost| lost.unwrap_or(end));
                }
            }
        }
    }

    fn drain(&self) {
        self.stop.cancel();
        self.session.console.note(
            "stopping: running steps end or are given back; a second signal stops them at once",
        );
    }
}

/// What the end of a worker means: nothing, a lost lease, or an error.
fn ended(result: Result<Result<(), WorkerError>, JoinError>) -> Result<Option<ShiftEnd>, CliError> {
    match result {
        Ok(Ok(())) => Ok(None),
        Ok(Err(WorkerError::LeaseLost)) => Ok(Some(ShiftEnd::LeaseLost)),
        Ok(Err(error)) => Err(CliError::failed(error.to_string())),
        Err(error) => Err(CliError::failed(format!("the worker broke down: {error}"))),
    }
}
