//! What every job store must do when jobs are accepted, cancelled and listed. Part of the contract suites.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};

use super::contract::job;
use crate::audit::{Action, AuditLog, Entry, Level, Origin};
use crate::cutoff::{Basis, Cutoff, Kinds, Scope, Spares};
use crate::decision::TokenFacts;
use crate::directory::Actor;
use crate::emergency::{KEY_TRIES, KeyStore, StoredKey};
use crate::ids::{GroupId, JobId, UserId};
use crate::job::{Cancelled, Facts, Fate, Job, Status};
use crate::ports::{Created, DenylistStore, Frozen, Idempotency, JobStore, KeyUse, NewJob, Step};
use crate::rate::{EMERGENCY_KEYS, Limit, Slots};
use crate::time::Epoch;
use crate::token::{Owner, TokenKind};

fn user(name: String) -> UserId {
    UserId::parse(name).unwrap()
}

fn new_job(name: String, actor: &UserId, now: DateTime<Utc>) -> Job {
    let initiated_by = Actor { id: actor.clone(), email: None, name: None };
    Job { initiated_by, ..job(&name, &GroupId::parse("g").unwrap(), now) }
}

fn entry(job: &Job) -> Entry {
    Entry {
        id: format!("{}-audit", job.id),
        at: job.created_at,
        action: Action::BatchLogoutInitiated,
        level: Level::Info,
        actor: job.initiated_by.clone(),
        job_id: Some(job.id.clone()),
        success: true,
        metadata: serde_json::json!({ "reason": "사유" }),
        origin: Origin::default(),
    }
}

/// A new job comes with all that belongs to it, or not at all.
pub async fn accepting<S: JobStore + DenylistStore + AuditLog>(store: &S, run: &str, now: DateTime<Utc>) {
    let now = DateTime::from_timestamp_millis(now.timestamp_millis()).unwrap();
    let actor = user(format!("{run}-actor"));
    let limit = Limit { name: "test", count: 2, window: TimeDelta::hours(1) };
    let cutoff = |job: &Job| Cutoff {
        scope: Scope::User(user(format!("{run}-u"))),
        basis: Basis::SignIn,
        kinds: Kinds::Both,
        spares: Spares::default(),
        at: Epoch::from(now),
        job: job.id.clone(),
        retires_at: Epoch::from(now).plus(1_000),
    };
    let facts = TokenFacts {
        id: crate::ids::TokenId::parse(format!("{run}-t")).unwrap(),
        kind: TokenKind::Access,
        user: Some(user(format!("{run}-u"))),
        client: None,
        session: None,
        issued_at: Epoch::from(now),
        signed_in_at: Epoch::from(now),
        expires_at: Epoch::from(now).plus(100),
    };
    let refused_by = async |id: &JobId| {
        let answer = DenylistStore::ask(store, &facts).await.unwrap();
        answer.cutoffs.iter().any(|cutoff| &cutoff.job == id)
    };

    let empty = store.slots(&actor, limit.name).await.unwrap();
    assert_eq!(empty, Slots::default());
    let first = new_job(format!("{run}-1"), &actor, now);
    let slot = empty.clone().take(&actor, limit, now, &first.id);
    let asked = Idempotency {
        actor: actor.clone(),
        key: "key".to_owned(),
        request: "body".to_owned(),
        expires_at: Epoch::from(now).plus(100).0,
    };
    let (cutoffs, audit) = ([cutoff(&first)], entry(&first));
    let new = NewJob {
        job: &first,
        cutoffs: &cutoffs,
        slot: Some(&slot),
        idempotency: Some(&asked),
        key: None,
        audit: Some(&audit),
    };
    assert_eq!(store.create(new).await.unwrap(), Created::Written);
    assert!(refused_by(&first.id).await, "CUT-1: the cutoff came with the job");
    let slots = store.slots(&actor, limit.name).await.unwrap();
    assert_eq!(slots.standing(limit, now).remaining, 1);
    let found = store.repeated(&actor, "key", Epoch::from(now)).await.unwrap();
    assert_eq!(found, Some((first.id.clone(), "body".to_owned())));
    let later = Epoch::from(now).plus(100);
    assert_eq!(store.repeated(&actor, "key", later).await.unwrap(), None, "API-5: not for ever");
    assert_eq!(store.repeated(&user(format!("{run}-other")), "key", Epoch::from(now)).await.unwrap(), None);

    let second = new_job(format!("{run}-2"), &actor, now);
    let cutoffs = [cutoff(&second)];
    let new = NewJob { slot: Some(&slot), cutoffs: &cutoffs, ..NewJob::plain(&second) };
    assert_eq!(store.create(new).await.unwrap(), Created::SlotsMoved, "two cannot take the same slot");
    let new = NewJob { idempotency: Some(&asked), cutoffs: &cutoffs, ..NewJob::plain(&second) };
    assert_eq!(store.create(new).await.unwrap(), Created::Repeated, "API-5");
    assert_eq!(store.get(&second.id).await.unwrap(), None);
    assert!(!refused_by(&second.id).await, "what is not accepted cuts nobody off");
    let again = slots.take(&actor, limit, now, &second.id);
    let new = NewJob { slot: Some(&again), cutoffs: &cutoffs, ..NewJob::plain(&second) };
    assert_eq!(store.create(new).await.unwrap(), Created::Written);
    let late = new_job(format!("{run}-3"), &actor, now + TimeDelta::seconds(100));
    let new = NewJob { idempotency: Some(&asked), ..NewJob::plain(&late) };
    assert_eq!(store.create(new).await.unwrap(), Created::Written, "API-5: after its time a key may be used again");
}

