//! A batch logout job: its states, what it asks for and what it did.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::conditions::Conditions;
use crate::directory::Actor;
use crate::ids::{JobId, UserId};
use crate::notify::NoticeCounts;
use crate::time::Epoch;
use crate::token::Owner;

/// Users in one chunk, the unit of fan-out (spec §1).
pub const CHUNK_USERS: usize = 100;

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
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Processing, Self::Completed, Self::Failed, Self::Cancelled];

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
    /// All of them, the most urgent last.
    pub const ALL: [Self; 3] = [Self::Normal, Self::High, Self::Immediate];

    /// The priority as the contract spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::High => "high",
            Self::Immediate => "immediate",
        }
    }
}

/// What was done to one owner of tokens, or would be (`[SCOPE-7]`): facts, never averages.
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
    /// Whether nothing was lost: such an owner is neither counted nor mailed.
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }

    /// Field by field the larger: what a job did only grows, so of two views of it the larger is nearer to the truth.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        self.zip(other, u64::max)
    }

    fn zip(self, other: Self, choose: fn(u64, u64) -> u64) -> Self {
        Self {
            access_tokens: choose(self.access_tokens, other.access_tokens),
            refresh_tokens: choose(self.refresh_tokens, other.refresh_tokens),
            sessions: choose(self.sessions, other.sessions),
        }
    }
}

impl std::ops::AddAssign for Facts {
    fn add_assign(&mut self, other: Self) {
        *self = self.zip(other, |a, b| a + b);
    }
}

/// The sum over owners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Statistics {
    /// Users who lost something.
    pub total_users_affected: u64,
    /// Access tokens revoked, service tokens among them.
    pub access_tokens_revoked: u64,
    /// Refresh tokens revoked, service tokens among them.
    pub refresh_tokens_revoked: u64,
    /// Sessions ended.
    pub sessions_terminated: u64,
    /// Chunks that could not be settled.
    pub errors: u64,
    /// The tokens among them that belong to no user.
    #[serde(default)]
    pub service: Facts,
    /// Affected users who are admins. Counted by dry runs alone.
    #[serde(default)]
    pub admins: u64,
    /// 1 if whoever asked is among the affected users. Counted by dry runs alone.
    #[serde(default)]
    pub you: u64,
}

impl Statistics {
    /// Adds what one owner lost.
    pub fn add(&mut self, owner: &Owner, facts: Facts) {
        if facts.is_nothing() {
            return;
        }
        match owner {
            Owner::User(_) => self.total_users_affected += 1,
            Owner::Service(_) => self.service += facts,
        }
        self.access_tokens_revoked += facts.access_tokens;
        self.refresh_tokens_revoked += facts.refresh_tokens;
        self.sessions_terminated += facts.sessions;
    }

    /// Adds what one owner would lose, and notes whether that is whoever asked, or an admin.
    pub fn add_counted(&mut self, owner: &Owner, facts: Facts, you: &UserId, admins: &BTreeSet<UserId>) {
        self.add(owner, facts);
        if let (Some(user), false) = (owner.user(), facts.is_nothing()) {
            self.you += u64::from(user == you);
            self.admins += u64::from(admins.contains(user));
        }
    }

    /// All tokens, of either kind.
    pub fn tokens(&self) -> u64 {
        self.access_tokens_revoked + self.refresh_tokens_revoked
    }

    /// Field by field what `choose` makes of both.
    #[must_use]
    pub fn zip(self, other: Self, choose: fn(u64, u64) -> u64) -> Self {
        Self {
            total_users_affected: choose(self.total_users_affected, other.total_users_affected),
            access_tokens_revoked: choose(self.access_tokens_revoked, other.access_tokens_revoked),
            refresh_tokens_revoked: choose(self.refresh_tokens_revoked, other.refresh_tokens_revoked),
            sessions_terminated: choose(self.sessions_terminated, other.sessions_terminated),
            errors: choose(self.errors, other.errors),
            service: self.service.zip(other.service, choose),
            admins: choose(self.admins, other.admins),
            you: choose(self.you, other.you),
        }
    }
}

impl<'a> FromIterator<(&'a Owner, Facts)> for Statistics {
    fn from_iter<I: IntoIterator<Item = (&'a Owner, Facts)>>(owners: I) -> Self {
        let mut sum = Self::default();
        for (owner, facts) in owners {
            sum.add(owner, facts);
        }
        sum
    }
}

impl std::ops::AddAssign for Statistics {
    fn add_assign(&mut self, other: Self) {
        *self = self.zip(other, |a, b| a + b);
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
}

/// The end of a job by an admin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancelled {
    /// When: no chunk starts after this.
    pub at: DateTime<Utc>,
    /// Who.
    pub by: Actor,
    /// Why, in the admin's words.
    pub reason: String,
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
    /// Who cancelled it, when and why.
    pub cancelled: Option<Cancelled>,
    /// How far planning has come.
    pub plan: PlanCursor,
    /// Whether every chunk has been handed to the queue at least once.
    pub emitted: bool,
    /// When the re-drive last sent its messages again.
    pub redriven_at: Option<DateTime<Utc>>,
}

