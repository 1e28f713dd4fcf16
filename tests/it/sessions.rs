//! Users' own sessions and logouts (`[SESS-1]`, `[SESS-2]`).

use std::collections::BTreeSet;
use std::sync::Arc;

use adapters::vault::SecretVault;
use axum::body::Body;
use chrono::{DateTime, TimeDelta, Utc};
use domain::audit::Action;
use domain::cutoff::LEEWAY_SECONDS;
use domain::ids::{SessionId, UserId};
use domain::ports::{SignInStore as _, TokenStore as _};
use domain::session::Used;
use domain::testing::{Habits, Memory};
use domain::time::{Clock as _, Epoch};
use domain::token::{Owner, SessionRow};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tests::door::{Answer, BROWSER, CLIENT, Door, OTHER, SESSION_LIMITS, session_of};
use tests::fleet::Fleet;
use tests::store::{Store, tables};

const NOW: i64 = 1_900_000_000;

type MemoryDoor = Door<Memory, Memory>;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(NOW, 0).unwrap()
}

async fn door() -> MemoryDoor {
    Door::in_memory(now(), Habits::default()).await
}

fn habits() -> impl Iterator<Item = Habits> {
    (0..16).map(|bits: u8| Habits {
        jwt: bits & 1 != 0,
        says_auth_time: bits & 2 != 0,
        says_sid: bits & 4 != 0,
        rotates: bits & 8 != 0,
    })
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

async fn list(door: &MemoryDoor, signed_in: &Answer, headers: &[(&str, &str)]) -> Value {
    let token = signed_in.text("access_token");
    let answer = door.call_with("GET", "/api/v1/auth/sessions", &token, None, headers).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.body["active_sessions"], answer.body["sessions"].as_array().unwrap().len());
    answer.body
}

/// The ids in a list, as they are sorted.
fn ids(list: &Value) -> Vec<String> {
    list["sessions"].as_array().unwrap().iter().map(|one| one["session_id"].as_str().unwrap().to_owned()).collect()
}

fn id(signed_in: &Answer) -> String {
    session_of(signed_in).as_str().to_owned()
}

async fn logout(door: &MemoryDoor, signed_in: &Answer, body: Value, headers: &[(&str, &str)]) -> Answer {
    let token = signed_in.text("access_token");
    door.call_with("POST", "/api/v1/auth/logout", &token, Some(body), headers).await
}

async fn end(door: &MemoryDoor, signed_in: &Answer, id: &str) -> Answer {
    door.call("DELETE", &format!("/api/v1/auth/sessions/{id}"), &signed_in.text("access_token"), None).await
}

/// Whether an access token is good.
async fn is_good(door: &MemoryDoor, signed_in: &Answer) -> bool {
    match door.userinfo(&signed_in.text("access_token")).await {
        StatusCode::OK => true,
        StatusCode::UNAUTHORIZED => false,
        other => panic!("{other}"),
    }
}

/// Whether a refresh token is refused. The question uses it up where it is not.
async fn cannot_refresh(door: &MemoryDoor, signed_in: &Answer) -> bool {
    let answer = door.refresh(&signed_in.text("refresh_token")).await;
    match answer.status {
        StatusCode::OK => false,
        StatusCode::BAD_REQUEST => answer.text("error") == "invalid_grant",
        _ => panic!("{answer:?}"),
    }
}

/// Rows of a user that are not ended: ids of tokens, ids of sessions.
async fn live(door: &MemoryDoor, name: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let holdings = door.fleet.store.holdings(&Owner::User(user(name))).await.unwrap();
    let tokens = holdings.tokens.into_iter().filter(|row| row.revoked.is_none()).map(|row| row.id.into());
    let sessions = holdings.sessions.into_iter().filter(|row| row.ended_by.is_none()).map(|row| row.id.into());
    (tokens.collect(), sessions.collect())
}

#[tokio::test]
async fn sess_1_a_user_sees_their_own_live_sessions_and_which_is_the_present_one() {
    let door = door().await;
    let first = door.sign_in("u").await;
    door.fleet.clock.advance(TimeDelta::seconds(10));
    let second = door.sign_in_to(OTHER, "u").await;
    door.sign_in("v").await;
    let seen = list(&door, &first, &[("x-session-id", &id(&first))]).await;
    let expected = json!({
        "user_id": "u",
        "active_sessions": 2,
        "sessions": [
            {
                "session_id": id(&second), "ip_address": null, "user_agent": BROWSER,
                "created_at": "2030-03-17T17:46:50Z", "last_accessed": "2030-03-17T17:46:50Z", "access_count": 1,
                "current": false,
            },
            {
                "session_id": id(&first), "ip_address": null, "user_agent": BROWSER,
                "created_at": "2030-03-17T17:46:40Z", "last_accessed": "2030-03-17T17:46:40Z", "access_count": 1,
                "current": true,
            },
        ],
    });
    assert_eq!(seen, expected);
    let by_cookie = list(&door, &first, &[("cookie", &first.cookies())]).await;
    assert_eq!(by_cookie, expected);
    let by_token = list(&door, &first, &[("x-session-id", "한글")]).await;
    assert_eq!(by_token, expected);
    let other = list(&door, &first, &[("x-session-id", &id(&second))]).await;
    assert_eq!((&other["sessions"][0]["current"], &other["sessions"][1]["current"]), (&json!(true), &json!(false)));
}

