//! Revoking tokens, point by point: RFC 7009, and what `[OAUTH-2]` adds.

use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use chrono::{DateTime, Utc};
use domain::audit::Action;
use domain::ids::{JobId, RawToken, TokenId, UserId};
use domain::inspect::Active;
use domain::ports::{DenylistStore as _, TokenStore as _, TokenVerifier as _};
use domain::testing::{Habits, Memory};
use domain::time::{Clock as _, Epoch};
use domain::token::{Owner, Revoked, RevokedBy, TokenRow};
use domain::upstream::{Form, Issued, Upstream, UpstreamError};
use http::{Method, Request, StatusCode};
use serde_json::json;
use tests::door::{Answer, BACKEND, CLIENT, Door, OTHER, RESOURCE, SECRET, basic, session_of};
use tests::mint::Mint;

const NOW: i64 = 1_900_000_000;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(NOW, 0).unwrap()
}

async fn door() -> Door<Memory, Memory> {
    Door::in_memory(now(), Habits::default()).await
}

/// All issuers there are, but for those that cannot be told apart here.
fn habits() -> impl Iterator<Item = Habits> {
    (0..16).map(|bits: u8| Habits {
        jwt: bits & 1 != 0,
        says_auth_time: bits & 2 != 0,
        says_sid: bits & 4 != 0,
        rotates: bits & 8 != 0,
    })
}

/// The client of the tests revokes a token.
async fn revoke(door: &Door<Memory, Memory>, token: &str) -> Answer {
    door.form("/oauth/revoke", &[("token", token), ("client_id", CLIENT)], &[]).await
}

async fn refused(door: &Door<Memory, Memory>, token: &str) -> bool {
    match door.userinfo(token).await {
        StatusCode::OK => false,
        StatusCode::UNAUTHORIZED => true,
        other => panic!("{other}"),
    }
}

/// Whether a refresh token brings anything; where the issuer rotates, it is used up by the question.
async fn refreshes(door: &Door<Memory, Memory>, token: &str) -> Option<Answer> {
    let answer = door.refresh(token).await;
    match answer.status {
        StatusCode::OK => Some(answer),
        StatusCode::BAD_REQUEST if answer.text("error") == "invalid_grant" => None,
        _ => panic!("{answer:?}"),
    }
}

fn assert_error(answer: &Answer, status: u16, error: &str) {
    assert_eq!((answer.status.as_u16(), answer.text("error").as_str()), (status, error), "{answer:?}");
    assert!(!answer.text("error_description").is_empty());
}

async fn rows(door: &Door<Memory, Memory>, user: &str) -> Vec<TokenRow> {
    door.fleet.store.holdings(&Owner::User(UserId::parse(user).unwrap())).await.unwrap().tokens
}

#[tokio::test]
async fn rfc_7009_2_the_endpoint_takes_post_only_and_nothing_from_the_address() {
    let door = door().await;
    let token = door.sign_in("u").await.text("access_token");
    let address = format!("/oauth/revoke?token={token}&client_id={CLIENT}");
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH] {
        let answer = door.send(Request::builder().method(&method).uri(&address).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(answer.header("allow"), "POST", "RFC 9110 §15.5.6, {method}");
    }
    assert_error(&door.form(&address, &[], &[]).await, 401, "invalid_client");
    assert_error(&door.form(&address, &[("client_id", CLIENT)], &[]).await, 400, "invalid_request");
    assert!(!refused(&door, &token).await);
}

#[tokio::test]
async fn rfc_7009_2_1_parameters_come_as_a_form() {
    let door = door().await;
    let token = door.sign_in("u").await.text("access_token");
    let body = json!({ "token": token, "client_id": CLIENT }).to_string();
    for media_type in ["application/json", "text/plain", "multipart/form-data; boundary=x", ""] {
        let request = Request::post("/oauth/revoke").header("content-type", media_type);
        let answer = door.send(request.body(Body::from(body.clone())).unwrap()).await;
        assert_error(&answer, 415, "invalid_request");
    }
    let charset = [("content-type", "Application/X-WWW-Form-Urlencoded; charset=UTF-8")];
    let request = Request::post("/oauth/revoke").header(charset[0].0, charset[0].1);
    let form = format!("token={token}&client_id={CLIENT}");
    assert_eq!(door.send(request.body(Body::from(form)).unwrap()).await.status, StatusCode::OK);
    assert!(refused(&door, &token).await);
}

