//! The batch-logout API: accepting jobs and saying where they stand (spec §2).
//!
//! How to add a call: write its handler in a module of its own, name it in [`router`] and in `template.yaml`, and
//! give it a row in `tests/it/api/`.

mod group;
mod jobs;
mod view;

use axum::Router;
use axum::routing::{get, post};
use domain::accept::Acceptor;
use lambda_kit::caller::Callers;
use lambda_kit::problem;

/// Where the API lives.
pub const BASE: &str = "/api/admin/oauth/batch-logout";

/// What the handlers need.
#[derive(Clone)]
pub struct Deps {
    /// Who calls.
    pub callers: Callers,
    /// Accepting jobs.
    pub acceptor: Acceptor,
}

/// All calls of this function, open to pages of these origins.
pub fn router(deps: Deps, cors_origins: &[String]) -> Router {
    let cors = lambda_kit::cors::layer(cors_origins);
    let calls = Router::new().route("/group", post(group::create)).route("/jobs/{id}", get(jobs::get));
    Router::new()
        .nest(BASE, calls)
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(axum::middleware::from_fn(problem::layer))
        .layer(cors)
        .with_state(deps)
}
