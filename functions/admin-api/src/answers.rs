//! What the calls take in headers and answer, for the OpenAPI document.

use lambda_kit::problem::ProblemDocument;
use utoipa::{IntoParams, IntoResponses};

use crate::view::{DryRun, JobAccepted};

/// Headers of a call that makes a job.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "describes what the handlers read from the headers themselves")]
pub struct JobHeaders {
    /// A repeated request with it answers with the first one's job, for 24 hours
    /// (draft-ietf-httpapi-idempotency-key-header).
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 255, required = false)]
    idempotency_key: String,
}

/// Headers of an emergency.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "describes what the handlers read from the headers themselves")]
pub struct EmergencyHeaders {
    /// The six digits of `POST request-emergency-key`. A drill needs none and does not look at it; anything else that
    /// is not the key costs a try.
    #[param(rename = "X-Emergency-Key", required = false)]
    emergency_key: String,
    /// A repeated request with it answers with the first one's job, for 24 hours
    /// (draft-ietf-httpapi-idempotency-key-header).
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 255, required = false)]
    idempotency_key: String,
}

/// What every call may answer.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "describes what the handlers answer")]
pub enum EveryAnswer {
    /// No bearer token, or one that is not valid any more.
    #[response(
        status = 401,
        content_type = "application/problem+json",
        headers(("WWW-Authenticate" = String, description = "RFC 6750 §3. Behind a REST API of API Gateway it is called x-amzn-remapped-www-authenticate."))
    )]
    Unauthenticated(ProblemDocument),
    /// Known, but not allowed.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(ProblemDocument),
    /// Too many requests: a rate limit of the caller, or the stage's throttle.
    #[response(
        status = 429,
        content_type = "application/problem+json",
        headers(
            ("Retry-After" = u64, description = "Seconds until the next try can succeed."),
            ("RateLimit-Policy" = String, description = "The limit: its quota and window in seconds. Not sent by the stage's throttle."),
            ("RateLimit" = String, description = "What is left of it, and the seconds until it grows.")
        )
    )]
    TooMany(ProblemDocument),
    /// A part of the system does not answer; nothing was accepted.
    #[response(
        status = 503,
        content_type = "application/problem+json",
        headers(("Retry-After" = u64, description = "Seconds to wait."))
    )]
    Unavailable(ProblemDocument),
}

/// What a call with a JSON body may answer.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "describes what the handlers answer")]
pub enum BodyAnswer {
    /// Malformed JSON, an unknown field, a wrong type, or a confirmation that is missing or wrong.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(ProblemDocument),
    /// There is no such group, client or job, or it is not the caller's to see.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(ProblemDocument),
    /// In conflict with the present state: an old or foreign plan, a job that has ended.
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(ProblemDocument),
    /// The body is larger than 64 KiB.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(ProblemDocument),
    /// The body is not `application/json`.
    #[response(status = 415, content_type = "application/problem+json")]
    UnsupportedMediaType(ProblemDocument),
    /// Well-formed, but wrong.
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(ProblemDocument),
}

/// What a call that makes a job answers when all is well.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "describes what the handlers answer")]
pub enum JobAnswer {
    /// The dry run is counted.
    #[response(status = 200)]
    Counted(DryRun),
    /// The job is accepted.
    #[response(status = 202, headers(("Location" = String, description = "The job.")))]
    Accepted(JobAccepted),
}
