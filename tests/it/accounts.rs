//! Account sign-in (spec §13), through the API, the worker and the schedule, with a provider in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use adapters::accounts::Providers;
use adapters::vault::SecretVault;
use chrono::{DateTime, TimeDelta, Utc};
use domain::accounts::clean_up::clean_up;
use domain::accounts::ports::{AccountStore as _, Enrolled};
use domain::accounts::refresh::Run;
use domain::accounts::session::{Claim, SignIn, Status};
use domain::accounts::start::NotStarted;
use domain::accounts::{Account, Failure, Kept, Provider};
use domain::audit::{Action, Origin};
use domain::cutoff::Scope;
use domain::directory::Actor;
use domain::error::WorkError;
use domain::ids::{ClientId, SignInId, TokenId, UserId};
use domain::ports::{RecordStore as _, Step, TokenStore as _};
use domain::records::{Entity, Record, UserRecord};
use domain::testing::{Habits, Memory, Mood, SignedIn, account, parameter};
use domain::time::Clock as _;
use domain::token::{Owner, RevokedBy};
use http::StatusCode;
use serde_json::{Value, json};
use tests::door::{Answer, Door};
use tests::fleet::Fleet;
use tests::store::Store;

const BASE: &str = "/api/v1/accounts";
const SECRET: &str = "mail-client-secret-7Q~";

type MemoryDoor = Door<Memory, Memory>;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_900_000_000, 0).unwrap()
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

/// A door with an admin who may manage accounts, and one account.
struct Office {
    door: MemoryDoor,
    admin: String,
}

impl Office {
    async fn new() -> Self {
        Self::of(Door::in_memory(now(), Habits::default()).await).await
    }

    async fn of(door: MemoryDoor) -> Self {
        let record = UserRecord { roles: vec!["system_admin".to_owned()], ..UserRecord::new(user("boss")) };
        door.fleet.store.apply(&Record::upsert(1, Entity::User(record))).await.unwrap();
        let admin = door.sign_in("boss").await.text("access_token");
        let office = Self { door, admin };
        office.enrol(&account(&user("kimghw"), "https://login.example.com")).await;
        office.door.fleet.mail_provider.expect_secret(SECRET);
        office
    }

    async fn enrol(&self, account: &Account) {
        self.door.fleet.store.enrol(account).await.unwrap();
        if let Some(reference) = &account.secret {
            self.door.fleet.secrets.put(reference, SECRET);
        }
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.door.call("POST", &format!("{BASE}{path}"), &self.admin, Some(body)).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.door.call("GET", &format!("{BASE}{path}"), &self.admin, None).await
    }

    async fn start(&self, account: &str) -> Answer {
        let started = self.post("/auth", json!({ "user_id": account })).await;
        assert_eq!(started.status, StatusCode::OK, "{started:?}");
        started
    }

    async fn status(&self, started: &Answer) -> Value {
        let answer = self.get(&format!("/auth/{}", started.text("session_id"))).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.body
    }

    /// The account's owner signs in at the provider.
    fn sign_in(&self, started: &Answer) -> SignedIn {
        self.door.fleet.mail_provider.sign_in(&started.text("auth_url"), "kimghw@example.com")
    }

    async fn call_back(&self, fields: &[(&str, &str)]) -> Answer {
        self.call_back_in("en", fields).await
    }

    async fn call_back_in(&self, language: &str, fields: &[(&str, &str)]) -> Answer {
        let query = serde_urlencoded::to_string(fields).unwrap();
        self.door.get(&format!("{BASE}/auth/callback?{query}"), &[("accept-language", language)]).await
    }

    /// Starts, signs in and is called back.
    async fn received(&self, account: &str) -> Answer {
        let started = self.start(account).await;
        let SignedIn { code, state } = self.sign_in(&started);
        assert_eq!(self.call_back(&[("code", &code), ("state", &state)]).await.status, StatusCode::OK);
        started
    }

    /// Delivers what is in the queue; how each exchange ended.
    async fn work(&self) -> Vec<Result<Option<(Status, Option<Failure>)>, WorkError>> {
        let mut outcomes = Vec::new();
        for sign_in in self.door.fleet.exchanges.take() {
            outcomes.push(self.door.fleet.exchanger().exchange(&sign_in).await);
        }
        outcomes
    }

    /// The failure that an exchange ends with.
    async fn exchange_fails(&self, account: &str) -> Failure {
        self.received(account).await;
        let [Ok(Some((Status::Failed, Some(failure))))] = &self.work().await[..] else { panic!("no failure") };
        failure.clone()
    }

    async fn complete(&self, account: &str) {
        self.received(account).await;
        assert!(matches!(&self.work().await[..], [Ok(Some((Status::Completed, None)))]));
    }

    async fn enrolled(&self, account: &str) -> Enrolled {
        self.door.fleet.store.account(&user(account)).await.unwrap().unwrap()
    }

    async fn kept(&self, account: &str) -> Kept {
        self.enrolled(account).await.kept.unwrap()
    }

    async fn stored(&self, started: &Answer) -> SignIn {
        let id = SignInId::parse(started.text("session_id")).unwrap();
        self.door.fleet.store.sign_in(&id).await.unwrap().unwrap()
    }

    async fn line(&self, account: &str) -> Value {
        let list = self.get("/accounts?limit=100").await.body;
        let lines = list["items"].as_array().unwrap();
        lines.iter().find(|line| line["user_id"] == account).unwrap().clone()
    }

    fn advance(&self, by: TimeDelta) {
        self.door.fleet.clock.advance(by);
    }

    /// An admin's token lives for an hour; tests that wait longer sign in again.
    async fn sign_in_again(&mut self) {
        self.admin = self.door.sign_in("boss").await.text("access_token");
    }

    async fn refresh(&self) -> Run {
        let deadline = self.door.fleet.clock.now() + TimeDelta::minutes(5);
        self.door.fleet.refresher().run(deadline).await.unwrap()
    }

    fn audited(&self, action: Action) -> usize {
        self.door.fleet.store.audit().iter().filter(|entry| entry.action == action).count()
    }
}

