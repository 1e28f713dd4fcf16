//! The emergency key (`[EKEY-1]`): six digits from the system's random source, mailed to the admin's registered
//! address, kept only as a keyed hash, good once and for five minutes.
//!
//! A try is claimed in the store before anything is compared, so that guesses over many connections share five tries.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::accept::Refused;
use crate::audit::{Action, Auditor, Entry, Origin};
use crate::directory::User;
use crate::error::PortError;
use crate::ids::{JobId, UserId};
use crate::mail::Mailer;
use crate::notice::{EMERGENCY_KEY_LIFETIME, Notice};
use crate::permissions::Permission;
use crate::ports::{JobStore, KeyUse, PortResult, Step};
use crate::rate::{EMERGENCY_KEYS, SlotChange, Standing};
use crate::source::IdSource;
use crate::time::{Clock, Epoch};
use crate::vault::Vault;

/// Tries after which a key is dead.
pub const KEY_TRIES: u32 = 5;
/// How often a request for a key that lost a race for its rate limit is tried again.
const SLOT_TRIES: usize = 8;
const PURPOSE: &str = "emergency-key";
const MISSING: &str =
    "an emergency logout needs the header X-Emergency-Key; ask for a key with POST request-emergency-key";
/// What is said of a key that is not good, for whatever reason.
pub const WRONG: &str = "the emergency key is wrong, used up or older than five minutes; ask for a new one";

/// A key as a caller presents it. It never shows in logs.
#[derive(Clone)]
pub struct PresentedKey(String);

impl PresentedKey {
    /// Takes what was sent.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for PresentedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresentedKey(…)")
    }
}

/// What is kept of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// Which of the actor's keys it is.
    pub id: String,
    /// Keyed hash of actor, id and digits.
    pub mac: [u8; 32],
    /// From here on it is no good.
    pub expires_at: Epoch,
}

/// Keeps one key per actor.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// Replaces the actor's key and takes a slot for it, all or nothing. Lost if the slots have moved.
    async fn put_key(&self, actor: &UserId, key: &StoredKey, slot: &SlotChange) -> PortResult<Step>;
    /// Claims one of a key's [`KEY_TRIES`] tries and answers the key. None if there is no key, or it has expired, was
    /// used or has no try left.
    async fn try_key(&self, actor: &UserId, now: Epoch) -> PortResult<Option<StoredKey>>;
}

/// Hands out and checks emergency keys.
#[derive(Clone)]
pub struct EmergencyDesk {
    /// Keys.
    pub keys: Arc<dyn KeyStore>,
    /// Rate limits.
    pub jobs: Arc<dyn JobStore>,
    /// The keyed hash.
    pub vault: Arc<dyn Vault>,
    /// Mail to admins.
    pub mailer: Arc<dyn Mailer>,
    /// The audit trail.
    pub auditor: Auditor,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Digits, and ids of keys.
    pub ids: Arc<dyn IdSource>,
}

/// Why no key was mailed.
#[derive(Debug, thiserror::Error)]
pub enum NoKey {
    /// The caller may not start an emergency, or has asked too often, or a store did not answer.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The directory has no address for the caller.
    #[error("the directory has no e-mail address for you, and a key is sent nowhere else")]
    NoAddress,
}

impl From<PortError> for NoKey {
    fn from(error: PortError) -> Self {
        Self::Refused(error.into())
    }
}

/// A key that is on its way.
#[derive(Debug, Clone, Copy)]
pub struct KeySent {
    /// Until when it is good.
    pub expires_at: DateTime<Utc>,
    /// Where the caller stands with the limit.
    pub standing: Standing,
}

impl EmergencyDesk {
    /// Makes a key, which replaces any older one, and mails it to the caller's registered address.
    pub async fn request(&self, caller: &User, origin: &Origin) -> Result<KeySent, NoKey> {
        let sent = self.make_and_mail(caller, origin).await;
        let action = match &sent {
            Err(NoKey::Refused(Refused::Forbidden(_))) => Action::PermissionDenied,
            Err(NoKey::Refused(Refused::RateLimited(_))) => Action::RateLimited,
            _ => return sent,
        };
        let metadata = serde_json::json!({ "asked_for": "emergency key" });
        self.auditor.refused(action, caller, None, origin, metadata).await;
        sent
    }

