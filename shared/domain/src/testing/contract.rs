//! What every implementation of a port must do. Run against the memory ports and against the real stores.
//!
//! Each suite makes its own ids from `run`, so that it can share a store with others.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use crate::accounts::ports::AccountStore;
use crate::audit::check::AuditReader;
use crate::audit::{AuditLog, Entry as AuditEntry, JobTrail};
use crate::conditions::Conditions;
use crate::cutoff::{Basis, Cutoff, CutoffSet, Kinds, Scope, Spares};
use crate::decision::{Answer, TokenFacts};
use crate::directory::Actor;
use crate::emergency::KeyStore;
use crate::ids::{ClientId, GroupId, JobId, SessionId, TokenId, UserId};
use crate::job::{Chunk, ChunkOutcome, ChunkRef, ChunkResult, Facts, Fate, Job, PlanCursor, Statistics, Status};
use crate::notify::NoticeStore;
use crate::ports::{
    Applied, CLIENT_SHARDS, CacheAnswer, Created, DenylistCache, DenylistStore, Directory, Entry, FrozenJob, JobStore,
    NewJob, RecordStore, SignInStore, Step, TokenStore,
};
use crate::records::{
    ClientRecord, Entity, GroupRecord, IdKey, Key, MembershipKey, Record, SessionKey, SessionRecord, TokenKey,
    TokenRecord, UserRecord,
};
use crate::time::Epoch;
use crate::token::{Owner, Revoked, RevokedBy, TokenKind};

pub use super::accepting::{accepting, cancelling, keys, lists};
pub use super::auditing::{auditing, heads};
pub use super::enrolling::enrolling;
pub use super::signing_in::signing_in;
pub use super::telling::{names, telling};
pub use super::vault::{contract as vault, rotation as vault_rotation};

fn id<T: TryFrom<String>>(text: impl Display) -> T
where
    T::Error: std::fmt::Debug,
{
    T::try_from(text.to_string()).unwrap()
}

/// A token record of a user, unrevoked.
pub fn token(name: &str, user: &UserId, issued_at: i64, expires_at: i64) -> TokenRecord {
    TokenRecord {
        id: id(name),
        user_id: Some(user.clone()),
        client_id: id("web"),
        token_type: TokenKind::Access,
        opaque: false,
        session_id: None,
        issued_at: Epoch(issued_at),
        auth_time: None,
        expires_at: Epoch(expires_at),
        last_used_at: None,
        scope: None,
        revoked_at: None,
    }
}

fn user(id: &UserId, name: &str) -> Entity {
    Entity::User(UserRecord { name: Some(name.to_owned()), ..UserRecord::new(id.clone()) })
}

/// A pending group job.
pub fn job(name: &str, group: &GroupId, created_at: DateTime<Utc>) -> Job {
    let conditions =
        Conditions::GroupBased { group_id: group.clone(), include_subgroups: true, exclude_admin_users: true };
    let admin = Actor { id: id("admin"), email: None, name: Some("관리자".to_owned()) };
    Job {
        notify_users: true,
        ..Job::new(id(name), conditions, admin, "이유 🔒 with \"quotes\"".to_owned(), created_at)
    }
}

