//! `POST /api/v1/accounts/auth/cleanup`: ends sign-ins that lead nowhere.

use axum::Json;
use axum::extract::{Request, State};
use chrono::TimeDelta;
use domain::audit::Action;
use domain::directory::Actor;
use lambda_kit::json;
use lambda_kit::origin;
use lambda_kit::problem::{Problem, ProblemDocument};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::manager;
use crate::Deps;
use crate::answers::ProblemAnswer;

/// A week: nothing that is under way is older.
const LONGEST_MINUTES: u32 = 7 * 24 * 60;

/// Which sign-ins.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CleanUpRequest {
    /// Only those that began at least so many minutes ago.
    #[serde(default = "an_hour")]
    #[schema(minimum = 0, maximum = 10080, default = 60)]
    expire_threshold_minutes: u32,
    /// Also those whose time has not passed but that still wait for somebody to sign in. An exchange on its way is never
    /// cut short.
    #[serde(default)]
    #[schema(required = false, default = false)]
    force_cleanup: bool,
}

fn an_hour() -> u32 {
    60
}

/// What was ended.
#[derive(Debug, Serialize, ToSchema)]
pub struct CleanUpAnswer {
    /// Sign-ins that were ended now.
    cleaned_sessions: usize,
    /// Those under way afterwards.
    active_sessions: usize,
}

/// Ends sign-ins whose time has passed, and with `force_cleanup` those that wait. Needs `accounts:manage`.
#[utoipa::path(post, path = "/api/v1/accounts/auth/cleanup", tag = "accounts", request_body = CleanUpRequest, responses(
    (status = 200, description = "What was ended.", body = CleanUpAnswer),
    (status = 422, description = "The threshold is out of range.", body = ProblemDocument, content_type = "application/problem+json"),
    ProblemAnswer,
))]
pub async fn clean_up(State(deps): State<Deps>, request: Request) -> Result<Json<CleanUpAnswer>, Problem> {
    let from = origin::of(&request);
    let caller = manager(&deps, request.headers(), &from).await?;
    let asked: CleanUpRequest = json::read(request).await?;
    let (minutes, force) = (asked.expire_threshold_minutes, asked.force_cleanup);
    if minutes > LONGEST_MINUTES {
        return Err(Problem::invalid("/expire_threshold_minutes", format!("must be 0 to {LONGEST_MINUTES}")));
    }
    let desk = &deps.accounts;
    let begun_before = TimeDelta::minutes(minutes.into());
    let done =
        domain::accounts::clean_up::clean_up(desk.store.as_ref(), desk.clock.as_ref(), begun_before, force).await;
    let done = done.map_err(|error| Problem::unavailable(&error))?;
    let metadata = serde_json::json!({
        "expire_threshold_minutes": minutes, "force_cleanup": force, "cleaned_sessions": done.cleaned,
    });
    deps.auditor.done(Action::AccountSignInsCleanedUp, Actor::from(&caller), &from, metadata).await;
    Ok(Json(CleanUpAnswer { cleaned_sessions: done.cleaned, active_sessions: done.active }))
}
