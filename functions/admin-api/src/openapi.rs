//! `GET /openapi.json`: the description of the whole API (`[API-10]`).

use axum::response::IntoResponse;
use http::header;

/// Where it is: at the root, and public.
pub const PATH: &str = "/openapi.json";
/// Made from the handlers' types by `cargo xtask openapi`; a test holds the two together.
const DOCUMENT: &str = include_str!("../openapi.json");

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "service", security(()), responses(
    (status = 200, description = "The OpenAPI 3.1 document of the API.", content_type = "application/json", body = serde_json::Value),
))]
pub async fn serve() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT)
}
