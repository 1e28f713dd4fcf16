//! Accepting a request for a batch logout: who may, what exactly, how often, and how sure they are.

mod confirm;
pub mod validate;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

pub use confirm::{
    COUNTED_AT_ONCE, DRIFT_COUNTED, MAX_DRIFT_PERCENT, PLAN_LIFETIME, Size, UNCONFIRMED_USERS, warnings,
};
pub use validate::FieldError;

use crate::audit::{Action, Auditor, Entry, Origin};
use crate::conditions::{Conditions, JobType};
use crate::directory::{Actor, User};
use crate::effect::{Effector, Told};
use crate::emergency::{EmergencyDesk, PresentedKey, WRONG};
use crate::error::PortError;
use crate::estimate::{Estimate, Estimator};
use crate::ids::{ClientId, GroupId, JobId, UserId};
use crate::job::{ChunkResult, Job, PlanCursor, Priority, Statistics, Status};
use crate::members::{self, Cycle};
use crate::permissions::may_log_out_group;
use crate::ports::{Created, Directory, Frozen, Idempotency, JobStore, NewJob, WorkQueue};
use crate::rate::{Limit, Slots, Standing};
use crate::selector::{Reach, Selector, Source};
use crate::time::Epoch;

/// How long a repeated request is recognised, in seconds (`[API-5]`).
pub const REPEATED_SECONDS: i64 = 24 * 3_600;
/// How often a job that lost a race for its rate limit is tried again. Every round somebody wins a slot, so that after
/// as many rounds as the widest limit has slots there is none left.
const CREATE_TRIES: usize = 40;

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
    /// The `Idempotency-Key`, if one was sent.
    pub idempotency_key: Option<String>,
    /// The `X-Emergency-Key`, if one was sent.
    pub emergency_key: Option<PresentedKey>,
    /// Where the request came from.
    pub origin: Origin,
}

impl Request {
    /// A real run without any of what may come with it.
    pub fn of(conditions: Conditions, priority: Priority) -> Self {
        Self {
            conditions,
            reason: String::new(),
            notify_users: false,
            dry_run: false,
            priority,
            plan_id: None,
            confirmation_code: None,
            idempotency_key: None,
            emergency_key: None,
            origin: Origin::default(),
        }
    }

    /// What makes two requests the same (`[API-5]`): all of the body, in one form.
    fn fingerprint(&self) -> String {
        #[derive(Serialize)]
        struct Body<'a>(&'a Conditions, &'a str, bool, bool, Priority, Option<&'a JobId>, Option<&'a str>);
        let plan_id = self.plan_id.as_ref();
        let code = self.confirmation_code.as_deref();
        let body = Body(&self.conditions, &self.reason, self.notify_users, self.dry_run, self.priority, plan_id, code);
        // Plain data always has a JSON form.
        hex::encode(Sha256::digest(serde_json::to_vec(&body).unwrap_or_default()))
    }
}

/// Who asks.
#[derive(Clone, Copy)]
pub enum By<'a> {
    /// An admin.
    User {
        /// The admin.
        user: &'a User,
        /// Where an emergency's key is checked.
        desk: &'a EmergencyDesk,
    },
    /// The every-day clean-up: configuration has decided what it may do, so that it neither confirms nor is limited.
    Schedule,
}

/// What became of a request.
#[derive(Debug, Clone)]
pub enum Accepted {
    /// A job was written and is on its way.
    Started {
        /// The job.
        job: Job,
        /// How large it is, where that was known at once.
        size: Size,
    },
    /// A dry run was counted.
    Counted {
        /// The dry run.
        job: Job,
        /// Its result.
        statistics: Statistics,
    },
}

