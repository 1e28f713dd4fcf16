//! The whole check of a JWT, denylist and signature with the key at hand, against one bare Redis round trip.

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

use super::{Figure, percentile};
use crate::fleet::LIMITS;
use crate::mint::Mint;
use crate::redis_server::RedisServer;

const CHECKS: usize = 10_000;
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

#[allow(clippy::cast_precision_loss, reason = "a count")]
fn per_second(begun: Instant) -> f64 {
    CHECKS as f64 / begun.elapsed().as_secs_f64()
}

/// One thread does it all, so that a second is a second of one core.
fn on_one_core() -> (Setup, [f64; 3]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let setup = set_up().await;
        setup.check().await;
        let begun = Instant::now();
        stream::iter(0..CHECKS).for_each_concurrent(AT_ONCE, |_| setup.check()).await;
        let checks = per_second(begun);
        let begun = Instant::now();
        stream::iter(0..CHECKS).for_each_concurrent(AT_ONCE, |_| setup.get()).await;
        let gets = per_second(begun);
        let begun = Instant::now();
        stream::iter(0..CHECKS).for_each_concurrent(AT_ONCE, |_| setup.verify()).await;
        (setup, [checks, gets, per_second(begun)])
    })
}

/// Measures, one check and one bare call in turn, and then many at once.
pub async fn run() -> Vec<Figure> {
    let setup = set_up().await;
    let (mut checks, mut floors) = (Vec::with_capacity(CHECKS), Vec::with_capacity(CHECKS));
    for _ in 0..CHECKS {
        let begun = Instant::now();
        setup.get().await;
        floors.push(begun.elapsed().as_secs_f64() * 1e6);
        let begun = Instant::now();
        setup.check().await;
        checks.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    let latencies = [("p50", 0.5), ("p99", 0.99)].map(|(name, share)| {
        let (check, floor) = (percentile(&mut checks, share), percentile(&mut floors, share));
        Figure {
            name: format!("whole check of a JWT, {name}: denylist and RS256 signature"),
            value: format!("{check:.0} µs"),
            floor: format!("one bare GET: {floor:.0} µs"),
            ratio: format!("{:.2}", check / floor),
        }
    });
    let throughput = tokio::task::spawn_blocking(on_one_core).await.unwrap().1;
    let [check, get, verify] = throughput;
    let rates = [("bare GETs", get), ("signatures alone", verify)].map(|(peer, rate)| Figure {
        name: format!("whole checks per second on one core, {AT_ONCE} at a time"),
        value: format!("{check:.0}"),
        floor: format!("{peer}: {rate:.0}"),
        ratio: format!("{:.2}", check / rate),
    });
    latencies.into_iter().chain(rates).collect()
}
