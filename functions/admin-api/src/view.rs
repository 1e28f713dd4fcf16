//! What callers see of jobs.

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use domain::accept::{Accepted, PLAN_LIFETIME, Size, UNCONFIRMED_USERS, warnings};
use domain::conditions::{Conditions, JobType};
use domain::directory::Actor;
use domain::job::{self, Job, Tally};
use domain::notify::NoticeCounts;
use http::{StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::BASE;

macro_rules! names {
    ($(#[$doc:meta])* $name:ident of $domain:ty { $($(#[$of:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$of])* $variant),+ }

        impl From<$domain> for $name {
            fn from(value: $domain) -> Self {
                match value { $(<$domain>::$variant => Self::$variant),+ }
            }
        }

        impl From<$name> for $domain {
            fn from(value: $name) -> Self {
                match value { $($name::$variant => Self::$variant),+ }
            }
        }
    };
}

pub(crate) use names;

names!(
    /// Where a job stands.
    StatusName of job::Status {
        /// Accepted, not begun.
        Pending,
        /// Being planned or settled.
        Processing,
        /// Settled.
        Completed,
        /// Some chunk could not be settled; the rest is.
        Failed,
        /// Stopped by an admin.
        Cancelled,
    }
);
names!(
    /// The kinds of job.
    JobTypeName of JobType {
        /// A group's members.
        GroupBased,
        /// A client's tokens.
        ClientBased,
        /// Old or unused tokens.
        TimeBased,
        /// Several conditions at once.
        Conditional,
        /// Everything.
        Emergency,
    }
);
names!(
    /// How urgent a job is.
    PriorityName of job::Priority {
        /// The default of most jobs.
        Normal,
        /// Before normal ones.
        High,
        /// An emergency.
        Immediate,
    }
);

/// The answer to an accepted job (`[API-2]`).
#[derive(Debug, Serialize, ToSchema)]
pub struct JobAccepted {
    /// The job.
    job_id: String,
    /// Its state.
    status: StatusName,
    /// How urgent it is.
    priority: PriorityName,
    /// Since when every verifier refuses what it covers, if it is so already.
    #[serde(skip_serializing_if = "Option::is_none")]
    effective_at: Option<DateTime<Utc>>,
    /// Users it affects at most, where that could be known at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_affected_users: Option<u64>,
    /// Tokens it affects, where that could be known at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_affected_tokens: Option<u64>,
    /// What happens next, in words.
    message: String,
}

/// Users, tokens and sessions.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct Numbers {
    /// Users who lose something.
    users: u64,
    /// Access tokens, service tokens among them.
    access_tokens: u64,
    /// Refresh tokens.
    refresh_tokens: u64,
    /// Sessions.
    sessions: u64,
}

impl From<&job::Statistics> for Numbers {
    fn from(statistics: &job::Statistics) -> Self {
        Self {
            users: statistics.total_users_affected,
            access_tokens: statistics.access_tokens_revoked,
            refresh_tokens: statistics.refresh_tokens_revoked,
            sessions: statistics.sessions_terminated,
        }
    }
}

/// Who is in it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Includes {
    /// Whoever asked.
    you: bool,
    /// An admin.
    admins: bool,
    /// A token without a user.
    service_tokens: bool,
}

impl Includes {
    fn of(statistics: &job::Statistics) -> Self {
        Self {
            you: statistics.you > 0,
            admins: statistics.admins > 0,
            service_tokens: !statistics.service.is_nothing(),
        }
    }
}

/// The result of a dry run (`[API-3]`).
#[derive(Debug, Serialize, ToSchema)]
pub struct DryRun {
    /// The dry run, which is kept as a job.
    job_id: String,
    /// `dry_run_completed`
    status: &'static str,
    /// What the job would end.
    would_affect: Numbers,
    /// Who is in it.
    includes: Includes,
    /// What to know before executing it.
    warnings: Vec<String>,
    /// To be sent when it is executed.
    plan_id: String,
    /// Until when it can be executed.
    plan_expires_at: DateTime<Utc>,
    /// To be sent when it is executed, if it is large.
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmation_code: Option<String>,
}

/// The code that a job of this size needs, if it needs one.
fn confirmation_code(conditions: &Conditions, users: u64) -> Option<String> {
    let needed = users > UNCONFIRMED_USERS && conditions.job_type() != JobType::Emergency;
    needed.then(|| conditions.confirmation_code(users))
}

