//! Redis away, back and empty, or written to in vain: a covered token is never accepted (`[CUT-5]`, `[CHECK-3]`).

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use domain::check::Degraded;
use domain::conditions::Conditions;
use domain::decision::{Refusal, TokenFacts};
use domain::guard::Guarded;
use domain::ids::{GroupId, UserId};
use domain::job::Job;
use domain::ports::{DenylistCache as _, JobStore as _, NewJob};
use domain::testing::contract;
use domain::time::{Clock as _, SystemClock};
use tests::company::{self, Member, Shape, SignIn, group_name, user_name};
use tests::fleet::{Fleet, RealFleet};
use tests::redis_server::RedisServer;
use tests::store::Store;

const RUN: &str = "r";

/// Users 0 to 149 are in the group, 150 to 159 are not.
fn shape() -> Shape {
    let member = |number: usize| Member {
        groups: [usize::from(number >= 150)].into(),
        role: Some(""),
        is_admin: false,
        sign_ins: vec![SignIn { at: -10, in_token: true, tokens: vec![(true, 1, 5_000, false)] }],
    };
    Shape { parents: vec![None, None], members: (0..160).map(member).collect() }
}

async fn fleet(store: &Store, redis: &RedisServer, now: DateTime<Utc>) -> (RealFleet, Job) {
    let fleet = Fleet::over(store.dynamo().await, redis.denylist(Arc::new(SystemClock)).await, now);
    assert!(matches!(fleet.guard().await.unwrap(), Guarded::Rebuilt { .. }));
    company::write(fleet.store.as_ref(), RUN, &shape(), now.timestamp()).await;
    let group_id = GroupId::parse(group_name(RUN, 0)).unwrap();
    let conditions =
        Conditions::GroupBased { group_id: group_id.clone(), include_subgroups: false, exclude_admin_users: true };
    let job = Job { conditions, ..contract::job("job", &group_id, now) };
    fleet.store.create(NewJob::plain(&job)).await.unwrap();
    (fleet, job)
}

fn token(user: usize, now: DateTime<Utc>) -> TokenFacts {
    let seconds = now.timestamp() - 10;
    TokenFacts { user: Some(user_name(RUN, user)), client: None, session: None, ..contract::facts(RUN, "t", seconds) }
}

/// Those at the edges of the chunks and of the group, and some between.
const ASKED: [usize; 10] = [0, 1, 42, 99, 100, 120, 149, 150, 155, 159];

/// Asks about some of everybody; says how many decisions took the slow way.
async fn check_everybody(fleet: &RealFleet, now: DateTime<Utc>) -> usize {
    let mut degraded = 0;
    for user in ASKED {
        let checked = fleet.checker().check(&token(user, now)).await.unwrap();
        assert_eq!(checked.refusal.is_some(), user < 150, "user {user}: {checked:?}");
        degraded += usize::from(checked.degraded.is_some());
    }
    degraded
}

#[tokio::test]
async fn check_3_without_redis_every_decision_is_right_and_back_and_empty_it_is_not_believed_until_rebuilt() {
    let (store, mut redis, now) = (Store::start().await, RedisServer::start(), SystemClock.now());
    let (fleet, job) = fleet(&store, &redis, now).await;
    fleet.plan(&job.id).await;
    assert_eq!(check_everybody(&fleet, now).await, 0, "Redis answers everything");

    redis.stop();
    let checked = fleet.checker().check(&token(0, now)).await.unwrap();
    assert!(matches!(checked.refusal, Some(Refusal::CutOff(_))));
    assert!(matches!(checked.degraded, Some(Degraded::Unavailable(_))), "{checked:?}");
    assert_eq!(check_everybody(&fleet, now).await, ASKED.len(), "DynamoDB answers everything");

    redis.run();
    assert!(check_everybody(&fleet, now).await >= ASKED.len() - 1, "an empty Redis is not believed");
    assert!(matches!(fleet.guard().await.unwrap(), Guarded::Rebuilt { entries } if entries == 150));
    assert_eq!(check_everybody(&fleet, now).await, 0, "rebuilt");
    assert_eq!(fleet.guard().await.unwrap(), Guarded::Complete);
}

