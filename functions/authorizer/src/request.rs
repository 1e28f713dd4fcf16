//! What API Gateway asks.
//!
//! Source: "Input to an API Gateway Lambda authorizer", Amazon API Gateway developer guide.

use std::collections::HashMap;

use serde::Deserialize;

/// The event, as far as it matters here. Nothing in it is required: what is missing is decided, not a parser's error.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Request {
    method_arn: Option<String>,
    headers: Option<HashMap<String, String>>,
    multi_value_headers: Option<HashMap<String, Vec<String>>>,
}

impl Request {
    /// The method that is called: `arn:…:execute-api:region:account:api/stage/method/path`.
    pub fn method_arn(&self) -> &str {
        self.method_arn.as_deref().unwrap_or_default()
    }

    /// The `Authorization` header. None if there are several: the API behind might read another one than we do.
    pub fn authorization(&self) -> Option<&str> {
        let is_ours = |name: &str| name.eq_ignore_ascii_case("authorization");
        let single = self.headers.iter().flatten().filter(|(name, _)| is_ours(name)).map(|(_, value)| value);
        let multiple = self.multi_value_headers.iter().flatten().filter(|(name, _)| is_ours(name));
        let mut values = single.chain(multiple.flat_map(|(_, values)| values));
        let first = values.next()?;
        values.all(|other| other == first).then_some(first)
    }
}
