//! Tokens through our own token endpoint (`[OAUTH-1]`): a code becomes a session and its tokens, a refresh token of a
//! sign-in that was ended becomes nothing.
//!
//! # A refresh and a logout at the same moment
//!
//! The logout first writes its cutoff, durably, and then reads the rows to deny each token by its id. The refresh first
//! writes the rows of what the issuer gave it, and then asks the durable denylist about the sign-in. Both see every
//! acknowledged write, so that of the two at least one sees the other: either the logout finds the new tokens, or the
//! refresh finds the cutoff and denies them itself. Nothing is handed out before that.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::audit::Origin;
use crate::check::Degraded;
use crate::decision::{Refusal, TokenFacts, decide};
use crate::error::PortError;
use crate::identity::Profile;
use crate::ids::{ClientId, RawToken, SessionId, TokenId, UserId};
use crate::inspect::{CannotTell, Inspector};
use crate::ports::{Claims, DenylistStore, PortResult, SignInStore, TokenStore, VerifyError};
use crate::session::{Sessions, SignedIn};
use crate::sign_out::SignOuts;
use crate::time::{Clock, Epoch};
use crate::token::{Owner, Revoked, RevokedBy, TokenKind, TokenRow};
use crate::upstream::{Authority, Form, Issued, Upstream, UpstreamError};

/// Seconds for which a refused sign-in is remembered, so that the browser's next attempt asks for a fresh one. No code
/// lives longer (RFC 6749 §4.1.2 recommends ten minutes at most).
const ATTEMPT_SECONDS: i64 = 600;

/// What a client is told whose sign-in was ended.
const ENDED: &str = "This sign-in was ended. Sign in again.";

/// What stands for a user who is not known yet: nobody's id, so that no list of spared users holds it.
const NOBODY: &str = "(unknown)";

/// Why no tokens are handed out.
#[derive(Debug, thiserror::Error)]
pub enum NotGranted {
    /// The grant is not good, or not any more (`invalid_grant`, RFC 6749 §5.2).
    #[error("invalid_grant: {0}")]
    InvalidGrant(&'static str),
    /// The issuer said no, or did not answer (`[OAUTH-3]`).
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// Nobody could tell whether the sign-in was ended.
    #[error(transparent)]
    CannotTell(#[from] CannotTell),
}

impl From<PortError> for NotGranted {
    fn from(error: PortError) -> Self {
        Self::CannotTell(error.into())
    }
}

/// Tokens that may be handed out.
#[derive(Debug)]
pub struct Granted {
    /// The issuer's answer, as it came.
    pub body: Map<String, Value>,
    /// The session they belong to; none for service tokens.
    pub session: Option<(UserId, SessionId)>,
    /// When the user signed in.
    pub signed_in_at: Epoch,
    /// Whether the denylist had to be asked the slow way.
    pub degraded: Option<Degraded>,
}

/// What is known of a browser's last attempt to sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastAttempt<'a> {
    /// Its PKCE challenge, as S256 would have it.
    With(&'a str),
    /// The client does not use PKCE, so that attempts cannot be told apart.
    Unmarked,
    /// There was none.
    None,
}

/// A sign-in that a browser remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// Whose.
    pub user: UserId,
    /// Its session.
    pub session: SessionId,
    /// When it was.
    pub at: Epoch,
}

/// Grants.
#[derive(Clone)]
pub struct SignIns {
    /// The check of tokens.
    pub inspector: Inspector,
    /// The issuer.
    pub upstream: Arc<dyn Upstream>,
    /// Who says who a new access token belongs to.
    pub profiles: Arc<dyn Authority>,
    /// Sessions.
    pub sessions: Sessions,
    /// Where new tokens are written.
    pub store: Arc<dyn SignInStore>,
    /// Where they are read.
    pub tokens: Arc<dyn TokenStore>,
    /// The durable denylist, asked after the writing.
    pub denylist: Arc<dyn DenylistStore>,
    /// Ending what must not be handed out.
    pub sign_outs: SignOuts,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// What is known of tokens the issuer has just handed out.
struct Fresh {
    /// What the denylist is asked about the access token.
    facts: TokenFacts,
    /// Whether the sign-in's time is the issuer's word.
    sign_in_is_known: bool,
    opaque: bool,
    scope: Option<String>,
    profile: Profile,
}

/// The claims that are read of an ID token.
#[derive(Deserialize, Default)]
struct IdClaims {
    sub: Option<String>,
    sid: Option<String>,
    auth_time: Option<i64>,
}

/// Reads an ID token without its signature: it came straight from the issuer's token endpoint, which TLS vouches for
/// (OpenID Connect Core §3.1.3.7, 6).
fn id_claims(issued: &Issued) -> IdClaims {
    let read = |token: RawToken| {
        let payload = URL_SAFE_NO_PAD.decode(token.reveal().split('.').nth(1)?).ok()?;
        serde_json::from_slice(&payload).ok()
    };
    issued.id_token().and_then(read).unwrap_or_default()
}

/// The name under which a refused attempt to sign in is remembered: its PKCE challenge (RFC 7636 §4.2), which both the
/// browser at `/oauth/authorize` and the client at `/oauth/token` can name. Without one all the client's browsers are
/// asked for a fresh sign-in for a while, as nobody can tell which one it was.
fn attempt(client: &ClientId, challenge: Option<&str>) -> TokenId {
    let name = match challenge {
        Some(challenge) => format!("attempt:{challenge}"),
        None => format!("attempt of:{client}"),
    };
    // Too long, or of characters that no id has.
    TokenId::parse(&*name).unwrap_or_else(|_| TokenId::of_opaque(&RawToken::new(name)))
}

/// The S256 challenge of a verifier (RFC 7636 §4.2).
pub fn challenge_of(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
}

impl SignIns {
    fn now(&self) -> Epoch {
        self.clock.now().into()
    }

