//! Reading a month's entries: what is added up, and what is remembered of each actor. Its size depends on how many admins
//! there are, not on how many entries.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::burst::Bursts;
use super::habit::Habit;
use super::month::Zone;
use super::top::Counts;
use super::view::{Emergency, Failure, Person};
use crate::audit::{Action, Entry};
use crate::conditions::JobType;
use crate::directory::{Actor, SCHEDULE};
use crate::ids::{JobId, UserId};
use crate::job::{Statistics, Status};

/// Emergencies that are told apart; more are counted.
const EMERGENCIES: usize = 50;
/// Jobs at unusual hours that are named for one actor.
pub(super) const EXAMPLES: usize = 5;

/// What jobs did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sum {
    pub jobs: u64,
    pub dry_runs: u64,
    pub completed: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub statistics: Statistics,
}

impl Sum {
    fn ended(&mut self, how: Status, statistics: Statistics) {
        match how {
            Status::Completed => self.completed += 1,
            Status::Failed => self.failed += 1,
            Status::Cancelled => self.cancelled += 1,
            Status::Pending | Status::Processing => {}
        }
        self.statistics += statistics;
    }

    /// A job that had failed is through after all: what it had done by then is counted anew.
    fn was_redriven(&mut self, statistics: Statistics) {
        self.failed = self.failed.saturating_sub(1);
        self.statistics = self.statistics.zip(statistics, u64::saturating_sub);
    }
}

/// What is remembered of an actor who made jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OfActor {
    pub actor: Actor,
    pub sum: Sum,
    pub habit: Habit,
    /// Jobs at unusual hours, and the first of them.
    pub odd: u64,
    pub odd_examples: Vec<(JobId, DateTime<Utc>)>,
}

/// How often somebody was refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RefusedSum {
    pub actor: Option<Actor>,
    pub permission_denied: u64,
    pub rate_limited: u64,
    pub wrong_keys: u64,
}

impl RefusedSum {
    pub fn all(&self) -> u64 {
        self.permission_denied + self.rate_limited + self.wrong_keys
    }
}

/// A job that has not ended, or that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    pub job_type: JobType,
    pub by: Actor,
    pub dry_run: bool,
    /// Whether it was made in this month.
    pub made_here: bool,
    /// What it had done when it failed.
    pub failed: Option<(DateTime<Utc>, Statistics, u64)>,
}

/// A day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DaySum {
    pub jobs: u64,
    pub dry_runs: u64,
}

/// How a job ended.
pub(super) struct Ended {
    pub job: JobId,
    pub at: DateTime<Utc>,
    pub how: Status,
    pub statistics: Statistics,
    pub chunks_failed: u64,
}

/// Everything that is added up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Gathered {
    pub entries: u64,
    pub unreadable: u64,
    pub emergency_keys: u64,
    pub tokens_revoked: u64,
    pub sign_outs: u64,
    pub trail_alarms: u64,
    pub cache_alarms: u64,
    pub scheduled_jobs: u64,
    pub sum: Sum,
    pub by_type: BTreeMap<String, Sum>,
    pub by_actor: BTreeMap<UserId, OfActor>,
    pub bursts: BTreeMap<UserId, Bursts>,
    pub by_day: BTreeMap<NaiveDate, DaySum>,
    pub by_hour: [u64; 24],
    pub reasons: Counts<u64>,
    pub refusals: Counts<RefusedSum>,
    pub emergencies: Vec<Emergency>,
    pub other_emergencies: u64,
    pub real_emergencies: u64,
    pub known: BTreeMap<JobId, Known>,
}

/// What the report wants to know of a job's acceptance.
#[derive(Debug, Deserialize)]
struct Made {
    conditions: MadeConditions,
    dry_run: bool,
    reason: String,
}

#[derive(Debug, Deserialize)]
struct MadeConditions {
    job_type: JobType,
    #[serde(default)]
    authorized_by: String,
}

/// What it wants to know of a job's end.
#[derive(Debug, Deserialize)]
struct Closed {
    dry_run: bool,
    #[serde(default)]
    chunks_failed: u64,
    #[serde(default)]
    statistics: Statistics,
}

/// A job as its acceptance has it.
pub(super) struct NewJob {
    id: JobId,
    at: DateTime<Utc>,
    by: Actor,
    made: Made,
}

impl NewJob {
    /// The job.
    pub fn id(&self) -> &JobId {
        &self.id
    }

    /// Who made it.
    pub fn by(&self) -> &UserId {
        &self.by.id
    }

    fn is_scheduled(&self) -> bool {
        self.by.id.as_str() == SCHEDULE
    }

    /// Whether it can be suspicious: neither a dry run, which ends nothing, nor the daily clean-up.
    pub fn can_be_suspicious(&self) -> bool {
        !self.made.dry_run && !self.is_scheduled()
    }
}

