//! A refresh, or a code exchange, and a logout at the same moment, step by step in every order, with faults: no token of
//! the ended sign-in survives, and nobody else's dies.

use std::cell::RefCell;
use std::sync::Arc;

use auth_api::Deps;
use axum::Router;
use axum::body::Body;
use chrono::{DateTime, TimeDelta, Utc};
use domain::check::Checker;
use domain::deny::Denier;
use domain::ids::{ClientId, RawToken, UserId};
use domain::inspect::Inspector;
use domain::ports::TokenStore as _;
use domain::session::Sessions;
use domain::sign_in::SignIns;
use domain::sign_out::SignOuts;
use domain::testing::{Habits, Memory};
use domain::time::{Clock as _, Epoch};
use domain::upstream::{Authority, Upstream};
use http::{Request, StatusCode};
use lambda_kit::caller::Callers;
use tests::door::{Answer, CLIENT, Door, SESSION_LIMITS, session_of};
use tests::fleet::LIMITS;
use tests::rail::{Dice, Rail, Weather, interleave};
use tower::ServiceExt as _;

/// How a sign-in is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Logout,
    LogoutAll,
    RevokedRefresh,
    SessionDeleted,
}

const ENDINGS: [Ending; 4] = [Ending::Logout, Ending::LogoutAll, Ending::RevokedRefresh, Ending::SessionDeleted];

/// The same door, by rail.
fn by_rail(door: &Door<Memory, Memory>, weather: &Arc<Weather>) -> Router {
    let store = Arc::new(Rail::new(door.fleet.store.clone(), weather.clone()));
    let cache = Arc::new(Rail::new(door.fleet.cache.clone(), weather.clone()));
    let issuer = Arc::new(Rail::new(door.issuer.clone(), weather.clone()));
    let clock = door.fleet.clock.clone();
    let inspector = Inspector {
        checker: Checker::new(cache.clone(), store.clone(), clock.clone(), LIMITS),
        verifier: door.issuer.clone(),
        lookup: store.clone(),
        authorities: Arc::new([]),
        clock: clock.clone(),
    };
    let sign_outs = SignOuts {
        tokens: store.clone(),
        denier: Denier { denylist: store.clone(), cache, ids: door.fleet.ids.clone(), limits: LIMITS },
        clock: clock.clone(),
    };
    let sessions = Sessions {
        store: store.clone(),
        tokens: store.clone(),
        vault: door.fleet.vault.clone(),
        clock: clock.clone(),
        ids: door.fleet.ids.clone(),
        limits: SESSION_LIMITS,
    };
    let sign_ins = SignIns {
        inspector: inspector.clone(),
        upstream: issuer.clone() as Arc<dyn Upstream>,
        profiles: issuer as Arc<dyn Authority>,
        sessions,
        store: store.clone(),
        tokens: store.clone(),
        denylist: store,
        sign_outs,
        clock: clock.clone(),
    };
    let callers = Callers { inspector, directory: door.fleet.store.clone(), clock };
    let (auditor, vault) = (door.fleet.auditor(), door.fleet.vault.clone());
    let accounts = door.fleet.account_desk();
    auth_api::router(Deps { callers, sign_ins, accounts, auditor, vault, seen: Arc::default() }, &[])
}

async fn send(router: &Router, request: Request<Body>) -> Answer {
    Answer::of(router.clone().oneshot(request).await.unwrap()).await
}

fn form(path: &str, fields: &[(&str, &str)]) -> Request<Body> {
    let body = serde_urlencoded::to_string(fields).unwrap();
    let request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
    request.body(Body::from(body)).unwrap()
}

fn ending(how: Ending, access: &str, refresh: &str, session: &str) -> Request<Body> {
    let bearer = format!("Bearer {access}");
    let call = |method: &str, path: &str| Request::builder().method(method).uri(path).header("authorization", &bearer);
    match how {
        Ending::Logout => call("POST", "/api/v1/auth/logout")
            .header("content-type", "application/json")
            .header("x-session-id", session)
            .body(Body::from("{}")),
        Ending::LogoutAll => call("POST", "/api/v1/auth/logout/all").body(Body::empty()),
        Ending::RevokedRefresh => Ok(form("/oauth/revoke", &[("token", refresh), ("client_id", CLIENT)])),
        Ending::SessionDeleted => call("DELETE", &format!("/api/v1/auth/sessions/{session}")).body(Body::empty()),
    }
    .unwrap()
}

/// Whether an ending is acknowledged, or, while nothing fails, there is nothing left to end: the token it was asked with is
/// refused already, or the session is gone.
fn is_over(status: StatusCode, calm: bool) -> bool {
    let nothing_left = status == StatusCode::UNAUTHORIZED || status == StatusCode::NOT_FOUND;
    status == StatusCode::OK || (calm && nothing_left)
}

struct Tokens {
    access: Vec<String>,
    refresh: Vec<String>,
}

