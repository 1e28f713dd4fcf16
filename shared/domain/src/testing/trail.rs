//! The audit trail of the memory store: one chain, and small pages, so that every test turns some.

use chrono::{DateTime, Utc};

use crate::audit::Entry;
use crate::audit::chain::{Sealed, Tip};
use crate::audit::verify::Found;
use crate::ids::{ChainId, JobId};
use crate::ports::{Page, PortResult};

const PAGE: usize = 3;

#[derive(Default)]
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
    fn start() -> Tip {
        let name = "00000000-0000-4000-8000-000000000000";
        Tip::start(ChainId::parse(name).unwrap_or_else(|_| unreachable!("a UUID is a valid id")))
    }

    pub(super) fn add(&mut self, entry: &Entry) -> PortResult<()> {
        let tip = self.0.last().map_or_else(Self::start, |(_, last)| Tip::after(last));
        self.0.push((entry.clone(), tip.seal(entry)?));
        Ok(())
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