/// Everything an office's stores hold of accounts, as text.
async fn everything_stored(office: &Office, started: &[&Answer]) -> String {
    let mut text = format!("{:?}", office.door.fleet.store.accounts(None, 1_000).await.unwrap());
    text += &serde_json::to_string(&office.enrolled("kimghw").await.kept).unwrap();
    for started in started {
        text += &serde_json::to_string(&office.stored(started).await).unwrap();
    }
    text + &format!("{:?} {:?}", office.door.fleet.store.slots().await.unwrap(), office.door.fleet.store.audit())
}

#[tokio::test]
async fn account_a_sign_in_goes_through_every_status_in_order_and_its_tokens_are_kept() {
    let office = Office::new().await;
    let started = office.start("kimghw").await;
    assert_eq!(started.text("expires_at"), "2030-03-17T17:56:40Z", "ten minutes later");
    let url = started.text("auth_url");
    assert_eq!(parameter(&url, "response_type"), "code");
    assert_eq!(parameter(&url, "scope"), "Mail.Send offline_access");
    assert_eq!(parameter(&url, "code_challenge_method"), "S256");
    assert_eq!(parameter(&url, "state").len(), 43, "32 random bytes");
    let pending = office.status(&started).await;
    assert_eq!((&pending["status"], &pending["is_completed"]), (&json!("PENDING"), &json!(false)));
    assert_eq!(pending["auth_url"], url.as_str());
    assert_eq!(office.line("kimghw").await["has_pending_session"], true);

    let SignedIn { code, state } = office.sign_in(&started);
    let page = office.call_back(&[("code", &code), ("state", &state)]).await;
    assert_eq!((page.status, page.header("content-type")), (StatusCode::OK, "text/html; charset=utf-8"));
    assert!(page.raw.contains("You are signed in"), "{}", page.raw);
    let received = office.status(&started).await;
    assert_eq!((&received["status"], &received["auth_url"]), (&json!("CALLBACK_RECEIVED"), &Value::Null));

    assert!(matches!(&office.work().await[..], [Ok(Some((Status::Completed, None)))]));
    let completed = office.status(&started).await;
    assert_eq!((&completed["status"], &completed["is_completed"]), (&json!("COMPLETED"), &json!(true)));
    assert_eq!(completed["error_message"], Value::Null);
    let line = office.line("kimghw").await;
    assert_eq!((&line["token_expired"], &line["has_pending_session"]), (&json!(false), &json!(false)));
    assert_eq!(line["last_sync_time"], "2030-03-17T17:46:40Z");
    let tokens = office.door.fleet.keeper().open(&user("kimghw"), &office.kept("kimghw").await).await.unwrap().unwrap();
    assert!(
        tokens.access_token.starts_with("mail-access") && tokens.refresh_token.unwrap().starts_with("mail-refresh")
    );
    assert_eq!(office.audited(Action::AccountSignInStarted), 1);
    assert_eq!(office.audited(Action::AccountSignInCompleted), 1);
}

#[tokio::test]
async fn account_only_who_may_manage_accounts_gets_in_and_every_refusal_is_audited() {
    let office = Office::new().await;
    let record = UserRecord { permissions: vec!["accounts:manage".to_owned()], ..UserRecord::new(user("clerk")) };
    office.door.fleet.store.apply(&Record::upsert(1, Entity::User(record))).await.unwrap();
    let clerk = office.door.sign_in("clerk").await.text("access_token");
    let stranger = office.door.sign_in("stranger").await.text("access_token");
    let calls = [
        ("POST", "/auth", Some(json!({ "user_id": "nobody" }))),
        ("GET", "/auth/some-id", None),
        ("POST", "/auth/bulk", Some(json!({ "user_ids": ["nobody"] }))),
        ("POST", "/auth/cleanup", Some(json!({}))),
        ("GET", "/accounts", None),
    ];
    for (method, path, body) in calls.clone() {
        let path = format!("{BASE}{path}");
        let refused = office.door.call(method, &path, &stranger, body.clone()).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{method} {path}");
        let allowed = office.door.call(method, &path, &clerk, body).await;
        assert!([200, 404].contains(&allowed.status.as_u16()), "{method} {path}: {allowed:?}");
    }
    assert_eq!(office.audited(Action::PermissionDenied), calls.len());
}

#[tokio::test]
async fn account_who_is_not_enrolled_or_inactive_does_not_begin_and_is_told_what_to_do() {
    let office = Office::new().await;
    let unknown = office.post("/auth", json!({ "user_id": "leehs" })).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert!(unknown.text("detail").contains("no OAuth settings") && unknown.text("detail").contains("import"));
    office.enrol(&Account { active: false, ..account(&user("leehs"), "https://login.example.com") }).await;
    let inactive = office.post("/auth", json!({ "user_id": "leehs" })).await;
    assert_eq!(inactive.status, StatusCode::CONFLICT);
    assert!(inactive.text("detail").contains("inactive"), "{inactive:?}");
    office.enrol(&account(&user("parkjy"), "https://away.example.com")).await;
    let away = office.post("/auth", json!({ "user_id": "parkjy" })).await;
    assert_eq!((away.status, away.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "5"));
    assert!(away.text("detail").contains("does not say where to sign in"), "{away:?}");
    let path = format!("{BASE}/auth");
    let body = Some(json!({ "user_id": "nobody" }));
    let korean = office.door.call_with("POST", &path, &office.admin, body, &[("accept-language", "ko")]).await;
    assert!(korean.text("detail").starts_with("계정별 OAuth 설정이 없습니다"), "{korean:?}");
    let lost = office.get("/auth/there-is-none").await;
    assert_eq!(lost.status, StatusCode::NOT_FOUND);
    assert!(lost.text("detail").contains("session cannot be found"), "{lost:?}");
    assert_eq!(office.door.fleet.store.slots().await.unwrap(), [], "none of them took a slot");
}

