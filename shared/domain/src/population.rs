//! The users a job names, as its conditions select them: the dry run's count and the plan both read this stream.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::conditions::Conditions;
use crate::directory::User;
use crate::ids::UserId;
use crate::members::{Members, groups_of};
use crate::ports::{Directory, PortResult};
use crate::selector::People;

/// Directory look-ups of 100 users at the same time.
const LOOKUPS_AT_ONCE: usize = 8;

enum Candidates {
    /// Members of groups; where users are named, too, only those.
    Members { members: Box<Members>, only: BTreeSet<UserId> },
    /// Users named one by one, those still to come.
    Listed(BTreeSet<UserId>),
}

/// The users a job names.
pub struct Population {
    candidates: Candidates,
    directory: Arc<dyn Directory>,
    excluded: BTreeSet<UserId>,
    spares_admins: bool,
}

/// Some users of a population, in byte order.
#[derive(Debug, Default)]
pub struct Batch {
    /// Those the job covers.
    pub users: Vec<UserId>,
    /// The last user looked at, covered or not: the place to resume after.
    pub last_seen: Option<UserId>,
    /// Whether these were the last ones.
    pub ended: bool,
}

impl Population {
    /// Opens the population of a job after a user, or at its beginning.
    pub async fn open(
        directory: Arc<dyn Directory>,
        conditions: &Conditions,
        people: &People,
        after: Option<UserId>,
    ) -> PortResult<Self> {
        let candidates = if people.groups.is_empty() {
            let later = |user: &&UserId| after.as_ref().is_none_or(|after| *user > after);
            Candidates::Listed(people.users.iter().filter(later).cloned().collect())
        } else {
            let groups = groups_of(directory.as_ref(), people).await?;
            let members = Members::open(Arc::clone(&directory), groups, after).await?;
            Candidates::Members { members: Box::new(members), only: people.users.clone() }
        };
        Ok(Self {
            candidates,
            directory,
            excluded: conditions.excluded_users(),
            spares_admins: conditions.spares_admins(),
        })
    }

    /// The next users, having looked at no more than `count` of those named.
    pub async fn next(&mut self, count: usize) -> PortResult<Batch> {
        let mut seen: Vec<UserId> = match &mut self.candidates {
            Candidates::Members { members, .. } => members.next(count).await?,
            Candidates::Listed(users) => {
                let rest = users.iter().nth(count).cloned().map(|first| users.split_off(&first));
                std::mem::replace(users, rest.unwrap_or_default()).into_iter().collect()
            }
        };
        let ended = seen.len() < count;
        let last_seen = seen.last().cloned();
        if let Candidates::Members { only, .. } = &self.candidates {
            seen.retain(|user| only.is_empty() || only.contains(user));
        }
        seen.retain(|user| !self.excluded.contains(user));
        if self.spares_admins {
            let admins = self.admins_among(&seen).await?;
            seen.retain(|user| !admins.contains(user));
        }
        Ok(Batch { users: seen, last_seen, ended })
    }

    async fn admins_among(&self, users: &[UserId]) -> PortResult<HashSet<UserId>> {
        let found: Vec<Vec<User>> = stream::iter(users.chunks(100).map(<[UserId]>::to_vec))
            .map(|ids| {
                let directory = Arc::clone(&self.directory);
                async move { directory.users(&ids).await }
            })
            .buffered(LOOKUPS_AT_ONCE)
            .try_collect()
            .await?;
        Ok(found.into_iter().flatten().filter(User::is_admin).map(|user| user.id).collect())
    }
}
