//! The monthly report over a real store, and through the API's own router.

use std::sync::Arc;

use axum::body::Body;
use chrono::{DateTime, TimeDelta, Utc};
use domain::audit::{Action, AuditLog as _, Entry, Origin};
use domain::conditions::Conditions;
use domain::directory::Actor;
use domain::ids::{GroupId, JobId, UserId};
use domain::job::{Job, Statistics, Status, Tally};
use domain::ports::{NewJob, RecordStore as _};
use domain::records::{Entity, Record, UserRecord};
use domain::report::{Made, Month, Report, Reporter, Zone};
use domain::testing::{Memory, MemoryHeads, MemoryReports, TestClock};
use http::{Request, StatusCode};
use tests::door::{Answer, Door};
use tests::store::Store;
use tower::ServiceExt as _;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// A job with its entry, as the door writes it.
async fn made<S: domain::ports::JobStore>(store: &S, by: &Actor, name: &str, at: DateTime<Utc>, dry_run: bool) -> Job {
    let group_id = GroupId::parse("g").unwrap();
    let conditions = Conditions::GroupBased { group_id, include_subgroups: false, exclude_admin_users: true };
    let id = JobId::parse(name).unwrap();
    let job = Job { dry_run, ..Job::new(id, conditions, by.clone(), format!("because of {name}"), at) };
    let entry = Entry::initiated(format!("{name}-made"), &job, None, Origin::default());
    store.create(NewJob { audit: Some(&entry), ..NewJob::plain(&job) }).await.unwrap();
    job
}

/// What a month says is the same whether it is read from DynamoDB, in several chains and pages, or from memory.
#[tokio::test]
async fn audit_4_a_real_store_gives_the_same_report_as_memory() {
    let server = Store::start().await;
    let (dynamo, memory) = (server.dynamo().await, Arc::new(Memory::default()));
    let by = |name: &str| Actor { id: UserId::parse(name).unwrap(), email: None, name: Some(format!("{name} 님")) };
    let (kim, lee) = (by("kim"), by("lee"));
    let write = async |second: bool| {
        // Two processes, so two chains, in the real store.
        let writer = if second { server.dynamo().await } else { dynamo.clone() };
        let first = at("2026-11-01T00:00:00Z") + TimeDelta::minutes(i64::from(second));
        for n in 0..24 {
            let (time, name) = (first + TimeDelta::days(n) + TimeDelta::hours(9), format!("{second}-{n}"));
            let history = time - TimeDelta::days(40);
            let who = if second { &kim } else { &lee };
            for (name, time) in [(format!("h-{name}"), history), (name, time)] {
                let real = made(writer.as_ref(), who, &name, time, n % 5 == 0).await;
                made(memory.as_ref(), who, &name, time, n % 5 == 0).await;
                let lost = Statistics { total_users_affected: 7, access_tokens_revoked: 9, ..Statistics::default() };
                let tally = Tally { statistics: lost, ..Tally::default() };
                let closed = Entry::closed(&real, Status::Completed, &tally, time + TimeDelta::minutes(2));
                writer.append(&closed).await.unwrap();
                memory.append(&closed).await.unwrap();
            }
        }
    };
    write(false).await;
    write(true).await;
    // Three jobs before the month, and the fourth in it; and one in the night.
    for (name, time) in [
        ("a", "2026-10-31T23:30:00Z"),
        ("b", "2026-10-31T23:40:00Z"),
        ("c", "2026-10-31T23:50:00Z"),
        ("d", "2026-11-01T00:10:00Z"),
    ] {
        made(dynamo.as_ref(), &lee, name, at(time), false).await;
        made(memory.as_ref(), &lee, name, at(time), false).await;
    }
    made(dynamo.as_ref(), &kim, "night", at("2026-11-20T04:00:00Z"), false).await;
    made(memory.as_ref(), &kim, "night", at("2026-11-20T04:00:00Z"), false).await;
    let clock = Arc::new(TestClock::at(at("2026-12-01T06:00:00Z")));
    let reports = [report_of(dynamo.clone(), clock.clone()).await, report_of(memory, clock).await];
    assert_eq!(reports[0], reports[1]);
    let report = &reports[0];
    assert_eq!((report.totals.jobs, report.totals.dry_runs, report.totals.users), (40, 10, 2));
    let suspicious = &report.suspicious;
    assert_eq!((suspicious.excessive.items.len(), suspicious.rapid_succession.items.len()), (2, 1));
    assert_eq!(suspicious.rapid_succession.items[0].first, at("2026-10-31T23:30:00Z"));
    assert_eq!(suspicious.unusual_hours.items[0].user.id, "kim");
    assert_eq!(suspicious.unusual_hours.items[0].usual_hours, [8, 9, 10]);
}

