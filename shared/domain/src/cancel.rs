//! Cancelling a job (`[API-7]`): after the answer no further chunk starts, and every row is accounted for.
//!
//! A worker reads the job's state before each page, so that a page that begins after the cancel is left alone; what is
//! left is counted by the same workers, until what was revoked and what was not add up to what was planned.

use std::sync::Arc;

use crate::accept::validate::{self, REASON_CHARS};
use crate::accept::{FieldError, Refused};
use crate::audit::{Action, Auditor, Entry, Level, Origin};
use crate::close;
use crate::directory::User;
use crate::error::PortError;
use crate::ids::JobId;
use crate::job::{Cancelled, Job, Tally};
use crate::permissions::Permission;
use crate::ports::{JobStore, Step};
use crate::time::Clock;

/// How often a cancel that lost a race with the job's own progress is tried again: a job has two open states.
const TRIES: usize = 4;

/// What cancelling needs.
#[derive(Clone)]
pub struct Canceller {
    /// Jobs.
    pub jobs: Arc<dyn JobStore>,
    /// The audit trail.
    pub auditor: Auditor,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// Why a job was not cancelled.
#[derive(Debug, thiserror::Error)]
pub enum NotCancelled {
    /// The caller may not, or the reason is too short.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// There is no such job.
    #[error("there is no such job")]
    Unknown,
    /// It has ended already.
    #[error("the job is {0} already; only pending and processing jobs can be cancelled")]
    Ended(&'static str),
}

impl From<PortError> for NotCancelled {
    fn from(error: PortError) -> Self {
        Self::Refused(error.into())
    }
}

impl Canceller {
    /// Stops a job, and says what it had done by then.
    pub async fn cancel(
        &self,
        caller: &User,
        id: &JobId,
        reason: &str,
        origin: &Origin,
    ) -> Result<(Job, Tally), NotCancelled> {
        let wanted = Permission::Cancel;
        if !caller.may(wanted) {
            let metadata = serde_json::json!({ "asked_for": "cancel" });
            self.auditor.refused(Action::PermissionDenied, caller, Some(id), origin, metadata).await;
            return Err(Refused::Forbidden(wanted.as_str()).into());
        }
        let invalid = |error: FieldError| Refused::Invalid(vec![error]);
        validate::reason(reason, &REASON_CHARS).map_err(invalid)?;
        for _ in 0..TRIES {
            let job = self.jobs.get(id).await?.ok_or(NotCancelled::Unknown)?;
            if !job.status.is_open() {
                return Err(NotCancelled::Ended(job.status.as_str()));
            }
            let by = caller.into();
            let cancelled = Cancelled { at: self.clock.now(), by, reason: reason.to_owned() };
            let entry = self.auditor.entry(Action::BatchLogoutCancelled, caller.into(), Some(id.clone()), origin);
            let level = Level::of(&job, Some(job.plan.users));
            let entry = Entry { level, metadata: serde_json::json!({ "reason": reason }), ..entry };
            if self.jobs.cancel(id, job.status, &cancelled, &entry).await? == Step::Lost {
                continue;
            }
            close::try_close(self.jobs.as_ref(), self.clock.as_ref(), id).await?;
            let job = self.jobs.get(id).await?.ok_or(NotCancelled::Unknown)?;
            return Ok((job, self.jobs.tally(id).await?));
        }
        let cause = "the job kept changing its state".to_owned();
        Err(PortError::Unavailable { service: "jobs", cause }.into())
    }
}