#[tokio::test]
async fn sess_2_every_sign_in_has_a_new_id_of_256_bits_whatever_the_browser_sends() {
    let door = door().await;
    let first = door.sign_in("u").await;
    let mut seen = BTreeSet::from([id(&first)]);
    for _ in 0..20 {
        let headers = [("x-session-id", id(&first)), ("cookie", first.cookies())];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        let again = door.exchange(CLIENT, "u", Epoch(NOW), &[("session_id", &id(&first))], &headers).await;
        assert_eq!(again.status, StatusCode::OK, "{again:?}");
        assert_eq!(id(&again).len(), 43, "32 bytes in base64url");
        assert!(seen.insert(id(&again)), "an id came twice");
    }
    assert_eq!(ids(&list(&door, &first, &[]).await).len(), 21);
}

#[tokio::test]
async fn sess_2_a_session_ends_an_hour_after_its_last_use_and_looking_at_it_is_no_use() {
    let door = door().await;
    let (used, seen) = (door.sign_in("u").await, door.sign_in("u").await);
    for minutes in [30, 29] {
        door.fleet.clock.advance(TimeDelta::minutes(minutes));
        assert_eq!(list(&door, &seen, &[("x-session-id", &id(&seen))]).await["active_sessions"], 2);
    }
    let token = used.text("access_token");
    let mine = [("x-session-id", id(&used))];
    let answer = door.call_with("GET", "/oauth/userinfo", &token, None, &[(mine[0].0, &mine[0].1)]).await;
    assert_eq!(answer.status, StatusCode::OK);
    // An hour and 30 s after the sign-in; its access tokens are still good by the leeway.
    door.fleet.clock.advance(TimeDelta::seconds(90));
    let left = list(&door, &seen, &[]).await;
    assert_eq!(ids(&left), [id(&used)], "the one that was used");
    assert_eq!(left["sessions"][0]["access_count"], 2);
    assert_eq!(left["sessions"][0]["last_accessed"], "2030-03-17T18:45:40Z");
    assert!(is_good(&door, &seen).await && !cannot_refresh(&door, &seen).await, "idling out does not end its tokens");
}

/// Nobody but its own user puts off a session's end.
#[tokio::test]
async fn sess_2_naming_anothers_session_does_not_use_it() {
    let door = door().await;
    let (mine, theirs) = (door.sign_in("u").await, door.sign_in("v").await);
    let path = [("x-session-id", id(&theirs))];
    let token = mine.text("access_token");
    let answer = door.call_with("GET", "/oauth/userinfo", &token, None, &[(path[0].0, &path[0].1)]).await;
    assert_eq!(answer.status, StatusCode::OK, "and it does not matter");
    assert_eq!(list(&door, &theirs, &[]).await["sessions"][0]["access_count"], 1);
}

#[tokio::test]
async fn sess_2_no_use_puts_a_sessions_end_off_for_ever() {
    let door = door().await;
    let mut signed_in = door.sign_in("u").await;
    let step = SESSION_LIMITS.idle - 600;
    let mut passed = 0;
    while passed + step < SESSION_LIMITS.absolute {
        door.fleet.clock.advance(TimeDelta::seconds(step));
        passed += step;
        let next = door.refresh(&signed_in.text("refresh_token")).await;
        assert_eq!(next.status, StatusCode::OK, "{next:?}");
        signed_in = next;
        assert_eq!(list(&door, &signed_in, &[]).await["active_sessions"], 1, "after {passed} s");
    }
    door.fleet.clock.advance(TimeDelta::seconds(SESSION_LIMITS.absolute - passed));
    assert_eq!(list(&door, &signed_in, &[]).await["active_sessions"], 0);
    assert!(!cannot_refresh(&door, &signed_in).await, "the tokens have times of their own");
}

