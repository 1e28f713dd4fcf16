//! Every port's contract, against memory, a DynamoDB of the test's own, the stack's DynamoDB and a real Redis.

use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use domain::cutoff::{Basis, Cutoff, Kinds, Scope, Spares};
use domain::ids::{JobId, UserId};
use domain::testing::{Memory, contract};
use domain::time::{Clock as _, Epoch, SystemClock};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use tests::environment::unique;
use tests::redis_server::RedisServer;
use tests::store::Store;

fn now() -> chrono::DateTime<Utc> {
    SystemClock.now()
}

#[tokio::test]
async fn memory_keeps_the_contracts_of_all_stores() {
    contract::all_stores(Arc::new(Memory::default()), &unique("m"), now()).await;
}

#[tokio::test]
async fn dynamodb_keeps_the_contracts_of_all_stores() {
    contract::all_stores(Store::start().await.dynamo().await, &unique("d"), now()).await;
}

#[tokio::test]
async fn memory_keeps_the_contract_of_the_cache() {
    contract::denylist_cache(&Memory::default(), &unique("m"), now().timestamp()).await;
}

#[tokio::test]
async fn redis_keeps_the_contract_of_the_cache() {
    let redis = RedisServer::start();
    let cache = redis.denylist(Arc::new(SystemClock)).await;
    contract::denylist_cache(cache.as_ref(), &unique("r"), now().timestamp()).await;
}

fn cutoffs(now: i64) -> impl Strategy<Value = Vec<Cutoff>> {
    let one = (0..2u8, any::<bool>(), 0..3usize, any::<bool>(), any::<bool>(), 0..30i64, 1..40i64, 0..3u8);
    let one = one.prop_map(move |(user, basis, kinds, service_tokens, listed_users, at, life, job)| Cutoff {
        scope: Scope::User(UserId::parse(format!("u{user}")).unwrap()),
        basis: if basis { Basis::SignIn } else { Basis::Issued },
        kinds: [Kinds::Both, Kinds::AccessOnly, Kinds::RefreshOnly][kinds],
        spares: Spares { service_tokens, listed_users },
        at: Epoch(now - at),
        job: JobId::parse(format!("j{job}")).unwrap(),
        retires_at: Epoch(now + 100 + life),
    });
    prop::collection::vec(one, 1..12)
}

#[tokio::test]
async fn cut_3_redis_merges_cutoffs_exactly_as_the_domain_does() {
    let mut redis = RedisServer::start();
    let now = now().timestamp();
    let mut runner = TestRunner::deterministic();
    for _ in 0..150 {
        let cache = redis.denylist(Arc::new(SystemClock)).await;
        let mut cutoffs = cutoffs(now).new_tree(&mut runner).unwrap().current();
        // Of two jobs at the same second either may be named; the refusal is the same.
        cutoffs.sort_by_key(|cutoff| (cutoff.at, cutoff.job.clone()));
        cutoffs.dedup_by_key(|cutoff| (cutoff.at, cutoff.variety(), cutoff.scope.clone()));
        let run = "j";
        let mut token = contract::facts("x", "t", now);
        token.user = Some(UserId::parse("u1").unwrap());
        contract::cache_merges_like_the_domain(cache.as_ref(), run, &cutoffs, &token).await;
        drop(cache);
        redis.stop();
        redis.run();
    }
}

#[tokio::test]
async fn cut_5_an_entry_lives_until_it_retires_and_not_longer() {
    let redis = RedisServer::start();
    let cache = redis.denylist(Arc::new(SystemClock)).await;
    let retires_at = Epoch::from(now() + TimeDelta::seconds(5_000));
    let cutoff = Cutoff {
        scope: Scope::Everything,
        basis: Basis::SignIn,
        kinds: Kinds::Both,
        spares: Spares::default(),
        at: Epoch::from(now()),
        job: JobId::parse("j").unwrap(),
        retires_at,
    };
    let older = Cutoff { at: cutoff.at.plus(-50), retires_at: retires_at.plus(900), ..cutoff.clone() };
    domain::ports::DenylistCache::put_cutoffs(cache.as_ref(), &[cutoff, older]).await.unwrap();
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let left: i64 = redis::cmd("TTL").arg("bl:c:ALL").query_async(&mut connection).await.unwrap();
    let wanted = retires_at.plus(900).0 - now().timestamp();
    assert!((wanted - left).abs() <= 1, "{left} s left, not {wanted}");
}

#[tokio::test]
async fn cut_5_a_cutoff_that_no_replica_has_is_not_written_and_the_marker_is_only_leased() {
    let redis = RedisServer::start();
    let cutoff = Cutoff {
        scope: Scope::Everything,
        basis: Basis::SignIn,
        kinds: Kinds::Both,
        spares: Spares::default(),
        at: Epoch::from(now()),
        job: JobId::parse("j").unwrap(),
        retires_at: Epoch::from(now()).plus(1_000),
    };
    let alone = redis.denylist_of(Arc::new(SystemClock), 1).await;
    let written = domain::ports::DenylistCache::put_cutoffs(alone.as_ref(), &[cutoff]).await;
    assert!(written.unwrap_err().to_string().contains("0 of 1 replicas"));

    domain::ports::DenylistCache::begin_rebuild(alone.as_ref(), "b").await.unwrap();
    assert!(domain::ports::DenylistCache::finish_rebuild(alone.as_ref(), "b", "g").await.unwrap());
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let lease: i64 = redis::cmd("TTL").arg("bl:marker").query_async(&mut connection).await.unwrap();
    let longest = i64::try_from(domain::guard::LEASE_SECONDS).unwrap();
    assert!((1..=longest).contains(&lease), "{lease} s");
}
