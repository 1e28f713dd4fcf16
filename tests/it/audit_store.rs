//! The audit trail in a real store: many writers at once, answers that are lost, and items that somebody changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use adapters::dynamodb::Dynamo;
use aws_config::retry::RetryConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, TimeDelta, Utc};
use domain::audit::check::{AuditReader as _, Examiner};
use domain::audit::head::Publisher;
use domain::audit::verify::{Found, Verdict};
use domain::audit::{Action, AuditLog as _, Entry, Level, Origin};
use domain::directory::Actor;
use domain::ids::{ChainId, GroupId, JobId, UserId};
use domain::job::{Status, Tally};
use domain::ports::{JobStore as _, NewJob, RecordStore as _, Step};
use domain::records::{Entity, GroupRecord, MembershipKey, Record};
use domain::settle::Try;
use domain::testing::{MemoryHeads, TestClock, contract};
use domain::time::from_millis;
use futures::future::join_all;
use tests::fleet::Fleet;
use tests::proxy::{self, Kill};
use tests::store::{Store, tables};

fn now() -> DateTime<Utc> {
    from_millis(1_800_000_000_000)
}

fn entry(name: &str) -> Entry {
    Entry {
        id: name.to_owned(),
        at: now(),
        action: Action::PermissionDenied,
        level: Level::Warning,
        actor: Actor { id: UserId::parse("김").unwrap(), email: None, name: None },
        job_id: Some(JobId::parse("j").unwrap()),
        success: false,
        metadata: serde_json::Value::Null,
        origin: Origin::default(),
    }
}

