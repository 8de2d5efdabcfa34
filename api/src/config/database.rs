use std::fmt;
use std::path::PathBuf;

use telecine_store_postgres::PostgresStore;

/// What an address of Postgres begins with.
const POSTGRES: [&str; 2] = ["postgres://", "postgresql://"];

/// Connections of one process to Postgres, far more than it can use.
const MOST_CONNECTIONS: usize = 1000;

/// Where jobs are kept. Shown without the password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Database {
    /// SQLite in the data directory; absolute.
    Directory(PathBuf),
    /// The Postgres database at this address, and how many connections to it there may be.
    Postgres(String, usize),
}

impl Database {
    /// The address of a Postgres database; none for an empty one.
    pub(super) fn address(text: &str) -> Result<Option<String>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        if POSTGRES.iter().any(|scheme| text.starts_with(scheme)) {
            return Ok(Some(text.to_owned()));
        }
        Err(
            "it is no address such as postgres://user:password@host/database; \
             for SQLite leave it out and set the data directory"
                .to_owned(),
        )
    }
}

/// How many connections to Postgres there may be.
pub(super) fn connections(text: &str) -> Result<usize, String> {
    const FEWEST: usize = PostgresStore::FEWEST_CONNECTIONS;
    match text.parse() {
        Ok(count @ FEWEST..=MOST_CONNECTIONS) => Ok(count),
        _ => Err(format!(
            "`{text}` is not a number from {FEWEST} to {MOST_CONNECTIONS}"
        )),
    }
}

/// Schemes of Redis that are spoken.
const REDIS: [&str; 3] = ["redis://", "rediss://", "redis+unix://"];

/// The address of a Redis; none for an empty one.
pub(super) fn redis_url(text: &str) -> Result<Option<String>, String> {
    match text {
        "" => Ok(None),
        url if REDIS.iter().any(|scheme| url.starts_with(scheme)) => Ok(Some(url.to_owned())),
        _ => Err("it is no address such as redis://host:6379, or rediss:// for TLS".to_owned()),
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => path.display().fmt(f),
            Self::Postgres(url, _) => f.write_str(&without_password(url)),
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An address with `***` in the place of its password, wherever that is.
pub(crate) fn without_password(url: &str) -> String {
    let (before, parameters) = match url.split_once('?') {
        Some((before, parameters)) => (before, Some(parameters)),
        None => (url, None),
    };
    let hidden = match before.rsplit_once('@') {
        Some((user, host)) => match user.split_once("://").and_then(|(_, user)| user.find(':')) {
            Some(colon) => {
                let start = user.len() - user.split_once("://").map_or(0, |(_, user)| user.len());
                format!("{}:***@{host}", &user[..start + colon])
            }
            None => before.to_owned(),
        },
        None => before.to_owned(),
    };
    let Some(parameters) = parameters else {
        return hidden;
    };
    let shown = parameters
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((name @ ("password" | "sslpassword"), _)) => format!("{name}=***"),
            _ => pair.to_owned(),
        });
    format!("{hidden}?{}", shown.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for (url, shown) in [
            ("postgres://u:secret@h/d", "postgres://u:***@h/d"),
            (
                "postgres://u:se@c:ret@h:5432/d",
                "postgres://u:***@h:5432/d",
            ),
            ("postgres://u@h/d", "postgres://u@h/d"),
            ("postgres://h/d", "postgres://h/d"),
            (
                "postgres://u@h/d?sslmode=require&password=secret",
                "postgres://u@h/d?sslmode=require&password=***",
            ),
        ] {
            assert_eq!(Database::Postgres(url.to_owned(), 17).to_string(), shown);
        }
    }

    #[test]
    fn an_address_of_another_database_is_refused_with_what_to_do() {
        let error = Database::address("mysql://here").unwrap_err();
        assert!(error.contains("postgres://"), "{error}");
    }
}
