//! The outside world behind the domain's ports: the only crate that names an AWS SDK, Redis or an HTTP client.
//!
//! How to add another adapter: implement the port, and call its contract suite (`domain::testing::contract`) from
//! `tests/it/contracts.rs`.

pub mod accounts;
pub mod aws;
pub mod cached_lookup;
pub mod dead_letters;
pub mod denylist;
pub mod dynamodb;
pub mod elasticache;
pub mod http;
pub mod inspector;
pub mod oidc;
pub mod outlet;
pub mod s3;
pub mod ses;
pub mod sqs;
pub mod upstream;
pub mod vault;

mod json;
mod kept;

#[cfg(test)]
mod answering;
#[cfg(test)]
mod serving;
