//! All workers in one process, over any stores, with queues that a test delivers as it pleases.

use std::sync::Arc;

use adapters::denylist::RedisDenylist;
use adapters::dynamodb::Dynamo;
use chrono::{DateTime, TimeDelta, Utc};
use domain::check::Checker;
use domain::decision::Limits;
use domain::ids::JobId;
use domain::job::{ChunkRef, Job};
use domain::plan::Planner;
use domain::ports::{DenylistCache, DenylistStore, Directory, JobStore, RecordStore, TokenStore};
use domain::redrive::Redriver;
use domain::settle::Settler;
use domain::testing::{Memory, MemoryQueue, SeededIds, TestClock};

/// The limits used in tests.
pub const LIMITS: Limits = Limits { max_sign_in_age: 90 * 24 * 3_600 };

/// A store that has all ports.
pub trait AllPorts: Directory + TokenStore + RecordStore + JobStore + DenylistStore + 'static {}
impl AllPorts for Memory {}
impl AllPorts for Dynamo {}

/// The workers and what they work on.
pub struct Fleet<S, C> {
    /// The stores.
    pub store: Arc<S>,
    /// The cache.
    pub cache: Arc<C>,
    /// The queues.
    pub queue: Arc<MemoryQueue>,
    /// The time.
    pub clock: Arc<TestClock>,
    /// The ids.
    pub ids: Arc<SeededIds>,
}

impl Fleet<Memory, Memory> {
    /// Everything in memory.
    pub fn in_memory(now: DateTime<Utc>) -> Self {
        Self::over(Arc::new(Memory::default()), Arc::new(Memory::default()), now)
    }
}

/// A fleet over real stores.
pub type RealFleet = Fleet<Dynamo, RedisDenylist>;

impl<S: AllPorts, C: DenylistCache + 'static> Fleet<S, C> {
    /// A fleet over these stores.
    pub fn over(store: Arc<S>, cache: Arc<C>, now: DateTime<Utc>) -> Self {
        let (queue, clock) = (Arc::new(MemoryQueue::default()), Arc::new(TestClock::at(now)));
        Self { store, cache, queue, clock, ids: Arc::new(SeededIds::new(1 << 32)) }
    }

    /// The planner.
    pub fn planner(&self) -> Planner {
        Planner {
            directory: self.store.clone(),
            jobs: self.store.clone(),
            denylist: self.store.clone(),
            cache: self.cache.clone(),
            queue: self.queue.clone(),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
            limits: LIMITS,
        }
    }

    /// A settling worker.
    pub fn settler(&self) -> Settler {
        Settler {
            tokens: self.store.clone(),
            jobs: self.store.clone(),
            denylist: self.store.clone(),
            clock: self.clock.clone(),
            limits: LIMITS,
        }
    }

    /// The re-drive.
    pub fn redriver(&self) -> Redriver {
        Redriver {
            jobs: self.store.clone(),
            denylist: self.store.clone(),
            queue: self.queue.clone(),
            clock: self.clock.clone(),
        }
    }

    /// The denylist check.
    pub fn checker(&self) -> Checker {
        Checker::new(self.cache.clone(), self.store.clone(), self.clock.clone(), LIMITS)
    }

    /// The cache guard.
    pub async fn guard(&self) -> Result<domain::guard::Guarded, domain::error::PortError> {
        domain::guard::guard(self.store.as_ref(), self.cache.as_ref(), self.clock.as_ref(), self.ids.as_ref()).await
    }

    /// Plans a job to its end, and gives back its chunk messages.
    pub async fn plan(&self, job: &JobId) -> Vec<ChunkRef> {
        use domain::time::Clock as _;
        let deadline = self.clock.now() + TimeDelta::minutes(5);
        self.planner().plan(job, deadline).await.unwrap();
        self.queue.take_chunks()
    }

    /// A job as it now is.
    pub async fn job(&self, id: &JobId) -> Job {
        self.store.get(id).await.unwrap().unwrap()
    }
}
