//! The SIEM and the security team are told on the stack, by the table's own stream, and nothing that fails is lost
//! (`[AUDIT-3]`, `[RUN-5]`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, TimeDelta, Utc};
use domain::audit::alarm::Alarm;
use domain::audit::check::AuditReader as _;
use domain::audit::verify::Found;
use domain::audit::{Action, Auditor, Entry, Level};
use domain::source::SystemIds;
use domain::testing::ocsf::problems;
use domain::time::{Clock as _, SystemClock};
use ops::company::Plan;
use ops::issuer::Mint;
use ops::stack::Stack;
use ops::web::Web;
use serde_json::{Value, json};
use tests::environment::{root, stack, unique};
use tests::invoke::{invoke, invoke_with};

use super::{Caller, kinds};

const TEAM: &str = "security-team@example.com";
/// How long anything here may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// Asks until there is an answer.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(now) => assert!(begun.elapsed() < PATIENCE, "{what}: {now}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The mail to the security team that says all this.
pub async fn alert(caller: &Caller, says: &[&str]) -> (String, String) {
    until("the security team is told", async || {
        let mails = kinds::mails_to(caller, TEAM).await;
        let count = mails.len();
        let found = mails.into_iter().find(|(_, text)| says.iter().all(|says| text.contains(says)));
        found.ok_or_else(|| format!("{count} mails, none of them says {says:?}"))
    })
    .await
}

/// What is in a queue, without taking it out.
async fn peek(stack: &Stack, web: &Web, queue: &str) -> Vec<Value> {
    let name = queue.rsplit('/').next().unwrap();
    let url = format!("{}/_ministack/sqs/messages", stack.endpoint_url);
    let all = web.api("GET", &url, "", None).await.unwrap().json;
    let accounts = all["messages"].as_object().unwrap().values();
    let queues = accounts.flat_map(|regions| regions.as_object().unwrap().values());
    let queues = queues.flat_map(|queues| queues.as_object().unwrap());
    let ours = queues.filter(|(url, _)| url.rsplit('/').next() == Some(name));
    let messages = ours.flat_map(|(_, messages)| messages.as_array().unwrap().iter());
    messages.map(|message| serde_json::from_str(message["Body"].as_str().unwrap()).unwrap_or_default()).collect()
}

/// The trail's entries of a time, by id.
async fn written(stack: &Stack, since: DateTime<Utc>, until: DateTime<Utc>) -> BTreeMap<String, Entry> {
    let (store, mut found, mut from) = (stack.store().await, BTreeMap::new(), None);
    loop {
        let page = store.between(since, until, from.as_deref()).await.unwrap();
        for item in page.items {
            let Found::Entry(sealed) = item else { panic!("{item:?}") };
            let entry = sealed.entry().unwrap();
            found.insert(entry.id.clone(), entry);
        }
        from = page.next;
        if from.is_none() {
            return found;
        }
    }
}

async fn alarm(stack: &Stack) -> Alarm {
    let store = stack.store().await;
    let auditor = Auditor { log: store.clone(), clock: Arc::new(SystemClock), ids: Arc::new(SystemIds) };
    Alarm { auditor, jobs: store }
}

/// The data points of a metric in the functions' logs.
fn points(name: &str) -> Vec<Value> {
    let log = std::fs::read_to_string(root().join(".local/log/aws.log")).unwrap();
    let lines = log.lines().filter(|line| line.contains("CloudWatchMetrics") && line.contains(name));
    let json = lines.filter_map(|line| serde_json::from_str::<Value>(&line[line.find('{')?..]).ok());
    json.filter(|line| line["_aws"]["CloudWatchMetrics"][0]["Metrics"][0]["Name"] == name).collect()
}

