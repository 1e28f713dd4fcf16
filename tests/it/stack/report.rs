//! The monthly report on the stack (`[AUDIT-4]`): asked for through the API, made by the schedule, killed half-way.

use std::collections::BTreeMap;
use std::sync::Arc;

use adapters::s3::S3Reports;
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, TimeDelta, Utc};
use domain::audit::verify::Found;
use domain::audit::{Action, AuditLog as _, Entry, JobTrail as _, Origin};
use domain::directory::Actor;
use domain::ids::{ClientId, JobId, UserId};
use domain::job::{Status, Tally};
use domain::ports::RecordStore as _;
use domain::records::{ClientRecord, Entity, Record, UserRecord};
use domain::report::{Month, Report, ReportStore as _, Zone};
use domain::testing::contract;
use domain::time::{Clock as _, SystemClock};
use http::{Request, StatusCode};
use http_body_util::Full;
use ops::issuer::Mint;
use ops::stack::Stack;
use ops::web::{Answer, Web};
use serde_json::{Value, json};
use tests::environment::{stack, unique};
use tests::proxy::{self, Kill};

use super::{BASE, Caller, roles, schedules};

async fn ask(caller: &Caller, month: &str, headers: &[(&str, &str)]) -> Answer {
    let request = Request::get(format!("{}{BASE}/reports/{month}", caller.stack.api_url));
    let request = request.header("authorization", format!("Bearer {}", caller.token));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    caller.web.send(request.body(Full::default()).unwrap()).await.unwrap()
}

/// Somebody new in a role, who has just signed in.
async fn somebody(role: &str) -> (Caller, UserId) {
    let (stack, web, id) = (stack(), Web::default(), UserId::parse(unique(role)).unwrap());
    let record = UserRecord { roles: vec![role.to_owned()], ..UserRecord::new(id.clone()) };
    stack.store().await.apply(&Record::upsert(1, Entity::User(record))).await.unwrap();
    let token = roles::token(&Mint::open(&stack, &web).await.unwrap(), &id);
    (Caller { stack, web, token }, id)
}

fn this_month() -> Month {
    Month::of(SystemClock.now(), Zone::UTC)
}

