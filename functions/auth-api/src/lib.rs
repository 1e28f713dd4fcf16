//! The user-facing half: is this token good?
//!
//! How to add a call: write its handler in a module of its own and name it in [`router`] and in `template.yaml`.

mod clients;
mod introspect;
mod oauth_error;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use domain::inspect::Inspector;
use domain::ports::Directory;
use domain::time::Clock;
use lambda_kit::problem;

/// What the handlers need.
#[derive(Clone)]
pub struct Deps {
    /// The whole check of a token.
    pub inspector: Inspector,
    /// Clients that may ask about tokens.
    pub directory: Arc<dyn Directory>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// All calls of this function, open to pages of these origins.
pub fn router(deps: Deps, cors_origins: &[String]) -> Router {
    let cors = lambda_kit::cors::layer(cors_origins);
    Router::new()
        .route("/oauth/introspect", post(introspect::introspect))
        .route("/oauth/token/validate", post(introspect::validate))
        .route("/health", get(health))
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(axum::middleware::from_fn(problem::layer))
        .layer(cors)
        .with_state(deps)
}

/// `GET /health`: the function runs. It asks nobody, so that a monitor cannot load the stores.
async fn health() -> axum::Json<serde_json::Value> {
    axum::Json(serde_json::json!({ "status": "healthy", "service": "batch-logout" }))
}
