//! The SIEM and the security team are told of what matters in the audit trail (`[AUDIT-3]`, `[EKEY-2]`): every warning
//! and critical entry and nothing else, whatever fails on the way.

use std::collections::BTreeSet;
use std::sync::Arc;

use adapters::dynamodb::audit::of_stream;
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, TimeDelta, Utc};
use domain::accept::{Accepted, By, Request};
use domain::audit::chain::Sealed;
use domain::audit::check::AuditReader;
use domain::audit::verify::{Found, Place};
use domain::audit::{Action, AuditLog as _, Entry, Level, Origin};
use domain::conditions::Conditions;
use domain::directory::{Actor, User};
use domain::emergency::PresentedKey;
use domain::error::WorkError;
use domain::ids::{ChainId, UserId};
use domain::job::Priority;
use domain::messages::AlertMessage;
use domain::settings::SecurityTeam;
use domain::siem::alert::{Alerted, Alerter};
use domain::siem::{Exporter, Period};
use domain::testing::ocsf::problems;
use domain::testing::{Memory, MemoryOutlet};
use domain::time::{Clock as _, from_millis};
use export_audit::{Deps, Event};
use lambda_runtime::LambdaEvent;
use serde_json::{Value, json};
use tests::fleet::Fleet;
use tests::store::{Store, tables};

fn now() -> DateTime<Utc> {
    from_millis(1_800_000_000_000)
}

type InMemory = Fleet<Memory, Memory>;

/// Each kind of entry comes once as a warning and once as critical.
const KINDS: usize = Action::ALL.len();

fn entry(id: &str, action: Action, level: Level) -> Entry {
    Entry {
        id: id.to_owned(),
        at: now(),
        action,
        level,
        actor: Actor { id: UserId::parse("u-1").unwrap(), email: None, name: Some("김하나".to_owned()) },
        job_id: None,
        success: level == Level::Info,
        metadata: json!({ "이유": "🔑" }),
        origin: Origin { source_ip: Some("192.0.2.7".to_owned()), ..Origin::default() },
    }
}

/// A trail with every action at every level.
async fn busy() -> InMemory {
    let fleet = Fleet::in_memory(now());
    for action in Action::ALL {
        for level in [Level::Info, Level::Warning, Level::Critical] {
            let id = format!("{}-{}", action.as_str(), level.as_str());
            fleet.store.append(&entry(&id, action, level)).await.unwrap();
        }
    }
    fleet
}

fn exporter(fleet: &InMemory, outlet: &Arc<MemoryOutlet>) -> Exporter {
    Exporter { outlet: outlet.clone(), trail: fleet.store.clone(), clock: fleet.clock.clone() }
}

fn alerter(fleet: &InMemory, locale: &str) -> Alerter {
    let team = SecurityTeam { address: "security-team@example.com".to_owned(), locale: Some(locale.to_owned()) };
    Alerter { jobs: fleet.store.clone(), mailer: fleet.mailer.clone(), team: Some(team) }
}

async fn trail(fleet: &InMemory) -> Vec<Found> {
    let (mut all, mut from) = (Vec::new(), None);
    loop {
        let page = fleet.store.between(now(), fleet.clock.now(), from.as_deref()).await.unwrap();
        all.extend(page.items);
        from = page.next;
        if from.is_none() {
            return all;
        }
    }
}

fn uids(events: &[Value]) -> BTreeSet<String> {
    events.iter().map(|event| event["metadata"]["uid"].as_str().unwrap().to_owned()).collect()
}

fn ids(entries: &[Entry], least: Level) -> BTreeSet<String> {
    entries.iter().filter(|entry| entry.level >= least).map(|entry| entry.id.clone()).collect()
}

#[tokio::test]
async fn audit_3_every_warning_and_critical_goes_to_the_siem_and_no_everyday_entry() {
    let (fleet, outlet) = (busy().await, Arc::default());
    let done = exporter(&fleet, &outlet).export(trail(&fleet).await).await.unwrap();
    let (taken, written) = (outlet.taken(), fleet.store.audit());
    assert_eq!((done.events, done.alerts, done.set_aside), (2 * KINDS, KINDS, 0));
    assert_eq!((taken.events.len(), uids(&taken.events)), (2 * KINDS, ids(&written, Level::Warning)));
    assert_eq!((taken.alerts.len(), ids(&taken.alerts, Level::Info)), (KINDS, ids(&written, Level::Critical)));
    for event in &taken.events {
        assert_eq!(problems(event), [""; 0], "{event:#}");
    }
}

