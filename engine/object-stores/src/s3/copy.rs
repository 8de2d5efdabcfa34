use std::fmt::Write as _;

use telecine_engine::objects::ObjectError;

use super::{S3Store, download, error};

/// Copies within the bucket; no byte passes through here. S3 copies no object above 5 GiB at once,
/// and says so. Answers the etag of the copy.
pub(super) async fn copy(store: &S3Store, from: &str, to: &str) -> Result<String, ObjectError> {
    let (source, target) = (store.name(from)?, store.name(to)?);
    let copy = store.client().await.copy_object();
    let copied = copy
        .copy_source(format!("{}/{}", store.bucket(), encoded(&source)))
        .bucket(store.bucket())
        .key(target)
        .send()
        .await;
    let copied = copied.map_err(|error| {
        let is_missing = error::status(&error) == Some(404);
        let key = if is_missing { from } else { to };
        store.doing("copy to", key).failed(error)
    })?;
    let copied = copied.copy_object_result();
    Ok(download::etag(copied.and_then(|copied| copied.e_tag())))
}

/// A name as it is written into a header.
fn encoded(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                text.push(char::from(byte));
            }
            // Writing to a string cannot fail.
            other => {
                let _ = write!(text, "%{other:02X}");
            }
        }
    }
    text
}
