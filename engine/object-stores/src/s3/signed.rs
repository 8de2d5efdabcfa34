use std::time::Duration;

use aws_sdk_s3::presigning::PresigningConfig;
use telecine_engine::activity::ErrorClass;
use telecine_engine::objects::{Access, ObjectError};

use super::S3Store;

/// An address that needs no credentials until it expires. S3 makes none for more than seven days.
pub(super) async fn url(
    store: &S3Store,
    key: &str,
    access: Access,
    lifetime: Duration,
) -> Result<String, ObjectError> {
    let (name, doing) = (store.name(key)?, store.doing("sign an address of", key));
    let signing = PresigningConfig::expires_in(lifetime).map_err(|error| ObjectError::Service {
        doing: "sign an address of",
        key: key.to_owned(),
        class: ErrorClass::Config,
        code: "bad_lifetime",
        why: format!(
            "it cannot be valid for {} seconds: {error}",
            lifetime.as_secs()
        ),
        source: None,
    })?;
    let client = store.client().await;
    let signed = match access {
        Access::Read => {
            let get = client.get_object().bucket(store.bucket()).key(name);
            get.presigned(signing)
                .await
                .map_err(|error| doing.failed(error))
        }
        Access::Write => {
            let put = client.put_object().bucket(store.bucket()).key(name);
            put.presigned(signing)
                .await
                .map_err(|error| doing.failed(error))
        }
    };
    signed.map(|request| request.uri().to_owned())
}
