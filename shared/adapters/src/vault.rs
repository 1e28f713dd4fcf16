//! The vault: one secret of Secrets Manager, and from it a key of its own for every use and purpose (HKDF-SHA256).
//!
//! The secret may be rotated (`[SESS-2]`): what `AWSCURRENT` says seals and hashes, what `AWSPREVIOUS` says still opens.
//! Both are fetched when they are first needed, again after a while, and when a text names a key that is not known here:
//! another function may have heard of a rotation first.
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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use domain::error::PortError;
use domain::ports::PortResult;
use domain::time::Clock;
use domain::vault::{Opened, Vault};

const SERVICE: &str = "Secrets Manager";
const CURRENT: &str = "AWSCURRENT";
const PREVIOUS: &str = "AWSPREVIOUS";
/// Keys that are older than this are fetched again, while they go on being used.
const OLD: TimeDelta = TimeDelta::minutes(5);
/// Not sooner than this after the last time, whatever texts name: invented key ids must not flood Secrets Manager.
const PAUSE: TimeDelta = TimeDelta::seconds(3);
/// Shorter secrets are refused.
pub const MIN_SECRET_BYTES: usize = 32;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 5;

/// How everything begins that a key seals: version and key id.
type Header = [u8; HEADER_BYTES];
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
    header: Header,
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

    fn hashing(&self, purpose: &str) -> hmac::Key {
        hmac::Key::new(HMAC_SHA256, &derive(&self.root, Use::Mac, purpose))
    }

    fn mac(&self, purpose: &str, data: &[u8]) -> [u8; 32] {
        let mut mac = [0; 32];
        mac.copy_from_slice(hmac::sign(&self.hashing(purpose), data).as_ref());
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

    fn open(&self, purpose: &str, envelope: &Envelope) -> Option<Vec<u8>> {
        let mut text = envelope.text.clone();
        let nonce = Nonce::try_assume_unique_for_key(&envelope.nonce).ok()?;
        let (key, bound) = self.sealing(purpose).ok()?;
        Some(key.open_in_place(nonce, bound, &mut text).ok()?.to_vec())
    }
}

/// A sealed text in its parts.
struct Envelope {
    header: Header,
    nonce: [u8; NONCE_LEN],
    text: Vec<u8>,
}

impl Envelope {
    /// None if the text is not of the form that this version seals.
    fn read(sealed: &str) -> Option<Self> {
        // Base64 without padding or spare bits: one sealed text has one form only.
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (header, rest) = bytes.split_first_chunk()?;
        let (nonce, text) = rest.split_first_chunk()?;
        (header[0] == VERSION).then(|| Self { header: *header, nonce: *nonce, text: text.to_vec() })
    }
}

/// The key that seals and hashes, and the one that did before it.
struct Ring {
    current: Keys,
    previous: Option<Keys>,
}

impl Ring {
    fn keys(&self) -> impl Iterator<Item = &Keys> {
        std::iter::once(&self.current).chain(&self.previous)
    }

    fn knows(&self, header: Header) -> bool {
        self.keys().any(|keys| keys.header == header)
    }

    fn open(&self, purpose: &str, envelope: &Envelope) -> Option<Opened> {
        let fitting = self.keys().enumerate().filter(|(_, keys)| keys.header == envelope.header);
        let mut opened = fitting
            .filter_map(|(age, keys)| keys.open(purpose, envelope).map(|plain| Opened { plain, current: age == 0 }));
        opened.next()
    }

    fn mac_matches(&self, purpose: &str, data: &[u8], stored: &[u8]) -> bool {
        self.keys().any(|keys| hmac::verify(&keys.hashing(purpose), data, stored).is_ok())
    }
}

/// Where the secret comes from.
enum Source {
    Given(Arc<Ring>),
    Stored(Arc<Stored>),
}

/// The vault of one application secret. It never prints it.
pub struct SecretVault(Source);

impl fmt::Debug for SecretVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretVault(…)")
    }
}

