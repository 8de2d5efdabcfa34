//! What can be claimed.

use sqlx::postgres::PgConnection;
use telecine_engine::activity::Checkpoint;
use telecine_engine::id::{RunId, SessionId, StepId};
use telecine_engine::queue::{Capability, Kind, Waiting};
use telecine_engine::store::grow;

use crate::error::Error;
use crate::rows::{StepKeys, cells, count};

/// Ready steps: of each kind the first, or of a run. Those of kinds that only a newer release knows are
/// left out.
pub(crate) async fn waiting(
    db: &mut PgConnection,
    run: Option<&RunId>,
    limit: usize,
) -> Result<Vec<Waiting>, Error> {
    let query = match run {
        Some(run) => sqlx::query(include_str!("sql/waiting_of_run.sql")).bind(run.as_str()),
        None => sqlx::query(include_str!("sql/waiting.sql")),
    };
    let rows = query.bind(count(limit as u64)).fetch_all(db).await?;
    rows.iter()
        .filter_map(|row| cells(row).waiting().transpose())
        .collect()
}

/// How many steps wait, by kind, but for kinds that only a newer release knows.
pub(crate) async fn count_waiting(db: &mut PgConnection) -> Result<Vec<(Kind, u64)>, Error> {
    let rows = sqlx::query(include_str!("sql/count_waiting.sql"))
        .fetch_all(db)
        .await?;
    rows.iter()
        .filter_map(|row| cells(row).backlog().transpose())
        .collect()
}

/// Says what a session can run.
pub(crate) async fn offer(
    db: &mut PgConnection,
    session: &SessionId,
    offer: &Capability,
) -> Result<(), Error> {
    sqlx::query("update session set offer = $2 where id = $1")
        .bind(session.as_str())
        .bind(serde_json::to_string(offer)?)
        .execute(db)
        .await?;
    Ok(())
}

/// What sessions can run. One that cannot be read is an error and not left out: it may fit what no other
/// does.
pub(crate) async fn offers(db: &mut PgConnection) -> Result<Vec<Capability>, Error> {
    let offers: Vec<String> =
        sqlx::query_scalar("select offer from session where offer is not null")
            .fetch_all(db)
            .await?;
    let offers = offers.iter().map(|offer| serde_json::from_str(offer));
    Ok(offers.collect::<Result<_, _>>()?)
}

/// The latest checkpoints of steps.
pub(crate) async fn checkpoints(
    db: &mut PgConnection,
    steps: &[(RunId, StepId)],
) -> Result<Vec<(RunId, StepId, Checkpoint)>, Error> {
    let keys: StepKeys<'_> = steps.iter().map(|(run, step)| (run, step)).collect();
    let rows = sqlx::query(include_str!("sql/load_checkpoints.sql"))
        .bind(&keys.runs)
        .bind(&keys.nodes)
        .bind(&keys.items)
        .fetch_all(&mut *db)
        .await?;
    let mut checkpoints = rows
        .iter()
        .map(|row| {
            let row = cells(row);
            Ok((row.run_id()?, row.step_id()?, row.checkpoint()?))
        })
        .collect::<Result<Vec<_>, Error>>()?;
    let growths = sqlx::query(include_str!("sql/load_growths.sql"))
        .bind(&keys.runs)
        .bind(&keys.nodes)
        .bind(&keys.items)
        .fetch_all(db)
        .await?;
    let growths = growths
        .iter()
        .map(|row| {
            let row = cells(row);
            Ok((row.run_id()?, row.step_id()?, row.json("value")?))
        })
        .collect::<Result<Vec<_>, Error>>()?;
    grow(&mut checkpoints, growths)?;
    Ok(checkpoints)
}

#[cfg(test)]
mod tests {
    use sqlx::postgres::{PgPool, PgPoolOptions};
    use telecine_engine::queue::{PRIORITY_POINT_MS, Queue};
    use telecine_testkit::servers::PostgresSchema;

    use crate::{connect, schema};

    /// Three kinds with 100,000 steps in all, none of which the statistics know of.
    const BACKLOG: &str = "
        insert into ready (run, node, item, position, activity, kind, rank)
        select 'job_' || n, 'each', -1, 0, 'a.b@1', 'kind ' || n % 3, -n
        from generate_series(1, 100000) as n";

