//! Accepting a request for a batch logout: who may, what exactly, and how sure they are.

use std::sync::Arc;

use chrono::TimeDelta;

use crate::decision::Limits;
use crate::directory::User;
use crate::error::PortError;
use crate::estimate::{Estimate, estimate, population};
use crate::ids::{GroupId, JobId};
use crate::job::{ChunkOutcome, ChunkResult, Conditions, Job, PlanCursor, Priority, Statistics, Status};
use crate::members::{self, Cycle};
use crate::permissions::{Permission, may_log_out_group};
use crate::ports::{Directory, JobStore, TokenStore, WorkQueue};
use crate::source::IdSource;
use crate::time::Clock;

/// From more users than this on a job must be confirmed (`[API-4]`).
pub const UNCONFIRMED_USERS: u64 = 1_000;
/// How long a dry run's plan can be executed (`[API-4]`).
pub const PLAN_LIFETIME: TimeDelta = TimeDelta::minutes(15);
/// By how many percent the population may change between dry run and execution (`[API-4]`).
pub const MAX_DRIFT_PERCENT: u64 = 10;
/// Populations up to this size are counted within the request, larger ones by the workers.
pub const COUNTED_AT_ONCE: u64 = 2_000;
/// Length of a reason, in characters (`[API-1]`).
pub const REASON_CHARS: std::ops::RangeInclusive<usize> = 10..=500;

/// What an admin asks for.
#[derive(Debug, Clone)]
pub struct Request {
    /// What to log out.
    pub conditions: Conditions,
    /// Why.
    pub reason: String,
    /// Whether to mail the users.
    pub notify_users: bool,
    /// Whether only to count.
    pub dry_run: bool,
    /// How urgent it is.
    pub priority: Priority,
    /// The dry run this executes.
    pub plan_id: Option<JobId>,
    /// What the dry run said to confirm with.
    pub confirmation_code: Option<String>,
}

/// What became of a request.
#[derive(Debug, Clone)]
pub enum Accepted {
    /// A job was written and is on its way.
    Started {
        /// The job.
        job: Job,
        /// How many users it selects at most, where that was known at once.
        users: Option<u64>,
    },
    /// A dry run was counted.
    Counted {
        /// The dry run.
        job: Job,
        /// Its result.
        estimate: Estimate,
    },
}

/// Why a request was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The caller lacks the permission.
    #[error("{0} is required")]
    Forbidden(&'static str),
    /// The caller has the permission, but not for this group.
    #[error("you can only log out users of groups that you manage")]
    UnmanagedGroup,
    /// No such group.
    #[error("there is no group {0}")]
    UnknownGroup(GroupId),
    /// The directory contradicts itself, so that nobody can say whom the job would hit.
    #[error("{0}; mend the directory or log out its groups one by one without subgroups")]
    GroupCycle(#[from] Cycle),
    /// A field has a wrong value: JSON pointer and what is wrong.
    #[error("{pointer}: {detail}")]
    Invalid {
        /// Where.
        pointer: &'static str,
        /// What.
        detail: String,
    },
    /// The job is large and was not confirmed.
    #[error("{users} users would be logged out; confirm with \"confirmation_code\": \"{code}\"")]
    Unconfirmed {
        /// How many.
        users: u64,
        /// What to send.
        code: String,
    },
    /// The job is too large to be counted within the request.
    #[error(
        "the group is too large to be counted at once; make a dry run first and send its plan_id and confirmation_code"
    )]
    NeedsPlan,
    /// The plan cannot be executed.
    #[error("{0}")]
    StalePlan(String),
    /// A store did not answer.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// What accepting needs.
#[derive(Clone)]
pub struct Acceptor {
    /// Users and groups.
    pub directory: Arc<dyn Directory>,
    /// Token rows, for counting.
    pub tokens: Arc<dyn TokenStore>,
    /// Jobs.
    pub jobs: Arc<dyn JobStore>,
    /// The planners' queue.
    pub queue: Arc<dyn WorkQueue>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// New job ids.
    pub ids: Arc<dyn IdSource>,
    /// The verifiers' limits.
    pub limits: Limits,
}

impl Acceptor {
    /// Accepts or refuses. Nothing is written unless it is accepted.
    pub async fn accept(&self, caller: &User, request: Request) -> Result<Accepted, Refused> {
        check_reason(&request.reason)?;
        self.authorise(caller, &request.conditions).await?;
        let now = self.clock.now();
        let mut job = Job {
            id: self.ids.job_id(),
            conditions: request.conditions,
            status: Status::Pending,
            priority: request.priority,
            dry_run: request.dry_run,
            reason: request.reason,
            notify_users: request.notify_users,
            initiated_by: caller.into(),
            created_at: now,
            started_at: None,
            effective_at: None,
            completed_at: None,
            plan: PlanCursor::default(),
            emitted: false,
            redriven_at: None,
        };
        let mut users = None;
        if job.dry_run {
            if let Some(estimate) = self.count(&job).await? {
                self.keep_dry_run(&mut job, estimate).await?;
                return Ok(Accepted::Counted { job, estimate });
            }
        } else {
            let plan_id = request.plan_id.as_ref();
            users = self.check_confirmed(&job, plan_id, request.confirmation_code.as_deref()).await?;
        }
        self.jobs.create(&job).await?;
        // The job is written: should the message be lost, the every-minute re-drive sends another.
        if let Err(error) = self.queue.send_plan(&job.id).await {
            tracing::warn!(job_id = %job.id, %error, "job is written but its message was not sent; the re-drive will");
        }
        Ok(Accepted::Started { job, users })
    }

