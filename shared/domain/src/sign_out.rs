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

    /// Ends a sign-in: its session and all of its tokens. With the cache away every denial fails after it was made
    /// durable: all of them are made nevertheless, so that what asks the durable denylist refuses the whole sign-in.
    pub async fn session(&self, user: &UserId, session: &SessionId, by: &RevokedBy) -> PortResult<Ended> {
        let now = self.now();
        // From here on the session's refresh token is refused, and so is what a refresh under way brings.
        let mut told = self.denier.sign_ins([Scope::Session(session.clone())], now, by).await;
        let holdings = self.tokens.holdings(&Owner::User(user.clone())).await?;
        if let Some(name) = lone_issuer_name(&holdings, session, now) {
            told = told.and(self.denier.sign_ins([Scope::Session(name.clone())], now, by).await);
        }
        let tokens: Vec<&TokenRow> =
            holdings.tokens.iter().filter(|row| row.session.as_ref() == Some(session)).collect();
        let good = tokens.iter().filter(|row| row.expires_at.plus(LEEWAY_SECONDS) > now);
        told.and(self.denier.tokens(good.map(|row| (row.id.clone(), row.expires_at))).await)?;
        let sessions = holdings.sessions.iter().filter(|row| &row.id == session).collect();
        self.settle(user, tokens, sessions, now, by).await
    }

    /// Ends everything of a user by one cutoff, however much that is, and then the rows.
    pub async fn everything(&self, user: &UserId, by: &RevokedBy) -> PortResult<Ended> {
        let now = self.now();
        self.denier.sign_ins([Scope::User(user.clone())], now, by).await?;
        let holdings = self.tokens.holdings(&Owner::User(user.clone())).await?;
        let tokens = holdings.tokens.iter().collect();
        self.settle(user, tokens, holdings.sessions.iter().collect(), now, by).await
    }

    /// Brings the rows in line, and counts what was still live.
    async fn settle(
        &self,
        user: &UserId,
        tokens: Vec<&TokenRow>,
        sessions: Vec<&SessionRow>,
        now: Epoch,
        by: &RevokedBy,
    ) -> PortResult<Ended> {
        let revoked = Revoked { at: now, by: by.clone() };
        let owner = Owner::User(user.clone());
        let live = tokens.into_iter().filter(|row| row.revoked.is_none() && row.expires_at > now);
        let ids: Vec<TokenId> = live.map(|row| row.id.clone()).collect();
        let ended_tokens = stream::iter(ids)
            .map(|id| {
                let (store, owner, revoked) = (Arc::clone(&self.tokens), owner.clone(), revoked.clone());
                async move {
                    let ended_by = store.revoke(&owner, &id, &revoked).await?;
                    Ok::<_, crate::error::PortError>(u64::from(ended_by.as_ref() == Some(&revoked.by)))
                }
            })
            .buffer_unordered(ROWS_AT_ONCE)
            .try_fold(0, |sum, one| std::future::ready(Ok(sum + one)))
            .await?;
        let mut ended_sessions = 0;
        for session in sessions {
            if session.ended_by.is_none() && self.tokens.end_session(user, &session.id, &revoked).await? {
                ended_sessions += u64::from(is_live(session, now));
            }
        }
        Ok(Ended { tokens: ended_tokens, sessions: ended_sessions })
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
