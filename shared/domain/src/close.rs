//! Ending a job once every chunk is through and it is effective.

use crate::error::PortError;
use crate::ids::JobId;
use crate::job::Status;
use crate::ports::{JobStore, Step};
use crate::time::Clock;

/// Ends the job if nothing is left to do, and says whether it did so just now.
///
/// A job with a chunk that was given up fails; once that chunk settles after all, the job completes.
pub async fn try_close(jobs: &dyn JobStore, clock: &dyn Clock, id: &JobId) -> Result<bool, PortError> {
    let Some(job) = jobs.get(id).await? else { return Ok(false) };
    let waits_for_effect = job.effective_at.is_none() && !job.dry_run;
    if !job.plan.frozen || waits_for_effect || !matches!(job.status, Status::Processing | Status::Failed) {
        return Ok(false);
    }
    let tally = jobs.tally(id).await?;
    if tally.done + tally.failed < u64::from(job.plan.chunks) {
        return Ok(false);
    }
    let next = if tally.failed == 0 { Status::Completed } else { Status::Failed };
    if !job.status.may_become(next) {
        return Ok(false);
    }
    let step = jobs.finish(id, job.status, next, clock.now()).await?;
    if step == Step::Taken {
        let settled_ms = (clock.now() - job.created_at).num_milliseconds();
        tracing::info!(job_id = %id, status = next.as_str(), settled_ms, tokens = tally.statistics.tokens(), "job ended");
    }
    Ok(step == Step::Taken)
}