impl SecretVault {
    /// A vault that fetches its secret when it is first needed, and notices when it is rotated.
    pub fn new(config: &SdkConfig, secret_id: String, clock: Arc<dyn Clock>) -> Self {
        let (held, fetching) = (Mutex::default(), tokio::sync::Mutex::default());
        Self(Source::Stored(Arc::new(Stored { client: Client::new(config), secret_id, clock, held, fetching })))
    }

    /// A vault of this secret: for tests and tools.
    pub fn with_secret(secret: &[u8]) -> Result<Self, WeakSecret> {
        Keys::new(secret).map(|current| Self(Source::Given(Arc::new(Ring { current, previous: None }))))
    }

    async fn ring(&self) -> PortResult<Arc<Ring>> {
        match &self.0 {
            Source::Given(ring) => Ok(Arc::clone(ring)),
            Source::Stored(stored) => stored.ring().await,
        }
    }

    /// The ring for something that this one does not know: another one, if there is any.
    async fn newer_than(&self, ring: &Arc<Ring>) -> PortResult<Option<Arc<Ring>>> {
        match &self.0 {
            Source::Given(_) => Ok(None),
            Source::Stored(stored) => stored.newer_than(ring).await,
        }
    }
}

/// What is held of a stored secret.
#[derive(Default)]
struct Held {
    ring: Option<Arc<Ring>>,
    fetched_at: DateTime<Utc>,
    /// When Secrets Manager was last asked, and what it said if it gave no secret.
    asked_at: DateTime<Utc>,
    failure: Option<PortError>,
}

/// A secret of Secrets Manager.
struct Stored {
    client: Client,
    secret_id: String,
    clock: Arc<dyn Clock>,
    held: Mutex<Held>,
    /// Whoever asks Secrets Manager holds this.
    fetching: tokio::sync::Mutex<()>,
}

impl Stored {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_past(&self, time: DateTime<Utc>, age: TimeDelta) -> bool {
        self.clock.now() - time >= age
    }

    async fn ring(self: &Arc<Self>) -> PortResult<Arc<Ring>> {
        if let Some(ring) = self.at_hand() {
            return Ok(ring);
        }
        let _one_at_a_time = self.fetching.lock().await;
        // A failure is not kept: whoever comes next asks again. A ring is.
        match self.at_hand() {
            Some(ring) => Ok(ring),
            None => self.fetch().await,
        }
    }

    /// The ring, if there is one. An old one is still good, and nobody waits for its successor.
    fn at_hand(self: &Arc<Self>) -> Option<Arc<Ring>> {
        let held = self.held();
        let ring = held.ring.clone()?;
        if self.is_past(held.fetched_at, OLD) && self.is_past(held.asked_at, PAUSE) && self.fetching.try_lock().is_ok()
        {
            let stored = Arc::clone(self);
            tokio::spawn(async move {
                let Ok(_one_at_a_time) = stored.fetching.try_lock() else { return };
                if let Err(error) = stored.fetch().await {
                    tracing::warn!(%error, "the secret could not be fetched again; what is known of it is still used");
                }
            });
        }
        Some(ring)
    }

    /// Another ring than this, fetched now unless that was tried just before. An error means that nobody could tell.
    async fn newer_than(&self, ring: &Arc<Ring>) -> PortResult<Option<Arc<Ring>>> {
        let _one_at_a_time = self.fetching.lock().await;
        {
            let held = self.held();
            if let Some(newer) = held.ring.as_ref().filter(|held| !Arc::ptr_eq(held, ring)) {
                return Ok(Some(Arc::clone(newer)));
            }
            if !self.is_past(held.asked_at, PAUSE) {
                return held.failure.clone().map_or(Ok(None), Err);
            }
        }
        self.fetch().await.map(Some)
    }

    async fn fetch(&self) -> PortResult<Arc<Ring>> {
        let asked_at = self.clock.now();
        self.held().asked_at = asked_at;
        let fetched = self.fetch_ring().await.map(Arc::new);
        let mut held = self.held();
        held.failure = fetched.as_ref().err().cloned();
        if let Ok(ring) = &fetched {
            held.ring = Some(Arc::clone(ring));
            held.fetched_at = asked_at;
        }
        fetched
    }

