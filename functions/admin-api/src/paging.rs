//! Parameters of lists (`[API-9]`).

use lambda_kit::problem::Problem;
use serde::de::DeserializeOwned;

const LIMIT: u32 = 20;
const LIMITS: std::ops::RangeInclusive<u32> = 1..=100;

/// How much of a list is wanted, and from where.
pub struct Paging {
    /// Items on a page.
    pub limit: usize,
    /// Where the page begins.
    pub cursor: Option<String>,
}

impl Paging {
    /// Checks what was asked for.
    pub fn new(limit: Option<u32>, cursor: Option<String>) -> Result<Self, Problem> {
        let limit = limit.unwrap_or(LIMIT);
        if !LIMITS.contains(&limit) {
            return Err(Problem::invalid("/limit", "must be 1 to 100"));
        }
        Ok(Self { limit: limit as usize, cursor })
    }
}

/// Reads a query string strictly; unknown parameters are refused like unknown members of a body.
pub fn query<T: DeserializeOwned>(query: Option<&str>) -> Result<T, Problem> {
    serde_urlencoded::from_str(query.unwrap_or_default()).map_err(|error| Problem::invalid("", error.to_string()))
}
