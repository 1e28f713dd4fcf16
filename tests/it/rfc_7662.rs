//! Asking about tokens, point by point: RFC 7662, and `POST /oauth/token/validate`, which must say the same.

use axum::body::Body;
use chrono::{DateTime, TimeDelta, Utc};
use domain::cutoff::{LEEWAY_SECONDS, Scope};
use domain::ids::{ClientId, SessionId, TokenId, UserId};
use domain::testing::{Habits, Memory};
use domain::time::Epoch;
use domain::token::RevokedBy;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use tests::door::{Answer, BACKEND, CLIENT, Door, OTHER, RESOURCE, SECRET, basic};
use tests::mint::{AUDIENCE, Mint};

const NOW: i64 = 1_900_000_000;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(NOW, 0).unwrap()
}

async fn door(jwt: bool) -> Door<Memory, Memory> {
    Door::in_memory(now(), Habits { jwt, ..Habits::default() }).await
}

/// A door before the mint: JWTs with real signatures.
async fn minted() -> (Door<Memory, Memory>, Mint) {
    let mint = Mint::start().await;
    let mut door = door(false).await;
    door.verifier = mint.verifier(door.fleet.clock.clone());
    (door, mint)
}

/// The resource server asks.
async fn ask(door: &Door<Memory, Memory>, token: &str) -> Answer {
    door.form("/oauth/introspect", &[("token", token)], &[("authorization", &basic(RESOURCE, SECRET))]).await
}

/// The same question in the other form.
async fn validate(door: &Door<Memory, Memory>, member: &str, token: &str) -> Answer {
    let body = json!({ member: token }).to_string();
    let request = Request::post("/oauth/token/validate").header("authorization", basic(RESOURCE, SECRET));
    door.send(request.header("content-type", "application/json").body(Body::from(body)).unwrap()).await
}

async fn active(door: &Door<Memory, Memory>, token: &str) -> bool {
    let answer = ask(door, token).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let other = validate(door, "access_token", token).await;
    assert_eq!((other.status, &other.body["valid"]), (StatusCode::OK, &answer.body["active"]), "both say the same");
    answer.body["active"].as_bool().unwrap()
}

fn assert_error(answer: &Answer, status: u16, error: &str) {
    assert_eq!((answer.status.as_u16(), answer.text("error").as_str()), (status, error), "{answer:?}");
}

#[tokio::test]
async fn rfc_7662_2_1_the_question_is_a_posted_form() {
    let door = door(true).await;
    let token = door.sign_in("u").await.text("access_token");
    let header = basic(RESOURCE, SECRET);
    let address = format!("/oauth/introspect?token={token}");
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let request = Request::builder().method(&method).uri(&address).header("authorization", &header);
        let answer = door.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status, answer.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "POST"), "{method}");
    }
    let answer = door.form(&address, &[], &[("authorization", &header)]).await;
    assert_error(&answer, 400, "invalid_request");
    let request = Request::post("/oauth/introspect").header("authorization", &header);
    let request = request.header("content-type", "application/json");
    let answer = door.send(request.body(Body::from(json!({ "token": token }).to_string())).unwrap()).await;
    assert_error(&answer, 415, "invalid_request");
}

#[tokio::test]
async fn rfc_7662_2_1_a_token_that_is_missing_empty_or_sent_twice_is_an_invalid_request() {
    let door = door(true).await;
    let header = basic(RESOURCE, SECRET);
    for fields in [vec![], vec![("token", "")], vec![("token", "a"), ("token", "b")], vec![("access_token", "a")]] {
        let answer = door.form("/oauth/introspect", &fields, &[("authorization", &header)]).await;
        assert_error(&answer, 400, "invalid_request");
    }
    for body in [json!({}), json!({ "access_token": null }), json!({ "access_token": "" }), json!({ "token": "a" })] {
        let request = Request::post("/oauth/token/validate").header("authorization", &header);
        let request = request.header("content-type", "application/json");
        let answer = door.send(request.body(Body::from(body.to_string())).unwrap()).await;
        assert_error(&answer, 400, "invalid_request");
    }
}

