//! All accounts, and how each of them stands.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::account::Account;
use super::failure::Failure;
use super::keep::Standing;
use super::ports::Enrolled;
use super::start::Desk;
use crate::error::PortError;
use crate::ids::UserId;
use crate::ports::PortResult;
use crate::time::Epoch;

const STANDINGS_AT_ONCE: usize = 16;
const CURSOR: &str = "list of accounts";

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum NoAccounts {
    /// The cursor is none of this list.
    #[error("is no cursor of this list; begin without one")]
    Cursor,
    /// A store did not answer.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// A line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The settings.
    pub account: Account,
    /// Whether there is no access token that is good now.
    pub token_expired: bool,
    /// Until when the access token is good, if there ever was one.
    pub token_expires_at: Option<Epoch>,
    /// When tokens were last obtained.
    pub last_sync: Option<DateTime<Utc>>,
    /// Whether a sign-in is under way.
    pub is_pending: bool,
    /// Why somebody has to sign in again, if that is so.
    pub trouble: Option<Failure>,
}

impl Desk {
    /// A page of accounts in the byte order of their users' ids, and the cursor of the next.
    pub async fn list(&self, cursor: Option<&str>, limit: usize) -> Result<(Vec<Line>, Option<String>), NoAccounts> {
        let after = match cursor {
            None => None,
            Some(cursor) => {
                let opened = self.vault.open(CURSOR, cursor).await?.ok_or(NoAccounts::Cursor)?;
                let user = String::from_utf8(opened.plain).map_err(|_| NoAccounts::Cursor)?;
                Some(UserId::parse(user).map_err(|_| NoAccounts::Cursor)?)
            }
        };
        let mut page = self.store.accounts(after.as_ref(), limit + 1).await?;
        let is_last = page.len() <= limit;
        page.truncate(limit);
        let now = self.clock.now();
        let slots = self.store.slots().await?;
        let pending: BTreeSet<&UserId> =
            slots.iter().filter(|slot| slot.expires_at > now).map(|slot| &slot.user).collect();
        let next = match page.last().filter(|_| !is_last) {
            Some(last) => Some(self.vault.seal(CURSOR, last.account.user.as_str().as_bytes()).await?),
            None => None,
        };
        let page = page.into_iter().map(|enrolled| (pending.contains(&enrolled.account.user), enrolled));
        let lines = stream::iter(page).map(|(is_pending, enrolled)| self.line(enrolled, is_pending));
        let lines = lines.buffered(STANDINGS_AT_ONCE).try_collect().await?;
        Ok((lines, next))
    }

    async fn line(&self, enrolled: Enrolled, is_pending: bool) -> PortResult<Line> {
        let account = enrolled.account;
        let Some(kept) = enrolled.kept else {
            let (token_expires_at, last_sync, trouble) = (None, None, None);
            return Ok(Line { account, token_expired: true, token_expires_at, last_sync, is_pending, trouble });
        };
        let standing = match kept.sealed {
            Some(_) => self.keeper.standing(&account.user, &kept).await?,
            None => Standing::Ended,
        };
        let trouble = kept.trouble.or(match standing {
            Standing::Good | Standing::AccessEnded => None,
            Standing::Ended => Some(Failure::LoggedOut),
            Standing::TooOld => Some(Failure::TooOld),
        });
        let is_over = kept.access.expires_at <= Epoch::from(self.clock.now());
        Ok(Line {
            account,
            token_expired: is_over || standing != Standing::Good,
            token_expires_at: Some(kept.access.expires_at),
            last_sync: Some(kept.synced_at),
            is_pending,
            trouble,
        })
    }
}
