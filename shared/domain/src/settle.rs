//! Settling: bringing token rows and sessions in line with the cutoffs, and counting what changed (`[CUT-6]`).
//!
//! Everything here may happen twice, late, in any order, or stop half-way. The numbers stay right because they are
//! read off the rows ("revoked by this job"), not added up on the way: a row that this job revoked in an earlier try
//! counts as much as one it revokes now, and a row that somebody else revoked does not count at all.

use std::sync::Arc;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::close::{self, Closed};
use crate::cutoff::{Cutoff, Scope, Subject};
use crate::decision::Limits;
use crate::error::WorkError;
use crate::ids::UserId;
use crate::job::{ChunkOutcome, ChunkRef, ChunkResult, Facts, Job, Statistics, Status};
use crate::ports::{DenylistStore, JobStore, PortResult, Step, TokenStore};
use crate::time::{Clock, Epoch};
use crate::token::{Holdings, Owner, Revoked, RevokedBy, SessionRow, TokenKind, TokenRow};

/// Users of one chunk that are worked on at the same time.
const USERS_AT_ONCE: usize = 16;
/// How often a commit that lost a race is tried again before the message is left to the queue.
const COMMIT_TRIES: usize = 8;

/// What a settling worker needs.
#[derive(Clone)]
pub struct Settler {
    /// Token rows and sessions.
    pub tokens: Arc<dyn TokenStore>,
    /// Jobs and results.
    pub jobs: Arc<dyn JobStore>,
    /// Frozen chunks.
    pub denylist: Arc<dyn DenylistStore>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The verifiers' limits.
    pub limits: Limits,
}

/// The part of a user's holdings that a job covers and that nobody else has ended.
pub struct Covered<'a> {
    /// Tokens.
    pub tokens: Vec<&'a TokenRow>,
    /// Sessions.
    pub sessions: Vec<&'a SessionRow>,
}

/// Which of a user's tokens and sessions the cutoff covers: unexpired when the job started, and unrevoked but by
/// this very job. The dry run and the real run both ask here, so that they cannot disagree.
pub fn covered<'a>(cutoff: &Cutoff, holdings: &'a Holdings, job_start: Epoch) -> Covered<'a> {
    let this_job = RevokedBy::Job(cutoff.job.clone());
    let tokens = holdings.tokens.iter().filter(|token| {
        let subject = Subject {
            kind: token.kind,
            user: token.owner.user().cloned(),
            client: Some(token.client.clone()),
            session: token.session.clone(),
            issued_at: token.issued_at,
            signed_in_at: token.sign_in(holdings.session_start(token)),
            spared_by: Vec::new(),
        };
        let free = token.revoked.as_ref().is_none_or(|revoked| revoked.by == this_job);
        token.expires_at > job_start && free && cutoff.hits(&subject)
    });
    let sessions = holdings.sessions.iter().filter(|session| {
        let free = session.ended_by.as_ref().is_none_or(|by| by == &this_job);
        session.expires_at > job_start && free && session.started_at <= cutoff.at
    });
    Covered { tokens: tokens.collect(), sessions: sessions.collect() }
}

impl Covered<'_> {
    /// What ending all of it would take from the user.
    pub fn facts(&self) -> Facts {
        let count = |kind| self.tokens.iter().filter(|token| token.kind == kind).count() as u64;
        Facts {
            access_tokens: count(TokenKind::Access),
            refresh_tokens: count(TokenKind::Refresh),
            sessions: self.sessions.len() as u64,
        }
    }
}

impl Settler {
    /// Settles a chunk. `last_try` says that the queue will not deliver it again: the chunk is then given up.
    /// Says whether that ended the job.
    pub async fn settle(&self, chunk: &ChunkRef, last_try: bool) -> Result<Option<Closed>, WorkError> {
        let job = self.jobs.get(&chunk.job_id).await?;
        let job = job.ok_or_else(|| WorkError::Drop(format!("job {} is not known", chunk.job_id)))?;
        if job.status == Status::Cancelled {
            return Err(WorkError::Drop(format!("job {} is cancelled", job.id)));
        }
        let settled = self.settle_known(&job, chunk).await;
        if settled.is_err() && last_try {
            self.give_up(&job, chunk).await?;
        }
        settled
    }