#[tokio::test]
async fn account_a_state_is_good_once_for_its_own_sign_in_and_for_ten_minutes() {
    let office = Office::new().await;
    let started = office.start("kimghw").await;
    let SignedIn { code, state } = office.sign_in(&started);
    // Wrong, missing, twice in one query.
    let wrong: [&[(&str, &str)]; 4] = [
        &[("code", &code), ("state", "invented")],
        &[("code", &code)],
        &[("code", &code), ("state", "")],
        &[("code", &code), ("state", &state), ("state", &state)],
    ];
    for fields in wrong {
        let page = office.call_back(fields).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{fields:?}");
        assert!(page.raw.contains("session cannot be found"), "{}", page.raw);
    }
    assert_eq!(office.status(&started).await["status"], "PENDING", "none of them used it up");
    // Replayed, before and after the exchange.
    assert_eq!(office.call_back(&[("code", &code), ("state", &state)]).await.status, StatusCode::OK);
    let replayed = office.call_back(&[("code", &code), ("state", &state)]).await;
    assert_eq!(replayed.status, StatusCode::CONFLICT);
    assert!(replayed.raw.contains("received already"), "{}", replayed.raw);
    assert_eq!(office.work().await.len(), 1, "one message");
    assert_eq!(office.call_back(&[("code", &code), ("state", &state)]).await.status, StatusCode::CONFLICT);
    assert_eq!(office.status(&started).await["status"], "COMPLETED");
    // Expired, by the clock.
    let late = office.start("kimghw").await;
    let SignedIn { code, state } = office.sign_in(&late);
    office.advance(TimeDelta::minutes(10));
    let page = office.call_back_in("ko-KR", &[("code", &code), ("state", &state)]).await;
    assert_eq!(page.status, StatusCode::GONE);
    assert!(page.raw.contains("제한 시간") && page.raw.contains("lang=\"ko\""), "{}", page.raw);
    let expired = office.status(&late).await;
    assert_eq!((&expired["status"], &expired["auth_url"]), (&json!("EXPIRED"), &Value::Null));
    assert!(office.work().await.is_empty());
}

#[tokio::test]
async fn account_a_code_under_the_state_of_another_sign_in_is_stopped_by_pkce() {
    let office = Office::new().await;
    let (mine, theirs) = (office.start("kimghw").await, office.start("kimghw").await);
    let (stolen, other) = (office.sign_in(&mine), office.sign_in(&theirs));
    assert_eq!(office.call_back(&[("code", &stolen.code), ("state", &other.state)]).await.status, StatusCode::OK);
    let [Ok(Some((Status::Failed, Some(failure))))] = &office.work().await[..] else { panic!("no failure") };
    assert_eq!(*failure, Failure::CodeRefused { status: 400 });
    assert!(office.enrolled("kimghw").await.kept.is_none());
    assert_eq!(office.status(&theirs).await["status"], "FAILED");
    assert_eq!(office.status(&mine).await["status"], "PENDING");
}

#[tokio::test]
async fn account_what_a_provider_sends_instead_of_a_code_ends_the_sign_in_with_a_reason() {
    let office = Office::new().await;
    let cases: [(&[(&str, &str)], &str); 5] = [
        (&[("error", "access_denied")], "refused at the provider"),
        (&[("error", "invalid_scope"), ("error_description", "<script>alert(1)</script>")], "invalid_scope"),
        (&[("error", "<b>x</b>")], "unknown"),
        (&[], "neither a code nor an error"),
        (&[("code", "c"), ("iss", "https://evil.example.com")], "another provider"),
    ];
    for (fields, wanted) in cases {
        let started = office.start("kimghw").await;
        let state = parameter(&started.text("auth_url"), "state");
        let page = office.call_back(&[fields, &[("state", state.as_str())]].concat()).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{fields:?}");
        assert!(page.raw.contains(wanted), "{fields:?}: {}", page.raw);
        let failed = office.status(&started).await;
        assert_eq!(failed["status"], "FAILED");
        assert!(failed["error_message"].as_str().unwrap().contains(wanted), "{failed}");
        let SignedIn { code, .. } = office.sign_in(&started);
        let again = office.call_back(&[("code", &code), ("state", &state)]).await;
        assert_eq!(again.status, StatusCode::CONFLICT, "it was used");
    }
    assert_eq!(office.audited(Action::AccountSignInFailed), cases.len());
    assert!(office.work().await.is_empty());
    // The provider itself may be named.
    let started = office.start("kimghw").await;
    let SignedIn { code, state } = office.sign_in(&started);
    let named = [("code", &*code), ("state", &*state), ("iss", "https://login.example.com/")];
    assert_eq!(office.call_back(&named).await.status, StatusCode::OK);
}

#[tokio::test]
async fn account_the_page_holds_nothing_the_browser_brought_and_lets_nothing_out() {
    let office = Office::new().await;
    let started = office.start("kimghw").await;
    let SignedIn { code, state } = office.sign_in(&started);
    let good = office.call_back(&[("code", &code), ("state", &state)]).await;
    let bad = office.call_back(&[("code", &code), ("state", "\"><script>x</script>"), ("error", "leaked")]).await;
    for page in [good, bad] {
        for (name, wanted) in
            [("referrer-policy", "no-referrer"), ("cache-control", "no-store"), ("x-content-type-options", "nosniff")]
        {
            assert_eq!(page.header(name), wanted);
        }
        assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
        for hidden in [code.as_str(), state.as_str(), "<script", "leaked", "http://", "https://"] {
            assert!(!page.raw.contains(hidden), "{hidden}: {}", page.raw);
        }
    }
}

#[tokio::test]
async fn account_a_provider_that_says_neither_yes_nor_no_is_asked_three_times_and_no_more() {
    let office = Office::new().await;
    let asked = || office.door.fleet.mail_provider.asked();
    let behave = |moods: &[Mood]| office.door.fleet.mail_provider.behave(moods.iter().copied());
    for (moods, wanted, tries) in [
        (&[Mood::Silent; 3][..], Failure::TimedOut, 3),
        (&[Mood::Failing; 3], Failure::ProviderFailed, 3),
        (&[Mood::Silent, Mood::Failing, Mood::Refusing(400, "invalid_grant")], Failure::CodeRefused { status: 400 }, 3),
        (&[Mood::Refusing(401, "invalid_client")], Failure::ClientRefused { status: 401 }, 1),
        (&[Mood::Refusing(401, "")], Failure::ClientRefused { status: 401 }, 1),
        (&[Mood::Refusing(400, "invalid_grant")], Failure::CodeRefused { status: 400 }, 1),
        (
            &[Mood::Refusing(400, "invalid_scope")],
            Failure::Refused { status: 400, error: "invalid_scope".to_owned() },
            1,
        ),
        (&[Mood::Empty], Failure::NoToken, 1),
    ] {
        let before = asked();
        behave(moods);
        assert_eq!(office.exchange_fails("kimghw").await, wanted);
        assert_eq!(asked() - before, tries, "{wanted:?}");
    }
    behave(&[Mood::Silent, Mood::Failing]);
    office.complete("kimghw").await;
    assert_eq!(office.door.fleet.store.slots().await.unwrap(), [], "failed or not, the slot is free");
}