    /// Exchanges a code: a session, its tokens, and the profile of who signed in.
    pub async fn code(&self, form: &Form, client: &ClientId, from: &Origin) -> Result<Granted, NotGranted> {
        let issued = self.upstream.token(form).await?;
        let mut fresh = self.read(&issued, client, None).await?;
        let Some(user) = fresh.facts.user.clone() else {
            return Err(UpstreamError::Failed("a code brought a token without a user".to_owned()).into());
        };
        let issuer_sid = fresh.facts.session.clone();
        let signed_in = SignedIn {
            user: user.clone(),
            profile: fresh.profile.clone(),
            client: client.clone(),
            issuer_sid,
            at: fresh.facts.signed_in_at,
        };
        let session = self.sessions.open(signed_in, from).await?;
        let rows = self.rows(&issued, &fresh, Some(session.id.clone()));
        self.store.add_tokens(&rows).await?;
        if self.is_ended(&fresh.facts, Some(&session.id)).await? {
            self.withdraw(&issued, form, &rows, Some((&user, &session.id))).await?;
            let challenge = form.get("code_verifier").map(challenge_of);
            let until = self.now().plus(ATTEMPT_SECONDS);
            self.sign_outs.denier.tokens([(attempt(client, challenge.as_deref()), until)]).await?;
            return Err(NotGranted::InvalidGrant(ENDED));
        }
        let signed_in_at = std::mem::replace(&mut fresh.facts.signed_in_at, Epoch(0));
        Ok(Granted { body: issued.body, session: Some((user, session.id)), signed_in_at, degraded: None })
    }

    /// Refreshes: not if the refresh token, its session, its user or its client is cut off, and nothing that would
    /// outlive a logout at the same moment.
    pub async fn refresh(&self, form: &Form, client: &ClientId) -> Result<Granted, NotGranted> {
        let presented = TokenId::of_opaque(&RawToken::new(form.get("refresh_token").unwrap_or_default()));
        let known = self.tokens.opaque(&presented).await?;
        let (old, degraded) = match &known {
            Some(row) => self.refreshable(row, client).await?,
            None => (self.stranger(presented, client), None),
        };
        if known.is_none() && self.is_revoked(&old).await? {
            return Err(NotGranted::InvalidGrant(ENDED));
        }
        let issued = self.upstream.token(form).await?;
        let mut fresh = self.read(&issued, client, known.as_ref().map(|row| &row.owner)).await?;
        match &known {
            Some(row) if row.owner.user() != fresh.facts.user.as_ref() => {
                self.withdraw(&issued, form, &[], None).await?;
                return Err(UpstreamError::Failed("a refresh brought another user's token".to_owned()).into());
            }
            // A refresh is no sign-in, whatever the new token says.
            Some(_) => fresh.facts.signed_in_at = old.signed_in_at,
            // A refresh token that nobody told us of: the issuer has to say which sign-in it stems from.
            None if fresh.sign_in_is_known => {}
            None => {
                self.withdraw(&issued, form, &[], None).await?;
                return Err(NotGranted::InvalidGrant("Nobody knows which sign-in this stems from. Sign in again."));
            }
        }
        let session = old.session.clone().or_else(|| fresh.facts.session.clone());
        let mut rows = self.rows(&issued, &fresh, session.clone());
        // One that is handed out again is as old as it was.
        rows.retain(|row| row.id != old.id);
        self.store.add_tokens(&rows).await?;
        let is_old_ended = match &known {
            Some(_) => self.is_denied(&old).await?,
            None => self.is_revoked(&old).await?,
        };
        if is_old_ended || self.is_ended(&fresh.facts, session.as_ref()).await? {
            self.withdraw(&issued, form, &rows, None).await?;
            return Err(NotGranted::InvalidGrant(ENDED));
        }
        if let Some(row) = &known {
            self.used(row, &rows).await;
        }
        let session = fresh.facts.user.clone().zip(session);
        if let Some((user, session)) = &session {
            // That a session's end could not be put off takes nothing from its tokens.
            if let Err(error) = self.sessions.use_one(user, session).await {
                tracing::warn!(%error, "a session could not be used");
            }
        }
        Ok(Granted { body: issued.body, session, signed_in_at: fresh.facts.signed_in_at, degraded })
    }

