//! One binary of all tests that need more than one crate. `cargo xtask test` runs them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap is a failed test")]

mod accepting;
mod accounts;
mod architecture;
mod audit_chain;
mod audit_store;
mod authorize;
mod authorizer;
mod cache_lost;
mod contracts;
mod foreign;
mod group_logout;
mod inventory;
mod issuers_sessions;
mod killed_sender;
mod killed_worker;
mod measured;
mod notices;
mod planner_memory;
mod redis_faults;
mod refresh_race;
mod report;
mod rfc_6749;
mod rfc_6750;
mod rfc_7009;
mod rfc_7662;
mod routes;
mod selectors;
mod sessions;
mod siem;
mod stack;
mod template;
