//! The issuer as the proxy sees it: its token endpoint, its revocation endpoint, and those who vouch for tokens.
//!
//! How to add another that vouches for tokens: implement [`Authority`] in `adapters::upstream`, and name it in
//! [`VerificationSource`] and in the function's configuration.

use std::fmt;

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::identity::{Profile, VerificationSource};
use crate::ids::{RawToken, UserId};

/// Why the issuer did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum UpstreamError {
    /// No answer in time. What was asked may have happened.
    #[error("the issuer did not answer in time: {0}")]
    TimedOut(String),
    /// No connection, an answer that makes no sense, a 5xx, or too many failures just before (`[OAUTH-3]`).
    #[error("the issuer failed: {0}")]
    Failed(String),
    /// It said no, in its own words.
    #[error("the issuer refused with status {}", .0.status)]
    Refused(Refused),
    /// The issuer has no such endpoint.
    #[error("the issuer has no {0}")]
    NotOffered(&'static str),
}

/// An explicit refusal (RFC 6749 §5.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// 400, 401, 403, …
    pub status: u16,
    /// The error's members, empty if the body was not a JSON object. Never a token: issuers send none with a refusal.
    pub body: Map<String, Value>,
}

/// A form that is passed on to the issuer as the client sent it. Its `Debug` form names the fields only.
#[derive(Clone, Default)]
pub struct Form {
    /// Names and values, in the order they came.
    pub fields: Vec<(String, String)>,
    /// The client's `Authorization` header, if it sent one.
    pub authorization: Option<String>,
}

impl Form {
    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.fields.iter().map(|(name, _)| name)).finish()
    }
}

/// What the token endpoint answered (RFC 6749 §5.1). Its `Debug` form names the members only.
#[derive(Clone)]
pub struct Issued {
    /// All members, to be passed on.
    pub body: Map<String, Value>,
}

impl Issued {
    fn token(&self, name: &str) -> Option<RawToken> {
        self.body.get(name).and_then(Value::as_str).filter(|token| !token.is_empty()).map(RawToken::new)
    }

    /// The access token.
    pub fn access_token(&self) -> Option<RawToken> {
        self.token("access_token")
    }

    /// The refresh token, if one was issued.
    pub fn refresh_token(&self) -> Option<RawToken> {
        self.token("refresh_token")
    }

    /// The ID token (OpenID Connect Core §3.1.3.3), if one was issued.
    pub fn id_token(&self) -> Option<RawToken> {
        self.token("id_token")
    }

    /// Seconds until the access token expires, if said.
    pub fn expires_in(&self) -> Option<i64> {
        self.body.get("expires_in").and_then(Value::as_i64).filter(|seconds| *seconds > 0)
    }

    /// The granted scopes, if said.
    pub fn scope(&self) -> Option<&str> {
        self.body.get("scope").and_then(Value::as_str)
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.body.keys()).finish()
    }
}

/// The issuer. Each method has a time limit of its own; they are such that all work of one request fits in 20 s.
#[async_trait]
pub trait Upstream: Send + Sync {
    /// Where users are sent to sign in.
    async fn authorization_endpoint(&self) -> Result<String, UpstreamError>;
    /// Passes a grant on to the token endpoint. Never tried twice: a code or a rotated refresh token is good once.
    async fn token(&self, grant: &Form) -> Result<Issued, UpstreamError>;
    /// Ends a token at the issuer (RFC 7009), as the client whose credentials are in the form. Tried again at most once.
    async fn revoke(&self, form: &Form) -> Result<(), UpstreamError>;
    /// Whether the issuer answers at all, for `/health`.
    async fn reachable(&self) -> Result<(), UpstreamError>;
}

/// Somebody at the issuer who says whether an access token is good (`[CHECK-1]`). "Good" may be remembered for up to
/// 60 s per token (`[CHECK-5]`); a refusal and a failure are not.
#[async_trait]
pub trait Authority: Send + Sync {
    /// Who this is.
    fn source(&self) -> VerificationSource;
    /// The user of a token that is good. [`UpstreamError::Refused`] is final; anything else is silence.
    async fn vouch(&self, token: &RawToken) -> Result<(UserId, Profile), UpstreamError>;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_code_secret_or_token_shows_in_a_log() {
        let fields = vec![("code".to_owned(), "XYZZY".to_owned()), ("client_secret".to_owned(), "XYZZY".to_owned())];
        let form = Form { fields, authorization: Some("Basic XYZZY".to_owned()) };
        assert_eq!(format!("{form:?}"), r#"["code", "client_secret"]"#);
        let issued = Issued { body: json!({ "access_token": "XYZZY" }).as_object().cloned().unwrap_or_default() };
        assert_eq!(format!("{issued:?}"), r#"{"access_token"}"#);
    }

    #[test]
    fn oauth_3_what_an_issuer_leaves_out_or_sends_empty_is_not_there() {
        let issued = |body: Value| Issued { body: body.as_object().cloned().unwrap_or_default() };
        let full = issued(json!({ "access_token": "a", "refresh_token": "r", "id_token": "i", "expires_in": 60 }));
        assert!(full.access_token().is_some() && full.refresh_token().is_some() && full.id_token().is_some());
        assert_eq!(full.expires_in(), Some(60));
        for body in
            [json!({}), json!({ "access_token": "", "expires_in": 0 }), json!({ "access_token": 1, "expires_in": -1 })]
        {
            let empty = issued(body);
            assert!(empty.access_token().is_none() && empty.expires_in().is_none(), "{:?}", empty.body);
        }
    }
}
