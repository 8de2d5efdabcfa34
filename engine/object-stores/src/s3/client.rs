use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Builder, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::tls;

use super::options::S3Options;

/// How often one request is sent at most. With the pauses between them that bridges some ten seconds;
/// what takes longer is an attempt of a step that failed, and the engine's to try again.
pub(super) const ATTEMPTS: u32 = 5;
/// The first pause is up to this long, each further one up to twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a connection may take. Services answer within a round trip.
const CONNECT: Duration = Duration::from_secs(5);
/// How long the beginning of an answer may take after the request was begun to be sent. Bodies, which
/// may take for ever, are not under it but for parts, see [`upload_timeouts`].
const ANSWER: Duration = Duration::from_secs(30);
/// How long the beginning of an answer to a body of some megabytes may take: at 14 kB a second, one of
/// eight megabytes is through.
const UPLOAD_ANSWER: Duration = Duration::from_secs(600);
/// How long a body may stand still, up or down.
const STALL: Duration = Duration::from_secs(20);
/// What the environment says when it says nothing. Services other than AWS take any.
const REGION: &str = "us-east-1";

/// A client with these settings. Nothing is sent to the service; the files and the environment of AWS
/// may be looked at, and on a machine of AWS its metadata, for what the settings leave open.
pub(super) async fn connect(options: &S3Options) -> Client {
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http_client());
    let unasked = options.endpoint.as_ref().map(|_| REGION);
    if let Some(region) = options.region.as_deref().or(unasked) {
        loader = loader.region(Region::new(region.to_owned()));
    }
    if let Some(keys) = &options.credentials {
        let (access, secret) = (keys.access_key.as_str(), keys.secret_key.as_str());
        loader =
            loader.credentials_provider(Credentials::new(access, secret, None, None, "settings"));
    }
    let found = loader.load().await;
    let region = found.region().cloned();
    let region = region.unwrap_or(Region::from_static(REGION));
    let builder = with_limits(Builder::from(&found).region(region));
    Client::from_conf(match &options.endpoint {
        Some(endpoint) => other_service(builder, endpoint).build(),
        None => builder.build(),
    })
}

/// Checksums that nobody asked for break several services: they are sent as trailers.
fn other_service(builder: Builder, endpoint: &str) -> Builder {
    builder
        .endpoint_url(endpoint)
        .force_path_style(true)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
}

fn with_limits(builder: Builder) -> Builder {
    let retries = RetryConfig::standard()
        .with_max_attempts(ATTEMPTS)
        .with_initial_backoff(FIRST_PAUSE)
        .with_max_backoff(LONGEST_PAUSE);
    let stalls = StalledStreamProtectionConfig::enabled().grace_period(STALL);
    builder
        .retry_config(retries)
        .stalled_stream_protection(stalls.build())
        .timeout_config(timeouts(ANSWER))
}

/// Settings for requests that carry megabytes.
pub(super) fn upload_timeouts() -> Builder {
    Builder::new().timeout_config(timeouts(UPLOAD_ANSWER))
}

fn timeouts(answer: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .read_timeout(answer)
        .build()
}

fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(
            tls::rustls_provider::CryptoMode::Ring,
        ))
        .build_https()
}