/// A part of the month, read.
#[derive(Default)]
pub(super) struct Slice {
    /// Entries come twice under one id if an answer was lost, always with the same time, so always in one slice.
    seen: HashSet<[u8; 16]>,
    pub new: Vec<NewJob>,
    pub ended: Vec<Ended>,
    /// Entries that count and are no job's, and those that cannot be read.
    rest: Vec<(Action, Actor)>,
    tokens_revoked: u64,
    sign_outs: u64,
    trail_alarms: u64,
    cache_alarms: u64,
    emergency_keys: u64,
    pub unreadable: u64,
}

impl Slice {
    /// Takes an entry, the first time it comes.
    pub fn see(&mut self, entry: Entry) {
        let mut id = [0; 16];
        id.copy_from_slice(&Sha256::digest(entry.id.as_bytes())[..16]);
        if !self.seen.insert(id) {
            return;
        }
        let ended = |job, how, statistics, chunks_failed| Ended { job, at: entry.at, how, statistics, chunks_failed };
        match (entry.action, entry.job_id) {
            (Action::BatchLogoutInitiated, Some(id)) => match serde_json::from_value::<Made>(entry.metadata) {
                Ok(made) => self.new.push(NewJob { id, at: entry.at, by: entry.actor, made }),
                Err(_) => self.unreadable += 1,
            },
            (Action::BatchLogoutCompleted | Action::BatchLogoutFailed, Some(job)) => {
                let how = if entry.success { Status::Completed } else { Status::Failed };
                match serde_json::from_value::<Closed>(entry.metadata) {
                    Ok(closed) if closed.dry_run => {}
                    Ok(closed) => self.ended.push(ended(job, how, closed.statistics, closed.chunks_failed)),
                    Err(_) => self.unreadable += 1,
                }
            }
            // What a cancelled job did was not known when it was cancelled.
            (Action::BatchLogoutCancelled, Some(job)) => {
                self.ended.push(ended(job, Status::Cancelled, Statistics::default(), 0));
            }
            (Action::TokenRevoked, _) => self.tokens_revoked += 1,
            (Action::UserLogout, _) => self.sign_outs += 1,
            (Action::EmergencyKeyGenerated, _) => self.emergency_keys += 1,
            (action @ (Action::PermissionDenied | Action::RateLimited | Action::EmergencyKeyVerificationFailed), _) => {
                self.rest.push((action, entry.actor));
            }
            (Action::AuditChainBroken, _) => self.trail_alarms += 1,
            (Action::CacheNotSafe, _) => self.cache_alarms += 1,
            // Accounts at their mail providers are no batch logouts; here they are entries like others.
            (
                Action::AccountSignInStarted
                | Action::AccountSignInCompleted
                | Action::AccountSignInFailed
                | Action::AccountRefreshFailed
                | Action::AccountSignInsCleanedUp,
                _,
            ) => {}
            // An end or a beginning of no job.
            (
                Action::BatchLogoutInitiated
                | Action::BatchLogoutCompleted
                | Action::BatchLogoutFailed
                | Action::BatchLogoutCancelled,
                None,
            ) => self.unreadable += 1,
        }
    }

    /// Puts it in the order of time.
    pub fn sort(&mut self) {
        self.new.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
        self.ended.sort_by(|a, b| (a.at, &a.job).cmp(&(b.at, &b.job)));
    }
}

impl Gathered {
    /// The hour before the month: only what its jobs mean for the month's.
    pub fn add_before(&mut self, slice: &Slice) {
        for job in slice.new.iter().filter(|job| job.can_be_suspicious()) {
            self.bursts.entry(job.by.id.clone()).or_default().see(job.at, false);
        }
    }

    /// A part of the month, after all parts before it. `habits` knows the actors who are new; `jobs` the jobs that ended
    /// and were not made in the month so far.
    pub fn add(&mut self, slice: Slice, zone: Zone, habits: &BTreeMap<UserId, Habit>, jobs: BTreeMap<JobId, Known>) {
        self.entries += slice.seen.len() as u64;
        self.unreadable += slice.unreadable;
        self.emergency_keys += slice.emergency_keys;
        self.tokens_revoked += slice.tokens_revoked;
        self.sign_outs += slice.sign_outs;
        self.trail_alarms += slice.trail_alarms;
        self.cache_alarms += slice.cache_alarms;
        for (action, actor) in slice.rest {
            self.refused(action, actor);
        }
        for job in slice.new {
            self.made(job, zone, habits);
        }
        for (id, job) in jobs {
            self.known.entry(id).or_insert(job);
        }
        for ended in slice.ended {
            self.ended(ended);
        }
    }

