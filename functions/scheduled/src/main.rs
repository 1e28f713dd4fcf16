//! Starts the scheduled work on Lambda.
use std::sync::Arc;

use adapters::accounts::{AwsSecrets, Providers};
use adapters::{aws, denylist::RedisDenylist, dynamodb::Dynamo, s3::S3Heads, sqs::Sqs, vault::SecretVault};
use domain::{accept::Acceptor, audit::Auditor, effect::Effector, estimate::Estimator};
use domain::{redrive::Redriver, source::SystemIds, time::SystemClock};
use lambda_kit::{config, telemetry};
use lambda_runtime::service_fn;
use scheduled::{AccountKeeper, AuditKeeper, Deps, Outside};

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let (aws, clock, ids) = (aws::config().await, Arc::new(SystemClock), Arc::new(SystemIds));
    let store = Arc::new(Dynamo::new(&aws, config::tables()?));
    let cache = Arc::new(RedisDenylist::connect(&aws, config::cache()?, clock.clone())?);
    let queue = Arc::new(Sqs::new(&aws, Some(config::plan_queues()?), Some(config::chunk_queues()?)));
    let (jobs, denylist, limits) = (store.clone(), store.clone(), config::limits()?);
    let redriver = Redriver { jobs: jobs.clone(), denylist, queue: queue.clone(), clock: clock.clone() };
    let auditor = Auditor { log: store.clone(), clock: clock.clone(), ids: ids.clone() };
    let denylist = store.clone();
    let effector = Effector { jobs, denylist, cache: cache.clone(), clock: clock.clone(), ids: ids.clone(), limits };
    let estimator = Estimator { directory: store.clone(), tokens: store.clone() };
    let acceptor = Acceptor { directory: store.clone(), estimator, effector, queue, auditor };
    let heads = Arc::new(S3Heads::new(&aws, config::audit_heads_bucket()?));
    let audit = AuditKeeper::new(store.clone(), heads, clock.clone());
    let vault = Arc::new(SecretVault::new(&aws, config::app_secret()?, clock.clone()));
    let (provider, secrets) = (Arc::new(Providers::new(clock.clone())), Arc::new(AwsSecrets::new(&aws)));
    let outside = Outside { provider, secrets, vault, clock: clock.clone(), ids: ids.clone(), limits };
    let (accounts, clean_up) = (AccountKeeper::new(&store, outside), config::clean_up()?);
    let deps = Deps { redriver, acceptor, clean_up, denylist: store, cache, audit, accounts, clock, ids };
    lambda_runtime::run(service_fn(|event| scheduled::handle(event, &deps))).await
}
