//! The provider's answer, brought by a browser: `state` finds the sign-in, once.

use super::account::Provider;
use super::failure::{Failure, error_code};
use super::noting;
use super::session::{SignIn, Status};
use super::start::{Desk, code_purpose, state_hash};
use crate::audit::{Action, Origin};
use crate::ports::{PortResult, Step};

/// What a browser brought (RFC 6749 §4.1.2). It has no `Debug` form.
#[derive(Default)]
pub struct Answer {
    /// `state`.
    pub state: Option<String>,
    /// `code`.
    pub code: Option<String>,
    /// `error`.
    pub error: Option<String>,
    /// `iss` (RFC 9207).
    pub iss: Option<String>,
}

/// Longer ones are none: a code is good for minutes and fits into an address.
const LONGEST: usize = 8 * 1_024;

impl Desk {
    /// Takes an answer: `Ok(Ok(()))` if its code is on its way to be exchanged, `Ok(Err(…))` with the reason if not.
    pub async fn call_back(&self, answer: Answer, origin: &Origin) -> PortResult<Result<(), Failure>> {
        let Some(state) = answer.state.as_deref().filter(|state| state.len() <= LONGEST) else {
            return Ok(Err(Failure::Unknown));
        };
        let sign_in = match self.store.sign_in_of(&state_hash(state)).await? {
            Some(id) => self.store.sign_in(&id).await?,
            None => None,
        };
        let Some(sign_in) = sign_in else { return Ok(Err(Failure::Unknown)) };
        let now = self.clock.now();
        match sign_in.at(now) {
            (Status::Pending, _) => {}
            (Status::Expired, failure) => return Ok(Err(failure.unwrap_or(Failure::Expired))),
            _ => return Ok(Err(Failure::Used)),
        }
        let code = match self.code_of(answer, &sign_in).await? {
            Ok(code) => code,
            Err(failure) => return self.end(&sign_in, failure, origin).await,
        };
        let code = self.vault.seal(&code_purpose(&sign_in.id), code.as_bytes()).await?;
        let received = sign_in.received(code, now);
        if self.store.change(&received, None).await? == Step::Lost {
            return Ok(Err(Failure::Used));
        }
        if let Err(error) = self.queue.send_exchange(&received.id).await {
            tracing::error!(%error, "a sign-in could not be handed to its worker");
            return self.end(&received, Failure::NotQueued, origin).await;
        }
        Ok(Ok(()))
    }

    /// The code of an answer, unless the answer is a refusal or not the provider's.
    async fn code_of(&self, answer: Answer, sign_in: &SignIn) -> PortResult<Result<String, Failure>> {
        let Some(enrolled) = self.store.account(&sign_in.user).await? else { return Ok(Err(Failure::NotEnrolled)) };
        let account = enrolled.account;
        if !account.active {
            return Ok(Err(Failure::Inactive));
        }
        // Azure AD names itself by the tenant of whoever signed in; who names nobody is taken at the `state`'s word.
        if let (Provider::Oidc { issuer, .. }, Some(iss)) = (&account.provider, &answer.iss)
            && iss.trim_end_matches('/') != issuer.trim_end_matches('/')
        {
            return Ok(Err(Failure::WrongIssuer));
        }
        if let Some(error) = answer.error {
            let error = error_code(&error);
            let refused = error == "access_denied";
            return Ok(Err(if refused { Failure::AccessDenied } else { Failure::ProviderError { error } }));
        }
        Ok(answer.code.filter(|code| (1..=LONGEST).contains(&code.len())).ok_or(Failure::NoCode))
    }

    /// Ends a sign-in that came to nothing at the callback.
    async fn end(&self, sign_in: &SignIn, failure: Failure, origin: &Origin) -> PortResult<Result<(), Failure>> {
        if self.store.change(&sign_in.failed(failure.clone()), None).await? == Step::Lost {
            return Ok(Err(Failure::Used));
        }
        noting::failed(&self.auditor, Action::AccountSignInFailed, &sign_in.by, &sign_in.user, &failure, origin).await;
        Ok(Err(failure))
    }
}
