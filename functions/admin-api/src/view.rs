//! What callers see of jobs.

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use domain::accept::{Accepted, PLAN_LIFETIME, UNCONFIRMED_USERS, warnings};
use domain::directory::Actor;
use domain::estimate::Estimate;
use domain::job::{Conditions, Job, Priority, Statistics, Status, Tally};
use http::{StatusCode, header};
use serde::Serialize;

use crate::BASE;

/// The answer to an accepted job (`[API-2]`).
#[derive(Debug, Serialize)]
struct JobAccepted {
    job_id: String,
    status: Status,
    priority: Priority,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_affected_users: Option<u64>,
    message: &'static str,
}

/// What a job would end.
#[derive(Debug, Serialize)]
struct WouldAffect {
    users: u64,
    access_tokens: u64,
    refresh_tokens: u64,
    sessions: u64,
}

impl From<&Statistics> for WouldAffect {
    fn from(statistics: &Statistics) -> Self {
        Self {
            users: statistics.total_users_affected,
            access_tokens: statistics.access_tokens_revoked,
            refresh_tokens: statistics.refresh_tokens_revoked,
            sessions: statistics.sessions_terminated,
        }
    }
}

/// Who is in it.
#[derive(Debug, Serialize)]
struct Includes {
    you: bool,
    admins: bool,
    service_tokens: bool,
}

/// The result of a dry run (`[API-3]`).
#[derive(Debug, Serialize)]
struct DryRun {
    job_id: String,
    status: &'static str,
    would_affect: WouldAffect,
    includes: Includes,
    warnings: Vec<String>,
    plan_id: String,
    plan_expires_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmation_code: Option<String>,
}

/// The code that a job of this size needs, if it needs one.
fn confirmation_code(conditions: &Conditions, users: u64) -> Option<String> {
    (users > UNCONFIRMED_USERS).then(|| conditions.confirmation_code(users))
}

/// The answer to an accepted request.
pub fn accepted(accepted: Accepted) -> Response {
    match accepted {
        Accepted::Counted { job, estimate } => Json(dry_run(&job, &estimate)).into_response(),
        Accepted::Started { job, users } => {
            let location = format!("{BASE}/jobs/{}", job.id);
            let body = JobAccepted {
                job_id: job.id.to_string(),
                status: job.status,
                priority: job.priority,
                estimated_affected_users: users,
                message: if job.dry_run {
                    "The dry run is being counted; its result will be in the job's status."
                } else {
                    "The job is accepted and takes effect within seconds; follow it in its status."
                },
            };
            (StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(body)).into_response()
        }
    }
}

fn dry_run(job: &Job, estimate: &Estimate) -> DryRun {
    let users = estimate.statistics.total_users_affected;
    DryRun {
        job_id: job.id.to_string(),
        status: "dry_run_completed",
        would_affect: (&estimate.statistics).into(),
        includes: Includes {
            you: estimate.includes_you,
            admins: estimate.includes_admins,
            // A group has members, and service tokens have no user.
            service_tokens: false,
        },
        warnings: warnings(&estimate.statistics, estimate.includes_you, estimate.includes_admins),
        plan_id: job.id.to_string(),
        plan_expires_at: job.completed_at.unwrap_or(job.created_at) + PLAN_LIFETIME,
        confirmation_code: confirmation_code(&job.conditions, users),
    }
}

/// A job's status (`[API-6]`).
#[derive(Debug, Serialize)]
pub struct JobStatus {
    job_id: String,
    #[serde(rename = "type")]
    job_type: &'static str,
    status: Status,
    priority: Priority,
    dry_run: bool,
    progress: u8,
    initiated_by: Actor,
    reason: String,
    conditions: serde_json::Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    statistics: Option<Statistics>,
    #[serde(skip_serializing_if = "Option::is_none")]
    would_affect: Option<WouldAffect>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan_expires_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmation_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_details: Option<String>,
    created_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    effective_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_at: Option<DateTime<Utc>>,
}

impl JobStatus {
    /// The status of a job with these numbers.
    pub fn new(job: Job, tally: &Tally) -> Self {
        let counted = job.dry_run && job.status == Status::Completed;
        let users = tally.statistics.total_users_affected;
        Self {
            job_id: job.id.to_string(),
            job_type: job.conditions.job_type(),
            status: job.status,
            priority: job.priority,
            dry_run: job.dry_run,
            progress: tally.progress(&job),
            conditions: conditions(&job.conditions, job.notify_users),
            statistics: (!job.dry_run).then_some(tally.statistics),
            would_affect: counted.then(|| (&tally.statistics).into()),
            plan_id: counted.then(|| job.id.to_string()),
            plan_expires_at: counted.then(|| job.completed_at.unwrap_or(job.created_at) + PLAN_LIFETIME),
            confirmation_code: if counted { confirmation_code(&job.conditions, users) } else { None },
            error_details: (tally.failed > 0).then(|| {
                format!(
                    "{} of {} chunks could not be settled and wait among the dead letters",
                    tally.failed, job.plan.chunks
                )
            }),
            initiated_by: job.initiated_by,
            reason: job.reason,
            created_at: job.created_at,
            effective_at: job.effective_at,
            started_at: job.started_at,
            completed_at: job.completed_at,
        }
    }
}

fn conditions(conditions: &Conditions, notify_users: bool) -> serde_json::Value {
    match conditions {
        Conditions::GroupBased { group_id, include_subgroups, exclude_admin_users } => serde_json::json!({
            "group_id": group_id,
            "include_subgroups": include_subgroups,
            "exclude_admin_users": exclude_admin_users,
            "notify_users": notify_users,
        }),
    }
}
