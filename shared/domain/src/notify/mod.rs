//! Telling affected users (`[MAIL-3]`): after their chunk is settled, at most once per user and job, and never so that
//! anything else waits for it.
//!
//! One message stands for all affected users of one chunk. Whoever works on it claims a user, sends, and notes how that
//! ended; a message that comes again finds the claims and goes on where there is none. The numbers are read off the
//! affected users afterwards, as everywhere: who counts twice, or late, or for somebody who died, arrives at the same.

mod delivery;
mod standing;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use futures::stream::{self, StreamExt as _};

pub use delivery::{Delivery, MARK_NAMES};
pub use standing::{CLAIM_PATIENCE, Mark, NoticeCounts, NoticeStore, Outcome, Recipient, Told, Trouble};

use crate::conditions::Conditions;
use crate::directory::User;
use crate::error::WorkError;
use crate::ids::{JobId, UserId};
use crate::job::{Job, NoticeRef};
use crate::mail::{NotSent, Post};
use crate::notice::{CleanReason, Notice, clean};
use crate::ports::{Directory, JobStore, PortResult, Step, WorkQueue};
use crate::source::IdSource;
use crate::time::Clock;

/// Affected users read at a time (the directory answers for as many at once).
const PAGE: usize = 100;
/// Mails on their way at the same time: what a worker that dies leaves behind as unknown.
const SENDS_AT_ONCE: usize = 16;
/// How often a commit that lost a race is tried again before the message is left to the queue.
const COMMIT_TRIES: usize = 8;
/// When the mail service takes nothing, the rest waits this long before it is tried again.
const PAUSE: TimeDelta = TimeDelta::minutes(5);

/// What a sender of notices needs.
#[derive(Clone)]
pub struct Notifier {
    /// Jobs and affected users.
    pub jobs: Arc<dyn JobStore>,
    /// Where each notice stands.
    pub notices: Arc<dyn NoticeStore>,
    /// Addresses, languages, names.
    pub directory: Arc<dyn Directory>,
    /// The mail service.
    pub post: Arc<dyn Post>,
    /// Messages to go on with.
    pub queue: Arc<dyn WorkQueue>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Names of claims.
    pub ids: Arc<dyn IdSource>,
    /// What was cleaned last.
    pub kept: Arc<KeptReason>,
}

/// The reason of the job that was last worked on, cleaned: chunks of one job mostly come one after the other.
#[derive(Debug, Default)]
pub struct KeptReason(Mutex<Option<(JobId, CleanReason)>>);

/// What a round of work added to the job's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Round {
    /// Notices counted for the first time.
    pub counted: NoticeCounts,
    /// Whether nothing is left to do; else another message goes on.
    pub finished: bool,
    /// Whether users wait and not one of them could be told: the mail service takes nothing, or lets nobody in.
    pub stalled: bool,
}

/// What all notices of a job say.
struct Letter<'a> {
    job: &'a Job,
    chunk: u32,
    reason: CleanReason,
    client: Option<String>,
}

/// How far a page came.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    told: usize,
    left: usize,
}

impl Notifier {
    /// Tells the affected users of a chunk, as many as can be told before `deadline`.
    pub async fn notify(&self, work: &NoticeRef, deadline: DateTime<Utc>) -> Result<Round, WorkError> {
        let job = self.jobs.get(&work.job_id).await?;
        let job = job.ok_or_else(|| WorkError::Drop(format!("job {} is not known", work.job_id)))?;
        if job.dry_run || !job.notify_users {
            return Err(WorkError::Drop(format!("nobody is to be told of job {}", job.id)));
        }
        let letter = self.letter(&job, work.chunk).await?;
        let (mut place, mut progress) = (work.after.clone(), Progress::default());
        loop {
            let page = self.jobs.affected_users(&job.id, work.chunk, place.as_ref(), PAGE).await?;
            let Some(last) = page.last().map(|last| last.user.clone()) else { break };
            let untold = page.into_iter().filter(|line| line.notice.is_none()).map(|line| line.user).collect();
            let done = self.tell_all(&letter, untold, deadline).await?;
            progress.told += done.told;
            progress.left += done.left;
            if done.left > 0 {
                break;
            }
            place = Some(last);
        }
        let (counted, in_flight) = self.count(&job.id, work.chunk).await?;
        let stalled = progress.left > 0 && progress.told == 0;
        let delay = match (progress.left > 0, in_flight) {
            (true, _) if stalled => Some(PAUSE),
            (true, _) => Some(TimeDelta::zero()),
            (false, true) => Some(CLAIM_PATIENCE),
            (false, false) => None,
        };
        if let Some(delay) = delay {
            self.queue.send_notice(&NoticeRef { after: place, ..work.clone() }, delay).await?;
        }
        let NoticeCounts { sent, rejected, unknown, unaddressed } = counted;
        let left = progress.left;
        tracing::info!(job_id = %job.id, chunk = work.chunk, sent, rejected, unknown, unaddressed, left, "users told");
        Ok(Round { counted, finished: delay.is_none(), stalled })
    }

    /// Notes what happened to a mail after it was sent.
    pub async fn note(&self, delivery: &Delivery) -> Result<(), WorkError> {
        let Delivery { mark, trouble } = delivery;
        if !self.notices.note_trouble(mark, *trouble, self.clock.now()).await? {
            return Err(WorkError::Drop(format!("no notice of job {} has the claim {}", mark.job, mark.claim)));
        }
        tracing::warn!(job_id = %mark.job, chunk = mark.chunk, ?trouble, "a notice did not arrive as it should");
        Ok(())
    }