impl Tokens {
    fn take(&mut self, answer: &Answer) -> Option<String> {
        self.access.push(answer.text("access_token"));
        let refresh = answer.body["refresh_token"].as_str().map(str::to_owned);
        self.refresh.extend(refresh.clone());
        refresh
    }
}

async fn is_good(door: &Door<Memory, Memory>, token: &str) -> bool {
    door.inspector().inspect(&RawToken::new(token)).await.unwrap().verdict.is_ok()
}

async fn one(seed: u64, now: DateTime<Utc>) {
    let dice = Arc::new(Dice::new(seed));
    let flag = || dice.roll(2) == 0;
    let habits = Habits { jwt: flag(), says_auth_time: flag(), says_sid: flag(), rotates: flag() };
    let how = ENDINGS[usize::try_from(dice.roll(4)).unwrap()];
    let door = Door::in_memory(now, habits).await;
    // Some issuers' clocks are ahead of ours, so that a cutoff of now is before the sign-in.
    let ahead = if dice.roll(4) == 0 { 30 } else { 0 };
    door.issuer.set_ahead(ahead);
    let signed_in = door.sign_in_at("user", Epoch::from(now).plus(ahead)).await;
    let (access, refresh) = (signed_in.text("access_token"), signed_in.text("refresh_token"));
    let session = session_of(&signed_in);
    let other_session = door.sign_in_at("user", Epoch::from(now).plus(ahead)).await.text("access_token");
    let other_user = door.sign_in("사용자 2").await.text("access_token");
    let code_user = UserId::parse("user").unwrap();
    let code = door.issuer.code(&code_user, &ClientId::parse(CLIENT).unwrap(), now.into());
    door.fleet.clock.advance(TimeDelta::seconds(5));

    let stormy = flag();
    let weather = Arc::new(Weather::new(dice.clone(), if stormy { 12 } else { 0 }));
    let router = by_rail(&door, &weather);
    let handed_out = RefCell::new(Tokens { access: vec![access.clone()], refresh: vec![refresh.clone()] });
    let refreshing = async {
        let mut next = refresh.clone();
        for _ in 0..2 {
            let fields = [("grant_type", "refresh_token"), ("refresh_token", next.as_str()), ("client_id", CLIENT)];
            let answer = send(&router, form("/oauth/token", &fields)).await;
            if answer.status == StatusCode::OK {
                next = handed_out.borrow_mut().take(&answer).unwrap_or(next);
            }
        }
    };
    // A code of a sign-in of before: it falls under a logout of everything.
    let exchanging = async {
        if how == Ending::LogoutAll {
            let fields = [("grant_type", "authorization_code"), ("code", code.as_str()), ("client_id", CLIENT)];
            let answer = send(&router, form("/oauth/token", &fields)).await;
            if answer.status == StatusCode::OK && habits.says_auth_time {
                handed_out.borrow_mut().take(&answer);
            }
        }
    };
    let ending_it = async {
        for attempt in 0.. {
            if attempt == 20 {
                weather.calm();
            }
            let answer = send(&router, ending(how, &access, &refresh, session.as_str())).await;
            if is_over(answer.status, weather.is_calm()) {
                return;
            }
            assert!(attempt < 25, "seed {seed}: {how:?} never succeeds: {answer:?}");
        }
    };
    let clock = door.fleet.clock.clone();
    let time = || {
        if dice.roll(8) == 0 {
            clock.advance(TimeDelta::seconds(1));
        }
    };
    interleave(&dice, vec![Box::pin(refreshing), Box::pin(exchanging), Box::pin(ending_it)], time);
    weather.calm();

    let tokens = handed_out.into_inner();
    let context = format!("seed {seed}, {how:?}, {habits:?}, {ahead} s ahead, at {}", door.fleet.clock.now());
    // Whoever asks with an access token cannot ask again once that is ended: then the row may outlive its tokens.
    if how == Ending::RevokedRefresh || !stormy {
        let row = door.fleet.store.session(&code_user, &session).await.unwrap();
        assert!(row.is_none_or(|row| row.ended_by.is_some()), "{context}: the session survived");
    }
    for token in &tokens.access {
        assert!(!is_good(&door, token).await, "{context}: {token} survived");
    }
    for token in &tokens.refresh {
        let answer = door.refresh(token).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{context}: {token} was refreshed: {answer:?}");
    }
    assert_eq!(is_good(&door, &other_session).await, how != Ending::LogoutAll, "{context}: the other session");
    assert!(is_good(&door, &other_user).await, "{context}: another user");
}

#[test]
fn oauth_1_in_10_000_interleavings_no_token_of_an_ended_sign_in_survives_a_refresh_at_the_same_moment() {
    let now = domain::time::from_millis(1_767_225_600_000);
    let threads = 2;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                for seed in (thread..10_000).step_by(usize::try_from(threads).unwrap()) {
                    runtime.block_on(one(seed, now));
                }
            });
        }
    });
}
