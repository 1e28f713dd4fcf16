//! Parameters of lists (`[API-9]`).

use lambda_kit::problem::Problem;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

const LIMIT: u32 = 20;
const LIMITS: std::ops::RangeInclusive<u32> = 1..=100;

/// Which part of the list is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Items on a page.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

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

/// Reads the query of a list that can be asked for nothing but a part of it.
pub fn read(query: Option<&str>) -> Result<Paging, Problem> {
    let wanted: Wanted = self::query(query)?;
    Paging::new(wanted.limit, wanted.cursor)
}
