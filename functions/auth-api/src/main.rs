//! Starts the user-facing API on Lambda.
use std::sync::Arc;

use adapters::{
    accounts::Providers, aws, denylist::RedisDenylist, dynamodb::Dynamo, http::Http, inspector::inspector, sqs::Sqs,
};
use adapters::{
    oidc::JwtVerifier, upstream::Discovery, upstream::UpstreamClient, upstream::Userinfo, vault::SecretVault,
};
use auth_api::{Deps, Outside, router};
use domain::{check::Checker, source::SystemIds, time::SystemClock};
use lambda_kit::{config, telemetry};

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    telemetry::init();
    let (aws, clock, limits) = (aws::config().await, Arc::new(SystemClock), config::limits()?);
    let (issuer, kinds, session_limits) = (config::issuer()?, config::authorities()?, config::session_limits()?);
    let store = Arc::new(Dynamo::new(&aws, config::tables()?));
    let cache = Arc::new(RedisDenylist::connect(&aws, config::cache()?, clock.clone())?);
    let discovery = Arc::new(Discovery::new(&issuer, config::endpoints()?, Http::new(), clock.clone()));
    let vault = Arc::new(SecretVault::new(&aws, config::app_secret()?, clock.clone()));
    let profiles = Arc::new(Userinfo::new(discovery.clone(), issuer.roles_claim.clone()));
    tokio::join!(store.warm_up(), cache.warm_up());
    let checker = Checker::new(cache.clone(), store.clone(), clock.clone(), limits);
    let verifier = Arc::new(JwtVerifier::with_discovery(issuer.clone(), discovery.clone()));
    let inspector = inspector(&issuer, &kinds, &discovery, verifier, store.clone(), checker, clock.clone());
    let queue = Arc::new(Sqs::new(&aws, None, None).with_exchanges(config::account_queue()?));
    let provider = Arc::new(Providers::new(clock.clone()));
    let (upstream, ids) = (Arc::new(UpstreamClient::new(discovery)), Arc::new(SystemIds));
    let outside =
        Outside { inspector, upstream, profiles, cache, vault, provider, queue, clock, ids, limits, session_limits };
    lambda_http::run(router(Deps::new(&store, outside), &config::cors_origins())).await
}
