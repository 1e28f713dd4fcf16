//! Sessions of sign-ins through our own token endpoint (`[SESS-2]`).
//!
//! A session's id is 256 bits nobody can guess, new for every sign-in whatever the browser sent. What is known of it is
//! sealed for this user and this id, so that nothing can be read from the table or moved to another session. When it
//! started and where from also stand beside it in the clear: jobs select by them.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::audit::Origin;
use crate::identity::Profile;
use crate::ids::{ClientId, SessionId, UserId};
use crate::ports::{PortResult, SignInStore, TokenStore};
use crate::settings::SessionLimits;
use crate::source::IdSource;
use crate::time::{Clock, Epoch, from_millis};
use crate::token::SessionRow;
use crate::vault::Vault;

/// What is sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionData {
    /// Whose it is.
    pub user_id: UserId,
    /// What the issuer said of the user at the sign-in.
    pub user_data: Profile,
    /// Where the user came from.
    pub ip_address: Option<String>,
    /// The user's program.
    pub user_agent: Option<String>,
    /// When the session was made.
    pub created_at: DateTime<Utc>,
    /// When it was last used.
    pub last_accessed: DateTime<Utc>,
    /// How often it was used.
    pub access_count: u64,
}

/// A session that is being opened.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// Who signed in.
    pub user: UserId,
    /// What the issuer says of the user.
    pub profile: Profile,
    /// With which client.
    pub client: ClientId,
    /// The issuer's own name for the sign-in.
    pub issuer_sid: Option<SessionId>,
    /// When the user proved to be there.
    pub at: Epoch,
}

/// A session as its user sees it in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: SessionId,
    /// Where the user came from.
    pub ip_address: Option<String>,
    /// The user's program, where it is known and can be read.
    pub user_agent: Option<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last used, where that is known and can be read.
    pub last_accessed: Option<DateTime<Utc>>,
    /// How often it was used.
    pub access_count: u64,
}

/// What became of an attempt to use a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Used {
    /// It is live; its end is put off.
    Live(Box<SessionData>),
    /// There is no such session of this user, or not any more.
    Gone,
    /// What is sealed in it cannot be opened: made up, cut off, moved from another session, or sealed by a key that is
    /// gone.
    Unreadable,
}

/// Sessions.
#[derive(Clone)]
pub struct Sessions {
    /// Where they are written.
    pub store: Arc<dyn SignInStore>,
    /// Where they are read.
    pub tokens: Arc<dyn TokenStore>,
    /// Seals.
    pub vault: Arc<dyn Vault>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Arc<dyn IdSource>,
    /// How long they live.
    pub limits: SessionLimits,
}

/// What binds a seal to its place. Ids hold no control characters, so that no two pairs run together.
fn purpose(user: &UserId, id: &SessionId) -> String {
    format!("session 1\n{user}\n{id}")
}

impl Sessions {
    fn new_id(&self) -> SessionId {
        let bytes = [self.ids.random_16(), self.ids.random_16()].concat();
        SessionId::parse(URL_SAFE_NO_PAD.encode(bytes)).unwrap_or_else(|_| unreachable!("base64 is a valid id"))
    }

    /// When a session is over that is used now.
    fn expires_at(&self, started_at: Epoch, now: Epoch) -> Epoch {
        now.plus(self.limits.idle).min(started_at.plus(self.limits.absolute))
    }

    fn kept_until(&self, row: &SessionRow) -> Epoch {
        row.started_at.plus(self.limits.kept)
    }

    async fn seal(&self, row: &SessionRow, data: &SessionData) -> PortResult<String> {
        let plain = serde_json::to_vec(data).unwrap_or_else(|_| unreachable!("texts, times and numbers are JSON"));
        self.vault.seal(&purpose(&row.user, &row.id), &plain).await
    }

    /// What is sealed in a session; none if there is nothing or it cannot be opened.
    async fn unseal(&self, row: &SessionRow) -> PortResult<Option<SessionData>> {
        let Some(sealed) = &row.sealed else { return Ok(None) };
        let opened = self.vault.open(&purpose(&row.user, &row.id), sealed).await?;
        let data = opened.and_then(|opened| serde_json::from_slice(&opened.plain).ok());
        if data.is_none() {
            tracing::error!(session_prefix = prefix(&row.id), user = %row.user, "a session's data cannot be opened");
        }
        Ok(data)
    }

