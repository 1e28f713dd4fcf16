//! Reports of generated months, over stores in memory.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod drafts;
mod html;
mod mails;
mod numbers;
mod year;

use std::sync::{Arc, LazyLock};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use super::{Made, Month, Report, Reporter, Zone};
use crate::audit::{Action, AuditLog as _, Entry, Level, Origin};
use crate::conditions::Conditions;
use crate::cutoff::Kinds;
use crate::directory::Actor;
use crate::ids::{ClientId, GroupId, JobId, UserId};
use crate::job::{Job, Statistics, Status, Tally};
use crate::ports::{JobStore as _, NewJob};
use crate::testing::{Memory, MemoryHeads, MemoryReports, TestClock};

/// A store full of what happened, and a clock.
struct World {
    store: Arc<Memory>,
    heads: Arc<MemoryHeads>,
    reports: Arc<MemoryReports>,
    clock: Arc<TestClock>,
    zone: Zone,
    made: u64,
}

fn time(text: &str) -> DateTime<Utc> {
    format!("{text}Z").parse().unwrap()
}

fn month(text: &str) -> Month {
    Month::parse(text).unwrap()
}

fn actor(id: &str) -> Actor {
    Actor { id: UserId::parse(id).unwrap(), email: Some(format!("{id}@example.com")), name: Some(format!("{id} 씨")) }
}

fn group() -> Conditions {
    let group_id = GroupId::parse("contractors").unwrap();
    Conditions::GroupBased { group_id, include_subgroups: false, exclude_admin_users: true }
}

fn client() -> Conditions {
    let client_id = ClientId::parse("web").unwrap();
    Conditions::ClientBased { client_id, revoke_refresh_tokens: true, created_before: None }
}

fn old() -> Conditions {
    Conditions::TimeBased { created_before: None, last_used_before: None, token_types: Kinds::Both }
}

fn conditional() -> Conditions {
    Conditions::Conditional(Box::default())
}

fn emergency(authorized_by: &str) -> Conditions {
    let authorized_by = authorized_by.to_owned();
    Conditions::Emergency { exclude_admin_sessions: true, preserve_service_tokens: true, authorized_by }
}

fn lost(users: u64) -> Statistics {
    Statistics {
        total_users_affected: users,
        access_tokens_revoked: 3 * users,
        refresh_tokens_revoked: users,
        sessions_terminated: 2 * users,
        ..Statistics::default()
    }
}

impl World {
    /// An empty one, at a moment.
    fn at(now: &str) -> Self {
        Self {
            store: Arc::default(),
            heads: Arc::default(),
            reports: Arc::default(),
            clock: Arc::new(TestClock::at(time(now))),
            zone: Zone::UTC,
            made: 0,
        }
    }

    fn reporter(&self) -> Reporter {
        Reporter {
            trail: self.store.clone(),
            heads: self.heads.clone(),
            jobs: self.store.clone(),
            store: self.reports.clone(),
            clock: self.clock.clone(),
            zone: self.zone,
        }
    }

    async fn report(&self, name: &str) -> Report {
        match self.reporter().report(month(name), DateTime::<Utc>::MAX_UTC).await.unwrap() {
            Made::Report(report) => *report,
            under_way @ Made::UnderWay { .. } => panic!("{under_way:?}"),
        }
    }

    /// A job is made, with its entry.
    async fn make(
        &mut self,
        by: &Actor,
        at: DateTime<Utc>,
        conditions: Conditions,
        reason: &str,
        dry_run: bool,
    ) -> Job {
        self.made += 1;
        let id = JobId::parse(format!("job-{:05}", self.made)).unwrap();
        let mut job = Job::new(id, conditions, by.clone(), reason.to_owned(), at);
        job.dry_run = dry_run;
        let entry = Entry::initiated(format!("made-{}", self.made), &job, None, Origin::default());
        self.store.create(NewJob { audit: Some(&entry), ..NewJob::plain(&job) }).await.unwrap();
        job
    }

    /// A group's logout.
    async fn job(&mut self, by: &str, at: DateTime<Utc>) -> Job {
        self.make(&actor(by), at, group(), "the contract has ended", false).await
    }

    /// It ends.
    async fn end(&self, job: &Job, to: Status, statistics: Statistics, at: DateTime<Utc>) {
        let failed = u64::from(to == Status::Failed) * 2;
        let tally = Tally { failed, statistics, ..Tally::default() };
        self.store.append(&Entry::closed(job, to, &tally, at)).await.unwrap();
    }

    /// Somebody did something, or was refused it.
    async fn act(&mut self, action: Action, by: &str, at: DateTime<Utc>) -> Entry {
        self.made += 1;
        let entry = Entry {
            id: format!("act-{}", self.made),
            at,
            action,
            level: Level::Info,
            actor: actor(by),
            job_id: None,
            success: false,
            metadata: json!(null),
            origin: Origin::default(),
        };
        self.store.append(&entry).await.unwrap();
        entry
    }

    /// Somebody's habit: a job every third day of the ninety before a time, at this hour.
    async fn history(&mut self, by: &str, before: DateTime<Utc>, hour: i64) {
        let midnight = before.date_naive().and_hms_opt(0, 0, 0).unwrap().and_utc();
        for day in (1..=29).map(|n| n * 3) {
            self.job(by, midnight - TimeDelta::days(day) + TimeDelta::hours(hour)).await;
        }
    }
}

/// The report of a month without anything in it.
pub(crate) fn empty() -> Report {
    static EMPTY: LazyLock<Report> = LazyLock::new(|| {
        let world = World::at("2026-12-01T06:00:00");
        // Stores in memory never wait.
        futures::FutureExt::now_or_never(world.report("2026-11")).unwrap()
    });
    EMPTY.clone()
}

/// Who is suspicious of what, in a few words.
fn findings(report: &Report) -> Vec<String> {
    let suspicious = &report.suspicious;
    let minute = |at: DateTime<Utc>| at.format("%m-%d %H:%M").to_string();
    let excessive = suspicious.excessive.items.iter().map(|of| format!("{} made {}", of.user.id, of.jobs));
    let rapid = suspicious.rapid_succession.items.iter();
    let rapid =
        rapid.map(|of| format!("{} made {} from {} to {}", of.user.id, of.jobs, minute(of.first), minute(of.last)));
    let odd = suspicious.unusual_hours.items.iter().map(|of| {
        let at: Vec<String> = of.examples.iter().map(|example| minute(example.at)).collect();
        format!("{} made {} at odd hours: {}", of.user.id, of.jobs, at.join(", "))
    });
    let found: Vec<String> = excessive.chain(rapid).chain(odd).collect();
    assert_eq!(found.len() as u64, report.findings());
    found
}