#[tokio::test]
async fn account_a_secret_that_is_wrong_or_not_there_is_said_to_be_so() {
    let office = Office::new().await;
    office.door.fleet.mail_provider.expect_secret("another");
    assert_eq!(office.exchange_fails("kimghw").await, Failure::ClientRefused { status: 401 });
    office.door.fleet.secrets.clear();
    let before = office.door.fleet.mail_provider.asked();
    assert_eq!(office.exchange_fails("kimghw").await, Failure::NoSecret);
    assert_eq!(office.door.fleet.mail_provider.asked(), before, "the provider is not asked");
}

#[tokio::test]
async fn account_a_code_is_exchanged_once_whatever_is_delivered_twice() {
    let office = Office::new().await;
    let started = office.received("kimghw").await;
    let [id] = &office.door.fleet.exchanges.take()[..] else { panic!("one message") };
    let exchanger = office.door.fleet.exchanger();
    let (one, other) = tokio::join!(exchanger.exchange(id), exchanger.exchange(id));
    let completed = |outcome: &Result<_, WorkError>| matches!(outcome, Ok(Some((Status::Completed, None))));
    assert_eq!([&one, &other].into_iter().filter(|outcome| completed(outcome)).count(), 1, "{one:?} {other:?}");
    assert!(matches!(exchanger.exchange(id).await, Ok(None)), "nothing is left to do");
    assert_eq!(office.door.fleet.mail_provider.asked(), 1);
    assert_eq!(office.status(&started).await["status"], "COMPLETED");
    let nobody = SignInId::parse("nobody's").unwrap();
    assert!(matches!(exchanger.exchange(&nobody).await, Ok(None)));
}

#[tokio::test]
async fn account_an_exchange_that_was_interrupted_has_failed_and_is_not_repeated() {
    let office = Office::new().await;
    let started = office.received("kimghw").await;
    let [id] = &office.door.fleet.exchanges.take()[..] else { panic!("one message") };
    let (store, exchanger) = (&office.door.fleet.store, office.door.fleet.exchanger());
    let claim = Claim { id: "a worker that died".to_owned(), at: now() };
    let claimed = office.stored(&started).await.claimed(claim);
    assert_eq!(store.change(&claimed, None).await.unwrap(), Step::Taken);
    assert!(matches!(exchanger.exchange(id).await, Err(WorkError::Retry(_))), "it may be alive");
    office.advance(TimeDelta::seconds(150));
    let outcome = exchanger.exchange(id).await.unwrap();
    assert_eq!(outcome, Some((Status::Failed, Some(Failure::Interrupted))));
    assert_eq!(office.door.fleet.mail_provider.asked(), 0);
    let failed = office.status(&started).await;
    assert!(failed["error_message"].as_str().unwrap().contains("interrupted"), "{failed}");
    // Of one that nobody ever took the clock says so.
    let lost = office.received("kimghw").await;
    office.door.fleet.exchanges.take();
    office.advance(TimeDelta::minutes(11));
    assert_eq!(office.status(&lost).await["status"], "FAILED");
}

#[tokio::test]
async fn account_an_answer_at_the_last_moment_has_time_for_its_exchange() {
    let office = Office::new().await;
    let started = office.start("kimghw").await;
    let SignedIn { code, state } = office.sign_in(&started);
    office.advance(TimeDelta::minutes(10) - TimeDelta::seconds(1));
    assert_eq!(office.call_back(&[("code", &code), ("state", &state)]).await.status, StatusCode::OK);
    office.advance(TimeDelta::minutes(4));
    assert_eq!(office.status(&started).await["status"], "CALLBACK_RECEIVED");
    assert!(matches!(&office.work().await[..], [Ok(Some((Status::Completed, None)))]));
}

#[tokio::test]
async fn account_a_queue_that_takes_nothing_and_a_store_that_is_away_are_told_apart() {
    let office = Office::new().await;
    let started = office.start("kimghw").await;
    let SignedIn { code, state } = office.sign_in(&started);
    office.door.fleet.store.set_down(true);
    let away = office.call_back(&[("code", &code), ("state", &state)]).await;
    assert_eq!((away.status, away.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "5"));
    assert!(away.raw.contains("Load this page again"), "{}", away.raw);
    office.door.fleet.store.set_down(false);
    office.door.fleet.exchanges.set_down(true);
    let page = office.call_back(&[("code", &code), ("state", &state)]).await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(page.raw.contains("could not be handed on"), "{}", page.raw);
    assert_eq!(office.status(&started).await["status"], "FAILED", "the state was used: nobody waits for nothing");
}

#[tokio::test]
async fn account_somebody_elses_sign_in_is_not_the_accounts() {
    let office = Office::new().await;
    let owner = Some("KimGhw@Example.com".to_owned());
    office.enrol(&Account { sign_in_name: owner, ..account(&user("kimghw"), "https://login.example.com") }).await;
    let started = office.start("kimghw").await;
    assert_eq!(parameter(&started.text("auth_url"), "login_hint"), "KimGhw@Example.com");
    let provider = &office.door.fleet.mail_provider;
    let SignedIn { code, state } = provider.sign_in(&started.text("auth_url"), "somebody.else@example.com");
    office.call_back(&[("code", &code), ("state", &state)]).await;
    let [Ok(Some((Status::Failed, Some(failure))))] = &office.work().await[..] else { panic!("no failure") };
    assert_eq!(*failure, Failure::WrongPerson);
    assert!(office.enrolled("kimghw").await.kept.is_none());
    office.complete("kimghw").await;
}

