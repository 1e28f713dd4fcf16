//! The authorizer's real binary, and stores that come and go (`[CHECK-3]`, `[CHECK-4]`). Through a gateway:
//! `stack/authorizer.rs`.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::ids::{ClientId, RawToken, TokenId, UserId};
use domain::ports::{DenylistStore as _, RecordStore as _};
use domain::records::{Entity, Record, TokenRecord};
use domain::time::{Clock as _, Epoch, SystemClock};
use domain::token::TokenKind;
use serde_json::{Value, json};
use tests::function::{Function, Outcome};
use tests::store::{Store, variables};

const NOWHERE: &str = "http://127.0.0.1:9";

/// An authorizer whose Redis and issuer are away.
async fn authorizer(dynamodb: &str) -> Function {
    let issuer = HashMap::from([("OIDC_ISSUER".to_owned(), NOWHERE.to_owned())]);
    Function::start("authorizer", &variables(dynamodb).into_iter().chain(issuer).collect()).await
}

async fn ask(function: &mut Function, token: &str) -> Outcome {
    let arn = "arn:aws:execute-api:us-east-1:000000000000:api/live/GET/orders";
    let event = json!({
        "type": "REQUEST", "methodArn": arn, "headers": { "authorization": format!("Bearer {token}") },
    });
    function.invoke(&event).await
}

fn assert_allowed(outcome: &Outcome, user: &str) {
    let Outcome::Answered(answer) = outcome else { panic!("{outcome:?}") };
    assert_eq!(answer["policyDocument"]["Statement"][0]["Effect"], "Allow", "{answer}");
    assert_eq!((&answer["principalId"], &answer["context"]["user_id"]), (&json!(user), &json!(user)));
}

/// The message of the error, which is all that API Gateway looks at.
fn error_message(outcome: &Outcome) -> String {
    let Outcome::Failed(body) = outcome else { panic!("an allow: {outcome:?}") };
    let error: Value = serde_json::from_str(body).unwrap();
    error["errorMessage"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn check_3_without_redis_the_authorizer_asks_dynamodb_and_without_both_it_neither_allows_nor_refuses() {
    let (store, now) = (Store::start().await, Epoch::from(SystemClock.now()));
    let dynamo = store.dynamo().await;
    let id = TokenId::of_opaque(&RawToken::new("opaque"));
    let record = TokenRecord {
        id: id.clone(),
        user_id: Some(UserId::parse("u1").unwrap()),
        client_id: ClientId::parse("web-app").unwrap(),
        token_type: TokenKind::Access,
        opaque: true,
        session_id: None,
        issued_at: now.plus(-60),
        auth_time: Some(now.plus(-60)),
        expires_at: now.plus(600),
        last_used_at: None,
        scope: None,
        revoked_at: None,
    };
    dynamo.apply(&Record::upsert(1, Entity::Token(record))).await.unwrap();

    let mut function = authorizer(&store.endpoint).await;
    assert_allowed(&ask(&mut function, "opaque").await, "u1");
    assert_eq!(error_message(&ask(&mut function, "unknown").await), "Unauthorized");
    dynamo.put_tokens(&[(id, now.plus(600))]).await.unwrap();
    assert_eq!(error_message(&ask(&mut function, "opaque").await), "Unauthorized", "at once: nothing is cached");

    let mut blind = authorizer(NOWHERE).await;
    assert_ne!(error_message(&ask(&mut blind, "opaque").await), "Unauthorized");
}

#[tokio::test]
async fn check_3_without_the_issuers_keys_the_authorizer_neither_allows_nor_refuses_a_jwt() {
    let (store, now) = (Store::start().await, SystemClock.now().timestamp());
    let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let claims = json!({
        "iss": NOWHERE, "sub": "u1", "client_id": "web-app", "jti": "j1",
        "iat": now - 60, "auth_time": now - 60, "exp": now + 600,
    });
    let jwt = format!("{}.{}.c2lnbmF0dXJl", part(json!({ "alg": "RS256", "kid": "k1" })), part(claims));
    let mut function = authorizer(&store.endpoint).await;
    assert_ne!(error_message(&ask(&mut function, &jwt).await), "Unauthorized");
    assert_eq!(error_message(&ask(&mut function, "a.b.c").await), "Unauthorized", "no JWT, whoever's keys");
}
