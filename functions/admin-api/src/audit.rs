//! `GET /jobs/{id}/audit`: what was written down of a job.

use axum::Json;
use axum::extract::{Path, RawQuery, Request, State};
use chrono::{DateTime, Utc};
use domain::audit::chain::Hash;
use domain::audit::{Entry, TrailLine};
use domain::ids::JobId;
use domain::lists::NoPage;
use lambda_kit::problem::{Problem, ProblemDocument};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Deps;
use crate::answers::EveryAnswer;
use crate::paging::{self, Wanted};
use crate::refusal::{self, Asked};
use crate::view::{ActorView, names};

names!(
    /// How much an entry matters.
    LevelName of domain::audit::Level {
        /// Everyday.
        Info,
        /// Over a hundred users, or a refusal.
        Warning,
        /// An emergency.
        Critical,
    }
);

/// An entry of the audit trail.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditEntry {
    /// Its own id.
    id: String,
    /// When.
    time: DateTime<Utc>,
    /// What happened.
    #[schema(examples("batch_logout_initiated"))]
    action: &'static str,
    /// How much it matters.
    level: LevelName,
    /// Who.
    actor: ActorView,
    /// Whether it was done or refused.
    success: bool,
    /// What else is worth knowing.
    metadata: serde_json::Value,
    /// The caller's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    source_ip: Option<String>,
    /// The caller's program.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    /// The id under which the request is found in the logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    /// Its hash, which the next entry of its chain names.
    hash: String,
}

impl AuditEntry {
    fn new(entry: Entry, hash: Hash) -> Self {
        Self {
            id: entry.id,
            time: entry.at,
            action: entry.action.as_str(),
            level: entry.level.into(),
            actor: entry.actor.into(),
            success: entry.success,
            metadata: entry.metadata,
            source_ip: entry.origin.source_ip,
            user_agent: entry.origin.user_agent,
            request_id: entry.origin.request_id,
            hash: hash.to_string(),
        }
    }
}

/// A line of a job's audit trail: an entry, or what is wrong at its place.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditLine {
    /// Where it stands in the trail.
    #[schema(examples("chain 2b7e…, entry 12"))]
    place: String,
    /// The entry, as it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<AuditEntry>,
    /// Why the entry cannot be shown: it was tampered with.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

impl From<TrailLine> for AuditLine {
    fn from(line: TrailLine) -> Self {
        let place = line.place.to_string();
        match line.entry {
            Ok((entry, hash)) => Self { place, entry: Some(AuditEntry::new(*entry, hash)), problem: None },
            Err(fault) => Self { place, entry: None, problem: Some(fault.to_string()) },
        }
    }
}

/// A page of a job's audit trail, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditPage {
    /// The entries.
    items: Vec<AuditLine>,
    /// Asks for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// What was written down of a job, newest first. Needs `batch_logout:view`. An entry shows a moment after it was written.
#[utoipa::path(get, path = "/jobs/{id}/audit", tag = "jobs", params(("id" = String, Path, description = "The job."), Wanted), responses(
    (status = 200, description = "A page of entries.", body = AuditPage),
    (status = 403, description = "The caller may not see the audit.", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 404, description = "There is no such job.", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 422, description = "A parameter is wrong.", body = ProblemDocument, content_type = "application/problem+json"),
    EveryAnswer,
))]
pub async fn list(
    State(deps): State<Deps>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Json<AuditPage>, Problem> {
    let caller = deps.callers.user(request.headers()).await?;
    let asked = Asked::of(&request);
    let paging = paging::read(query.as_deref())?;
    let id = JobId::parse(id).map_err(|_| refusal::no_page(NoPage::Unknown))?;
    match deps.lister.trail(&caller, &id, paging.limit, paging.cursor.as_deref()).await {
        Ok(page) => Ok(Json(AuditPage {
            items: page.items.into_iter().map(Into::into).collect(),
            next_cursor: page.next_cursor,
        })),
        Err(error) => Err(asked.refused(&deps, &caller, &id, error).await),
    }
}
