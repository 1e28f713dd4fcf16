//! On to the issuer, and with which demands: `GET /oauth/authorize` (RFC 6749 §4.1.1, `[CUT-4]`).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use domain::cutoff::Scope;
use domain::ids::{ClientId, SessionId, UserId};
use domain::testing::{Habits, Memory};
use domain::time::{Clock as _, Epoch};
use domain::token::RevokedBy;
use http::StatusCode;
use serde_json::json;
use tests::door::{Answer, CLIENT, Door, OTHER};
use tests::fleet::LIMITS;

const NOW: i64 = 1_900_000_000;

/// Of one verifier its challenge (RFC 7636 appendix B).
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(NOW, 0).unwrap()
}

async fn door() -> Door<Memory, Memory> {
    Door::in_memory(now(), Habits::default()).await
}

async fn authorize(door: &Door<Memory, Memory>, asked: &[(&str, &str)], cookies: &str) -> Answer {
    let query = serde_urlencoded::to_string(asked).unwrap();
    door.get(&format!("/oauth/authorize?{query}"), &[("cookie", cookies)]).await
}

/// What the issuer is asked, where the browser is sent to it.
fn passed_on(answer: &Answer) -> Vec<(String, String)> {
    assert_eq!(answer.status, StatusCode::FOUND, "{answer:?}");
    let query = answer.header("location").strip_prefix("https://issuer.test/authorize?");
    serde_urlencoded::from_str(query.unwrap_or_else(|| panic!("{answer:?}"))).unwrap()
}

fn parameter(answer: &Answer, name: &str) -> Option<String> {
    passed_on(answer).into_iter().find(|(found, _)| found == name).map(|(_, value)| value)
}

/// What is asked for when a browser with these cookies comes to sign in at a client.
async fn prompt(door: &Door<Memory, Memory>, client: &str, cookies: &str) -> Option<String> {
    parameter(&authorize(door, &[("client_id", client)], cookies).await, "prompt")
}

async fn cut_off(door: &Door<Memory, Memory>, scope: Scope) {
    let now = Epoch::from(door.fleet.clock.now());
    door.fleet.denier().sign_ins([scope], now, &RevokedBy::User).await.unwrap();
    door.fleet.clock.advance(TimeDelta::seconds(1));
}

/// What is asked of a browser whose remembered sign-in is not good enough.
const FRESH: Option<&str> = Some("login");

