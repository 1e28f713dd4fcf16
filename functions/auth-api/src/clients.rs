//! Client authentication by HTTP Basic (RFC 6749 §2.3.1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::directory::Client;
use domain::ids::ClientId;
use domain::ports::Directory;
use http::{HeaderMap, header};

use crate::oauth_error::OauthError;

/// The client that calls, if it may ask about tokens. Nobody learns which of id, secret or permission was wrong.
pub async fn authenticate(directory: &dyn Directory, headers: &HeaderMap) -> Result<Client, OauthError> {
    let (id, secret) = credentials(headers).ok_or(OauthError::InvalidClient)?;
    let client = directory.client(&id).await.map_err(|error| OauthError::unavailable(&error))?;
    let client = client.filter(|client| client.may_introspect).ok_or(OauthError::InvalidClient)?;
    if client.has_secret(&secret) { Ok(client) } else { Err(OauthError::InvalidClient) }
}

fn credentials(headers: &HeaderMap) -> Option<(ClientId, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    // RFC 6749 §2.3.1: both are form-encoded first.
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_encoding::percent_decode_str(&text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
    };
    Some((ClientId::parse(decode(id)?).ok()?, decode(secret)?))
}
