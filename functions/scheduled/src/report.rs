//! The monthly report: made, kept, and told to the auditors.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::audit::check::AuditReader;
use domain::audit::head::HeadStore;
use domain::mail::MailOnce;
use domain::ports::JobStore;
use domain::report::{Made, Mailed, Mailing, Month, ReportStore, Reporter, Zone};
use domain::settings::Auditor;
use domain::time::Clock;
use lambda_runtime::Error;

/// Makes the report of a month and tells the auditors of it.
#[derive(Clone)]
pub struct MonthlyReport {
    reporter: Reporter,
    mailing: Mailing,
}

/// What the report needs of the world beside the tables.
pub struct Around {
    /// What is published of the audit.
    pub heads: Arc<dyn HeadStore>,
    /// Where reports are kept.
    pub reports: Arc<dyn ReportStore>,
    /// Mail.
    pub mailer: Arc<dyn MailOnce>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// What became of a report.
pub struct Outcome {
    /// The month.
    pub month: Month,
    /// Up to when the month was read, unless it is through.
    pub read_until: Option<DateTime<Utc>>,
    /// The mails.
    pub mailed: Mailed,
}

impl MonthlyReport {
    /// Of a store that has the trail and the jobs; months begin and end where `zone` is.
    pub fn new<S>(store: &Arc<S>, around: Around, zone: Zone, auditors: Vec<Auditor>) -> Self
    where
        S: AuditReader + JobStore + 'static,
    {
        let Around { heads, reports, mailer, clock } = around;
        let mailing = Mailing { store: reports.clone(), mailer, auditors, clock: clock.clone() };
        let reporter = Reporter { trail: store.clone(), heads, jobs: store.clone(), store: reports, clock, zone };
        Self { reporter, mailing }
    }

    /// Goes on with a month's report, by default the last month's. Done again, it changes nothing, and mails nobody twice.
    pub async fn run(&self, month: Option<&str>, deadline: DateTime<Utc>) -> Result<Outcome, Error> {
        let month = match month {
            Some(month) => Month::parse(month).map_err(|error| format!("month {month:?} {error}"))?,
            None => self.reporter.last_month(),
        };
        let report = match self.reporter.report(month, deadline).await? {
            Made::Report(report) => report,
            Made::UnderWay { read_until, .. } => {
                return Ok(Outcome { month, read_until: Some(read_until), mailed: Mailed::default() });
            }
        };
        // Nobody is told of a report that is not the final one.
        let mailed = if report.finished { self.mailing.tell(&report, deadline).await? } else { Mailed::default() };
        Ok(Outcome { month, read_until: None, mailed })
    }
}