/// Cancelling: once, with its entry; the job stays open until all is counted.
pub async fn cancelling<S: JobStore>(store: &S, run: &str, now: DateTime<Utc>) {
    let now = DateTime::from_timestamp_millis(now.timestamp_millis()).unwrap();
    let actor = user(format!("{run}-actor"));
    let stopped = new_job(format!("{run}-1"), &actor, now);
    store.create(NewJob::plain(&stopped)).await.unwrap();
    let by = stopped.initiated_by.clone();
    let cancelled = Cancelled { at: now, by, reason: "잘못된 그룹이었습니다".to_owned() };
    let audit = Entry { id: format!("{run}-cancel"), ..entry(&stopped) };
    let lost = store.cancel(&stopped.id, Status::Processing, &cancelled, &audit).await.unwrap();
    assert_eq!(lost, Step::Lost, "API-7: it is not in that state");
    assert_eq!(store.cancel(&stopped.id, Status::Pending, &cancelled, &audit).await.unwrap(), Step::Taken);
    let again = Entry { id: format!("{run}-again"), ..audit };
    assert_eq!(store.cancel(&stopped.id, Status::Pending, &cancelled, &again).await.unwrap(), Step::Lost);
    let job = store.get(&stopped.id).await.unwrap().unwrap();
    assert_eq!((job.status, job.cancelled), (Status::Cancelled, Some(cancelled)));
    assert_eq!(store.start(&stopped.id, now).await.unwrap(), Step::Lost, "API-7: a cancelled job does not begin");
    assert!(store.open_jobs().await.unwrap().contains(&stopped.id), "what is left has to be counted");
    store.retire(&stopped.id).await.unwrap();
    assert!(!store.open_jobs().await.unwrap().contains(&stopped.id));

    assert_eq!(store.checkpoint(&stopped.id, 3).await.unwrap(), None);
    store.save_checkpoint(&stopped.id, 3, "here").await.unwrap();
    store.save_checkpoint(&stopped.id, 3, "there").await.unwrap();
    assert_eq!(store.checkpoint(&stopped.id, 3).await.unwrap().as_deref(), Some("there"));
    assert_eq!(store.checkpoint(&stopped.id, 4).await.unwrap(), None);

    let many: BTreeSet<UserId> = (0..1_234).map(|n| user(format!("{run}-사용자-{n}"))).collect();
    for _ in 0..2 {
        store.freeze_people(&stopped.id, Frozen::Spared, &many).await.unwrap();
    }
    assert_eq!(store.frozen_people(&stopped.id, Frozen::Spared).await.unwrap(), many);
    assert!(store.frozen_people(&stopped.id, Frozen::Admins).await.unwrap().is_empty());
}

