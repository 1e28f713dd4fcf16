//! The denylist check against one bare Redis round trip.

use std::sync::Arc;
use std::time::Instant;

use domain::cutoff::{Basis, Cutoff, Kinds, Scope, Spares};
use domain::ids::JobId;
use domain::ports::DenylistCache as _;
use domain::testing::contract;
use domain::time::{Clock as _, Epoch, SystemClock};

use super::figure::{Figure, percentile};
use crate::redis_server::RedisServer;

const ROUNDS: usize = 10;
const CHECKS: usize = 2_000;

/// The samples of a round, in microseconds: what is measured, and its floor.
pub type Samples = (Vec<f64>, Vec<f64>);

/// The median and the ninety-ninth percentile of each round.
pub fn percentiles(name: &str, floor: &str, mut rounds: Vec<Samples>) -> Vec<Figure> {
    let mut at = |share| {
        let both = |(taken, floors): &mut Samples| (percentile(taken, share), percentile(floors, share));
        rounds.iter_mut().map(both).collect::<Vec<_>>()
    };
    let (p50, p99) = (at(0.5), at(0.99));
    [("p50", p50), ("p99", p99)]
        .map(|(share, rounds)| Figure::measured(format!("{name}, {share}"), "µs", floor, rounds))
        .to_vec()
}

/// Microseconds that something takes.
pub async fn micros<T>(work: impl Future<Output = T>) -> f64 {
    let begun = Instant::now();
    std::hint::black_box(work.await);
    begun.elapsed().as_secs_f64() * 1e6
}

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

    let mut rounds = vec![Samples::default(); ROUNDS];
    for (checks, floors) in &mut rounds {
        for _ in 0..CHECKS {
            let get = async { redis::cmd("GET").arg("bare").query_async::<String>(&mut bare).await.unwrap() };
            floors.push(micros(get).await);
            checks.push(micros(async { cache.ask(&token).await.unwrap() }).await);
        }
    }
    percentiles("denylist check: eight keys, one with a cutoff", "one bare GET", rounds)
}
