//! Where the notice to each affected user stands, and the port that keeps it.
//!
//! A notice is claimed before it is sent. Whoever holds the claim is the only one who ever sends it, so that there is
//! at most one whatever is delivered again; a claim whose holder never said how it ended is a notice of which nobody
//! knows whether it went out. It is counted as that, and never sent again (`[MAIL-3]`).

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::{JobId, UserId};
use crate::ports::{PortResult, Step};

/// Nobody holds a claim for longer while sending: the mail service answers or is given up within seconds.
pub const CLAIM_PATIENCE: TimeDelta = TimeDelta::seconds(45);

/// Whom a notice is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipient<'a> {
    /// The job.
    pub job: &'a JobId,
    /// The chunk in which the user was affected.
    pub chunk: u32,
    /// The user.
    pub user: &'a UserId,
}

/// What a mail carries so that what happens to it finds its row again: nothing that tells who got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The job.
    pub job: JobId,
    /// The chunk.
    pub chunk: u32,
    /// The claim: a random UUID.
    pub claim: String,
}

/// How a try to send ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The mail service took it.
    Sent,
    /// Nobody knows whether the mail service took it.
    Unknown,
    /// The mail service refused it, with this code.
    Rejected(String),
    /// There is no address to send it to.
    NoAddress,
}

/// What went wrong with a mail after the mail service took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// It came back.
    Bounced,
    /// The recipient called it spam.
    Complained,
    /// The mail service thought better of it.
    Refused,
}

/// The notice to one affected user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Since when it is claimed, or when its outcome was noted.
    pub at: DateTime<Utc>,
    /// How it ended; none while it is being sent, and for ever if whoever sent it died.
    pub outcome: Option<Outcome>,
    /// What happened to it later.
    pub trouble: Option<Trouble>,
}

impl Told {
    /// Whether somebody may still be sending it.
    pub fn is_in_flight(&self, now: DateTime<Utc>) -> bool {
        self.outcome.is_none() && now - self.at < CLAIM_PATIENCE
    }

    /// When it was sent, if it is known to have been.
    pub fn sent_at(&self) -> Option<DateTime<Utc>> {
        (self.outcome == Some(Outcome::Sent)).then_some(self.at)
    }
}

/// The notices of a chunk or a job, counted off the affected users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NoticeCounts {
    /// Sent.
    pub sent: u64,
    /// Refused by the mail service.
    pub rejected: u64,
    /// Perhaps sent, perhaps not.
    pub unknown: u64,
    /// Users without an address.
    pub unaddressed: u64,
}

impl NoticeCounts {
    /// Counts one more. One that may still be on its way is not counted yet.
    pub fn add(&mut self, told: &Told, now: DateTime<Utc>) {
        match &told.outcome {
            Some(Outcome::Sent) => self.sent += 1,
            Some(Outcome::Rejected(_)) => self.rejected += 1,
            Some(Outcome::NoAddress) => self.unaddressed += 1,
            None if told.is_in_flight(now) => {}
            Some(Outcome::Unknown) | None => self.unknown += 1,
        }
    }

    /// Field by field what `choose` makes of both.
    #[must_use]
    pub fn zip(self, other: Self, choose: fn(u64, u64) -> u64) -> Self {
        Self {
            sent: choose(self.sent, other.sent),
            rejected: choose(self.rejected, other.rejected),
            unknown: choose(self.unknown, other.unknown),
            unaddressed: choose(self.unaddressed, other.unaddressed),
        }
    }
}

impl std::ops::AddAssign for NoticeCounts {
    fn add_assign(&mut self, other: Self) {
        *self = self.zip(other, |a, b| a + b);
    }
}

/// Keeps where each notice stands, with the affected users, and the sums.
#[async_trait]
pub trait NoticeStore: Send + Sync {
    /// Claims the notice to an affected user. Lost if there is another claim, or no such user. Claiming again with the
    /// same claim does no harm until its outcome is noted.
    async fn claim(&self, of: Recipient<'_>, claim: &str, at: DateTime<Utc>) -> PortResult<Step>;
    /// Gives a claim back whose notice was certainly not sent. Not once its outcome is noted.
    async fn release(&self, of: Recipient<'_>, claim: &str) -> PortResult<()>;
    /// Notes how a claimed notice ended.
    async fn conclude(&self, of: Recipient<'_>, claim: &str, outcome: &Outcome, at: DateTime<Utc>) -> PortResult<()>;
    /// Notes what happened later to the notice of a claim: whether there is one.
    async fn note_trouble(&self, mark: &Mark, trouble: Trouble, at: DateTime<Utc>) -> PortResult<bool>;
    /// The sums of a chunk that are part of its job's.
    async fn notice_counts(&self, job: &JobId, chunk: u32) -> PortResult<NoticeCounts>;
    /// Replaces a chunk's sums and adds the difference to the job's, all or nothing. Lost if the stored ones are no
    /// longer `before`.
    async fn commit_notices(
        &self,
        job: &JobId,
        chunk: u32,
        before: NoticeCounts,
        after: NoticeCounts,
    ) -> PortResult<Step>;
}
