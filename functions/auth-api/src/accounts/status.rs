//! `GET /api/v1/accounts/auth/{session_id}`: where a sign-in stands.

use axum::Json;
use axum::extract::{Path, Request, State};
use chrono::{DateTime, Utc};
use domain::accounts::{Failure, Status};
use domain::ids::SignInId;
use lambda_kit::origin;
use lambda_kit::problem::Problem;
use serde::Serialize;
use utoipa::ToSchema;

use super::{language, manager, told};
use crate::Deps;
use crate::answers::ProblemAnswer;

/// Where a sign-in stands.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SignInStatusName {
    /// Somebody has to sign in at `auth_url`.
    Pending,
    /// The provider has called back; the tokens are being obtained.
    CallbackReceived,
    /// The tokens are kept.
    Completed,
    /// It came to nothing: `error_message` says why, and what to do.
    Failed,
    /// Nobody signed in in time.
    Expired,
}

impl From<Status> for SignInStatusName {
    fn from(status: Status) -> Self {
        match status {
            Status::Pending => Self::Pending,
            Status::CallbackReceived => Self::CallbackReceived,
            Status::Completed => Self::Completed,
            Status::Failed => Self::Failed,
            Status::Expired => Self::Expired,
        }
    }
}

/// A sign-in.
#[derive(Debug, Serialize, ToSchema)]
pub struct SignInStatus {
    /// Its id.
    session_id: String,
    /// Where it stands.
    status: SignInStatusName,
    /// The same in words.
    message: &'static str,
    /// Whether the tokens are kept.
    is_completed: bool,
    /// What happened, and what to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<String>,
    /// Where to sign in, as long as that is of use.
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_url: Option<String>,
    /// When it is over, whatever happens.
    expires_at: DateTime<Utc>,
}

/// Where a sign-in stands. Needs `accounts:manage`.
#[utoipa::path(get, path = "/api/v1/accounts/auth/{session_id}", tag = "accounts",
    params(("session_id" = String, Path, description = "The sign-in.")),
    responses((status = 200, description = "Where it stands.", body = SignInStatus), ProblemAnswer),
)]
pub async fn status(
    State(deps): State<Deps>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<SignInStatus>, Problem> {
    manager(&deps, request.headers(), &origin::of(&request)).await?;
    let language = language(request.headers());
    let unknown = || Problem::not_found(told(&Failure::Unknown, language));
    let id = SignInId::parse(id).map_err(|_| unknown())?;
    let found = deps.accounts.look_up(&id).await.map_err(|error| Problem::unavailable(&error))?;
    let (sign_in, auth_url) = found.ok_or_else(unknown)?;
    let (status, failure) = sign_in.at(deps.accounts.clock.now());
    Ok(Json(SignInStatus {
        session_id: sign_in.id.into(),
        status: status.into(),
        message: status.message(language),
        is_completed: status == Status::Completed,
        error_message: failure.map(|failure| told(&failure, language)),
        auth_url,
        expires_at: sign_in.expires_at,
    }))
}
