//! Pages of runs.

use sqlx::postgres::PgConnection;
use telecine_engine::id::RunId;
use telecine_engine::run::Run;
use telecine_engine::store::{Look, Paging, Path, RunFilter, RunPage};

use crate::error::Error;
use crate::rows::{cells, count};

pub(crate) async fn list_runs(db: &mut PgConnection, filter: &RunFilter) -> Result<RunPage, Error> {
    let path = filter.path();
    let mut paging = Paging::new(filter);
    while let Some(look) = paging.look() {
        let seen = newest(db, &path, &look).await?;
        let fitting = fitting(db, (filter, paging.missing()), &seen).await?;
        paging.add(&seen, fitting);
    }
    Ok(paging.page())
}

/// Ids of the next runs on a way, newest first.
async fn newest(db: &mut PgConnection, path: &Path, look: &Look) -> Result<Vec<RunId>, Error> {
    let (sql, name) = match path {
        Path::All => (include_str!("sql/newest_runs.sql"), None),
        Path::Workflow(name) => (include_str!("sql/newest_runs_of_workflow.sql"), Some(name)),
        Path::Tag(tag) => (include_str!("sql/newest_tagged_runs.sql"), Some(tag)),
    };
    let mut query = sqlx::query_scalar(sql)
        .bind(look.before.as_str())
        .bind(look.after.as_str())
        .bind(count(look.limit as u64));
    if let Some(name) = name {
        query = query.bind(name);
    }
    let ids: Vec<String> = query.fetch_all(db).await?;
    Ok(ids.into_iter().map(RunId::from).collect())
}

/// Those of a few runs that fit, newest first, at most so many.
async fn fitting(
    db: &mut PgConnection,
    (filter, limit): (&RunFilter, usize),
    seen: &[RunId],
) -> Result<Vec<Run>, Error> {
    let rows = sqlx::query(include_str!("sql/list_runs.sql"))
        .bind(seen.iter().map(RunId::as_str).collect::<Vec<_>>())
        .bind(filter.status.map(|status| status.as_str()))
        .bind(&filter.workflow)
        .bind(filter.created_after)
        .bind(filter.tags())
        .bind(count(limit as u64))
        .fetch_all(db)
        .await?;
    rows.iter().map(|row| cells(row).run()).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use sqlx::ConnectOptions as _;
    use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
    use telecine_engine::run::RunStatus;
    use telecine_testkit::servers::PostgresSchema;

    use super::*;
    use crate::{connect, schema};

    /// 100,000 runs, every tenth labelled, every hundredth of a workflow of its own, every thousandth failed.
    const HISTORY: &str = "
        insert into definition (digest, name, version, canonical) values ('d', 'n', 1, '{}');
        insert into run (id, workflow, version, definition, status, round, revision, nodes, input,
            fingerprint, source_store, media_store, labels, output, created_at, ended_at)
        select
            'job_' || lpad(n::text, 6, '0'), case when n % 100 = 0 then 'rare' else 'n' end, 1, 'd',
            case when n % 1000 = 0 then 'failed' else 'succeeded' end, 1, 1, '[]', '{}', '', '', '',
            case when n % 10 = 0 then '{\"a\":\"b\"}' else '{}' end,
            case when n % 1000 = 0 then null else '{}' end, now(), now()
        from generate_series(1, 100000) as n;
        analyze run; analyze run_tag";

    /// A history, and a connection with those settings.
    pub(crate) async fn database(
        settings: impl Fn(&PgConnectOptions) -> PgConnectOptions,
    ) -> (PostgresSchema, PgPool) {
        let place = PostgresSchema::create().await;
        let options = connect::options(place.url()).unwrap();
        schema::bring_up_to_date(&options).await.unwrap();
        // Making it up takes longer than anything may take otherwise.
        let patient = options.clone().options([("statement_timeout", "0")]);
        let mut writer = patient.connect().await.unwrap();
        sqlx::raw_sql(HISTORY).execute(&mut writer).await.unwrap();
        let database = PgPoolOptions::new()
            .max_connections(1)
            .connect_lazy_with(settings(&options));
        (place, database)
    }

    /// What the plan of a statement did for the first ten, line by line.
    pub(crate) async fn plan(db: &mut PgConnection, (sql, arguments): (&str, &str)) -> Vec<String> {
        let prepared = sqlx::AssertSqlSafe(format!("prepare look as {sql}"));
        sqlx::raw_sql(prepared).execute(&mut *db).await.unwrap();
        let explain = format!(
            "explain (analyze, costs off, timing off, summary off) execute look ({arguments})"
        );
        let lines = sqlx::query_scalar(sqlx::AssertSqlSafe(explain));
        let lines = lines.fetch_all(&mut *db).await.unwrap();
        sqlx::raw_sql("deallocate look").execute(db).await.unwrap();
        lines
    }

    /// The most rows that a part of a plan found or looked at in vain.
    pub(crate) fn rows_read(plan: &[String]) -> Option<u32> {
        let counts = plan.iter().filter_map(|line| {
            let found = line.split("actual rows=").nth(1);
            let count = found.or_else(|| line.split("Rows Removed by Filter: ").nth(1))?;
            count.split([' ', '.']).next()?.parse().ok()
        });
        counts.max()
    }

    #[tokio::test]
    async fn a_page_reads_no_more_rows_than_it_has_however_many_runs_there_are() {
        let (_place, database) = database(connect::visiting).await;
        let mut db = database.acquire().await.unwrap();
        let ids: Vec<String> = (0..10).map(|n| format!("'job_0000{n:02}'")).collect();
        let those = format!("array[{}], null, 'n', null, '{{a=b}}', 10", ids.join(","));
        for (sql, arguments) in [
            (include_str!("sql/newest_runs.sql"), "'~', '', 10"),
            (
                include_str!("sql/newest_runs_of_workflow.sql"),
                "'~', '', 10, 'rare'",
            ),
            (
                include_str!("sql/newest_tagged_runs.sql"),
                "'job_090000', '', 10, 'failed'",
            ),
            (include_str!("sql/list_runs.sql"), those.as_str()),
        ] {
            let lines = plan(&mut db, (sql, arguments)).await;
            let plan = lines.join("\n");
            assert!(!plan.contains("Seq Scan"), "{plan}");
            assert!(rows_read(&lines) <= Some(10), "{plan}");
        }
    }

    #[tokio::test]
    async fn a_filter_finds_what_is_rare_among_many() {
        let (_place, database) = database(connect::visiting).await;
        let mut db = database.acquire().await.unwrap();
        let failed = RunFilter {
            status: Some(RunStatus::Failed),
            workflow: Some("rare".to_owned()),
            label: Some(("a".to_owned(), "b".to_owned())),
            limit: 60,
            ..RunFilter::default()
        };
        let page = list_runs(&mut db, &failed).await.unwrap();
        assert_eq!(page.runs.len(), 60);
        let rest = RunFilter {
            before: page.before,
            ..failed
        };
        let page = list_runs(&mut db, &rest).await.unwrap();
        assert_eq!((page.runs.len(), page.before), (40, None));
    }
}
