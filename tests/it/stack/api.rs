//! Wrong input and wrong callers: the right problem, and nothing written.

use bytes::Bytes;
use domain::ids::GroupId;
use domain::ports::RecordStore as _;
use domain::records::{Entity, GroupRecord, Record, UserRecord};
use http::{Request, StatusCode, header};
use http_body_util::Full;
use ops::company::INTROSPECTOR;
use ops::web::Answer;
use serde_json::json;
use tests::environment::unique;

use super::{BASE, Caller};

/// Makes sure that the directory knows the people with their roles.
async fn people(caller: &Caller) {
    let store = caller.stack.store().await;
    for person in &caller.stack.users {
        let user = UserRecord {
            email: Some(person.email.clone()),
            roles: person.roles.clone(),
            ..UserRecord::new(person.id.clone().try_into().unwrap())
        };
        store.apply(&Record::upsert(1, Entity::User(user))).await.unwrap();
    }
}

async fn jobs_written(caller: &Caller) -> i32 {
    let client = aws_sdk_dynamodb::Client::new(&caller.stack.aws().await);
    let mut scan = client.scan().table_name(&caller.stack.tables.jobs).select("COUNT".into()).into_paginator().send();
    let mut count = 0;
    while let Some(page) = scan.next().await {
        count += page.unwrap().count();
    }
    count
}

/// A problem as RFC 9457 has it.
fn assert_problem(answer: &Answer, status: u16, what: &str) {
    assert_eq!(answer.status.as_u16(), status, "{what}: {}", answer.json);
    let media_type = answer.headers[header::CONTENT_TYPE].to_str().unwrap();
    assert!(media_type.starts_with("application/problem+json"), "{what}: {media_type}");
    assert_eq!(answer.json["status"].as_u64(), Some(u64::from(status)), "{what}: {}", answer.json);
    for member in ["type", "title", "detail", "request_id"] {
        assert!(
            answer.json[member].as_str().is_some_and(|text| !text.is_empty()),
            "{what}: {member} in {}",
            answer.json
        );
    }
}