#[tokio::test]
async fn check_3_when_neither_redis_nor_dynamodb_answers_nobody_is_let_in() {
    let (store, mut redis, now) = (Store::start().await, RedisServer::start(), SystemClock.now());
    let (fleet, job) = fleet(&store, &redis, now).await;
    fleet.plan(&job.id).await;
    redis.stop();
    let away = domain::testing::Memory::default();
    away.set_down(true);
    let limits = tests::fleet::LIMITS;
    let checker = domain::check::Checker::new(fleet.cache.clone(), Arc::new(away), fleet.clock.clone(), limits);
    for user in [0, 155] {
        assert!(checker.check(&token(user, now)).await.is_err(), "cannot tell");
    }
}

#[tokio::test]
async fn cut_1_a_job_that_cannot_reach_redis_is_refused_by_dynamodb_and_effective_once_redis_has_it() {
    let (store, mut redis, now) = (Store::start().await, RedisServer::start(), SystemClock.now());
    let (fleet, job) = fleet(&store, &redis, now).await;
    redis.stop();
    let deadline = now + TimeDelta::minutes(5);
    assert!(fleet.planner().plan(&job.id, deadline).await.is_err(), "to be retried");
    let planned = fleet.job(&job.id).await;
    assert_eq!((planned.effective_at, planned.plan.users, planned.emitted), (None, 150, true));
    assert_eq!(fleet.queue.take_chunks().len(), 2, "settling does not wait for Redis");
    assert_eq!(check_everybody(&fleet, now).await, ASKED.len());

    redis.run();
    // The connection may first hand out what its last attempt came to; the queue delivers five times.
    for _ in 0..5 {
        if fleet.planner().plan(&job.id, deadline).await.is_ok() {
            break;
        }
    }
    assert!(fleet.job(&job.id).await.effective_at.is_some());
    assert!(
        check_everybody(&fleet, now).await >= ASKED.len() - 1,
        "Redis has the job's cutoffs, but perhaps not everybody's"
    );
    assert!(matches!(fleet.guard().await.unwrap(), Guarded::Rebuilt { .. }));
    assert_eq!(check_everybody(&fleet, now).await, 0);
}

#[tokio::test]
async fn cut_5_a_restart_an_older_generation_or_a_flush_during_the_rebuild_never_passes_for_complete() {
    let (store, mut redis, now) = (Store::start().await, RedisServer::start(), SystemClock.now());
    let (fleet, job) = fleet(&store, &redis, now).await;
    fleet.plan(&job.id).await;
    let cache = fleet.cache.as_ref();
    // Somebody who could not write has replaced the generation: the marker is not renewed.
    domain::guard::distrust(fleet.store.as_ref(), cache, fleet.ids.as_ref()).await.unwrap();
    assert_eq!(check_everybody(&fleet, now).await, ASKED.len(), "voided at once");
    assert!(matches!(fleet.guard().await.unwrap(), Guarded::Rebuilt { .. }));

    cache.begin_rebuild("b").await.unwrap();
    redis.stop();
    redis.run();
    // The first call may still find the broken connection.
    let finished = cache.finish_rebuild("b", "g").await.or(cache.finish_rebuild("b", "g").await).unwrap();
    assert!(!finished, "what was written before the restart is gone");
    assert_eq!(check_everybody(&fleet, now).await, ASKED.len());
}

