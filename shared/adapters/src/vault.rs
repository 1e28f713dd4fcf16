//! The vault: one secret of Secrets Manager, and from it a key of its own for every use and purpose (HKDF-SHA256).
//!
//! A hash is HMAC-SHA256. A sealed text is the base64url form of
//!
//! ```text
//! version (1 byte) | key id (4) | nonce (12) | what AES-256-GCM-SIV made of the plain bytes, with its tag (16 more)
//! ```
//!
//! with version, key id and purpose authenticated. The nonce is random; should one ever come twice, GCM-SIV gives
//! away no more than whether two plain texts are the same. The key id is derived from the secret itself and not the
//! name of a version in Secrets Manager: a secret that is restored opens again what it has sealed, and one that was
//! handed in has an id, too.

use std::fmt;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use aws_sdk_secretsmanager::Client;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::error::PortError;
use domain::ports::PortResult;
use domain::vault::Vault;
use tokio::sync::OnceCell;

const SERVICE: &str = "Secrets Manager";
/// Shorter secrets are refused.
pub const MIN_SECRET_BYTES: usize = 32;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 5;
/// Separates these keys from any others that somebody may derive from the same secret.
const SALT: &[u8] = b"batch-logout vault 1";

/// The secret is too short to be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret is shorter than {MIN_SECRET_BYTES} bytes")]
pub struct WeakSecret;

/// What a key is for.
#[derive(Clone, Copy)]
enum Use {
    Id,
    Mac,
    Seal,
}

impl Use {
    fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Mac => "mac",
            Self::Seal => "seal",
        }
    }
}

fn derive(root: &Prk, usage: Use, purpose: &str) -> [u8; 32] {
    let mut key = [0; 32];
    // The first NUL ends the use, the rest is the purpose: no two pairs run together into the same bytes.
    let info = [usage.name().as_bytes(), b"\0", purpose.as_bytes()];
    let derived = root.expand(&info, HKDF_SHA256).and_then(|okm| okm.fill(&mut key));
    derived.unwrap_or_else(|Unspecified| unreachable!("HKDF-SHA256 gives up to 8,160 bytes (RFC 5869 §2.3)"));
    key
}

/// The secret, from which all keys are derived.
struct Keys {
    root: Prk,
    /// How everything begins that it seals: version and key id.
    header: [u8; HEADER_BYTES],
}

impl Keys {
    fn new(secret: &[u8]) -> Result<Self, WeakSecret> {
        if secret.len() < MIN_SECRET_BYTES {
            return Err(WeakSecret);
        }
        let root = Salt::new(HKDF_SHA256, SALT).extract(secret);
        let [a, b, c, d, ..] = derive(&root, Use::Id, "");
        Ok(Self { root, header: [VERSION, a, b, c, d] })
    }

    fn mac(&self, purpose: &str, data: &[u8]) -> [u8; 32] {
        let mut mac = [0; 32];
        let key = hmac::Key::new(HMAC_SHA256, &derive(&self.root, Use::Mac, purpose));
        mac.copy_from_slice(hmac::sign(&key, data).as_ref());
        mac
    }

    fn sealing(&self, purpose: &str) -> Result<(RandomizedNonceKey, Aad<Vec<u8>>), Unspecified> {
        let key = RandomizedNonceKey::new(&AES_256_GCM_SIV, &derive(&self.root, Use::Seal, purpose))?;
        Ok((key, Aad::from([&self.header, purpose.as_bytes()].concat())))
    }

    fn seal(&self, purpose: &str, plain: &[u8]) -> Result<String, Unspecified> {
        let (key, bound) = self.sealing(purpose)?;
        let mut text = plain.to_vec();
        let nonce = key.seal_in_place_append_tag(bound, &mut text)?;
        Ok(URL_SAFE_NO_PAD.encode([&self.header[..], nonce.as_ref(), &text].concat()))
    }