#[tokio::test]
async fn audit_3_wherever_the_queues_fail_nothing_is_lost_and_what_comes_twice_is_known() {
    let fleet = busy().await;
    let written = fleet.store.audit();
    let everything = 3 * KINDS;
    for taken_before in 0..=everything {
        let outlet = Arc::<MemoryOutlet>::default();
        outlet.fail_after(Some(taken_before));
        let first = exporter(&fleet, &outlet).export(trail(&fleet).await).await;
        assert_eq!(first.is_err(), taken_before < everything, "what was not taken is an error: {taken_before}");
        outlet.fail_after(None);
        if first.is_err() {
            exporter(&fleet, &outlet).export(trail(&fleet).await).await.unwrap();
        }
        let taken = outlet.taken();
        assert_eq!(uids(&taken.events), ids(&written, Level::Warning), "{taken_before}");
        assert_eq!(ids(&taken.alerts, Level::Info), ids(&written, Level::Critical), "{taken_before}");
        let once: BTreeSet<String> = taken.events.iter().map(Value::to_string).collect();
        assert_eq!(once.len(), 2 * KINDS, "an event that comes twice is the same event");
    }
}

#[tokio::test]
async fn audit_3_what_cannot_be_read_is_set_aside_and_holds_up_nothing() {
    let (fleet, outlet) = (busy().await, Arc::<MemoryOutlet>::default());
    let mut found = trail(&fleet).await;
    let Found::Entry(good) = found[1].clone() else { panic!("an entry") };
    let chain = ChainId::parse("c").unwrap();
    found.insert(0, Found::Entry(Sealed { text: good.text.replace("u-1", "u-2"), ..good.clone() }));
    found.insert(9, Found::Entry(Sealed::new(chain.clone(), 0, good.prev, "{\"of\":\"another version\"}".to_owned())));
    found.push(Found::Unreadable(Place::Entry(chain, 1), "attribute hash is none".to_owned()));
    let done = exporter(&fleet, &outlet).export(found).await.unwrap();
    let taken = outlet.taken();
    assert_eq!((done.events, done.set_aside, taken.set_aside.len()), (2 * KINDS, 3, 3));
    assert_eq!(taken.set_aside[0]["problem"], "its hash is not that of its text");
    assert_eq!(taken.set_aside[1]["entry"]["text"], "{\"of\":\"another version\"}", "nothing of it is lost");
    assert_eq!(taken.set_aside[2]["place"], "chain c, entry 1");
}

#[tokio::test]
async fn audit_3_a_time_of_the_trail_goes_out_again_as_far_as_there_is_time() {
    let (fleet, outlet) = (busy().await, Arc::default());
    let exporter = exporter(&fleet, &outlet);
    let (mut from, mut runs) = (None, 0);
    loop {
        let period = Period { since: now(), until: now(), from };
        let (_, next) = exporter.replay(period, fleet.clock.now()).await.unwrap();
        (from, runs) = (next, runs + 1);
        if from.is_none() {
            break;
        }
    }
    assert!(runs > 3, "there was time for a page only: {runs}");
    let taken = outlet.taken();
    assert_eq!((taken.events.len(), uids(&taken.events)), (2 * KINDS, ids(&fleet.store.audit(), Level::Warning)));
    let later = Period { since: now() + TimeDelta::seconds(1), until: now() + TimeDelta::hours(1), from: None };
    let (done, _) = exporter.replay(later, fleet.clock.now()).await.unwrap();
    assert_eq!(done.events, 0, "nothing happened then");
}

