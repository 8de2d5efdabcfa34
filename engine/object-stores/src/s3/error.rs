use std::error::Error as StdError;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use telecine_engine::activity::ErrorClass;
use telecine_engine::objects::ObjectError;

use super::address::Address;

/// How much is quoted of what a service says.
const QUOTED_CHARS: usize = 200;

/// What is being done, for messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doing<'a> {
    pub(super) doing: &'static str,
    pub(super) key: &'a str,
    pub(super) address: &'a Address,
    pub(super) endpoint: Option<&'a str>,
}

/// What an answer means: whose move it is, the code, and what to tell.
#[derive(Debug, PartialEq, Eq)]
struct Meaning {
    class: ErrorClass,
    code: &'static str,
    why: String,
}

/// What a service said.
#[derive(Debug, Default)]
struct Answer<'a> {
    status: u16,
    /// Empty where there is no body, as after HEAD.
    code: &'a str,
    message: &'a str,
    /// Where the bucket is, if it said so.
    region: Option<&'a str>,
}

/// What an error says and what the errors behind it say, each once.
fn causes(error: &dyn StdError) -> String {
    let (mut said, mut next) = (Vec::<String>::new(), Some(error));
    while let Some(error) = next {
        let text = error.to_string();
        if !said.iter().any(|earlier| earlier.ends_with(&text)) {
            said.push(text);
        }
        next = error.source();
    }
    said.join(": ")
}

/// The status of the answer, if there was one.
pub(super) fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    Some(error.raw_response()?.status().as_u16())
}

