//! Heads: the last hash of each chain, published where nobody can take it back.
//!
//! A publication names the heads that are new since the one before, and the hash of the one before, so that
//! publications are a chain, too. Chains that got entries are found by the entries' own times.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};

use super::chain::{Hash, Sealed};
use super::check::AuditReader;
use super::verify::{Defect, Fault, Found, Place};
use crate::error::PortError;
use crate::ids::ChainId;
use crate::ports::{Page, PortResult, Step};
use crate::time::Clock;

/// How much later than its own time says an entry may be written and found.
pub const LATENESS: TimeDelta = TimeDelta::minutes(30);
/// An entry's time may be ahead of the publisher's clock.
const AHEAD: TimeDelta = TimeDelta::days(1);
/// Chains whose end is looked up at the same time.
const LOOK_UPS_AT_ONCE: usize = 8;

/// The last entry of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The chain.
    pub chain: ChainId,
    /// The entry's place.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
}

impl From<&Sealed> for Head {
    fn from(sealed: &Sealed) -> Self {
        Self { chain: sealed.chain.clone(), seq: sealed.seq, hash: sealed.hash }
    }
}

/// What is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// How to read it: 1.
    pub v: u32,
    /// Its number, from 1.
    pub number: u64,
    /// When it was looked for new entries.
    pub at: DateTime<Utc>,
    /// The hash of the publication before.
    pub prev: Hash,
    /// Heads that are new.
    pub heads: Vec<Head>,
}

/// A publication as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its number.
    pub number: u64,
    /// What was published first under this number, if that is still there.
    pub text: Option<String>,
    /// Whether something else was published under the number later, or it was deleted.
    pub overwritten: bool,
}

/// Where heads are published, out of the reach of whoever can write the trail.
#[async_trait]
pub trait HeadStore: Send + Sync {
    /// Publishes under a number. Lost if something was published under it already.
    async fn publish(&self, number: u64, text: &str) -> PortResult<Step>;
    /// A page of what was published, the newest first.
    async fn newest_first(&self, from: Option<&str>) -> PortResult<Page<Kept>>;
}

/// Everything that was published.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Published {
    chains: BTreeMap<ChainId, Vec<(u64, Hash, u64)>>,
    newest: Option<DateTime<Utc>>,
    count: u64,
    /// Number of the publication looked at last, and what it says of the one before.
    later: Option<(u64, Option<Hash>)>,
    defects: Vec<Defect>,
}

impl Published {
    /// Reads everything that was published.
    pub async fn read(store: &dyn HeadStore) -> PortResult<Self> {
        let (mut published, mut from) = (Self::default(), None);
        loop {
            let page = store.newest_first(from.as_deref()).await?;
            for kept in page.items {
                published.see(&kept);
            }
            match page.next {
                Some(next) => from = Some(next),
                None => return Ok(published.finish()),
            }
        }
    }

    /// What publications say, given the newest first.
    pub fn of(newest_first: impl IntoIterator<Item = Kept>) -> Self {
        let mut published = Self::default();
        for kept in newest_first {
            published.see(&kept);
        }
        published.finish()
    }

    fn defect(&mut self, number: u64, fault: Fault) {
        self.defects.push(Defect { place: Place::Publication(number), fault });
    }

    fn see(&mut self, kept: &Kept) {
        let number = kept.number;
        self.count += 1;
        if kept.overwritten {
            self.defect(number, Fault::Overwritten);
        }
        if let Some((later, prev)) = self.later {
            if number + 1 < later {
                self.defect(number + 1, Fault::Missing { until: later - 1 });
            } else if let (Some(text), Some(prev)) = (&kept.text, prev)
                && Hash::of(text) != prev
            {
                self.defect(number, Fault::Altered);
            }
        }
        self.later = Some((number, None));
        let publication = match read(kept) {
            Ok(publication) if publication.number == number => publication,
            Ok(_) => return self.defect(number, Fault::Altered),
            Err(problem) => return self.defect(number, Fault::Unreadable(problem)),
        };
        self.later = Some((number, Some(publication.prev)));
        self.newest = self.newest.max(Some(publication.at));
        for head in publication.heads {
            self.chains.entry(head.chain).or_default().push((head.seq, head.hash, number));
        }
    }

    fn finish(mut self) -> Self {
        match self.later {
            Some((1, Some(prev))) if prev != Hash::NOTHING => self.defect(1, Fault::Altered),
            Some((first, _)) if first > 1 => self.defect(1, Fault::Missing { until: first - 1 }),
            _ => {}
        }
        self.chains.values_mut().for_each(|heads| heads.sort_unstable_by_key(|(seq, _, number)| (*seq, *number)));
        self
    }

    /// How many publications there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// When the newest one looked for entries.
    pub fn newest(&self) -> Option<DateTime<Utc>> {
        self.newest
    }

    /// Entries of before this were published.
    pub fn covered_until(&self) -> Option<DateTime<Utc>> {
        self.newest.map(|at| at - LATENESS)
    }

    /// What was published of a chain: place, hash and publication, in the order of places.
    pub fn of_chain(&self, chain: &ChainId) -> &[(u64, Hash, u64)] {
        self.chains.get(chain).map_or(&[], Vec::as_slice)
    }

