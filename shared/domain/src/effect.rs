//! Making jobs effective that one cutoff or a few can say (`[CUT-1]`, `[CUT-2]`): emergency, client and
//! `created_before` jobs. Their durable cutoffs are written with the job itself; here Redis is told.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::decision::Limits;
use crate::error::PortError;
use crate::guard;
use crate::ids::UserId;
use crate::job::Job;
use crate::ports::{DenylistCache, DenylistStore, Frozen, JobStore, PortResult};
use crate::selector::Selector;
use crate::source::IdSource;
use crate::time::Clock;

/// What making a job effective needs.
#[derive(Clone)]
pub struct Effector {
    /// Jobs.
    pub jobs: Arc<dyn JobStore>,
    /// The durable denylist.
    pub denylist: Arc<dyn DenylistStore>,
    /// Redis.
    pub cache: Arc<dyn DenylistCache>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// New generations.
    pub ids: Arc<dyn IdSource>,
    /// The verifiers' limits.
    pub limits: Limits,
}

/// Whether a job is effective now.
#[derive(Debug)]
pub enum Told {
    /// Every verifier refuses what it covers, since then.
    Effective(DateTime<Utc>),
    /// Redis could not be told. No verifier trusts it any more, so that DynamoDB refuses; telling it is to be tried again.
    Distrusted(PortError),
}

impl Effector {
    /// Keeps the users a job spares, before any cutoff of it exists: alone they change nothing.
    pub async fn spare(&self, job: &Job, selector: &Selector, spared: &BTreeSet<UserId>) -> PortResult<()> {
        self.jobs.freeze_people(&job.id, Frozen::Spared, spared).await?;
        if job.dry_run {
            return Ok(());
        }
        self.denylist.put_spared(&job.id, spared, selector.retires_at(self.limits.max_sign_in_age)).await
    }

    /// Tells Redis the cutoffs of a job that is written, whom they spare first, and notes that it is effective.
    pub async fn tell(&self, job: &Job, selector: &Selector, spared: &BTreeSet<UserId>) -> PortResult<Told> {
        let until = selector.retires_at(self.limits.max_sign_in_age);
        let spared: Vec<_> = spared.iter().map(|user| (job.id.clone(), user.clone(), until)).collect();
        let cutoffs = selector.cutoffs(self.limits.max_sign_in_age);
        let told = async {
            self.cache.put_spared(&spared).await?;
            self.cache.put_cutoffs(&cutoffs).await
        };
        if let Err(error) = told.await {
            guard::distrust(self.denylist.as_ref(), self.cache.as_ref(), self.ids.as_ref()).await?;
            return Ok(Told::Distrusted(error));
        }
        let now = self.clock.now();
        self.jobs.mark_effective(&job.id, now).await?;
        Ok(Told::Effective(now))
    }

    /// Does all of it again from what is stored, as often as it takes.
    pub async fn tell_again(&self, job: &Job, selector: &Selector) -> PortResult<Told> {
        let spared = self.jobs.frozen_people(&job.id, Frozen::Spared).await?;
        self.spare(job, selector, &spared).await?;
        self.denylist.put_cutoffs(&selector.cutoffs(self.limits.max_sign_in_age)).await?;
        self.tell(job, selector, &spared).await
    }
}
