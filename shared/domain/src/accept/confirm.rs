//! How sure they are: the dry run bound to the execution (`[API-4]`).

use chrono::TimeDelta;

use super::{Acceptor, Lists, Refused};
use crate::conditions::JobType;
use crate::estimate::Estimate;
use crate::ids::JobId;
use crate::job::{Job, Statistics, Status};
use crate::selector::{Selector, Source};

/// From more users than this on a job must be confirmed.
pub const UNCONFIRMED_USERS: u64 = 1_000;
/// How long a dry run's plan can be executed.
pub const PLAN_LIFETIME: TimeDelta = TimeDelta::minutes(15);
/// By how many percent the population may change between dry run and execution.
pub const MAX_DRIFT_PERCENT: u64 = 10;
/// Populations up to this size are counted within the request, larger ones by the workers.
pub const COUNTED_AT_ONCE: u64 = 2_000;
/// The people of a plan up to this size are counted again when it is executed; larger ones would take the request's
/// time, and are taken to be what the plan saw a few minutes before.
pub const DRIFT_COUNTED: u64 = 100_000;

/// What is known of a job's size when it is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Users it affects at most.
    pub users: Option<u64>,
    /// Tokens it affects.
    pub tokens: Option<u64>,
}

impl From<Statistics> for Size {
    fn from(statistics: Statistics) -> Self {
        Self { users: Some(statistics.total_users_affected), tokens: Some(statistics.tokens()) }
    }
}

impl Acceptor {
    /// Checks plan and code, and says how large the job is where that is known.
    ///
    /// What people hold is counted only if a code may be needed and no plan says the number: counting would delay the
    /// effect. An emergency has its key and its `confirm`, and never waits.
    pub(super) async fn check_confirmed(
        &self,
        job: &Job,
        lists: &Lists,
        plan_id: Option<&JobId>,
        code: Option<&str>,
    ) -> Result<Size, Refused> {
        if let Some(plan_id) = plan_id {
            let size = self.size_of_plan(job, lists, plan_id).await?;
            return confirmed(job, size, code);
        }
        if job.conditions.job_type() == JobType::Emergency {
            return Ok(Size::default());
        }
        let named = self.estimator.population(job, COUNTED_AT_ONCE).await?;
        if let Some(named) = named.filter(|named| *named <= UNCONFIRMED_USERS) {
            return Ok(Size { users: Some(named), tokens: None });
        }
        let estimate = self.count(job, lists).await?.ok_or(Refused::NeedsPlan)?;
        confirmed(job, estimate.statistics.into(), code)
    }

    pub(super) async fn count(&self, job: &Job, lists: &Lists) -> Result<Option<Estimate>, Refused> {
        Ok(self.estimator.count(job, &lists.spared, &lists.admins, COUNTED_AT_ONCE).await?)
    }

    /// How many the dry run counted, if it may be executed now by this caller.
    async fn size_of_plan(&self, job: &Job, lists: &Lists, plan_id: &JobId) -> Result<Size, Refused> {
        let stale = |why: &str| Refused::StalePlan(format!("plan {plan_id} {why}; make a new dry run"));
        let plan = self.effector.jobs.get(plan_id).await?.filter(|plan| plan.dry_run);
        let plan = plan.ok_or_else(|| stale("is not known"))?;
        if plan.initiated_by.id != job.initiated_by.id {
            return Err(stale("belongs to somebody else"));
        }
        if plan.conditions != job.conditions {
            return Err(stale("was made for other conditions"));
        }
        if plan.status != Status::Completed {
            return Err(stale("is not finished"));
        }
        if job.created_at - plan.completed_at.unwrap_or(plan.created_at) > PLAN_LIFETIME {
            return Err(stale("is older than 15 minutes"));
        }
        let tally = self.effector.jobs.tally(plan_id).await?;
        // A request that died between its two writes leaves a plan without numbers.
        if !tally.is_complete(&plan) {
            return Err(stale("was never counted"));
        }
        let counted = tally.statistics;
        if job.conditions.job_type() != JobType::Emergency {
            let (then, now) = self.populations(job, lists, &plan, counted).await?;
            if now.abs_diff(then) * 100 > then * MAX_DRIFT_PERCENT {
                return Err(stale(&format!("was made for {then} users, but there are {now} now")));
            }
        }
        Ok(counted.into())
    }

    /// The population then and now. One that cannot be counted in a request is taken not to have changed.
    async fn populations(
        &self,
        job: &Job,
        lists: &Lists,
        plan: &Job,
        counted: Statistics,
    ) -> Result<(u64, u64), Refused> {
        if matches!(Selector::of(job).source(), Source::People(_)) {
            let now = self.estimator.population(job, DRIFT_COUNTED).await?;
            return Ok((plan.plan.users, now.unwrap_or(plan.plan.users)));
        }
        let then = counted.total_users_affected;
        if then > COUNTED_AT_ONCE {
            return Ok((then, then));
        }
        Ok((then, self.count(job, lists).await?.map_or(then, |now| now.statistics.total_users_affected)))
    }
}

fn confirmed(job: &Job, size: Size, code: Option<&str>) -> Result<Size, Refused> {
    let users = size.users.unwrap_or_default();
    let expected = job.conditions.confirmation_code(users);
    let needs_code = users > UNCONFIRMED_USERS && job.conditions.job_type() != JobType::Emergency;
    if needs_code && code != Some(expected.as_str()) {
        return Err(Refused::Unconfirmed { users, code: expected });
    }
    Ok(size)
}

/// What an admin should know before executing a dry run (`[API-3]`).
pub fn warnings(statistics: &Statistics, includes_you: bool, includes_admins: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    if statistics.total_users_affected > 100 {
        warnings.push(format!("{} users would be logged out.", statistics.total_users_affected));
    }
    if statistics.tokens() > 1_000 {
        warnings.push(format!("{} tokens would be revoked.", statistics.tokens()));
    }
    if includes_you {
        warnings.push("You are among the users who would be logged out.".to_owned());
    }
    if includes_admins {
        warnings.push("At least one admin would be logged out.".to_owned());
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_3_a_dry_run_warns_of_many_users_or_tokens_of_oneself_and_of_admins() {
        let warned = |users, access, refresh, you, admins| {
            let statistics = Statistics {
                total_users_affected: users,
                access_tokens_revoked: access,
                refresh_tokens_revoked: refresh,
                ..Statistics::default()
            };
            warnings(&statistics, you, admins)
        };
        assert_eq!(warned(100, 500, 500, false, false), [""; 0]);
        assert_eq!(warned(101, 0, 0, false, false), ["101 users would be logged out."]);
        assert_eq!(warned(0, 501, 500, false, false), ["1001 tokens would be revoked."]);
        assert_eq!(warned(1, 1, 1, true, false), ["You are among the users who would be logged out."]);
        assert_eq!(warned(1, 1, 1, false, true), ["At least one admin would be logged out."]);
        assert_eq!(warned(2_000, 2_000, 0, true, true).len(), 4);
    }
}