    async fn fetch_ring(&self) -> PortResult<Ring> {
        let (current, previous) = tokio::try_join!(self.version(CURRENT), self.version(PREVIOUS))?;
        let missing = || PortError::Unavailable { service: SERVICE, cause: format!("there is no {CURRENT}") };
        let weak = |weak: WeakSecret| PortError::Corrupt { service: SERVICE, cause: weak.to_string() };
        let current = current.ok_or_else(missing)?.map_err(weak)?;
        // A bad one does not keep the good one from being used. The same one twice is no other key.
        let previous = previous.transpose().unwrap_or_else(|error| {
            tracing::warn!(%error, "{PREVIOUS} cannot be used");
            None
        });
        let previous = previous.filter(|previous| previous.header != current.header);
        Ok(Ring { current, previous })
    }

    /// The keys of one version of the secret, if there is such a version.
    async fn version(&self, stage: &str) -> PortResult<Option<Result<Keys, WeakSecret>>> {
        let question = self.client.get_secret_value().secret_id(&self.secret_id).version_stage(stage);
        let answer = match question.send().await {
            Ok(answer) => answer,
            Err(error)
                if error.as_service_error().is_some_and(GetSecretValueError::is_resource_not_found_exception) =>
            {
                return Ok(None);
            }
            Err(error) => {
                let cause = aws_sdk_secretsmanager::error::DisplayErrorContext(&error).to_string();
                return Err(PortError::Unavailable { service: SERVICE, cause });
            }
        };
        let binary = answer.secret_binary().map(AsRef::as_ref);
        let secret = answer.secret_string().map(str::as_bytes).or(binary).unwrap_or_default();
        Ok(Some(Keys::new(secret)))
    }
}

#[async_trait]
impl Vault for SecretVault {
    async fn mac(&self, purpose: &str, data: &[u8]) -> PortResult<[u8; 32]> {
        Ok(self.ring().await?.current.mac(purpose, data))
    }

    async fn mac_matches(&self, purpose: &str, data: &[u8], stored: &[u8]) -> PortResult<bool> {
        let ring = self.ring().await?;
        if ring.mac_matches(purpose, data, stored) {
            return Ok(true);
        }
        // A hash does not name its key: it may be of one that only others have heard of yet.
        let newer = self.newer_than(&ring).await?;
        Ok(newer.is_some_and(|newer| newer.mac_matches(purpose, data, stored)))
    }

    async fn seal(&self, purpose: &str, plain: &[u8]) -> PortResult<String> {
        let sealed = self.ring().await?.current.seal(purpose, plain);
        sealed.map_err(|error| PortError::Unavailable { service: "the vault", cause: error.to_string() })
    }

