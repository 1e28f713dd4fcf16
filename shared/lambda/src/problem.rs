//! Problems as RFC 9457 has them: one type, one place that writes them (`[API-8]`).

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use domain::rate::Standing;
use http::{HeaderValue, StatusCode, header};
use problem_details::ProblemDetails;
use serde::Serialize;
use utoipa::ToSchema;

use crate::rate_headers;

/// One wrong field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) to it.
    pub pointer: String,
    /// What is wrong with it.
    pub detail: String,
}

/// A problem as callers see it (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub struct ProblemDocument {
    /// Names the kind of problem, relative to the API.
    #[serde(rename = "type")]
    kind: String,
    /// The kind in words.
    title: String,
    /// The status of the answer.
    status: u16,
    /// What happened, and what to do about it.
    detail: String,
    /// The id under which the request is found in the logs.
    request_id: String,
    /// The wrong fields, where there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<FieldError>,
}

/// What a caller is told when something does not go as asked. Never internal text, tokens or keys: causes go to the log.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    /// The last part of the problem's type, a reference relative to the API (RFC 9457 §3.1.1).
    slug: &'static str,
    title: &'static str,
    detail: String,
    errors: Vec<FieldError>,
    retry_after: Option<u32>,
    standing: Option<Box<Standing>>,
    authenticate: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Extensions {
    request_id: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
}

impl Problem {
    fn new(status: StatusCode, slug: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { status, slug, title, detail, errors: vec![], retry_after: None, standing: None, authenticate: None }
    }

    /// 400: the request cannot be read.
    pub fn malformed(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let errors = vec![FieldError { pointer: pointer.into(), detail: detail.clone() }];
        Self { errors, ..Self::new(StatusCode::BAD_REQUEST, "malformed", "The request cannot be read", detail) }
    }

    /// 400: a large job was not confirmed.
    pub fn unconfirmed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "unconfirmed", "The job must be confirmed", detail)
    }

    /// 401: no token, or one that is not good. RFC 6750 §3 asks for the challenge.
    pub fn unauthenticated(detail: impl Into<String>, challenge: &'static str) -> Self {
        let problem = Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "Authentication is required", detail);
        Self { authenticate: Some(challenge), ..problem }
    }

    /// 403: known, but not allowed.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed", detail)
    }

    /// 404.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    /// 405.
    pub fn method_not_allowed() -> Self {
        let detail = "This path does not answer to this method.";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed", detail)
    }

    /// 409.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "In conflict with the present state", detail)
    }

    /// 413.
    pub fn too_large(limit: usize) -> Self {
        let detail = format!("The body may be at most {limit} bytes long.");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large", detail)
    }

    /// 415.
    pub fn unsupported_media_type(wanted: &str) -> Self {
        let detail = format!("Send the body as {wanted}.");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Unsupported media type", detail)
    }

    /// 422: well-formed, but wrong.
    pub fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let errors = vec![FieldError { pointer: pointer.into(), detail: detail.clone() }];
        let problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "The request is not valid", detail);
        Self { errors, ..problem }
    }

    /// 422: well-formed, but several fields are wrong.
    pub fn invalid_fields(errors: Vec<domain::accept::FieldError>) -> Self {
        let told = |error: domain::accept::FieldError| FieldError { pointer: error.pointer, detail: error.detail };
        let errors: Vec<FieldError> = errors.into_iter().map(told).collect();
        let lines: Vec<String> = errors.iter().map(|error| format!("{} {}", error.pointer, error.detail)).collect();
        let problem =
            Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "The request is not valid", lines.join("; "));
        Self { errors, ..problem }
    }

    /// 422: an `Idempotency-Key` was used for something else.
    pub fn key_reused(detail: impl Into<String>) -> Self {
        let title = "The Idempotency-Key is taken";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused", title, detail)
    }

    /// 429: too often.
    pub fn rate_limited(detail: impl Into<String>, standing: &Standing) -> Self {
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate-limited", "Too many requests", detail);
        let seconds = u32::try_from(standing.reset_seconds).unwrap_or(u32::MAX);
        Self { retry_after: Some(seconds), standing: Some(Box::new(*standing)), ..problem }
    }

    /// 503: nobody can tell at the moment. The cause goes to the log.
    pub fn unavailable(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(%cause, "answered 503");
        let detail = "A part of the system does not answer, so that nobody can tell whether anything was done. Try again \
                      in a moment; with the same Idempotency-Key a job is made only once.";
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Temporarily unavailable", detail);
        Self { retry_after: Some(5), ..problem }
    }

    /// 429: as many as there may be at the same time are under way.
    pub fn busy(detail: impl Into<String>, at_once: u32, seconds: u64) -> Self {
        let title = "Too many at the same time";
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate-limited", title, detail);
        tracing::warn!(at_once, seconds, "as many as there may be are under way");
        Self { retry_after: Some(u32::try_from(seconds).unwrap_or(u32::MAX)), ..problem }
    }

    /// 503: an account's provider does not say where to sign in.
    pub fn provider_away(cause: &dyn std::fmt::Display) -> Self {
        let detail = "The account's provider does not say where to sign in. Check its address in the enrolment file, \
                      or try again in a moment.";
        Self { detail: detail.to_owned(), ..Self::unavailable(cause) }
    }

    /// 503: something was to be ended, and not every verifier could be told. Ending it again does no harm.
    pub fn undone(cause: &dyn std::fmt::Display) -> Self {
        let detail = "Not everything that knows of it could be told. What was told is refused from now on; repeat the \
                      request to be sure of the rest.";
        Self { detail: detail.to_owned(), ..Self::unavailable(cause) }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    fn render(self, request_id: String) -> Response {
        let reference = format!("/problems/{}", self.slug);
        let mut details = ProblemDetails::from_status_code(self.status)
            .with_title(self.title)
            .with_detail(self.detail)
            .with_extensions(Extensions { request_id, errors: self.errors });
        if let Ok(uri) = reference.parse::<http::Uri>() {
            details = details.with_type(uri);
        }
        let mut response = details.into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(standing) = &self.standing {
            rate_headers::write(response.headers_mut(), standing);
        }
        if let Some(challenge) = self.authenticate {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

impl IntoResponse for Problem {
    /// Left to [`layer`], which knows the request's id.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The id under which a request is found in the logs.
fn request_id(request: &Request) -> String {
    let context = request.extensions().get::<lambda_http::Context>();
    context.map_or_else(|| "local".to_owned(), |context| context.request_id.clone())
}

/// Writes the problems of all handlers, logs every answer, and forbids caching it. Wrap the whole router in it.
pub async fn layer(request: Request, next: Next) -> Response {
    let id = request_id(&request);
    // The route's pattern: some paths hold the id of a session.
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let method = request.method().clone();
    let mut response = next.run(request).await;
    tracing::info!(function_request_id = id, %method, route, status = response.status().as_u16(), "answered");
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = problem.render(id);
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The answer to paths that are not there.
#[allow(clippy::unused_async, reason = "a handler is async")]
pub async fn no_such_path() -> Problem {
    Problem::not_found("There is nothing at this path.")
}

/// The answer to methods that are not there.
#[allow(clippy::unused_async, reason = "a handler is async")]
pub async fn no_such_method() -> Problem {
    Problem::method_not_allowed()
}
