//! JSON objects, and nothing that serde would take for one.

use serde::de::{DeserializeOwned, Error as _};

/// Whether this begins as an object does. Serde takes an array, too, for the members in their order.
pub fn is_object(json: &[u8]) -> bool {
    json.trim_ascii_start().starts_with(b"{")
}

/// Reads an object.
pub fn object<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<T> {
    if is_object(json) { serde_json::from_slice(json) } else { Err(serde_json::Error::custom("not a JSON object")) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use serde::Deserialize;

    use super::*;
    use crate::messages::PlanMessage;
    use crate::notify::Delivery;
    use crate::records::Record;

    #[derive(Debug, Deserialize)]
    struct Pair {
        _left: u8,
        _right: u8,
    }

    #[test]
    fn an_array_is_no_object_though_its_elements_would_do() {
        assert!(serde_json::from_str::<Pair>("[1,2]").is_ok(), "serde would have it");
        let read = |json: &str| object::<Pair>(json.as_bytes()).map(drop).map_err(|error| error.to_string());
        assert_eq!(read(" \n{\"_left\":1,\"_right\":2} "), Ok(()));
        for other in ["[1,2]", " [1,2]", "", "1", "null"] {
            assert_eq!(read(other).unwrap_err(), "not a JSON object", "{other:?}");
        }
    }

    #[test]
    fn nothing_that_comes_from_outside_is_read_from_an_array() {
        assert!(PlanMessage::parse("[1,\"job\"]").is_err());
        assert!(Record::parse("[1,5,{\"delete\":{\"token\":[\"t\",\"u\",\"c\",9]}}]").is_err());
        assert!(Delivery::parse("[\"Bounce\",{}]").is_err());
    }
}
