//! The audit trail on the stack: what the functions write under their own roles, published, verified, tampered with.

use std::collections::BTreeMap;
use std::sync::Arc;

use adapters::s3::S3Heads;
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::TimeDelta;
use domain::audit::chain::Sealed;
use domain::audit::check::{AuditReader as _, Examiner};
use domain::audit::head::{HeadStore as _, Kept};
use domain::audit::verify::{Fault, Found, Place, Verdict};
use domain::audit::{Action, Entry};
use domain::directory::{Actor, secret_hash};
use domain::ids::{ClientId, GroupId, UserId};
use domain::job::{ChunkOutcome, ChunkResult, PlanCursor, Statistics, Status};
use domain::ports::{JobStore as _, NewJob, RecordStore as _, Step};
use domain::records::{ClientRecord, Entity, Record, TokenRecord};
use domain::testing::contract;
use domain::time::{Clock as _, Epoch, SystemClock};
use http::Request;
use ops::issuer::Mint;
use ops::stack::Stack;
use ops::web::Web;
use serde_json::{Value, json};
use tests::environment::{stack, unique};
use tests::invoke::invoke;

use super::{Caller, kinds};

async fn heads(stack: &Stack) -> S3Heads {
    S3Heads::new(&stack.aws().await, stack.audit_heads_bucket.clone())
}

async fn verdict(stack: &Stack) -> Verdict {
    let examiner = Examiner { trail: stack.store().await, heads: Arc::new(heads(stack).await) };
    examiner.examine().await.unwrap().verdict
}

/// What was written down lately.
async fn lately(stack: &Stack) -> Vec<(Sealed, Entry)> {
    let (store, now) = (stack.store().await, SystemClock.now());
    let (mut found, mut from) = (Vec::new(), None);
    loop {
        let page = store.between(now - TimeDelta::minutes(10), now, from.as_deref()).await.unwrap();
        for item in page.items {
            let Found::Entry(sealed) = item else { panic!("{item:?}") };
            let entry = sealed.entry().unwrap();
            found.push((sealed, entry));
        }
        from = page.next;
        if from.is_none() {
            return found;
        }
    }
}

async fn published(stack: &Stack) -> Vec<Kept> {
    let (heads, mut all, mut from) = (heads(stack).await, Vec::new(), None);
    loop {
        let page = heads.newest_first(from.as_deref()).await.unwrap();
        all.extend(page.items);
        from = page.next;
        if from.is_none() {
            return all;
        }
    }
}

/// A job as its last worker left it, whom nobody told that it was the last: its one chunk was given up.
async fn given_up(stack: &Stack, name: &str, by: &Actor) {
    let (store, now) = (stack.store().await, SystemClock.now());
    let mut job = contract::job(name, &GroupId::parse(name).unwrap(), now);
    (job.status, job.initiated_by, job.effective_at, job.emitted) = (Status::Processing, by.clone(), Some(now), true);
    job.plan = PlanCursor { chunks: 1, users: 1, frozen: true, last_user: None };
    store.create(NewJob::plain(&job)).await.unwrap();
    let lost = ChunkResult { outcome: ChunkOutcome::Failed, ..ChunkResult::done(Statistics::default()) };
    store.commit_chunk(&job.id, 0, None, lost).await.unwrap();
}

