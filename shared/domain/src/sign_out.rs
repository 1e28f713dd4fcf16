//! Users' own logout and clients' revocations (`[SESS-1]`, `[OAUTH-2]`): one sign-in, one token, or everything of a user.
//!
//! The order is what makes them safe against a refresh at the same moment (see [`crate::sign_in`]): first the cutoff,
//! durably; then the rows are read and every token found is denied by its id.

use std::sync::Arc;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::audit::{Action, Auditor, Origin};
use crate::cutoff::{LEEWAY_SECONDS, Scope};
use crate::deny::Denier;
use crate::directory::Actor;
use crate::ids::{SessionId, TokenId, UserId};
use crate::ports::{PortResult, TokenStore};
use crate::session::is_live;
use crate::time::{Clock, Epoch};
use crate::token::{Holdings, Owner, Revoked, RevokedBy, SessionRow, TokenRow};

/// Rows that are updated at the same time.
const ROWS_AT_ONCE: usize = 32;

/// What was ended: facts, row by row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ended {
    /// Tokens.
    pub tokens: u64,
    /// Sessions.
    pub sessions: u64,
}

impl std::ops::AddAssign for Ended {
    fn add_assign(&mut self, other: Self) {
        self.tokens += other.tokens;
        self.sessions += other.sessions;
    }
}