#[tokio::test]
async fn sess_1_a_user_ends_one_session_and_all_of_its_tokens_and_no_other() {
    for habits in habits() {
        let door = Door::in_memory(now(), habits).await;
        let (here, there, theirs) = (door.sign_in("u").await, door.sign_in("u").await, door.sign_in("v").await);
        let before = live(&door, "u").await;
        let answer = end(&door, &here, &id(&there)).await;
        let expected = json!({ "status": "success", "message": "Session terminated", "tokens_blacklisted": 2 });
        assert_eq!((answer.status, &answer.body), (StatusCode::OK, &expected), "{habits:?}");
        let after = live(&door, "u").await;
        assert_eq!(before.0.difference(&after.0).count(), 2, "the count is what the rows say, {habits:?}");
        assert_eq!(before.1.difference(&after.1).collect::<Vec<_>>(), [&id(&there)], "{habits:?}");
        assert!(!is_good(&door, &there).await && cannot_refresh(&door, &there).await, "{habits:?}");
        for good in [&here, &theirs] {
            assert!(is_good(&door, good).await && !cannot_refresh(&door, good).await, "{habits:?}");
        }
    }
}

#[tokio::test]
async fn sess_1_anothers_an_unknown_and_an_ended_session_are_the_same_404() {
    let door = door().await;
    let (mine, ended, theirs) = (door.sign_in("u").await, door.sign_in("u").await, door.sign_in("v").await);
    assert_eq!(end(&door, &mine, &id(&ended)).await.status, StatusCode::OK);
    let long = "x".repeat(513);
    let mut bodies = BTreeSet::new();
    for unknown in [&*id(&theirs), &*id(&ended), "unknown", "%ED%95%9C", "%00", "..%2F..", "*", &long] {
        let answer = end(&door, &mine, unknown).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{unknown}: {answer:?}");
        assert!(answer.header("content-type").starts_with("application/problem+json"));
        bodies.insert(answer.raw);
    }
    assert_eq!(bodies.len(), 1, "nobody learns whether a session is somebody else's: {bodies:?}");
    assert!(is_good(&door, &theirs).await);
}

/// Idling out ends no tokens (`[SESS-2]`), so that what has idled out can still be ended.
#[tokio::test]
async fn sess_1_a_session_that_has_idled_out_can_still_be_ended_with_its_tokens() {
    for habits in habits() {
        let door = Door::in_memory(now(), habits).await;
        let idle = door.sign_in("u").await;
        door.fleet.clock.advance(TimeDelta::seconds(SESSION_LIMITS.idle + 1));
        let fresh = door.sign_in("u").await;
        assert_eq!(ids(&list(&door, &fresh, &[]).await), [id(&fresh)], "it is not listed");
        assert_eq!(end(&door, &fresh, &id(&idle)).await.status, StatusCode::OK, "{habits:?}");
        assert!(!is_good(&door, &idle).await && cannot_refresh(&door, &idle).await, "{habits:?}");
    }
}

#[tokio::test]
async fn sess_2_a_refresh_is_a_use_of_a_session_that_has_idled_out() {
    let door = door().await;
    let signed_in = door.sign_in("u").await;
    door.fleet.clock.advance(TimeDelta::seconds(SESSION_LIMITS.idle + 1));
    let refreshed = door.refresh(&signed_in.text("refresh_token")).await;
    assert_eq!(ids(&list(&door, &refreshed, &[]).await), [id(&signed_in)]);
}

/// A browser keeps the cookie of its last sign-in, while a client may hold an earlier token.
#[tokio::test]
async fn sess_1_a_cookie_of_another_sign_in_does_not_say_which_session_a_token_means() {
    for habits in habits() {
        let door = Door::in_memory(now(), habits).await;
        let (mine, later) = (door.sign_in("u").await, door.sign_in("u").await);
        let answer = logout(&door, &mine, json!({}), &[("cookie", &later.cookies())]).await;
        assert_eq!(answer.body["sessions_invalidated"], 1, "{habits:?}");
        assert!(!is_good(&door, &mine).await && cannot_refresh(&door, &mine).await, "{habits:?}");
        assert!(is_good(&door, &later).await && !cannot_refresh(&door, &later).await, "{habits:?}");
    }
}

/// An issuer whose clock is ahead of ours dates sign-ins after the cutoff that is to end them (`[CUT-4]`).
#[tokio::test]
async fn sess_1_all_devices_includes_sign_ins_that_are_dated_after_now() {
    let door = door().await;
    let ahead = door.sign_in_at("u", Epoch(NOW + 30)).await;
    let mine = door.sign_in_at("u", Epoch(NOW + 20)).await;
    let answer = logout(&door, &mine, json!({ "logout_all_devices": true }), &[]).await;
    assert_eq!((answer.status, &answer.body["tokens_blacklisted"]), (StatusCode::OK, &json!(4)), "{answer:?}");
    for ended in [&mine, &ahead] {
        assert!(!is_good(&door, ended).await && cannot_refresh(&door, ended).await);
    }
}

