//! Items: building and reading them.

use std::collections::HashMap;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::AttributeValue;
use domain::error::PortError;
use domain::time::Epoch;

use crate::aws;

/// An item, as the SDK has it.
pub type Item = HashMap<String, AttributeValue>;

const SERVICE: &str = "DynamoDB";

/// A text attribute.
pub fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

/// A number attribute.
pub fn n(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// The key of the tables keyed by `pk` and `sk`.
pub fn key(pk: impl Into<String>, sk: impl Into<String>) -> Item {
    HashMap::from([("pk".to_owned(), s(pk)), ("sk".to_owned(), s(sk))])
}

/// Reads attributes of one item, and says which one was wrong.
pub struct Reader(pub Item);

impl Reader {
    /// A text that must be there.
    pub fn text(&self, name: &str) -> Result<&str, PortError> {
        self.text_opt(name).ok_or_else(|| corrupt(format!("attribute {name} is missing or no text")))
    }

    /// A text that may be there.
    pub fn text_opt(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(|value| value.as_s().ok()).map(String::as_str)
    }

    /// A number that must be there.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<T, PortError> {
        self.number_opt(name)?.ok_or_else(|| corrupt(format!("attribute {name} is missing")))
    }

    /// A number that may be there.
    pub fn number_opt<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, PortError> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let text = value.as_n().map_err(|_| corrupt(format!("attribute {name} is no number")))?;
        text.parse().map(Some).map_err(|_| corrupt(format!("attribute {name} is out of range")))
    }

    /// A flag; absent means no.
    pub fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(|value| value.as_bool().ok()).copied().unwrap_or(false)
    }

    /// A moment, if it is there.
    pub fn epoch_opt(&self, name: &str) -> Result<Option<Epoch>, PortError> {
        Ok(self.number_opt(name)?.map(Epoch))
    }

    /// A moment that must be there.
    pub fn epoch(&self, name: &str) -> Result<Epoch, PortError> {
        self.number(name).map(Epoch)
    }

    /// An id that must be there.
    pub fn id<T: TryFrom<String>>(&self, name: &str) -> Result<T, PortError> {
        parse_id(self.text(name)?)
    }

    /// An id that may be there.
    pub fn id_opt<T: TryFrom<String>>(&self, name: &str) -> Result<Option<T>, PortError> {
        self.text_opt(name).map(parse_id).transpose()
    }

    /// JSON in a text attribute.
    pub fn json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T, PortError> {
        serde_json::from_str(self.text(name)?).map_err(|cause| corrupt(format!("attribute {name}: {cause}")))
    }
}

/// An id out of a stored text.
pub fn parse_id<T: TryFrom<String>>(text: &str) -> Result<T, PortError> {
    T::try_from(text.to_owned()).map_err(|_| corrupt(format!("{text:?} is no id")))
}

/// JSON as a text attribute.
pub fn json<T: serde::Serialize>(value: &T) -> Result<AttributeValue, PortError> {
    serde_json::to_string(value).map(AttributeValue::S).map_err(|cause| corrupt(cause.to_string()))
}

/// Stored data that cannot be understood.
pub fn corrupt(cause: impl Into<String>) -> PortError {
    PortError::Corrupt { service: SERVICE, cause: cause.into() }
}

/// Whether an update was refused by its own condition.
pub fn condition_failed<R>(error: &SdkError<UpdateItemError, R>) -> bool {
    error.as_service_error().is_some_and(UpdateItemError::is_conditional_check_failed_exception)
}

/// What the SDK reports, as the rules see it.
pub fn failed<E, R>(error: SdkError<E, R>) -> PortError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    aws::failed(SERVICE, error)
}