impl Doing<'_> {
    /// What a failed request means.
    pub(super) fn failed<E>(self, error: SdkError<E, HttpResponse>) -> ObjectError
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        let response = error.raw_response();
        let said = error.as_service_error();
        let answer = response.map(|response| Answer {
            status: response.status().as_u16(),
            code: said.and_then(|said| said.code()).unwrap_or_default(),
            message: said.and_then(|said| said.message()).unwrap_or_default(),
            region: response.headers().get("x-amz-bucket-region"),
        });
        if answer.as_ref().is_some_and(is_missing) {
            return self.missing();
        }
        let meaning = match &answer {
            Some(answer) => self.meaning(answer),
            None => self.no_answer(&error),
        };
        self.service(meaning, Some(error.into()))
    }

    /// The object is not there.
    pub(super) fn missing(self) -> ObjectError {
        ObjectError::NotFound {
            key: self.key.to_owned(),
        }
    }

    /// The bucket is not there.
    pub(super) fn no_bucket(self) -> ObjectError {
        let answer = Answer {
            status: 404,
            code: "NoSuchBucket",
            ..Answer::default()
        };
        self.service(self.meaning(&answer), None)
    }

    /// The body of an answer broke off, over and over.
    pub(super) fn broke_off(self, error: impl StdError + Send + Sync + 'static) -> ObjectError {
        let said = quoted(&causes(&error));
        let why = format!("{} breaks off in the middle of it: {said}", self.place());
        let meaning = Meaning::new(ErrorClass::Dependency, "store_broke_off", why);
        self.service(meaning, Some(Box::new(error)))
    }

    fn service(
        self,
        meaning: Meaning,
        source: Option<Box<dyn StdError + Send + Sync>>,
    ) -> ObjectError {
        ObjectError::Service {
            doing: self.doing,
            key: self.key.to_owned(),
            class: meaning.class,
            code: meaning.code,
            why: meaning.why,
            source,
        }
    }

    fn place(self) -> String {
        match self.endpoint {
            Some(endpoint) => format!("the object store at {endpoint}"),
            None => "S3".to_owned(),
        }
    }

    fn no_answer<E: StdError + Send + Sync + 'static>(
        self,
        error: &SdkError<E, HttpResponse>,
    ) -> Meaning {
        let said = quoted(&causes(error));
        let place = self.place();
        match error {
            SdkError::TimeoutError(_) => {
                let why = format!("{place} does not answer in time");
                Meaning::new(ErrorClass::Dependency, "store_timeout", why)
            }
            SdkError::DispatchFailure(failure) if failure.is_timeout() => {
                let why = format!("{place} does not answer in time");
                Meaning::new(ErrorClass::Dependency, "store_timeout", why)
            }
            SdkError::DispatchFailure(failure) if failure.is_io() => {
                let why = format!("{place} cannot be reached: {said}");
                Meaning::new(ErrorClass::Dependency, "store_unreachable", why)
            }
            _ if said.contains("credential") => {
                let why = format!(
                    "no credentials were found for {place}; set the access key and the secret key, \
                     or let the credential chain of AWS find some"
                );
                Meaning::new(ErrorClass::Config, "store_credentials_missing", why)
            }
            SdkError::ConstructionFailure(_) => {
                let why = format!("the request to {place} cannot be made: {said}");
                Meaning::new(ErrorClass::Config, "store_refused", why)
            }
            _ => {
                let why = format!("{place} gives no answer that can be understood: {said}");
                Meaning::new(ErrorClass::Dependency, "store_failed", why)
            }
        }
    }

    /// What is told as if the request were wrong, and is right once it is sent again.
    fn passing(self, answer: &Answer<'_>) -> Option<Meaning> {
        let place = self.place();
        let (code, why) = match (answer.code, answer.status) {
            ("RequestTimeout", _) | (_, 408) => (
                "store_timeout",
                format!("{place} waited too long for its bytes"),
            ),
            ("BadDigest" | "IncompleteBody" | "XAmzContentSHA256Mismatch" | "NoSuchUpload", _) => (
                "store_broke_off",
                format!("{place} did not get all of it as it was sent"),
            ),
            ("OperationAborted" | "ConditionalRequestConflict", _) => (
                "store_busy",
                format!("{place} was at work on it for another request"),
            ),
            _ => return None,
        };
        let why = why + &answer.quoted();
        Some(Meaning::new(ErrorClass::Dependency, code, why))
    }

    fn meaning(self, answer: &Answer<'_>) -> Meaning {
        self.passing(answer)
            .or_else(|| self.set_up_wrongly(answer))
            .or_else(|| self.of_the_object(answer))
            .unwrap_or_else(|| self.by_status(answer))
    }

    /// What somebody has to set right.
    fn set_up_wrongly(self, answer: &Answer<'_>) -> Option<Meaning> {
        let (bucket, place) = (&self.address.bucket, self.place());
        let (code, why) = match (answer.code, answer.status) {
            ("NoSuchBucket", _) => (
                "bucket_missing",
                format!("{place} has no bucket {bucket}; create it or correct the address"),
            ),
            ("RequestTimeTooSkewed", _) => (
                "store_clock_skew",
                format!("the clock of this machine and that of {place} differ too much; set it"),
            ),
            (
                "InvalidAccessKeyId"
                | "SignatureDoesNotMatch"
                | "ExpiredToken"
                | "InvalidToken"
                | "TokenRefreshRequired",
                _,
            ) => (
                "store_credentials_refused",
                format!(
                    "{place} does not accept the credentials ({}); correct the access key and the \
                     secret key",
                    answer.code
                ),
            ),
            (
                "PermanentRedirect"
                | "TemporaryRedirect"
                | "AuthorizationHeaderMalformed"
                | "IllegalLocationConstraintException",
                _,
            )
            | (_, 301 | 307 | 308) => ("store_wrong_region", self.other_region(answer)),
            _ => return None,
        };
        Some(Meaning::new(ErrorClass::Config, code, why))
    }

    /// What is wrong with one object, or with the room for it.
    fn of_the_object(self, answer: &Answer<'_>) -> Option<Meaning> {
        let (bucket, place) = (&self.address.bucket, self.place());
        let (class, code, why) = match (answer.code, answer.status) {
            ("InvalidObjectState", _) => (
                ErrorClass::Input,
                "object_archived",
                "it is archived; restore it first".to_owned(),
            ),
            ("EntityTooLarge", _) | (_, 413) => (
                ErrorClass::Input,
                "object_too_large",
                format!("it is larger than {place} takes"),
            ),
            ("QuotaExceeded" | "InsufficientStorage" | "XMinioStorageFull", _) | (_, 507) => (
                ErrorClass::Resource,
                "store_full",
                format!("there is no room left in the bucket {bucket} of {place}; make some"),
            ),
            _ => return None,
        };
        Some(Meaning::new(class, code, why))
    }

    /// What only the status tells.
    fn by_status(self, answer: &Answer<'_>) -> Meaning {
        let (bucket, place) = (&self.address.bucket, self.place());
        let (class, code, why) = match answer.status {
            429 | 503 => (
                ErrorClass::Dependency,
                "store_busy",
                format!("{place} is too busy or not ready"),
            ),
            500.. => (
                ErrorClass::Dependency,
                "store_failed",
                format!("{place} failed"),
            ),
            401 | 403 => (
                ErrorClass::Config,
                "store_access_denied",
                format!(
                    "{place} does not allow that in the bucket {bucket}; give these credentials \
                     the permission, or use others"
                ),
            ),
            _ => (
                ErrorClass::Config,
                "store_refused",
                format!("{place} refuses the request"),
            ),
        };
        Meaning::new(class, code, why + &answer.quoted())
    }

    fn other_region(self, answer: &Answer<'_>) -> String {
        let bucket = &self.address.bucket;
        match answer.region {
            Some(region) => format!(
                "the bucket {bucket} is in the region {region}; set the region of the store to it"
            ),
            None => format!(
                "the bucket {bucket} is in another region; set the region of the store{}",
                answer.quoted()
            ),
        }
    }
}

