//! Client authentication (RFC 6749 §2.3): HTTP Basic, or id and secret in the form.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::directory::Client;
use domain::ids::ClientId;
use domain::ports::Directory;
use domain::upstream::Form;
use http::{HeaderMap, header};

use crate::oauth_error::OauthError;

/// What a client says of itself.
pub struct Credentials {
    /// Its id.
    pub id: ClientId,
    /// Its secret, if it sent one.
    secret: Option<Secret>,
}

/// A secret as it was sent, and, where that differs, as RFC 6749 §2.3.1 decodes it: many clients do not encode theirs.
struct Secret {
    sent: String,
    decoded: String,
}

/// What a client must be to call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// A client with a secret that may ask about tokens (RFC 7662 §2.1).
    Introspection,
    /// Any client; one without a secret names itself only (RFC 7009 §2.1).
    Revocation,
}

/// The client that calls. Nobody learns which of id, secret or permission was wrong.
pub async fn authenticate(
    directory: &dyn Directory,
    headers: &HeaderMap,
    form: &Form,
    needs: Needs,
) -> Result<Client, OauthError> {
    let credentials = credentials(headers, form)?.ok_or(OauthError::InvalidClient)?;
    let client = directory.client(&credentials.id).await.map_err(|error| OauthError::unavailable(&error))?;
    let client = client.ok_or(OauthError::InvalidClient)?;
    let has_secret = credentials.secret.as_ref().is_some_and(|secret| {
        // Both are compared, so that the time taken does not tell which was right.
        client.has_secret(&secret.sent) | client.has_secret(&secret.decoded)
    });
    let is_public = client.secret_sha256.is_none() && credentials.secret.is_none();
    let good = match needs {
        Needs::Introspection => has_secret && client.may_introspect,
        Needs::Revocation => has_secret || is_public,
    };
    if good { Ok(client) } else { Err(OauthError::InvalidClient) }
}

/// What the client says of itself; `None` if nothing. Two ways at once are one too many (RFC 6749 §2.3).
pub fn credentials(headers: &HeaderMap, form: &Form) -> Result<Option<Credentials>, OauthError> {
    let invalid = |_| OauthError::InvalidRequest("client_id is no client's id.");
    let named = form.get("client_id").map(ClientId::parse).transpose().map_err(invalid)?;
    let secret = form.get("client_secret");
    let Some(basic) = basic(headers)? else {
        let secret = secret.map(|secret| Secret { sent: secret.to_owned(), decoded: secret.to_owned() });
        return Ok(named.map(|id| Credentials { id, secret }));
    };
    if secret.is_some() || named.is_some_and(|named| named != basic.id) {
        return Err(OauthError::InvalidRequest("The client authenticates in two ways at once."));
    }
    Ok(Some(basic))
}

/// What the client says by HTTP Basic, if it tries to. What cannot be read is wrong rather than nothing: what the form
/// says must not make up for it.
fn basic(headers: &HeaderMap) -> Result<Option<Credentials>, OauthError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let value = String::from_utf8_lossy(value.as_bytes());
    let (scheme, encoded) = value.split_once(' ').unwrap_or((&value, ""));
    if !scheme.eq_ignore_ascii_case("basic") {
        return Ok(None);
    }
    read_basic(encoded).map(Some).ok_or(OauthError::InvalidClient)
}

fn read_basic(encoded: &str) -> Option<Credentials> {
    let sent = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = sent.split_once(':')?;
    // RFC 6749 §2.3.1: both are form-encoded first.
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_encoding::percent_decode_str(&text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
    };
    let decoded = decode(secret).unwrap_or_else(|| secret.to_owned());
    let secret = Secret { sent: secret.to_owned(), decoded };
    Some(Credentials { id: ClientId::parse(decode(id)?).ok()?, secret: Some(secret) })
}