    fn open(&self, purpose: &str, sealed: &str) -> Option<Vec<u8>> {
        // Base64 without padding or spare bits: one sealed text has one form only.
        let mut bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (header, rest) = bytes.split_at_mut_checked(HEADER_BYTES)?;
        if *header != self.header {
            return None;
        }
        let (nonce, text) = rest.split_at_mut_checked(NONCE_LEN)?;
        let (key, bound) = self.sealing(purpose).ok()?;
        let plain = key.open_in_place(Nonce::try_assume_unique_for_key(nonce).ok()?, bound, text).ok()?;
        Some(plain.to_vec())
    }
}

/// Where the secret comes from.
enum Source {
    Given(Keys),
    Stored { client: Client, secret_id: String, keys: OnceCell<Keys> },
}

/// The vault of one application secret. It never prints it.
pub struct SecretVault(Source);

impl fmt::Debug for SecretVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretVault(…)")
    }
}

impl SecretVault {
    /// A vault that fetches its secret when it is first needed, and keeps it.
    pub fn new(config: &SdkConfig, secret_id: String) -> Self {
        Self(Source::Stored { client: Client::new(config), secret_id, keys: OnceCell::new() })
    }

    /// A vault of this secret: for tests and tools.
    pub fn with_secret(secret: &[u8]) -> Result<Self, WeakSecret> {
        Keys::new(secret).map(|keys| Self(Source::Given(keys)))
    }

    async fn keys(&self) -> PortResult<&Keys> {
        match &self.0 {
            Source::Given(keys) => Ok(keys),
            // A failure is not kept: whoever comes next asks again.
            Source::Stored { client, secret_id, keys } => keys.get_or_try_init(|| fetch(client, secret_id)).await,
        }
    }
}

async fn fetch(client: &Client, secret_id: &str) -> PortResult<Keys> {
    let answer = client.get_secret_value().secret_id(secret_id).send().await.map_err(|error| {
        let cause = aws_sdk_secretsmanager::error::DisplayErrorContext(&error).to_string();
        PortError::Unavailable { service: SERVICE, cause }
    })?;
    let binary = answer.secret_binary().map(AsRef::as_ref);
    let secret = answer.secret_string().map(str::as_bytes).or(binary).unwrap_or_default();
    Keys::new(secret).map_err(|weak| PortError::Corrupt { service: SERVICE, cause: weak.to_string() })
}

#[async_trait]
impl Vault for SecretVault {
    async fn mac(&self, purpose: &str, data: &[u8]) -> PortResult<[u8; 32]> {
        Ok(self.keys().await?.mac(purpose, data))
    }

    async fn seal(&self, purpose: &str, plain: &[u8]) -> PortResult<String> {
        let sealed = self.keys().await?.seal(purpose, plain);
        sealed.map_err(|error| PortError::Unavailable { service: "the vault", cause: error.to_string() })
    }

