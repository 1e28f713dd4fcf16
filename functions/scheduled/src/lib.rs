//! Scheduled work (spec §12). Each task can also be started by hand with an event from `events/scheduled/`.

mod accounts;
mod report;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::accept::Acceptor;
use domain::audit::alarm::Alarm;
use domain::audit::check::{AuditReader, DailyCheck, Examiner, Stage};
use domain::audit::head::{HeadStore, Publisher};
use domain::cache_service::CacheService;
use domain::guard::{self, Guarded};
use domain::ports::{DenylistCache, DenylistStore, JobStore, PortResult};
use domain::redrive::Redriver;
use domain::report::Mailed;
use domain::retire;
use domain::settings::CleanUp;
use domain::source::IdSource;
use domain::time::Clock;
use lambda_kit::{batch, metrics};
use lambda_runtime::{Error, LambdaEvent};
use serde::{Deserialize, Serialize};

pub use accounts::{AccountKeeper, Providers};
pub use report::{Around, MonthlyReport};

/// What the tasks need.
#[derive(Clone)]
pub struct Deps {
    /// The re-drive.
    pub redriver: Redriver,
    /// The door through which the clean-up makes its jobs.
    pub acceptor: Acceptor,
    /// What the clean-up ends.
    pub clean_up: CleanUp,
    /// The durable denylist.
    pub denylist: Arc<dyn DenylistStore>,
    /// Redis.
    pub cache: Arc<dyn DenylistCache>,
    /// Who runs it.
    pub cache_service: Arc<dyn CacheService>,
    /// Replicas that each write to it waits for.
    pub replicas: u32,
    /// Looks after the audit.
    pub audit: AuditKeeper,
    /// Looks after accounts at their mail providers.
    pub mail: AccountKeeper,
    /// Writes down what somebody has to see at once.
    pub alarm: Alarm,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Names of rebuilds.
    pub ids: Arc<dyn IdSource>,
}

impl Deps {
    async fn guard(&self) -> PortResult<Guarded> {
        let (store, cache, clock) = (self.denylist.as_ref(), self.cache.as_ref(), self.clock.as_ref());
        let outcome = guard::guard(store, cache, clock, self.ids.as_ref()).await?;
        metrics::cache_guarded(clock, &outcome);
        Ok(outcome)
    }
}

/// Publishes the heads of the audit's chains, checks them, and reports what they hold.
#[derive(Clone)]
pub struct AuditKeeper {
    publisher: Publisher,
    check: DailyCheck,
    report: MonthlyReport,
}

impl AuditKeeper {
    /// Of a trail and what is published of it. How far a check has come is kept among the jobs.
    pub fn new<S>(store: Arc<S>, heads: Arc<dyn HeadStore>, alarm: Alarm, report: MonthlyReport) -> Self
    where
        S: AuditReader + JobStore + 'static,
    {
        let clock = alarm.auditor.clock.clone();
        let publisher = Publisher { trail: store.clone(), heads: heads.clone(), clock: clock.clone() };
        let check = DailyCheck { examiner: Examiner { trail: store.clone(), heads }, jobs: store, alarm, clock };
        Self { publisher, check, report }
    }
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Task {
    /// Every minute: jobs written but not started, chunks that died, jobs that can be closed.
    Redrive,
    /// Every minute: renew the complete cache's lease, rebuild any other.
    CacheGuard,
    /// Every hour: the same, and look at how the cache is set up.
    VerifyCache,
    /// Every hour: forget cutoffs that no token can match any more.
    RetireCutoffs,
    /// Every day: end tokens that are too old or unused for too long.
    CleanUp,
    /// Every five minutes: publish the heads of the audit's chains.
    PublishAuditHeads,
    /// Every hour until the day's is through: check the audit's chains.
    CheckAudit,
    /// Every five minutes: refresh accounts' tokens that expire soon.
    RefreshAccounts,
    /// Every hour: end accounts' sign-ins whose time has passed.
    EndAccountSignIns,
    /// Every month, in as many runs as it takes: make the report and tell the auditors.
    MonthlyReport {
        /// Which month, such as `2026-11`; by default the last one that is over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        month: Option<String>,
    },
}

/// What was done, for whoever started it by hand.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Report {
    /// Of the re-drive.
    Redrive {
        /// Open jobs looked at.
        looked_at: usize,
        /// Planning messages sent.
        plans: usize,
        /// Chunk messages sent.
        chunks: usize,
        /// Jobs closed.
        closed: usize,
    },
    /// Of the cache guard.
    CacheGuard {
        /// What it found.
        outcome: Guarded,
    },
    /// Of the look at the cache's setup.
    VerifyCache {
        /// What the guard found.
        outcome: Guarded,
        /// Why it cannot be trusted, in words.
        concerns: Vec<String>,
    },
    /// Of the forgetting.
    RetireCutoffs {
        /// How many cutoffs there were.
        retired: u64,
    },
    /// Of the clean-up.
    CleanUp {
        /// The day's jobs, whether they were made now or before.
        jobs: Vec<String>,
    },
    /// Of the publication of heads.
    PublishAuditHeads {
        /// The publication, if anything was new.
        number: Option<u64>,
        /// Heads it names.
        heads: usize,
    },
    /// Of the audit's check.
    CheckAudit {
        /// Whether the day's check is through.
        through: bool,
        /// Entries looked at in this run.
        entries: u64,
        /// Chains looked at in this run.
        chains: u64,
        /// What is wrong, and where; the log names all of it.
        defects: Vec<String>,
    },
    /// Of the refresh of accounts.
    RefreshAccounts {
        /// Accounts looked at.
        looked_at: usize,
        /// Refreshed.
        refreshed: usize,
        /// Found to have been ended.
        ended: usize,
        /// The provider refreshes no more.
        refused: usize,
        /// To be tried again.
        failed: usize,
        /// Left to the next run.
        left: usize,
    },
    /// Of the end of sign-ins.
    EndAccountSignIns {
        /// Ended now.
        cleaned: usize,
        /// Under way afterwards.
        active: usize,
    },
    /// Of the monthly report.
    MonthlyReport {
        /// The month.
        month: String,
        /// Up to when the month is read, unless the report is made.
        #[serde(skip_serializing_if = "Option::is_none")]
        read_until: Option<DateTime<Utc>>,
        /// Auditors who were mailed in this run.
        mailed: usize,
        /// Auditors whose mail was claimed by an earlier run.
        mailed_before: usize,
        /// Auditors whose mail was refused, or perhaps not sent; the log says why.
        not_mailed: usize,
        /// Auditors who are mailed by the next run.
        to_be_mailed: usize,
    },
}