    /// What is known of a refresh token of ours, if it is good.
    async fn refreshable(
        &self,
        row: &TokenRow,
        client: &ClientId,
    ) -> Result<(TokenFacts, Option<Degraded>), NotGranted> {
        if row.kind != TokenKind::Refresh || &row.client != client {
            return Err(NotGranted::InvalidGrant("This is no refresh token of this client."));
        }
        let facts = self.inspector.facts_of(row).await?;
        let checked = self.inspector.checker.check(&facts).await?;
        let is_revoked = match &row.revoked {
            None => false,
            Some(revoked) if revoked.by == RevokedBy::Rotation => !self.has_successor(row).await?,
            Some(_) => true,
        };
        if is_revoked || checked.refusal.is_some() || self.has_ended(&facts).await? {
            return Err(NotGranted::InvalidGrant(ENDED));
        }
        Ok((facts, checked.degraded))
    }

    /// Whether a replaced refresh token's sign-in has one that is good: where that was ended, by itself even, the replaced
    /// one brings no other.
    async fn has_successor(&self, row: &TokenRow) -> PortResult<bool> {
        let now = self.now();
        let is_good = |other: &TokenRow| {
            let of_sign_in = other.kind == TokenKind::Refresh && other.session == row.session;
            of_sign_in && other.client == row.client && other.revoked.is_none() && other.expires_at > now
        };
        Ok(row.session.is_some() && self.tokens.holdings(&row.owner).await?.tokens.iter().any(is_good))
    }

    /// What can be said of a refresh token that nobody told us of.
    fn stranger(&self, id: TokenId, client: &ClientId) -> TokenFacts {
        let now = self.now();
        TokenFacts {
            id,
            kind: TokenKind::Refresh,
            user: None,
            client: Some(client.clone()),
            session: None,
            issued_at: now,
            signed_in_at: now,
            expires_at: now.plus(ATTEMPT_SECONDS),
        }
    }

    /// Whether the durable denylist holds this very token: one can be ended before we are told that it exists.
    async fn is_revoked(&self, facts: &TokenFacts) -> PortResult<bool> {
        Ok(self.denylist.ask(facts).await?.token_revoked)
    }

    /// Whether a sign-in's session was ended. Some jobs end sessions and no more than certain tokens of them, which no
    /// cutoff says.
    async fn has_ended(&self, facts: &TokenFacts) -> PortResult<bool> {
        let (Some(user), Some(session)) = (&facts.user, &facts.session) else { return Ok(false) };
        Ok(self.tokens.session(user, session).await?.is_some_and(|row| row.ended_by.is_some()))
    }

    /// Notes that a refresh token was used, or replaced. It is still refused with its sign-in if that could not be noted.
    async fn used(&self, old: &TokenRow, new: &[TokenRow]) {
        let revoked = Revoked { at: self.now(), by: RevokedBy::Rotation };
        let noted = if new.iter().any(|row| row.kind == TokenKind::Refresh) {
            self.tokens.revoke(&old.owner, &old.id, &revoked).await.map(|_| ())
        } else {
            self.store.touch_token(&old.owner, &old.id, revoked.at).await
        };
        if let Err(error) = noted {
            tracing::warn!(%error, "the use of a refresh token could not be noted");
        }
    }

    /// Passes on a client-credentials grant and notes the service token.
    pub async fn service(&self, form: &Form, client: &ClientId) -> Result<Granted, NotGranted> {
        let issued = self.upstream.token(form).await?;
        let fresh = self.read(&issued, client, Some(&Owner::Service(client.clone()))).await?;
        self.store.add_tokens(&self.rows(&issued, &fresh, None)).await?;
        Ok(Granted { body: issued.body, session: None, signed_in_at: fresh.facts.issued_at, degraded: None })
    }

