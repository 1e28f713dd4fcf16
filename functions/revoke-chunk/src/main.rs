//! Starts the settling worker on Lambda.
use std::sync::Arc;

use adapters::{aws, dynamodb::Dynamo};
use domain::{settle::Settler, time::SystemClock};
use lambda_kit::{config, telemetry};
use lambda_runtime::service_fn;

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let store = Arc::new(Dynamo::new(&aws::config().await, config::tables()?));
    store.warm_up().await;
    let (tokens, jobs, denylist) = (store.clone(), store.clone(), store);
    let settler = Settler { tokens, jobs, denylist, clock: Arc::new(SystemClock), limits: config::limits()? };
    lambda_runtime::run(service_fn(|event| revoke_chunk::handle(event, &settler))).await
}
