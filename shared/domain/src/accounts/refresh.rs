//! Tokens are refreshed before they expire, by the schedule (spec §13).
//!
//! A run may end anywhere: what it has refreshed is not due any more, so that the next one goes on where it stopped. A
//! refresh token may be good once, so that whoever uses it claims the account's tokens first; who finds an old claim
//! knows that a worker died, and asks the provider, which alone can tell whether the token was used.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use futures::stream::{self, StreamExt as _};

use super::account::{Account, Provider};
use super::exchange::{CLAIM_HOLDS, refused};
use super::failure::Failure;
use super::keep::{Keeper, Kept, Standing, Tokens};
use super::noting;
use super::ports::{AccountStore, Client, Enrolled, MailProvider, SecretStore};
use super::session::Claim;
use crate::audit::{Action, Auditor, Origin};
use crate::directory::Actor;
use crate::error::PortError;
use crate::ports::{PortResult, Step};
use crate::source::IdSource;
use crate::time::{Clock, Epoch};
use crate::token::RevokedBy;
use crate::upstream::{Form, UpstreamError};

/// How long before an access token expires it is refreshed: three runs of the schedule.
pub const REFRESH_BEFORE: TimeDelta = TimeDelta::minutes(15);
/// Accounts read at a time, and refreshed at the same time.
const PAGE: usize = 100;
const AT_ONCE: usize = 8;
/// What one refresh may take: no other is begun when less is left.
const ONE_TAKES: TimeDelta = TimeDelta::seconds(35);
/// A provider that has failed so often in a run is left alone until the next, so that others get their turn.
const PATIENCE: u32 = 3;

/// Refreshes tokens.
#[derive(Clone)]
pub struct Refresher {
    /// Accounts.
    pub store: Arc<dyn AccountStore>,
    /// Tokens.
    pub keeper: Keeper,
    /// Providers.
    pub provider: Arc<dyn MailProvider>,
    /// Clients' secrets.
    pub secrets: Arc<dyn SecretStore>,
    /// The audit.
    pub auditor: Auditor,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Claims and revisions.
    pub ids: Arc<dyn IdSource>,
}

/// What a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Run {
    /// Accounts looked at.
    pub looked_at: usize,
    /// Refreshed.
    pub refreshed: usize,
    /// Found to be ended, so that they are not refreshed any more.
    pub ended: usize,
    /// The provider takes the refresh token no more.
    pub refused: usize,
    /// Could not be refreshed now; the next run tries again.
    pub failed: usize,
    /// Left to the next run, or to the worker that is at it.
    pub left: usize,
}

/// What became of one account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    NotDue,
    Refreshed,
    Ended,
    Refused,
    Failed,
    Left,
}

impl Run {
    fn count(&mut self, outcome: Outcome) {
        self.looked_at += 1;
        match outcome {
            Outcome::NotDue => {}
            Outcome::Refreshed => self.refreshed += 1,
            Outcome::Ended => self.ended += 1,
            Outcome::Refused => self.refused += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Left => self.left += 1,
        }
    }
}

/// How often each provider failed in this run.
type Failures = Mutex<HashMap<Provider, u32>>;

impl Refresher {
    /// Refreshes what is due, until the deadline.
    pub async fn run(&self, deadline: DateTime<Utc>) -> PortResult<Run> {
        let (mut run, failures, mut after) = (Run::default(), Failures::default(), None);
        loop {
            let page = self.store.accounts(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(run) };
            after = Some(last.account.user.clone());
            let outcomes = stream::iter(page).map(|enrolled| self.one(enrolled, &failures, deadline));
            let mut outcomes = outcomes.buffer_unordered(AT_ONCE);
            while let Some(outcome) = outcomes.next().await {
                run.count(outcome);
            }
        }
    }

    /// One account: whatever becomes of it, the others are looked at.
    async fn one(&self, enrolled: Enrolled, failures: &Failures, deadline: DateTime<Utc>) -> Outcome {
        let Enrolled { account, kept: Some(kept) } = &enrolled else { return Outcome::NotDue };
        let now = self.clock.now();
        let due = kept.access.expires_at <= Epoch::from(now + REFRESH_BEFORE);
        if !due || !account.active || kept.sealed.is_none() || kept.trouble.is_some() || kept.refresh.is_none() {
            return Outcome::NotDue;
        }
        let is_taken = kept.claim.as_ref().is_some_and(|claim| now < claim.at + CLAIM_HOLDS);
        let gave_up = {
            let failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
            failures.get(&account.provider).is_some_and(|failures| *failures >= PATIENCE)
        };
        if is_taken || gave_up || now + ONE_TAKES > deadline {
            return Outcome::Left;
        }
        let outcome = self.refresh(account, kept, failures).await;
        outcome.unwrap_or_else(|error| {
            tracing::warn!(%error, account = %account.user, "an account could not be refreshed");
            Outcome::Failed
        })
    }

