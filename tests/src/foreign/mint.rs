//! Tokens signed by hand, without the library under test: HS256 by a shared secret, `EdDSA` by a key from a fixed seed.

use std::sync::LazyLock;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// What the issuer and we share.
pub const SECRET: &[u8] = b"a secret of the fuzzing's own, as long as it has to be";
/// The id of the published key.
pub const KEY_ID: &str = "key 1";

static PAIR: LazyLock<Ed25519KeyPair> = LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap());

/// `x` of the published key (RFC 8037 §2).
pub fn public_x() -> String {
    URL_SAFE_NO_PAD.encode(PAIR.public_key())
}

/// The issuer's keys as it publishes them.
pub fn key_set() -> Value {
    json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": KEY_ID, "x": public_x() }] })
}

fn token(header: &Value, payload: &[u8], sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(payload));
    let signature = URL_SAFE_NO_PAD.encode(sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn hs256(secret: &[u8], signed: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed).as_ref().to_vec()
}

/// Bytes under an HS256 signature by any secret.
pub fn by_secret(secret: &[u8], payload: &[u8]) -> String {
    token(&json!({ "alg": "HS256", "typ": "JWT", "kid": KEY_ID }), payload, |signed| hs256(secret, signed))
}

/// Bytes under the signature of the published key, which the token names or does not.
pub fn by_key(payload: &[u8], kid: Option<&str>) -> String {
    let mut header = json!({ "alg": "EdDSA", "typ": "at+jwt" });
    if let Some(kid) = kid {
        header["kid"] = kid.into();
    }
    token(&header, payload, |signed| PAIR.sign(signed).as_ref().to_vec())
}

/// Whether a text is signed by the shared secret or by the published key, whatever else it says.
pub fn is_signed(token: &str) -> bool {
    let Some((signed, signature)) = token.rsplit_once('.') else { return false };
    let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else { return false };
    let by_key = || {
        let key = aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ED25519, PAIR.public_key());
        key.verify(signed.as_bytes(), &signature).is_ok()
    };
    signature == hs256(SECRET, signed.as_bytes()) || by_key()
}

/// The text with one of its bits changed; which one depends on the text. None if no text is left.
pub fn with_one_bit_changed(text: &str) -> Option<String> {
    let mut bytes = text.as_bytes().to_vec();
    let sum = bytes.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    let bit = sum % (bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    String::from_utf8(bytes).ok()
}