/// An admin who starts an emergency, and the entry about it.
async fn emergency(fleet: &InMemory) -> Entry {
    let id = UserId::parse("admin").unwrap();
    let roles = vec!["security_admin".to_owned()];
    let admin = User { roles, email: Some("admin@example.com".to_owned()), ..User::unknown(id) };
    fleet.desk().request(&admin, &Origin::default()).await.unwrap();
    let text = fleet.mailer.sent().last().unwrap().text.clone();
    let key = text.split(|c: char| !c.is_ascii_digit()).find(|run| run.len() == 6).unwrap();
    let conditions = Conditions::Emergency {
        exclude_admin_sessions: true,
        preserve_service_tokens: true,
        authorized_by: "이사회 🔑".to_owned(),
    };
    let request = Request {
        reason: "Critical security breach detected".to_owned(),
        emergency_key: Some(PresentedKey::new(key)),
        ..Request::of(conditions, Priority::Immediate)
    };
    let answer = fleet.acceptor().accept(By::User { user: &admin, desk: &fleet.desk() }, request).await.unwrap();
    let Accepted::Started { job, .. } = answer.accepted else { panic!("started") };
    let found = |entry: &Entry| entry.job_id.as_ref() == Some(&job.id);
    fleet.store.audit().into_iter().find(found).unwrap()
}

#[tokio::test]
async fn ekey_2_an_emergency_is_critical_goes_to_the_siem_and_is_mailed_once_to_the_security_team() {
    let fleet = Fleet::in_memory(now());
    let entry = emergency(&fleet).await;
    assert_eq!(entry.level, Level::Critical);
    let outlet = Arc::default();
    exporter(&fleet, &outlet).export(trail(&fleet).await).await.unwrap();
    assert_eq!(outlet.taken().alerts, std::slice::from_ref(&entry));
    assert_eq!(uids(&outlet.taken().events), BTreeSet::from([entry.id.clone()]));

    let mailed_before = fleet.mailer.sent().len();
    let alerter = alerter(&fleet, "en");
    fleet.mailer.set_down(true);
    assert!(matches!(alerter.tell(&entry).await, Err(WorkError::Retry(_))), "the queue brings it again");
    fleet.mailer.set_down(false);
    assert_eq!(alerter.tell(&entry).await.unwrap(), Alerted::Sent);
    assert_eq!(alerter.tell(&entry).await.unwrap(), Alerted::Before, "the stream may deliver twice");
    let mails = fleet.mailer.sent();
    assert_eq!(mails.len(), mailed_before + 1);
    let mail = &mails[mailed_before];
    assert_eq!(mail.to, "security-team@example.com");
    let job = entry.job_id.as_ref().unwrap().as_str();
    for wanted in [job, "admin@example.com", "Critical security breach detected", "이사회 🔑", "Yes: every token"]
    {
        assert!(mail.text.contains(wanted), "{wanted}: {}", mail.text);
    }
}

#[tokio::test]
async fn audit_3_every_other_critical_entry_is_mailed_in_the_teams_language() {
    let fleet = Fleet::in_memory(now());
    for action in Action::ALL {
        let entry = entry(action.as_str(), action, Level::Critical);
        assert_eq!(alerter(&fleet, "ko").tell(&entry).await.unwrap(), Alerted::Sent);
        let mail = fleet.mailer.sent().pop().unwrap();
        assert!(mail.subject.starts_with("[보안 알림]"), "{}", mail.subject);
        assert!(mail.text.contains("이유: 🔑") && mail.text.contains(action.as_str()), "{}", mail.text);
    }
    let nobody = Alerter { team: None, ..alerter(&fleet, "ko") };
    assert_eq!(nobody.tell(&entry("x", Action::CacheNotSafe, Level::Critical)).await.unwrap(), Alerted::Nobody);
    assert_eq!(fleet.mailer.sent().len(), Action::ALL.len());
}

async fn run(deps: &Deps, event: Value) -> Result<Value, lambda_runtime::Error> {
    let event: Event = serde_json::from_value(event).unwrap();
    let mut context = lambda_runtime::Context::default();
    context.deadline = u64::try_from((now() + TimeDelta::minutes(5)).timestamp_millis()).unwrap();
    export_audit::handle(LambdaEvent::new(event, context), deps).await
}

fn deps(fleet: &InMemory, outlet: &Arc<MemoryOutlet>) -> Deps {
    Deps { exporter: exporter(fleet, outlet), alerter: alerter(fleet, "en"), of_stream }
}

