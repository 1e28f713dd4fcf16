//! Starts the batch-logout API on Lambda.
use std::sync::Arc;

use adapters::{aws, denylist::RedisDenylist, dynamodb::Dynamo, http::Http, oidc::JwtVerifier, sqs::Sqs};
use admin_api::{Deps, router};
use domain::{accept::Acceptor, check::Checker, inspect::Inspector, source::SystemIds, time::SystemClock};
use lambda_kit::{caller::Callers, config, telemetry};

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    telemetry::init();
    let (aws, clock, limits) = (aws::config().await, Arc::new(SystemClock), config::limits()?);
    let store = Arc::new(Dynamo::new(&aws, config::tables()?));
    let cache = Arc::new(RedisDenylist::connect(&aws, config::cache()?, clock.clone())?);
    let verifier = Arc::new(JwtVerifier::new(config::issuer()?, Http::new()?, clock.clone()));
    let queue = Arc::new(Sqs::new(&aws, config::plan_queue()?, String::new()));
    tokio::join!(store.warm_up(), cache.warm_up());
    let checker = Checker::new(cache, store.clone(), clock.clone(), limits);
    let inspector = Inspector { checker, verifier, tokens: store.clone() };
    let callers = Callers { inspector, directory: store.clone(), clock: clock.clone() };
    let (directory, tokens, jobs, ids) = (store.clone(), store.clone(), store, Arc::new(SystemIds));
    let acceptor = Acceptor { directory, tokens, jobs, queue, clock, ids, limits };
    lambda_http::run(router(Deps { callers, acceptor }, &config::cors_origins())).await
}