/// §2.1: "to prevent token scanning attacks, the endpoint MUST also require some form of authorization"; §2.3: 401.
#[tokio::test]
async fn rfc_7662_2_3_whoever_is_no_client_that_may_ask_is_told_nothing() {
    let door = door(true).await;
    let token = door.sign_in("u").await.text("access_token");
    let bearer = format!("Bearer {token}");
    let mut answers = Vec::new();
    let headers = [
        None,
        Some(basic(RESOURCE, "wrong")),
        Some(basic(RESOURCE, "")),
        Some(basic("nobody", SECRET)),
        Some(basic(BACKEND, SECRET)),
        Some(basic(CLIENT, "")),
        Some(basic(RESOURCE, &domain::directory::secret_hash(SECRET))),
        Some(bearer),
        Some("Basic !!!".to_owned()),
        Some("Digest username=resource".to_owned()),
    ];
    for header in headers {
        let headers: Vec<(&str, &str)> = header.iter().map(|header| ("authorization", header.as_str())).collect();
        answers.push(door.form("/oauth/introspect", &[("token", &token)], &headers).await);
        let request = Request::post("/oauth/token/validate").header("content-type", "application/json");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let body = json!({ "access_token": token }).to_string();
        answers.push(door.send(request.body(Body::from(body)).unwrap()).await);
    }
    let token = ("token", token.as_str());
    for fields in [
        vec![token, ("client_id", RESOURCE)],
        vec![token, ("client_id", RESOURCE), ("client_secret", "wrong")],
        vec![token, ("client_id", BACKEND), ("client_secret", SECRET)],
        vec![token, ("client_id", CLIENT)],
        vec![token, ("client_secret", SECRET)],
    ] {
        answers.push(door.form("/oauth/introspect", &fields, &[]).await);
    }
    for answer in &answers {
        assert_error(answer, 401, "invalid_client");
        assert!(answer.header("www-authenticate").starts_with("Basic "), "{answer:?}");
        assert_eq!(answer.raw, answers[0].raw, "nobody learns which of id, secret and right was wrong");
    }
}

#[tokio::test]
async fn rfc_7662_2_1_a_client_that_may_ask_authenticates_by_basic_or_by_the_form() {
    let door = door(true).await;
    let token = door.sign_in("u").await.text("access_token");
    assert!(active(&door, &token).await);
    let fields = [("token", token.as_str()), ("client_id", RESOURCE), ("client_secret", SECRET)];
    assert_eq!(door.form("/oauth/introspect", &fields, &[]).await.body["active"], true);
    let both = door.form("/oauth/introspect", &fields, &[("authorization", &basic(RESOURCE, SECRET))]).await;
    assert_error(&both, 400, "invalid_request");
    let body = json!({ "access_token": token, "client_id": RESOURCE, "client_secret": SECRET });
    let request = Request::post("/oauth/token/validate").header("content-type", "application/json");
    let answer = door.send(request.body(Body::from(body.to_string())).unwrap()).await;
    assert_eq!(answer.body, json!({ "valid": true }));
}

