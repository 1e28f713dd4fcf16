//! An entry, and who writes it (`[AUDIT-1]`).

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::conditions::JobType;
use crate::directory::{Actor, User};
use crate::ids::JobId;
use crate::job::{Job, Status, Tally};
use crate::ports::PortResult;
use crate::source::IdSource;
use crate::time::Clock;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A job was accepted, or a dry run made.
    BatchLogoutInitiated,
    /// A job is through.
    BatchLogoutCompleted,
    /// A job is through but for chunks that were given up.
    BatchLogoutFailed,
    /// A job was cancelled.
    BatchLogoutCancelled,
    /// An emergency key was mailed.
    EmergencyKeyGenerated,
    /// An emergency key was wrong, used up or too old.
    EmergencyKeyVerificationFailed,
    /// Somebody asked for what they may not do or see.
    PermissionDenied,
    /// Somebody asked too often.
    RateLimited,
    /// A client revoked a token.
    TokenRevoked,
    /// A user signed out.
    UserLogout,
    /// The trail is not what was written.
    AuditChainBroken,
    /// The cache may forget what it must not.
    CacheNotSafe,
    /// An account is to sign in at its provider.
    AccountSignInStarted,
    /// An account's tokens were obtained.
    AccountSignInCompleted,
    /// An account's sign-in came to nothing.
    AccountSignInFailed,
    /// An account's tokens could not be refreshed.
    AccountRefreshFailed,
    /// Sign-ins that led nowhere were ended.
    AccountSignInsCleanedUp,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::BatchLogoutInitiated,
        Self::BatchLogoutCompleted,
        Self::BatchLogoutFailed,
        Self::BatchLogoutCancelled,
        Self::EmergencyKeyGenerated,
        Self::EmergencyKeyVerificationFailed,
        Self::PermissionDenied,
        Self::RateLimited,
        Self::TokenRevoked,
        Self::UserLogout,
        Self::AuditChainBroken,
        Self::CacheNotSafe,
        Self::AccountSignInStarted,
        Self::AccountSignInCompleted,
        Self::AccountSignInFailed,
        Self::AccountRefreshFailed,
        Self::AccountSignInsCleanedUp,
    ];

    /// The action as the contract spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BatchLogoutInitiated => "batch_logout_initiated",
            Self::BatchLogoutCompleted => "batch_logout_completed",
            Self::BatchLogoutFailed => "batch_logout_failed",
            Self::BatchLogoutCancelled => "batch_logout_cancelled",
            Self::EmergencyKeyGenerated => "emergency_key_generated",
            Self::EmergencyKeyVerificationFailed => "emergency_key_verification_failed",
            Self::PermissionDenied => "permission_denied",
            Self::RateLimited => "rate_limited",
            Self::TokenRevoked => "token_revoked",
            Self::UserLogout => "user_logout",
            Self::AuditChainBroken => "audit_chain_broken",
            Self::CacheNotSafe => "cache_not_safe",
            Self::AccountSignInStarted => "account_sign_in_started",
            Self::AccountSignInCompleted => "account_sign_in_completed",
            Self::AccountSignInFailed => "account_sign_in_failed",
            Self::AccountRefreshFailed => "account_refresh_failed",
            Self::AccountSignInsCleanedUp => "account_sign_ins_cleaned_up",
        }
    }
}

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Everyday.
    Info,
    /// Over a hundred users, or a refusal.
    Warning,
    /// An emergency, or what undermines everything else.
    Critical,
}

impl Level {
    /// The level as it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// How much a job matters that affects so many users, as far as that is known.
    pub(crate) fn of(job: &Job, users: Option<u64>) -> Self {
        match (job.conditions.job_type(), users) {
            (JobType::Emergency, _) if !job.dry_run => Self::Critical,
            (_, Some(users)) if users > 100 => Self::Warning,
            _ => Self::Info,
        }
    }
}

