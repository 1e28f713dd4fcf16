//! Bearer tokens at the users' calls, point by point: RFC 6750.

use axum::body::Body;
use chrono::{DateTime, Utc};
use domain::testing::{Habits, Memory};
use http::{HeaderValue, Request, StatusCode};
use serde_json::json;
use tests::door::{Answer, Door, OTHER, RESOURCE, SECRET, basic};

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_900_000_000, 0).unwrap()
}

async fn door() -> Door<Memory, Memory> {
    Door::in_memory(now(), Habits::default()).await
}

/// One call with an OAuth error, one with a problem.
const CALLS: [&str; 2] = ["/oauth/userinfo", "/api/v1/auth/sessions"];

fn assert_challenge(answer: &Answer, status: u16, challenge: &str) {
    assert_eq!((answer.status.as_u16(), answer.header("www-authenticate")), (status, challenge), "{answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test]
async fn rfc_6750_2_1_the_scheme_is_bearer_in_any_case() {
    let door = door().await;
    let token = door.sign_in("u").await.text("access_token");
    for path in CALLS {
        for value in [format!("Bearer {token}"), format!("bearer {token}"), format!("BEARER   {token} ")] {
            let answer = door.get(path, &[("authorization", &value)]).await;
            assert_eq!(answer.status, StatusCode::OK, "{value}: {answer:?}");
        }
    }
}

/// A token in an address ends up in logs and histories; one in a form could be sent by another site's page.
#[tokio::test]
async fn rfc_6750_2_2_and_2_3_a_token_is_taken_from_the_header_only() {
    let door = door().await;
    let token = door.sign_in("u").await.text("access_token");
    for path in CALLS {
        assert_challenge(&door.get(&format!("{path}?access_token={token}"), &[]).await, 401, "Bearer");
        for cookie in [format!("access_token={token}"), format!("session_id={token}")] {
            assert_challenge(&door.get(path, &[("cookie", &cookie)]).await, 401, "Bearer");
        }
    }
    let form = door.form("/api/v1/auth/logout", &[("access_token", &token)], &[]).await;
    assert_challenge(&form, 401, "Bearer");
}

/// §3.1: "If the request lacks any authentication information […] the resource server SHOULD NOT include an error code".
#[tokio::test]
async fn rfc_6750_3_without_a_token_the_challenge_names_no_error() {
    let door = door().await;
    let basic = basic(RESOURCE, SECRET);
    for path in CALLS {
        assert_challenge(&door.get(path, &[]).await, 401, "Bearer");
        for other in [basic.as_str(), "Bearer", "Bearer ", "Bearer    ", "Token abc", "", "BearerX abc"] {
            assert_challenge(&door.get(path, &[("authorization", other)]).await, 401, "Bearer");
        }
        let request = Request::get(path).header("authorization", HeaderValue::from_bytes(b"Bearer \xFF\xFE").unwrap());
        assert_challenge(&door.send(request.body(Body::empty()).unwrap()).await, 401, "Bearer");
    }
}

#[tokio::test]
async fn rfc_6750_3_1_a_token_that_is_not_good_is_an_invalid_token() {
    let door = door().await;
    let signed_in = door.sign_in("u").await;
    let (token, refresh) = (signed_in.text("access_token"), signed_in.text("refresh_token"));
    let long = "x".repeat(20_000);
    for path in CALLS {
        for bad in ["abc", "a.b.c", &refresh, &format!("{token} {token}"), &format!("{token},"), &long, "\"", "=="] {
            let answer = door.get(path, &[("authorization", &format!("Bearer {bad}"))]).await;
            assert_challenge(&answer, 401, r#"Bearer error="invalid_token""#);
            assert!(!answer.raw.contains(&token) && !answer.raw.contains(&refresh), "{answer:?}");
        }
    }
    assert_eq!(door.userinfo(&token).await, StatusCode::OK);
    assert_eq!(door.get(CALLS[0], &[("authorization", "Bearer x")]).await.text("error"), "invalid_token");
}

/// §3: a challenge goes with every refusal of "an access token that [does not enable] access to the protected resource".
#[tokio::test]
async fn rfc_6750_3_1_a_good_token_without_a_user_is_not_enough() {
    for jwt in [false, true] {
        let door = Door::in_memory(now(), Habits { jwt, ..Habits::default() }).await;
        let grant = [("grant_type", "client_credentials"), ("client_id", OTHER)];
        let token = door.form("/oauth/token", &grant, &[]).await.text("access_token");
        let answer = door.call("GET", "/oauth/userinfo", &token, None).await;
        assert_challenge(&answer, 403, r#"Bearer error="insufficient_scope""#);
        assert_eq!(answer.text("error"), "insufficient_scope");
        for (method, path) in [
            ("GET", "/api/v1/auth/sessions"),
            ("DELETE", "/api/v1/auth/sessions/x"),
            ("POST", "/api/v1/auth/logout"),
            ("POST", "/api/v1/auth/logout/all"),
        ] {
            let answer = door.call(method, path, &token, Some(json!({}))).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path}: {answer:?}");
        }
    }
}

/// `[CHECK-3]`: "nobody can tell" is no statement about the token.
#[tokio::test]
async fn rfc_6750_3_1_where_nobody_can_tell_the_token_is_not_called_invalid() {
    let door = door().await;
    let token = door.sign_in("u").await.text("access_token");
    door.fleet.store.set_down(true);
    door.fleet.cache.set_down(true);
    for path in CALLS {
        let answer = door.call("GET", path, &token, None).await;
        assert_challenge(&answer, 503, "");
        assert!(answer.header("retry-after").parse::<u32>().unwrap() > 0);
    }
}

/// OpenID Connect Core §5.3: whose token it is, in one form whoever said so (`[CHECK-1]`).
#[tokio::test]
async fn oidc_5_3_userinfo_names_the_user_of_the_token() {
    let mut door = Door::in_memory(now(), Habits { jwt: false, ..Habits::default() }).await;
    let token = door.sign_in("사용자").await.text("access_token");
    let answer = door.call("GET", "/oauth/userinfo", &token, None).await;
    // The name is what the issuer said at the sign-in.
    let expected = json!({
        "sub": "사용자", "name": "사용자 사용자", "roles": [], "permissions": [], "groups": [],
        "verification_source": "token_row", "verified_at": "2030-03-17T17:46:40Z",
    });
    assert_eq!(answer.body, expected);
    door.authorities = std::sync::Arc::new([door.issuer.clone()]);
    let answer = door.call("GET", "/oauth/userinfo", &token, None).await;
    assert_eq!(answer.text("verification_source"), "oauth_userinfo");
}
