//! Ending a job once every chunk is through and it is effective, and letting go of a cancelled one once all is counted.
//!
//! Of several workers at it one ends the job, and the audit's entry comes with the end or not at all.

use crate::audit::Entry;
use crate::error::PortError;
use crate::ids::JobId;
use crate::job::Status;
use crate::ports::{JobStore, Step};
use crate::selector::{Reach, Selector};
use crate::time::Clock;

/// A job that ended just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The job.
    pub id: JobId,
    /// From its acceptance to its end, in milliseconds.
    pub settled_millis: u64,
    /// From its acceptance to its effect, in milliseconds, if its end was what made it effective.
    pub effective_millis: Option<u64>,
    /// Tokens it revoked; none for a dry run.
    pub tokens_revoked: u64,
}

/// Ends the job if nothing is left to do, and says so if it ended just now.
///
/// A job with a chunk that was given up fails; once that chunk settles after all, the job completes.
pub async fn try_close(jobs: &dyn JobStore, clock: &dyn Clock, id: &JobId) -> Result<Option<Closed>, PortError> {
    let Some(job) = jobs.get(id).await? else { return Ok(None) };
    if job.status == Status::Cancelled {
        let tally = jobs.tally(id).await?;
        // What a dry run has not counted is of no interest any more.
        if job.dry_run || tally.done + tally.failed + tally.cancelled >= u64::from(job.plan.chunks) {
            jobs.retire(id).await?;
        }
        return Ok(None);
    }
    // What single tokens make effective is effective once the last of them is denied.
    let by_tokens = Selector::of(&job).reach() == Reach::PerToken;
    let waits_for_effect = job.waits_for_effect() && !by_tokens;
    if !job.plan.frozen || waits_for_effect || !matches!(job.status, Status::Processing | Status::Failed) {
        return Ok(None);
    }
    let tally = jobs.tally(id).await?;
    if !tally.is_complete(&job) {
        return Ok(None);
    }
    let next = if tally.failed == 0 { Status::Completed } else { Status::Failed };
    if !job.status.may_become(next) {
        return Ok(None);
    }
    let now = clock.now();
    let takes_effect = job.waits_for_effect() && next == Status::Completed;
    if takes_effect {
        jobs.mark_effective(id, now).await?;
    }
    let audit = Entry::closed(&job, next, &tally, now);
    if jobs.finish(id, job.status, next, now, &audit).await? == Step::Lost {
        return Ok(None);
    }
    let settled_millis = u64::try_from((now - job.created_at).num_milliseconds()).unwrap_or_default();
    let tokens_revoked = if job.dry_run { 0 } else { tally.statistics.tokens() };
    tracing::info!(job_id = %id, status = next.as_str(), settled_millis, tokens_revoked, "job ended");
    let effective_millis = takes_effect.then_some(settled_millis);
    Ok(Some(Closed { id: id.clone(), settled_millis, effective_millis, tokens_revoked }))
}
