//! Telling the auditors that a report is there: each of them once.
//!
//! SES does not recognise a mail that it is given again, so that each mail is claimed in the store before it is sent, and
//! never sent on another's claim. Only what was certainly not sent gives its claim back; what was interrupted in between
//! is unknown, and final: the report itself is there for whoever asks.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::make::ReportStore;
use super::view::Report;
use crate::audit::chain::Hash;
use crate::mail::{MailOnce, NotSent};
use crate::notice::Notice;
use crate::ports::{PortResult, Step};
use crate::settings::Auditor;
use crate::time::Clock;

/// Mails reports to auditors.
#[derive(Clone)]
pub struct Mailing {
    /// Where claims are kept.
    pub store: Arc<dyn ReportStore>,
    /// Sends.
    pub mailer: Arc<dyn MailOnce>,
    /// Who is told.
    pub auditors: Vec<Auditor>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// What became of the mails of one run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mailed {
    /// Sent.
    pub sent: usize,
    /// Claimed by an earlier run.
    pub before: usize,
    /// Refused by the mail service; the next run tries again.
    pub rejected: usize,
    /// Perhaps sent; they are not tried again.
    pub unknown: usize,
    /// Certainly not sent; the next run tries again.
    pub later: usize,
}

impl Mailing {
    /// Sends what has not been sent yet.
    pub async fn tell(&self, report: &Report, deadline: DateTime<Utc>) -> PortResult<Mailed> {
        let mut mailed = Mailed::default();
        for auditor in &self.auditors {
            if self.clock.now() >= deadline {
                mailed.later += 1;
                continue;
            }
            // No address in a name that lists and logs show.
            let claim = format!("mails/{}/{}", report.month, Hash::of(&auditor.address));
            if self.store.keep(&claim, "text/plain", "claimed").await? == Step::Lost {
                mailed.before += 1;
                continue;
            }
            let mail = Notice::MonthlyReport { report }.mail(&auditor.address, auditor.locale.as_deref());
            match self.mailer.send_once(&mail).await {
                Ok(()) => mailed.sent += 1,
                Err(NotSent::Later(cause)) => {
                    tracing::warn!(month = report.month, cause, "an auditor is to be mailed later");
                    self.store.remove(&claim).await?;
                    mailed.later += 1;
                }
                Err(error @ NotSent::Rejected(_)) => {
                    // Trying again helps once somebody has put right the address, or the sender.
                    tracing::error!(month = report.month, %error, "an auditor's mail was not taken");
                    self.store.remove(&claim).await?;
                    mailed.rejected += 1;
                }
                Err(error @ NotSent::Unknown(_)) => {
                    tracing::error!(month = report.month, %error, "nobody knows whether an auditor got the mail");
                    mailed.unknown += 1;
                }
            }
        }
        Ok(mailed)
    }
}