impl Job {
    /// A job as it is accepted.
    pub fn new(id: JobId, conditions: Conditions, initiated_by: Actor, reason: String, now: DateTime<Utc>) -> Self {
        Self {
            id,
            conditions,
            status: Status::Pending,
            priority: Priority::Normal,
            dry_run: false,
            reason,
            notify_users: false,
            initiated_by,
            created_at: now,
            started_at: None,
            effective_at: None,
            completed_at: None,
            cancelled: None,
            plan: PlanCursor::default(),
            emitted: false,
            redriven_at: None,
        }
    }

    /// The second up to which sign-ins are covered.
    pub fn cutoff_at(&self) -> Epoch {
        self.created_at.into()
    }

    /// Whether it has to make something effective and has not yet.
    pub fn waits_for_effect(&self) -> bool {
        !self.dry_run && self.effective_at.is_none()
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
    /// Its first user; none for a part of a table or index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_user: Option<UserId>,
}

/// What is needed to tell a chunk's affected users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeRef {
    /// The job.
    pub job_id: JobId,
    /// The chunk's number.
    pub chunk: u32,
    /// The users up to this one have been told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<UserId>,
}

/// How a chunk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChunkOutcome {
    /// Every covered row of it says revoked.
    Done,
    /// Tried as often as the queue allows.
    Failed,
    /// The job was cancelled before all of it was settled; what was left has been counted.
    Cancelled,
}

/// The final record of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkResult {
    /// How it ended.
    pub outcome: ChunkOutcome,
    /// What was revoked, or would be.
    pub statistics: Statistics,
    /// What a cancelled job left alone.
    pub left: Statistics,
}

impl ChunkResult {
    /// A settled chunk's.
    pub fn done(statistics: Statistics) -> Self {
        Self { outcome: ChunkOutcome::Done, statistics, left: Statistics::default() }
    }
}

/// What became of what an affected owner holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fate {
    /// Revoked, or in a dry run: would be.
    Lost,
    /// Left alone, because the job was cancelled first.
    Left,
}

/// The sum over a job's chunk results, and over its notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Chunks settled.
    pub done: u64,
    /// Chunks given up.
    pub failed: u64,
    /// Chunks counted after the job was cancelled.
    pub cancelled: u64,
    /// What was revoked, or would be.
    pub statistics: Statistics,
    /// What a cancelled job left alone.
    pub left: Statistics,
    /// What became of the notices to affected users. They may still grow when the job has ended.
    pub notices: NoticeCounts,
}

impl Tally {
    /// Adds a chunk's result.
    pub fn add(&mut self, result: &ChunkResult) {
        match result.outcome {
            ChunkOutcome::Done => self.done += 1,
            ChunkOutcome::Failed => self.failed += 1,
            ChunkOutcome::Cancelled => self.cancelled += 1,
        }
        self.statistics += result.statistics;
        self.left += result.left;
    }

    /// Whether every chunk of a job has a result.
    pub fn is_complete(&self, job: &Job) -> bool {
        job.plan.frozen && self.done + self.failed + self.cancelled >= u64::from(job.plan.chunks)
    }

    /// Whole percent of the chunks that are through; 100 only for a job that has ended by itself.
    pub fn progress(&self, job: &Job) -> u8 {
        if matches!(job.status, Status::Completed | Status::Failed) {
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
    use crate::cutoff::Kinds;
    use crate::source::{IdSource as _, SystemIds};

    #[test]
    fn api_6_progress_is_that_of_the_chunks_and_whole_only_when_the_job_has_ended_by_itself() {
        use Status as S;
        let conditions =
            Conditions::TimeBased { created_before: None, last_used_before: None, token_types: Kinds::Both };
        let of = |status, chunks, frozen, done, failed| {
            let job = Job::new(
                SystemIds.job_id(),
                conditions.clone(),
                Actor::schedule(),
                String::new(),
                DateTime::UNIX_EPOCH,
            );
            let plan = PlanCursor { chunks, frozen, ..PlanCursor::default() };
            Tally { done, failed, ..Tally::default() }.progress(&Job { status, plan, ..job })
        };
        assert_eq!(of(S::Pending, 0, false, 0, 0), 0);
        assert_eq!(of(S::Processing, 2, false, 2, 0), 0, "nobody knows yet of how many");
        assert_eq!(of(S::Processing, 0, true, 0, 0), 0);
        assert_eq!(of(S::Processing, 3, true, 1, 0), 33);
        assert_eq!(of(S::Processing, 200, true, 50, 51), 50, "chunks that were given up are through, too");
        assert_eq!(of(S::Processing, 200, true, 200, 0), 99, "it has still to be closed");
        assert_eq!(of(S::Cancelled, 4, true, 1, 0), 25);
        assert_eq!([of(S::Completed, 3, true, 0, 0), of(S::Failed, 3, true, 0, 0)], [100, 100]);
    }

    #[test]
    fn api_1_a_priority_is_called_the_same_in_requests_and_answers() {
        for priority in Priority::ALL {
            assert_eq!(serde_json::to_value(priority).ok(), Some(priority.as_str().into()));
        }
    }

    #[test]
    fn api_6_states_go_only_forward() {
        use Status as S;
        let allowed = [
            (S::Pending, S::Processing),
            (S::Pending, S::Cancelled),
            (S::Pending, S::Failed),
            (S::Processing, S::Completed),
            (S::Processing, S::Failed),
            (S::Processing, S::Cancelled),
            (S::Failed, S::Completed),
        ];
        for from in S::ALL {
            for to in S::ALL {
                assert_eq!(from.may_become(to), allowed.contains(&(from, to)), "{from:?} → {to:?}");
            }
        }
    }
}