#[tokio::test]
async fn audit_3_an_alert_that_cannot_be_mailed_comes_back_alone() {
    let (fleet, outlet) = (Fleet::in_memory(now()), Arc::default());
    let deps = deps(&fleet, &outlet);
    let body =
        |id: &str| serde_json::to_string(&AlertMessage::new(entry(id, Action::CacheNotSafe, Level::Critical))).unwrap();
    let record = |id: &str, body: String| json!({ "messageId": id, "eventSource": "aws:sqs", "body": body });
    let event = json!({ "Records": [record("1", body("a")), record("2", "{}".to_owned()), record("3", body("b"))] });
    let answer = run(&deps, event).await.unwrap();
    assert_eq!(answer["batchItemFailures"], json!([{ "itemIdentifier": "2" }]), "it ends among the dead letters");
    assert_eq!(fleet.mailer.sent().len(), 2);
    fleet.mailer.set_down(true);
    let answer = run(&deps, json!({ "Records": [record("4", body("c")), record("5", body("a"))] })).await.unwrap();
    assert_eq!(answer["batchItemFailures"], json!([{ "itemIdentifier": "4" }]), "5 was mailed before");
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_3_what_the_table_says_was_written_is_what_the_siem_is_told() {
    let server = Store::start().await;
    let store = server.dynamo().await;
    let client = aws_sdk_dynamodb::Client::new(&server.aws().await);
    for (id, level) in [("quiet", Level::Info), ("loud", Level::Warning), ("shrill", Level::Critical)] {
        store.append(&entry(id, Action::PermissionDenied, level)).await.unwrap();
    }
    let items = client.scan().table_name(tables().audit).send().await.unwrap().items.unwrap();
    let text = |value: &AttributeValue| json!({ "S": value.as_s().unwrap() });
    let image = |item: &std::collections::HashMap<String, AttributeValue>| -> Value {
        item.iter().map(|(name, value)| (name.clone(), text(value))).collect::<serde_json::Map<_, _>>().into()
    };
    let levels: BTreeSet<String> = items.iter().map(|item| item["level"].as_s().unwrap().clone()).collect();
    let known = ["critical", "info", "warning"].map(str::to_owned);
    assert_eq!(levels, BTreeSet::from(known), "what the stream is filtered by");

    let (fleet, outlet) = (Fleet::in_memory(now()), Arc::default());
    let deps = deps(&fleet, &outlet);
    let record = |image: Value| json!({ "eventName": "INSERT", "dynamodb": { "NewImage": image } });
    let records: Vec<Value> = items.iter().map(|item| record(image(item))).collect();
    run(&deps, json!({ "Records": records })).await.unwrap();
    let taken = outlet.taken();
    assert_eq!(uids(&taken.events), BTreeSet::from(["loud".to_owned(), "shrill".to_owned()]));
    assert_eq!((taken.alerts.len(), taken.set_aside.len()), (1, 0));
    let Found::Entry(last) = of_stream(&image(&items[2])) else { panic!("an entry") };
    assert!(last.is_whole() && store.last(&last.chain).await.unwrap() == Some(Found::Entry(last)), "whole");

    let mut of_before = image(&items[2]);
    of_before.as_object_mut().unwrap().remove("level");
    assert_eq!(of_stream(&of_before), of_stream(&image(&items[2])), "entries of before had no level beside them");

    // A level that is not the entry's, an attribute that is no text, one that is missing: none of it passes for whole.
    for (name, value) in [("level", Some(json!({ "S": "info" }))), ("time", Some(json!({ "N": "1" }))), ("hash", None)]
    {
        let mut image = image(&items[2]);
        match value {
            Some(value) => image[name] = value,
            None => drop(image.as_object_mut().unwrap().remove(name)),
        }
        run(&deps, json!({ "Records": [record(image)] })).await.unwrap();
        let problem = outlet.taken().set_aside.pop().unwrap();
        assert!(problem["problem"].as_str().unwrap().contains(name), "{name}: {problem}");
    }
    outlet.fail_after(Some(0));
    assert!(run(&deps, json!({ "Records": records })).await.is_err(), "the stream brings all of it again");
}