/// Whether it is the object that is missing.
fn is_missing(answer: &Answer<'_>) -> bool {
    answer.status == 404 && matches!(answer.code, "NoSuchKey" | "NotFound" | "")
}

impl Meaning {
    fn new(class: ErrorClass, code: &'static str, why: String) -> Self {
        Self { class, code, why }
    }
}

impl Answer<'_> {
    /// What the service said, for the end of a sentence.
    fn quoted(&self) -> String {
        match (self.code, self.message) {
            ("", _) => format!(" (status {})", self.status),
            (code, "") => format!(" ({code})"),
            (code, message) => format!(" ({code}: {})", quoted(message)),
        }
    }
}

fn quoted(text: &str) -> String {
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    one_line.chars().take(QUOTED_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_service_says_becomes_whose_move_it_is() {
        let address = Address::parse("s3://media/p").unwrap();
        let doing = Doing {
            doing: "read",
            key: "k",
            address: &address,
            endpoint: Some("http://store"),
        };
        use ErrorClass::{Config, Dependency, Input, Resource};
        for (status, code, class, expected) in [
            (404, "NoSuchBucket", Config, "bucket_missing"),
            (403, "AccessDenied", Config, "store_access_denied"),
            (403, "", Config, "store_access_denied"),
            (
                403,
                "InvalidAccessKeyId",
                Config,
                "store_credentials_refused",
            ),
            (
                403,
                "SignatureDoesNotMatch",
                Config,
                "store_credentials_refused",
            ),
            (403, "RequestTimeTooSkewed", Config, "store_clock_skew"),
            (301, "PermanentRedirect", Config, "store_wrong_region"),
            (
                400,
                "AuthorizationHeaderMalformed",
                Config,
                "store_wrong_region",
            ),
            (403, "InvalidObjectState", Input, "object_archived"),
            (400, "EntityTooLarge", Input, "object_too_large"),
            (507, "", Resource, "store_full"),
            (503, "SlowDown", Dependency, "store_busy"),
            (429, "", Dependency, "store_busy"),
            (500, "InternalError", Dependency, "store_failed"),
            (400, "InvalidRequest", Config, "store_refused"),
            (400, "RequestTimeout", Dependency, "store_timeout"),
            (408, "", Dependency, "store_timeout"),
            (400, "BadDigest", Dependency, "store_broke_off"),
            (400, "IncompleteBody", Dependency, "store_broke_off"),
            (
                400,
                "XAmzContentSHA256Mismatch",
                Dependency,
                "store_broke_off",
            ),
            (404, "NoSuchUpload", Dependency, "store_broke_off"),
            (409, "OperationAborted", Dependency, "store_busy"),
            (409, "ConditionalRequestConflict", Dependency, "store_busy"),
        ] {
            let answer = Answer {
                status,
                code,
                ..Answer::default()
            };
            let meaning = doing.meaning(&answer);
            assert_eq!(
                (meaning.class, meaning.code),
                (class, expected),
                "{answer:?}"
            );
        }
    }

    #[test]
    fn the_region_of_a_bucket_is_named_where_the_service_tells() {
        let address = Address::parse("s3://media").unwrap();
        let doing = Doing {
            doing: "read",
            key: "k",
            address: &address,
            endpoint: None,
        };
        let answer = Answer {
            status: 301,
            region: Some("eu-west-1"),
            ..Answer::default()
        };
        assert_eq!(
            doing.meaning(&answer).why,
            "the bucket media is in the region eu-west-1; set the region of the store to it"
        );
    }
}