/// What became of a request, and where its sender now stands.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What became of it.
    pub accepted: Accepted,
    /// The sender's rate limit; none for a repeated request, which takes no slot.
    pub standing: Option<Standing>,
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
    /// The emergency key is missing, wrong, used up or too old. Which of them is not told.
    #[error("{0}")]
    WrongKey(&'static str),
    /// No such group.
    #[error("there is no group {0}")]
    UnknownGroup(GroupId),
    /// No such client.
    #[error("there is no client {0}")]
    UnknownClient(ClientId),
    /// The directory contradicts itself, so that nobody can say whom the job would hit.
    #[error("{0}; mend the directory or log out its groups one by one without subgroups")]
    GroupCycle(#[from] Cycle),
    /// Fields have wrong values.
    #[error("{} of the request's fields are wrong", .0.len())]
    Invalid(Vec<FieldError>),
    /// The job is large and was not confirmed.
    #[error("{users} users would be logged out; confirm with \"confirmation_code\": \"{code}\"")]
    Unconfirmed {
        /// How many.
        users: u64,
        /// What to send.
        code: String,
    },
    /// The job is too large to be counted within the request.
    #[error("it is too large to be counted at once; make a dry run first and send its plan_id and confirmation_code")]
    NeedsPlan,
    /// The plan cannot be executed.
    #[error("{0}")]
    StalePlan(String),
    /// The `Idempotency-Key` was used for something else.
    #[error("this Idempotency-Key was used for another request within the last 24 hours")]
    KeyReused,
    /// Too many requests.
    #[error("Rate limit exceeded. Try again in {} minutes.", .0.minutes())]
    RateLimited(Standing),
    /// A store did not answer.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// The users a job spares and those who are admins, as they are when it is accepted.
#[derive(Debug, Clone, Default)]
struct Lists {
    spared: BTreeSet<UserId>,
    admins: BTreeSet<UserId>,
}

/// What accepting needs.
#[derive(Clone)]
pub struct Acceptor {
    /// Users, groups and clients.
    pub directory: Arc<dyn Directory>,
    /// Counting.
    pub estimator: Estimator,
    /// Making jobs effective.
    pub effector: Effector,
    /// The planners' queues.
    pub queue: Arc<dyn WorkQueue>,
    /// The audit trail.
    pub auditor: Auditor,
}

impl Acceptor {
    fn jobs(&self) -> &dyn JobStore {
        self.effector.jobs.as_ref()
    }

    /// Accepts or refuses. Nothing is written unless it is accepted, but for the audit of a refusal and the try of an
    /// emergency key.
    pub async fn accept(&self, by: By<'_>, request: Request) -> Result<Answer, Refused> {
        let answer = self.decide(by, &request).await;
        if let (Err(refused), By::User { user, .. }) = (&answer, by) {
            let action = match refused {
                Refused::Forbidden(_) | Refused::UnmanagedGroup => Action::PermissionDenied,
                Refused::WrongKey(_) => Action::EmergencyKeyVerificationFailed,
                Refused::RateLimited(_) => Action::RateLimited,
                _ => return answer,
            };
            let metadata = serde_json::json!({
                "job_type": request.conditions.job_type(),
                "conditions": request.conditions,
                "why": refused.to_string(),
            });
            self.auditor.refused(action, user, None, &request.origin, metadata).await;
        }
        answer
    }

    async fn decide(&self, by: By<'_>, request: &Request) -> Result<Answer, Refused> {
        let now = self.effector.clock.now();
        if let By::User { user, .. } = by {
            self.authorise(user, &request.conditions).await?;
        }
        let actor = match by {
            By::User { user, .. } => Actor::from(user),
            By::Schedule => Actor::schedule(),
        };
        let mut job =
            Job::new(self.effector.ids.job_id(), request.conditions.clone(), actor, request.reason.clone(), now);
        (job.dry_run, job.priority, job.notify_users) = (request.dry_run, request.priority, request.notify_users);
        let idempotency = request.idempotency_key.as_ref().map(|key| Idempotency {
            actor: job.initiated_by.id.clone(),
            key: hex::encode(Sha256::digest(key.as_bytes())),
            request: request.fingerprint(),
            expires_at: Epoch::from(now).plus(REPEATED_SECONDS).0,
        });
        // Before anything else is looked at: what was right once is not asked for again, whatever the clock says now.
        if let Some(answer) = self.repeated(idempotency.as_ref()).await? {
            return Ok(answer);
        }
        let errors = validate::check(request, now);
        if !errors.is_empty() {
            return Err(Refused::Invalid(errors));
        }
        match self.decide_new(by, request, job, idempotency.as_ref()).await {
            // The same request, sent twice at the same moment, may have taken the last slot, or used the key.
            Err(refused @ (Refused::RateLimited(_) | Refused::WrongKey(_))) => {
                self.repeated(idempotency.as_ref()).await?.ok_or(refused)
            }
            decided => decided,
        }
    }

    async fn decide_new(
        &self,
        by: By<'_>,
        request: &Request,
        mut job: Job,
        idempotency: Option<&Idempotency>,
    ) -> Result<Answer, Refused> {
        let limit = match by {
            By::User { .. } => Some(Limit::of(job.conditions.job_type(), job.dry_run)),
            By::Schedule => None,
        };
        if let Some(limit) = limit {
            self.slots(&job, limit).await?;
        }
        self.check_names(&job.conditions).await?;
        let key = match (by, job.conditions.job_type()) {
            (By::User { user, desk }, JobType::Emergency) if !job.dry_run => {
                Some(desk.verify(&user.id, request.emergency_key.as_ref()).await?)
            }
            (By::Schedule, JobType::Emergency) => return Err(Refused::WrongKey(WRONG)),
            _ => None,
        };
        let lists = self.lists(&job).await?;
        let mut size = Size::default();
        if job.dry_run {
            if let Some(estimate) = self.count(&job, &lists).await? {
                let standing = self.keep_dry_run(&mut job, estimate, limit, idempotency, request).await?;
                return Ok(match standing {
                    Ok(standing) => {
                        Answer { accepted: Accepted::Counted { job, statistics: estimate.statistics }, standing }
                    }
                    Err(answer) => answer,
                });
            }
        } else if let By::User { .. } = by {
            let code = request.confirmation_code.as_deref();
            size = self.check_confirmed(&job, &lists, request.plan_id.as_ref(), code).await?;
        }
        let selector = Selector::of(&job);
        self.freeze_lists(&job, &selector, &lists).await?;
        let at_once = !job.dry_run && selector.reach() == Reach::AtOnce;
        let cutoffs = if at_once { selector.cutoffs(self.effector.limits.max_sign_in_age) } else { Vec::new() };
        let audit = Entry::initiated(self.effector.ids.uuid(), &job, size.users, request.origin.clone());
        let new =
            NewJob { job: &job, cutoffs: &cutoffs, slot: None, idempotency, key: key.as_ref(), audit: Some(&audit) };
        let standing = match self.create(new, limit).await? {
            Ok(standing) => standing,
            Err(answer) => return Ok(answer),
        };
        // From here on the job is written: whatever fails now is taken up by the planner and the every-minute re-drive.
        if at_once {
            match self.effector.tell(&job, &selector, &lists.spared).await {
                Ok(Told::Effective(at)) => job.effective_at = Some(at),
                Ok(Told::Distrusted(error)) | Err(error) => {
                    tracing::error!(job_id = %job.id, %error, "the job is written and durable, but not effective yet");
                }
            }
        }
        if let Err(error) = self.queue.send_plan(&job.id, job.priority).await {
            tracing::warn!(job_id = %job.id, %error, "job is written but its message was not sent; the re-drive will");
        }
        Ok(Answer { accepted: Accepted::Started { job, size }, standing })
    }

    /// Refuses who may not, and does not say more to them.
    async fn authorise(&self, caller: &User, conditions: &Conditions) -> Result<(), Refused> {
        let wanted = conditions.job_type().permission();
        if !caller.may(wanted) {
            return Err(Refused::Forbidden(wanted.as_str()));
        }
        if let Conditions::GroupBased { group_id, .. } = conditions {
            let groups = self.directory.groups().await?;
            // Whether a group exists is not told to those who may not touch it.
            if !may_log_out_group(caller, &members::lineage(&groups, group_id)) {
                return Err(Refused::UnmanagedGroup);
            }
        }
        Ok(())
    }

    /// Refuses what the directory does not know.
    async fn check_names(&self, conditions: &Conditions) -> Result<(), Refused> {
        match conditions {
            Conditions::GroupBased { group_id, include_subgroups, .. } => {
                self.check_groups(&BTreeSet::from([group_id.clone()]), *include_subgroups).await
            }
            Conditions::ClientBased { client_id, .. } => self.check_client(client_id).await,
            Conditions::Conditional(filter) => {
                self.check_groups(&filter.groups, filter.include_subgroups).await?;
                for client in &filter.clients {
                    self.check_client(client).await?;
                }
                let mut errors = Vec::new();
                for (name, users) in [("users", &filter.users), ("exclude_users", &filter.exclude_users)] {
                    errors.extend(self.unknown_users(name, users).await?);
                }
                if errors.is_empty() { Ok(()) } else { Err(Refused::Invalid(errors)) }
            }
            Conditions::TimeBased { .. } | Conditions::Emergency { .. } => Ok(()),
        }
    }

    async fn check_groups(&self, wanted: &BTreeSet<GroupId>, include_subgroups: bool) -> Result<(), Refused> {
        if wanted.is_empty() {
            return Ok(());
        }
        let groups = self.directory.groups().await?;
        for id in wanted {
            if !groups.iter().any(|group| &group.id == id) {
                return Err(Refused::UnknownGroup(id.clone()));
            }
            match members::closure(&groups, id).1 {
                Some(cycle) if include_subgroups => return Err(cycle.into()),
                _ => {}
            }
        }
        Ok(())
    }

    async fn check_client(&self, id: &ClientId) -> Result<(), Refused> {
        match self.directory.client(id).await? {
            Some(_) => Ok(()),
            None => Err(Refused::UnknownClient(id.clone())),
        }
    }

    async fn unknown_users(&self, name: &str, users: &BTreeSet<UserId>) -> Result<Vec<FieldError>, Refused> {
        let users: Vec<UserId> = users.iter().cloned().collect();
        let mut known = BTreeSet::new();
        for page in users.chunks(100) {
            known.extend(self.directory.users(page).await?.into_iter().map(|user| user.id));
        }
        let unknown = users.iter().filter(|user| !known.contains(*user));
        Ok(unknown
            .map(|user| FieldError::new(format!("/conditions/{name}"), format!("there is no user {user}")))
            .collect())
    }

    /// Whom the job spares, where its people are not looked at one by one anyway, and who is an admin, where it matters.
    async fn lists(&self, job: &Job) -> Result<Lists, Refused> {
        // Of people named, those who are spared are left out when they are frozen.
        let by_list = !matches!(Selector::of(job).source(), Source::People(_));
        let spares_admins = by_list && job.conditions.spares_admins();
        let admins: BTreeSet<UserId> = if spares_admins || job.dry_run {
            self.directory.admins().await?.into_iter().collect()
        } else {
            BTreeSet::new()
        };
        let mut spared = if by_list { job.conditions.excluded_users() } else { BTreeSet::new() };
        if spares_admins {
            spared.extend(admins.iter().cloned());
        }
        Ok(Lists { spared, admins })
    }

    async fn freeze_lists(&self, job: &Job, selector: &Selector, lists: &Lists) -> Result<(), Refused> {
        if !lists.spared.is_empty() {
            self.effector.spare(job, selector, &lists.spared).await?;
        }
        if job.dry_run && !lists.admins.is_empty() {
            self.jobs().freeze_people(&job.id, Frozen::Admins, &lists.admins).await?;
        }
        Ok(())
    }

    /// The answer to a request that was made before.
    async fn repeated(&self, idempotency: Option<&Idempotency>) -> Result<Option<Answer>, Refused> {
        let Some(asked) = idempotency else { return Ok(None) };
        let now = Epoch::from(self.effector.clock.now());
        let Some((job, request)) = self.jobs().repeated(&asked.actor, &asked.key, now).await? else { return Ok(None) };
        if request != asked.request {
            return Err(Refused::KeyReused);
        }
        let Some(job) = self.jobs().get(&job).await? else { return Ok(None) };
        let statistics = self.jobs().tally(&job.id).await?.statistics;
        let accepted = if job.dry_run && job.status == Status::Completed {
            Accepted::Counted { job, statistics }
        } else {
            Accepted::Started { job, size: Size::default() }
        };
        Ok(Some(Answer { accepted, standing: None }))
    }

    /// The slots the actor has taken, if one is left.
    async fn slots(&self, job: &Job, limit: Limit) -> Result<(Slots, Standing), Refused> {
        let now = job.created_at;
        let mut slots = self.jobs().slots(&job.initiated_by.id, limit.name).await?;
        let standing = slots.standing(limit, now);
        if standing.remaining > 0 {
            return Ok((slots, standing));
        }
        if limit.name != JobType::Emergency.as_str() {
            return Err(Refused::RateLimited(standing));
        }
        // An emergency that never became effective is not counted.
        let stored = slots.clone();
        let mut counted = Vec::new();
        for (at, id) in &stored.within(limit, now).0 {
            let before = self.jobs().get(id).await?;
            if before.is_none_or(|job| job.status.is_open() || job.effective_at.is_some()) {
                counted.push((*at, id.clone()));
            }
        }
        slots.0 = counted;
        match slots.standing(limit, now) {
            Standing { remaining: 0, .. } => Err(Refused::RateLimited(standing)),
            free => Ok((stored, free)),
        }
    }

    /// Writes the job together with its slot. Another answer than its own if the same request came first.
    async fn create(&self, new: NewJob<'_>, limit: Option<Limit>) -> Result<Result<Option<Standing>, Answer>, Refused> {
        for _ in 0..CREATE_TRIES {
            let job = new.job;
            let taken = match limit {
                Some(limit) => {
                    let (slots, standing) = self.slots(job, limit).await?;
                    Some((slots.take(&job.initiated_by.id, limit, job.created_at, &job.id), standing.after_one()))
                }
                None => None,
            };
            let slot = taken.as_ref().map(|(slot, _)| slot);
            match self.jobs().create(NewJob { slot, ..new }).await? {
                Created::Written => return Ok(Ok(taken.map(|(_, standing)| standing))),
                Created::SlotsMoved => {}
                Created::KeyUsed => return Err(Refused::WrongKey(WRONG)),
                Created::Repeated => {
                    if let Some(answer) = self.repeated(new.idempotency).await? {
                        return Ok(Err(answer));
                    }
                }
            }
        }
        Err(Refused::Port(PortError::Unavailable { service: "jobs", cause: "the rate limit is contended".to_owned() }))
    }

    async fn keep_dry_run(
        &self,
        job: &mut Job,
        estimate: Estimate,
        limit: Option<Limit>,
        idempotency: Option<&Idempotency>,
        request: &Request,
    ) -> Result<Result<Option<Standing>, Answer>, Refused> {
        job.status = Status::Completed;
        job.started_at = Some(job.created_at);
        job.completed_at = Some(self.effector.clock.now());
        job.plan = PlanCursor { chunks: 1, users: estimate.population, frozen: true, last_user: None };
        job.emitted = true;
        let users = Some(estimate.statistics.total_users_affected);
        let audit = Entry::initiated(self.effector.ids.uuid(), job, users, request.origin.clone());
        let new = NewJob { idempotency, audit: Some(&audit), ..NewJob::plain(job) };
        let created = self.create(new, limit).await?;
        if created.is_ok() {
            let result = ChunkResult::done(estimate.statistics);
            self.jobs().commit_chunk(&job.id, 0, None, result).await?;
        }
        Ok(created)
    }
}

#[cfg(test)]
mod tests;