fn times(since: DateTime<Utc>, until: DateTime<Utc>) -> Vec<u8> {
    json!({ "replay": { "since": since, "until": until } }).to_string().into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audit_3_exactly_the_warnings_and_criticals_of_the_trail_reach_the_siem_as_ocsf_events() {
    let (web, stack) = (Web::default(), stack());
    let (begun, mint) = (SystemClock.now(), Mint::open(&stack, &web).await.unwrap());
    let admin = kinds::admin("siem", &mint).await;
    let member = Caller::sign_in("member@example.com").await;
    let refused = member.post_group(&json!({ "group_id": unique("siem"), "reason": "may not, but tries" })).await;
    assert_eq!(refused.status, 403, "{}", refused.json);
    for status in [200, 200, 200, 429] {
        assert_eq!(admin.send("POST", "/request-emergency-key", None, &Value::Null).await.status, status);
    }
    let reason = "what the SIEM is to be told of";
    let emergency = json!({ "confirm": "LOGOUT_ALL_USERS", "authorized_by": "nobody", "reason": reason });
    assert_eq!(admin.send("POST", "/emergency", None, &emergency).await.status, 403);
    let plan = Plan { users: 140, contractors: 130, run: unique("siem"), now: SystemClock.now() };
    let company = plan.company(&stack.users).unwrap();
    stack.store().await.load(&company.records(plan.now.timestamp_millis())).await.unwrap();
    let body = json!({ "group_id": plan.leaving(), "include_subgroups": true, "reason": reason });
    let started = admin.send("POST", "/group", None, &body).await;
    assert_eq!(started.status, 202, "{}", started.json);
    let job = started.json["job_id"].as_str().unwrap();
    let ended = admin.wait_for(job, |job| job["status"] == "completed").await;
    assert!(ended["statistics"]["total_users_affected"].as_u64() > Some(100), "{ended}");
    let occasion = unique("siem");
    assert!(alarm(&stack).await.raise(Action::CacheNotSafe, &occasion, json!({ "engine": "위험 🔑" })).await.unwrap());
    let (subject, text) = alert(&admin, &[&occasion]).await;
    assert!(subject.starts_with("Security alert: ") && text.contains("engine: 위험 🔑"), "{subject}: {text}");

    let ended = SystemClock.now();
    let events = until("the SIEM is told", async || {
        let within = |event: &Value| {
            let at = event["time"].as_i64().unwrap();
            (begun.timestamp_millis()..=ended.timestamp_millis()).contains(&at)
        };
        let events: Vec<Value> = peek(&stack, &web, &stack.queues.siem).await.into_iter().filter(within).collect();
        let told: BTreeSet<&str> = events.iter().map(|event| event["metadata"]["uid"].as_str().unwrap()).collect();
        let entries = written(&stack, begun, ended).await;
        let loud = entries.values().filter(|entry| entry.level > Level::Info);
        let loud: BTreeSet<&str> = loud.map(|entry| entry.id.as_str()).collect();
        let differs = || format!("{:?}", loud.symmetric_difference(&told).collect::<Vec<_>>());
        if loud == told && entries.len() > loud.len() { Ok(events.clone()) } else { Err(differs()) }
    })
    .await;
    let mut codes = BTreeSet::new();
    for event in &events {
        assert_eq!(problems(event), [""; 0], "{event:#}");
        codes.insert(event["metadata"]["event_code"].as_str().unwrap());
    }
    for wanted in [
        Action::BatchLogoutCompleted,
        Action::BatchLogoutInitiated,
        Action::CacheNotSafe,
        Action::EmergencyKeyVerificationFailed,
        Action::PermissionDenied,
        Action::RateLimited,
    ] {
        assert!(codes.contains(wanted.as_str()), "{wanted:?} is not in {codes:?}");
    }

    // Sent again by hand: the same events, known by their ids, and no second mail.
    let uid = |event: &Value| event["metadata"]["uid"].to_string();
    let again = invoke_with(&stack, &stack.export_audit, times(begun, ended)).await;
    assert!(again["events"].as_u64() >= Some(events.len() as u64) && again["from"].is_null(), "{again}");
    let all = peek(&stack, &web, &stack.queues.siem).await;
    for event in &events {
        let copies: Vec<&Value> = all.iter().filter(|other| uid(other) == uid(event)).collect();
        assert!(copies.len() >= 2 && copies.iter().all(|copy| *copy == event), "{event:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audit_3_an_alert_that_cannot_be_mailed_waits_among_the_dead_letters_and_is_mailed_when_redriven() {
    let (web, stack) = (Web::default(), stack());
    let member = Caller::sign_in("member@example.com").await;
    let occasion = unique("undone");
    let id = format!("{}#{occasion}", Action::CacheNotSafe.as_str());
    // Whether it was mailed before cannot be read: so it is not mailed, in case it was.
    let client = aws_sdk_dynamodb::Client::new(&stack.aws().await);
    let key = [("pk", format!("J#alert-{id}")), ("sk", "K#00000000".to_owned())];
    let key = key.map(|(name, value)| (name.to_owned(), AttributeValue::S(value)));
    let put = client.put_item().table_name(&stack.tables.jobs);
    put.set_item(Some(key.clone().into())).send().await.unwrap();
    let failed_before = points("AlertsFailed").iter().filter(|point| point["AlertsFailed"] == 1).count();
    alarm(&stack).await.raise(Action::CacheNotSafe, &occasion, Value::Null).await.unwrap();
    let queue = &stack.queues.dead_letters["alert_dlq"];
    until("the alert is given up", async || {
        let letters = peek(&stack, &web, queue).await;
        let there = letters.iter().any(|letter| letter["entry"]["id"] == id.as_str());
        if there { Ok(()) } else { Err(format!("{letters:?}")) }
    })
    .await;
    let mails = kinds::mails_to(&member, TEAM).await;
    assert!(mails.iter().all(|(_, text)| !text.contains(&occasion)), "nothing was mailed yet");
    let failed = points("AlertsFailed").iter().filter(|point| point["AlertsFailed"] == 1).count();
    assert!(failed >= failed_before + 5, "five tries, each counted: {failed_before}, {failed}");

    client.delete_item().table_name(&stack.tables.jobs).set_key(Some(key.into())).send().await.unwrap();
    let moved = ops::dlq::redrive(&stack, "alert_dlq").await.unwrap();
    assert!(moved.back.values().sum::<usize>() >= 1 && moved.back.len() == 1, "{moved:?}");
    alert(&member, &[&occasion]).await;
    assert!(ops::dlq::redrive(&stack, "no_dlq").await.unwrap_err().to_string().contains("alert_dlq"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audit_3_an_entry_that_cannot_be_read_is_set_aside_and_rings() {
    let (web, stack) = (Web::default(), stack());
    let client = aws_sdk_dynamodb::Client::new(&stack.aws().await);
    let (chain, level) = (format!("C#{}", unique("unreadable")), "critical".to_owned());
    let key = [("pk", chain.clone()), ("sk", "000000000000".to_owned())];
    let key = key.map(|(name, value)| (name.to_owned(), AttributeValue::S(value)));
    let mut item = std::collections::HashMap::from(key.clone());
    item.insert("level".to_owned(), AttributeValue::S(level));
    client.put_item().table_name(&stack.tables.audit).set_item(Some(item)).send().await.unwrap();
    let name = chain.trim_start_matches("C#");
    let found = until("it is set aside", async || {
        let letters = peek(&stack, &web, &stack.queues.dead_letters["export_dlq"]).await;
        let found = letters.iter().find(|letter| letter.to_string().contains(name)).cloned();
        found.ok_or_else(|| format!("{letters:?}"))
    })
    .await;
    client.delete_item().table_name(&stack.tables.audit).set_key(Some(key.into())).send().await.unwrap();
    assert!(found["problem"].as_str().unwrap().contains("attribute prev"), "{found}");
    assert!(points("EventsSetAside").iter().any(|point| point["EventsSetAside"] == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audit_3_a_trail_that_was_tampered_with_is_told_to_the_siem_and_the_security_team() {
    let (web, stack) = (Web::default(), stack());
    let member = Caller::sign_in("member@example.com").await;
    let client = aws_sdk_dynamodb::Client::new(&stack.aws().await);
    let text = |text: String| AttributeValue::S(text);
    let keys = |pk: String, sk: &str| [("pk".to_owned(), text(pk)), ("sk".to_owned(), text(sk.to_owned()))];
    let stray = keys(unique("forged"), "0");
    let name = stray[0].1.as_s().unwrap().clone();
    client.put_item().table_name(&stack.tables.audit).set_item(Some(stray.clone().into())).send().await.unwrap();
    // Each day is checked once: this one again.
    let unchecked = async || {
        let day = SystemClock.now().format("J#audit-check-%Y-%m-%d").to_string();
        let item = client.delete_item().table_name(&stack.tables.jobs);
        item.set_key(Some(keys(day, "K#00000000").into())).send().await.unwrap();
    };
    unchecked().await;
    let mut defects = Vec::new();
    let report = until("the check is through", async || {
        let report = invoke(&stack, &stack.scheduled, "scheduled/check-audit.json").await;
        defects.extend(report["defects"].as_array().unwrap().clone());
        if report["through"] == true { Ok(report) } else { Err(report.to_string()) }
    })
    .await;
    client.delete_item().table_name(&stack.tables.audit).set_key(Some(stray.into())).send().await.unwrap();
    unchecked().await;
    assert!(defects.iter().any(|defect| defect.as_str().unwrap().contains(&name)), "{report}: {defects:?}");
    let (subject, _) = alert(&member, &[&name]).await;
    assert_eq!(subject, "Security alert: the audit trail is not what was written");
    let event = until("the SIEM is told", async || {
        let events = peek(&stack, &web, &stack.queues.siem).await;
        let found = events.into_iter().find(|event| event["unmapped"]["details"].to_string().contains(&name));
        found.ok_or_else(|| "not yet".to_owned())
    })
    .await;
    assert_eq!((&event["class_uid"], &event["severity"]), (&json!(2004), &json!("Critical")));
    assert_eq!(problems(&event), [""; 0], "{event:#}");
    assert!(points("AuditBroken").iter().any(|point| point["AuditBroken"].as_u64() > Some(0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn run_5_what_happens_is_in_the_metrics_of_the_function_that_does_it() {
    let (web, stack) = (Web::default(), stack());
    let mint = Mint::open(&stack, &web).await.unwrap();
    let admin = kinds::admin("metrics", &mint).await;
    let plan = Plan { users: 20, contractors: 10, run: unique("metrics"), now: SystemClock.now() };
    let company = plan.company(&stack.users).unwrap();
    stack.store().await.load(&company.records(plan.now.timestamp_millis())).await.unwrap();
    let body = json!({ "group_id": plan.leaving(), "include_subgroups": true, "reason": "what is measured" });
    let started = admin.send("POST", "/group", None, &body).await;
    let id = started.json["job_id"].as_str().unwrap().to_owned();
    let job = admin.wait_for(&id, |job| job["status"] == "completed").await;
    let affected = job["statistics"]["total_users_affected"].as_u64().unwrap();
    admin.wait_for(&id, |job| job["statistics"]["notifications_sent"] == affected).await;
    alarm(&stack).await.raise(Action::CacheNotSafe, &unique("metrics"), Value::Null).await.unwrap();
    for event in ["redrive", "cache-guard"] {
        invoke(&stack, &stack.scheduled, &format!("scheduled/{event}.json")).await;
    }
    let of_job = |name: &str| -> Vec<u64> {
        let ours = points(name).into_iter().filter(|point| point["job_id"] == id.as_str());
        ours.map(|point| point[name].as_u64().unwrap()).collect()
    };
    until("the log is written", async || {
        let sent: u64 = of_job("MailSent").iter().sum();
        let told = points("AlertsSent").iter().any(|point| point["AlertsSent"] == 1);
        if sent == affected && told { Ok(()) } else { Err(format!("{sent} mails of {affected}, alerts {told}")) }
    })
    .await;
    let tokens = ["access_tokens_revoked", "refresh_tokens_revoked"].map(|name| job["statistics"][name].as_u64());
    let revoked: u64 = tokens.into_iter().flatten().sum();
    assert!(revoked > 0, "{job}");
    assert_eq!(of_job("TokensRevoked"), [revoked], "once, and by as many as the job says");
    let millis = |from: &str, to: &str| {
        let time = |name: &str| job[name].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
        u64::try_from((time(to) - time(from)).num_milliseconds()).unwrap()
    };
    for (name, end) in [("TimeToEffective", "effective_at"), ("TimeToSettled", "completed_at")] {
        let [measured] = of_job(name)[..] else { panic!("{name} once: {:?}", of_job(name)) };
        assert!(measured.abs_diff(millis("created_at", end)) <= 1_000, "{name}: {measured}, {job}");
    }
    for name in ["OpenJobs", "StuckJobs", "CacheComplete", "EventsExported"] {
        let newest = points(name).pop().unwrap_or_else(|| panic!("{name} is not written"));
        let at = newest["_aws"]["Timestamp"].as_i64().unwrap();
        assert!(at > (SystemClock.now() - TimeDelta::minutes(5)).timestamp_millis(), "{newest}");
    }
}

#[tokio::test]
async fn audit_3_the_samples_of_the_export_can_be_invoked_by_hand() {
    let (web, stack) = (Web::default(), stack());
    let member = Caller::sign_in("member@example.com").await;
    assert_eq!(invoke(&stack, &stack.export_audit, "export-audit/stream.json").await, Value::Null);
    let events = peek(&stack, &web, &stack.queues.siem).await;
    let sample = events.iter().find(|event| event["metadata"]["uid"] == "3c0c1d2e-0000-4000-8000-0123456789ab");
    assert_eq!(problems(sample.unwrap()), [""; 0]);
    let mailed = invoke(&stack, &stack.export_audit, "export-audit/alert.json").await;
    assert_eq!(mailed, json!({ "batchItemFailures": [] }));
    alert(&member, &["cache_not_safe#2027-01-15"]).await;
    let replayed = invoke(&stack, &stack.export_audit, "export-audit/replay.json").await;
    assert_eq!(replayed, json!({ "events": 0, "alerts": 0, "set_aside": 0, "from": null }));
}
