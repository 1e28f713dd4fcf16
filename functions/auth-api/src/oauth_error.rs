//! Errors of `/oauth/*`, in the form of RFC 6749 §5.2.

use std::fmt::Display;

use axum::Json;
use axum::response::{IntoResponse, Response};
use domain::inspect::CannotTell;
use domain::sign_in::NotGranted;
use domain::upstream::{Refused, UpstreamError};
use http::{HeaderValue, StatusCode, header};
use lambda_kit::caller::{self, Stopped};
use lambda_kit::problem::ProblemDocument;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::{IntoResponses, ToSchema};

/// An error as callers see it (RFC 6749 §5.2).
#[derive(Debug, Serialize, ToSchema)]
pub struct OauthErrorDocument {
    /// The error's code.
    error: &'static str,
    /// What is wrong, in words.
    error_description: &'static str,
}

/// What every call of this kind may answer when something is wrong, for the OpenAPI document.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "describes what the handlers answer")]
pub enum OauthAnswer {
    /// A parameter is missing or wrong, or the grant or token is not good.
    #[response(status = 400)]
    InvalidRequest(OauthErrorDocument),
    /// The client's or the user's authentication failed.
    #[response(status = 401, headers(("WWW-Authenticate" = String, description = "How to authenticate.")))]
    InvalidClient(OauthErrorDocument),
    /// The token is good, but not for this.
    #[response(status = 403, headers(("WWW-Authenticate" = String, description = "RFC 6750 §3.1.")))]
    InsufficientScope(OauthErrorDocument),
    /// The body is too large.
    #[response(status = 413)]
    TooLarge(OauthErrorDocument),
    /// The body is of another type than the call takes.
    #[response(status = 415)]
    UnsupportedMediaType(OauthErrorDocument),
    /// The stage's throttle.
    #[response(status = 429, content_type = "application/problem+json")]
    TooMany(ProblemDocument),
    /// The issuer failed.
    #[response(status = 502)]
    UpstreamFailed(OauthErrorDocument),
    /// Nobody can tell at the moment; treat the token as refused.
    #[response(status = 503, headers(("Retry-After" = u64, description = "Seconds to wait.")))]
    Unavailable(OauthErrorDocument),
    /// The issuer did not answer in time.
    #[response(status = 504)]
    UpstreamTimedOut(OauthErrorDocument),
}

