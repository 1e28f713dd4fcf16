//! Who is in a group, with its subgroups: each user once, in byte order, without holding them all.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::directory::Group;
use crate::ids::{GroupId, UserId};
use crate::ports::{Directory, PortResult};
use crate::selector::People;

/// Ids held in memory over all groups of one job; a group's page shrinks as their number grows.
const IDS_IN_MEMORY: usize = 4_000;
const PAGE: std::ops::RangeInclusive<usize> = 25..=1_000;
const GROUPS_READ_AT_ONCE: usize = 16;

/// A group that is its own ancestor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("group {0} is its own ancestor")]
pub struct Cycle(pub GroupId);

/// A group and all its descendants, each once. Ends on a cycle, and says so.
pub fn closure(groups: &[Group], root: &GroupId) -> (Vec<GroupId>, Option<Cycle>) {
    let mut children: HashMap<&GroupId, Vec<&GroupId>> = HashMap::new();
    for group in groups {
        if let Some(parent) = &group.parent {
            children.entry(parent).or_default().push(&group.id);
        }
    }
    let mut found = vec![root.clone()];
    let mut seen = HashSet::from([root]);
    let mut cycle = None;
    let mut next = 0;
    while next < found.len() {
        let parent = found[next].clone();
        for child in children.get(&parent).into_iter().flatten() {
            if seen.insert(child) {
                found.push((*child).clone());
            } else {
                // Every group has one parent, so a child met twice is an ancestor.
                cycle = Some(Cycle((*child).clone()));
            }
        }
        next += 1;
    }
    (found, cycle)
}

/// A group and its ancestors, nearest first. Ends on a cycle.
pub fn lineage(groups: &[Group], id: &GroupId) -> Vec<GroupId> {
    let parents: HashMap<&GroupId, &GroupId> =
        groups.iter().filter_map(|group| Some((&group.id, group.parent.as_ref()?))).collect();
    let mut line = vec![id.clone()];
    while let Some(parent) = line.last().and_then(|last| parents.get(last)) {
        if line.contains(parent) {
            break;
        }
        line.push((*parent).clone());
    }
    line
}

/// The groups whose members are meant.
pub async fn groups_of(directory: &dyn Directory, people: &People) -> PortResult<Vec<GroupId>> {
    if !people.include_subgroups {
        return Ok(people.groups.iter().cloned().collect());
    }
    let groups = directory.groups().await?;
    let all: BTreeSet<GroupId> = people.groups.iter().flat_map(|group| closure(&groups, group).0).collect();
    Ok(all.into_iter().collect())
}

struct Source {
    group: GroupId,
    buffer: VecDeque<UserId>,
    after: Option<UserId>,
    ended: bool,
}

impl Source {
    async fn fill(mut self, directory: &dyn Directory, page: usize) -> PortResult<Self> {
        if self.buffer.is_empty() && !self.ended {
            let members = directory.members(&self.group, self.after.as_ref(), page).await?;
            self.ended = members.is_empty();
            self.after = members.last().cloned().or(self.after);
            self.buffer = members.into();
        }
        Ok(self)
    }
}

/// The members of several groups, merged: a user of two groups comes once (`[SCOPE-1]`). The order makes the
/// stream resumable after any user, and its memory is bounded by pages, not by members.
pub struct Members {
    directory: Arc<dyn Directory>,
    sources: Vec<Option<Source>>,
    heads: BinaryHeap<Reverse<(UserId, usize)>>,
    page: usize,
    last: Option<UserId>,
}

impl Members {
    /// Opens the stream after a user, or at the beginning.
    pub async fn open(directory: Arc<dyn Directory>, groups: Vec<GroupId>, after: Option<UserId>) -> PortResult<Self> {
        let page = (IDS_IN_MEMORY / groups.len().max(1)).clamp(*PAGE.start(), *PAGE.end());
        let filled: Vec<Source> = stream::iter(groups.into_iter().map(|group| {
            let source = Source { group, buffer: VecDeque::new(), after: after.clone(), ended: false };
            source.fill(directory.as_ref(), page)
        }))
        .buffered(GROUPS_READ_AT_ONCE)
        .try_collect()
        .await?;
        let mut members = Self {
            directory,
            sources: filled.into_iter().map(Some).collect(),
            heads: BinaryHeap::new(),
            page,
            last: after,
        };
        for index in 0..members.sources.len() {
            members.raise_head(index);
        }
        Ok(members)
    }

    fn raise_head(&mut self, index: usize) {
        if let Some(user) = self.sources[index].as_mut().and_then(|source| source.buffer.pop_front()) {
            self.heads.push(Reverse((user, index)));
        }
    }

    /// Up to `count` further users. Fewer mean that the stream has ended.
    pub async fn next(&mut self, count: usize) -> PortResult<Vec<UserId>> {
        let mut users = Vec::with_capacity(count);
        while users.len() < count {
            let Some(Reverse((user, index))) = self.heads.pop() else { break };
            if let Some(source) = self.sources[index].take() {
                self.sources[index] = Some(source.fill(self.directory.as_ref(), self.page).await?);
            }
            self.raise_head(index);
            if self.last.as_ref() != Some(&user) {
                self.last = Some(user.clone());
                users.push(user);
            }
        }
        Ok(users)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn id(name: &str) -> GroupId {
        GroupId::parse(name).unwrap()
    }
    fn group(name: &str, parent: Option<&str>) -> Group {
        Group { id: id(name), name: None, parent: parent.map(id) }
    }

    #[test]
    fn scope_1_a_group_cycle_does_not_hang_and_is_named() {
        let groups = [group("a", Some("c")), group("b", Some("a")), group("c", Some("b")), group("d", None)];
        let (found, cycle) = closure(&groups, &id("a"));
        assert_eq!(found, ["a", "b", "c"].map(id));
        assert_eq!(cycle, Some(Cycle(id("a"))));
        assert_eq!(closure(&groups, &id("d")), (vec![id("d")], None));
        assert_eq!(lineage(&groups, &id("b")), ["b", "a", "c"].map(id));
        let (found, cycle) = closure(&[group("x", Some("x"))], &id("x"));
        assert_eq!((found, cycle), (vec![id("x")], Some(Cycle(id("x")))));
    }
}
