use std::fmt;

/// How S3 is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct S3Options {
    /// Address of a service other than AWS (`http://127.0.0.1:9000`); its buckets are addressed as
    /// the first part of the path.
    pub endpoint: Option<String>,
    /// Region of the bucket. Without one it is what the environment of AWS says, else `us-east-1`,
    /// which other services do not look at.
    pub region: Option<String>,
    /// Whose requests they are. Without them the credential chain of AWS is asked: environment,
    /// profile, web identity, container, instance.
    pub credentials: Option<S3Credentials>,
}

/// An access key and its secret. The secret is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Credentials {
    /// Says who.
    pub access_key: String,
    /// Proves it.
    pub secret_key: String,
}

impl fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Credentials")
            .field("access_key", &self.access_key)
            .field("secret_key", &"***")
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        let options = S3Options {
            credentials: Some(S3Credentials {
                access_key: "telecine".to_owned(),
                secret_key: "hidden".to_owned(),
            }),
            ..S3Options::default()
        };
        let shown = format!("{options:?}");
        assert!(
            shown.contains("telecine") && !shown.contains("hidden"),
            "{shown}"
        );
    }
}
