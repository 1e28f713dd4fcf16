//! `DELETE /jobs/{id}`: stopping a job (`[API-7]`).

use axum::Json;
use axum::extract::{Path, Request, State};
use chrono::{DateTime, Utc};
use domain::cancel::NotCancelled;
use domain::ids::JobId;
use lambda_kit::problem::Problem;
use lambda_kit::{json, origin};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::answers::{BodyAnswer, EveryAnswer};
use crate::view::{Cancellation, StatusName};
use crate::{Deps, refusal};

/// Why a job is cancelled.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Cancel {
    /// Why.
    #[schema(min_length = 10, max_length = 500)]
    reason: String,
}

/// What the cancel stopped.
#[derive(Debug, Serialize, ToSchema)]
pub struct CancelledJob {
    /// The job.
    job_id: String,
    /// Its state.
    status: StatusName,
    /// When it was cancelled: no chunk starts after this.
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled_at: Option<DateTime<Utc>>,
    /// What was and was not revoked by then. Chunks under way are finished, and the job's status goes on counting.
    #[serde(skip_serializing_if = "Option::is_none")]
    cancellation: Option<Cancellation>,
    /// What that means, in words.
    message: &'static str,
}

/// Stops a pending or processing job. Needs `batch_logout:cancel`.
#[utoipa::path(delete, path = "/jobs/{id}", tag = "jobs", params(("id" = String, Path, description = "The job.")), request_body = Cancel, responses(
    (status = 200, description = "The job is cancelled; no further chunk starts.", body = CancelledJob),
    BodyAnswer,
    EveryAnswer,
))]
pub async fn cancel(
    State(deps): State<Deps>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<CancelledJob>, Problem> {
    let caller = deps.callers.user(request.headers()).await?;
    let origin = origin::of(&request);
    let body: Cancel = json::read(request).await?;
    let id = JobId::parse(id).map_err(|_| refusal::not_cancelled(NotCancelled::Unknown))?;
    let cancelled = deps.canceller.cancel(&caller, &id, &body.reason, &origin).await;
    let (job, tally) = cancelled.map_err(refusal::not_cancelled)?;
    let message = if job.dry_run {
        "The dry run is cancelled."
    } else if job.effective_at.is_some() || job.plan.chunks > 0 {
        "The job is cancelled. Cutoffs already written stand: what they hit stays refused, though its rows are left alone."
    } else {
        "The job is cancelled before anything was written."
    };
    Ok(Json(CancelledJob {
        job_id: job.id.to_string(),
        status: job.status.into(),
        cancelled_at: job.cancelled.as_ref().map(|cancelled| cancelled.at),
        cancellation: Cancellation::of(&job, &tally),
        message,
    }))
}
