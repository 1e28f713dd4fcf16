//! Planning: freezing what a job means, making it effective, and handing its chunks to the workers.
//!
//! Of a job that names people, freezing comes first and is durable: from the moment a chunk is frozen, DynamoDB
//! refuses its users' tokens. Redis follows, then the job is effective, and only then are the chunks sent out. A job
//! that names nobody became effective with its request; its chunks are parts of a table or of an index. Every step can
//! stop anywhere and be taken up by another planner: the plan's cursor moves in the same transaction that freezes.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::close::{self, Closed};
use crate::cutoff::Cutoff;
use crate::effect::{Effector, Told};
use crate::error::{PortError, WorkError};
use crate::guard;
use crate::ids::{JobId, UserId};
use crate::job::{CHUNK_USERS, Chunk, ChunkRef, Job, PlanCursor, Status};
use crate::population::Population;
use crate::ports::{
    CLIENT_SHARDS, DenylistStore, Directory, FrozenJob, JobStore, PortResult, Step, TokenStore, WorkQueue,
};
use crate::selector::{People, Reach, Selector, Source};

/// Chunks frozen by one transaction (DynamoDB takes 100 actions and 4 MB).
const CHUNKS_AT_ONCE: usize = 24;
/// Chunks read at a time when they are projected again or sent out.
pub(crate) const CHUNKS_PER_PAGE: usize = 100;
/// Rows that one part of the whole table should hold, roughly.
const ROWS_PER_PART: u64 = 20_000;
/// At least two, so that parts are tried everywhere; at most what 50 workers do in twenty turns.
const PARTS: std::ops::RangeInclusive<u64> = 2..=1_000;

/// What a planner needs.
#[derive(Clone)]
pub struct Planner {
    /// Groups and users.
    pub directory: Arc<dyn Directory>,
    /// Token rows, for their number.
    pub tokens: Arc<dyn TokenStore>,
    /// Making jobs effective.
    pub effector: Effector,
    /// The workers' queues.
    pub queue: Arc<dyn WorkQueue>,
}

/// How a planner left a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Planned {
    /// All is frozen, effective and sent out.
    Finished {
        /// From the job's acceptance to its effect, in milliseconds, if it became effective just now.
        effective_millis: Option<u64>,
        /// The job's end, if nothing was left to do.
        closed: Option<Closed>,
    },
    /// Time ran out; a message to go on was sent.
    ToBeContinued,
}

impl Planner {
    fn jobs(&self) -> &dyn JobStore {
        self.effector.jobs.as_ref()
    }

    fn denylist(&self) -> &dyn DenylistStore {
        self.effector.denylist.as_ref()
    }

    /// Plans a job, or goes on with it. `deadline` is when this worker should stop and leave the rest to the next.
    pub async fn plan(&self, id: &JobId, deadline: DateTime<Utc>) -> Result<Planned, WorkError> {
        let clock = self.effector.clock.as_ref();
        let job = self.jobs().get(id).await?;
        let mut job = job.ok_or_else(|| WorkError::Drop(format!("job {id} is not known")))?;
        match job.status {
            Status::Pending => {
                if self.jobs().start(id, clock.now()).await? == Step::Lost {
                    return Err(WorkError::Retry(format!("job {id} was started or cancelled meanwhile")));
                }
            }
            Status::Processing => {}
            Status::Completed | Status::Failed | Status::Cancelled => {
                let closed = close::try_close(self.jobs(), clock, id).await?;
                return Ok(Planned::Finished { effective_millis: None, closed });
            }
        }
        let selector = Selector::of(&job);
        let waited = job.waits_for_effect() && selector.reach() != Reach::PerToken;
        let failed = match selector.source() {
            Source::People(people) => {
                let Some(effect) = self.plan_people(&mut job, &selector, people, deadline).await? else {
                    self.queue.send_plan(id, job.priority).await?;
                    return Ok(Planned::ToBeContinued);
                };
                effect.failed
            }
            Source::Clients(_) => self.plan_parts(&mut job, &selector, CLIENT_SHARDS).await?,
            Source::Everyone => {
                let parts = (self.tokens.rows().await? / ROWS_PER_PART).clamp(*PARTS.start(), *PARTS.end());
                self.plan_parts(&mut job, &selector, u32::try_from(parts).unwrap_or(u32::MAX)).await?
            }
        };
        let mut effective_millis = None;
        if waited && failed.is_none() {
            let now = clock.now();
            self.jobs().mark_effective(id, now).await?;
            let millis = u64::try_from((now - job.created_at).num_milliseconds()).unwrap_or_default();
            tracing::info!(job_id = %id, effective_millis = millis, users = job.plan.users, "job is effective");
            effective_millis = Some(millis);
        }
        if !job.emitted {
            for_each_chunk(self.denylist(), &job, async |refs| self.queue.send_chunks(&refs, job.priority).await)
                .await?;
            self.jobs().mark_emitted(id).await?;
        }
        let closed = close::try_close(self.jobs(), clock, id).await?;
        match failed {
            // The chunks are on their way and DynamoDB refuses already; only Redis has to be told again.
            Some(cause) => Err(WorkError::Retry(format!("job {id} is not effective yet: {cause}"))),
            None => Ok(Planned::Finished { effective_millis, closed }),
        }
    }