    /// Whether a browser that is sent to sign in must prove afresh that its user is there (`[CUT-4]`): what the issuer
    /// remembers of an earlier sign-in would be refused. `last` is the browser's last attempt.
    pub async fn must_be_fresh(
        &self,
        client: &ClientId,
        remembered: Option<&Remembered>,
        last: LastAttempt<'_>,
    ) -> PortResult<bool> {
        let now = self.now();
        let oldest = now.plus(-self.sign_outs.denier.limits.max_sign_in_age);
        let nobody = || UserId::parse(NOBODY).unwrap_or_else(|_| unreachable!("the name is a valid id"));
        let facts = TokenFacts {
            id: match last {
                LastAttempt::With(challenge) => attempt(client, Some(challenge)),
                LastAttempt::Unmarked => attempt(client, None),
                LastAttempt::None => attempt(client, Some("-")),
            },
            kind: TokenKind::Access,
            user: Some(remembered.map_or_else(nobody, |remembered| remembered.user.clone())),
            client: Some(client.clone()),
            session: remembered.map(|remembered| remembered.session.clone()),
            // What would be issued is issued from now on.
            issued_at: now.plus(1),
            // Of a sign-in that is not known all that is known is that it may be as old as any.
            signed_in_at: remembered.map_or(oldest, |remembered| remembered.at),
            expires_at: now.plus(ATTEMPT_SECONDS),
        };
        Ok(self.inspector.checker.check(&facts).await?.refusal.is_some())
    }

    /// Finds out what was issued: by the access token's own verified claims, or, of an opaque one, by what the issuer
    /// says of it, unless its owner is known: then nobody needs to be asked.
    async fn read(&self, issued: &Issued, client: &ClientId, owner: Option<&Owner>) -> Result<Fresh, NotGranted> {
        let failed = |why: &str| NotGranted::Upstream(UpstreamError::Failed(why.to_owned()));
        let token = issued.access_token().ok_or_else(|| failed("no access token was issued"))?;
        let id = id_claims(issued);
        if token.looks_like_jwt() {
            let claims = match self.inspector.verifier.verify(&token).await {
                Ok(claims) => claims,
                Err(VerifyError::Invalid(why)) => return Err(failed(&format!("its access token is not valid: {why}"))),
                Err(VerifyError::Expired) => return Err(failed("its access token is expired")),
                Err(VerifyError::IdToken) => return Err(failed("its access token is an ID token")),
                Err(error @ VerifyError::NoKeys(_)) => return Err(CannotTell::Keys(error).into()),
            };
            return Ok(self.read_jwt(&token, claims, id, issued, client, owner).await);
        }
        let said = id.sub.as_deref().map(UserId::parse);
        let (user, profile) = match (owner, said) {
            (Some(Owner::User(_)), Some(Ok(user))) => (Some(user), Profile::default()),
            (Some(owner), _) => (owner.user().cloned(), Profile::default()),
            (None, said) => match (self.profiles.vouch(&token).await, said) {
                (Ok((user, profile)), _) => (Some(user), profile),
                (Err(_), Some(Ok(user))) => (Some(user), Profile::default()),
                (Err(silence), _) => return Err(silence.into()),
            },
        };
        let now = self.now();
        // Where the issuer does not say when it expires it is taken to live as long as any token can.
        let longest = self.sign_outs.denier.limits.max_sign_in_age;
        Ok(Fresh {
            facts: TokenFacts {
                id: TokenId::of_opaque(&token),
                kind: TokenKind::Access,
                user,
                client: Some(client.clone()),
                session: id.sid.and_then(|sid| SessionId::parse(sid).ok()),
                issued_at: now,
                signed_in_at: id.auth_time.map_or(now, |at| Epoch(at).min(now)),
                expires_at: now.plus(issued.expires_in().unwrap_or(longest)),
            },
            sign_in_is_known: id.auth_time.is_some(),
            opaque: true,
            scope: issued.scope().map(str::to_owned),
            profile,
        })
    }

