//! What a JSON object of the issuer says, where it says it: its members may be missing or of any type.

use serde_json::{Map, Value};

/// A member that is a text; an empty one says nothing.
pub(crate) fn text(object: &Map<String, Value>, name: &str) -> Option<String> {
    object.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The texts of a member that is a list; whatever else is in the list is skipped.
pub(crate) fn texts(object: &Map<String, Value>, name: &str) -> Vec<String> {
    let list = object.get(name).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
