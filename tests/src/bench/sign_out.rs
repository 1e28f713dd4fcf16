//! Signing out everywhere, with few tokens and with many: when the last verifier refuses them, and when the answer comes.

use std::sync::Arc;
use std::time::Instant;

use domain::decision::TokenFacts;
use domain::ids::{SessionId, TokenId, UserId};
use domain::ports::SignInStore as _;
use domain::testing::{Habits, contract};
use domain::time::{Clock as _, Epoch, SystemClock};
use domain::token::{Owner, RevokedBy, TokenKind, TokenRow};

use super::figure::Figure;
use crate::door::{CLIENT, Door};
use crate::fleet::{Fleet, RealFleet};
use crate::redis_server::RedisServer;
use crate::store::Store;

const USERS: usize = 9;

async fn user_with(fleet: &RealFleet, name: String, tokens: usize, now: Epoch) -> UserId {
    let user = UserId::parse(name).unwrap();
    let row = |number: usize| TokenRow {
        id: TokenId::parse(format!("{user}-{number}")).unwrap(),
        owner: Owner::User(user.clone()),
        kind: TokenKind::Access,
        client: CLIENT.to_owned().try_into().unwrap(),
        session: Some(SessionId::parse(format!("{user}-s")).unwrap()),
        opaque: false,
        issued_at: now.plus(-10),
        signed_in_at: Some(now.plus(-10)),
        expires_at: now.plus(3_600),
        last_used_at: None,
        scope: None,
        revoked: None,
    };
    let rows: Vec<TokenRow> = (0..tokens).map(row).collect();
    for rows in rows.chunks(50) {
        fleet.store.add_tokens(rows).await.unwrap();
    }
    user
}

/// Milliseconds from the call until a verifier refuses, and until the answer.
async fn one(
    door: &Door<adapters::dynamodb::Dynamo, adapters::denylist::RedisDenylist>,
    user: UserId,
    now: Epoch,
) -> (f64, f64) {
    let (sign_outs, checker) = (door.fleet.sign_outs(), door.fleet.checker());
    let facts = contract::facts(user.as_str(), "t", now.plus(-10).0);
    let facts = TokenFacts { user: Some(user.clone()), client: None, session: None, ..facts };
    assert_eq!(checker.check(&facts).await.unwrap().refusal, None);
    let begun = Instant::now();
    let ending = tokio::spawn(async move { sign_outs.everything(&user, &RevokedBy::User, None).await.unwrap() });
    while checker.check(&facts).await.unwrap().refusal.is_none() {
        tokio::task::yield_now().await;
    }
    let effective = begun.elapsed().as_secs_f64() * 1e3;
    ending.await.unwrap();
    (effective, begun.elapsed().as_secs_f64() * 1e3)
}

/// Measures users with few tokens and with many in turn.
pub async fn run() -> Vec<Figure> {
    let (store, redis, clock) = (Store::start().await, RedisServer::start(), Arc::new(SystemClock));
    let now = clock.now();
    let fleet = Fleet::over(store.dynamo().await, redis.denylist(clock).await, now);
    fleet.guard().await.unwrap();
    let door = Door::over(fleet, Habits::default());
    let now = Epoch::from(now);
    let (mut effective, mut answered) = (Vec::new(), Vec::new());
    for number in 0..USERS {
        let mut times = Vec::new();
        for tokens in [10, 1_000] {
            let user = user_with(&door.fleet, format!("u{number}-{tokens}"), tokens, now).await;
            times.push(one(&door, user, now).await);
        }
        let (few, many) = (times[0], times[1]);
        effective.push((many.0, few.0));
        answered.push((many.1, few.1));
    }
    let figure = |name: &str, rounds| {
        Figure::measured(format!("sign-out everywhere, 1,000 tokens: {name}"), "ms", "10 tokens", rounds)
    };
    vec![figure("until every verifier refuses", effective), figure("until the answer, all rows settled", answered)]
}
