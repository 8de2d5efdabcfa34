use telecine_engine::objects::{ObjectError, check_key};

/// Lengths of names of buckets.
const BUCKET_BYTES: std::ops::RangeInclusive<usize> = 3..=63;

/// A bucket and what the names of a store's objects begin with in there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) bucket: String,
    /// Empty, or ending in `/`.
    pub(super) prefix: String,
}

impl Address {
    /// Reads `s3://bucket` or `s3://bucket/prefix`.
    pub(super) fn parse(url: &str) -> Result<Self, ObjectError> {
        let unsupported = |why: String| ObjectError::Unsupported {
            url: url.to_owned(),
            why,
        };
        let rest = url
            .strip_prefix("s3://")
            .ok_or_else(|| unsupported("it is not written s3://bucket/prefix".to_owned()))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if !is_bucket(bucket) {
            let why = "a bucket has 3 to 63 lowercase letters, digits, dots and dashes";
            return Err(unsupported(format!("`{bucket}` is no bucket: {why}")));
        }
        let prefix = prefix.trim_end_matches('/');
        if prefix.is_empty() {
            return Ok(Self {
                bucket: bucket.to_owned(),
                prefix: String::new(),
            });
        }
        check_key(prefix).map_err(|error| unsupported(error.to_string()))?;
        Ok(Self {
            bucket: bucket.to_owned(),
            prefix: format!("{prefix}/"),
        })
    }

    /// The name of an object in the bucket.
    pub(super) fn name(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The key of an object with a name; none if it is not below the prefix.
    pub(super) fn key<'a>(&self, name: &'a str) -> Option<&'a str> {
        name.strip_prefix(&self.prefix)
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let url = format!("s3://{}/{}", self.bucket, self.prefix);
        f.write_str(url.trim_end_matches('/'))
    }
}

fn is_bucket(name: &str) -> bool {
    let of_bucket = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-')
    };
    BUCKET_BYTES.contains(&name.len()) && name.bytes().all(of_bucket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_what_names_begin_with() {
        for (url, bucket, name) in [
            ("s3://media", "media", "k"),
            ("s3://media/", "media", "k"),
            ("s3://media/a/b", "media", "a/b/k"),
            ("s3://media/a/b/", "media", "a/b/k"),
        ] {
            let address = Address::parse(url).unwrap();
            assert_eq!(address.bucket, bucket);
            assert_eq!(address.name("k"), name);
            assert_eq!(address.key(name), Some("k"));
            assert_eq!(address.to_string(), url.trim_end_matches('/'));
        }
    }

    #[test]
    fn what_is_no_bucket_is_refused() {
        for url in [
            "s3://",
            "s3:///key",
            "s3://ab",
            "s3://Media",
            "s3://user:secret@media",
            "s3://media/../up",
            "s3://media//a",
            "https://media",
        ] {
            let refused = Address::parse(url);
            assert!(
                matches!(refused, Err(ObjectError::Unsupported { .. })),
                "{url}: {refused:?}"
            );
        }
    }
}
