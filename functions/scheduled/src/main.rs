//! Starts the scheduled work on Lambda.
use std::sync::Arc;

use adapters::{aws, denylist::RedisDenylist, dynamodb::Dynamo, sqs::Sqs};
use domain::{redrive::Redriver, source::SystemIds, time::SystemClock};
use lambda_kit::{config, telemetry};
use lambda_runtime::service_fn;
use scheduled::Deps;

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let (aws, clock) = (aws::config().await, Arc::new(SystemClock));
    let store = Arc::new(Dynamo::new(&aws, config::tables()?));
    let cache = Arc::new(RedisDenylist::connect(&aws, config::cache()?, clock.clone())?);
    let queue = Arc::new(Sqs::new(&aws, config::plan_queue()?, config::chunk_queue()?));
    let redriver = Redriver { jobs: store.clone(), denylist: store.clone(), queue, clock: clock.clone() };
    let deps = Deps { redriver, denylist: store, cache, clock, ids: Arc::new(SystemIds) };
    lambda_runtime::run(service_fn(|event| scheduled::handle(event, &deps))).await
}
