//! Structured JSON logs with the keys of Lambda Powertools.

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config;

/// Starts logging. Call once, first thing in `main`.
pub fn init() {
    // Levels by target are all that is asked for; `EnvFilter` would bring a regular-expression engine into every binary.
    let filter: Targets =
        config::log_level().parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    let mut layer = json_subscriber::JsonLayer::stdout();
    layer.with_timer("timestamp", tracing_subscriber::fmt::time::SystemTime);
    layer.with_level("level");
    layer.with_target("location");
    layer.with_flattened_event();
    layer.with_current_span("span");
    layer.add_static_field("service", config::service().into());
    tracing_subscriber::registry().with(filter).with(layer).init();
}