#[tokio::test]
async fn sess_1_a_logout_ends_the_access_token_the_refresh_token_and_the_session() {
    for habits in habits() {
        let door = Door::in_memory(now(), habits).await;
        let (mine, other, theirs) = (door.sign_in("u").await, door.sign_in("u").await, door.sign_in("v").await);
        let before = live(&door, "u").await;
        let refresh = mine.text("refresh_token");
        let answer = logout(&door, &mine, json!({ "refresh_token": refresh }), &[]).await;
        let expected = json!({
            "status": "success", "message": "Successfully logged out", "logout_all_devices": false,
            "tokens_blacklisted": 2, "sessions_invalidated": 1, "upstream": "revoked",
            "timestamp": "2030-03-17T17:46:40Z",
        });
        assert_eq!((answer.status, &answer.body), (StatusCode::OK, &expected), "{habits:?}");
        let after = live(&door, "u").await;
        let lost = (before.0.difference(&after.0).count(), before.1.difference(&after.1).count());
        assert_eq!(lost, (2, 1), "the counts are what the rows say, {habits:?}");
        assert_eq!(door.issuer.revoked(), [refresh], "upstream, too, {habits:?}");
        assert!(!is_good(&door, &mine).await && cannot_refresh(&door, &mine).await, "{habits:?}");
        for good in [&other, &theirs] {
            assert!(is_good(&door, good).await && !cannot_refresh(&door, good).await, "{habits:?}");
        }
    }
}

/// Without a refresh token in the body the session's is ended, too: nobody can go on with what was left behind.
#[tokio::test]
async fn sess_1_a_logout_without_a_refresh_token_ends_the_tokens_own_session() {
    for habits in habits() {
        let door = Door::in_memory(now(), habits).await;
        let first = door.sign_in("u").await;
        let second = door.refresh(&first.text("refresh_token")).await;
        let answer = logout(&door, &first, json!({}), &[]).await;
        let counted = (&answer.body["tokens_blacklisted"], &answer.body["sessions_invalidated"]);
        // Two access tokens, and the one refresh token that was good: SCOPE-7, one that was replaced counts no more.
        assert_eq!(counted, (&json!(3), &json!(1)), "{habits:?}: {answer:?}");
        assert_eq!(answer.body["upstream"], "not_asked");
        assert!(!is_good(&door, &first).await && !is_good(&door, &second).await, "{habits:?}");
        let refresh = if habits.rotates { &second } else { &first };
        assert!(cannot_refresh(&door, refresh).await, "{habits:?}");
        assert_eq!(live(&door, "u").await, (BTreeSet::new(), BTreeSet::new()), "{habits:?}");
    }
}

#[tokio::test]
async fn sess_1_x_session_id_names_another_session_of_the_callers_own() {
    let door = door().await;
    let (here, there) = (door.sign_in("u").await, door.sign_in("u").await);
    let answer = logout(&door, &here, json!({}), &[("x-session-id", &id(&there))]).await;
    let counted = (&answer.body["tokens_blacklisted"], &answer.body["sessions_invalidated"]);
    assert_eq!(counted, (&json!(3), &json!(1)), "the presented token, and what the other session held");
    assert!(!is_good(&door, &here).await && !is_good(&door, &there).await);
    assert!(cannot_refresh(&door, &there).await && !cannot_refresh(&door, &here).await);
}

#[tokio::test]
async fn sess_1_x_session_id_of_somebody_else_or_of_a_session_that_is_gone_is_ignored() {
    for named in ["theirs", "ended", "unknown", "", "한글"] {
        let door = door().await;
        let (mine, ended, theirs) = (door.sign_in("u").await, door.sign_in("u").await, door.sign_in("v").await);
        assert_eq!(end(&door, &mine, &id(&ended)).await.status, StatusCode::OK);
        let header = match named {
            "theirs" => id(&theirs),
            "ended" => id(&ended),
            other => other.to_owned(),
        };
        let answer = logout(&door, &mine, json!({}), &[("x-session-id", &header)]).await;
        assert_eq!(answer.body["sessions_invalidated"], 1, "{named}: {answer:?}");
        assert!(cannot_refresh(&door, &mine).await, "the token's own session, {named}");
        assert!(is_good(&door, &theirs).await && !cannot_refresh(&door, &theirs).await, "{named}");
    }
}

/// `[OAUTH-2]`: a refresh token is its sign-in.
#[tokio::test]
async fn sess_1_a_refresh_token_of_another_sign_in_of_the_callers_takes_that_sign_in_with_it() {
    for habits in habits() {
        let door = Door::in_memory(now(), habits).await;
        let (mine, other) = (door.sign_in("u").await, door.sign_in("u").await);
        let before = live(&door, "u").await;
        let answer = logout(&door, &mine, json!({ "refresh_token": other.text("refresh_token") }), &[]).await;
        assert!(!is_good(&door, &mine).await && !is_good(&door, &other).await, "{habits:?}");
        assert!(cannot_refresh(&door, &mine).await && cannot_refresh(&door, &other).await, "{habits:?}");
        let counted = (&answer.body["tokens_blacklisted"], &answer.body["sessions_invalidated"]);
        assert_eq!(counted, (&json!(before.0.len()), &json!(before.1.len())), "{habits:?}");
    }
}

