//! Beginning sign-ins: one, or many at a time.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use futures::stream::{self, StreamExt as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::account::{Account, Provider};
use super::failure::Failure;
use super::keep::{Keeper, Standing};
use super::ports::{AccountStore, ExchangeQueue, MailProvider};
use super::session::{AT_ONCE, LIFETIME, SignIn, Slot, Status};
use crate::audit::{Action, Auditor, Origin};
use crate::directory::Actor;
use crate::error::PortError;
use crate::ids::{SignInId, UserId};
use crate::ports::{PortResult, Step};
use crate::sign_in::challenge_of;
use crate::source::IdSource;
use crate::time::{Clock, Epoch};
use crate::upstream::UpstreamError;
use crate::vault::Vault;

/// Whoever loses a slot to another looks again: so often, each time because another got one.
const LOOKS: usize = AT_ONCE as usize;

/// Why a sign-in was not begun.
#[derive(Debug, thiserror::Error)]
pub enum NotStarted {
    /// It may not begin.
    #[error("{0:?}")]
    Refused(Failure),
    /// As many are under way as may be. Some end by themselves after so many seconds.
    #[error("{AT_ONCE} sign-ins are under way; the next one ends in {0} s at the latest")]
    Full(u64),
    /// The provider does not say where to sign in.
    #[error(transparent)]
    Provider(#[from] UpstreamError),
    /// A store did not answer.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// A sign-in that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Its id.
    pub id: SignInId,
    /// Where to sign in.
    pub auth_url: String,
    /// Until when.
    pub expires_at: DateTime<Utc>,
}

/// What became of one account of many.
#[derive(Debug)]
pub enum Outcome {
    /// Somebody has to sign in.
    Started(Started),
    /// Its tokens are good: nobody has to do anything.
    SignedIn,
    /// It was not begun.
    NotStarted(NotStarted),
}

/// What is sealed of a sign-in.
#[derive(Serialize, Deserialize)]
pub struct Sealed {
    /// Where to sign in, with `state` and all.
    pub auth_url: String,
    /// The PKCE verifier (RFC 7636 §4.1).
    pub verifier: String,
}

/// What the sealed part of one sign-in is sealed for.
fn purpose(id: &SignInId) -> String {
    format!("account sign-in\n{id}")
}

/// What the code of one sign-in is sealed for.
pub(super) fn code_purpose(id: &SignInId) -> String {
    format!("account code\n{id}")
}

/// The stored form of a `state`: it cannot be presented by who reads the table.
pub fn state_hash(state: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(state.as_bytes()))
}

/// The desk at which sign-ins begin, are looked at and are called back.
#[derive(Clone)]
pub struct Desk {
    /// Accounts and sign-ins.
    pub store: Arc<dyn AccountStore>,
    /// Tokens.
    pub keeper: Keeper,
    /// Providers.
    pub provider: Arc<dyn MailProvider>,
    /// The worker's queue.
    pub queue: Arc<dyn ExchangeQueue>,
    /// Seals.
    pub vault: Arc<dyn Vault>,
    /// The audit.
    pub auditor: Auditor,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub ids: Arc<dyn IdSource>,
}

impl Desk {
    /// 32 bytes nobody can guess, as text.
    fn random(&self) -> String {
        URL_SAFE_NO_PAD.encode([self.ids.random_16(), self.ids.random_16()].concat())
    }

    /// Begins the sign-in of one account.
    pub async fn start(&self, by: &Actor, user: &UserId, origin: &Origin) -> Result<Started, NotStarted> {
        self.begin(by, user, LIFETIME, origin).await
    }

    async fn begin(
        &self,
        by: &Actor,
        user: &UserId,
        lifetime: TimeDelta,
        origin: &Origin,
    ) -> Result<Started, NotStarted> {
        let enrolled = self.store.account(user).await?;
        let account = match enrolled {
            None => return Err(NotStarted::Refused(Failure::NotEnrolled)),
            Some(enrolled) if !enrolled.account.active => return Err(NotStarted::Refused(Failure::Inactive)),
            Some(enrolled) => enrolled.account,
        };
        let id = SignInId::parse(self.random()).unwrap_or_else(|_| unreachable!("base64 is a valid id"));
        let (state, verifier) = (self.random(), self.random());
        let parameters = parameters(&account, &state, &verifier);
        let auth_url = self.provider.authorization_url(&account.provider, &parameters).await?;
        let sealed = Sealed { auth_url, verifier };
        let plain = serde_json::to_vec(&sealed).unwrap_or_else(|_| unreachable!("texts are JSON"));
        let now = self.clock.now();
        let sign_in = SignIn {
            sealed: Some(self.vault.seal(&purpose(&id), &plain).await?),
            id,
            user: user.clone(),
            by: by.clone(),
            status: Status::Pending,
            state: state_hash(&state),
            code: None,
            claim: None,
            failure: None,
            started_at: now,
            received_at: None,
            expires_at: now + lifetime,
            slot: 0,
            revision: 0,
        };
        let sign_in = self.take_slot(sign_in).await?;
        let metadata = serde_json::json!({ "account": user, "expires_at": sign_in.expires_at });
        self.auditor.done(Action::AccountSignInStarted, by.clone(), origin, metadata).await;
        Ok(Started { id: sign_in.id, auth_url: sealed.auth_url, expires_at: sign_in.expires_at })
    }

