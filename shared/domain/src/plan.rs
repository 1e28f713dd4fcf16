//! Planning: freezing a job's users, making the job effective, and handing its chunks to the workers.
//!
//! Freezing comes first and is durable: from the moment a chunk is frozen, DynamoDB refuses its users' tokens.
//! Redis follows, then the job is effective, and only then are the chunks sent out. Every step can stop anywhere
//! and be taken up by another planner: the plan's cursor moves in the same transaction that freezes the users.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::close;
use crate::cutoff::{Cutoff, Scope};
use crate::decision::Limits;
use crate::directory::User;
use crate::error::{PortError, WorkError};
use crate::guard;
use crate::ids::{JobId, UserId};
use crate::job::{CHUNK_USERS, Chunk, ChunkRef, Conditions, Job, PlanCursor, Status};
use crate::members::{Members, groups_of};
use crate::ports::{DenylistCache, DenylistStore, Directory, FrozenJob, JobStore, PortResult, Step, WorkQueue};
use crate::source::IdSource;
use crate::time::Clock;

/// Chunks frozen by one transaction (DynamoDB takes 100 actions and 4 MB).
const CHUNKS_AT_ONCE: usize = 24;
/// Directory look-ups of 100 users at the same time.
const LOOKUPS_AT_ONCE: usize = 8;
/// Chunks read at a time when they are projected again or sent out.
const CHUNKS_PER_PAGE: usize = 50;

/// What a planner needs.
#[derive(Clone)]
pub struct Planner {
    /// Groups and users.
    pub directory: Arc<dyn Directory>,
    /// Jobs.
    pub jobs: Arc<dyn JobStore>,
    /// The durable denylist.
    pub denylist: Arc<dyn DenylistStore>,
    /// Redis.
    pub cache: Arc<dyn DenylistCache>,
    /// The workers' queues.
    pub queue: Arc<dyn WorkQueue>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// New generations.
    pub ids: Arc<dyn IdSource>,
    /// The verifiers' limits.
    pub limits: Limits,
}

/// The users a job means, as its conditions select them: the dry run's count and the plan both read this stream.
pub struct Population {
    members: Members,
    directory: Arc<dyn Directory>,
    exclude_admins: bool,
}

/// Some users of a population, in byte order.
#[derive(Debug, Default)]
pub struct Batch {
    /// Those the job covers.
    pub users: Vec<UserId>,
    /// Whether one of them is an admin.
    pub includes_admins: bool,
    /// The last user looked at, covered or not: the place to resume after.
    pub last_seen: Option<UserId>,
    /// Whether these were the last ones.
    pub ended: bool,
}

impl Population {
    /// Opens the population of a job after a user, or at its beginning.
    pub async fn open(
        directory: Arc<dyn Directory>,
        conditions: &Conditions,
        after: Option<UserId>,
    ) -> PortResult<Self> {
        let Conditions::GroupBased { exclude_admin_users, .. } = conditions;
        let groups = groups_of(directory.as_ref(), conditions).await?;
        let members = Members::open(Arc::clone(&directory), groups, after).await?;
        Ok(Self { members, directory, exclude_admins: *exclude_admin_users })
    }

    /// The next users, having looked at no more than `count` members.
    pub async fn next(&mut self, count: usize) -> PortResult<Batch> {
        let seen = self.members.next(count).await?;
        let ended = seen.len() < count;
        let last_seen = seen.last().cloned();
        let found: Vec<Vec<User>> = stream::iter(seen.chunks(100).map(<[UserId]>::to_vec))
            .map(|ids| {
                let directory = Arc::clone(&self.directory);
                async move { directory.users(&ids).await }
            })
            .buffered(LOOKUPS_AT_ONCE)
            .try_collect()
            .await?;
        let admins: HashMap<&UserId, bool> = found.iter().flatten().map(|user| (&user.id, user.is_admin())).collect();
        let is_admin = |user: &UserId| admins.get(user).copied().unwrap_or(false);
        let users: Vec<UserId> = seen.iter().filter(|user| !(self.exclude_admins && is_admin(user))).cloned().collect();
        let includes_admins = users.iter().any(is_admin);
        Ok(Batch { users, includes_admins, last_seen, ended })
    }
}

/// How a planner left a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planned {
    /// All is frozen, effective and sent out.
    Finished {
        /// From the job's acceptance to its effect, in milliseconds, if it became effective just now.
        effective_millis: Option<u64>,
    },
    /// Time ran out; a message to go on was sent.
    ToBeContinued,
}