    fn refused(&mut self, action: Action, actor: Actor) {
        let of = self.refusals.of(actor.id.as_str());
        match action {
            Action::PermissionDenied => of.permission_denied += 1,
            Action::RateLimited => of.rate_limited += 1,
            _ => of.wrong_keys += 1,
        }
        of.actor = Some(actor);
    }

    fn made(&mut self, job: NewJob, zone: Zone, habits: &BTreeMap<UserId, Habit>) {
        let (dry_run, job_type) = (job.made.dry_run, job.made.conditions.job_type);
        if job_type == JobType::Emergency {
            self.emergency(&job);
        }
        let unknown = || Habit { jobs: 0, usual: None };
        let of = self.by_actor.entry(job.by.id.clone()).or_insert_with(|| OfActor {
            actor: job.by.clone(),
            sum: Sum::default(),
            habit: habits.get(&job.by.id).cloned().unwrap_or_else(unknown),
            odd: 0,
            odd_examples: Vec::new(),
        });
        of.actor = job.by.clone();
        let day = self.by_day.entry(zone.date(job.at)).or_default();
        if dry_run {
            self.sum.dry_runs += 1;
            of.sum.dry_runs += 1;
            day.dry_runs += 1;
        } else {
            self.sum.jobs += 1;
            self.by_type.entry(job_type.as_str().to_owned()).or_default().jobs += 1;
            of.sum.jobs += 1;
            day.jobs += 1;
            self.by_hour[usize::from(zone.hour(job.at))] += 1;
            if job.is_scheduled() {
                // Its reasons name a day, and are nobody's words.
                self.scheduled_jobs += 1;
            } else {
                *self.reasons.of(&plain(&job.made.reason)) += 1;
            }
        }
        if job.can_be_suspicious() {
            self.bursts.entry(job.by.id.clone()).or_default().see(job.at, true);
            if of.habit.is_odd(zone.hour(job.at)) {
                of.odd += 1;
                if of.odd_examples.len() < EXAMPLES {
                    of.odd_examples.push((job.id.clone(), job.at));
                }
            }
        }
        let known = Known { job_type, by: job.by, dry_run, made_here: true, failed: None };
        if !dry_run {
            self.known.insert(job.id, known);
        }
    }

    fn emergency(&mut self, job: &NewJob) {
        self.real_emergencies += u64::from(!job.made.dry_run);
        if self.emergencies.len() >= EMERGENCIES {
            self.other_emergencies += 1;
            return;
        }
        self.emergencies.push(Emergency {
            job_id: job.id.to_string(),
            at: job.at,
            user: Person::from(&job.by),
            authorized_by: job.made.conditions.authorized_by.clone(),
            reason: job.made.reason.clone(),
            drill: job.made.dry_run,
            ended: None,
            affected_users: 0,
        });
    }

    fn ended(&mut self, ended: Ended) {
        // A dry run that was cancelled, or a job of which nothing is kept any more.
        let Some(known) = self.known.get_mut(&ended.job).filter(|known| !known.dry_run) else { return };
        let mut sums = vec![&mut self.sum, self.by_type.entry(known.job_type.as_str().to_owned()).or_default()];
        sums.extend(self.by_actor.get_mut(&known.by.id).map(|of| &mut of.sum));
        let before = known.failed.take().map(|(_, statistics, _)| statistics);
        for sum in sums {
            if let Some(before) = before {
                sum.was_redriven(before);
            }
            sum.ended(ended.how, ended.statistics);
        }
        if let Some(emergency) = self.emergencies.iter_mut().find(|of| of.job_id == ended.job.as_str()) {
            emergency.ended = Some(ended.how.as_str().to_owned());
            emergency.affected_users = ended.statistics.total_users_affected;
        }
        if ended.how == Status::Failed {
            known.failed = Some((ended.at, ended.statistics, ended.chunks_failed));
        } else {
            self.known.remove(&ended.job);
        }
    }

    /// Jobs that failed and were not finished since, in the order of time.
    pub fn failures(&self) -> Vec<Failure> {
        let failed = |(id, known): (&JobId, &Known)| {
            let (at, _, chunks_failed) = known.failed?;
            let (user, job_type) = (Person::from(&known.by), known.job_type);
            Some(Failure { job_id: id.to_string(), at, user, job_type, chunks_failed })
        };
        let mut failures: Vec<Failure> = self.known.iter().filter_map(failed).collect();
        failures.sort_by(|a, b| (a.at, &a.job_id).cmp(&(b.at, &b.job_id)));
        failures
    }

    /// Jobs that were made in the month and had not ended.
    pub fn open(&self) -> u64 {
        self.known.values().filter(|known| known.made_here && known.failed.is_none()).count() as u64
    }
}

/// A reason as it is compared: without breaks and runs of spaces.
fn plain(reason: &str) -> String {
    let words = reason.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}
