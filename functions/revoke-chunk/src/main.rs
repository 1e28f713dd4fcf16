//! Starts the settling worker on Lambda.
use std::sync::Arc;

use adapters::{aws, denylist::RedisDenylist, dynamodb::Dynamo, sqs::Sqs};
use domain::{settle::Settler, source::SystemIds, time::SystemClock};
use lambda_kit::{config, telemetry};
use lambda_runtime::service_fn;

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let (aws, clock) = (aws::config().await, Arc::new(SystemClock));
    let store = Arc::new(Dynamo::new(&aws::patient(&aws), config::tables()?));
    let cache = Arc::new(RedisDenylist::connect(&aws, config::cache()?, clock.clone())?);
    let queue = Arc::new(Sqs::new(&aws, None, Some(config::chunk_queues()?)).with_notices(config::notice_queue()?));
    tokio::join!(store.warm_up(), cache.warm_up());
    let (tokens, jobs, denylist) = (store.clone(), store.clone(), store);
    let settler = Settler { tokens, jobs, denylist, cache, queue, clock, ids: Arc::new(SystemIds) };
    lambda_runtime::run(service_fn(|event| revoke_chunk::handle(event, &settler))).await
}
