//! Starts the authorizer on Lambda. It stands before every request of other APIs, so that nothing happens here that can
//! wait: connections, certificates and keys come in beside the runtime's start, the AWS SDK if it is ever needed.
use std::sync::Arc;
use std::time::Duration;

use adapters::{aws, denylist::RedisDenylist, dynamodb::lazy::LazyDynamo, http::Http, inspector::inspector};
use adapters::{oidc::JwtVerifier, upstream::Discovery, upstream::Limits};
use authorizer::Deps;
use domain::{check::Checker, time::SystemClock};
use lambda_kit::{config, telemetry};
use lambda_runtime::service_fn;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let (aws, clock) = (aws::environment(config::region()?, config::aws_endpoint()), Arc::new(SystemClock));
    let (issuer, kinds) = (config::issuer()?, config::authorities()?);
    let cache = Arc::new(RedisDenylist::connect(&aws, config::cache()?, clock.clone())?);
    let store = Arc::new(LazyDynamo::new(aws, config::tables()?));
    let discovery = Discovery::new(&issuer, config::endpoints()?, Http::new(), clock.clone());
    let discovery = Arc::new(discovery.with_limits(Limits::of_a_check()));
    let verifier = Arc::new(JwtVerifier::with_discovery(issuer.clone(), discovery.clone()));
    let (connecting, fetching) = (cache.clone(), verifier.clone());
    tokio::spawn(async move {
        // The runtime asks for its first event in the meantime.
        tokio::time::sleep(Duration::from_millis(1)).await;
        tokio::join!(connecting.warm_up(), fetching.warm_up());
    });
    let checker = Checker::new(cache, store.clone(), clock.clone(), config::limits()?);
    let inspector = inspector(&issuer, &kinds, &discovery, verifier, store, checker, clock.clone());
    let deps = Deps { inspector, clock, budget: Duration::from_secs(8) };
    lambda_runtime::run(service_fn(|event| authorizer::handle(event, &deps))).await
}
