//! One transaction over many runs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;
use telecine_engine::activity::Checkpoint;
use telecine_engine::id::{RunId, SessionId, StepId};
use telecine_engine::limits;
use telecine_engine::machine::Changes;
use telecine_engine::queue::Waiting;
use telecine_engine::retry::plan::RetryPlan;
use telecine_engine::run::{Snapshot, Step};
use telecine_engine::store::{
    Admission, Created, Fence, PlanHead, RequestKey, StepSet, StoreError, TakenKey, Transaction,
    ViewRows,
};

use crate::error::Error;
use crate::pool::{Lease, QUICK, WIDE, within};
use crate::rows::{self, StepKeys, cells};
use crate::save::{Admissions, TAKE_REQUESTS, Writing};
use crate::{claim, keys, read, sessions};

/// Steps from which on writing them takes [`WIDE`].
const MANY: usize = 5_000;

/// Holds the locks of the runs it has loaded from then to its end.
#[derive(Debug)]
pub(crate) struct PostgresTransaction {
    inner: Lease,
    now: DateTime<Utc>,
}

impl PostgresTransaction {
    pub(crate) async fn begin(mut inner: Lease) -> Result<Self, StoreError> {
        Ok(Self {
            now: inner.begin().await?,
            inner,
        })
    }

    pub(crate) fn writing(&mut self) -> Writing<'_> {
        Writing {
            connection: &mut self.inner,
            now: self.now,
        }
    }

    pub(crate) async fn finish(self) -> Result<(), StoreError> {
        self.inner.commit().await
    }

    /// Does a part of it, which has a limit.
    pub(crate) async fn part<T>(
        &mut self,
        limit: Duration,
        part: impl AsyncFnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, StoreError> {
        let done = within(limit, part(self)).await;
        self.inner.judge(&done);
        done
    }

    /// Fingerprints are taken in their order, so that two transactions that accept the same requests
    /// wait for each other and not in a circle. As a rule all of them differ: one statement.
    async fn admit(&mut self, new: &[Admission]) -> Result<Vec<Created>, Error> {
        let mut order: Vec<usize> = (0..new.len()).collect();
        order.sort_by_key(|index| &new[*index].fingerprint);
        let mut answers = vec![Created::New; new.len()];
        let alike = |a: &usize, b: &usize| new[*a].fingerprint == new[*b].fingerprint;
        let doubled = order.windows(2).any(|pair| alike(&pair[0], &pair[1]));
        let at_once = if doubled { 1 } else { order.len().max(1) };
        for part in order.chunks(at_once) {
            let wanted = part.iter().map(|index| &new[*index]);
            let wanted: Admissions<'_> = wanted.collect();
            let taken: Vec<String> = sqlx::query_scalar(TAKE_REQUESTS.as_str())
                .bind(wanted.forced.clone())
                .bind(wanted.fingerprints)
                .bind(wanted.runs)
                .bind(wanted.forced)
                .fetch_all(&mut *self.inner)
                .await?;
            for (index, taken) in part.iter().zip(taken) {
                if taken != new[*index].run.as_str() {
                    answers[*index] = Created::Existing(taken.into());
                }
            }
        }
        Ok(answers)
    }

    async fn steps(&mut self, wanted: &[(RunId, StepSet)]) -> Result<Vec<(RunId, Step)>, Error> {
        let mut keys = StepKeys::default();
        let mut steps = Vec::new();
        for (run, which) in wanted {
            match which {
                StepSet::Empty => {}
                StepSet::One(step) => keys.push(run, step),
                StepSet::Unsettled | StepSet::All => {
                    let of_run = read::steps(&mut self.inner, run, which).await?;
                    steps.extend(of_run.into_iter().map(|step| (run.clone(), step)));
                }
            }
        }
        steps.extend(read::single_steps(&mut self.inner, &keys).await?);
        Ok(steps)
    }

    async fn replace_plan(&mut self, plan: &RetryPlan) -> Result<(), Error> {
        sqlx::query(include_str!("sql/supersede_plans.sql"))
            .bind(plan.job.as_str())
            .bind(plan.id.as_str())
            .execute(&mut *self.inner)
            .await?;
        sqlx::query(include_str!("sql/forget_plans.sql"))
            .bind(plan.job.as_str())
            .bind(rows::count(limits::SUPERSEDED_PLANS))
            .execute(&mut *self.inner)
            .await?;
        let state = serde_json::to_value(plan.state)?;
        let head = PlanHead::shortened(plan);
        let steps = u32::try_from(plan.steps.len()).unwrap_or(u32::MAX);
        sqlx::query(include_str!("sql/save_plan.sql"))
            .bind(plan.id.as_str())
            .bind(plan.job.as_str())
            .bind(state.as_str())
            .bind(serde_json::to_string(plan)?)
            .bind(head.as_ref().map(serde_json::to_string).transpose()?)
            .bind(rows::narrow_count(steps))
            .bind(plan.verified.is_none())
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Claims of a session wait from now on, and then find it gone if this ends it.
    async fn hold_session(&mut self, session: &SessionId) -> Result<(), Error> {
        sqlx::query("select 1 from session where id = $1 for update")
            .bind(session.as_str())
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    async fn fences_of(&mut self, session: &SessionId) -> Result<Vec<Fence>, Error> {
        self.hold_session(session).await?;
        let rows = sqlx::query(include_str!("sql/running_of.sql"))
            .bind(session.as_str())
            .fetch_all(&mut *self.inner)
            .await?;
        rows.iter().map(|row| cells(row).fence()).collect()
    }

    async fn remove_session(&mut self, session: &SessionId) -> Result<bool, Error> {
        self.hold_session(session).await?;
        let busy: bool = sqlx::query_scalar(include_str!("sql/runs_something.sql"))
            .bind(session.as_str())
            .fetch_one(&mut *self.inner)
            .await?;
        if busy {
            let why = format!("{session} cannot end while it runs something");
            return Err(StoreError::Corrupt(why).into());
        }
        let deleted = sqlx::query("delete from session where id = $1")
            .bind(session.as_str())
            .execute(&mut *self.inner)
            .await?;
        Ok(deleted.rows_affected() > 0)
    }
}

#[async_trait]
impl Transaction for PostgresTransaction {
    async fn now(&mut self) -> Result<DateTime<Utc>, StoreError> {
        Ok(self.now)
    }

    async fn take_key(&mut self, key: &RequestKey, run: &RunId) -> Result<TakenKey, StoreError> {
        self.part(QUICK, async |it| {
            keys::take(&mut it.inner, (key, run), it.now).await
        })
        .await
    }

    async fn give_key(&mut self, key: &RequestKey, run: &RunId) -> Result<(), StoreError> {
        self.part(QUICK, async |it| keys::give(&mut it.inner, key, run).await)
            .await
    }

    async fn admit_runs(&mut self, new: &[Admission]) -> Result<Vec<Created>, StoreError> {
        self.part(QUICK, async |it| it.admit(new).await).await
    }

    async fn lock_runs(
        &mut self,
        runs: &BTreeSet<RunId>,
    ) -> Result<BTreeMap<RunId, u64>, StoreError> {
        self.part(QUICK, async |it| read::lock_runs(&mut it.inner, runs).await)
            .await
    }

    async fn load_views(&mut self, runs: &BTreeSet<RunId>) -> Result<Vec<ViewRows>, StoreError> {
        self.part(QUICK, async |it| read::views(&mut it.inner, runs).await)
            .await
    }

    async fn load_steps(
        &mut self,
        wanted: &[(RunId, StepSet)],
    ) -> Result<Vec<(RunId, Step)>, StoreError> {
        let all =
            |(_, which): &(RunId, StepSet)| matches!(which, StepSet::All | StepSet::Unsettled);
        let limit = if wanted.iter().any(all) { WIDE } else { QUICK };
        self.part(limit, async |it| it.steps(wanted).await).await
    }

    async fn load_outputs(
        &mut self,
        wanted: &[(RunId, Vec<String>)],
    ) -> Result<BTreeMap<RunId, BTreeMap<String, Value>>, StoreError> {
        self.part(WIDE, async |it| read::outputs(&mut it.inner, wanted).await)
            .await
    }

    async fn load_checkpoints(
        &mut self,
        steps: &[(RunId, StepId)],
    ) -> Result<Vec<(RunId, StepId, Checkpoint)>, StoreError> {
        self.part(QUICK, async |it| {
            claim::checkpoints(&mut it.inner, steps).await
        })
        .await
    }

    async fn waiting(
        &mut self,
        run: Option<&RunId>,
        limit: usize,
    ) -> Result<Vec<Waiting>, StoreError> {
        self.part(QUICK, async |it| {
            claim::waiting(&mut it.inner, run, limit).await
        })
        .await
    }

    async fn session_is_live(&mut self, session: &SessionId) -> Result<bool, StoreError> {
        self.part(QUICK, async |it| {
            sessions::is_live(&mut it.inner, session).await
        })
        .await
    }

    async fn running_of(&mut self, session: &SessionId) -> Result<Vec<Fence>, StoreError> {
        self.part(QUICK, async |it| it.fences_of(session).await)
            .await
    }

    async fn session_is_dead(&mut self, session: &SessionId) -> Result<bool, StoreError> {
        self.part(QUICK, async |it| {
            sessions::is_dead(&mut it.inner, session).await
        })
        .await
    }

    async fn end_session(&mut self, session: &SessionId) -> Result<bool, StoreError> {
        self.part(QUICK, async |it| it.remove_session(session).await)
            .await
    }

    async fn save(&mut self, changes: Vec<(RunId, Changes)>) -> Result<(), StoreError> {
        let steps: usize = changes.iter().map(|(_, changes)| changes.steps.len()).sum();
        let limit = if steps > MANY { WIDE } else { QUICK };
        self.part(limit, async |it| it.writing().changes(&changes).await)
            .await
    }

    async fn snapshot(&mut self, run: &RunId) -> Result<Snapshot, StoreError> {
        self.part(WIDE, async |it| read::snapshot(&mut it.inner, run).await)
            .await
    }

    async fn save_plan(&mut self, plan: &RetryPlan) -> Result<(), StoreError> {
        self.part(WIDE, async |it| it.replace_plan(plan).await)
            .await
    }

    async fn load_plan(&mut self, run: &RunId) -> Result<Option<RetryPlan>, StoreError> {
        self.part(QUICK, async |it| read::plan(&mut it.inner, run).await)
            .await
    }

    async fn commit(self: Box<Self>) -> Result<(), StoreError> {
        self.finish().await
    }
}

#[cfg(test)]
mod tests {
    use crate::connect;
    use crate::listing::tests::{database, plan, rows_read};

    /// One of two sessions runs the two steps of two runs.
    const AT_WORK: &str = "
        insert into run (id, workflow, version, definition, status, round, revision, nodes, input,
            fingerprint, source_store, media_store, labels, created_at)
        select
            'job_05000' || n || 'x', 'n', 1, 'd', case n when 3 then 'queued' else 'running' end, 1, 1, '[]',
            '{}', '', '', '', '{}', now()
        from generate_series(1, 3) as n;
        insert into step (run, node, item, position, activity, status, input, fence, attempts, charged,
            losses, checkpoint_failures, session, warnings, round)
        select 'job_05000' || n || 'x', 'a', -1, 0, 'a.b@1', 'running', '{}', 1, 1, 1, 0, 0, 's', '[]', 1
        from generate_series(1, 2) as n";

    #[tokio::test]
    async fn what_a_session_runs_is_found_however_many_runs_have_ended() {
        let (_place, database) = database(connect::pinned).await;
        sqlx::raw_sql(AT_WORK).execute(&database).await.unwrap();
        let mut db = database.acquire().await.unwrap();
        for sql in [
            include_str!("sql/running_of.sql"),
            include_str!("sql/runs_something.sql"),
        ] {
            let lines = plan(&mut db, (sql, "'s'")).await;
            let plan = lines.join("\n");
            assert!(plan.contains("Scan using run_live"), "{plan}");
            assert!(rows_read(&lines) <= Some(3), "{plan}");
        }
    }
}
