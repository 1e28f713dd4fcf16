//! All workers in one process, over any stores, with queues that a test delivers as it pleases.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use domain::accept::Acceptor;
use domain::accounts::exchange::Exchanger;
use domain::accounts::ports::AccountStore;
use domain::accounts::refresh::Refresher;
use domain::accounts::{Desk, Keeper};
use domain::audit::check::AuditReader;
use domain::audit::{AuditLog, Auditor, JobTrail};
use domain::cancel::Canceller;
use domain::check::Checker;
use domain::decision::Limits;
use domain::deny::Denier;
use domain::effect::Effector;
use domain::emergency::{EmergencyDesk, KeyStore};
use domain::error::WorkError;
use domain::estimate::Estimator;
use domain::ids::JobId;
use domain::job::{ChunkRef, Job};
use domain::lists::Lister;
use domain::mail::Post;
use domain::notify::{NoticeStore, Notifier};
use domain::plan::Planner;
use domain::ports::{DenylistCache, DenylistStore, Directory, JobStore, RecordStore, SignInStore, TokenStore};
use domain::redrive::Redriver;
use domain::settle::{Settled, Settler, Try};
use domain::sign_out::SignOuts;
use domain::testing::{
    FakeMailProvider, Memory, MemoryExchanges, MemoryHeads, MemoryMailer, MemoryQueue, MemoryReports, MemorySecrets,
    MemoryVault, SeededIds, TestClock,
};
use domain::time::Clock as _;

/// The limits used in tests.
pub const LIMITS: Limits = Limits { max_sign_in_age: 90 * 24 * 3_600 };

/// A store that has all ports.
pub trait AllPorts:
    Directory
    + TokenStore
    + SignInStore
    + RecordStore
    + JobStore
    + NoticeStore
    + KeyStore
    + DenylistStore
    + AuditLog
    + AuditReader
    + JobTrail
    + AccountStore
    + 'static
{
}
impl<T> AllPorts for T where
    T: Directory
        + TokenStore
        + SignInStore
        + RecordStore
        + JobStore
        + NoticeStore
        + KeyStore
        + DenylistStore
        + AuditLog
        + AuditReader
        + JobTrail
        + AccountStore
        + 'static
{
}

/// The workers and what they work on.
pub struct Fleet<S, C> {
    /// The stores.
    pub store: Arc<S>,
    /// The cache.
    pub cache: Arc<C>,
    /// The queues.
    pub queue: Arc<MemoryQueue>,
    /// The time.
    pub clock: Arc<TestClock>,
    /// The ids.
    pub ids: Arc<SeededIds>,
    /// The mails.
    pub mailer: Arc<MemoryMailer>,
    /// Keyed hashes and seals.
    pub vault: Arc<MemoryVault>,
    /// Where accounts sign in.
    pub mail_provider: Arc<FakeMailProvider>,
    /// Their clients' secrets.
    pub secrets: Arc<MemorySecrets>,
    /// Their codes to be exchanged.
    pub exchanges: Arc<MemoryExchanges>,
    /// What is published of the audit.
    pub heads: Arc<MemoryHeads>,
    /// Monthly reports.
    pub reports: Arc<MemoryReports>,
}

impl Fleet<Memory, Memory> {
    /// Everything in memory.
    pub fn in_memory(now: DateTime<Utc>) -> Self {
        Self::over(Arc::new(Memory::default()), Arc::new(Memory::default()), now)
    }
}