/// Emergency keys: one per actor, five tries, one use.
pub async fn keys<S: JobStore + KeyStore>(store: &S, run: &str, now: DateTime<Utc>) {
    let now = DateTime::from_timestamp_millis(now.timestamp_millis()).unwrap();
    let actor = user(format!("{run}-actor"));
    let at = Epoch::from(now);
    assert_eq!(store.try_key(&actor, at).await.unwrap(), None, "EKEY-1: no key, no try");
    let key = |id: &str| StoredKey { id: id.to_owned(), mac: [7; 32], expires_at: at.plus(300) };
    let put = async |key: &StoredKey| {
        let slots = store.slots(&actor, EMERGENCY_KEYS.name).await.unwrap();
        let slot = slots.take(&actor, EMERGENCY_KEYS, now, &JobId::parse(key.id.clone()).unwrap());
        assert_eq!(store.put_key(&actor, key, &slot).await.unwrap(), Step::Taken);
        let moved = store.put_key(&actor, key, &slot).await.unwrap();
        assert_eq!(moved, Step::Lost, "EKEY-1: two requests cannot take the same slot");
    };
    put(&key("k1")).await;
    assert_eq!(store.try_key(&actor, at.plus(300)).await.unwrap(), None, "EKEY-1: not after five minutes");
    for _ in 0..KEY_TRIES {
        assert_eq!(store.try_key(&actor, at).await.unwrap(), Some(key("k1")));
    }
    assert_eq!(store.try_key(&actor, at).await.unwrap(), None, "EKEY-1: dead after five tries");

    put(&key("k2")).await;
    assert_eq!(store.try_key(&actor, at).await.unwrap(), Some(key("k2")), "EKEY-1: a new key replaces the old");
    let consume = async |name: &str, id: &str| {
        let job = new_job(format!("{run}-{name}"), &actor, now);
        let used = KeyUse { actor: actor.clone(), id: id.to_owned() };
        store.create(NewJob { key: Some(&used), ..NewJob::plain(&job) }).await.unwrap()
    };
    assert_eq!(consume("old", "k1").await, Created::KeyUsed, "EKEY-1: the old one is no good");
    assert_eq!(consume("one", "k2").await, Created::Written);
    assert_eq!(consume("two", "k2").await, Created::KeyUsed, "EKEY-1: consumed by its first use");
    assert_eq!(store.try_key(&actor, at).await.unwrap(), None);
}

/// Lists: newest first, of everybody or one actor, page by page.
pub async fn lists<S: JobStore>(store: &S, run: &str, now: DateTime<Utc>) {
    let now = DateTime::from_timestamp_millis(now.timestamp_millis()).unwrap();
    let (actor, other) = (user(format!("{run}-actor")), user(format!("{run}-other")));
    for n in 0..7 {
        let whose = if n % 3 == 2 { &other } else { &actor };
        let job = new_job(format!("{run}-{n}"), whose, now + TimeDelta::seconds(n));
        store.create(NewJob::plain(&job)).await.unwrap();
    }
    let names = |jobs: &[Job]| jobs.iter().map(|job| job.id.to_string()).collect::<Vec<_>>();
    let of_numbers = |numbers: &[i64]| numbers.iter().map(|n| format!("{run}-{n}")).collect::<Vec<_>>();
    let first = store.jobs_by_time(Some(&actor), None, 3).await.unwrap();
    assert_eq!(names(&first), of_numbers(&[6, 4, 3]), "API-9: newest first");
    let last = (first[2].created_at.timestamp_millis(), first[2].id.clone());
    let second = store.jobs_by_time(Some(&actor), Some(&last), 3).await.unwrap();
    assert_eq!(names(&second), of_numbers(&[1, 0]));
    let all = store.jobs_by_time(None, None, 100).await.unwrap();
    let ours: Vec<String> = names(&all).into_iter().filter(|name| name.starts_with(run)).collect();
    assert_eq!(ours, of_numbers(&[6, 5, 4, 3, 2, 1, 0]));

    let job = JobId::parse(format!("{run}-0")).unwrap();
    let facts = Facts { access_tokens: 1, refresh_tokens: 2, sessions: 3 };
    let users: Vec<UserId> = (0..5).map(|n| user(format!("{run}-{n}"))).collect();
    // In two parts, neither of which is the first or the last by name.
    for part in [[0, 2, 4].as_slice(), [1, 3].as_slice()] {
        let owners: Vec<_> = part.iter().map(|n| (Owner::User(users[*n].clone()), facts)).collect();
        store.record_affected(&job, 9, Fate::Lost, &owners, now).await.unwrap();
    }
    let service = Owner::Service(crate::ids::ClientId::parse(format!("{run}-c")).unwrap());
    store.record_affected(&job, 9, Fate::Lost, &[(service, facts)], now).await.unwrap();
    let left = [(Owner::User(user(format!("{run}-x"))), facts)];
    store.record_affected(&job, 9, Fate::Left, &left, now).await.unwrap();
    let page = store.affected_users(&job, 9, None, 3).await.unwrap();
    assert_eq!(page.iter().map(|line| &line.user).collect::<Vec<_>>(), users[..3].iter().collect::<Vec<_>>());
    assert_eq!((page[0].facts, page[0].processed_at), (facts, now));
    let rest = store.affected_users(&job, 9, Some(&users[2]), 3).await.unwrap();
    assert_eq!(rest.len(), 2, "users only, and only those who lost something");
    assert_eq!(store.affected(&job, 9, Fate::Lost).await.unwrap().len(), 6);
}
