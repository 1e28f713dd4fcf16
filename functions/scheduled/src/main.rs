//! Starts the scheduled work on Lambda.
use std::sync::Arc;

use adapters::s3::{S3Heads, S3Reports};
use adapters::{aws, denylist::RedisDenylist, dynamodb::Dynamo, elasticache::ElastiCache, ses::SesPost, sqs::Sqs};
use domain::{accept::Acceptor, audit::Auditor, audit::alarm::Alarm, effect::Effector, estimate::Estimator};
use domain::{redrive::Redriver, source::SystemIds, time::SystemClock};
use lambda_kit::{config, telemetry};
use lambda_runtime::service_fn;
use scheduled::{AccountKeeper, Around, AuditKeeper, Deps, MonthlyReport};

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let (aws, clock, ids) = (aws::config().await, Arc::new(SystemClock), Arc::new(SystemIds));
    let store = Arc::new(Dynamo::new(&aws, config::tables()?));
    let settings = config::cache()?;
    let (replicas, cache_service) = (settings.replicas, Arc::new(ElastiCache::new(&aws, config::cache_id()?)));
    let cache = Arc::new(RedisDenylist::connect(&aws, settings, clock.clone())?);
    let queue = Arc::new(Sqs::new(&aws, Some(config::plan_queues()?), Some(config::chunk_queues()?)));
    let (jobs, denylist, limits) = (store.clone(), store.clone(), config::limits()?);
    let redriver = Redriver { jobs: jobs.clone(), denylist: store.clone(), queue: queue.clone(), clock: clock.clone() };
    let auditor = Auditor { log: store.clone(), clock: clock.clone(), ids: ids.clone() };
    let effector = Effector { jobs, denylist, cache: cache.clone(), clock: clock.clone(), ids: ids.clone(), limits };
    let estimator = Estimator { directory: store.clone(), tokens: store.clone() };
    let acceptor = Acceptor { directory: store.clone(), estimator, effector, queue, auditor };
    let heads = Arc::new(S3Heads::new(&aws, config::audit_heads_bucket()?));
    let reports = Arc::new(S3Reports::new(&aws, config::reports_bucket()?));
    let mailer = Arc::new(SesPost::new(&aws, config::mail_from()?, None, clock.clone()));
    let alarm = Alarm { auditor: acceptor.auditor.clone(), jobs: store.clone() };
    let around = Around { heads: heads.clone(), reports, mailer, clock: clock.clone() };
    let report = MonthlyReport::new(&store, around, config::report_zone()?, config::auditors()?);
    let audit = AuditKeeper::new(store.clone(), heads, alarm.clone(), report);
    let providers = adapters::accounts::world(&aws, config::app_secret()?, clock.clone());
    let mail = AccountKeeper::new(&store, providers, clock.clone(), ids.clone(), limits);
    let (clean_up, denylist) = (config::clean_up()?, store);
    let deps =
        Deps { redriver, acceptor, clean_up, denylist, cache, cache_service, replicas, audit, alarm, mail, clock, ids };
    lambda_runtime::run(service_fn(|event| scheduled::handle(event, &deps))).await
}
