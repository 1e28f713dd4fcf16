//! Everything that has to be true of a token before it is accepted: form, denylist, signature (`[CHECK-1]`).

use std::sync::Arc;

use crate::check::{Checker, Degraded};
use crate::decision::{Refusal, TokenFacts};
use crate::error::PortError;
use crate::ids::{RawToken, TokenId};
use crate::ports::{Claims, TokenStore, TokenVerifier, VerifyError};
use crate::token::{TokenKind, TokenRow};

/// The whole check.
#[derive(Clone)]
pub struct Inspector {
    /// The denylist.
    pub checker: Checker,
    /// Signatures.
    pub verifier: Arc<dyn TokenVerifier>,
    /// Rows of opaque tokens, and sessions' starts.
    pub tokens: Arc<dyn TokenStore>,
}

/// A token that is good now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Active {
    /// A JWT, by its verified claims.
    Jwt(Claims),
    /// An opaque token, by its row.
    Opaque(TokenRow),
}

impl Active {
    /// Access or refresh token.
    pub fn kind(&self) -> TokenKind {
        match self {
            Self::Jwt(claims) => claims.facts.kind,
            Self::Opaque(row) => row.kind,
        }
    }
}

/// Why a token is not good. For the log and for tests: callers learn no more than that it is inactive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inactive {
    /// Nobody knows such an opaque token.
    Unknown,
    /// Its form or its signature is wrong.
    Invalid(&'static str),
    /// The denylist refuses it, or its time has passed.
    Refused(Refusal),
}

/// The outcome of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// Good or not.
    pub verdict: Result<Active, Inactive>,
    /// Whether the denylist had to be asked the slow way.
    pub degraded: Option<Degraded>,
}

/// Nobody could tell whether the token is good: the caller answers 503 and refuses (`[CHECK-3]`).
#[derive(Debug, Clone, thiserror::Error)]
pub enum CannotTell {
    /// A store did not answer.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The issuer's keys cannot be had.
    #[error("{0}")]
    Keys(VerifyError),
}

impl Inspector {
    /// Checks a token.
    pub async fn inspect(&self, token: &RawToken) -> Result<Inspected, CannotTell> {
        if token.looks_like_jwt() { self.inspect_jwt(token).await } else { self.inspect_opaque(token).await }
    }

    async fn inspect_jwt(&self, token: &RawToken) -> Result<Inspected, CannotTell> {
        let claimed = match self.verifier.peek(token) {
            Ok(claims) => self.with_sign_in(claims).await?,
            Err(error) => return invalid(error, None),
        };
        let checked = self.checker.check(&claimed.facts).await?;
        if let Some(refusal) = checked.refusal {
            return Ok(Inspected { verdict: Err(Inactive::Refused(refusal)), degraded: checked.degraded });
        }
        // The signature covers the very claims that the denylist was asked about.
        match self.verifier.verify(token).await {
            Ok(_) => Ok(Inspected { verdict: Ok(Active::Jwt(claimed)), degraded: checked.degraded }),
            Err(error) => invalid(error, checked.degraded),
        }
    }

    /// Without `auth_time` the session's start is the sign-in (`[CUT-4]`).
    async fn with_sign_in(&self, mut claims: Claims) -> Result<Claims, PortError> {
        if let (false, Some(user), Some(session)) =
            (claims.has_auth_time, claims.facts.user.clone(), claims.facts.session.clone())
            && let Some(session) = self.tokens.session(&user, &session).await?
        {
            claims.facts.signed_in_at = session.started_at;
        }
        Ok(claims)
    }

    async fn inspect_opaque(&self, token: &RawToken) -> Result<Inspected, CannotTell> {
        let inactive = |why| Ok(Inspected { verdict: Err(why), degraded: None });
        let Some(row) = self.tokens.opaque(&TokenId::of_opaque(token)).await? else {
            return inactive(Inactive::Unknown);
        };
        if row.revoked.is_some() {
            return inactive(Inactive::Refused(Refusal::TokenRevoked));
        }
        let mut started = None;
        if let (None, Some(user), Some(session)) = (row.signed_in_at, row.owner.user(), &row.session) {
            started = self.tokens.session(user, session).await?.map(|session| session.started_at);
        }
        let facts = TokenFacts {
            id: row.id.clone(),
            kind: row.kind,
            user: row.owner.user().cloned(),
            client: Some(row.client.clone()),
            session: row.session.clone(),
            issued_at: row.issued_at,
            signed_in_at: row.sign_in(started),
            expires_at: row.expires_at,
        };
        let checked = self.checker.check(&facts).await?;
        let verdict = match checked.refusal {
            Some(refusal) => Err(Inactive::Refused(refusal)),
            None => Ok(Active::Opaque(row)),
        };
        Ok(Inspected { verdict, degraded: checked.degraded })
    }
}

fn invalid(error: VerifyError, degraded: Option<Degraded>) -> Result<Inspected, CannotTell> {
    match error {
        VerifyError::Invalid(why) => Ok(Inspected { verdict: Err(Inactive::Invalid(why)), degraded }),
        VerifyError::NoKeys(_) => Err(CannotTell::Keys(error)),
    }
}
