//! The form of a JWT access token: everything that can be checked without a key (`[CHECK-1]`).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::cutoff::LEEWAY_SECONDS;
use domain::decision::TokenFacts;
use domain::identity::Profile;
use domain::ids::{ClientId, RawToken, SessionId, TokenId, UserId};
use domain::ports::{Claims, VerifyError};
use domain::settings::Issuer;
use domain::time::Epoch;
use domain::token::TokenKind;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::json::{text, texts};

/// Tokens longer than this are refused unread.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// What issuers call tokens that are no access tokens, in a claim of one of [`KIND_CLAIMS`].
const OTHER_KINDS: [&str; 6] = ["id", "refresh", "offline", "logout", "logout+jwt", "serialized-id"];
/// Keycloak's and Cognito's names for the kind of a token.
const KIND_CLAIMS: [&str; 2] = ["typ", "token_use"];

type Result<T> = std::result::Result<T, VerifyError>;

/// A JWT whose form is right. Only its signature is still to be checked.
pub(super) struct Form<'a> {
    /// How it is signed: one of the algorithms that are allowed here.
    pub(super) algorithm: Algorithm,
    /// By which key.
    pub(super) kid: Option<String>,
    /// The bytes that are signed.
    pub(super) signed: &'a [u8],
    /// The signature, as base64url.
    pub(super) signature: &'a str,
    /// What it says.
    pub(super) claims: Claims,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// The registered claims; everything else stays in `rest`.
#[derive(Deserialize)]
struct RawClaims {
    iss: String,
    sub: Option<String>,
    aud: Option<OneOrMany>,
    exp: i64,
    iat: i64,
    nbf: Option<i64>,
    auth_time: Option<i64>,
    jti: Option<String>,
    client_id: Option<String>,
    azp: Option<String>,
    scope: Option<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

fn part<T: DeserializeOwned>(part: &str, otherwise: &'static str) -> Result<T> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| VerifyError::Invalid(otherwise))?;
    serde_json::from_slice(&bytes).map_err(|_| VerifyError::Invalid(otherwise))
}

/// Reads a token and checks all but its signature, and that it is not further past its expiry than so many seconds.
pub(super) fn read<'a>(issuer: &Issuer, token: &'a RawToken, now: Epoch, past: i64) -> Result<Form<'a>> {
    const NO_JWT: VerifyError = VerifyError::Invalid("not a JWT");
    let token = token.reveal();
    if token.len() > MAX_TOKEN_BYTES {
        return Err(VerifyError::Invalid("too long"));
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(NO_JWT)?;
    let (header, claims) = signed.split_once('.').ok_or(NO_JWT)?;
    let header: Header = part(header, "no readable header")?;
    let algorithm = algorithm(issuer, &header)?;
    // RFC 7515 §4.1.11: nothing that must be understood is understood here.
    if header.rest.contains_key("crit") {
        return Err(VerifyError::Invalid("its header asks for an extension"));
    }
    let raw: RawClaims = part(claims, "not a JWT with the claims of an access token")?;
    // OpenID Connect Core §2: only ID tokens carry these. First, as their audience is the client's, not ours.
    if raw.rest.contains_key("nonce") || raw.rest.contains_key("at_hash") {
        return Err(VerifyError::IdToken);
    }
    check_addressing(issuer, &raw)?;
    check_times(&raw, now, past)?;
    check_kind(issuer, &header, &raw)?;
    let claims = claims_of(issuer, raw)?;
    Ok(Form { algorithm, kid: header.kid, signed: signed.as_bytes(), signature, claims })
}

/// Only these, and never `none`. HS256 is verified by the configured secret and nothing else, so that no public key
/// can pass for a secret (RFC 8725 §2.1).
fn algorithm(issuer: &Issuer, header: &Header) -> Result<Algorithm> {
    match header.alg.as_str() {
        "RS256" => Ok(Algorithm::RS256),
        "ES256" => Ok(Algorithm::ES256),
        "EdDSA" => Ok(Algorithm::EdDSA),
        "HS256" if issuer.hs256_secret.is_some() => Ok(Algorithm::HS256),
        _ => Err(VerifyError::Invalid("signature algorithm not allowed")),
    }
}

