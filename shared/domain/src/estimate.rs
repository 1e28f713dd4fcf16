//! Counting what a job would end, by the very code that ends it (`[API-3]`).

use std::sync::Arc;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::cutoff::Scope;
use crate::decision::Limits;
use crate::ids::UserId;
use crate::job::{Job, Statistics};
use crate::plan::Population;
use crate::ports::{Directory, PortResult, TokenStore};
use crate::settle::covered;
use crate::token::Owner;

const USERS_AT_ONCE: usize = 32;
/// Members looked at between two questions whether it is getting too much.
const STEP: usize = 500;

/// What a job would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Estimate {
    /// Users, tokens and sessions.
    pub statistics: Statistics,
    /// Users the conditions select, whether they have something to lose or not.
    pub population: u64,
    /// Whether the caller is in its population.
    pub includes_you: bool,
    /// Whether an admin is.
    pub includes_admins: bool,
}

/// Counts what `job` would end. `None` if its population is larger than `at_most` users: such a job is counted by
/// the workers instead.
pub async fn estimate(
    directory: Arc<dyn Directory>,
    tokens: &dyn TokenStore,
    job: &Job,
    limits: Limits,
    at_most: u64,
) -> PortResult<Option<Estimate>> {
    let mut population = Population::open(directory, &job.conditions, None).await?;
    let mut estimate = Estimate::default();
    loop {
        let batch = population.next(STEP).await?;
        estimate.population += batch.users.len() as u64;
        if estimate.population > at_most {
            return Ok(None);
        }
        estimate.includes_you |= batch.users.contains(&job.initiated_by.id);
        estimate.includes_admins |= batch.includes_admins;
        estimate.statistics = stream::iter(batch.users)
            .map(|user| count(tokens, job, user, limits))
            .buffer_unordered(USERS_AT_ONCE)
            .try_fold(estimate.statistics, |mut sum, facts| async move {
                sum.add_user(facts);
                Ok(sum)
            })
            .await?;
        if batch.ended {
            return Ok(Some(estimate));
        }
    }
}

/// How many users `job` selects, without looking at what they hold. `None` if more than `at_most`.
pub async fn population(directory: Arc<dyn Directory>, job: &Job, at_most: u64) -> PortResult<Option<u64>> {
    let mut population = Population::open(directory, &job.conditions, None).await?;
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

async fn count(tokens: &dyn TokenStore, job: &Job, user: UserId, limits: Limits) -> PortResult<crate::job::Facts> {
    let holdings = tokens.holdings(&Owner::User(user.clone())).await?;
    let cutoff = job.cutoff(Scope::User(user), limits.max_sign_in_age);
    Ok(covered(&cutoff, &holdings, job.cutoff_at()).facts())
}
