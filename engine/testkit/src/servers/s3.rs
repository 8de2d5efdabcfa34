use aws_config::BehaviorVersion;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Config, Credentials, Region, RequestChecksumCalculation};
use aws_smithy_http_client::tls;
use telecine_engine::id::RunId;
use tokio::sync::OnceCell;

/// Where `./x test` says that its S3 server is.
const ENDPOINT: &str = "TELECINE_TEST_S3_ENDPOINT";
/// Whose requests they are; for a server that somebody else started.
const ACCESS_KEY: &str = "TELECINE_TEST_S3_ACCESS_KEY";
/// Its secret.
const SECRET_KEY: &str = "TELECINE_TEST_S3_SECRET_KEY";

/// The bucket that tests work in. It is made if it is missing; a throw-away server takes it along.
pub const S3_BUCKET: &str = "telecine-test";

/// A place in the test bucket that nothing else uses.
#[derive(Debug, Clone)]
pub struct S3Place {
    prefix: String,
}

impl S3Place {
    /// Makes one.
    ///
    /// # Panics
    /// If there is no server.
    pub async fn create() -> Self {
        static MADE: OnceCell<()> = OnceCell::const_new();
        MADE.get_or_init(make_bucket).await;
        Self {
            // Unique, and sorts by time.
            prefix: RunId::generate().as_str().to_owned(),
        }
    }

    /// Address of the server.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn endpoint(&self) -> String {
        endpoint()
    }

    /// Who may read and write there.
    #[must_use]
    pub fn access_key(&self) -> String {
        credential(ACCESS_KEY)
    }

    /// The secret of the access key.
    #[must_use]
    pub fn secret_key(&self) -> String {
        credential(SECRET_KEY)
    }

    /// What names of objects begin with, without a `/` at its end.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Address of a store there.
    #[must_use]
    pub fn url(&self) -> String {
        format!("s3://{S3_BUCKET}/{}", self.prefix)
    }

    /// A client that does things behind a store's back.
    #[must_use]
    pub fn client(&self) -> Client {
        client()
    }
}

/// The key and the secret of the server that `./x test` starts are the same word.
fn credential(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| "telecine".to_owned())
}

fn endpoint() -> String {
    std::env::var(ENDPOINT).unwrap_or_else(|_| {
        panic!("{ENDPOINT} is not set: run ./x test, which starts a throw-away server, or name one")
    })
}

fn client() -> Client {
    let (access, secret) = (credential(ACCESS_KEY), credential(SECRET_KEY));
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(
            tls::rustls_provider::CryptoMode::Ring,
        ))
        .build_https();
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(Credentials::new(access, secret, None, None, "tests"))
        .endpoint_url(endpoint())
        .region(Region::from_static("us-east-1"))
        .force_path_style(true)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .http_client(http);
    Client::from_conf(config.build())
}

async fn make_bucket() {
    let created = client().create_bucket().bucket(S3_BUCKET).send().await;
    if let Err(error) = created {
        let error = error.into_service_error();
        let is_there = error.is_bucket_already_exists() || error.is_bucket_already_owned_by_you();
        assert!(
            is_there,
            "the bucket of the tests cannot be made: {error:?}"
        );
    }
}