#[tokio::test]
async fn account_one_that_was_switched_off_meanwhile_is_not_signed_in() {
    let office = Office::new().await;
    let (early, late) = (office.start("kimghw").await, office.received("kimghw").await);
    office.enrol(&Account { active: false, ..account(&user("kimghw"), "https://login.example.com") }).await;
    let SignedIn { code, state } = office.sign_in(&early);
    let page = office.call_back(&[("code", &code), ("state", &state)]).await;
    assert!(page.raw.contains("inactive"), "{}", page.raw);
    let [Ok(Some((Status::Failed, Some(Failure::Inactive))))] = &office.work().await[..] else { panic!("signed in") };
    assert_eq!(office.status(&late).await["status"], "FAILED");
}

async fn many(office: &Office, count: usize) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|number| format!("mail-{number:03}")).collect();
    for name in &names {
        office.enrol(&account(&user(name), "https://login.example.com")).await;
    }
    names
}

#[tokio::test]
async fn account_a_hundred_sign_ins_are_under_way_and_the_next_is_told_so_until_one_ends() {
    let office = Office::new().await;
    let names = many(&office, 99).await;
    let bulk = office.post("/auth/bulk", json!({ "user_ids": names, "max_concurrent": 20 })).await;
    assert_eq!((&bulk.body["pending_count"], &bulk.body["failed_count"]), (&json!(99), &json!(0)), "{bulk:?}");
    office.advance(TimeDelta::minutes(4));
    // Two want the last slot.
    let desk = office.door.fleet.account_desk();
    let by = Actor::schedule();
    let (account, origin) = (user("kimghw"), Origin::default());
    let (one, other) = tokio::join!(desk.start(&by, &account, &origin), desk.start(&by, &account, &origin));
    assert_eq!([&one, &other].into_iter().filter(|outcome| outcome.is_ok()).count(), 1, "{one:?} {other:?}");
    let full = office.post("/auth", json!({ "user_id": "kimghw" })).await;
    assert_eq!(full.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(full.text("detail").contains("100 sign-ins are under way"), "{full:?}");
    let wait: i64 = full.header("retry-after").parse().unwrap();
    assert!((355..=361).contains(&wait), "the first end in six minutes: {wait}");
    assert_eq!(office.door.fleet.store.slots().await.unwrap().len(), 100);
    // Time frees them, though nobody wrote that down.
    office.advance(TimeDelta::minutes(6));
    office.start("kimghw").await;
    assert!(office.door.fleet.store.slots().await.unwrap().len() <= 100);
}

/// On a real store, with many at once: the hundredth slot is one sign-in's, however many want it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn account_however_many_race_a_hundred_are_under_way_and_no_more() {
    let fleet = Fleet::over(Store::start().await.dynamo().await, Arc::new(Memory::default()), now());
    fleet.store.enrol(&account(&user("kimghw"), "https://login.example.com")).await.unwrap();
    let desk = fleet.account_desk();
    let starts = (0..130).map(|_| {
        let desk = desk.clone();
        tokio::spawn(async move {
            let (by, origin) = (Actor::schedule(), Origin::default());
            desk.start(&by, &user("kimghw"), &origin).await
        })
    });
    let outcomes: Vec<_> = futures::future::join_all(starts).await.into_iter().map(Result::unwrap).collect();
    let started = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let full = outcomes.iter().filter(|outcome| matches!(outcome, Err(NotStarted::Full(_)))).count();
    assert_eq!((started, full), (100, 30));
    let slots = fleet.store.slots().await.unwrap();
    let numbers: BTreeSet<u8> = slots.iter().map(|slot| slot.number).collect();
    assert_eq!((slots.len(), numbers.len()), (100, 100));
    // One ends: one begins, and no other.
    let ended = fleet.store.sign_in(&slots[42].sign_in).await.unwrap().unwrap().failed(Failure::AccessDenied);
    assert_eq!(fleet.store.change(&ended, None).await.unwrap(), Step::Taken);
    let by = Actor::schedule();
    assert!(desk.start(&by, &user("kimghw"), &Origin::default()).await.is_ok());
    assert!(matches!(desk.start(&by, &user("kimghw"), &Origin::default()).await, Err(NotStarted::Full(_))));
    // All their times pass at once, and many race for what is free by the clock alone.
    fleet.clock.advance(TimeDelta::minutes(10));
    let again = (0..130).map(|_| {
        let desk = desk.clone();
        tokio::spawn(async move { desk.start(&Actor::schedule(), &user("kimghw"), &Origin::default()).await })
    });
    let outcomes: Vec<_> = futures::future::join_all(again).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 100);
    assert_eq!(fleet.store.slots().await.unwrap().len(), 100);
}

#[tokio::test]
async fn account_of_many_at_a_time_none_stops_the_others() {
    let office = Office::new().await;
    let mut names = many(&office, 50).await;
    for (index, number) in [3, 17, 29, 41].into_iter().enumerate() {
        let away = if index % 2 == 0 { "https://away.example.com" } else { "https://login.example.com" };
        let active = index % 2 == 0;
        office.enrol(&Account { active, ..account(&user(&names[number]), away) }).await;
    }
    names[49] = "nobody".to_owned();
    office.complete("mail-000").await;
    names.push("mail-001".to_owned());
    let body = json!({ "user_ids": names, "max_concurrent": 3, "timeout_minutes": 15 });
    let bulk = office.post("/auth/bulk", body).await;
    assert_eq!(bulk.status, StatusCode::OK, "{bulk:?}");
    let counts =
        ["total_users", "pending_count", "completed_count", "failed_count"].map(|name| bulk.body[name].clone());
    assert_eq!(counts, [50, 44, 1, 5].map(Value::from), "one is named twice");
    let statuses = bulk.body["user_statuses"].as_array().unwrap();
    for (index, line) in statuses.iter().enumerate() {
        assert_eq!(line["user_id"], names[index].as_str(), "in the order they were named");
        let (status, wanted) = (
            line["status"].as_str().unwrap(),
            match index {
                0 => "COMPLETED",
                3 | 17 | 29 | 41 | 49 => "FAILED",
                _ => "PENDING",
            },
        );
        assert_eq!(status, wanted, "{line}");
        assert_eq!(line["auth_url"].is_string(), status == "PENDING");
        assert_eq!(line["error_message"].is_string(), status == "FAILED");
    }
    assert_eq!(statuses[1]["expires_at"], "2030-03-17T18:01:40Z", "in fifteen minutes");
    let states: BTreeSet<String> =
        statuses.iter().filter_map(|line| Some(parameter(line["auth_url"].as_str()?, "state"))).collect();
    assert_eq!(states.len(), 44, "each has a state of its own");
    for bad in [
        json!({ "user_ids": [] }),
        json!({ "user_ids": ["a"], "max_concurrent": 0 }),
        json!({ "user_ids": ["a"], "timeout_minutes": 61 }),
        json!({ "user_ids": ["a", ""] }),
        json!({ "user_ids": vec!["a"; 101] }),
    ] {
        assert_eq!(office.post("/auth/bulk", bad.clone()).await.status, StatusCode::UNPROCESSABLE_ENTITY, "{bad}");
    }
}

