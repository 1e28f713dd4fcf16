//! `POST /api/v1/accounts/auth/bulk`: begins the sign-ins of many accounts.

use axum::Json;
use axum::extract::{Request, State};
use chrono::{DateTime, TimeDelta, Utc};
use domain::accept::FieldError;
use domain::accounts::session::AT_ONCE;
use domain::accounts::start::{NotStarted, Outcome};
use domain::accounts::{Failure, Status};
use domain::directory::Actor;
use domain::ids::UserId;
use domain::notice::Language;
use lambda_kit::json;
use lambda_kit::origin;
use lambda_kit::problem::{Problem, ProblemDocument};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::status::SignInStatusName;
use super::{language, manager, told};
use crate::Deps;
use crate::answers::ProblemAnswer;

const MOST_AT_A_TIME: u32 = 20;
const LONGEST_MINUTES: u32 = 60;

/// Whose sign-ins.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({ "user_ids": ["mailbox"], "max_concurrent": 5, "timeout_minutes": 10 }))]
#[serde(deny_unknown_fields)]
pub struct BulkRequest {
    /// The accounts' users; one named twice counts once.
    #[schema(min_items = 1, max_items = 100)]
    user_ids: Vec<String>,
    /// How many are begun at the same time.
    #[serde(default = "ten")]
    #[schema(minimum = 1, maximum = 20, default = 10)]
    max_concurrent: u32,
    /// Minutes until they expire.
    #[serde(default = "ten")]
    #[schema(minimum = 1, maximum = 60, default = 10)]
    timeout_minutes: u32,
}

fn ten() -> u32 {
    10
}

/// What became of one account.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserStatus {
    /// The account's user.
    user_id: String,
    /// `PENDING`: somebody has to sign in at `auth_url`. `COMPLETED`: its tokens are good, nobody has to do anything.
    /// `FAILED`: it was not begun.
    status: SignInStatusName,
    /// The same in words.
    message: &'static str,
    /// Asks for its status.
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<String>,
    /// Where to sign in.
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_url: Option<String>,
    /// Until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<DateTime<Utc>>,
    /// What happened, and what to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<String>,
}

/// What became of all.
#[derive(Debug, Serialize, ToSchema)]
pub struct BulkAnswer {
    /// Accounts.
    total_users: usize,
    /// Of them, those at which somebody has to sign in.
    pending_count: usize,
    /// Those whose tokens are good.
    completed_count: usize,
    /// Those that were not begun.
    failed_count: usize,
    /// Each of them, in the order they were named.
    user_statuses: Vec<UserStatus>,
}

fn in_range(name: &str, number: u32, most: u32) -> Option<FieldError> {
    let detail = format!("must be 1 to {most}");
    (!(1..=most).contains(&number)).then(|| FieldError { pointer: format!("/{name}"), detail })
}

fn users(asked: &BulkRequest) -> Result<Vec<UserId>, Problem> {
    let mut errors: Vec<FieldError> = [
        in_range("max_concurrent", asked.max_concurrent, MOST_AT_A_TIME),
        in_range("timeout_minutes", asked.timeout_minutes, LONGEST_MINUTES),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !(1..=usize::from(AT_ONCE)).contains(&asked.user_ids.len()) {
        errors.push(FieldError { pointer: "/user_ids".to_owned(), detail: format!("must be 1 to {AT_ONCE} ids") });
    }
    let mut users: Vec<UserId> = Vec::new();
    for (index, id) in asked.user_ids.iter().enumerate() {
        match UserId::parse(id.as_str()) {
            Ok(user) if users.contains(&user) => {}
            Ok(user) => users.push(user),
            Err(error) => {
                errors.push(FieldError { pointer: format!("/user_ids/{index}"), detail: error.to_string() });
            }
        }
    }
    if errors.is_empty() { Ok(users) } else { Err(Problem::invalid_fields(errors)) }
}

fn view(user: UserId, outcome: Outcome, language: Language) -> UserStatus {
    let (status, session_id, auth_url, expires_at, error_message) = match outcome {
        Outcome::Started(started) => {
            (Status::Pending, Some(started.id.into()), Some(started.auth_url), Some(started.expires_at), None)
        }
        Outcome::SignedIn => (Status::Completed, None, None, None, None),
        Outcome::NotStarted(error) => (Status::Failed, None, None, None, Some(why(&error, language))),
    };
    let (user_id, message) = (user.into(), status.message(language));
    UserStatus { user_id, status: status.into(), message, session_id, auth_url, expires_at, error_message }
}

fn why(error: &NotStarted, language: Language) -> String {
    let failure = match error {
        NotStarted::Refused(failure) => failure.clone(),
        NotStarted::Full(_) => Failure::Full,
        NotStarted::Provider(_) | NotStarted::Port(_) => {
            tracing::error!(%error, "a sign-in of a bulk was not begun");
            Failure::NotBegun
        }
    };
    told(&failure, language)
}

/// Begins the sign-ins of many accounts; accounts whose tokens are good are left alone. Whatever becomes of one, the others
/// are begun. Needs `accounts:manage`.
#[utoipa::path(post, path = "/api/v1/accounts/auth/bulk", tag = "accounts", request_body = BulkRequest, responses(
    (status = 200, description = "What became of each.", body = BulkAnswer),
    (status = 422, description = "A number is out of range, or an id is none.", body = ProblemDocument, content_type = "application/problem+json"),
    ProblemAnswer,
))]
pub async fn bulk(State(deps): State<Deps>, request: Request) -> Result<Json<BulkAnswer>, Problem> {
    let from = origin::of(&request);
    let caller = manager(&deps, request.headers(), &from).await?;
    let language = language(request.headers());
    let asked: BulkRequest = json::read(request).await?;
    let users = users(&asked)?;
    let (at_a_time, lifetime) = (asked.max_concurrent as usize, TimeDelta::minutes(asked.timeout_minutes.into()));
    let outcomes = deps.accounts.bulk(&Actor::from(&caller), &users, at_a_time, lifetime, &from).await;
    let count = |wanted: fn(&Outcome) -> bool| outcomes.iter().filter(|(_, outcome)| wanted(outcome)).count();
    let pending_count = count(|outcome| matches!(outcome, Outcome::Started(_)));
    let completed_count = count(|outcome| matches!(outcome, Outcome::SignedIn));
    let failed_count = count(|outcome| matches!(outcome, Outcome::NotStarted(_)));
    let total_users = outcomes.len();
    let user_statuses = outcomes.into_iter().map(|(user, outcome)| view(user, outcome, language)).collect();
    Ok(Json(BulkAnswer { total_users, pending_count, completed_count, failed_count, user_statuses }))
}