/// Where a request came from, as far as the gateway knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The caller's address.
    pub source_ip: Option<String>,
    /// The caller's program.
    pub user_agent: Option<String>,
    /// The id under which the request is found in the logs.
    pub request_id: Option<String>,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its own id.
    pub id: String,
    /// When.
    pub at: DateTime<Utc>,
    /// What.
    pub action: Action,
    /// How much it matters.
    pub level: Level,
    /// Who.
    pub actor: Actor,
    /// The job it is about.
    pub job_id: Option<JobId>,
    /// Whether it was done or refused.
    pub success: bool,
    /// What else is worth knowing. Never a token or a key.
    pub metadata: serde_json::Value,
    /// Where it came from.
    pub origin: Origin,
}

impl Entry {
    /// The acceptance of a job. `users` are those it affects, where that is known by then.
    pub fn initiated(id: String, job: &Job, users: Option<u64>, origin: Origin) -> Self {
        Self {
            id,
            at: job.created_at,
            action: Action::BatchLogoutInitiated,
            level: Level::of(job, users),
            actor: job.initiated_by.clone(),
            job_id: Some(job.id.clone()),
            success: true,
            metadata: serde_json::json!({
                "conditions": job.conditions,
                "dry_run": job.dry_run,
                "priority": job.priority,
                "reason": job.reason,
                "users": users,
            }),
            origin,
        }
    }

    /// A job's end, and what it did. It comes into a state at most once, so that its id and the state name the entry.
    pub fn closed(job: &Job, to: Status, tally: &Tally, at: DateTime<Utc>) -> Self {
        let success = to == Status::Completed;
        let level = Level::of(job, Some(tally.statistics.total_users_affected));
        Self {
            id: format!("{}#{}", job.id, to.as_str()),
            at,
            action: if success { Action::BatchLogoutCompleted } else { Action::BatchLogoutFailed },
            level: if success { level } else { level.max(Level::Warning) },
            actor: job.initiated_by.clone(),
            job_id: Some(job.id.clone()),
            success,
            metadata: serde_json::json!({
                "chunks_failed": tally.failed,
                "dry_run": job.dry_run,
                "priority": job.priority,
                "statistics": tally.statistics,
            }),
            // No request ends a job.
            origin: Origin::default(),
        }
    }
}

/// Writes entries about requests.
#[derive(Clone)]
pub struct Auditor {
    /// The trail.
    pub log: Arc<dyn AuditLog>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids of entries.
    pub ids: Arc<dyn IdSource>,
}

impl Auditor {
    /// An entry about something that is done now.
    pub fn entry(&self, action: Action, actor: Actor, job_id: Option<JobId>, origin: &Origin) -> Entry {
        Entry {
            id: self.ids.uuid(),
            at: self.clock.now(),
            action,
            level: Level::Info,
            actor,
            job_id,
            success: true,
            metadata: serde_json::Value::Null,
            origin: origin.clone(),
        }
    }

    /// Writes down what was done. That it is done does not depend on it; a failure is logged as an error, which rings.
    pub async fn done(&self, action: Action, actor: Actor, origin: &Origin, metadata: serde_json::Value) {
        let entry = Entry { metadata, ..self.entry(action, actor, None, origin) };
        if let Err(error) = self.log.append(&entry).await {
            tracing::error!(%error, action = action.as_str(), actor = %entry.actor.id, "an entry could not be audited");
        }
    }

    /// Writes down a refusal. It stays a refusal when that fails; the failure is logged as an error, which rings.
    pub async fn refused(
        &self,
        action: Action,
        actor: &User,
        job_id: Option<&JobId>,
        origin: &Origin,
        metadata: serde_json::Value,
    ) {
        let entry = self.entry(action, actor.into(), job_id.cloned(), origin);
        let entry = Entry { level: Level::Warning, success: false, metadata, ..entry };
        if let Err(error) = self.log.append(&entry).await {
            tracing::error!(%error, action = action.as_str(), actor = %actor.id, "a refusal could not be audited");
        }
    }
}

/// The audit trail: entries are added and never changed.
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// Adds an entry at the next place of the writer's chain. If nobody can tell whether an earlier try was written,
    /// the entry may come twice under its id, in two chains, but is never lost.
    async fn append(&self, entry: &Entry) -> PortResult<()>;
}