    async fn open(&self, purpose: &str, sealed: &str) -> PortResult<Option<Vec<u8>>> {
        Ok(self.keys().await?.open(purpose, sealed))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use domain::testing::contract;

    use super::*;
    use crate::answering::Answering;

    const SECRET: &str = "a secret of this test, long enough to be one";

    #[tokio::test]
    async fn the_vault_keeps_its_contract() {
        contract::vault(&SecretVault::with_secret(SECRET.as_bytes()).unwrap()).await;
    }

    #[tokio::test]
    async fn another_secret_hashes_otherwise_and_opens_nothing() {
        let one = SecretVault::with_secret(SECRET.as_bytes()).unwrap();
        let same = SecretVault::with_secret(SECRET.as_bytes()).unwrap();
        let other = SecretVault::with_secret(SECRET.to_uppercase().as_bytes()).unwrap();
        let sealed = one.seal("p", b"x").await.unwrap();
        assert_eq!(same.open("p", &sealed).await.unwrap().as_deref(), Some(&b"x"[..]));
        assert_eq!(other.open("p", &sealed).await.unwrap(), None);
        // Nor if it passes for one of the other's.
        let mut bytes = URL_SAFE_NO_PAD.decode(&sealed).unwrap();
        bytes[..HEADER_BYTES].copy_from_slice(&other.keys().await.unwrap().header);
        assert_eq!(other.open("p", &URL_SAFE_NO_PAD.encode(bytes)).await.unwrap(), None);
        assert_eq!(one.mac("p", b"x").await.unwrap(), same.mac("p", b"x").await.unwrap());
        assert_ne!(one.mac("p", b"x").await.unwrap(), other.mac("p", b"x").await.unwrap());
    }

    /// What is stored must outlive this code: both were computed from the description above by another library.
    #[tokio::test]
    async fn keys_hashes_and_sealed_texts_are_made_as_described() {
        let vault = SecretVault::with_secret(SECRET.as_bytes()).unwrap();
        let sealed = "AccDhVEAAQIDBAUGBwgJCguoKU9mU43JINbqvReOWZ8Tm7BaZvbAtMcirglnMzYKBg";
        assert_eq!(vault.open("p", sealed).await.unwrap().as_deref(), Some("열려라 참깨".as_bytes()));
        let mac = [0x55, 0xD7, 0x0A, 0x98, 0x96, 0x94, 0xD2, 0x15];
        assert_eq!(vault.mac("p", b"x").await.unwrap()[..8], mac);
    }

    #[test]
    fn a_short_secret_is_refused() {
        assert_eq!(SecretVault::with_secret(&[7; 31]).err(), Some(WeakSecret));
        assert!(SecretVault::with_secret(&[7; 32]).is_ok());
    }

    #[tokio::test]
    async fn the_secret_is_fetched_once_and_again_only_after_a_failure() {
        let good = format!(r#"{{"SecretString":"{SECRET}"}}"#);
        let answers = [
            (400, r#"{"__type":"ResourceNotFoundException","message":"not yet"}"#),
            (200, r#"{"SecretString":"too short"}"#),
            (200, r"{}"),
            (200, &good),
        ];
        let service = Answering::start(&answers).await;
        let vault = SecretVault::new(&service.config().await, "batch-logout/key".to_owned());
        assert_eq!(service.requests().len(), 0, "not before it is needed");
        let error = vault.seal("p", b"x").await.unwrap_err();
        assert!(matches!(error, PortError::Unavailable { service: SERVICE, .. }), "{error}");
        for _ in 0..2 {
            let error = vault.mac("p", b"x").await.unwrap_err();
            assert!(matches!(error, PortError::Corrupt { service: SERVICE, .. }), "{error}");
            assert!(!error.to_string().contains("too short"), "the secret itself is not shown: {error}");
        }
        let (first, second) = tokio::join!(vault.seal("p", b"x"), vault.mac("p", b"x"));
        let given = SecretVault::with_secret(SECRET.as_bytes()).unwrap();
        assert_eq!(given.open("p", &first.unwrap()).await.unwrap().as_deref(), Some(&b"x"[..]));
        assert_eq!(second.unwrap(), given.mac("p", b"x").await.unwrap());
        let requests = service.requests();
        assert_eq!(requests.len(), answers.len(), "once it is there it is not asked for again");
        assert!(requests.iter().all(|request| request["SecretId"] == "batch-logout/key"), "{requests:?}");
    }

    #[tokio::test]
    async fn a_secret_may_be_binary_and_is_never_printed() {
        let service =
            Answering::start(&[(200, r#"{"SecretBinary":"YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE="}"#)]).await;
        let vault = SecretVault::new(&service.config().await, "s".to_owned());
        let given = SecretVault::with_secret(&[b'a'; 32]).unwrap();
        assert_eq!(vault.mac("p", b"x").await.unwrap(), given.mac("p", b"x").await.unwrap());
        assert_eq!(format!("{vault:?} {given:#?}"), "SecretVault(…) SecretVault(…)");
    }
}