/// All entries, by chain, in the order of places.
async fn stored(store: &Dynamo) -> BTreeMap<ChainId, Vec<Entry>> {
    let (mut chains, mut from) = (BTreeSet::new(), None);
    loop {
        let page = store.chains(from.as_deref()).await.unwrap();
        chains.extend(page.items.into_iter().map(Result::unwrap));
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    let mut stored: BTreeMap<ChainId, Vec<Entry>> = BTreeMap::new();
    for chain in chains {
        let mut from = None;
        loop {
            let page = store.chain(&chain, from.as_deref()).await.unwrap();
            for found in page.items {
                let Found::Entry(sealed) = found else { panic!("{found:?}") };
                stored.entry(chain.clone()).or_default().push(sealed.entry().unwrap());
            }
            from = page.next;
            if from.is_none() {
                break;
            }
        }
    }
    stored
}

/// Publishes the heads, and verifies.
async fn verdict(store: &Arc<Dynamo>, heads: &Arc<MemoryHeads>) -> Verdict {
    let clock = Arc::new(TestClock::at(now() + TimeDelta::minutes(1)));
    Publisher { trail: store.clone(), heads: heads.clone(), clock }.publish().await.unwrap();
    examine(store, heads).await
}

async fn examine(store: &Arc<Dynamo>, heads: &Arc<MemoryHeads>) -> Verdict {
    Examiner { trail: store.clone(), heads: heads.clone() }.examine().await.unwrap().verdict
}

/// A writer behind a connection that loses some, with so many tries.
async fn writer(store: &Store, lose: Kill, tries: u32) -> Arc<Dynamo> {
    let (endpoint, _) = proxy::start(&store.endpoint, Some(lose)).await;
    let aws = store.aws().await.into_builder().endpoint_url(endpoint);
    let aws = aws.retry_config(RetryConfig::standard().with_max_attempts(tries)).build();
    Arc::new(Dynamo::with_client(Client::new(&aws), tables()))
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_2_fifty_concurrent_writers_leave_no_fork_no_gap_and_lose_nothing() {
    let server = Store::start().await;
    let reader = server.dynamo().await;
    // Forty-nine processes of twenty entries each, and one with a hundred at the same time.
    let (aws, tables) = (server.aws().await, tables());
    let processes: Vec<Arc<Dynamo>> = (0..50).map(|_| Arc::new(Dynamo::new(&aws, tables.clone()))).collect();
    let works = processes.iter().zip(0..).flat_map(|(process, number)| {
        let count = if number == 49 { 100 } else { 20 };
        (0..count).map(move |n| {
            let process = process.clone();
            tokio::spawn(async move { process.append(&entry(&format!("{number}-{n}"))).await })
        })
    });
    let works: Vec<_> = works.collect();
    let total = works.len();
    for written in join_all(works).await {
        written.unwrap().unwrap();
    }
    let chains = stored(&reader).await;
    assert_eq!(chains.len(), 50, "a chain for each writer");
    let ids: BTreeSet<String> = chains.values().flatten().map(|entry| entry.id.clone()).collect();
    assert_eq!((ids.len(), total), (1_080, 1_080));
    for entries in chains.values() {
        let writers: BTreeSet<&str> = entries.iter().filter_map(|entry| Some(entry.id.split_once('-')?.0)).collect();
        assert_eq!(writers.len(), 1, "no two writers in one chain");
    }
    let verdict = verdict(&reader, &Arc::default()).await;
    assert_eq!((verdict.entries, verdict.chains, verdict.defects), (1_080, 50, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_2_an_append_whose_outcome_is_unknown_loses_nothing_and_breaks_nothing() {
    for (lose, tries) in [(Kill::LoseAnswer(3), 1), (Kill::LoseCall(3), 1), (Kill::LoseAnswer(3), 3)] {
        let server = Store::start().await;
        let (reader, writer) = (server.dynamo().await, writer(&server, lose, tries).await);
        let mut acknowledged = BTreeSet::new();
        for n in 0..30 {
            let name = format!("{n:02}");
            if writer.append(&entry(&name)).await.is_ok() {
                acknowledged.insert(name);
            }
        }
        assert_eq!(acknowledged.len(), 30, "{lose:?}: no two answers in a row are lost");
        let chains = stored(&reader).await;
        let ids: Vec<String> = chains.values().flatten().map(|entry| entry.id.clone()).collect();
        let distinct: BTreeSet<String> = ids.iter().cloned().collect();
        assert_eq!(distinct, acknowledged, "{lose:?}");
        let twice = ids.len() - distinct.len();
        match (lose, tries) {
            (Kill::LoseAnswer(_), 1) => assert!(twice > 5 && chains.len() > 5, "{twice} in {} chains", chains.len()),
            (Kill::LoseCall(_), _) => assert!(twice == 0 && chains.len() > 5, "{twice} in {} chains", chains.len()),
            // The SDK's own second try finds the entry of the first.
            _ => assert_eq!((twice, chains.len()), (0, 1)),
        }
        assert_eq!(verdict(&reader, &Arc::default()).await.defects, [], "{lose:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_2_a_job_and_its_entry_are_written_both_or_neither_whatever_is_lost() {
    let group = GroupId::parse("g").unwrap();
    for lose in [Kill::LoseAnswer(4), Kill::LoseCall(4)] {
        let server = Store::start().await;
        let (reader, writer) = (server.dynamo().await, writer(&server, lose, 1).await);
        let mut failed = 0;
        for n in 0..40 {
            let job = contract::job(&format!("job-{n}"), &group, now());
            let entry = Entry { job_id: Some(job.id.clone()), ..entry(&format!("entry-{n}")) };
            let new = NewJob { audit: Some(&entry), ..NewJob::plain(&job) };
            failed += usize::from(writer.create(new).await.is_err());
            // Refused, as there is such a job: the entry's place is free again.
            let _ = writer.create(new).await;
            let closed = Entry::closed(&job, Status::Failed, &Tally::default(), now());
            let _ = writer.finish(&job.id, Status::Pending, Status::Failed, now(), &closed).await;
        }
        assert!(failed > 5, "{lose:?}: {failed}");
        let chains = stored(&reader).await;
        let mut entries: BTreeMap<String, usize> = BTreeMap::new();
        for entry in chains.values().flatten() {
            *entries.entry(entry.id.clone()).or_default() += 1;
        }
        for n in 0..40 {
            let job = reader.get(&JobId::parse(format!("job-{n}")).unwrap()).await.unwrap();
            let written = entries.get(&format!("entry-{n}")).copied().unwrap_or_default();
            assert_eq!(written, usize::from(job.is_some()), "{lose:?}: job {n}");
            let closed = entries.get(&format!("job-{n}#failed")).copied().unwrap_or_default();
            let is_closed = job.is_some_and(|job| job.status == Status::Failed);
            assert_eq!(closed, usize::from(is_closed), "{lose:?}: the end of job {n}");
        }
        assert_eq!(verdict(&reader, &Arc::default()).await.defects, [], "{lose:?}");
    }
}

#[tokio::test]
async fn audit_1_a_jobs_end_is_written_down_once_with_its_level_and_what_it_did() {
    let fleet = Fleet::in_memory(now());
    let group = GroupId::parse("g").unwrap();
    let people: Vec<UserId> = (0..101).map(|n| UserId::parse(format!("u{n:03}")).unwrap()).collect();
    let put = async |entity| fleet.store.apply(&Record::upsert(1, entity)).await.unwrap();
    put(Entity::Group(GroupRecord { id: group.clone(), name: None, parent_id: None })).await;
    for (user, n) in people.iter().zip(0..) {
        put(Entity::Membership(MembershipKey { group_id: group.clone(), user_id: user.clone() })).await;
        put(Entity::Token(contract::token(&format!("t{n}"), user, now().timestamp() - 60, now().timestamp() + 600)))
            .await;
    }
    let job = contract::job("ends", &group, now());
    fleet.store.create(NewJob::plain(&job)).await.unwrap();
    let chunks = fleet.plan(&job.id).await;
    assert_eq!(fleet.store.audit(), [], "nothing has ended yet");
    // Every chunk comes twice, and the re-drive looks after it as well.
    for chunk in chunks.iter().chain(&chunks) {
        fleet.settle(chunk, Try::First).await.unwrap();
    }
    fleet.redriver().redrive().await.unwrap();
    let [entry] = &fleet.store.audit()[..] else { panic!("one entry: {:?}", fleet.store.audit()) };
    assert_eq!((entry.action, entry.level, entry.success), (Action::BatchLogoutCompleted, Level::Warning, true));
    assert_eq!((&entry.job_id, &entry.actor), (&Some(job.id.clone()), &job.initiated_by));
    assert_eq!(entry.metadata["statistics"]["total_users_affected"], 101);

    let failing = contract::job("fails", &group, now());
    fleet.store.create(NewJob::plain(&failing)).await.unwrap();
    let chunks = fleet.plan(&failing.id).await;
    let broken = domain::settle::Settler { tokens: Arc::new(down()), ..fleet.settler() };
    for chunk in &chunks {
        assert!(broken.settle(chunk, Try::Last, now() + TimeDelta::hours(1)).await.is_err());
    }
    let entries = fleet.store.audit();
    let [_, entry] = &entries[..] else { panic!("two entries: {entries:?}") };
    assert_eq!((entry.action, entry.level, entry.success), (Action::BatchLogoutFailed, Level::Warning, false));
    for chunk in &chunks {
        fleet.settle(chunk, Try::First).await.unwrap();
    }
    let entries = fleet.store.audit();
    let [.., entry] = &entries[..] else { panic!("an entry") };
    assert_eq!((entries.len(), entry.action, entry.level), (3, Action::BatchLogoutCompleted, Level::Info));
}

fn down() -> domain::testing::Memory {
    let store = domain::testing::Memory::default();
    store.set_down(true);
    store
}

#[tokio::test]
async fn audit_1_of_two_workers_at_a_jobs_end_one_writes_it_down() {
    let server = Store::start().await;
    let (one, other) = (server.dynamo().await, server.dynamo().await);
    let job = contract::job("contended", &GroupId::parse("g").unwrap(), now());
    one.create(NewJob::plain(&job)).await.unwrap();
    let entry = Entry::closed(&job, Status::Failed, &Tally::default(), now());
    let finish = |store: &Arc<Dynamo>| {
        let (store, id, entry) = (store.clone(), job.id.clone(), entry.clone());
        async move { store.finish(&id, Status::Pending, Status::Failed, now(), &entry).await.unwrap() }
    };
    let steps = join_all([finish(&one), finish(&other), finish(&one)]).await;
    assert_eq!(steps.iter().filter(|step| **step == Step::Taken).count(), 1, "{steps:?}");
    let entries: Vec<Entry> = stored(&one).await.into_values().flatten().collect();
    assert_eq!(entries, [entry]);
}

/// Changes one stored item.
struct Intruder {
    client: Client,
    key: [(String, AttributeValue); 2],
}

impl Intruder {
    async fn set(&self, name: &str, value: &str) {
        let update = self.client.update_item().table_name(tables().audit).set_key(Some(self.key.clone().into()));
        let update = update.update_expression("SET #name = :value").expression_attribute_names("#name", name);
        update.expression_attribute_values(":value", AttributeValue::S(value.to_owned())).send().await.unwrap();
    }

    async fn get(&self, name: &str) -> String {
        let got = self.client.get_item().table_name(tables().audit).set_key(Some(self.key.clone().into()));
        got.send().await.unwrap().item.unwrap()[name].as_s().unwrap().clone()
    }
}

#[tokio::test]
async fn audit_2_every_attribute_of_a_stored_entry_counts() {
    let server = Store::start().await;
    let (store, heads) = (server.dynamo().await, Arc::default());
    for n in 0..5 {
        store.append(&entry(&n.to_string())).await.unwrap();
    }
    assert_eq!(verdict(&store, &heads).await.defects, []);
    let chain = stored(&store).await.into_keys().next().unwrap();
    let text = |text: String| AttributeValue::S(text);
    let key = [("pk".to_owned(), text(format!("C#{chain}"))), ("sk".to_owned(), text("000000000002".to_owned()))];
    let intruder = Intruder { client: Client::new(&server.aws().await), key };
    let place = format!("chain {chain}, entry 2: ");
    let other = "0".repeat(64);
    for (name, value, problem) in [
        ("entry", "{}", "was altered"),
        ("prev", &*other, "was altered"),
        ("hash", &*other, "was altered"),
        ("hash", "none", "cannot be read: attribute hash is no SHA-256 in lower-case hex"),
        ("job_id", "another", "cannot be read: attribute job_id is not what was written with the entry"),
        ("day", "2020-01-01#0", "cannot be read: attribute day is not what was written with the entry"),
        ("time", "0000000000000", "cannot be read: attribute time is not what was written with the entry"),
    ] {
        let before = intruder.get(name).await;
        intruder.set(name, value).await;
        let found: Vec<String> = examine(&store, &heads).await.defects.iter().map(ToString::to_string).collect();
        assert!(found.contains(&format!("{place}{problem}")), "{name}: {found:#?}");
        intruder.set(name, &before).await;
        assert_eq!(examine(&store, &heads).await.defects, [], "{name} is as it was");
    }
    intruder.set("note", "added").await;
    let found: Vec<String> = examine(&store, &heads).await.defects.iter().map(ToString::to_string).collect();
    assert_eq!(found, [format!("{place}cannot be read: attribute note is not what was written with the entry")]);

    // Something that belongs to no chain, and an entry at a place that is spelt otherwise.
    let client = &intruder.client;
    for (pk, sk) in [("A#2026-01-01".to_owned(), "x"), (format!("C#{chain}"), "3")] {
        let put = client.put_item().table_name(tables().audit).item("pk", text(pk)).item("sk", text(sk.to_owned()));
        put.send().await.unwrap();
    }
    let found: Vec<String> = examine(&store, &heads).await.defects.iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found.contains(&"item A#2026-01-01 x: cannot be read: it belongs to no chain".to_owned()), "{found:#?}");
    assert!(found.iter().any(|defect| defect.starts_with(&format!("item C#{chain} 3: "))), "{found:#?}");

    let delete = client.delete_item().table_name(tables().audit).set_key(Some(intruder.key.clone().into()));
    delete.send().await.unwrap();
    let found: Vec<String> = examine(&store, &heads).await.defects.iter().map(ToString::to_string).collect();
    assert!(found.contains(&format!("{place}is missing, and all up to 2")), "{found:#?}");
}