#[tokio::test]
async fn an_issuers_own_revocation_reaches_the_denylist_even_while_redis_is_away() {
    let (store, mut redis, now) = (Store::start().await, RedisServer::start(), SystemClock.now());
    let (fleet, _) = fleet(&store, &redis, now).await;
    let ingest = domain::ingest::Ingest { records: fleet.store.clone(), sign_outs: fleet.sign_outs() };
    let token = token(155, now);
    let user: UserId = user_name(RUN, 155);
    let line = |at: i64| {
        format!(
            r#"{{"v":1,"at":{at},"delete":{{"token":{{"id":"{}","user_id":"{user}","client_id":"web","expires_at":{}}}}}}}"#,
            token.id, token.expires_at.0
        )
    };
    redis.stop();
    assert!(ingest.take(&line(now.timestamp_millis())).await.is_err(), "to be retried");
    let refused = fleet.checker().check(&token).await.unwrap();
    assert_eq!(refused.refusal, Some(Refusal::TokenRevoked));
    redis.run();
    ingest.take(&line(now.timestamp_millis())).await.unwrap();
    assert!(matches!(fleet.guard().await.unwrap(), Guarded::Rebuilt { .. }));
    let refused = fleet.checker().check(&token).await.unwrap();
    assert_eq!((refused.refusal, refused.degraded), (Some(Refusal::TokenRevoked), None));
}

#[tokio::test]
async fn cut_5_a_cache_that_would_throw_keys_out_is_not_believed_until_it_does_so_no_more() {
    let (store, redis, now) = (Store::start().await, RedisServer::start(), SystemClock.now());
    let (fleet, job) = fleet(&store, &redis, now).await;
    fleet.plan(&job.id).await;
    assert_eq!(fleet.guard().await.unwrap(), Guarded::Complete);
    redis.say::<()>(&["CONFIG", "SET", "maxmemory-policy", "volatile-lru"]).await;
    let forgetful = Guarded::Forgetful { eviction_policy: "volatile-lru".to_owned() };
    assert_eq!(fleet.guard().await.unwrap(), forgetful);
    assert_eq!(check_everybody(&fleet, now).await, ASKED.len(), "DynamoDB is asked, every time");
    assert_eq!(fleet.guard().await.unwrap(), forgetful, "it is not rebuilt as long as it forgets");
    redis.say::<()>(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    assert!(matches!(fleet.guard().await.unwrap(), Guarded::Rebuilt { .. }));
    assert_eq!(check_everybody(&fleet, now).await, 0);
}

#[tokio::test]
async fn cut_5_a_cache_that_has_thrown_keys_out_is_rebuilt_though_its_marker_stands() {
    let (store, redis, now) = (Store::start().await, RedisServer::start(), SystemClock.now());
    let (fleet, job) = fleet(&store, &redis, now).await;
    fleet.plan(&job.id).await;
    assert_eq!(fleet.guard().await.unwrap(), Guarded::Complete);
    // Full at once, for as long as it takes to throw something out: not the marker, which nobody could miss.
    redis.say::<()>(&["PERSIST", "bl:marker"]).await;
    for (setting, value) in [("maxmemory-policy", "volatile-random"), ("maxmemory", "1")] {
        redis.say::<()>(&["CONFIG", "SET", setting, value]).await;
    }
    // What it threw out when it was told so, or with this try to write.
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let _: Result<(), _> = redis::cmd("SET").arg("x").arg("y").query_async(&mut connection).await;
    for (setting, value) in [("maxmemory", "0"), ("maxmemory-policy", "noeviction")] {
        redis.say::<()>(&["CONFIG", "SET", setting, value]).await;
    }
    assert_eq!(redis.say::<u64>(&["EXISTS", "bl:marker"]).await, 1);
    assert!(fleet.cache.memory().await.unwrap().evicted_keys > 0);
    assert!(matches!(fleet.guard().await.unwrap(), Guarded::Rebuilt { entries } if entries >= 150));
    assert_eq!(check_everybody(&fleet, now).await, 0);
    assert_eq!(fleet.guard().await.unwrap(), Guarded::Complete, "once, not again and again");
}
