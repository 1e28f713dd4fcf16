//! What the users' calls may answer when something is wrong, for the OpenAPI document (`[API-8]`).

use lambda_kit::problem::ProblemDocument;
use utoipa::IntoResponses;

/// The problems of users' calls.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "describes what the handlers answer")]
pub enum ProblemAnswer {
    /// Malformed JSON, an unknown field, or a wrong type.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(ProblemDocument),
    /// No bearer token, or one that is not valid any more.
    #[response(
        status = 401,
        content_type = "application/problem+json",
        headers(("WWW-Authenticate" = String, description = "RFC 6750 §3. Behind a REST API of API Gateway it is called x-amzn-remapped-www-authenticate."))
    )]
    Unauthenticated(ProblemDocument),
    /// A service token, which has no user.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(ProblemDocument),
    /// The caller has no such session.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(ProblemDocument),
    /// The body is too large.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(ProblemDocument),
    /// The body is of another type than the call takes.
    #[response(status = 415, content_type = "application/problem+json")]
    UnsupportedMediaType(ProblemDocument),
    /// The stage's throttle.
    #[response(status = 429, content_type = "application/problem+json")]
    TooMany(ProblemDocument),
    /// Nobody can tell at the moment, or not every verifier could be told. Repeat it.
    #[response(status = 503, content_type = "application/problem+json", headers(("Retry-After" = u64, description = "Seconds to wait.")))]
    Unavailable(ProblemDocument),
}
