//! One batch logout, end to end: over a thousand users, effective at once, exact to the last row.

use std::collections::BTreeMap;
use std::time::Instant;

use domain::ids::{RawToken, UserId};
use domain::inspect::Inspector;
use domain::job::{Facts, Fate};
use domain::ports::{JobStore as _, TokenStore as _};
use domain::time::{Clock as _, Epoch, SystemClock};
use domain::token::{Owner, RevokedBy, TokenKind};
use futures::stream::{self, StreamExt as _};
use http::StatusCode;
use ops::company::{Company, INTROSPECTOR, Issued, Plan};
use ops::issuer::{self, Mint};
use ops::stack::Stack;
use serde_json::json;
use tests::environment::unique;
use tests::verifier::verifier;

use super::Caller;

const SAMPLE: usize = 1_000;

async fn load(stack: &Stack, plan: &Plan) -> Company {
    let company = plan.company(&stack.users).unwrap();
    let store = stack.store().await;
    for batch in company.records(plan.now.timestamp_millis()).chunks(1_000) {
        store.load(batch).await.unwrap();
    }
    company
}

fn sample(company: &Company, mint: &Mint, leaving: bool) -> Vec<RawToken> {
    let now = Epoch::from(SystemClock.now());
    let live = company.tokens.iter().filter(|token| token.leaving == leaving && token.is_live(now));
    let jwts = live.filter(|token| token.opaque.is_none());
    let sample: Vec<RawToken> =
        jwts.take(SAMPLE).map(|token| RawToken::new(mint.sign(&token.record).unwrap())).collect();
    assert_eq!(sample.len(), SAMPLE, "the company has enough tokens");
    sample
}

async fn accepted(inspector: &Inspector, tokens: &[RawToken]) -> usize {
    stream::iter(tokens)
        .map(|token| async { usize::from(inspector.inspect(token).await.unwrap().verdict.is_ok()) })
        .buffer_unordered(32)
        .fold(0, |sum, one| async move { sum + one })
        .await
}

