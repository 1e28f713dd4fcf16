//! The exchange of a code for tokens, by a worker: at most once, whatever is delivered twice or dies half-way.
//!
//! A code is good once (RFC 6749 §4.1.2). The worker therefore claims the sign-in before it asks the provider, and nobody
//! ever takes a claim over: an exchange that was interrupted has failed. Under its claim the worker asks up to three
//! times, as long as the provider says neither yes nor no.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use serde_json::{Map, Value};

use super::account::Account;
use super::failure::{Failure, error_code};
use super::keep::{Keeper, Kept, Standing};
use super::noting;
use super::ports::{AccountStore, Client, ClientSecret, MailProvider, SecretStore};
use super::session::{Claim, SignIn, Status};
use super::start::{code_purpose, open};
use crate::audit::{Action, Auditor, Origin};
use crate::error::WorkError;
use crate::ids::SignInId;
use crate::ports::{PortResult, Step};
use crate::source::IdSource;
use crate::time::{Clock, Epoch};
use crate::token::RevokedBy;
use crate::upstream::{Form, Issued, UpstreamError};
use crate::vault::Vault;

/// How often a provider is asked that says neither yes nor no.
pub const TRIES: u32 = 3;
/// Longer than all tries together: a claim that is older is a dead worker's.
pub const CLAIM_HOLDS: TimeDelta = TimeDelta::seconds(150);

/// The worker.
#[derive(Clone)]
pub struct Exchanger {
    /// Accounts and sign-ins.
    pub store: Arc<dyn AccountStore>,
    /// Tokens.
    pub keeper: Keeper,
    /// Providers.
    pub provider: Arc<dyn MailProvider>,
    /// Clients' secrets.
    pub secrets: Arc<dyn SecretStore>,
    /// Seals.
    pub vault: Arc<dyn Vault>,
    /// The audit.
    pub auditor: Auditor,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Claims.
    pub ids: Arc<dyn IdSource>,
}

/// What a provider's refusal of a grant means. 401 is about the client whatever the code says (RFC 6749 §5.2).
pub(super) fn refused(status: u16, body: &Map<String, Value>) -> Failure {
    let error = error_code(body.get("error").and_then(Value::as_str).unwrap_or_default());
    match (status, error.as_str()) {
        (401, _) | (_, "invalid_client" | "unauthorized_client") => Failure::ClientRefused { status },
        (_, "invalid_grant") => Failure::CodeRefused { status },
        _ => Failure::Refused { status, error },
    }
}

/// The claims by which providers name who signed in.
const NAMES: [&str; 4] = ["preferred_username", "upn", "unique_name", "email"];

/// Whether an ID token names somebody else than the account's owner. One that names nobody, or that was not asked for,
/// says nothing. It came straight from the token endpoint, which TLS vouches for (OpenID Connect Core §3.1.3.7, 6).
fn is_somebody_else(account: &Account, issued: &Issued) -> bool {
    let Some(wanted) = &account.sign_in_name else { return false };
    let claims = issued.id_token().and_then(|token| {
        let payload = URL_SAFE_NO_PAD.decode(token.reveal().split('.').nth(1)?).ok()?;
        serde_json::from_slice::<Map<String, Value>>(&payload).ok()
    });
    let claims = claims.unwrap_or_default();
    let mut names = NAMES.iter().filter_map(|name| claims.get(*name)?.as_str()).peekable();
    names.peek().is_some() && !names.any(|name| name.to_lowercase() == wanted.to_lowercase())
}

impl Exchanger {
    /// Exchanges the code of a sign-in, and says how that ended; nothing if there was nothing to do.
    pub async fn exchange(&self, id: &SignInId) -> Result<Option<(Status, Option<Failure>)>, WorkError> {
        let Some(sign_in) = self.store.sign_in(id).await? else { return Ok(None) };
        if sign_in.status != Status::CallbackReceived {
            return Ok(None);
        }
        let now = self.clock.now();
        match &sign_in.claim {
            Some(claim) if now < claim.at + CLAIM_HOLDS => {
                return Err(WorkError::Retry("another worker exchanges the code".to_owned()));
            }
            Some(_) => return self.fail(&sign_in, Failure::Interrupted).await,
            None if now >= sign_in.expires_at => return self.fail(&sign_in, Failure::Interrupted).await,
            None => {}
        }
        // All that can fail without a word of the provider's comes before the claim.
        let Some(enrolled) = self.store.account(&sign_in.user).await? else {
            return self.fail(&sign_in, Failure::NotEnrolled).await;
        };
        let account = enrolled.account;
        if !account.active {
            return self.fail(&sign_in, Failure::Inactive).await;
        }
        let secret = match &account.secret {
            None => None,
            Some(reference) => match self.secrets.secret(reference).await? {
                Some(secret) => Some(secret),
                None => return self.fail(&sign_in, Failure::NoSecret).await,
            },
        };
        let Some(form) = self.grant(&account, &sign_in).await? else {
            return self.fail(&sign_in, Failure::Interrupted).await;
        };
        let claimed = sign_in.claimed(Claim { id: self.ids.uuid(), at: now });
        if self.store.change(&claimed, None).await? == Step::Lost {
            return Err(WorkError::Retry("another worker was faster".to_owned()));
        }
        let outcome = match self.ask(&account, secret.as_ref(), &form).await {
            Ok(issued) => self.settle(&account, &claimed, &issued, enrolled.kept.as_ref()).await,
            Err(failure) => Ok(Err(failure)),
        };
        match outcome {
            Ok(Ok(())) => Ok(Some((Status::Completed, None))),
            Ok(Err(failure)) => self.fail(&claimed, failure).await,
            Err(error) => {
                // The code is used up; nobody can do better with it.
                tracing::error!(%error, sign_in = %id, "tokens were obtained and could not be kept");
                self.fail(&claimed, Failure::Interrupted).await
            }
        }
    }

