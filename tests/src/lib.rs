//! The test kit: real stores on free ports, the real binaries behind a Lambda Runtime API of our own, and companies
//! whose outcome is known beforehand.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a failed unwrap is a failed test"
)]

pub mod bench;
pub mod company;
pub mod door;
pub mod environment;
pub mod fleet;
pub mod foreign;
pub mod function;
pub mod inventory;
pub mod invoke;
pub mod mint;
pub mod openapi;
pub mod proxy;
pub mod redis_server;
pub mod sink;
pub mod slow_link;
pub mod soak;
pub mod store;
pub mod verifier;

pub use simulation::{estate, rail};
