//! `GET /jobs/{id}/affected-users`: who lost what to a job.

use axum::Json;
use axum::extract::{Path, RawQuery, Request, State};
use chrono::{DateTime, Utc};
use domain::ids::JobId;
use domain::job::Facts;
use domain::lists::{AffectedLine, NoPage};
use domain::notify::{Outcome, Told, Trouble};
use domain::ports::Affected;
use lambda_kit::problem::{Problem, ProblemDocument};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Deps;
use crate::answers::EveryAnswer;
use crate::paging::{self, Wanted};
use crate::refusal::{self, Asked};

/// What somebody lost to a job.
#[derive(Debug, Serialize, ToSchema)]
pub struct AffectedUser {
    /// The user; null for all service tokens together, which come last.
    user_id: Option<String>,
    /// Access tokens revoked.
    access_tokens_revoked: u64,
    /// Refresh tokens revoked.
    refresh_tokens_revoked: u64,
    /// Sessions ended.
    sessions_terminated: u64,
    /// When that was noted.
    #[serde(skip_serializing_if = "Option::is_none")]
    processed_at: Option<DateTime<Utc>>,
    /// Whether a mail about it was sent.
    notification_sent: bool,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    notification_sent_at: Option<DateTime<Utc>>,
    /// Where the mail stands; absent if none was begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    notification_status: Option<NotificationStatus>,
}

/// Where a mail to an affected user stands.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NotificationStatus {
    /// The mail service took it.
    Sent,
    /// Nobody knows whether the mail service took it: it is being sent, or whoever sent it was interrupted.
    Unknown,
    /// The mail service refused it, at once or later.
    Rejected,
    /// The directory has no address.
    NoAddress,
    /// It came back.
    Bounced,
    /// The recipient called it spam.
    Complained,
}

impl From<&Told> for NotificationStatus {
    fn from(told: &Told) -> Self {
        match (told.trouble, &told.outcome) {
            (Some(Trouble::Bounced), _) => Self::Bounced,
            (Some(Trouble::Complained), _) => Self::Complained,
            (Some(Trouble::Refused), _) | (None, Some(Outcome::Rejected(_))) => Self::Rejected,
            (None, Some(Outcome::Sent)) => Self::Sent,
            (None, Some(Outcome::NoAddress)) => Self::NoAddress,
            (None, Some(Outcome::Unknown) | None) => Self::Unknown,
        }
    }
}

impl AffectedUser {
    fn new(facts: Facts, user: Option<Affected>) -> Self {
        let notice = user.as_ref().and_then(|user| user.notice.as_ref());
        let sent_at = notice.and_then(Told::sent_at);
        Self {
            access_tokens_revoked: facts.access_tokens,
            refresh_tokens_revoked: facts.refresh_tokens,
            sessions_terminated: facts.sessions,
            processed_at: user.as_ref().map(|user| user.processed_at),
            notification_sent: sent_at.is_some(),
            notification_sent_at: sent_at,
            notification_status: notice.map(NotificationStatus::from),
            user_id: user.map(|user| user.user.into()),
        }
    }
}

impl From<AffectedLine> for AffectedUser {
    fn from(line: AffectedLine) -> Self {
        match line {
            AffectedLine::User(line) => Self::new(line.facts, Some(line)),
            AffectedLine::Service(facts) => Self::new(facts, None),
        }
    }
}

/// A page of affected users, chunk by chunk.
#[derive(Debug, Serialize, ToSchema)]
pub struct AffectedPage {
    /// The users.
    items: Vec<AffectedUser>,
    /// Asks for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// Who lost what to a job. Its sum is the job's statistics. A page may hold fewer than `limit` before the last.
#[utoipa::path(get, path = "/jobs/{id}/affected-users", tag = "jobs", params(("id" = String, Path, description = "The job."), Wanted), responses(
    (status = 200, description = "A page of affected users.", body = AffectedPage),
    (status = 404, description = "There is no such job, or it is not the caller's to see.", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 422, description = "A parameter is wrong.", body = ProblemDocument, content_type = "application/problem+json"),
    EveryAnswer,
))]
pub async fn list(
    State(deps): State<Deps>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Json<AffectedPage>, Problem> {
    let caller = deps.callers.user(request.headers()).await?;
    let asked = Asked::of(&request);
    let paging = paging::read(query.as_deref())?;
    let id = JobId::parse(id).map_err(|_| refusal::no_page(NoPage::Unknown))?;
    match deps.lister.affected(&caller, &id, paging.limit, paging.cursor.as_deref()).await {
        Ok(page) => Ok(Json(AffectedPage {
            items: page.items.into_iter().map(Into::into).collect(),
            next_cursor: page.next_cursor,
        })),
        Err(error) => Err(asked.refused(&deps, &caller, &id, error).await),
    }
}