    async fn refresh(&self, account: &Account, kept: &Kept, failures: &Failures) -> PortResult<Outcome> {
        match self.keeper.standing(&account.user, kept).await? {
            Standing::Good | Standing::AccessEnded => {}
            Standing::Ended => return self.stop(account, kept, Failure::LoggedOut).await,
            Standing::TooOld => return self.stop(account, kept, Failure::TooOld).await,
        }
        let Some(tokens) = self.keeper.open(&account.user, kept).await? else {
            return self.stop(account, kept, Failure::Unreadable).await;
        };
        let Some(refresh_token) = tokens.refresh_token.clone() else {
            return self.stop(account, kept, Failure::Unreadable).await;
        };
        let secret = match &account.secret {
            None => None,
            Some(reference) => Some(self.secrets.secret(reference).await?.ok_or_else(|| PortError::Unavailable {
                service: "the client's secret",
                cause: "it is not there, or not to be read".to_owned(),
            })?),
        };
        let claim = Some(Claim { id: self.ids.uuid(), at: self.clock.now() });
        let claimed = Kept { claim, revision: self.ids.uuid(), ..kept.clone() };
        if self.store.change_kept(&account.user, kept, &claimed).await? == Step::Lost {
            return Ok(Outcome::Left);
        }
        let field = |name: &str, value: String| (name.to_owned(), value);
        let fields = vec![field("grant_type", "refresh_token".to_owned()), field("refresh_token", refresh_token)];
        let (client, form) =
            (Client { id: &account.client, secret: secret.as_ref() }, Form { fields, authorization: None });
        match self.provider.token(&account.provider, client, &form, 0).await {
            Ok(issued) => match self.keeper.obtained(account, &issued, kept.signed_in_at, Some((kept, &tokens))).await?
            {
                Some(obtained) => self.keep(account, &claimed, obtained, &tokens).await,
                None => self.give_back(account, &claimed).await,
            },
            Err(UpstreamError::Refused(no)) => match refused(no.status, &no.body) {
                Failure::CodeRefused { status } => {
                    let stopped = self.stop(account, &claimed, Failure::RefreshRefused { status }).await?;
                    Ok(if stopped == Outcome::Ended { Outcome::Refused } else { stopped })
                }
                // The client's settings are wrong, not the token: it is good again once they are right.
                failure => {
                    tracing::warn!(?failure, account = %account.user, "the provider did not refresh");
                    self.give_back(account, &claimed).await
                }
            },
            Err(error) => {
                tracing::warn!(%error, account = %account.user, "the provider did not refresh");
                *failures
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .entry(account.provider.clone())
                    .or_default() += 1;
                self.give_back(account, &claimed).await
            }
        }
    }

    /// Keeps new tokens in place of old ones: rows first, then the denylist, as [`crate::sign_in`] has it.
    async fn keep(
        &self,
        account: &Account,
        claimed: &Kept,
        obtained: super::keep::Obtained,
        former: &Tokens,
    ) -> PortResult<Outcome> {
        let super::keep::Obtained { rows, kept } = obtained;
        self.keeper.new_rows.add_tokens(&rows).await?;
        let new = || rows.iter().map(|row| &row.id);
        let is_former_ended = self.keeper.standing(&account.user, claimed).await? == Standing::Ended;
        if is_former_ended || self.keeper.standing(&account.user, &kept).await? == Standing::Ended {
            self.keeper.retire(&account.user, new(), &RevokedBy::User).await?;
            return self.stop(account, claimed, Failure::LoggedOut).await;
        }
        if self.store.change_kept(&account.user, claimed, &kept).await? == Step::Lost {
            // Somebody signed the account in meanwhile: those tokens are newer.
            self.keeper.retire(&account.user, new(), &RevokedBy::Rotation).await?;
            return Ok(Outcome::Left);
        }
        let is_rotated = former.refresh_token.is_some() && kept.refresh != claimed.refresh;
        let refresh = claimed.refresh.as_ref().filter(|_| is_rotated);
        let replaced = std::iter::once(&claimed.access).chain(refresh).map(|token| &token.id);
        let replaced = replaced.filter(|id| !new().any(|new| new == *id));
        // The provider knows it in any case.
        if let Err(error) = self.keeper.retire(&account.user, replaced, &RevokedBy::Rotation).await {
            tracing::warn!(%error, account = %account.user, "replaced tokens could not be marked");
        }
        Ok(Outcome::Refreshed)
    }

    /// Forgets tokens that are good no more, and says why.
    async fn stop(&self, account: &Account, kept: &Kept, failure: Failure) -> PortResult<Outcome> {
        let stopped = Kept {
            sealed: None,
            claim: None,
            trouble: Some(failure.clone()),
            revision: self.ids.uuid(),
            ..kept.clone()
        };
        if self.store.change_kept(&account.user, kept, &stopped).await? == Step::Lost {
            return Ok(Outcome::Left);
        }
        let (by, origin) = (Actor::schedule(), Origin::default());
        noting::failed(&self.auditor, Action::AccountRefreshFailed, &by, &account.user, &failure, &origin).await;
        Ok(Outcome::Ended)
    }

    /// Lets the next run try again.
    async fn give_back(&self, account: &Account, claimed: &Kept) -> PortResult<Outcome> {
        let free = Kept { claim: None, revision: self.ids.uuid(), ..claimed.clone() };
        self.store.change_kept(&account.user, claimed, &free).await?;
        Ok(Outcome::Failed)
    }
}
