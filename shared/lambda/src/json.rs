//! Reading JSON bodies strictly: type, size, form, fields.

use axum::extract::Request;
use http::{HeaderMap, header};
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// The largest body that is read, in bytes (`[API-2]`).
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// Whether the body claims to be of a media type, parameters aside.
pub fn is_media_type(headers: &HeaderMap, wanted: &str) -> bool {
    let claimed = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    claimed.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case(wanted))
}

/// Reads a body of at most [`MAX_BODY_BYTES`].
pub async fn read_body(request: Request) -> Result<axum::body::Bytes, Problem> {
    axum::body::to_bytes(request.into_body(), MAX_BODY_BYTES).await.map_err(|_| Problem::too_large(MAX_BODY_BYTES))
}

/// Reads a JSON body.
pub async fn read<T: DeserializeOwned>(request: Request) -> Result<T, Problem> {
    if !is_media_type(request.headers(), "application/json") {
        return Err(Problem::unsupported_media_type("application/json"));
    }
    parse(&read_body(request).await?)
}

/// Reads JSON, and names the member that was wrong by its pointer.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    if !body.trim_ascii_start().is_empty() && !domain::json::is_object(body) {
        return Err(Problem::malformed("", "the body must be a JSON object"));
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let pointer = pointer(error.path());
        let detail = error.into_inner().to_string();
        Problem::malformed(pointer, detail)
    })?;
    reader.end().map_err(|error| Problem::malformed("", error.to_string()))?;
    Ok(value)
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        let name = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => key.replace('~', "~0").replace('/', "~1"),
            Segment::Enum { .. } | Segment::Unknown => continue,
        };
        pointer.push('/');
        pointer.push_str(&name);
    }
    pointer
}
