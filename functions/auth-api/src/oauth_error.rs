//! Errors of `/oauth/*`, in the form of RFC 6749 §5.2.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use lambda_kit::problem::ProblemDocument;
use serde::Serialize;
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
    /// A parameter is missing or wrong.
    #[response(status = 400)]
    InvalidRequest(OauthErrorDocument),
    /// Client authentication failed.
    #[response(status = 401, headers(("WWW-Authenticate" = String, description = "How to authenticate.")))]
    InvalidClient(OauthErrorDocument),
    /// The body is too large.
    #[response(status = 413)]
    TooLarge(OauthErrorDocument),
    /// The body is of another type than the call takes.
    #[response(status = 415)]
    UnsupportedMediaType(OauthErrorDocument),
    /// The stage's throttle.
    #[response(status = 429, content_type = "application/problem+json")]
    TooMany(ProblemDocument),
    /// Nobody can tell at the moment; treat the token as refused.
    #[response(status = 503, headers(("Retry-After" = u64, description = "Seconds to wait.")))]
    Unavailable(OauthErrorDocument),
}

/// An OAuth error.
#[derive(Debug)]
pub enum OauthError {
    /// 400: a parameter is missing or wrong.
    InvalidRequest(&'static str),
    /// 401: client authentication failed (RFC 6749 §5.2, RFC 7662 §2.3).
    InvalidClient,
    /// 413: the body is too large.
    TooLarge,
    /// 415: the body is of another type than the call takes.
    UnsupportedMediaType(&'static str),
    /// 503: nobody can tell at the moment.
    Unavailable,
}

impl OauthError {
    /// 503, with the cause in the log.
    pub fn unavailable(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(%cause, "answered 503");
        Self::Unavailable
    }
}

impl IntoResponse for OauthError {
    fn into_response(self) -> Response {
        let (status, code, description) = match self {
            Self::InvalidRequest(description) => (StatusCode::BAD_REQUEST, "invalid_request", description),
            Self::InvalidClient => {
                (StatusCode::UNAUTHORIZED, "invalid_client", "Authenticate as a client that may ask about tokens.")
            }
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "invalid_request", "The body is too large."),
            Self::UnsupportedMediaType(wanted) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request", wanted),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "temporarily_unavailable",
                "Whether the token is good cannot be told at the moment; treat it as refused.",
            ),
        };
        let body = OauthErrorDocument { error: code, error_description: description };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(r#"Basic realm="oauth", charset="UTF-8""#));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}