#[tokio::test]
async fn rfc_7009_2_1_a_token_that_is_missing_empty_or_sent_twice_is_an_invalid_request() {
    let door = door().await;
    let token = door.sign_in("u").await.text("access_token");
    let client = ("client_id", CLIENT);
    for fields in [
        vec![client],
        vec![client, ("token", "")],
        vec![client, ("token_type_hint", "access_token")],
        vec![client, ("token", &token), ("token", &token)],
        vec![client, ("token", &token), ("token", "another")],
        vec![client, ("token", &token), client],
        vec![client, ("token", &token), ("token_type_hint", "a"), ("token_type_hint", "b")],
    ] {
        assert_error(&door.form("/oauth/revoke", &fields, &[]).await, 400, "invalid_request");
    }
    assert!(!refused(&door, &token).await);
}

#[tokio::test]
async fn rfc_7009_2_1_a_confidential_client_authenticates_by_basic_or_by_the_form() {
    let door = door().await;
    for by_form in [false, true] {
        let token = door.sign_in_to(BACKEND, "u").await.text("access_token");
        let token = ("token", token.as_str());
        let id = ("client_id", BACKEND);
        for wrong in ["", "wrong", "s3cret with/100%:", &SECRET[1..], &format!("{SECRET} ")] {
            let answer = if by_form {
                door.form("/oauth/revoke", &[token, id, ("client_secret", wrong)], &[]).await
            } else {
                door.form("/oauth/revoke", &[token], &[("authorization", &basic(BACKEND, wrong))]).await
            };
            assert_error(&answer, 401, "invalid_client");
            assert!(answer.header("www-authenticate").starts_with("Basic "), "RFC 6749 §5.2");
        }
        assert_error(&door.form("/oauth/revoke", &[token, id], &[]).await, 401, "invalid_client");
        assert!(!refused(&door, token.1).await);
        let answer = if by_form {
            door.form("/oauth/revoke", &[token, id, ("client_secret", SECRET)], &[]).await
        } else {
            door.form("/oauth/revoke", &[token, id], &[("authorization", &basic(BACKEND, SECRET))]).await
        };
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert!(refused(&door, token.1).await);
    }
}

/// RFC 6749 §2.3.1 has id and secret form-encoded first; many clients send them as they are.
#[tokio::test]
async fn rfc_7009_2_1_basic_is_understood_encoded_and_as_it_is() {
    let door = door().await;
    for header in [basic(BACKEND, SECRET), basic(BACKEND, "s3cret%2Bwith%2F100%25%3A")] {
        let header = header.replacen("Basic", "bAsIc", 1);
        let answer = door.form("/oauth/revoke", &[("token", "unknown")], &[("authorization", &header)]).await;
        assert_eq!(answer.status, StatusCode::OK, "{header}");
    }
}

#[tokio::test]
async fn rfc_7009_2_1_two_ways_to_authenticate_at_once_are_refused() {
    let door = door().await;
    let token = door.sign_in_to(BACKEND, "u").await.text("access_token");
    let (token, id, secret) = (("token", token.as_str()), ("client_id", BACKEND), ("client_secret", SECRET));
    let good = basic(BACKEND, SECRET);
    for fields in [vec![token, id, secret], vec![token, secret], vec![token, ("client_id", CLIENT)]] {
        let answer = door.form("/oauth/revoke", &fields, &[("authorization", &good)]).await;
        assert_error(&answer, 400, "invalid_request");
    }
    // Credentials that cannot be read are wrong ones, not none: what the form says does not make up for them.
    for header in ["Basic", "Basic ", "Basic !!!", "Basic YWJj", "Basic 4pyT", "basic /w=="] {
        let answer = door.form("/oauth/revoke", &[token, id, secret], &[("authorization", header)]).await;
        assert_error(&answer, 401, "invalid_client");
        assert!(answer.header("www-authenticate").starts_with("Basic "), "{header}");
    }
    assert!(!refused(&door, token.1).await);
}

