//! Starts the ingest on Lambda.
use std::sync::Arc;

use adapters::{aws, denylist::RedisDenylist, dynamodb::Dynamo};
use domain::{deny::Denier, ingest::Ingest, sign_out::SignOuts, source::SystemIds, time::SystemClock};
use lambda_kit::{config, telemetry};
use lambda_runtime::service_fn;

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let aws = aws::config().await;
    let store = Arc::new(Dynamo::new(&aws, config::tables()?));
    let cache = Arc::new(RedisDenylist::connect(&aws, config::cache()?, Arc::new(SystemClock))?);
    tokio::join!(store.warm_up(), cache.warm_up());
    let denier = Denier { denylist: store.clone(), cache, ids: Arc::new(SystemIds), limits: config::limits()? };
    let sign_outs = SignOuts { tokens: store.clone(), denier, clock: Arc::new(SystemClock) };
    let ingest = Ingest { records: store, sign_outs };
    lambda_runtime::run(service_fn(|event| ingest::handle(event, &ingest))).await
}
