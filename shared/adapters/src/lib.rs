//! The outside world behind the domain's ports: the only crate that names an AWS SDK, Redis or an HTTP client.
//!
//! How to add another adapter: implement the port, and call its contract suite (`domain::testing::contract`) from
//! `tests/it/contracts.rs`.

pub mod aws;
pub mod denylist;
pub mod dynamodb;
pub mod http;
pub mod oidc;
pub mod oidc_lazy;
pub mod ses;
pub mod sqs;
pub mod vault;

#[cfg(test)]
mod answering;
