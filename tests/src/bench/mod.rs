//! Benchmarks. Machines are noisy: each figure is a ratio to a floor or peer, measured in turn with it in the same run, in
//! several rounds; read the ratios and their quartiles.
//!
//! To add one: a module with a `run` that gives back [`Figure`](figure::Figure)s, and its name in [`GROUPS`].

pub mod check;
pub mod cost;
pub mod effective;
pub mod emergency;
pub mod fan_out;
pub mod figure;
pub mod functions;
pub mod goodput;
pub mod job;
pub mod memory;
pub mod meter;
pub mod scale;
pub mod settle;
pub mod sign_out;
pub mod throttle;
pub mod whole_check;

use figure::Figure;

/// The groups of figures, in the order of the table.
pub const GROUPS: [&str; 12] = [
    "emergency",
    "effective",
    "sign-out",
    "settle",
    "scale",
    "goodput",
    "fan-out",
    "cost",
    "check",
    "whole-check",
    "functions",
    "memory",
];

/// Measures a group.
pub async fn run(group: &str) -> Vec<Figure> {
    match group {
        "emergency" => emergency::run().await,
        "effective" => effective::run().await,
        "sign-out" => sign_out::run().await,
        "settle" => settle::run().await,
        "scale" => scale::run().await,
        "goodput" => goodput::run().await,
        "fan-out" => fan_out::run().await,
        "cost" => cost::run().await,
        "check" => check::run().await,
        "whole-check" => whole_check::run().await,
        "functions" => functions::run().await,
        "memory" => memory::run().await,
        unknown => panic!("there is no group {unknown:?}; there are {GROUPS:?}"),
    }
}
