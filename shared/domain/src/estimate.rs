//! Counting what a job would end, by the very code that ends it (`[API-3]`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::ids::{ClientId, UserId};
use crate::job::{Facts, Job, Statistics};
use crate::population::Population;
use crate::ports::{CLIENT_SHARDS, Directory, PortResult, TokenStore};
use crate::selector::{People, Selector, Source, is_spared};
use crate::token::{Holdings, Owner};

const OWNERS_AT_ONCE: usize = 32;
/// Users looked at between two questions whether it is getting too much.
const STEP: usize = 500;

/// Rows that an owner has at most, in most companies.
const ROWS_PER_OWNER: u64 = 10;

/// What a job would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Estimate {
    /// Users, tokens and sessions.
    pub statistics: Statistics,
    /// Users the conditions name, whether they have something to lose or not; where they name none, those affected.
    pub population: u64,
}

/// What counting needs.
#[derive(Clone)]
pub struct Estimator {
    /// Users and groups.
    pub directory: Arc<dyn Directory>,
    /// Token rows.
    pub tokens: Arc<dyn TokenStore>,
}

impl Estimator {
    /// Counts what `job` would end, leaving out whom it spares. `None` if there are more than `at_most` owners to look
    /// at: such a job is counted by the workers instead.
    pub async fn count(
        &self,
        job: &Job,
        spared: &BTreeSet<UserId>,
        admins: &BTreeSet<UserId>,
        at_most: u64,
    ) -> PortResult<Option<Estimate>> {
        let selector = Selector::of(job);
        let owners = match selector.source() {
            Source::People(people) => return self.count_people(job, &selector, people, admins, at_most).await,
            Source::Clients(clients) => match self.owners_at(clients, at_most).await? {
                Some(owners) => self.count_each(&selector, owners.into_iter().collect()).await?,
                None => return Ok(None),
            },
            Source::Everyone => match self.count_everyone(&selector, at_most).await? {
                Some(facts) => facts,
                None => return Ok(None),
            },
        };
        let mut estimate = Estimate::default();
        for (owner, facts) in owners.iter().filter(|(owner, _)| !is_spared(owner, spared)) {
            estimate.statistics.add_counted(owner, *facts, &job.initiated_by.id, admins);
        }
        estimate.population = estimate.statistics.total_users_affected;
        Ok(Some(estimate))
    }

    /// How many users `job` names, without looking at what they hold. `None` if more than `at_most`, or if it names
    /// nobody.
    pub async fn population(&self, job: &Job, at_most: u64) -> PortResult<Option<u64>> {
        let selector = Selector::of(job);
        let Source::People(people) = selector.source() else { return Ok(None) };
        let directory = Arc::clone(&self.directory);
        let mut population = Population::open(directory, &job.conditions, people, None).await?;
        let mut users = 0;
        loop {
            let batch = population.next(STEP).await?;
            users += batch.users.len() as u64;
            if users > at_most {
                return Ok(None);
            }
            if batch.ended {
                return Ok(Some(users));
            }
        }
    }

    async fn count_people(
        &self,
        job: &Job,
        selector: &Selector,
        people: &People,
        admins: &BTreeSet<UserId>,
        at_most: u64,
    ) -> PortResult<Option<Estimate>> {
        let directory = Arc::clone(&self.directory);
        let mut population = Population::open(directory, &job.conditions, people, None).await?;
        let mut estimate = Estimate::default();
        loop {
            let batch = population.next(STEP).await?;
            estimate.population += batch.users.len() as u64;
            if estimate.population > at_most {
                return Ok(None);
            }
            for (owner, facts) in self.count_each(selector, batch.users.into_iter().map(Owner::User).collect()).await? {
                estimate.statistics.add_counted(&owner, facts, &job.initiated_by.id, admins);
            }
            if batch.ended {
                return Ok(Some(estimate));
            }
        }
    }

    async fn count_each(&self, selector: &Selector, owners: Vec<Owner>) -> PortResult<Vec<(Owner, Facts)>> {
        stream::iter(owners)
            .map(|owner| async move {
                let facts = selector.covered(&self.tokens.holdings(&owner).await?).facts();
                Ok((owner, facts))
            })
            .buffer_unordered(OWNERS_AT_ONCE)
            .try_collect()
            .await
    }

    async fn owners_at(&self, clients: &BTreeSet<ClientId>, at_most: u64) -> PortResult<Option<BTreeSet<Owner>>> {
        let shards: Vec<(ClientId, u32)> =
            clients.iter().flat_map(|client| (0..CLIENT_SHARDS).map(|shard| (client.clone(), shard))).collect();
        let found: Vec<Option<BTreeSet<Owner>>> = stream::iter(shards)
            .map(|(client, shard)| async move { self.owners_in(&client, shard, at_most).await })
            .buffer_unordered(OWNERS_AT_ONCE)
            .try_collect()
            .await?;
        let owners: Option<BTreeSet<Owner>> =
            found.into_iter().try_fold(BTreeSet::new(), |mut all: BTreeSet<Owner>, some| {
                all.extend(some?);
                Some(all)
            });
        Ok(owners.filter(|owners| owners.len() as u64 <= at_most))
    }

    async fn owners_in(&self, client: &ClientId, shard: u32, at_most: u64) -> PortResult<Option<BTreeSet<Owner>>> {
        let mut owners = BTreeSet::new();
        let mut from = None;
        loop {
            let page = self.tokens.owners_at(client, shard, from.as_deref()).await?;
            owners.extend(page.items);
            if owners.len() as u64 > at_most {
                return Ok(None);
            }
            match page.next {
                Some(next) => from = Some(next),
                None => return Ok(Some(owners)),
            }
        }
    }

    async fn count_everyone(&self, selector: &Selector, at_most: u64) -> PortResult<Option<Vec<(Owner, Facts)>>> {
        // Looking at a large table only to find that it is large would take the request's time.
        if self.tokens.rows().await? > at_most * ROWS_PER_OWNER {
            return Ok(None);
        }
        let mut counted = BTreeMap::new();
        let mut from = None;
        loop {
            let page = self.tokens.segment(0, 1, from.as_deref()).await?;
            let facts = |(owner, holdings): (Owner, Holdings)| (owner, selector.covered(&holdings).facts());
            counted.extend(page.items.into_iter().map(facts));
            if counted.len() as u64 > at_most {
                return Ok(None);
            }
            match page.next {
                Some(next) => from = Some(next),
                None => return Ok(Some(counted.into_iter().collect())),
            }
        }
    }
}