    /// Plans a job whose chunks are so many parts of a table or an index.
    async fn plan_parts(&self, job: &mut Job, selector: &Selector, parts: u32) -> Result<Option<PortError>, WorkError> {
        let mut failed = None;
        if job.waits_for_effect() && selector.reach() == Reach::AtOnce {
            // Its request could not tell Redis.
            failed = match self.effector.tell_again(job, selector).await? {
                Told::Effective(_) => None,
                Told::Distrusted(error) => Some(error),
            };
        }
        if !job.plan.frozen {
            let next = PlanCursor { chunks: parts, frozen: true, ..job.plan.clone() };
            self.freeze_step(job, next, &[], selector).await?;
        }
        Ok(failed)
    }

    /// Plans a job that names people. `None` if time ran out.
    async fn plan_people(
        &self,
        job: &mut Job,
        selector: &Selector,
        people: &People,
        deadline: DateTime<Utc>,
    ) -> Result<Option<Effect>, WorkError> {
        let mut effect = Effect { of: None, failed: None };
        if !job.dry_run && selector.reach() != Reach::PerToken {
            let frozen_job = FrozenJob::of(&selector.cutoffs(self.effector.limits.max_sign_in_age));
            if let Some(frozen_job) = &frozen_job {
                self.denylist().activate(frozen_job).await?;
            }
            if job.waits_for_effect() {
                effect.of = frozen_job;
            }
        }
        // Another planner may have died between freezing and projecting.
        if job.plan.chunks > 0 {
            effect.project_all(self, &job.id).await?;
        }
        if job.plan.frozen {
            return Ok(Some(effect));
        }
        let directory = Arc::clone(&self.directory);
        let mut population = Population::open(directory, &job.conditions, people, job.plan.last_user.clone()).await?;
        while !job.plan.frozen {
            if self.effector.clock.now() >= deadline {
                return Ok(None);
            }
            let batch = population.next(CHUNKS_AT_ONCE * CHUNK_USERS).await?;
            let chunks: Vec<Chunk> = (job.plan.chunks..)
                .zip(batch.users.chunks(CHUNK_USERS))
                .map(|(number, users)| Chunk { number, users: users.to_vec() })
                .collect();
            let next = PlanCursor {
                last_user: batch.last_seen.or_else(|| job.plan.last_user.clone()),
                chunks: job.plan.chunks + u32::try_from(chunks.len()).unwrap_or(u32::MAX),
                users: job.plan.users + batch.users.len() as u64,
                frozen: batch.ended,
            };
            self.freeze_step(job, next, &chunks, selector).await?;
            effect.project(self, &chunks).await?;
        }
        Ok(Some(effect))
    }

    /// Moves the plan on, with the chunks frozen on the way.
    async fn freeze_step(
        &self,
        job: &mut Job,
        next: PlanCursor,
        chunks: &[Chunk],
        selector: &Selector,
    ) -> Result<(), WorkError> {
        let retires_at = selector.retires_at(self.effector.limits.max_sign_in_age);
        if self.jobs().freeze(&job.id, &job.plan, &next, chunks, retires_at).await? == Step::Lost {
            return Err(WorkError::Retry(format!("job {} was cancelled, or another planner is at work on it", job.id)));
        }
        job.plan = next;
        Ok(())
    }
}

/// Hands all chunks of a planned job, page by page, to `each`.
pub(crate) async fn for_each_chunk<F>(denylist: &dyn DenylistStore, job: &Job, each: F) -> PortResult<()>
where
    F: AsyncFn(Vec<ChunkRef>) -> PortResult<()>,
{
    let refer = |number, first_user| ChunkRef { job_id: job.id.clone(), number, first_user };
    if !matches!(Selector::of(job).source(), Source::People(_)) {
        // At most PARTS of them, and nothing is read for them.
        return each((0..job.plan.chunks).map(|number| refer(number, None)).collect()).await;
    }
    let mut after: Option<UserId> = None;
    loop {
        let chunks = denylist.chunks(&job.id, after.as_ref(), CHUNKS_PER_PAGE).await?;
        let Some(last) = chunks.last().and_then(Chunk::first_user) else { return Ok(()) };
        after = Some(last.clone());
        each(chunks.iter().map(|chunk| refer(chunk.number, chunk.first_user().cloned())).collect()).await?;
    }
}

/// Telling Redis the cutoffs of frozen users. The first failure voids the cache, so that no verifier trusts it until
/// it is rebuilt (`[CUT-1]`); after that nothing more is tried in this run.
struct Effect {
    /// What each frozen user is cut off by; none if there is nothing to tell.
    of: Option<FrozenJob>,
    failed: Option<PortError>,
}

impl Effect {
    async fn project(&mut self, planner: &Planner, chunks: &[Chunk]) -> PortResult<()> {
        let (Some(job), None) = (&self.of, &self.failed) else { return Ok(()) };
        let users = chunks.iter().flat_map(|chunk| &chunk.users);
        let cutoffs: Vec<Cutoff> = users.flat_map(|user| job.cutoffs(user)).collect();
        let effector = &planner.effector;
        if let Err(error) = effector.cache.put_cutoffs(&cutoffs).await {
            guard::distrust(planner.denylist(), effector.cache.as_ref(), effector.ids.as_ref()).await?;
            self.failed = Some(error);
        }
        Ok(())
    }

    async fn project_all(&mut self, planner: &Planner, job: &JobId) -> PortResult<()> {
        let mut after: Option<UserId> = None;
        while self.of.is_some() && self.failed.is_none() {
            let chunks = planner.denylist().chunks(job, after.as_ref(), CHUNKS_PER_PAGE).await?;
            let Some(last) = chunks.last().and_then(Chunk::first_user) else { return Ok(()) };
            after = Some(last.clone());
            self.project(planner, &chunks).await?;
        }
        Ok(())
    }
}