#[tokio::test]
async fn account_a_clean_up_counts_what_it_ended_and_what_goes_on() {
    let office = Office::new().await;
    let old = office.start("kimghw").await;
    office.advance(TimeDelta::minutes(12));
    let (fresh, exchanging) = (office.start("kimghw").await, office.received("kimghw").await);
    let counts = |answer: &Answer| (answer.body["cleaned_sessions"].clone(), answer.body["active_sessions"].clone());
    let clean = async |minutes: u32, force: bool| {
        let body = json!({ "expire_threshold_minutes": minutes, "force_cleanup": force });
        counts(&office.post("/auth/cleanup", body).await)
    };
    assert_eq!(clean(60, false).await, (json!(0), json!(2)), "nothing is an hour old");
    assert_eq!(clean(5, true).await, (json!(1), json!(2)), "the one whose time has passed");
    assert_eq!(clean(0, false).await, (json!(0), json!(2)), "it is ended once");
    assert_eq!(clean(0, true).await, (json!(1), json!(1)), "the waiting one; not the exchange on its way");
    assert_eq!(office.status(&old).await["status"], "EXPIRED");
    let ended = office.status(&fresh).await;
    assert_eq!(ended["status"], "EXPIRED");
    assert!(ended["error_message"].as_str().unwrap().contains("administrator"), "{ended}");
    assert_eq!(office.status(&exchanging).await["status"], "CALLBACK_RECEIVED");
    assert_eq!(office.audited(Action::AccountSignInsCleanedUp), 4);
    // The hourly one.
    office.start("kimghw").await;
    office.advance(TimeDelta::minutes(30));
    let fleet = &office.door.fleet;
    let hourly = clean_up(fleet.store.as_ref(), fleet.clock.as_ref(), TimeDelta::zero(), false).await.unwrap();
    assert_eq!((hourly.cleaned, hourly.active), (2, 0));
    let never = office.status(&exchanging).await;
    assert_eq!(never["status"], "FAILED", "an exchange that never came");
    assert_eq!(office.post("/auth/cleanup", json!({ "expire_threshold_minutes": 10_081 })).await.status, 422);
}

#[tokio::test]
async fn account_nothing_secret_stands_in_any_table_queue_audit_or_answer() {
    let mut door = Door::in_memory(now(), Habits::default()).await;
    // The memory's own vault hands out tickets; this one really seals.
    let vault = Arc::new(SecretVault::with_secret(b"a secret of this test, long enough to be one").unwrap());
    door.vault = vault.clone();
    let office = Office::of(door).await;
    let fleet = &office.door.fleet;
    let (mut desk, mut exchanger) = (fleet.account_desk(), fleet.exchanger());
    (desk.vault, desk.keeper.vault) = (vault.clone(), vault.clone());
    (exchanger.vault, exchanger.keeper.vault) = (vault.clone(), vault.clone());
    let (by, origin) = (Actor::schedule(), Origin::default());
    let started = desk.start(&by, &user("kimghw"), &origin).await.unwrap();
    let SignedIn { code, state } = fleet.mail_provider.sign_in(&started.auth_url, "kimghw@example.com");
    let answer = |state: &str| domain::accounts::callback::Answer {
        state: Some(state.to_owned()),
        code: Some(code.clone()),
        ..Default::default()
    };
    let id = started.id.clone();
    let verifier_is_sealed = serde_json::to_string(&fleet.store.sign_in(&id).await.unwrap()).unwrap();
    desk.call_back(answer(&state), &origin).await.unwrap().unwrap();
    let before = serde_json::to_string(&fleet.store.sign_in(&id).await.unwrap()).unwrap();
    let message = serde_json::to_string(&domain::messages::ExchangeMessage::new(id.clone())).unwrap();
    exchanger.exchange(&fleet.exchanges.take()[0]).await.unwrap();
    let kept = office.kept("kimghw").await;
    let tokens = exchanger.keeper.open(&user("kimghw"), &kept).await.unwrap().unwrap();
    let after = serde_json::to_string(&fleet.store.sign_in(&id).await.unwrap()).unwrap();
    let account = serde_json::to_string(&kept).unwrap() + &format!("{kept:?}");
    let rows = format!("{:?}", fleet.store.holdings(&Owner::User(user("kimghw"))).await.unwrap());
    let audit = format!("{:?}", fleet.store.audit());
    let challenge = parameter(&started.auth_url, "code_challenge");
    let everything = [verifier_is_sealed, before, message, after, account, rows, audit].join("\n");
    let refresh = tokens.refresh_token.unwrap();
    for secret in [&code, &state, &tokens.access_token, &refresh, &challenge, SECRET, "code_challenge", "auth_url"] {
        assert!(!everything.contains(secret), "{secret}");
    }
    // A sealed text opens for its own account, and for no other.
    assert!(exchanger.keeper.open(&user("leehs"), &kept).await.unwrap().is_none());
    let debug = format!("{:?}", domain::accounts::ports::ClientSecret::new(SECRET));
    assert!(!debug.contains(SECRET));
}

#[tokio::test]
async fn account_stored_forms_hold_no_secret_in_memory_either() {
    let office = Office::new().await;
    let started = office.received("kimghw").await;
    office.work().await;
    let text = everything_stored(&office, &[&started]).await;
    assert!(!text.contains("mail-code") && !text.contains("mail-access") && !text.contains("mail-refresh"), "{text}");
    assert!(!text.contains(SECRET));
}

