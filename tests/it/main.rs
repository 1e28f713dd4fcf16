//! One binary of all tests that need more than one crate. `cargo xtask test` runs them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap is a failed test")]

mod accepting;
mod architecture;
mod authorizer;
mod cache_lost;
mod contracts;
mod group_logout;
mod killed_worker;
mod planner_memory;
mod redis_faults;
mod refresh_race;
mod selectors;
mod stack;
