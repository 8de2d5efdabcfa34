//! The feed of all events.

use sqlx::postgres::{PgConnection, PgRow};
use telecine_engine::store::rows::first_of;
use telecine_engine::store::{FeedEvent, FeedPlace};

use crate::error::Error;
use crate::rows::{cells, count};

/// Events behind a place.
pub(crate) async fn read(
    db: &mut PgConnection,
    after: FeedPlace,
    limit: usize,
) -> Result<Vec<FeedEvent>, Error> {
    let rows = sqlx::query(include_str!("sql/feed.sql"))
        .bind(count(after.commit))
        .bind(count(after.entry))
        .bind(count(after.part))
        .bind(count(after.seq))
        .bind(count(limit as u64))
        .fetch_all(db)
        .await?;
    first_of(limit, rows.iter().map(events), |event| event.place > after)
}

fn events(row: &PgRow) -> Result<Vec<FeedEvent>, Error> {
    let row = cells(row);
    let run = row.run_id()?;
    let part = FeedPlace {
        commit: row.number("after_xact")?,
        entry: row.number("n")?,
        part: row.number("place")?,
        ..FeedPlace::default()
    };
    let events = row.events()?.into_iter();
    Ok(events
        .map(|event| FeedEvent::of(part, &run, event))
        .collect())
}

/// The place behind all of them.
pub(crate) async fn end(db: &mut PgConnection) -> Result<FeedPlace, Error> {
    let row = sqlx::query(include_str!("sql/feed_end.sql"))
        .fetch_optional(db)
        .await?;
    let Some(row) = row else {
        return Ok(FeedPlace::default());
    };
    Ok(FeedPlace {
        commit: cells(&row).number("after_xact")?,
        entry: cells(&row).number("n")?,
        part: u64::MAX,
        seq: u64::MAX,
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use sqlx::Connection as _;
    use sqlx::postgres::{PgPool, PgPoolOptions};
    use telecine_testkit::servers::PostgresSchema;

    use super::*;
    use crate::{connect, schema};

    async fn database() -> (PostgresSchema, PgPool) {
        let place = PostgresSchema::create().await;
        let options = connect::options(place.url()).unwrap();
        schema::bring_up_to_date(&options).await.unwrap();
        let pool = PgPoolOptions::new().max_connections(3);
        (place, pool.connect_lazy_with(options))
    }

    /// Writes the first event of a run.
    async fn tell(db: &mut PgConnection, run: &str) {
        let save = concat!(
            "with premises as (select true as hold)",
            include_str!("sql/save_events.sql")
        );
        sqlx::query(save)
            .bind(vec![run])
            .bind(vec![1_i64])
            .bind(vec!["run.submitted"])
            .bind(vec![None::<String>])
            .bind(vec!["null"])
            .bind(vec![None::<String>])
            .bind(chrono::Utc::now())
            .execute(&mut *db)
            .await
            .unwrap();
        let save = concat!(
            "with premises as (select true as hold)",
            include_str!("sql/save_feed.sql")
        );
        sqlx::query(save)
            .bind(vec![run])
            .bind(vec![1_i64])
            .bind(vec![1_i64])
            .execute(db)
            .await
            .unwrap();
    }

    async fn runs(db: &PgPool, after: FeedPlace) -> Vec<String> {
        let mut db = db.acquire().await.unwrap();
        let events = read(&mut db, after, 100).await.unwrap();
        events.iter().map(|event| event.run.to_string()).collect()
    }

    /// The same once there are so many: whatever others of the server are at holds events back.
    async fn shown(db: &PgPool, after: FeedPlace, count: usize) -> Vec<String> {
        let began = Instant::now();
        loop {
            let runs = runs(db, after).await;
            assert!(began.elapsed() < Duration::from_secs(30), "{runs:?}");
            if runs.len() >= count {
                return runs;
            }
        }
    }

    #[tokio::test]
    async fn what_is_committed_later_is_behind_what_was_shown_before() {
        let (_place, database) = database().await;
        let mut slow = database.acquire().await.unwrap();
        let mut quick = database.acquire().await.unwrap();
        let mut slow = slow.begin().await.unwrap();
        tell(&mut slow, "job_slow").await;
        tell(&mut quick, "job_quick").await;
        // Its transaction has ended, but the other one began before it.
        let none: [&str; 0] = [];
        assert_eq!(runs(&database, FeedPlace::default()).await, none);
        slow.commit().await.unwrap();
        let all = shown(&database, FeedPlace::default(), 2).await;
        assert_eq!(all, ["job_slow", "job_quick"]);
        let end = end(&mut quick).await.unwrap();
        assert_eq!(runs(&database, end).await, none);
        tell(&mut quick, "job_late").await;
        assert_eq!(shown(&database, end, 1).await, ["job_late"]);
    }

    #[tokio::test]
    async fn a_page_reads_no_more_rows_than_it_has_however_long_the_feed_is() {
        let (_place, database) = database().await;
        let history = "
            insert into event (run, seq, at, kind, data)
            select 'job_' || n % 1000, n / 1000 + 1, now(), 'k', 'null'
            from generate_series(0, 99999) as n;
            insert into feed (after_xact, runs, first, last)
            select 0, array['job_' || n % 1000], array[n / 1000 + 1], array[n / 1000 + 1]
            from generate_series(0, 99999) as n;
            analyze feed; analyze event";
        let mut db = database.acquire().await.unwrap();
        sqlx::raw_sql(history).execute(&mut *db).await.unwrap();
        let sql = concat!(
            "prepare look (bigint, bigint, bigint, bigint, bigint) as ",
            include_str!("sql/feed.sql")
        );
        sqlx::raw_sql(sql).execute(&mut *db).await.unwrap();
        let explain = "explain (analyze, costs off, timing off, summary off) \
                       execute look (0, 50000, 1, 51, 10)";
        let plan: Vec<String> = sqlx::query_scalar(explain)
            .fetch_all(&mut *db)
            .await
            .unwrap();
        let rows = plan.iter().filter_map(|line| {
            let rows = line.split("actual rows=").nth(1)?;
            rows.split([' ', '.']).next()?.parse::<u32>().ok()
        });
        let text = plan.join("\n");
        assert!(rows.max() <= Some(100), "{text}");
        assert!(!text.contains("Seq Scan"), "{text}");
    }
}