#[tokio::test]
async fn rfc_7009_2_1_a_public_client_names_itself_and_no_more() {
    let door = door().await;
    let token = door.sign_in("u").await.text("access_token");
    let token = ("token", token.as_str());
    for fields in [
        vec![token],
        vec![token, ("client_id", "")],
        vec![token, ("client_id", "nobody")],
        vec![token, ("client_id", CLIENT), ("client_secret", SECRET)],
        vec![token, ("client_secret", SECRET)],
    ] {
        assert_error(&door.form("/oauth/revoke", &fields, &[]).await, 401, "invalid_client");
    }
    let long = "c".repeat(513);
    for id in ["a\nb", "a\u{0}", long.as_str()] {
        assert_error(&door.form("/oauth/revoke", &[token, ("client_id", id)], &[]).await, 400, "invalid_request");
    }
    let bearer = format!("Bearer {}", token.1);
    let answer = door.form("/oauth/revoke", &[token], &[("authorization", &bearer)]).await;
    assert_error(&answer, 401, "invalid_client");
    assert!(!refused(&door, token.1).await);
    assert_eq!(door.issuer.revoked(), [""; 0], "and the issuer was not bothered");
    assert_eq!(revoke(&door, token.1).await.status, StatusCode::OK);
}

#[tokio::test]
async fn rfc_7009_2_1_a_token_of_another_client_is_refused_with_an_error() {
    for jwt in [false, true] {
        let door = Door::in_memory(now(), Habits { jwt, ..Habits::default() }).await;
        let theirs = door.sign_in("u").await;
        let (access, refresh) = (theirs.text("access_token"), theirs.text("refresh_token"));
        for token in [&access, &refresh] {
            let fields = [("token", token.as_str()), ("client_id", OTHER)];
            assert_error(&door.form("/oauth/revoke", &fields, &[]).await, 400, "invalid_grant");
            let asks = basic(RESOURCE, SECRET);
            let answer = door.form("/oauth/revoke", &[("token", token)], &[("authorization", &asks)]).await;
            assert_error(&answer, 400, "invalid_grant");
        }
        assert_eq!(door.issuer.revoked(), [""; 0], "the issuer was not asked");
        assert!(!refused(&door, &access).await);
        assert!(refreshes(&door, &refresh).await.is_some());
    }
}

#[tokio::test]
async fn rfc_7009_2_1_the_token_cannot_be_used_again_from_that_moment_on() {
    for habits in habits() {
        let door = Door::in_memory(now(), habits).await;
        let (one, two) = (door.sign_in("u").await, door.sign_in("u").await);
        let answer = revoke(&door, &one.text("access_token")).await;
        assert_eq!(
            (answer.status, answer.body),
            (StatusCode::OK, json!({ "status": "success", "upstream": "revoked" }))
        );
        assert!(refused(&door, &one.text("access_token")).await, "{habits:?}");
        assert!(!refused(&door, &two.text("access_token")).await, "{habits:?}");
        assert!(refreshes(&door, &one.text("refresh_token")).await.is_some(), "the refresh token is good: {habits:?}");
        let mut gone: Vec<_> = rows(&door, "u").await.into_iter().filter_map(|row| row.revoked).collect();
        // The refresh has replaced its token, where the issuer does that.
        gone.retain(|revoked| revoked.by != RevokedBy::Rotation);
        assert_eq!(gone.len(), 1, "{habits:?}");
        assert_eq!(gone[0].by, RevokedBy::Client);
        assert_eq!(door.issuer.revoked(), [one.text("access_token")], "OAUTH-2: there, too");
    }
}

