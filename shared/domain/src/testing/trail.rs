//! The audit trail of the memory store: a chain of its own for what comes without a place, and small pages, so that every
//! test turns some.

use chrono::{DateTime, Utc};

use crate::audit::Entry;
use crate::audit::chain::{Sealed, Tip};
use crate::audit::verify::Found;
use crate::error::PortError;
use crate::ids::{ChainId, JobId};
use crate::ports::{Page, PortResult};

const PAGE: usize = 3;

#[derive(Default, Clone)]
pub(super) struct Trail(Vec<(Entry, Sealed)>);

fn page_of<T>(items: impl Iterator<Item = T>, from: Option<&str>) -> Page<T> {
    pages(items, from, PAGE)
}

fn pages<T>(items: impl Iterator<Item = T>, from: Option<&str>, size: usize) -> Page<T> {
    let start: usize = from.and_then(|from| from.parse().ok()).unwrap_or_default();
    let mut items: Vec<T> = items.skip(start).take(size + 1).collect();
    let next = (items.len() > size).then(|| (start + size).to_string());
    items.truncate(size);
    Page { items, next }
}

impl Trail {
    fn own() -> ChainId {
        let name = "00000000-0000-4000-8000-000000000000";
        ChainId::parse(name).unwrap_or_else(|_| unreachable!("a UUID is a valid id"))
    }

    /// Adds an entry: at its place if it has one, which must be free, else at the end of the store's own chain.
    pub(super) fn add(&mut self, entry: &Entry, place: Option<Sealed>) -> PortResult<()> {
        let sealed = if let Some(sealed) = place {
            sealed
        } else {
            let last = self.0.iter().rfind(|(_, last)| last.chain == Self::own());
            last.map_or_else(|| Tip::start(Self::own()), |(_, last)| Tip::after(last)).seal(entry)?
        };
        if self.0.iter().any(|(_, other)| (&other.chain, other.seq) == (&sealed.chain, sealed.seq)) {
            let cause = format!("entry {} of chain {} exists", sealed.seq, sealed.chain);
            return Err(PortError::Corrupt { service: "memory", cause });
        }
        self.0.push((entry.clone(), sealed));
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        self.0.iter().map(|(entry, _)| entry.clone()).collect()
    }

    pub(super) fn chains(&self, from: Option<&str>) -> Page<Result<ChainId, String>> {
        // As a table does, it names the chain once for every entry.
        page_of(self.0.iter().map(|(_, sealed)| Ok(sealed.chain.clone())), from)
    }

    pub(super) fn chain(&self, chain: &ChainId, from: Option<&str>) -> Page<Found> {
        let of_chain = self.0.iter().filter(|(_, sealed)| &sealed.chain == chain);
        page_of(of_chain.map(|(_, sealed)| Found::Entry(sealed.clone())), from)
    }

    pub(super) fn last(&self, chain: &ChainId) -> Option<Found> {
        let last = self.0.iter().rfind(|(_, sealed)| &sealed.chain == chain);
        last.map(|(_, sealed)| Found::Entry(sealed.clone()))
    }

    pub(super) fn of_job(&self, job: &JobId, from: Option<&str>, limit: usize) -> Page<Found> {
        let of_job = self.0.iter().rev().filter(|(entry, _)| entry.job_id.as_ref() == Some(job));
        pages(of_job.map(|(_, sealed)| Found::Entry(sealed.clone())), from, limit)
    }

    pub(super) fn between(&self, since: DateTime<Utc>, until: DateTime<Utc>, from: Option<&str>) -> Page<Found> {
        let within = self.0.iter().filter(|(entry, _)| (since..=until).contains(&entry.at));
        page_of(within.map(|(_, sealed)| Found::Entry(sealed.clone())), from)
    }
}