    async fn letter<'a>(&self, job: &'a Job, chunk: u32) -> PortResult<Letter<'a>> {
        let client = match &job.conditions {
            Conditions::ClientBased { client_id, .. } => {
                self.directory.client(client_id).await?.and_then(|client| client.name)
            }
            _ => None,
        };
        Ok(Letter { job, chunk, reason: self.reason(job).await?, client })
    }

    async fn reason(&self, job: &Job) -> PortResult<CleanReason> {
        let kept = self.kept.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, reason)) = kept.filter(|(id, _)| id == &job.id) {
            return Ok(reason);
        }
        let also: Vec<&str> = job.initiated_by.name.as_deref().into_iter().collect();
        let reason = clean(&job.reason, &also, self.directory.as_ref()).await?;
        let kept = Some((job.id.clone(), reason.clone()));
        *self.kept.0.lock().unwrap_or_else(PoisonError::into_inner) = kept;
        Ok(reason)
    }

    async fn tell_all(
        &self,
        letter: &Letter<'_>,
        untold: Vec<UserId>,
        deadline: DateTime<Utc>,
    ) -> Result<Progress, WorkError> {
        if untold.is_empty() {
            return Ok(Progress::default());
        }
        let known = self.directory.users(&untold).await?.into_iter();
        let mut known: HashMap<UserId, User> = known.map(|user| (user.id.clone(), user)).collect();
        let users: Vec<User> =
            untold.into_iter().map(|id| known.remove(&id).unwrap_or_else(|| User::unknown(id))).collect();
        // All of them come to their end, also if one fails: what is dropped half-way would be unknown for ever.
        let ended: Vec<PortResult<bool>> = stream::iter(&users)
            .map(|user| self.tell(letter, user, deadline))
            .buffer_unordered(SENDS_AT_ONCE)
            .collect()
            .await;
        let mut progress = Progress::default();
        for told in ended {
            if told? { progress.told += 1 } else { progress.left += 1 }
        }
        Ok(progress)
    }

    /// Tells one user. False if there was no time for it.
    async fn tell(&self, letter: &Letter<'_>, user: &User, deadline: DateTime<Utc>) -> PortResult<bool> {
        let of = Recipient { job: &letter.job.id, chunk: letter.chunk, user: &user.id };
        let Some(address) = user.email.as_deref().filter(|address| !address.trim().is_empty()) else {
            let claim = self.ids.uuid();
            if self.claim(of, &claim).await? == Step::Taken {
                self.notices.conclude(of, &claim, &Outcome::NoAddress, self.clock.now()).await?;
            }
            return Ok(true);
        };
        let notice = Notice::Logout {
            kind: letter.job.conditions.job_type(),
            job: &letter.job.id,
            name: user.name.as_deref(),
            client: letter.client.as_deref(),
            reason: &letter.reason,
            at: letter.job.effective_at.unwrap_or(letter.job.created_at),
        };
        let mail = notice.mail(address, user.locale.as_deref());
        loop {
            // The wait for one's turn comes before the claim, so that whoever dies waiting leaves nothing unknown.
            if !self.post.turn(deadline).await {
                return Ok(false);
            }
            let claim = self.ids.uuid();
            if self.claim(of, &claim).await? == Step::Lost {
                return Ok(true);
            }
            let mark = Mark { job: of.job.clone(), chunk: of.chunk, claim };
            let outcome = match self.post.post(&mail, &mark).await {
                Ok(()) => Outcome::Sent,
                Err(NotSent::Later(cause)) => {
                    tracing::debug!(job_id = %of.job, cause, "a notice has to wait");
                    self.notices.release(of, &mark.claim).await?;
                    continue;
                }
                Err(NotSent::Rejected(code)) => {
                    tracing::warn!(job_id = %of.job, chunk = of.chunk, code, "a notice was refused");
                    Outcome::Rejected(code)
                }
                Err(NotSent::Unknown(cause)) => {
                    tracing::warn!(job_id = %of.job, chunk = of.chunk, cause, "nobody knows whether a notice was sent");
                    Outcome::Unknown
                }
            };
            self.notices.conclude(of, &mark.claim, &outcome, self.clock.now()).await?;
            return Ok(true);
        }
    }

    async fn claim(&self, of: Recipient<'_>, claim: &str) -> PortResult<Step> {
        let claimed = self.notices.claim(of, claim, self.clock.now()).await;
        if claimed.is_err() && self.notices.release(of, claim).await.is_err() {
            tracing::warn!(job_id = %of.job, chunk = of.chunk, "a claim may stand though nothing was sent");
        }
        claimed
    }

    /// Brings the numbers in line with the affected users. Says what was added, and whether somebody is still sending.
    async fn count(&self, job: &JobId, chunk: u32) -> Result<(NoticeCounts, bool), WorkError> {
        for _ in 0..COMMIT_TRIES {
            // In this order: whoever commits in between makes this commit fail.
            let before = self.notices.notice_counts(job, chunk).await?;
            let (mut after, mut in_flight) = (NoticeCounts::default(), false);
            let mut place: Option<UserId> = None;
            loop {
                let page = self.jobs.affected_users(job, chunk, place.as_ref(), PAGE).await?;
                let now = self.clock.now();
                for told in page.iter().filter_map(|line| line.notice.as_ref()) {
                    after.add(told, now);
                    in_flight |= told.is_in_flight(now);
                }
                match page.into_iter().next_back() {
                    Some(last) => place = Some(last.user),
                    None => break,
                }
            }
            if before == after || self.notices.commit_notices(job, chunk, before, after).await? == Step::Taken {
                return Ok((after.zip(before, u64::saturating_sub), in_flight));
            }
        }
        Err(WorkError::Retry(format!("the notices of chunk {chunk} of job {job} are contended")))
    }
}