fn check_addressing(issuer: &Issuer, raw: &RawClaims) -> Result<()> {
    if raw.iss != issuer.issuer {
        return Err(VerifyError::Invalid("wrong issuer"));
    }
    let meant_for = |audience: &String| match &raw.aud {
        Some(OneOrMany::One(one)) => one == audience,
        Some(OneOrMany::Many(many)) => many.contains(audience),
        None => false,
    };
    if issuer.audience.as_ref().is_some_and(|audience| !meant_for(audience)) {
        return Err(VerifyError::Invalid("wrong audience"));
    }
    Ok(())
}

fn check_times(raw: &RawClaims, now: Epoch, past: i64) -> Result<()> {
    if Epoch(raw.exp).plus(past) <= now {
        return Err(VerifyError::Expired);
    }
    let from = raw.nbf.unwrap_or(raw.iat).max(raw.iat);
    if Epoch(from) > now.plus(LEEWAY_SECONDS) {
        return Err(VerifyError::Invalid("not valid yet"));
    }
    Ok(())
}

fn check_kind(issuer: &Issuer, header: &Header, raw: &RawClaims) -> Result<()> {
    let other = Err(VerifyError::Invalid("not an access token"));
    // RFC 9068 §4 and, for issuers that do not follow it, RFC 7519 §5.1; media types know no case (RFC 7515 §4.1.9).
    let typ = header.typ.as_deref().map(str::to_ascii_lowercase);
    if !matches!(typ.as_deref(), None | Some("jwt" | "at+jwt" | "application/at+jwt")) {
        return other;
    }
    if let Some((name, wanted)) = &issuer.required_claim
        && raw.rest.get(name).and_then(Value::as_str) != Some(wanted)
    {
        return other;
    }
    let says_other =
        |name| text(&raw.rest, name).is_some_and(|kind| OTHER_KINDS.contains(&&*kind.to_ascii_lowercase()));
    if KIND_CLAIMS.into_iter().any(says_other) {
        return other;
    }
    Ok(())
}

fn claims_of(issuer: &Issuer, raw: RawClaims) -> Result<Claims> {
    let invalid = |_| VerifyError::Invalid("a claim is no identifier");
    let jti = raw.jti.ok_or(VerifyError::Invalid("no jti, so that it could not be revoked by itself"))?;
    let client = match &issuer.client_claim {
        Some(claim) => text(&raw.rest, claim),
        None => raw.client_id.or(raw.azp),
    };
    let client = client.ok_or(VerifyError::Invalid("names no client, so that no client's cutoff could reach it"))?;
    let client = ClientId::parse(client).map_err(invalid)?;
    // Client-credentials tokens name the client as their subject, or nobody.
    let subject = raw.sub.filter(|sub| client.as_str() != sub);
    let session = raw.rest.get(&issuer.session_claim).and_then(Value::as_str);
    let session = session.map(SessionId::parse).transpose().map_err(invalid)?;
    let preferred_username = text(&raw.rest, "preferred_username");
    let profile = Profile {
        email: text(&raw.rest, "email"),
        name: text(&raw.rest, "name").or_else(|| preferred_username.clone()),
        avatar: text(&raw.rest, "picture"),
        // These become roles of our own where their names mean something here (`[AUTHZ-1]`): only the claim that
        // configuration maps to roles may grant them, never one that merely has that name.
        roles: issuer.roles_claim.as_ref().map(|claim| texts(&raw.rest, claim)).unwrap_or_default(),
        permissions: texts(&raw.rest, "permissions"),
        groups: texts(&raw.rest, "groups"),
    };
    Ok(Claims {
        facts: TokenFacts {
            id: TokenId::parse(jti).map_err(invalid)?,
            kind: TokenKind::Access,
            user: subject.map(UserId::parse).transpose().map_err(invalid)?,
            client: Some(client),
            session,
            issued_at: Epoch(raw.iat),
            // Nobody signs in after the token was issued: such a time would be out of every cutoff's reach.
            signed_in_at: Epoch(raw.auth_time.map_or(raw.iat, |at| at.min(raw.iat))),
            expires_at: Epoch(raw.exp),
        },
        has_auth_time: raw.auth_time.is_some(),
        issuer: raw.iss,
        audience: raw.aud.map(OneOrMany::into_vec).unwrap_or_default(),
        scope: raw.scope,
        username: text(&raw.rest, "username").or(preferred_username),
        profile,
    })
}