async fn report_of<S>(store: Arc<S>, clock: Arc<TestClock>) -> Report
where
    S: domain::audit::check::AuditReader + domain::ports::JobStore + 'static,
{
    let (heads, reports) = (Arc::new(MemoryHeads::default()), Arc::new(MemoryReports::default()));
    let reporter = Reporter { trail: store.clone(), heads, jobs: store, store: reports, clock, zone: Zone::UTC };
    match reporter.report(Month::parse("2026-11").unwrap(), DateTime::<Utc>::MAX_UTC).await.unwrap() {
        Made::Report(report) => *report,
        under_way @ Made::UnderWay { .. } => panic!("{under_way:?}"),
    }
}

/// Somebody in a role, with a token.
async fn token(door: &Door<Memory, Memory>, name: &str, role: &str, locale: Option<&str>) -> String {
    let id = UserId::parse(name).unwrap();
    let (roles, locale) = (vec![role.to_owned()], locale.map(str::to_owned));
    let record = UserRecord { roles, locale, ..UserRecord::new(id) };
    door.fleet.store.apply(&Record::upsert(1, Entity::User(record))).await.unwrap();
    door.sign_in(name).await.text("access_token")
}

async fn ask(door: &Door<Memory, Memory>, token: &str, month: &str, headers: &[(&str, &str)]) -> Answer {
    let path = format!("/api/admin/oauth/batch-logout/reports/{month}");
    let request = Request::get(path).header("authorization", format!("Bearer {token}"));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    Answer::of(door.admin_router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()).await
}

#[tokio::test]
async fn audit_4_whoever_may_view_gets_reports_in_the_form_and_language_they_want() {
    let door = Door::in_memory(at("2026-12-05T06:00:00Z"), domain::testing::Habits::default()).await;
    let auditor = token(&door, "auditor", "auditor", Some("ko-KR")).await;
    let json = ask(&door, &auditor, "2026-11", &[]).await;
    assert_eq!((json.status, json.text("month")), (StatusCode::OK, "2026-11".to_owned()));
    assert_eq!(json.header("vary"), "Accept, Accept-Language");
    for (headers, language) in [
        (&[("accept", "text/html")][..], "ko"),
        (&[("accept", "text/html"), ("accept-language", "en-US,en;q=0.5")], "en"),
    ] {
        let page = ask(&door, &auditor, "2026-11", headers).await;
        assert_eq!(page.header("content-language"), language);
        assert!(page.raw.contains(&format!("<html lang=\"{language}\">")), "{}", page.raw);
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(page.header("cache-control"), "no-store");
        assert!(page.header("content-security-policy").starts_with(&domain::report::policy()));
        assert_eq!(page.header("content-disposition"), "inline; filename=\"batch-logout-2026-11.html\"");
    }
    assert_eq!(ask(&door, &auditor, "2027-01", &[]).await.status, StatusCode::NOT_FOUND);
    assert_eq!(ask(&door, &auditor, "2026-1", &[]).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let names: Vec<String> = door.fleet.reports.kept().into_keys().collect();
    assert_eq!(names, ["reports/2026-11.en.html", "reports/2026-11.json", "reports/2026-11.ko.html"]);
}

#[tokio::test]
async fn audit_4_who_may_not_view_gets_no_report_and_that_is_written_down() {
    let door = Door::in_memory(at("2026-12-05T06:00:00Z"), domain::testing::Habits::default()).await;
    let admin = token(&door, "somebody", "oauth_admin", None).await;
    for month in ["2026-11", "nonsense"] {
        assert_eq!(ask(&door, &admin, month, &[]).await.status, StatusCode::FORBIDDEN);
    }
    let refused: Vec<Entry> = door.fleet.store.audit();
    let refused: Vec<&Entry> = refused.iter().filter(|entry| entry.action == Action::PermissionDenied).collect();
    assert_eq!(refused.len(), 2);
    assert_eq!(refused[0].metadata["asked_for"], "/reports/2026-11");
}
