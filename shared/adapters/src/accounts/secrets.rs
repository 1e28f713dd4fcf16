//! Clients' secrets, from Systems Manager's parameters or Secrets Manager. None is kept here: one that was replaced is
//! not used any more.

use async_trait::async_trait;
use aws_config::SdkConfig;
use domain::accounts::SecretRef;
use domain::accounts::ports::{ClientSecret, SecretStore};
use domain::error::PortError;
use domain::ports::PortResult;

/// Where clients' secrets are kept. It never prints one.
#[derive(Debug, Clone)]
pub struct AwsSecrets {
    parameters: aws_sdk_ssm::Client,
    secrets: aws_sdk_secretsmanager::Client,
}

/// Not there, or not for us: which of the two AWS does not always say.
const NOT_OURS: [&str; 5] = [
    "ResourceNotFoundException",
    "ParameterNotFound",
    "ParameterVersionNotFound",
    "AccessDeniedException",
    "AccessDenied",
];

fn judged<T>(service: &'static str, reference: &SecretRef, code: Option<&str>, cause: String) -> PortResult<Option<T>> {
    if code.is_some_and(|code| NOT_OURS.contains(&code)) {
        tracing::warn!(%reference, code, "a client's secret cannot be read");
        return Ok(None);
    }
    Err(PortError::Unavailable { service, cause })
}

impl AwsSecrets {
    /// Builds the clients once, before the first event.
    pub fn new(config: &SdkConfig) -> Self {
        Self { parameters: aws_sdk_ssm::Client::new(config), secrets: aws_sdk_secretsmanager::Client::new(config) }
    }

    async fn parameter(&self, reference: &SecretRef, path: &str) -> PortResult<Option<String>> {
        use aws_sdk_ssm::error::{DisplayErrorContext, ProvideErrorMetadata as _};
        match self.parameters.get_parameter().name(path).with_decryption(true).send().await {
            Ok(answer) => Ok(answer.parameter.and_then(|parameter| parameter.value)),
            Err(error) => {
                let cause = DisplayErrorContext(&error).to_string();
                judged("Systems Manager", reference, error.code(), cause)
            }
        }
    }

    async fn secret_value(&self, reference: &SecretRef, name: &str) -> PortResult<Option<String>> {
        use aws_sdk_secretsmanager::error::{DisplayErrorContext, ProvideErrorMetadata as _};
        match self.secrets.get_secret_value().secret_id(name).send().await {
            Ok(answer) => Ok(answer.secret_string),
            Err(error) => {
                let cause = DisplayErrorContext(&error).to_string();
                judged("Secrets Manager", reference, error.code(), cause)
            }
        }
    }
}

#[async_trait]
impl SecretStore for AwsSecrets {
    async fn secret(&self, reference: &SecretRef) -> PortResult<Option<ClientSecret>> {
        let text = match reference {
            SecretRef::Ssm(path) => self.parameter(reference, path).await?,
            SecretRef::SecretsManager(name) => self.secret_value(reference, name).await?,
        };
        Ok(text.filter(|text| !text.is_empty()).map(ClientSecret::new))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use serde_json::json;

    use super::*;
    use crate::serving::{Asked, Reply, Serving};

    async fn secrets(server: &Serving) -> AwsSecrets {
        AwsSecrets::new(&crate::aws::local(&server.url(""), "us-east-1", "test", "test").await)
    }

    fn reference(text: &str) -> SecretRef {
        SecretRef::try_from(text.to_owned()).unwrap()
    }

    /// AWS, with one parameter and one secret.
    fn aws(asked: &Asked) -> Reply {
        let body: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
        match (asked.header("x-amz-target").unwrap(), body["Name"].as_str().or(body["SecretId"].as_str()).unwrap()) {
            ("AmazonSSM.GetParameter", "/mail/secret") => {
                assert_eq!(body["WithDecryption"], true);
                Reply::Answer(200, json!({ "Parameter": { "Value": "first-secret" } }).to_string())
            }
            ("AmazonSSM.GetParameter", _) => Reply::Answer(400, json!({ "__type": "ParameterNotFound" }).to_string()),
            ("secretsmanager.GetSecretValue", "mail") => {
                Reply::Answer(200, json!({ "SecretString": "second-secret" }).to_string())
            }
            ("secretsmanager.GetSecretValue", "empty") => Reply::Answer(200, json!({ "SecretString": "" }).to_string()),
            ("secretsmanager.GetSecretValue", "sealed") => {
                Reply::Answer(400, json!({ "__type": "AccessDeniedException" }).to_string())
            }
            ("secretsmanager.GetSecretValue", "gone") => {
                Reply::Answer(400, json!({ "__type": "ResourceNotFoundException" }).to_string())
            }
            _ => Reply::Answer(400, json!({ "__type": "InvalidRequestException" }).to_string()),
        }
    }

    #[tokio::test]
    async fn account_secrets_come_from_where_the_enrolment_says() {
        let server = Serving::start(aws).await;
        let secrets = secrets(&server).await;
        for (text, wanted) in [
            ("ssm:/mail/secret", Some("first-secret")),
            ("secretsmanager:mail", Some("second-secret")),
            ("ssm:/mail/gone", None),
            ("secretsmanager:gone", None),
            ("secretsmanager:sealed", None),
            ("secretsmanager:empty", None),
        ] {
            let secret = secrets.secret(&reference(text)).await.unwrap();
            assert_eq!(secret.as_ref().map(ClientSecret::reveal), wanted, "{text}");
            assert!(!format!("{secret:?}").contains(wanted.unwrap_or("secret\"")));
        }
        let error = secrets.secret(&reference("secretsmanager:broken")).await.unwrap_err();
        assert!(matches!(error, PortError::Unavailable { .. }), "{error}");
    }
}