#[tokio::test]
async fn sess_1_anothers_refresh_token_and_what_is_none_are_left_alone() {
    let door = door().await;
    let (mine, theirs) = (door.sign_in("u").await, door.sign_in("v").await);
    for token in [theirs.text("refresh_token"), theirs.text("access_token"), "한글 🙂".to_owned(), String::new()] {
        let me = door.sign_in("u").await;
        let answer = logout(&door, &me, json!({ "refresh_token": token }), &[]).await;
        assert_eq!((answer.status, &answer.body["upstream"]), (StatusCode::OK, &json!("not_asked")), "{token}");
    }
    assert_eq!(door.issuer.revoked(), [""; 0]);
    assert!(is_good(&door, &theirs).await && !cannot_refresh(&door, &theirs).await);
    assert!(is_good(&door, &mine).await);
}

#[tokio::test]
async fn sess_1_all_devices_are_logged_out_by_one_cutoff() {
    for habits in habits() {
        for by_path in [false, true] {
            let door = Door::in_memory(now(), habits).await;
            let mine = door.sign_in("u").await;
            let others = [door.sign_in("u").await, door.sign_in_to(OTHER, "u").await];
            let theirs = door.sign_in("v").await;
            door.fleet.clock.advance(TimeDelta::seconds(5));
            let answer = if by_path {
                door.call("POST", "/api/v1/auth/logout/all", &mine.text("access_token"), None).await
            } else {
                logout(&door, &mine, json!({ "logout_all_devices": true }), &[]).await
            };
            let expected = json!({
                "status": "success", "message": "Successfully logged out from all devices",
                "logout_all_devices": true, "tokens_blacklisted": 6, "sessions_invalidated": 3,
                "upstream": "not_asked", "timestamp": "2030-03-17T17:46:45Z",
            });
            assert_eq!((answer.status, &answer.body), (StatusCode::OK, &expected), "{habits:?}");
            assert_eq!(live(&door, "u").await, (BTreeSet::new(), BTreeSet::new()), "{habits:?}");
            assert!(!is_good(&door, &mine).await && cannot_refresh(&door, &mine).await, "{habits:?}");
            for other in &others {
                assert!(!is_good(&door, other).await, "{habits:?}");
            }
            assert!(cannot_refresh(&door, &others[0]).await, "{habits:?}");
            assert!(is_good(&door, &theirs).await && !cannot_refresh(&door, &theirs).await, "{habits:?}");
            door.fleet.clock.advance(TimeDelta::seconds(1));
            assert!(is_good(&door, &door.sign_in("u").await).await, "a new sign-in is good, {habits:?}");
        }
    }
}

