//! A batch logout job: its states, what it asks for and what it did.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::cutoff::{Basis, Cutoff, Kinds, LEEWAY_SECONDS, Scope, Spares};
use crate::directory::Actor;
use crate::ids::{GroupId, JobId, UserId};
use crate::time::Epoch;

/// Users in one chunk, the unit of fan-out (spec §1).
pub const CHUNK_USERS: usize = 100;

/// What a job asks for, by kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "job_type", rename_all = "snake_case")]
pub enum Conditions {
    /// All tokens and sessions of a group's members (`[SCOPE-1]`).
    GroupBased {
        /// The group.
        group_id: GroupId,
        /// Members of its descendants, too.
        include_subgroups: bool,
        /// Members who are admins keep their sessions.
        exclude_admin_users: bool,
    },
}

impl Conditions {
    /// The kind of job, as the contract names it.
    pub fn job_type(&self) -> &'static str {
        match self {
            Self::GroupBased { .. } => "group_based",
        }
    }

    /// What a large job must be confirmed with (`[API-4]`).
    pub fn confirmation_code(&self, users: u64) -> String {
        format!("CONFIRM_{}_{users}", self.job_type().to_uppercase())
    }
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
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

impl Status {
    /// The state as the contract spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether a job may go from one state to another (`[API-6]`); a failed job completes when its dead letters are redriven.
    pub fn may_become(self, next: Self) -> bool {
        use Status as S;
        match self {
            S::Pending => matches!(next, S::Processing | S::Cancelled | S::Failed),
            S::Processing => matches!(next, S::Completed | S::Failed | S::Cancelled),
            S::Failed => next == S::Completed,
            S::Completed | S::Cancelled => false,
        }
    }

    /// Whether there is still work to do.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Processing)
    }
}

/// How urgent a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// The default.
    Normal,
    /// Before normal ones.
    High,
    /// Emergency.
    Immediate,
}

impl Priority {
    /// The priority as the contract spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::High => "high",
            Self::Immediate => "immediate",
        }
    }
}

/// What was done to one user, or would be (`[SCOPE-7]`): facts, never averages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Facts {
    /// Access tokens this job revoked.
    pub access_tokens: u64,
    /// Refresh tokens this job revoked.
    pub refresh_tokens: u64,
    /// Sessions this job ended.
    pub sessions: u64,
}

impl Facts {
    /// Whether nothing was lost: such a user is neither counted nor mailed.
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }

    /// Field by field the larger: what a job did only grows, so of two views of it the larger is nearer to the truth.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            access_tokens: self.access_tokens.max(other.access_tokens),
            refresh_tokens: self.refresh_tokens.max(other.refresh_tokens),
            sessions: self.sessions.max(other.sessions),
        }
    }
}

/// The sum over users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Statistics {
    /// Users who lost something.
    pub total_users_affected: u64,
    /// Access tokens revoked.
    pub access_tokens_revoked: u64,
    /// Refresh tokens revoked.
    pub refresh_tokens_revoked: u64,
    /// Sessions ended.
    pub sessions_terminated: u64,
    /// Mails sent.
    pub notifications_sent: u64,
    /// Chunks that could not be settled.
    pub errors: u64,
}

impl Statistics {
    /// Adds what one user lost.
    pub fn add_user(&mut self, facts: Facts) {
        if !facts.is_nothing() {
            self.total_users_affected += 1;
            self.access_tokens_revoked += facts.access_tokens;
            self.refresh_tokens_revoked += facts.refresh_tokens;
            self.sessions_terminated += facts.sessions;
        }
    }

    /// All tokens, of either kind.
    pub fn tokens(&self) -> u64 {
        self.access_tokens_revoked + self.refresh_tokens_revoked
    }
}

impl FromIterator<Facts> for Statistics {
    fn from_iter<I: IntoIterator<Item = Facts>>(users: I) -> Self {
        let mut sum = Self::default();
        for facts in users {
            sum.add_user(facts);
        }
        sum
    }
}

impl std::ops::AddAssign for Statistics {
    fn add_assign(&mut self, other: Self) {
        self.total_users_affected += other.total_users_affected;
        self.access_tokens_revoked += other.access_tokens_revoked;
        self.refresh_tokens_revoked += other.refresh_tokens_revoked;
        self.sessions_terminated += other.sessions_terminated;
        self.notifications_sent += other.notifications_sent;
        self.errors += other.errors;
    }
}