async fn rows(office: &Office, account: &str) -> BTreeMap<TokenId, Option<RevokedBy>> {
    let holdings = office.door.fleet.store.holdings(&Owner::User(user(account))).await.unwrap();
    holdings.tokens.into_iter().map(|row| (row.id, row.revoked.map(|revoked| revoked.by))).collect()
}

#[tokio::test]
async fn account_tokens_are_refreshed_before_they_expire_and_not_sooner() {
    let mut office = Office::new().await;
    office.complete("kimghw").await;
    let first = office.kept("kimghw").await;
    assert_eq!(rows(&office, "kimghw").await.len(), 2, "each token has a row");
    office.advance(TimeDelta::minutes(44));
    assert_eq!(office.refresh().await, Run { looked_at: 1, ..Run::default() }, "not due");
    office.advance(TimeDelta::minutes(1));
    assert_eq!(office.refresh().await, Run { looked_at: 1, refreshed: 1, ..Run::default() });
    assert_eq!(office.refresh().await, Run { looked_at: 1, ..Run::default() }, "once");
    let second = office.kept("kimghw").await;
    assert!(second.access.id != first.access.id && second.refresh != first.refresh);
    assert_eq!(second.signed_in_at, first.signed_in_at, "a refresh is no sign-in");
    let rows = rows(&office, "kimghw").await;
    assert_eq!((rows.len(), &rows[&first.access.id]), (4, &Some(RevokedBy::Rotation)));
    assert_eq!(rows[&first.refresh.unwrap().id], Some(RevokedBy::Rotation));
    assert_eq!((&rows[&second.access.id], &rows[&second.refresh.unwrap().id]), (&None, &None));
    office.advance(TimeDelta::minutes(20));
    office.sign_in_again().await;
    let line = office.line("kimghw").await;
    assert_eq!((&line["token_expired"], &line["last_sync_time"]), (&json!(false), &json!("2030-03-17T18:31:40Z")));
}

#[tokio::test]
async fn account_a_refresh_that_fails_is_tried_again_and_one_that_is_refused_is_not() {
    let office = Office::new().await;
    office.complete("kimghw").await;
    office.advance(TimeDelta::minutes(50));
    let provider = &office.door.fleet.mail_provider;
    for mood in [Mood::Silent, Mood::Failing, Mood::Empty, Mood::Refusing(401, "invalid_client")] {
        provider.behave([mood]);
        assert_eq!(office.refresh().await, Run { looked_at: 1, failed: 1, ..Run::default() }, "{mood:?}");
    }
    office.door.fleet.secrets.clear();
    let before = provider.asked();
    assert_eq!(office.refresh().await.failed, 1);
    assert_eq!(provider.asked(), before, "without its secret there is nothing to ask");
    office.enrol(&office.enrolled("kimghw").await.account).await;
    assert_eq!(office.refresh().await.refreshed, 1, "nothing was lost");
    office.advance(TimeDelta::minutes(50));
    provider.forget_refresh_tokens();
    assert_eq!(office.refresh().await, Run { looked_at: 1, refused: 1, ..Run::default() });
    let before = provider.asked();
    assert_eq!(office.refresh().await, Run { looked_at: 1, ..Run::default() }, "it stays refused");
    assert_eq!(provider.asked(), before);
    assert_eq!(office.audited(Action::AccountRefreshFailed), 1);
    assert_eq!(office.kept("kimghw").await.trouble, Some(Failure::RefreshRefused { status: 400 }));
    // Somebody signs in again, and all is well.
    let (desk, origin) = (office.door.fleet.account_desk(), Origin::default());
    let started = desk.start(&Actor::schedule(), &user("kimghw"), &origin).await.unwrap();
    let SignedIn { code, state } = provider.sign_in(&started.auth_url, "kimghw@example.com");
    assert_eq!(office.call_back(&[("code", &code), ("state", &state)]).await.status, StatusCode::OK);
    office.work().await;
    assert_eq!(office.kept("kimghw").await.trouble, None);
}

#[tokio::test]
async fn account_a_refresh_is_one_workers_and_a_dead_ones_is_taken_up_again() {
    let office = Office::new().await;
    office.complete("kimghw").await;
    office.advance(TimeDelta::minutes(50));
    let kept = office.kept("kimghw").await;
    let claim = Some(Claim { id: "a worker".to_owned(), at: office.door.fleet.clock.now() });
    let claimed = Kept { claim, revision: "claimed".to_owned(), ..kept.clone() };
    let store = &office.door.fleet.store;
    assert_eq!(store.change_kept(&user("kimghw"), &kept, &claimed).await.unwrap(), Step::Taken);
    assert_eq!(office.refresh().await, Run { looked_at: 1, left: 1, ..Run::default() });
    office.advance(TimeDelta::seconds(150));
    assert_eq!(office.refresh().await.refreshed, 1);
    // Two runs at once: the token rotates once.
    office.advance(TimeDelta::minutes(50));
    let before = office.door.fleet.mail_provider.asked();
    let (one, other) = tokio::join!(office.refresh(), office.refresh());
    assert_eq!((one.refreshed + other.refreshed, one.failed + other.failed), (1, 0), "{one:?} {other:?}");
    assert_eq!(office.door.fleet.mail_provider.asked(), before + 1);
}

#[tokio::test]
async fn account_a_run_leaves_what_time_does_not_suffice_for_and_a_failing_provider_to_the_next() {
    let office = Office::new().await;
    for name in many(&office, 12).await {
        office.complete(&name).await;
    }
    office.advance(TimeDelta::minutes(50));
    let refresher = office.door.fleet.refresher();
    let run = refresher.run(office.door.fleet.clock.now() + TimeDelta::seconds(34)).await.unwrap();
    assert_eq!(run, Run { looked_at: 13, left: 12, ..Run::default() });
    office.door.fleet.mail_provider.behave([Mood::Silent; 12]);
    let run = office.refresh().await;
    assert_eq!((run.refreshed, run.failed + run.left), (0, 12), "{run:?}");
    assert!(run.failed <= 8 + 3 && run.left >= 1, "no more than were on their way: {run:?}");
}

