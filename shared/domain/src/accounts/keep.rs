//! What is kept of an account's tokens: sealed, bound to the account, and in reach of every batch logout.
//!
//! Each token has a row of its own among all other tokens, under its hash, as the account's user's and its client's.
//! A job covers it as it covers any: by a cutoff, or by its id. Whoever wants to use the kept tokens asks
//! [`Keeper::standing`] first.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::account::Account;
use super::failure::Failure;
use super::session::Claim;
use crate::decision::{Limits, Refusal, TokenFacts, decide};
use crate::ids::{ClientId, RawToken, TokenId, UserId};
use crate::ports::{DenylistStore, PortResult, SignInStore, TokenStore};
use crate::source::IdSource;
use crate::time::{Clock, Epoch};
use crate::token::{Owner, Revoked, RevokedBy, TokenKind, TokenRow};
use crate::upstream::Issued;
use crate::vault::Vault;

/// Where a provider does not say how long an access token lives, it is taken to live for an hour.
const ACCESS_SECONDS: i64 = 3_600;

/// A token's row, as far as it is asked about again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptToken {
    /// The token's hash.
    pub id: TokenId,
    /// When it was issued.
    pub issued_at: Epoch,
    /// When it expires.
    pub expires_at: Epoch,
}

/// What is kept of an account's tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Another after every change.
    pub revision: String,
    /// The tokens, sealed for this account; none once they are good no more.
    pub sealed: Option<String>,
    /// As which client they were obtained.
    pub client: ClientId,
    /// The access token.
    pub access: KeptToken,
    /// The refresh token, if there is one.
    pub refresh: Option<KeptToken>,
    /// When somebody signed in.
    pub signed_in_at: Epoch,
    /// When they were last obtained from the provider.
    pub synced_at: DateTime<Utc>,
    /// Why they are not refreshed any more.
    pub trouble: Option<Failure>,
    /// Who is refreshing them.
    pub claim: Option<Claim>,
}

/// The tokens themselves: what is sealed. It has no `Debug` form.
#[derive(Serialize, Deserialize)]
pub struct Tokens {
    /// The access token.
    pub access_token: String,
    /// The refresh token.
    pub refresh_token: Option<String>,
    /// The granted scopes, if said.
    pub scope: Option<String>,
}

/// Tokens that were just obtained: their rows, and what to keep of them.
pub struct Obtained {
    /// The rows.
    pub rows: Vec<TokenRow>,
    /// What to keep.
    pub kept: Kept,
}

/// Whether kept tokens may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// They may.
    Good,
    /// The access token was ended, but the refresh token may bring another.
    AccessEnded,
    /// They were ended.
    Ended,
    /// They stem from a sign-in that is older than any may be.
    TooOld,
}

/// Keeps tokens.
#[derive(Clone)]
pub struct Keeper {
    /// Rows.
    pub rows: Arc<dyn TokenStore>,
    /// New rows.
    pub new_rows: Arc<dyn SignInStore>,
    /// The durable denylist.
    pub denylist: Arc<dyn DenylistStore>,
    /// Seals.
    pub vault: Arc<dyn Vault>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Revisions.
    pub ids: Arc<dyn IdSource>,
    /// The verifiers' limits.
    pub limits: Limits,
}

/// What the tokens of one account are sealed for; nothing else opens them. An id has no control characters.
fn purpose(user: &UserId) -> String {
    format!("account tokens\n{user}")
}

