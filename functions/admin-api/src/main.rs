//! Starts the batch-logout API on Lambda.
use std::sync::Arc;

use adapters::s3::{S3Heads, S3Reports};
use adapters::{aws, denylist::RedisDenylist, dynamodb::Dynamo, http::Http, inspector::inspector};
use adapters::{oidc::JwtVerifier, ses::Ses, sqs::Sqs, upstream::Discovery, vault::SecretVault};
use admin_api::{Deps, Outside, router};
use domain::{check::Checker, source::SystemIds, time::SystemClock};
use lambda_kit::{caller::Callers, config, telemetry};

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    telemetry::init();
    let (aws, clock, limits) = (aws::config().await, Arc::new(SystemClock), config::limits()?);
    let (issuer, kinds) = (config::issuer()?, config::authorities()?);
    let store = Arc::new(Dynamo::new(&aws, config::tables()?));
    let cache = Arc::new(RedisDenylist::connect(&aws, config::cache()?, clock.clone())?);
    let discovery = Arc::new(Discovery::new(&issuer, config::endpoints()?, Http::new(), clock.clone()));
    let queue = Arc::new(Sqs::new(&aws, Some(config::plan_queues()?), None));
    let vault = Arc::new(SecretVault::new(&aws, config::app_secret()?, clock.clone()));
    let mailer = Arc::new(Ses::new(&aws, config::mail_from()?));
    let heads = Arc::new(S3Heads::new(&aws, config::audit_heads_bucket()?));
    let (reports, zone) = (Arc::new(S3Reports::new(&aws, config::reports_bucket()?)), config::report_zone()?);
    tokio::join!(store.warm_up(), cache.warm_up());
    let checker = Checker::new(cache.clone(), store.clone(), clock.clone(), limits);
    let verifier = Arc::new(JwtVerifier::with_discovery(issuer.clone(), discovery.clone()));
    let inspector = inspector(&issuer, &kinds, &discovery, verifier, store.clone(), checker, clock.clone());
    let callers = Callers { inspector, directory: store.clone(), clock: clock.clone() };
    let ids = Arc::new(SystemIds);
    let outside = Outside { cache, queue, vault, mailer, clock, ids, limits, heads, reports, zone };
    lambda_http::run(router(Deps::new(&store, callers, outside), &config::cors_origins())).await
}