/// Defects named in a report.
const NAMED: usize = 20;

/// Does one task.
pub async fn handle(event: LambdaEvent<Task>, deps: &Deps) -> Result<Report, Error> {
    let task = event.payload;
    let report = match &task {
        Task::Redrive => {
            let done = deps.redriver.redrive().await?;
            metrics::redriven(deps.clock.as_ref(), &done);
            done.closed.iter().for_each(|closed| metrics::job_ended(deps.clock.as_ref(), closed));
            let closed = done.closed.len();
            Report::Redrive { looked_at: done.looked_at, plans: done.plans, chunks: done.chunks, closed }
        }
        Task::CacheGuard => {
            let outcome = deps.guard().await?;
            let concerns: Vec<String> = match &outcome {
                Guarded::Forgetful { eviction_policy } => vec![format!("its eviction policy is {eviction_policy}")],
                _ => Vec::new(),
            };
            metrics::cache_not_safe(deps.clock.as_ref(), concerns.len());
            deps.alarm.cache_not_safe(&concerns).await?;
            Report::CacheGuard { outcome }
        }
        Task::VerifyCache => {
            let outcome = deps.guard().await?;
            let concerns = deps.cache_service.setup().await?.concerns(deps.replicas);
            let concerns: Vec<String> = concerns.iter().map(ToString::to_string).collect();
            for concern in &concerns {
                tracing::error!(concern, "the cache cannot be trusted as it is set up");
            }
            metrics::cache_not_safe(deps.clock.as_ref(), concerns.len());
            deps.alarm.cache_not_safe(&concerns).await?;
            Report::VerifyCache { outcome, concerns }
        }
        Task::RetireCutoffs => {
            let retired = retire::retire(deps.denylist.as_ref(), deps.clock.as_ref()).await?;
            Report::RetireCutoffs { retired }
        }
        Task::CleanUp => {
            let jobs = domain::clean_up::clean_up(&deps.acceptor, deps.clean_up).await?;
            Report::CleanUp { jobs: jobs.iter().map(ToString::to_string).collect() }
        }
        Task::PublishAuditHeads => {
            let published = deps.audit.publisher.publish().await?;
            let heads = published.map_or(0, |(_, heads)| heads);
            Report::PublishAuditHeads { number: published.map(|(number, _)| number), heads }
        }
        Task::CheckAudit => {
            let (stage, verdict) = deps.audit.check.run(batch::deadline(&event.context)).await?;
            metrics::audit_broken(deps.clock.as_ref(), verdict.defects.len());
            let defects = verdict.defects.iter().take(NAMED).map(ToString::to_string).collect();
            let (entries, chains) = (verdict.entries, verdict.chains);
            Report::CheckAudit { through: stage == Stage::Through, entries, chains, defects }
        }
        Task::RefreshAccounts => {
            let run = deps.mail.refresh(batch::deadline(&event.context)).await?;
            metrics::accounts_refreshed(deps.clock.as_ref(), &run);
            let domain::accounts::refresh::Run { looked_at, refreshed, ended, refused, failed, left } = run;
            Report::RefreshAccounts { looked_at, refreshed, ended, refused, failed, left }
        }
        Task::EndAccountSignIns => {
            let done = deps.mail.end_sign_ins().await?;
            Report::EndAccountSignIns { cleaned: done.cleaned, active: done.active }
        }
        Task::MonthlyReport { month } => {
            let done = deps.audit.report.run(month.as_deref(), batch::deadline(&event.context)).await?;
            metrics::auditors_told(deps.clock.as_ref(), &done.month.to_string(), done.mailed);
            let Mailed { sent, before, rejected, unknown, later } = done.mailed;
            Report::MonthlyReport {
                month: done.month.to_string(),
                read_until: done.read_until,
                mailed: sent,
                mailed_before: before,
                not_mailed: rejected + unknown,
                to_be_mailed: later,
            }
        }
    };
    tracing::info!(?task, ?report, "scheduled task done");
    Ok(report)
}
