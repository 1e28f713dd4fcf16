//! Each function's start-up, memory and size against a function that does nothing.

use std::collections::HashMap;
use std::time::Instant;

use super::figure::{Figure, number};
use crate::environment;
use crate::function::Function;
use crate::redis_server::RedisServer;
use crate::store::{Store, variables};

const FUNCTIONS: [&str; 10] = [
    "authorizer",
    "admin-api",
    "auth-api",
    "plan-job",
    "revoke-chunk",
    "send-notices",
    "export-audit",
    "ingest",
    "scheduled",
    "account-sign-in",
];
const FLOOR: &str = "hello-world";
const STARTS: usize = 15;

/// Milliseconds from the start to the first request for an event, and megabytes of memory until then.
async fn start(name: &str, variables: &HashMap<String, String>) -> (f64, f64) {
    let begun = Instant::now();
    let mut function = Function::start(name, variables).await;
    function.ready().await;
    let millis = begun.elapsed().as_secs_f64() * 1e3;
    (millis, number(function.peak_memory_kib()) / 1e3)
}

fn megabytes(name: &str) -> f64 {
    number(std::fs::metadata(environment::binary(name)).unwrap().len()) / 1e6
}

/// Measures, each function and the floor in turn.
pub async fn run() -> Vec<Figure> {
    let (store, redis) = (Store::start().await, RedisServer::start());
    let mut variables = variables(&store.endpoint);
    variables.extend(
        [("OIDC_ISSUER", "https://issuer.invalid".to_owned()), ("REDIS_URL", redis.url())]
            .map(|(name, value)| (name.to_owned(), value)),
    );
    let mut figures = Vec::new();
    for name in FUNCTIONS {
        let (mut starts, mut memory) = (Vec::new(), Vec::new());
        for _ in 0..STARTS {
            let floor = start(FLOOR, &variables).await;
            let taken = start(name, &variables).await;
            starts.push((taken.0, floor.0));
            memory.push((taken.1, floor.1));
        }
        figures.push(Figure::measured(format!("{name}: start to first request for an event"), "ms", FLOOR, starts));
        figures.push(Figure::measured(format!("{name}: memory after its start"), "MB", FLOOR, memory));
        let size = format!("{name}: size of the binary");
        figures.push(Figure::counted(size, "MB", megabytes(name), FLOOR, megabytes(FLOOR)));
    }
    figures
}
