//! Users' own logout and clients' revocations (`[SESS-1]`, `[OAUTH-2]`): one sign-in, one token, or everything of a user.
//!
//! The order is what makes them safe against a refresh at the same moment (see [`crate::sign_in`]): first the cutoff,
//! durably; then the rows are read and every token found is denied by its id.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::cutoff::{LEEWAY_SECONDS, Scope, is_over};
use crate::deny::Denier;
use crate::ids::{SessionId, TokenId, UserId};
use crate::ports::{PortResult, TokenStore};
use crate::session::is_live;
use crate::time::{Clock, Epoch};
use crate::token::{Holdings, Owner, Revoked, RevokedBy, SessionRow, TokenKind, TokenRow};

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
        if is_over(expires_at, now) {
            return Ok(false);
        }
        let before = self.tokens.token(owner, id).await?;
        self.denier.tokens([(id.clone(), expires_at)]).await?;
        self.tokens.revoke(owner, id, &Revoked { at: now, by: by.clone() }).await?;
        Ok(before.is_none_or(|row| row.revoked.is_none()))
    }

    /// Ends what a row stands for: a refresh token is its sign-in and takes all of it along, itself last of the tokens
    /// (`[OAUTH-2]`).
    pub async fn grant(&self, row: &TokenRow, by: &RevokedBy) -> PortResult<Ended> {
        if let (TokenKind::Refresh, Some(user), Some(session)) = (row.kind, row.owner.user(), &row.session) {
            return self.session(user, session, by, Some((&row.id, row.expires_at))).await;
        }
        let ended = self.token(&row.owner, &row.id, row.expires_at, by).await?;
        Ok(Ended { tokens: u64::from(ended), sessions: 0 })
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
        self.sign_in(user, session, None, by, last).await
    }

    /// Ends what goes by the issuer's name for a sign-in, as of the moment at which the issuer ended it: a later sign-in
    /// of the same name is left alone.
    pub async fn issuers_session(&self, user: &UserId, name: &SessionId, ended_at: Epoch) -> PortResult<Ended> {
        self.sign_in(user, name, Some(ended_at), &RevokedBy::Issuer, None).await
    }

    async fn sign_in(
        &self,
        user: &UserId,
        session: &SessionId,
        ended_at: Option<Epoch>,
        by: &RevokedBy,
        last: Option<(&TokenId, Epoch)>,
    ) -> PortResult<Ended> {
        let (now, owner) = (self.now(), Owner::User(user.clone()));
        let at = ended_at.unwrap_or(now);
        let is_meant = |signed_in_at: Epoch| ended_at.is_none_or(|end| signed_in_at <= end);
        // From here on the session's refresh token is refused, and so is what a refresh under way brings.
        let mut told = self.cut_off(user, std::slice::from_ref(session), at, by).await;
        let mut holdings = self.tokens.holdings(&owner).await?;
        let mut names = ours_under(&holdings, session);
        names.retain(|row| is_meant(row.started_at));
        let mut names: Vec<SessionId> = names.into_iter().map(|row| row.id.clone()).collect();
        names.extend(lone_issuer_name(&holdings, session, now).cloned());
        if !names.is_empty() {
            told = told.and(self.cut_off(user, &names, at, by).await);
            // What a refresh under one of these names brought before it could be told.
            holdings = self.tokens.holdings(&owner).await?;
        }
        names.push(session.clone());
        let is_last = |row: &TokenRow| last.is_some_and(|(id, _)| id == &row.id);
        let of_sign_in = |row: &&TokenRow| {
            row.session.as_ref().is_some_and(|name| names.contains(name))
                && is_meant(row.sign_in(holdings.session_start(row)))
                && !is_last(row)
        };
        let tokens: Vec<&TokenRow> = holdings.tokens.iter().filter(of_sign_in).collect();
        // What was revoked before is refused by now: by its id, or, if it was replaced, with its sign-in.
        let good = |row: &&&TokenRow| row.revoked.is_none() && !is_over(row.expires_at, now);
        let good = tokens.iter().filter(good);
        told.and(self.denier.tokens(good.map(|row| (row.id.clone(), row.expires_at))).await)?;
        let mut ended = Ended { tokens: self.revoke_rows(&owner, tokens, now, by).await?, sessions: 0 };
        if let Some((id, expires_at)) = last {
            ended.tokens += u64::from(self.token(&owner, id, expires_at, by).await?);
        }
        // Whoever finds the session gone can be sure of its tokens.
        let rows = holdings.sessions.iter().filter(|row| names.contains(&row.id) && is_meant(row.started_at));
        ended.sessions = self.end_rows(rows.collect(), now, by).await?;
        Ok(ended)
    }

    /// Cuts off sign-ins by name. Our own names are never used again: what is dated after now, by a clock ahead of ours, is
    /// cut off under them, too.
    async fn cut_off(&self, user: &UserId, names: &[SessionId], at: Epoch, by: &RevokedBy) -> PortResult<()> {
        let mut told = Ok(());
        for name in names {
            let is_ours = self.tokens.session(user, name).await?.is_some_and(|row| row.sealed.is_some());
            let at = if is_ours { at.plus(LEEWAY_SECONDS) } else { at };
            let cutoff = self.denier.sign_ins([Scope::Session(name.clone())], at, by).await;
            told = told.and(cutoff);
        }
        told
    }

    /// Ends everything of a user by one cutoff, however much that is, and then the rows. `presented` is the token of
    /// whoever asks, and when it expires: like what is known to be of a sign-in after now, by a clock that is ahead of
    /// ours, it is also denied by its id; the presented one last, as it may be needed to ask again.
    pub async fn everything(
        &self,
        user: &UserId,
        by: &RevokedBy,
        presented: Option<(&TokenId, Epoch)>,
    ) -> PortResult<Ended> {
        let (now, owner) = (self.now(), Owner::User(user.clone()));
        let mut told = self.denier.sign_ins([Scope::User(user.clone())], now, by).await;
        let is_presented = |row: &TokenRow| presented.is_some_and(|(id, _)| id == &row.id);
        let mut denied = BTreeSet::new();
        let holdings = loop {
            let holdings = self.tokens.holdings(&owner).await?;
            let is_ahead = |row: &&TokenRow| {
                let is_good = row.revoked.is_none() && !is_over(row.expires_at, now);
                is_good && row.sign_in(holdings.session_start(row)) > now && !denied.contains(&row.id)
            };
            let ahead = holdings
                .tokens
                .iter()
                .filter(|row| is_ahead(row) && !is_presented(row))
                .map(|row| (row.id.clone(), row.expires_at));
            let ahead: Vec<_> = ahead.collect();
            if ahead.is_empty() {
                break holdings;
            }
            denied.extend(ahead.iter().map(|(id, _)| id.clone()));
            // A refresh of one of these may have brought more before it could be told.
            told = told.and(self.denier.tokens(ahead).await);
        };
        told?;
        let others = holdings.tokens.iter().filter(|row| !is_presented(row));
        let mut tokens = self.revoke_rows(&owner, others.collect(), now, by).await?;
        if let Some((id, expires_at)) = presented {
            tokens += u64::from(self.token(&owner, id, expires_at, by).await?);
        }
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

    /// Ends sessions, and counts those that were still live: a sign-in that has a row under the issuer's name, too, once.
    async fn end_rows(&self, rows: Vec<&SessionRow>, now: Epoch, by: &RevokedBy) -> PortResult<u64> {
        let also: BTreeSet<SessionId> = rows.iter().filter_map(|row| row.issuer_sid.clone()).collect();
        let mut ended = 0;
        for row in rows.into_iter().filter(|row| row.ended_by.is_none()) {
            let revoked = Revoked { at: now, by: by.clone() };
            if self.tokens.end_session(&row.user, &row.id, &revoked).await? {
                ended += u64::from(is_live(row, now) && !also.contains(&row.id));
            }
        }
        Ok(ended)
    }
}

/// Our sessions of sign-ins to which the issuer gives a name.
fn ours_under<'a>(holdings: &'a Holdings, name: &SessionId) -> Vec<&'a SessionRow> {
    holdings.sessions.iter().filter(|row| row.ended_by.is_none() && row.issuer_sid.as_ref() == Some(name)).collect()
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

#[cfg(test)]
mod tests;
