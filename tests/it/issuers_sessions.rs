//! Sign-ins that go by two names: ours, and the issuer's own (`[SESS-1]`, `[CUT-4]`).

use chrono::{DateTime, TimeDelta, Utc};
use domain::ids::{ClientId, SessionId, UserId};
use domain::ingest::Ingest;
use domain::ports::{RecordStore as _, SignInStore as _, TokenStore as _};
use domain::records::{Entity, Key, Record, SessionKey, SessionRecord};
use domain::testing::{Habits, Memory};
use domain::time::{Clock as _, Epoch};
use domain::token::{RevokedBy, SessionRow};
use http::StatusCode;
use serde_json::json;
use tests::door::{Answer, Door, OTHER, session_of};

const NOW: i64 = 1_900_000_000;

type MemoryDoor = Door<Memory, Memory>;

fn user() -> UserId {
    UserId::parse("u").unwrap()
}

/// A door whose issuer names sign-ins, in its tokens or to itself only.
async fn doors() -> Vec<MemoryDoor> {
    let now: DateTime<Utc> = DateTime::from_timestamp(NOW, 0).unwrap();
    let mut doors = Vec::new();
    for (jwt, rotates) in [(true, true), (true, false), (false, true), (false, false)] {
        doors.push(Door::in_memory(now, Habits { jwt, rotates, ..Habits::default() }).await);
    }
    doors
}

async fn row(door: &MemoryDoor, signed_in: &Answer) -> SessionRow {
    door.fleet.store.session(&user(), &session_of(signed_in)).await.unwrap().unwrap()
}

async fn issuers_name(door: &MemoryDoor, signed_in: &Answer) -> SessionId {
    row(door, signed_in).await.issuer_sid.unwrap()
}

/// The issuer's report of a sign-in under its own name.
async fn report(door: &MemoryDoor, name: &SessionId) {
    let session = SessionRecord {
        id: name.clone(),
        user_id: user(),
        client_id: None,
        started_at: Epoch(NOW),
        expires_at: Epoch(NOW + 86_400),
        ip_address: None,
    };
    door.fleet.store.apply(&Record::upsert(1, Entity::Session(session))).await.unwrap();
}

/// The issuer's report that it has ended one.
async fn report_end(door: &MemoryDoor, name: &SessionId, at: Epoch) {
    let ingest = Ingest { records: door.fleet.store.clone(), sign_outs: door.fleet.sign_outs() };
    let key = SessionKey { id: name.clone(), user_id: user() };
    ingest.apply(&Record::delete(at.0 * 1_000, Key::Session(key))).await.unwrap();
}

async fn assert_ended(door: &MemoryDoor, signed_in: &Answer, why: &str) {
    assert_eq!(door.userinfo(&signed_in.text("access_token")).await, StatusCode::UNAUTHORIZED, "{why}");
    let refreshed = door.refresh(&signed_in.text("refresh_token")).await;
    assert_eq!(refreshed.status, StatusCode::BAD_REQUEST, "{why}: {refreshed:?}");
    assert_eq!(refreshed.text("error"), "invalid_grant", "{why}");
    assert!(row(door, signed_in).await.ended_by.is_some(), "{why}");
}

async fn assert_live(door: &MemoryDoor, signed_in: &Answer, why: &str) {
    assert_eq!(door.userinfo(&signed_in.text("access_token")).await, StatusCode::OK, "{why}");
    assert_eq!(door.refresh(&signed_in.text("refresh_token")).await.status, StatusCode::OK, "{why}");
    assert_eq!(row(door, signed_in).await.ended_by, None, "{why}");
}

#[tokio::test]
async fn sess_1_ending_what_the_issuer_calls_a_sign_in_ends_our_session_of_it() {
    for door in doors().await {
        let (here, there) = (door.sign_in("u").await, door.sign_in("u").await);
        let name = issuers_name(&door, &there).await;
        report(&door, &name).await;
        let path = format!("/api/v1/auth/sessions/{name}");
        let answer = door.call("DELETE", &path, &here.text("access_token"), None).await;
        assert_eq!((answer.status, &answer.body["tokens_blacklisted"]), (StatusCode::OK, &json!(2)), "{answer:?}");
        assert_ended(&door, &there, "the one it names").await;
        assert_live(&door, &here, "the other").await;
    }
}