#[tokio::test]
async fn sess_1_a_logout_leaves_nothing_in_the_browser() {
    let door = door().await;
    for path in ["/api/v1/auth/logout", "/api/v1/auth/logout/all"] {
        let token = door.sign_in("u").await.text("access_token");
        let answer = door.call("POST", path, &token, Some(json!({}))).await;
        assert_eq!(answer.header("clear-site-data"), r#""cache", "cookies", "storage""#);
        let lines = answer.headers.get_all("set-cookie").iter().map(|line| line.to_str().unwrap());
        let cleared: BTreeSet<&str> =
            lines.filter(|line| line.ends_with("Max-Age=0")).map(|line| line.split('=').next().unwrap()).collect();
        assert!(cleared.is_superset(&["access_token", "refresh_token", "session_id", "sign_in"].into()), "{cleared:?}");
        assert_eq!(answer.cookies(), "");
        door.fleet.clock.advance(TimeDelta::seconds(1));
    }
}

/// `[SCOPE-7]`: what was over already is not counted again.
#[tokio::test]
async fn sess_1_counts_are_facts() {
    let door = door().await;
    let (first, second, third) = (door.sign_in("u").await, door.sign_in("u").await, door.sign_in("u").await);
    let revoked = [("token", &*first.text("access_token")), ("client_id", CLIENT)].map(|(n, v)| (n, v.to_owned()));
    let revoked = revoked.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(door.form("/oauth/revoke", &revoked, &[]).await.status, StatusCode::OK);
    assert_eq!(end(&door, &third, &id(&second)).await.body["tokens_blacklisted"], 2);
    let answer = door.call("POST", "/api/v1/auth/logout/all", &third.text("access_token"), None).await;
    let counted = (&answer.body["tokens_blacklisted"], &answer.body["sessions_invalidated"]);
    assert_eq!(counted, (&json!(3), &json!(2)), "what the first two had lost before is not counted again");
    let entries: Vec<_> =
        door.fleet.store.audit().into_iter().filter(|entry| entry.action == Action::UserLogout).collect();
    let noted: Vec<_> = entries.iter().map(|entry| (&entry.metadata["tokens"], &entry.metadata["sessions"])).collect();
    assert_eq!(noted, [(&json!(2), &json!(1)), (&json!(3), &json!(2))], "AUDIT-1");
}

#[tokio::test]
async fn sess_1_with_the_issuer_away_a_logout_is_done_here_and_says_so() {
    let door = door().await;
    let mine = door.sign_in("u").await;
    door.issuer.set_down(true);
    let answer = logout(&door, &mine, json!({ "refresh_token": mine.text("refresh_token") }), &[]).await;
    assert_eq!((answer.status, &answer.body["upstream"]), (StatusCode::OK, &json!("failed")));
    door.issuer.set_down(false);
    assert!(!is_good(&door, &mine).await && cannot_refresh(&door, &mine).await);
}

/// `[CHECK-3]`, `[CUT-5]`: not every verifier could be told, so that the answer is 503; but what DynamoDB is asked, it
/// refuses, so that a logout during an outage is not lost. The token that asked ends last: it may ask again.
#[tokio::test]
async fn sess_1_with_redis_away_a_logout_is_503_and_holds_all_the_same() {
    for habits in habits() {
        for how in ["logout", "all", "delete"] {
            let door = Door::in_memory(now(), habits).await;
            let (mine, theirs) = (door.sign_in("u").await, door.sign_in("v").await);
            let ended = if how == "logout" {
                &door.refresh(&mine.text("refresh_token")).await
            } else {
                &door.sign_in("u").await
            };
            let refresh = if how == "logout" && !habits.rotates { &mine } else { ended };
            door.fleet.cache.set_down(true);
            let ask = async || match how {
                "logout" => logout(&door, &mine, json!({}), &[]).await,
                "all" => logout(&door, &mine, json!({ "logout_all_devices": true }), &[]).await,
                _ => end(&door, &mine, &id(ended)).await,
            };
            let answer = ask().await;
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{how} {habits:?}: {answer:?}");
            assert!(answer.header("retry-after").parse::<u32>().unwrap() > 0);
            assert!(!is_good(&door, ended).await && cannot_refresh(&door, refresh).await, "{how} {habits:?}");
            assert!(is_good(&door, &theirs).await, "{how} {habits:?}");

            door.fleet.cache.set_down(false);
            door.fleet.guard().await.unwrap();
            assert!(!is_good(&door, ended).await && cannot_refresh(&door, refresh).await, "{how} {habits:?}");
            let again = ask().await;
            match again.status {
                StatusCode::OK => assert_ne!(again.body["tokens_blacklisted"], 0, "{how} {habits:?}"),
                StatusCode::UNAUTHORIZED => assert_ne!(how, "delete", "{habits:?}"),
                _ => panic!("{how} {habits:?}: {again:?}"),
            }
            assert_eq!(is_good(&door, &mine).await, how == "delete", "{how} {habits:?}");
        }
    }
}

#[tokio::test]
async fn sess_1_with_the_stores_away_nothing_is_said_to_be_done() {
    let door = door().await;
    let mine = door.sign_in("u").await;
    let own = id(&mine);
    door.fleet.store.set_down(true);
    let own = format!("/api/v1/auth/sessions/{own}");
    for (method, path) in [
        ("POST", "/api/v1/auth/logout"),
        ("POST", "/api/v1/auth/logout/all"),
        ("GET", "/api/v1/auth/sessions"),
        ("DELETE", &own),
    ] {
        let answer = door.call(method, path, &mine.text("access_token"), Some(json!({}))).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{method} {path}: {answer:?}");
        assert_eq!((answer.header("clear-site-data"), answer.body.get("status")), ("", Some(&json!(503))));
    }
    door.fleet.store.set_down(false);
    assert!(is_good(&door, &mine).await);
}

#[tokio::test]
async fn api_8_a_logout_that_cannot_be_read_ends_nothing() {
    let door = door().await;
    let mine = door.sign_in("u").await;
    let token = format!("Bearer {}", mine.text("access_token"));
    let send = async |media_type: &str, body: String| {
        let request = Request::post("/api/v1/auth/logout").header("authorization", &token);
        door.send(request.header("content-type", media_type).body(Body::from(body)).unwrap()).await
    };
    for (body, status, pointer) in [
        ("", 400, ""),
        ("{", 400, ""),
        ("[]", 400, ""),
        ("{} {}", 400, ""),
        (r#"{"everything":true}"#, 400, "/everything"),
        (r#"{"logout_all_devices":"yes"}"#, 400, "/logout_all_devices"),
        (r#"{"logout_all_devices":null}"#, 400, "/logout_all_devices"),
        (r#"{"logout_all_devices":true,"logout_all_devices":true}"#, 400, ""),
        (r#"{"refresh_token":7}"#, 400, "/refresh_token"),
    ] {
        let answer = send("application/json", body.to_owned()).await;
        assert_eq!(answer.status.as_u16(), status, "{body}: {answer:?}");
        assert!(answer.header("content-type").starts_with("application/problem+json"), "{answer:?}");
        assert_eq!(answer.body["errors"][0]["pointer"], pointer, "{body}: {answer:?}");
    }
    let large = format!(r#"{{"refresh_token":"{}"}}"#, "x".repeat(70_000));
    assert_eq!(send("application/json", large).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let form = send("application/x-www-form-urlencoded", "logout_all_devices=true".to_owned()).await;
    assert_eq!(form.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(is_good(&door, &mine).await && !cannot_refresh(&door, &mine).await);
}

/// A door whose sessions are sealed as on AWS.
async fn sealing(secret: &[u8]) -> MemoryDoor {
    let mut door = door().await;
    door.vault = Arc::new(SecretVault::with_secret(secret).unwrap());
    door
}

async fn row(door: &MemoryDoor, name: &str, id: &SessionId) -> SessionRow {
    door.fleet.store.session(&user(name), id).await.unwrap().unwrap()
}

/// What becomes of a sealed text, given another session's.
type Change = fn(&str, &str) -> String;

/// Two sessions' sealed texts; the second's is put in place of the first's, changed in some way.
async fn tampered(with: impl Fn(&str, &str) -> String) -> (MemoryDoor, Answer, Answer) {
    let door = sealing(&[7; 32]).await;
    let (first, second) = (door.sign_in("u").await, door.sign_in("u").await);
    let mut changed = row(&door, "u", &session_of(&first)).await;
    let other = row(&door, "u", &session_of(&second)).await;
    changed.sealed = Some(with(changed.sealed.as_deref().unwrap(), other.sealed.as_deref().unwrap()));
    assert!(door.fleet.store.touch_session(&changed, Epoch(NOW)).await.unwrap());
    (door, first, second)
}

#[tokio::test]
async fn sess_2_a_session_that_was_tampered_with_tells_nothing_and_can_be_ended() {
    let changes: [(&str, Change); 8] = [
        ("another session's", |_, other| other.to_owned()),
        ("cut off", |own, _| own[..own.len() / 2].to_owned()),
        ("cut off by one", |own, _| own[..own.len() - 1].to_owned()),
        ("with more behind it", |own, _| format!("{own}A")),
        ("one letter changed", |own, _| format!("{}{}", if own.starts_with('A') { 'B' } else { 'A' }, &own[1..])),
        ("garbage", |_, _| "한글 🙂 \u{0}".to_owned()),
        ("empty", |_, _| String::new()),
        ("two in one", |own, other| format!("{own}{other}")),
    ];
    for (what, change) in changes {
        let (door, first, second) = tampered(change).await;
        let seen = list(&door, &second, &[]).await;
        let sessions = seen["sessions"].as_array().unwrap();
        let shown = sessions.iter().find(|one| one["session_id"] == id(&first).as_str()).unwrap();
        assert_eq!((&shown["user_agent"], &shown["access_count"]), (&Value::Null, &json!(0)), "{what}");
        assert_eq!(sessions.len(), 2, "{what}: it is there, and can be ended");
        let used = door.sessions().use_one(&user("u"), &session_of(&first)).await.unwrap();
        assert_eq!(used, Used::Unreadable, "{what}");
        let headers = [("x-session-id", id(&first))];
        let token = first.text("access_token");
        let named = door.call_with("GET", "/oauth/userinfo", &token, None, &[(headers[0].0, &headers[0].1)]).await;
        assert_eq!(named.status, StatusCode::OK, "{what}: the token is good, whatever became of the session's data");
        assert_eq!(end(&door, &second, &id(&first)).await.status, StatusCode::OK, "{what}");
        assert!(!is_good(&door, &first).await, "{what}");
    }
}

/// Moved to another user's session under the same id: the seal is for one user and one id.
#[tokio::test]
async fn sess_2_a_seal_is_for_one_user_and_one_session() {
    let door = sealing(&[7; 32]).await;
    let signed_in = door.sign_in("u").await;
    let own = row(&door, "u", &session_of(&signed_in)).await;
    let moved = SessionRow { user: user("v"), ..own };
    door.fleet.store.add_session(&moved, Epoch(NOW)).await.unwrap();
    assert_eq!(door.sessions().use_one(&user("v"), &moved.id).await.unwrap(), Used::Unreadable);
    assert!(matches!(door.sessions().use_one(&user("u"), &moved.id).await.unwrap(), Used::Live(_)));
}

#[tokio::test]
async fn sess_2_with_another_key_the_data_is_gone_and_the_sign_in_is_not() {
    let mut door = sealing(&[7; 32]).await;
    let signed_in = door.sign_in("u").await;
    door.vault = Arc::new(SecretVault::with_secret(&[8; 32]).unwrap());
    let seen = list(&door, &signed_in, &[]).await;
    assert_eq!((&seen["active_sessions"], &seen["sessions"][0]["user_agent"]), (&json!(1), &Value::Null));
    let refreshed = door.refresh(&signed_in.text("refresh_token")).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{refreshed:?}");
}

#[tokio::test]
async fn sess_2_nothing_sealed_can_be_read_in_the_table() {
    let store = Store::start().await;
    let fleet = Fleet::over(store.dynamo().await, Arc::<Memory>::default(), now());
    fleet.guard().await.unwrap();
    let mut door = Door::over(fleet, Habits::default());
    door.vault = Arc::new(SecretVault::with_secret(&[7; 32]).unwrap());
    door.register_clients().await;
    let signed_in = door.sign_in("user-17").await;
    let again = door.refresh(&signed_in.text("refresh_token")).await;
    let listed = door.call("GET", "/api/v1/auth/sessions", &again.text("access_token"), None).await;
    assert_eq!(listed.body["sessions"][0]["user_agent"], BROWSER, "{listed:?}");
    assert_eq!(listed.body["sessions"][0]["access_count"], 2);

    let client = aws_sdk_dynamodb::Client::new(&store.aws().await);
    let rows = client.scan().table_name(tables().tokens).send().await.unwrap();
    let rows: Vec<String> = rows.items().iter().map(|item| format!("{item:?}")).collect();
    let sealed = rows.iter().filter(|row| row.contains("sealed")).count();
    assert_eq!((rows.len(), sealed), (7, 1), "a session, four tokens and two signposts: {rows:?}");
    let tokens = [&signed_in, &again].map(|answer| [answer.text("access_token"), answer.text("refresh_token")]);
    let tokens: Vec<&str> = tokens.iter().flatten().map(String::as_str).collect();
    let secrets = [&[BROWSER, "laptop", "사용자", "user_agent", "access_count", "last_accessed"][..], &tokens].concat();
    for row in &rows {
        for secret in &secrets {
            assert!(!row.contains(secret), "{secret} in {row}");
        }
    }
    // The cookie that the browser remembers the sign-in by is sealed, too.
    assert!(!signed_in.cookies().contains("user-17"));
}

#[tokio::test]
async fn sess_2_users_and_programs_of_any_name_have_sessions() {
    let door = sealing(&[7; 32]).await;
    let long = "가".repeat(170);
    for name in ["사용자", "ابج \u{202E}x", "🙂👩‍💻", "a/b?c=d&e#f%", "'; DROP TABLE", "<b>&amp;", "a#b", &long]
    {
        let signed_in = door.sign_in(name).await;
        let seen = list(&door, &signed_in, &[]).await;
        assert_eq!((&seen["user_id"], &seen["active_sessions"]), (&json!(name), &json!(1)));
        assert_eq!(logout(&door, &signed_in, json!({}), &[]).await.body["sessions_invalidated"], 1, "{name}");
    }
    for agent in ["브라우저 🙂", "", &"x".repeat(4_000), "a\tb"] {
        let signed_in = door.exchange(CLIENT, "u", Epoch(NOW + 1), &[], &[("user-agent", agent)]).await;
        assert_eq!(signed_in.status, StatusCode::OK, "{agent}");
        assert_eq!(list(&door, &signed_in, &[]).await["sessions"][0]["last_accessed"], "2030-03-17T17:46:40Z");
    }
}

/// The access token outlives its session by the leeway at most; what is ended stays ended.
#[tokio::test]
async fn sess_1_what_was_ended_stays_ended_until_it_has_expired() {
    let door = door().await;
    let mine = door.sign_in("u").await;
    assert_eq!(logout(&door, &mine, json!({}), &[]).await.status, StatusCode::OK);
    let until = now() + TimeDelta::seconds(3_600 + 2 * LEEWAY_SECONDS);
    while door.fleet.clock.now() < until {
        assert!(!is_good(&door, &mine).await, "{}", door.fleet.clock.now());
        door.fleet.clock.advance(TimeDelta::seconds(300));
        door.fleet.guard().await.unwrap();
    }
    assert!(cannot_refresh(&door, &mine).await);
}
