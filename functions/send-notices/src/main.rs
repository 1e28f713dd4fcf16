//! Starts the sender of notices on Lambda.
use std::sync::Arc;

use adapters::{aws, dynamodb::Dynamo, ses::SesPost, sqs::Sqs};
use domain::{notify::Notifier, source::SystemIds, time::SystemClock};
use lambda_kit::{config, telemetry};
use lambda_runtime::service_fn;

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let (aws, clock) = (aws::config().await, Arc::new(SystemClock));
    let store = Arc::new(Dynamo::new(&aws, config::tables()?));
    let queue = Arc::new(Sqs::new(&aws, None, None).with_notices(config::notice_queue()?));
    let post = SesPost::new(&aws, config::mail_from()?, config::configuration_set(), clock.clone());
    store.warm_up().await;
    let (jobs, notices, directory, post) = (store.clone(), store.clone(), store, Arc::new(post));
    let (ids, kept) = (Arc::new(SystemIds), Arc::default());
    let notifier = Notifier { jobs, notices, directory, post, queue, clock, ids, kept };
    lambda_runtime::run(service_fn(|event| send_notices::handle(event, &notifier))).await
}
