//! The AWS SDK, configured once: region, retries and time-outs.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use domain::error::PortError;

/// The SDK has no operation time-out by default: without one a lost packet would hold a request until the function
/// itself is ended.
fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(2))
        .operation_attempt_timeout(Duration::from_secs(5))
        .operation_timeout(Duration::from_secs(15))
        .build()
}

/// Loads the configuration that every client of a function shares.
pub async fn config() -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .timeout_config(timeouts())
        .retry_config(RetryConfig::standard().with_max_attempts(4))
        .load()
        .await
}

/// [`config`] for a worker that writes as fast as it can: what a partition refuses makes it slower, and does not make it fail.
/// A message that failed would not come again before its visibility time-out.
pub fn patient(config: &SdkConfig) -> SdkConfig {
    let retries = RetryConfig::adaptive()
        .with_max_attempts(10)
        .with_initial_backoff(Duration::from_millis(100))
        .with_max_backoff(Duration::from_secs(2));
    config.to_builder().retry_config(retries).build()
}

/// [`config`] for a function that must be small and start fast: region and credentials as Lambda puts them into the
/// environment. Files, other services and roles to assume are neither looked for nor linked.
pub fn environment(region: String, endpoint_url: Option<String>) -> SdkConfig {
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region))
        .credentials_provider(SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new()))
        .timeout_config(timeouts())
        .retry_config(RetryConfig::standard().with_max_attempts(4));
    config.set_endpoint_url(endpoint_url);
    config.build()
}

/// [`config`] for a local stack: its address and its made-up credentials.
pub async fn local(endpoint: &str, region: &str, key_id: &str, secret: &str) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new(region.to_owned()))
        .credentials_provider(Credentials::new(key_id, secret, None, None, "local stack"))
        .retry_config(RetryConfig::standard().with_max_attempts(5))
        .load()
        .await
}

/// What a service answered in the negative, or that it did not answer.
pub(crate) fn failed<E, R>(service: &'static str, error: SdkError<E, R>) -> PortError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    let cause = match (error.code(), error.message()) {
        (Some(code), message) => format!("{code}: {}", message.unwrap_or_default()),
        (None, _) => DisplayErrorContext(&error).to_string(),
    };
    PortError::Unavailable { service, cause }
}