    async fn database() -> (PostgresSchema, PgPool) {
        let place = PostgresSchema::create().await;
        let options = connect::options(place.url()).unwrap();
        schema::bring_up_to_date(&options).await.unwrap();
        let pool = PgPoolOptions::new().max_connections(1);
        (place, pool.connect_lazy_with(connect::pinned(&options)))
    }

    /// Ready steps as three releases write them: one that knows of no kinds, this one, and one that tells
    /// steps apart by another word.
    const OF_THREE_RELEASES: &str = "
        insert into definition (digest, name, version, canonical) values ('d', 'n', 1, '{}');
        insert into run (id, workflow, version, definition, status, round, revision, nodes, input,
            fingerprint, source_store, media_store, labels, created_at, queue, priority)
        values ('r', 'n', 1, 'd', 'running', 1, 1, '[]', '{}', 'f', 's', 'm', '{}',
            '1970-01-01 00:10:00Z', 'critical', 2);
        insert into ready (run, node, item, position, activity) values ('r', 'a', 0, 0, 'x.y@1');
        insert into ready (run, node, item, position, activity, kind, rank)
        values ('r', 'a', 1, 0, 'x.y@1', 'default x.y@1 1 0 0 none', 7),
            ('r', 'a', 2, 0, 'x.y@1', 'default x.y@1 1 0 0 none hot', 7)";

    #[tokio::test]
    async fn steps_of_an_older_release_wait_with_others_and_those_of_a_newer_one_are_left_to_it() {
        let (_place, database) = database().await;
        sqlx::raw_sql(OF_THREE_RELEASES)
            .execute(&database)
            .await
            .unwrap();
        let mut connection = database.acquire().await.unwrap();
        let waiting = super::waiting(&mut connection, None, 4).await.unwrap();
        let waiting: Vec<_> = waiting
            .iter()
            .map(|it| (it.step.item, it.ticket.kind.queue, it.ticket.rank))
            .collect();
        let older = (Some(0), Queue::Critical, 600_000 - 2 * PRIORITY_POINT_MS);
        assert_eq!(waiting, [older, (Some(1), Queue::Default, 7)]);
        let counts = super::count_waiting(&mut connection).await.unwrap();
        assert_eq!(counts.iter().map(|(_, steps)| steps).sum::<u64>(), 2);
    }

    /// What the plan of a look for the first four of each kind did, line by line.
    async fn plan(database: &PgPool) -> Vec<String> {
        let mut connection = database.acquire().await.unwrap();
        let statement = format!(
            "prepare look (bigint) as {}",
            include_str!("sql/waiting.sql")
        );
        let statement = sqlx::AssertSqlSafe(statement);
        sqlx::raw_sql(statement)
            .execute(&mut *connection)
            .await
            .unwrap();
        let explain = "explain (analyze, costs off, timing off, summary off) execute look (4)";
        let lines = sqlx::query_scalar(explain)
            .fetch_all(&mut *connection)
            .await;
        sqlx::raw_sql("deallocate look")
            .execute(&mut *connection)
            .await
            .unwrap();
        lines.unwrap()
    }

    /// The most rows that any node of a plan handled at once.
    fn rows(plan: &[String]) -> f64 {
        let counts = plan.iter().filter_map(|line| {
            let count = line.split("actual rows=").nth(1)?;
            count.split(' ').next()?.parse().ok()
        });
        counts.fold(0.0, f64::max)
    }

    #[tokio::test]
    async fn a_look_for_steps_reads_no_more_rows_behind_a_hundred_thousand() {
        let (_place, database) = database().await;
        for backlog in ["select 1", BACKLOG] {
            sqlx::raw_sql(backlog).execute(&database).await.unwrap();
            let plan = plan(&database).await;
            let text = plan.join("\n");
            assert!(rows(&plan) <= 12.0, "three kinds, four of each:\n{text}");
            for costly in ["Seq Scan", "Sort", "Bitmap"] {
                assert!(!text.contains(costly), "{costly} in\n{text}");
            }
        }
    }
}
