//! Each function's size and start-up against a function that does nothing.

use std::collections::HashMap;
use std::time::Instant;

use super::{Figure, percentile};
use crate::environment;
use crate::function::Function;
use crate::redis_server::RedisServer;
use crate::store::{Store, variables};

const FUNCTIONS: [&str; 9] = [
    "authorizer",
    "admin-api",
    "auth-api",
    "plan-job",
    "revoke-chunk",
    "send-notices",
    "export-audit",
    "ingest",
    "scheduled",
];
const FLOOR: &str = "hello-world";
const STARTS: usize = 15;

async fn start(name: &str, variables: &HashMap<String, String>) -> f64 {
    let begun = Instant::now();
    let mut function = Function::start(name, variables).await;
    function.ready().await;
    begun.elapsed().as_secs_f64() * 1e3
}

fn megabytes(name: &str) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "a file's size")]
    let size = std::fs::metadata(environment::binary(name)).unwrap().len() as f64;
    size / 1e6
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
        let (mut starts, mut floors) = (Vec::new(), Vec::new());
        for _ in 0..STARTS {
            floors.push(start(FLOOR, &variables).await);
            starts.push(start(name, &variables).await);
        }
        let (taken, floor) = (percentile(&mut starts, 0.5), percentile(&mut floors, 0.5));
        figures.push(Figure {
            name: format!("{name}: start to first request for an event"),
            value: format!("{taken:.1} ms"),
            floor: format!("{FLOOR}: {floor:.1} ms"),
            ratio: format!("{:.2}", taken / floor),
        });
        figures.push(Figure {
            name: format!("{name}: size of the binary"),
            value: format!("{:.1} MB", megabytes(name)),
            floor: format!("{FLOOR}: {:.1} MB", megabytes(FLOOR)),
            ratio: format!("{:.2}", megabytes(name) / megabytes(FLOOR)),
        });
    }
    figures
}