#[tokio::test]
async fn sess_1_what_the_issuer_has_ended_is_ended_here_under_our_name_too() {
    for door in doors().await {
        let (ended, other) = (door.sign_in("u").await, door.sign_in("u").await);
        let name = issuers_name(&door, &ended).await;
        report_end(&door, &name, Epoch(NOW)).await;
        report_end(&door, &name, Epoch(NOW)).await;
        assert_ended(&door, &ended, "the one it names").await;
        assert_eq!(row(&door, &ended).await.ended_by, Some(RevokedBy::Issuer));
        assert_live(&door, &other, "the other").await;
    }
}

/// Records come late and in any order.
#[tokio::test]
async fn sess_1_a_sign_in_after_the_issuers_end_of_an_earlier_one_of_that_name_is_left_alone() {
    for door in doors().await {
        let earlier = door.sign_in("u").await;
        let name = issuers_name(&door, &earlier).await;
        door.fleet.clock.advance(TimeDelta::seconds(10));
        let later = door.sign_in("u").await;
        // Some issuers go on calling a browser's sign-ins by one name.
        let mut renamed = row(&door, &later).await;
        renamed.id = SessionId::parse("renamed").unwrap();
        renamed.issuer_sid = Some(name.clone());
        door.fleet.store.add_session(&renamed, Epoch(NOW + 86_400)).await.unwrap();
        report_end(&door, &name, Epoch(NOW + 5)).await;
        assert_ended(&door, &earlier, "the earlier one").await;
        assert_live(&door, &later, "the later one").await;
        let renamed = door.fleet.store.session(&user(), &renamed.id).await.unwrap().unwrap();
        assert_eq!(renamed.ended_by, None);
    }
}

/// Several clients may share one sign-in at the issuer: signing out of one is not signing out of all.
#[tokio::test]
async fn sess_1_ending_our_session_leaves_others_of_the_same_sign_in_at_the_issuer_alone() {
    for door in doors().await {
        let mine = door.sign_in("u").await;
        let name = issuers_name(&door, &mine).await;
        let client = ClientId::parse(OTHER).unwrap();
        let code = door.issuer.code_under(&user(), &client, Epoch(NOW), &name);
        let grant = [("grant_type", "authorization_code"), ("code", &*code), ("client_id", OTHER)];
        let shared = door.form("/oauth/token", &grant, &[]).await;
        assert_eq!(issuers_name(&door, &shared).await, name);
        report(&door, &name).await;

        let answer = door.call("POST", "/api/v1/auth/logout", &mine.text("access_token"), Some(json!({}))).await;
        assert_eq!((answer.status, &answer.body["sessions_invalidated"]), (StatusCode::OK, &json!(1)), "{answer:?}");
        assert_ended(&door, &mine, "mine").await;
        assert_eq!(door.userinfo(&shared.text("access_token")).await, StatusCode::OK, "the other client's");
        assert_eq!(row(&door, &shared).await.ended_by, None);
        // Ended by the issuer, all of it goes.
        report_end(&door, &name, door.fleet.clock.now().into()).await;
        assert_ended(&door, &shared, "the other client's").await;
    }
}

/// What the issuer also reports under its own name is one sign-in.
#[tokio::test]
async fn sess_1_a_sign_in_that_goes_by_two_names_is_counted_once() {
    for door in doors().await {
        let mine = door.sign_in("u").await;
        report(&door, &issuers_name(&door, &mine).await).await;
        let answer = door.call("POST", "/api/v1/auth/logout", &mine.text("access_token"), Some(json!({}))).await;
        assert_eq!((answer.status, &answer.body["sessions_invalidated"]), (StatusCode::OK, &json!(1)), "{answer:?}");
    }
}
