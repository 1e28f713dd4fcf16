//! A vault in memory, and what every vault must do.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a failed unwrap is a failed test")]

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::ports::PortResult;
use crate::vault::{Opened, Vault};

#[derive(Debug)]
struct Ticket {
    purpose: String,
    plain: Vec<u8>,
    key: u32,
}

#[derive(Debug, Default)]
struct Kept {
    tickets: HashMap<String, Ticket>,
    /// The number of the key that seals and hashes now.
    key: u32,
}

/// A vault that hands out tickets for what it keeps. Its hashes have no key: anybody can make them.
#[derive(Debug, Default)]
pub struct MemoryVault(Mutex<Kept>);

fn digest(key: u32, purpose: &str, data: &[u8]) -> [u8; 32] {
    let start = Sha256::new().chain_update(key.to_be_bytes()).chain_update(purpose.len().to_be_bytes());
    start.chain_update(purpose).chain_update(data).finalize().into()
}

impl MemoryVault {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seals and hashes with a new key from now on. The last one still opens, any before it does not.
    pub fn rotate(&self) {
        self.lock().key += 1;
    }
}

#[async_trait]
impl Vault for MemoryVault {
    async fn mac(&self, purpose: &str, data: &[u8]) -> PortResult<[u8; 32]> {
        Ok(digest(self.lock().key, purpose, data))
    }

    async fn mac_matches(&self, purpose: &str, data: &[u8], stored: &[u8]) -> PortResult<bool> {
        let key = self.lock().key;
        Ok((key.saturating_sub(1)..=key).any(|key| digest(key, purpose, data).ct_eq(stored).into()))
    }

    async fn seal(&self, purpose: &str, plain: &[u8]) -> PortResult<String> {
        let mut kept = self.lock();
        let ticket = hex::encode(digest(kept.key, purpose, &kept.tickets.len().to_be_bytes()));
        let sealed = Ticket { purpose: purpose.to_owned(), plain: plain.to_vec(), key: kept.key };
        kept.tickets.insert(ticket.clone(), sealed);
        Ok(ticket)
    }

    async fn open(&self, purpose: &str, sealed: &str) -> PortResult<Option<Opened>> {
        let kept = self.lock();
        let ticket = kept.tickets.get(sealed).filter(|ticket| ticket.purpose == purpose && ticket.key + 1 >= kept.key);
        Ok(ticket.map(|ticket| Opened { plain: ticket.plain.clone(), current: ticket.key == kept.key }))
    }
}

/// Hashes and sealed texts: told apart by purpose, and nothing but what was sealed opens.
pub async fn contract(vault: &dyn Vault) {
    let mac = vault.mac("one", b"data").await.unwrap();
    assert_eq!(vault.mac("one", b"data").await.unwrap(), mac, "a hash is always the same");
    for (purpose, data) in [("two", &b"data"[..]), ("one", b"date"), ("one", b""), ("oned", b"ata"), ("on", b"edata")] {
        assert_ne!(vault.mac(purpose, data).await.unwrap(), mac, "{purpose:?}, {data:?}");
        assert!(!vault.mac_matches(purpose, data, &mac).await.unwrap(), "{purpose:?}, {data:?}");
    }
    assert!(vault.mac_matches("one", b"data", &mac).await.unwrap());
    for other in [&b""[..], &mac[..31], &[&mac[..], b"\0"].concat(), &mac.map(|byte| !byte)] {
        assert!(!vault.mac_matches("one", b"data", other).await.unwrap(), "{other:?} is not {mac:?}");
    }

    let opens = |plain: &[u8]| Some(Opened { plain: plain.to_vec(), current: true });

    let long = vec![0x5A; 64 * 1024];
    for plain in [&b""[..], b"\0", &[0xFF, 0xFE], "비밀 번호 👩‍💻🔐 \u{202E}ابج".as_bytes(), &long] {
        let sealed = vault.seal("one", plain).await.unwrap();
        assert_eq!(vault.open("one", &sealed).await.unwrap(), opens(plain));
        assert!(sealed.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte)), "{sealed}");
    }

    let plain = "잔치 🎉".as_bytes();
    let sealed = vault.seal("one", plain).await.unwrap();
    let again = vault.seal("one", plain).await.unwrap();
    assert_ne!(sealed, again, "nobody can tell that two sealed texts say the same");
    for purpose in ["two", "", "on", "one ", "ONE", "one\0"] {
        assert_eq!(vault.open(purpose, &sealed).await.unwrap(), None, "for {purpose:?}");
    }
    let refused = async |text: &str| {
        assert_eq!(vault.open("one", text).await.unwrap(), None, "{text:?} is not {sealed:?}");
    };
    for (at, was) in sealed.char_indices() {
        let (before, after) = (&sealed[..at], &sealed[at + was.len_utf8()..]);
        for other in ('\0'..='\x7F').chain(['é', '한', '🙂']).filter(|other| *other != was) {
            refused(&format!("{before}{other}{after}")).await;
        }
        refused(before).await;
        refused(after).await;
        refused(&format!("{before}{after}")).await;
        refused(&format!("{before}{was}{was}{after}")).await;
    }
    for text in ["", "=", "한글은 봉인이 아닙니다", "🙂", "\u{FEFF}", &again[1..], &"A".repeat(100_000)] {
        refused(text).await;
    }
    for text in [format!("{sealed}="), format!("{sealed}\n"), format!(" {sealed}"), format!("{sealed}{again}")] {
        refused(&text).await;
    }
    assert_eq!(vault.open("one", &again).await.unwrap(), opens(plain));
}

/// A key that is rotated: what the last one made is still good and can be told, what an older one made is nothing.
pub async fn rotation(vault: &dyn Vault, mut rotate: impl AsyncFnMut()) {
    let (first, mac) = (vault.seal("one", b"first").await.unwrap(), vault.mac("one", b"data").await.unwrap());
    let opened = |plain: &[u8], current| Some(Opened { plain: plain.to_vec(), current });
    rotate().await;
    assert_eq!(vault.open("one", &first).await.unwrap(), opened(b"first", false), "SESS-2: by the key before");
    assert_eq!(vault.open("two", &first).await.unwrap(), None);
    assert!(vault.mac_matches("one", b"data", &mac).await.unwrap(), "hashed before the rotation");
    assert!(!vault.mac_matches("one", b"date", &mac).await.unwrap());
    assert_ne!(vault.mac("one", b"data").await.unwrap(), mac, "another key, another hash");
    let second = vault.seal("one", b"second").await.unwrap();
    assert_eq!(vault.open("one", &second).await.unwrap(), opened(b"second", true), "the new key seals");

    rotate().await;
    assert_eq!(vault.open("one", &first).await.unwrap(), None, "two rotations ago");
    assert!(!vault.mac_matches("one", b"data", &mac).await.unwrap());
    assert_eq!(vault.open("one", &second).await.unwrap(), opened(b"second", false));
    let third = vault.seal("one", b"third").await.unwrap();
    assert_eq!(vault.open("one", &third).await.unwrap(), opened(b"third", true));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn memory_keeps_the_contract_of_the_vault() {
        contract(&MemoryVault::default()).await;
        let vault = MemoryVault::default();
        rotation(&vault, async || vault.rotate()).await;
    }
}
