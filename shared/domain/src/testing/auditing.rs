//! What every store of the audit trail, and every store of its heads, must do. Part of the contract suites.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::contract::job;
use crate::audit::chain::Sealed;
use crate::audit::check::AuditReader;
use crate::audit::head::{HeadStore, Kept};
use crate::audit::verify::{Found, verify};
use crate::audit::{Action, AuditLog, Entry, JobTrail, Level, Origin, TrailLine};
use crate::ids::{ChainId, GroupId, JobId};
use crate::job::Status;
use crate::ports::{Created, JobStore, NewJob, Page, PortResult, Step};

fn entry(run: &str, n: i64, now: DateTime<Utc>) -> Entry {
    let job = job(&format!("{run}-job"), &GroupId::parse("g").unwrap(), now + TimeDelta::milliseconds(n));
    Entry {
        id: format!("{run}-{n}"),
        at: job.created_at,
        action: Action::UserLogout,
        level: Level::Info,
        actor: job.initiated_by,
        job_id: (n % 2 == 0).then_some(job.id),
        success: true,
        metadata: serde_json::json!({ "이유": "🔒 \u{0}\u{7f} \"quoted\"", "n": n, "x": 0.1 }),
        origin: Origin { user_agent: Some("é\t".to_owned()), ..Origin::default() },
    }
}

async fn all<T>(mut page: impl AsyncFnMut(Option<String>) -> PortResult<Page<T>>) -> Vec<T> {
    let (mut found, mut from) = (Vec::new(), None);
    loop {
        let page = page(from).await.unwrap();
        found.extend(page.items);
        match page.next {
            Some(next) => from = Some(next),
            None => return found,
        }
    }
}

/// The entries of a run, by chain, as the store lists them.
async fn chains_of<S: AuditReader>(store: &S, run: &str) -> BTreeMap<ChainId, Vec<Sealed>> {
    let listed = all(async |from: Option<String>| store.chains(from.as_deref()).await).await;
    let mut chains = BTreeMap::new();
    for chain in listed.into_iter().map(Result::unwrap) {
        if chains.contains_key(&chain) {
            continue;
        }
        let found = all(async |from: Option<String>| store.chain(&chain, from.as_deref()).await).await;
        // Somebody else may be tampering with another chain of the same store.
        let sealed = found.into_iter().filter_map(|found| match found {
            Found::Entry(sealed) => Some(sealed),
            Found::Unreadable(..) => None,
        });
        let sealed: Vec<Sealed> = sealed.collect();
        if sealed.iter().any(|sealed| sealed.text.contains(run)) {
            chains.insert(chain, sealed);
        }
    }
    chains
}

/// `[AUDIT-2]`: entries are chained, whether they come alone or with what happens to a job, and read back as written.
pub async fn auditing<S: AuditLog + AuditReader + JobTrail + JobStore>(store: &S, run: &str, now: DateTime<Utc>) {
    let now = DateTime::from_timestamp_millis(now.timestamp_millis()).unwrap();
    let mut written = Vec::new();
    for n in 0..7 {
        written.push(entry(run, n, now));
        store.append(written.last().unwrap()).await.unwrap();
    }
    let ended = job(&format!("{run}-job"), &GroupId::parse("g").unwrap(), now);
    let initiated = entry(run, 7, now);
    let new = NewJob { audit: Some(&initiated), ..NewJob::plain(&ended) };
    assert_eq!(store.create(new).await.unwrap(), Created::Written);
    assert!(store.create(new).await.is_err(), "there is such a job already");
    let lost = entry(run, 8, now);
    let finish = async |from, entry: &Entry| store.finish(&ended.id, from, Status::Failed, now, entry).await.unwrap();
    assert_eq!(finish(Status::Processing, &lost).await, Step::Lost);
    let failed = entry(run, 9, now);
    assert_eq!(finish(Status::Pending, &failed).await, Step::Taken);
    written.extend([initiated, failed, entry(run, 10, now)]);
    store.append(written.last().unwrap()).await.unwrap();

    let chains = chains_of(store, run).await;
    let mut stored: Vec<Entry> = chains.values().flatten().map(|sealed| sealed.entry().unwrap()).collect();
    stored.retain(|entry| entry.id.starts_with(run));
    stored.sort_by_key(|entry| entry.at);
    assert_eq!(stored, written, "AUDIT-2: all that happened, as it was written, and nothing that did not");
    let trail = chains.values().flatten().cloned().map(Found::Entry);
    assert_eq!(verify(trail, &crate::audit::head::Published::default()).defects, []);
    for (chain, sealed) in &chains {
        let end = store.last(chain).await.unwrap();
        assert_eq!(end, sealed.last().cloned().map(Found::Entry), "the end of {chain}");
        assert!(sealed.iter().zip(0..).all(|(sealed, seq)| sealed.seq == seq && &sealed.chain == chain));
    }
    let nobody = ChainId::parse(format!("{run}-nobody")).unwrap();
    assert_eq!(store.last(&nobody).await.unwrap(), None);

    let about = job(&format!("{run}-about"), &GroupId::parse("g").unwrap(), now);
    for n in 11..15 {
        let entry = Entry { job_id: Some(about.id.clone()), ..entry(run, n, now) };
        store.append(&entry).await.unwrap();
    }
    let found = all(async |from: Option<String>| store.of_job(&about.id, from.as_deref(), 3).await).await;
    let lines = found.into_iter().map(TrailLine::from);
    let ids: Vec<String> = lines.map(|line| line.id().unwrap().to_owned()).collect();
    assert_eq!(ids, [14, 13, 12, 11].map(|n| format!("{run}-{n}")), "AUDIT-1: a job's entries, newest first");
    let nothing = JobId::parse(format!("{run}-nothing")).unwrap();
    assert_eq!(store.of_job(&nothing, None, 3).await.unwrap().items, []);

    let (since, until) = (now + TimeDelta::milliseconds(2), now + TimeDelta::milliseconds(5));
    let found = all(async |from: Option<String>| store.between(since, until, from.as_deref()).await).await;
    let mut times: Vec<String> = found
        .into_iter()
        .filter_map(|found| match found {
            Found::Entry(sealed) => Some(sealed.entry().unwrap().id),
            Found::Unreadable(..) => None,
        })
        .filter(|id| id.starts_with(run))
        .collect();
    times.sort();
    assert_eq!(
        times,
        [2, 3, 4, 5].map(|n| format!("{run}-{n}")),
        "entries are found by their time, both ends included"
    );
}

/// `[AUDIT-2]`: what was published stays, each number once, and is read the newest first. The store must be empty.
pub async fn heads<S: HeadStore>(store: &S) {
    let read = async || all(async |from: Option<String>| store.newest_first(from.as_deref()).await).await;
    assert_eq!(read().await, []);
    for number in 1..=5 {
        assert_eq!(store.publish(number, &format!("머리 {number}")).await.unwrap(), Step::Taken);
        assert_eq!(store.publish(number, "another").await.unwrap(), Step::Lost, "a number is used once");
    }
    let kept = |number| Kept { number, text: Some(format!("머리 {number}")), overwritten: false };
    assert_eq!(read().await, [5, 4, 3, 2, 1].map(kept));
}