    async fn settle_known(&self, job: &Job, chunk: &ChunkRef) -> Result<Option<Closed>, WorkError> {
        let frozen = self.denylist.chunk(chunk).await?;
        let frozen = frozen.ok_or_else(|| WorkError::Drop(format!("job {} has no chunk {}", job.id, chunk.number)))?;
        stream::iter(frozen.users)
            .map(|user| self.settle_user(job, chunk.number, user))
            .buffer_unordered(USERS_AT_ONCE)
            .try_for_each(|()| async { Ok(()) })
            .await?;
        let statistics = self.recorded(job, chunk).await?;
        self.commit(job, chunk.number, ChunkResult { outcome: ChunkOutcome::Done, statistics }).await?;
        Ok(close::try_close(self.jobs.as_ref(), self.clock.as_ref(), &job.id).await?)
    }

    async fn settle_user(&self, job: &Job, chunk: u32, user: UserId) -> PortResult<()> {
        let owner = Owner::User(user.clone());
        let holdings = self.tokens.holdings(&owner).await?;
        let cutoff = job.cutoff(Scope::User(user.clone()), self.limits.max_sign_in_age);
        let covered = covered(&cutoff, &holdings, job.cutoff_at());
        if job.dry_run {
            return self.record(job, chunk, &user, covered.facts()).await;
        }
        let mut facts = Facts::default();
        let revoked = Revoked { at: self.clock.now().into(), by: RevokedBy::Job(job.id.clone()) };
        for token in &covered.tokens {
            let by = match &token.revoked {
                Some(before) => Some(before.by.clone()),
                None => self.tokens.revoke(&owner, &token.id, &revoked).await?,
            };
            if by.as_ref() == Some(&revoked.by) {
                match token.kind {
                    TokenKind::Access => facts.access_tokens += 1,
                    TokenKind::Refresh => facts.refresh_tokens += 1,
                }
            }
        }
        for session in &covered.sessions {
            if session.ended_by.is_some() || self.tokens.end_session(&user, &session.id, &revoked).await? {
                facts.sessions += 1;
            }
        }
        self.record(job, chunk, &user, facts).await
    }

    async fn record(&self, job: &Job, chunk: u32, user: &UserId, facts: Facts) -> PortResult<()> {
        if facts.is_nothing() {
            return Ok(());
        }
        self.jobs.record_affected(&job.id, chunk, user, facts, self.clock.now()).await
    }

    /// The sum over the chunk's affected users. Taken from what is stored, so that two workers who each ended a part
    /// of a chunk arrive at the whole.
    async fn recorded(&self, job: &Job, chunk: &ChunkRef) -> PortResult<Statistics> {
        Ok(self.jobs.affected(&job.id, chunk.number).await?.into_values().collect())
    }

    /// Replaces the chunk's result by a later view of it. Numbers only grow, and a settled chunk stays settled.
    async fn commit(&self, job: &Job, chunk: u32, seen: ChunkResult) -> Result<(), WorkError> {
        for _ in 0..COMMIT_TRIES {
            let before = self.jobs.chunk_result(&job.id, chunk).await?;
            let after = match before {
                Some(before) => later(before, seen),
                None => seen,
            };
            if before == Some(after) || self.jobs.commit_chunk(&job.id, chunk, before, after).await? == Step::Taken {
                return Ok(());
            }
        }
        Err(WorkError::Retry(format!("chunk {chunk} of job {} is contended", job.id)))
    }

    async fn give_up(&self, job: &Job, chunk: &ChunkRef) -> Result<(), WorkError> {
        let statistics = Statistics { errors: 1, ..self.recorded(job, chunk).await? };
        self.commit(job, chunk.number, ChunkResult { outcome: ChunkOutcome::Failed, statistics }).await?;
        close::try_close(self.jobs.as_ref(), self.clock.as_ref(), &job.id).await?;
        Ok(())
    }
}

/// Of two views of a chunk the later one.
fn later(before: ChunkResult, seen: ChunkResult) -> ChunkResult {
    let (a, b) = (before.statistics, seen.statistics);
    let done = before.outcome == ChunkOutcome::Done || seen.outcome == ChunkOutcome::Done;
    ChunkResult {
        outcome: if done { ChunkOutcome::Done } else { ChunkOutcome::Failed },
        statistics: Statistics {
            total_users_affected: a.total_users_affected.max(b.total_users_affected),
            access_tokens_revoked: a.access_tokens_revoked.max(b.access_tokens_revoked),
            refresh_tokens_revoked: a.refresh_tokens_revoked.max(b.refresh_tokens_revoked),
            sessions_terminated: a.sessions_terminated.max(b.sessions_terminated),
            notifications_sent: a.notifications_sent.max(b.notifications_sent),
            errors: if done { 0 } else { a.errors.max(b.errors) },
        },
    }
}