/// The answer to an accepted request.
pub fn accepted(accepted: Accepted) -> Response {
    match accepted {
        Accepted::Counted { job, statistics } => Json(DryRun::new(&job, &statistics)).into_response(),
        Accepted::Started { job, size } => {
            let location = format!("{BASE}/jobs/{}", job.id);
            (StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(JobAccepted::new(&job, size))).into_response()
        }
    }
}

impl JobAccepted {
    fn new(job: &Job, size: Size) -> Self {
        let message = match (job.dry_run, job.effective_at) {
            (true, _) => "The dry run is being counted; its result will be in the job's status.",
            (false, Some(_)) => {
                "The job is effective: what it covers is refused everywhere. Its rows are being settled."
            }
            (false, None) => "The job is accepted and takes effect within seconds; follow it in its status.",
        };
        Self {
            job_id: job.id.to_string(),
            status: job.status.into(),
            priority: job.priority.into(),
            effective_at: job.effective_at,
            estimated_affected_users: size.users,
            estimated_affected_tokens: size.tokens,
            message: message.to_owned(),
        }
    }
}

impl DryRun {
    fn new(job: &Job, statistics: &job::Statistics) -> Self {
        let includes = Includes::of(statistics);
        Self {
            job_id: job.id.to_string(),
            status: "dry_run_completed",
            would_affect: statistics.into(),
            warnings: warnings(statistics, includes.you, includes.admins),
            includes,
            plan_id: job.id.to_string(),
            plan_expires_at: job.completed_at.unwrap_or(job.created_at) + PLAN_LIFETIME,
            confirmation_code: confirmation_code(&job.conditions, statistics.total_users_affected),
        }
    }
}

/// Who started or stopped a job.
#[derive(Debug, Serialize, ToSchema)]
pub struct ActorView {
    /// User id.
    id: String,
    /// E-mail address.
    email: Option<String>,
    /// Name.
    name: Option<String>,
}

impl From<Actor> for ActorView {
    fn from(actor: Actor) -> Self {
        Self { id: actor.id.to_string(), email: actor.email, name: actor.name }
    }
}

/// What a job did so far: facts, never averages (`[SCOPE-7]`).
#[derive(Debug, Serialize, ToSchema)]
pub struct StatisticsView {
    /// Users who lost something.
    total_users_affected: u64,
    /// Access tokens revoked, service tokens among them.
    access_tokens_revoked: u64,
    /// Refresh tokens revoked.
    refresh_tokens_revoked: u64,
    /// Sessions ended.
    sessions_terminated: u64,
    /// Mails sent.
    notifications_sent: u64,
    /// Chunks that could not be settled.
    errors: u64,
}

impl From<&Tally> for StatisticsView {
    fn from(tally: &Tally) -> Self {
        let statistics = &tally.statistics;
        Self {
            total_users_affected: statistics.total_users_affected,
            access_tokens_revoked: statistics.access_tokens_revoked,
            refresh_tokens_revoked: statistics.refresh_tokens_revoked,
            sessions_terminated: statistics.sessions_terminated,
            notifications_sent: tally.notices.sent,
            errors: statistics.errors,
        }
    }
}

/// What became of the mails to affected users (`[MAIL-3]`).
#[derive(Debug, Serialize, ToSchema)]
pub struct NotificationsView {
    /// Sent.
    sent: u64,
    /// Refused by the mail service.
    rejected: u64,
    /// Perhaps sent, perhaps not: whoever sent them was interrupted. They are never sent again.
    unknown: u64,
    /// Users without an address.
    without_address: u64,
}

impl From<NoticeCounts> for NotificationsView {
    fn from(counts: NoticeCounts) -> Self {
        Self {
            sent: counts.sent,
            rejected: counts.rejected,
            unknown: counts.unknown,
            without_address: counts.unaddressed,
        }
    }
}

/// What a cancel stopped.
#[derive(Debug, Serialize, ToSchema)]
pub struct Cancellation {
    /// Who cancelled.
    cancelled_by: ActorView,
    /// Why.
    reason: String,
    /// Chunks that were planned.
    chunks_planned: u64,
    /// Chunks that were settled.
    chunks_settled: u64,
    /// What was revoked.
    revoked: Numbers,
    /// What was left alone, as far as it is counted.
    not_revoked: Numbers,
    /// Whether all of it is counted: then both together are what was planned.
    counted: bool,
    /// Whether cutoffs were written. They stand: what they hit is refused although its rows were left alone.
    cutoffs_stand: bool,
}