    /// Opens a session.
    pub async fn open(&self, signed_in: SignedIn, from: &Origin) -> PortResult<SessionRow> {
        let now = self.clock.now();
        let mut row = SessionRow {
            id: self.new_id(),
            user: signed_in.user,
            client: Some(signed_in.client),
            started_at: signed_in.at,
            expires_at: self.expires_at(signed_in.at.max(now.into()), now.into()),
            issuer_sid: signed_in.issuer_sid,
            ip_address: from.source_ip.clone(),
            sealed: None,
            ended_by: None,
        };
        let data = SessionData {
            user_id: row.user.clone(),
            user_data: signed_in.profile,
            ip_address: from.source_ip.clone(),
            user_agent: from.user_agent.clone(),
            created_at: now,
            last_accessed: now,
            access_count: 1,
        };
        row.sealed = Some(self.seal(&row, &data).await?);
        self.store.add_session(&row, self.kept_until(&row)).await?;
        Ok(row)
    }

    /// Uses a session: puts off its end and seals what is known with the key that seals now, so that keys rotate
    /// without logging anybody out. One that has idled out is back in use, as its tokens are, up to its absolute limit.
    pub async fn use_one(&self, user: &UserId, id: &SessionId) -> PortResult<Used> {
        let now = self.clock.now();
        let Some(mut row) = self.tokens.session(user, id).await?.filter(|row| row.ended_by.is_none()) else {
            return Ok(Used::Gone);
        };
        if row.sealed.is_none() {
            // The issuer's own session: its end is the issuer's to say.
            return Ok(Used::Gone);
        }
        let Some(mut data) = self.unseal(&row).await? else { return Ok(Used::Unreadable) };
        row.expires_at = self.expires_at(row.started_at.max(data.created_at.into()), now.into());
        if row.expires_at <= now.into() {
            return Ok(Used::Gone);
        }
        data.last_accessed = now;
        data.access_count += 1;
        row.sealed = Some(self.seal(&row, &data).await?);
        // It may have been ended in the meantime: then it stays so.
        Ok(if self.store.touch_session(&row, self.kept_until(&row)).await? {
            Used::Live(Box::new(data))
        } else {
            Used::Gone
        })
    }

    /// A user's live sessions, the newest first. Looking at them extends no session's life.
    pub async fn list(&self, user: &UserId) -> PortResult<Vec<Listed>> {
        let now = Epoch::from(self.clock.now());
        let mut rows = self.store.sessions(user).await?;
        rows.retain(|row| is_live(row, now));
        // An issuer may report a sign-in that came through us under its own name, too.
        let ours: Vec<SessionId> = rows.iter().filter_map(|row| row.issuer_sid.clone()).collect();
        rows.retain(|row| row.sealed.is_some() || !ours.contains(&row.id));
        let mut listed = Vec::with_capacity(rows.len());
        for row in rows {
            let data = self.unseal(&row).await?;
            let created_at =
                data.as_ref().map_or(from_millis(row.started_at.0.saturating_mul(1_000)), |data| data.created_at);
            listed.push(Listed {
                ip_address: row.ip_address,
                user_agent: data.as_ref().and_then(|data| data.user_agent.clone()),
                created_at,
                last_accessed: data.as_ref().map(|data| data.last_accessed),
                access_count: data.map_or(0, |data| data.access_count),
                id: row.id,
            });
        }
        listed.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| a.id.cmp(&b.id)));
        Ok(listed)
    }
}

/// Whether a session is neither ended nor over.
pub fn is_live(row: &SessionRow, now: Epoch) -> bool {
    row.ended_by.is_none() && row.expires_at > now
}

/// Enough of an id to find it in the logs, too little to use it.
fn prefix(id: &SessionId) -> &str {
    let text = id.as_str();
    let end = text.char_indices().nth(8).map_or(text.len(), |(at, _)| at);
    &text[..end]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn sess_2_a_log_shows_eight_letters_of_a_sessions_id_and_no_half_ones() {
        for (id, shown) in [("0123456789", "01234567"), ("짧은", "짧은"), ("세션번호가긴것입니다", "세션번호가긴것입")]
        {
            assert_eq!(prefix(&SessionId::parse(id).unwrap()), shown);
        }
    }
}