impl Planner {
    /// Plans a job, or goes on with it. `deadline` is when this worker should stop and leave the rest to the next.
    pub async fn plan(&self, id: &JobId, deadline: DateTime<Utc>) -> Result<Planned, WorkError> {
        let job = self.jobs.get(id).await?;
        let mut job = job.ok_or_else(|| WorkError::Drop(format!("job {id} is not known")))?;
        match job.status {
            Status::Pending => {
                if self.jobs.start(id, self.clock.now()).await? == Step::Lost {
                    return Err(WorkError::Retry(format!("job {id} was started by another planner")));
                }
            }
            Status::Processing => {}
            Status::Completed | Status::Failed | Status::Cancelled => {
                return Ok(Planned::Finished { effective_millis: None });
            }
        }
        let frozen_job = FrozenJob::from(job.cutoff(Scope::Everything, self.limits.max_sign_in_age));
        if !job.dry_run {
            self.denylist.activate(&frozen_job).await?;
        }
        let mut effect = Effect { needed: !job.dry_run && job.effective_at.is_none(), failed: None };
        // Another planner may have died between freezing and projecting.
        if effect.needed && job.plan.chunks > 0 {
            effect.project_all(self, &frozen_job).await?;
        }
        if !job.plan.frozen && !self.freeze(&mut job, &frozen_job, &mut effect, deadline).await? {
            self.queue.send_plan(id).await?;
            return Ok(Planned::ToBeContinued);
        }
        let mut effective_millis = None;
        if effect.needed && effect.failed.is_none() {
            let now = self.clock.now();
            self.jobs.mark_effective(id, now).await?;
            let millis = u64::try_from((now - job.created_at).num_milliseconds()).unwrap_or_default();
            tracing::info!(job_id = %id, effective_millis = millis, users = job.plan.users, "job is effective");
            effective_millis = Some(millis);
        }
        if !job.emitted {
            self.emit(id).await?;
            self.jobs.mark_emitted(id).await?;
        }
        close::try_close(self.jobs.as_ref(), self.clock.as_ref(), id).await?;
        match effect.failed {
            // The chunks are on their way and DynamoDB refuses already; only Redis has to be told again.
            Some(cause) => Err(WorkError::Retry(format!("job {id} is not effective yet: {cause}"))),
            None => Ok(Planned::Finished { effective_millis }),
        }
    }

    /// Freezes what is left of the population. False if time ran out.
    async fn freeze(
        &self,
        job: &mut Job,
        frozen_job: &FrozenJob,
        effect: &mut Effect,
        deadline: DateTime<Utc>,
    ) -> Result<bool, WorkError> {
        let directory = Arc::clone(&self.directory);
        let mut population = Population::open(directory, &job.conditions, job.plan.last_user.clone()).await?;
        while !job.plan.frozen {
            if self.clock.now() >= deadline {
                return Ok(false);
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
                includes_you: job.plan.includes_you || batch.users.contains(&job.initiated_by.id),
                includes_admins: job.plan.includes_admins || batch.includes_admins,
            };
            let step = self.jobs.freeze(&job.id, &job.plan, &next, &chunks, frozen_job.retires_at).await?;
            if step == Step::Lost {
                return Err(WorkError::Retry(format!("another planner is at work on job {}", job.id)));
            }
            effect.project(self, frozen_job, &chunks).await?;
            job.plan = next;
        }
        Ok(true)
    }

    async fn emit(&self, id: &JobId) -> PortResult<()> {
        let mut after: Option<UserId> = None;
        loop {
            let chunks = self.denylist.chunks(id, after.as_ref(), CHUNKS_PER_PAGE).await?;
            let refs: Vec<ChunkRef> = chunks.iter().filter_map(|chunk| chunk_ref(id, chunk)).collect();
            let Some(last) = refs.last() else { return Ok(()) };
            after = Some(last.first_user.clone());
            self.queue.send_chunks(&refs).await?;
        }
    }
}

/// What a worker needs to find this chunk.
pub fn chunk_ref(job: &JobId, chunk: &Chunk) -> Option<ChunkRef> {
    Some(ChunkRef { job_id: job.clone(), number: chunk.number, first_user: chunk.first_user()?.clone() })
}

/// Telling Redis. The first failure voids the cache, so that no verifier trusts it until it is rebuilt (`[CUT-1]`);
/// after that nothing more is tried in this run.
struct Effect {
    needed: bool,
    failed: Option<PortError>,
}

impl Effect {
    async fn project(&mut self, planner: &Planner, job: &FrozenJob, chunks: &[Chunk]) -> PortResult<()> {
        if !self.needed || self.failed.is_some() {
            return Ok(());
        }
        let cutoffs: Vec<Cutoff> =
            chunks.iter().flat_map(|chunk| &chunk.users).map(|user| job.cutoff(user.clone())).collect();
        if let Err(error) = planner.cache.put_cutoffs(&cutoffs).await {
            guard::distrust(planner.denylist.as_ref(), planner.cache.as_ref(), planner.ids.as_ref()).await?;
            self.failed = Some(error);
        }
        Ok(())
    }

    async fn project_all(&mut self, planner: &Planner, job: &FrozenJob) -> PortResult<()> {
        let mut after: Option<UserId> = None;
        loop {
            let chunks = planner.denylist.chunks(&job.job, after.as_ref(), CHUNKS_PER_PAGE).await?;
            let Some(last) = chunks.last().and_then(Chunk::first_user) else { return Ok(()) };
            after = Some(last.clone());
            self.project(planner, job, &chunks).await?;
        }
    }
}
