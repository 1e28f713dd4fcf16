//! The whole check of a JWT, denylist and signature with the key at hand, against one bare Redis round trip and against
//! the signature alone.

use std::sync::Arc;
use std::time::Instant;

use domain::check::Checker;
use domain::ids::RawToken;
use domain::inspect::Inspector;
use domain::ports::DenylistCache as _;
use domain::testing::Memory;
use domain::time::{Clock as _, Epoch, SystemClock};
use futures::stream::{self, StreamExt as _};
use redis::aio::ConnectionManager;

use super::check::{Samples, micros, percentiles};
use super::figure::{Figure, number};
use crate::fleet::LIMITS;
use crate::mint::Mint;
use crate::redis_server::RedisServer;

const ROUNDS: usize = 10;
const CHECKS: usize = 1_000;
const AT_ONCE: usize = 64;

struct Setup {
    inspector: Inspector,
    token: RawToken,
    bare: ConnectionManager,
    /// The issuer and the server, which end with it.
    _kept: (Mint, RedisServer),
}

async fn set_up() -> Setup {
    let (redis, clock, mint) = (RedisServer::start(), Arc::new(SystemClock), Mint::start().await);
    let cache = redis.denylist(clock.clone()).await;
    cache.begin_rebuild("b").await.unwrap();
    assert!(cache.finish_rebuild("b", "g").await.unwrap());
    // Never asked: the cache is complete.
    let store = Arc::new(Memory::default());
    let inspector = Inspector {
        checker: Checker::new(cache, store.clone(), clock.clone(), LIMITS),
        verifier: mint.verifier(clock.clone()),
        lookup: store,
        authorities: Arc::new([]),
        clock: clock.clone(),
    };
    let token = RawToken::new(mint.sign(&mint.claims("user", "web", "session", Epoch::from(clock.now()))));
    let client = redis::Client::open(redis.url()).unwrap();
    let mut bare = ConnectionManager::new(client).await.unwrap();
    redis::cmd("SET").arg("bare").arg("1").query_async::<()>(&mut bare).await.unwrap();
    Setup { inspector, token, bare, _kept: (mint, redis) }
}

impl Setup {
    async fn check(&self) {
        let inspected = self.inspector.inspect(&self.token).await.unwrap();
        assert!(inspected.verdict.is_ok() && inspected.degraded.is_none(), "{inspected:?}");
    }

    async fn get(&self) {
        let mut bare = self.bare.clone();
        let value: Option<String> = redis::cmd("GET").arg("bare").query_async(&mut bare).await.unwrap();
        assert!(value.is_some());
    }

    async fn verify(&self) {
        self.inspector.verifier.verify(&self.token).await.unwrap();
    }
}

/// How often a second some work can be done, many at a time.
async fn per_second<F: Future<Output = ()>>(work: impl Fn() -> F) -> f64 {
    let begun = Instant::now();
    stream::iter(0..CHECKS).for_each_concurrent(AT_ONCE, |_| work()).await;
    number(CHECKS) / begun.elapsed().as_secs_f64()
}

/// One thread does it all, so that a second is a second of one core. Of each round: checks, bare calls, signatures.
fn on_one_core() -> Vec<[f64; 3]> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let setup = set_up().await;
        setup.check().await;
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let checks = per_second(|| setup.check()).await;
            let gets = per_second(|| setup.get()).await;
            rounds.push([checks, gets, per_second(|| setup.verify()).await]);
        }
        rounds
    })
}

/// Measures, one check, one bare call and one signature in turn, and then many at once.
pub async fn run() -> Vec<Figure> {
    let setup = set_up().await;
    let (mut by_get, mut by_signature) = (vec![Samples::default(); ROUNDS], vec![Samples::default(); ROUNDS]);
    for (get, signature) in by_get.iter_mut().zip(&mut by_signature) {
        for _ in 0..CHECKS {
            get.1.push(micros(setup.get()).await);
            let check = micros(setup.check()).await;
            get.0.push(check);
            signature.0.push(check);
            signature.1.push(micros(setup.verify()).await);
        }
    }
    let name = "whole check of a JWT: denylist and RS256 signature";
    let mut figures = percentiles(name, "one bare GET", by_get);
    figures.extend(percentiles(name, "the signature alone", by_signature));
    let rounds = tokio::task::spawn_blocking(on_one_core).await.unwrap();
    figures.extend([("bare GETs", 1), ("signatures alone", 2)].map(|(peer, at)| {
        let name = format!("whole checks per second on one core, {AT_ONCE} at a time");
        Figure::measured(name, "/s", peer, rounds.iter().map(|round| (round[0], round[at])).collect())
    }));
    figures
}