    /// Writes a sign-in and takes a slot with it: one that nobody holds, or whose time has passed. Which of the free
    /// ones is left to chance, so that few want the same.
    async fn take_slot(&self, mut sign_in: SignIn) -> Result<SignIn, NotStarted> {
        for _ in 0..LOOKS {
            let held = self.store.slots().await?;
            let Some((number, instead_of)) = self.free_slot(&held) else {
                let next = held.iter().map(|slot| slot.expires_at).min().unwrap_or_default();
                let seconds = (next - self.clock.now()).num_seconds().max(0).cast_unsigned() + 1;
                return Err(NotStarted::Full(seconds));
            };
            sign_in.slot = number;
            if self.store.begin(&sign_in, instead_of.as_ref()).await? == Step::Taken {
                return Ok(sign_in);
            }
        }
        Err(PortError::Unavailable { service: "the slots", cause: "others were always faster".to_owned() }.into())
    }

    fn free_slot(&self, held: &[Slot]) -> Option<(u8, Option<SignInId>)> {
        let now = self.clock.now();
        let taken: BTreeSet<u8> = held.iter().map(|slot| slot.number).collect();
        let mut free: Vec<_> =
            (0..AT_ONCE).filter(|number| !taken.contains(number)).map(|number| (number, None)).collect();
        if free.is_empty() {
            let over = held.iter().filter(|slot| slot.expires_at <= now);
            free = over.map(|slot| (slot.number, Some(slot.sign_in.clone()))).collect();
        }
        let chance = usize::from(u16::from_be_bytes([self.ids.random_16()[14], self.ids.random_16()[15]]));
        (!free.is_empty()).then(|| free.swap_remove(chance % free.len()))
    }

    /// Begins the sign-ins of many accounts, so many at a time. Whatever becomes of one, the others are begun; the
    /// outcomes are in the order of the accounts.
    pub async fn bulk(
        &self,
        by: &Actor,
        users: &[UserId],
        at_a_time: usize,
        lifetime: TimeDelta,
        origin: &Origin,
    ) -> Vec<(UserId, Outcome)> {
        let begin = users.iter().cloned().map(|user| async move {
            let outcome = match self.is_signed_in(&user).await {
                Ok(true) => Outcome::SignedIn,
                Ok(false) => {
                    self.begin(by, &user, lifetime, origin).await.map_or_else(Outcome::NotStarted, Outcome::Started)
                }
                Err(error) => Outcome::NotStarted(error.into()),
            };
            (user, outcome)
        });
        stream::iter(begin).buffered(at_a_time.max(1)).collect().await
    }

    /// Whether an account's tokens are good, or will be as soon as they are refreshed.
    async fn is_signed_in(&self, user: &UserId) -> PortResult<bool> {
        let enrolled = self.store.account(user).await?.filter(|enrolled| enrolled.account.active);
        let Some(kept) = enrolled.and_then(|enrolled| enrolled.kept) else { return Ok(false) };
        let is_fresh = kept.access.expires_at > Epoch::from(self.clock.now()) || kept.refresh.is_some();
        if kept.sealed.is_none() || kept.trouble.is_some() || !is_fresh {
            return Ok(false);
        }
        Ok(match self.keeper.standing(user, &kept).await? {
            Standing::Good => true,
            Standing::AccessEnded => kept.refresh.is_some(),
            Standing::Ended | Standing::TooOld => false,
        })
    }

    /// A sign-in as it stands, with the address to sign in at as long as that is of use.
    pub async fn look_up(&self, id: &SignInId) -> PortResult<Option<(SignIn, Option<String>)>> {
        let Some(sign_in) = self.store.sign_in(id).await? else { return Ok(None) };
        let (status, _) = sign_in.at(self.clock.now());
        let sealed = if status == Status::Pending { open(self.vault.as_ref(), &sign_in).await? } else { None };
        Ok(Some((sign_in, sealed.map(|sealed| sealed.auth_url))))
    }
}

/// Opens what is sealed of a sign-in. `None` if it was not sealed for this one, or with a key that is gone.
pub(super) async fn open(vault: &dyn Vault, sign_in: &SignIn) -> PortResult<Option<Sealed>> {
    let Some(sealed) = &sign_in.sealed else { return Ok(None) };
    let opened = vault.open(&purpose(&sign_in.id), sealed).await?;
    Ok(opened.and_then(|opened| serde_json::from_slice(&opened.plain).ok()))
}

/// An authorization request (RFC 6749 §4.1.1) with PKCE by S256 (RFC 7636 §4.3).
fn parameters(account: &Account, state: &str, verifier: &str) -> Vec<(String, String)> {
    let scope = account.scopes.join(" ");
    let challenge = challenge_of(verifier);
    let mut parameters = vec![
        ("response_type", "code"),
        ("client_id", account.client.as_str()),
        ("redirect_uri", &account.redirect_uri),
        ("scope", &scope),
        ("state", state),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    if let Provider::AzureAd { .. } = account.provider {
        parameters.push(("response_mode", "query"));
    }
    if let Some(name) = &account.sign_in_name {
        parameters.push(("login_hint", name));
    }
    parameters.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
