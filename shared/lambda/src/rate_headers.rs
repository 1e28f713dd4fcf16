//! `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers): where a caller stands.

use domain::rate::Standing;
use http::{HeaderMap, HeaderValue};

/// Writes both headers.
pub fn write(headers: &mut HeaderMap, standing: &Standing) {
    let limit = standing.limit;
    let policy = format!("\"{}\";q={};w={}", limit.name, limit.count, limit.window.num_seconds());
    let now = format!("\"{}\";r={};t={}", limit.name, standing.remaining, standing.reset_seconds);
    for (name, value) in [("ratelimit-policy", policy), ("ratelimit", now)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}
