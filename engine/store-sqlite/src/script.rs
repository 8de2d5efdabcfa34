//! Statements that are run by one call, because a switch to the thread of the connection and back takes
//! longer than most of them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteConnection;

use crate::error::Error;

/// An array of rows ends with the row that makes it this long, in bytes, and a script with the array that
/// makes it this long. SQLite takes a billion; this is 40,000 steps with a few hundred bytes of input each,
/// and bounds the memory it takes to write 100,000 of 64 KiB.
const BYTES: usize = 1 << 20;

/// A statement over rows: `$1` in it is a JSON array of them, `$2` the time.
pub(crate) struct Statement {
    sql: &'static str,
    rows: String,
}

/// A statement over rows: none if there are no rows, and several if there are many.
pub(crate) fn over(
    sql: &'static str,
    mut rows: impl Iterator<Item = impl Serialize> + Send,
) -> impl Iterator<Item = Result<Statement, Error>> + Send {
    std::iter::from_fn(move || match array(&mut rows) {
        Ok(rows) => rows.map(|rows| Ok(Statement { sql, rows })),
        Err(error) => Some(Err(error.into())),
    })
}

fn array(
    rows: &mut impl Iterator<Item = impl Serialize>,
) -> Result<Option<String>, serde_json::Error> {
    let mut array = Vec::new();
    for row in rows {
        array.push(if array.is_empty() { b'[' } else { b',' });
        serde_json::to_writer(&mut array, &row)?;
        if array.len() >= BYTES {
            break;
        }
    }
    if array.is_empty() {
        return Ok(None);
    }
    array.push(b']');
    Ok(Some(String::from_utf8_lossy(&array).into_owned()))
}

/// Statements one after the other.
#[derive(Default)]
pub(crate) struct Script {
    sql: String,
    arrays: Vec<String>,
    bytes: usize,
}

impl Script {
    /// All the statements, in as few scripts as it takes.
    pub(crate) fn of(
        mut statements: impl Iterator<Item = Result<Statement, Error>> + Send,
    ) -> impl Iterator<Item = Result<Self, Error>> + Send {
        std::iter::from_fn(move || Self::next(&mut statements).transpose())
    }

    fn next(
        statements: &mut impl Iterator<Item = Result<Statement, Error>>,
    ) -> Result<Option<Self>, Error> {
        let mut script = Self::default();
        for statement in statements {
            script.push(statement?);
            if script.bytes >= BYTES {
                break;
            }
        }
        Ok(Some(script).filter(|script| !script.arrays.is_empty()))
    }

    /// All of the arguments are those of the script: the first is the time.
    fn push(&mut self, statement: Statement) {
        self.bytes += statement.rows.len();
        self.arrays.push(statement.rows);
        let array = format!("${}", self.arrays.len() + 1);
        for (place, piece) in statement.sql.split('$').enumerate() {
            let number = piece.bytes().take_while(u8::is_ascii_digit).count();
            let known = number == 0 || piece.starts_with(['1', '2']) && number == 1;
            debug_assert!(
                place == 0 || known,
                "neither the rows nor the time: {piece}"
            );
            let argument = match (place, piece.as_bytes().first()) {
                (0, _) => "",
                (_, Some(b'1')) => array.as_str(),
                (_, Some(b'2')) => "$1",
                // A path in JSON.
                _ => "$",
            };
            let rest = if argument.len() > 1 {
                &piece[1..]
            } else {
                piece
            };
            self.sql.extend([argument, rest]);
        }
        self.sql.push_str(";\n");
    }

    pub(crate) async fn run(
        self,
        connection: &mut SqliteConnection,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        // What is put together are statements of this package; what others wrote is in the arguments.
        let mut query = sqlx::query(AssertSqlSafe(self.sql)).bind(now.timestamp_millis());
        for array in self.arrays {
            query = query.bind(array);
        }
        query.execute(connection).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(rows: &[String]) -> Vec<usize> {
        over("", rows.iter())
            .map(|statement| serde_json::from_str(&statement.unwrap().rows))
            .map(|rows: Result<Vec<String>, _>| rows.unwrap().len())
            .collect()
    }

    #[test]
    fn rows_go_into_as_many_arrays_as_they_need() {
        let long = "x".repeat(BYTES / 2);
        assert_eq!(split(&[]), [0; 0]);
        assert_eq!(split(&["a".to_owned(), "b".to_owned()]), [2]);
        assert_eq!(split(&vec![long; 5]), [2, 2, 1]);
    }

    #[test]
    fn statements_share_the_time_and_have_each_their_rows() {
        let one = over("one $1, $2", [1].iter());
        let two = over("two $2 ($1, $1)", [2].iter());
        let scripts: Vec<_> = Script::of(one.chain(two)).map(Result::unwrap).collect();
        assert_eq!(scripts.len(), 1);
        assert_eq!(scripts[0].sql, "one $2, $1;\ntwo $1 ($3, $3);\n");
        assert_eq!(scripts[0].arrays, ["[1]", "[2]"]);
    }
}
