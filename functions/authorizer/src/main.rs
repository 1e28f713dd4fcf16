//! Starts the authorizer on Lambda. It stands before every request of other APIs, so that nothing happens here that can
//! wait: the AWS SDK comes into being if it is ever needed.
use std::sync::Arc;
use std::time::Duration;

use adapters::{aws, denylist::RedisDenylist, dynamodb::lazy::LazyDynamo, oidc_lazy::LazyVerifier};
use authorizer::Deps;
use domain::{check::Checker, inspect::Inspector, time::SystemClock};
use lambda_kit::{config, telemetry};
use lambda_runtime::service_fn;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let (aws, clock) = (aws::environment(config::region()?, config::aws_endpoint()), Arc::new(SystemClock));
    let cache = Arc::new(RedisDenylist::connect(&aws, config::cache()?, clock.clone())?);
    let store = Arc::new(LazyDynamo::new(aws, config::tables()?));
    let verifier = Arc::new(LazyVerifier::new(config::issuer()?, clock.clone()));
    let (connecting, reading) = (cache.clone(), verifier.clone());
    // Not before the runtime has asked for its first event; whoever asks earlier does it, or waits for it.
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(1)).await;
        tokio::task::spawn_blocking(move || reading.warm_up());
        connecting.warm_up().await;
    });
    let checker = Checker::new(cache, store.clone(), clock.clone(), config::limits()?);
    let inspector = Inspector { checker, verifier, lookup: store, authorities: Arc::new([]), clock: clock.clone() };
    let deps = Deps { inspector, clock, budget: Duration::from_secs(8) };
    lambda_runtime::run(service_fn(|event| authorizer::handle(event, &deps))).await
}
