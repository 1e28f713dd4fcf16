//! Starts the planner on Lambda.
use std::sync::Arc;

use adapters::{aws, denylist::RedisDenylist, dynamodb::Dynamo, sqs::Sqs};
use domain::{effect::Effector, plan::Planner, source::SystemIds, time::SystemClock};
use lambda_kit::{config, telemetry};
use lambda_runtime::service_fn;

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let (aws, clock) = (aws::config().await, Arc::new(SystemClock));
    let store = Arc::new(Dynamo::new(&aws, config::tables()?));
    let cache = Arc::new(RedisDenylist::connect(&aws, config::cache()?, clock.clone())?);
    let queue = Arc::new(Sqs::new(&aws, Some(config::plan_queues()?), Some(config::chunk_queues()?)));
    tokio::join!(store.warm_up(), cache.warm_up());
    let (jobs, denylist, ids, limits) = (store.clone(), store.clone(), Arc::new(SystemIds), config::limits()?);
    let effector = Effector { jobs, denylist, cache, clock, ids, limits };
    let planner = Planner { directory: store.clone(), tokens: store, effector, queue };
    lambda_runtime::run(service_fn(|event| plan_job::handle(event, &planner))).await
}