async fn send(caller: &Caller, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    let mut request = Request::post(format!("{}{path}", caller.stack.api_url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    caller.web.send(request.body(Full::new(body.into())).unwrap()).await.unwrap()
}

#[tokio::test]
async fn api_8_wrong_input_gets_the_right_problem_and_writes_nothing() {
    let admin = Caller::sign_in("security.admin@example.com").await;
    people(&admin).await;
    let store = admin.stack.store().await;
    let (a, b) = (unique("cycle-a"), unique("cycle-b"));
    let id = |name: &str| GroupId::parse(name).unwrap();
    for (group, parent) in [(&a, &b), (&b, &a)] {
        let group = GroupRecord { id: id(group), name: None, parent_id: Some(id(parent)) };
        store.apply(&Record::upsert(1, Entity::Group(group))).await.unwrap();
    }
    let before = jobs_written(&admin).await;
    let reason = "ten characters at least";
    let long = "이".repeat(501);
    let cases = [
        ("no group", json!({ "reason": reason }), 400, ""),
        ("unknown member", json!({ "group_id": a, "reason": reason, "exclude_admins": true }), 400, "/exclude_admins"),
        ("wrong type", json!({ "group_id": a, "reason": reason, "dry_run": "yes" }), 400, "/dry_run"),
        ("null", json!({ "group_id": null, "reason": reason }), 400, "/group_id"),
        ("not an object", json!([1]), 400, ""),
        ("priority", json!({ "group_id": a, "reason": reason, "priority": "immediate" }), 400, "/priority"),
        ("short reason", json!({ "group_id": a, "reason": "too short" }), 422, "/reason"),
        ("blank reason", json!({ "group_id": a, "reason": "               " }), 422, "/reason"),
        ("long reason", json!({ "group_id": a, "reason": long }), 422, "/reason"),
        ("empty group", json!({ "group_id": "", "reason": reason }), 422, "/group_id"),
        (
            "group cycle",
            json!({ "group_id": a, "reason": reason, "include_subgroups": true }),
            422,
            "/include_subgroups",
        ),
        ("unknown group", json!({ "group_id": unique("nobody"), "reason": reason }), 404, "-"),
        ("unknown plan", json!({ "group_id": a, "reason": reason, "plan_id": "no-such-plan" }), 409, "-"),
    ];
    for (what, body, status, pointer) in cases {
        let answer = admin.post_group(&body).await;
        assert_problem(&answer, status, what);
        if pointer != "-" {
            assert_eq!(answer.json["errors"][0]["pointer"], pointer, "{what}: {}", answer.json);
        }
    }
    let path = format!("{BASE}/group");
    let bearer = format!("Bearer {}", admin.token);
    let json_type = ("content-type", "application/json");
    let auth = ("authorization", bearer.as_str());
    for (what, headers, body, status) in [
        ("bad JSON", vec![auth, json_type], "{\"group_id\":".to_owned(), 400),
        ("two documents", vec![auth, json_type], format!("{{\"group_id\":\"{a}\",\"reason\":\"{reason}\"}} {{}}"), 400),
        ("no body", vec![auth, json_type], String::new(), 400),
        ("form", vec![auth, ("content-type", "application/x-www-form-urlencoded")], format!("group_id={a}"), 415),
        ("no media type", vec![auth], "{}".to_owned(), 415),
        ("1 MB", vec![auth, json_type], format!("{{\"reason\":\"{}\"}}", "x".repeat(1_000_000)), 413),
    ] {
        assert_problem(&send(&admin, &path, &headers, body).await, status, what);
    }
    for job in ["no-such-job", "%00", "..%2f", "6f0e3c1e-0000-4000-8000-000000000000"] {
        assert_problem(&admin.get_job(job).await, 404, job);
    }
    assert_problem(&send(&admin, "/api/nowhere", &[auth, json_type], "{}").await, 404, "no such path");
    assert_eq!(jobs_written(&admin).await, before, "nothing was written");
}

#[tokio::test]
async fn check_1_callers_without_a_good_token_are_refused_and_learn_nothing() {
    let admin = Caller::sign_in("security.admin@example.com").await;
    people(&admin).await;
    let before = jobs_written(&admin).await;
    let parts: Vec<&str> = admin.token.split('.').collect();
    let (header_part, claims, signature) = (parts[0], parts[1], parts[2]);
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    let hs256 = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";
    let mint = ops::issuer::Mint::open(&admin.stack, &admin.web).await.unwrap();
    let sign = |change: &dyn Fn(&mut serde_json::Value)| mint.altered(&admin.token, change).unwrap();
    let now = domain::time::Epoch::from(domain::time::Clock::now(&domain::time::SystemClock)).0;
    let tokens = [
        ("none", String::new()),
        ("not a token", "Bearer hello".to_owned()),
        ("another scheme", format!("Basic {}", admin.token)),
        ("alg none", format!("Bearer {none}.{claims}.")),
        ("alg none with signature", format!("Bearer {none}.{claims}.{signature}")),
        ("algorithm confusion", format!("Bearer {hs256}.{claims}.{signature}")),
        ("signature of another token", format!("Bearer {header_part}.{}.{signature}", &claims[..claims.len() - 4])),
        ("broken signature", format!("Bearer {header_part}.{claims}.{}", signature.chars().rev().collect::<String>())),
        ("expired", format!("Bearer {}", sign(&|claims| claims["exp"] = (now - 61).into()))),
        ("not yet valid", format!("Bearer {}", sign(&|claims| claims["nbf"] = (now + 120).into()))),
        ("issued in the future", format!("Bearer {}", sign(&|claims| claims["iat"] = (now + 120).into()))),
        ("wrong issuer", format!("Bearer {}", sign(&|claims| claims["iss"] = "https://elsewhere.invalid".into()))),
        ("an ID token", format!("Bearer {}", sign(&|claims| claims["token_use"] = "id".into()))),
        (
            "a sign-in too long ago",
            format!("Bearer {}", sign(&|claims| claims["auth_time"] = (now - 91 * 86_400).into())),
        ),
        ("no jti", format!("Bearer {}", sign(&|claims| claims["jti"] = serde_json::Value::Null))),
        ("huge", format!("Bearer {}.{}.x", header_part, "A".repeat(6_000))),
    ];
    let body = json!({ "group_id": "g", "reason": "ten characters at least" }).to_string();
    for (what, authorization) in tokens {
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        let headers = if authorization.is_empty() { &headers[1..] } else { &headers[..] };
        let answer = send(&admin, &format!("{BASE}/group"), headers, body.clone()).await;
        assert_problem(&answer, 401, what);
    }
    // The same claims, signed by the issuer and unaltered, are fine: it is not the signing that is refused above.
    let good = sign(&|_| ());
    let headers = [("authorization", format!("Bearer {good}")), ("content-type", "application/json".to_owned())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let answer = send(&admin, &format!("{BASE}/group"), &headers, body).await;
    assert_problem(&answer, 404, "a good token");
    assert_eq!(jobs_written(&admin).await, before, "nothing was written");
}

#[tokio::test]
async fn rfc_7662_only_clients_that_may_introspect_are_told_anything() {
    let admin = Caller::sign_in("security.admin@example.com").await;
    let url = &admin.stack.api_url;
    let client = ops::company::Plan::demo(domain::time::Clock::now(&domain::time::SystemClock));
    let store = admin.stack.store().await;
    for record in client
        .company(&[])
        .unwrap()
        .directory
        .into_iter()
        .filter(|record| matches!(&record.change, domain::records::Change::Upsert(Entity::Client(_))))
    {
        store.apply(&record).await.unwrap();
    }
    let good = admin.web.introspect(url, INTROSPECTOR, &admin.token).await.unwrap();
    assert_eq!((good.status, good.json["active"].as_bool()), (StatusCode::OK, Some(true)), "{}", good.json);
    let subject = admin.stack.person("security.admin@example.com").unwrap().id.clone();
    assert_eq!(good.json["sub"].as_str(), Some(subject.as_str()));
    for client in [(INTROSPECTOR.0, "wrong"), ("web-app", ""), ("nobody", "x")] {
        let answer = admin.web.introspect(url, client, &admin.token).await.unwrap();
        assert_eq!((answer.status, answer.json["error"].as_str()), (StatusCode::UNAUTHORIZED, Some("invalid_client")));
    }
    let forged = format!("{}x", admin.token);
    for token in [forged.as_str(), "unknown-opaque-token", "a.b.c"] {
        let answer = admin.web.introspect(url, INTROSPECTOR, token).await.unwrap();
        assert_eq!((answer.status, answer.json), (StatusCode::OK, json!({ "active": false })));
    }
    let basic = "Basic cmVzb3VyY2Utc2VydmVyOmxvY2FsLW9ubHktaW50cm9zcGVjdGlvbg==";
    let headers = [("authorization", basic), ("content-type", "application/json")];
    let validate = async |body: serde_json::Value| {
        let answer = send(&admin, "/oauth/token/validate", &headers, body.to_string()).await;
        (answer.status.as_u16(), answer.json)
    };
    assert_eq!(validate(json!({ "access_token": admin.token })).await, (200, json!({ "valid": true })));
    let unknown = json!({ "valid": false, "reason": "Token is not valid" });
    assert_eq!(validate(json!({ "refresh_token": "unknown" })).await, (200, unknown));
    assert_eq!(validate(json!({})).await.0, 400);
}
