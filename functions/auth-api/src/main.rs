//! Starts the user-facing API on Lambda.
use std::sync::Arc;

use adapters::{aws, denylist::RedisDenylist, dynamodb::Dynamo, http::Http, oidc::JwtVerifier};
use auth_api::{Deps, router};
use domain::{check::Checker, inspect::Inspector, time::SystemClock};
use lambda_kit::{config, telemetry};

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    telemetry::init();
    let (aws, clock) = (aws::config().await, Arc::new(SystemClock));
    let store = Arc::new(Dynamo::new(&aws, config::tables()?));
    let cache = Arc::new(RedisDenylist::connect(&aws, config::cache()?, clock.clone())?);
    let verifier = Arc::new(JwtVerifier::new(config::issuer()?, Http::new(), clock.clone()));
    tokio::join!(store.warm_up(), cache.warm_up());
    let checker = Checker::new(cache, store.clone(), clock.clone(), config::limits()?);
    let inspector =
        Inspector { checker, verifier, lookup: store.clone(), authorities: Arc::new([]), clock: clock.clone() };
    lambda_http::run(router(Deps { inspector, directory: store, clock }, &config::cors_origins())).await
}