#[tokio::test]
async fn rfc_7662_2_1_a_wrong_or_unknown_hint_changes_nothing() {
    let door = door(true).await;
    let signed_in = door.sign_in("u").await;
    let header = basic(RESOURCE, SECRET);
    for token in [signed_in.text("access_token"), signed_in.text("refresh_token")] {
        for hint in ["access_token", "refresh_token", "id_token", "urn:example:other", "한글"] {
            let fields = [("token", token.as_str()), ("token_type_hint", hint)];
            let answer = door.form("/oauth/introspect", &fields, &[("authorization", &header)]).await;
            assert_eq!(answer.body["active"], true, "{hint}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn rfc_7662_2_2_what_is_said_of_an_active_jwt() {
    let (door, mint) = minted().await;
    let mut claims = mint.claims("사용자", CLIENT, "s", Epoch(NOW));
    claims["username"] = "kim".into();
    let answer = ask(&door, &mint.sign(&claims)).await;
    let expected = json!({
        "active": true, "scope": "openid", "client_id": CLIENT, "username": "kim", "token_type": "Bearer",
        "exp": NOW + 3_600, "iat": NOW, "sub": "사용자", "aud": [AUDIENCE], "iss": mint.issuer,
        "jti": "사용자 at app",
    });
    assert_eq!(answer.body, expected);
}

#[tokio::test]
async fn rfc_7662_2_2_what_is_said_of_active_opaque_refresh_and_service_tokens() {
    let door = door(false).await;
    let signed_in = door.sign_in("u").await;
    let answer = ask(&door, &signed_in.text("access_token")).await;
    let access = json!({
        "active": true, "client_id": CLIENT, "token_type": "Bearer", "exp": NOW + 3_600, "iat": NOW, "sub": "u",
    });
    assert_eq!(answer.body, access);
    let answer = ask(&door, &signed_in.text("refresh_token")).await;
    assert_eq!(answer.body["token_type"], "refresh_token", "so that nobody takes it for an access token");
    assert_eq!((&answer.body["sub"], &answer.body["client_id"]), (&json!("u"), &json!(CLIENT)));
    let grant = [("grant_type", "client_credentials"), ("client_id", OTHER)];
    let service = door.form("/oauth/token", &grant, &[]).await.text("access_token");
    let answer = ask(&door, &service).await;
    assert_eq!((&answer.body["active"], &answer.body["client_id"]), (&json!(true), &json!(OTHER)));
    assert_eq!(answer.body.get("sub"), None, "nobody signed in");
}

/// §2.2: "SHOULD NOT include any additional information about an inactive token, including why it is inactive".
#[tokio::test]
async fn rfc_7662_2_2_an_inactive_token_is_said_to_be_inactive_and_nothing_else() {
    let (door, mint) = minted().await;
    let base = mint.claims("u", CLIENT, "s", Epoch(NOW));
    let set = |name: &str, value: Value| {
        let mut claims = base.clone();
        claims["jti"] = format!("{name} {value}").into();
        claims[name] = value;
        mint.sign(&claims)
    };
    let denier = door.fleet.denier();
    let mut inactive = vec![
        ("unknown", "unknown".to_owned()),
        ("empty but for a space", " ".to_owned()),
        ("garbage", "한글 🙂 \u{0}".to_owned()),
        ("nearly a JWT", "a.b.c".to_owned()),
        ("expired", set("exp", (NOW - LEEWAY_SECONDS).into())),
        ("not yet valid", set("nbf", (NOW + LEEWAY_SECONDS + 1).into())),
        ("issued in the future", set("iat", (NOW + LEEWAY_SECONDS + 1).into())),
        ("another issuer's", set("iss", "https://example.net".into())),
        ("for somebody else", set("aud", "https://example.net".into())),
        ("an ID token", set("nonce", "n".into())),
        ("another kind of token", set("token_use", "id".into())),
        ("of a user who was cut off", set("sub", "gone".into())),
        ("of a client that was cut off", set("client_id", "gone".into())),
        ("of a session that was ended", set("sid", "gone".into())),
        ("revoked", set("jti", "gone".into())),
    ];
    inactive.last_mut().unwrap().1 = {
        let mut claims = base.clone();
        claims["jti"] = "gone".into();
        mint.sign(&claims)
    };
    let scopes = [
        Scope::User(UserId::parse("gone").unwrap()),
        Scope::Client(ClientId::parse("gone").unwrap()),
        Scope::Session(SessionId::parse("gone").unwrap()),
    ];
    denier.sign_ins(scopes, Epoch(NOW), &RevokedBy::User).await.unwrap();
    denier.tokens([(TokenId::parse("gone").unwrap(), Epoch(NOW + 3_600))]).await.unwrap();
    let signed_in = door.sign_in("v").await;
    let refresh = signed_in.text("refresh_token");
    let ended = door.form("/oauth/revoke", &[("token", &refresh), ("client_id", CLIENT)], &[]).await;
    assert_eq!(ended.status, StatusCode::OK);
    inactive.push(("an opaque token that was ended", signed_in.text("access_token")));
    inactive.push(("a refresh token that was ended", refresh));
    let forgeries = mint.forgeries(&base);
    inactive.extend(forgeries.iter().map(|(what, token)| (what.as_str(), token.clone())));

    assert!(active(&door, &mint.sign(&base)).await);
    for (what, token) in inactive {
        let answer = ask(&door, &token).await;
        assert_eq!((answer.status, answer.raw.as_str()), (StatusCode::OK, r#"{"active":false}"#), "{what}");
        assert!(!active(&door, &token).await, "{what}");
    }
}

#[tokio::test]
async fn rfc_7662_4_an_opaque_token_is_inactive_once_it_has_expired() {
    let door = door(false).await;
    let signed_in = door.sign_in("u").await;
    let (access, refresh) = (signed_in.text("access_token"), signed_in.text("refresh_token"));
    door.fleet.clock.advance(TimeDelta::seconds(3_600 + LEEWAY_SECONDS - 1));
    assert!(active(&door, &access).await);
    door.fleet.clock.advance(TimeDelta::seconds(1));
    assert!(!active(&door, &access).await && active(&door, &refresh).await);
    door.fleet.clock.advance(TimeDelta::days(90));
    assert!(!active(&door, &refresh).await, "no sign-in is good for longer");
}

/// A refresh token that looks like a JWT is no less one (RFC 6749 §1.5), and it is no access token.
#[tokio::test]
async fn rfc_7662_2_2_a_refresh_token_is_active_until_it_is_revoked() {
    for jwt in [false, true] {
        let door = door(jwt).await;
        let signed_in = door.sign_in("u").await;
        let refresh = signed_in.text("refresh_token");
        assert!(active(&door, &refresh).await);
        let answer = door.call("POST", "/api/v1/auth/logout", &signed_in.text("access_token"), Some(json!({}))).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert!(!active(&door, &refresh).await, "it went with its session");
    }
}

/// §4: what is said holds for the moment only, so that nobody may keep it (`[CHECK-5]`).
#[tokio::test]
async fn rfc_7662_4_no_answer_may_be_kept() {
    let door = door(true).await;
    let token = door.sign_in("u").await.text("access_token");
    for answer in [ask(&door, &token).await, ask(&door, "x").await, door.form("/oauth/introspect", &[], &[]).await] {
        assert_eq!(answer.header("cache-control"), "no-store");
    }
}

#[tokio::test]
async fn check_3_with_the_stores_away_no_token_is_called_active_or_inactive() {
    for jwt in [false, true] {
        let door = door(jwt).await;
        let signed_in = door.sign_in("u").await;
        door.fleet.store.set_down(true);
        door.fleet.cache.set_down(true);
        for token in [signed_in.text("access_token"), signed_in.text("refresh_token"), "unknown".to_owned()] {
            for answer in [ask(&door, &token).await, validate(&door, "refresh_token", &token).await] {
                assert_error(&answer, 503, "temporarily_unavailable");
                assert!(answer.header("retry-after").parse::<u32>().unwrap() > 0);
                assert_eq!((answer.body.get("active"), answer.body.get("valid")), (None, None));
            }
        }
    }
}

#[tokio::test]
async fn check_3_with_redis_away_the_truth_is_told_from_dynamodb() {
    for jwt in [false, true] {
        let door = door(jwt).await;
        let (good, ended) = (door.sign_in("u").await, door.sign_in("u").await);
        let path = format!("/api/v1/auth/sessions/{}", ended.header("x-session-id"));
        let answer = door.call("DELETE", &path, &good.text("access_token"), None).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        door.fleet.cache.set_down(true);
        for member in ["access_token", "refresh_token"] {
            assert!(active(&door, &good.text(member)).await);
            assert!(!active(&door, &ended.text(member)).await);
        }
    }
}

#[tokio::test]
async fn the_other_form_of_the_question_says_roughly_why() {
    let (door, mint) = minted().await;
    let signed_in = door.sign_in("u").await;
    let claims = mint.claims("u", CLIENT, "s", Epoch(NOW));
    let said = async |token: &str| validate(&door, "access_token", token).await.body;
    assert_eq!(said(&mint.sign(&claims)).await, json!({ "valid": true }));
    assert_eq!(said("unknown").await, json!({ "valid": false, "reason": "Token is not valid" }));
    let ended = signed_in.text("access_token");
    door.call("POST", "/api/v1/auth/logout", &ended, Some(json!({}))).await;
    assert_eq!(said(&ended).await, json!({ "valid": false, "reason": "Token is blacklisted" }));
    let fresh = door.sign_in("v").await;
    door.fleet.clock.advance(TimeDelta::hours(2));
    let expired = json!({ "valid": false, "reason": "Token has expired" });
    assert_eq!(said(&fresh.text("access_token")).await, expired);
    let of_two = json!({ "access_token": "unknown", "refresh_token": fresh.text("refresh_token") }).to_string();
    let request = Request::post("/oauth/token/validate").header("authorization", basic(RESOURCE, SECRET));
    let request = request.header("content-type", "application/json").body(Body::from(of_two)).unwrap();
    assert_eq!(door.send(request).await.body, json!({ "valid": true }), "of both the refresh token is looked at");
}
