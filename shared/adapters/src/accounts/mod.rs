//! The outside world of account sign-in: providers, and where clients' secrets are kept.

use std::sync::Arc;

use aws_config::SdkConfig;
use domain::accounts::ports::{MailProvider, SecretStore};
use domain::time::Clock;
use domain::vault::Vault;

use crate::vault::SecretVault;

mod providers;
mod secrets;

pub use providers::Providers;
pub use secrets::AwsSecrets;

/// Providers, their clients' secrets, and what seals with an application secret: all that tokens are obtained with.
pub fn world(
    config: &SdkConfig,
    app_secret: String,
    clock: Arc<dyn Clock>,
) -> (Arc<dyn MailProvider>, Arc<dyn SecretStore>, Arc<dyn Vault>) {
    let vault = Arc::new(SecretVault::new(config, app_secret, clock.clone()));
    (Arc::new(Providers::new(clock)), Arc::new(AwsSecrets::new(config)), vault)
}
