//! Starts the planner on Lambda.
use std::sync::Arc;

use adapters::{aws, denylist::RedisDenylist, dynamodb::Dynamo, sqs::Sqs};
use domain::{plan::Planner, source::SystemIds, time::SystemClock};
use lambda_kit::{config, telemetry};
use lambda_runtime::service_fn;

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let (aws, clock) = (aws::config().await, Arc::new(SystemClock));
    let store = Arc::new(Dynamo::new(&aws, config::tables()?));
    let cache = Arc::new(RedisDenylist::connect(&aws, config::cache()?, clock.clone())?);
    let queue = Arc::new(Sqs::new(&aws, config::plan_queue()?, config::chunk_queue()?));
    tokio::join!(store.warm_up(), cache.warm_up());
    let (ids, limits) = (Arc::new(SystemIds), config::limits()?);
    let (directory, jobs, denylist) = (store.clone(), store.clone(), store);
    let planner = Planner { directory, jobs, denylist, cache, queue, clock, ids, limits };
    lambda_runtime::run(service_fn(|event| plan_job::handle(event, &planner))).await
}
