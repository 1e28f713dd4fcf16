//! Everything that has to be true of a token before it is accepted (`[CHECK-1]`): its form, then the denylist, then
//! the issuer's word or its signature.

use std::sync::Arc;

use crate::check::{Checker, Degraded};
use crate::decision::{Refusal, TokenFacts};
use crate::error::PortError;
use crate::identity::{Profile, VerificationSource, VerifiedUser};
use crate::ids::{RawToken, SessionId, TokenId, UserId};
use crate::ports::{Claims, TokenLookup, TokenVerifier, VerifyError};
use crate::time::{Clock, Epoch};
use crate::token::{TokenKind, TokenRow};
use crate::upstream::{Authority, UpstreamError};

/// The whole check.
#[derive(Clone)]
pub struct Inspector {
    /// The denylist.
    pub checker: Checker,
    /// Signatures.
    pub verifier: Arc<dyn TokenVerifier>,
    /// Rows of opaque tokens, and sign-ins that tokens do not say.
    pub lookup: Arc<dyn TokenLookup>,
    /// Who at the issuer is asked, in this order, before a token is taken at its word. Each may keep silent.
    pub authorities: Arc<[Arc<dyn Authority>]>,
    /// Time.
    pub clock: Arc<dyn Clock>,
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

    /// Its id.
    pub fn id(&self) -> &TokenId {
        match self {
            Self::Jwt(claims) => &claims.facts.id,
            Self::Opaque(row) => &row.id,
        }
    }

    /// When it expires.
    pub fn expires_at(&self) -> Epoch {
        match self {
            Self::Jwt(claims) => claims.facts.expires_at,
            Self::Opaque(row) => row.expires_at,
        }
    }

    /// The sign-in that it names.
    pub fn session(&self) -> Option<&SessionId> {
        match self {
            Self::Jwt(claims) => claims.facts.session.as_ref(),
            Self::Opaque(row) => row.session.as_ref(),
        }
    }

    /// Its user; none for a service token.
    pub fn user(&self) -> Option<&UserId> {
        match self {
            Self::Jwt(claims) => claims.facts.user.as_ref(),
            Self::Opaque(row) => row.owner.user(),
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
    /// The issuer says no.
    Disowned(VerificationSource),
}

/// A token that is good, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The token.
    pub active: Active,
    /// Its user; none for a service token.
    pub user: Option<VerifiedUser>,
}

/// The outcome of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// Good or not.
    pub verdict: Result<Accepted, Inactive>,
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

/// Whether anybody at the issuer had a say.
enum Word {
    Good(VerificationSource, Profile),
    Bad(VerificationSource),
    Silence,
}

impl Inspector {
    /// Checks a token.
    pub async fn inspect(&self, token: &RawToken) -> Result<Inspected, CannotTell> {
        if token.looks_like_jwt() { self.inspect_jwt(token).await } else { self.inspect_opaque(token).await }
    }

    async fn inspect_jwt(&self, token: &RawToken) -> Result<Inspected, CannotTell> {
        let claimed = match self.verifier.peek(token) {
            Ok(claims) => self.with_sign_in(claims).await?,
            Err(error) => return Ok(Inspected { verdict: Err(invalid(error)?), degraded: None }),
        };
        let checked = self.checker.check(&claimed.facts).await?;
        let verdict = match checked.refusal {
            Some(refusal) => Err(Inactive::Refused(refusal)),
            None => self.vouched_jwt(token, claimed).await?,
        };
        Ok(Inspected { verdict, degraded: checked.degraded })
    }

    /// The issuer's word covers the whole token, as the signature does: either vouches for the very claims that the
    /// denylist was asked about. Where the keys are at hand a wrong signature is wrong whatever the issuer says.
    async fn vouched_jwt(&self, token: &RawToken, claimed: Claims) -> Result<Result<Accepted, Inactive>, CannotTell> {
        let user = claimed.facts.user.clone();
        let word = self.word(token, user.as_ref()).await;
        if let Word::Bad(source) = word {
            return Ok(Err(Inactive::Disowned(source)));
        }
        let (source, profile) = match (word, self.verifier.verify(token).await) {
            (Word::Good(source, profile), Ok(_) | Err(VerifyError::NoKeys(_))) => (source, profile),
            (_, Ok(_)) => (VerificationSource::LocalJwt, claimed.profile.clone()),
            (_, Err(error)) => return invalid(error).map(Err),
        };
        Ok(Ok(self.accepted(Active::Jwt(claimed), user, source, profile)))
    }

    /// Without `auth_time` the sign-in is what the token's row says, or the session's start (`[CUT-4]`), and never later
    /// than the token.
    async fn with_sign_in(&self, mut claims: Claims) -> Result<Claims, PortError> {
        let facts = &mut claims.facts;
        if let (false, Some(user)) = (claims.has_auth_time, &facts.user)
            && let Some(at) = self.lookup.sign_in_of(user, facts.session.as_ref(), &facts.id).await?
        {
            facts.signed_in_at = at.min(facts.issued_at);
        }
        Ok(claims)
    }

