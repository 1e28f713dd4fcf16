//! The every-minute re-drive: jobs written but not started, planners and chunks that died, jobs that can be closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::{DateTime, TimeDelta, Utc};

use crate::close::{self, Closed};
use crate::error::PortError;
use crate::job::{ChunkRef, Job, Status};
use crate::plan::for_each_chunk;
use crate::ports::{DenylistStore, JobStore, PortResult, WorkQueue};
use crate::selector::{Reach, Selector};
use crate::time::Clock;

/// A job that has not moved for this long is given a push, and again after as long.
pub const PATIENCE: TimeDelta = TimeDelta::seconds(60);
/// A chunk is first left to the queue's own redelivery for this long.
pub const CHUNK_PATIENCE: TimeDelta = TimeDelta::seconds(420);

/// What the re-drive needs.
#[derive(Clone)]
pub struct Redriver {
    /// Jobs.
    pub jobs: Arc<dyn JobStore>,
    /// Frozen chunks.
    pub denylist: Arc<dyn DenylistStore>,
    /// The workers' queues.
    pub queue: Arc<dyn WorkQueue>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// What the re-drive did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Redriven {
    /// Open jobs it looked at.
    pub looked_at: usize,
    /// Those that had not moved for a while and were given a push.
    pub stuck: usize,
    /// Planning messages it sent.
    pub plans: usize,
    /// Chunk messages it sent.
    pub chunks: usize,
    /// Jobs it closed.
    pub closed: Vec<Closed>,
}

impl Redriver {
    /// Pushes every open job that is stuck. Sending a message too many does no harm.
    pub async fn redrive(&self) -> Result<Redriven, PortError> {
        let mut done = Redriven::default();
        for id in self.jobs.open_jobs().await? {
            let Some(job) = self.jobs.get(&id).await? else { continue };
            done.looked_at += 1;
            if let Some(closed) = close::try_close(self.jobs.as_ref(), self.clock.as_ref(), &id).await? {
                done.closed.push(closed);
                continue;
            }
            let now = self.clock.now();
            if needs_planner(&job) {
                if now - last_push(&job) >= PATIENCE {
                    self.queue.send_plan(&id, job.priority).await?;
                    self.jobs.mark_redriven(&id, now).await?;
                    done.plans += 1;
                    done.stuck += 1;
                }
            } else if now - last_push(&job) >= CHUNK_PATIENCE {
                let resent = self.resend_chunks(&job).await?;
                done.chunks += resent;
                // One whose chunks are all through or given up waits for a person, not for us.
                done.stuck += usize::from(resent > 0);
                self.jobs.mark_redriven(&id, now).await?;
            }
        }
        Ok(done)
    }

    async fn resend_chunks(&self, job: &Job) -> PortResult<usize> {
        let sent = AtomicUsize::new(0);
        for_each_chunk(self.denylist.as_ref(), job, async |chunks| {
            let mut missing: Vec<ChunkRef> = Vec::new();
            for chunk in chunks {
                // A chunk that was given up waits for its dead letter to be redriven.
                if self.jobs.chunk_result(&job.id, chunk.number).await?.is_none() {
                    missing.push(chunk);
                }
            }
            sent.fetch_add(missing.len(), Ordering::Relaxed);
            self.queue.send_chunks(&missing, job.priority).await
        })
        .await?;
        Ok(sent.into_inner())
    }
}

fn needs_planner(job: &Job) -> bool {
    let waits_for_effect = job.waits_for_effect() && Selector::of(job).reach() != Reach::PerToken;
    job.status.is_open() && (job.status == Status::Pending || !job.plan.frozen || waits_for_effect || !job.emitted)
}

fn last_push(job: &Job) -> DateTime<Utc> {
    let cancelled_at = job.cancelled.as_ref().map(|cancelled| cancelled.at);
    [Some(job.created_at), job.started_at, job.redriven_at, cancelled_at]
        .into_iter()
        .flatten()
        .max()
        .unwrap_or(job.created_at)
}