/// Directory and records: order, repetition, removal.
pub async fn directory<S: Directory + RecordStore>(store: &S, run: &str) {
    let apply = |at, entity| Record::upsert(at, entity);
    let group: GroupId = id(format!("{run}-group"));
    let mut expected = Vec::new();
    for n in 0..57 {
        // Byte order is not the order they come in, nor that of any alphabet.
        let member: UserId = id(format!("{run}-{}", ["z", "a", "ㅎ", "é", "Z", "🙂"][n % 6].repeat(n / 6 + 1)));
        let key = MembershipKey { group_id: group.clone(), user_id: member.clone() };
        store.apply(&apply(5, Entity::Membership(key))).await.unwrap();
        expected.push(member);
    }
    let gone = MembershipKey { group_id: group.clone(), user_id: expected.swap_remove(20) };
    assert_eq!(store.apply(&Record::delete(6, Key::Membership(gone.clone()))).await.unwrap(), Applied::Written);
    assert_eq!(store.apply(&apply(5, Entity::Membership(gone.clone()))).await.unwrap(), Applied::Stale, "late");
    expected.sort();
    let mut found: Vec<UserId> = Vec::new();
    loop {
        let page = store.members(&group, found.last(), 10).await.unwrap();
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    assert_eq!(found, expected, "members come once each, in byte order, and removed ones not at all");

    let someone: UserId = id(format!("{run}-someone"));
    assert_eq!(store.user(&someone).await.unwrap(), None);
    store.apply(&apply(10, user(&someone, "first"))).await.unwrap();
    assert_eq!(store.apply(&apply(10, user(&someone, "again"))).await.unwrap(), Applied::Stale);
    assert_eq!(store.apply(&apply(9, user(&someone, "late"))).await.unwrap(), Applied::Stale);
    assert_eq!(store.user(&someone).await.unwrap().unwrap().name.as_deref(), Some("first"));
    store.apply(&apply(11, user(&someone, "김 👩‍💻"))).await.unwrap();
    let found = store.users(&[someone.clone(), id(format!("{run}-nobody"))]).await.unwrap();
    assert_eq!(found.iter().map(|user| user.name.as_deref()).collect::<Vec<_>>(), [Some("김 👩‍💻")]);
    store.apply(&Record::delete(12, Key::User(IdKey { id: someone.clone() }))).await.unwrap();
    assert_eq!(store.user(&someone).await.unwrap(), None);
    assert_eq!(store.users(&[someone]).await.unwrap(), []);

    let boss = UserRecord { roles: vec!["security_admin".to_owned()], ..UserRecord::new(id(format!("{run}-boss"))) };
    let is_listed = async || store.admins().await.unwrap().contains(&boss.id);
    store.apply(&apply(5, Entity::User(boss.clone()))).await.unwrap();
    assert!(is_listed().await, "SCOPE-5: a new admin is spared at once");
    store.apply(&apply(7, Entity::User(UserRecord::new(boss.id.clone())))).await.unwrap();
    assert!(!is_listed().await, "who is no admin any more is not");
    assert_eq!(store.apply(&apply(6, Entity::User(boss.clone()))).await.unwrap(), Applied::Stale);
    assert!(!is_listed().await, "a late record does not change that");
    store
        .apply(&apply(8, Entity::User(UserRecord { is_admin: true, ..UserRecord::new(boss.id.clone()) })))
        .await
        .unwrap();
    assert!(is_listed().await);
    store.apply(&Record::delete(9, Key::User(IdKey { id: boss.id.clone() }))).await.unwrap();
    assert!(!is_listed().await, "who is gone is no admin");

    let child = GroupRecord { id: group.clone(), name: None, parent_id: Some(id("parent")) };
    store.apply(&apply(1, Entity::Group(child))).await.unwrap();
    let groups = store.groups().await.unwrap();
    let found = groups.iter().find(|found| found.id == group).unwrap();
    assert_eq!(found.parent, Some(id("parent")));

    let client: ClientId = id(format!("{run}-client"));
    let hash = Some("0".repeat(64));
    let record = ClientRecord { id: client.clone(), name: None, secret_sha256: hash.clone(), may_introspect: true };
    store.apply(&apply(1, Entity::Client(record))).await.unwrap();
    assert_eq!(store.client(&client).await.unwrap().unwrap().secret_sha256, hash);
}

/// Tokens and sessions: one collection per owner, revoked once, never brought back.
pub async fn tokens<S: TokenStore + RecordStore>(store: &S, run: &str) {
    let user: UserId = id(format!("{run}-u"));
    let owner = Owner::User(user.clone());
    let opaque = TokenRecord { opaque: true, ..token(&format!("{run}-t1"), &user, 100, 900) };
    let other = token(&format!("{run}-t2"), &user, 100, 900);
    for record in [&opaque, &other] {
        store.apply(&Record::upsert(1, Entity::Token(record.clone()))).await.unwrap();
    }
    let session = SessionRecord {
        id: id(format!("{run}-s")),
        user_id: user.clone(),
        client_id: Some(id("web")),
        started_at: Epoch(90),
        expires_at: Epoch(900),
        ip_address: Some("2001:db8::1".to_owned()),
    };
    store.apply(&Record::upsert(1, Entity::Session(session.clone()))).await.unwrap();
    let holdings = store.holdings(&owner).await.unwrap();
    assert_eq!((holdings.tokens.len(), holdings.sessions.len()), (2, 1));
    assert_eq!(store.opaque(&opaque.id).await.unwrap().unwrap().owner, owner);
    assert_eq!(store.opaque(&other.id).await.unwrap(), None, "a JWT is not found by its id alone");

    let by = |job: &str, at| Revoked { at: Epoch(at), by: RevokedBy::Job(id(job)) };
    assert_eq!(store.revoke(&owner, &opaque.id, &by("j1", 200)).await.unwrap(), Some(by("j1", 0).by));
    assert_eq!(
        store.revoke(&owner, &opaque.id, &by("j2", 300)).await.unwrap(),
        Some(by("j1", 0).by),
        "CUT-6: the first stays"
    );
    assert_eq!(
        store.revoke(&owner, &opaque.id, &by("j1", 400)).await.unwrap(),
        Some(by("j1", 0).by),
        "CUT-6: twice is once"
    );
    assert_eq!(store.revoke(&owner, &id(format!("{run}-no")), &by("j1", 1)).await.unwrap(), None);
    store.apply(&Record::upsert(2, Entity::Token(opaque.clone()))).await.unwrap();
    let row = store.token(&owner, &opaque.id).await.unwrap().unwrap();
    assert_eq!(row.revoked, Some(by("j1", 200)), "a later record does not bring a revoked token back");

    assert!(store.end_session(&user, &session.id, &by("j1", 200)).await.unwrap());
    assert!(store.end_session(&user, &session.id, &by("j1", 250)).await.unwrap(), "CUT-6: twice is once");
    assert!(!store.end_session(&user, &session.id, &by("j2", 250)).await.unwrap());
    assert!(!store.end_session(&user, &id::<SessionId>(format!("{run}-no")), &by("j1", 1)).await.unwrap());
    let row = store.session(&user, &session.id).await.unwrap().unwrap();
    assert_eq!((row.ended_by, row.ip_address, row.client), (Some(by("j1", 0).by), None, None), "its data is gone");
    store.apply(&Record::upsert(1, Entity::Session(session.clone()))).await.unwrap();
    let row = store.session(&user, &session.id).await.unwrap().unwrap();
    assert!(row.ended_by.is_some(), "a repeated record does not bring an ended session back");

    // What its issuer ended before we ever saw it stays ended.
    let early: TokenId = id(format!("{run}-t3"));
    let key = TokenKey { id: early.clone(), user_id: Some(user.clone()), client_id: id("web"), expires_at: None };
    store.apply(&Record::delete(9_000, Key::Token(key))).await.unwrap();
    let late = token(early.as_str(), &user, 100, 900);
    assert_eq!(store.apply(&Record::upsert(8_000, Entity::Token(late.clone()))).await.unwrap(), Applied::Stale);
    assert_eq!(store.token(&owner, &early).await.unwrap(), None);
    store.apply(&Record::upsert(9_001, Entity::Token(late))).await.unwrap();
    let revoked = store.token(&owner, &early).await.unwrap().unwrap().revoked;
    assert_eq!(revoked, Some(Revoked { at: Epoch(9), by: RevokedBy::Issuer }));
    let key = SessionKey { id: id(format!("{run}-s2")), user_id: user.clone() };
    store.apply(&Record::delete(9_000, Key::Session(key))).await.unwrap();
    assert_eq!(store.holdings(&owner).await.unwrap().sessions.len(), 1, "a tombstone is no session");

    let service =
        TokenRecord { user_id: None, client_id: id(format!("{run}-c")), ..token(&format!("{run}-t4"), &user, 1, 9) };
    store.apply(&Record::upsert(1, Entity::Token(service.clone()))).await.unwrap();
    let of_client = store.holdings(&Owner::Service(service.client_id)).await.unwrap();
    assert_eq!(of_client.tokens.iter().map(|row| row.id.clone()).collect::<Vec<_>>(), [service.id]);
}

/// Parts of the table and shards of a client: together everything, each owner whole and in one of them.
pub async fn parts<S: TokenStore + RecordStore>(store: &S, run: &str) {
    let client: ClientId = id(format!("{run}-c"));
    let mut expected: BTreeMap<Owner, (usize, usize)> = BTreeMap::new();
    for n in 0..40 {
        let user: UserId = id(format!("{run}-{n}-{}", ["a", "가", "🙂"][n % 3]));
        for t in 0..=n % 5 {
            let record = token(&format!("{run}-{n}-{t}"), &user, 1, 9);
            let client_id = if t == 0 && n % 2 == 0 { client.clone() } else { id("elsewhere") };
            let record = TokenRecord { client_id, opaque: t % 2 == 1, ..record };
            store.apply(&Record::upsert(1, Entity::Token(record))).await.unwrap();
        }
        expected.insert(Owner::User(user), (n % 5 + 1, usize::from(n % 2 == 0)));
    }
    let service =
        TokenRecord { user_id: None, client_id: client.clone(), ..token(&format!("{run}-s"), &id("x"), 1, 9) };
    store.apply(&Record::upsert(1, Entity::Token(service))).await.unwrap();
    expected.insert(Owner::Service(client.clone()), (1, 1));
    let ours = |owner: &Owner| expected.contains_key(owner);

    let mut seen: BTreeMap<Owner, u32> = BTreeMap::new();
    for part in 0..3 {
        let mut from = None;
        loop {
            let page = store.segment(part, 3, from.as_deref()).await.unwrap();
            for (owner, holdings) in page.items.into_iter().filter(|(owner, _)| ours(owner)) {
                assert_eq!(holdings.tokens.len(), expected[&owner].0, "SCOPE-7: {owner:?} comes whole");
                assert_eq!(*seen.entry(owner).or_insert(part), part, "SCOPE-7: an owner is in one part alone");
            }
            from = match page.next {
                Some(next) => Some(next),
                None => break,
            };
        }
    }
    assert_eq!(seen.len(), expected.len(), "the parts are everything");

    let mut shards: BTreeMap<Owner, u32> = BTreeMap::new();
    for shard in 0..CLIENT_SHARDS {
        let mut from = None;
        loop {
            let page = store.owners_at(&client, shard, from.as_deref()).await.unwrap();
            for owner in page.items {
                assert_eq!(*shards.entry(owner).or_insert(shard), shard, "SCOPE-7: an owner is in one shard alone");
            }
            from = match page.next {
                Some(next) => Some(next),
                None => break,
            };
        }
    }
    let at_client: BTreeSet<Owner> =
        expected.iter().filter(|(_, (_, at))| *at == 1).map(|(owner, _)| owner.clone()).collect();
    assert_eq!(shards.keys().cloned().collect::<BTreeSet<_>>(), at_client, "SCOPE-2: that client's owners");
    assert!(shards.values().collect::<BTreeSet<_>>().len() > 4, "spread over partitions");
    assert!(store.rows().await.unwrap() > 0);
}

/// Jobs: each step is taken once, and counts are exact whoever counts.
pub async fn jobs<S: JobStore + DenylistStore>(store: &S, run: &str, now: DateTime<Utc>) {
    let now = DateTime::from_timestamp_millis(now.timestamp_millis()).unwrap();
    let first = job(&format!("{run}-j"), &id("g"), now);
    assert_eq!(store.create(NewJob::plain(&first)).await.unwrap(), Created::Written);
    assert!(store.create(NewJob::plain(&first)).await.is_err(), "a job id is used once");
    assert_eq!(store.get(&first.id).await.unwrap(), Some(first.clone()));
    assert!(store.open_jobs().await.unwrap().contains(&first.id));
    assert_eq!(store.start(&first.id, now).await.unwrap(), Step::Taken);
    assert_eq!(store.start(&first.id, now).await.unwrap(), Step::Lost);

    let users: Vec<UserId> = (0..4).map(|n| id(format!("{run}-{n}"))).collect();
    let chunks = [Chunk { number: 0, users: users[..2].to_vec() }, Chunk { number: 1, users: users[2..].to_vec() }];
    let start = PlanCursor::default();
    let one = PlanCursor { chunks: 1, users: 2, last_user: Some(users[1].clone()), ..start.clone() };
    let two = PlanCursor { chunks: 2, users: 4, last_user: Some(users[3].clone()), frozen: true };
    assert_eq!(store.freeze(&first.id, &start, &one, &chunks[..1], Epoch(99)).await.unwrap(), Step::Taken);
    let rival = [Chunk { number: 0, users: users[1..].to_vec() }];
    let lost = store.freeze(&first.id, &start, &two, &rival, Epoch(99)).await.unwrap();
    assert_eq!(lost, Step::Lost, "SCOPE-1: a second planner cannot freeze the same users again");
    assert_eq!(store.freeze(&first.id, &one, &two, &chunks[1..], Epoch(99)).await.unwrap(), Step::Taken);
    assert_eq!(store.chunks(&first.id, None, 10).await.unwrap(), chunks, "the loser's chunks are not there");
    assert_eq!(store.chunks(&first.id, Some(&users[0]), 10).await.unwrap(), chunks[1..]);
    let wanted = ChunkRef { job_id: first.id.clone(), number: 1, first_user: Some(users[2].clone()) };
    assert_eq!(store.chunk(&wanted).await.unwrap().as_ref(), Some(&chunks[1]));

    store.mark_effective(&first.id, now).await.unwrap();
    store.mark_effective(&first.id, now + TimeDelta::seconds(5)).await.unwrap();
    store.mark_emitted(&first.id).await.unwrap();
    store.mark_redriven(&first.id, now).await.unwrap();
    let job = store.get(&first.id).await.unwrap().unwrap();
    assert_eq!(
        (job.effective_at, job.emitted, job.redriven_at),
        (Some(now), true, Some(now)),
        "effective is noted once"
    );
    assert_eq!(job.plan, two);

    let facts = |access_tokens, refresh_tokens, sessions| Facts { access_tokens, refresh_tokens, sessions };
    for (seen, stored) in
        [(facts(2, 1, 0), facts(2, 1, 0)), (facts(1, 1, 0), facts(2, 1, 0)), (facts(2, 0, 1), facts(2, 1, 1))]
    {
        let owner = Owner::User(users[0].clone());
        store.record_affected(&first.id, 0, Fate::Lost, &[(owner.clone(), seen)], now).await.unwrap();
        let affected = store.affected(&first.id, 0, Fate::Lost).await.unwrap();
        assert_eq!(affected, HashMap::from([(owner, stored)]), "SCOPE-7: numbers only grow");
    }
    assert!(store.affected(&first.id, 1, Fate::Lost).await.unwrap().is_empty());
    assert!(store.affected(&first.id, 0, Fate::Left).await.unwrap().is_empty());

    let result = |outcome, users| ChunkResult {
        outcome,
        statistics: Statistics {
            total_users_affected: users,
            access_tokens_revoked: 10 * users,
            ..Statistics::default()
        },
        left: Statistics { sessions_terminated: 5, ..Statistics::default() },
    };
    let (failed, done) = (result(ChunkOutcome::Failed, 1), result(ChunkOutcome::Done, 2));
    assert_eq!(store.commit_chunk(&first.id, 0, None, failed).await.unwrap(), Step::Taken);
    assert_eq!(store.commit_chunk(&first.id, 0, None, done).await.unwrap(), Step::Lost, "CUT-6: counted once");
    assert_eq!(store.chunk_result(&first.id, 0).await.unwrap(), Some(failed));
    assert_eq!(store.commit_chunk(&first.id, 17, None, done).await.unwrap(), Step::Taken);
    let tally = store.tally(&first.id).await.unwrap();
    assert_eq!((tally.done, tally.failed, tally.statistics.total_users_affected), (1, 1, 3));
    assert_eq!(store.commit_chunk(&first.id, 0, Some(failed), done).await.unwrap(), Step::Taken);
    let tally = store.tally(&first.id).await.unwrap();
    assert_eq!((tally.done, tally.failed, tally.statistics.access_tokens_revoked), (2, 0, 40));
    assert_eq!(tally.left.sessions_terminated, 10);

    let tally = store.tally(&first.id).await.unwrap();
    let finish = async |from, to| {
        let audit = AuditEntry::closed(&first, to, &tally, now);
        store.finish(&first.id, from, to, now, &audit).await.unwrap()
    };
    assert_eq!(finish(Status::Pending, Status::Failed).await, Step::Lost);
    assert_eq!(finish(Status::Processing, Status::Completed).await, Step::Taken);
    assert!(!store.open_jobs().await.unwrap().contains(&first.id));
    assert_eq!(store.get(&first.id).await.unwrap().unwrap().completed_at, Some(now));
}

fn cutoff(scope: Scope, at: i64, job: &str, retires_at: i64) -> Cutoff {
    Cutoff {
        scope,
        basis: Basis::SignIn,
        kinds: Kinds::Both,
        spares: Spares::default(),
        at: Epoch(at),
        job: id(job),
        retires_at: Epoch(retires_at),
    }
}

/// A token with an id in every scope.
pub fn facts(run: &str, token: &str, now: i64) -> TokenFacts {
    TokenFacts {
        id: id(format!("{run}-{token}")),
        kind: TokenKind::Access,
        user: Some(id(format!("{run}-u"))),
        client: Some(id(format!("{run}-c"))),
        session: Some(id(format!("{run}-s"))),
        issued_at: Epoch(now),
        signed_in_at: Epoch(now),
        expires_at: Epoch(now + 1_000),
    }
}

/// Cutoffs of every scope and variety for [`facts`]: an older one after a newer one, a wide one after a narrow one.
fn cutoffs(run: &str, now: i64) -> Vec<Cutoff> {
    let (user, client): (UserId, ClientId) = (id(format!("{run}-u")), id(format!("{run}-c")));
    let later = now + 10_000;
    let base = cutoff(Scope::User(user.clone()), now - 100, &format!("{run}-j1"), later);
    let sparing = Spares { service_tokens: true, listed_users: true };
    vec![
        base.clone(),
        Cutoff { at: Epoch(now - 300), job: id(format!("{run}-j0")), retires_at: Epoch(later + 5), ..base.clone() },
        Cutoff { at: Epoch(now - 50), basis: Basis::Issued, ..base.clone() },
        Cutoff { at: Epoch(now - 20), kinds: Kinds::AccessOnly, ..base.clone() },
        Cutoff { at: Epoch(now - 10), kinds: Kinds::RefreshOnly, ..base.clone() },
        Cutoff { at: Epoch(now - 10), spares: sparing, ..base.clone() },
        Cutoff { at: Epoch(now - 30), spares: sparing, job: id(format!("{run}-j2")), ..base },
        cutoff(Scope::Client(client.clone()), now - 40, &format!("{run}-j3"), later),
        cutoff(Scope::UserClient(user, client), now - 60, &format!("{run}-j4"), later),
        cutoff(Scope::Session(id(format!("{run}-s"))), now - 70, &format!("{run}-j5"), later),
    ]
}

/// Every cutoff as text, in an order of its own, without those of other suites' jobs.
fn listed(answer: &Answer, run: &str) -> Vec<String> {
    let ours = answer.cutoffs.iter().filter(|cutoff| cutoff.job.as_str().starts_with(run));
    let mut listed: Vec<String> = ours.map(|cutoff| format!("{cutoff:?}")).collect();
    listed.sort();
    listed
}

/// The durable denylist: everything that may refuse a token, chunks of frozen users included.
pub async fn denylist_store<S: DenylistStore + JobStore>(store: &S, run: &str, now: i64) {
    let token = facts(run, "t", now);
    let before = DenylistStore::ask(store, &token).await.unwrap();
    assert!(!before.token_revoked && listed(&before, run).is_empty() && before.spared_by.is_empty());
    let all = cutoffs(run, now);
    store.put_cutoffs(&all).await.unwrap();
    store.put_cutoffs(&all[..2]).await.unwrap();
    let expected = Answer { cutoffs: all.iter().cloned().collect(), ..Answer::default() };
    let answer = DenylistStore::ask(store, &token).await.unwrap();
    assert_eq!(listed(&answer, run), listed(&expected, run), "CUT-3: one of each variety, the latest");
    store.put_tokens(&[(token.id.clone(), token.expires_at)]).await.unwrap();
    let sparing: JobId = id(format!("{run}-j1"));
    store.put_spared(&sparing, &BTreeSet::from([id(format!("{run}-u"))]), Epoch(now + 50)).await.unwrap();
    let answer = DenylistStore::ask(store, &token).await.unwrap();
    assert!(answer.token_revoked);
    assert_eq!(answer.spared_by, [sparing]);

    // A frozen user is cut off once the job is active, and the neighbours in byte order are not.
    let group: GroupId = id("g");
    let frozen = job(&format!("{run}-frozen"), &group, DateTime::from_timestamp(now, 0).unwrap());
    store.create(NewJob::plain(&frozen)).await.unwrap();
    store.start(&frozen.id, frozen.created_at).await.unwrap();
    let name = |n: u32| id::<UserId>(format!("{run}-f{n:03}"));
    let chunks: Vec<Chunk> =
        (0..3).map(|c| Chunk { number: c, users: (0..5).map(|u| name(c * 100 + u * 2)).collect() }).collect();
    let to = PlanCursor { chunks: 3, users: 15, frozen: true, ..PlanCursor::default() };
    let retires_at = Epoch(now + 5_000);
    store.freeze(&frozen.id, &PlanCursor::default(), &to, &chunks, retires_at).await.unwrap();
    let of = |user| TokenFacts { user: Some(user), ..facts(run, "x", now) };
    let cut_off = async |user: UserId| {
        let answer = DenylistStore::ask(store, &of(user)).await.unwrap();
        answer.cutoffs.iter().any(|cutoff| cutoff.job == frozen.id)
    };
    assert!(!cut_off(name(0)).await, "a dry run's users, or those of a job not yet active, are not cut off");
    let template = FrozenJob::of(&[cutoff(Scope::Everything, now, frozen.id.as_str(), retires_at.0)]).unwrap();
    store.activate(&template).await.unwrap();
    store.activate(&template).await.unwrap();
    for n in [0, 2, 8, 100, 104, 108, 200, 208] {
        assert!(cut_off(name(n)).await, "user {n} is frozen");
    }
    for n in [1, 7, 9, 50, 99, 101, 150, 209, 999] {
        assert!(!cut_off(name(n)).await, "SCOPE-6: user {n} is not in the job");
    }
    assert!(!cut_off(id(format!("{run}-a"))).await, "before the first user");
    let active: Vec<FrozenJob> = store.active().await.unwrap().into_iter().filter(|job| job.job == frozen.id).collect();
    assert_eq!(active, std::slice::from_ref(&template));

    // A job that names clients cuts its users off at those alone.
    let narrow = FrozenJob { clients: BTreeSet::from([id(format!("{run}-c"))]), ..template };
    store.activate(&narrow).await.unwrap();
    let answer = DenylistStore::ask(store, &of(name(0))).await.unwrap();
    let scopes: Vec<&Scope> =
        answer.cutoffs.iter().filter(|cutoff| cutoff.job == frozen.id).map(|c| &c.scope).collect();
    assert!(scopes.contains(&&Scope::UserClient(name(0), id(format!("{run}-c")))), "{scopes:?}");

    // Long ago, so that nobody else's are meant.
    let retired = cutoff(Scope::Everything, 1, &format!("{run}-retired"), 5);
    let pattern = FrozenJob::of(std::slice::from_ref(&retired)).unwrap();
    store.put_cutoffs(std::slice::from_ref(&retired)).await.unwrap();
    store.activate(&pattern).await.unwrap();
    let kept = async || {
        let answer = DenylistStore::ask(store, &token).await.unwrap();
        let listed = answer.cutoffs.iter().any(|cutoff| cutoff.job == retired.job);
        (listed, store.active().await.unwrap().contains(&pattern))
    };
    let held = kept().await.1;
    store.forget_retired(Epoch(4)).await.unwrap();
    assert!(held && kept().await.1, "CUT-5: not before it retires");
    assert!(store.forget_retired(Epoch(5)).await.unwrap() >= 2);
    assert_eq!(kept().await, (false, false), "CUT-5: retired cutoffs and lists of frozen users are forgotten");
    let answer = DenylistStore::ask(store, &token).await.unwrap();
    assert_eq!(listed(&answer, run), listed(&expected, run), "CUT-5: and nothing else");

    let (mut found, mut from) = (Vec::new(), None);
    loop {
        let page = store.entries(from.as_deref()).await.unwrap();
        found.extend(page.items);
        match page.next {
            Some(next) => from = Some(next),
            None => break,
        }
    }
    for cutoff in all {
        assert!(found.contains(&Entry::Cutoff(cutoff)), "CUT-5: the rebuild finds every cutoff");
    }
    assert!(found.contains(&Entry::Token(token.id, token.expires_at)));
    for chunk in chunks {
        assert!(found.contains(&Entry::Chunk(frozen.id.clone(), chunk)));
    }
}

/// The cache: the same answers as the durable denylist, but only while its marker stands.
pub async fn denylist_cache<C: DenylistCache>(cache: &C, run: &str, now: i64) {
    let token = facts(run, "t", now);
    cache.begin_rebuild(run).await.unwrap();
    assert!(!cache.finish_rebuild("another", "g1").await.unwrap(), "CUT-5: only the rebuild that began may end");
    assert!(cache.finish_rebuild(run, "g1").await.unwrap());
    let ask = async |token: &TokenFacts| match cache.ask(token).await.unwrap() {
        CacheAnswer::Complete(answer) => answer,
        CacheAnswer::Incomplete => panic!("the marker is gone"),
    };
    assert_eq!(ask(&token).await, Answer::default());
    cache.begin_rebuild(run).await.unwrap();
    assert_eq!(cache.ask(&token).await.unwrap(), CacheAnswer::Incomplete, "CUT-5: not believed while it is rebuilt");
    assert!(cache.finish_rebuild(run, "g1").await.unwrap());
    let all = cutoffs(run, now);
    cache.put_cutoffs(&all).await.unwrap();
    cache.put_cutoffs(&all[..2]).await.unwrap();
    let expected = Answer { cutoffs: all.into_iter().collect(), ..Answer::default() };
    assert_eq!(listed(&ask(&token).await, run), listed(&expected, run), "CUT-3: one of each variety, the latest");
    cache.put_tokens(&[(token.id.clone(), Epoch(now + 1_000))]).await.unwrap();
    let spared = [(id(format!("{run}-j1")), id(format!("{run}-u")), Epoch(now + 1_000))];
    cache.put_spared(&spared).await.unwrap();
    cache.put_spared(&spared).await.unwrap();
    let answer = ask(&token).await;
    assert!(answer.token_revoked);
    assert_eq!(answer.spared_by, [spared[0].0.clone()]);
    let service = TokenFacts { user: None, ..facts(run, "service", now) };
    assert_eq!(ask(&service).await.cutoffs.iter().count(), 2, "client and session cutoffs hit service tokens, too");

    assert!(cache.renew("g1").await.unwrap());
    assert!(!cache.renew("g2").await.unwrap(), "CUT-5: an older generation is not renewed");
    cache.void().await.unwrap();
    assert!(!cache.renew("g1").await.unwrap());
    assert_eq!(cache.ask(&token).await.unwrap(), CacheAnswer::Incomplete, "CUT-5: without its marker it knows nothing");
}

/// The merge that a cache does is the domain's.
pub async fn cache_merges_like_the_domain<C: DenylistCache>(
    cache: &C,
    run: &str,
    cutoffs: &[Cutoff],
    token: &TokenFacts,
) {
    cache.begin_rebuild(run).await.unwrap();
    cache.finish_rebuild(run, run).await.unwrap();
    for cutoff in cutoffs {
        cache.put_cutoffs(std::slice::from_ref(cutoff)).await.unwrap();
    }
    let applicable = cutoffs.iter().filter(|cutoff| token.scopes().contains(&cutoff.scope)).cloned();
    let expected = Answer { cutoffs: applicable.collect::<CutoffSet>(), ..Answer::default() };
    let CacheAnswer::Complete(answer) = cache.ask(token).await.unwrap() else { panic!("the marker is gone") };
    assert_eq!(listed(&answer, run), listed(&expected, run));
}

/// Runs all store suites on one store.
pub async fn all_stores<S>(store: Arc<S>, run: &str, now: DateTime<Utc>)
where
    S: Directory + RecordStore + TokenStore + SignInStore + JobStore + NoticeStore,
    S: DenylistStore + KeyStore + AuditLog + AuditReader + JobTrail + AccountStore,
{
    directory(store.as_ref(), &format!("{run}-d")).await;
    tokens(store.as_ref(), &format!("{run}-t")).await;
    signing_in(store.as_ref(), &format!("{run}-g")).await;
    parts(store.as_ref(), &format!("{run}-p")).await;
    jobs(store.as_ref(), &format!("{run}-j"), now).await;
    accepting(store.as_ref(), &format!("{run}-a"), now).await;
    cancelling(store.as_ref(), &format!("{run}-x"), now).await;
    keys(store.as_ref(), &format!("{run}-k"), now).await;
    lists(store.as_ref(), &format!("{run}-i"), now).await;
    telling(store.as_ref(), &format!("{run}-n"), now).await;
    names(store.as_ref(), &format!("{run}-e")).await;
    denylist_store(store.as_ref(), &format!("{run}-l"), now.timestamp()).await;
    auditing(store.as_ref(), &format!("{run}-u"), now).await;
    enrolling(store.as_ref(), &format!("{run}-o"), now).await;
}