#[tokio::test]
async fn rfc_7009_2_1_a_refresh_token_takes_the_access_tokens_of_its_grant_with_it_and_no_others() {
    for habits in habits() {
        let door = Door::in_memory(now(), habits).await;
        let first = door.sign_in("u").await;
        let again = door.sign_in("u").await;
        let elsewhere = door.sign_in_to(OTHER, "u").await;
        let somebody_else = door.sign_in("v").await;
        let second = refreshes(&door, &first.text("refresh_token")).await.unwrap();
        let refresh = if habits.rotates { second.text("refresh_token") } else { first.text("refresh_token") };

        assert_eq!(revoke(&door, &refresh).await.status, StatusCode::OK, "{habits:?}");
        for token in [&first, &second] {
            assert!(refused(&door, &token.text("access_token")).await, "{habits:?}");
        }
        assert!(refreshes(&door, &refresh).await.is_none(), "{habits:?}");
        for good in [&again, &elsewhere, &somebody_else] {
            assert!(!refused(&door, &good.text("access_token")).await, "{habits:?}");
        }
        assert!(refreshes(&door, &again.text("refresh_token")).await.is_some(), "{habits:?}");
        assert_eq!(door.issuer.revoked(), [refresh], "OAUTH-2: upstream, {habits:?}");

        let u = UserId::parse("u").unwrap();
        let live = |answer: &Answer| {
            let (store, id) = (door.fleet.store.clone(), session_of(answer));
            let u = u.clone();
            async move { store.session(&u, &id).await.unwrap().unwrap().ended_by.is_none() }
        };
        assert!(!live(&first).await && live(&again).await && live(&elsewhere).await, "{habits:?}");
        let of_session = rows(&door, "u").await.into_iter().filter(|row| row.session == Some(session_of(&first)));
        let left: Vec<_> = of_session.filter(|row| row.revoked.is_none()).collect();
        assert_eq!(left, [], "every row says so, {habits:?}");
    }
}

#[tokio::test]
async fn rfc_7009_2_1_a_wrong_or_unknown_hint_changes_nothing() {
    let door = door().await;
    for hint in ["access_token", "refresh_token", "id_token", "urn:example:other", "", "한글"] {
        let signed_in = door.sign_in("u").await;
        let (access, refresh) = (signed_in.text("access_token"), signed_in.text("refresh_token"));
        for token in [&access, &refresh] {
            let fields = [("token", token.as_str()), ("token_type_hint", hint), ("client_id", CLIENT)];
            assert_eq!(door.form("/oauth/revoke", &fields, &[]).await.status, StatusCode::OK, "{hint}");
        }
        assert!(refused(&door, &access).await, "{hint}");
        assert!(refreshes(&door, &refresh).await.is_none(), "{hint}");
    }
}

#[tokio::test]
async fn rfc_7009_2_2_an_unknown_or_finished_token_is_200() {
    let door = door().await;
    let long = "t".repeat(60_000);
    for unknown in ["unknown", "a.b.c", "..", "한글 토큰 🙂", " ", "\u{0}", "%", &long] {
        let answer = revoke(&door, unknown).await;
        assert_eq!(answer.status, StatusCode::OK, "{unknown:?}: {answer:?}");
    }
    let signed_in = door.sign_in("u").await;
    for token in [signed_in.text("access_token"), signed_in.text("refresh_token")] {
        for _ in 0..3 {
            assert_eq!(revoke(&door, &token).await.status, StatusCode::OK);
        }
    }
    let expired = door.sign_in("u").await.text("access_token");
    door.fleet.clock.advance(chrono::TimeDelta::days(1));
    assert_eq!(revoke(&door, &expired).await.status, StatusCode::OK);
    assert_error(&revoke(&door, &"t".repeat(70_000)).await, 413, "invalid_request");
}

/// A job may end a refresh token and no more: it still stands for its sign-in.
#[tokio::test]
async fn oauth_2_revoking_a_refresh_token_that_was_ended_by_itself_ends_the_rest_of_its_sign_in() {
    let door = door().await;
    let signed_in = door.sign_in("u").await;
    let (access, refresh) = (signed_in.text("access_token"), signed_in.text("refresh_token"));
    let id = TokenId::of_opaque(&RawToken::new(refresh.as_str()));
    let owner = Owner::User(UserId::parse("u").unwrap());
    let ended = Revoked { at: Epoch(NOW), by: RevokedBy::Job(JobId::parse("j").unwrap()) };
    assert!(door.fleet.store.revoke(&owner, &id, &ended).await.unwrap().is_some());
    assert!(!refused(&door, &access).await);
    assert_eq!(revoke(&door, &refresh).await.status, StatusCode::OK);
    assert!(refused(&door, &access).await);
}