/// By the rows: what the job took from each user of the company.
async fn scan(stack: &Stack, company: &Company, job: &str) -> BTreeMap<UserId, Facts> {
    let store = stack.store().await;
    let mut users: Vec<UserId> = company.tokens.iter().filter_map(|token| token.record.user_id.clone()).collect();
    users.extend(stack.users.iter().map(|person| UserId::parse(&*person.id).unwrap()));
    users.sort();
    users.dedup();
    let rows = stream::iter(users).map(|user| {
        let store = store.clone();
        async move { (user.clone(), store.holdings(&Owner::User(user)).await.unwrap()) }
    });
    let by = RevokedBy::parse(job).unwrap();
    let facts = rows.buffer_unordered(16).map(|(user, holdings)| {
        let of = |kind| {
            let ours =
                holdings.tokens.iter().filter(|token| token.revoked.as_ref().is_some_and(|revoked| revoked.by == by));
            ours.filter(|token| token.kind == kind).count() as u64
        };
        let sessions = holdings.sessions.iter().filter(|session| session.ended_by.as_ref() == Some(&by)).count() as u64;
        (user, Facts { access_tokens: of(TokenKind::Access), refresh_tokens: of(TokenKind::Refresh), sessions })
    });
    facts.filter(|(_, facts)| std::future::ready(!facts.is_nothing())).collect().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_over_a_thousand_users_is_logged_out_exactly() {
    let admin = Caller::sign_in("security.admin@example.com").await;
    let stack = &admin.stack;
    let plan = Plan { users: 2_600, contractors: 1_200, run: unique("slice"), now: SystemClock.now() };
    let company = load(stack, &plan).await;
    let mint = Mint::open(stack, &admin.web).await.unwrap();
    let (covered, uncovered) = (sample(&company, &mint, true), sample(&company, &mint, false));
    let inspector = verifier(stack).await;
    assert_eq!(accepted(&inspector, &covered[..20]).await, 20, "good before the job");

    let member = stack.person("member@example.com").unwrap();
    let before = issuer::sign_in(stack, &admin.web, member).await.unwrap();

    let mut body = json!({
        "group_id": plan.leaving(), "include_subgroups": true, "notify_users": false,
        "reason": "계약이 끝났습니다: contractors leave",
    });
    body["dry_run"] = true.into();
    let counted = admin.post_group(&body).await;
    assert_eq!(counted.status, StatusCode::OK, "{}", counted.json);
    let would = counted.json["would_affect"].clone();
    assert!(would["users"].as_u64().unwrap() >= 1_000, "{would}");
    assert_eq!(counted.json["includes"]["admins"], false, "the security admin in the group is spared");
    body["dry_run"] = false.into();
    body["plan_id"] = counted.json["plan_id"].clone();
    body["confirmation_code"] = counted.json["confirmation_code"].clone();
    let started = admin.post_group(&body).await;
    assert_eq!(started.status, StatusCode::ACCEPTED, "{}", started.json);
    let id = started.json["job_id"].as_str().unwrap().to_owned();
    assert!(started.headers["location"].to_str().unwrap().ends_with(&id));

    let job = admin.wait_for(&id, |job| job["effective_at"].is_string()).await;
    let effective: chrono::DateTime<chrono::Utc> = job["effective_at"].as_str().unwrap().parse().unwrap();
    let begun = Instant::now();
    let (bad, good) = futures::join!(accepted(&inspector, &covered), accepted(&inspector, &uncovered));
    println!(
        "2,000 checks in {:?}, begun {} ms after the job was effective; job was {} then",
        begun.elapsed(),
        (SystemClock.now() - effective).num_milliseconds() - i64::try_from(begun.elapsed().as_millis()).unwrap(),
        job["status"]
    );
    assert_eq!((bad, good), (0, SAMPLE), "covered accepted, uncovered accepted");

    // Over HTTP, too; opaque tokens as well as JWTs.
    let now = Epoch::from(SystemClock.now());
    for leaving in [true, false] {
        let opaque = company.tokens.iter().filter(|token| token.leaving == leaving && token.is_live(now));
        let opaque: Vec<&Issued> = opaque.filter(|token| token.opaque.is_some()).step_by(97).take(10).collect();
        for token in opaque {
            let raw = token.opaque.as_deref().unwrap();
            let answer = admin.web.introspect(&stack.api_url, INTROSPECTOR, raw).await.unwrap();
            assert_eq!(
                (answer.status, answer.json["active"].as_bool()),
                (StatusCode::OK, Some(!leaving)),
                "{:?}",
                token.record
            );
            if leaving {
                assert_eq!(answer.json, json!({ "active": false }), "RFC 7662 §2.2: nothing else is said");
            }
        }
    }
    let active = async |token: &str| {
        let answer = admin.web.introspect(&stack.api_url, INTROSPECTOR, token).await.unwrap();
        answer.json["active"].as_bool().unwrap()
    };
    let after = issuer::sign_in(stack, &admin.web, member).await.unwrap();
    assert!(!active(&before).await, "the old sign-in");
    assert!(!active(&mint.refreshed(&before, now).unwrap()).await, "CUT-4: refreshed from the old sign-in");
    assert!(active(&after).await, "SCOPE-6: a sign-in after the job lives");
    assert!(active(&admin.token).await, "the admin is spared");

    let job = admin.wait_for(&id, |job| job["completed_at"].is_string()).await;
    assert_eq!((job["status"].as_str(), job["progress"].as_u64()), (Some("completed"), Some(100)));
    let statistics = &job["statistics"];
    for (planned, done) in [
        ("users", "total_users_affected"),
        ("access_tokens", "access_tokens_revoked"),
        ("refresh_tokens", "refresh_tokens_revoked"),
        ("sessions", "sessions_terminated"),
    ] {
        assert_eq!(would[planned], statistics[done], "{done}: {statistics}");
    }
    let rows = scan(stack, &company, &id).await;
    let job_id = domain::ids::JobId::parse(&*id).unwrap();
    let store = stack.store().await;
    let chunks = store.get(&job_id).await.unwrap().unwrap().plan.chunks;
    let mut recorded = BTreeMap::new();
    for chunk in 0..chunks {
        let lost = store.affected(&job_id, chunk, Fate::Lost).await.unwrap();
        recorded.extend(lost.into_iter().filter_map(|(owner, facts)| Some((owner.user()?.clone(), facts))));
    }
    assert_eq!(recorded, rows, "SCOPE-7: affected users = rows");
    let sum = tests::company::sum(rows.values());
    let named = serde_json::json!({
        "total_users_affected": sum.total_users_affected,
        "access_tokens_revoked": sum.access_tokens_revoked,
        "refresh_tokens_revoked": sum.refresh_tokens_revoked,
        "sessions_terminated": sum.sessions_terminated,
        "notifications_sent": 0,
        "errors": 0,
    });
    assert_eq!(named, *statistics, "SCOPE-7: statistics = rows");
}
