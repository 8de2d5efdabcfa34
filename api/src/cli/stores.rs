//! Looks at the stores of a process before it begins.

use std::sync::Arc;

use telecine_engine::activity::ErrorClass;
use telecine_engine::objects::{ObjectError, ObjectStore, ObjectStores};
use telecine_engine::run::StoreUrls;
use telecine_object_stores::FsStores;

use crate::config::S3;

/// Nothing is there. Who may not look, or looks into a bucket that is not there, is told.
const NOWHERE: &str = ".telecine/";

/// Looks whether the stores can be used.
///
/// # Errors
/// What the first one says that cannot.
pub(super) async fn check(
    objects: &dyn ObjectStores,
    stores: &StoreUrls,
) -> Result<(), ObjectError> {
    match troubles(objects, stores).await.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// What is wrong with each of the stores, if they are in S3: directories are made when they are needed.
pub(super) async fn troubles(objects: &dyn ObjectStores, stores: &StoreUrls) -> Vec<ObjectError> {
    type Open<'a> = &'a dyn Fn(&str) -> Result<Arc<dyn ObjectStore>, ObjectError>;
    let roles: [(&str, &str, Open<'_>); 2] = [
        ("source", &stores.source, &|url| objects.open_source(url)),
        ("media", &stores.media, &|url| objects.open(url)),
    ];
    let mut wrong = Vec::new();
    for (role, url, open) in roles {
        if url.starts_with(S3) {
            let answered = async { open(url)?.list_directories(NOWHERE).await };
            let refused = answered.await.err();
            wrong.extend(refused.map(|error| named(error, (role, url))));
        }
    }
    wrong
}

/// The error of a store that was only looked at: it is about no object of it.
fn named(error: ObjectError, (role, url): (&str, &str)) -> ObjectError {
    match error {
        ObjectError::Service {
            class,
            code,
            why,
            source,
            ..
        } => ObjectError::Service {
            doing: "use",
            key: format!("the {role} store {url}"),
            class,
            code,
            why,
            source,
        },
        // No list is about an object that is not there.
        ObjectError::NotFound { .. } => ObjectError::Unsupported {
            url: url.to_owned(),
            why: format!(
                "what answers at its endpoint is no S3 service: set TELECINE_{}_S3_ENDPOINT",
                role.to_uppercase()
            ),
        },
        other => other,
    }
}

/// Makes the directory for results of a server, if that is what its address names: one that is missing
/// later has gone away.
///
/// # Errors
/// That it cannot be made.
pub(super) fn make_directory(media: &str) -> Result<(), ObjectError> {
    if media.starts_with(S3) {
        return Ok(());
    }
    let directory = FsStores::directory(media)?;
    std::fs::create_dir_all(&directory).map_err(|source| ObjectError::Io {
        doing: "make",
        key: directory.display().to_string(),
        source,
    })
}

/// Whether an error may be over by itself.
pub(super) fn may_pass(error: &ObjectError) -> bool {
    matches!(
        error,
        ObjectError::Service {
            class: ErrorClass::Dependency,
            ..
        }
    )
}
