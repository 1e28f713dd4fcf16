//! IAM authentication to ElastiCache: the password is a presigned `connect` request, valid for 15 minutes.
//!
//! Source: "Authenticating with IAM", Amazon ElastiCache user guide.

use std::pin::Pin;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4;
use domain::error::PortError;
use domain::ports::PortResult;
use futures::{Stream, StreamExt as _, stream};
use redis::{BasicAuth, RedisResult, StreamingCredentialsProvider};

/// How long a password is valid.
const VALID: Duration = Duration::from_mins(15);
/// After this long a connection gets a new one.
const REFRESH: Duration = Duration::from_mins(10);

/// Signs passwords for one user of one cache.
#[derive(Clone)]
pub struct IamAuth {
    user: String,
    cache: String,
    region: String,
    credentials: SharedCredentialsProvider,
    clock: std::sync::Arc<dyn domain::time::Clock>,
}

impl std::fmt::Debug for IamAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IamAuth({}@{})", self.user, self.cache)
    }
}

impl IamAuth {
    /// Takes region and credentials from the SDK's configuration.
    pub fn new(
        config: &SdkConfig,
        user: String,
        cache: String,
        clock: std::sync::Arc<dyn domain::time::Clock>,
    ) -> PortResult<Self> {
        let missing = |what: &str| PortError::Unavailable { service: "IAM", cause: format!("no {what} configured") };
        let region = config.region().ok_or_else(|| missing("region"))?.to_string();
        let credentials = config.credentials_provider().ok_or_else(|| missing("credentials"))?;
        Ok(Self { user, cache, region, credentials, clock })
    }

    async fn password(&self) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        let identity = self.credentials.provide_credentials().await?.into();
        let mut settings = SigningSettings::default();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(VALID);
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("elasticache")
            .time(self.clock.now().into())
            .settings(settings)
            .build()?
            .into();
        let url = format!("http://{}/?Action=connect&User={}", self.cache, self.user);
        let request = SignableRequest::new("GET", &url, std::iter::empty(), SignableBody::Bytes(&[]))?;
        let (instructions, _) = sign(request, &params)?.into_parts();
        let mut signed = http::Request::get(&url).body(())?;
        instructions.apply_to_request_http1x(&mut signed);
        // The password is the URL without its scheme.
        Ok(signed.uri().to_string().trim_start_matches("http://").to_owned())
    }

    async fn auth(&self) -> RedisResult<BasicAuth> {
        match self.password().await {
            Ok(password) => Ok(BasicAuth::new(self.user.clone(), password)),
            Err(error) => Err((redis::ErrorKind::AuthenticationFailed, "no IAM password", error.to_string()).into()),
        }
    }
}

impl StreamingCredentialsProvider for IamAuth {
    fn subscribe(&self) -> Pin<Box<dyn Stream<Item = RedisResult<BasicAuth>> + Send + 'static>> {
        let provider = self.clone();
        let first = stream::once({
            let provider = provider.clone();
            async move { provider.auth().await }
        });
        let later = stream::unfold(provider, |provider| async move {
            tokio::time::sleep(REFRESH).await;
            Some((provider.auth().await, provider))
        });
        first.chain(later).boxed()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use aws_credential_types::Credentials;
    use domain::time::SystemClock;

    #[tokio::test]
    async fn a_password_is_a_presigned_connect_request_without_its_scheme() {
        let auth = IamAuth {
            user: "batch-logout".to_owned(),
            cache: "denylist".to_owned(),
            region: "eu-west-1".to_owned(),
            credentials: SharedCredentialsProvider::new(Credentials::for_tests()),
            clock: std::sync::Arc::new(SystemClock),
        };
        let password = auth.password().await.unwrap();
        assert!(password.starts_with("denylist/?Action=connect&User=batch-logout&"), "{password}");
        for part in ["X-Amz-Expires=900", "eu-west-1%2Felasticache%2Faws4_request", "X-Amz-Signature="] {
            assert!(password.contains(part), "{part} is missing in {password}");
        }
    }
}