impl Keeper {
    /// Over one store.
    pub fn new<S: TokenStore + SignInStore + DenylistStore + 'static>(
        store: &Arc<S>,
        vault: Arc<dyn Vault>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
        limits: Limits,
    ) -> Self {
        let (rows, new_rows, denylist) = (store.clone(), store.clone(), store.clone());
        Self { rows, new_rows, denylist, vault, clock, ids, limits }
    }

    /// Seals what a provider issued, and describes it. `former` has the refresh token that goes on being good where
    /// none was issued. `None` if there is no access token.
    pub async fn obtained(
        &self,
        account: &Account,
        issued: &Issued,
        signed_in_at: Epoch,
        former: Option<(&Kept, &Tokens)>,
    ) -> PortResult<Option<Obtained>> {
        let bearer = issued.body.get("token_type").and_then(serde_json::Value::as_str);
        let is_bearer = bearer.is_none_or(|kind| kind.eq_ignore_ascii_case("bearer"));
        let Some(access) = issued.access_token().filter(|_| is_bearer) else { return Ok(None) };
        let (time, scope) = (self.clock.now(), issued.scope().map(str::to_owned));
        let now = Epoch::from(time);
        let kept_token =
            |token: &RawToken, expires_at| KeptToken { id: TokenId::of_opaque(token), issued_at: now, expires_at };
        let access_row = kept_token(&access, now.plus(issued.expires_in().unwrap_or(ACCESS_SECONDS)));
        // Providers do not say; no verifier takes a sign-in for good for longer.
        let refresh_expiry = signed_in_at.plus(self.limits.max_sign_in_age);
        let new_refresh = issued.refresh_token();
        let refresh_row = match (&new_refresh, former) {
            (Some(token), _) => Some(kept_token(token, refresh_expiry)),
            (None, Some((kept, _))) => kept.refresh.clone(),
            (None, None) => None,
        };
        let row = |token: &KeptToken, kind| TokenRow {
            id: token.id.clone(),
            owner: Owner::User(account.user.clone()),
            kind,
            client: account.client.clone(),
            session: None,
            opaque: true,
            issued_at: token.issued_at,
            signed_in_at: Some(signed_in_at),
            expires_at: token.expires_at,
            last_used_at: None,
            scope: scope.clone(),
            revoked: None,
        };
        let mut rows = vec![row(&access_row, TokenKind::Access)];
        if let (Some(_), Some(token)) = (&new_refresh, &refresh_row) {
            rows.push(row(token, TokenKind::Refresh));
        }
        let former_refresh = former.and_then(|(_, tokens)| tokens.refresh_token.clone());
        let tokens = Tokens {
            access_token: access.reveal().to_owned(),
            refresh_token: new_refresh.map(|token| token.reveal().to_owned()).or(former_refresh),
            scope,
        };
        let plain = serde_json::to_vec(&tokens).unwrap_or_else(|_| unreachable!("texts are JSON"));
        let sealed = self.vault.seal(&purpose(&account.user), &plain).await?;
        let kept = Kept {
            revision: self.ids.uuid(),
            sealed: Some(sealed),
            client: account.client.clone(),
            access: access_row,
            refresh: refresh_row,
            signed_in_at,
            synced_at: time,
            trouble: None,
            claim: None,
        };
        Ok(Some(Obtained { rows, kept }))
    }

    /// Opens what is kept of an account's tokens. `None` if it was not sealed for this account, or with a key that is
    /// gone.
    pub async fn open(&self, user: &UserId, kept: &Kept) -> PortResult<Option<Tokens>> {
        let Some(sealed) = &kept.sealed else { return Ok(None) };
        let opened = self.vault.open(&purpose(user), sealed).await?;
        Ok(opened.and_then(|opened| serde_json::from_slice(&opened.plain).ok()))
    }

    /// Whether what is kept may be used: asked of the durable denylist and of the rows, before every use.
    pub async fn standing(&self, user: &UserId, kept: &Kept) -> PortResult<Standing> {
        let access = self.refusal(user, kept, &kept.access, TokenKind::Access).await?;
        let last = match &kept.refresh {
            Some(refresh) => self.refusal(user, kept, refresh, TokenKind::Refresh).await?,
            None => access.clone(),
        };
        Ok(match (last, access) {
            (Some(Refusal::SignInTooOld), _) => Standing::TooOld,
            (Some(Refusal::Expired), _) if kept.refresh.is_some() => Standing::TooOld,
            (Some(Refusal::TokenRevoked | Refusal::CutOff(_)), _) => Standing::Ended,
            (_, Some(Refusal::TokenRevoked | Refusal::CutOff(_))) => Standing::AccessEnded,
            // That an access token has expired says nothing about its sign-in.
            _ => Standing::Good,
        })
    }

    async fn refusal(
        &self,
        user: &UserId,
        kept: &Kept,
        token: &KeptToken,
        kind: TokenKind,
    ) -> PortResult<Option<Refusal>> {
        let row = self.rows.token(&Owner::User(user.clone()), &token.id).await?;
        let revoked = row.and_then(|row| row.revoked);
        if revoked.is_some_and(|revoked| revoked.by != RevokedBy::Rotation) {
            return Ok(Some(Refusal::TokenRevoked));
        }
        let facts = TokenFacts {
            id: token.id.clone(),
            kind,
            user: Some(user.clone()),
            client: Some(kept.client.clone()),
            session: None,
            issued_at: token.issued_at,
            signed_in_at: kept.signed_in_at,
            expires_at: token.expires_at,
        };
        let answer = self.denylist.ask(&facts).await?;
        Ok(decide(&facts, &answer, self.limits, self.clock.now().into()))
    }

    /// Marks rows of tokens that others have taken the place of, or that nobody was given.
    pub async fn retire(
        &self,
        user: &UserId,
        tokens: impl IntoIterator<Item = &TokenId>,
        by: &RevokedBy,
    ) -> PortResult<()> {
        let revoked = Revoked { at: self.clock.now().into(), by: by.clone() };
        for id in tokens {
            self.rows.revoke(&Owner::User(user.clone()), id, &revoked).await?;
        }
        Ok(())
    }
}