    async fn count(&self, job: &Job) -> Result<Option<Estimate>, PortError> {
        let directory = Arc::clone(&self.directory);
        estimate(directory, self.tokens.as_ref(), job, self.limits, COUNTED_AT_ONCE).await
    }

    async fn authorise(&self, caller: &User, conditions: &Conditions) -> Result<(), Refused> {
        let Conditions::GroupBased { group_id, include_subgroups, .. } = conditions;
        if !caller.may(Permission::ExecuteGroup) {
            return Err(Refused::Forbidden(Permission::ExecuteGroup.as_str()));
        }
        let groups = self.directory.groups().await?;
        // Whether a group exists is not told to those who may not touch it.
        if !may_log_out_group(caller, &members::lineage(&groups, group_id)) {
            return Err(Refused::UnmanagedGroup);
        }
        if !groups.iter().any(|group| &group.id == group_id) {
            return Err(Refused::UnknownGroup(group_id.clone()));
        }
        match members::closure(&groups, group_id).1 {
            Some(cycle) if *include_subgroups => Err(cycle.into()),
            _ => Ok(()),
        }
    }

    async fn keep_dry_run(&self, job: &mut Job, estimate: Estimate) -> Result<(), Refused> {
        let now = self.clock.now();
        job.status = Status::Completed;
        job.started_at = Some(job.created_at);
        job.completed_at = Some(now);
        job.plan = PlanCursor {
            chunks: 1,
            users: estimate.population,
            frozen: true,
            includes_you: estimate.includes_you,
            includes_admins: estimate.includes_admins,
            last_user: None,
        };
        job.emitted = true;
        self.jobs.create(job).await?;
        let result = ChunkResult { outcome: ChunkOutcome::Done, statistics: estimate.statistics };
        self.jobs.commit_chunk(&job.id, 0, None, result).await?;
        Ok(())
    }

    /// Checks plan and code, and says how many users the job selects where that is known. What the users hold is
    /// counted only if a code is needed and no plan says the number: counting would delay the effect.
    async fn check_confirmed(
        &self,
        job: &Job,
        plan_id: Option<&JobId>,
        code: Option<&str>,
    ) -> Result<Option<u64>, Refused> {
        let selected = population(Arc::clone(&self.directory), job, COUNTED_AT_ONCE).await?;
        let users = match (plan_id, selected) {
            (Some(plan_id), _) => self.plan_users(job, plan_id, selected).await?,
            (None, Some(selected)) if selected <= UNCONFIRMED_USERS => selected,
            (None, Some(_)) => match self.count(job).await? {
                Some(estimate) => estimate.statistics.total_users_affected,
                None => return Err(Refused::NeedsPlan),
            },
            (None, None) => return Err(Refused::NeedsPlan),
        };
        let expected = job.conditions.confirmation_code(users);
        if users > UNCONFIRMED_USERS && code != Some(expected.as_str()) {
            return Err(Refused::Unconfirmed { users, code: expected });
        }
        Ok(selected)
    }

    /// How many users the dry run counted, if it may be executed now by this caller.
    async fn plan_users(&self, job: &Job, plan_id: &JobId, selected: Option<u64>) -> Result<u64, Refused> {
        let stale = |why: &str| Refused::StalePlan(format!("plan {plan_id} {why}; make a new dry run"));
        let plan = self.jobs.get(plan_id).await?.filter(|plan| plan.dry_run);
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
        // A population too large to be looked at within the request is taken to be what the plan saw.
        let (then, now) = (plan.plan.users, selected.unwrap_or(plan.plan.users));
        if now.abs_diff(then) * 100 > then * MAX_DRIFT_PERCENT {
            return Err(stale(&format!("was made for {then} users, but there are {now} now")));
        }
        Ok(self.jobs.tally(plan_id).await?.statistics.total_users_affected)
    }
}

fn check_reason(reason: &str) -> Result<(), Refused> {
    let length = reason.trim().chars().count();
    if REASON_CHARS.contains(&length) {
        Ok(())
    } else {
        Err(Refused::Invalid {
            pointer: "/reason",
            detail: format!("must be 10 to 500 characters long, and has {length}"),
        })
    }
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