    async fn make_and_mail(&self, caller: &User, origin: &Origin) -> Result<KeySent, NoKey> {
        let wanted = Permission::ExecuteEmergency;
        if !caller.may(wanted) {
            return Err(Refused::Forbidden(wanted.as_str()).into());
        }
        let to = caller.email.as_deref().ok_or(NoKey::NoAddress)?;
        let now = self.clock.now();
        let digits = format!("{:06}", u128::from_be_bytes(self.ids.random_16()) % 1_000_000);
        let id = self.ids.uuid();
        let mac = self.vault.mac(PURPOSE, &hashed(&caller.id, &id, &digits)).await?;
        let expires_at = now + EMERGENCY_KEY_LIFETIME;
        let key = StoredKey { id: id.clone(), mac, expires_at: Epoch::from(expires_at) };
        let standing = self.put(caller, &key, now).await?;
        let entry = self.auditor.entry(Action::EmergencyKeyGenerated, caller.into(), None, origin);
        let metadata = serde_json::json!({ "expires_at": expires_at });
        self.auditor.log.append(&Entry { metadata, ..entry }).await?;
        let notice = Notice::EmergencyKey { name: caller.name.as_deref(), key: &digits, valid_until: expires_at };
        self.mailer.send(&notice.mail(to, caller.locale.as_deref())).await?;
        Ok(KeySent { expires_at, standing })
    }

    async fn put(&self, caller: &User, key: &StoredKey, now: DateTime<Utc>) -> Result<Standing, NoKey> {
        // Keys are counted like jobs; the key's id stands for one.
        let as_job = JobId::parse(key.id.clone()).unwrap_or_else(|_| self.ids.job_id());
        for _ in 0..SLOT_TRIES {
            let slots = self.jobs.slots(&caller.id, EMERGENCY_KEYS.name).await?;
            let standing = slots.standing(EMERGENCY_KEYS, now);
            if standing.remaining == 0 {
                return Err(Refused::RateLimited(standing).into());
            }
            let slot = slots.take(&caller.id, EMERGENCY_KEYS, now, &as_job);
            if self.keys.put_key(&caller.id, key, &slot).await? == Step::Taken {
                return Ok(standing.after_one());
            }
        }
        Err(PortError::Unavailable { service: "jobs", cause: "the rate limit is contended".to_owned() }.into())
    }

    /// Whether the presented key is the actor's, and which one: the job that is written next consumes it.
    pub async fn verify(&self, actor: &UserId, presented: Option<&PresentedKey>) -> Result<KeyUse, Refused> {
        let presented = presented.ok_or(Refused::WrongKey(MISSING))?;
        let now = Epoch::from(self.clock.now());
        let stored = self.keys.try_key(actor, now).await?.ok_or(Refused::WrongKey(WRONG))?;
        let presented = hashed(actor, &stored.id, &presented.0);
        if self.vault.mac_matches(PURPOSE, &presented, &stored.mac).await? {
            Ok(KeyUse { actor: actor.clone(), id: stored.id })
        } else {
            Err(Refused::WrongKey(WRONG))
        }
    }
}