#[tokio::test]
async fn audit_4_jobs_of_today_are_in_todays_report_as_json_and_as_a_page_in_both_languages() {
    let ((admin, id), (auditor, _)) = (somebody("security_admin").await, somebody("auditor").await);
    let (reason, month) = (format!("{} <b>퇴사</b> & ünï", unique("a reason of its own")), this_month().to_string());
    let client = ClientId::parse(unique("client")).unwrap();
    let record = ClientRecord { id: client.clone(), name: None, secret_sha256: None, may_introspect: false };
    admin.stack.store().await.apply(&Record::upsert(1, Entity::Client(record))).await.unwrap();
    let url = format!("{}{BASE}/client", admin.stack.api_url);
    for _ in 0..4 {
        let body = json!({ "client_id": client, "reason": reason });
        let started = admin.web.api("POST", &url, &admin.token, Some(&body)).await.unwrap();
        assert_eq!(started.status, StatusCode::ACCEPTED, "{}", started.json);
        admin.wait_for(started.json["job_id"].as_str().unwrap(), |job| job["status"] == "completed").await;
    }

    let answer = ask(&auditor, &month, &[]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.json);
    let report: Report = serde_json::from_value(answer.json).unwrap();
    assert!(!report.finished && report.audit.entries >= 8, "{:?}", report.audit);
    let clients = &report.by_type[1];
    assert!(clients.jobs >= 4 && clients.completed >= 4, "{clients:?}");
    let made: Vec<_> = report.by_user.items.iter().filter(|of| of.user.id == id.as_str()).map(|of| of.jobs).collect();
    assert_eq!(made, [4]);
    let bursts = &report.suspicious.rapid_succession.items;
    assert!(bursts.iter().any(|burst| burst.user.id == id.as_str() && burst.jobs == 4), "{bursts:?}");

    for (language, wanted) in [("en-GB,en;q=0.9", "lang=\"en\""), ("ko", "lang=\"ko\"")] {
        let page = ask(&auditor, &month, &[("accept", "text/html"), ("accept-language", language)]).await;
        let kind = page.headers["content-type"].to_str().unwrap();
        assert!(page.status == StatusCode::OK && kind.starts_with("text/html"), "{} {kind}", page.status);
        assert!(page.text.starts_with("<!DOCTYPE html>") && page.text.contains(wanted), "{}", page.text);
        assert!(page.headers["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
        assert!(!page.text.contains("<b>퇴사") && !page.text.contains("<script"), "it is escaped");
    }
}

#[tokio::test]
async fn audit_4_months_to_come_and_what_is_no_month_have_no_report_and_refusals_are_written_down() {
    let (auditor, _) = somebody("auditor").await;
    let next = this_month().after().to_string();
    assert_eq!(ask(&auditor, &next, &[]).await.status, StatusCode::NOT_FOUND);
    for none in ["2026-13", "november", "2026-11-01"] {
        assert_eq!(ask(&auditor, none, &[]).await.status, StatusCode::UNPROCESSABLE_ENTITY, "{none}");
    }
    // A month of before this was built reads well, too, and is kept.
    let empty = ask(&auditor, "2020-02", &[]).await;
    assert_eq!((empty.status, &empty.json["totals"]["jobs"]), (StatusCode::OK, &json!(0)));
    assert_eq!(ask(&auditor, "2020-02", &[]).await.json, empty.json);

    let (stranger, id) = somebody("oauth_admin").await;
    assert_eq!(ask(&stranger, "2020-02", &[]).await.status, StatusCode::FORBIDDEN);
    let (store, now) = (stranger.stack.store().await, SystemClock.now());
    let refused = entries(&store, now - TimeDelta::minutes(5), now).await;
    let refused: Vec<&Entry> = refused.iter().filter(|entry| entry.actor.id == id).collect();
    assert!(
        matches!(refused[..], [entry] if entry.action == Action::PermissionDenied && !entry.success),
        "{refused:?}"
    );
}

async fn entries(store: &Arc<adapters::dynamodb::Dynamo>, since: DateTime<Utc>, until: DateTime<Utc>) -> Vec<Entry> {
    use domain::audit::check::AuditReader as _;
    let (mut entries, mut from) = (Vec::new(), None);
    loop {
        let page = store.between(since, until, from.as_deref()).await.unwrap();
        entries.extend(page.items.into_iter().filter_map(|found| match found {
            Found::Entry(sealed) => sealed.entry().ok(),
            Found::Unreadable(..) => None,
        }));
        from = page.next;
        if from.is_none() {
            return entries;
        }
    }
}

/// The subjects of the mails about a month's report, by address.
async fn mails(stack: &Stack, month: Month) -> BTreeMap<String, Vec<String>> {
    let url = format!("{}/_ministack/ses/messages", stack.endpoint_url);
    let request = Request::get(url).body(Full::default()).unwrap();
    let answer = Web::default().send(request).await.unwrap().json;
    let all = answer["messages"].as_object().unwrap().values().flat_map(|mails| mails.as_array().unwrap());
    let wanted = format!("/reports/{month}");
    let mut by_address: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for mail in all.filter(|mail| mail["BodyText"].as_str().unwrap().contains(&wanted)) {
        let to = mail["To"].as_array().unwrap()[0].as_str().unwrap().to_owned();
        by_address.entry(to).or_default().push(mail["Subject"].as_str().unwrap().to_owned());
    }
    by_address
}

/// Forgets the report, its draft and its mails' claims, as if the month had just ended.
async fn forget(stack: &Stack, month: Month) {
    let client = aws_sdk_s3::Client::new(&stack.aws().await);
    let listed = client.list_objects_v2().bucket(&stack.reports_bucket).send().await.unwrap();
    let keys = listed.contents().iter().filter_map(|object| object.key());
    for key in keys.filter(|key| key.contains(&month.to_string())) {
        client.delete_object().bucket(&stack.reports_bucket).key(key).send().await.unwrap();
    }
}

/// Takes entries back that were put into the past: to the audit's check they are forged, as they should be.
async fn take_back(stack: &Stack, jobs: &[JobId]) {
    let client = aws_sdk_dynamodb::Client::new(&stack.aws().await);
    for job in jobs {
        for found in stack.store().await.of_job(job, None, 10).await.unwrap().items {
            let Found::Entry(sealed) = found else { panic!("{found:?}") };
            let delete = client
                .delete_item()
                .table_name(&stack.tables.audit)
                .key("pk", AttributeValue::S(format!("C#{}", sealed.chain)))
                .key("sk", AttributeValue::S(format!("{:012}", sealed.seq)));
            delete.send().await.unwrap();
        }
    }
}

/// The scheduled task makes last month's report and tells the auditors, once; whoever is killed on the way is followed by
/// one who goes on, and no auditor is mailed twice.
#[tokio::test(flavor = "multi_thread")]
async fn audit_4_the_scheduled_report_is_made_and_mailed_once_whoever_is_killed_on_the_way() {
    let stack = stack();
    let (store, month) = (stack.store().await, this_month().before());
    let (from, _) = month.span(Zone::UTC);
    let actor =
        Actor { id: UserId::parse(unique("reported")).unwrap(), email: None, name: Some("김하나".to_owned()) };
    let group = domain::ids::GroupId::parse("g").unwrap();
    let mut made = Vec::new();
    for minute in 0..5 {
        let mut job =
            contract::job(&unique("reported"), &group, from + TimeDelta::hours(30) + TimeDelta::minutes(minute));
        job.initiated_by = actor.clone();
        store.append(&Entry::initiated(unique("entry"), &job, None, Origin::default())).await.unwrap();
        store.append(&Entry::closed(&job, Status::Completed, &Tally::default(), job.created_at)).await.unwrap();
        made.push(job.id);
    }

    forget(&stack, month).await;
    let event = "scheduled/monthly-report.json";
    let first = tests::invoke::invoke(&stack, &stack.scheduled, event).await;
    let expected =
        json!({ "month": month.to_string(), "mailed": 2, "mailed_before": 0, "not_mailed": 0, "to_be_mailed": 0 });
    assert_eq!(first, expected);
    let reports = S3Reports::new(&stack.aws().await, stack.reports_bucket.clone());
    let kept = reports.read(&format!("reports/{month}.json")).await.unwrap().unwrap();
    let report: Report = serde_json::from_str(&kept).unwrap();
    assert!(report.finished);
    let bursts = report.suspicious.rapid_succession.items;
    assert!(bursts.iter().any(|burst| burst.user.id == actor.id.as_str() && burst.jobs == 5), "{bursts:?}");
    for language in ["en", "ko"] {
        let page = reports.read(&format!("reports/{month}.{language}.html")).await.unwrap().unwrap();
        assert!(page.contains(&format!("lang=\"{language}\"")) && page.contains("김하나"));
    }
    let sent = mails(&stack, month).await;
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert!(
        sent["auditor@example.com"][0].contains("보고서") && sent["audit-office@example.com"][0].contains("report")
    );

    let again = tests::invoke::invoke(&stack, &stack.scheduled, event).await;
    assert_eq!((&again["mailed"], &again["mailed_before"]), (&json!(0), &json!(2)));
    assert_eq!(mails(&stack, month).await, sent, "nobody is mailed a second time");
    assert_eq!(reports.read(&format!("reports/{month}.json")).await.unwrap().unwrap(), kept);

    // How many calls a run makes, and what is done at them: the last ones keep the report and mail.
    let task = json!({ "task": "monthly-report" });
    forget(&stack, month).await;
    let (endpoint, calls) = proxy::start(&stack.endpoint_url, None).await;
    let mut function = tests::function::Function::start("scheduled", &schedules::variables(&stack, &endpoint)).await;
    function.ready().await;
    let before = calls.count();
    assert!(matches!(function.invoke(&task).await, tests::function::Outcome::Answered(_)));
    let all = calls.count() - before;
    let moments = [1, 2, 3, 40].into_iter().chain(all - 12..=all);
    for moment in moments {
        for kill in [Kill::Before(moment), Kill::After(moment)] {
            forget(&stack, month).await;
            let sent_before = mails(&stack, month).await;
            schedules::killed(&stack, &task, kill).await;
            let done = tests::invoke::invoke(&stack, &stack.scheduled, event).await;
            assert_eq!(done["read_until"], Value::Null, "{kill:?}: {done}");
            let kept = reports.read(&format!("reports/{month}.json")).await.unwrap().unwrap();
            let after: Report = serde_json::from_str(&kept).unwrap();
            assert_eq!(after.totals, report.totals, "{kill:?}");
            for (address, before) in sent_before {
                let new = mails(&stack, month).await[&address].len() - before.len();
                assert!(new <= 1, "{address} is mailed {new} times after {kill:?}");
            }
        }
    }
    take_back(&stack, &made).await;
}