/// How far the planner has come. Every freeze checks and moves it in one transaction, so that two planners of one
/// job cannot both add the same users.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PlanCursor {
    /// The last user that is in a chunk (users are frozen in the byte order of their ids).
    pub last_user: Option<UserId>,
    /// Chunks frozen so far.
    pub chunks: u32,
    /// Users frozen so far.
    pub users: u64,
    /// Whether all users are frozen.
    pub frozen: bool,
    /// Whether the caller is among them.
    pub includes_you: bool,
    /// Whether an admin is among them.
    pub includes_admins: bool,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What it asks for.
    pub conditions: Conditions,
    /// Where it stands.
    pub status: Status,
    /// How urgent it is.
    pub priority: Priority,
    /// Whether it only counts.
    pub dry_run: bool,
    /// Why, in the admin's words.
    pub reason: String,
    /// Whether affected users get a mail.
    pub notify_users: bool,
    /// Who asked.
    pub initiated_by: Actor,
    /// When it was accepted: what was issued at or before this second is covered.
    pub created_at: DateTime<Utc>,
    /// When the planner began.
    pub started_at: Option<DateTime<Utc>>,
    /// From this moment every verifier refuses every token the job covers.
    pub effective_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub completed_at: Option<DateTime<Utc>>,
    /// How far planning has come.
    pub plan: PlanCursor,
    /// Whether every chunk has been handed to the queue at least once.
    pub emitted: bool,
    /// When the re-drive last sent its messages again.
    pub redriven_at: Option<DateTime<Utc>>,
}

impl Job {
    /// The second up to which sign-ins are covered.
    pub fn cutoff_at(&self) -> Epoch {
        self.created_at.into()
    }

    /// The cutoff this job sets for a scope. `max_sign_in_age` is the age in seconds at which verifiers refuse any
    /// sign-in, so that nothing outlives the cutoff (`[CUT-5]`).
    pub fn cutoff(&self, scope: Scope, max_sign_in_age: i64) -> Cutoff {
        match &self.conditions {
            Conditions::GroupBased { .. } => Cutoff {
                scope,
                basis: Basis::SignIn,
                kinds: Kinds::Both,
                spares: Spares::default(),
                at: self.cutoff_at(),
                job: self.id.clone(),
                retires_at: self.cutoff_at().plus(max_sign_in_age).plus(LEEWAY_SECONDS),
            },
        }
    }
}

/// At most [`CHUNK_USERS`] users of a job, frozen when it was planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Its number, from 0.
    pub number: u32,
    /// Its users, in byte order.
    pub users: Vec<UserId>,
}

impl Chunk {
    /// The first user: the key by which a chunk is found.
    pub fn first_user(&self) -> Option<&UserId> {
        self.users.first()
    }
}

/// What a worker needs to find a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRef {
    /// The job.
    pub job_id: JobId,
    /// The chunk's number.
    pub number: u32,
    /// Its first user.
    pub first_user: UserId,
}

/// How a chunk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChunkOutcome {
    /// Every covered row of it says revoked.
    Done,
    /// Tried as often as the queue allows.
    Failed,
}

/// The final record of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkResult {
    /// How it ended.
    pub outcome: ChunkOutcome,
    /// Its numbers.
    pub statistics: Statistics,
}

/// The sum over a job's chunk results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Chunks settled.
    pub done: u64,
    /// Chunks given up.
    pub failed: u64,
    /// Their numbers.
    pub statistics: Statistics,
}

impl Tally {
    /// Whole percent of the chunks that are through; 100 only for a job that has ended.
    pub fn progress(&self, job: &Job) -> u8 {
        if !job.status.is_open() {
            return 100;
        }
        let total = u64::from(job.plan.chunks);
        if !job.plan.frozen || total == 0 {
            return 0;
        }
        u8::try_from(((self.done + self.failed) * 100 / total).min(99)).unwrap_or(99)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_6_states_go_only_forward() {
        use Status as S;
        let all = [S::Pending, S::Processing, S::Completed, S::Failed, S::Cancelled];
        let allowed = [
            (S::Pending, S::Processing),
            (S::Pending, S::Cancelled),
            (S::Pending, S::Failed),
            (S::Processing, S::Completed),
            (S::Processing, S::Failed),
            (S::Processing, S::Cancelled),
            (S::Failed, S::Completed),
        ];
        for from in all {
            for to in all {
                assert_eq!(from.may_become(to), allowed.contains(&(from, to)), "{from:?} → {to:?}");
            }
        }
    }
}
