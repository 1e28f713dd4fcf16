//! `GET /api/v1/accounts/accounts`: all accounts, and how each of them stands.

use axum::Json;
use axum::extract::{Request, State};
use chrono::{DateTime, TimeZone as _, Utc};
use domain::accounts::list::{Line, NoAccounts};
use domain::notice::Language;
use lambda_kit::origin;
use lambda_kit::problem::{Problem, ProblemDocument};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{language, manager, told};
use crate::Deps;
use crate::answers::ProblemAnswer;

const LIMIT: u32 = 20;
const LIMITS: std::ops::RangeInclusive<u32> = 1..=100;

/// Which part of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Accounts on a page.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// An account.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccountStatus {
    /// Its user.
    user_id: String,
    /// The name people know it by.
    name: Option<String>,
    /// Whether it may sign in and be refreshed.
    active: bool,
    /// Whether it has no access token that is good now: it never signed in, it expired, or it was ended.
    token_expired: bool,
    /// Until when its last access token is good.
    token_expires_at: Option<DateTime<Utc>>,
    /// When tokens were last obtained from the provider.
    last_sync_time: Option<DateTime<Utc>>,
    /// Whether a sign-in is under way.
    has_pending_session: bool,
    /// Why somebody has to sign in again, and what to do; absent if nobody has to.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<String>,
}

/// A page of accounts, in the order of their users' ids.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccountPage {
    /// The accounts.
    items: Vec<AccountStatus>,
    /// Asks for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

fn view(line: Line, language: Language) -> AccountStatus {
    AccountStatus {
        user_id: line.account.user.into(),
        name: line.account.name,
        active: line.account.active,
        token_expired: line.token_expired,
        token_expires_at: line.token_expires_at.and_then(|at| Utc.timestamp_opt(at.0, 0).single()),
        last_sync_time: line.last_sync,
        has_pending_session: line.is_pending,
        error_message: line.trouble.map(|failure| told(&failure, language)),
    }
}

/// All accounts: whether their tokens are good, when they were last obtained, and whether a sign-in is under way. Needs
/// `accounts:manage`.
#[utoipa::path(get, path = "/api/v1/accounts/accounts", tag = "accounts", params(Wanted), responses(
    (status = 200, description = "A page of accounts.", body = AccountPage),
    (status = 422, description = "A parameter is wrong.", body = ProblemDocument, content_type = "application/problem+json"),
    ProblemAnswer,
))]
pub async fn list(State(deps): State<Deps>, request: Request) -> Result<Json<AccountPage>, Problem> {
    manager(&deps, request.headers(), &origin::of(&request)).await?;
    let language = language(request.headers());
    let wanted: Wanted = serde_urlencoded::from_str(request.uri().query().unwrap_or_default())
        .map_err(|error| Problem::invalid("", error.to_string()))?;
    let limit = wanted.limit.unwrap_or(LIMIT);
    if !LIMITS.contains(&limit) {
        return Err(Problem::invalid("/limit", "must be 1 to 100"));
    }
    let page = deps.accounts.list(wanted.cursor.as_deref(), limit as usize).await;
    let (lines, next_cursor) = page.map_err(|error| match error {
        NoAccounts::Cursor => Problem::invalid("/cursor", error.to_string()),
        NoAccounts::Port(error) => Problem::unavailable(&error),
    })?;
    Ok(Json(AccountPage { items: lines.into_iter().map(|line| view(line, language)).collect(), next_cursor }))
}