/// Ends sign-ins and tokens. Every method may be called again after a failure; a success means that every verifier
/// refuses what was to be ended.
#[derive(Clone)]
pub struct SignOuts {
    /// Rows.
    pub tokens: Arc<dyn TokenStore>,
    /// The denylist.
    pub denier: Denier,
    /// The audit trail.
    pub auditor: Auditor,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl SignOuts {
    fn now(&self) -> Epoch {
        self.clock.now().into()
    }

    /// Ends one token, whether its row is there or not. True if it was not ended before.
    pub async fn token(&self, owner: &Owner, id: &TokenId, expires_at: Epoch, by: &RevokedBy) -> PortResult<bool> {
        let now = self.now();
        if expires_at.plus(LEEWAY_SECONDS) <= now {
            return Ok(false);
        }
        let before = self.tokens.token(owner, id).await?;
        self.denier.tokens([(id.clone(), expires_at)]).await?;
        self.tokens.revoke(owner, id, &Revoked { at: now, by: by.clone() }).await?;
        Ok(before.is_none_or(|row| row.revoked.is_none()))
    }

    /// Ends a sign-in: its tokens and then its session. `last` is the token that whoever asks still needs to ask again
    /// should this fail half-way, and when it expires; it ends after all others. With the cache away every denial fails
    /// after it was made durable: those of all others are made nevertheless, so that whoever asks the durable denylist
    /// refuses them.
    pub async fn session(
        &self,
        user: &UserId,
        session: &SessionId,
        by: &RevokedBy,
        last: Option<(&TokenId, Epoch)>,
    ) -> PortResult<Ended> {
        let (now, owner) = (self.now(), Owner::User(user.clone()));
        // From here on the session's refresh token is refused, and so is what a refresh under way brings.
        let mut told = self.denier.sign_ins([Scope::Session(session.clone())], now, by).await;
        let holdings = self.tokens.holdings(&owner).await?;
        if let Some(name) = lone_issuer_name(&holdings, session, now) {
            told = told.and(self.denier.sign_ins([Scope::Session(name.clone())], now, by).await);
        }
        let is_last = |row: &TokenRow| last.is_some_and(|(id, _)| id == &row.id);
        let of_session = |row: &&TokenRow| row.session.as_ref() == Some(session) && !is_last(row);
        let tokens: Vec<&TokenRow> = holdings.tokens.iter().filter(of_session).collect();
        let good = tokens.iter().filter(|row| row.expires_at.plus(LEEWAY_SECONDS) > now);
        told.and(self.denier.tokens(good.map(|row| (row.id.clone(), row.expires_at))).await)?;
        let mut ended = Ended { tokens: self.revoke_rows(&owner, tokens, now, by).await?, sessions: 0 };
        if let Some((id, expires_at)) = last {
            ended.tokens += u64::from(self.token(&owner, id, expires_at, by).await?);
        }
        // Whoever finds the session gone can be sure of its tokens.
        let row = holdings.sessions.iter().filter(|row| &row.id == session);
        ended.sessions = self.end_rows(row.collect(), now, by).await?;
        Ok(ended)
    }

    /// Ends everything of a user by one cutoff, however much that is, and then the rows.
    pub async fn everything(&self, user: &UserId, by: &RevokedBy) -> PortResult<Ended> {
        let (now, owner) = (self.now(), Owner::User(user.clone()));
        self.denier.sign_ins([Scope::User(user.clone())], now, by).await?;
        let holdings = self.tokens.holdings(&owner).await?;
        let tokens = self.revoke_rows(&owner, holdings.tokens.iter().collect(), now, by).await?;
        let sessions = self.end_rows(holdings.sessions.iter().collect(), now, by).await?;
        Ok(Ended { tokens, sessions })
    }

    /// Brings token rows in line, and counts those that were still live.
    async fn revoke_rows(&self, owner: &Owner, rows: Vec<&TokenRow>, now: Epoch, by: &RevokedBy) -> PortResult<u64> {
        let live = rows.into_iter().filter(|row| row.revoked.is_none() && row.expires_at > now);
        let ids: Vec<TokenId> = live.map(|row| row.id.clone()).collect();
        stream::iter(ids)
            .map(|id| {
                let revoked = Revoked { at: now, by: by.clone() };
                let (store, owner) = (Arc::clone(&self.tokens), owner.clone());
                async move {
                    let ended_by = store.revoke(&owner, &id, &revoked).await?;
                    Ok(u64::from(ended_by.as_ref() == Some(&revoked.by)))
                }
            })
            .buffer_unordered(ROWS_AT_ONCE)
            .try_fold(0, |sum, one| std::future::ready(Ok(sum + one)))
            .await
    }

    /// Ends sessions, and counts those that were still live.
    async fn end_rows(&self, rows: Vec<&SessionRow>, now: Epoch, by: &RevokedBy) -> PortResult<u64> {
        let mut ended = 0;
        for row in rows.into_iter().filter(|row| row.ended_by.is_none()) {
            let revoked = Revoked { at: now, by: by.clone() };
            if self.tokens.end_session(&row.user, &row.id, &revoked).await? {
                ended += u64::from(is_live(row, now));
            }
        }
        Ok(ended)
    }

    /// Writes down what was ended. That it is ended does not depend on it; a failure is logged as an error, which rings.
    pub async fn record(&self, action: Action, actor: Actor, metadata: serde_json::Value, origin: &Origin) {
        let entry = self.auditor.entry(action, actor, None, origin);
        let entry = crate::audit::Entry { metadata, ..entry };
        if let Err(error) = self.auditor.log.append(&entry).await {
            tracing::error!(%error, action = action.as_str(), actor = %entry.actor.id, "an entry could not be audited");
        }
    }
}

/// The issuer's own name for a sign-in, if no other live session goes by it: some issuers name what several clients
/// share, and ending one session must not end another's tokens.
fn lone_issuer_name<'a>(holdings: &'a Holdings, session: &SessionId, now: Epoch) -> Option<&'a SessionId> {
    let name = holdings.sessions.iter().find(|row| &row.id == session)?.issuer_sid.as_ref()?;
    let shared = holdings
        .sessions
        .iter()
        .any(|row| &row.id != session && row.ended_by.is_none() && row.issuer_sid.as_ref() == Some(name));
    let live_elsewhere = holdings
        .tokens
        .iter()
        .any(|row| row.session.as_ref() == Some(name) && row.revoked.is_none() && row.expires_at > now);
    (!shared && !live_elsewhere).then_some(name)
}