    /// The grant (RFC 6749 §4.1.3, RFC 7636 §4.5). `None` if what was sealed cannot be opened.
    async fn grant(&self, account: &Account, sign_in: &SignIn) -> PortResult<Option<Form>> {
        let Some(sealed) = open(self.vault.as_ref(), sign_in).await? else { return Ok(None) };
        let Some(code) = &sign_in.code else { return Ok(None) };
        let code = self.vault.open(&code_purpose(&sign_in.id), code).await?;
        let Some(code) = code.and_then(|code| String::from_utf8(code.plain).ok()) else { return Ok(None) };
        let field = |name: &str, value: String| (name.to_owned(), value);
        let fields = vec![
            field("grant_type", "authorization_code".to_owned()),
            field("code", code),
            field("redirect_uri", account.redirect_uri.clone()),
            field("code_verifier", sealed.verifier),
        ];
        Ok(Some(Form { fields, authorization: None }))
    }

    async fn ask(&self, account: &Account, secret: Option<&ClientSecret>, form: &Form) -> Result<Issued, Failure> {
        let client = Client { id: &account.client, secret };
        let mut failure = Failure::ProviderFailed;
        for attempt in 0..TRIES {
            match self.provider.token(&account.provider, client, form, attempt).await {
                Ok(issued) => return Ok(issued),
                Err(UpstreamError::Refused(no)) => return Err(refused(no.status, &no.body)),
                Err(error) => {
                    tracing::warn!(%error, attempt, account = %account.user, "the provider did not exchange a code");
                    failure = match error {
                        UpstreamError::TimedOut(_) => Failure::TimedOut,
                        _ => Failure::ProviderFailed,
                    };
                }
            }
        }
        Err(failure)
    }

    /// Keeps tokens. Their rows are written before the denylist is asked, so that of a logout at the same moment at
    /// least one of the two sees the other ([`crate::sign_in`]).
    async fn settle(
        &self,
        account: &Account,
        claimed: &SignIn,
        issued: &Issued,
        former: Option<&Kept>,
    ) -> PortResult<Result<(), Failure>> {
        if is_somebody_else(account, issued) {
            return Ok(Err(Failure::WrongPerson));
        }
        let signed_in_at = Epoch::from(claimed.received_at.unwrap_or(claimed.started_at));
        let Some(obtained) = self.keeper.obtained(account, issued, signed_in_at, None).await? else {
            return Ok(Err(Failure::NoToken));
        };
        self.keeper.new_rows.add_tokens(&obtained.rows).await?;
        let ids = || obtained.rows.iter().map(|row| &row.id);
        if self.keeper.standing(&account.user, &obtained.kept).await? != Standing::Good {
            self.keeper.retire(&account.user, ids(), &RevokedBy::User).await?;
            return Ok(Err(Failure::LoggedOut));
        }
        let completed = claimed.over(Status::Completed, None);
        if self.store.change(&completed, Some(&obtained.kept)).await? == Step::Lost {
            self.keeper.retire(&account.user, ids(), &RevokedBy::User).await?;
            return Ok(Err(Failure::CleanedUp));
        }
        if let Some(former) = former {
            let replaced = std::iter::once(&former.access).chain(&former.refresh).map(|token| &token.id);
            let replaced = replaced.filter(|id| !ids().any(|new| new == *id));
            if let Err(error) = self.keeper.retire(&account.user, replaced, &RevokedBy::Rotation).await {
                tracing::warn!(%error, account = %account.user, "replaced tokens could not be marked");
            }
        }
        let metadata = serde_json::json!({ "account": account.user });
        let origin = Origin::default();
        self.auditor.done(Action::AccountSignInCompleted, claimed.by.clone(), &origin, metadata).await;
        Ok(Ok(()))
    }

    async fn fail(&self, sign_in: &SignIn, failure: Failure) -> Result<Option<(Status, Option<Failure>)>, WorkError> {
        if self.store.change(&sign_in.failed(failure.clone()), None).await? == Step::Lost {
            return Ok(None);
        }
        let (action, origin) = (Action::AccountSignInFailed, Origin::default());
        noting::failed(&self.auditor, action, &sign_in.by, &sign_in.user, &failure, &origin).await;
        Ok(Some((Status::Failed, Some(failure))))
    }
}
