//! `POST /request-emergency-key` (`[EKEY-1]`).

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use lambda_kit::problem::{Problem, ProblemDocument};
use lambda_kit::{origin, rate_headers};
use serde::Serialize;
use utoipa::ToSchema;

use crate::answers::EveryAnswer;
use crate::{Deps, refusal};

/// A key is on its way.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeySent {
    /// What happened, in words.
    message: &'static str,
    /// Until when the key is good.
    expires_at: DateTime<Utc>,
}

/// Mails a key for an emergency logout to the caller's registered address. Needs `batch_logout:execute:emergency`.
#[utoipa::path(post, path = "/request-emergency-key", tag = "jobs", responses(
    (status = 200, description = "The key is on its way.", body = KeySent),
    (status = 409, description = "The directory has no address for the caller.", body = ProblemDocument, content_type = "application/problem+json"),
    EveryAnswer,
))]
pub async fn request(State(deps): State<Deps>, request: Request) -> Result<Response, Problem> {
    let caller = deps.callers.user(request.headers()).await?;
    let sent = deps.desk.request(&caller, &origin::of(&request)).await.map_err(refusal::no_key)?;
    let message = "Emergency key sent to registered contact";
    let mut response = Json(KeySent { message, expires_at: sent.expires_at }).into_response();
    rate_headers::write(response.headers_mut(), &sent.standing);
    Ok(response)
}
