//! Starts the worker of account sign-ins on Lambda.
use std::sync::Arc;

use adapters::{accounts, aws, dynamodb::Dynamo};
use domain::accounts::{Keeper, exchange::Exchanger};
use domain::{audit::Auditor, source::SystemIds, time::SystemClock};
use lambda_kit::{config, telemetry};
use lambda_runtime::service_fn;

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let (aws, clock, ids) = (aws::config().await, Arc::new(SystemClock), Arc::new(SystemIds));
    let store = Arc::new(Dynamo::new(&aws, config::tables()?));
    let (provider, secrets, vault) = accounts::world(&aws, config::app_secret()?, clock.clone());
    let keeper = Keeper::new(&store, vault.clone(), clock.clone(), ids.clone(), config::limits()?);
    let auditor = Auditor { log: store.clone(), clock: clock.clone(), ids: ids.clone() };
    store.warm_up().await;
    let exchanger = Exchanger { store, keeper, provider, secrets, vault, auditor, clock, ids };
    lambda_runtime::run(service_fn(|event| account_sign_in::handle(event, &exchanger))).await
}
