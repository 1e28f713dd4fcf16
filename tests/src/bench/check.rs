//! The denylist check against one bare Redis round trip.

use std::sync::Arc;
use std::time::Instant;

use domain::cutoff::{Basis, Cutoff, Kinds, Scope, Spares};
use domain::ids::JobId;
use domain::ports::DenylistCache as _;
use domain::testing::contract;
use domain::time::{Clock as _, Epoch, SystemClock};

use super::{Figure, percentile};
use crate::redis_server::RedisServer;

const CHECKS: usize = 20_000;

/// Measures, one check and one bare call in turn.
pub async fn run() -> Vec<Figure> {
    let (redis, clock) = (RedisServer::start(), Arc::new(SystemClock));
    let cache = redis.denylist(clock.clone()).await;
    cache.begin_rebuild("b").await.unwrap();
    assert!(cache.finish_rebuild("b", "g").await.unwrap());
    let now = clock.now().timestamp();
    let token = contract::facts("bench", "t", now);
    let cutoff = Cutoff {
        scope: Scope::User(token.user.clone().unwrap()),
        basis: Basis::SignIn,
        kinds: Kinds::Both,
        spares: Spares::default(),
        at: Epoch(now - 50),
        job: JobId::parse("6f0e3c1e-0000-4000-8000-000000000000").unwrap(),
        retires_at: Epoch(now + 5_000),
    };
    cache.put_cutoffs(&[cutoff]).await.unwrap();
    let client = redis::Client::open(redis.url()).unwrap();
    let mut bare = redis::aio::ConnectionManager::new(client).await.unwrap();
    redis::cmd("SET").arg("bare").arg("1").query_async::<()>(&mut bare).await.unwrap();

    let (mut checks, mut floors) = (Vec::with_capacity(CHECKS), Vec::with_capacity(CHECKS));
    for _ in 0..CHECKS {
        let begun = Instant::now();
        let value: Option<String> = redis::cmd("GET").arg("bare").query_async(&mut bare).await.unwrap();
        floors.push(begun.elapsed().as_secs_f64() * 1e6);
        assert!(value.is_some());
        let begun = Instant::now();
        let answer = cache.ask(&token).await.unwrap();
        checks.push(begun.elapsed().as_secs_f64() * 1e6);
        std::hint::black_box(answer);
    }
    [("p50", 0.5), ("p99", 0.99)]
        .map(|(name, share)| {
            let (check, floor) = (percentile(&mut checks, share), percentile(&mut floors, share));
            Figure {
                name: format!("denylist check, {name}: eight keys, one with a cutoff"),
                value: format!("{check:.0} µs"),
                floor: format!("one bare GET: {floor:.0} µs"),
                ratio: format!("{:.2}", check / floor),
            }
        })
        .to_vec()
}
