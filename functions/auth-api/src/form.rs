//! Parameters of OAuth requests: a form, or the same in JSON where the sources have it so. Each may come once
//! (RFC 6749 §3.1, §3.2), and an empty one counts as left out.

use std::collections::HashSet;
use std::fmt;

use axum::extract::Request;
use domain::upstream::Form;
use http::header;
use lambda_kit::json::{is_media_type, read_body};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::oauth_error::OauthError;

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

/// Reads a form.
pub async fn read(request: Request) -> Result<Form, OauthError> {
    if is_media_type(request.headers(), FORM) {
        read_form(request).await
    } else {
        Err(OauthError::UnsupportedMediaType("Send the parameters as application/x-www-form-urlencoded."))
    }
}

/// Reads a form, or a JSON object of texts.
pub async fn read_form_or_json(request: Request) -> Result<Form, OauthError> {
    if is_media_type(request.headers(), JSON) {
        return read_json(request).await;
    }
    if is_media_type(request.headers(), FORM) {
        return read_form(request).await;
    }
    Err(OauthError::UnsupportedMediaType(
        "Send the parameters as application/x-www-form-urlencoded or application/json.",
    ))
}

/// The parameters of a query.
pub fn query(query: &str) -> Result<Form, OauthError> {
    let fields: Vec<(String, String)> =
        serde_urlencoded::from_str(query).map_err(|_| OauthError::InvalidRequest("The query cannot be read."))?;
    once_each(fields, None)
}

fn authorization(request: &Request) -> Option<String> {
    request.headers().get(header::AUTHORIZATION)?.to_str().ok().map(str::to_owned)
}

async fn read_form(request: Request) -> Result<Form, OauthError> {
    let authorization = authorization(&request);
    let body = read_body(request).await.map_err(|_| OauthError::TooLarge)?;
    let fields: Vec<(String, String)> =
        serde_urlencoded::from_bytes(&body).map_err(|_| OauthError::InvalidRequest("The form cannot be read."))?;
    once_each(fields, authorization)
}

async fn read_json(request: Request) -> Result<Form, OauthError> {
    let authorization = authorization(&request);
    let body = read_body(request).await.map_err(|_| OauthError::TooLarge)?;
    let Members(members) =
        serde_json::from_slice(&body).map_err(|_| OauthError::InvalidRequest("The body is not a JSON object."))?;
    let text = |(name, value): (String, Value)| match value {
        Value::String(text) => Some(Ok((name, text))),
        Value::Null => None,
        _ => Some(Err(OauthError::InvalidRequest("Every member must be a text."))),
    };
    once_each(members.into_iter().filter_map(text).collect::<Result<_, _>>()?, authorization)
}

/// The members of a JSON object, each as often as it came: a map would keep the last of a name without a word.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = object.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

fn once_each(fields: Vec<(String, String)>, authorization: Option<String>) -> Result<Form, OauthError> {
    let fields: Vec<(String, String)> = fields.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let mut names = HashSet::new();
    if !fields.iter().all(|(name, _)| names.insert(name)) {
        return Err(OauthError::InvalidRequest("A parameter was sent more than once."));
    }
    Ok(Form { fields, authorization })
}