#[tokio::test]
async fn account_a_logout_of_the_accounts_user_ends_its_tokens_for_good() {
    let mut office = Office::new().await;
    office.complete("kimghw").await;
    let denier = office.door.fleet.denier();
    office.advance(TimeDelta::minutes(46));
    let at = office.door.fleet.clock.now().into();
    denier.sign_ins([Scope::User(user("kimghw"))], at, &RevokedBy::User).await.unwrap();
    let line = office.line("kimghw").await;
    assert_eq!(line["token_expired"], true);
    assert!(line["error_message"].as_str().unwrap().contains("logged out"), "{line}");
    let before = office.door.fleet.mail_provider.asked();
    assert_eq!(office.refresh().await, Run { looked_at: 1, ended: 1, ..Run::default() });
    assert_eq!(office.door.fleet.mail_provider.asked(), before, "an ended token is not used");
    assert_eq!(office.kept("kimghw").await.sealed, None, "it is not even kept");
    // A bulk asks for a new sign-in, and that one is good.
    office.advance(TimeDelta::minutes(1));
    office.sign_in_again().await;
    let bulk = office.post("/auth/bulk", json!({ "user_ids": ["kimghw"] })).await;
    assert_eq!(bulk.body["pending_count"], 1, "{bulk:?}");
    office.complete("kimghw").await;
    assert_eq!(office.line("kimghw").await["token_expired"], false);
}

#[tokio::test]
async fn account_every_way_of_ending_tokens_reaches_an_accounts() {
    let scopes = |kept: &Kept| {
        let client = ClientId::parse("mail client").unwrap();
        assert_eq!(kept.client, client);
        [Scope::Everything, Scope::Client(client.clone()), Scope::UserClient(user("kimghw"), client)]
    };
    for way in 0..5 {
        let office = Office::new().await;
        office.complete("kimghw").await;
        let kept = office.kept("kimghw").await;
        let (denier, at) = (office.door.fleet.denier(), office.door.fleet.clock.now().into());
        match way {
            0..3 => denier.sign_ins([scopes(&kept)[way].clone()], at, &RevokedBy::User).await.unwrap(),
            3 => {
                let refresh = kept.refresh.clone().unwrap();
                denier.tokens([(refresh.id, refresh.expires_at)]).await.unwrap();
            }
            _ => {
                let ids = [&kept.refresh.clone().unwrap().id];
                office
                    .door
                    .fleet
                    .keeper()
                    .retire(&user("kimghw"), ids.map(|id| id as _), &RevokedBy::Client)
                    .await
                    .unwrap();
            }
        }
        office.advance(TimeDelta::minutes(50));
        assert_eq!(office.refresh().await.ended, 1, "way {way}");
    }
    // The access token alone: the refresh token may bring another.
    let office = Office::new().await;
    office.complete("kimghw").await;
    let kept = office.kept("kimghw").await;
    office.door.fleet.denier().tokens([(kept.access.id, kept.access.expires_at)]).await.unwrap();
    let line = office.line("kimghw").await;
    assert_eq!((&line["token_expired"], &line["error_message"]), (&json!(true), &Value::Null));
    office.advance(TimeDelta::minutes(50));
    assert_eq!(office.refresh().await.refreshed, 1);
}

#[tokio::test]
async fn account_a_logout_during_the_exchange_or_the_refresh_keeps_nothing() {
    let office = Office::new().await;
    let started = office.received("kimghw").await;
    let at = office.door.fleet.clock.now().into();
    office.door.fleet.denier().sign_ins([Scope::User(user("kimghw"))], at, &RevokedBy::User).await.unwrap();
    let [Ok(Some((Status::Failed, Some(Failure::LoggedOut))))] = &office.work().await[..] else { panic!("kept") };
    assert!(office.enrolled("kimghw").await.kept.is_none());
    assert!(rows(&office, "kimghw").await.values().all(|by| *by == Some(RevokedBy::User)), "what was issued is ended");
    assert_eq!(office.status(&started).await["status"], "FAILED");
}

#[tokio::test]
async fn account_a_sign_in_does_not_last_longer_than_any_may() {
    let office = Office::new().await;
    office.complete("kimghw").await;
    office.advance(TimeDelta::seconds(tests::fleet::LIMITS.max_sign_in_age + 61));
    assert_eq!(office.refresh().await.ended, 1);
    assert_eq!(office.kept("kimghw").await.trouble, Some(Failure::TooOld));
}

#[tokio::test]
async fn account_the_list_goes_page_by_page_and_its_cursors_cannot_be_made_up() {
    let office = Office::new().await;
    many(&office, 6).await;
    let (mut found, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let query = cursor.map_or_else(String::new, |cursor| format!("&cursor={cursor}"));
        let page = office.get(&format!("/accounts?limit=3{query}")).await;
        let items = page.body["items"].as_array().unwrap();
        found.extend(items.iter().map(|line| line["user_id"].as_str().unwrap().to_owned()));
        cursor = page.body["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
        assert_eq!(items.len(), 3);
    }
    assert_eq!(found.len(), 7);
    assert!(found.is_sorted());
    for bad in ["cursor=invented", "limit=0", "limit=101", "limit=x", "unknown=1"] {
        assert_eq!(office.get(&format!("/accounts?{bad}")).await.status, StatusCode::UNPROCESSABLE_ENTITY, "{bad}");
    }
}

#[tokio::test]
async fn account_azure_ads_address_has_the_tenant_in_its_path() {
    let office = Office::new().await;
    let provider = Provider::AzureAd {
        tenant: "contoso.onmicrosoft.com".to_owned(),
        authority: domain::accounts::account::AZURE_AUTHORITY.to_owned(),
    };
    office.enrol(&Account { provider, ..account(&user("azure"), "") }).await;
    let mut desk = office.door.fleet.account_desk();
    let providers = Providers::new(office.door.fleet.clock.clone());
    desk.provider = Arc::new(providers.with_limits(Duration::from_secs(1), Duration::ZERO));
    let (by, origin) = (Actor::schedule(), Origin::default());
    let started = desk.start(&by, &user("azure"), &origin).await.unwrap();
    let wanted = "https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/authorize?";
    assert!(started.auth_url.starts_with(wanted), "{}", started.auth_url);
    assert_eq!(parameter(&started.auth_url, "response_mode"), "query");
}