impl Cancellation {
    /// What a cancelled job did and did not.
    pub fn of(job: &Job, tally: &Tally) -> Option<Self> {
        let cancelled = job.cancelled.clone()?;
        let planned = u64::from(job.plan.chunks);
        Some(Self {
            cancelled_by: cancelled.by.into(),
            reason: cancelled.reason,
            chunks_planned: planned,
            chunks_settled: tally.done,
            revoked: (&tally.statistics).into(),
            not_revoked: (&tally.left).into(),
            counted: tally.done + tally.failed + tally.cancelled >= planned,
            cutoffs_stand: !job.dry_run && (job.effective_at.is_some() || planned > 0),
        })
    }
}

/// A job's status (`[API-6]`).
#[derive(Debug, Serialize, ToSchema)]
pub struct JobStatus {
    /// The job.
    job_id: String,
    /// Its kind.
    #[serde(rename = "type")]
    job_type: JobTypeName,
    /// Where it stands.
    status: StatusName,
    /// How urgent it is.
    priority: PriorityName,
    /// Whether it only counts.
    dry_run: bool,
    /// Percent of its chunks that are through.
    #[schema(maximum = 100)]
    progress: u8,
    /// Who asked.
    initiated_by: ActorView,
    /// Why.
    reason: String,
    /// What it was asked for.
    conditions: serde_json::Value,
    /// What it did. Not of dry runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    statistics: Option<StatisticsView>,
    /// What became of the mails to those it affected, if they were to get any. May still change when the job has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    notifications: Option<NotificationsView>,
    /// What it would do. Of dry runs that are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    would_affect: Option<Numbers>,
    /// Who is in it. Of dry runs that are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    includes: Option<Includes>,
    /// What to know before executing it. Of dry runs that are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    warnings: Option<Vec<String>>,
    /// To be sent when it is executed. Of dry runs that are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan_id: Option<String>,
    /// Until when it can be executed.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan_expires_at: Option<DateTime<Utc>>,
    /// To be sent when it is executed, if it is large.
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmation_code: Option<String>,
    /// What a cancel stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    cancellation: Option<Cancellation>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_details: Option<String>,
    /// When it was accepted.
    created_at: DateTime<Utc>,
    /// From when on every verifier refuses what it covers.
    #[serde(skip_serializing_if = "Option::is_none")]
    effective_at: Option<DateTime<Utc>>,
    /// When the planner began.
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<DateTime<Utc>>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_at: Option<DateTime<Utc>>,
    /// When it was cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled_at: Option<DateTime<Utc>>,
}

impl JobStatus {
    /// The status of a job with these numbers.
    pub fn new(job: Job, tally: &Tally) -> Self {
        let counted = (job.dry_run && job.status == job::Status::Completed).then_some(&tally.statistics);
        let includes = counted.map(Includes::of);
        Self {
            job_id: job.id.to_string(),
            job_type: job.conditions.job_type().into(),
            status: job.status.into(),
            priority: job.priority.into(),
            dry_run: job.dry_run,
            progress: tally.progress(&job),
            conditions: conditions(&job),
            statistics: (!job.dry_run).then(|| tally.into()),
            notifications: (job.notify_users && !job.dry_run).then(|| tally.notices.into()),
            would_affect: counted.map(Numbers::from),
            warnings: counted
                .zip(includes.as_ref())
                .map(|(statistics, includes)| warnings(statistics, includes.you, includes.admins)),
            includes,
            plan_id: counted.map(|_| job.id.to_string()),
            plan_expires_at: counted.map(|_| job.completed_at.unwrap_or(job.created_at) + PLAN_LIFETIME),
            confirmation_code: counted
                .and_then(|statistics| confirmation_code(&job.conditions, statistics.total_users_affected)),
            cancellation: Cancellation::of(&job, tally),
            error_details: (tally.failed > 0).then(|| {
                format!(
                    "{} of {} chunks could not be settled and wait among the dead letters",
                    tally.failed, job.plan.chunks
                )
            }),
            initiated_by: job.initiated_by.into(),
            reason: job.reason,
            created_at: job.created_at,
            effective_at: job.effective_at,
            started_at: job.started_at,
            completed_at: job.completed_at,
            cancelled_at: job.cancelled.map(|cancelled| cancelled.at),
        }
    }
}

/// The conditions as they were asked for, without the kind, which has a member of its own.
fn conditions(job: &Job) -> serde_json::Value {
    let mut conditions = serde_json::to_value(&job.conditions).unwrap_or_default();
    if let Some(members) = conditions.as_object_mut() {
        members.remove("job_type");
        members.insert("notify_users".to_owned(), job.notify_users.into());
        if let Conditions::TimeBased { token_types, .. } = &job.conditions {
            members.insert("token_types".to_owned(), token_types.names().into());
        }
    }
    conditions
}
