//! What is known of an account: its settings, from its enrolment file.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::accept::FieldError;
use crate::ids::{ClientId, UserId};

/// Azure AD, unless an enrolment names another authority.
pub const AZURE_AUTHORITY: &str = "https://login.microsoftonline.com";

/// Where an account signs in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Provider {
    /// Azure AD, v2.0 endpoints.
    AzureAd {
        /// The tenant: its id or one of its domains.
        tenant: String,
        /// The address before the tenant.
        authority: String,
    },
    /// An OpenID Connect server.
    Oidc {
        /// Its name, which is also where its discovery document is.
        issuer: String,
        /// Where users sign in, if not the discovery document is to say so.
        authorization_endpoint: Option<String>,
        /// The token endpoint, if not the discovery document is to say so.
        token_endpoint: Option<String>,
    },
}

/// Where a client's secret is kept. The secret itself is in no file, table or log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SecretRef {
    /// A parameter of Systems Manager, by its path.
    Ssm(String),
    /// A secret of Secrets Manager, by its name or ARN.
    SecretsManager(String),
}

/// A text that refers to no secret. It may be one itself, so that it is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must say where the secret is kept, as ssm:/path or secretsmanager:name-or-arn; the secret itself does not belong here"
)]
pub struct NoReference;

impl TryFrom<String> for SecretRef {
    type Error = NoReference;

    fn try_from(text: String) -> Result<Self, NoReference> {
        let is_name = |name: &str| {
            (1..=1_024).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_+=.@:-".contains(&byte))
        };
        match text.split_once(':') {
            Some(("ssm", path)) if path.len() > 1 && path.starts_with('/') && is_name(path) => {
                Ok(Self::Ssm(path.to_owned()))
            }
            Some(("secretsmanager", name)) if is_name(name) => Ok(Self::SecretsManager(name.to_owned())),
            _ => Err(NoReference),
        }
    }
}

impl From<SecretRef> for String {
    fn from(reference: SecretRef) -> Self {
        reference.to_string()
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ssm(path) => write!(f, "ssm:{path}"),
            Self::SecretsManager(name) => write!(f, "secretsmanager:{name}"),
        }
    }
}

/// An account's settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Whose: the user whose logouts reach its tokens.
    pub user: UserId,
    /// The name people know it by.
    pub name: Option<String>,
    /// Who has to sign in at the provider, as the provider calls them. Somebody else's sign-in is refused.
    pub sign_in_name: Option<String>,
    /// Whether it may sign in and be refreshed.
    pub active: bool,
    /// Where it signs in.
    pub provider: Provider,
    /// As which client.
    pub client: ClientId,
    /// Where that client's secret is kept; public clients have none.
    pub secret: Option<SecretRef>,
    /// Our callback, exactly as it is registered at the provider.
    pub redirect_uri: String,
    /// The scopes that are asked for.
    pub scopes: Vec<String>,
}

/// Whether tokens may go there: over TLS, or within this machine.
fn is_safe_address(url: &str) -> bool {
    let host = |rest: &str| rest.split(['/', '?', '#']).next().unwrap_or_default().to_owned();
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) || url.contains(['#', '@']) {
        return false;
    }
    if let Some(rest) = url.strip_prefix("https://") {
        return !host(rest).is_empty();
    }
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let host = host(rest);
    let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

/// A token of RFC 6749 §3.3.
fn is_scope(scope: &str) -> bool {
    !scope.is_empty() && scope.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E))
}

