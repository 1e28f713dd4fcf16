//! `GET /api/v1/accounts/auth/callback`: where providers send browsers back to. A person reads the answer.

use axum::extract::{Request, State};
use axum::response::Response;
use domain::accounts::Failure;
use domain::accounts::callback::Answer;
use http::StatusCode;
use lambda_kit::origin;

use super::{language, page};
use crate::{Deps, form};

/// The status that goes with a failure's page.
fn status_of(failure: &Failure) -> StatusCode {
    match failure {
        Failure::Used => StatusCode::CONFLICT,
        Failure::Expired | Failure::CleanedUp => StatusCode::GONE,
        Failure::NotQueued => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// Takes a provider's answer from a browser, once, and tells the person there what happened and what to do next, in English
/// or Korean. The code is exchanged afterwards.
#[utoipa::path(get, path = "/api/v1/accounts/auth/callback", tag = "accounts", security(()),
    params(
        ("state" = Option<String>, Query, description = "What the sign-in was begun with; good once."),
        ("code" = Option<String>, Query, description = "What is exchanged for tokens."),
        ("error" = Option<String>, Query, description = "Why there is no code (RFC 6749 §4.1.2.1)."),
        ("error_description" = Option<String>, Query, description = "Not looked at, and not shown."),
        ("iss" = Option<String>, Query, description = "Whose answer it is (RFC 9207)."),
    ),
    responses(
        (status = 200, description = "The code is being exchanged.", body = String, content_type = "text/html"),
        (status = 400, description = "No sign-in is under way under this `state`, or the provider sent no code.", body = String, content_type = "text/html"),
        (status = 409, description = "This `state` was used.", body = String, content_type = "text/html"),
        (status = 410, description = "The sign-in's time has passed.", body = String, content_type = "text/html"),
        (status = 429, description = "The stage's throttle.", body = lambda_kit::problem::ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "Not now.", body = String, content_type = "text/html", headers(("Retry-After" = u64, description = "Seconds to wait."))),
    ),
)]
pub async fn callback(State(deps): State<Deps>, request: Request) -> Response {
    let (from, language) = (origin::of(&request), language(request.headers()));
    // A query that cannot be read, or that says something twice, brings nothing.
    let fields = form::query(request.uri().query().unwrap_or_default()).unwrap_or_default();
    let field = |name: &str| fields.get(name).map(str::to_owned);
    let answer = Answer { state: field("state"), code: field("code"), error: field("error"), iss: field("iss") };
    match deps.accounts.call_back(answer, &from).await {
        Ok(Ok(())) => page::received(language),
        Ok(Err(failure)) => page::failed(status_of(&failure), &failure, language),
        Err(error) => {
            tracing::error!(%error, "an answer of a provider could not be taken");
            page::not_now(language)
        }
    }
}
