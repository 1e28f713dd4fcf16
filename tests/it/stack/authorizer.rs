//! Another team's API (`infra/sample-api`) behind the authorizer: the same check, through a gateway.

use bytes::Bytes;
use domain::ids::TokenId;
use domain::ports::{DenylistCache as _, DenylistStore as _};
use domain::time::{Clock as _, Epoch, SystemClock};
use http::{Request, header};
use http_body_util::Full;
use ops::issuer::Mint;
use ops::web::Answer;
use serde_json::json;
use tests::environment::unique;

use super::Caller;

async fn orders(caller: &Caller, authorization: Option<&str>) -> Answer {
    let mut request = Request::get(format!("{}/orders", caller.stack.sample_api_url));
    if let Some(value) = authorization {
        request = request.header(header::AUTHORIZATION, value);
    }
    caller.web.send(request.body(Full::<Bytes>::default()).unwrap()).await.unwrap()
}

async fn assert_refused(caller: &Caller, authorization: Option<&str>, what: &str) {
    let answer = orders(caller, authorization).await;
    assert_eq!(answer.status.as_u16(), 401, "{what}: {}", answer.json);
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/problem+json", "{what}");
    assert_eq!(answer.headers[header::WWW_AUTHENTICATE], "Bearer", "{what}: RFC 9110 §15.5.2");
    assert_eq!((&answer.json["status"], &answer.json["title"]), (&json!(401), &json!("Unauthorized")), "{what}");
}

#[tokio::test]
async fn check_4_another_teams_api_is_told_who_calls_and_hears_of_a_revocation_with_the_next_request() {
    let admin = Caller::sign_in("security.admin@example.com").await;
    let mint = Mint::open(&admin.stack, &admin.web).await.unwrap();
    let jti = unique("sample");
    let token = mint.altered(&admin.token, &|claims| claims["jti"] = json!(jti)).unwrap();
    let bearer = format!("Bearer {token}");

    let good = orders(&admin, Some(&bearer)).await;
    assert_eq!(good.status.as_u16(), 200, "{}", good.json);
    let person = admin.stack.person("security.admin@example.com").unwrap();
    assert_eq!(good.json["user_id"], json!(person.id));
    assert_eq!(good.json["client_id"], json!(admin.stack.client_id));
    assert_eq!(good.json["roles"], json!(["security_admin"]), "a list, out of the text that the gateway hands on");
    assert_eq!(good.json["orders"], json!([]));

    // As a worker does: the truth first, then the cache.
    let revoked = [(TokenId::parse(jti).unwrap(), Epoch::from(SystemClock.now()).plus(3_600))];
    admin.stack.store().await.put_tokens(&revoked).await.unwrap();
    admin.stack.cache().await.unwrap().put_tokens(&revoked).await.unwrap();
    assert_refused(&admin, Some(&bearer), "revoked a moment ago").await;
    let other = orders(&admin, Some(&format!("Bearer {}", admin.token))).await;
    assert_eq!(other.status.as_u16(), 200, "no other token of the user's is hit: {}", other.json);
}

#[tokio::test]
async fn check_4_whatever_is_not_one_good_access_token_is_401_at_another_teams_api() {
    let admin = Caller::sign_in("member@example.com").await;
    let mint = Mint::open(&admin.stack, &admin.web).await.unwrap();
    let id_token = mint.altered(&admin.token, &|claims| claims["token_use"] = json!("id")).unwrap();
    let expired = mint.altered(&admin.token, &|claims| claims["exp"] = json!(1)).unwrap();
    assert_refused(&admin, None, "no token").await;
    for (what, value) in [
        ("garbage", "Bearer hello".to_owned()),
        ("no JWT", "Bearer a.b.c".to_owned()),
        ("another scheme", "Basic dTpw".to_owned()),
        ("a broken signature", format!("Bearer {}x", admin.token)),
        ("an ID token", format!("Bearer {id_token}")),
        ("an expired token", format!("Bearer {expired}")),
    ] {
        assert_refused(&admin, Some(&value), what).await;
    }
}
