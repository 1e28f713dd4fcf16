//! What the benchmarks log out: companies of any size, all in one group, and the job that ends it.

use std::sync::Arc;

use adapters::dynamodb::Dynamo;
use chrono::{DateTime, TimeDelta, Utc};
use domain::conditions::Conditions;
use domain::error::WorkError;
use domain::ids::{GroupId, UserId};
use domain::job::{ChunkRef, Job};
use domain::ports::{DenylistCache, NewJob};
use domain::records::{Entity, MembershipKey, Record, TokenRecord};
use domain::settle::{Settled, Settler, Try};
use domain::testing::contract;
use domain::time::{Clock as _, Epoch, SystemClock};
use futures::stream::{self, StreamExt as _};

use crate::fleet::{AllPorts, Fleet, RealFleet};
use crate::redis_server::RedisServer;
use crate::store::Store;

/// Chunks that one invocation of the worker has, worked on at the same time (`BatchSize` in `template.yaml`).
pub const CHUNKS_AT_ONCE: usize = 5;

/// A company: its users, and the tokens that each of them holds.
#[derive(Debug, Clone, Copy)]
pub struct Company {
    /// What its names begin with.
    pub name: &'static str,
    /// Users, all of them members of the group.
    pub users: u32,
    /// Tokens of each.
    pub tokens: u32,
    /// Every so many tokens one is a day older than the others.
    pub old_every: Option<u32>,
}

impl Company {
    /// One whose tokens are all alike.
    pub fn of(name: &'static str, users: u32, tokens: u32) -> Self {
        Self { name, users, tokens, old_every: None }
    }

    /// All its tokens.
    pub fn all(&self) -> u32 {
        self.users * self.tokens
    }

    /// A user's id: 36 bytes, as issuers' are.
    pub fn user(&self, number: u32) -> UserId {
        UserId::parse(format!("{:0>8}-0000-4000-8000-{number:012}", self.name)).unwrap()
    }

    /// A token's id.
    pub fn token(&self, user: u32, number: u32) -> String {
        format!("{}-t{user}-{number}", self.name)
    }

    /// The group of all.
    pub fn group(&self) -> GroupId {
        GroupId::parse(format!("{}-all", self.name)).unwrap()
    }

    fn record_of(&self, user: u32, number: u32, now: i64) -> Record {
        let id = self.token(user, number);
        let token = contract::token(&id, &self.user(user), now - 60, now + 36_000);
        let at = user * self.tokens + number;
        let old = self.old_every.is_some_and(|every| at.is_multiple_of(every));
        let issued_at = if old { Epoch(now - 86_400) } else { token.issued_at };
        Record::upsert(1, Entity::Token(TokenRecord { issued_at, auth_time: Some(issued_at), ..token }))
    }

    /// The company as records.
    pub fn records(self, now: i64) -> impl Iterator<Item = Record> {
        (0..self.users).flat_map(move |user| {
            let member = MembershipKey { group_id: self.group(), user_id: self.user(user) };
            let member = Record::upsert(1, Entity::Membership(member));
            std::iter::once(member).chain((0..self.tokens).map(move |number| self.record_of(user, number, now)))
        })
    }

    /// The job that logs the group out.
    pub fn job(&self, id: &str, now: DateTime<Utc>) -> Job {
        let conditions =
            Conditions::GroupBased { group_id: self.group(), include_subgroups: false, exclude_admin_users: true };
        Job { conditions, notify_users: false, ..contract::job(id, &self.group(), now) }
    }
}

/// A fleet over stores of its own.
pub struct Site {
    /// The workers.
    pub fleet: RealFleet,
    /// DynamoDB.
    pub store: Store,
    /// Redis.
    pub redis: RedisServer,
}

impl Site {
    /// One without anybody.
    pub async fn start() -> Self {
        let store = Store::start().await;
        let dynamo = store.dynamo().await;
        Self::over(store, dynamo).await
    }

    /// One over a store, by a client that is set up already.
    pub async fn over(store: Store, dynamo: Arc<Dynamo>) -> Self {
        let redis = RedisServer::start();
        let cache = redis.denylist(Arc::new(SystemClock)).await;
        cache.warm_up().await;
        let fleet = Fleet::over(dynamo, cache, SystemClock.now());
        fleet.guard().await.unwrap();
        Self { fleet, store, redis }
    }

    /// One with a company.
    pub async fn with(company: Company) -> Self {
        let site = Self::start().await;
        site.store.import(company.records(SystemClock.now().timestamp())).await;
        site
    }
}

/// Writes a job and plans it to its end; gives back its chunks.
pub async fn plan<S: AllPorts, C: DenylistCache + 'static>(fleet: &Fleet<S, C>, job: &Job) -> Vec<ChunkRef> {
    fleet.store.create(NewJob::plain(job)).await.unwrap();
    fleet.plan(&job.id).await
}

/// A worker with the time as it is.
pub fn settler<S: AllPorts, C: DenylistCache + 'static>(fleet: &Fleet<S, C>) -> Settler {
    Settler { clock: Arc::new(SystemClock), ..fleet.settler() }
}

/// Settles a chunk as the queue would have it settled: what fails comes again. Says how often it failed.
async fn settle_one(settler: &Settler, chunk: &ChunkRef) -> u32 {
    let deadline = SystemClock.now() + TimeDelta::hours(1);
    for failed in 0..100 {
        let at = if failed == 0 { Try::First } else { Try::Again };
        match settler.settle(chunk, at, deadline).await {
            Ok(Settled::Through(_)) => return failed,
            Ok(other) => panic!("{chunk:?}: {other:?}"),
            Err(WorkError::Retry(_)) => {}
            Err(WorkError::Drop(cause)) => panic!("{chunk:?}: {cause}"),
        }
    }
    panic!("{chunk:?} cannot be settled");
}

/// Settles chunks, as many at once as one invocation does. Says how many tries failed.
pub async fn settle(settler: &Settler, chunks: &[ChunkRef]) -> u32 {
    let failed = stream::iter(chunks.to_vec()).map(|chunk| async move { settle_one(settler, &chunk).await });
    failed.buffer_unordered(CHUNKS_AT_ONCE).fold(0, |sum, failed| async move { sum + failed }).await
}