    async fn read_jwt(
        &self,
        token: &RawToken,
        claims: Claims,
        id: IdClaims,
        issued: &Issued,
        client: &ClientId,
        owner: Option<&Owner>,
    ) -> Fresh {
        let Claims { mut facts, has_auth_time, scope, mut profile, .. } = claims;
        let same_user = id.sub.as_deref() == facts.user.as_ref().map(UserId::as_str);
        if let (false, true, Some(auth_time)) = (has_auth_time, same_user, id.auth_time) {
            facts.signed_in_at = Epoch(auth_time).min(facts.issued_at);
        }
        if facts.session.is_none() && same_user {
            facts.session = id.sid.and_then(|sid| SessionId::parse(sid).ok());
        }
        facts.client.get_or_insert_with(|| client.clone());
        // What the issuer says of the user is kept of sign-ins only.
        if let (None, Some(user)) = (owner, &facts.user) {
            match self.profiles.vouch(token).await {
                Ok((subject, found)) if &subject == user => profile = found,
                // The issuer may want a scope for it that was not asked for: the claims say enough.
                other => tracing::info!(answered = other.is_ok(), "the issuer tells no profile of a new token"),
            }
        }
        Fresh {
            sign_in_is_known: has_auth_time || (same_user && id.auth_time.is_some()),
            facts,
            opaque: false,
            scope: scope.or_else(|| issued.scope().map(str::to_owned)),
            profile,
        }
    }

    /// The rows of what was issued. A refresh token is opaque to everybody but its issuer (RFC 6749 §1.5), whatever it
    /// looks like: it is known by its hash, which nobody can make up.
    fn rows(&self, issued: &Issued, fresh: &Fresh, session: Option<SessionId>) -> Vec<TokenRow> {
        let facts = &fresh.facts;
        let Some(client) = facts.client.clone() else { return Vec::new() };
        let access = TokenRow {
            id: facts.id.clone(),
            owner: facts.user.clone().map_or_else(|| Owner::Service(client.clone()), Owner::User),
            kind: TokenKind::Access,
            client,
            session,
            opaque: fresh.opaque,
            issued_at: facts.issued_at,
            signed_in_at: facts.user.as_ref().map(|_| facts.signed_in_at),
            expires_at: facts.expires_at,
            last_used_at: None,
            scope: fresh.scope.clone(),
            revoked: None,
        };
        let refresh = issued.refresh_token().map(|token| TokenRow {
            id: TokenId::of_opaque(&token),
            kind: TokenKind::Refresh,
            opaque: true,
            // Issuers do not say; no verifier takes a sign-in for good for longer.
            expires_at: facts.signed_in_at.plus(self.sign_outs.denier.limits.max_sign_in_age),
            ..access.clone()
        });
        std::iter::once(access).chain(refresh).collect()
    }

    /// Whether the durable denylist refuses what was just written, under our session's name or under the issuer's, or the
    /// session has been ended.
    async fn is_ended(&self, fresh: &TokenFacts, session: Option<&SessionId>) -> PortResult<bool> {
        let ours = TokenFacts { session: session.cloned(), ..fresh.clone() };
        if self.is_denied(&ours).await? || self.has_ended(&ours).await? {
            return Ok(true);
        }
        if fresh.session.is_none() || fresh.session.as_ref() == session {
            return Ok(false);
        }
        self.is_denied(fresh).await
    }

    async fn is_denied(&self, facts: &TokenFacts) -> PortResult<bool> {
        let answer = self.denylist.ask(facts).await?;
        let refusal = decide(facts, &answer, self.sign_outs.denier.limits, self.now());
        if let Some(refusal) = &refusal
            && !matches!(refusal, Refusal::CutOff(_))
        {
            tracing::info!(?refusal, "issued tokens are not good");
        }
        Ok(refusal.is_some())
    }

    /// Ends tokens that must not be handed out, here and at the issuer.
    async fn withdraw(
        &self,
        issued: &Issued,
        form: &Form,
        rows: &[TokenRow],
        session: Option<(&UserId, &SessionId)>,
    ) -> PortResult<()> {
        for row in rows {
            self.sign_outs.token(&row.owner, &row.id, row.expires_at, &RevokedBy::User).await?;
        }
        if let Some((user, session)) = session {
            self.sign_outs.session(user, session, &RevokedBy::User, None).await?;
        }
        if let Some(token) = issued.refresh_token().or_else(|| issued.access_token()) {
            let credentials = form.fields.iter().filter(|(name, _)| name.starts_with("client_"));
            let fields = std::iter::once(("token".to_owned(), token.reveal().to_owned())).chain(credentials.cloned());
            let form = Form { fields: fields.collect(), authorization: form.authorization.clone() };
            // Here it is refused in any case.
            if let Err(error) = self.upstream.revoke(&form).await {
                tracing::warn!(%error, "tokens that were not handed out could not be revoked at the issuer");
            }
        }
        Ok(())
    }
}
