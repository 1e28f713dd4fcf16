//! The entry kit of the functions: what every `main.rs` and every handler needs, and nothing of AWS's services.

pub mod batch;
pub mod caller;
pub mod checked;
pub mod config;
pub mod cors;
pub mod json;
pub mod metrics;
pub mod origin;
pub mod problem;
pub mod rate_headers;
pub mod telemetry;