#[tokio::test]
async fn audit_1_every_action_is_written_down_once_each_time_it_happens() {
    let (web, stack) = (Web::default(), stack());
    let mint = Mint::open(&stack, &web).await.unwrap();
    let (admin, ours) = (kinds::admin("audit-admin", &mint).await, unique("audit-client"));
    let store = stack.store().await;
    let secret_sha256 = Some(secret_hash("a long and random secret"));
    let client = ClientId::parse(ours.clone()).unwrap();
    let client = ClientRecord { id: client, name: None, secret_sha256, may_introspect: false };
    store.apply(&Record::upsert(1, Entity::Client(client.clone()))).await.unwrap();
    let stranger = UserId::parse(unique("audit-stranger")).unwrap();
    let token = |name: &str| {
        let now = SystemClock.now().timestamp();
        let token = contract::token(&unique(name), &stranger, now, now + 3_600);
        mint.sign(&TokenRecord { auth_time: Some(Epoch(now)), client_id: client.id.clone(), ..token }).unwrap()
    };
    let actor = Actor { id: admin.id(), email: None, name: None };
    let call = async |method: &str, path: &str, body: Value, status: u16| {
        let answer = admin.send(method, path, None, &body).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.json);
        answer.json
    };

    let reason = "every action of the audit";
    let job = call("POST", "/client", json!({ "client_id": ours, "reason": reason }), 202).await;
    let job = job["job_id"].as_str().unwrap();
    admin.wait_for(job, |job| job["status"] == "completed").await;
    let (mut trail, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = call("GET", &format!("/jobs/{job}/audit?limit=1{cursor}"), Value::Null, 200).await;
        let Some(line) = page["items"].as_array().unwrap().first().map(|line| &line["entry"]) else { break };
        trail.push(line["action"].as_str().unwrap().to_owned());
        assert_eq!((&line["actor"]["id"], line["success"].as_bool()), (&json!(actor.id), Some(true)));
        cursor = format!("&cursor={}", page["next_cursor"].as_str().unwrap());
    }
    assert_eq!(trail, ["batch_logout_completed", "batch_logout_initiated"], "newest first");
    given_up(&stack, &unique("audit-fails"), &actor).await;
    invoke(&stack, &stack.scheduled, "scheduled/redrive.json").await;
    let stopped = unique("audit-stopped");
    let pending = contract::job(&stopped, &GroupId::parse(ours.clone()).unwrap(), SystemClock.now());
    store.create(NewJob::plain(&pending)).await.unwrap();
    call("DELETE", &format!("/jobs/{stopped}"), json!({ "reason": reason }), 200).await;
    for status in [200, 200, 200, 429] {
        call("POST", "/request-emergency-key", Value::Null, status).await;
    }
    let emergency = json!({ "confirm": "LOGOUT_ALL_USERS", "authorized_by": "nobody", "reason": reason });
    call("POST", "/emergency", emergency, 403).await;

    let denied = json!({ "group_id": ours, "reason": reason });
    let somebody = Caller { stack: stack.clone(), web: web.clone(), token: token("a") };
    assert_eq!(somebody.post_group(&denied).await.status, 403);
    let url = format!("{}/api/v1/auth/logout", stack.api_url);
    let left = web.api("POST", &url, &somebody.token, Some(&json!({}))).await.unwrap();
    assert_eq!(left.status, 200, "{}", left.json);
    let form = format!("token={}&client_id={ours}&client_secret=a+long+and+random+secret", token("b"));
    let revoke = Request::post(format!("{}/oauth/revoke", stack.api_url));
    let revoke = revoke.header("content-type", "application/x-www-form-urlencoded").body(form.into()).unwrap();
    let revoked = web.send(revoke).await.unwrap();
    assert_eq!(revoked.status, 200, "{}", revoked.json);

    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, entry) in lately(&stack).await {
        if [&actor.id, &stranger].contains(&&entry.actor.id) {
            *found.entry(entry.action.as_str()).or_default() += 1;
        }
    }
    let expected = [
        ("batch_logout_cancelled", 1),
        ("batch_logout_completed", 1),
        ("batch_logout_failed", 1),
        ("batch_logout_initiated", 1),
        ("emergency_key_generated", 3),
        ("emergency_key_verification_failed", 1),
        ("permission_denied", 1),
        ("rate_limited", 1),
        ("token_revoked", 1),
        ("user_logout", 1),
    ];
    assert_eq!(found, BTreeMap::from(expected));
}

