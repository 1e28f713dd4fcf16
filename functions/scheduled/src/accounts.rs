//! Accounts: tokens refreshed before they expire, sign-ins ended that lead nowhere (spec §13).

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use domain::accounts::Keeper;
use domain::accounts::clean_up::{CleanedUp, clean_up};
use domain::accounts::ports::{AccountStore, MailProvider, SecretStore};
use domain::accounts::refresh::{Refresher, Run};
use domain::audit::{Action, AuditLog, Auditor, Origin};
use domain::decision::Limits;
use domain::directory::Actor;
use domain::ports::{DenylistStore, PortResult, SignInStore, TokenStore};
use domain::source::IdSource;
use domain::time::Clock;
use domain::vault::Vault;

/// Looks after accounts.
#[derive(Clone)]
pub struct AccountKeeper(Refresher);

/// Providers, their clients' secrets, and what seals.
pub type Providers = (Arc<dyn MailProvider>, Arc<dyn SecretStore>, Arc<dyn Vault>);

impl AccountKeeper {
    /// Over one store.
    pub fn new<S>(
        store: &Arc<S>,
        providers: Providers,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
        limits: Limits,
    ) -> Self
    where
        S: AccountStore + TokenStore + SignInStore + DenylistStore + AuditLog + 'static,
    {
        let (provider, secrets, vault) = providers;
        let keeper = Keeper::new(store, vault, clock.clone(), ids.clone(), limits);
        let auditor = Auditor { log: store.clone(), clock: clock.clone(), ids: ids.clone() };
        Self(Refresher { store: store.clone(), keeper, provider, secrets, auditor, clock, ids })
    }

    /// Refreshes what is due.
    pub async fn refresh(&self, deadline: DateTime<Utc>) -> PortResult<Run> {
        self.0.run(deadline).await
    }

    /// Ends sign-ins whose time has passed. Most hours there are none, and nothing to write down.
    pub async fn end_sign_ins(&self) -> PortResult<CleanedUp> {
        let Refresher { store, auditor, clock, .. } = &self.0;
        let done = clean_up(store.as_ref(), clock.as_ref(), TimeDelta::zero(), false).await?;
        if done.cleaned > 0 {
            let metadata = serde_json::json!({ "cleaned_sessions": done.cleaned });
            let (action, by) = (Action::AccountSignInsCleanedUp, Actor::schedule());
            auditor.done(action, by, &Origin::default(), metadata).await;
        }
        Ok(done)
    }
}