    /// The chains of which something was published, in order.
    pub fn chains(&self) -> impl Iterator<Item = &ChainId> {
        self.chains.keys()
    }

    /// The next of these chains, after one.
    pub fn chains_after(&self, after: Option<&ChainId>, limit: usize) -> Vec<&ChainId> {
        let start = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        self.chains.range::<ChainId, _>((start, std::ops::Bound::Unbounded)).take(limit).map(|(id, _)| id).collect()
    }

    /// What is wrong with the publications themselves.
    pub fn defects(&self) -> &[Defect] {
        &self.defects
    }
}

fn read(kept: &Kept) -> Result<Publication, String> {
    let text = kept.text.as_deref().ok_or("its first version is gone")?;
    let publication: Publication = serde_json::from_str(text).map_err(|cause| cause.to_string())?;
    if publication.v == 1 { Ok(publication) } else { Err(format!("version {} is not known", publication.v)) }
}

/// Publishes heads.
#[derive(Clone)]
pub struct Publisher {
    /// The trail.
    pub trail: Arc<dyn AuditReader>,
    /// Where to publish.
    pub heads: Arc<dyn HeadStore>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// What was published last, and all that was published of late.
#[derive(Default)]
struct Lately {
    number: u64,
    hash: Option<Hash>,
    at: Option<DateTime<Utc>>,
    heads: BTreeMap<ChainId, u64>,
}

impl Publisher {
    /// Publishes the heads that are new, if any are: the publication's number and how many heads it names.
    pub async fn publish(&self) -> PortResult<Option<(u64, usize)>> {
        let now = self.clock.now();
        let lately = self.lately().await?;
        let chains = match lately.at {
            Some(at) => self.chains_since(at - LATENESS, now + AHEAD).await?,
            None => self.all_chains().await?,
        };
        let ends = stream::iter(chains).map(|chain| async move { self.trail.last(&chain).await });
        let ends: Vec<Option<Found>> = ends.buffered(LOOK_UPS_AT_ONCE).try_collect().await?;
        let mut heads = Vec::new();
        for found in ends.into_iter().flatten() {
            match found {
                Found::Entry(sealed) if lately.heads.get(&sealed.chain).is_none_or(|last| *last < sealed.seq) => {
                    heads.push(Head::from(&sealed));
                }
                Found::Entry(_) => {}
                Found::Unreadable(place, problem) => {
                    tracing::error!(%place, problem, "an audit entry cannot be read; its chain is not published");
                }
            }
        }
        if heads.is_empty() {
            return Ok(None);
        }
        let full = || PortError::Corrupt { service: "the audit trail", cause: "no number is left".to_owned() };
        let (number, count) = (lately.number.checked_add(1).ok_or_else(full)?, heads.len());
        let publication = Publication { v: 1, number, at: now, prev: lately.hash.unwrap_or(Hash::NOTHING), heads };
        let text = serde_json::to_string(&publication)
            .map_err(|cause| PortError::Corrupt { service: "the audit trail", cause: cause.to_string() })?;
        // Another publisher may have been quicker; what it did not see comes with the next run.
        Ok((self.heads.publish(number, &text).await? == Step::Taken).then_some((number, count)))
    }

    /// Reads what was published since the last entries that may turn up now were written.
    async fn lately(&self) -> PortResult<Lately> {
        let (mut lately, mut from) = (Lately::default(), None);
        loop {
            let page = self.heads.newest_first(from.as_deref()).await?;
            for kept in page.items {
                if lately.number == 0 {
                    lately.number = kept.number;
                    lately.hash = kept.text.as_deref().map(Hash::of);
                }
                // What cannot be read is found by the check; publishing goes on.
                let Ok(publication) = read(&kept) else { continue };
                let newest = *lately.at.get_or_insert(publication.at);
                for head in publication.heads {
                    let last = lately.heads.entry(head.chain).or_default();
                    *last = head.seq.max(*last);
                }
                if publication.at < newest - LATENESS {
                    return Ok(lately);
                }
            }
            match page.next {
                Some(next) => from = Some(next),
                None => return Ok(lately),
            }
        }
    }

    async fn chains_since(&self, since: DateTime<Utc>, until: DateTime<Utc>) -> PortResult<Vec<ChainId>> {
        let (mut chains, mut from) = (std::collections::BTreeSet::new(), None);
        loop {
            let page = self.trail.between(since, until, from.as_deref()).await?;
            for found in page.items {
                if let Found::Entry(Sealed { chain, .. }) | Found::Unreadable(Place::Entry(chain, _), _) = found {
                    chains.insert(chain);
                }
            }
            match page.next {
                Some(next) => from = Some(next),
                None => return Ok(chains.into_iter().collect()),
            }
        }
    }

    async fn all_chains(&self) -> PortResult<Vec<ChainId>> {
        let (mut chains, mut from) = (std::collections::BTreeSet::new(), None);
        loop {
            let page = self.trail.chains(from.as_deref()).await?;
            chains.extend(page.items.into_iter().filter_map(Result::ok));
            match page.next {
                Some(next) => from = Some(next),
                None => return Ok(chains.into_iter().collect()),
            }
        }
    }
}
