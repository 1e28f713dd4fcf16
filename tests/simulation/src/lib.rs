//! A deterministic simulation of the whole flow over the ports, and what it is made of: companies with an oracle that
//! says who must lose what, all workers in one process, and a fault layer between them and their stores.
//!
//! A crate of its own, and an optimised one also in development: a hundred thousand schedules have to fit into a test.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a failed unwrap is a failed test"
)]

pub mod estate;
pub mod fleet;
pub mod rail;
pub mod sim;