/// Whoever holds a token that is over could otherwise fill the tables with it.
#[tokio::test]
async fn rfc_7009_2_2_revoking_again_what_is_over_writes_nothing() {
    let door = door().await;
    let (one, two) = (door.sign_in("u").await, door.sign_in("u").await);
    let replaced = two.text("refresh_token");
    door.refresh(&replaced).await;
    for token in [one.text("access_token"), one.text("refresh_token"), replaced] {
        revoke(&door, &token).await;
        let written = |entries: &[domain::ports::Entry]| entries.len();
        let before = (door.fleet.store.entries(None).await.unwrap().items, door.fleet.store.audit().len());
        for _ in 0..3 {
            door.fleet.clock.advance(chrono::TimeDelta::seconds(1));
            assert_eq!(revoke(&door, &token).await.status, StatusCode::OK);
        }
        let after = (door.fleet.store.entries(None).await.unwrap().items, door.fleet.store.audit().len());
        assert_eq!((written(&before.0), before.1), (written(&after.0), after.1));
    }
}

/// A token that has expired is still good where the clock is behind, so that it is denied all the same, once.
#[tokio::test]
async fn cut_5_a_token_that_has_expired_can_be_revoked_for_as_long_as_any_verifier_takes_it() {
    for (kind, jwt) in [("access_token", false), ("access_token", true), ("refresh_token", true)] {
        for (ago, denied) in [(0, true), (60, true), (119, true), (120, false), (121, false)] {
            let door = Door::in_memory(now(), Habits { jwt, ..Habits::default() }).await;
            let token = door.sign_in("u").await.text(kind);
            let id = TokenId::of_opaque(&RawToken::new(token.as_str()));
            let expires_at = match rows(&door, "u").await.into_iter().find(|row| row.id == id) {
                Some(row) => row.expires_at,
                None => door.issuer.verify(&RawToken::new(token.as_str())).await.unwrap().facts.expires_at,
            };
            door.fleet.clock.advance(chrono::TimeDelta::seconds(expires_at.0 + ago - NOW));
            let entries = async || door.fleet.store.entries(None).await.unwrap().items.len();
            assert_eq!(revoke(&door, &token).await.status, StatusCode::OK);
            let first = entries().await;
            assert_eq!(first > 0, denied, "{kind} {ago} s after it expired");
            let audited = door.fleet.store.audit().len();
            assert_eq!(revoke(&door, &token).await.status, StatusCode::OK);
            assert_eq!((entries().await, door.fleet.store.audit().len()), (first, audited), "{kind} {ago} s");
        }
    }
}

/// What a client learns must not depend on whether somebody else's token exists.
#[tokio::test]
async fn rfc_7009_2_2_a_token_that_nobody_here_knows_is_passed_on_to_the_issuer_who_may_know_it() {
    let door = door().await;
    revoke(&door, "of an old grant").await;
    assert_eq!(door.issuer.revoked(), ["of an old grant"]);
}

#[tokio::test]
async fn rfc_7009_2_2_1_an_id_token_is_an_unsupported_token_type() {
    let mint = Mint::start().await;
    let mut door = door().await;
    door.verifier = mint.verifier(door.fleet.clock.clone());
    let mut claims = mint.claims("u", CLIENT, "s", Epoch(NOW));
    claims["nonce"] = "n".into();
    assert_error(&revoke(&door, &mint.sign(&claims)).await, 400, "unsupported_token_type");
    assert_eq!(door.issuer.revoked(), [""; 0]);
}

/// Anybody can write down somebody's token id: only what the issuer has signed names a token.
#[tokio::test]
async fn rfc_7009_2_1_a_forged_token_ends_nobodys() {
    let mint = Mint::start().await;
    let mut door = door().await;
    door.verifier = mint.verifier(door.fleet.clock.clone());
    let claims = mint.claims("u", CLIENT, "s", Epoch(NOW));
    let good = mint.sign(&claims);
    for (what, forged) in mint.forgeries(&claims) {
        assert_eq!(revoke(&door, &forged).await.status, StatusCode::OK, "{what}");
        assert!(!refused(&door, &good).await, "{what}");
    }
    assert_eq!(revoke(&door, &good).await.status, StatusCode::OK);
    assert!(refused(&door, &good).await);
}