    async fn open(&self, purpose: &str, sealed: &str) -> PortResult<Option<Opened>> {
        let Some(envelope) = Envelope::read(sealed) else { return Ok(None) };
        let ring = self.ring().await?;
        if ring.knows(envelope.header) {
            return Ok(ring.open(purpose, &envelope));
        }
        let newer = self.newer_than(&ring).await?;
        Ok(newer.and_then(|newer| newer.open(purpose, &envelope)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use domain::testing::{TestClock, contract};
    use domain::time::SystemClock;

    use super::*;
    use crate::answering::Answering;

    const SECRET: &str = "a secret of this test, long enough to be one";

    #[tokio::test]
    async fn the_vault_keeps_its_contract() {
        contract::vault(&SecretVault::with_secret(SECRET.as_bytes()).unwrap()).await;
    }

    #[allow(clippy::unnecessary_wraps, reason = "what `open` answers")]
    fn opened(plain: &[u8], current: bool) -> Option<Opened> {
        Some(Opened { plain: plain.to_vec(), current })
    }

    #[tokio::test]
    async fn another_secret_hashes_otherwise_and_opens_nothing() {
        let one = SecretVault::with_secret(SECRET.as_bytes()).unwrap();
        let same = SecretVault::with_secret(SECRET.as_bytes()).unwrap();
        let other = SecretVault::with_secret(SECRET.to_uppercase().as_bytes()).unwrap();
        let sealed = one.seal("p", b"x").await.unwrap();
        assert_eq!(same.open("p", &sealed).await.unwrap(), opened(b"x", true));
        assert_eq!(other.open("p", &sealed).await.unwrap(), None);
        // Nor if it passes for one of the other's.
        let mut bytes = URL_SAFE_NO_PAD.decode(&sealed).unwrap();
        bytes[..HEADER_BYTES].copy_from_slice(&other.ring().await.unwrap().current.header);
        assert_eq!(other.open("p", &URL_SAFE_NO_PAD.encode(bytes)).await.unwrap(), None);
        assert_eq!(one.mac("p", b"x").await.unwrap(), same.mac("p", b"x").await.unwrap());
        assert_ne!(one.mac("p", b"x").await.unwrap(), other.mac("p", b"x").await.unwrap());
    }

    /// What is stored must outlive this code: both were computed from the description above by another library.
    #[tokio::test]
    async fn keys_hashes_and_sealed_texts_are_made_as_described() {
        let vault = SecretVault::with_secret(SECRET.as_bytes()).unwrap();
        let sealed = "AccDhVEAAQIDBAUGBwgJCguoKU9mU43JINbqvReOWZ8Tm7BaZvbAtMcirglnMzYKBg";
        assert_eq!(vault.open("p", sealed).await.unwrap(), opened("열려라 참깨".as_bytes(), true));
        let mac = [0x55, 0xD7, 0x0A, 0x98, 0x96, 0x94, 0xD2, 0x15];
        assert_eq!(vault.mac("p", b"x").await.unwrap()[..8], mac);
    }

    #[test]
    fn a_short_secret_is_refused() {
        assert_eq!(SecretVault::with_secret(&[7; 31]).err(), Some(WeakSecret));
        assert!(SecretVault::with_secret(&[7; 32]).is_ok());
    }

    /// A secret as Secrets Manager keeps it: what it says at each stage, and whether it says anything.
    #[derive(Default)]
    struct Secret {
        current: Option<&'static str>,
        previous: Option<&'static str>,
        away: bool,
    }

    impl Secret {
        fn answer(&self, asked: &serde_json::Value) -> (u16, String) {
            assert_eq!(asked["SecretId"], "batch-logout/key");
            let stored = match asked["VersionStage"].as_str() {
                Some(CURRENT) => self.current,
                Some(PREVIOUS) => self.previous,
                other => panic!("{other:?}"),
            };
            match stored {
                _ if self.away => (400, r#"{"__type":"DecryptionFailure","message":"not now"}"#.to_owned()),
                Some(secret) => (200, format!(r#"{{"SecretString":"{secret}"}}"#)),
                None => (400, r#"{"__type":"ResourceNotFoundException","message":"no such thing"}"#.to_owned()),
            }
        }
    }

    /// Secrets Manager, its secret, a clock, and as many vaults as are asked for.
    struct Scene {
        service: Answering,
        secret: Arc<Mutex<Secret>>,
        clock: Arc<TestClock>,
    }

    const SECRETS: [&str; 3] = [
        SECRET,
        "another secret of this test, as long as it must be",
        "a third secret of this test, no shorter than them",
    ];

    impl Scene {
        async fn new(current: Option<&'static str>) -> Self {
            let secret = Arc::new(Mutex::new(Secret { current, ..Secret::default() }));
            let told = Arc::clone(&secret);
            let service = Answering::saying(move |asked| told.lock().unwrap().answer(asked)).await;
            Self { service, secret, clock: Arc::new(TestClock::at(SystemClock.now())) }
        }

        async fn vault(&self) -> SecretVault {
            SecretVault::new(&self.service.config().await, "batch-logout/key".to_owned(), self.clock.clone())
        }

        fn rotate(&self, to: &'static str) {
            let mut secret = self.secret.lock().unwrap();
            secret.previous = secret.current.replace(to);
        }

        fn set_away(&self, away: bool) {
            self.secret.lock().unwrap().away = away;
        }

        /// Fetches so far: each asks for both stages.
        fn fetches(&self) -> usize {
            let asked = self.service.requests();
            asked.iter().filter(|asked| asked["VersionStage"] == CURRENT).count()
        }

        /// Waits for a fetch that nobody waits for.
        async fn fetched(&self, times: usize, vault: &SecretVault) {
            let Source::Stored(stored) = &vault.0 else { panic!("a given secret") };
            while self.fetches() < times || stored.fetching.try_lock().is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        }
    }

    #[tokio::test]
    async fn the_secret_is_fetched_once_and_again_only_after_a_failure() {
        let scene = Scene::new(None).await;
        let vault = scene.vault().await;
        assert_eq!(scene.fetches(), 0, "not before it is needed");
        let error = vault.seal("p", b"x").await.unwrap_err();
        assert!(matches!(error, PortError::Unavailable { service: SERVICE, .. }), "{error}");
        for weak in ["too short", ""] {
            scene.secret.lock().unwrap().current = Some(weak);
            let error = vault.mac("p", b"x").await.unwrap_err();
            assert!(matches!(error, PortError::Corrupt { service: SERVICE, .. }), "{error}");
            assert!(!error.to_string().contains("too short"), "the secret itself is not shown: {error}");
        }
        scene.secret.lock().unwrap().current = Some(SECRET);
        let (first, second) = tokio::join!(vault.seal("p", b"x"), vault.mac("p", b"x"));
        let given = SecretVault::with_secret(SECRET.as_bytes()).unwrap();
        assert_eq!(given.open("p", &first.unwrap()).await.unwrap(), opened(b"x", true));
        assert_eq!(second.unwrap(), given.mac("p", b"x").await.unwrap());
        assert_eq!(scene.fetches(), 4, "once it is there it is not asked for again");
    }

    #[tokio::test]
    async fn a_secret_may_be_binary_and_is_never_printed() {
        let binary = r#"{"SecretBinary":"YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE="}"#;
        let service = Answering::start(&[(200, binary), (200, binary)]).await;
        let vault = SecretVault::new(&service.config().await, "s".to_owned(), Arc::new(SystemClock));
        let given = SecretVault::with_secret(&[b'a'; 32]).unwrap();
        assert_eq!(vault.mac("p", b"x").await.unwrap(), given.mac("p", b"x").await.unwrap());
        assert_eq!(format!("{vault:?} {given:#?}"), "SecretVault(…) SecretVault(…)");
    }

    #[tokio::test]
    async fn sess_2_a_rotated_secret_keeps_the_contract_of_rotation() {
        let scene = Scene::new(Some(SECRETS[0])).await;
        let vault = scene.vault().await;
        let mut next = SECRETS.into_iter().skip(1);
        contract::vault_rotation(&vault, async || {
            let fetches = scene.fetches();
            scene.rotate(next.next().unwrap());
            scene.clock.advance(OLD);
            // Whoever comes first still gets the old key, and sees to it that the others get the new one.
            vault.mac("p", b"x").await.unwrap();
            scene.fetched(fetches + 1, &vault).await;
        })
        .await;
        assert_eq!(scene.fetches(), 3);
    }

    #[tokio::test]
    async fn sess_2_what_another_function_sealed_after_a_rotation_opens_here_at_once() {
        let scene = Scene::new(Some(SECRETS[0])).await;
        let slow = scene.vault().await;
        let old = slow.seal("p", b"old").await.unwrap();
        scene.rotate(SECRETS[1]);
        let quick = scene.vault().await;
        let (new, mac) = (quick.seal("p", b"new").await.unwrap(), quick.mac("p", b"x").await.unwrap());
        scene.clock.advance(PAUSE);
        assert_eq!(scene.fetches(), 2);
        let (first, second) = tokio::join!(slow.open("p", &new), slow.open("p", &new));
        assert_eq!((first.unwrap(), second.unwrap()), (opened(b"new", true), opened(b"new", true)));
        assert_eq!(scene.fetches(), 3, "one asks for both");
        assert!(slow.mac_matches("p", b"x", &mac).await.unwrap());
        assert_eq!(slow.open("p", &old).await.unwrap(), opened(b"old", false));

        // A hash does not name its key, and is looked for in the same way.
        scene.rotate(SECRETS[2]);
        let mac = scene.vault().await.mac("p", b"x").await.unwrap();
        scene.clock.advance(PAUSE);
        assert!(slow.mac_matches("p", b"x", &mac).await.unwrap());
    }

    #[tokio::test]
    async fn sess_2_invented_key_ids_do_not_flood_secrets_manager() {
        let scene = Scene::new(Some(SECRET)).await;
        let vault = scene.vault().await;
        vault.mac("p", b"x").await.unwrap();
        scene.clock.advance(PAUSE);
        let invented =
            |id: u32| URL_SAFE_NO_PAD.encode([&[VERSION][..], &id.to_be_bytes(), &[7; NONCE_LEN], &[8; 16]].concat());
        for id in 0..50 {
            assert_eq!(vault.open("p", &invented(id)).await.unwrap(), None);
            assert!(!vault.mac_matches("p", b"x", &[0; 32]).await.unwrap());
        }
        assert_eq!(scene.fetches(), 2, "once for all of them");
        // Of another version, or too short to name a key, it is not asked for at all.
        scene.clock.advance(PAUSE);
        let other_version = URL_SAFE_NO_PAD.encode([VERSION + 1; 40]);
        for text in ["", "AQ", "AQIDBA", &invented(1)[..8], &other_version] {
            assert_eq!(vault.open("p", text).await.unwrap(), None, "{text:?}");
        }
        assert_eq!(scene.fetches(), 2);
    }

    #[tokio::test]
    async fn sess_2_while_secrets_manager_is_away_the_known_keys_serve_and_an_unknown_one_is_no_verdict() {
        let scene = Scene::new(Some(SECRETS[0])).await;
        let vault = scene.vault().await;
        let old = vault.seal("p", b"old").await.unwrap();
        scene.rotate(SECRETS[1]);
        let new = scene.vault().await.seal("p", b"new").await.unwrap();
        scene.set_away(true);
        for tries in 1..4 {
            scene.clock.advance(OLD);
            for _ in 0..10 {
                assert_eq!(vault.open("p", &old).await.unwrap(), opened(b"old", true), "nobody waits");
            }
            scene.fetched(2 + tries, &vault).await;
            vault.seal("p", b"x").await.unwrap();
            assert_eq!(scene.fetches(), 2 + tries, "not again at once");
            let error = vault.open("p", &new).await.unwrap_err();
            assert!(matches!(error, PortError::Unavailable { service: SERVICE, .. }), "it may be ours: {error}");
        }
        scene.set_away(false);
        scene.clock.advance(PAUSE);
        assert_eq!(vault.open("p", &new).await.unwrap(), opened(b"new", true));
        assert_eq!(vault.open("p", &old).await.unwrap(), opened(b"old", false));
    }

    #[tokio::test]
    async fn a_bad_previous_secret_does_not_keep_the_current_one_from_being_used() {
        for previous in ["too short", SECRETS[0]] {
            let scene = Scene::new(Some(previous)).await;
            scene.rotate(SECRETS[0]);
            let vault = scene.vault().await;
            let sealed = vault.seal("p", b"x").await.unwrap();
            assert_eq!(vault.open("p", &sealed).await.unwrap(), opened(b"x", true));
        }
    }

    #[tokio::test]
    async fn sess_2_an_envelope_of_either_key_that_is_cut_off_or_changed_opens_nothing_and_breaks_nothing() {
        let scene = Scene::new(Some(SECRETS[0])).await;
        let old = scene.vault().await.seal("p", b"plain").await.unwrap();
        scene.rotate(SECRETS[1]);
        let vault = scene.vault().await;
        for sealed in [old, vault.seal("p", b"plain").await.unwrap()] {
            assert!(vault.open("p", &sealed).await.unwrap().is_some());
            let bytes = URL_SAFE_NO_PAD.decode(&sealed).unwrap();
            for length in 0..bytes.len() {
                assert_eq!(vault.open("p", &URL_SAFE_NO_PAD.encode(&bytes[..length])).await.unwrap(), None, "{length}");
            }
            for bit in 0..bytes.len() * 8 {
                let mut changed = bytes.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(vault.open("p", &URL_SAFE_NO_PAD.encode(changed)).await.unwrap(), None, "bit {bit}");
            }
            let longer = URL_SAFE_NO_PAD.encode([&bytes[..], b"\0"].concat());
            assert_eq!(vault.open("p", &longer).await.unwrap(), None);
        }
    }
}