impl<S: AllPorts, C: DenylistCache + 'static> Fleet<S, C> {
    /// A fleet over these stores.
    pub fn over(store: Arc<S>, cache: Arc<C>, now: DateTime<Utc>) -> Self {
        let (queue, clock) = (Arc::new(MemoryQueue::default()), Arc::new(TestClock::at(now)));
        Self {
            store,
            cache,
            queue,
            clock,
            ids: Arc::new(SeededIds::new(1 << 32)),
            mailer: Arc::default(),
            vault: Arc::default(),
            mail_provider: Arc::default(),
            secrets: Arc::default(),
            exchanges: Arc::default(),
            heads: Arc::default(),
            reports: Arc::default(),
        }
    }

    /// Making jobs effective.
    pub fn effector(&self) -> Effector {
        Effector {
            jobs: self.store.clone(),
            denylist: self.store.clone(),
            cache: self.cache.clone(),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
            limits: LIMITS,
        }
    }

    /// The audit trail.
    pub fn auditor(&self) -> Auditor {
        Auditor { log: self.store.clone(), clock: self.clock.clone(), ids: self.ids.clone() }
    }

    /// The door.
    pub fn acceptor(&self) -> Acceptor {
        Acceptor {
            directory: self.store.clone(),
            estimator: Estimator { directory: self.store.clone(), tokens: self.store.clone() },
            effector: self.effector(),
            queue: self.queue.clone(),
            auditor: self.auditor(),
        }
    }

    /// Emergency keys.
    pub fn desk(&self) -> EmergencyDesk {
        EmergencyDesk {
            keys: self.store.clone(),
            jobs: self.store.clone(),
            vault: self.vault.clone(),
            mailer: self.mailer.clone(),
            auditor: self.auditor(),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
        }
    }

    /// Cancelling.
    pub fn canceller(&self) -> Canceller {
        Canceller { jobs: self.store.clone(), auditor: self.auditor(), clock: self.clock.clone() }
    }

    /// Lists.
    pub fn lister(&self) -> Lister {
        Lister {
            jobs: self.store.clone(),
            trail: self.store.clone(),
            vault: self.vault.clone(),
            clock: self.clock.clone(),
        }
    }

    /// The planner.
    pub fn planner(&self) -> Planner {
        Planner {
            directory: self.store.clone(),
            tokens: self.store.clone(),
            effector: self.effector(),
            queue: self.queue.clone(),
        }
    }

    /// A settling worker.
    pub fn settler(&self) -> Settler {
        Settler {
            tokens: self.store.clone(),
            jobs: self.store.clone(),
            denylist: self.store.clone(),
            cache: self.cache.clone(),
            queue: self.queue.clone(),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
        }
    }

    /// A sender of notices, by this mail service.
    pub fn notifier(&self, post: Arc<dyn Post>) -> Notifier {
        Notifier {
            jobs: self.store.clone(),
            notices: self.store.clone(),
            directory: self.store.clone(),
            post,
            queue: self.queue.clone(),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
            kept: Arc::default(),
        }
    }

    /// Settles a chunk, with all the time it needs.
    pub async fn settle(&self, chunk: &ChunkRef, at: Try) -> Result<Settled, WorkError> {
        self.settler().settle(chunk, at, self.clock.now() + TimeDelta::hours(1)).await
    }

    /// The re-drive.
    pub fn redriver(&self) -> Redriver {
        Redriver {
            jobs: self.store.clone(),
            denylist: self.store.clone(),
            queue: self.queue.clone(),
            clock: self.clock.clone(),
        }
    }

    /// Putting things on the denylist.
    pub fn denier(&self) -> Denier {
        let (denylist, cache, ids) = (self.store.clone(), self.cache.clone(), self.ids.clone());
        Denier { denylist, cache, ids, limits: LIMITS }
    }

    /// Signing out.
    pub fn sign_outs(&self) -> SignOuts {
        SignOuts { tokens: self.store.clone(), denier: self.denier(), clock: self.clock.clone() }
    }

    /// What is kept of accounts' tokens.
    pub fn keeper(&self) -> Keeper {
        Keeper::new(&self.store, self.vault.clone(), self.clock.clone(), self.ids.clone(), LIMITS)
    }

    /// Where accounts' sign-ins begin.
    pub fn account_desk(&self) -> Desk {
        Desk {
            store: self.store.clone(),
            keeper: self.keeper(),
            provider: self.mail_provider.clone(),
            queue: self.exchanges.clone(),
            vault: self.vault.clone(),
            auditor: self.auditor(),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
        }
    }

    /// The worker that exchanges accounts' codes.
    pub fn exchanger(&self) -> Exchanger {
        Exchanger {
            store: self.store.clone(),
            keeper: self.keeper(),
            provider: self.mail_provider.clone(),
            secrets: self.secrets.clone(),
            vault: self.vault.clone(),
            auditor: self.auditor(),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
        }
    }

    /// The refresh of accounts' tokens.
    pub fn refresher(&self) -> Refresher {
        Refresher {
            store: self.store.clone(),
            keeper: self.keeper(),
            provider: self.mail_provider.clone(),
            secrets: self.secrets.clone(),
            auditor: self.auditor(),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
        }
    }

    /// The denylist check.
    pub fn checker(&self) -> Checker {
        Checker::new(self.cache.clone(), self.store.clone(), self.clock.clone(), LIMITS)
    }

    /// The cache guard.
    pub async fn guard(&self) -> Result<domain::guard::Guarded, domain::error::PortError> {
        domain::guard::guard(self.store.as_ref(), self.cache.as_ref(), self.clock.as_ref(), self.ids.as_ref()).await
    }

    /// Plans a job to its end, and gives back its chunk messages.
    pub async fn plan(&self, job: &JobId) -> Vec<ChunkRef> {
        let deadline = self.clock.now() + TimeDelta::minutes(5);
        self.planner().plan(job, deadline).await.unwrap();
        self.queue.take_chunks()
    }

    /// A job as it now is.
    pub async fn job(&self, id: &JobId) -> Job {
        self.store.get(id).await.unwrap().unwrap()
    }
}
