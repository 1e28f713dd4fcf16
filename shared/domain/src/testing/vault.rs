//! A vault in memory, and what every vault must do.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a failed unwrap is a failed test")]

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};

use crate::ports::PortResult;
use crate::vault::Vault;

/// A vault that hands out tickets for what it keeps. Its hashes have no key: anybody can make them.
#[derive(Default)]
pub struct MemoryVault(Mutex<HashMap<String, (String, Vec<u8>)>>);

fn digest(purpose: &str, data: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(purpose.len().to_be_bytes()).chain_update(purpose).chain_update(data).finalize().into()
}

#[async_trait]
impl Vault for MemoryVault {
    async fn mac(&self, purpose: &str, data: &[u8]) -> PortResult<[u8; 32]> {
        Ok(digest(purpose, data))
    }

    async fn seal(&self, purpose: &str, plain: &[u8]) -> PortResult<String> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = hex::encode(digest(purpose, &kept.len().to_be_bytes()));
        kept.insert(ticket.clone(), (purpose.to_owned(), plain.to_vec()));
        Ok(ticket)
    }

    async fn open(&self, purpose: &str, sealed: &str) -> PortResult<Option<Vec<u8>>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(kept.get(sealed).filter(|(sealed_for, _)| sealed_for == purpose).map(|(_, plain)| plain.clone()))
    }
}

/// Hashes and sealed texts: told apart by purpose, and nothing but what was sealed opens.
pub async fn contract(vault: &dyn Vault) {
    let mac = vault.mac("one", b"data").await.unwrap();
    assert_eq!(vault.mac("one", b"data").await.unwrap(), mac, "a hash is always the same");
    for (purpose, data) in [("two", &b"data"[..]), ("one", b"date"), ("one", b""), ("oned", b"ata"), ("on", b"edata")] {
        assert_ne!(vault.mac(purpose, data).await.unwrap(), mac, "{purpose:?}, {data:?}");
    }

    let long = vec![0x5A; 64 * 1024];
    for plain in [&b""[..], b"\0", &[0xFF, 0xFE], "비밀 번호 👩‍💻🔐 \u{202E}ابج".as_bytes(), &long] {
        let sealed = vault.seal("one", plain).await.unwrap();
        assert_eq!(vault.open("one", &sealed).await.unwrap().as_deref(), Some(plain));
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
    assert_eq!(vault.open("one", &again).await.unwrap().as_deref(), Some(plain));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn memory_keeps_the_contract_of_the_vault() {
        contract(&MemoryVault::default()).await;
    }
}
