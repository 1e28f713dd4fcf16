//! The outside world of account sign-in: providers, and where clients' secrets are kept.

mod providers;
mod secrets;

pub use providers::Providers;
pub use secrets::AwsSecrets;
