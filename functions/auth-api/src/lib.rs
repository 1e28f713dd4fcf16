//! The user-facing half: is this token good?
//!
//! How to add a call: write its handler in a module of its own and name it in [`router`] and in `template.yaml`.

mod clients;
mod introspect;
mod oauth_error;

use std::sync::Arc;

use axum::Router;
use domain::inspect::Inspector;
use domain::ports::Directory;
use domain::time::Clock;
use lambda_kit::problem;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

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

/// The calls, each with its description.
fn calls() -> OpenApiRouter<Deps> {
    OpenApiRouter::new()
        .routes(routes!(introspect::introspect))
        .routes(routes!(introspect::validate))
        .routes(routes!(health))
}

/// This function's part of the OpenAPI document, made from the types of its handlers (`[API-10]`).
pub fn described() -> utoipa::openapi::OpenApi {
    calls().into_openapi()
}

/// All calls of this function, open to pages of these origins.
pub fn router(deps: Deps, cors_origins: &[String]) -> Router {
    let cors = lambda_kit::cors::layer(cors_origins);
    Router::from(calls())
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(axum::middleware::from_fn(problem::layer))
        .layer(cors)
        .with_state(deps)
}

/// How the function is.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
struct Health {
    /// `healthy`
    status: &'static str,
    /// `batch-logout`
    service: &'static str,
}

/// `GET /health`: the function runs. It asks nobody, so that a monitor cannot load the stores.
#[utoipa::path(get, path = "/health", tag = "service", security(()), responses((status = 200, description = "The function runs.", body = Health)))]
async fn health() -> axum::Json<Health> {
    axum::Json(Health { status: "healthy", service: "batch-logout" })
}