/// An OAuth error.
#[derive(Debug)]
pub enum OauthError {
    /// 400: a parameter is missing or wrong.
    InvalidRequest(&'static str),
    /// 400: the grant or the token to be revoked is not good, or not this client's.
    InvalidGrant(&'static str),
    /// 400: a grant that is not passed on.
    UnsupportedGrantType,
    /// 400: a token that cannot be revoked (RFC 7009 §2.2.1).
    UnsupportedTokenType,
    /// 401: client authentication failed (RFC 6749 §5.2, RFC 7662 §2.3).
    InvalidClient,
    /// 401: no bearer token was sent (RFC 6750 §3).
    NoToken,
    /// 401: the bearer token is not good (RFC 6750 §3.1).
    InvalidToken,
    /// 403: the bearer token has no user (RFC 6750 §3.1).
    InsufficientScope,
    /// 413: the body is too large.
    TooLarge,
    /// 415: the body is of another type than the call takes.
    UnsupportedMediaType(&'static str),
    /// The issuer's own refusal, passed on.
    Refused(Box<Refused>),
    /// 502: the issuer failed.
    UpstreamFailed,
    /// 503: nobody can tell at the moment.
    Unavailable,
    /// 504: the issuer did not answer in time.
    UpstreamTimedOut,
}

impl OauthError {
    /// 503, with the cause in the log.
    pub fn unavailable(cause: &dyn Display) -> Self {
        tracing::error!(%cause, "answered 503");
        Self::Unavailable
    }

    fn parts(&self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::InvalidRequest(description) => (S::BAD_REQUEST, "invalid_request", description),
            Self::InvalidGrant(description) => (S::BAD_REQUEST, "invalid_grant", description),
            Self::UnsupportedGrantType => (
                S::BAD_REQUEST,
                "unsupported_grant_type",
                "Send authorization_code, refresh_token or client_credentials.",
            ),
            Self::UnsupportedTokenType => {
                (S::BAD_REQUEST, "unsupported_token_type", "Access and refresh tokens can be revoked.")
            }
            Self::InvalidClient => (S::UNAUTHORIZED, "invalid_client", "Authenticate as a client that may do this."),
            Self::NoToken => (S::UNAUTHORIZED, "invalid_request", "Send a token as Authorization: Bearer …"),
            Self::InvalidToken => (S::UNAUTHORIZED, "invalid_token", "The token is not valid, or not any more."),
            Self::InsufficientScope => (S::FORBIDDEN, "insufficient_scope", "A service token has no user."),
            Self::TooLarge => (S::PAYLOAD_TOO_LARGE, "invalid_request", "The body is too large."),
            Self::UnsupportedMediaType(wanted) => (S::UNSUPPORTED_MEDIA_TYPE, "invalid_request", wanted),
            // Written by `refusal`.
            Self::Refused(_) | Self::UpstreamFailed => {
                (S::BAD_GATEWAY, "server_error", "The authorization server failed.")
            }
            Self::Unavailable => (
                S::SERVICE_UNAVAILABLE,
                "temporarily_unavailable",
                "Whether the token is good cannot be told at the moment; treat it as refused.",
            ),
            Self::UpstreamTimedOut => {
                (S::GATEWAY_TIMEOUT, "temporarily_unavailable", "The authorization server did not answer in time.")
            }
        }
    }

    fn challenge(&self) -> Option<&'static str> {
        match self {
            Self::NoToken => Some(caller::CHALLENGE),
            Self::InvalidToken => Some(caller::INVALID_TOKEN),
            Self::InsufficientScope => Some(r#"Bearer error="insufficient_scope""#),
            Self::InvalidClient => Some(r#"Basic realm="oauth", charset="UTF-8""#),
            Self::Refused(refused) if refused.status == 401 => Some(r#"Basic realm="oauth", charset="UTF-8""#),
            _ => None,
        }
    }
}

impl From<UpstreamError> for OauthError {
    fn from(error: UpstreamError) -> Self {
        match error {
            UpstreamError::Refused(refused) => Self::Refused(Box::new(refused)),
            UpstreamError::TimedOut(cause) => {
                tracing::error!(cause, "answered 504");
                Self::UpstreamTimedOut
            }
            UpstreamError::Failed(_) | UpstreamError::NotOffered(_) => {
                tracing::error!(cause = %error, "answered 502");
                Self::UpstreamFailed
            }
        }
    }
}

impl From<CannotTell> for OauthError {
    fn from(error: CannotTell) -> Self {
        Self::unavailable(&error)
    }
}

impl From<NotGranted> for OauthError {
    fn from(error: NotGranted) -> Self {
        match error {
            NotGranted::InvalidGrant(why) => Self::InvalidGrant(why),
            NotGranted::Upstream(error) => error.into(),
            NotGranted::CannotTell(error) => error.into(),
        }
    }
}

impl From<Stopped> for OauthError {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::NoToken => Self::NoToken,
            Stopped::Invalid => Self::InvalidToken,
            Stopped::CannotTell(error) => error.into(),
        }
    }
}

/// The issuer's refusal in the issuer's words, as far as they are those of RFC 6749 §5.2.
fn refusal(refused: &Refused) -> (StatusCode, Value) {
    let status = StatusCode::from_u16(refused.status).unwrap_or(StatusCode::BAD_REQUEST);
    let known = |name: &&str| refused.body.get(*name).is_some_and(Value::is_string);
    let words = ["error", "error_description", "error_uri"].into_iter().filter(known);
    let mut body: Map<String, Value> = words.map(|name| (name.to_owned(), refused.body[name].clone())).collect();
    body.entry("error").or_insert_with(|| json!("invalid_request"));
    (status, Value::Object(body))
}

impl IntoResponse for OauthError {
    fn into_response(self) -> Response {
        let (status, error, error_description) = self.parts();
        let mut response = match &self {
            Self::Refused(refused) => {
                let (status, body) = refusal(refused);
                (status, Json(body)).into_response()
            }
            _ => (status, Json(OauthErrorDocument { error, error_description })).into_response(),
        };
        let headers = response.headers_mut();
        if let Some(challenge) = self.challenge() {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if matches!(self, Self::Unavailable) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}