    /// Checks a token by the row that was written when it was issued, whatever it looks like: a refresh token is known
    /// by its hash alone.
    pub async fn inspect_opaque(&self, token: &RawToken) -> Result<Inspected, CannotTell> {
        let inactive = |why| Ok(Inspected { verdict: Err(why), degraded: None });
        // Without its row nobody can say from which sign-in it stems, so that no cutoff could reach it.
        let Some(row) = self.lookup.opaque_row(&TokenId::of_opaque(token)).await? else {
            return inactive(Inactive::Unknown);
        };
        if row.revoked.is_some() {
            return inactive(Inactive::Refused(Refusal::TokenRevoked));
        }
        let facts = self.facts_of(&row).await?;
        let checked = self.checker.check(&facts).await?;
        let verdict = match checked.refusal {
            Some(refusal) => Err(Inactive::Refused(refusal)),
            None => self.vouched_opaque(token, row).await,
        };
        Ok(Inspected { verdict, degraded: checked.degraded })
    }

    async fn vouched_opaque(&self, token: &RawToken, row: TokenRow) -> Result<Accepted, Inactive> {
        let user = row.owner.user().cloned();
        // Only access tokens are the issuer's to vouch for: userinfo refuses every refresh token.
        let word = match row.kind {
            TokenKind::Access => self.word(token, user.as_ref()).await,
            TokenKind::Refresh => Word::Silence,
        };
        let (source, profile) = match word {
            Word::Good(source, profile) => (source, profile),
            Word::Bad(source) => return Err(Inactive::Disowned(source)),
            Word::Silence => (VerificationSource::TokenRow, Profile::default()),
        };
        Ok(self.accepted(Active::Opaque(row), user, source, profile))
    }

    /// What the denylist is asked about a row.
    pub async fn facts_of(&self, row: &TokenRow) -> Result<TokenFacts, PortError> {
        let mut signed_in_at = row.signed_in_at;
        if let (None, Some(user)) = (signed_in_at, row.owner.user()) {
            signed_in_at = self.lookup.sign_in_of(user, row.session.as_ref(), &row.id).await?;
        }
        Ok(TokenFacts {
            id: row.id.clone(),
            kind: row.kind,
            user: row.owner.user().cloned(),
            client: Some(row.client.clone()),
            session: row.session.clone(),
            issued_at: row.issued_at,
            signed_in_at: signed_in_at.map_or(row.issued_at, |at| at.min(row.issued_at)),
            expires_at: row.expires_at,
        })
    }

    /// Asks those at the issuer who vouch for tokens, in their order. An explicit refusal is final; only silence falls
    /// through. A service token has no user, so that none of them knows it.
    async fn word(&self, token: &RawToken, user: Option<&UserId>) -> Word {
        let Some(user) = user else { return Word::Silence };
        for authority in self.authorities.iter() {
            match authority.vouch(token).await {
                // OpenID Connect Core §5.3.2: the subject must be the token's own.
                Ok((subject, profile)) if &subject == user => return Word::Good(authority.source(), profile),
                Ok(_) | Err(UpstreamError::Refused(_)) => return Word::Bad(authority.source()),
                Err(silence) => {
                    tracing::warn!(source = authority.source().as_str(), %silence, "the issuer did not vouch");
                }
            }
        }
        Word::Silence
    }

    fn accepted(
        &self,
        active: Active,
        user: Option<UserId>,
        verification_source: VerificationSource,
        profile: Profile,
    ) -> Accepted {
        let verified_at = self.clock.now();
        let user = user.map(|user_id| VerifiedUser { user_id, profile, verification_source, verified_at });
        Accepted { active, user }
    }
}

fn invalid(error: VerifyError) -> Result<Inactive, CannotTell> {
    match error {
        VerifyError::Invalid(why) => Ok(Inactive::Invalid(why)),
        VerifyError::Expired => Ok(Inactive::Refused(Refusal::Expired)),
        VerifyError::IdToken => Ok(Inactive::Invalid("an ID token is no access token")),
        VerifyError::NoKeys(_) => Err(CannotTell::Keys(error)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::ids::ClientId;
    use crate::token::Owner;

    #[test]
    fn check_1_a_tokens_user_and_sign_in_are_those_of_its_claims_or_of_its_row() {
        let (user, session) = (UserId::parse("u").unwrap(), SessionId::parse("s").unwrap());
        let (id, client) = (TokenId::parse("t").unwrap(), ClientId::parse("c").unwrap());
        let facts = TokenFacts {
            id: id.clone(),
            kind: TokenKind::Access,
            user: Some(user.clone()),
            client: Some(client.clone()),
            session: Some(session.clone()),
            issued_at: Epoch(1),
            signed_in_at: Epoch(1),
            expires_at: Epoch(2),
        };
        let claims = Claims {
            facts,
            has_auth_time: true,
            issuer: String::new(),
            audience: vec![],
            scope: None,
            username: None,
            profile: Profile::default(),
        };
        let row = TokenRow {
            id,
            owner: Owner::User(user.clone()),
            kind: TokenKind::Refresh,
            client: client.clone(),
            session: Some(session.clone()),
            opaque: true,
            issued_at: Epoch(1),
            signed_in_at: None,
            expires_at: Epoch(3),
            last_used_at: None,
            scope: None,
            revoked: None,
        };
        let service = Active::Opaque(TokenRow { owner: Owner::Service(client), session: None, ..row.clone() });
        assert_eq!((service.user(), service.session()), (None, None));
        for (active, kind, expires_at) in
            [(Active::Jwt(claims), TokenKind::Access, 2), (Active::Opaque(row), TokenKind::Refresh, 3)]
        {
            assert_eq!((active.user(), active.session()), (Some(&user), Some(&session)));
            assert_eq!((active.kind(), active.expires_at(), active.id().as_str()), (kind, Epoch(expires_at), "t"));
        }
    }
}
