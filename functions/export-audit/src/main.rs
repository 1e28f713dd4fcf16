//! Starts the audit trail's export on Lambda.
use std::sync::Arc;

use adapters::{aws, dynamodb, dynamodb::Dynamo, outlet::SqsOutlet, ses::Ses};
use domain::siem::{Exporter, alert::Alerter};
use domain::time::SystemClock;
use export_audit::Deps;
use lambda_kit::{config, telemetry};
use lambda_runtime::service_fn;

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let aws = aws::config().await;
    let store = Arc::new(Dynamo::new(&aws, config::tables()?));
    let outlet = Arc::new(SqsOutlet::new(&aws, config::outlets()?));
    let mailer = Arc::new(Ses::new(&aws, config::mail_from()?));
    let exporter = Exporter { outlet, trail: store.clone(), clock: Arc::new(SystemClock) };
    let alerter = Alerter { jobs: store, mailer, team: config::security_team() };
    let deps = Deps { exporter, alerter, of_stream: dynamodb::audit::of_stream };
    lambda_runtime::run(service_fn(|event| export_audit::handle(event, &deps))).await
}
