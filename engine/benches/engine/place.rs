//! Where a subject keeps its state: a database of its own, or a directory of its own.

use tempfile::TempDir;

use crate::server::{Database, Server};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A directory, which is what SQLite wants.
    Sqlite,
    Postgres,
}

/// A new, empty one.
#[derive(Debug)]
pub(crate) enum Place {
    Directory(TempDir),
    Database(Database),
}

impl Place {
    pub(crate) async fn new(kind: Kind, server: Option<&Server>) -> Result<Self, String> {
        match (kind, server) {
            (Kind::Sqlite, _) => Ok(Self::Directory(tempfile::tempdir().unwrap())),
            (Kind::Postgres, Some(server)) => Ok(Self::Database(server.database().await)),
            (Kind::Postgres, None) => Err("there is no Postgres".to_owned()),
        }
    }

    pub(crate) fn address(&self) -> &str {
        match self {
            Self::Directory(directory) => directory.path().to_str().unwrap(),
            Self::Database(database) => &database.url,
        }
    }

    /// The server that it is a part of.
    pub(crate) fn server(&self) -> Option<&Server> {
        match self {
            Self::Directory(_) => None,
            Self::Database(database) => Some(&database.server),
        }
    }

    pub(crate) async fn clear(self) {
        if let Self::Database(database) = self {
            database.drop().await;
        }
    }
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Sqlite, Self::Postgres];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "Postgres",
        }
    }
}