#[tokio::test]
async fn rfc_7009_2_2_1_with_the_stores_away_it_is_503_and_the_token_still_exists() {
    let door = door().await;
    let signed_in = door.sign_in("u").await;
    let tokens = [signed_in.text("refresh_token"), signed_in.text("access_token")];
    door.fleet.store.set_down(true);
    door.fleet.cache.set_down(true);
    for token in &tokens {
        let answer = revoke(&door, token).await;
        assert_error(&answer, 503, "temporarily_unavailable");
        assert!(answer.header("retry-after").parse::<u32>().unwrap() > 0);
    }
    door.fleet.store.set_down(false);
    door.fleet.cache.set_down(false);
    assert_eq!(door.issuer.revoked(), [""; 0], "nor is it ended at the issuer");
    assert!(!refused(&door, &tokens[1]).await);
    for token in &tokens {
        assert_eq!(revoke(&door, token).await.status, StatusCode::OK, "the second try");
    }
    assert!(refused(&door, &tokens[1]).await && refreshes(&door, &tokens[0]).await.is_none());
}

/// The client is told that not every verifier knows; DynamoDB, which is asked without Redis, does already (`[CHECK-3]`).
#[tokio::test]
async fn rfc_7009_2_2_1_with_redis_away_it_is_503_and_dynamodb_refuses_all_of_it_already() {
    for habits in habits() {
        let door = Door::in_memory(now(), habits).await;
        let signed_in = door.sign_in("u").await;
        let (access, refresh) = (signed_in.text("access_token"), signed_in.text("refresh_token"));
        let replaced = door.sign_in("u").await.text("refresh_token");
        door.refresh(&replaced).await;
        door.fleet.cache.set_down(true);
        for token in [&access, &replaced, &refresh] {
            // However often it is repeated: nobody can say yet that every verifier has heard of it.
            for _ in 0..2 {
                let answer = revoke(&door, token).await;
                assert_error(&answer, 503, "temporarily_unavailable");
                assert!(answer.header("retry-after").parse::<u32>().unwrap() > 0);
            }
        }
        assert!(refreshes(&door, &refresh).await.is_none(), "{habits:?}");
        assert!(refused(&door, &access).await, "{habits:?}");
        // Until the guard has run, a cache that comes back may be believed once more: that is why it was 503.
        door.fleet.cache.set_down(false);
        door.fleet.guard().await.unwrap();
        assert!(refused(&door, &access).await, "{habits:?}");
        assert_eq!(revoke(&door, &refresh).await.status, StatusCode::OK, "{habits:?}");
    }
}

#[tokio::test]
async fn oauth_2_with_the_issuer_away_the_token_is_ended_here_and_the_answer_says_so() {
    for silent in [false, true] {
        let door = door().await;
        let signed_in = door.sign_in("u").await;
        door.issuer.set_down(!silent);
        door.issuer.set_silent(silent);
        for token in ["access_token", "refresh_token"] {
            let answer = revoke(&door, &signed_in.text(token)).await;
            let told = (answer.status, answer.body);
            assert_eq!(told, (StatusCode::OK, json!({ "status": "success", "upstream": "failed" })));
        }
        door.issuer.set_down(false);
        door.issuer.set_silent(false);
        assert!(refused(&door, &signed_in.text("access_token")).await);
        assert!(refreshes(&door, &signed_in.text("refresh_token")).await.is_none());
        let entries = door.fleet.store.audit();
        let noted: Vec<_> = entries.iter().filter(|entry| entry.action == Action::TokenRevoked).collect();
        assert!(noted.len() == 2 && noted.iter().all(|entry| entry.metadata["upstream"] == "failed"), "{noted:?}");
    }
}

/// An issuer without a revocation endpoint.
struct Unrevokable;