#[tokio::test]
async fn rfc_6749_4_1_1_the_browser_is_sent_to_the_issuer_with_every_parameter_as_it_came() {
    let door = door().await;
    let asked = [
        ("response_type", "code"),
        ("client_id", CLIENT),
        ("redirect_uri", "https://app.example.com/back?a=b&c=d#e"),
        ("state", "상태 🙂 \u{202E}ابج +%2B&=;/?#\r\nSet-Cookie: x=y"),
        ("scope", "email profile"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("ui_locales", "ko en"),
        ("x-무엇", "x"),
    ];
    let answer = authorize(&door, &asked, "").await;
    let expected: Vec<_> = asked.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    assert_eq!(passed_on(&answer), expected);
    assert!(answer.header("location").is_ascii());
    assert_eq!(answer.header("cache-control"), "no-store");
}

/// RFC 6749 §3.1: "parameters sent without a value MUST be treated as if they were omitted".
#[tokio::test]
async fn rfc_6749_3_1_a_parameter_without_a_value_is_left_out() {
    let answer = authorize(&door().await, &[("client_id", CLIENT), ("prompt", ""), ("state", "")], "").await;
    assert_eq!(passed_on(&answer), [("client_id".to_owned(), CLIENT.to_owned())]);
}

/// RFC 6749 §3.1: "request and response parameters MUST NOT be included more than once".
#[tokio::test]
async fn rfc_6749_3_1_a_parameter_sent_twice_or_a_client_that_is_missing_leads_nowhere() {
    let (door, long) = (door().await, "c".repeat(513));
    for asked in [
        &[("client_id", CLIENT), ("client_id", CLIENT)][..],
        &[("client_id", CLIENT), ("prompt", "none"), ("prompt", "login")],
        &[("client_id", CLIENT), ("redirect_uri", "https://a"), ("redirect_uri", "https://b")],
        &[("client_id", CLIENT), ("max_age", "1"), ("max_age", "2")],
        &[("state", "s")],
        &[("client_id", "")],
        &[("client_id", "a\nb")],
        &[("client_id", &long)],
        &[],
    ] {
        let answer = authorize(&door, asked, "").await;
        assert_eq!((answer.status.as_u16(), answer.text("error").as_str()), (400, "invalid_request"), "{asked:?}");
        assert_eq!(answer.header("location"), "", "§4.1.2.1: not redirected, {asked:?}");
    }
}

#[tokio::test]
async fn rfc_6749_10_15_nothing_a_browser_sends_changes_where_it_is_sent() {
    let door = door().await;
    for value in [
        "https://evil.example",
        "//evil.example",
        "@evil.example",
        "\\evil",
        "https://issuer.test.evil.example/",
        "?x",
        "#x",
        "\r\nLocation: https://evil.example",
    ] {
        for name in ["redirect_uri", "authorization_endpoint", "endpoint", "issuer", "request_uri", "iss", "next"] {
            let answer = authorize(&door, &[("client_id", CLIENT), (name, value)], "").await;
            assert_eq!(parameter(&answer, name).as_deref(), Some(value));
            assert_eq!(answer.headers.get_all("location").iter().count(), 1);
        }
    }
    let headers = [("x-forwarded-host", "evil.example"), ("host", "evil.example"), ("forwarded", "host=evil.example")];
    passed_on(&door.get(&format!("/oauth/authorize?client_id={CLIENT}"), &headers).await);
}

#[tokio::test]
async fn oauth_3_with_the_issuer_away_the_browser_is_sent_nowhere() {
    let door = door().await;
    door.issuer.set_down(true);
    let answer = authorize(&door, &[("client_id", CLIENT)], "").await;
    assert_eq!((answer.status.as_u16(), answer.text("error").as_str()), (502, "server_error"));
    door.issuer.set_down(false);
    door.issuer.set_silent(true);
    let answer = authorize(&door, &[("client_id", CLIENT)], "").await;
    assert_eq!((answer.status.as_u16(), answer.text("error").as_str()), (504, "temporarily_unavailable"));
}

#[tokio::test]
async fn cut_4_without_a_cutoff_a_remembered_sign_in_is_good_enough() {
    let door = door().await;
    let cookies = door.sign_in("u").await.cookies();
    assert!(cookies.contains("sign_in="), "{cookies}");
    for cookies in ["", "other=1; another=2", &cookies] {
        assert_eq!(prompt(&door, CLIENT, cookies).await, None, "{cookies}");
    }
    // Somebody else's end is not this browser's.
    cut_off(&door, Scope::User(UserId::parse("v").unwrap())).await;
    cut_off(&door, Scope::Client(ClientId::parse(OTHER).unwrap())).await;
    cut_off(&door, Scope::Session(SessionId::parse("s").unwrap())).await;
    assert_eq!(prompt(&door, CLIENT, &cookies).await, None);
}

#[tokio::test]
async fn cut_4_after_the_browsers_own_session_was_ended_a_fresh_sign_in_is_asked_for() {
    for habits in [Habits::default(), Habits { jwt: false, says_sid: false, says_auth_time: false, rotates: false }] {
        let door = Door::in_memory(now(), habits).await;
        let signed_in = door.sign_in("u").await;
        let other = door.sign_in("u").await;
        door.fleet.clock.advance(TimeDelta::seconds(1));
        let token = signed_in.text("access_token");
        let ended = door.call("POST", "/api/v1/auth/logout", &token, Some(json!({}))).await;
        assert_eq!(ended.status, StatusCode::OK, "{ended:?}");
        // Some browsers keep cookies that they are told to forget.
        assert_eq!(prompt(&door, CLIENT, &signed_in.cookies()).await.as_deref(), FRESH, "{habits:?}");
        assert_eq!(prompt(&door, CLIENT, &other.cookies()).await, None, "{habits:?}");
        assert_eq!(ended.cookies(), "", "nothing is left");
    }
}

#[tokio::test]
async fn cut_4_after_a_cutoff_of_the_user_a_fresh_sign_in_is_asked_for_until_there_was_one() {
    let door = door().await;
    let (here, elsewhere) = (door.sign_in("u").await.cookies(), door.sign_in("v").await.cookies());
    cut_off(&door, Scope::User(UserId::parse("u").unwrap())).await;
    for client in [CLIENT, OTHER] {
        assert_eq!(prompt(&door, client, &here).await.as_deref(), FRESH);
    }
    assert_eq!(prompt(&door, CLIENT, &elsewhere).await, None);
    assert_eq!(prompt(&door, CLIENT, "").await, None, "nobody knows whose browser this is");
    let again = door.sign_in("u").await.cookies();
    assert_eq!(prompt(&door, CLIENT, &again).await, None);
}

#[tokio::test]
async fn cut_4_after_a_cutoff_of_the_client_or_of_everything_unknown_browsers_are_asked_too() {
    for (scope, everywhere) in [(Scope::Client(ClientId::parse(CLIENT).unwrap()), false), (Scope::Everything, true)] {
        let door = door().await;
        let before = door.sign_in("u").await.cookies();
        cut_off(&door, scope).await;
        for cookies in ["", &before] {
            assert_eq!(prompt(&door, CLIENT, cookies).await.as_deref(), FRESH, "{cookies}");
            assert_eq!(prompt(&door, OTHER, cookies).await.is_some(), everywhere, "{cookies}");
        }
        let again = door.sign_in("u").await.cookies();
        assert_eq!(prompt(&door, CLIENT, &again).await, None);
        door.fleet.clock.advance(TimeDelta::seconds(LIMITS.max_sign_in_age + 120));
        assert_eq!(prompt(&door, CLIENT, "").await, None, "no sign-in of before it is good any more");
    }
}

#[tokio::test]
async fn cut_4_a_user_at_a_client_is_asked_at_that_client_only() {
    let door = door().await;
    let cookies = door.sign_in("u").await.cookies();
    let (user, client) = (UserId::parse("u").unwrap(), ClientId::parse(CLIENT).unwrap());
    cut_off(&door, Scope::UserClient(user, client)).await;
    assert_eq!(prompt(&door, CLIENT, &cookies).await.as_deref(), FRESH);
    assert_eq!(prompt(&door, OTHER, &cookies).await, None);
}

/// The issuer's own single sign-on may be older than the cutoff, in a browser that remembers nothing here: the first
/// attempt is refused, and the next one asks for more.
#[tokio::test]
async fn cut_4_after_a_refused_attempt_the_same_browser_is_asked_for_a_fresh_sign_in() {
    let door = door().await;
    let before = Epoch::from(door.fleet.clock.now());
    door.fleet.clock.advance(TimeDelta::seconds(5));
    cut_off(&door, Scope::User(UserId::parse("u").unwrap())).await;
    let asked = [("client_id", CLIENT), ("code_challenge", CHALLENGE), ("code_challenge_method", "S256")];
    let first = authorize(&door, &asked, "").await;
    assert_eq!(parameter(&first, "prompt"), None);

    let verifier = [("code_verifier", VERIFIER)];
    let refused = door.exchange(CLIENT, "u", before, &verifier, &[]).await;
    assert_eq!((refused.status.as_u16(), refused.text("error").as_str()), (400, "invalid_grant"), "{refused:?}");
    assert_eq!(refused.cookies(), "", "nothing to remember");
    let second = authorize(&door, &asked, &first.cookies()).await;
    assert_eq!(parameter(&second, "prompt").as_deref(), FRESH);
    assert_eq!(prompt(&door, CLIENT, "").await, None, "another browser");
    let now = Epoch::from(door.fleet.clock.now());
    let granted = door.exchange(CLIENT, "u", now, &verifier, &[]).await;
    assert_eq!(granted.status, StatusCode::OK, "{granted:?}");
    assert_eq!(prompt(&door, CLIENT, &granted.cookies()).await, None);
}

/// Without PKCE nobody can tell which browser it was: for a while all of the client's are asked.
#[tokio::test]
async fn cut_4_after_a_refused_attempt_without_pkce_the_clients_browsers_are_asked_for_a_fresh_sign_in() {
    let door = door().await;
    let before = Epoch::from(door.fleet.clock.now());
    door.fleet.clock.advance(TimeDelta::seconds(5));
    cut_off(&door, Scope::User(UserId::parse("u").unwrap())).await;
    assert_eq!(prompt(&door, CLIENT, "").await, None);
    let refused = door.exchange(CLIENT, "u", before, &[], &[]).await;
    assert_eq!((refused.status.as_u16(), refused.text("error").as_str()), (400, "invalid_grant"), "{refused:?}");
    assert_eq!(prompt(&door, CLIENT, "").await.as_deref(), FRESH);
    assert_eq!(prompt(&door, OTHER, "").await, None, "another client");
    let with_pkce = [("client_id", CLIENT), ("code_challenge", CHALLENGE), ("code_challenge_method", "S256")];
    assert_eq!(parameter(&authorize(&door, &with_pkce, "").await, "prompt"), None, "attempts that can be told apart");
}

#[tokio::test]
async fn cut_4_an_attempt_is_remembered_by_its_challenge_only_and_only_where_it_can_be_matched() {
    let door = door().await;
    for (method, challenge, kept) in [
        (Some("S256"), CHALLENGE, true),
        (Some("plain"), VERIFIER, true),
        (None, VERIFIER, true),
        (Some("S512"), CHALLENGE, false),
        (Some("S256"), "한글; Domain=evil.example", false),
    ] {
        let mut asked = vec![("client_id", CLIENT), ("code_challenge", challenge)];
        asked.extend(method.map(|method| ("code_challenge_method", method)));
        let answer = authorize(&door, &asked, "").await;
        let expected = if kept { format!("sign_in_attempt={CHALLENGE}") } else { String::new() };
        assert_eq!(answer.cookies(), expected);
    }
}

#[tokio::test]
async fn cut_4_prompt_none_forbids_every_page_so_that_the_age_says_it() {
    let door = door().await;
    let cookies = door.sign_in("u").await.cookies();
    cut_off(&door, Scope::User(UserId::parse("u").unwrap())).await;
    let of = async |asked: &[(&str, &str)]| {
        let answer = authorize(&door, &[&[("client_id", CLIENT)], asked].concat(), &cookies).await;
        (parameter(&answer, "prompt"), parameter(&answer, "max_age"))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(of(&[("prompt", "none")]).await, (some("none"), some("0")));
    assert_eq!(of(&[("prompt", "none"), ("max_age", "3600")]).await, (some("none"), some("0")));
    assert_eq!(of(&[("prompt", "none"), ("scope", "openid")]).await, (some("none"), some("0")));
    assert_eq!(of(&[("prompt", "consent select_account")]).await, (some("login consent select_account"), None));
    assert_eq!(of(&[("prompt", "login")]).await, (some("login"), None));
}

/// OpenID Connect Core §3.1.2.1: with `max_age` the ID token has to say when the sign-in was.
#[tokio::test]
async fn cut_4_no_older_sign_in_is_asked_for_than_verifiers_take() {
    let door = door().await;
    let longest = LIMITS.max_sign_in_age.to_string();
    let more = (LIMITS.max_sign_in_age + 1).to_string();
    for (scope, given, wanted) in [
        ("openid", None, Some(&*longest)),
        ("email openid", Some(&*more), Some(&*longest)),
        ("openid", Some("forever"), Some(&*longest)),
        ("openid", Some("60"), Some("60")),
        ("email", None, None),
    ] {
        let mut asked = vec![("client_id", CLIENT), ("scope", scope)];
        asked.extend(given.map(|given| ("max_age", given)));
        let answer = authorize(&door, &asked, "").await;
        assert_eq!(parameter(&answer, "max_age").as_deref(), wanted, "{scope} {given:?}");
    }
}

/// What a browser says of itself is never more than what we sealed for it; what it cannot have from us counts for nothing.
#[tokio::test]
async fn cut_4_a_made_up_or_changed_cookie_is_as_none() {
    let door = door().await;
    let cookies = door.sign_in("u").await.cookies();
    let sealed = cookies.split("; ").find_map(|cookie| cookie.strip_prefix("sign_in=")).unwrap();
    let made_up = URL_SAFE_NO_PAD.encode(json!({ "user": "v", "session": "s", "at": NOW + 9_999 }).to_string());
    cut_off(&door, Scope::User(UserId::parse("u").unwrap())).await;
    for cookie in ["", "x", &sealed[1..], &made_up, &"x".repeat(5_000), "%00", "한글"] {
        assert_eq!(prompt(&door, CLIENT, &format!("sign_in={cookie}")).await, None, "{cookie}");
    }
    for line in ["sign_in", "=", ";;;", "sign_in_attempt=한글", "sign_in_attempt=%", &format!("a=b;{cookies}")] {
        authorize(&door, &[("client_id", CLIENT)], line).await;
    }
    assert_eq!(prompt(&door, CLIENT, &format!("sign_in={sealed}")).await.as_deref(), FRESH);
}

/// A password too many is asked for rather than one too few; either way the tokens are checked.
#[tokio::test]
async fn cut_4_where_nobody_can_tell_a_fresh_sign_in_is_asked_for() {
    let door = door().await;
    let cookies = door.sign_in("u").await.cookies();
    door.fleet.cache.set_down(true);
    assert_eq!(prompt(&door, CLIENT, &cookies).await, None, "DynamoDB can");
    door.fleet.store.set_down(true);
    assert_eq!(prompt(&door, CLIENT, &cookies).await.as_deref(), FRESH);
}