/// What is hashed of a key. The id has a fixed form, so that no other actor and digits make the same text.
fn hashed(actor: &UserId, id: &str, digits: &str) -> Vec<u8> {
    format!("{id}:{digits}:{actor}").into_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use chrono::TimeDelta;

    use super::*;
    use crate::testing::{Memory, MemoryMailer, MemoryVault, SeededIds, TestClock};
    use crate::time::from_millis;

    struct Scene {
        store: Arc<Memory>,
        clock: Arc<TestClock>,
        mailer: Arc<MemoryMailer>,
        desk: EmergencyDesk,
        admin: User,
    }

    fn scene() -> Scene {
        let (store, mailer) = (Arc::new(Memory::default()), Arc::new(MemoryMailer::default()));
        let (clock, ids) = (Arc::new(TestClock::at(from_millis(0))), Arc::new(SeededIds::new(1_234_567)));
        let desk = EmergencyDesk {
            keys: store.clone(),
            jobs: store.clone(),
            vault: Arc::new(MemoryVault::default()),
            mailer: mailer.clone(),
            auditor: Auditor { log: store.clone(), clock: clock.clone(), ids: ids.clone() },
            clock: clock.clone(),
            ids,
        };
        let admin = User {
            permissions: vec!["batch_logout:execute:emergency".to_owned()],
            email: Some("admin@example.com".to_owned()),
            ..User::unknown(UserId::parse("admin").unwrap())
        };
        Scene { store, clock, mailer, desk, admin }
    }

    /// The six digits of the last mail.
    fn digits(mailer: &MemoryMailer) -> String {
        let text = mailer.sent().last().unwrap().text.clone();
        let numbers = text.split(|letter: char| !letter.is_ascii_digit());
        numbers.into_iter().find(|number| number.len() == 6).unwrap().to_owned()
    }

    #[tokio::test]
    async fn ekey_1_a_wrong_key_is_refused_and_so_is_the_right_one_after_five_tries_or_five_minutes() {
        let Scene { clock, mailer, desk, admin, .. } = scene();
        let verify = async |key: Option<&str>| desk.verify(&admin.id, key.map(PresentedKey::new).as_ref()).await;
        assert!(matches!(verify(Some("000000")).await, Err(Refused::WrongKey(WRONG))), "there is none yet");
        desk.request(&admin, &Origin::default()).await.unwrap();
        let right = digits(&mailer);
        let wrong = if right == "123456" { "654321" } else { "123456" };
        assert!(matches!(verify(None).await, Err(Refused::WrongKey(MISSING))), "which takes no try");
        for _ in 0..KEY_TRIES - 1 {
            assert!(matches!(verify(Some(wrong)).await, Err(Refused::WrongKey(WRONG))));
        }
        assert_eq!(verify(Some(&right)).await.unwrap().actor, admin.id, "the last try");
        assert!(matches!(verify(Some(&right)).await, Err(Refused::WrongKey(WRONG))), "one too many");

        desk.request(&admin, &Origin::default()).await.unwrap();
        let right = digits(&mailer);
        let other = desk.verify(&UserId::parse("other").unwrap(), Some(&PresentedKey::new(&right))).await;
        assert!(matches!(other, Err(Refused::WrongKey(WRONG))), "a key is one admin's");
        clock.advance(TimeDelta::seconds(299));
        assert!(verify(Some(&right)).await.is_ok());
        clock.advance(TimeDelta::seconds(1));
        assert!(matches!(verify(Some(&right)).await, Err(Refused::WrongKey(WRONG))));
    }

    #[tokio::test]
    async fn ekey_1_three_keys_an_hour_are_mailed_and_the_fourth_request_is_refused_and_written_down() {
        let Scene { store, clock, mailer, desk, admin } = scene();
        for left in [2, 1, 0] {
            assert_eq!(desk.request(&admin, &Origin::default()).await.unwrap().standing.remaining, left);
        }
        let fourth = desk.request(&admin, &Origin::default()).await;
        assert!(matches!(fourth, Err(NoKey::Refused(Refused::RateLimited(standing))) if standing.minutes() == 60));
        assert_eq!(mailer.sent().len(), 3);
        assert_eq!(store.audit().last().unwrap().action, Action::RateLimited);
        clock.advance(TimeDelta::hours(1));
        assert!(desk.request(&admin, &Origin::default()).await.is_ok());

        let unknown = User { permissions: vec![], ..admin.clone() };
        assert!(matches!(desk.request(&unknown, &Origin::default()).await, Err(NoKey::Refused(Refused::Forbidden(_)))));
        assert_eq!(store.audit().last().unwrap().action, Action::PermissionDenied);
        let unreachable = User { email: None, ..admin };
        assert!(matches!(desk.request(&unreachable, &Origin::default()).await, Err(NoKey::NoAddress)));
        assert_eq!(mailer.sent().len(), 4);
    }
}
