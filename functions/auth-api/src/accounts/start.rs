//! `POST /api/v1/accounts/auth`: begins one account's sign-in.

use axum::Json;
use axum::extract::{Request, State};
use chrono::{DateTime, Utc};
use domain::directory::Actor;
use domain::ids::UserId;
use lambda_kit::json;
use lambda_kit::origin;
use lambda_kit::problem::{Problem, ProblemDocument};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{language, manager, not_started};
use crate::Deps;
use crate::answers::ProblemAnswer;

/// Whose sign-in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartRequest {
    /// The account's user.
    #[schema(min_length = 1, max_length = 512)]
    user_id: String,
}

/// A sign-in that somebody has to go on with in a browser.
#[derive(Debug, Serialize, ToSchema)]
pub struct StartAnswer {
    /// Asks for its status.
    session_id: String,
    /// Where to sign in. Whoever has it can sign the account in: hand it to the account's owner only.
    auth_url: String,
    /// Until when.
    expires_at: DateTime<Utc>,
}

/// Begins the sign-in of an account at its provider. Needs `accounts:manage`.
#[utoipa::path(post, path = "/api/v1/accounts/auth", tag = "accounts", request_body = StartRequest, responses(
    (status = 200, description = "Somebody has to sign in at `auth_url`.", body = StartAnswer),
    (status = 409, description = "The account is inactive.", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 422, description = "`user_id` is no id.", body = ProblemDocument, content_type = "application/problem+json"),
    ProblemAnswer,
))]
pub async fn start(State(deps): State<Deps>, request: Request) -> Result<Json<StartAnswer>, Problem> {
    let from = origin::of(&request);
    let caller = manager(&deps, request.headers(), &from).await?;
    let language = language(request.headers());
    let asked: StartRequest = json::read(request).await?;
    let user = UserId::parse(asked.user_id).map_err(|error| Problem::invalid("/user_id", error.to_string()))?;
    let started = deps.accounts.start(&Actor::from(&caller), &user, &from).await;
    let started = started.map_err(|error| not_started(error, language))?;
    let (session_id, auth_url) = (started.id.into(), started.auth_url);
    Ok(Json(StartAnswer { session_id, auth_url, expires_at: started.expires_at }))
}