#[tokio::test]
async fn audit_2_a_published_trail_verifies_and_a_changed_entry_is_named() {
    let caller = Caller::sign_in("member@example.com").await;
    let stack = &caller.stack;
    let marker = unique("audit");
    let refused = caller.post_group(&json!({ "group_id": marker, "reason": "may not, but tries" })).await;
    assert_eq!(refused.status, 403, "{}", refused.json);
    let report = invoke(stack, &stack.scheduled, "scheduled/publish-audit-heads.json").await;
    let newest = published(stack).await[0].number;
    assert!(newest >= 1 && (report["number"].is_null() || report["number"].as_u64() <= Some(newest)), "{report}");
    let checked = invoke(stack, &stack.scheduled, "scheduled/check-audit.json").await;
    assert_eq!((&checked["through"], &checked["defects"]), (&json!(true), &json!([])), "{checked}");
    assert_eq!(verdict(stack).await.defects, []);
    ops::audit::verify(stack).await.unwrap();

    let me = stack.person("member@example.com").unwrap().id.clone();
    let entries = lately(stack).await;
    let mine = entries
        .iter()
        .rev()
        .find(|(_, entry)| entry.actor.id.as_str() == me && entry.action == Action::PermissionDenied && !entry.success);
    let (sealed, _) = mine.expect("the refusal is written down");
    let client = aws_sdk_dynamodb::Client::new(&stack.aws().await);
    let set = async |text: &str| {
        let update = client
            .update_item()
            .table_name(&stack.tables.audit)
            .key("pk", AttributeValue::S(format!("C#{}", sealed.chain)))
            .key("sk", AttributeValue::S(format!("{:012}", sealed.seq)))
            .update_expression("SET entry = :text")
            .expression_attribute_values(":text", AttributeValue::S(text.to_owned()));
        update.send().await.unwrap();
    };
    set(&sealed.text.replace(&me, "somebody-else")).await;
    let (found, told) = (verdict(stack).await.defects, ops::audit::verify(stack).await);
    set(&sealed.text).await;
    let [defect] = &found[..] else { panic!("one defect: {found:?}") };
    assert_eq!((&defect.place, &defect.fault), (&Place::Entry(sealed.chain.clone(), sealed.seq), &Fault::Altered));
    assert_eq!(told.unwrap_err().to_string(), "the audit trail was tampered with; places: 1");
    assert_eq!(verdict(stack).await.defects, []);
}

#[tokio::test]
async fn audit_2_a_published_head_can_be_neither_replaced_nor_deleted() {
    let stack = stack();
    // A bucket beside the stack's own, locked as that one is.
    let aws = stack.aws().await;
    let client = aws_sdk_s3::Client::new(&aws);
    let lock = client.get_object_lock_configuration().bucket(&stack.audit_heads_bucket).send().await.unwrap();
    let bucket = unique("heads");
    client.create_bucket().bucket(&bucket).object_lock_enabled_for_bucket(true).send().await.unwrap();
    let lock = lock.object_lock_configuration.unwrap();
    let locked = client.put_object_lock_configuration().bucket(&bucket).object_lock_configuration(lock);
    locked.send().await.unwrap();

    let store = S3Heads::new(&aws, bucket.clone());
    domain::testing::contract::heads(&store).await;
    for number in 6..=70 {
        assert_eq!(store.publish(number, "more than a page").await.unwrap(), Step::Taken);
    }
    let all = async || {
        let (mut all, mut from) = (Vec::new(), None);
        loop {
            let page = store.newest_first(from.as_deref()).await.unwrap();
            all.extend(page.items);
            from = page.next;
            if from.is_none() {
                return all;
            }
        }
    };
    let before = all().await;
    assert_eq!(before.iter().map(|kept| kept.number).collect::<Vec<_>>(), (1..=70).rev().collect::<Vec<_>>());

    let listed = client.list_object_versions().bucket(&bucket).send().await.unwrap();
    let oldest = listed.versions().last().unwrap();
    let (key, version) = (oldest.key().unwrap(), oldest.version_id().unwrap());
    let erased = client.delete_object().bucket(&bucket).key(key).version_id(version).send().await;
    assert!(erased.is_err(), "a locked version cannot be deleted");
    client.delete_object().bucket(&bucket).key(key).send().await.unwrap();
    let body = aws_sdk_s3::primitives::ByteStream::from_static(b"forged");
    let newest = listed.versions().first().unwrap().key().unwrap();
    client.put_object().bucket(&bucket).key(newest).body(body).send().await.unwrap();
    let mut expected = before;
    for number in [1, 70] {
        expected.iter_mut().find(|kept| kept.number == number).unwrap().overwritten = true;
    }
    assert_eq!(all().await, expected, "hidden and written over, and still what was published first");
}