impl Account {
    /// What is wrong with the settings, by field as an enrolment file names it.
    pub fn check(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut wrong = |field: &str, detail: &str| {
            errors.push(FieldError { pointer: format!("/oauth/{field}"), detail: detail.to_owned() });
        };
        let address = "must be an https address (http for this machine only), without user or fragment";
        match &self.provider {
            Provider::AzureAd { tenant, authority } => {
                let is_tenant = !tenant.is_empty()
                    && tenant.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
                if !is_tenant {
                    wrong("tenant", "must be the tenant's id or domain, such as contoso.onmicrosoft.com");
                }
                if !is_safe_address(authority) {
                    wrong("authority", address);
                }
            }
            Provider::Oidc { issuer, authorization_endpoint, token_endpoint } => {
                if !is_safe_address(issuer) {
                    wrong("issuer", address);
                }
                if authorization_endpoint.as_deref().is_some_and(|url| !is_safe_address(url)) {
                    wrong("authorization_endpoint", address);
                }
                if token_endpoint.as_deref().is_some_and(|url| !is_safe_address(url)) {
                    wrong("token_endpoint", address);
                }
            }
        }
        if !is_safe_address(&self.redirect_uri) || self.redirect_uri.contains('?') {
            wrong(
                "redirect_uri",
                "must be the https address of the callback (http for this machine only), without a query",
            );
        }
        if self.scopes.is_empty() || !self.scopes.iter().all(|scope| is_scope(scope)) {
            wrong("delegated_permissions", "must be a list of scopes without spaces, such as Mail.Send");
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn account_a_secret_is_named_by_where_it_is_kept_and_anything_else_is_refused_without_being_repeated() {
        for good in [
            "ssm:/batch-logout/accounts/mail",
            "secretsmanager:batch-logout/accounts/mail",
            "secretsmanager:arn:aws:secretsmanager:us-east-1:123456789012:secret:mail-AbCdEf",
        ] {
            let reference = SecretRef::try_from(good.to_owned()).unwrap();
            assert_eq!(reference.to_string(), good);
        }
        for bad in
            ["", "hush", "ssm:", "ssm:/", "ssm:hush", "secretsmanager:", "secretsmanager:hush hush", "vault:hush"]
        {
            let error = SecretRef::try_from(bad.to_owned()).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hush"), "{bad}");
        }
    }

    #[test]
    fn account_each_wrong_setting_is_named_by_its_field_and_no_other() {
        let user = UserId::parse("mail").unwrap();
        let good = crate::testing::account(&user, "https://login.example.com");
        assert_eq!(good.check(), vec![]);
        let azure = |tenant: &str, authority: &str| Provider::AzureAd {
            tenant: tenant.to_owned(),
            authority: authority.to_owned(),
        };
        let oidc = |issuer: &str, authorization: &str, token: &str| Provider::Oidc {
            issuer: issuer.to_owned(),
            authorization_endpoint: Some(authorization.to_owned()),
            token_endpoint: Some(token.to_owned()),
        };
        let (tls, plain) = ("https://login.example.com", "http://login.example.com");
        let at = |provider: Provider| Account { provider, ..good.clone() };
        assert_eq!(at(azure("contoso.onmicrosoft.com", AZURE_AUTHORITY)).check(), vec![]);
        let wrong = [
            (at(azure("", AZURE_AUTHORITY)), "tenant"),
            (at(azure("contoso/../other", AZURE_AUTHORITY)), "tenant"),
            (at(azure("contoso", plain)), "authority"),
            (at(oidc(plain, tls, tls)), "issuer"),
            (at(oidc(tls, plain, tls)), "authorization_endpoint"),
            (at(oidc(tls, tls, plain)), "token_endpoint"),
            (Account { redirect_uri: plain.to_owned(), ..good.clone() }, "redirect_uri"),
            (Account { redirect_uri: format!("{tls}/callback?x=y"), ..good.clone() }, "redirect_uri"),
            (Account { scopes: vec![], ..good.clone() }, "delegated_permissions"),
            (Account { scopes: vec!["two words".to_owned()], ..good.clone() }, "delegated_permissions"),
        ];
        for (account, field) in wrong {
            let pointers: Vec<String> = account.check().into_iter().map(|error| error.pointer).collect();
            assert_eq!(pointers, [format!("/oauth/{field}")], "{account:?}");
        }
    }

    #[test]
    fn account_tokens_go_over_tls_or_stay_on_this_machine() {
        for good in
            ["https://login.example.com", "https://a.example:8443/x", "http://127.0.0.1:80/", "http://localhost/x"]
        {
            assert!(is_safe_address(good), "{good}");
        }
        for bad in [
            "http://login.example.com",
            "https://",
            "ftp://x",
            "login.example.com",
            "http://localhost.example.com/",
            "https://user@host/",
            "https://host/#x",
            "https://host/ x",
        ] {
            assert!(!is_safe_address(bad), "{bad}");
        }
    }
}
