//! Tokens of the local issuer: real sign-ins through it, and many tokens at once signed with its key.

use bytes::Bytes;
use domain::ports::RecordStore as _;
use domain::records::{Entity, Record, TokenRecord};
use domain::time::Epoch;
use domain::token::TokenKind;
use http::Request;
use http_body_util::Full;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::failure::{Context as _, Failure, Result};
use crate::stack::{Person, Stack};
use crate::web::Web;

/// Signs somebody in with their password, and records the access token as the issuer's event would.
pub async fn sign_in(stack: &Stack, web: &Web, person: &Person) -> Result<String> {
    let parameters = json!({ "USERNAME": person.email, "PASSWORD": person.password });
    let body = json!({ "AuthFlow": "USER_PASSWORD_AUTH", "ClientId": stack.client_id, "AuthParameters": parameters });
    let request = Request::post(&stack.endpoint_url)
        .header("X-Amz-Target", "AWSCognitoIdentityProviderService.InitiateAuth")
        .header("Content-Type", "application/x-amz-json-1.1")
        .body(Full::new(Bytes::from(body.to_string())));
    let answer = web.send(request.context("sign-in")?).await?;
    let Some(token) = answer.json["AuthenticationResult"]["AccessToken"].as_str() else {
        return Err(Failure(format!("the issuer refused: {}", answer.json)));
    };
    record(stack, token).await?;
    Ok(token.to_owned())
}

/// Records an access token in the token table, by its own claims.
async fn record(stack: &Stack, token: &str) -> Result<()> {
    let claims: Value = jsonwebtoken::dangerous::insecure_decode(token).context("the issuer's token")?.claims;
    let id = |name: &str| claims[name].as_str().unwrap_or_default().to_owned();
    let time = |name: &str| claims[name].as_i64().map(Epoch);
    let issued_at = time("iat").unwrap_or(Epoch(0));
    let record = TokenRecord {
        id: id("jti").try_into().context("jti")?,
        user_id: Some(id("sub").try_into().context("sub")?),
        client_id: id("client_id").try_into().context("client_id")?,
        token_type: TokenKind::Access,
        opaque: false,
        session_id: id("origin_jti").try_into().ok(),
        issued_at,
        auth_time: time("auth_time"),
        expires_at: time("exp").unwrap_or(issued_at),
        last_used_at: None,
        scope: claims["scope"].as_str().map(str::to_owned),
        revoked_at: None,
    };
    let record = Record::upsert(issued_at.0 * 1_000, Entity::Token(record));
    stack.store().await.apply(&record).await.context("recording the token")?;
    Ok(())
}

/// Signs tokens with the issuer's own key, as the issuer itself would: a thousand sign-ins take it minutes.
pub struct Mint {
    key: EncodingKey,
    header: Header,
    issuer: String,
}

impl Mint {
    /// Reads the key of the local issuer.
    pub async fn open(stack: &Stack, web: &Web) -> Result<Self> {
        let file = &stack.signing_key_file;
        let pem = std::fs::read(file).context(file.display())?;
        let key = EncodingKey::from_rsa_pem(&pem).context(file.display())?;
        let request = Request::get(&stack.jwks_uri).body(Full::default()).context("jwks_uri")?;
        let keys = web.send(request).await?.json;
        // The first key of the pool is the one it signs access tokens with.
        let kid = keys["keys"][0]["kid"].as_str().ok_or_else(|| Failure("the issuer publishes no key".to_owned()))?;
        let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::RS256) };
        Ok(Self { key, header, issuer: stack.issuer.clone() })
    }

    /// What a refresh makes of an access token: a new id and issue time, the same sign-in. The local user pool itself
    /// would restate `auth_time`, which OpenID Connect Core §12.2 forbids and Cognito does not.
    pub fn refreshed(&self, token: &str, now: Epoch) -> Result<String> {
        self.altered(token, &|claims| {
            claims["jti"] = format!("{}-refreshed", claims["jti"].as_str().unwrap_or_default()).into();
            claims["iat"] = now.0.into();
            claims["exp"] = now.plus(3_600).0.into();
        })
    }

    /// A token with other claims, signed just as well.
    pub fn altered(&self, token: &str, change: &dyn Fn(&mut Value)) -> Result<String> {
        let mut claims: Value = jsonwebtoken::dangerous::insecure_decode(token).context("the token")?.claims;
        change(&mut claims);
        jsonwebtoken::encode(&self.header, &claims, &self.key).context("signing a token")
    }

    /// The JWT of a recorded access token.
    pub fn sign(&self, token: &TokenRecord) -> Result<String> {
        let claims = json!({
            "iss": self.issuer,
            "sub": token.user_id,
            "client_id": token.client_id,
            "jti": token.id,
            "origin_jti": token.session_id,
            "token_use": "access",
            "iat": token.issued_at,
            "auth_time": token.auth_time,
            "exp": token.expires_at,
            "scope": token.scope,
        });
        jsonwebtoken::encode(&self.header, &claims, &self.key).context("signing a token")
    }
}