#[async_trait]
impl Upstream for Unrevokable {
    async fn authorization_endpoint(&self) -> Result<String, UpstreamError> {
        unreachable!("nobody signs in")
    }
    async fn token(&self, _: &Form) -> Result<Issued, UpstreamError> {
        unreachable!("nobody signs in")
    }
    async fn revoke(&self, _: &Form) -> Result<(), UpstreamError> {
        Err(UpstreamError::NotOffered("revocation endpoint"))
    }
    async fn reachable(&self) -> Result<(), UpstreamError> {
        Ok(())
    }
}

#[tokio::test]
async fn oauth_2_an_issuer_without_a_revocation_endpoint_keeps_nobody_from_revoking_here() {
    let mut door = door().await;
    let token = door.sign_in("u").await.text("access_token");
    door.upstream = Arc::new(Unrevokable);
    assert_eq!(revoke(&door, &token).await.body, json!({ "status": "success", "upstream": "not_offered" }));
    assert!(refused(&door, &token).await);
}

#[tokio::test]
async fn rfc_7009_2_1_a_service_token_is_revoked_by_its_client() {
    for jwt in [false, true] {
        let door = Door::in_memory(now(), Habits { jwt, ..Habits::default() }).await;
        let grant = [("grant_type", "client_credentials"), ("client_id", OTHER)];
        let token = door.form("/oauth/token", &grant, &[]).await.text("access_token");
        assert_error(&revoke(&door, &token).await, 400, "invalid_grant");
        let asked = || async { door.inspector().inspect(&RawToken::new(token.clone())).await.unwrap().verdict };
        assert!(matches!(asked().await.unwrap().active, Active::Jwt(_) | Active::Opaque(_)));
        let fields = [("token", token.as_str()), ("client_id", OTHER)];
        assert_eq!(door.form("/oauth/revoke", &fields, &[]).await.status, StatusCode::OK);
        assert!(asked().await.is_err());
    }
}

/// `[AUDIT-1]`: who, what, and never the token.
#[tokio::test]
async fn oauth_2_every_revocation_is_audited_and_no_answer_or_entry_names_a_token_or_a_secret() {
    let door = door().await;
    let signed_in = door.sign_in_to(BACKEND, "u").await;
    let (access, refresh) = (signed_in.text("access_token"), signed_in.text("refresh_token"));
    let header = basic(BACKEND, SECRET);
    let mut told = String::new();
    for token in [access.as_str(), refresh.as_str(), "unknown-token"] {
        let headers = [("authorization", header.as_str()), ("user-agent", "curl"), ("x-forwarded-for", "1.2.3.4")];
        told += &door.form("/oauth/revoke", &[("token", token)], &headers).await.raw;
        told += &revoke(&door, token).await.raw;
    }
    let entries = door.fleet.store.audit();
    let noted: Vec<_> = entries.iter().filter(|entry| entry.action == Action::TokenRevoked).collect();
    assert_eq!(noted.len(), 2, "{noted:?}");
    assert_eq!(noted[0].actor.id.as_str(), "u");
    assert_eq!((&noted[0].metadata["tokens"], &noted[0].metadata["client"]), (&json!(1), &json!(BACKEND)));
    assert_eq!((&noted[1].metadata["tokens"], &noted[1].metadata["sessions"]), (&json!(1), &json!(1)));
    assert_eq!(noted[0].origin.source_ip, None, "only the gateway says where somebody came from");
    told += &serde_json::to_string(&entries).unwrap();
    for secret in [access.as_str(), &refresh, "unknown-token", SECRET, &header] {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
}

/// What the durable denylist holds lives until the token has expired, and not for ever (`[CUT-5]`).
#[tokio::test]
async fn cut_5_a_revoked_token_stays_refused_until_it_has_expired() {
    let door = door().await;
    let token = door.sign_in("u").await.text("access_token");
    revoke(&door, &token).await;
    for _ in 0..8 {
        door.fleet.clock.advance(chrono::TimeDelta::minutes(10));
        assert!(refused(&door, &token).await, "{}", door.fleet.clock.now());
    }
    assert!(!door.fleet.store.entries(None).await.unwrap().items.is_empty());
}
